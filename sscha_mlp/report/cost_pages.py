"""What a run cost: labels, time, what the model was unsure of, and what went wrong."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sscha_mlp.report.layout import (
    Column,
    Flow,
    add_axes_mm,
    new_page,
    set_labels,
    table_pages,
    wrap,
)
from sscha_mlp.report.model import LabelRow, ReportData, UncertaintyRow
from sscha_mlp.report.numbers import DASH, duration, is_number, significant
from sscha_mlp.report.style import BLUE, CYCLE, MARGIN, ORANGE, PALE, SKY, TEXT_WIDTH

_STAGES: Final = ("start", "label", "fit", "validate", "evaluate", "minimise", "certificate")
_USES: Final = (("train", BLUE), ("test", SKY), ("check", ORANGE), ("failed", PALE))


def draw_labels(axes: Axes, rows: Sequence[LabelRow]) -> None:
    """Draw how many labels each stage took and for what, as stacked bars."""
    places = np.arange(len(rows))[::-1]
    start = np.zeros(len(rows))
    for use, colour in _USES:
        counts = np.array([getattr(row, use) for row in rows], dtype=float)
        if counts.sum() == 0.0:
            continue
        axes.barh(places, counts, 0.62, left=start, color=colour, label=use)
        start += counts
    for place, total in zip(places, start, strict=True):
        axes.text(total, place, f" {total:.0f}", va="center", fontsize=7.5)
    axes.set_yticks(places, [row.origin for row in rows])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlim(0.0, 1.12 * max(float(start.max()), 1.0))
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    axes.legend(ncols=4, loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.3)
    set_labels(axes, "Configurations", "")


def draw_timings(axes: Axes, timings: Mapping[str, Any]) -> None:
    """Draw the time of the whole job as one bar, stage by stage."""
    total = float(timings.get("total") or 0.0)
    unit, seconds = _time_unit(total)
    parts = [(name, float(timings.get(name) or 0.0)) for name in _STAGES]
    rest = total - sum(value for _, value in parts)
    if rest > 0.005 * total:
        parts.append(("other", rest))
    start = 0.0
    for index, (name, value) in enumerate(parts):
        colour = PALE if name == "other" else CYCLE[index % len(CYCLE)]
        label = f"{name} {duration(value)}"
        axes.barh(0.0, value / seconds, 0.6, left=start, color=colour, label=label)
        start += value / seconds
    axes.set(xlim=(0.0, max(start, total / seconds) or 1.0), ylim=(-0.45, 0.45))
    axes.set_yticks([])
    axes.legend(
        ncols=4,
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        borderaxespad=0.3,
        columnspacing=1.4,
    )
    set_labels(axes, f"Time ({unit})", "")


def _time_unit(total: float) -> tuple[str, float]:
    """Return a unit in which a time is a handy number, and its length in seconds."""
    if total > 7200.0:
        return "h", 3600.0
    return ("min", 60.0) if total > 300.0 else ("s", 1.0)


def cost_pages(data: ReportData, *, first: Flow | None = None) -> list[Figure]:
    """Return the new pages of labels, time, model uncertainty and notes.

    Parameters
    ----------
    data
        What to show.
    first
        A page that is already begun; used if it has room for the figures.
    """
    height = min(90.0, 8.0 * len(data.labels) + 4.0)
    pages: list[Figure] = []
    if first is None or first.room < height + 75.0:
        pages.append(new_page())
        first = Flow(pages[0])
    flow = first
    _draw_cost(flow, data, height)
    more, flow = _write_uncertainties(data, flow)
    return [*pages, *more, *_write_notes(flow, data.notes)]


def _draw_cost(flow: Flow, data: ReportData, height: float) -> None:
    """Draw the labels, in bars that take ``height`` mm, and the time."""
    if data.labels:
        flow.heading("Labels of the reference")
        axes = add_axes_mm(flow.figure, MARGIN + 26.0, flow.top + 5.0, 140.0, height)
        draw_labels(axes, data.labels)
        flow.skip(height + 19.0)
    timings = data.result.get("timings_s") or {}
    if timings:
        flow.heading("Time")
        axes = add_axes_mm(flow.figure, MARGIN, flow.top + 10.0, TEXT_WIDTH, 10.0)
        draw_timings(axes, timings)
        flow.skip(34.0)


def _write_uncertainties(data: ReportData, flow: Flow) -> tuple[list[Figure], Flow]:
    if not data.uncertainties:
        return [], flow
    columns = (
        Column("Ensemble", 66.0, "left"),
        Column("Configurations", 28.0),
        Column("Median", 28.0),
        Column("Upper quantile", 36.0),
        Column("Alarm", 16.0),
    )
    rows = [
        [
            row.ensemble,
            str(row.n_configs),
            f"{significant(row.median)} {row.unit}".rstrip() if is_number(row.median) else DASH,
            _upper_quantile(row),
            "yes" if row.alarm else "no",
        ]
        for row in data.uncertainties
    ]
    pages, flow = table_pages(
        "The model's own uncertainty: an alarm, not an error bar", columns, rows, first=flow
    )
    flow.skip(3.0)
    return pages, flow


def _upper_quantile(row: UncertaintyRow) -> str:
    if not is_number(row.upper):
        return DASH
    return f"{significant(row.upper)} {row.unit}".rstrip() + f" ({100.0 * row.level:g} %)"


def _write_notes(flow: Flow, notes: Sequence[str]) -> list[Figure]:
    """Write the notes, and return the pages that they take beyond the first."""
    pages: list[Figure] = []
    title = "Notes: choices, rejections, failures"
    if flow.room < 20.0:
        pages.append(new_page())
        flow = Flow(pages[-1])
    flow.heading(title)
    if not notes:
        flow.paragraph("None: no label failed and no configuration was rejected.")
    for note in notes:
        if flow.room < 4.5 * len(wrap(note, TEXT_WIDTH, 8.6)):
            pages.append(new_page())
            flow = Flow(pages[-1])
            flow.heading(f"{title}, continued")
        flow.paragraph(f"•  {note}", size=8.6)
        flow.skip(0.6)
    return pages
