"""Checks by need: bounds that hold for few labels and for many looks, and what is left out."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from test_correction import TEMPERATURE, TIGHT, both
from toys import fcc

from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.errors import InputError
from sscha_mlp.validation.bounds import ERROR_RATE, LEAST, REACH, bounds_at, student_widening
from sscha_mlp.validation.certificate import LeftOut, Verdict, certify
from sscha_mlp.validation.correction import correct, left_out
from sscha_mlp.validation.next_labels import Look
from sscha_mlp.validation.shift import Shift


def test_two_widened_errors_are_those_of_student():
    """Quantiles of Student's law: table 26.10 of Abramowitz and Stegun, and a normal law's."""
    assert 2 * student_widening(4) == pytest.approx(stats.t.ppf(0.97725, 3), rel=1e-5)
    assert 1.59 < student_widening(4) < 1.70  # 3.182 for 97.5 %, 1.96 of a normal law
    assert student_widening(10**6) == pytest.approx(1.0, abs=1e-4)


def test_the_looks_together_spend_the_error_rate():
    spent = []
    for look in range(1, 200):
        bounds = bounds_at(look, 1000)
        spent.append(stats.t.sf(bounds.n_errors * bounds.widening, 999))
    assert sum(spent) < ERROR_RATE
    assert sum(spent) == pytest.approx(ERROR_RATE, rel=0.02)


def looked_at(values, tolerance, most=200):
    """Look at one observable after each batch, as a check does; the last shift, and whether passed.

    The law of a check without its ensemble: the same bounds and the same batches.
    """
    n, look = 4, 1
    for _ in range(8):
        bounds, drawn = bounds_at(look, n), values[:n]
        stderr = bounds.widening * drawn.std(ddof=1) / np.sqrt(n)
        shift = Shift(drawn.mean(), stderr, tolerance, 0.0, bounds.n_errors, bounds.reach)
        if shift.passed or shift.biased or n == most:
            break
        look += shift.error <= shift.tolerance
        wanted = min(Look([shift], n, look).wanted(), 2 * n)
        n = min(most, max(n + 2, int(np.ceil(1.1 * wanted))))
    return shift, n


@pytest.mark.parametrize("scatter", [0.05, 1.0, 2.5])
def test_the_interval_covers_after_all_looks(scatter):
    """Easy, usual and hard: the tolerance is 20, 1 and 0.4 times the scatter of a label."""
    rng = np.random.default_rng(3)
    drawn = 0.3 + scatter * rng.standard_normal((1500, 200))
    found = [looked_at(one, 1.0) for one in drawn]
    z = np.array([(shift.delta - 0.3) / shift.stderr for shift, _ in found])
    # Four binomial standard deviations of 1500 repeats are 0.023.
    assert np.mean(np.abs(z) < 2) > 0.95 - 0.023
    assert 0.85 < np.sqrt((z**2).mean()) < 1.15
    passed = [shift.passed for shift, _ in found]
    assert np.mean(passed) > 0.9
    labels = np.mean([n for _, n in found])
    assert labels < {0.05: 4.1, 1.0: 25.0, 2.5: 90.0}[scatter]


@pytest.mark.parametrize("scatter", [0.05, 0.5, 2.0])
def test_a_shift_that_is_too_large_seldom_passes_at_any_look(scatter):
    rng = np.random.default_rng(4)
    drawn = REACH + scatter * rng.standard_normal((1200, 200))
    passed = np.mean([looked_at(one, 1.0)[0].passed for one in drawn])
    # Four binomial standard deviations of 1200 repeats are 0.018.
    assert passed < ERROR_RATE + 0.018


@pytest.fixture(scope="module")
def crystal():
    model = fcc(b=3.0)
    harmonic, group = model.harmonic()
    return model, group, model.minimum(harmonic, group, TEMPERATURE)


def test_a_near_miss_whose_answer_is_known_passes_by_need(crystal):
    """The tolerance is 1 meV/atom: +1.2 is refused as a shift, and harmless once it is added."""
    model, group, state = crystal
    ours, _ = both(state, model, model, n_configs=8)
    n_atoms = state.supercell.n_atoms
    for offset, by_need in ((1.2e-3, Verdict.PASSED), (2.0e-3, Verdict.RETRAIN)):
        theirs = replace(ours, energies=ours.energies + offset * n_atoms)
        assert certify(theirs, ours, group).verdict is Verdict.RETRAIN
        assert certify(theirs, ours, group, look=1).verdict is by_need


def test_what_is_left_out_counts_against_the_answer(crystal):
    model, group, state = crystal
    ours, theirs = both(state, model, model, n_configs=8)
    certificate = certify(theirs, ours, group, look=1)
    assert certificate.verdict is Verdict.PASSED
    shape = certificate.frequencies.value.shape
    much = LeftOut(1.1e-3 * state.supercell.n_atoms, np.zeros((3, 3)), np.zeros(shape))
    assert replace(certificate, left_out=much).verdict is Verdict.RETRAIN
    assert replace(certificate, left_out=much).free_energy_shift.left_out == pytest.approx(1.1)


def test_the_part_of_second_order_is_that_of_the_closed_form(crystal):
    """Bonds with another quartic term: curvature there less curvature here, exactly."""
    model, group, state = crystal
    reference = fcc(b=3.6)
    ours, theirs = both(state, model, reference, n_configs=6000)
    certificate = certify(theirs, ours, group, look=1)
    corrected = correct(ours, certificate, group, TIGHT)
    rest = left_out(ours, theirs.minus(ours), certificate, group, corrected)
    here = Gaussian(state, TEMPERATURE)
    there = here.at(corrected.dynamical_matrix)
    change = [
        np.abs(reference.curvature(one) - model.curvature(one)).max() for one in (here, there)
    ]
    exact = abs(change[1] - change[0]) / change[0]
    assert exact > 0.02
    moving = certificate.frequencies.value > 0.5 * certificate.frequencies.value.max()
    part = rest.frequencies[moving] / certificate.frequencies.value[moving]
    assert part == pytest.approx(exact, rel=0.25)
    # The gain of the minimisation, within what the noise of its ensemble adds: the variational
    # free energy of the reference in both states.
    gap = reference.free_energy(here) - reference.free_energy(there)
    assert 0.5 < rest.free_energy / gap < 2.0
    assert gap < 0.1 * abs(certificate.free_energy.value)


def test_how_many_labels_are_wanted_counts_on_their_own_bounds(crystal):
    """Four labels at a late look have a bound of eight errors; a dozen labels have one of two.

    The look at four labels could not have passed, so that the next one is the seventh too.
    """
    model, group, state = crystal
    ours, _ = both(state, model, model, n_configs=4)
    noise = 0.6e-3 * state.supercell.n_atoms * np.array([1.0, 1.0, -1.0, -1.0])  # pairs u, -u
    theirs = replace(ours, energies=ours.energies + noise)
    certificate = certify(theirs, ours, group, look=7)
    assert certificate.verdict is Verdict.MORE_LABELS
    wanted, shift = int(certificate.labels_wanted), certificate.free_energy_shift
    assert 8 <= wanted <= 16 and shift.n_errors > 8

    def passes(n_labels):
        bounds = bounds_at(7, n_labels)
        stderr = shift.stderr / student_widening(4) * np.sqrt(4 / n_labels) * bounds.widening
        return 2 * stderr <= 1.0 and bounds.n_errors * stderr <= REACH

    assert passes(wanted) and not passes(wanted - 1)


def noisy(error, delta=0.0, n_labels=4):
    """A look at one observable, its tolerance 1, with an error that is not widened yet."""
    widening = student_widening(n_labels)
    bounds = bounds_at(1, n_labels)
    shift = Shift(delta, widening * error, 1.0, 0.0, bounds.n_errors, bounds.reach)
    return Look([shift], n_labels, 1)


def test_a_look_that_cannot_pass_does_not_count(crystal):
    model, group, state = crystal
    ours, _ = both(state, model, model, n_configs=4)
    pattern = state.supercell.n_atoms * np.array([1.0, 1.0, -1.0, -1.0])
    for noise, counts in ((0.1e-3, 1), (3.0e-3, 0)):
        theirs = replace(ours, energies=ours.energies + noise * pattern)
        certificate = certify(theirs, ours, group, look=3)
        assert certificate.is_known is bool(counts)
        assert certificate.next_look == 3 + counts


@pytest.mark.parametrize("n_learnt", [20, 40, 80, 160])
def test_a_check_goes_on_while_it_wants_no_more_than_there_is(n_learnt):
    """Errors alone: n' N' is fixed, and the sum smallest where both are the same."""
    for error in np.geomspace(0.3, 3.0, 40):
        to_learn = noisy(error, n_labels=8).to_learn(n_learnt)
        wanted = 8 * (2 * error) ** 2  # of a law without the widening
        if wanted < 0.9 * (n_learnt + 8):
            assert to_learn == 0
        elif wanted > 1.5 * (n_learnt + 8):
            best = np.clip(np.sqrt(wanted * n_learnt), n_learnt + 8, 2 * n_learnt)
            assert to_learn == pytest.approx(best, rel=0.15)


def test_the_random_half_of_what_a_fit_learns_is_drawn_in_the_check_first(crystal):
    """Four labels say 2.5 tolerances and may be wrong by one: nothing is lost by more of them."""
    model, group, state = crystal
    ours, _ = both(state, model, model, n_configs=4)
    n_atoms = state.supercell.n_atoms
    noise = 1e-3 * n_atoms * (2.5 + np.sqrt(3.0) * np.array([1.0, 1.0, -1.0, -1.0]))
    certificate = certify(
        replace(ours, energies=ours.energies + noise), ours, group, look=1, n_learnt=40
    )
    assert certificate.verdict is Verdict.MORE_LABELS
    assert 4 < certificate.share <= 20
    assert certificate.to_learn - 40 == pytest.approx(2 * certificate.share, abs=1)
    sure = replace(ours, energies=ours.energies + 1.7e-3 * n_atoms)
    failed = certify(sure, ours, group, look=1, n_learnt=4)
    assert failed.verdict is Verdict.RETRAIN
    assert failed.to_learn == 8


def test_a_hopeless_model_learns_twice_as_much():
    assert noisy(30.0, 100.0).to_learn(8) == 16
    assert noisy(30.0, 100.0, n_labels=12).to_learn(8) == 20


def test_too_few_labels_are_refused(crystal):
    model, group, state = crystal
    ours, _ = both(state, model, model, n_configs=2)
    with pytest.raises(InputError, match=f"2 labels has no usable error; give at least {LEAST}"):
        certify(ours, ours, group, look=1)
