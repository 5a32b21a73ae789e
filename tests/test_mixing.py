"""Steps of a minimisation: positive whatever their length, accelerated, and beyond the sample."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from crystals import CASES
from toys import Bonds, fcc, wurtzite

from sscha_mlp import units
from sscha_mlp.crystal.dynamical_matrix import project, symmetrise
from sscha_mlp.crystal.reciprocal import dynamical
from sscha_mlp.crystal.structure import Crystal
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.ensemble.sampling import sample
from sscha_mlp.errors import RelaxationError
from sscha_mlp.scha.estimators import estimate
from sscha_mlp.scha.minimiser import MinimiserSettings, MinimiserStop, minimise
from sscha_mlp.scha.mixing import Mixer, positive_step
from sscha_mlp.scha.relaxation import evaluate_ensemble


def draw(state, bonds, temperature, n_configs, seed=0):
    ensemble = sample(
        state,
        temperature=temperature,
        n_configs=n_configs,
        rng=np.random.default_rng(seed),
        minimum_distance_ratio=0.0,
    )
    return evaluate_ensemble(ensemble, bonds)


def distance(first, second):
    """Root mean square of the differences of the frequencies, THz."""
    gap = first.frequencies_at_qpoints() - second.frequencies_at_qpoints()
    return np.sqrt((gap**2).mean()) / units.THZ


# --- positive steps ----------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["real grid", "complex grid"])
def start(request):
    """A stable state, its group, and a random change that the group allows, on the half grid."""
    bonds = fcc() if request.param == "real grid" else wurtzite(size=(3, 3, 1))
    state, group = bonds.harmonic()
    noise = np.random.default_rng(4).standard_normal(state.force_constants.shape)
    constants = symmetrise(group, noise)
    constants *= np.abs(state.force_constants).max() / np.abs(constants).max()
    return Gaussian(state, 300.0), group, constants


def stepped(start, constants):
    gaussian, group, _ = start
    change = project(group, dynamical(group.supercell.grid, constants))
    return positive_step(gaussian, change)


def test_small_steps_are_as_asked_for(start):
    """What they are off by is of second order: half the step, a quarter of it."""
    gaussian, _, constants = start
    here = gaussian.dynamical_matrix.force_constants
    off = []
    for size in (2e-4, 1e-4):
        there = stepped(start, size * constants).force_constants
        off.append(np.abs(there - here - size * constants).max())
    assert off[0] < 0.05 * 2e-4 * np.abs(constants).max()
    assert off[0] / off[1] == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("size", [1.0, 10.0])
def test_no_step_makes_a_mode_unstable(start, size):
    """Steps as large as the force constants themselves; one way or the other they add up to less.

    Symmetry and centroids stay as they are.
    """
    gaussian, group, constants = start
    state = gaussian.dynamical_matrix
    plain = [
        state.with_force_constants(state.force_constants + s * size * constants) for s in (1, -1)
    ]
    assert not all(one.is_positive for one in plain)
    for sign in (1, -1):
        after = stepped(start, sign * size * constants)
        assert after.is_positive
        np.testing.assert_allclose(
            symmetrise(group, after.force_constants), after.force_constants, atol=1e-8
        )
        np.testing.assert_array_equal(after.crystal.positions, state.crystal.positions)


def test_a_step_along_the_force_constants_scales_them(start):
    """Up by 1 + b and at most 4, down by 1 / (1 - b)."""
    gaussian, _, _ = start
    here = gaussian.dynamical_matrix.force_constants
    for b, factor in ((0.5, 1.5), (50.0, 4.0), (-1.0, 0.5), (-99.0, 0.01)):
        there = stepped(start, b * here).force_constants
        np.testing.assert_allclose(there, factor * here, atol=1e-9 * np.abs(here).max())


def test_a_mode_that_runs_away_ends_with_a_sentence(start):
    gaussian, _, _ = start
    with pytest.raises(RelaxationError, match=r"A mode of \d+\.\d\d THz or more softens without"):
        stepped(start, -1.1e4 * gaussian.dynamical_matrix.force_constants)


# --- acceleration ------------------------------------------------------------------------------


def plain_iteration(samples, group, settings):
    """Steps of the damped iteration until the criterion of the minimiser; None without an end."""
    current = estimate(samples, group)
    errors = current.frequency_shifts.stderr
    for n_steps in range(1, settings.max_steps + 2):
        tolerance = settings.meaningful_factor * errors + 1e-6 * units.THZ
        if np.all(np.abs(current.gradient) <= tolerance):
            return n_steps
        following = positive_step(current.trial, settings.step * current.change_at_q)
        trial = Gaussian(following, samples.ensemble.temperature)
        current = estimate(samples, group, trial=trial)
    return None


def test_mixing_takes_fewer_steps_than_the_damped_iteration():
    """On the way from the harmonic state of a strongly quartic crystal, whatever the damping."""
    bonds = fcc(b=6.0)
    state, group = bonds.harmonic()
    samples = draw(state, bonds, 300.0, 2000, seed=1)
    settings = MinimiserSettings(min_sample_ratio=0.01, meaningful_factor=1e-4)
    result = minimise(samples, group, settings)
    assert result.reason is MinimiserStop.CONVERGED
    for step in (0.4, 0.8, 1.0):
        plain = plain_iteration(samples, group, replace(settings, step=step))
        assert plain is None or len(result.steps) < plain


@pytest.fixture(scope="module")
def double_well():
    """Two atoms in double wells: per axis ``-0.4 d² + 6 d⁴``, stable by temperature alone.

    At high temperature ``Phi² - 2 k Phi = 24 b kT``: the self-consistent map has the slope
    ``-(1 + 2 |k| / Phi)`` at its fixed point, beyond -1.
    """
    supercell = Supercell(Crystal.from_ase(bulk("NaCl", "rocksalt", a=5.64)), (1, 1, 1))
    bonds = Bonds(supercell, 3.0, k=-0.4, b=3.0)
    other, group = Bonds(supercell, 3.0, k=0.5).harmonic()
    exact = bonds.minimum(other, group, 300.0)
    return bonds, group, exact


def test_a_map_whose_slope_is_beyond_minus_one_converges(double_well):
    """The plain map oscillates about its fixed point; mixing finds it, within the errors."""
    bonds, group, exact = double_well
    assert not bonds.harmonic()[0].is_positive and exact.is_positive
    gaussian = Gaussian(exact, 300.0)
    nudged = exact.with_force_constants(1.001 * exact.force_constants)
    answer = bonds.curvature(Gaussian(nudged, 300.0)) - bonds.curvature(gaussian)
    slope = (answer * exact.matrix).sum() / (0.001 * (exact.matrix**2).sum())
    assert slope < -1.5
    start = exact.with_force_constants(0.9 * exact.force_constants)
    samples = draw(start, bonds, 300.0, 4000, seed=2)
    settings = MinimiserSettings(min_sample_ratio=0.01, meaningful_factor=1e-4)
    assert plain_iteration(samples, group, replace(settings, step=1.0)) is None
    result = minimise(samples, group, replace(settings, step=1.0))
    assert result.reason is MinimiserStop.CONVERGED
    assert len(result.steps) < 15
    # The minimum moves by the shift of the map at a fixed state, divided by one less its slope.
    error = result.estimators.frequency_shifts.stderr.max() / units.THZ / (1 - slope)
    found = result.dynamical_matrix.modes.frequencies_thz
    assert np.abs(found - exact.modes.frequencies_thz).max() < 4.5 * error


def test_the_soft_perovskite_takes_fewer_steps_with_mixing():
    case = CASES["soft perovskite"]()
    samples = case.draw(400, seed=3)
    settings = MinimiserSettings(min_sample_ratio=0.05, meaningful_factor=1e-3)
    result = minimise(samples, case.group, settings)
    assert result.reason is MinimiserStop.CONVERGED
    plain = plain_iteration(samples, case.group, settings)
    assert plain is None or len(result.steps) < plain


def test_states_pack_into_numbers_and_back():
    """The vector that is mixed holds all of a state: force constants and centroids."""
    state, group = wurtzite(size=(3, 3, 1)).harmonic()
    mixer = Mixer(Gaussian(state, 300.0), step=0.8, relax_centroids=True)
    rng = np.random.default_rng(5)
    constants = symmetrise(group, rng.standard_normal(state.force_constants.shape))
    matrices = dynamical(group.supercell.grid, constants)
    vectors = rng.standard_normal((4, 3))
    vectors -= np.average(vectors, axis=0, weights=state.crystal.masses)
    found, moved = mixer._unpack(mixer._pack(matrices, vectors))
    np.testing.assert_allclose(found, matrices, atol=1e-9)
    np.testing.assert_allclose(moved, vectors, atol=1e-9)


def test_centroids_and_force_constants_are_mixed_together():
    """Whatever part of the step is taken, the same minimum is found."""
    bonds = wurtzite(c=-8.0, b=10.0, tension=0.3)
    state, group = bonds.harmonic()
    samples = draw(state, bonds, 300.0, 1000, seed=6)
    settings = MinimiserSettings(min_sample_ratio=0.05, meaningful_factor=1e-4)
    mixed = minimise(samples, group, settings)
    damped = minimise(samples, group, replace(settings, step=0.4))
    assert mixed.reason is damped.reason is MinimiserStop.CONVERGED
    errors = mixed.estimators.frequency_shifts.stderr.max() / units.THZ
    assert distance(mixed.dynamical_matrix, damped.dynamical_matrix) < 0.01 * errors
    moved = mixed.dynamical_matrix.crystal.positions - state.crystal.positions
    same = damped.dynamical_matrix.crystal.positions - state.crystal.positions
    assert np.abs(moved).max() > 5e-4
    np.testing.assert_allclose(moved - moved.mean(axis=0), same - same.mean(axis=0), atol=1e-6)


# --- beyond the sample -------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_the_proposal_is_closer_to_the_minimum_than_what_the_sample_supports(seed):
    bonds = fcc(b=3.0)
    state, group = bonds.harmonic()
    exact = bonds.minimum(state, group, 900.0)
    samples = draw(state, bonds, 900.0, 400, seed=seed)
    result = minimise(samples, group, MinimiserSettings(min_sample_ratio=0.7))
    assert result.reason is MinimiserStop.SAMPLE_USED_UP
    assert result.proposal.is_positive
    supported, proposed = (distance(s, exact) for s in (result.dynamical_matrix, result.proposal))
    assert proposed < 0.7 * supported < 0.7 * distance(state, exact)


def test_a_minimum_that_was_found_is_the_proposal():
    bonds = fcc(b=1.0)
    state, group = bonds.harmonic()
    result = minimise(draw(state, bonds, 200.0, 400), group, MinimiserSettings())
    assert result.reason is MinimiserStop.CONVERGED
    assert result.proposal is result.dynamical_matrix


def test_the_errors_of_the_gradient_are_those_of_the_start():
    """Every step states the error before reweighting; the estimators at the end have their own."""
    bonds = fcc(b=3.0)
    state, group = bonds.harmonic()
    samples = draw(state, bonds, 900.0, 400)
    result = minimise(samples, group, MinimiserSettings(min_sample_ratio=0.5))
    at_start = estimate(samples, group).frequency_shifts.stderr / units.THZ
    stated = np.array([step.gradient_stderr_thz for step in result.steps])
    assert np.all(np.abs(stated[:, None] - at_start.ravel()).min(axis=1) < 1e-12)
    own = result.estimators.frequency_shifts.stderr / units.THZ
    assert np.abs(own - at_start).max() > 0.01 * at_start.max()
