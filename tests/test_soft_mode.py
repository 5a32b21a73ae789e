"""Soft modes over temperature: the fit, its errors, and what is said when nothing crosses zero."""

import io

import numpy as np
import pytest

from sscha_mlp.errors import InputError
from sscha_mlp.properties.soft_mode import fit_soft_mode
from sscha_mlp.properties.stability import Verdict, judge_stability
from sscha_mlp.report.phonons.soft_mode_figure import soft_mode_figure

TEMPERATURES = np.array([100.0, 150.0, 200.0, 250.0, 300.0])


def test_points_on_a_line_are_found_exactly_in_any_order():
    squares = 0.02 * (TEMPERATURES - 180.0)
    order = [3, 0, 4, 1, 2]
    fit = fit_soft_mode(TEMPERATURES[order], squares[order], [0.1, 0.2, 0.1, 0.3, 0.1])
    assert fit.slope == pytest.approx(0.02)
    assert fit.critical_temperature == pytest.approx(180.0)
    assert fit.chi_squared == pytest.approx(0.0, abs=1e-20)
    assert fit.degrees_of_freedom == 3
    np.testing.assert_allclose(fit.line(fit.temperatures), fit.squares, atol=1e-12)
    assert "stable above Tc = 180.0" in fit.statement


def test_the_errors_are_the_scatter_of_repeated_fits(rng):
    stderr = np.array([0.1, 0.2, 0.1, 0.15, 0.3])
    found = []
    for _ in range(2000):
        noisy = 0.02 * (TEMPERATURES - 180.0) + stderr * rng.standard_normal(5)
        found.append(fit_soft_mode(TEMPERATURES, noisy, stderr))
    critical = np.array([one.critical_temperature for one in found])
    errors = np.array([one.critical_stderr for one in found])
    assert critical.std() == pytest.approx(np.median(errors), rel=0.1)
    slopes = np.array([one.slope for one in found])
    assert slopes.std() == pytest.approx(found[0].slope_stderr, rel=0.08)
    assert np.mean([one.chi_squared for one in found]) == pytest.approx(3.0, rel=0.1)


def test_a_precise_point_decides():
    fit = fit_soft_mode([100.0, 200.0, 300.0], [-1.0, 0.5, 1.0], [1e-4, 1.0, 1e-4])
    assert fit.critical_temperature == pytest.approx(200.0, abs=0.1)


@pytest.mark.parametrize(
    ("squares", "words"),
    [
        ([1.0, 1.1, 1.2, 1.3, 1.4], "stable at every temperature"),
        ([-1.0, -1.1, -1.2, -1.3, -1.4], "unstable at every temperature"),
        ([0.05, -0.05, 0.05, -0.05, 0.05], "does not change with temperature"),
    ],
)
def test_no_crossing_is_said_and_not_invented(squares, words):
    fit = fit_soft_mode(TEMPERATURES, squares, np.full(5, 0.1))
    assert fit.critical_temperature is None
    assert fit.critical_stderr is None
    assert words in fit.statement


def test_a_transition_on_heating_and_one_beyond_the_points_are_named():
    falling = fit_soft_mode(TEMPERATURES, -0.02 * (TEMPERATURES - 180.0), np.full(5, 0.1))
    assert "stable below Tc" in falling.statement
    beyond = fit_soft_mode(TEMPERATURES, 0.02 * (TEMPERATURES - 95.0), np.full(5, 0.1))
    assert beyond.critical_temperature == pytest.approx(95.0)
    assert "extrapolated" in beyond.statement


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([100.0, 100.0], [1.0, 2.0], [0.1, 0.1]), "at least two temperatures"),
        (([100.0, 200.0], [1.0, 2.0], [0.1, 0.0]), "errors above zero"),
        (([100.0, 200.0], [1.0, np.nan], [0.1, 0.1]), "finite numbers"),
        (([100.0, 200.0], [1.0], [0.1, 0.1]), "have shapes"),
    ],
)
def test_bad_points_are_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        fit_soft_mode(*arguments)


def test_the_verdict_needs_two_standard_errors():
    moving = np.array([[False, True], [True, True]])
    stderr = np.full((2, 2), 0.1)
    stable = judge_stability(np.array([[0.0, 0.5], [0.3, 1.0]]), stderr, moving)
    assert stable.verdict is Verdict.STABLE
    assert stable.place == (1, 0)
    assert (stable.value, stable.stderr) == (0.3, 0.1)
    for value in (0.1, -0.1):
        near = judge_stability(np.array([[0.0, value], [0.3, 1.0]]), stderr, moving)
        assert near.verdict is Verdict.UNDECIDED
    unstable = judge_stability(np.array([[-9.0, 0.5], [-0.3, 1.0]]), stderr, moving)
    assert unstable.verdict is Verdict.UNSTABLE
    assert unstable.value == -0.3  # the translations do not count
    # A soft mode with a large error hides none that is surely unstable.
    errors = np.array([[0.1, 5.0], [0.1, 0.1]])
    hidden = judge_stability(np.array([[0.0, -0.4], [-0.3, 1.0]]), errors, moving)
    assert hidden.verdict is Verdict.UNSTABLE
    assert hidden.value == -0.3
    with pytest.raises(InputError, match="only modes are translations"):
        judge_stability(np.zeros((1, 3)), np.zeros((1, 3)), np.zeros((1, 3), dtype=bool))
    with pytest.raises(InputError, match="not a finite number"):
        judge_stability(np.array([np.nan]), np.array([0.1]), np.array([True]))


@pytest.mark.parametrize("shift", [180.0, -1000.0])
def test_the_figure_shows_points_line_and_transition(shift):
    fit = fit_soft_mode(TEMPERATURES, 0.02 * (TEMPERATURES - shift), np.full(5, 0.1))
    figure = soft_mode_figure(fit)
    (axes,) = figure.axes
    assert axes.get_ylabel() == "Squared frequency (THz²)"
    labels = axes.get_legend_handles_labels()[1]
    assert ("Tc" in labels) == (fit.critical_temperature is not None)
    assert fit.statement == axes.get_title()
    drawn = io.BytesIO()
    figure.savefig(drawn, format="pdf")
    assert drawn.getvalue().startswith(b"%PDF")
