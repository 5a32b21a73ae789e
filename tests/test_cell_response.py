"""Elastic response with internal strain, and the cell steps that are made of it."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from toys import BondsCalculator, CalculatorEvaluator, fcc, wurtzite

from sscha_mlp import units
from sscha_mlp.calculators.registry import get_reference
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix, symmetrise
from sscha_mlp.crystal.finite_displacements import FiniteDisplacements
from sscha_mlp.crystal.structure import Crystal
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import find_space_group
from sscha_mlp.errors import RelaxationError
from sscha_mlp.potentials.protocol import Predictions
from sscha_mlp.scha.cell import CellMode, free_strains
from sscha_mlp.scha.cell_response import CellResponse, cell_response
from sscha_mlp.scha.cell_step import (
    CellPoint,
    cell_strain,
    learnt_stiffness,
    strain_between,
    strained_state,
)
from sscha_mlp.scha.relaxation import RelaxationSettings, pressure_of, relax
from sscha_mlp.validation.cell_errors import cell_shifts

SHEAR = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.5], [0.0, 0.5, 0.0]])
"""Of engineering strain one."""


def harmonic_state(evaluator, atoms, size=(1, 1, 1)):
    """Force constants by finite displacements, with their space group."""
    supercell = Supercell(Crystal.from_ase(atoms), size)
    group = find_space_group(supercell)
    displaced = FiniteDisplacements(group, 0.005)
    forces = evaluator.evaluate(displaced.configurations()).forces
    return displaced.force_constants([np.asarray(one) for one in forces]), group


def along(response, strain, matrix):
    """Second derivative of the energy per volume along a strain."""
    components = response.components(strain)
    return float(components @ matrix @ components)


def test_c44_of_diamond_has_its_internal_strain():
    """Tersoff silicon: C44 = 69 GPa, and 119 with clamped atoms (H. Balamane, T. Halicioglu and
    W. A. Tiller, Phys. Rev. B 46, 2250 (1992)); C11 and C12 do not feel the sublattices."""
    evaluator = CalculatorEvaluator(get_reference("tersoff").make_calculator())
    state, group = harmonic_state(evaluator, bulk("Si", "diamond", a=5.432))
    response = cell_response(evaluator, state, group.restricted("none"))
    assert along(response, SHEAR, response.clamped) / units.GPA == pytest.approx(119, abs=2)
    assert along(response, SHEAR, response.relaxed) / units.GPA == pytest.approx(69, abs=2)
    stretch = np.diag([1.0, 0.0, 0.0])
    assert along(response, stretch, response.relaxed) / units.GPA == pytest.approx(142.5, abs=2)
    assert response.bulk_modulus == pytest.approx(response.clamped_bulk_modulus, rel=1e-6)
    cubic = cell_response(evaluator, state, group)
    assert len(cubic.strains) == 1
    assert cubic.bulk_modulus == pytest.approx(response.bulk_modulus, rel=1e-3)


def test_a_harmonic_crystal_has_the_response_of_its_matrices():
    """Bonds ``k d²/2`` with ``d = n (u_j - u_i + e r)``: C, L and K are sums over bonds."""
    bonds = wurtzite(size=(1, 1, 1))
    state, group = bonds.harmonic()
    response = cell_response(bonds, state, group)
    volume, strains = state.crystal.volume, group.invariant_strains
    assert strains.shape == (2, 3, 3)
    stretch = np.einsum("na,sab,nb->sn", bonds.directions, strains, bonds.vectors)
    clamped = (stretch * bonds.k) @ stretch.T / volume
    pulls = -(stretch * bonds.k) @ bonds.projections
    matrix = (bonds.projections.T * bonds.k) @ bonds.projections
    moved = pulls @ np.linalg.pinv(matrix, rcond=1e-9, hermitian=True)
    np.testing.assert_allclose(response.clamped, clamped, rtol=1e-3, atol=1e-4 * clamped.max())
    expected = clamped - pulls @ moved.T / volume
    np.testing.assert_allclose(response.relaxed, expected, rtol=1e-3, atol=1e-4 * clamped.max())
    np.testing.assert_allclose(
        response.displacements, moved.reshape(2, -1, 3), atol=1e-3 * np.abs(moved).max()
    )
    assert np.abs(moved).max() > 0.05
    assert response.bulk_modulus < response.clamped_bulk_modulus


def test_the_stress_after_relaxing_the_ions_is_that_of_the_relaxed_stiffness():
    """Finite differences on an anharmonic crystal: strain it, let its ions go, look at it."""
    bonds = wurtzite(size=(1, 1, 1), c=-8.0, b=10.0)
    state, group = bonds.harmonic()
    response = cell_response(bonds, state, group)
    step = 5e-4
    for strain in group.invariant_strains:
        stresses, moves = [], []
        for sign in (1, -1):
            atoms = state.crystal.strained(sign * step * strain).to_ase()
            homogeneous = atoms.positions.copy()
            atoms.calc = BondsCalculator(bonds)
            assert BFGS(atoms, logfile=None).run(fmax=1e-7, steps=400)
            stresses.append(atoms.get_stress(voigt=False))
            moves.append(atoms.positions - homogeneous)
        change = response.components((stresses[0] - stresses[1]) / (2 * step))
        expected = response.relaxed @ response.components(strain)
        np.testing.assert_allclose(change, expected, atol=2e-3 * np.abs(response.relaxed).max())
        moved = (moves[0] - moves[1]) / (2 * step)
        moved -= moved.mean(axis=0)
        following = response.following(response.components(strain))
        np.testing.assert_allclose(moved, following, atol=5e-3 * np.abs(moved).max())


def test_a_step_takes_the_ions_along():
    """After one joint step the crystal is on target and at rest, which a cell step alone is not."""
    bonds = wurtzite(size=(1, 1, 1))
    state, group = bonds.harmonic()
    response = cell_response(bonds, state, group)
    target = 0.5 * units.GPA
    strain = cell_strain(target * np.eye(3), response, group, mode=CellMode.VARIABLE)

    def off(moved):
        """Largest deviation of the stress from its target, and largest force."""
        crystal = moved.supercell.crystal
        _, forces, stress = bonds.one(crystal.positions, crystal.cell)
        return np.abs(stress + target * np.eye(3)).max() / target, np.abs(forces).max()

    together, alone = off(strained_state(state, strain, response)), off(state.strained(strain))
    assert together[0] < 0.01 and together[1] < 0.001
    assert alone[0] > 0.03 and alone[1] > 0.003


def test_the_bulk_modulus_of_emt_copper():
    """That of ASE's documentation of EMT, 134 GPa, and the curvature of the energy."""
    evaluator = CalculatorEvaluator(EMT())
    state, group = harmonic_state(evaluator, bulk("Cu", "fcc", a=3.59))
    response = cell_response(evaluator, state, group)
    assert response.bulk_modulus / units.GPA == pytest.approx(134, abs=2)
    energies = []
    for factor in (0.999, 1.0, 1.001):
        atoms = bulk("Cu", "fcc", a=3.59 * factor)
        atoms.calc = EMT()
        energies.append((atoms.get_volume(), atoms.get_potential_energy()))
    (v0, e0), (v1, e1), (v2, e2) = energies
    curvature = 2 * ((e2 - e1) / (v2 - v1) - (e1 - e0) / (v1 - v0)) / (v2 - v0)
    assert response.bulk_modulus == pytest.approx(v1 * curvature, rel=0.01)
    collapsing = CellResponse(
        response.strains, -response.clamped, -response.relaxed, response.displacements
    )
    with pytest.raises(RelaxationError, match=r"bulk modulus of the model is -1\d\d\.\d GPa"):
        cell_strain(np.zeros((3, 3)), collapsing, group, mode=CellMode.VARIABLE)


def test_a_newton_step_of_the_cell_removes_the_stress():
    """EMT copper, 0.5 % too large: one step gives the pressure asked for, to second order."""
    evaluator = CalculatorEvaluator(EMT())
    state, group = harmonic_state(evaluator, bulk("Cu", "fcc", a=3.59 * 1.005))
    target = 1.0 * units.GPA

    def stress_of(crystal):
        return evaluator.evaluate([crystal.to_ase()]).stresses[0]

    stress = stress_of(state.crystal)
    rest, _ = harmonic_state(evaluator, bulk("Cu", "fcc", a=3.59))
    response = cell_response(evaluator, rest, group)
    missing = stress + target * np.eye(3)
    strain = cell_strain(missing, response, group, mode=CellMode.VARIABLE)
    assert abs(pressure_of(stress) - target) > 2 * units.GPA
    after = pressure_of(stress_of(state.crystal.strained(strain)))
    assert after == pytest.approx(target, abs=0.15 * units.GPA)


def test_modes_of_the_cell():
    bonds = wurtzite(size=(1, 1, 1))
    state, group = bonds.harmonic()
    response = cell_response(bonds, state, group)
    stress = np.diag([0.02, 0.02, -0.03]) + 0.01
    fixed = cell_strain(stress, response, group, mode=CellMode.FIXED)
    np.testing.assert_array_equal(fixed, np.zeros((3, 3)))
    free = cell_strain(stress, response, group, mode=CellMode.VARIABLE, largest=0.5)
    np.testing.assert_allclose(free, np.diag(np.diag(free)), atol=1e-12)  # no shear in 6mm
    assert free[0, 0] == pytest.approx(free[1, 1])
    pressed = stress + 5.0 * np.eye(3)
    shape = cell_strain(pressed, response, group, mode=CellMode.FIXED_VOLUME, largest=0.5)
    assert np.linalg.det(np.eye(3) + shape) == pytest.approx(1, abs=1e-12)
    assert shape[0, 0] * shape[2, 2] < 0
    short = cell_strain(pressed, response, group, mode=CellMode.VARIABLE)
    assert np.abs(short).max() == pytest.approx(0.02)


def test_a_fixed_cell_asks_for_no_stiffness():
    """A potential without stress relaxes in a fixed cell; in a free one it is refused in words."""
    bonds = fcc()
    state, group = bonds.harmonic()
    evaluator = WithoutStress(bonds)
    *_, last = relax(
        state,
        evaluator,
        temperature=100.0,
        rng=np.random.default_rng(0),
        settings=RelaxationSettings(n_configs=100, max_populations=2, cell=CellMode.FIXED),
        group=group,
    )
    assert last.bulk_modulus == 0.0
    assert last.allowed.pressure_gpa == pytest.approx(0.03)
    shifts = cell_shifts(
        last.minimisation.estimators, last.response, free_strains(group, CellMode.FIXED)
    )
    assert shifts.volume_stderr == 0.0
    with pytest.raises(RelaxationError, match=r"bulk modulus of the model is 0\.0 GPa"):
        cell_strain(np.eye(3), last.response, group, mode=CellMode.VARIABLE, points=last.points)


class WithoutStress:
    """A toy whose stress is zero, whatever its energy does."""

    def __init__(self, bonds):
        self.bonds = bonds

    def evaluate(self, configurations):
        values = self.bonds.evaluate(configurations)
        return Predictions(values.energies, values.forces, np.zeros_like(values.stresses))


def test_strains_that_symmetry_leaves_free():
    triclinic = np.array([[4.6, 0.4, 0.6], [0.6, 4.4, 0.1], [0.9, -0.3, 5.4]])
    generic = Atoms("NiAl", scaled_positions=[(0, 0, 0), (0.51, 0.47, 0.44)], cell=triclinic)
    generic.pbc = True
    group = find_space_group(Supercell(Crystal.from_ase(generic), (1, 1, 1)))
    for one, count in ((group, 6), (fcc().harmonic()[1], 1), (wurtzite().harmonic()[1], 2)):
        strains = one.invariant_strains
        assert len(strains) == count
        np.testing.assert_allclose(
            np.tensordot(strains, strains, axes=([1, 2], [1, 2])), np.eye(count), atol=1e-12
        )
        np.testing.assert_allclose(one.symmetrise_tensor(strains), strains, atol=1e-12)
        assert len(free_strains(one, CellMode.FIXED_VOLUME)) == count - 1
        kept = free_strains(one, CellMode.FIXED_VOLUME)
        np.testing.assert_allclose(np.trace(kept, axis1=1, axis2=2), 0, atol=1e-12)
        assert len(free_strains(one, CellMode.FIXED)) == 0


# --- what populations teach of the stiffness ----------------------------------------------------


def response_of(stiffness):
    """A made-up response with the strains of wurtzite; clamped atoms make it seven times harder."""
    strains = wurtzite(size=(1, 1, 1)).harmonic()[1].invariant_strains
    stiffness = np.asarray(stiffness, dtype=float)
    return CellResponse(strains, 7 * stiffness, stiffness, np.zeros((2, 4, 3)))


CELL = np.array([[3.25, 0.0, 0.0], [-1.625, 2.8146, 0.0], [0.0, 0.0, 5.2]])
TRUE = np.array([[0.5, 0.1], [0.1, 0.9]])


def measured(response, cell, stiffness, stderr_gpa=1e-4):
    """What a population would find in a cell, were the stress linear in the strain."""
    strain = response.components(strain_between(CELL, cell))
    stress = np.tensordot(stiffness @ strain, response.strains, axes=1)
    return CellPoint(cell, stress / units.GPA, stderr_gpa)


def test_a_strain_between_two_cells():
    strain = np.array([[0.01, 0.002, 0.0], [0.002, -0.01, 0.003], [0.0, 0.003, 0.005]])
    np.testing.assert_allclose(
        strain_between(CELL, CELL @ (np.eye(3) + strain)), strain, atol=1e-14
    )


@pytest.mark.parametrize("wrong", [0.4, 0.45, 1.7, 3.0])
def test_steps_converge_where_newton_steps_oscillate(wrong):
    """A stiffness 0.45 of the true one makes plain Newton steps go to and fro without end."""
    group = wurtzite(size=(1, 1, 1)).harmonic()[1]
    response = response_of(wrong * TRUE)
    target = np.tensordot([0.002, 0.0008], response.strains, axes=1)
    residuals = {}
    for learns in (True, False):
        cell, points = CELL, []
        residuals[learns] = []
        for _ in range(7):
            point = measured(response, cell, TRUE)
            points.append(point)
            missing = point.stress_gpa * units.GPA - target
            residuals[learns].append(float(np.abs(missing).max()))
            strain = cell_strain(
                missing, response, group, mode=CellMode.VARIABLE, points=points if learns else ()
            )
            cell = cell @ (np.eye(3) + strain)
    assert residuals[True][-1] < 1e-2 * residuals[True][0]
    assert residuals[True][-1] < residuals[False][-1]
    assert (residuals[False][3] > residuals[False][0]) is (wrong < 0.5)


def test_what_noise_says_of_the_stiffness_is_not_believed():
    response = response_of(TRUE)
    moved = CELL @ (np.eye(3) + 0.002 * response.strains[0])
    clear = [measured(response, cell, 2 * TRUE) for cell in (CELL, moved)]
    noisy = [measured(response, cell, 2 * TRUE, stderr_gpa=0.5) for cell in (CELL, moved)]
    absurd = [measured(response, cell, 100 * TRUE) for cell in (CELL, moved)]
    same = [clear[0], clear[0]]
    direction = response.components(response.strains[0])
    assert direction @ learnt_stiffness(response, clear) @ direction == pytest.approx(1.0, rel=1e-2)
    for points in (noisy, same, [], clear[:1]):
        np.testing.assert_array_equal(learnt_stiffness(response, points), response.stiffness)
    learnt = learnt_stiffness(response, absurd)
    assert direction @ learnt @ direction == pytest.approx(4 * 0.5, rel=1e-2)
    assert np.linalg.eigvalsh(learnt).min() > 0


def test_an_unstable_internal_coordinate_makes_no_negative_stiffness():
    """Where the ions would gain more than the clamped lattice resists, a part of it is left."""
    soft = CellResponse(
        response_of(TRUE).strains, 7 * TRUE, TRUE - 3 * np.eye(2), np.zeros((2, 4, 3))
    )
    values = np.linalg.eigvalsh(np.linalg.solve(7 * TRUE, soft.stiffness))
    assert values.min() == pytest.approx(0.02)
    assert soft.bulk_modulus > 0


def test_the_optical_compliance_is_the_inverse_without_translations():
    state, _ = wurtzite(size=(2, 1, 1)).harmonic()
    matrix = state.half_grid[0].real
    inverse = state.optical_compliance
    np.testing.assert_allclose(
        inverse, np.linalg.pinv(matrix, rcond=1e-9, hermitian=True), atol=1e-10
    )
    free = fcc().harmonic()[0]
    assert not free.optical_compliance.any() or np.abs(free.optical_compliance).max() < 1e-12


def test_the_relaxed_stiffness_is_what_a_relaxation_of_the_crystal_finds():
    """Hcp copper by EMT under pressure: a and c follow in the ratio that the modulus assumes."""
    atoms = bulk("Cu", "hcp", a=2.55, c=4.2)
    atoms.calc = EMT()
    assert BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-5, steps=200)
    evaluator = CalculatorEvaluator(EMT())
    state, group = harmonic_state(evaluator, atoms)
    state = DynamicalMatrix(state.supercell, symmetrise(group, state.force_constants))
    response = cell_response(evaluator, state, group)
    pressure = 0.2 * units.GPA
    pressed = atoms.copy()
    pressed.calc = EMT()
    target = FrechetCellFilter(pressed, scalar_pressure=pressure)
    assert BFGS(target, logfile=None).run(fmax=1e-6, steps=200)
    change = pressed.get_volume() / atoms.get_volume() - 1
    assert change == pytest.approx(-pressure / response.bulk_modulus, rel=0.02)
