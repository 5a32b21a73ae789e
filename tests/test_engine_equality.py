"""Estimators and minimiser held to python-sscha, and both to solutions known exactly.

One ensemble, one group, two codes: the averages are finite sums over the same configurations and
must agree to rounding.  The second code gets masses and temperature in its own constants, so that
``hbar omega`` and ``k T`` are the same energies (``python_sscha.to_ensemble``).
"""

import importlib.util
from functools import cache

import numpy as np
import pytest
from ase.build import bulk
from crystals import CASES
from toys import Bonds, wurtzite

from sscha_mlp import units
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix, symmetrise
from sscha_mlp.crystal.structure import Crystal
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import SpaceGroup, find_space_group
from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.ensemble.nuclei import harmonic_free_energy
from sscha_mlp.ensemble.sampling import sample
from sscha_mlp.errors import InputError
from sscha_mlp.scha import minimiser, python_sscha
from sscha_mlp.scha.estimators import estimate
from sscha_mlp.scha.minimiser import MinimiserSettings, MinimiserStop
from sscha_mlp.scha.python_sscha import TheirSymmetry
from sscha_mlp.scha.python_sscha_averages import their_space_group, upstream_averages
from sscha_mlp.scha.relaxation import evaluate_ensemble

needs_upstream = pytest.mark.skipif(
    importlib.util.find_spec("sscha") is None, reason="python-sscha is not installed"
)
EQUAL = 1e-8  # relative


def settings(free):
    """Minimise to rounding, whatever the errors are."""
    return MinimiserSettings(
        min_sample_ratio=0.2, meaningful_factor=1e-6, max_steps=400, relax_centroids=free
    )


@cache
def samples_of(name, n_configs=None):
    return CASES[name]().draw(n_configs)


@cache
def our_minimum(name, n_configs=None):
    case = CASES[name]()
    result = minimiser.minimise(samples_of(name, n_configs), case.group, settings(case.free))
    assert result.reason is MinimiserStop.CONVERGED
    return result


def without_symmetry(supercell):
    """The group of the identity: averages over lattice translations alone."""
    return SpaceGroup(supercell, np.eye(3)[None], np.zeros((1, 3)), "P1", 1)


def thz(state):
    return state.frequencies_at_qpoints() / units.THZ


def assert_equal(theirs, ours, scale=None):
    """Equal to 1e-8 of the largest value, or of a given scale where that is zero by symmetry."""
    scale = np.abs(ours).max() if scale is None else scale
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=EQUAL * scale)


# --- the cases are what they are meant to be ---------------------------------------------------


def test_temperature_alone_makes_the_perovskite_stable():
    case = CASES["soft perovskite"]()
    at_rest, _ = case.bonds.harmonic()
    assert at_rest.modes.frequencies_thz.min() < -3
    assert case.minimum().modes.frequencies_thz.min() > 2
    assert thz(our_minimum("soft perovskite").dynamical_matrix)[1:].min() > 2


@pytest.mark.parametrize(("name", "number"), list(zip(CASES, (227, 225, 221, 186, 1), strict=True)))
def test_the_crystals_have_their_space_groups(name, number):
    case = CASES[name]()
    assert case.group.number == number
    assert case.free == (name in {"wurtzite", "triclinic"})
    assert case.state.is_positive


# --- averages ----------------------------------------------------------------------------------


def compare_averages(theirs, ours, samples):
    crystal = ours.group.supercell.crystal
    forces = np.sqrt((samples.forces**2).mean())
    assert_equal(theirs.weights, ours.weights)
    assert_equal(theirs.effective_sample_size, ours.effective_sample_size)
    assert_equal(theirs.free_energy, ours.free_energy.value)
    assert_equal(theirs.force_constant_change, ours.force_constant_change)
    assert_equal(theirs.centroid_forces, ours.centroid_forces.value, forces)
    virial = forces * np.sqrt((samples.ensemble.displacements**2).mean())
    assert_equal(theirs.stress, ours.stress.value, virial * crystal.n_atoms / crystal.volume)


@needs_upstream
@pytest.mark.parametrize("reweighted", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_averages_without_symmetry_are_theirs(name, reweighted):
    """Free energy, force constants, forces, weights: as sampled, before any symmetrisation.

    Their stress knows no other way than symmetrised: see the next test.
    """
    case, samples = CASES[name](), samples_of(name)
    trial = case.another() if reweighted else None
    theirs = upstream_averages(samples, trial=trial)
    ours = estimate(samples, without_symmetry(case.state.supercell), trial=trial)
    assert (ours.effective_sample_size < 0.99 * len(ours.weights)) == reweighted
    assert_equal(theirs.weights, ours.weights)
    assert_equal(theirs.effective_sample_size, ours.effective_sample_size)
    assert_equal(theirs.free_energy, ours.free_energy.value)
    assert_equal(theirs.force_constant_change, ours.force_constant_change)
    assert_equal(theirs.centroid_forces, ours.centroid_forces.value, np.abs(samples.forces).max())


@needs_upstream
@pytest.mark.parametrize("symmetry", TheirSymmetry)
@pytest.mark.parametrize("reweighted", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_symmetrised_averages_are_theirs(name, reweighted, symmetry):
    """Their code symmetrises theirs, ours ours, over the same operations."""
    case, samples = CASES[name](), samples_of(name)
    trial = case.another() if reweighted else None
    is_default = symmetry is TheirSymmetry.QE
    group = their_space_group(case.state.supercell) if is_default else case.group
    theirs = upstream_averages(samples, trial=trial, symmetry=symmetry)
    compare_averages(theirs, estimate(samples, group, trial=trial), samples)


@needs_upstream
@pytest.mark.parametrize("temperature", [0.0, 5.0, 2000.0])
def test_averages_are_theirs_from_zero_to_high_temperature(temperature):
    """Where k T is wrong by one part in a million this fails."""
    case = CASES["rock salt"]()
    ensemble = sample(
        case.state,
        temperature=temperature,
        n_configs=40,
        rng=np.random.default_rng(3),
        minimum_distance_ratio=0.0,
    )
    samples = evaluate_ensemble(ensemble, case.bonds)
    trial = Gaussian(case.another().dynamical_matrix, temperature)
    theirs = upstream_averages(samples, trial=trial, symmetry=TheirSymmetry.QE)
    compare_averages(theirs, estimate(samples, case.group, trial=trial), samples)


@needs_upstream
def test_another_temperature_of_the_trial_state_is_refused():
    case = CASES["rock salt"]()
    with pytest.raises(InputError, match=r"at 300\.0 K and the trial state at 200\.0 K"):
        upstream_averages(samples_of("rock salt"), trial=Gaussian(case.state, 200.0))


@needs_upstream
def test_a_supercell_that_their_stars_do_not_close_on_is_refused():
    """3x2x1 of wurtzite; with spglib they symmetrise in the supercell and can do it."""
    bonds = wurtzite((3, 2, 1), b=3.0)
    state, group = bonds.harmonic()
    ensemble = sample(state, temperature=300.0, n_configs=20, rng=np.random.default_rng(0))
    samples = evaluate_ensemble(ensemble, bonds)
    with pytest.raises(InputError, match="cannot symmetrise on this supercell"):
        upstream_averages(samples, symmetry=TheirSymmetry.QE)
    theirs = upstream_averages(samples, symmetry=TheirSymmetry.SPGLIB)
    compare_averages(theirs, estimate(samples, group), samples)


@needs_upstream
@pytest.mark.parametrize(("name", "count"), list(zip(CASES, (24, 48, 48, 12, 1), strict=True)))
def test_their_operations_are_a_subgroup(name, count):
    """They miss the non-symmorphic half of diamond and find that of wurtzite."""
    case = CASES[name]()
    group = their_space_group(case.state.supercell)
    assert group.n_operations == count
    ours = {tuple(row) for row in case.group.rotations.reshape(-1, 9)}
    theirs = {tuple(row) for row in group.rotations.reshape(-1, 9)}
    assert len(theirs) == count
    assert theirs <= ours
    constants = case.state.force_constants  # symmetric under the full group
    turned = group.symmetrise_force_constants(constants)
    np.testing.assert_allclose(turned, constants, atol=1e-10 * np.abs(constants).max())


# --- minima ------------------------------------------------------------------------------------


def relative_positions(state):
    """Positions from the first atom: a rigid shift means nothing."""
    return state.crystal.positions - state.crystal.positions[0]


def compare_minima(ours, theirs):
    n_atoms = ours.estimators.group.supercell.n_atoms
    energies = [one.estimators.free_energy.value / n_atoms for one in (ours, theirs)]
    assert energies[0] == pytest.approx(energies[1], abs=1e-7)  # eV/atom
    states = [one.dynamical_matrix for one in (ours, theirs)]
    np.testing.assert_allclose(thz(states[1]), thz(states[0]), atol=1e-4)
    positions = [relative_positions(state) for state in states]
    np.testing.assert_allclose(positions[1], positions[0], atol=1e-6)  # Å


@needs_upstream
@pytest.mark.parametrize("name", CASES)
def test_the_minimum_of_one_ensemble_is_theirs(name):
    case, ours = CASES[name](), our_minimum(name)
    theirs = python_sscha.minimise(samples_of(name), case.group, settings(case.free))
    compare_minima(ours, theirs)
    moved = np.abs(thz(case.state) - thz(ours.dynamical_matrix)).max()
    assert moved > 0.01  # THz: there was a way to go
    if case.free:
        start, end = (relative_positions(s) for s in (case.state, ours.dynamical_matrix))
        assert np.abs(end - start).max() > 1e-3


@needs_upstream
@pytest.mark.parametrize(
    ("name", "symmetry"),
    [
        ("silicon", TheirSymmetry.QE),
        ("wurtzite", TheirSymmetry.QE),
        ("silicon", TheirSymmetry.SPGLIB),
    ],
)
def test_the_minimum_with_their_symmetrisation_is_ours_over_the_same_operations(name, symmetry):
    case, samples = CASES[name](), samples_of(name)
    is_default = symmetry is TheirSymmetry.QE
    group = their_space_group(case.state.supercell) if is_default else case.group
    ours = minimiser.minimise(samples, group, settings(case.free))
    theirs = python_sscha.minimise(samples, group, settings(case.free), symmetry=symmetry)
    compare_minima(ours, theirs)


def degeneracies(frequencies, tolerance):
    """How many modes of each wave vector share a frequency, smallest sets first."""
    return [
        sorted(np.diff(np.flatnonzero([True, *(np.diff(bands) > tolerance), True])).tolist())
        for bands in frequencies
    ]


@pytest.mark.parametrize("name", CASES)
def test_the_minimum_has_the_degeneracies_of_its_group(name):
    """Those of force constants that have the symmetry and nothing else."""
    state, group = our_minimum(name).dynamical_matrix, CASES[name]().group
    frequencies = np.where(np.abs(thz(state)) < 1e-3, 0.0, thz(state))
    for star in np.unique(group.equivalent_qpoints()):
        of_star = frequencies[group.equivalent_qpoints() == star]
        np.testing.assert_allclose(of_star, of_star[:1].repeat(len(of_star), 0), atol=1e-6)
    noise = np.random.default_rng(11).standard_normal(state.force_constants.shape)
    generic = thz(DynamicalMatrix(state.supercell, symmetrise(group, noise)))
    generic = np.sort(np.where(np.abs(generic) < 1e-4, 0.0, generic))
    assert degeneracies(frequencies, 1e-6) == degeneracies(generic, 1e-6)


# --- exact solutions ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_the_sampled_minimum_is_the_exact_one_within_its_errors(name):
    """1600 configurations: with 400, the free energy of the perovskite is 6 errors too low.

    The minimum of a sampled function lies below the minimum of its average, by a part that falls
    as 1/N and that the standard error does not contain.
    """
    case, result = CASES[name](), our_minimum(name, 1600)
    exact = case.minimum()
    errors = result.estimators.frequency_shifts.stderr / units.THZ
    deviation = np.abs(thz(result.dynamical_matrix) - thz(exact))
    moving = thz(exact) > 1e-3
    assert moving.sum() == 3 * case.state.supercell.n_atoms - 3
    assert np.all(deviation[moving] < 4 * errors[moving] + 1e-6)  # harmonic modes have no error
    energy = result.estimators.free_energy
    best = case.bonds.free_energy(Gaussian(exact, case.temperature))
    assert abs(energy.value - best) < 4 * energy.stderr
    found = case.bonds.free_energy(Gaussian(result.dynamical_matrix, case.temperature))
    assert 0 <= found - best < energy.stderr  # the exact minimum is the lowest, and flat


@pytest.mark.parametrize("name", ["rock salt", "wurtzite", "triclinic"])
def test_a_harmonic_crystal_is_its_own_solution(name):
    """At its own state no step is taken; from another state the exact one is reached."""
    case = CASES[name]()
    bonds = Bonds(case.state.supercell, 4.1, k=2.0, far=0.3)
    state, group = bonds.harmonic()
    here = sample(state, temperature=300.0, n_configs=40, rng=np.random.default_rng(2))
    result = minimiser.minimise(evaluate_ensemble(here, bonds), group, settings(False))
    assert len(result.steps) == 1
    energy = result.estimators.free_energy
    assert energy.value == pytest.approx(Gaussian(state, 300.0).free_energy, rel=1e-12)
    assert energy.stderr < 1e-12
    np.testing.assert_array_equal(result.dynamical_matrix.force_constants, state.force_constants)

    softer = state.with_force_constants(0.95 * state.force_constants)
    there = sample(softer, temperature=300.0, n_configs=200, rng=np.random.default_rng(2))
    result = minimiser.minimise(evaluate_ensemble(there, bonds), group, settings(False))
    np.testing.assert_allclose(thz(result.dynamical_matrix), thz(state), atol=1e-5)


class QuarticPair:
    """Two atoms on quartic springs: per axis one coordinate ``d`` with ``k d² + 2 b d⁴``.

    In one primitive cell of rock salt the two bonds along an axis stretch by d and -d, so each
    axis is an oscillator of the reduced mass.  Its SSCHA is one equation,
    ``Phi = 2 (k + 12 b <d²>)`` with ``<d²>`` the quantum variance at Phi.
    """

    k, b, temperature = 0.4, 3.0, 300.0

    def __init__(self):
        supercell = Supercell(Crystal.from_ase(bulk("NaCl", "rocksalt", a=5.64)), (1, 1, 1))
        self.bonds = Bonds(supercell, 3.0, k=self.k, b=self.b)
        masses = supercell.primitive.masses
        self.mass = masses.prod() / masses.sum()
        self.state, self.group = self.bonds.harmonic()
        self.stiffness = self.solve()
        self.frequency = np.sqrt(self.stiffness / self.mass)

    def variance(self, stiffness):
        omega = np.sqrt(stiffness / self.mass)
        ratio = units.HBAR * omega / (2 * units.KB * self.temperature)
        return units.HBAR / (2 * self.mass * omega) / np.tanh(ratio)

    def solve(self):
        stiffness = 2 * self.k
        for _ in range(200):
            next_one = 2 * (self.k + 12 * self.b * self.variance(stiffness))
            stiffness = 0.5 * (stiffness + next_one)
        return stiffness

    def free_energy(self):
        variance = self.variance(self.stiffness)
        potential = self.k * variance + 6 * self.b * variance**2 - 0.5 * self.stiffness * variance
        return harmonic_free_energy(np.full(3, self.frequency), self.temperature) + 3 * potential

    def sampled(self, n_configs, seed):
        start = self.state.with_force_constants(
            self.state.force_constants * 0.9 * self.stiffness / (2 * self.k)
        )
        ensemble = sample(
            start,
            temperature=self.temperature,
            n_configs=n_configs,
            rng=np.random.default_rng(seed),
            minimum_distance_ratio=0.0,
        )
        return minimiser.minimise(
            evaluate_ensemble(ensemble, self.bonds), self.group, settings(False)
        )


def test_the_quartic_pair_is_solved_by_one_scalar_equation():
    pair = QuarticPair()
    assert pair.stiffness > 1.5 * 2 * pair.k  # far from harmonic
    exact = pair.bonds.minimum(pair.state, pair.group, pair.temperature)
    np.testing.assert_allclose(exact.modes.frequencies, pair.frequency, rtol=1e-10)
    energy = pair.bonds.free_energy(Gaussian(exact, pair.temperature))
    assert energy == pytest.approx(pair.free_energy(), rel=1e-10)


def test_the_sampled_quartic_pair_converges_to_it():
    """Within the error at each N; sixteen times the configurations, a quarter of the deviation."""
    pair = QuarticPair()
    deviations = {}
    for n_configs in (100, 1600):
        results = [pair.sampled(n_configs, seed) for seed in range(100, 124)]
        found = np.array([r.dynamical_matrix.modes.frequencies.mean() for r in results])
        errors = np.array([r.estimators.frequency_shifts.stderr.max() for r in results])
        deviations[n_configs] = np.sqrt(((found - pair.frequency) ** 2).mean())
        assert np.all(np.abs(found - pair.frequency) < 4 * errors)
    energies = np.array([float(r.estimators.free_energy.value) for r in results])
    stderr = np.array([float(r.estimators.free_energy.stderr) for r in results])
    assert np.all(np.abs(energies - pair.free_energy()) < 4 * stderr)
    assert 2.5 < deviations[100] / deviations[1600] < 6.5


def test_the_group_of_the_pair_keeps_its_axes_equal():
    pair = QuarticPair()
    assert find_space_group(pair.state.supercell).n_operations == 48
    frequencies = pair.sampled(100, 0).dynamical_matrix.modes.frequencies_thz
    assert np.ptp(frequencies) < 1e-6
