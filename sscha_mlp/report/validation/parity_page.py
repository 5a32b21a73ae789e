"""The validation page: parity of energy, force and stress, and the law of the errors.

The first row compares model with reference, all sets in one panel.  Below it, one row for each
set shows the histogram of the errors with the normal law fitted to them, on a logarithmic scale
on which a normal law is a parabola and heavy tails stand out.  With one set this is the page of
two by three panels that the field is used to.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter
from scipy import stats

from sscha_mlp.digits import configurations, fixed, significant, with_error
from sscha_mlp.quantities import QUANTITIES
from sscha_mlp.report.page.layout import Flow, add_axes_mm, set_labels, text_width
from sscha_mlp.report.page.scatter import MANY, draw_dots, told_apart
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

PANEL: Final = 44.5
"""Side of a parity panel, mm."""

_LEFT: Final = 12.5
_STEP: Final = (TEXT_WIDTH - _LEFT - PANEL) / 2.0
_HISTOGRAM: Final = 36.0
_ROW: Final = 13.0
_MOST_SETS: Final = 3
_TAIL_SIGMA: Final = 7.0
_TEXT_WIDTH: Final = 0.5
"""Part of the width of a parity panel that its text takes."""

_INVERSE: Final = {"energy": "atom/meV", "force": "Å/meV", "stress": "1/GPa"}


@dataclass(frozen=True)
class _Values:
    """One quantity of one set in the units in which it is shown."""

    reference: FloatArray
    predicted: FloatArray
    error: FloatArray
    statistics: ErrorStatistics
    factor: float


def _values(one: ValidationSet, key: str) -> _Values:
    pairs = {
        "energy": (one.energies_reference, one.energies_predicted, one.energy),
        "force": (one.forces_reference.ravel(), one.forces_predicted.ravel(), one.force),
        "stress": (one.stresses_reference.ravel(), one.stresses_predicted.ravel(), one.stress),
    }
    reference, predicted, statistics = pairs[key]
    shown = QUANTITIES[key].per_internal
    factor = QUANTITIES[f"{key}_error"].per_internal
    return _Values(
        reference * shown, predicted * shown, (reference - predicted) * factor, statistics, factor
    )


def draw_parity(
    axes: Axes, sets: Sequence[ValidationSet], key: str, *, first_colour: int = 0
) -> None:
    """Draw model against reference, equal scales, with the errors written in the panel.

    Parameters
    ----------
    axes
        Square axes.
    sets
        Sets in the order of their colours.
    key
        ``energy``, ``force`` or ``stress``.
    first_colour
        Index of the first set's colour.
    """
    values = [_values(one, key) for one in sets]
    low = min(min(v.reference.min(), v.predicted.min()) for v in values)
    high = max(max(v.reference.max(), v.predicted.max()) for v in values)
    pad = 0.06 * (high - low) or 1.0
    limits = (float(low - pad), float(high + pad))
    axes.plot(limits, limits, color=GREY, linewidth=0.6, zorder=1)
    widest_first = np.argsort([-float(np.ptp(v.reference)) for v in values], kind="stable")
    for rank, index in enumerate(widest_first):
        one = values[index]
        colour = colour_of(first_colour + int(index))
        x, y = one.reference, one.predicted
        if x.size > MANY:
            shown = told_apart(x, y)
            x, y = x[shown], y[shown]
        draw_dots(axes, x, y, colour=colour, zorder=2 + rank)
    axes.set(xlim=limits, ylim=limits)
    axes.set_aspect("equal", adjustable="box")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4))
    label = QUANTITIES[key].axis
    label = label[0].lower() + label[1:]
    set_labels(axes, f"Reference {label}", f"Model {label}")
    colours = [colour_of(first_colour + index) for index in range(len(sets))]
    _write_parity(axes, values, key, colours if len(sets) > 1 else [INK])


def _write_parity(axes: Axes, values: Sequence[_Values], key: str, colours: Sequence[str]) -> None:
    """Write the errors into a corner off the line, a block for each set."""
    unit = QUANTITIES[f"{key}_error"].unit
    lines = [
        (line, colour)
        for one, colour in zip(values, colours, strict=True)
        for line in _parity_lines(one, unit, key, short=len(values) > 1)
    ]
    above = _above_is_free(axes, values, 0.07 * len(lines) + 0.06)
    top = 0.895 if above else 0.05 + 0.07 * (len(lines) - 1)
    for number, (line, colour) in enumerate(lines):
        axes.text(
            0.05 if above else 0.95,
            top - 0.07 * number,
            line,
            transform=axes.transAxes,
            ha="left" if above else "right",
            fontsize=6.8,
            color=colour,
            zorder=10,
        )


def _above_is_free(axes: Axes, values: Sequence[_Values], height: float) -> bool:
    """Whether the upper left corner holds no more points than the lower right one.

    Parameters
    ----------
    axes
        Axes with their limits set.
    values
        What is drawn.
    height
        Of the text, as a part of the panel.
    """
    low, high = axes.get_xlim()
    x, y = (
        (np.concatenate([getattr(one, name) for one in values]) - low) / (high - low)
        for name in ("reference", "predicted")
    )
    above = np.count_nonzero((x < _TEXT_WIDTH) & (y > 1.0 - height))
    below = np.count_nonzero((x > 1.0 - _TEXT_WIDTH) & (y < height))
    return bool(above <= below)


def _parity_lines(one: _Values, unit: str, key: str, *, short: bool) -> list[str]:
    numbers, factor = one.statistics, one.factor
    rmse = f"RMSE {significant(numbers.rmse * factor)} {unit}"
    r2 = f"R² {fixed(numbers.r2, 4)}"
    if short:
        return [rmse, r2]
    bias = with_error(numbers.bias * factor, numbers.bias_stderr * factor, sign=True)
    third = f"slope {fixed(numbers.slope, 4)}" if key == "force" else f"bias {bias}"
    return [rmse, f"MAE {significant(numbers.mae * factor)} {unit}", r2, third]


def draw_error_histogram(axes: Axes, one: ValidationSet, key: str, *, colour: str) -> None:
    """Draw the density of the errors of one set and the normal law fitted to them.

    Parameters
    ----------
    axes
        Axes to draw into.
    one
        The set.
    key
        ``energy``, ``force`` or ``stress``.
    colour
        Colour of the set.
    """
    values = _values(one, key)
    error, numbers, factor = values.error, values.statistics, values.factor
    centre, sigma = numbers.normal_mean * factor, numbers.normal_sigma * factor
    half = _half_width(error, centre, sigma)
    edges = np.linspace(centre - half, centre + half, _n_bins(error, half) + 1)
    density = np.histogram(error, bins=edges)[0] / (error.size * np.diff(edges))
    axes.stairs(density, edges, fill=True, color=colour, alpha=0.28, linewidth=0.0)
    axes.stairs(density, edges, color=colour, linewidth=0.8)
    top = float(density.max())
    floor = 0.35 / (error.size * float(edges[1] - edges[0]))
    if sigma > 0.0:
        grid = np.linspace(edges[0], edges[-1], 400)
        law = stats.norm.pdf(grid, centre, sigma)
        axes.plot(grid, law, color=INK, linewidth=0.9, label="normal fit")
        top = max(top, float(law.max()))
    axes.axvline(0.0, ymax=0.7, color=GREY, linewidth=0.5, zorder=0)
    floor = min(floor, top / 30.0)
    axes.set_yscale("log")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set(xlim=(edges[0], edges[-1]), ylim=(floor, top * (top / floor) ** 0.42))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    set_labels(axes, QUANTITIES[f"{key}_error"].axis, f"Density ({_INVERSE[key]})")
    outside = int(np.sum(np.abs(error - centre) > half))
    _write_histogram(axes, numbers, factor, key, outside)


def _half_width(error: FloatArray, centre: float, sigma: float) -> float:
    """Half of the range that is drawn: all errors, but not further than some sigma."""
    farthest = float(np.abs(error - centre).max())
    wide = min(farthest, _TAIL_SIGMA * sigma) if sigma > 0.0 else farthest
    return max(wide, 3.2 * sigma) * 1.04 or 1.0


def _n_bins(error: FloatArray, half: float) -> int:
    """Freedman and Diaconis' number of bins over the range drawn, within reason."""
    spread = float(np.subtract(*np.quantile(error, (0.75, 0.25))))
    if spread <= 0.0:
        return 15
    width = 2.0 * spread / error.size ** (1.0 / 3.0)
    return int(np.clip(round(2.0 * half / width), 15, 61)) | 1


def _write_histogram(
    axes: Axes, numbers: ErrorStatistics, factor: float, key: str, outside: int
) -> None:
    """Write the bias on the left and the tails on the right of the peak."""
    bias = with_error(numbers.bias * factor, numbers.bias_stderr * factor, sign=True)
    sigma = significant(numbers.normal_sigma * factor)
    decimals = len(sigma.partition(".")[2])
    left = [f"μ {fixed(numbers.normal_mean * factor, decimals)}", f"σ {sigma}"]
    if key != "force":
        left.insert(0, f"bias {bias}")
    right = [
        f"95 % < {significant(numbers.q95_abs * factor)}",
        f"max {significant(numbers.max_abs * factor)}",
        f"kurtosis {fixed(numbers.excess_kurtosis, 1, sign=True)}",
    ]
    if outside:
        right.append(f"{outside} outside")
    for lines, where, side in ((left, 0.035, "left"), (right, 0.965, "right")):
        for number, line in enumerate(lines):
            axes.text(
                where,
                0.9 - 0.088 * number,
                line,
                transform=axes.transAxes,
                ha=side,
                fontsize=6.6,
            )


def validation_height(n_sets: int) -> float:
    """Return the height that :func:`draw_validation` takes at most, mm."""
    return 7.0 + 4.5 * (n_sets - 1) // 2 + PANEL + _ROW + n_sets * (_HISTOGRAM + _ROW)


def split_sets(sets: Sequence[ValidationSet]) -> list[Sequence[ValidationSet]]:
    """Part sets into groups that fit on a page each."""
    n_pages = -(-len(sets) // _MOST_SETS)
    size = -(-len(sets) // n_pages)
    return [sets[start : start + size] for start in range(0, len(sets), size)]


def draw_validation(
    figure: Figure,
    sets: Sequence[ValidationSet],
    *,
    left: float,
    top: float,
    stretch: bool = False,
    first_colour: int = 0,
) -> float:
    """Draw the panels into a figure, and return where they end, in mm from its top.

    Parameters
    ----------
    figure
        A page or a figure that has room for them.
    sets
        Sets to compare.
    left, top
        Upper left corner, mm.
    stretch
        Whether histograms are drawn higher where the page has room.
    first_colour
        Index of the first set's colour.
    """
    height = _HISTOGRAM * (1.25 if stretch and len(sets) < _MOST_SETS else 1.0)
    top = draw_legend(figure, sets, left=left + _LEFT, top=top, first_colour=first_colour)
    for column, key in enumerate(("energy", "force", "stress")):
        x = left + _LEFT + column * _STEP
        parity = add_axes_mm(figure, x, top, PANEL, PANEL)
        draw_parity(parity, sets, key, first_colour=first_colour)
        for row, one in enumerate(sets):
            y = top + PANEL + _ROW + row * (height + _ROW)
            axes = add_axes_mm(figure, x, y, PANEL, height)
            draw_error_histogram(axes, one, key, colour=colour_of(first_colour + row))
    return top + PANEL + _ROW + len(sets) * (height + _ROW)


def draw_legend(
    figure: Figure,
    sets: Sequence[ValidationSet],
    *,
    left: float,
    top: float,
    width: float = TEXT_WIDTH - _LEFT,
    first_colour: int = 0,
) -> float:
    """Name the sets, each with a dot of its colour, and return where the names end, mm."""
    flow = Flow(figure, top=top)
    x = left
    for index, one in enumerate(sets):
        title = set_title(one)
        length = 4.0 + text_width(title, 8.5)
        if x > left and x + length > left + width:
            x = left
            flow.skip(4.5)
        flow.write("●", x, flow.top, size=7.0, colour=colour_of(first_colour + index))
        flow.write(title, x + 4.0, flow.top, size=8.5)
        x += length + 7.0
    return flow.top + 7.0


def set_title(one: ValidationSet) -> str:
    """Return the name of a set with its temperature and size."""
    size = configurations(one.n_configs)
    if one.temperature is None or f"{one.temperature:g} K" in one.name:
        return f"{one.name}, {size}"
    return f"{one.name}, {one.temperature:g} K, {size}"


def validation_figure(sets: Sequence[ValidationSet]) -> Figure:
    """Return the validation page as a figure of its own, as wide as the text of a page."""
    with style():
        width, height = TEXT_WIDTH + 6.0, validation_height(len(sets)) + 3.0
        figure = Figure(figsize=(width * MM, height * MM))
        draw_validation(figure, sets, left=3.0, top=3.0)
    return figure
