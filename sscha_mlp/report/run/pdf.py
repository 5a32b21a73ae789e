"""The report of a run as one PDF, and the files of a validation page."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

from sscha_mlp.data.files import write_atomic
from sscha_mlp.report.page.layout import Column, Flow, new_page, table_pages
from sscha_mlp.report.page.outline import Section, contents_line, outline_of
from sscha_mlp.report.page.pdf_file import RESOLUTION, pdf_bytes, stamped_pdf
from sscha_mlp.report.page.style import GREY, MARGIN, TEXT_WIDTH, style
from sscha_mlp.report.run.certificate_figures import (
    BUDGET_COLUMNS,
    CERTIFICATE_COLUMNS,
    budget_rows,
    certificate_rows,
    draw_certificate,
    worst_mode,
)
from sscha_mlp.report.run.cost_pages import cost_pages
from sscha_mlp.report.run.data import ReportData, ValidationStage
from sscha_mlp.report.run.frequency_figures import (
    FREQUENCY_COLUMNS,
    MOST_NAMES,
    draw_frequencies,
    frequency_rows,
    split_entries,
    write_frequency_note,
)
from sscha_mlp.report.run.provenance_pages import provenance_pages
from sscha_mlp.report.run.relaxation_figures import POPULATION_COLUMNS, draw_run, population_table
from sscha_mlp.report.run.summary_page import summary_page
from sscha_mlp.report.run.tolerance_pages import tolerance_pages
from sscha_mlp.report.run.training_pages import start_pages, training_pages
from sscha_mlp.report.validation.calibration_page import calibration_pages
from sscha_mlp.report.validation.error_details import (
    draw_details,
    statistics_height,
    write_statistics,
)
from sscha_mlp.report.validation.parity_page import (
    draw_legend,
    draw_validation,
    split_sets,
    validation_figure,
)
from sscha_mlp.validation.calibration import calibrate
from sscha_mlp.validation.metrics import ValidationSet

_FREQUENCIES: Final = 120.0
"""Height of a figure of frequencies, mm."""

_RUN_CAPTION: Final = (
    "The relaxation, minimisation step by step; pale lines part populations, dashed ones refits. "
    "Free energy and gradient carry two standard errors: they have converged where they no longer "
    "change by more than these. The effective sample size should stay near the number of "
    "configurations (dotted): where it drops, a new ensemble is drawn. The softest mode is in "
    "vermilion. "
)
_CELL_CAPTIONS: Final = {
    "variable": "Pressure and stress should end at their target (dotted) within their errors.",
    "fixed-volume": "The volume is fixed, and the pressure is part of the answer.",
    "fixed": "The cell is fixed, and its pressure and stress are part of the answer.",
}
_POPULATION_NOTE: Final = (
    "Round: refits before it. N: configurations, those of earlier populations that were used again "
    "included. ESS: effective sample size at its end. Errors are one standard error."
)
_DETAILS_CAPTION: Final = (
    "Where the errors are: the rms force error and the energy error of each configuration (dots) "
    "and in bins (lines) against how far its atoms are displaced; the force error against the size "
    "of the force; and by element. Bars are two standard errors. Errors that rise steeply to the "
    "right say that far displacements are learned less well."
)
_ELEMENTS_CAPTION: Final = (
    " Errors of one element above the others say that its surroundings are seldom in the training "
    "set."
)
_VALIDATION_CAPTION: Final = (
    "Top: model against reference on configurations that it was not fitted to; points should lie "
    "on the line. Below: histograms of reference − model with the normal law of the same mean and "
    "width; look for a mean away from zero (bias), which averages do not remove, and for far tails."
)
_CALIBRATION: Final = "Uncertainty against true error"


def write_report(
    data: ReportData, path: str | Path, *, validation_stem: str | None = "validation"
) -> tuple[Path, ...]:
    """Write the report of a run, and beside it the validation of its last model.

    The same data give the same bytes: nothing depends on when or where it is written.

    Parameters
    ----------
    data
        What to show; parts that are empty get no page.
    path
        Where the PDF goes.
    validation_stem
        Name, without its ending, of the PDF, PNG and JSON of the last validation stage in the
        same directory; ``None`` writes none.

    Returns
    -------
    tuple of Path
        The files written, the report first.
    """
    target = Path(path)
    with style():
        sections = report_sections(data)
        content = stamped_pdf(
            [page for section in sections for page in section.pages],
            head=data.name,
            title=f"sscha-mlp: {data.name}",
            outline=outline_of(sections),
        )
        write_atomic(target, content)
    written = [target]
    if validation_stem is not None and data.validation:
        last = data.validation[-1].sets
        written += write_validation(last, target.parent, stem=validation_stem)
    return tuple(written)


def write_validation(
    sets: Sequence[ValidationSet], directory: str | Path, *, stem: str = "validation"
) -> tuple[Path, ...]:
    """Write the validation page as PDF and PNG, and its numbers as JSON.

    Where the model states an uncertainty, the PDF has another page that compares it with the
    errors, and each row of the JSON a summary of it under ``calibration``.

    Parameters
    ----------
    sets
        Sets to show side by side, one to six.
    directory
        An existing directory.
    stem
        Name of the files without their ending.

    Returns
    -------
    tuple of Path
        The three files.
    """
    base = Path(directory)
    figure = validation_figure(sets)
    image = io.BytesIO()
    with style():
        pages = [figure, *calibration_pages(_CALIBRATION, sets)]
        vector = pdf_bytes(pages, title="sscha-mlp: validation")
        figure.savefig(image, format="png", dpi=RESOLUTION, metadata={"Software": None})
    rows = [_row(one) for one in sets]
    numbers = json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False)
    contents: dict[str, str | bytes] = {
        "pdf": vector,
        "png": image.getvalue(),
        "json": f"{numbers}\n",
    }
    for ending, content in contents.items():
        write_atomic(base / f"{stem}.{ending}", content)
    return tuple(base / f"{stem}.{ending}" for ending in contents)


def _row(one: ValidationSet) -> dict[str, Any]:
    found = calibrate(one)
    return one.to_json() | ({} if found is None else {"calibration": found.to_json()})


def report_pages(data: ReportData) -> list[Figure]:
    """Return the pages of a report in order, without running heads."""
    return [page for section in report_sections(data) for page in section.pages]


def report_sections(data: ReportData) -> list[Section]:
    """Return the parts of a report in order; those without pages are left out.

    The first page says where the others begin.
    """
    parts = [
        Section("The start", start_pages(data)),
        Section("Training", training_pages(data)),
        *(Section(f"Validation of {one.title}", _validation_pages(one)) for one in data.validation),
        Section("Uncertainty against error", _calibration_pages(data)),
        Section("The relaxation", _run_pages(data) if data.populations else []),
        Section("The certificate", _certificate_pages(data) if data.certificates else []),
        Section("Tolerances", tolerance_pages(data)),
        Section("Frequencies", _frequency_pages(data)),
        Section("Cost, alarms and notes", cost_pages(data)),
        Section("Provenance", provenance_pages(data)),
    ]
    parts = [one for one in parts if one.pages]
    return [Section("Summary", [summary_page(data, contents=contents_line(parts))]), *parts]


def _calibration_pages(data: ReportData) -> list[Figure]:
    if not data.validation:
        return []
    last = data.validation[-1]
    return calibration_pages(f"Validation: {last.title}, {_CALIBRATION.lower()}", last.sets)


def _certificate_pages(data: ReportData) -> list[Figure]:
    page = new_page()
    flow = Flow(page)
    flow.heading("The certificate", size=13.0)
    flow.paragraph(
        "After the relaxation has converged, fresh configurations of its ensemble are labelled by "
        "the reference. The estimators of the SSCHA, applied to reference − model, say how far the "
        "reference would move each result. A check passes when |Δ| and two standard errors "
        "together stay inside the tolerance (the green band). Δσ is the worst "
        "among the pressure and the components of the stress.",
        size=8.6,
        colour=GREY,
    )
    flow.skip(4.0)
    named = worst_mode(data)
    if named:
        flow.paragraph(named, size=8.6)
        flow.skip(2.0)
    records = [one.record for one in data.certificates]
    flow.top = draw_certificate(page, records, left=MARGIN, top=flow.top)
    rows = certificate_rows(data.certificates)
    more, flow = table_pages("Checks", CERTIFICATE_COLUMNS, rows, size=8.0, first=flow)
    flow.skip(4.0)
    budget = budget_rows(data.result)
    if not budget:
        return [page, *more, *_population_pages(data, flow)]
    title = "From the model to the answer"
    last, flow = table_pages(title, BUDGET_COLUMNS, budget, size=8.5, first=flow)
    flow.paragraph(
        "Each answer is what the model gives with its many configurations, and the difference to "
        "the reference on the few fresh labels of the last check; the two errors are independent "
        "and add in squares. The larger one says where more work would help: more configurations "
        "of the model, which are cheap, or more labels.",
        size=7.8,
        colour=GREY,
    )
    flow.skip(4.0)
    return [page, *more, *last, *_population_pages(data, flow)]


def _population_pages(data: ReportData, first: Flow | None) -> list[Figure]:
    """Return the pages of the table of populations beyond the one that it begins on."""
    if not data.populations:
        return []
    columns, rows = population_table(data.populations)
    more, flow = table_pages("Populations", columns, rows, size=7.6, first=first)
    note = "" if len(columns) < len(POPULATION_COLUMNS) else " Rej.: impossible configurations."
    flow.paragraph(_POPULATION_NOTE + note, size=7.6, colour=GREY)
    return more


def _validation_pages(stage: ValidationStage) -> list[Figure]:
    """Return the pages of a stage; the table stands where there is room for it."""
    pages: list[Figure] = []
    shown, flow = 0, Flow(new_page())
    for part in split_sets(stage.sets):
        pages.append(new_page())
        flow = Flow(pages[-1])
        flow.heading(f"Validation: {stage.title}", size=13.0)
        flow.top = draw_validation(
            pages[-1], part, left=MARGIN, top=flow.top, stretch=True, first_colour=shown
        )
        shown += len(part)
        flow.paragraph(_VALIDATION_CAPTION, size=7.8, colour=GREY)
        flow.skip(2.0)
    pages.append(new_page())
    details = Flow(pages[-1])
    details.heading(f"Validation: {stage.title}, where the errors are", size=13.0)
    top = draw_legend(pages[-1], stage.sets, left=MARGIN, top=details.top, width=TEXT_WIDTH)
    details.top = draw_details(pages[-1], stage.sets, left=MARGIN, top=top)
    n_elements = len({row.symbol for one in stage.sets for row in one.per_element})
    caption = _DETAILS_CAPTION + (_ELEMENTS_CAPTION if n_elements > 1 else "")
    details.paragraph(caption, size=7.8, colour=GREY)
    details.skip(3.0)
    height = statistics_height(stage.sets)
    roomy = next((one for one in (flow, details) if one.room > height), None)
    if roomy is None:
        pages.append(new_page())
        roomy = Flow(pages[-1])
        roomy.heading(f"Validation: {stage.title}, statistics", size=13.0)
    write_statistics(roomy, stage.sets)
    return pages


def _run_pages(data: ReportData) -> list[Figure]:
    page = new_page()
    flow = Flow(page)
    flow.heading("The relaxation", size=13.0)
    cell = str(data.settings.get("cell", "variable"))
    target = data.result.pressure_target_GPa if cell == "variable" else None
    flow.top = draw_run(
        page, data.populations, left=MARGIN, top=flow.top, pressure_target_GPa=target
    )
    flow.paragraph(_RUN_CAPTION + _CELL_CAPTIONS.get(cell, ""), size=7.8, colour=GREY)
    if data.certificates:  # the table stands below the certificate, where there is room
        return [page]
    return [page, *_population_pages(data, None)]


def _frequency_pages(data: ReportData) -> list[Figure]:
    entries = data.result.frequencies_THz
    if not entries:
        return []
    known = data.reference_frequencies_THz
    pages, flow = _draw_all_frequencies(data)
    write_frequency_note(flow)
    flow.skip(3.0)
    rows, breaks = frequency_rows(entries, known)
    columns: Sequence[Column] = FREQUENCY_COLUMNS
    if known is None:
        columns = columns[:-2]
        rows = [row[:-2] for row in rows]
    more, _ = table_pages(
        "Table of frequencies", columns, rows, size=8.0, breaks=breaks, first=flow
    )
    return [*pages, *more]


def _draw_all_frequencies(data: ReportData) -> tuple[list[Figure], Flow]:
    """Draw the frequencies, so many wave vectors in each figure that they can be told apart."""
    entries = data.result.frequencies_THz
    known = data.reference_frequencies_THz
    parts = split_entries(entries)
    pages = [new_page()]
    flow = Flow(pages[0])
    flow.heading("The correction: frequencies of the model and of the reference", size=13.0)
    flow.skip(3.0)
    for start, stop in parts:
        if flow.room < _FREQUENCIES:
            pages.append(new_page())
            flow = Flow(pages[-1])
            flow.skip(3.0)
        flow.top = draw_frequencies(
            pages[-1],
            entries[start:stop],
            left=MARGIN,
            top=flow.top,
            known=None if known is None else known[start:stop],
            known_label=data.reference_label,
            numbered_from=start + 1 if len(entries) > MOST_NAMES else None,
            **_frequency_tolerances(data),
        )
    return pages, flow


def _frequency_tolerances(data: ReportData) -> dict[str, float]:
    """Return the tolerances that the certificate had, THz and part of a frequency."""
    names = {"tolerance_THz": "frequency_thz", "tolerance_relative": "frequency_relative"}
    had = data.certificate_tolerances
    return {name: had[key] for name, key in names.items() if key in had}
