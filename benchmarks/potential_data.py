"""The labelled data sets of the benchmark of potentials, made once and kept as extended XYZ.

    python benchmarks/potential_data.py --data runs/bench-data

- ``tutorial``: silicon, 16 atoms, harmonic state at 0 K, as in the SSCHA tutorial;
- ``2000K``: the same crystal in its converged SSCHA state at 2000 K and zero pressure;
- ``64atoms``: silicon, 64 atoms, Gaussian displacements of 0.08 Å per component and a symmetric
  strain of 1 % (standard deviation of each component);
- ``sige``: zinc-blende SiGe, 16 atoms, converged SSCHA state at 600 K and zero pressure.

All labels are Tersoff.  Configurations are independent random draws, not antithetic pairs.
"""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from ase import Atoms
from ase.build import bulk

from sscha_mlp.calculators.registry import Reference, get_reference
from sscha_mlp.campaign.context import Context
from sscha_mlp.campaign.start import make_start
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.symmetry import SpaceGroup
from sscha_mlp.data.extxyz import read_extxyz, write_extxyz
from sscha_mlp.data.labels import LabelledConfiguration
from sscha_mlp.ensemble.sampling import sample
from sscha_mlp.reference.label import label, labelled_configurations
from sscha_mlp.reference.store import LabelStore
from sscha_mlp.resources import bundled_file
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.run_files.journal import Journal
from sscha_mlp.run_files.observer import LogObserver
from sscha_mlp.run_files.settings import RunSettings
from sscha_mlp.scha.relaxation import RelaxationSettings, relax
from sscha_mlp.validation.direct import DirectEvaluator

DEFAULT_DIRECTORY = Path(__file__).parents[1] / "runs" / "bench-data"
SEED = 20250
_POPULATION = 512


@dataclass(frozen=True)
class DataSet:
    """Labelled configurations to learn from and to be judged by."""

    name: str
    title: str
    train: tuple[LabelledConfiguration, ...]
    test: tuple[LabelledConfiguration, ...]


@dataclass(frozen=True)
class Recipe:
    """How a data set is made."""

    title: str
    n_train: int
    n_test: int
    reference: str
    draw: Callable[[int, np.random.Generator], list[Atoms]]


def data_set(name: str, directory: Path = DEFAULT_DIRECTORY) -> DataSet:
    """Read a data set, or make and keep it."""
    recipe = RECIPES[name]
    files = [directory / f"{name}-{part}.xyz" for part in ("train", "test")]
    if not all(file.is_file() for file in files):
        directory.mkdir(parents=True, exist_ok=True)
        n_all = recipe.n_train + recipe.n_test
        rng = np.random.default_rng([SEED, list(RECIPES).index(name)])
        frames = recipe.draw(n_all, rng)
        reference = get_reference(recipe.reference)
        done = labelled_configurations(frames, label(frames, reference), origin=f"benchmark-{name}")
        if len(done) != n_all:
            raise SystemExit(f"{n_all - len(done)} configurations of {name} were not labelled.")
        for file, part in zip(files, (done[: recipe.n_train], done[recipe.n_train :]), strict=True):
            write_extxyz(file, part)
    train, test = (read_extxyz(file) for file in files)
    title = f"{recipe.title}: {len(train)} training, {len(test)} test configurations"
    return DataSet(name, title, train, test)


def sscha_start(
    reference: Reference, structure: Path | str, temperature: float
) -> tuple[DynamicalMatrix, SpaceGroup]:
    """Harmonic state of the relaxed structure in a 2x2x2 supercell, as a run begins with it."""
    settings = RunSettings(
        temperature=temperature, structure=str(structure), reference=reference.name, workers=1
    )
    with TemporaryDirectory() as scratch:
        place = RunDirectory(Path(scratch) / "run")
        place.prepare(settings)
        with LabelStore(place.labels) as store:
            context = Context(
                settings, place, Journal(place.journal), store, reference, LogObserver()
            )
            return make_start(context).dynamical_matrix, context.group


def converged_state(reference_name: str, structure: str, temperature: float) -> DynamicalMatrix:
    """SSCHA state at zero pressure, relaxed with the reference itself."""
    reference = get_reference(reference_name)
    start, group = sscha_start(reference, bundled_file(structure), temperature)
    evaluator = DirectEvaluator(reference)
    loop = RelaxationSettings(n_configs=_POPULATION, max_populations=12)
    state = start
    for population in relax(
        start,
        evaluator,
        temperature=temperature,
        rng=lambda k: np.random.default_rng([SEED, k]),
        settings=loop,
        group=group,
    ):
        state = population.following
    return state


def harmonic_silicon(n_configs: int, rng: np.random.Generator) -> list[Atoms]:
    """0 K ensemble of the harmonic state."""
    state, _ = sscha_start(get_reference("tersoff"), bundled_file("silicon.cif"), 0.0)
    return random_draws(state, 0.0, n_configs, rng)


def hot_silicon(n_configs: int, rng: np.random.Generator) -> list[Atoms]:
    """2000 K ensemble of the converged state."""
    return random_draws(converged_state("tersoff", "silicon.cif", 2000.0), 2000.0, n_configs, rng)


def silicon_germanium(n_configs: int, rng: np.random.Generator) -> list[Atoms]:
    """600 K ensemble of the converged state."""
    state = converged_state("tersoff-sige", "silicon-germanium.cif", 600.0)
    return random_draws(state, 600.0, n_configs, rng)


def random_draws(
    state: DynamicalMatrix, temperature: float, n_configs: int, rng: np.random.Generator
) -> list[Atoms]:
    """Independent configurations of one state."""
    ensemble = sample(
        state, temperature=temperature, n_configs=n_configs, rng=rng, antithetic=False
    )
    frames = ensemble.configurations()
    for frame, rms in zip(frames, ensemble.displacement_rms, strict=True):
        frame.info.update(temperature=temperature, displacement_rms=float(rms))
    return frames


def strained_silicon(n_configs: int, rng: np.random.Generator) -> list[Atoms]:
    """64 atoms, displaced and strained."""
    crystal = bulk("Si", "diamond", a=5.432, cubic=True) * (2, 2, 2)
    frames = []
    for _ in range(n_configs):
        frame = crystal.copy()
        strain = np.triu(rng.normal(0.0, 0.01, (3, 3)))
        strain += np.triu(strain, 1).T
        frame.set_cell(frame.cell.array @ (np.eye(3) + strain), scale_atoms=True)
        frame.positions += rng.normal(0.0, 0.08, frame.positions.shape)
        frames.append(frame)
    return frames


RECIPES = {
    "tutorial": Recipe("Si, 16 atoms, 0 K", 100, 100, "tersoff", harmonic_silicon),
    "2000K": Recipe("Si, 16 atoms, SSCHA at 2000 K", 200, 100, "tersoff", hot_silicon),
    "64atoms": Recipe("Si, 64 atoms, 0.08 Å and 1 %", 60, 40, "tersoff", strained_silicon),
    "sige": Recipe("SiGe, 16 atoms, SSCHA at 600 K", 100, 100, "tersoff-sige", silicon_germanium),
}


def main() -> None:
    """Make what is missing and describe all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DEFAULT_DIRECTORY)
    parser.add_argument("sets", nargs="*", choices=[*RECIPES, []], help="all, unless named")
    args = parser.parse_args()
    for name in args.sets or RECIPES:
        begin = time.perf_counter()
        data = data_set(name, args.data)
        energies = [one.label.energy / len(one.atoms) for one in data.test]
        forces = np.concatenate([one.label.forces for one in data.test])
        volume = np.mean([one.atoms.get_volume() / len(one.atoms) for one in data.test])
        print(
            f"{data.title}; {volume:.4f} Å³/atom, energies scatter {1e3 * np.std(energies):.1f} "
            f"meV/atom, forces {1e3 * np.sqrt((forces**2).mean()):.0f} meV/Å rms "
            f"({time.perf_counter() - begin:.1f} s)",
            flush=True,
        )


if __name__ == "__main__":
    main()
