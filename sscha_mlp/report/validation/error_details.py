"""The page behind the validation page: where the errors are, and the table of their statistics."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from sscha_mlp import units
from sscha_mlp.digits import (
    configurations,
    fixed,
    p_value,
    significant,
    with_error,
)
from sscha_mlp.quantities import QUANTITIES
from sscha_mlp.report.page.layout import Column, Flow, add_axes_mm, set_labels, table_height
from sscha_mlp.report.page.scatter import draw_dots
from sscha_mlp.report.page.style import (
    GREY,
    INK,
    MM,
    TEXT_WIDTH,
    colour_of,
    style,
)
from sscha_mlp.validation.metrics import ValidationSet
from sscha_mlp.validation.statistics import ErrorStatistics, FloatArray

_MEV: Final = 1.0e3
_LEFT: Final = 13.0
_PANEL: Final = 71.0
_STEP: Final = TEXT_WIDTH - _PANEL
_HEIGHT: Final = 56.0
_ROW: Final = 14.0
_MOST_ELEMENTS: Final = 10
_SIZE: Final = 7.6

_COLUMNS: Final = (
    Column("Set", 27.0, "left"),
    Column("Quantity", 24.0, "left"),
    Column("RMSE", 23.0),
    Column("MAE", 13.0),
    Column("Bias", 25.0),
    Column("p", 13.0),
    Column("R²", 13.0),
    Column("95 %", 12.0),
    Column("Max", 12.0),
    Column("Kurt.", 12.0),
)


def draw_force_by_amplitude(axes: Axes, sets: Sequence[ValidationSet]) -> None:
    """Draw the force error of each configuration, and its rms in bins, against amplitude."""
    for index, one in enumerate(sets):
        _dots(axes, one.displacement_rms, one.force_rmse_per_config * _MEV, index)
        bins = one.by_displacement()
        _bins(
            axes,
            np.array([row.mean for row in bins]),
            np.array([row.force_rmse for row in bins]) * _MEV,
            np.array([row.force_rmse_stderr for row in bins]) * _MEV,
            index,
        )
    _finish(axes, QUANTITIES["displacement"].axis, "Force RMSE (meV/Å)")


def draw_energy_by_amplitude(axes: Axes, sets: Sequence[ValidationSet]) -> None:
    """Draw the absolute energy error of each configuration, and its rms, against amplitude."""
    for index, one in enumerate(sets):
        error = np.abs(one.energies_reference - one.energies_predicted) * _MEV
        _dots(axes, one.displacement_rms, error, index)
        bins = one.by_displacement()
        _bins(
            axes,
            np.array([row.mean for row in bins]),
            np.array([row.energy_rmse for row in bins]) * _MEV,
            np.array([row.energy_rmse_stderr for row in bins]) * _MEV,
            index,
        )
    _finish(axes, QUANTITIES["displacement"].axis, "Energy error (meV/atom)")


def draw_force_by_magnitude(axes: Axes, sets: Sequence[ValidationSet], *, n_bins: int = 9) -> None:
    """Draw the rms force error in bins of the size of the reference force."""
    for index, one in enumerate(sets):
        size = np.linalg.norm(one.forces_reference, axis=1)
        squares = np.mean(one.force_errors**2, axis=1)
        parts = np.array_split(np.argsort(size, kind="stable"), min(n_bins, size.size))
        means = np.array([size[part].mean() for part in parts])
        rmse = np.array([np.sqrt(squares[part].mean()) for part in parts])
        error = np.array([_mean_square_error(squares[part]) for part in parts])
        _bins(axes, means, rmse * _MEV, error * _MEV, index)
    _finish(axes, "Size of the reference force (eV/Å)", "Force RMSE (meV/Å)")


def draw_force_by_element(axes: Axes, sets: Sequence[ValidationSet]) -> None:
    """Draw the rms force error of each element, sets side by side."""
    symbols = list(dict.fromkeys(row.symbol for one in sets for row in one.per_element))
    symbols = symbols[:_MOST_ELEMENTS]
    width = 0.72 / len(sets)
    highest = 0.0
    for index, one in enumerate(sets):
        for row in one.per_element:
            if row.symbol not in symbols:
                continue
            place = symbols.index(row.symbol) + (index - 0.5 * (len(sets) - 1)) * width
            height = row.rmse * _MEV
            error = np.nan_to_num(row.rmse_stderr) * _MEV
            axes.bar(place, height, 0.86 * width, color=colour_of(index), alpha=0.75)
            axes.errorbar(place, height, 2.0 * error, color=INK, linewidth=0.8, capsize=1.5)
            axes.annotate(
                significant(height),
                (place, height + 2.0 * error),
                xytext=(0, 2.5),
                textcoords="offset points",
                ha="center",
                fontsize=7.0,
            )
            highest = max(highest, height + 2.0 * error)
    axes.set(xlim=(-0.75, len(symbols) - 0.25), ylim=(0.0, 1.18 * highest or 1.0))
    axes.set_xticks(range(len(symbols)), symbols)
    axes.tick_params(axis="x", length=0)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    set_labels(axes, "Element", "Force RMSE (meV/Å)")


def _mean_square_error(squares: FloatArray) -> float:
    """Standard error of a root mean square, from the scatter of the squares."""
    mean = float(squares.mean())
    if squares.size < 2 or mean == 0.0:
        return 0.0
    return float(squares.std(ddof=1)) / math.sqrt(4.0 * squares.size * mean)


def _dots(axes: Axes, x: FloatArray, y: FloatArray, index: int) -> None:
    draw_dots(axes, x, y, colour=colour_of(index))


def _bins(axes: Axes, x: FloatArray, y: FloatArray, stderr: FloatArray, index: int) -> None:
    axes.errorbar(
        x,
        y,
        2.0 * np.nan_to_num(stderr),
        color=colour_of(index),
        marker="o",
        markersize=3.2,
        markeredgecolor="white",
        markeredgewidth=0.4,
        linewidth=0.9,
        elinewidth=0.9,
    )


def _finish(axes: Axes, x: str, y: str) -> None:
    """Label the axes; a logarithmic scale holds sets whose errors differ by powers of ten."""
    heights = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axes.lines])
    heights = heights[np.isfinite(heights) & (heights > 0.0)]
    if heights.size and heights.max() > 6.0 * np.quantile(heights, 0.25):
        axes.set_yscale("log")
        axes.set_ylim(_log_floor(heights), 1.8 * float(heights.max()))
        axes.yaxis.set_major_locator(LogLocator(subs=_log_subs(axes), numticks=12))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_locator(MaxNLocator(6))
    if not heights.size:
        axes.text(
            0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", color=GREY, va="center"
        )
    set_labels(axes, x, y)


def _log_subs(axes: Axes) -> tuple[float, ...]:
    """Marks inside a decade: more of them where there are few decades."""
    low, high = axes.get_ylim()
    decades = float(np.log10(high / low))
    return (1.0, 2.0, 5.0) if decades < 2.2 else (1.0,)


def _log_floor(heights: FloatArray) -> float:
    """Lower end of a logarithmic scale that a few tiny errors do not stretch."""
    return 0.6 * float(max(heights.min(), np.quantile(heights, 0.02), heights.max() * 1.0e-4))


def statistics_rows(sets: Sequence[ValidationSet]) -> list[list[str]]:
    """Return the table of statistics: three rows for each set."""
    rows = []
    for one in sets:
        rows.append(_row(one.name, "Energy, meV/atom", one.energy, _MEV))
        temperature = "" if one.temperature is None else f"{one.temperature:g} K"
        rows.append(_row(temperature, "Force, meV/Å", one.force, _MEV))
        size = configurations(one.n_configs)
        rows.append(_row(size, "Stress, GPa", one.stress, 1.0 / units.GPA))
    return rows


def _row(name: str, quantity: str, numbers: ErrorStatistics, factor: float) -> list[str]:
    is_force = quantity.startswith("Force")
    slope = with_error(numbers.slope, numbers.slope_stderr, fallback=4)
    return [
        name,
        quantity,
        with_error(numbers.rmse * factor, numbers.rmse_stderr * factor),
        significant(numbers.mae * factor),
        f"× {slope}"
        if is_force
        else with_error(numbers.bias * factor, numbers.bias_stderr * factor, sign=True),
        "" if is_force else p_value(numbers.bias_p_value),
        fixed(numbers.r2, 4),
        significant(numbers.q95_abs * factor),
        significant(numbers.max_abs * factor),
        fixed(numbers.excess_kurtosis, 1),
    ]


def statistics_height(sets: Sequence[ValidationSet]) -> float:
    """Return the height that :func:`write_statistics` takes, mm."""
    return table_height(_COLUMNS, statistics_rows(sets), size=_SIZE) + 14.0


def write_statistics(flow: Flow, sets: Sequence[ValidationSet]) -> None:
    """Write the table of statistics and what its columns mean."""
    flow.table(_COLUMNS, statistics_rows(sets), size=_SIZE, breaks=range(3, 3 * len(sets), 3))
    flow.paragraph(
        "Errors are reference − model. RMSE and bias carry one standard error over configurations; "
        "p is that of Student's t-test, over configurations, that the bias is zero. The bias of "
        "the stress is that of its trace over three, −P. Forces add up to zero in both, so in "
        "place of a bias × gives the slope of the model's forces on the reference's: below one "
        "the model is too soft. 95 % and Max are of the absolute error; Kurt. is the excess "
        "kurtosis, zero for a normal law.",
        size=_SIZE,
        colour=GREY,
    )


def draw_details(
    figure: Figure, sets: Sequence[ValidationSet], *, left: float, top: float
) -> float:
    """Draw the panels, and return where they end, in mm from the top of the figure."""
    panels = [draw_force_by_amplitude, draw_energy_by_amplitude, draw_force_by_magnitude]
    if len({row.symbol for one in sets for row in one.per_element}) > 1:  # no chart of one bar
        panels.append(draw_force_by_element)
    for number, draw in enumerate(panels):
        row, column = divmod(number, 2)
        x = left + (_LEFT if column == 0 else _STEP)
        width = TEXT_WIDTH - _STEP if column else _PANEL
        y = top + row * (_HEIGHT + _ROW)
        draw(add_axes_mm(figure, x, y, width - 1.0, _HEIGHT), sets)
    return top + 2 * (_HEIGHT + _ROW)


def details_figure(sets: Sequence[ValidationSet]) -> Figure:
    """Return the panels as a figure of their own."""
    with style():
        width, height = TEXT_WIDTH + 6.0, 2 * (_HEIGHT + _ROW) + 3.0
        figure = Figure(figsize=(width * MM, height * MM))
        draw_details(figure, sets, left=3.0, top=3.0)
    return figure
