"""The SSCHA engine beside python-sscha: seconds per step, steps, populations, memory.

python benchmarks/scha_engine.py            all tables (python-sscha at 250 atoms takes most of the
                                            time; about half an hour)
python benchmarks/scha_engine.py --quick    python-sscha at 16 and 54 atoms only (about a minute)

Silicon at 300 K on a potential fitted to Tersoff labels, each measurement in a process of its own
with one thread; times are processor seconds.  python-sscha runs as its users run it: its own
symmetrisation, its default step, ``meaningful_factor`` 0.01 and ``kong_liu_ratio`` 0.5, those of
our minimiser.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from ase.build import bulk

from sscha_mlp.calculators.registry import get_reference
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix, symmetrise
from sscha_mlp.crystal.finite_displacements import FiniteDisplacements
from sscha_mlp.crystal.structure import Crystal
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import SpaceGroup, find_space_group
from sscha_mlp.data.labels import LabelledConfiguration
from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.ensemble.sampling import sample
from sscha_mlp.potentials.registry import fit, load
from sscha_mlp.reference.label import label
from sscha_mlp.scha import minimiser
from sscha_mlp.scha.cell import CellMode, Evaluator
from sscha_mlp.scha.estimators import Samples, estimate
from sscha_mlp.scha.minimiser import MinimiserSettings
from sscha_mlp.scha.relaxation import RelaxationSettings, evaluate_ensemble, relax

LATTICE = 5.432
TEMPERATURE = 300.0
PEERS = ((2, 1000), (3, 500), (4, 200), (5, 200))
"""Repetitions of the primitive cell and configurations, where both codes run."""

ALONE = ((6, 500), (8, 500))


def main() -> None:
    """Print all tables, or do one measurement as a child."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--child", nargs=4, metavar=("WHAT", "SIZE", "N", "MODEL"))
    args = parser.parse_args()
    if args.child:
        what, size, n_configs, model = args.child
        print(json.dumps(MEASURES[what](int(size), int(n_configs), Path(model))))
        return
    tables(quick=args.quick)


def tables(*, quick: bool) -> None:
    """Print all tables."""
    with TemporaryDirectory() as scratch:
        model = Path(scratch) / "model"
        fit_model(model)
        step_table(model, quick=quick)
        population_table(model, quick=quick)
        growth_table(model)


def step_table(model: Path, *, quick: bool) -> None:
    """One minimisation of one population."""
    print("\nOne population minimised, silicon at 300 K (one thread)")
    print(
        f"{'atoms':>6}{'N':>6}{'code':>14}{'operations':>11}{'steps':>7}{'s/step':>9}{'total s':>9}"
        f"{'peak MiB':>9}{'F (eV/atom)':>13}{'softest THz':>12}{'ratio/step':>11}"
    )
    for size, n_configs in (*PEERS, *ALONE):
        ours = child("native", size, n_configs, model)
        step_row(size, n_configs, "native", ours, "")
        if (size, n_configs) in ALONE or (quick and size > 3):
            continue
        theirs = child("python-sscha", size, n_configs, model)
        ratio = theirs["per_step"] / ours["per_step"]
        step_row(size, n_configs, "python-sscha", theirs, f"{ratio:.0f}x")


def step_row(size: int, n_configs: int, code: str, row: dict[str, Any], ratio: str) -> None:
    """Print one row."""
    print(
        f"{2 * size**3:>6}{n_configs:>6}{code:>14}{row['operations']:>11}{row['steps']:>7}"
        f"{row['per_step']:>9.4f}{row['seconds']:>9.2f}{row['peak_mib']:>9.0f}"
        f"{row['free_energy']:>13.6f}{row['softest']:>12.4f}{ratio:>11}",
        flush=True,
    )


def population_table(model: Path, *, quick: bool) -> None:
    """Whole relaxations at fixed cell, with and without the use of earlier populations."""
    print("\nRelaxation of the force constants from the harmonic state, 1000 K, cell fixed")
    print(f"{'atoms':>6}{'N':>6}{'code':>24}{'populations':>13}{'steps':>7}{'evaluations':>13}")
    for size, n_configs in PEERS[: 2 if quick else 3]:
        runs = ["populations", "populations-no-reuse"]
        runs += ["populations-python-sscha"] if size < 4 else []
        for what in runs:
            row = child(what, size, n_configs, model)
            print(
                f"{2 * size**3:>6}{n_configs:>6}{row['code']:>24}{row['populations']:>13}"
                f"{row['steps']:>7}{row['evaluations']:>13}",
                flush=True,
            )


def growth_table(model: Path) -> None:
    """How a step grows with atoms and configurations, and what it is made of."""
    print("\nOne step of ours: milliseconds, and what they are made of")
    print(
        f"{'atoms':>6}{'N':>6}{'step ms':>9}{'weights':>9}{'averages':>10}{'gradient':>10}"
        f"{'modes':>8}{'symmetry':>10}"
    )
    rows: dict[tuple[int, int], float] = {}
    for size, n_configs in ((2, 200), (3, 200), (4, 200), (5, 200), (6, 200), (8, 200)):
        rows[size, n_configs] = growth_row(child("parts", size, n_configs, model), size, n_configs)
    for n_configs in (400, 800, 1600):
        rows[4, n_configs] = growth_row(child("parts", 4, n_configs, model), 4, n_configs)
    atoms = np.log(rows[8, 200] / rows[4, 200]) / np.log(8.0)
    configs = np.log(rows[4, 1600] / rows[4, 200]) / np.log(8.0)
    print(f"grows as atoms^{atoms:.2f} (128 to 1024) and N^{configs:.2f} (200 to 1600)")


def growth_row(row: dict[str, float], size: int, n_configs: int) -> float:
    """Print one row and return the time of a step."""
    shares = "".join(
        f"{100 * row[name] / row['step']:>{width}.0f} %"
        for name, width in (
            ("weights", 7),
            ("averages", 8),
            ("gradient", 8),
            ("modes", 6),
            ("symmetry", 8),
        )
    )
    print(f"{2 * size**3:>6}{n_configs:>6}{1e3 * row['step']:>9.2f}{shares}", flush=True)
    return row["step"]


def child(what: str, size: int, n_configs: int, model: Path) -> dict[str, Any]:
    """Measure in a process of its own: its peak memory is that of the measurement."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", what, str(size), str(n_configs), str(model)],
        check=True,
        capture_output=True,
        text=True,
    )
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


# --- what is measured ----------------------------------------------------------------------------


def fit_model(directory: Path) -> None:
    """Fit an MTP to Tersoff labels of the 16-atom cell."""
    reference = get_reference("tersoff")
    supercell = silicon(2)
    constants = np.zeros((2, 16, 3, 3))
    constants[0, 0] = constants[1, 1] = 12.0 * np.eye(3)  # uncoupled atoms: enough to train on
    state = DynamicalMatrix(supercell, symmetrise(find_space_group(supercell), constants))
    frames = []
    for temperature in (150.0, 500.0, 1200.0):
        ensemble = sample(
            state, temperature=temperature, n_configs=40, rng=np.random.default_rng(1)
        )
        frames += ensemble.configurations()
    done = label(frames, reference)
    data = [
        LabelledConfiguration(frame, one)
        for frame, one in zip(frames, done.labels, strict=True)
        if one is not None
    ]
    settings = {"cutoff": 3.6, "level": 12}
    fit("mtp", data, directory=directory, settings=settings).close()


def silicon(size: int) -> Supercell:
    """Supercell of silicon, its cubic axes along x, y and z: python-sscha finds more of it so."""
    crystal = Crystal.from_ase(bulk("Si", "diamond", a=LATTICE))
    return Supercell(crystal, (size, size, size))


def harmonic(size: int, potential: Evaluator) -> tuple[DynamicalMatrix, SpaceGroup]:
    """Force constants of the potential by finite displacements."""
    group = find_space_group(silicon(size))
    displaced = FiniteDisplacements(group, 0.01)
    forces = potential.evaluate(displaced.configurations()).forces
    return displaced.force_constants(forces), group


def draw(size: int, n_configs: int, model: Path) -> tuple[Samples, SpaceGroup]:
    """A population of the harmonic state with the values of the potential."""
    with load(model) as potential:
        state, group = harmonic(size, potential)
        rng = np.random.default_rng(0)
        ensemble = sample(state, temperature=TEMPERATURE, n_configs=n_configs, rng=rng)
        return evaluate_ensemble(ensemble, potential), group


def measure_native(size: int, n_configs: int, model: Path) -> dict[str, Any]:
    """One minimisation by our engine."""
    samples, group = draw(size, n_configs, model)
    minimiser.minimise(replace(samples), group, MinimiserSettings())  # imports and first calls
    begin = time.process_time()
    done = minimiser.minimise(samples, group, MinimiserSettings())
    seconds = time.process_time() - begin
    return {
        "operations": group.n_operations,
        "steps": len(done.steps),
        "seconds": seconds,
        "per_step": seconds / len(done.steps),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "free_energy": float(done.estimators.free_energy.value) / group.supercell.n_atoms,
        "softest": float(done.dynamical_matrix.modes.frequencies_thz[0]),
    }


def measure_python_sscha(size: int, n_configs: int, model: Path) -> dict[str, Any]:
    """The same by python-sscha alone, without anything of ours inside its loop."""
    from sscha_mlp.scha import python_sscha
    from sscha_mlp.scha.python_sscha_averages import their_space_group

    samples, group = draw(size, n_configs, model)
    with python_sscha.quiet():
        theirs = their_space_group(group.supercell)
        for _ in range(2 if size < 4 else 1):  # the first pays for imports and first calls
            ensemble, _ = python_sscha.to_ensemble(samples, group=theirs)
            minimizer = python_sscha.upstream().sscha.SchaMinimizer.SSCHA_Minimizer(ensemble)
            minimizer.meaningful_factor = 0.01
            minimizer.kong_liu_ratio = 0.5
            minimizer.minim_struct = False
            begin = time.process_time()
            minimizer.init()
            minimizer.run(verbose=0)
            seconds = time.process_time() - begin
        steps = len(minimizer.__fe__)
        final = python_sscha.from_phonons(minimizer.dyn, group.supercell)
    there = estimate(samples, theirs, trial=Gaussian(final, TEMPERATURE))
    return {
        "operations": theirs.n_operations,
        "steps": steps,
        "seconds": seconds,
        "per_step": seconds / max(steps, 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "free_energy": float(there.free_energy.value) / group.supercell.n_atoms,
        "softest": float(final.modes.frequencies_thz[0]),
    }


def measure_populations(
    size: int, n_configs: int, model: Path, *, reuse: bool = True, upstream: bool = False
) -> dict[str, Any]:
    """Populations, steps and evaluations until the criteria of convergence hold."""
    engine = minimiser.minimise
    if upstream:
        from sscha_mlp.scha import python_sscha

        engine = python_sscha.minimise
    settings = RelaxationSettings(n_configs=n_configs, cell=CellMode.FIXED, reuse=reuse)
    with load(model) as potential:
        state, group = harmonic(size, potential)
        populations = list(
            relax(
                state,
                potential,
                temperature=1000.0,
                rng=np.random.default_rng(0),
                settings=settings,
                group=group,
                engine=engine,
            )
        )
    names = {(True, False): "native", (False, False): "native, without reuse"}
    return {
        "code": names.get((reuse, upstream), "python-sscha"),
        "populations": len(populations),
        "steps": sum(len(one.minimisation.steps) for one in populations),
        "evaluations": sum(one.ensemble.n_configs for one in populations),
    }


def measure_parts(size: int, n_configs: int, model: Path) -> dict[str, Any]:
    """Median seconds of one step and of its parts."""
    samples, group = draw(size, n_configs, model)
    state = samples.ensemble.dynamical_matrix
    soft = state.force_constants * 0.99
    times: dict[str, list[float]] = {}
    for _ in range(9):
        clock = [time.process_time()]
        trial = Gaussian(state.with_force_constants(soft), TEMPERATURE)
        clock.append(time.process_time())
        here = estimate(samples, group, trial=trial)
        _ = here.weights
        clock.append(time.process_time())
        _ = here.free_energy, here.change_at_q
        clock.append(time.process_time())
        _ = here.gradient
        clock.append(time.process_time())
        begin = time.process_time()
        group.stars.average(here.change_at_q)
        projection = time.process_time() - begin
        names = ("modes", "weights", "averages", "gradient")
        for name, seconds in zip(names, np.diff(clock), strict=True):
            times.setdefault(name, []).append(float(seconds))
        times["averages"][-1] -= projection
        times.setdefault("symmetry", []).append(projection)
    row = {name: float(np.median(values)) for name, values in times.items()}
    return {**row, "step": sum(row.values())}


MEASURES = {
    "native": measure_native,
    "python-sscha": measure_python_sscha,
    "populations": measure_populations,
    "populations-no-reuse": lambda *args: measure_populations(*args, reuse=False),
    "populations-python-sscha": lambda *args: measure_populations(*args, upstream=True),
    "parts": measure_parts,
}

if __name__ == "__main__":
    main()
