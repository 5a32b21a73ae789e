"""Thermal expansion, entropy and heat capacity from points: exact limits, and honest errors."""

import numpy as np
import pytest
from sweeps import FOUR, QuasiHarmonic

from sscha_mlp import units
from sscha_mlp.errors import InputError
from sscha_mlp.properties.averaged_fit import Observed, fit_average
from sscha_mlp.properties.einstein import (
    einstein_energy,
    einstein_entropy,
    einstein_heat_capacity,
    einstein_temperatures,
)
from sscha_mlp.properties.expansion import fit_expansion, linear_coefficient
from sscha_mlp.properties.gibbs import fit_isobar
from sscha_mlp.properties.terms import (
    anharmonic_term,
    classical_free_energy_term,
    energy_term,
    free_energy_term,
    power,
)
from sscha_mlp.properties.thermodynamics import thermodynamics

CRYSTAL = QuasiHarmonic(gammas=(-0.4, 0.6, 0.9, 1.0, 1.1, 1.2))
TEMPERATURES = np.array([0.0, 150.0, 300.0, 500.0, 750.0, 1000.0, 1300.0])
BETWEEN = np.array([80.0, 200.0, 400.0, 600.0, 900.0, 1200.0])


def test_the_oscillators_are_those_of_the_sums_over_modes():
    frequency = 7.0
    theta = frequency * units.THZ * units.HBAR / units.KB
    t = np.array([0.0, 20.0, 150.0, 900.0])
    sums = thermodynamics(np.array([[frequency * units.THZ]]), t)
    np.testing.assert_allclose(units.KB * einstein_entropy(t, theta), sums.entropy, atol=1e-18)
    capacity = units.KB * einstein_heat_capacity(t, theta)
    np.testing.assert_allclose(capacity, sums.heat_capacity, atol=1e-18)
    energy = units.KB * einstein_energy(t, theta, zero_point=True)
    np.testing.assert_allclose(energy, sums.energy, rtol=1e-12)
    np.testing.assert_allclose(
        free_energy_term(theta).value(t) + sums.zero_point, sums.free_energy, rtol=1e-12
    )


@pytest.mark.parametrize(
    "term",
    [
        energy_term(300.0),
        free_energy_term(300.0),
        anharmonic_term(300.0),
        classical_free_energy_term(),
        power(3, 2.0),
    ],
)
def test_the_derivatives_of_a_term_are_those_of_its_values(term):
    t, step = np.array([40.0, 200.0, 800.0]), 1e-2
    for order in (0, 1):
        lower, upper = (term.derivative(order)(t + s * step) for s in (-1, 1))
        found = term.derivative(order + 1)(t)
        np.testing.assert_allclose(found, (upper - lower) / (2 * step), rtol=1e-5, atol=1e-12)


def test_einstein_temperatures_span_the_modes_and_follow_the_weights():
    frequencies = np.array([[0.0, 0.0, 0.0, 15.0], [4.0, 4.0, 10.0, 14.0]])
    low, *_, high = einstein_temperatures(frequencies, weights=np.array([1.0, 7.0]))
    kelvin = units.THZ * units.HBAR / units.KB
    assert low == pytest.approx(4.0 * kelvin)
    assert high == pytest.approx(14.0 * kelvin)
    with pytest.raises(InputError, match="No mode oscillates"):
        einstein_temperatures(np.zeros((1, 3)))


def test_linear_grueneisen_modes_give_their_expansion():
    """V = V0 + sum c_k e_k with the very modes of the fit: alpha to one part in a thousand."""
    weights = np.array([-2e-5, 5e-5, 8e-5, 9e-5])
    v = 20.0 + sum(
        c * einstein_energy(TEMPERATURES, th) for c, th in zip(weights, FOUR, strict=True)
    )
    fit = fit_expansion(TEMPERATURES, v, np.full(7, 1e-6), einstein_temperatures=FOUR)
    slope = sum(
        c * einstein_heat_capacity(BETWEEN, th) for c, th in zip(weights, FOUR, strict=True)
    )
    exact = slope / (
        20.0 + sum(c * einstein_energy(BETWEEN, th) for c, th in zip(weights, FOUR, strict=True))
    )
    found = fit.coefficient(BETWEEN)
    assert np.all(np.abs(found.value - exact) < 1e-3 * np.abs(exact).max())
    np.testing.assert_allclose(found.value[1:], exact[1:], rtol=1e-3)
    np.testing.assert_allclose(linear_coefficient(found).value, found.value / 3)


def test_a_crystal_with_all_orders_is_described_above_the_lowest_point():
    volumes = [CRYSTAL.volume_at(t, 0.0) for t in TEMPERATURES]
    fit = fit_expansion(TEMPERATURES, volumes, np.full(7, 1e-6), einstein_temperatures=FOUR)
    exact = [CRYSTAL.expansion(t, 0.0) for t in BETWEEN[2:]]
    np.testing.assert_allclose(fit.coefficient(BETWEEN[2:]).value, exact, rtol=1e-3)


def test_nothing_expands_at_absolute_zero(rng):
    t = np.array([100.0, 300.0, 600.0, 900.0])
    volumes = [CRYSTAL.volume_at(one, 0.0) for one in t] + 2e-3 * rng.standard_normal(4)
    fit = fit_expansion(t, volumes, np.full(4, 2e-3), einstein_temperatures=FOUR)
    found = fit.coefficient([0.0, 2.0])
    assert found.value[0] == 0.0
    assert found.stderr[0] == 0.0
    assert abs(found.value[1]) < 1e-12  # beyond any power of T


def test_errors_cover_the_truth(rng):
    """Two standard errors, over noisy draws of a crystal whose modes are not those of the fit."""
    t = TEMPERATURES
    volumes = np.array([CRYSTAL.volume_at(one, 0.0) for one in t])
    gibbs = np.array([CRYSTAL.gibbs(one, 0.0) for one in t])
    entropies = np.array([CRYSTAL.entropy(one, 0.0) for one in t])
    alpha = np.array([CRYSTAL.expansion(one, 0.0) for one in BETWEEN])
    size = np.array([CRYSTAL.volume_at(one, 0.0) for one in BETWEEN])
    capacity = np.array([CRYSTAL.heat_capacity_p(one, 0.0) for one in BETWEEN])
    error = np.where(t > 0, 2e-3, 0.0)
    inside: dict[str, list[np.ndarray]] = {"V": [], "alpha": [], "C_p": []}
    agree = []
    for _ in range(200):
        noisy = volumes + 2e-3 * rng.standard_normal(7)
        fit = fit_expansion(t, noisy, np.full(7, 2e-3), einstein_temperatures=FOUR)
        thermal = fit_isobar(
            t,
            gibbs + 1e-4 * rng.standard_normal(7),
            np.full(7, 1e-4),
            entropies + error * rng.standard_normal(7),
            error,
            einstein_temperatures=FOUR,
        )
        pairs = {
            "V": (fit.size(BETWEEN), size),
            "alpha": (fit.coefficient(BETWEEN), alpha),
            "C_p": (thermal.heat_capacity(BETWEEN), capacity),
        }
        for name, (found, exact) in pairs.items():
            inside[name].append(np.abs(found.value - exact) < 2 * found.stderr)
        agree.append("agree with" in thermal.agreement)
    shares = {name: np.mean(found) for name, found in inside.items()}
    assert 0.93 <= shares["V"] <= 0.98
    assert 0.93 <= shares["C_p"] <= 0.985
    assert shares["alpha"] >= 0.93  # on the safe side at low T, where terms differ most
    assert np.mean(agree) > 0.95


def test_errors_are_exact_where_the_form_is_known(rng):
    """One term, one answer: coverage and scatter are those of a straight line."""
    t = np.array([100.0, 300.0, 500.0, 800.0])
    exact = 20.0 + 3e-4 * einstein_energy(t, 400.0)
    candidates = [(power(0), energy_term(400.0))]
    z = []
    for _ in range(1000):
        fit = fit_average(
            candidates, Observed(t, exact + 0.01 * rng.standard_normal(4), np.full(4, 0.01))
        )
        found = fit.at([600.0], order=1)
        truth = 3e-4 * einstein_heat_capacity(600.0, 400.0)
        z.append(float((found.value[0] - truth) / found.stderr[0]))
    assert 0.93 <= np.mean(np.abs(z) < 2) <= 0.98
    assert np.std(z) == pytest.approx(1.0, abs=0.08)


def test_classical_nuclei_expand_from_the_start():
    t = np.array([100.0, 300.0, 500.0, 800.0, 1100.0])
    fit = fit_expansion(t, 20.0 + 3e-4 * t, np.full(5, 1e-4), einstein_temperatures=())
    found = fit.coefficient([100.0, 600.0])
    np.testing.assert_allclose(
        found.value, 3e-4 / (20.0 + 3e-4 * np.array([100.0, 600.0])), rtol=1e-6
    )
    entropies = 3.0 * (1.0 - np.log(400.0 / t))
    gibbs = -3.0 * units.KB * t * np.log(t / 400.0)
    thermal = fit_isobar(
        t, gibbs, np.full(5, 1e-5), entropies, np.full(5, 1e-4), einstein_temperatures=()
    )
    np.testing.assert_allclose(thermal.heat_capacity([200.0, 900.0]).value, 3.0, rtol=1e-6)
    assert "agree with" in thermal.agreement


def test_few_entropies_are_not_integrated():
    t = np.array([300.0, 600.0, 900.0])
    gibbs = np.array([CRYSTAL.gibbs(one, 0.0) for one in t])
    entropies = np.array([CRYSTAL.entropy(one, 0.0) for one in t])
    fit = fit_isobar(
        t, gibbs, np.full(3, 1e-6), entropies, np.full(3, 1e-4), einstein_temperatures=FOUR
    )
    assert fit.curve is not None
    assert "Too few entropies" in fit.agreement


def test_entropies_that_are_not_the_slope_are_noticed(rng):
    t = TEMPERATURES[1:]
    gibbs = np.array([CRYSTAL.gibbs(one, 0.0) for one in t])
    entropies = 0.95 * np.array([CRYSTAL.entropy(one, 0.0) for one in t])
    fit = fit_isobar(
        t, gibbs, np.full(6, 1e-4), entropies, np.full(6, 2e-3), einstein_temperatures=FOUR
    )
    assert "do not agree with" in fit.agreement
    assert fit.curve is not None
    assert fit.curve.inflation > 1.0
    assert "does not describe the points" in fit.statement


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_points_are_said_and_not_fitted(n):
    t = TEMPERATURES[1 : n + 1]
    fit = fit_expansion(t, np.full(n, 20.0), np.full(n, 0.1), einstein_temperatures=FOUR)
    assert fit.curve is None
    assert fit.chi_squared is None
    assert "a fit needs 3" in fit.statement
    with pytest.raises(InputError, match="a fit needs 3"):
        fit.coefficient([200.0])
    thermal = fit_isobar(
        t, np.zeros(n), np.ones(n), np.ones(n), np.ones(n), einstein_temperatures=FOUR
    )
    with pytest.raises(InputError, match="a fit needs 3"):
        thermal.heat_capacity([200.0])


def test_three_points_are_fitted_and_their_form_is_not_judged():
    t = np.array([300.0, 600.0, 900.0])
    volumes = [CRYSTAL.volume_at(one, 0.0) for one in t]
    fit = fit_expansion(t, volumes, np.full(3, 2e-3), einstein_temperatures=FOUR)
    assert "too few points to judge" in fit.statement
    found = fit.coefficient([600.0])
    exact = CRYSTAL.expansion(600.0, 0.0)
    assert abs(found.value[0] - exact) < 2 * found.stderr[0] < 0.5 * exact


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([1.0, 2.0], [1.0, 2.0, 3.0], [0.1, 0.1]), "shapes"),
        (([1.0, 2.0], [1.0, np.nan], [0.1, 0.1]), "finite numbers"),
        (([1.0, 2.0], [1.0, 2.0], [0.1, 0.0]), "errors above zero"),
    ],
)
def test_bad_points_are_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        fit_expansion(*arguments, einstein_temperatures=FOUR)
