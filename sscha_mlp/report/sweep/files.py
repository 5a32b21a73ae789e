"""A sweep as files: ``sweep.pdf`` with figures and tables, and its tables as CSV."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.figure import Figure

from sscha_mlp.data.files import make_directory, write_atomic
from sscha_mlp.digits import DASH, with_error
from sscha_mlp.ensemble.averages import Estimate
from sscha_mlp.quantities import cells_name, reduced_formula
from sscha_mlp.report.page.csv_text import csv_text
from sscha_mlp.report.page.layout import Column, Flow, new_page, table_pages
from sscha_mlp.report.page.pdf_file import stamped_pdf
from sscha_mlp.report.page.style import GREY, style
from sscha_mlp.report.sweep.figures import (
    length_pages,
    pressure_pages,
    temperature_pages,
)
from sscha_mlp.report.sweep.fits import Isobar, SweepFits, fit_sweep
from sscha_mlp.report.sweep.mode_pages import mode_pages
from sscha_mlp.run_files.json_fields import Value
from sscha_mlp.studies.sweep.point import PointResponse, SweepPoint
from sscha_mlp.studies.sweep.table import Sweep

LEFT_OUT: Final = (
    "Errors are statistical, one standard error, and fits take those of different points for "
    "independent: points that share a potential have errors in common that are not seen in their "
    "scatter. Not in any error: sizes beyond this supercell, what Gaussian trial states cannot "
    "describe, and what the reference leaves out of nature."
)
"""What no error of a sweep covers."""

HOW: Final = (
    "Curves are fits to the converged points: volumes to sums of Einstein energies, free energies "
    "and entropies together to sums of Einstein free energies, averaged over how many terms are "
    "taken; bands are one standard error. Open symbols are the model's own answer at each point to "
    "small changes of temperature and pressure; they are no input of the fits. Crosses: not "
    "converged, and not fitted. k is the Boltzmann constant; C in tables is at fixed P."
)
"""How the figures are made."""

_POINT_COLUMNS: Final = (
    Column("T (K)", 14.0),
    Column("P (GPa)", 15.0),
    Column("V (Å³/atom)", 32.0),
    Column("a, b, c (Å)", 33.0),
    Column("F (eV/atom)", 37.0),
    Column("S (k/atom)", 28.0),
    Column("Labels", 15.0),
)
_THERMAL_COLUMNS: Final = (
    Column("T (K)", 12.0),
    Column("P (GPa)", 13.0),
    Column("α, fit (ppm/K)", 26.0),
    Column("α, model", 24.0),
    Column("C, fit (k)", 25.0),
    Column("C, model", 24.0),
    Column("B (GPa)", 23.0),
    Column("Grüneisen", 27.0),
)

_CURVE_STEPS: Final = 101

_SECTION: Final = 40.0
"""Room that is kept for a section, mm."""


def write_sweep_report(sweep: Sweep, directory: str | Path) -> list[Path]:
    """Write ``sweep.pdf``, ``sweep.csv`` and ``sweep-fits.csv``.

    Parameters
    ----------
    sweep
        The points.
    directory
        Where the files go; made if needed.

    Returns
    -------
    The files written, the PDF first.

    Raises
    ------
    InputError
        If the directory cannot be made.
    SschaMlpError
        If a file cannot be written.
    """
    place = make_directory(directory)
    fits = fit_sweep(sweep)
    with style():
        content = stamped_pdf(sweep_pages(fits), head="Sweep", title="sscha-mlp: sweep")
        write_atomic(place / "sweep.pdf", content)
    write_atomic(place / "sweep.csv", sweep_csv(fits))
    write_atomic(place / "sweep-fits.csv", curves_csv(fits))
    return [place / name for name in ("sweep.pdf", "sweep.csv", "sweep-fits.csv")]


def sweep_pages(fits: SweepFits) -> list[Figure]:
    """Return the pages: what was swept and found, the tables, the figures."""
    pages, flow = _text_pages(fits)
    points = [_point_row(one) for one in fits.sweep.points]
    more, flow = table_pages("Points", _POINT_COLUMNS, points, size=8.0, first=flow)
    flow.skip(4.0)
    thermal = thermal_rows(fits)
    last, flow = table_pages(
        "Expansion, heat capacity and bulk modulus", _THERMAL_COLUMNS, thermal, size=8.0, first=flow
    )
    figures = [*temperature_pages(fits), *mode_pages(fits)]
    figures += [*length_pages(fits), *pressure_pages(fits)]
    return [*pages, *more, *last, *figures]


def _text_pages(fits: SweepFits) -> tuple[list[Figure], Flow]:
    """What was swept, what each line says, and where the text ends."""
    pages, sweep = [new_page()], fits.sweep
    flow = Flow(pages[0], top=22.0)
    flow.heading(f"{reduced_formula(sweep.formula)} {sweep.space_group} over T and P", size=17.0)
    flow.pairs(_facts(fits))
    flow.skip(4.0)
    for title, sentences in _lines(fits):
        if flow.room < _SECTION:
            pages.append(new_page())
            flow = Flow(pages[-1])
        flow.paragraph(title, weight="bold")
        for sentence in sentences:
            flow.paragraph(sentence, size=8.6, indent=4.0)
        flow.skip(1.2)
    if flow.room < _SECTION:
        pages.append(new_page())
        flow = Flow(pages[-1])
    flow.skip(2.0)
    for text in (HOW, LEFT_OUT):
        flow.paragraph(text, size=8.2, colour=GREY)
        flow.skip(1.0)
    flow.skip(4.0)
    return pages, flow


def _lines(fits: SweepFits) -> Iterator[tuple[str, list[str]]]:
    """Title and sentences of each isobar and isotherm that has more than a point."""
    for isobar in fits.isobars:
        if len(isobar.points) > 1:
            yield f"Isobar {isobar.pressure:g} GPa", isobar.statements
    for isotherm in fits.isotherms:
        if len(isotherm.points) > 1:
            yield f"Isotherm {isotherm.temperature:g} K", [isotherm.statement]


def _facts(fits: SweepFits) -> list[tuple[str, str]]:
    sweep = fits.sweep
    count = f"{len(sweep.points)}"
    if fits.n_unconverged:
        count += f", of which {fits.n_unconverged} not converged"
    return [
        ("Supercell", cells_name(sweep.supercell, sweep.n_atoms, each=True)),
        ("Reference, potential", f"{sweep.reference}, {sweep.model}"),
        ("Nuclei", sweep.nuclei),
        ("Temperatures", ", ".join(f"{one:g}" for one in sweep.temperatures) + " K"),
        ("Pressures", ", ".join(f"{one:g}" for one in sweep.pressures) + " GPa"),
        ("Points", count),
        ("Reference", sweep.labels_in_words),
        ("Seed", f"{sweep.seed}"),
        (
            "Of each point",
            "report.pdf in its directory below points/: certificate, labels, provenance",
        ),
    ]


def _point_row(point: SweepPoint) -> list[str]:
    lengths = list(dict.fromkeys(_shown(one, fallback=4) for one in point.cell_lengths_A))
    mark = "" if point.converged else " ×"
    return [
        f"{point.temperature_K:g}{mark}",
        f"{point.pressure_GPa:g}",
        _shown(point.volume_A3_per_atom),
        " ".join(lengths),
        _shown(point.free_energy_eV_per_atom, fallback=6),
        _shown(point.entropy_kB),
        f"{point.labels_new}",
    ]


def thermal_rows(fits: SweepFits) -> list[list[str]]:
    """Return a row of each point with what the fits and the model say there, as text."""
    rows = []
    for isobar in fits.isobars:
        for point in isobar.points:
            answer = point.response or PointResponse()
            rows.append(
                [
                    f"{point.temperature_K:g}",
                    f"{point.pressure_GPa:g}",
                    _shown(fitted_expansion(isobar, point), scale=1.0e6),
                    _shown(answer.expansion_per_K, scale=1.0e6),
                    _shown(fitted_heat_capacity(isobar, point)),
                    _shown(answer.heat_capacity_p_kB),
                    _shown(answer.bulk_modulus_GPa),
                    _shown(answer.gruneisen),
                ]
            )
    return rows


def fitted_expansion(isobar: Isobar, point: SweepPoint) -> Value | None:
    """Return the volumetric coefficient of the fit at a point, 1/K; None where there is none."""
    fit, t = isobar.volume, point.temperature_K
    if fit is None or fit.curve is None or not fit.covers(t):
        return None
    return _value(fit.coefficient([t]))


def fitted_heat_capacity(isobar: Isobar, point: SweepPoint) -> Value | None:
    """Return the heat capacity of the fit at a point, k per atom; None where there is none."""
    fit, t = isobar.thermal, point.temperature_K
    if fit is None or fit.curve is None or not fit.gibbs.x[0] <= t <= fit.gibbs.x[-1]:
        return None
    return _value(fit.heat_capacity([t]))


def _value(found: Estimate) -> Value:
    return Value(float(found.value[0]), float(found.stderr[0]))


def _shown(value: Value | None, *, scale: float = 1.0, fallback: int = 3) -> str:
    if value is None:
        return DASH
    stderr = value.stderr * scale if value.stderr > 0.0 else None
    return with_error(value.value * scale, stderr, fallback=fallback)


_PLAIN: Final = (
    "temperature_K",
    "pressure_GPa",
    "converged",
    "labels_new",
    "start_calls",
    "retrains",
)
_VALUES: Final = (
    "volume_A3_per_atom",
    "free_energy_eV_per_atom",
    "gibbs_eV_per_atom",
    "entropy_kB",
)
_RESPONSES: Final = (
    "bulk_modulus_GPa",
    "expansion_per_K",
    "gruneisen",
    "heat_capacity_v_kB",
    "heat_capacity_p_kB",
)
_FITTED: Final = ("expansion_fit_per_K", "heat_capacity_p_fit_kB")


def sweep_csv(fits: SweepFits) -> str:
    """Return one line for each point; a cell is empty where nothing is known."""
    lengths = [f"{name}_A" for name in "abc"]
    names = [*_VALUES, *lengths, *_RESPONSES, *_FITTED]
    header = [*_PLAIN, *(part for one in names for part in (one, f"{one}_stderr")), "directory"]
    rows = []
    for isobar in fits.isobars:
        for point in isobar.points:
            values: list[Value | None] = [getattr(point, one) for one in _VALUES]
            values += point.cell_lengths_A
            values += [getattr(point.response, one, None) for one in _RESPONSES]
            values += [fitted_expansion(isobar, point), fitted_heat_capacity(isobar, point)]
            cells = [part for one in values for part in _cells(one)]
            rows.append([*(f"{getattr(point, one)}" for one in _PLAIN), *cells, point.directory])
    return csv_text(header, rows)


def _cells(value: Value | None) -> tuple[str, str]:
    return ("", "") if value is None else (f"{value.value:.10g}", f"{value.stderr:.6g}")


def curves_csv(fits: SweepFits) -> str:
    """Return the fits along each isobar, within its points."""
    names = ["volume_A3_per_atom", "expansion_per_K", "gibbs_eV_per_atom", "entropy_kB"]
    names.append("heat_capacity_p_kB")
    header = ["pressure_GPa", "temperature_K"]
    header += [part for one in names for part in (one, f"{one}_stderr")]
    rows: list[list[str]] = []
    for isobar in fits.isobars:
        volume, thermal = isobar.volume, isobar.thermal
        if volume is None or volume.curve is None or thermal is None or thermal.curve is None:
            continue
        t = np.linspace(volume.data.x[0], volume.data.x[-1], _CURVE_STEPS)
        curves = [volume.size(t), volume.coefficient(t), thermal.free_energy(t)]
        curves += [thermal.entropies(t), thermal.heat_capacity(t)]
        for n, temperature in enumerate(t):
            cells = [f"{v[n]:.8g}" for one in curves for v in (one.value, one.stderr)]
            rows.append([f"{isobar.pressure:g}", f"{temperature:.6g}", *cells])
    return csv_text(header, rows)
