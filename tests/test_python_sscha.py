"""The adapter to python-sscha and CellConstructor: the same physics by a second code.

Averages and minima are held to theirs in ``test_engine_equality.py``; here are values, our dyn
files read by them and theirs by us, and the minimiser as an engine.

Their constants differ from ours (CODATA 2018), and from each other: relative to ours, Boltzmann's
constant of CellConstructor is off by -3.4e-7, its bohr by +7e-8 and its Rydberg by -8e-9;
python-sscha has a Rydberg of its own, off by -9e-8, and 157887.324 K for it, off by -1.2e-6, where
ours is 157887.512 K.  Their weights and gradient have 157806.929 K, off by -5.1e-4.  Ensembles get
masses and a temperature that make up for all of this; phonons and files do not.
"""

import os
import warnings

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from toys import BondsCalculator, CalculatorEvaluator, fcc, perovskite, wurtzite

from sscha_mlp import units
from sscha_mlp.calculators.registry import get_reference
from sscha_mlp.crystal.born_charges import BornCharges
from sscha_mlp.crystal.bravais import bravais_cell
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix, symmetrise
from sscha_mlp.crystal.structure import Crystal
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import find_space_group
from sscha_mlp.data.dyn_files import read_dyn_files, write_dyn
from sscha_mlp.ensemble.sampling import sample
from sscha_mlp.scha import minimiser, python_sscha
from sscha_mlp.scha.estimators import estimate
from sscha_mlp.scha.minimiser import MinimiserSettings, MinimiserStop
from sscha_mlp.scha.python_sscha_averages import upstream_averages
from sscha_mlp.scha.relaxation import evaluate_ensemble

pytest.importorskip("sscha", reason="python-sscha is not installed")

TIGHT = MinimiserSettings(min_sample_ratio=0.2, meaningful_factor=1e-4, max_steps=400)


def draw(state, evaluator, temperature, n_configs, seed=0):
    ensemble = sample(
        state, temperature=temperature, n_configs=n_configs, rng=np.random.default_rng(seed)
    )
    return evaluate_ensemble(ensemble, evaluator)


def random_state(atoms, size, rng):
    """Force constants without any meaning but with every symmetry."""
    supercell = Supercell(Crystal.from_ase(atoms), size)
    constants = rng.standard_normal((len(atoms), supercell.n_atoms, 3, 3))
    return DynamicalMatrix(supercell, symmetrise(find_space_group(supercell), constants))


@pytest.fixture(scope="module")
def silicon():
    """Tersoff silicon at 5.45 Å with its force constants, drawn and evaluated at 300 K."""
    supercell = Supercell(Crystal.from_ase(bulk("Si", "diamond", a=5.45)), (2, 2, 2))
    group = find_space_group(supercell)
    evaluator = CalculatorEvaluator(get_reference("tersoff").make_calculator())
    constants = np.zeros((2, 16, 3, 3))
    for atom in range(2):
        for direction in range(3):
            frames = [supercell.crystal.to_ase() for _ in range(2)]
            for frame, sign in zip(frames, (1, -1), strict=True):
                frame.positions[atom, direction] += 0.01 * sign
            plus, minus = evaluator.evaluate(frames).forces
            constants[atom, :, direction] = (minus - plus) / 0.02
    state = DynamicalMatrix(supercell, symmetrise(group, constants))
    return state, group, draw(state, evaluator, 300.0, 200, seed=1)


# --- values and files --------------------------------------------------------------------------

ROUND_TRIPS = {
    "diamond": (bulk("Si", "diamond", a=5.43), (2, 2, 2)),
    "wurtzite": (bulk("ZnO", "wurtzite", a=3.25, c=5.2, u=0.38), (2, 2, 1)),
    "perovskite": (perovskite(), (2, 1, 2)),
    "odd grid": (bulk("NaCl", "rocksalt", a=5.64), (3, 1, 2)),
}


@pytest.mark.parametrize("name", ROUND_TRIPS)
def test_force_constants_survive_the_way_through_their_phonons(name, rng):
    state = random_state(*ROUND_TRIPS[name], rng)
    phonons = python_sscha.to_phonons(state)
    back = python_sscha.from_phonons(phonons, state.supercell)
    scale = np.abs(state.force_constants).max()
    np.testing.assert_allclose(back.force_constants, state.force_constants, atol=1e-10 * scale)
    crystal = python_sscha.from_structure(phonons.structure)
    np.testing.assert_allclose(crystal.positions, state.crystal.positions, atol=1e-12)
    np.testing.assert_allclose(crystal.masses, state.crystal.masses, rtol=1e-12)
    np.testing.assert_array_equal(crystal.numbers, state.crystal.numbers)


def test_their_frequencies_are_ours():
    """Theirs are in Ry: hbar omega.  Masses and units are right when they agree."""
    state, _ = wurtzite().harmonic()
    frequencies, _ = python_sscha.to_phonons(state).DiagonalizeSupercell()
    ours = np.sort(units.HBAR * state.modes.frequencies) / units.RYDBERG
    theirs = np.sort(frequencies)[-len(ours) :]
    np.testing.assert_allclose(theirs, ours, rtol=1e-7)  # their constants


@pytest.mark.parametrize("name", ROUND_TRIPS)
@pytest.mark.parametrize("charged", [False, True])
def test_they_read_the_files_that_we_write(name, charged, rng, tmp_path):
    """Up to their constants; what a matrix holds in Ry/bohr² is the same to the last decimal."""
    import cellconstructor

    state = random_state(*ROUND_TRIPS[name], rng)
    n_atoms = state.crystal.n_atoms
    born = BornCharges(rng.standard_normal((n_atoms, 3, 3)), 4.0 * np.eye(3)) if charged else None
    n_files = len(write_dyn(tmp_path / "dyn", state, born=born)) - 1
    with python_sscha.quiet():
        phonons = cellconstructor.Phonons.Phonons(str(tmp_path / "dyn"), n_files)
        assert tuple(phonons.GetSupercell()) == state.supercell.size
    in_rydberg = python_sscha.upstream().units.force_constants
    scale = units.RYDBERG / units.BOHR**2 / in_rydberg
    back = python_sscha.from_phonons(phonons, state.supercell).force_constants * scale
    np.testing.assert_allclose(back, state.force_constants, atol=1e-13)
    if charged:
        np.testing.assert_allclose(phonons.effective_charges, born.charges, atol=1e-12)
        np.testing.assert_allclose(phonons.dielectric_tensor, born.dielectric, atol=1e-12)


@pytest.mark.parametrize("name", ROUND_TRIPS)
def test_we_read_the_files_that_they_write(name, rng, tmp_path):
    state = random_state(*ROUND_TRIPS[name], rng)
    born = BornCharges(rng.standard_normal((state.crystal.n_atoms, 3, 3)), 4.0 * np.eye(3))
    phonons = python_sscha.to_phonons(state)
    phonons.effective_charges, phonons.dielectric_tensor = born.charges, born.dielectric
    with python_sscha.quiet():
        phonons.save_qe(str(tmp_path / "dyn"))
    found = read_dyn_files(tmp_path / "dyn")
    assert found.state.supercell.size == state.supercell.size
    np.testing.assert_allclose(found.state.crystal.cell, state.crystal.cell, rtol=2e-7)
    np.testing.assert_allclose(found.state.crystal.masses, state.crystal.masses, rtol=1e-7)
    in_rydberg = python_sscha.upstream().units.force_constants
    scale = units.RYDBERG / units.BOHR**2 / in_rydberg
    constants = found.state.force_constants / scale
    np.testing.assert_allclose(constants, state.force_constants, atol=1e-12)
    np.testing.assert_allclose(found.born.charges, born.charges, atol=1e-11)
    np.testing.assert_allclose(found.born.dielectric, born.dielectric, atol=1e-11)


LATTICES = {
    number: (7.0, *((1.3, 1.7, 0.1, 0.2, -0.3) if number not in {5, -5} else (0, 0, 0.25, 0, 0)))
    for number in (1, 2, 3, -3, 4, 5, 6, 7, 8, 9, 91, -12, 13, 14)
}
"""Those that they have as pw.x has them: their -9 has another sign, their 12 another cosine."""


@pytest.mark.parametrize("number", LATTICES)
def test_numbered_lattices_are_theirs(number):
    from cellconstructor.Methods import get_unit_cell_from_ibrav

    with python_sscha.quiet():
        theirs = get_unit_cell_from_ibrav(number, np.array(LATTICES[number]))
    ours = bravais_cell(number, LATTICES[number]) * 7.0 * python_sscha.upstream().units.bohr
    np.testing.assert_allclose(ours, theirs, atol=1e-9)


# --- estimators --------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.0, 300.0, 1000.0])
def test_free_energy_and_stress_are_those_of_their_kernels(temperature):
    """One ensemble, two codes."""
    bonds = wurtzite(c=-8.0, b=10.0, tension=0.1, offset=-3.0)
    state, group = bonds.harmonic()
    samples = draw(state, bonds, temperature, 60)
    ours = estimate(samples, group)
    theirs = upstream_averages(samples)
    assert ours.free_energy.value == pytest.approx(theirs.free_energy, rel=1e-10)
    stress = group.symmetrise_tensor(theirs.stress)
    np.testing.assert_allclose(ours.stress.value, stress, rtol=1e-10, atol=1e-14)


def test_the_kernels_agree_for_silicon(silicon):
    _, group, samples = silicon
    ours, theirs = estimate(samples, group), upstream_averages(samples)
    assert ours.free_energy.value == pytest.approx(theirs.free_energy, rel=1e-10)
    np.testing.assert_allclose(
        ours.stress.value, group.symmetrise_tensor(theirs.stress), atol=1e-9 * units.GPA
    )


# --- the minimiser -----------------------------------------------------------------------------


def compare(samples, group, settings=TIGHT):
    """Minimise with both engines; free energies per atom and frequencies must agree."""
    native = minimiser.minimise(samples, group, settings)
    upstream = python_sscha.minimise(samples, group, settings)
    assert native.reason is MinimiserStop.CONVERGED
    n_atoms = group.supercell.n_atoms
    energies = [one.estimators.free_energy.value / n_atoms for one in (native, upstream)]
    assert energies[0] == pytest.approx(energies[1], abs=1e-6)  # eV/atom
    ours, theirs = (
        one.dynamical_matrix.frequencies_at_qpoints() / units.THZ for one in (native, upstream)
    )
    moving = np.abs(ours) > 1e-3
    np.testing.assert_allclose(theirs[moving], ours[moving], atol=2e-3)  # THz
    return native, upstream


def test_both_engines_find_the_same_minimum_of_silicon(silicon):
    state, group, samples = silicon
    native, upstream = compare(samples, group)
    first = state.frequencies_at_qpoints() / units.THZ
    last = native.dynamical_matrix.frequencies_at_qpoints() / units.THZ
    assert np.abs(first - last).max() > 0.02  # they did move
    assert upstream.steps[0].free_energy == pytest.approx(native.steps[0].free_energy)


def test_both_engines_move_a_free_internal_coordinate_to_the_same_place():
    bonds = wurtzite(c=-8.0, b=10.0, tension=0.6)
    state, group = bonds.harmonic()
    samples = draw(state, bonds, 300.0, 200)
    native, upstream = compare(samples, group)

    def height(one):
        positions = one.dynamical_matrix.crystal.positions
        return positions[1, 2] - positions[0, 2]

    assert height(upstream) == pytest.approx(height(native), abs=2e-5)
    assert (
        abs(height(native) - (state.crystal.positions[1, 2] - state.crystal.positions[0, 2])) > 2e-3
    )


def test_both_engines_agree_in_a_supercell_with_less_symmetry_than_the_crystal():
    """A cubic crystal in 3x2x1: their own stars of wave vectors would not close on this grid."""
    bonds = fcc((3, 2, 1), b=3.0)
    state, group = bonds.harmonic()
    compare(draw(state, bonds, 300.0, 200), group)


def test_their_minimiser_leaves_nothing_behind(tmp_path, monkeypatch):
    """No files in the current directory, no warning filters, no global random numbers."""
    monkeypatch.chdir(tmp_path)
    bonds = fcc(b=3.0)
    state, group = bonds.harmonic()
    samples = draw(state, bonds, 300.0, 40)
    before = samples.ensemble.displacements.copy()
    filters = list(warnings.filters)
    python_sscha.minimise(samples, group, MinimiserSettings())
    assert os.getcwd() == str(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert warnings.filters == filters
    np.testing.assert_array_equal(samples.ensemble.displacements, before)


def test_the_toy_is_an_ase_calculator_too():
    bonds = fcc(b=3.0)
    atoms = bonds.supercell.crystal.to_ase()
    assert isinstance(atoms, Atoms)
    atoms.rattle(0.1, seed=1)
    atoms.calc = BondsCalculator(bonds)
    energy, forces, _ = bonds.one(atoms.positions, atoms.cell.array)
    assert atoms.get_potential_energy() == energy
    np.testing.assert_array_equal(atoms.get_forces(), forces)
