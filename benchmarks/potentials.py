"""Machine-learned potentials side by side: the same data, one thread, one run.

    python benchmarks/potentials.py                       four data sets, all potentials
    python benchmarks/potentials.py --quick               one data set, what takes seconds
    python benchmarks/potentials.py --mtp '{"level": 16}'   MTP with other settings than ours

"terms" are features (pypolymlp), parameters (motep) or basis functions (ours).  Each fit runs in a
process of its own: its time by the clock and of the processor, and its largest resident memory
(that of gap_fit, if it is larger).  Where code is compiled at first use, a fit of a few
configurations before the timed one has it compiled; its time is the column "compile" and is in no
other.  The milliseconds are processor time for fresh configurations, none seen twice, neighbour
list included: the least of three passes over as many configurations as the test set has, after one
configuration as a warm-up.  (motep's calculator keeps its neighbour list as long as no atom is
farther than its skin from where it was, which spares it most of the time at 0 K.)  "CV" and the
smaller models of pypolymlp choose the ridge parameter by cross-validation; the large one by the
error on every tenth training configuration, which it then does not learn from.
Potentials that are not installed are left out with a note: ``make bench-peers`` installs them.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["NUMBA_NUM_THREADS"] = "1"

import numpy as np

HERE = Path(__file__).parent
DATA = HERE.parent / "runs" / "bench-data"
DATA_SETS = ("tutorial", "2000K", "64atoms", "sige")
PASSES = 3
WARM_UP = 10


@dataclass(frozen=True)
class Row:
    """One potential of the table."""

    title: str
    make: Callable[..., Any]
    settings: dict
    needs: tuple[str, ...] = ()
    quick: bool = True
    compiled: bool = False
    time_limit: float = 900.0


def ours(train: Sequence, scratch: Path, *, kind: str, settings: dict) -> Any:
    """A potential of this package."""
    from sscha_mlp.potentials import registry

    if kind not in registry.KINDS:
        raise NotAvailableError(f"not available: there is no kind {kind!r}")
    return registry.fit(
        kind, train, directory=scratch / "model", settings=settings, seed=0, n_workers=1
    )


def polymlp(train: Sequence, scratch: Path, **settings: Any) -> Any:  # noqa: ARG001
    """A potential of pypolymlp."""
    from potential_peers import Polymlp

    return Polymlp(train, **settings)


def motep(train: Sequence, scratch: Path, **settings: Any) -> Any:
    """A potential of motep."""
    from potential_peers import Motep

    return Motep(train, scratch=scratch, **settings)


class NotAvailableError(Exception):
    """A potential that this installation does not have."""


_POLYMLP = ("pypolymlp.mlp_dev.pypolymlp", "pypolymlp.calculator.properties")
_MOTEP = ("motep.calculator", "motep.train.trainer")
_LINEAR = {"cutoff": 5.0, "n_gaussians": 5, "model_type": 1, "max_p": 1, "max_l": (4, 4)}
_SQUARE = {"cutoff": 5.0, "n_gaussians": 4, "model_type": 4, "max_p": 2, "max_l": (4, 4)}
_LARGE = {"cutoff": 4.2, "n_gaussians": 7, "model_type": 4, "max_p": 2, "max_l": (8, 6)}
_LEVEL_16 = {"level": 16, "radial_weight": 4, "max_tensors": 4}
_REFINED = {**_LEVEL_16, "species": "shared", "n_polynomials": 10, "refine_steps": 16}


def _mtp(title: str, settings: dict) -> Row:
    """Ours: 264 functions for one species and 508 for two, unless the title says otherwise."""
    return Row(title, ours, {"kind": "mtp", "settings": settings}, compiled=True)


ROWS = {
    "gap": Row("GAP, 200 sparse points", ours, {"kind": "gap", "settings": {}}),
    "mtp": _mtp("MTP, linear, 5 Å", {}),
    "mtp-near": _mtp("MTP, linear, 3.1 Å", {"cutoff": 3.1}),
    "mtp-16": _mtp("MTP, linear, level 16, 5 Å", {**_LEVEL_16, "cutoff": 5.0}),
    "mtp-refined": _mtp("MTP, refined, 5 Å", {**_REFINED, "cutoff": 5.0}),
    "mtp-refined-near": _mtp("MTP, refined, 3.1 Å", {**_REFINED, "cutoff": 3.1}),
    "motep-8": Row(
        "MTP, motep level 8, 200 BFGS",
        motep,
        {"level": 8, "n_steps": 200, "cutoff": 5.0},
        needs=_MOTEP,
        quick=False,
    ),
    "motep-12": Row(
        "MTP, motep level 12, 100 BFGS",
        motep,
        {"level": 12, "n_steps": 100, "cutoff": 5.0},
        needs=_MOTEP,
        quick=False,
    ),
    "polymlp-linear": Row(
        "pypolymlp, linear, 5 Å", polymlp, {**_LINEAR, "use_cv": True}, needs=_POLYMLP
    ),
    "polymlp-square": Row(
        "pypolymlp, quadratic, 5 Å", polymlp, {**_SQUARE, "use_cv": True}, needs=_POLYMLP
    ),
    "polymlp-large": Row(
        "pypolymlp, large, 4.2 Å", polymlp, {**_LARGE, "use_cv": False}, needs=_POLYMLP
    ),
    "polymlp-large-cv": Row(
        "pypolymlp, large, 4.2 Å, CV",
        polymlp,
        {**_LARGE, "use_cv": True},
        needs=_POLYMLP,
        quick=False,
    ),
}


def main() -> None:
    """Print the table, or measure one row in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the data sets")
    parser.add_argument("--sets", nargs="+", choices=DATA_SETS, default=None)
    parser.add_argument("--rows", nargs="+", choices=tuple(ROWS), default=None)
    parser.add_argument("--mtp", type=json.loads, default=[], action="append", metavar="JSON")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, help="write all numbers as JSON")
    parser.add_argument("--one", nargs=3, metavar=("ROW", "SET", "FILE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        row, name, file = args.one
        settings = args.mtp[0] if args.mtp else None
        Path(file).write_text(json.dumps(measure(row, name, args.data, settings)))
        return
    sets = args.sets or (DATA_SETS[:1] if args.quick else DATA_SETS)
    rows = args.rows or [key for key, row in ROWS.items() if row.quick or not args.quick]
    results = table(sets, rows, args.data, args.mtp)
    if args.out:
        args.out.write_text(json.dumps(results, indent=1) + "\n")


def table(
    sets: Sequence[str], rows: Sequence[str], data: Path, mtp_settings: Sequence[dict]
) -> list[dict]:
    """Print all data sets, each row as soon as it is known."""
    subprocess.run(
        [sys.executable, str(HERE / "potential_data.py"), "--data", str(data), *sets],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    print("\nPotentials on the same data, one thread; ms and µs per fresh configuration and atom")
    results = []
    for name in sets:
        print(
            f"\n{name:<30}{'terms':>7}{'fit':>8}{'CPU':>8}{'compile':>9}{'memory':>8}{'E':>10}"
            f"{'F':>9}{'S':>9}{'evaluation':>12}{'':>10}\n"
            f"{'':<37}{'s':>8}{'s':>8}{'s':>9}{'MB':>8}{'meV/atom':>10}{'meV/Å':>9}{'GPa':>9}"
            f"{'ms':>12}{'µs/atom':>10}",
            flush=True,
        )
        for key in rows:
            for settings in list(mtp_settings) or [None] if key == "mtp" else [None]:
                found = apart(key, name, data, settings)
                results.append(found)
                print(line(found), flush=True)
    return results


def line(found: dict) -> str:
    """One row of the table."""
    if "note" in found:
        return f"{found['title']:<30} {found['note']}"
    return (
        f"{found['title']:<30}{found['terms'] or '':>7}{found['fit_s']:>8.1f}"
        f"{found['fit_cpu_s']:>8.1f}{found['compile_s']:>9.1f}{found['memory_MB']:>8.0f}"
        f"{found['E_meV_per_atom']:>10.3f}{found['F_meV_per_A']:>9.2f}{found['S_GPa']:>9.4f}"
        f"{found['ms']:>12.2f}{found['us_per_atom']:>10.1f}"
    )


def apart(key: str, name: str, data: Path, settings: dict | None) -> dict:
    """Measure one row in a process of its own."""
    row = ROWS[key]
    title = row.title if settings is None else f"{row.title} {json.dumps(settings)}"
    described = {"row": key, "data": name, "title": title}
    if any(find_spec(module.partition(".")[0]) is None for module in row.needs):
        return {**described, "note": "not installed"}
    with TemporaryDirectory() as scratch:
        file = Path(scratch) / "row.json"
        command = [sys.executable, __file__, "--data", str(data), "--one", key, name, str(file)]
        if settings is not None:
            command += ["--mtp", json.dumps(settings)]
        try:
            done = subprocess.run(
                command, check=False, capture_output=True, text=True, timeout=row.time_limit
            )
        except subprocess.TimeoutExpired:
            return {**described, "note": f"stopped after {row.time_limit:.0f} s"}
        if not file.is_file():
            reason = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
            return {**described, "note": f"failed: {reason[:200]}"}
        return {**described, **json.loads(file.read_text())}


def measure(key: str, name: str, data: Path, settings: dict | None) -> dict:
    """Fit and judge one potential in this process."""
    from potential_data import data_set
    from potential_peers import SkippedError

    row = ROWS[key]
    for module in row.needs:
        import_module(module)
    chosen = dict(row.settings) if settings is None else {**row.settings, "settings": settings}
    sets = data_set(name, data)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        compile_s = 0.0
        try:
            if row.compiled:
                begin = time.perf_counter()
                (folder / "warm-up").mkdir()
                first = row.make(sets.train[:WARM_UP], folder / "warm-up", **chosen)
                first.evaluate([sets.train[0].atoms])
                compile_s = time.perf_counter() - begin
            begin, begin_cpu = time.perf_counter(), cpu_seconds()
            model = row.make(sets.train, folder, **chosen)
            fit_s, fit_cpu_s = time.perf_counter() - begin, cpu_seconds() - begin_cpu
        except (NotAvailableError, SkippedError) as err:
            return {"note": str(err)}
        return {
            "terms": n_terms(model),
            "fit_s": fit_s,
            "fit_cpu_s": fit_cpu_s,
            "compile_s": compile_s,
            "memory_MB": peak_memory_mb(),
            **judge(model, sets),
        }


def judge(model: Any, sets: Any) -> dict:
    """Errors on the test set and time of a fresh configuration."""
    frames = [one.atoms.copy() for one in sets.test]
    model.evaluate([sets.train[0].atoms.copy()])
    begin = time.process_time()
    predicted = model.evaluate(frames)
    seconds = [time.process_time() - begin]
    for again in range(1, PASSES):
        fresh = [frame.copy() for frame in frames]
        rng = np.random.default_rng(again)
        for frame in fresh:
            frame.positions += rng.normal(0.0, 0.005, frame.positions.shape)
        begin = time.process_time()
        model.evaluate(fresh)
        seconds.append(time.process_time() - begin)
    n_atoms = np.array([len(frame) for frame in frames])
    energies = np.array([one.label.energy for one in sets.test])
    forces = np.concatenate([one.label.forces for one in sets.test])
    stresses = np.array([one.label.stress for one in sets.test])
    one_ms = 1e3 * min(seconds) / len(frames)
    return {
        "E_meV_per_atom": 1e3 * rms((predicted.energies - energies) / n_atoms),
        "E_bias_meV_per_atom": 1e3 * float(np.mean((predicted.energies - energies) / n_atoms)),
        "F_meV_per_A": 1e3 * rms(np.concatenate(predicted.forces) - forces),
        "S_GPa": 160.21766208 * rms(predicted.stresses - stresses),
        "ms": one_ms,
        "us_per_atom": 1e3 * one_ms / float(n_atoms.mean()),
    }


def n_terms(model: Any) -> int | None:
    """Number of basis functions or parameters of a potential, where it has one."""
    if hasattr(model, "n_features"):
        return model.n_features
    template = getattr(getattr(model, "parameters", None), "template", None)
    return getattr(template, "n_scalars", None)


def cpu_seconds() -> float:
    """Processor time of this process and of those that it ran and that have ended."""
    return sum(os.times()[:4])


def rms(values: Any) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


def peak_memory_mb() -> float:
    """Largest resident memory so far of this process, or of one that it ran if that is larger."""
    import resource

    own = 0
    status = Path("/proc/self/status")
    if status.is_file():  # unlike ru_maxrss, without what the parent held at the start
        own = next(int(v.split()[1]) for v in status.read_text().splitlines() if "VmHWM" in v)
    else:
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024


if __name__ == "__main__":
    main()
