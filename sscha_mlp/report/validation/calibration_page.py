"""The calibration page: the model's own uncertainty against the true errors of its forces.

The errors are those of configurations that no fit has seen.  Both scales are logarithmic, and a
running geometric mean shows whether the error grows with the uncertainty.
"""

import math
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from sscha_mlp.digits import DASH, fixed, significant, with_error
from sscha_mlp.errors import InputError
from sscha_mlp.report.page.layout import Column, Flow, add_axes_mm, new_page, set_labels
from sscha_mlp.report.page.scatter import draw_dots
from sscha_mlp.report.page.style import (
    GREY,
    INK,
    MARGIN,
    MM,
    PALE,
    TEXT_WIDTH,
    colour_of,
    style,
)
from sscha_mlp.report.validation.parity_page import set_title
from sscha_mlp.validation.calibration import (
    Calibration,
    UncertaintyBin,
    calibrate,
    has_uncertainty,
)
from sscha_mlp.validation.metrics import ValidationSet
from sscha_mlp.validation.ranking import Interval
from sscha_mlp.validation.statistics import FloatArray

_MEV: Final = 1.0e3
_LEFT: Final = 15.0
_WIDTH: Final = 129.0
_HEIGHT: Final = 84.0
_MARGINAL: Final = 17.0
_GAP: Final = 3.0
_BELOW: Final = 11.0
_SIZE: Final = 7.6
_EDGE: Final = 0.04
"""Part of the axis that the name of a threshold takes."""

_N_COUNTS: Final = 32
_ERROR: Final = "reference\N{NO-BREAK SPACE}−\N{NO-BREAK SPACE}model"
_MARKERS: Final = ("o", "^", "s", "D", "v", "P")
"""Shapes tell the sets apart in grey."""

_SET_COLUMNS: Final = (
    Column("Set", 50.0, "left"),
    Column("Configurations", 24.0),
    Column("ρ, force error", 38.0),
    Column("ρ, energy error", 38.0),
    Column("Ratio", 24.0),
)


def calibration_groups(sets: Sequence[ValidationSet]) -> list[list[ValidationSet]]:
    """Part the sets that carry an uncertainty by what it is: each group makes one figure."""
    groups: dict[str | None, list[ValidationSet]] = {}
    for one in sets:
        if has_uncertainty(one):
            groups.setdefault(one.uncertainty_name, []).append(one)
    return list(groups.values())


def calibration_figure(sets: ValidationSet | Sequence[ValidationSet]) -> Figure:
    """Return the force error of each configuration against its uncertainty, as a figure.

    Parameters
    ----------
    sets
        Validation sets of one model; those without an uncertainty are left out.

    Raises
    ------
    InputError
        If no set has an uncertainty, or the sets have different kinds of it.
    """
    given = [sets] if isinstance(sets, ValidationSet) else list(sets)
    shown = [one for one in given if has_uncertainty(one)]
    found = calibrate(shown)
    if found is None:
        raise InputError(
            "no validation set carries an uncertainty; validate with a model that states one"
        )
    with style():
        height = _panels_height(len(shown)) + 32.0
        figure = Figure(figsize=((TEXT_WIDTH + 6.0) * MM, height * MM))
        flow = Flow(figure, top=3.0, left=3.0, width=0.94 * TEXT_WIDTH)
        flow.paragraph(found.statement, size=9.0)
        flow.top = _draw_panels(figure, found, shown, left=3.0, top=flow.top + 2.0)
        _write_caption(flow, found)
    return figure


def calibration_pages(title: str, sets: Sequence[ValidationSet]) -> list[Figure]:
    """Return one page for each kind of uncertainty among the sets; none if they carry none.

    Parameters
    ----------
    title
        Heading of the page.
    sets
        Validation sets of one model; those without an uncertainty are left out.
    """
    return [_page(title, group) for group in calibration_groups(sets)]


def _page(title: str, sets: Sequence[ValidationSet]) -> Figure:
    found = calibrate(sets, name="all")
    assert found is not None, "a group has an uncertainty"
    page = new_page()
    flow = Flow(page)
    flow.heading(title, size=13.0)
    flow.paragraph(found.statement, size=9.0)
    flow.skip(2.0)
    flow.top = _draw_panels(page, found, sets, left=MARGIN, top=flow.top)
    _write_caption(flow, found)
    flow.skip(3.0)
    _write_tables(flow, found, sets)
    return page


def _panels_height(n_sets: int) -> float:
    return _legend_height(n_sets) + _MARGINAL + _GAP + _main_height(n_sets) + _BELOW


def _main_height(n_sets: int) -> float:
    """Height of the scatter: many sets need room for their names and rows."""
    return _HEIGHT - 3.0 * max(0, n_sets - 2)


def _legend_height(n_sets: int) -> float:
    return 3.8 * (n_sets // 2 + 1) + 3.0


def _draw_panels(
    figure: Figure,
    found: Calibration,
    sets: Sequence[ValidationSet],
    *,
    left: float,
    top: float,
) -> float:
    """Draw the scatter with the counts along both axes, and return where it ends, mm."""
    top += _legend_height(len(sets))
    main_top, height = top + _MARGINAL + _GAP, _main_height(len(sets))
    main = add_axes_mm(figure, left + _LEFT, main_top, _WIDTH, height)
    above = add_axes_mm(figure, left + _LEFT, top, _WIDTH, _MARGINAL)
    side = add_axes_mm(figure, left + _LEFT + _WIDTH + _GAP, main_top, _MARGINAL, height)
    draw_calibration(main, found, sets)
    _draw_counts(above, found.uncertainties, main.get_xlim(), upright=True)
    _draw_counts(side, found.force_errors * _MEV, main.get_ylim(), upright=False)
    _mark_thresholds(main, above, found)
    above.legend(
        *main.get_legend_handles_labels(),
        ncols=2,
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        borderaxespad=0.3,
        columnspacing=2.5,
    )
    return main_top + height + _BELOW


def draw_calibration(axes: Axes, found: Calibration, sets: Sequence[ValidationSet]) -> None:
    """Draw force error against uncertainty, logarithmic, with the running geometric mean.

    Parameters
    ----------
    axes
        Axes to draw into.
    found
        The calibration of all sets together.
    sets
        The sets, in the order of their colours.
    """
    for index, one in enumerate(sets):
        _draw_set(axes, one, index)
    running = found.running
    if running is not None:
        axes.fill_between(
            running.uncertainty,
            running.low * _MEV,
            running.high * _MEV,
            color=GREY,
            alpha=0.35,
            linewidth=0.0,
            zorder=3,
        )
        axes.plot(
            running.uncertainty,
            running.typical * _MEV,
            color=INK,
            linewidth=1.6,
            zorder=4,
            label="running geometric mean",
        )
    shown = found.uncertainties[found.uncertainties > 0.0]
    axes.set_xlim(_limits(np.append(shown, [one.value for one in found.thresholds[:1]])))
    axes.set_ylim(_limits(found.force_errors[found.force_errors > 0.0] * _MEV))
    axes.set(xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        low, high = axis.get_view_interval()
        axis.set_major_locator(LogLocator(subs=_subs(math.log10(high / low)), numticks=12))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    name = found.uncertainty_name
    set_labels(axes, name[0].upper() + name[1:], "Force error of a configuration, rms (meV/Å)")


def _subs(decades: float) -> tuple[float, ...]:
    """Return the marks inside a decade: more of them where there are few decades."""
    if decades < 0.7:
        return tuple(map(float, range(1, 10)))
    return (1.0, 2.0, 5.0) if decades < 2.2 else (1.0,)


def _draw_set(axes: Axes, one: ValidationSet, index: int) -> None:
    draw_dots(
        axes,
        np.asarray(one.uncertainties),
        one.force_rmse_per_config * _MEV,
        colour=colour_of(index),
        marker=_MARKERS[index % len(_MARKERS)],
        size=3.2,
        label=set_title(one),
    )


def _limits(values: FloatArray) -> tuple[float, float]:
    """Ends of a logarithmic axis with some room on both sides of the values."""
    if values.size == 0:
        return 0.1, 10.0
    low, high = float(values.min()), float(values.max())
    room = max((high / low) ** 0.05, 1.12)
    return low / room, high * room


def _draw_counts(
    axes: Axes, values: FloatArray, limits: tuple[float, float], *, upright: bool
) -> None:
    """Draw how many configurations there are along one axis of the scatter."""
    edges = np.geomspace(*limits, _N_COUNTS + 1)
    counts = np.histogram(values, bins=edges)[0]
    orientation: Literal["vertical", "horizontal"] = "vertical" if upright else "horizontal"
    axes.stairs(counts, edges, fill=True, color=PALE, orientation=orientation)
    axes.stairs(counts, edges, color=GREY, linewidth=0.6, orientation=orientation)
    along, across = (axes.xaxis, axes.yaxis) if upright else (axes.yaxis, axes.xaxis)
    (axes.set_xscale if upright else axes.set_yscale)("log")
    (axes.set_xlim if upright else axes.set_ylim)(limits)
    (axes.set_ylim if upright else axes.set_xlim)(0.0, 1.15 * max(1, int(counts.max())))
    along.set_major_formatter(NullFormatter())
    along.set_minor_formatter(NullFormatter())
    along.set_ticks_position("none")
    across.set_major_locator(MaxNLocator(3, integer=True))
    if upright:
        axes.set_ylabel("Number")
    else:
        axes.set_xlabel("Number", labelpad=9.5, va="baseline")


def _mark_thresholds(main: Axes, above: Axes, found: Calibration) -> None:
    """Draw the thresholds that the axis reaches, and what lies above them."""
    low, high = main.get_xlim()
    for one in found.thresholds:
        if not low < one.value < high:
            continue
        at_edge = math.log(high / one.value) < _EDGE * math.log(high / low)
        for axes in (main, above):
            axes.axvline(one.value, color=INK, linewidth=0.8, linestyle=(0, (5, 3)), zorder=1)
        main.annotate(
            f"above {one.value:g}: {one.meaning}",
            (one.value, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(-3.0 if at_edge else 3.0, -4.0),
            textcoords="offset points",
            rotation=90,
            ha="right" if at_edge else "left",
            va="top",
            fontsize=7.0,
            color=INK,
        )


def _write_caption(flow: Flow, found: Calibration) -> None:
    name = found.uncertainty_name.partition(" (")[0]
    text = (
        f"Each point is one configuration that the fit has not seen: the {name} that the model "
        f"states for it, and the root mean square of {_ERROR} over its force components. "
        "Histograms count the configurations along each axis."
    )
    if found.running is not None:
        text += (
            f" The line is the geometric mean of the error over {found.running.window} neighbours "
            "along the axis, fewer towards both ends, and the band is twice its standard error on "
            "either side. It rises if the uncertainty tells large errors from small ones."
        )
    if found.thresholds:
        text += " Dashed lines are thresholds that do not depend on the set."
    else:
        text += (
            " This uncertainty has no absolute scale: it is an alarm for configurations unlike "
            "the training data, not an error bar."
        )
    hidden = found.n_configs - int(np.count_nonzero(found.uncertainties > 0.0))
    if hidden:
        text += f" {hidden} with an uncertainty of zero have no place on the scale."
    flow.paragraph(text, size=_SIZE, colour=GREY)


def _write_tables(flow: Flow, found: Calibration, sets: Sequence[ValidationSet]) -> None:
    rows = calibration_rows(found, sets)
    flow.table(_SET_COLUMNS, rows, size=_SIZE, breaks=[len(rows) - 1] if len(rows) > 1 else [])
    excess = found.excess
    side = (
        f"above {excess.threshold:.3g} to the one below"
        if excess.absolute
        else "in the quarter of largest uncertainty to that of the others"
    )
    flow.paragraph(
        "ρ is Spearman's rank correlation: 1 if the uncertainty sorts the errors without a "
        "mistake, 0 if it knows nothing of them; 95 % intervals in parentheses. Energy errors are "
        "absolute, per atom, without their mean. The ratio is that of the typical force error "
        f"{side}.",
        size=_SIZE,
        colour=GREY,
    )
    flow.skip(3.0)
    classes, bins = _bin_rows(found)
    unit = found.uncertainty_name.partition(" (")[2]
    columns = (
        Column("Configurations", 46.0, "left"),
        Column(f"Uncertainty ({unit}" if unit else "Uncertainty", 44.0, "left"),
        Column("Number", 16.0),
        Column("Typical (meV/Å)", 34.0),
        Column("Rms (meV/Å)", 34.0),
    )
    breaks = [len(classes)] if classes else []
    flow.table(columns, [*classes, *bins], size=_SIZE, breaks=breaks)
    flow.paragraph(
        "Force errors of configurations with one standard error. Typical is the geometric mean, "
        "which a few large errors do not decide, as they do the rms.",
        size=_SIZE,
        colour=GREY,
    )


def calibration_rows(found: Calibration, sets: Sequence[ValidationSet]) -> list[list[str]]:
    """Return the table of sets; where there are several, the last row is all of them."""
    parts = [calibrate(one) for one in sets]
    every = [part for part in parts if part is not None]
    if len(every) > 1:
        every.append(found)
    return [
        [
            part.name,
            str(part.n_configs),
            _interval_text(part.force_rank),
            _interval_text(part.energy_rank),
            _interval_text(part.excess.ratio),
        ]
        for part in every
    ]


def _interval_text(number: Interval) -> str:
    text = fixed(number.value, 2)
    if text == DASH or math.isnan(number.low):
        return text
    return f"{text} ({fixed(number.low, 2)} to {fixed(number.high, 2)})"


def _bin_rows(found: Calibration) -> tuple[list[list[str]], list[list[str]]]:
    """Return the rows of the classes and those of the quantiles."""
    classes = [_bin_row(row.meaning, _class_text(row), row) for row in found.classes]
    parts = found.bins()
    bins = [
        _bin_row(
            f"quantile {number} of {len(parts)}",
            f"{significant(row.low)} to {significant(row.high)}",
            row,
        )
        for number, row in enumerate(parts, start=1)
    ]
    return classes, bins


def _class_text(row: UncertaintyBin) -> str:
    if math.isinf(row.low):
        return f"up to {row.high:g}"
    return (
        f"above {row.low:g}" if math.isinf(row.high) else f"above {row.low:g}, up to {row.high:g}"
    )


def _bin_row(name: str, where: str, row: UncertaintyBin) -> list[str]:
    return [
        name,
        where,
        str(row.n_configs),
        _error_text(row.typical, row.typical_stderr),
        _error_text(row.rmse, row.rmse_stderr),
    ]


def _error_text(value: float, stderr: float) -> str:
    if math.isnan(stderr):
        return significant(value * _MEV)
    return with_error(value * _MEV, stderr * _MEV)
