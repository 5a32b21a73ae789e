"""The corrected state against minima that are known in closed form."""

from dataclasses import replace

import numpy as np
import pytest
from toys import fcc, wurtzite

from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.ensemble.sampling import sample
from sscha_mlp.scha.minimiser import MinimiserSettings
from sscha_mlp.scha.relaxation import evaluate_ensemble
from sscha_mlp.validation.certificate import certify
from sscha_mlp.validation.correction import add_difference, correct

TEMPERATURE = 300.0
TIGHT = MinimiserSettings(meaningful_factor=1.0e-3)


def both(state, model, reference, n_configs=4000, seed=5):
    """Samples of the model and of the reference on one ensemble of a state."""
    ensemble = sample(
        state,
        temperature=TEMPERATURE,
        n_configs=n_configs,
        rng=np.random.default_rng(seed),
        minimum_distance_ratio=0,
    )
    return evaluate_ensemble(ensemble, model), evaluate_ensemble(ensemble, reference)


def test_the_response_of_the_minimum_is_in_the_corrected_frequencies():
    """Hard fcc: the curvature's own shift is 1.3 times that of the reference's minimum."""
    model, reference = fcc(b=3.0), fcc(b=3.15)
    harmonic, group = model.harmonic()
    state = model.minimum(harmonic, group, TEMPERATURE)
    truth = reference.minimum(state, group, TEMPERATURE)
    ours, theirs = both(state, model, reference)
    certificate = certify(theirs, ours, group)
    plain = correct(ours, certify(ours, ours, group), group, TIGHT)
    corrected = correct(ours, certificate, group, TIGHT)
    before = plain.dynamical_matrix.frequencies_at_qpoints()
    true = (truth.frequencies_at_qpoints() - state.frequencies_at_qpoints())[:, -1]
    found = (corrected.dynamical_matrix.frequencies_at_qpoints() - before)[:, -1]
    naive = certificate.frequencies.value[:, -1]
    moving = true > 0.5 * true.max()
    assert found[moving] == pytest.approx(true[moving], rel=0.08)
    assert np.all(naive[moving] > 1.15 * true[moving])


def test_the_corrected_stress_follows_the_minimum():
    """dP of the reference's own minimum, not of the model's."""
    model, reference = fcc(b=3.0, c=-2.0), fcc(b=3.15, c=-2.0)
    harmonic, group = model.harmonic()
    state = model.minimum(harmonic, group, TEMPERATURE)
    truth = reference.minimum(state, group, TEMPERATURE)
    ours, theirs = both(state, model, reference)
    certificate = certify(theirs, ours, group)
    plain = correct(ours, certify(ours, ours, group), group, TIGHT)
    corrected = correct(ours, certificate, group, TIGHT)
    true = reference.stress(Gaussian(truth, TEMPERATURE)) - model.stress(
        Gaussian(state, TEMPERATURE)
    )
    found = corrected.stress.value - plain.stress.value
    naive = certificate.stress.value
    assert found[0, 0] == pytest.approx(true[0, 0], rel=0.1)
    assert abs(naive[0, 0] - true[0, 0]) > 2 * abs(found[0, 0] - true[0, 0])


def test_a_free_coordinate_moves_to_the_reference():
    model, reference = wurtzite(c=-9.0, b=12.0), wurtzite(c=-9.0, b=12.0, tension=0.5)
    harmonic, group = model.harmonic()
    state = model.minimum(harmonic, group, TEMPERATURE, centroids=True)
    truth = reference.minimum(state, group, TEMPERATURE, centroids=True)
    ours, theirs = both(state, model, reference)
    certificate = certify(theirs, ours, group)
    plain = correct(ours, certify(ours, ours, group), group, TIGHT)
    corrected = correct(ours, certificate, group, TIGHT)
    true = truth.crystal.positions - state.crystal.positions
    found = corrected.dynamical_matrix.crystal.positions - plain.dynamical_matrix.crystal.positions
    true = true - true.mean(axis=0)
    found = found - found.mean(axis=0)
    assert np.abs(true).max() > 5.0e-4
    np.testing.assert_allclose(found, true, atol=0.1 * np.abs(true).max())


def test_no_difference_changes_nothing():
    model = fcc(b=3.0)
    harmonic, group = model.harmonic()
    ours, _ = both(harmonic, model, model, n_configs=200)
    certificate = certify(ours, ours, group)
    shifted = add_difference(ours, certificate)
    np.testing.assert_array_equal(shifted.energies, ours.energies)
    np.testing.assert_array_equal(shifted.forces, ours.forces)
    np.testing.assert_array_equal(shifted.stresses, ours.stresses)


def test_the_forces_of_the_difference_are_its_derivative():
    model, reference = wurtzite(c=-9.0), wurtzite(c=-9.9)
    harmonic, group = model.harmonic()
    ours, theirs = both(harmonic, model, reference, n_configs=100)
    certificate = certify(theirs, ours, group)
    step = np.zeros_like(ours.ensemble.displacements)
    step[:, 7] = 1.0e-4
    energies = []
    for sign in (1, -1):
        ensemble = replace(ours.ensemble, displacements=ours.ensemble.displacements + sign * step)
        energies.append(add_difference(replace(ours, ensemble=ensemble), certificate).energies)
    derivative = -(energies[0] - energies[1]) / 2.0e-4
    added = add_difference(ours, certificate).forces - ours.forces
    np.testing.assert_allclose(added[:, 7], derivative, atol=1.0e-6)
