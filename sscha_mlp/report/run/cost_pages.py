"""What a run cost: labels, time, what the model was unsure of, and what went wrong."""

from collections.abc import Mapping, Sequence
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sscha_mlp.digits import DASH, duration, is_number, significant, with_minus
from sscha_mlp.report.page.layout import (
    Column,
    Flow,
    add_axes_mm,
    new_page,
    set_labels,
    table_pages,
    wrap,
)
from sscha_mlp.report.page.style import CYCLE, GREY, INK, MARGIN, PALE, TEXT_WIDTH
from sscha_mlp.report.run.data import ReportData, UncertaintyRow, labels_in_words

_STAGES: Final = ("start", "label", "fit", "validate", "evaluate", "minimise", "certificate")
_STAGE_COLOURS: Final = (*CYCLE, INK)


def draw_timings(axes: Axes, timings: Mapping[str, float]) -> None:
    """Draw the time of the whole job as one bar, stage by stage."""
    total = float(timings.get("total") or 0.0)
    unit, seconds = _time_unit(total)
    parts = [(name, float(timings.get(name) or 0.0)) for name in _STAGES]
    rest = total - sum(value for _, value in parts)
    if rest > 0.005 * total:
        parts.append(("other", rest))
    start = 0.0
    for index, (name, value) in enumerate(parts):
        colour = PALE if name == "other" else _STAGE_COLOURS[index]
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


def cost_pages(data: ReportData) -> list[Figure]:
    """Return the pages of time, reference calls, model uncertainty and notes.

    Parameters
    ----------
    data
        What to show.
    """
    pages = [new_page()]
    flow = Flow(pages[0])
    flow.heading("Cost, alarms and notes", size=13.0)
    _draw_cost(flow, data)
    more, flow = _write_uncertainties(data, flow)
    return [*pages, *more, *_write_notes(flow, data.notes)]


def _draw_cost(flow: Flow, data: ReportData) -> None:
    """Say what the reference was called for, and draw the time."""
    flow.pairs(_calls(data), size=8.8, label_width=40.0)
    flow.skip(3.0)
    timings = data.result.timings_s
    if timings.get("total"):
        flow.heading("Time")
        axes = add_axes_mm(flow.figure, MARGIN, flow.top + 10.0, TEXT_WIDTH, 10.0)
        draw_timings(axes, timings)
        flow.skip(33.0)
        flow.paragraph(
            "Wall time of the stages, over all sittings. With a costly reference the labels take "
            "nearly all of it; here one sees what the method adds to them.",
            size=7.8,
            colour=GREY,
        )
        flow.skip(4.0)


def _calls(data: ReportData) -> list[tuple[str, str]]:
    labels, seconds = data.result.labels, data.result.timings_s.get("label")
    rows = [("Labels", labels_in_words(labels, data.result.origin))]
    new = labels.n_new
    if seconds is not None and new:
        each = duration(seconds / new)
        rows.append(("Time of the labels", f"{duration(seconds)}, {each} each"))
    failed = sum(row.failed for row in data.labels)
    return [*rows, ("Labels that failed", str(failed))] if failed else rows


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
    flow.paragraph(
        f"{_measure(data.uncertainties)}Where an ensemble leaves what the model was fitted to, "
        "this uncertainty is large, and the relaxation stops to learn there (alarm). It enters no "
        "error of the answer: those come from the certificate.",
        size=7.8,
        colour=GREY,
    )
    flow.skip(4.0)
    return pages, flow


def _measure(rows: Sequence[UncertaintyRow]) -> str:
    """Say what the uncertainty is, if the model says it."""
    names = list(dict.fromkeys(row.measure for row in rows if row.measure))
    return f"The numbers are of the {' and the '.join(names)}. " if names else ""


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
        flow.paragraph(f"•  {with_minus(note)}", size=8.6)
        flow.skip(0.6)
    return pages
