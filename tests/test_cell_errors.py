"""Errors of lattice parameters and coordinates: what they claim against what other seeds say."""

import numpy as np
import pytest
from toys import wurtzite

from sscha_mlp.campaign.finalisation import REPLICATES
from sscha_mlp.crystal.free_parameters import free_parameters
from sscha_mlp.ensemble.sampling import Sampler
from sscha_mlp.scha.cell import CellMode, free_strains
from sscha_mlp.scha.cell_response import cell_response
from sscha_mlp.scha.estimators import estimate
from sscha_mlp.scha.relaxation import RelaxationSettings, draw_samples
from sscha_mlp.validation.cell_errors import cell_shifts, error_parts

BONDS = wurtzite(size=(2, 2, 1), c=-8.0, b=10.0, tension=0.05)
TEMPERATURE = 300.0
REPEATS = 40


@pytest.fixture(scope="module")
def minimum():
    """The exact minimum at its cell, with its response."""
    state, group = BONDS.harmonic()
    state = BONDS.minimum(state, group, TEMPERATURE, centroids=True)
    return state, group, cell_response(BONDS, state, group)


def draw(state, n_configs, seed, sampler):
    even = sampler is Sampler.SOBOL
    settings = RelaxationSettings(
        n_configs=n_configs,
        sampler=sampler,
        antithetic=even,
        minimum_distance_ratio=0.0,
        replicates=REPLICATES if even else 1,
    )
    rng = np.random.default_rng([11, seed])
    return draw_samples(state, BONDS, temperature=TEMPERATURE, settings=settings, rng=rng)


def even_parts(sampler):
    return REPLICATES if sampler is Sampler.SOBOL else 0


def where_it_leads(averages, response, state):
    """Strain and displacements that bring stress and forces of an ensemble to zero."""
    stress = response.components(averages.stress.value)
    forces = averages.centroid_forces.value.ravel()
    compliance = state.optical_compliance
    following = response.displacements.reshape(len(stress), -1)
    pull = stress - following @ forces / state.crystal.volume
    strain = -np.linalg.solve(response.stiffness, pull)
    moved = compliance @ forces + strain @ following
    return strain, moved.reshape(-1, 3)


@pytest.mark.parametrize(
    ("sampler", "n_configs", "lowest", "highest"),
    [(Sampler.RANDOM, 100, 0.75, 1.3), (Sampler.SOBOL, 500, 0.75, 1.35)],
)
def test_lattice_parameters_vary_with_the_seed_as_their_errors_say(
    minimum, sampler, n_configs, lowest, highest
):
    """Forty ensembles each; the standard deviation of forty numbers is known to 11 %."""
    state, group, response = minimum
    parameters = free_parameters(state.crystal, group)
    free = free_strains(group, CellMode.VARIABLE)
    values, errors = [], []
    for seed in range(REPEATS):
        averages = estimate(draw(state, n_configs, seed, sampler), group)
        shifts = cell_shifts(averages, response, free, replicates=even_parts(sampler))
        strain, moved = where_it_leads(averages, response, state)
        values.append(
            [one.by_strain @ strain + (one.by_position * moved).sum() for one in parameters]
            + [response.traces @ strain]
        )
        errors.append([shifts.stderr(one) for one in parameters] + [shifts.volume_stderr])
    spread = np.std(values, axis=0, ddof=1)
    claimed = np.sqrt(np.mean(np.square(errors), axis=0))
    assert [one.name for one in parameters] == ["a", "c", "z(O 2b)"]
    assert np.all(spread > lowest * claimed)
    assert np.all(spread < highest * claimed)


def test_errors_of_single_configurations_are_too_wide_for_a_sobol_sequence(minimum):
    """What replicates correct: pairs of a sequence that fills space evenly vary more than it."""
    state, group, response = minimum
    averages = estimate(draw(state, 500, 0, Sampler.SOBOL), group)
    free = free_strains(group, CellMode.VARIABLE)
    naive, honest = (
        cell_shifts(averages, response, free, replicates=one).volume_stderr
        for one in (0, REPLICATES)
    )
    assert honest < 0.7 * naive


def test_what_is_not_free_has_no_error(minimum):
    state, group, response = minimum
    averages = estimate(draw(state, 64, 0, Sampler.RANDOM), group)
    parameters = {one.name: one for one in free_parameters(state.crystal, group)}
    fixed = cell_shifts(averages, response, free_strains(group, CellMode.FIXED))
    assert fixed.stderr(parameters["a"]) == fixed.volume_stderr == 0.0
    assert fixed.stderr(parameters["z(O 2b)"]) > 0.0
    shape = cell_shifts(averages, response, free_strains(group, CellMode.FIXED_VOLUME))
    assert shape.volume_stderr == pytest.approx(0.0, abs=1e-12)
    assert shape.stderr(parameters["a"]) > 0.0


def test_parts_of_an_error_are_those_of_a_mean():
    values = np.random.default_rng(0).standard_normal((200, 3))
    one = np.sqrt((error_parts(values, np.ones(200), antithetic=False) ** 2).sum(axis=0))
    np.testing.assert_allclose(one, values.std(axis=0, ddof=1) / np.sqrt(200), rtol=1e-12)
    pairs = np.repeat(values[:100], 2, axis=0)
    two = np.sqrt((error_parts(pairs, np.ones(200), antithetic=True) ** 2).sum(axis=0))
    np.testing.assert_allclose(two, values[:100].std(axis=0, ddof=1) / 10, rtol=1e-12)
    means = values.reshape(10, 20, 3).mean(axis=1)
    ten = np.sqrt((error_parts(values, np.ones(200), antithetic=False, replicates=10) ** 2).sum(0))
    np.testing.assert_allclose(ten, means.std(axis=0, ddof=1) / np.sqrt(10), rtol=1e-12)
