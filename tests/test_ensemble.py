"""Gaussian ensembles: variances, weights, and errors that are what they say."""

import numpy as np
import pytest
from ase.thermochemistry import HarmonicThermo
from toys import fcc, wurtzite

from sscha_mlp import units
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix, contract, expand
from sscha_mlp.ensemble.averages import average, effective_sample_size, importance_weights
from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.ensemble.nuclei import harmonic_free_energy, mean_square_amplitudes
from sscha_mlp.ensemble.sampling import Ensemble, Sampler, sample
from sscha_mlp.errors import InputError, RelaxationError

SIGMAS = 4.5
"""A statistical test fails by chance in about one of 100 000 draws; the draws are seeded."""


@pytest.fixture(scope="module")
def state():
    return fcc().harmonic()[0]


def whitened(gaussian, displacements):
    modes = gaussian.dynamical_matrix.modes
    root = np.sqrt(gaussian.dynamical_matrix.supercell.masses3)
    return (displacements * root) @ modes.vectors / np.sqrt(gaussian.mean_squares)


# --- variances and free energies ---------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.0, 1.0, 50.0, 300.0, 3000.0])
def test_mean_squares_are_those_of_a_quantum_oscillator(temperature):
    """``hbar/(2 omega) coth`` is ``<x²> = hbar/omega (n + 1/2)`` with Bose's n."""
    frequencies = np.array([0.5, 4.0, 15.0]) * units.THZ
    values = mean_square_amplitudes(frequencies, temperature)
    quantum = units.HBAR * frequencies
    bosons = 0.0
    if temperature > 0:
        with np.errstate(over="ignore"):
            bosons = 1 / np.expm1(quantum / (units.KB * temperature))
    np.testing.assert_allclose(values, units.HBAR / frequencies * (bosons + 0.5), rtol=1e-12)


def test_the_classical_limit_is_equipartition_and_its_correction_is_of_second_order():
    frequencies = np.array([1.0, 2.0]) * units.THZ
    temperature = 3000.0
    classical = units.KB * temperature / frequencies**2
    ratio = mean_square_amplitudes(frequencies, temperature) / classical
    x = units.HBAR * frequencies / (units.KB * temperature)
    np.testing.assert_allclose(ratio - 1, x**2 / 12, rtol=1e-3)


@pytest.mark.parametrize("temperature", [1.0, 100.0, 1000.0])
def test_the_harmonic_free_energy_is_that_of_ase(state, temperature):
    energies = units.HBAR * state.modes.frequencies
    expected = HarmonicThermo(energies).get_helmholtz_energy(temperature, verbose=False)
    assert harmonic_free_energy(state.modes.frequencies, temperature) == pytest.approx(
        expected,
        rel=1e-6,  # ASE's constants are those of CODATA 2014
    )


def test_the_free_energy_at_0_k_is_the_zero_point_energy_and_its_slope_the_entropy(state):
    frequencies = state.modes.frequencies
    zero_point = 0.5 * units.HBAR * frequencies.sum()
    assert harmonic_free_energy(frequencies, 0.0) == pytest.approx(zero_point, rel=1e-14)
    assert harmonic_free_energy(frequencies, 1e-3) == pytest.approx(zero_point, rel=1e-12)
    entropy = HarmonicThermo(units.HBAR * frequencies).get_entropy(300.0, verbose=False)
    low, high = (harmonic_free_energy(frequencies, t) for t in (299.9, 300.1))
    assert (low - high) / 0.2 == pytest.approx(entropy, rel=1e-5)


@pytest.mark.parametrize("temperature", [-1.0, np.nan, np.inf])
def test_a_temperature_below_zero_or_no_number_is_refused(state, temperature):
    with pytest.raises(InputError, match="is not a number of at least 0"):
        Gaussian(state, temperature)


def test_an_unstable_state_has_no_ensemble(state):
    unstable = state.with_force_constants(-state.force_constants)
    with pytest.raises(RelaxationError, match=r"-\d.*THz.*unstable mode has no"):
        Gaussian(unstable, 300.0)


def test_covariance_and_its_inverse(state):
    gaussian = Gaussian(state, 300.0)
    product = gaussian.inverse_covariance @ gaussian.covariance
    n = state.supercell.n_atoms
    without_translations = np.eye(3 * n) - np.tile(np.eye(3), (n, n)) / n  # one mass: plain mean
    np.testing.assert_allclose(product, without_translations, atol=1e-9)
    # In the classical limit the covariance is k T times the inverse of the force constants.
    hot = Gaussian(state, 1.0e5)
    expected = units.KB * 1.0e5 * np.linalg.pinv(state.matrix, rcond=1e-9, hermitian=True)
    np.testing.assert_allclose(hot.covariance, expected, rtol=1e-4, atol=1e-6)


def test_the_log_density_is_normalised(state, rng):
    """E_p[q/p] = 1 for any two densities of the same volume element, determinants included."""
    wide, narrow = Gaussian(state, 300.0), Gaussian(state, 280.0)
    displacements = wide.displacements(rng.standard_normal((20_000, wide.n_modes)))
    ratio = np.exp(narrow.log_density(displacements) - wide.log_density(displacements))
    estimate = average(ratio)
    assert abs(estimate.value - 1) < SIGMAS * estimate.stderr
    assert estimate.stderr < 0.01


# --- sampling ----------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.0, 300.0])
def test_samples_have_the_covariance_of_the_distribution(temperature, rng):
    state = wurtzite().harmonic()[0]
    ensemble = sample(
        state, temperature=temperature, n_configs=20_000, rng=rng, minimum_distance_ratio=0
    )
    z = whitened(ensemble.gaussian, ensemble.displacements)
    n_pairs = len(z) // 2  # the two of a pair say the same of a covariance
    deviation = (z.T @ z / len(z) - np.eye(z.shape[1])) * np.sqrt(n_pairs)
    np.fill_diagonal(deviation, np.diag(deviation) / np.sqrt(2))
    upper = deviation[np.triu_indices(len(deviation))]
    assert np.abs(upper).max() < 5.0
    assert upper.std() == pytest.approx(1, abs=0.1)
    root_mass = np.sqrt(state.supercell.masses3)
    centre = (ensemble.displacements * root_mass**2).reshape(len(z), -1, 3).sum(axis=1)
    np.testing.assert_allclose(centre, 0, atol=1e-9)  # the centre of mass stays


def test_the_same_seed_draws_the_same_and_another_seed_does_not(state):
    def draw(seed, **options):
        rng = np.random.default_rng(seed)
        return sample(state, temperature=300.0, n_configs=10, rng=rng, **options).displacements

    for options in ({}, {"antithetic": False}, {"sampler": "sobol"}):
        np.testing.assert_array_equal(draw(1, **options), draw(1, **options))
        assert np.abs(draw(1, **options) - draw(2, **options)).max() > 1e-3


def test_antithetic_configurations_are_mirror_images(state, rng):
    ensemble = sample(state, temperature=300.0, n_configs=10, rng=rng)
    np.testing.assert_array_equal(ensemble.displacements[0::2], -ensemble.displacements[1::2])
    odd = average(ensemble.displacements**3, antithetic=True)
    assert np.abs(odd.value).max() < 1e-18 and np.abs(odd.stderr).max() < 1e-18
    with pytest.raises(InputError, match="in antithetic pairs; give an even number"):
        sample(state, temperature=300.0, n_configs=11, rng=rng)
    with pytest.raises(InputError, match="give at least 1"):
        sample(state, temperature=300.0, n_configs=0, rng=rng, antithetic=False)


def test_sobol_converges_faster_than_random(state):
    """Error of the mean potential energy over ten repeats."""
    gaussian = Gaussian(state, 300.0)
    exact = 0.5 * np.trace(state.matrix @ gaussian.covariance)
    errors = {}
    for sampler in Sampler:
        found = []
        for seed in range(10):
            rng = np.random.default_rng(seed)
            u = sample(state, temperature=300.0, n_configs=256, rng=rng, sampler=sampler)
            found.append(0.5 * ((u.displacements @ state.matrix) * u.displacements).sum(1).mean())
        errors[sampler] = np.sqrt(np.mean((np.array(found) - exact) ** 2))
    assert errors[Sampler.SOBOL] < 0.5 * errors[Sampler.RANDOM]


def test_configurations_with_atoms_on_top_of_each_other_are_replaced_and_counted(rng):
    state = wurtzite().harmonic()[0]
    hot = {"temperature": 4000.0, "n_configs": 60}
    everything = sample(state, **hot, rng=np.random.default_rng(3), minimum_distance_ratio=0)
    kept = sample(state, **hot, rng=np.random.default_rng(3), minimum_distance_ratio=0.82)
    shortest = state.crystal.shortest_distance()

    def closest(ensemble):
        frames = [ensemble.configuration(i) for i in range(ensemble.n_configs)]
        distances = [frame.get_all_distances(mic=True) for frame in frames]
        return np.array([d[~np.eye(len(d), dtype=bool)].min() for d in distances])

    bad = (closest(everything) < 0.82 * shortest).reshape(-1, 2).any(axis=1)
    assert 0 < bad.sum() < len(bad)
    assert everything.rejected == 0
    assert kept.rejected >= 2 * bad.sum() and kept.rejected % 2 == 0
    assert kept.n_configs == 60 and closest(kept).min() >= 0.82 * shortest
    good = everything.displacements.reshape(30, 2, -1)[~bad]
    np.testing.assert_array_equal(kept.displacements.reshape(30, 2, -1)[: len(good)], good)


def test_an_ensemble_of_which_most_is_unphysical_ends_with_a_sentence(rng):
    state = wurtzite().harmonic()[0]
    with pytest.raises(RelaxationError, match=r"configurations at 100000 K have atoms closer than"):
        sample(state, temperature=1.0e5, n_configs=20, rng=rng)


def test_configurations_and_amplitudes(state, rng):
    ensemble = sample(state, temperature=300.0, n_configs=4, rng=rng)
    frames = ensemble.configurations()
    positions = state.supercell.crystal.positions
    for k, frame in enumerate(frames):
        u = frame.positions - positions
        np.testing.assert_allclose(u.ravel(), ensemble.displacements[k], atol=1e-12)
        rms = np.sqrt((u**2).sum(axis=1).mean())
        assert ensemble.displacement_rms[k] == pytest.approx(rms)
    assert ensemble.subset(2).n_configs == 2
    with pytest.raises(ValueError, match="read-only"):
        ensemble.displacements[0, 0] = 1.0


# --- weights and averages ----------------------------------------------------------------------


def test_weights_of_the_same_state_are_one(state, rng):
    ensemble = sample(state, temperature=300.0, n_configs=100, rng=rng)
    for target in (ensemble.gaussian, Gaussian(state, 300.0)):
        weights = importance_weights(ensemble, target)
        np.testing.assert_allclose(weights, 1, atol=1e-12)
        assert effective_sample_size(weights) == pytest.approx(100)
    assert effective_sample_size(np.array([1.0, 0, 0, 0])) == 1


TARGETS = {
    "stiffer": lambda s: (s.with_force_constants(1.05 * s.force_constants), 300.0),
    "hotter": lambda s: (s, 315.0),
    "shifted": lambda s: (s.moved(np.array([[0, 0, 0.006], [0, 0, -0.004]] * 2)), 300.0),
    "all": lambda s: (
        s.with_force_constants(0.97 * s.force_constants).moved([[0, 0, 0.004], [0, 0, 0]] * 2),
        305.0,
    ),
}


@pytest.mark.parametrize("name", TARGETS)
def test_reweighted_averages_are_those_of_the_target(name, rng):
    """Mean and variance of bonds, and a quartic energy: against the closed form of the target."""
    bonds = wurtzite(c=-8.0, b=10.0)
    state, _ = bonds.harmonic()
    ensemble = sample(state, temperature=300.0, n_configs=8000, rng=rng, minimum_distance_ratio=0)
    target_state, temperature = TARGETS[name](state)
    target = Gaussian(target_state, temperature)
    weights = importance_weights(ensemble, target)
    assert weights.mean() == pytest.approx(1, abs=1e-12)
    ratio = effective_sample_size(weights) / ensemble.n_configs
    assert 0.2 < ratio < 0.98
    mean, variance, _ = bonds.moments(target)
    elongations = ensemble.displacements @ bonds.projections.T  # from the first state's centroids
    paired = name in ("stiffer", "hotter")
    first = average(elongations, weights, antithetic=paired)
    second = average((elongations - mean) ** 2, weights, antithetic=True)  # pairs are correlated
    assert np.abs(first.value - mean).max() < SIGMAS * max(first.stderr.max(), 1e-12)
    assert np.abs((second.value - variance) / second.stderr).max() < SIGMAS
    # Sums over bonds have small errors: they tell the two states apart.
    old_mean, old_variance, _ = bonds.moments(ensemble.gaussian)
    energy = average((bonds.k * elongations**2).sum(axis=1), weights, antithetic=paired)
    expected, old = (
        (bonds.k * (m**2 + v)).sum() for m, v in ((mean, variance), (old_mean, old_variance))
    )
    assert abs(energy.value - expected) < SIGMAS * energy.stderr
    if name != "shifted":
        assert abs(energy.value - old) > 1.5 * SIGMAS * energy.stderr


@pytest.mark.parametrize("antithetic", [True, False])
@pytest.mark.parametrize("reweighted", [True, False])
def test_standard_errors_are_the_spread_of_repeats(state, antithetic, reweighted):
    """Spread of 300 averages over their standard errors, and coverage of one and two of them."""
    target = Gaussian(state, 315.0) if reweighted else Gaussian(state, 300.0)
    exact = 0.5 * np.trace(state.matrix @ target.covariance)
    rng = np.random.default_rng(11)
    z = []
    for _ in range(300):
        ensemble = sample(
            state,
            temperature=300.0,
            n_configs=200,
            rng=rng,
            antithetic=antithetic,
            minimum_distance_ratio=0,
        )
        u = ensemble.displacements
        weights = importance_weights(ensemble, target) if reweighted else None
        energies = 0.5 * ((u @ state.matrix) * u).sum(axis=1) + u.sum(axis=1) ** 3
        estimate = average(energies, weights, antithetic=antithetic)
        z.append((estimate.value - exact) / estimate.stderr)
    z = np.array(z)
    # Binomial and chi-square limits of 300 repeats at 4 sigma; the ratio estimator's bias is
    # of order 1/n_configs, a few per cent of an error.
    assert z.std() == pytest.approx(1, abs=0.17)
    assert abs(z.mean()) < 4 / np.sqrt(300) + 0.1
    assert np.mean(np.abs(z) < 1) == pytest.approx(0.683, abs=0.11)
    assert np.mean(np.abs(z) < 2) == pytest.approx(0.954, abs=0.05)


def test_the_error_knows_of_uneven_weights():
    """Normal numbers reweighted to a mean of 1: the variance is ``E[w² (x - 1)²] / n = 2 e / n``.

    Without the weights in the residuals it would be 2 / n, an error 1.65 times too small.
    """
    rng = np.random.default_rng(21)
    found = []
    for _ in range(300):
        x = rng.standard_normal(4000)
        found.append(average(x, np.exp(x - 0.5)))
    values = np.array([one.value for one in found])
    errors = np.array([one.stderr for one in found])
    expected = np.sqrt(2 * np.e / 4000)
    assert values.std(ddof=1) == pytest.approx(expected, rel=0.17)  # chi-square of 300, 4 sigma
    assert np.sqrt((errors**2).mean()) == pytest.approx(expected, rel=0.1)
    assert abs(values.mean() - 1) < 0.15 * expected + 4 * expected / np.sqrt(300)


def test_pairs_counted_as_independent_would_understate_the_error(state, rng):
    """For an even function the two of a pair are copies: the error is sqrt(2) larger."""
    ensemble = sample(state, temperature=300.0, n_configs=400, rng=rng)
    values = (ensemble.displacements**2).sum(axis=1)
    paired, single = average(values, antithetic=True), average(values)
    assert paired.stderr / single.stderr == pytest.approx(np.sqrt(2), rel=0.01)
    assert paired.value == single.value


def test_averages_of_arrays_are_averages_of_their_elements(rng):
    values = rng.standard_normal((50, 3, 4))
    weights = rng.uniform(0.5, 1.5, 50)
    whole = average(values, weights)
    one = average(values[:, 1, 2], weights)
    assert whole.value.shape == whole.stderr.shape == (3, 4)
    assert whole.value[1, 2] == pytest.approx(one.value)
    assert whole.stderr[1, 2] == pytest.approx(one.stderr)
    constant = average(np.full(50, 3.0), weights)
    assert constant.value == pytest.approx(3) and constant.stderr == pytest.approx(0, abs=1e-15)


def test_an_ensemble_is_what_it_was_drawn_from(state, rng):
    ensemble = sample(state, temperature=300.0, n_configs=4, rng=rng)
    assert isinstance(ensemble, Ensemble)
    assert ensemble.dynamical_matrix is state
    assert ensemble.temperature == 300.0


def test_the_same_numbers_in_one_frame_are_near_each_other_in_states_that_are_near():
    """Equal modes have any vectors; a common frame takes that freedom away."""
    state, _ = fcc().harmonic()
    near = state.with_force_constants(state.force_constants * 1.0001)
    noise = np.random.default_rng(1).normal(size=state.force_constants.shape)
    bent = DynamicalMatrix(
        state.supercell,
        hermitian_part(state.supercell, near.force_constants + 1e-5 * noise),
    )
    drawn = [
        sample(one, temperature=300.0, n_configs=512, rng=np.random.default_rng(0), frame=state)
        for one in (state, bent)
    ]
    own = sample(state, temperature=300.0, n_configs=512, rng=np.random.default_rng(0))
    np.testing.assert_allclose(drawn[0].displacements, own.displacements, atol=1e-12)
    size = np.abs(own.displacements).max()
    assert np.abs(drawn[1].displacements - drawn[0].displacements).max() < 1e-3 * size
    other = sample(bent, temperature=300.0, n_configs=512, rng=np.random.default_rng(0))
    assert np.abs(other.displacements - own.displacements).max() > 0.1 * size
    covariance = drawn[1].displacements.T @ drawn[1].displacements / 512
    exact = bent_covariance(bent)
    assert np.abs(covariance - exact).max() < 0.3 * np.abs(exact).max()


def hermitian_part(supercell, constants):
    """Symmetric force constants that leave the translations alone."""
    matrix = expand(supercell, constants)
    matrix = 0.5 * (matrix + matrix.T)
    rest = np.eye(len(matrix)) - np.tile(np.eye(3), (supercell.n_atoms,) * 2) / supercell.n_atoms
    return contract(supercell, rest @ matrix @ rest)


def bent_covariance(state):
    """``sum_k e_k e_k^T a_k² / m`` with the modes of the whole supercell."""
    gaussian = Gaussian(state, 300.0)
    columns = state.modes.vectors / np.sqrt(state.supercell.masses3)[:, None]
    return (columns * gaussian.mean_squares) @ columns.T
