"""Two structures by Gibbs free energy: from sweeps or runs to a figure and tables."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sscha_mlp.data.files import make_directory, write_atomic, write_json_atomic
from sscha_mlp.digits import DASH, with_error
from sscha_mlp.errors import InputError
from sscha_mlp.properties.phase_tables import (
    Axis,
    Crossing,
    Phase,
    PhaseComparison,
    PhaseDifference,
    PhaseLine,
)
from sscha_mlp.properties.phases import compare_phases
from sscha_mlp.quantities import QUANTITIES
from sscha_mlp.report.page.csv_text import csv_text
from sscha_mlp.report.page.layout import (
    Column,
    Flow,
    add_axes_mm,
    new_page,
    set_labels,
    table_pages,
)
from sscha_mlp.report.page.pdf_file import stamped_pdf
from sscha_mlp.report.page.style import GREY, MARGIN, TEXT_WIDTH, colour_of, style
from sscha_mlp.report.sweep.fits import numbers
from sscha_mlp.report.sweep.series_style import MOST_SERIES, WASH, line_style, marker
from sscha_mlp.studies.sweep.table import Sweep, load_sweep
from sscha_mlp.tables import Shown, Table

SCHEMA: Final = "sscha-mlp/phases/1"

HOW: Final = (
    "Differences are those of B less A per atom, so that A is stable where the difference of G is "
    "above zero. Points stand where both are known, open symbols where one of the two is "
    "interpolated; lines are differences of fits, with one standard error. Errors of the two "
    "structures are taken for independent. Not in the errors: the supercells and the SSCHA, which "
    "do not cancel between structures, and what the reference leaves out of nature."
)
"""How the figures are made, and what their errors leave out."""

_COLUMNS: Final = (
    Column("T (K)", 16.0),
    Column("P (GPa)", 18.0),
    Column("ΔG (meV/atom)", 40.0),
    Column("ΔS (k/atom)", 40.0),
    Column("ΔV (Å³/atom)", 40.0),
    Column("", 20.0, "left"),
)
_CROSSINGS: Final = (
    Column("T (K)", 34.0),
    Column("P (GPa)", 34.0),
    Column("ΔS (k/atom)", 32.0),
    Column("ΔV (Å³/atom)", 32.0),
    Column("dP/dT (MPa/K)", 42.0),
)
_PANEL: Final = (TEXT_WIDTH - 20.0, 66.0)
_TINY: Final = 1.0e-6


@dataclass(frozen=True, eq=False)
class Phases(Shown):
    """A comparison with what has to be said about it.

    Parameters
    ----------
    comparison
        The differences.
    notes
        In sentences.
    """

    comparison: PhaseComparison
    notes: tuple[str, ...] = ()

    def table(self) -> Table:
        """Return the differences, the result and the notes."""
        found = self.comparison.table()
        return replace(found, note=" ".join([found.note, *self.notes]))


def phase_of(sweep: Sweep, name: str) -> Phase:
    """Return the converged points of a sweep as a structure to compare.

    Parameters
    ----------
    sweep
        The points.
    name
        What it is called.

    Raises
    ------
    InputError
        If no point is converged.
    """
    points = [one for one in sweep.points if one.converged]
    if not points:
        raise InputError(
            f"{name} has no converged point to compare; run its points again with more labels."
        )
    gibbs, gibbs_stderr = numbers([one.gibbs_eV_per_atom for one in points])
    entropies, entropies_stderr = numbers([one.entropy_kB for one in points])
    volumes, volumes_stderr = numbers([one.volume_A3_per_atom for one in points])
    return Phase(
        name=name,
        formula=sweep.formula,
        temperatures=np.array([one.temperature_K for one in points]),
        pressures=np.array([one.pressure_GPa for one in points]),
        gibbs=gibbs,
        gibbs_stderr=gibbs_stderr,
        entropies=entropies,
        entropies_stderr=entropies_stderr,
        volumes=volumes,
        volumes_stderr=volumes_stderr,
        einstein_temperatures=() if sweep.nuclei == "classical" else sweep.einstein_temperatures_K,
    )


def phases(a: str | Path, b: str | Path) -> Phases:
    """Compare two sweeps or finished runs by their Gibbs free energies.

    Parameters
    ----------
    a, b
        ``sweep.json``, the directory of a sweep, or that of a run.

    Raises
    ------
    InputError
        If one of them cannot be read, the compositions or the nuclei differ, or they have no
        temperature and pressure in common.
    """
    sweeps = [load_sweep(one) for one in (a, b)]
    names = _names(sweeps, (Path(a), Path(b)))
    first, second = sweeps
    if first.nuclei != second.nuclei:
        raise InputError(
            f"{names[0]} has {first.nuclei} nuclei and {names[1]} {second.nuclei} ones: their free "
            "energies cannot be compared. Run both with the same --nuclei."
        )
    found = [phase_of(one, name) for one, name in zip(sweeps, names, strict=True)]
    comparison = replace(compare_phases(found[0], found[1]), withheld=_withheld(first, second))
    return Phases(comparison, tuple(_notes(first, second, names)))


def _withheld(first: Sweep, second: Sweep) -> str:
    """Say why two structures cannot be told apart: the modes that are counted differ."""
    sizes = [one.n_atoms * int(np.prod(one.supercell)) for one in (first, second)]
    if sizes[0] == sizes[1]:
        return ""
    return (
        f"No verdict: the supercells have {sizes[0]} and {sizes[1]} atoms. The motion of each as a "
        f"whole is in no free energy, which leaves out 3 of {3 * sizes[0]} and 3 of "
        f"{3 * sizes[1]} modes, and so not the same of each atom. Run both in supercells of "
        "equally many atoms."
    )


def _names(sweeps: Sequence[Sweep], paths: Sequence[Path]) -> tuple[str, str]:
    """Space groups where they differ, else directories, else A and B."""
    groups = [one.space_group for one in sweeps]
    places = [one.resolve() for one in paths]
    stems = [one.parent.name if one.suffix == ".json" else one.name for one in places]
    for one in (groups, stems):
        if one[0] != one[1] and all(one):
            return one[0], one[1]
    return "A", "B"


def _notes(first: Sweep, second: Sweep, names: tuple[str, str]) -> list[str]:
    notes = []
    if first.reference != second.reference:
        notes.append(
            f"The references have different names ({first.reference}, {second.reference}): the "
            "comparison means something only if they are the same calculation."
        )
    lost = [sum(not point.converged for point in one.points) for one in (first, second)]
    notes += [
        f"{count} of {len(one.points)} points of {name} are not converged, and are left out."
        for count, one, name in zip(lost, (first, second), names, strict=True)
        if count
    ]
    return notes


def write_phases(found: Phases, directory: str | Path) -> list[Path]:
    """Write ``phases.pdf``, ``phases.json`` and ``phases.csv``.

    Parameters
    ----------
    found
        From :func:`phases`.
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
    with style():
        content = stamped_pdf(phase_pages(found), head="Phases", title="sscha-mlp: phases")
        write_atomic(place / "phases.pdf", content)
    write_json_atomic(place / "phases.json", phases_json(found))
    write_atomic(place / "phases.csv", _csv(found.comparison))
    return [place / name for name in ("phases.pdf", "phases.json", "phases.csv")]


def phase_pages(found: Phases) -> list[Figure]:
    """Return the pages: what is stable where, the figures, the tables."""
    comparison = found.comparison
    pages = [new_page()]
    flow = Flow(pages[0], top=22.0)
    a, b = comparison.a, comparison.b
    flow.heading(f"{a.composition}: A = {a.name}, B = {b.name}", size=17.0)
    flow.pairs([("A", f"{a.name}, {a.extent}"), ("B", f"{b.name}, {b.extent}")])
    flow.skip(3.0)
    for text in comparison.statements[:16]:
        flow.paragraph(text)
        flow.skip(0.8)
    flow.skip(2.0)
    for text in (*found.notes, HOW):
        flow.paragraph(text, size=8.2, colour=GREY)
        flow.skip(0.8)
    flow.skip(3.0)
    pages += _figure_pages(comparison)
    rows = [difference_cells(one) for one in comparison.differences]
    more, last = table_pages("Differences, B less A", _COLUMNS, rows, size=8.0, first=flow)
    pages += more
    if comparison.crossings:
        cells = [crossing_cells(one) for one in comparison.crossings]
        more, _ = table_pages("Crossings", _CROSSINGS, cells, size=8.0, first=last)
        pages += more
    return pages


def _figure_pages(comparison: PhaseComparison) -> list[Figure]:
    """A page for isobars and one for isotherms, where there are any."""
    pages = []
    for axis in Axis:
        lines = [one for one in comparison.lines if one.axis is axis][:MOST_SERIES]
        if not lines:
            continue
        page = new_page()
        flow = Flow(page)
        flow.heading(f"Difference of the Gibbs free energies over {axis.value}", size=13.0)
        top = flow.top + 8.0
        axes = add_axes_mm(page, MARGIN + 18.0, top, *_PANEL)
        for number, line in enumerate(lines):
            _draw_line(axes, line, comparison, number)
        _finish(axes, axis)
        if axis is Axis.TEMPERATURE and len(comparison.crossings) > 1:
            _draw_boundary(page, top + _PANEL[1] + 20.0, comparison)
        pages.append(page)
    return pages


def _draw_line(axes: Axes, line: PhaseLine, comparison: PhaseComparison, number: int) -> None:
    colour, symbol = colour_of(number), marker(number)
    y, error = 1.0e3 * line.difference.value, 1.0e3 * line.difference.stderr
    axes.fill_between(line.x, y - error, y + error, color=colour, alpha=WASH, linewidth=0)
    axes.plot(line.x, y, **line_style(number))
    is_isobar = line.axis is Axis.TEMPERATURE
    for one in comparison.differences:
        kept = one.pressure if is_isobar else one.temperature
        place = one.temperature if is_isobar else one.pressure
        if abs(kept - line.at) > _TINY:
            continue
        axes.errorbar(
            [place],
            [1.0e3 * one.gibbs],
            [1.0e3 * one.gibbs_stderr],
            color=colour,
            marker=symbol,
            markersize=3.4,
            markerfacecolor="white" if one.interpolated else colour,
            capsize=1.5,
            elinewidth=0.8,
        )
    name = f"{line.at:g} {line.axis.other.unit}"
    axes.plot([], [], marker=symbol, label=name, **line_style(number))
    for crossing in () if comparison.withheld else line.crossings:
        axes.errorbar(
            [crossing.place],
            [0.0],
            xerr=[crossing.stderr],
            color=GREY,
            marker="|",
            markersize=9.0,
            capsize=2.5,
            zorder=4.0,
        )


def _finish(axes: Axes, axis: Axis) -> None:
    axes.axhline(0.0, color=GREY, linewidth=0.6)
    set_labels(axes, QUANTITIES[axis.value].axis, QUANTITIES["gibbs_difference"].axis)
    axes.xaxis.set_major_locator(MaxNLocator(8))
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=MOST_SERIES,
        borderaxespad=0.3,
        handlelength=2.6,
    )


def _draw_boundary(page: Figure, top: float, comparison: PhaseComparison) -> None:
    """The crossings in the plane of temperature and pressure, with their slopes."""
    axes = add_axes_mm(page, MARGIN + 18.0, top, *_PANEL)
    for number, axis in enumerate(Axis):
        found = [one for one in comparison.crossings if one.axis is axis]
        if not found:
            continue
        is_isobar = axis is Axis.TEMPERATURE
        errors = [one.stderr for one in found]
        axes.errorbar(
            [one.temperature for one in found],
            [one.pressure for one in found],
            xerr=errors if is_isobar else None,
            yerr=None if is_isobar else errors,
            color=colour_of(number),
            marker=marker(number),
            linestyle="none",
            capsize=1.5,
            label="along isobars" if is_isobar else "along isotherms",
        )
    span = np.ptp([one.temperature for one in comparison.crossings]) or 100.0
    for one in comparison.crossings:
        if one.slope is not None:
            step = np.array([-0.06, 0.06]) * span
            axes.plot(one.temperature + step, one.pressure + one.slope * step, color=GREY, lw=0.7)
    axes.plot([], [], color=GREY, linewidth=0.7, label="Clausius–Clapeyron")
    set_labels(axes, QUANTITIES["temperature"].axis, QUANTITIES["pressure"].axis)
    axes.margins(0.1)
    axes.legend(loc="best")


def difference_cells(one: PhaseDifference) -> list[str]:
    """Return the cells of a row of the table: T, P, ΔG, ΔS, ΔV, and where it comes from."""
    return [
        f"{one.temperature:g}",
        f"{one.pressure:g}",
        with_error(1.0e3 * one.gibbs, 1.0e3 * one.gibbs_stderr, sign=True),
        with_error(one.entropy, one.entropy_stderr, sign=True),
        with_error(one.volume, one.volume_stderr, sign=True),
        "interpolated" if one.interpolated else "",
    ]


def crossing_cells(one: Crossing) -> list[str]:
    """Return the cells of a row of the table of crossings."""
    is_isobar = one.axis is Axis.TEMPERATURE
    slope = DASH
    if one.slope is not None and one.slope_stderr is not None:
        slope = with_error(1.0e3 * one.slope, 1.0e3 * one.slope_stderr, sign=True)
    return [
        with_error(one.temperature, one.stderr) if is_isobar else f"{one.temperature:g}",
        f"{one.pressure:g}" if is_isobar else with_error(one.pressure, one.stderr),
        with_error(one.entropy_change, one.entropy_stderr, sign=True),
        with_error(one.volume_change, one.volume_stderr, sign=True),
        slope,
    ]


_UNITS: Final = {
    "temperature": "temperature_K",
    "pressure": "pressure_GPa",
    "gibbs": "gibbs_eV_per_atom",
    "entropy": "entropy_kB",
    "volume": "volume_A3_per_atom",
}


def phases_json(found: Phases) -> dict[str, Any]:
    """Return everything as plain values; null where a number is not known."""
    comparison = found.comparison
    return {
        "schema": SCHEMA,
        "a": comparison.a.name,
        "b": comparison.b.name,
        "composition": comparison.a.composition,
        "statements": list(comparison.statements),
        "notes": list(found.notes),
        "differences": [_difference_json(one) for one in comparison.differences],
        "crossings": [_crossing_json(one) for one in comparison.crossings],
        "left_out": HOW,
    }


def _difference_json(one: PhaseDifference) -> dict[str, Any]:
    plain: dict[str, Any] = {
        _UNITS[name]: getattr(one, name) for name in ("temperature", "pressure")
    }
    for name in ("gibbs", "entropy", "volume"):
        plain[_UNITS[name]] = _pair(getattr(one, name), getattr(one, f"{name}_stderr"))
    return {**plain, "interpolated": one.interpolated}


def _crossing_json(one: Crossing) -> dict[str, Any]:
    return {
        "along": one.axis.value,
        "temperature_K": one.temperature,
        "pressure_GPa": one.pressure,
        f"stderr_{one.axis.unit}": _finite(one.stderr),
        "entropy_kB": _pair(one.entropy_change, one.entropy_stderr),
        "volume_A3_per_atom": _pair(one.volume_change, one.volume_stderr),
        "slope_GPa_per_K": one.slope,
        "slope_stderr_GPa_per_K": one.slope_stderr,
    }


def _pair(value: float, stderr: float) -> dict[str, float | None]:
    return {"value": _finite(value), "stderr": _finite(stderr)}


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _csv(comparison: PhaseComparison) -> str:
    """One line for each difference; a cell is empty where a number is not known."""
    names = ("gibbs", "entropy", "volume")
    header = [_UNITS["temperature"], _UNITS["pressure"]]
    header += [part for one in names for part in (_UNITS[one], f"{_UNITS[one]}_stderr")]
    rows = []
    for one in comparison.differences:
        values = [getattr(one, part) for name in names for part in (name, f"{name}_stderr")]
        cells = [f"{value:.8g}" if np.isfinite(value) else "" for value in values]
        source = "interpolated" if one.interpolated else "points"
        rows.append([f"{one.temperature:g}", f"{one.pressure:g}", *cells, source])
    return csv_text([*header, "source"], rows)
