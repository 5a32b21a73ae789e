"""Isotherms: equation of state, bulk modulus and their errors."""

import numpy as np
import pytest
from sweeps import QuasiHarmonic

from sscha_mlp.errors import InputError
from sscha_mlp.properties.isotherm import EquationForm, fit_isotherm

PRESSURES = np.array([0.0, 5.0, 10.0, 15.0, 20.0])
CRYSTAL = QuasiHarmonic()


def exact_volumes(form, pressures, v0=20.0, b0=90.0, derivative=4.3):
    """From an equation that is fitted to itself once without noise."""
    from scipy.optimize import brentq

    from sscha_mlp.properties.isotherm import _PRESSURES

    def missing(x, p):
        return float(_PRESSURES[form](np.array(x), b0, derivative)) - p

    return np.array([v0 * brentq(missing, 0.4, 1.2, args=(p,), xtol=1e-14) for p in pressures])


@pytest.mark.parametrize("form", EquationForm)
def test_each_form_finds_itself(form):
    volumes = exact_volumes(form, PRESSURES)
    state = fit_isotherm(PRESSURES, volumes, np.full(5, 1e-4), form=form)
    assert float(state.bulk_modulus_at_zero.value) == pytest.approx(90.0, rel=1e-5)
    assert float(state.derivative.value) == pytest.approx(4.3, rel=1e-4)
    assert float(state.volume_at_zero.value) == pytest.approx(20.0, rel=1e-7)
    assert state.chi_squared == pytest.approx(0.0, abs=1e-6)
    np.testing.assert_allclose(state.volume(PRESSURES).value, volumes, rtol=1e-8)


def test_the_pressure_of_murnaghan_is_the_closed_form():
    state = fit_isotherm(
        PRESSURES, exact_volumes("murnaghan", PRESSURES), np.full(5, 1e-4), form="murnaghan"
    )
    np.testing.assert_allclose(
        state.bulk_modulus([0.0, 7.0]).value, [90.0, 90.0 + 4.3 * 7.0], rtol=1e-5
    )


@pytest.mark.parametrize("n", [3, 5])
def test_errors_cover_the_bulk_modulus_of_a_warm_crystal(n, rng):
    pressures = PRESSURES[:n]
    volumes = np.array([CRYSTAL.volume_at(300.0, p) for p in pressures])
    exact = np.array([CRYSTAL.bulk_modulus_at(300.0, p) for p in pressures])
    inside, scatter = [], []
    for _ in range(100):
        noisy = volumes + 3e-3 * rng.standard_normal(n)
        found = fit_isotherm(pressures, noisy, np.full(n, 3e-3)).bulk_modulus(pressures)
        inside.append(np.abs(found.value - exact) < 2 * found.stderr)
        scatter.append((found.value - exact) / found.stderr)
    assert 0.92 <= np.mean(inside) <= 0.985
    assert np.std(scatter) == pytest.approx(0.95, abs=0.2)


def test_three_pressures_take_the_usual_derivative():
    volumes = [CRYSTAL.volume_at(300.0, p) for p in PRESSURES[:3]]
    state = fit_isotherm(PRESSURES[:3], volumes, np.full(3, 2e-2))
    assert state.assumed_derivative
    assert "4 ± 1 assumed" in state.statement
    assert state.degrees_of_freedom == 1
    assert 0.3 < float(state.derivative.stderr) <= 1.0


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_pressures_are_said(n):
    state = fit_isotherm(PRESSURES[:n], np.full(n, 20.0), np.full(n, 0.1))
    assert not state.is_known
    assert "a fit needs 3" in state.statement
    with pytest.raises(InputError, match="a fit needs 3"):
        state.bulk_modulus([0.0])


def test_what_is_no_isotherm_is_said_or_refused():
    growing = fit_isotherm(PRESSURES, 20.0 + 0.1 * PRESSURES, np.full(5, 0.1))
    assert "do not fall with pressure" in growing.statement
    with pytest.raises(InputError, match="choose from birch-murnaghan, vinet, murnaghan"):
        fit_isotherm(PRESSURES, np.full(5, 20.0), np.full(5, 0.1), form="cubic")
    with pytest.raises(InputError, match="not above zero"):
        fit_isotherm(PRESSURES, np.full(5, -20.0), np.full(5, 0.1))
    with pytest.raises(InputError, match="errors above zero"):
        fit_isotherm(PRESSURES, np.full(5, 20.0), np.zeros(5))


def test_a_form_that_does_not_fit_is_said_and_its_errors_grow():
    volumes = exact_volumes("murnaghan", 4 * PRESSURES, derivative=2.0)
    good = fit_isotherm(4 * PRESSURES, volumes, np.full(5, 1e-3), form="murnaghan")
    wrong = fit_isotherm(4 * PRESSURES, volumes, np.full(5, 1e-3), form="vinet")
    assert "does not describe" in wrong.statement
    assert wrong.bulk_modulus_at_zero.stderr > 3 * good.bulk_modulus_at_zero.stderr


def test_isotherms_away_from_zero_pressure_say_so():
    volumes = exact_volumes("birch-murnaghan", PRESSURES + 10.0)
    state = fit_isotherm(PRESSURES + 10.0, volumes, np.full(5, 1e-3))
    assert "extrapolated to zero pressure" in state.statement
