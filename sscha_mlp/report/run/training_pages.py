"""The pages of how a run began and what it learned: the start, the labels and the models."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from sscha_mlp.digits import DASH, fixed, significant
from sscha_mlp.report.page.layout import (
    Column,
    Flow,
    add_axes_mm,
    new_page,
    set_labels,
    table_pages,
)
from sscha_mlp.report.page.style import BLUE, GREY, MARGIN, ORANGE, PALE, SKY, TEXT_WIDTH
from sscha_mlp.report.phonons.figures import draw_phonons
from sscha_mlp.report.run.data import FitRow, LabelRow, ReportData
from sscha_mlp.run_files.records.start import OriginRecord, StartRecord

_USES: Final = (("train", BLUE), ("test", SKY), ("check", ORANGE), ("failed", PALE))
_CAPTION: Final = 7.8
_ERRORS: Final = (
    ("energy_rmse_meV_per_atom", "Energy RMSE (meV/atom)"),
    ("force_rmse_meV_per_A", "Force RMSE (meV/Å)"),
    ("stress_rmse_GPa", "Stress RMSE (GPa)"),
)
_BATCHES: Final = {
    "start": "the first ensemble",
    "explore": "where the first models began to extrapolate during a short relaxation",
    "explored": "where it ended",
    "round": "where the model began to extrapolate during the relaxation",
    "left": "where it had to end for that",
    "extra": "the state of a failed check",
    "rare": "what the model knew least of there (the others of these are drawn at random)",
}
"""Where batches of labels are drawn, and what that means."""

_LEFT: Final = 13.0
_PANEL: Final = 44.0
_STEP: Final = (TEXT_WIDTH - _LEFT - _PANEL) / 2.0
_HEIGHT: Final = 40.0
_MODELS: Final = (
    Column("Model", 13.0),
    Column("Labels", 14.0),
    Column("Hyper-parameters", 36.0, "left"),
    Column("Energy (meV/atom)", 28.0),
    Column("Force (meV/Å)", 24.0),
    Column("Stress (GPa)", 22.0),
    Column("SHA-256, its beginning", 37.0, "left"),
)


def start_pages(data: ReportData) -> list[Figure]:
    """Return the page of the start; none while there is no start."""
    start = data.start
    if start is None:
        return []
    page = new_page()
    flow = Flow(page)
    flow.heading("The start", size=13.0)
    flow.paragraph(_start_text(start, data.origin, data.settings), size=8.8)
    flow.skip(2.5)
    flow.pairs(_start_facts(start, data), size=8.8)
    flow.skip(3.0)
    if data.phonons is not None:
        shown = replace(data.phonons, states=data.phonons.states[:1])
        flow.top = draw_phonons(page, shown, left=MARGIN, top=flow.top)
        flow.skip(2.0)
        flow.paragraph(_start_caption(data), size=_CAPTION, colour=GREY)
    return [page]


def _start_text(
    start: StartRecord, origin: OriginRecord | None, settings: Mapping[str, Any]
) -> str:
    if origin is not None:
        model = "its model and " if origin.fit is not None else ""
        return (
            f"This run starts from the finished run in {origin.path}: {model}"
            f"{origin.n_labels} labels of it ({origin.n_train} to fit on, {origin.test} to "
            "validate with) were taken over, and its last state, in the supercell of this run, is "
            "what the relaxation begins with. The harmonic frequencies come from that run as well. "
            f"{_calls_of_the_start(start)}"
        )
    return (
        f"The start took {start.n_calls} calls of the reference: {_way(settings)}. The first "
        "configurations are drawn from these force constants."
    )


def _calls_of_the_start(start: StartRecord) -> str:
    if start.n_calls == 0:
        return "The start took no call of the reference."
    return f"The start took {start.n_calls} calls of the reference."


def _way(settings: Mapping[str, Any]) -> str:
    """Return where the harmonic force constants come from."""
    if settings.get("dyn"):
        return f"the harmonic force constants were read from {settings['dyn']}1, ..."
    if not (settings.get("start") or {}).get("relax", True):
        return "finite displacements of the structure as given gave its harmonic force constants"
    return (
        "the structure at rest was relaxed, and finite displacements gave its harmonic force "
        "constants"
    )


def _start_facts(start: StartRecord, data: ReportData) -> list[tuple[str, str]]:
    lowest, highest = (fixed(one, 3) for one in start.range_thz)
    volume = fixed(start.volume_A3_per_atom, 4)
    changed = f"{start.modes_changed}, lowest {lowest} THz"
    rows = [
        ("Space group", f"{start.space_group}, {start.n_operations} operations, kept throughout"),
        ("Energy of the lattice at rest", f"{fixed(start.energy_eV_per_atom, 5)} eV/atom"),
        (
            "Volume to begin with",
            f"{volume} Å³/atom{_expansion(start, data)}",
        ),
        (
            "Harmonic frequencies",
            f"{lowest} to {highest} THz, translations left out",
        ),
    ]
    return [*rows, ("Modes made positive", changed)] if start.modes_changed else rows


def _expansion(start: StartRecord, data: ReportData) -> str:
    final, first = data.result.volume_A3_per_atom, start.volume_A3_per_atom
    if final is None or not first > 0.0:
        return ""
    change = 100.0 * (final.value / first - 1.0)
    return f"; the last one is {fixed(change, 2, sign=True)} % from it"


def _start_caption(data: ReportData) -> str:
    phonons = data.phonons
    assert phonons is not None
    text = "Dashed: harmonic phonons of the reference and their density of states"
    if data.origin is not None:
        text += ", from the run that this one started from, in the supercell of this one"
    if not phonons.points:
        return f"{text}. Negative frequencies are unstable modes."
    return (
        f"{text}. Circles: corrected frequencies of the last state with two standard errors. The "
        "lower panel has the distance from the harmonic mode of the most similar polarisation: "
        "points below zero have become softer with temperature and expansion, points above zero "
        "harder. Where the distance is large the harmonic crystal is a poor guide, and the "
        "ensemble has had to move far from where it was drawn first."
    )


def training_pages(data: ReportData) -> list[Figure]:
    """Return the pages of the labels and the models; none where there are neither."""
    if not (data.labels or data.fits):
        return []
    pages = [new_page()]
    flow = Flow(pages[0])
    flow.heading("Training: labels and models", size=13.0)
    if data.labels:
        _draw_batches(flow, data)
    tested = [one for one in data.fits if one.errors is not None]
    if len(tested) > 1:
        _draw_learning(flow, tested)
    if data.fits:
        rows = [_model_row(one) for one in data.fits]
        more, flow = table_pages("Models", _MODELS, rows, size=8.0, first=flow)
        pages += more
        flow.paragraph(_models_text(data), size=_CAPTION, colour=GREY)
    return pages


def _draw_batches(flow: Flow, data: ReportData) -> None:
    """Draw which batches the labels came in."""
    height = min(90.0, 8.0 * len(data.labels) + 4.0)
    axes = add_axes_mm(flow.figure, MARGIN + 26.0, flow.top + 5.0, 140.0, height)
    draw_labels(axes, data.labels)
    flow.skip(height + 18.0)
    inherited = (
        f" The first bar was taken over from {data.origin.path} and cost this run nothing."
        if data.origin
        else ""
    )
    flow.paragraph(
        "Configurations labelled by the reference, batch by batch in their order, and what they "
        f"serve for.{inherited} Train: models are fitted to them, labels of a failed check "
        "included. Test: no model has seen them. Check: drawn from the converged state for the "
        f"certificate, and seen by no model either.{_batch_text(data.labels)}",
        size=_CAPTION,
        colour=GREY,
    )
    flow.skip(5.0)


def _batch_text(rows: Sequence[LabelRow]) -> str:
    """Say where the batches were drawn that occur."""
    words = {row.batch.drawn for row in rows if row.batch is not None}
    words |= {"rare" for row in rows if row.batch is not None and row.batch.rare}
    meant = "; ".join(f"{name}, {meaning}" for name, meaning in _BATCHES.items() if name in words)
    return f" Where they were drawn: {meant}." if meant else ""


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


def _draw_learning(flow: Flow, fits: Sequence[FitRow]) -> None:
    """Draw the errors on the test set against the labels that a model was fitted to."""
    for column, (key, label) in enumerate(_ERRORS):
        axes = add_axes_mm(flow.figure, MARGIN + _LEFT + column * _STEP, flow.top, _PANEL, _HEIGHT)
        _draw_curve(axes, fits, key, label)
    flow.skip(_HEIGHT + 14.0)
    flow.paragraph(
        "Errors of each model on the test set against the number of labels that it was fitted to. "
        "They fall as long as the new labels are like those of the test set; labels of far "
        "configurations, which keep a relaxation on its way, may raise them a little. What they "
        "are worth for the answer is not said here but by the certificate, which looks at free "
        "energy, stress and frequencies themselves.",
        size=_CAPTION,
        colour=GREY,
    )
    flow.skip(5.0)


def _draw_curve(axes: Axes, fits: Sequence[FitRow], key: str, label: str) -> None:
    values = [float(getattr(one.errors, key)) for one in fits]
    axes.plot([one.record.n_train for one in fits], values, color=BLUE, marker="o", linewidth=0.9)
    if max(values) > 5.0 * min(values) > 0.0:
        axes.set_yscale("log")
        axes.set_ylim(0.6 * min(values), 1.6 * max(values))
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: significant(value, 1)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(0.0, 1.15 * max(values))
    axes.margins(x=0.1)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    set_labels(axes, "Training labels", label)


def _model_row(one: FitRow) -> list[str]:
    fit, errors = one.record, [getattr(one.errors, key, None) for key, _ in _ERRORS]
    return [
        str(fit.number),
        str(fit.n_train),
        f"{fit.choice or DASH}{', taken over' if one.taken_over else ''}",
        *(significant(value) for value in errors),
        fit.sha256[:16] or DASH,
    ]


def _models_text(data: ReportData) -> str:
    text = "Root mean square errors are on the test set, which no model was fitted to."
    if any(one.taken_over for one in data.fits):
        text += (
            " Model 0 was taken over as it is. It was fitted before the last check of the run it "
            "comes from, whose labels a later fit would use."
        )
    return text
