"""Several ensembles as one: averages without bias, and relaxations that draw less.

Averages over a pool use the balance heuristic; the toys give their exact values.
"""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from toys import fcc, wurtzite

from sscha_mlp import units
from sscha_mlp.ensemble.averages import effective_sample_size, importance_weights
from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.ensemble.pool import pool
from sscha_mlp.ensemble.sampling import Ensemble, sample
from sscha_mlp.errors import InputError
from sscha_mlp.scha.cell import CellMode
from sscha_mlp.scha.convergence import Tolerances
from sscha_mlp.scha.estimators import estimate
from sscha_mlp.scha.relaxation import (
    RelaxationSettings,
    evaluate_ensemble,
    pressure_of,
    relax,
)
from sscha_mlp.scha.reuse import Reusable, pool_samples, reusable

TEMPERATURE = 300.0
BONDS = wurtzite(c=-8.0, b=10.0, tension=0.1)
STATE, GROUP = BONDS.harmonic()
SHIFT = np.array([[0, 0, 0.01], [0, 0, -0.01]] * 2)


def draw(state, n_configs, seed, *, temperature=TEMPERATURE, **options):
    return sample(
        state,
        temperature=temperature,
        n_configs=n_configs,
        rng=np.random.default_rng(seed),
        minimum_distance_ratio=0.0,
        **options,
    )


def scaled(factor, shift=0.0):
    """The harmonic state with other force constants and centroids."""
    return STATE.with_force_constants(factor * STATE.force_constants).moved(shift * SHIFT)


def three(seed, sizes=(100, 150, 50), **options):
    """Ensembles of three states: soft, moved, and hard and hot."""
    states = (scaled(0.95), scaled(1.0, 1.0), scaled(1.1, -0.5))
    temperatures = (TEMPERATURE, TEMPERATURE, 1.2 * TEMPERATURE)
    return [
        draw(state, n, 10 * seed + k, temperature=t, **options)
        for k, (state, n, t) in enumerate(zip(states, sizes, temperatures, strict=True))
    ]


TARGET = Gaussian(scaled(1.03, 0.5), TEMPERATURE)


# --- the pool ----------------------------------------------------------------------------------


def test_configurations_of_a_pool_are_those_of_its_ensembles():
    """The same atoms at the same places, whatever centroids they are measured from."""
    parts = three(0, sizes=(4, 6, 2))
    together = pool(parts, TARGET)
    assert together.is_pooled and together.antithetic
    assert together.n_configs == 12
    found = np.array([atoms.positions for atoms in together.configurations()])
    expected = [atoms.positions for part in parts for atoms in part.configurations()]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    first = together.subset(4)
    np.testing.assert_array_equal(first.log_density, together.log_density[:4])


def test_a_pool_of_one_is_its_ensemble():
    (one,) = (draw(scaled(0.95), 100, 1),)
    together = pool([one], one.gaussian)
    np.testing.assert_allclose(together.log_density, one.log_density, atol=1e-9)
    np.testing.assert_allclose(
        importance_weights(together, TARGET), importance_weights(one, TARGET), rtol=1e-9
    )
    np.testing.assert_allclose(importance_weights(together, one.gaussian), 1, rtol=1e-9)
    samples = evaluate_ensemble(one, BONDS)
    assert pool_samples([samples]) is samples


def test_equal_ensembles_pool_into_a_larger_one():
    """Drawn from one state, they are one ensemble: all weights are one at that state."""
    parts = [draw(scaled(1.0), n, seed) for seed, n in enumerate((20, 40))]
    together = pool(parts, parts[0].gaussian)
    np.testing.assert_allclose(importance_weights(together, parts[1].gaussian), 1, rtol=1e-9)


@pytest.mark.parametrize("antithetic", [True, False])
def test_averages_over_a_pool_are_unbiased(antithetic):
    """Free energy, stress and shifts at a state that none was drawn from; 24 pools.

    Deviations from the closed form, in standard errors, have the mean zero.  They are smaller than
    one: how many configurations come from which state is fixed, and the errors take it as drawn.
    """
    exact = {
        "free_energy": BONDS.free_energy(TARGET),
        "stress": GROUP.symmetrise_tensor(BONDS.stress(TARGET))[2, 2],
        "centroid_forces": GROUP.symmetrise_vectors(BONDS.centroid_forces(TARGET))[0, 2],
    }
    z = {name: [] for name in exact}
    for seed in range(24):
        parts = three(seed, antithetic=antithetic)
        samples = pool_samples([evaluate_ensemble(part, BONDS) for part in parts])
        found = estimate(samples, GROUP, trial=TARGET)
        assert found.effective_sample_size < 0.97 * samples.ensemble.n_configs
        for name, index in (("free_energy", ()), ("stress", (2, 2)), ("centroid_forces", (0, 2))):
            one = getattr(found, name)
            z[name].append((one.value[index] - exact[name]) / one.stderr[index])
    for name, values in z.items():
        scatter = np.std(values, ddof=1)
        assert abs(np.mean(values)) < 4.5 * scatter / np.sqrt(24), name
        assert 0.25 < scatter < 1.6, name


def test_weights_before_they_are_normalised_have_the_mean_one():
    """``< rho / mixture >`` over the mixture is one: nothing is lost and nothing counted twice."""
    means, errors = [], []
    for seed in range(12):
        together = pool(three(seed), TARGET)
        at_target = TARGET.log_density(together.displacements + home_of(together) - home_of(TARGET))
        ratio = np.exp(at_target - together.log_density)
        means.append(ratio.mean())
        errors.append(ratio.std() / np.sqrt(len(ratio)))
        found = importance_weights(together, TARGET)
        np.testing.assert_allclose(found, ratio / ratio.mean(), rtol=1e-8)
    z = (np.array(means) - 1) / np.array(errors)
    assert abs(z.mean()) < 4.5 / np.sqrt(12)
    assert np.max(errors) < 0.15


def home_of(one):
    return one.dynamical_matrix.supercell.crystal.positions.ravel()


def test_no_configuration_outweighs_the_part_that_covers_the_target():
    """At a state with n_k of n configurations no ratio exceeds n / n_k, however far the others."""
    near, far = draw(scaled(1.0), 50, 1), draw(scaled(2.5), 150, 2)
    together = pool([near, far], near.gaussian)
    ratio = np.exp(near.gaussian.log_density(together.displacements) - together.log_density)
    assert ratio.max() <= 4 * (1 + 1e-9)
    lonely = Ensemble(far.gaussian, far.displacements, antithetic=True)
    assert importance_weights(lonely, near.gaussian).max() > 10
    assert effective_sample_size(importance_weights(together, near.gaussian)) > 45


def test_what_cannot_be_pooled_is_refused():
    one = draw(STATE, 4, 0)
    pooled = pool([one, draw(STATE, 4, 1)], one.gaussian)
    with pytest.raises(InputError, match="one or more ensembles that are no pools themselves"):
        pool([], one.gaussian)
    with pytest.raises(InputError, match="no pools themselves"):
        pool([pooled, one], one.gaussian)
    strained = draw(STATE.strained(1e-6 * np.eye(3)), 4, 0)
    with pytest.raises(InputError, match="different cells cannot be pooled"):
        pool([one, strained], one.gaussian)
    larger = draw(wurtzite(size=(2, 2, 2)).harmonic()[0], 4, 0)
    with pytest.raises(InputError, match="different cells cannot be pooled"):
        pool([one, larger], one.gaussian)


# --- what is used again ------------------------------------------------------------------------


def test_populations_are_used_again_by_what_they_are_worth():
    near = evaluate_ensemble(draw(scaled(0.98), 40, 1), BONDS)
    far = evaluate_ensemble(draw(scaled(3.0), 40, 2), BONDS)
    strained = evaluate_ensemble(draw(STATE.strained(1e-3 * np.eye(3)), 40, 3), BONDS)
    found = reusable({1: far, 2: strained, 3: near}, STATE, TEMPERATURE)
    assert list(found.samples) == [3]
    here = Gaussian(STATE, TEMPERATURE)
    worth = effective_sample_size(importance_weights(near.ensemble, here))
    assert found.worth == pytest.approx(worth) and 12 < worth < 40


def test_half_of_a_population_is_always_drawn_anew():
    assert Reusable().n_fresh(100) == 100
    assert Reusable(worth=20.0).n_fresh(100) == 80
    assert Reusable(worth=20.5).n_fresh(100) == 80  # pairs
    assert Reusable(worth=75.0).n_fresh(100) == 50
    assert Reusable(worth=1e6).n_fresh(100) == 50


# --- relaxations -------------------------------------------------------------------------------

QUARTIC = fcc(b=6.0, tension=0.02)
HOT = 1200.0
SETTINGS = RelaxationSettings(
    n_configs=200,
    max_populations=12,
    cell=CellMode.FIXED,
    minimum_distance_ratio=0,
    tolerances=Tolerances(max_pressure_stderr_gpa=0.5, max_frequency_stderr_thz=0.3),
)


class Counted:
    """An evaluator that counts configurations."""

    def __init__(self, bonds):
        self.bonds = bonds
        self.n_evaluated = 0

    def evaluate(self, configurations):
        self.n_evaluated += len(configurations)
        return self.bonds.evaluate(configurations)


def relaxed(state, settings=SETTINGS, *, seed=0, temperature=HOT, bonds=QUARTIC, **options):
    """Populations of a relaxation, and how many configurations it asked for."""
    counted = Counted(bonds)
    populations = list(
        relax(
            state,
            counted,
            temperature=temperature,
            settings=settings,
            rng=lambda index: np.random.default_rng([seed, index]),
            **options,
        )
    )
    return populations, counted.n_evaluated


def test_a_relaxation_at_fixed_cell_evaluates_less_when_it_uses_populations_again():
    """Over a few seeds; both ways end at the exact minimum, within their errors."""
    state, group = QUARTIC.harmonic()
    exact = QUARTIC.minimum(state, group, HOT).frequencies_at_qpoints() / units.THZ
    counts = {True: 0, False: 0}
    for seed in range(4):
        for reuse in counts:
            settings = replace(SETTINGS, reuse=reuse)
            populations, n_evaluated = relaxed(state, settings, seed=seed)
            counts[reuse] += n_evaluated
            last = populations[-1]
            assert last.converged
            error = last.minimisation.estimators.frequency_shifts.stderr.max() / units.THZ
            found = last.state.frequencies_at_qpoints() / units.THZ
            assert np.abs(found - exact).max() < 4.5 * error
            n_reused = sum(p.n_reused for p in populations)
            assert bool(n_reused) is reuse
    assert counts[True] < 0.8 * counts[False]


def test_populations_that_are_enough_without_reuse_are_enough_with_it():
    """The error of 200 configurations is within the limit, that of the 100 drawn anew is not."""
    bonds = fcc(b=3.0, tension=0.02)
    state, _ = bonds.harmonic()
    tolerances = replace(SETTINGS.tolerances, max_frequency_stderr_thz=0.095)
    for reuse in (False, True):
        settings = replace(SETTINGS, reuse=reuse, tolerances=tolerances)
        populations, _ = relaxed(state, settings, bonds=bonds, temperature=600.0)
        assert populations[-1].converged


def test_populations_say_what_they_are_made_of():
    state, _ = QUARTIC.harmonic()
    populations, n_evaluated = relaxed(state)
    assert len(populations) >= 3 and any(p.n_reused for p in populations)
    for population in populations:
        assert population.pooled[-1] == population.index
        assert set(population.pooled[:-1]) <= set(populations[population.index - 2].pooled)
        parts = [populations[number - 1].drawn.ensemble.n_configs for number in population.pooled]
        assert population.samples.ensemble.n_configs == sum(parts)
        assert population.n_reused == sum(parts[:-1])
        assert population.ensemble.n_configs >= 100
        assert population.samples.ensemble.is_pooled is (len(parts) > 1)
        # The state is judged by fresh configurations alone.
        assert population.fresh.samples is population.drawn
    drawn = sum(p.ensemble.n_configs for p in populations)
    assert n_evaluated == drawn + 2 * len(populations)  # and the strained cells of the stiffness


def test_nothing_is_used_again_after_a_step_of_the_cell():
    state, _ = QUARTIC.harmonic()
    settings = replace(SETTINGS, cell=CellMode.VARIABLE, max_populations=3)
    populations, _ = relaxed(state, settings, pressure=3.0)
    for before, after in pairwise(populations):
        assert not np.array_equal(before.following.crystal.cell, before.state.crystal.cell)
        assert after.pooled == (after.index,) and after.n_reused == 0


def test_populations_of_a_cubic_crystal_at_fixed_volume_are_used_again():
    """Its shape is fixed by symmetry: the cell never changes, whatever the pressure."""
    state, _ = QUARTIC.harmonic()
    settings = replace(SETTINGS, cell=CellMode.FIXED_VOLUME, max_populations=3)
    populations, _ = relaxed(state, settings, pressure=3.0)
    assert any(p.n_reused for p in populations)


def test_the_cell_stays_while_the_stress_is_on_target():
    """Harmonic bonds without tension: no stress at any temperature, to the noise of the sample.

    At a pressure the same relaxation moves its cell.
    """
    bonds = fcc(b=0.5)
    state, _ = bonds.harmonic()
    settings = replace(SETTINGS, cell=CellMode.VARIABLE, max_populations=4)
    loose = replace(settings, tolerances=replace(SETTINGS.tolerances, pressure_gpa=1.0))
    populations, _ = relaxed(state, loose, bonds=bonds, temperature=600.0)
    for population in populations:
        assert abs(pressure_of(population.minimisation.estimators.stress.value)) < units.GPA
        np.testing.assert_array_equal(population.following.crystal.cell, state.crystal.cell)
    assert any(p.n_reused for p in populations)
    moved, _ = relaxed(state, loose, bonds=bonds, temperature=600.0, pressure=2.0)
    assert not np.array_equal(moved[0].following.crystal.cell, state.crystal.cell)


def test_a_relaxation_with_earlier_populations_goes_on_identically():
    state, group = QUARTIC.harmonic()
    never = replace(SETTINGS.tolerances, max_frequency_stderr_thz=1e-3)
    settings = replace(SETTINGS, max_populations=5, tolerances=never)
    whole, _ = relaxed(state, settings, group=group)
    stop = next(k for k, p in enumerate(whole) if len(p.pooled) > 1)
    assert stop + 1 < len(whole)
    before = whole[stop]
    step = before.minimisation.steps[-1]
    options = {
        "group": group,
        "first_population": stop + 2,
        "previous_free_energy": (step.free_energy, step.free_energy_stderr),
        "reference_volume": state.crystal.volume,
    }
    earlier = {number: whole[number - 1].drawn for number in before.pooled}
    rest, _ = relaxed(before.following, settings, earlier=earlier, **options)
    assert [p.index for p in rest] == [p.index for p in whole[stop + 1 :]]
    for mine, theirs in zip(rest, whole[stop + 1 :], strict=True):
        assert (mine.pooled, mine.reason) == (theirs.pooled, theirs.reason)
        np.testing.assert_array_equal(
            mine.samples.ensemble.displacements, theirs.samples.ensemble.displacements
        )
        np.testing.assert_array_equal(
            mine.following.force_constants, theirs.following.force_constants
        )
    forgetful, _ = relaxed(before.following, settings, **options)
    assert forgetful[0].ensemble.n_configs > rest[0].ensemble.n_configs
