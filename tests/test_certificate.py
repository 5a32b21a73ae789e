"""The certificate: shifts that are known beforehand must be found, with errors that are true."""

from dataclasses import replace

import numpy as np
import pytest
from toys import fcc, wurtzite

from sscha_mlp import units
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix, contract, symmetrise
from sscha_mlp.ensemble.averages import average
from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.ensemble.sampling import sample
from sscha_mlp.errors import ConfigError, InputError
from sscha_mlp.scha.relaxation import evaluate_ensemble
from sscha_mlp.validation.certificate import CertificateTolerances, Verdict, certify
from sscha_mlp.validation.shift import Shift

SIGMAS = 4.5
EXACT = 1.0e-9
TEMPERATURE = 600.0


@pytest.fixture(scope="module")
def model():
    return wurtzite(c=-8.0, b=10.0)


@pytest.fixture(scope="module")
def state(model):
    """The model's exact minimum: what a relaxation converges to."""
    harmonic, group = model.harmonic()
    return model.minimum(harmonic, group, TEMPERATURE)


@pytest.fixture(scope="module")
def group(model):
    return model.harmonic()[1]


def labelled(state, evaluator, n_labels=40, seed=0):
    """A check ensemble, as the campaign draws it: no antithetic pairs."""
    rng = np.random.default_rng(seed)
    ensemble = sample(
        state,
        temperature=TEMPERATURE,
        n_configs=n_labels,
        rng=rng,
        antithetic=False,
        minimum_distance_ratio=0,
    )
    return evaluate_ensemble(ensemble, evaluator)


def other_values(samples, evaluator):
    return evaluate_ensemble(samples.ensemble, evaluator)


def test_a_model_that_is_the_reference_passes_with_zero_shifts(model, state, group):
    samples = labelled(state, model, 8)
    certificate = certify(samples, samples, group)
    assert certificate.verdict is Verdict.PASSED
    assert "every shift is inside its tolerance on 8 unseen labels" in certificate.reason
    for shift in certificate.shifts.values():
        assert (shift.delta, shift.stderr) == (0.0, 0.0)
    assert not certificate.force_constants.any()
    assert not certificate.centroid_forces.value.any()


def test_a_constant_offset_of_the_energy_is_caught_exactly(model, state, group):
    """0.05 eV per supercell of 16 atoms: 3.125 meV/atom, with no error, and nothing else."""
    samples = labelled(state, model)
    reference = replace(samples, energies=samples.energies + 0.05)
    certificate = certify(reference, samples, group)
    shift = certificate.free_energy_shift
    assert shift.delta == pytest.approx(3.125, abs=EXACT)
    assert shift.stderr < EXACT
    assert certificate.verdict is Verdict.RETRAIN
    assert "free energy +3.125 ± 0.000 meV/atom (allowed 1)" in certificate.reason
    assert "stress" not in certificate.reason and "trained again" in certificate.reason


def test_an_offset_of_the_stress_is_caught_exactly(model, state, group):
    samples = labelled(state, model)
    offset = np.diag([0.2, 0.2, -0.3]) * units.GPA
    certificate = certify(replace(samples, stresses=samples.stresses + offset), samples, group)
    np.testing.assert_allclose(certificate.stress.value, offset, atol=1e-12)
    assert certificate.pressure.value / units.GPA == pytest.approx(-0.1 / 3)
    # The trace nearly cancels: the components decide, and the worst is that along c.
    assert certificate.stress_shift.delta == pytest.approx(-0.3)
    assert certificate.verdict is Verdict.RETRAIN


def test_a_force_on_the_centroids_is_caught(model, state, group):
    """A constant force along c on Zn and against it on O does no work on average at fixed R."""
    samples = labelled(state, model)
    push = np.tile([[0, 0, 0.1], [0, 0, -0.1]], (8, 1)).ravel()
    reference = replace(
        samples,
        forces=samples.forces + push,
        energies=samples.energies - samples.ensemble.displacements @ push,
    )
    certificate = certify(reference, samples, group)
    expected = [[0, 0, 0.1], [0, 0, -0.1]] * 2
    np.testing.assert_allclose(certificate.centroid_forces.value, expected, atol=EXACT)
    np.testing.assert_allclose(certificate.centroid_forces.stderr, 0, atol=EXACT)
    shift = certificate.free_energy_shift
    assert abs(shift.delta) < SIGMAS * shift.stderr


def test_a_harmonic_difference_gives_its_analytic_shifts(model, state, group, rng):
    """Reference = model + u A u / 2: dF = Tr(A Psi)/2, dPhi = A, dsigma = 0."""
    noise = symmetrise(group, rng.standard_normal(state.force_constants.shape))
    change = 0.01 * np.abs(state.force_constants).max() / np.abs(noise).max() * noise
    matrix = DynamicalMatrix(state.supercell, change).matrix
    samples = labelled(state, model, 2000)
    u = samples.ensemble.displacements
    reference = replace(
        samples,
        energies=samples.energies + 0.5 * (u @ matrix * u).sum(axis=1),
        forces=samples.forces - u @ matrix,
        # At fixed u the term does not depend on the cell: its virial is that of u alone.
        stresses=samples.stresses + virial(u, u @ matrix, state),
    )
    certificate = certify(reference, samples, group, CertificateTolerances(frequency_thz=0.01))
    gaussian = Gaussian(state, TEMPERATURE)
    expected = 0.5e3 * np.trace(matrix @ gaussian.covariance) / 16
    shift = certificate.free_energy_shift
    assert abs(shift.delta - expected) < SIGMAS * shift.stderr
    assert abs(expected) > 5 * shift.stderr
    np.testing.assert_allclose(certificate.stress.value, 0, atol=EXACT)
    small = state.with_force_constants(state.force_constants + 1e-3 * change)
    true = (small.frequencies_at_qpoints() - state.frequencies_at_qpoints()) / 1e-3
    shifts = certificate.frequencies
    moving = shifts.stderr > 1e-12
    z = (shifts.value - true)[moving] / shifts.stderr[moving]
    assert np.abs(z).max() < SIGMAS
    assert np.abs(true).max() > 5 * shifts.stderr.max()
    scale = np.abs(change).max()
    np.testing.assert_allclose(certificate.force_constants, change, atol=0.2 * scale)
    np.testing.assert_allclose(certificate.model_frequencies, state.frequencies_at_qpoints())


def virial(u, minus_force, state):
    """Stress whose SSCHA average, with the term of displacements and forces, is zero."""
    product = np.einsum(
        "nia,nib->nab", u.reshape(len(u), -1, 3), minus_force.reshape(len(u), -1, 3)
    )
    return 0.5 * (product + product.transpose(0, 2, 1)) / state.supercell.crystal.volume


def test_another_potential_gives_the_shifts_of_the_closed_form(model, state, group):
    """Bonds with other cubic and quartic terms: all four shifts against exact averages."""
    reference = wurtzite(c=-9.0, b=14.0, k=8.05)
    samples = labelled(state, model, 2000)
    certificate = certify(other_values(samples, reference), samples, group)
    gaussian = Gaussian(state, TEMPERATURE)
    exact = reference.free_energy(gaussian) - model.free_energy(gaussian)
    assert abs(certificate.free_energy.value - exact) < SIGMAS * certificate.free_energy.stderr
    assert exact > 5 * certificate.free_energy.stderr
    stress = group.symmetrise_tensor(reference.stress(gaussian) - model.stress(gaussian))
    error = np.maximum(certificate.stress.stderr, EXACT)
    assert np.abs((certificate.stress.value - stress) / error).max() < SIGMAS
    forces = reference.centroid_forces(gaussian) - model.centroid_forces(gaussian)
    error = np.maximum(certificate.centroid_forces.stderr, EXACT)
    z = (certificate.centroid_forces.value - group.symmetrise_vectors(forces)) / error
    assert np.abs(z).max() < SIGMAS
    shifts = certificate.frequencies
    true = first_order_shifts(reference, model, group, gaussian)
    moving = shifts.stderr > 1e-12
    assert np.abs((shifts.value - true)[moving] / shifts.stderr[moving]).max() < SIGMAS


def first_order_shifts(reference, model, group, gaussian):
    state = gaussian.dynamical_matrix
    matrix = reference.curvature(gaussian) - model.curvature(gaussian)
    change = symmetrise(group, contract(state.supercell, matrix))
    small = state.with_force_constants(state.force_constants + 1e-4 * change)
    return (small.frequencies_at_qpoints() - state.frequencies_at_qpoints()) / 1e-4


def test_the_free_energy_is_exact_to_second_order_but_frequencies_lack_the_response():
    """What the correction leaves out, in the closed form of a strongly anharmonic crystal.

    At the model's state F + dF is the reference's variational free energy: above its minimum by
    the square of the difference.  The frequency of Phi + dPhi is not that of the reference's
    minimum: with Phi changes the width of the ensemble, and with it < d²V >, by the first order of
    dPhi.  A crystal that hardens takes part of the shift back.
    """
    model = fcc(b=3.0)
    harmonic, group = model.harmonic()
    state = model.minimum(harmonic, group, TEMPERATURE)
    gaps, ratios = [], []
    for part in (1.0, 0.5):
        reference = fcc(b=3.0 * (1 + 0.1 * part))
        own = reference.minimum(state, group, TEMPERATURE)
        gaussian = Gaussian(state, TEMPERATURE)
        gaps.append(
            reference.free_energy(gaussian) - reference.free_energy(Gaussian(own, TEMPERATURE))
        )
        true = (own.frequencies_at_qpoints() - state.frequencies_at_qpoints()).max()
        first = first_order_shifts(reference, model, group, gaussian).max()
        ratios.append(true / first)
    assert gaps[0] > 0
    assert gaps[0] / gaps[1] == pytest.approx(4, rel=0.1)
    shift = reference.free_energy(gaussian) - model.free_energy(gaussian)
    assert gaps[1] < 0.02 * shift
    assert 0.7 < ratios[0] < 0.85
    assert ratios[1] == pytest.approx(ratios[0], abs=0.03)  # does not go to 1 with the difference


# --- verdicts ----------------------------------------------------------------------------------


def noisy(samples, seed, *, energy=0.0, force=0.0, stress=0.0):
    """A reference that differs by noise without bias (eV, eV/Å, GPa)."""
    rng = np.random.default_rng(seed)
    n = len(samples.energies)
    strain = rng.standard_normal((n, 3, 3))
    return replace(
        samples,
        energies=samples.energies + energy * rng.standard_normal(n),
        forces=samples.forces + force * rng.standard_normal(samples.forces.shape),
        stresses=samples.stresses + stress * units.GPA * 0.5 * (strain + strain.transpose(0, 2, 1)),
    )


@pytest.mark.parametrize(
    "kind", [{"energy": 0.08}, {"stress": 0.8}, {"force": 0.12}], ids=["energy", "stress", "force"]
)
def test_noise_alone_asks_for_more_labels_and_more_labels_help(model, state, group, kind):
    few, many = labelled(state, model, 20), labelled(state, model, 2000)
    certificate = certify(noisy(few, 3, **kind), few, group)
    assert certificate.verdict is Verdict.MORE_LABELS
    assert "are needed, not a new fit" in certificate.reason
    assert certificate.labels_wanted > 20
    assert certify(noisy(many, 3, **kind), many, group).verdict is Verdict.PASSED


def test_a_bias_that_the_noise_cannot_explain_asks_for_a_fit(model, state, group):
    samples = labelled(state, model)
    biased = replace(samples, energies=samples.energies + 0.04)
    certificate = certify(noisy(biased, 1, energy=0.01), samples, group)
    assert certificate.verdict is Verdict.RETRAIN
    assert certificate.free_energy_shift.biased


def test_noise_that_one_configuration_makes_asks_for_a_fit(model, state, group):
    """Averaging a rare configuration away would take many labels; learning it takes one."""
    samples = labelled(state, model)
    forces, energies = samples.forces.copy(), samples.energies.copy()
    forces[3] *= 1.5
    energies[3] += 2.0
    reference = replace(samples, forces=forces, energies=energies)
    certificate = certify(reference, samples, group)
    assert certificate.largest_share == pytest.approx(1.0)
    assert any(shift.noisy for shift in certificate.shifts.values())
    assert certificate.verdict is Verdict.RETRAIN


@pytest.mark.parametrize(
    ("delta", "stderr", "passed", "biased", "noisy"),
    [
        (0.5, 0.2, True, False, False),
        (-0.5, 0.25, True, False, False),
        (0.5, 0.26, False, False, False),
        (0.0, 0.51, False, False, True),
        (1.5, 0.2, False, True, False),
        (-1.5, 0.3, False, False, False),
    ],
)
def test_a_shift_and_its_tolerance(delta, stderr, passed, biased, noisy):
    shift = Shift(delta, stderr, 1.0)
    assert (shift.passed, shift.biased, shift.noisy) == (passed, biased, noisy)
    if abs(delta) < 1:
        enough = Shift(delta, stderr / np.sqrt(shift.labels_factor), 1.0)
        assert abs(enough.delta) + 2 * enough.stderr == pytest.approx(1.0)
    else:
        assert shift.labels_factor == np.inf


def test_the_tolerance_of_a_frequency_is_the_larger_of_two(model, state, group):
    samples = labelled(state, model)
    reference = noisy(samples, 2, force=0.05)
    tight = CertificateTolerances(frequency_thz=1e-3, frequency_relative=0.02)
    certificate = certify(reference, samples, group, tight)
    allowed = certificate.frequency_shift.tolerance
    frequencies = state.frequencies_at_qpoints() / units.THZ
    assert np.isclose(frequencies * 0.02, allowed).any()
    loose = CertificateTolerances(frequency_thz=1.0, frequency_relative=1e-6)
    assert certify(reference, samples, group, loose).frequency_shift.tolerance == 1.0


def test_what_cannot_be_certified_is_refused(model, state, group):
    few = labelled(state, model, 7)
    with pytest.raises(InputError, match="7 labels has no usable error; give at least 8"):
        certify(few, few, group)
    one, two = labelled(state, model, 8), labelled(state, model, 8)
    with pytest.raises(InputError, match="one and the same ensemble"):
        certify(one, two, group)
    with pytest.raises(ConfigError, match=r"pressure_gpa = -0\.1 is not above 0"):
        CertificateTolerances(pressure_gpa=-0.1)


# --- statistics --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def repeats(model, state, group):
    """200 certificates on 24 labels each, with the model's averages on 200 other configurations."""
    reference = wurtzite(c=-9.0, b=14.0, k=8.05)
    gaussian = Gaussian(state, TEMPERATURE)
    found = []
    for seed in range(200):
        samples = labelled(state, model, 24, seed=1000 + seed)
        certificate = certify(other_values(samples, reference), samples, group)
        large = labelled(state, model, 200, seed=5000 + seed)
        u = large.ensemble.displacements
        harmonic = 0.5 * (u @ state.matrix * u).sum(axis=1)
        own = average(large.energies - harmonic)
        found.append((certificate, own.value + gaussian.free_energy, own.stderr))
    return reference, gaussian, found


def test_the_control_variate_is_unbiased_and_its_error_is_its_spread(repeats):
    reference, gaussian, found = repeats
    exact = reference.free_energy(gaussian)
    corrected = np.array([own + one.free_energy.value for one, own, _ in found])
    error = np.array([np.hypot(own, one.free_energy.stderr) for one, _, own in found])
    spread = corrected.std(ddof=1)
    assert abs(corrected.mean() - exact) < SIGMAS * spread / np.sqrt(len(found))
    assert np.sqrt((error**2).mean()) == pytest.approx(spread, rel=0.2)
    # The uncorrected model is wrong by many times that.
    model_alone = np.mean([own for _, own, _ in found])
    assert abs(model_alone - exact) > 20 * spread / np.sqrt(len(found))


@pytest.mark.parametrize("observable", ["free energy", "pressure", "frequencies"])
def test_the_two_sigma_interval_covers_as_often_as_it_should(repeats, model, group, observable):
    """95.5 % of 200, less a per cent for 24 labels (Student) and for the tails of quartic terms."""
    reference, gaussian, found = repeats
    inside = []
    for certificate, _, _ in found:
        if observable == "free energy":
            exact = reference.free_energy(gaussian) - model.free_energy(gaussian)
            estimate = certificate.free_energy
        elif observable == "pressure":
            exact = -np.trace(reference.stress(gaussian) - model.stress(gaussian)) / 3
            estimate = certificate.pressure
        else:
            exact = first_order_shifts(reference, model, group, gaussian)
            estimate = certificate.frequencies
        moving = estimate.stderr > 1e-12
        inside.append(np.mean((np.abs(estimate.value - exact) < 2 * estimate.stderr)[moving]))
    # Four binomial standard deviations of 200 repeats at 0.94 are 0.067.
    assert np.mean(inside) > 0.94 - 0.067
    assert np.mean(inside) < 1.0
