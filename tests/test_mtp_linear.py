"""The linear part of an MTP fit: ridge regression, and the rows that it is made of."""

from dataclasses import replace

import numpy as np
import pytest
from mtp_models import GERMANIUM, SILICON, random_mtp, rattled

from sscha_mlp.data.labels import Label, LabelledConfiguration
from sscha_mlp.potentials.mtp.engine import Engine
from sscha_mlp.potentials.mtp.initial import first_parameters
from sscha_mlp.potentials.mtp.linear import RIDGES, least_squares, ridge_regression, score, triangle
from sscha_mlp.potentials.mtp.regression import Rows, regress
from sscha_mlp.potentials.mtp.settings import MtpSettings

TINY = 1.0e-18
SETTINGS = MtpSettings(level=10, radial_weight=1, cutoff=4.6, ridge=TINY)


def problem(rng, *, n_blocks=8, n_rows=12, n_columns=5, noise=0.1):
    """Blocks of rows with a target, and the coefficients behind it."""
    truth = rng.normal(size=n_columns)
    blocks = []
    for _ in range(n_blocks):
        rows = rng.normal(size=(n_rows, n_columns))
        target = rows @ truth + noise * rng.normal(size=n_rows)
        blocks.append(np.column_stack([rows, target]))
    return blocks, truth


def labelled(parameters, frames):
    found = Engine(parameters).evaluate(frames)
    return [
        LabelledConfiguration(atoms, Label(found.energies[k], found.forces[k], found.stresses[k]))
        for k, atoms in enumerate(frames)
    ]


def known(*, mixed=False, n=20, size=0.15):
    """Training data of an MTP with the radial functions that the fit has, and that MTP."""
    frames = [rattled(seed=seed, mixed=mixed, size=size) for seed in range(n)]
    blank = [
        LabelledConfiguration(one, Label(0.0, np.zeros((8, 3)), np.zeros((3, 3)))) for one in frames
    ]
    settings = replace(SETTINGS, level=8) if mixed else SETTINGS
    first = first_parameters(blank, settings)
    rng = np.random.default_rng(3)
    truth = replace(
        first,
        species_coeffs=np.array([-3.1, -4.7][: 2 if mixed else 1]),
        moment_coeffs=rng.normal(0.0, 1.0e-4, first.template.n_scalars),
    )
    return labelled(truth, frames), truth, settings


# --- ridge regression ---------------------------------------------------------------------


def test_a_tiny_ridge_gives_least_squares(rng):
    blocks, _ = problem(rng)
    rows = np.concatenate(blocks)
    expected, squares, *_ = np.linalg.lstsq(rows[:, :-1], rows[:, -1], rcond=None)
    found = ridge_regression(blocks, np.ones(5), ridge=TINY)
    assert np.allclose(found.coefficients, expected, rtol=1e-12)
    assert found.residual == pytest.approx(np.sqrt(squares[0] / len(rows)))
    assert found.scores == {}


def test_the_prior_and_the_scale_of_columns_decide_what_a_ridge_shrinks(rng):
    blocks, _ = problem(rng)
    prior = np.array([1.0, 0.5, 2.0, 0.1, 1.0])
    found = ridge_regression(blocks, prior, ridge=1.0e-2)
    rows = np.concatenate(blocks)
    scale = prior / np.linalg.norm(rows[:, :-1], axis=0)
    scaled = rows[:, :-1] * scale
    strength = 1.0e-2 * np.linalg.norm(scaled, 2) ** 2
    normal = scaled.T @ scaled + strength * np.eye(5)
    assert np.allclose(found.coefficients, scale * np.linalg.solve(normal, scaled.T @ rows[:, -1]))
    assert np.allclose(found.penalty, strength / scale**2)
    units = np.array([1.0, 1e6, 1e-5, 3.0, 1.0])  # the unit of a column makes no difference
    other = [np.column_stack([one[:, :-1] * units, one[:, -1]]) for one in blocks]
    again = ridge_regression(other, prior, ridge=1.0e-2)
    assert np.allclose(again.coefficients * units, found.coefficients)
    half = [np.column_stack([one[:, :-1], 0.5 * one[:, -1]]) for one in blocks]
    assert np.allclose(
        ridge_regression(half, prior, ridge=1.0e-2).coefficients, 0.5 * found.coefficients
    )


def test_the_penalty_is_that_of_what_is_minimised(rng):
    """Rows of the penalty below those of the data: ordinary least squares gives the same."""
    blocks, _ = problem(rng)
    found = ridge_regression(blocks, np.linspace(0.2, 1.0, 5), ridge=1.0e-3)
    rows = np.concatenate(blocks)
    stacked = np.concatenate([rows[:, :-1], np.diag(np.sqrt(found.penalty))])
    target = np.concatenate([rows[:, -1], np.zeros(5)])
    assert np.allclose(found.coefficients, np.linalg.lstsq(stacked, target, rcond=None)[0])


def test_cross_validation_chooses_a_strength_that_predicts(rng):
    """Few rows, much noise: the smallest strength is not the best."""
    blocks = []
    for _ in range(12):
        rows = rng.normal(size=(3, 30)) * np.logspace(0, -7, 30)
        target = rows[:, :4] @ np.ones(4) + 0.3 * rng.normal(size=3)
        blocks.append(np.column_stack([rows, target]))
    found = ridge_regression(blocks, np.logspace(0, -7, 30), n_folds=4)
    assert set(found.scores) == set(RIDGES)
    assert found.ridge == min(found.scores, key=found.scores.get) > RIDGES[0]


def test_the_score_of_a_strength_is_that_of_the_configurations_held_out(rng):
    blocks, _ = problem(rng, n_blocks=6)
    found = ridge_regression(blocks, np.ones(5), n_folds=3)
    scale = 1.0 / np.linalg.norm(np.concatenate(blocks)[:, :-1], axis=0)
    held_out = []
    for fold in range(3):
        others = np.concatenate([one for k, one in enumerate(blocks) if k % 3 != fold])
        scaled = others[:, :-1] * scale
        strength = RIDGES[-1] * np.linalg.norm(scaled, 2) ** 2
        inner = np.linalg.solve(scaled.T @ scaled + strength * np.eye(5), scaled.T @ others[:, -1])
        held_out += [score([one], scale * inner) for one in blocks[fold::3]]
    assert found.scores[RIDGES[-1]] == pytest.approx(np.mean(held_out), rel=1e-10)


def test_configurations_that_are_not_scored_do_not_choose_the_strength(rng):
    blocks, _ = problem(rng, n_blocks=10)
    strange = [one + (0.0 if k % 2 else 50.0) * np.eye(6)[5] for k, one in enumerate(blocks)]
    scored = [bool(k % 2) for k in range(10)]
    judged = ridge_regression(strange, np.ones(5), scored=scored)
    unjudged = ridge_regression(strange, np.ones(5))
    assert max(judged.scores.values()) < min(unjudged.scores.values())
    assert ridge_regression(strange, np.ones(5), scored=[False] * 10).scores == unjudged.scores


def test_one_configuration_cannot_be_cross_validated(rng):
    blocks, _ = problem(rng, n_blocks=1)
    found = ridge_regression(blocks, np.ones(5))
    assert found.ridge in RIDGES and found.scores == {}


def test_nearly_dependent_columns_are_solved_beyond_the_normal_equations(rng):
    """The condition number is 1e9, its square is beyond double precision."""
    blocks, truth = problem(rng, noise=0.0)
    for block in blocks:
        block[:, 4] = block[:, 3] + 1.0e-9 * block[:, 4]
        block[:, -1] = block[:, :-1] @ truth
    found = ridge_regression(blocks, np.ones(5), ridge=1.0e-24)
    assert np.allclose(found.coefficients, truth, atol=1e-4)
    rows = np.concatenate(blocks)
    normal = rows[:, :-1].T @ rows[:, :-1]
    assert np.linalg.cond(normal) > 1e15
    damped = ridge_regression(blocks, np.ones(5), ridge=1.0e-12)  # the sum is determined
    assert damped.coefficients[3:].sum() == pytest.approx(truth[3:].sum(), rel=1e-6)
    assert damped.coefficients[3] == pytest.approx(damped.coefficients[4], rel=1e-3)


@pytest.mark.parametrize("ridge", [None, 0.0, 1.0e-10])
def test_a_column_of_zeros_gets_no_coefficient(rng, ridge):
    blocks, truth = problem(rng, noise=0.0)
    for block in blocks:
        block[:, -1] -= block[:, 2] * truth[2]
        block[:, 2] = 0.0
    found = ridge_regression(blocks, np.ones(5), ridge=ridge)
    assert abs(found.coefficients[2]) < 1e-12
    assert np.allclose(np.delete(found.coefficients, 2), np.delete(truth, 2), rtol=1e-3)


def test_fewer_rows_than_columns_give_the_smallest_coefficients(rng):
    block = np.column_stack([rng.normal(size=(3, 6)), rng.normal(size=3)])
    found = ridge_regression([block], np.ones(6), ridge=TINY)
    assert score([block], found.coefficients) < 1e-7
    assert np.isfinite(found.coefficients).all()


def test_a_triangle_is_solved_whatever_the_units_of_its_columns(rng):
    blocks, truth = problem(rng, noise=0.0)
    units = np.array([1.0, 1e12, 1e-12, 1e3, 1.0, 1.0])
    found = least_squares(triangle([one * units for one in blocks]))
    assert np.allclose(found * units[:-1], truth, rtol=1e-12)


def test_the_triangle_of_many_rows_is_that_of_all_at_once(rng):
    blocks = [rng.normal(size=(700, 4)) for _ in range(13)]
    whole, steps = np.concatenate(blocks), triangle(iter(blocks))
    assert steps.shape == (4, 4)
    assert np.allclose(steps.T @ steps, whole.T @ whole, rtol=1e-11)


# --- rows of configurations ---------------------------------------------------------------


def rows_of(train, settings, weights=None):
    return Rows(train, settings, np.ones(len(train)) if weights is None else np.array(weights))


@pytest.mark.parametrize("mixed", [False, True])
def test_an_mtp_of_the_same_radial_functions_is_recovered(mixed):
    train, truth, settings = known(mixed=mixed, n=60 if mixed else 20)
    settings = replace(settings, ridge=0.0)
    found = regress(first_parameters(train, settings), rows_of(train, settings))
    assert found.fit.residual < 1e-6
    unseen = [rattled(seed=seed, mixed=mixed, size=0.1) for seed in range(100, 104)]
    ours, theirs = (Engine(one).evaluate(unseen) for one in (found.parameters, truth))
    assert np.allclose(ours.energies, theirs.energies, atol=1e-7)
    assert np.allclose(ours.forces, theirs.forces, atol=1e-8)
    assert np.allclose(ours.stresses, theirs.stresses, atol=1e-9)


def test_rows_say_what_the_engine_says():
    """Coefficients times rows are the predictions, row by row, in the same order and weights."""
    train, truth, settings = known(mixed=True, n=3)
    rows = rows_of(train, settings, [1.0, 4.0, 0.25])
    blocks = rows.blocks(truth)
    coefficients = np.concatenate([truth.species_coeffs - rows.offset, truth.moment_coeffs])
    from_rows = np.concatenate([block[:, :-1] @ coefficients for block in blocks])
    shifted = replace(truth, species_coeffs=truth.species_coeffs - rows.offset)
    assert np.allclose(from_rows, rows.predictions(shifted, range(3)), atol=1e-9)
    assert np.allclose(from_rows, np.concatenate(blocks)[:, -1], atol=1e-8)
    some = rows.blocks(truth, [2, 0])
    assert np.array_equal(some[0], blocks[2]) and np.array_equal(some[1], blocks[0])


def test_rows_are_weighted_by_errors_and_by_configuration():
    train, truth, settings = known(n=2)
    settings = replace(settings, energy_sigma=0.002, force_sigma=0.1, stress_sigma=0.05)
    rows = rows_of(train, settings, [1.0, 9.0])
    first, second = (block[:, -1] for block in rows.blocks(truth))
    label = train[1].label
    assert second[0] == pytest.approx(3.0 * (label.energy / 8 - rows.offset) / 0.002)
    assert np.allclose(second[1:-6], 3.0 * label.forces.ravel() / 0.1)
    assert np.allclose(second[-6:], 3.0 * label.stress.ravel()[[0, 4, 8, 5, 2, 1]] / 0.05)
    assert np.allclose(first[1:-6], train[0].label.forces.ravel() / 0.1)


def test_a_configuration_of_weight_two_counts_like_two():
    train, _, settings = known(n=8)
    rng = np.random.default_rng(0)
    noisy = [
        replace(
            item,
            label=replace(item.label, forces=item.label.forces + rng.normal(0, 0.03, (8, 3))),
        )
        for item in train
    ]
    settings = replace(settings, ridge=1.0e-8)
    first = first_parameters(noisy, settings)
    weights = np.ones(8)
    weights[3] = 2.0
    heavy = regress(first, rows_of(noisy, settings, weights)).parameters
    double = regress(first, rows_of([*noisy, noisy[3]], settings)).parameters
    once = regress(first, rows_of(noisy, settings)).parameters
    frames = [item.atoms for item in noisy]
    forces = [np.array(Engine(one).evaluate(frames).forces) for one in (heavy, double, once)]
    assert np.abs(forces[0] - forces[1]).max() < 1e-6
    assert np.abs(forces[0] - forces[2]).max() > 1e-3


def test_a_configuration_of_no_weight_does_not_count():
    train, truth, settings = known(n=21)
    wrong = replace(train[5], label=replace(train[5].label, energy=train[5].label.energy + 1.0))
    weights = np.ones(21)
    weights[5] = 0.0
    spoilt = [*train[:5], wrong, *train[6:]]
    first = first_parameters(spoilt, settings)
    found = regress(first, rows_of(spoilt, settings, weights)).parameters
    frame = [rattled(seed=77, size=0.1)]
    assert Engine(found).evaluate(frame).energies == pytest.approx(
        Engine(truth).evaluate(frame).energies, abs=1e-6
    )


def test_the_energy_of_each_species_is_found_where_the_composition_varies():
    """Silicon, germanium and both: the energies of the atoms do not merge."""
    truth_pair = random_mtp(6, species=(SILICON, GERMANIUM), radial_weight=1)
    frames = [rattled(seed=seed, mixed=True) for seed in range(6)]
    frames += [rattled(seed=seed) for seed in range(10, 16)]
    for seed in range(20, 26):
        frames.append(rattled(seed=seed))
        frames[-1].numbers[:] = GERMANIUM
    settings = replace(SETTINGS, level=4)
    blank = [
        LabelledConfiguration(one, Label(0.0, np.zeros((8, 3)), np.zeros((3, 3)))) for one in frames
    ]
    first = first_parameters(blank, settings)
    assert first.species == truth_pair.species
    truth = replace(
        first,
        species_coeffs=np.array([-100.0, -2000.0]),
        moment_coeffs=np.full(first.template.n_scalars, 0.01),
    )
    found = regress(first, rows_of(labelled(truth, frames), settings)).parameters
    assert np.allclose(found.species_coeffs, [-100.0, -2000.0], atol=1e-4)


def test_a_common_shift_of_energies_is_taken_by_the_species():
    train, _, settings = known(n=12)
    moved = [
        replace(item, label=replace(item.label, energy=item.label.energy + 8 * 1.0e4))
        for item in train
    ]
    first = first_parameters(train, settings)
    plain, shifted = (regress(first, rows_of(one, settings)).parameters for one in (train, moved))
    assert shifted.species_coeffs[0] - plain.species_coeffs[0] == pytest.approx(1.0e4, rel=1e-9)
    frames = [item.atoms for item in train]
    forces = [Engine(one).evaluate(frames).forces for one in (plain, shifted)]
    assert np.allclose(forces[0], forces[1], atol=1e-6)


def test_site_rows_belong_to_their_configurations():
    train, truth, settings = known(n=4)
    found = regress(truth, rows_of(train, settings))
    assert found.site_rows.shape == (32, truth.template.n_scalars)
    assert np.array_equal(found.owners, np.repeat(np.arange(4), 8))
    basis = Engine(truth).evaluate([train[2].atoms], basis=True).basis[0]
    assert np.allclose(found.site_rows[found.owners == 2], basis)
