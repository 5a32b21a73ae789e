"""Machine-learned potentials side by side: the same data, one thread, one run.

    python benchmarks/potentials.py                       four data sets, all potentials
    python benchmarks/potentials.py --quick               one data set, what takes seconds
    python benchmarks/potentials.py --mtp '{"level": 16}'   MTP with other settings than ours

Each fit runs in a process of its own, whose largest resident memory is printed (that of gap_fit,
if it is larger).  Where code is compiled at first use, a fit of a few configurations before the
timed one has it compiled; its time is the column ``compile`` and is in no other.  The milliseconds
are those of fresh configurations, none seen twice, neighbour list included: the least of three
passes over as many configurations as the test set has, after one configuration as a warm-up.
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
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

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
    needs: str = ""
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


GAP_TITLE = "GAP, 200 sparse points"
ROWS = {
    "gap": Row(GAP_TITLE, ours, {"kind": "gap", "settings": {}}),
    "mtp": Row("MTP, ours", ours, {"kind": "mtp", "settings": {}}, compiled=True),
    "motep-8": Row(
        "MTP, motep level 8, 200 BFGS",
        motep,
        {"level": 8, "n_steps": 200, "cutoff": 5.0},
        needs="motep",
        quick=False,
    ),
    "motep-12": Row(
        "MTP, motep level 12, 100 BFGS",
        motep,
        {"level": 12, "n_steps": 100, "cutoff": 5.0},
        needs="motep",
        quick=False,
    ),
    "polymlp-linear": Row(
        "pypolymlp, linear, 5 Å",
        polymlp,
        {"cutoff": 5.0, "n_gaussians": 5, "model_type": 1, "max_p": 1, "max_l": (4, 4)},
        needs="pypolymlp",
    ),
    "polymlp-square": Row(
        "pypolymlp, quadratic, 5 Å",
        polymlp,
        {"cutoff": 5.0, "n_gaussians": 4, "model_type": 4, "max_p": 2, "max_l": (4, 4)},
        needs="pypolymlp",
    ),
    "polymlp-large": Row(
        "pypolymlp, large, 4.2 Å",
        polymlp,
        {"cutoff": 4.2, "n_gaussians": 7, "model_type": 4, "max_p": 2, "max_l": (8, 6)},
        needs="pypolymlp",
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
            f"\n{name:<30}{'terms':>7}{'fit (s)':>9}{'compile':>9}{'memory':>9}{'E':>10}"
            f"{'F':>9}{'S':>8}{'evaluation':>13}{'':>9}\n"
            f"{'':<30}{'':>7}{'':>9}{'(s)':>9}{'(MB)':>9}{'meV/atom':>10}{'meV/Å':>9}{'GPa':>8}"
            f"{'ms':>13}{'µs/atom':>9}",
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
        f"{found['title']:<30}{found['terms'] or '':>7}{found['fit_s']:>9.1f}"
        f"{found['compile_s']:>9.1f}{found['memory_MB']:>9.0f}{found['E_meV_per_atom']:>10.3f}"
        f"{found['F_meV_per_A']:>9.2f}{found['S_GPa']:>8.4f}{found['ms']:>13.2f}"
        f"{found['us_per_atom']:>9.1f}"
    )


def apart(key: str, name: str, data: Path, settings: dict | None) -> dict:
    """Measure one row in a process of its own."""
    row = ROWS[key]
    title = row.title if settings is None else f"{row.title} {json.dumps(settings)}"
    described = {"row": key, "data": name, "title": title}
    if row.needs and find_spec(row.needs) is None:
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
            begin = time.perf_counter()
            model = row.make(sets.train, folder, **chosen)
            fit_s = time.perf_counter() - begin
        except (NotAvailableError, SkippedError) as err:
            return {"note": str(err)}
        return {
            "terms": getattr(model, "n_features", None),
            "fit_s": fit_s,
            "compile_s": compile_s,
            "memory_MB": peak_memory_mb(),
            **judge(model, sets),
        }


def judge(model: Any, sets: Any) -> dict:
    """Errors on the test set and time of a fresh configuration."""
    frames = [one.atoms.copy() for one in sets.test]
    model.evaluate([sets.train[0].atoms.copy()])
    begin = time.perf_counter()
    predicted = model.evaluate(frames)
    seconds = [time.perf_counter() - begin]
    for again in range(1, PASSES):
        fresh = [frame.copy() for frame in frames]
        rng = np.random.default_rng(again)
        for frame in fresh:
            frame.positions += rng.normal(0.0, 0.005, frame.positions.shape)
        begin = time.perf_counter()
        model.evaluate(fresh)
        seconds.append(time.perf_counter() - begin)
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
