"""Estimators by wave vector against the formulas written out in the whole supercell.

Dense matrices of all coordinates, sums over configurations, averages over moved atoms: slow, and
as the formulas stand in the papers.
"""

import numpy as np
import pytest
from crystals import CASES
from dense import average_over_atoms, without_translations
from toys import fcc, wurtzite

from sscha_mlp import units
from sscha_mlp.crystal.dynamical_matrix import contract, expand, symmetrise
from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.ensemble.sampling import sample
from sscha_mlp.scha.estimators import Samples, estimate, estimate_difference
from sscha_mlp.scha.relaxation import evaluate_ensemble

TEMPERATURE = 500.0
BONDS = {
    "wurtzite": wurtzite(size=(3, 3, 1), c=-8.0, b=10.0, tension=0.1),  # complex wave vectors
    "wurtzite, real grid": wurtzite(c=-8.0, b=10.0, tension=0.1),
    "triclinic": CASES["triclinic"]().bonds,
}


@pytest.fixture(scope="module", params=BONDS)
def case(request):
    """Samples, the group, and a stiffer trial state whose centroids have moved."""
    bonds = BONDS[request.param]
    state, group = bonds.harmonic()
    ensemble = sample(
        state,
        temperature=TEMPERATURE,
        n_configs=30,
        rng=np.random.default_rng(6),
        minimum_distance_ratio=0.0,
    )
    samples = evaluate_ensemble(ensemble, bonds)
    rng = np.random.default_rng(7)
    noise = symmetrise(group, rng.standard_normal(state.force_constants.shape))
    noise *= 0.02 * np.abs(state.force_constants).max() / np.abs(noise).max()
    constants = 1.03 * state.force_constants + noise
    shift = group.symmetrise_vectors(0.01 * rng.standard_normal((state.crystal.n_atoms, 3)))
    assert np.abs(shift).max() > 1e-3
    return samples, group, Gaussian(state.with_force_constants(constants).moved(shift), TEMPERATURE)


def dense_modes(gaussian):
    """Mean squares and vectors of all moving modes, from the matrix of the whole supercell."""
    state = gaussian.dynamical_matrix
    root = np.sqrt(state.supercell.masses3)
    squares, vectors = np.linalg.eigh(state.matrix / np.outer(root, root))
    omega = np.sqrt(squares[3:])
    ratio = units.HBAR * omega / (2 * units.KB * gaussian.temperature)
    return omega, units.HBAR / (2 * omega) / np.tanh(ratio), vectors[:, 3:], root


def covariance(gaussian):
    _, widths, vectors, root = dense_modes(gaussian)
    return (vectors * widths) @ vectors.T / np.outer(root, root)


def inverse(gaussian):
    _, widths, vectors, root = dense_modes(gaussian)
    return (vectors / widths) @ vectors.T * np.outer(root, root)


def displacements_from(samples, gaussian):
    ensemble = samples.ensemble
    home = gaussian.dynamical_matrix.supercell.crystal.positions
    drawn = ensemble.dynamical_matrix.supercell.crystal.positions
    return ensemble.displacements + (drawn - home).ravel()


def density_ratio(samples, gaussian):
    """Weights of mean one, from both densities with their determinants."""
    logs = []
    for one in (gaussian, samples.ensemble.gaussian):
        u = displacements_from(samples, one)
        _, widths, _, _ = dense_modes(one)
        logs.append(-0.5 * ((u @ inverse(one)) * u).sum(axis=1) - 0.5 * np.log(widths).sum())
    ratio = np.exp(logs[0] - logs[1])
    return ratio / ratio.mean()


def symmetrised(group, matrix):
    """Of a matrix of the supercell: transposed, averaged over atoms, translations taken out."""
    inner = without_translations(group.supercell.n_atoms)
    mean = expand(group.supercell, average_over_atoms(group, contract(group.supercell, matrix)))
    return contract(group.supercell, inner @ (0.5 * (mean + mean.T)) @ inner)


def test_covariance_and_inverse_are_sums_over_the_modes_of_the_supercell(case):
    _, _, trial = case
    np.testing.assert_allclose(trial.covariance, covariance(trial), atol=1e-10)
    scale = np.abs(trial.inverse_covariance).max()
    np.testing.assert_allclose(trial.inverse_covariance, inverse(trial), atol=1e-9 * scale)
    omega, widths, _, _ = dense_modes(trial)
    assert trial.log_determinant == pytest.approx(np.log(widths).sum(), abs=1e-7)
    np.testing.assert_allclose(trial.dynamical_matrix.modes.frequencies, omega, atol=1e-8)


def test_weights_are_the_ratio_of_the_densities(case):
    samples, group, trial = case
    found = estimate(samples, group, trial=trial)
    expected = density_ratio(samples, trial)
    np.testing.assert_allclose(found.weights, expected, rtol=1e-7)
    assert found.effective_sample_size < 0.95 * len(expected)  # the trial state is another one
    assert found.effective_sample_size == pytest.approx(
        expected.sum() ** 2 / (expected**2).sum(), rel=1e-7
    )


def test_the_self_consistent_force_constants_are_the_dense_average(case):
    """``- < Upsilon u (f + Phi u) >`` over weighted configurations, then all symmetries."""
    samples, group, trial = case
    weights = density_ratio(samples, trial)
    u = displacements_from(samples, trial)
    residual = samples.forces + u @ trial.dynamical_matrix.matrix
    product = (u * weights[:, None]).T @ residual / weights.sum()
    expected = symmetrised(group, -inverse(trial) @ product)
    found = estimate(samples, group, trial=trial)
    scale = np.abs(expected).max()
    assert scale > 1e-2
    np.testing.assert_allclose(found.force_constant_change, expected, atol=1e-7 * scale)


def test_free_energy_centroid_forces_and_stress_are_the_dense_averages(case):
    samples, group, trial = case
    weights = density_ratio(samples, trial)
    parts = weights / weights.sum()
    u = displacements_from(samples, trial)
    matrix = trial.dynamical_matrix.matrix
    supercell = trial.dynamical_matrix.supercell
    found = estimate(samples, group, trial=trial)
    energies = samples.energies - 0.5 * ((u @ matrix) * u).sum(axis=1)
    omega, _, _, _ = dense_modes(trial)
    thermal = units.KB * TEMPERATURE
    harmonic = (
        units.HBAR * omega / 2 + thermal * np.log1p(-np.exp(-units.HBAR * omega / thermal))
    ).sum()
    assert found.free_energy.value == pytest.approx(parts @ energies + harmonic, abs=1e-8)

    forces = (parts @ (samples.forces + u @ matrix)).reshape(supercell.n_cells, -1, 3).mean(axis=0)
    total = np.zeros_like(forces)
    for rotation, image in zip(group.cartesian_rotations, group.permutations, strict=True):
        total[supercell.primitive_index[image[: len(total)]]] += forces @ rotation.T
    np.testing.assert_allclose(found.centroid_forces.value, total / group.n_operations, atol=1e-9)

    shape = (len(weights), -1, 3)
    work = np.einsum("nia,nib->nab", samples.forces.reshape(shape), u.reshape(shape))
    stress = samples.stresses + work / supercell.crystal.volume
    mean = np.einsum("n,nab->ab", parts, stress)
    mean = 0.5 * (mean + mean.T)
    turned = np.mean([r @ mean @ r.T for r in group.cartesian_rotations], axis=0)
    np.testing.assert_allclose(found.stress.value, turned, atol=1e-10)


def test_the_gradient_is_the_value_of_the_shifts_that_have_errors(case):
    """One is a projection of the averaged matrix, the other an average of projections."""
    samples, group, trial = case
    found = estimate(samples, group, trial=trial)
    shifts = found.frequency_shifts
    np.testing.assert_allclose(found.gradient, shifts.value, atol=1e-7 * np.abs(shifts.value).max())
    assert np.all(found.gradient[0, :3] == 0)


def test_without_symmetry_too(case):
    samples, group, trial = case
    none = group.restricted("none")
    weights = density_ratio(samples, trial)
    u = displacements_from(samples, trial)
    residual = samples.forces + u @ trial.dynamical_matrix.matrix
    product = (u * weights[:, None]).T @ residual / weights.sum()
    expected = symmetrised(none, -inverse(trial) @ product)
    found = estimate(samples, none, trial=trial).force_constant_change
    np.testing.assert_allclose(found, expected, atol=1e-7 * np.abs(expected).max())


# --- the difference of two potentials ----------------------------------------------------------


def test_averages_of_a_difference_are_differences_of_averages(case):
    """Every estimator is linear in the potential, on one ensemble to rounding."""
    samples, group, _ = case
    rng = np.random.default_rng(8)
    other = Samples(
        samples.ensemble,
        samples.energies + 0.1 * rng.standard_normal(len(samples.energies)),
        samples.forces + 0.2 * rng.standard_normal(samples.forces.shape),
        samples.stresses + 0.01 * np.eye(3) * rng.standard_normal((len(samples.energies), 1, 1)),
    )
    first, second = estimate(other, group), estimate(samples, group)
    both = estimate_difference(other.minus(samples), group)
    for name in ("free_energy", "centroid_forces", "stress", "frequency_shifts"):
        expected = getattr(first, name).value - getattr(second, name).value
        np.testing.assert_allclose(getattr(both, name).value, expected, atol=1e-9, err_msg=name)
    expected = first.force_constant_change - second.force_constant_change
    np.testing.assert_allclose(both.force_constant_change, expected, atol=1e-8)


def test_the_difference_of_two_harmonic_crystals_is_known():
    """``< u dPhi u > / 2`` and dPhi itself, within the errors of the sample."""
    soft, hard = fcc(k=1.0), fcc(k=1.1)
    state, _ = soft.harmonic()
    target, group = hard.harmonic()
    ensemble = sample(
        state,
        temperature=TEMPERATURE,
        n_configs=2000,
        rng=np.random.default_rng(9),
        minimum_distance_ratio=0.0,
    )
    difference = evaluate_ensemble(ensemble, hard).minus(evaluate_ensemble(ensemble, soft))
    found = estimate_difference(difference, group)
    change = target.matrix - state.matrix
    wanted = 0.5 * np.trace(change @ ensemble.gaussian.covariance)
    assert abs(found.free_energy.value - wanted) < 4.5 * found.free_energy.stderr
    assert wanted > 10 * found.free_energy.stderr
    omega = state.frequencies_at_qpoints()
    shifts = found.frequency_shifts
    expected = np.where(omega > 1e-6, (np.sqrt(1.1) - 1) * omega, 0)  # to second order in 0.1
    gap = np.abs(shifts.value - expected)
    assert np.all(gap < 4.5 * shifts.stderr + 0.03 * expected + 1e-12)
    assert np.all(expected[1:] > 5 * shifts.stderr[1:])
