"""The SSCHA itself, against closed forms, finite differences and symmetry.

The toys of :mod:`toys` have exact Gaussian averages, so that every estimator, gradient and
minimum is compared with a number that no sampling went into.
"""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from toys import Bonds, CalculatorEvaluator, fcc, wurtzite

from sscha_mlp import units
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix, contract, symmetrise
from sscha_mlp.crystal.structure import Crystal
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.ensemble.averages import Estimate, average, importance_weights
from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.ensemble.sampling import sample
from sscha_mlp.errors import ConfigError, InputError, RelaxationError
from sscha_mlp.scha.cell import CellMode
from sscha_mlp.scha.convergence import Allowed, CrystalScale, Tolerances, judge
from sscha_mlp.scha.estimators import DegenerateModes, Samples, degenerate_sets, estimate
from sscha_mlp.scha.minimiser import MinimiserSettings, MinimiserStop, minimise
from sscha_mlp.scha.mixing import centroid_step
from sscha_mlp.scha.relaxation import (
    RelaxationSettings,
    evaluate_ensemble,
    pressure_of,
    relax,
)

SIGMAS = 4.5
"""By chance in about one of 100 000 draws; the draws are seeded."""

EXACT = 1.0e-9

TIGHT = MinimiserSettings(min_sample_ratio=0.2, meaningful_factor=1e-4)


def draw(state, evaluator, temperature, n_configs, seed=0, **options):
    options = {"minimum_distance_ratio": 0, **options}
    rng = np.random.default_rng(seed)
    ensemble = sample(state, temperature=temperature, n_configs=n_configs, rng=rng, **options)
    return evaluate_ensemble(ensemble, evaluator)


def exact_change(bonds, group, gaussian):
    """``< d²V/du² > - Phi``, compact, from the closed form."""
    exact = symmetrise(group, contract(bonds.supercell, bonds.curvature(gaussian)))
    return exact - gaussian.dynamical_matrix.force_constants


def exact_shifts(bonds, group, gaussian):
    """First-order frequency shift of each mode: ``e* dD e / 2 omega``, by degenerate sets."""
    state = gaussian.dynamical_matrix
    changed = state.with_force_constants(
        state.force_constants + 1e-6 * exact_change(bonds, group, gaussian)
    )
    return (changed.frequencies_at_qpoints() - state.frequencies_at_qpoints()) / 1e-6


# --- the harmonic crystal ----------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.0, 300.0])
def test_a_harmonic_crystal_is_its_own_sscha(temperature):
    """F = F_harm with no error at all, ESS = N, no gradient, nothing to minimise."""
    bonds = wurtzite()
    state, group = bonds.harmonic()
    samples = draw(state, bonds, temperature, 20)
    result = estimate(samples, group)
    assert result.free_energy.value == pytest.approx(
        Gaussian(state, temperature).free_energy, abs=EXACT
    )
    assert result.free_energy.stderr < EXACT
    assert result.effective_sample_size == pytest.approx(20)
    assert np.abs(result.force_constant_change).max() < EXACT
    assert np.abs(result.frequency_shifts.value).max() < EXACT
    assert np.abs(result.centroid_forces.value).max() < EXACT
    minimum = minimise(samples, group, MinimiserSettings())
    assert minimum.reason is MinimiserStop.CONVERGED and len(minimum.steps) == 1


def test_a_harmonic_crystal_found_from_a_wrong_start_by_reweighting():
    """From 20 % stiffer force constants the true ones are found exactly: the residual is linear."""
    bonds = fcc()
    state, group = bonds.harmonic()
    wrong = state.with_force_constants(1.2 * state.force_constants)
    samples = draw(wrong, bonds, 300.0, 400)
    minimum = minimise(samples, group, replace(TIGHT, meaningful_factor=1e-6))
    expected = state.modes.frequencies_thz
    found = minimum.dynamical_matrix.modes.frequencies_thz
    # Sampling noise of Upsilon u u vanishes with the residual forces.
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert minimum.estimators.free_energy.value == pytest.approx(
        Gaussian(state, 300.0).free_energy, abs=1e-6
    )


# --- estimators against closed forms -----------------------------------------------------------

STATES = {
    # name: toy, temperature, shift of the centroids along c
    "fcc quartic": (fcc(b=3.0), 600.0, None),
    "wurtzite at 0 K": (wurtzite(c=-8.0, b=10.0, tension=0.1, offset=-3.0), 0.0, None),
    "wurtzite": (wurtzite(c=-8.0, b=10.0, tension=0.1, offset=-3.0), 600.0, None),
    "wurtzite moved": (wurtzite(c=-8.0, b=10.0), 300.0, [[0, 0, 0.03], [0, 0, 0]] * 2),
}


@pytest.fixture(scope="module", params=list(STATES))
def sampled(request):
    """Bonds, group, Gaussian and estimators of 4000 configurations."""
    bonds, temperature, shift = STATES[request.param]
    state, group = bonds.harmonic()
    if shift is not None:
        state = state.moved(shift)
    samples = draw(state, bonds, temperature, 4000, seed=5)
    return bonds, group, Gaussian(state, temperature), estimate(samples, group)


def test_the_free_energy_is_that_of_the_closed_form(sampled):
    bonds, _, gaussian, result = sampled
    assert abs(result.free_energy.value - bonds.free_energy(gaussian)) < (
        SIGMAS * result.free_energy.stderr
    )
    assert result.free_energy.stderr < 1e-3 * bonds.supercell.n_atoms


def test_the_centroid_forces_are_those_of_the_closed_form(sampled):
    bonds, group, gaussian, result = sampled
    expected = group.symmetrise_vectors(bonds.centroid_forces(gaussian))
    error = np.maximum(result.centroid_forces.stderr, EXACT)
    assert np.abs((result.centroid_forces.value - expected) / error).max() < SIGMAS


def test_the_stress_is_that_of_the_closed_form(sampled):
    bonds, group, gaussian, result = sampled
    expected = group.symmetrise_tensor(bonds.stress(gaussian))
    error = np.maximum(result.stress.stderr, EXACT)
    assert np.abs((result.stress.value - expected) / error).max() < SIGMAS
    assert pressure_of(np.diag([1.0, 2.0, 3.0])) == -2.0


def test_the_frequency_shifts_and_their_errors_are_those_of_the_closed_form(sampled):
    bonds, group, gaussian, result = sampled
    expected = exact_shifts(bonds, group, gaussian)
    shifts = result.frequency_shifts
    moving = shifts.stderr > 1e-12
    z = (shifts.value - expected)[moving] / shifts.stderr[moving]
    assert np.abs(z).max() < SIGMAS
    assert np.abs(expected).max() > 5 * shifts.stderr.max()  # there is something to see
    assert (~moving).sum() == 3  # the translations


def test_the_force_constants_are_those_of_the_closed_form(sampled):
    """The shifts of all modes of the symmetrised matrix: no element is left out."""
    _, group, gaussian, result = sampled
    state = gaussian.dynamical_matrix
    found = DegenerateModes.of(state, group)
    constants = result.force_constant_change
    np.testing.assert_allclose(symmetrise(group, constants), constants, atol=EXACT)
    np.testing.assert_allclose(
        result.force_constants, state.force_constants + constants, atol=EXACT
    )
    # The frequency shifts are the projections of this very matrix.
    small = state.with_force_constants(state.force_constants + 1e-6 * constants)
    slope = (small.frequencies_at_qpoints() - state.frequencies_at_qpoints()) / 1e-6
    means = np.zeros_like(slope)
    for label in np.unique(found.labels):
        means[found.labels == label] = slope[found.labels == label].mean()
    means[np.abs(state.frequencies_at_qpoints()) < 1e-3] = 0
    np.testing.assert_allclose(result.frequency_shifts.value, means, atol=2e-6)


# --- gradients by finite differences -----------------------------------------------------------


def directions(state, group, rng, n=3):
    """Random symmetric changes of the force constants, small against the softest modes."""
    noise = rng.standard_normal((n, *state.force_constants.shape))
    symmetric = np.array([symmetrise(group, one) for one in noise])
    scale = 1e-4 * np.abs(state.force_constants).max() / np.abs(symmetric).max()
    return scale * symmetric


def test_the_gradient_with_respect_to_force_constants_is_a_derivative_of_the_free_energy(rng):
    """``dF = -1/2 Tr(dPsi (Phi - <d²V>))`` along symmetric directions.

    On one ensemble both sides are reweighted: they agree to the noise of the sample, which is
    that of Isserlis' identity; in the closed form they agree exactly.
    """
    bonds = wurtzite(c=-8.0, b=10.0)
    state, group = bonds.harmonic()
    samples = draw(state, bonds, 600.0, 4000, seed=2)
    here = Gaussian(state, 600.0)
    change = estimate(samples, group).force_constant_change
    u = samples.ensemble.displacements
    for direction in directions(state, group, rng):
        free, exact, covariance, scores = [], [], [], []
        for sign in (1, -1):
            trial = Gaussian(
                state.with_force_constants(state.force_constants + sign * direction), 600.0
            )
            free.append(estimate(samples, group, trial=trial).free_energy.value)
            exact.append(bonds.free_energy(trial))
            covariance.append(trial.covariance)
            scores.append(trial)
        slope = 0.5 * (covariance[0] - covariance[1])
        gap = bonds.curvature(here) - state.matrix
        assert 0.5 * (exact[0] - exact[1]) == pytest.approx(0.5 * np.trace(slope @ gap), rel=1e-3)
        sampled_gap = DynamicalMatrix(state.supercell, change).matrix
        predicted = 0.5 * np.trace(slope @ sampled_gap)
        # Their difference has the noise of Isserlis' identity, configuration by configuration.
        score = np.log(weights_of(samples, scores[0])) - np.log(weights_of(samples, scores[1]))
        residual = samples.energies - 0.5 * (u @ state.matrix * u).sum(axis=1)
        forces = samples.forces + u @ state.matrix
        by_parts = 0.5 * ((u @ here.inverse_covariance) * (forces @ slope)).sum(axis=1)
        moved = DynamicalMatrix(state.supercell, direction).matrix
        harmonic = 0.5 * ((u @ moved) * u).sum(axis=1)
        difference = 0.5 * score * (residual - residual.mean()) - harmonic + by_parts
        noise = average(difference, antithetic=True).stderr
        assert abs(0.5 * (free[0] - free[1]) - predicted) < SIGMAS * noise
        assert abs(0.5 * (exact[0] - exact[1]) - predicted) < SIGMAS * noise


def weights_of(samples, trial):
    return importance_weights(samples.ensemble, trial)


def test_the_centroid_force_is_a_derivative_of_the_free_energy():
    bonds = wurtzite(c=-8.0, b=10.0)
    state, group = bonds.harmonic()
    samples = draw(state, bonds, 600.0, 4000, seed=3)
    result = estimate(samples, group)
    step = np.array([[0, 0, 2e-5], [0, 0, -2e-5]] * 2)
    free, exact = [], []
    for sign in (1, -1):
        trial = Gaussian(state.moved(sign * step), 600.0)
        free.append(estimate(samples, group, trial=trial).free_energy.value)
        exact.append(bonds.free_energy(trial))
    n_cells = state.supercell.n_cells
    work = n_cells * (bonds.centroid_forces(Gaussian(state, 600.0)) * step).sum()
    assert 0.5 * (exact[0] - exact[1]) == pytest.approx(-work, rel=1e-3)
    predicted = -n_cells * (result.centroid_forces.value * step).sum()
    noise = n_cells * (result.centroid_forces.stderr * np.abs(step)).sum()
    assert abs(0.5 * (free[0] - free[1]) - predicted) < SIGMAS * noise
    assert abs(predicted + work) < SIGMAS * noise


@pytest.mark.parametrize(
    "strain",
    [np.diag([1e-4, 1e-4, 0.0]), np.diag([0.0, 0.0, 1e-4]), 1e-4 * np.eye(3)],
    ids=["in the plane", "along c", "volume"],
)
def test_the_stress_is_the_strain_derivative_of_the_free_energy_at_the_same_displacements(strain):
    """Exact for each sample: at fixed u only the centroids and the cell are strained.

    The samples are antithetic, so that even the unsymmetrised terms linear in u vanish.
    """
    bonds = wurtzite(c=-8.0, b=10.0, tension=0.1)
    state, group = bonds.harmonic()
    samples = draw(state, bonds, 600.0, 400, seed=4)
    energies, exact = [], []
    for sign in (1, -1):
        strained = state.strained(sign * strain)
        ensemble = replace(samples.ensemble, gaussian=Gaussian(strained, 600.0))
        values = evaluate_ensemble(ensemble, bonds)
        energies.append(estimate(values, group).free_energy.value)
        exact.append(bonds.free_energy(Gaussian(strained, 600.0)))
    volume = state.supercell.crystal.volume
    stress = estimate(samples, group).stress.value
    assert 0.5 * (energies[0] - energies[1]) == pytest.approx(
        volume * (stress * strain).sum(), rel=1e-4
    )
    exact_stress = bonds.stress(Gaussian(state, 600.0))
    assert 0.5 * (exact[0] - exact[1]) == pytest.approx(
        volume * (exact_stress * strain).sum(), rel=1e-4
    )


def test_the_stress_of_emt_copper_is_the_strain_derivative_of_its_free_energy():
    """A many-body potential; a shear too, which the group of a cubic crystal averages away."""
    supercell = Supercell(Crystal.from_ase(bulk("Cu", "fcc", a=3.65)), (2, 2, 2))
    bonds = Bonds(supercell, 2.9, k=2.0)
    state, group = bonds.harmonic()
    evaluator = CalculatorEvaluator(EMT())
    samples = draw(state, evaluator, 300.0, 6)
    strain = 1e-4 * np.eye(3)
    free = []
    for sign in (1, -1):
        ensemble = replace(
            samples.ensemble, gaussian=Gaussian(state.strained(sign * strain), 300.0)
        )
        free.append(estimate(evaluate_ensemble(ensemble, evaluator), group).free_energy.value)
    volume = supercell.crystal.volume
    stress = estimate(samples, group).stress.value
    assert 0.5 * (free[0] - free[1]) == pytest.approx(volume * (stress * strain).sum(), rel=1e-4)
    np.testing.assert_allclose(stress, stress[0, 0] * np.eye(3), atol=1e-12)


# --- frequency shifts and sets of modes --------------------------------------------------------


@pytest.mark.parametrize("toy", [fcc, wurtzite])
def test_frequency_shifts_are_the_first_order_of_the_true_ones(toy):
    """The residual of a quadratic potential is linear in u: with many samples, its exact shift."""
    bonds = toy()
    state, group = bonds.harmonic()
    rng = np.random.default_rng(8)
    change = directions(state, group, rng, 1)[0]
    other = DynamicalMatrix(state.supercell, change).matrix
    samples = draw(state, bonds, 300.0, 4000, seed=9)
    forces = samples.forces - samples.ensemble.displacements @ other
    shifted = replace(samples, forces=forces)
    shifts = estimate(shifted, group).frequency_shifts
    true = state.with_force_constants(state.force_constants + change).frequencies_at_qpoints()
    true = true - state.frequencies_at_qpoints()
    moving = shifts.stderr > 1e-12
    second_order = np.abs(true).max() * 0.02
    assert np.all(
        np.abs(shifts.value - true)[moving] < SIGMAS * shifts.stderr[moving] + second_order
    )
    assert np.abs(true).max() > 5 * shifts.stderr.max()


def test_modes_that_are_close_by_accident_are_not_averaged_but_degenerate_ones_are():
    """At 15 THz, modes 0.001 THz apart are different; those split by rounding are one set."""
    stars = np.array([0, 1, 1])
    frequencies = np.array([[0, 1e-9, 15.0], [5.0, 5.001, 9.0], [5.0, 5.001, 9.0 + 1e-9]])
    labels, means = degenerate_sets(frequencies, stars)
    assert labels.tolist() == [[0, 0, 1], [2, 3, 4], [2, 3, 4]]
    np.testing.assert_allclose(means, [5e-10, 15.0, 5.0, 5.001, 9.0], atol=1e-8)


def test_sets_of_degenerate_modes_are_those_of_symmetry():
    """P6_3mc on the 2x2x1 grid: singlets and doublets at Γ, stars of three at M."""
    state, group = wurtzite().harmonic()
    stars = group.equivalent_qpoints()
    labels, means = degenerate_sets(state.frequencies_at_qpoints(), stars)
    sizes = np.bincount(labels.ravel())
    assert set(sizes) <= {1, 2, 3} and len(means) == sizes.size
    loose, _ = degenerate_sets(state.frequencies_at_qpoints(), stars, tolerance=1e-7)
    np.testing.assert_array_equal(labels[1:], loose[1:] + labels.max() - loose.max())


# --- the minimiser -----------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.0, 600.0])
def test_the_minimum_of_a_quartic_crystal_is_that_of_the_exact_equations(temperature):
    """fcc with quartic bonds hardens: 9.3 -> 11.1 THz at 600 K, solved without sampling."""
    bonds = fcc(b=3.0)
    state, group = bonds.harmonic()
    exact = bonds.minimum(state, group, temperature)
    # Start near the minimum, so that one ensemble reaches it.
    samples = draw(
        state.with_force_constants(0.9 * exact.force_constants), bonds, temperature, 2000, seed=6
    )
    minimum = minimise(samples, group, TIGHT)
    assert minimum.reason is MinimiserStop.CONVERGED
    found = minimum.dynamical_matrix.frequencies_at_qpoints()
    error = minimum.estimators.frequency_shifts.stderr
    expected = exact.frequencies_at_qpoints()
    moving = error > 1e-12
    assert np.abs((found - expected)[moving] / error[moving]).max() < SIGMAS
    hardening = (expected - state.frequencies_at_qpoints())[moving]
    assert hardening.min() > 8 * error.max()
    free = minimum.estimators.free_energy
    exact_free = bonds.free_energy(Gaussian(exact, temperature))
    assert abs(free.value - exact_free) < SIGMAS * free.stderr
    assert bonds.free_energy(Gaussian(state, temperature)) > exact_free + 3 * free.stderr


def test_the_variational_principle_holds_at_the_minimum(rng):
    """Any other Gaussian state has a higher exact free energy than the exact minimum."""
    bonds = wurtzite(c=-8.0, b=10.0)
    state, group = bonds.harmonic()
    exact = bonds.minimum(state, group, 600.0, centroids=True)
    lowest = bonds.free_energy(Gaussian(exact, 600.0))
    for direction in directions(exact, group, rng, 4):
        for sign in (1, -1):
            other = exact.with_force_constants(exact.force_constants + 5 * sign * direction)
            assert bonds.free_energy(Gaussian(other, 600.0)) > lowest
    for sign in (1, -1):
        moved = exact.moved(sign * np.array([[0, 0, 0.005], [0, 0, 0]] * 2))
        assert bonds.free_energy(Gaussian(moved, 600.0)) > lowest


def test_free_internal_coordinates_move_to_the_exact_minimum():
    """Cubic bonds of wurtzite push Zn and O apart along c; fixed centroids stay where they are."""
    bonds = wurtzite(c=-8.0, b=10.0, tension=0.3)
    state, group = bonds.harmonic()
    exact = bonds.minimum(state, group, 600.0, centroids=True)
    samples = draw(state, bonds, 600.0, 2000, seed=7)
    minimum = minimise(samples, group, replace(TIGHT, min_sample_ratio=0.1))
    assert minimum.reason is MinimiserStop.CONVERGED

    def span(one):  # the free internal coordinate: height of O over Zn
        return one.crystal.positions[1, 2] - one.crystal.positions[0, 2]

    wanted = span(exact) - span(state)
    found = span(minimum.dynamical_matrix) - span(state)
    forces = minimum.estimators.centroid_forces
    assert np.abs(forces.value).max() < 1e-4
    error = np.abs(centroid_step_of(minimum.dynamical_matrix, forces.stderr))
    assert abs(wanted) > 5 * error
    assert abs(found - wanted) < SIGMAS * error
    in_plane = minimum.dynamical_matrix.crystal.positions - state.crystal.positions
    np.testing.assert_allclose(in_plane[:, :2], 0, atol=1e-10)
    fixed = minimise(samples, group, replace(TIGHT, relax_centroids=False)).dynamical_matrix
    np.testing.assert_array_equal(fixed.crystal.positions, state.crystal.positions)


def centroid_step_of(state, force_error):
    """Error of the height of O over Zn from that of the force."""
    blocks = state.force_constants.reshape(4, -1, 4, 3, 3).sum(axis=1)
    gamma = blocks.transpose(0, 2, 1, 3).reshape(12, 12)
    direction = np.array([[0, 0, -1], [0, 0, 1]] * 2).ravel() / 2
    response = np.linalg.pinv(gamma, rcond=1e-6, hermitian=True) @ direction
    return float(np.abs(response.reshape(4, 3)[:, 2]) @ force_error[:, 2])


def test_the_centroid_step_is_newtons():
    """In a harmonic crystal with moved centroids one full step leads back, up to a translation."""
    bonds = wurtzite()
    state, group = bonds.harmonic()
    moved = state.moved([[0, 0, 0.02], [0, 0, 0]] * 2)
    result = estimate(draw(moved, bonds, 300.0, 50), group)
    back = moved.moved(centroid_step(moved, result)).crystal.positions
    drift = back - state.crystal.positions
    np.testing.assert_allclose(drift, np.broadcast_to(drift.mean(axis=0), drift.shape), atol=1e-9)


def test_an_ensemble_that_is_used_up_stops_the_minimiser_at_its_limit():
    bonds = fcc(b=3.0)
    state, group = bonds.harmonic()
    samples = draw(state, bonds, 900.0, 400)
    before = samples.ensemble.displacements.copy()
    minimum = minimise(samples, group, MinimiserSettings(min_sample_ratio=0.7))
    assert minimum.reason is MinimiserStop.SAMPLE_USED_UP
    assert 0.7 * 400 <= minimum.estimators.effective_sample_size < 0.8 * 400
    assert minimum.steps[-1].free_energy < minimum.steps[0].free_energy
    np.testing.assert_array_equal(samples.ensemble.displacements, before)
    few = minimise(samples, group, MinimiserSettings(min_sample_ratio=0.01, max_steps=1))
    assert few.reason is MinimiserStop.MAX_STEPS and len(few.steps) == 2


def test_a_state_without_a_stable_step_ends_with_a_sentence():
    """A potential that pushes atoms off their sites whatever the width of the ensemble."""
    bonds = fcc(k=1.0)
    state, group = bonds.harmonic()
    samples = draw(state, bonds, 300.0, 100)
    away = replace(samples, forces=samples.forces + 1e9 * samples.ensemble.displacements)
    with pytest.raises(RelaxationError, match="softens without limit"):
        minimise(away, group, MinimiserSettings())


@pytest.mark.parametrize(
    "bad",
    [{"min_sample_ratio": 1.0}, {"meaningful_factor": 0.0}, {"max_steps": 0}, {"step": 1.5}],
)
def test_minimiser_settings_out_of_range_are_refused_by_name(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        MinimiserSettings(**bad)


def test_values_that_are_not_finite_never_enter_an_average():
    bonds = fcc()
    state, _ = bonds.harmonic()
    samples = draw(state, bonds, 300.0, 4)
    with pytest.raises(
        InputError, match="energies of the ensemble hold a value that is not finite"
    ):
        replace(samples, energies=np.array([1.0, np.nan, 0.0, 0.0]))
    with pytest.raises(InputError, match="forces of the ensemble have shape"):
        replace(samples, forces=samples.forces[:2])
    zero = samples.minus(samples)
    assert isinstance(zero, Samples)
    assert not zero.energies.any() and not zero.forces.any() and not zero.stresses.any()


# --- the relaxation ----------------------------------------------------------------------------

QUICK = RelaxationSettings(
    n_configs=200,
    max_populations=12,
    minimum_distance_ratio=0,
    tolerances=Tolerances(max_pressure_stderr_gpa=0.5, max_frequency_stderr_thz=0.3),
)


HARD = Tolerances().for_crystal(CrystalScale(1000.0, 40.0, 100.0))


def generator(index):
    return np.random.default_rng([17, index])


@pytest.fixture(scope="module")
def hot_fcc():
    """Fcc with quartic first-shell bonds; the lattice is under tension by its thermal motion."""
    return fcc(b=3.0, tension=0.02)


def test_a_relaxation_converges_to_the_exact_minimum(hot_fcc):
    """Populations start from the harmonic state; all that they converge to is known."""
    state, group = hot_fcc.harmonic()
    populations = list(relax(state, hot_fcc, temperature=600.0, rng=generator, settings=QUICK))
    last = populations[-1]
    assert last.converged and last.ended
    assert last.reason == "gradient, stress and free energy converged"
    assert [p.index for p in populations] == list(range(1, len(populations) + 1))
    assert not any(p.converged or p.ended for p in populations[:-1])
    assert "first population" in populations[0].reason
    strained = DynamicalMatrix(last.state.supercell, state.force_constants)
    exact = hot_fcc.minimum(strained, group, 600.0)
    error = last.minimisation.estimators.frequency_shifts.stderr
    gap = last.state.frequencies_at_qpoints() - exact.frequencies_at_qpoints()
    assert np.abs(gap).max() < SIGMAS * error.max()
    residual = pressure_of(hot_fcc.stress(Gaussian(exact, 600.0))) / units.GPA
    assert abs(residual) < 0.3
    start = pressure_of(hot_fcc.stress(Gaussian(state, 600.0))) / units.GPA
    assert abs(start) > 3 * abs(residual) or abs(start) < 0.3
    free = last.minimisation.estimators.free_energy
    assert abs(free.value - hot_fcc.free_energy(Gaussian(exact, 600.0))) < SIGMAS * free.stderr


def test_a_relaxation_that_is_taken_up_again_goes_on_identically(hot_fcc):
    state, group = hot_fcc.harmonic()
    options = {"temperature": 600.0, "rng": generator, "settings": QUICK, "group": group}
    whole = list(relax(state, hot_fcc, **options))
    assert len(whole) >= 3
    middle = whole[1]
    step = middle.minimisation.steps[-1]
    rest = list(
        relax(
            middle.following,
            hot_fcc,
            **options,
            first_population=3,
            previous_free_energy=(step.free_energy, step.free_energy_stderr),
            points=middle.points,
            reference_volume=state.crystal.volume,
        )
    )
    assert [p.index for p in rest] == [p.index for p in whole[2:]]
    for mine, theirs in zip(rest, whole[2:], strict=True):
        assert mine.reason == theirs.reason
        np.testing.assert_array_equal(mine.ensemble.displacements, theirs.ensemble.displacements)
        np.testing.assert_array_equal(
            mine.following.force_constants, theirs.following.force_constants
        )
        np.testing.assert_array_equal(mine.following.crystal.cell, theirs.following.crystal.cell)


def test_a_pressure_is_reached_and_an_offset_is_a_pressure(hot_fcc):
    """Relaxing at 2 GPa is relaxing at 0 with a stress that is 2 GPa too high."""
    state, _ = hot_fcc.harmonic()
    options = {
        "temperature": 300.0,
        "rng": generator,
        "settings": replace(QUICK, max_populations=3),
    }
    *_, pressed = relax(state, hot_fcc, pressure=2.0, **options)
    *_, offset = relax(state, hot_fcc, stress_offset=2.0 * units.GPA * np.eye(3), **options)
    *_, free = relax(state, hot_fcc, **options)
    np.testing.assert_allclose(
        pressed.following.crystal.cell, offset.following.crystal.cell, atol=1e-12
    )
    assert pressed.following.crystal.volume < 0.99 * free.following.crystal.volume


def test_fixed_cells_and_fixed_volumes():
    bonds = wurtzite(c=-8.0, b=10.0, tension=0.1)
    state, _ = bonds.harmonic()
    tight = replace(QUICK.tolerances, pressure_gpa=1e-3, max_frequency_stderr_thz=1e-3)
    for mode in (CellMode.FIXED, CellMode.FIXED_VOLUME):  # neither ends before its last population
        settings = replace(QUICK, cell=mode, max_populations=3, n_configs=40, tolerances=tight)
        *_, last = relax(state, bonds, temperature=300.0, rng=generator, settings=settings)
        volume = last.following.crystal.volume
        assert volume == pytest.approx(state.crystal.volume, rel=1e-12)
        moved = np.abs(last.following.crystal.cell - state.crystal.cell).max()
        assert bool(moved > 1e-6) is (mode is CellMode.FIXED_VOLUME)


def test_stop_reasons_are_in_words(hot_fcc):
    state, _ = hot_fcc.harmonic()
    settings = replace(QUICK, n_configs=20, max_populations=1, tolerances=Tolerances())
    (only,) = relax(state, hot_fcc, temperature=600.0, rng=generator, settings=settings)
    assert only.ended and not only.converged
    assert "uncertain by" in only.reason and "more configurations are needed" in only.reason


def test_a_crystal_that_runs_away_is_stopped_and_told():
    """Bonds under strong compression expand the lattice past 5 %: the guard ends it there."""
    bonds = fcc(tension=-0.4)
    state, _ = bonds.harmonic()
    settings = replace(QUICK, n_configs=20, max_volume_change=0.05)
    populations = list(relax(state, bonds, temperature=100.0, rng=generator, settings=settings))
    last = populations[-1]
    assert last.ended and not last.converged
    assert "the volume has changed by +" in last.reason and "5 % allowed" in last.reason
    assert len(populations) < settings.max_populations


def test_judgement_of_gradient_stress_and_free_energy():
    bonds = fcc()
    state, group = bonds.harmonic()
    samples = draw(state, bonds, 300.0, 40)
    minimum = minimise(samples, group, MinimiserSettings())
    fresh = estimate(samples, group)
    energy = minimum.steps[-1].free_energy

    def verdict(stress=0.0, error=0.01, previous=(energy, 0.0), **options):
        missing = Estimate(stress * units.GPA * np.eye(3), np.full((3, 3), error * units.GPA))
        cell = options.get("cell", CellMode.VARIABLE)
        return judge(minimum, fresh, missing, previous, allowed=HARD, cell=cell)

    assert verdict() == []
    assert verdict(stress=0.049) == []  # 0.03 + 2 * 0.01
    assert "off its target by 0.051 ± 0.010 GPa" in verdict(stress=0.051)[0]
    assert verdict(stress=5.0, cell=CellMode.FIXED) == []
    assert verdict(stress=5.0, cell=CellMode.FIXED_VOLUME) == []  # hydrostatic: not its business
    assert "uncertain by 0.200 GPa" in verdict(error=0.2)[0]
    assert "still changes by +1.00" in verdict(previous=(energy - 1e-3, 0.0))[0]
    assert verdict(previous=(energy - 1e-3, 4.1e-4)) == []
    assert "nothing" not in verdict(previous=None)[0] and "compare" in verdict(previous=None)[0]
    stiff = state.with_force_constants(1.1 * state.force_constants)
    off = estimate(draw(stiff, bonds, 300.0, 400), group)
    missing = Estimate(np.zeros((3, 3)), np.zeros((3, 3)))
    assert (
        "a mode still shifts by"
        in judge(minimum, off, missing, (energy, 0.0), allowed=HARD, cell=CellMode.VARIABLE)[0]
    )


def test_tolerances_are_those_of_a_hard_crystal_at_most():
    """Diamond has the absolute ones; argon (B = 2 GPa, up to 2 THz) has its own, 25 times less."""
    with pytest.raises(ConfigError, match="tolerance pressure_gpa = 0"):
        Tolerances(pressure_gpa=0.0)
    assert Allowed(0.05, 0.03, 0.2, 0.15, 0.15, 1.0) == HARD
    argon = CrystalScale(bulk_modulus_gpa=2.0, highest_thz=2.0, mode_energy_mev=4.0)
    allowed = Tolerances().for_crystal(argon)
    assert allowed.pressure_gpa == pytest.approx(4e-4)
    assert allowed.frequency_thz == pytest.approx(0.02)
    assert allowed.free_energy_mev == pytest.approx(0.08)
    assert allowed.max_pressure_stderr_gpa == pytest.approx(2 / 300)
    assert Tolerances(pressure_gpa=0.01).for_crystal(argon).pressure_gpa == 0.01
    loose = Tolerances().for_crystal(argon, factor=5.0)
    assert loose.pressure_gpa == pytest.approx(2e-3)


def test_the_scale_of_a_crystal_at_rest_and_hot(hot_fcc):
    """Half a quantum for each mode at 0 K, kT when hot."""
    state, _ = hot_fcc.harmonic()
    frequencies = state.modes.frequencies
    cold = CrystalScale.of(state, 80 * units.GPA, 0.0)
    assert cold.mode_energy_mev == pytest.approx(500 * units.HBAR * frequencies.mean(), rel=1e-9)
    hot = CrystalScale.of(state, 80 * units.GPA, 3000.0)
    assert hot.mode_energy_mev == pytest.approx(1e3 * units.KB * 3000.0, rel=0.01)
    assert hot.bulk_modulus_gpa == pytest.approx(80)
    assert hot.highest_thz == pytest.approx(state.modes.frequencies_thz.max())
