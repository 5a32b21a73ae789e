"""Refined radial functions: derivatives, recovery of a known potential, when it stops."""

import json
from dataclasses import replace

import numpy as np
import pytest
from mtp_models import GERMANIUM, SILICON, random_mtp, rattled

from sscha_mlp.data.labels import Label, LabelledConfiguration
from sscha_mlp.errors import InputError
from sscha_mlp.potentials.mtp.engine import Engine
from sscha_mlp.potentials.mtp.fitting import fit
from sscha_mlp.potentials.mtp.initial import first_parameters
from sscha_mlp.potentials.mtp.refine import (
    Stop,
    carried_over,
    free_entries,
    jacobian,
    refine,
    split,
)
from sscha_mlp.potentials.mtp.regression import Rows, regress
from sscha_mlp.potentials.mtp.settings import MtpSettings

RIDGE = 1.0e-18
SETTINGS = MtpSettings(
    level=8,
    radial_weight=4,
    max_tensors=4,
    cutoff=4.8,
    n_polynomials=6,
    ridge=RIDGE,
    refine_steps=40,
    refine_until=0.0,
)
TARGET = random_mtp(8, n_polynomials=6, min_dist=1.0, seed=1)  # reaches below all distances


def labelled(parameters, frames, **details):
    found = Engine(parameters).evaluate(frames)
    return [
        LabelledConfiguration(
            atoms, Label(found.energies[k], found.forces[k], found.stresses[k]), **details
        )
        for k, atoms in enumerate(frames)
    ]


def frames(n, *, mixed=False, first=0):
    return [rattled(seed=seed, mixed=mixed, size=0.2) for seed in range(first, first + n)]


def rows_of(train, settings=SETTINGS):
    return Rows(train, settings, np.ones(len(train)))


def solved(rows):
    return regress(first_parameters(rows.train, rows.settings), rows).parameters


def force_error(parameters, test):
    found = Engine(parameters).evaluate([item.atoms for item in test]).forces
    return np.std([force - item.label.forces for force, item in zip(found, test, strict=True)])


@pytest.fixture(scope="module")
def rows():
    """A target with the radial functions of a random MTP, which polynomials of one order lack."""
    return rows_of(labelled(TARGET, frames(25)))


@pytest.fixture(scope="module")
def refined(rows):
    return refine(solved(rows), rows, ridge=RIDGE)


def central(parameters, rows, places, entry, step=1.0e-4):
    """Derivatives of the weighted predictions by one radial coefficient: five points."""

    def predictions(size):
        radial = np.array(parameters.radial_coeffs)
        radial[entry] += size
        return rows.predictions(replace(parameters, radial_coeffs=radial), places)

    inner = predictions(step) - predictions(-step)
    outer = predictions(2.0 * step) - predictions(-2.0 * step)
    return (8.0 * inner - outer) / (12.0 * step)


@pytest.mark.parametrize("level", [2, 8, 16])
@pytest.mark.parametrize("mixed", [False, True])
def test_derivatives_are_the_limit_of_differences(mixed, level):
    """Of energies, forces and stresses, by the coefficients of each radial function and pair."""
    species = (SILICON, GERMANIUM) if mixed else (SILICON,)
    parameters = replace(random_mtp(level, species=species), scaling=1.7)
    some = rows_of(labelled(parameters, frames(2, mixed=mixed)))
    found = jacobian(parameters, some, [0, 1])
    entries = list(zip(*free_entries(parameters), strict=True))
    assert found.shape[1] == len(entries) == parameters.radial_coeffs.size
    for column in range(0, len(entries), 5):
        expected = central(parameters, some, [0, 1], entries[column])
        assert np.allclose(found[:, column], expected, atol=1e-7 * np.abs(found[:, column]).max())


def test_derivatives_of_functions_for_one_pair_of_species():
    """Most radial functions are absent for most pairs: those have no column."""
    pair = random_mtp(8, species=(SILICON, GERMANIUM))
    train = labelled(pair, frames(3, mixed=True))
    settings = replace(SETTINGS, radial_weight=1, max_tensors=3, species="both")
    some = rows_of(train, settings)
    parameters = solved(some)
    found = jacobian(parameters, some, [0, 2])
    entries = list(zip(*free_entries(parameters), strict=True))
    assert found.shape[1] == len(entries) == parameters.template.n_radial * parameters.n_polynomials
    for column in range(0, len(entries), 7):
        expected = central(parameters, some, [0, 2], entries[column])
        scale = max(np.abs(expected).max(), 1e-3 * np.abs(found).max())
        assert np.allclose(found[:, column], expected, atol=1e-6 * scale)


def test_derivatives_along_the_radial_functions_are_known(rows):
    """A basis function with d radial functions grows with the d-th power of their scale."""
    parameters, places = solved(rows), [0, 3]
    template = parameters.template
    degrees = np.zeros(template.n_moments, dtype=int)
    degrees[: template.n_basic] = 1
    for i, j, _, k in template.products.tolist():
        degrees[k] = degrees[i] + degrees[j]
    along = (
        jacobian(parameters, rows, places)
        @ parameters.radial_coeffs[free_entries(parameters)].ravel()
    )
    design = np.concatenate(rows.blocks(parameters, places))[:, 1:-1]
    expected = design @ (degrees[template.scalars] * parameters.moment_coeffs)
    assert np.allclose(along, expected, atol=1e-10 * np.abs(expected).max())


def test_only_radial_functions_that_are_there_are_free():
    pair = random_mtp(8, species=(SILICON, GERMANIUM))
    train = labelled(pair, frames(5, mixed=True))
    parameters = first_parameters(train, replace(SETTINGS, n_polynomials=5))
    n_functions = parameters.template.n_radial
    assert parameters.n_polynomials == 5
    assert len(free_entries(parameters)[0]) == 5 * n_functions  # each is for one pair of species
    shared = first_parameters(train, replace(SETTINGS, species="centre"))
    assert len(free_entries(shared)[0]) == 6 * 2 * shared.template.n_radial


def test_the_radial_functions_of_a_known_potential_are_recovered(rows, refined):
    assert refined.accepted and not refined.warm
    assert min(refined.held_out) < 0.01 * refined.linear
    unseen = labelled(TARGET, [rattled(seed=seed, size=0.1) for seed in range(100, 105)])
    found = regress(refined.parameters, rows).parameters
    assert force_error(found, unseen) < 0.001 * force_error(solved(rows), unseen)


def test_the_projected_residual_never_grows(refined):
    assert refined.n_steps == len(refined.residuals) - 1 > 3
    assert np.all(np.diff(refined.residuals) < 0)
    norms = np.linalg.norm(refined.parameters.radial_coeffs, axis=3)
    assert np.allclose(norms, 1.0)


def test_the_same_data_give_the_same_functions(rows, refined):
    again = refine(solved(rows), rows, ridge=RIDGE)
    assert np.array_equal(again.parameters.radial_coeffs, refined.parameters.radial_coeffs)
    assert again.held_out == refined.held_out


def test_a_warm_start_from_the_solution_stops_soon(rows, rng):
    train = [
        replace(
            item,
            label=replace(
                item.label, forces=item.label.forces + rng.normal(0.0, 0.03, (len(item.atoms), 3))
            ),
        )
        for item in rows.train
    ]
    noisy = rows_of(train)
    first = refine(solved(noisy), noisy, ridge=RIDGE)
    warm = refine(solved(noisy), noisy, ridge=RIDGE, start=first.parameters)
    assert first.n_steps > 8
    assert warm.warm and warm.accepted
    assert warm.n_steps < 0.5 * first.n_steps  # most of them to see that nothing is gained
    assert 0.9 * min(first.held_out) < min(warm.held_out) < 1.01 * min(first.held_out)


def test_a_start_that_serves_worse_than_the_linear_fit_is_left(rows, refined):
    radial = np.zeros_like(TARGET.radial_coeffs)
    radial[..., 0] = 1.0  # both functions are the same
    cold = refine(solved(rows), rows, ridge=RIDGE, start=replace(TARGET, radial_coeffs=radial))
    assert not cold.warm
    assert np.array_equal(cold.parameters.radial_coeffs, refined.parameters.radial_coeffs)


def test_radial_functions_are_carried_over_to_another_range():
    linear = replace(random_mtp(8, n_polynomials=8), min_dist=1.9)
    found = carried_over(TARGET, linear)
    assert found.min_dist == 1.9 and found.n_polynomials == 8
    distances = np.linspace(1.7, 4.7, 40)
    for mu in range(TARGET.template.n_radial):
        old, new = (_radial(one, mu, distances) for one in (TARGET, found))
        assert np.allclose(new / np.linalg.norm(new), old / np.linalg.norm(old), atol=1e-12)


def _radial(parameters, mu, distances):
    low, high = parameters.min_dist, parameters.max_dist
    argument = (2.0 * distances - low - high) / (high - low)
    polynomials = np.polynomial.chebyshev.chebval(argument, parameters.radial_coeffs[0, 0, mu])
    return polynomials * (high - distances) ** 2


def test_radial_functions_of_another_kind_are_not_carried_over():
    for other in (
        random_mtp(12),
        random_mtp(8, species=(GERMANIUM,)),
        random_mtp(8, max_dist=5.0, min_dist=1.0),
        random_mtp(8, n_polynomials=9),
    ):
        assert carried_over(other, TARGET) is None


def test_no_step_is_begun_that_does_not_end_in_time(rows):
    hurried = rows_of(rows.train, replace(SETTINGS, refine_seconds=1.0e-9))
    linear = solved(hurried)
    found = refine(linear, hurried, ridge=RIDGE)
    assert found.reason is Stop.TIME and found.n_steps == 0
    assert not found.accepted and found.parameters is linear


def test_steps_are_counted_and_shown(rows):
    brief = rows_of(rows.train, replace(SETTINGS, refine_steps=2))
    seen = []
    found = refine(solved(brief), brief, ridge=RIDGE, progress=lambda *step: seen.append(step))
    assert found.reason is Stop.STEPS and found.n_steps == 2
    assert seen == [(1, 2), (2, 2)]


def test_what_predicts_held_out_data_worse_is_not_accepted(rows):
    """The held-out labels are those of the linear fit to the others: nothing can be better."""
    learnt, held = split(rows)
    own = solved(rows_of([rows.train[place] for place in learnt]))
    train = list(rows.train)
    for place in held:
        train[place] = labelled(own, [train[place].atoms])[0]
    misled = rows_of(train)
    linear = replace(solved(misled), min_dist=own.min_dist)
    found = refine(linear, misled, ridge=RIDGE)
    assert found.residuals[-1] < 0.9 * found.residuals[0]
    assert not found.accepted and found.parameters is linear
    assert found.reason is Stop.VALIDATION


def test_only_fair_draws_with_a_weight_are_held_out(rows):
    train = [replace(item, chosen=place % 2 == 0) for place, item in enumerate(rows.train)]
    weights = np.ones(25)
    weights[9] = 0.0
    learnt, held = split(Rows(train, SETTINGS, weights))
    assert held == [11, 21]
    assert sorted(learnt + held) == list(range(25))


def test_few_configurations_are_not_refined():
    few = rows_of(labelled(TARGET, frames(4)))
    linear = solved(few)
    found = refine(linear, few, ridge=RIDGE)
    assert found.reason is Stop.FEW and found.parameters is linear
    assert found.as_dict()["held_out_residual_before"] is None


def test_a_fit_records_its_refinement_and_starts_from_an_earlier_one(tmp_path, rows):
    seen = []
    brief = replace(SETTINGS, refine_steps=25)
    first = fit(
        rows.train,
        directory=tmp_path / "1",
        settings=brief,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == sorted(seen) and seen[-1] == (100, 100)
    details = json.loads((tmp_path / "1" / "model.json").read_text())["refinement"]
    assert details["accepted"] and not details["warm_start"]
    assert details["held_out_residual_after"] < 0.01 * details["held_out_residual_before"]
    assert details["n_steps"] > 3 and details["reason"] in set(Stop) and details["seconds"] > 0
    more = [*rows.train, *labelled(TARGET, frames(5, first=50))]
    second = fit(more, directory=tmp_path / "2", settings=brief, start=tmp_path / "1")
    again = second.record.details["refinement"]
    assert again["warm_start"] and again["n_steps"] < details["n_steps"]
    assert fit(more, directory=tmp_path / "2", settings=brief, start=first.parameters).sha256 == (
        second.sha256
    )
    with pytest.raises(InputError):
        fit(more, directory=tmp_path / "2", settings=brief)


def test_a_fit_without_a_gain_is_the_linear_one(tmp_path, rows):
    seen = []
    hurried = replace(SETTINGS, refine_seconds=1.0e-9)
    found = fit(
        rows.train, directory=tmp_path, settings=hurried, progress=lambda *one: seen.append(one)
    )
    linear = solved(rows)
    assert np.array_equal(found.parameters.moment_coeffs, linear.moment_coeffs)
    assert found.record.details["refinement"]["reason"] == Stop.TIME
    assert seen == sorted(seen) and seen[-1] == (100, 100)


def test_without_refinement_a_start_has_no_effect(tmp_path, rows):
    plain = replace(SETTINGS, refine_steps=0)
    one = fit(rows.train, directory=tmp_path, settings=plain)
    two = fit(rows.train, directory=tmp_path, settings=plain, start=TARGET)
    assert one.sha256 == two.sha256
    assert "refinement" not in one.record.details


def test_what_is_good_enough_is_not_refined_further(rows):
    """A limit above the residual of the linear fit ends it at once, one below on the way."""
    linear = regress(first_parameters(rows.train, rows.settings), rows).parameters
    before = refine(linear, rows, ridge=RIDGE).linear
    at_once = replace(rows, settings=replace(SETTINGS, refine_until=2.0 * before))
    stopped = refine(linear, at_once, ridge=RIDGE)
    assert stopped.reason == "the held-out configurations are predicted well enough"
    assert stopped.n_steps == 0 and not stopped.accepted
    halfway = refine(
        linear, replace(rows, settings=replace(SETTINGS, refine_until=0.3 * before)), ridge=RIDGE
    )
    assert halfway.n_steps > 0 and halfway.held_out[-1] <= 0.3 * before < halfway.held_out[-2]
