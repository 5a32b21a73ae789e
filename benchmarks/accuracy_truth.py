"""Direct SSCHA with the reference, without a model and without cell steps.

At several fixed cells around the minimum the SSCHA is solved with the reference itself.  The cell
where the stress vanishes, and every quantity there, are read off fits in the strain: linear and
quadratic terms along each strain that symmetry allows.  The same random numbers at every cell make
the fits smooth; the whole is repeated with others, and the spread is the error.

    python benchmarks/accuracy_truth.py quartz argon
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from accuracy_crystals import CASES, Case
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from sscha_mlp import units
from sscha_mlp.calculators.registry import get_reference
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix, make_positive, symmetrise
from sscha_mlp.crystal.finite_displacements import FiniteDisplacements
from sscha_mlp.crystal.primitive import primitive_cell
from sscha_mlp.crystal.structure import Crystal
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import SpaceGroup, find_space_group, symmetrise_structure
from sscha_mlp.potentials.protocol import Predictions
from sscha_mlp.scha.cell import CellMode
from sscha_mlp.scha.cell_step import strain_between
from sscha_mlp.scha.relaxation import Population, RelaxationSettings, relax

TRUTHS: Final = Path(__file__).parent / "accuracy_truths"
REPEATS: Final = 3
STRAIN: Final = 0.004
POPULATIONS: Final = 2


class Reference:
    """Energies, forces and stresses of the reference, one configuration after the other."""

    def __init__(self, calculator: Calculator) -> None:
        self.calculator, self.n_labels = calculator, 0

    def evaluate(self, configurations: Sequence[Atoms]) -> Predictions:
        """Evaluate configurations."""
        energies, forces, stresses = [], [], []
        for atoms in configurations:
            atoms.calc = self.calculator
            energies.append(atoms.get_potential_energy())
            forces.append(atoms.get_forces())
            stresses.append(atoms.get_stress(voigt=False))
            atoms.calc = None
        self.n_labels += len(configurations)
        return Predictions(np.array(energies), tuple(forces), np.array(stresses))


def truth_file(name: str) -> Path:
    """Return where the truth of a crystal is kept."""
    return TRUTHS / f"{name}.json"


def main() -> None:
    """Compute the truths that are named, or all that are missing."""
    wanted = sys.argv[1:] or [name for name in CASES if not truth_file(name).is_file()]
    TRUTHS.mkdir(exist_ok=True)
    for name in wanted:
        started = time.perf_counter()
        truth = truth_of(CASES[name])
        truth["seconds"] = round(time.perf_counter() - started)
        truth_file(name).write_text(json.dumps(truth, indent=1) + "\n")
        volume = truth["volume_A3_per_atom"]
        print(f"{name}: V = {volume['value']:.5f} ± {volume['stderr']:.5f}, {truth['seconds']} s")


def truth_of(case: Case) -> dict[str, Any]:
    """Return cell, coordinates, free energy and frequencies of a crystal at zero pressure."""
    evaluator = Reference(get_reference(case.reference).make_calculator())
    state, group = _at_rest(case, evaluator)
    lowest = float(state.modes.frequencies_thz.min())
    state, _ = make_positive(state, smallest_thz=0.5)
    state = state.with_force_constants(symmetrise(group, state.force_constants))
    rough = RelaxationSettings(n_configs=200, max_populations=10)
    *_, last = relax(
        state, evaluator, temperature=case.temperature, rng=_numbers(0), settings=rough, group=group
    )
    centre = last.state
    for seed in range(1):  # look once, and move the star of cells to where the minimum was found
        found = _one(case, centre, group, evaluator, seed=seed)
        strain = np.tensordot(found["strain"], group.invariant_strains, axes=1)
        centre = centre.strained(strain)
    rows = [_one(case, centre, group, evaluator, seed=10 + k) for k in range(REPEATS)]
    return {
        "reference": case.reference,
        "temperature_K": case.temperature,
        "supercell": list(case.supercell),
        "space_group": group.international,
        "symbols": centre.crystal.symbols,
        "lowest_at_rest_THz": lowest,
        "n_labels": evaluator.n_labels,
        "cell_A": np.mean([row["cell"] for row in rows], axis=0).tolist(),
        **_summary(rows, centre, group),
    }


def _at_rest(case: Case, evaluator: Reference) -> tuple[DynamicalMatrix, SpaceGroup]:
    """Harmonic crystal at rest."""
    crystal = symmetrise_structure(primitive_cell(Crystal.from_ase(case.structure())))
    atoms = crystal.to_ase()
    atoms.calc = evaluator.calculator
    BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-3, steps=300)
    relaxed = Crystal(atoms.cell.array, atoms.positions, crystal.numbers, crystal.masses)
    group = find_space_group(Supercell(symmetrise_structure(relaxed), case.supercell))
    displaced = FiniteDisplacements(group, 0.01)
    forces = evaluator.evaluate(displaced.configurations()).forces
    return displaced.force_constants([np.asarray(one) for one in forces]), group


def _numbers(seed: int):
    return lambda index: np.random.default_rng([seed, index])


def _one(
    case: Case, centre: DynamicalMatrix, group: SpaceGroup, evaluator: Reference, *, seed: int
) -> dict[str, Any]:
    """Solve at the cells of a star of strains and read off where the stress vanishes."""
    basis = group.invariant_strains
    n = len(basis)
    points = np.concatenate([np.zeros((1, n)), STRAIN * np.eye(n), -STRAIN * np.eye(n)])
    found = []
    state = centre
    for point in points:
        here = centre.strained(np.tensordot(point, basis, axes=1))
        start = DynamicalMatrix(
            Supercell(
                here.crystal.moved(
                    (state.crystal.scaled_positions - here.crystal.scaled_positions)
                    @ here.crystal.cell
                ),
                case.supercell,
            ),
            state.force_constants,
        )
        population = _solved(case, start, group, evaluator, seed=seed)
        if not found:
            state = population.state  # the others begin with the solution at the centre
        found.append(_numbers_of(population))
    return _at_zero_stress(points, found, centre, basis)


def _solved(
    case: Case, state: DynamicalMatrix, group: SpaceGroup, evaluator: Reference, *, seed: int
) -> Population:
    """The SSCHA at a fixed cell: every population is drawn with the same numbers."""
    settings = RelaxationSettings(
        n_configs=case.configs, max_populations=POPULATIONS, cell=CellMode.FIXED, reuse=False
    )
    *_, population = relax(
        state,
        evaluator,
        temperature=case.temperature,
        rng=lambda _: np.random.default_rng([seed, 99]),
        settings=settings,
        group=group,
        previous_free_energy=(0.0, 1e6),
    )
    return population


def _numbers_of(population: Population) -> dict[str, np.ndarray]:
    """What a solution says at its cell."""
    state = population.state
    return {
        "stress": population.minimisation.estimators.stress.value,
        "free_energy": np.array(population.minimisation.steps[-1].free_energy),
        "scaled": state.crystal.scaled_positions,
        "frequencies": state.frequencies_at_qpoints() / units.THZ,
    }


def _at_zero_stress(
    points: np.ndarray, found: list[dict[str, np.ndarray]], centre: DynamicalMatrix, basis
) -> dict[str, Any]:
    """Fit every quantity in the strain, solve for the strain without stress, evaluate there."""
    design = np.hstack([np.ones((len(points), 1)), points, points**2])
    fits = {
        key: np.linalg.lstsq(design, np.array([one[key].ravel() for one in found]), rcond=None)[0]
        for key in found[0]
    }
    flat = basis.reshape(len(basis), 9)
    volume = centre.crystal.volume
    strain = np.zeros(len(basis))
    for _ in range(20):
        row = np.concatenate([[1.0], strain, strain**2])
        slope = np.concatenate(
            [np.zeros((len(strain), 1)), np.eye(len(strain)), 2 * np.diag(strain)], axis=1
        )
        stress, change = flat @ (row @ fits["stress"]), slope @ fits["stress"] @ flat.T
        strain = strain - np.linalg.solve(change.T, stress)
    row = np.concatenate([[1.0], strain, strain**2])
    cell = centre.crystal.cell @ (np.eye(3) + np.tensordot(strain, basis, axes=1))
    at = {key: (row @ fit).reshape(found[0][key].shape) for key, fit in fits.items()}
    # The free energy once more as the integral of the stress, which is what moved the cell.
    check = float(np.abs(strain).max())
    if check > 3 * STRAIN:
        print(f"warning: the minimum lies {check:.4f} beyond the cells, V = {volume:.3f}")
    return {"strain": strain, "cell": cell, **at}


def _summary(
    rows: list[dict[str, Any]], centre: DynamicalMatrix, group: SpaceGroup
) -> dict[str, Any]:
    """Means over the repeats with their standard errors."""

    def estimate(values) -> dict[str, Any]:
        array = np.array(values)
        error = array.std(axis=0, ddof=1) / np.sqrt(len(array))
        return {"value": array.mean(axis=0).tolist(), "stderr": error.tolist()}

    n_atoms = centre.crystal.n_atoms
    frequencies = estimate([row["frequencies"] for row in rows])
    irreducible = np.unique(group.equivalent_qpoints())
    return {
        "volume_A3_per_atom": estimate([abs(np.linalg.det(row["cell"])) / n_atoms for row in rows]),
        "free_energy_eV_per_atom": estimate([float(row["free_energy"]) for row in rows]),
        "strain_between": estimate([strain_between(rows[0]["cell"], row["cell"]) for row in rows]),
        "cells_A": [np.asarray(row["cell"]).tolist() for row in rows],
        "scaled_positions": [np.asarray(row["scaled"]).tolist() for row in rows],
        "frequencies_THz": [
            {
                "q": group.supercell.qpoints[q].tolist(),
                "value": frequencies["value"][q],
                "stderr": frequencies["stderr"][q],
            }
            for q in irreducible
        ],
    }


if __name__ == "__main__":
    main()
