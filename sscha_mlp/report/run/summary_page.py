"""The first page of a report: question, verdict, answer, the phonons, and the cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from matplotlib.figure import Figure

from sscha_mlp.digits import (
    DASH,
    duration,
    is_number,
    with_error,
    with_minus,
)
from sscha_mlp.ensemble.nuclei import Nuclei
from sscha_mlp.properties.modes import TRANSLATION_THZ
from sscha_mlp.quantities import cells_name, reduced_formula
from sscha_mlp.report.page.layout import (
    Column,
    Flow,
    add_axes_mm,
    new_page,
    shorten,
    wrap,
)
from sscha_mlp.report.page.style import (
    FAIL_COLOUR,
    GREY,
    MARGIN,
    PASS_COLOUR,
    WASH,
)
from sscha_mlp.report.phonons.figures import draw_phonons
from sscha_mlp.report.run.certificate_figures import SHIFTS, draw_gauge
from sscha_mlp.report.run.data import ReportData, labels_in_words
from sscha_mlp.run_files.answer import answer_rows
from sscha_mlp.run_files.records.result import Frequencies, Result
from sscha_mlp.validation.shift import Shift

LEFT_OUT: Final = (
    "At the cell and force constants printed here the corrected free energy and pressure are the "
    "reference's own, up to their errors. The reference's minimum lies elsewhere: the free energy "
    "feels this to second order in the difference to the model. Frequencies are corrected to first "
    "order in it.",
    "The supercell is finite: interactions that reach further, and phonons between its q points, "
    "are not in these numbers.",
    "The SSCHA is variational: its Gaussian free energy is an upper bound, and its frequencies "
    "are those of the auxiliary harmonic crystal, not the positions of spectral peaks.",
    "The standard errors are statistical. What the reference itself leaves out of nature is not "
    "in them.",
)
"""What no error bar in the report covers."""

_MOST_MODES: Final = 36

_LEFT_OUT_SIZE: Final = 7.6


@dataclass(frozen=True)
class Verdict:
    """The verdict on a run.

    Parameters
    ----------
    title
        In two words.
    sentence
        Why.
    good
        Whether the corrected numbers can be used as they stand.
    """

    title: str
    sentence: str
    good: bool


def verdict_of(data: ReportData) -> Verdict:
    """Say what the run is worth: converged, and certified by its last check."""
    if not data.result.converged:
        return _not_converged(data.result.stop_reason)
    if not data.certificates:
        return Verdict(
            "NOT CHECKED", "No check against the reference was made; trust no digit yet.", False
        )
    last = data.certificates[-1].record
    if last.holds:
        sentence = (
            f"On {last.n_labels} fresh labels of the reference that no fit has seen, every shift "
            "is inside its tolerance with two standard errors to spare."
        )
        return Verdict("CERTIFIED", sentence, True)
    if last.passed:
        sentence = "The last check is recorded as passed, yet a shift exceeds its tolerance."
        return Verdict("NOT CERTIFIED", sentence, False)
    return Verdict("NOT CERTIFIED", last.reason or "A shift exceeds its tolerance.", False)


def _not_converged(reason: str) -> Verdict:
    """Tell a run that is still on its way from one that ended without a certificate."""
    reason = reason.rstrip(".")
    if not reason:
        return Verdict("NOT FINISHED", "The run has not come to its end.", False)
    if "not certified" in reason:
        return Verdict("NOT CERTIFIED", f"{reason[0].upper()}{reason[1:]}.", False)
    stopped = reason.removeprefix("not converged: ").removeprefix("stopped: ")
    return Verdict("NOT CONVERGED", f"The relaxation stopped: {stopped}.", False)


def summary_page(data: ReportData, *, contents: str = "") -> Figure:
    """Return the first page: the question, the answer with its errors, the verdict, the cost.

    Parameters
    ----------
    data
        What to show.
    contents
        What the pages hold, for the end of the page.
    """
    figure = new_page()
    flow = Flow(figure, top=20.0)
    result = data.result
    of = f" of {reduced_formula(result.formula)}" if result.formula else ""
    flow.heading(f"Phonons{of} at {_conditions(result)}", size=17.0)
    flow.paragraph(
        " · ".join(part for part in (f"Report of the run {data.name}", data.date) if part),
        colour=GREY,
    )
    flow.skip(1.5)
    flow.paragraph(_question(data), size=9.5)
    flow.skip(2.5)
    _write_verdict(flow, data)
    flow.heading(_answer_title(data))
    _write_answer(flow, data)
    _draw_cover(flow, data)
    flow.heading("What it cost")
    flow.pairs(_cost(data), size=8.6, label_width=34.0)
    flow.skip(2.0)
    flow.heading("What is left out")
    flow.paragraph(" ".join(LEFT_OUT), size=_LEFT_OUT_SIZE, colour=GREY)
    flow.skip(3.0)
    flow.paragraph(contents, size=_LEFT_OUT_SIZE)
    return figure


def _answer_title(data: ReportData) -> str:
    """Return the heading of the table; only what is certified is called the answer."""
    if verdict_of(data).good:
        return "The answer"
    return (
        "What there is so far" if not data.result.stop_reason else "Numbers that are not certified"
    )


def _conditions(result: Result) -> str:
    return (
        f"{_given(result.temperature_K)} K{Nuclei(result.nuclei).remark} and "
        f"{_given(result.pressure_target_GPa)} GPa"
    )


def _question(data: ReportData) -> str:
    """Return what was asked, as a question, and the means in a sentence."""
    result = data.result
    crystal = reduced_formula(result.formula or "") or "the crystal"
    group = f" ({result.space_group})" if result.space_group else ""
    wanted = "volume" if data.settings.get("cell", "variable") == "variable" else "pressure"
    question = (
        f"What are the {wanted}, the free energy and the phonon frequencies of {crystal}{group} at "
        f"{_conditions(result)}{_of_reference(data)}, and how sure are they?"
    )
    return f"{question} Asked of a supercell of {_cells(result)}{_means(data)}."


def _of_reference(data: ReportData) -> str:
    reference = dict(data.asked).get("Reference")
    return f", as the reference {reference} has them" if reference else ""


def _cells(result: Result) -> str:
    if result.supercell is None:
        return "unknown size"
    return cells_name(result.supercell, result.n_atoms, each=True)


def _means(data: ReportData) -> str:
    """Return how it was asked: where the run began, its ensembles, its model and its seed."""
    model, seed = (data.result.model.kind or "").upper(), data.result.seed
    parts = [f"{name.lower()}: {value}" for name, value in data.asked if name != "Reference"]
    parts += [f"model: {model}"] if model else []
    parts += [] if seed is None else [f"seed: {seed}"]
    return "; " + "; ".join(parts) if parts else ""


def _draw_cover(flow: Flow, data: ReportData) -> None:
    """Draw the phonons in the room that the rest of the page leaves, or list their frequencies."""
    if data.phonons is None:
        _write_frequencies(flow, data.result.frequencies_THz)
        return
    caption = _cover_caption(data)
    text = " ".join(LEFT_OUT)
    lines = len(wrap(text, flow.width, _LEFT_OUT_SIZE)) + len(wrap(caption, flow.width, 7.8))
    below = 3.6 * lines + 8.0 * len(_cost(data)) + 46.0
    height = min(76.0, max(40.0, flow.room - below))
    flow.top = draw_phonons(
        flow.figure, data.phonons, left=MARGIN, top=flow.top, height=height, changes=False
    )
    flow.skip(2.0)
    flow.paragraph(caption, size=7.8, colour=GREY)
    flow.skip(2.5)


def _cover_caption(data: ReportData) -> str:
    phonons = data.phonons
    assert phonons is not None
    if len(phonons.states) == 1:
        return (
            "Phonons of the harmonic start along the standard path, and their density of "
            "states; the run has no result yet."
        )
    corrected = any(one.name == "corrected" for one in phonons.states)
    answer = "the answer" if verdict_of(data).good else "the corrected SSCHA"
    solid = (
        f"solid: {answer}; dotted: the SSCHA of the model, mostly beneath it"
        if corrected
        else "dotted: the SSCHA of the model"
    )
    return (
        "Phonons along the standard path and their density of states; "
        f"{solid}; dashed: the harmonic crystal at rest. Circles: corrected frequencies at wave "
        "vectors of the supercell, with two standard errors where these exceed the circle; curves "
        "between them are interpolated. What parts them from the dashed curves is the effect of "
        f"{_causes(data)}."
    )


def _causes(data: ReportData) -> str:
    """Return what changes the frequencies from those of the harmonic crystal at rest."""
    nuclei = Nuclei(data.result.nuclei)
    causes = ["temperature", "zero-point motion"] if nuclei is Nuclei.QUANTUM else ["temperature"]
    if data.settings.get("cell", "variable") == "variable":
        causes.append("the change of the cell")
    return " and ".join([", ".join(causes[:-1]), causes[-1]]) if len(causes) > 1 else causes[0]


def _write_verdict(flow: Flow, data: ReportData) -> None:
    verdict = verdict_of(data)
    colour = PASS_COLOUR if verdict.good else FAIL_COLOUR
    height = 34.0
    flow.box(height, colour, face=WASH)
    top = flow.top
    inner = Flow(flow.figure, top=top + 3.5, left=MARGIN + 5.0, width=78.0)
    inner.paragraph(verdict.title, size=17.0, weight="bold", colour=colour)
    inner.skip(1.5)
    sentence = with_minus(verdict.sentence)
    if data.certificates and data.certificates[-1].record.holds and not verdict.good:
        sentence += " The shifts are those of the last check, which passed."
    inner.paragraph(shorten(sentence, inner.width, 8.8, n_lines=5), size=8.8)
    if data.certificates:
        row = data.certificates[-1].record
        axes = add_axes_mm(flow.figure, 142.0, top + 3.0, 46.0, height - 9.5)
        draw_gauge(axes, row)
        step = (height - 9.5) / len(SHIFTS)
        for place, (name, title, unit, _) in enumerate(SHIFTS):
            shift: Shift = getattr(row, name)
            y = top + 3.0 + step * place + 1.8
            text = with_error(shift.delta, shift.stderr, sign=True)
            flow.write(f"Δ {title.lower()}", 106.0, y, size=7.6, colour=GREY)
            flow.write(f"{text} {unit}", 106.0, y + 3.4, size=8.2)
    flow.top = top + height + 4.0


def _write_answer(flow: Flow, data: ReportData) -> None:
    columns = (
        Column("Quantity", 54.0, "left"),
        Column("Model", 36.0),
        Column("Correction", 36.0),
        Column("Result ± standard error", 48.0),
    )
    rows = [[one.name, one.model, one.correction, one.result] for one in answer_rows(data.result)]
    flow.table(columns, rows, size=8.8)


def _write_frequencies(flow: Flow, entries: Sequence[Frequencies]) -> None:
    """Write all corrected frequencies, if the first page has room for them."""
    rows = [
        (
            f"q = {entry.shown_q}",
            ",  ".join(one.replace(" ", "\N{NO-BREAK SPACE}") for one in _distinct_modes(entry)),
        )
        for entry in entries
    ]
    if not rows or sum(entry.n_modes for entry in entries) > _MOST_MODES:
        return
    flow.heading("Frequencies, corrected ± standard error (THz)")
    flow.pairs(rows, label_width=29.0)
    flow.skip(3.0)


def _distinct_modes(entry: Frequencies) -> list[str]:
    """Return the frequencies of a wave vector, degenerate ones once; without translations."""
    found: dict[str, int] = {}
    for mode in entry.modes:
        if abs(mode.model) < TRANSLATION_THZ:
            continue
        text = with_error(mode.corrected, mode.stderr)
        found[text] = found.get(text, 0) + 1
    return [f"{text} (×{count})" if count > 1 else text for text, count in found.items()]


def _cost(data: ReportData) -> list[tuple[str, str]]:
    result = data.result
    populations = DASH if result.populations is None else result.populations
    refits = DASH if result.retrains is None else result.retrains
    return [
        ("Reference labels", labels_in_words(result.labels, result.origin)),
        (
            "Work and time",
            f"populations: {populations}; refits: {refits}; time: "
            f"{duration(result.timings_s.get('total'))}",
        ),
    ]


def _given(value: Any) -> str:
    return f"{value:g}" if is_number(value) else DASH
