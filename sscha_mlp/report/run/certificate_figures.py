"""Figures of the certificate: the shifts that the reference makes, against what was allowed."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, SymmetricalLogLocator

from sscha_mlp.digits import significant, with_error, with_minus
from sscha_mlp.errors import InputError
from sscha_mlp.report.page.layout import Column, add_axes_mm, set_labels
from sscha_mlp.report.page.style import (
    BAND_COLOUR,
    FAIL_COLOUR,
    GREY,
    MM,
    PASS_COLOUR,
    TEXT_WIDTH,
    style,
)
from sscha_mlp.report.run.data import CertificateRow, ReportData
from sscha_mlp.run_files.records.certificate import CertificateRecord
from sscha_mlp.run_files.records.result import Result
from sscha_mlp.validation.certificate import Certificate
from sscha_mlp.validation.shift import Shift

SHIFTS: Final = (
    ("free_energy", "Free energy", "meV/atom", "ΔF (meV/atom)"),
    ("stress", "Worst stress", "GPa", "Δσ, worst (GPa)"),
    ("frequency", "Worst frequency", "THz", "Δω, worst (THz)"),
)
"""Field, name, unit and axis label of each shift that is checked."""

CERTIFICATE_COLUMNS: Final = (
    Column("Check", 11.0),
    Column("Refits", 11.0),
    Column("Labels", 12.0),
    Column("ΔF (meV/atom)", 27.0),
    Column("Δσ, worst (GPa)", 27.0),
    Column("Δω, worst (THz)", 27.0),
    Column("Verdict", 15.0, "left"),
    Column("Because", 44.0, "left"),
)
"""Columns of the table of checks."""

BUDGET_COLUMNS: Final = (
    Column("Quantity", 54.0, "left"),
    Column("Model", 40.0),
    Column("Difference to the reference", 40.0),
    Column("Answer", 40.0),
)
"""Columns of the table of errors."""

_LEFT: Final = 13.0
_PANEL: Final = 44.0
_STEP: Final = (TEXT_WIDTH - _LEFT - _PANEL) / 2.0
_HEIGHT: Final = 44.0
_CROWDED: Final = 8.0


def draw_shifts(axes: Axes, rows: Sequence[CertificateRecord], name: str, label: str) -> None:
    """Draw one shift of each check with two standard errors over the band of its tolerance.

    Parameters
    ----------
    axes
        Axes to draw into.
    rows
        Checks in order.
    name
        ``free_energy``, ``stress`` or ``frequency``.
    label
        Label of the vertical axis.
    """
    shifts: list[Shift] = [getattr(row, name) for row in rows]
    for number, shift in enumerate(shifts, start=1):
        low, high = number - 0.5, number + 0.5
        axes.fill_between(
            (low, high), -shift.tolerance, shift.tolerance, color=BAND_COLOUR, linewidth=0.0
        )
        axes.errorbar(
            number,
            shift.delta,
            2.0 * np.nan_to_num(shift.stderr),
            color=PASS_COLOUR if shift.passed else FAIL_COLOUR,
            marker="o" if shift.passed else "X",
            markersize=4.5 if shift.passed else 5.0,
            capsize=2.5,
            linewidth=1.0,
        )
    axes.axhline(0.0, color=GREY, linewidth=0.5, zorder=0)
    _scale_shifts(axes, shifts)
    axes.set_xlim(0.5, len(shifts) + 0.5)
    axes.set_xticks(range(1, len(rows) + 1))
    axes.tick_params(axis="x", length=0)
    set_labels(axes, "Check", label)


def _scale_shifts(axes: Axes, shifts: Sequence[Shift]) -> None:
    """Choose a scale on which both the band and the farthest shift can be seen."""
    tolerance = max(shift.tolerance for shift in shifts)
    reach = [abs(shift.delta) + 2.0 * float(np.nan_to_num(shift.stderr)) for shift in shifts]
    farthest = max(*reach, 1.3 * tolerance)
    if farthest <= _CROWDED * tolerance:
        axes.set_ylim(-1.15 * farthest, 1.15 * farthest)
        axes.yaxis.set_major_locator(MaxNLocator(6, symmetric=True))
        return
    axes.set_yscale("symlog", linthresh=2.0 * tolerance, linscale=1.0)
    axes.set_ylim(-2.5 * farthest, 2.5 * farthest)
    axes.yaxis.set_major_locator(
        SymmetricalLogLocator(base=10.0, linthresh=2.0 * tolerance, subs=(1.0,))
    )
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: significant(value, 1)))


def worst_mode(data: ReportData) -> str:
    """Name the mode whose frequency the reference shifts most, measured by its tolerance.

    Empty where there is no result, or its tolerance is not known.
    """
    limits = data.certificate_tolerances
    absolute, relative = (limits.get(name, 0.0) for name in ("frequency_thz", "frequency_relative"))
    modes = [
        (there - here, max(absolute, relative * abs(here)), row.shown_q, number, here)
        for row in (data.result.frequencies_THz if absolute and relative else ())
        for number, (here, there) in enumerate(
            zip(row.model, row.corrected or (), strict=False), start=1
        )
        if np.isfinite(there - here)
    ]
    if not modes:
        return ""
    shift, allowed, q, number, frequency = max(modes, key=lambda one: abs(one[0]) / one[1])
    return with_minus(
        f"The worst frequency of the answer is that of mode {number} at q = {q}, {frequency:.3f} "
        f"THz: the reference shifts it by {shift:+.4f} THz, where {allowed:.3f} THz are allowed."
    )


def draw_certificate(
    figure: Figure, rows: Sequence[CertificateRecord], *, left: float, top: float
) -> float:
    """Draw the three shifts side by side, and return where they end, in mm."""
    for column, (name, _, _, label) in enumerate(SHIFTS):
        axes = add_axes_mm(figure, left + _LEFT + column * _STEP, top, _PANEL, _HEIGHT)
        draw_shifts(axes, rows, name, label)
    return top + _HEIGHT + 13.0


def certificate_figure(
    checks: Sequence[CertificateRecord | Certificate], *, names: Sequence[str] = ()
) -> Figure:
    """Return the shifts of all checks as a figure of its own.

    Parameters
    ----------
    checks
        Certificates, or their records.
    names
        What each check is called below the panels; its number by default.

    Raises
    ------
    InputError
        If there is no check, or there are not as many names as checks.
    """
    if not checks or len(names) not in {0, len(checks)}:
        raise InputError(
            f"A figure of {len(checks)} checks cannot have {len(names)} names; give at least one "
            "check, and one name for each or none."
        )
    rows = [CertificateRecord.of(one) if isinstance(one, Certificate) else one for one in checks]
    with style():
        size = ((TEXT_WIDTH + 6.0) * MM, (_HEIGHT + 16.0) * MM)
        figure = Figure(figsize=size)
        draw_certificate(figure, rows, left=3.0, top=3.0)
        for axes in figure.axes if names else ():
            axes.set_xticks(range(1, len(names) + 1), names)
            axes.set_xlabel("")
    return figure


def certificate_rows(rows: Sequence[CertificateRow]) -> list[list[str]]:
    """Return the table of checks."""
    return [
        [
            str(number),
            str(row.refits),
            str(row.record.n_labels),
            *(_shift_text(getattr(row.record, name)) for name, *_ in SHIFTS),
            "passed" if row.record.holds else "failed",
            with_minus(row.record.reason),
        ]
        for number, row in enumerate(rows, start=1)
    ]


def budget_rows(result: Result) -> list[list[str]]:
    """Return the parts of free energy and pressure with their errors, where the result has them.

    Parameters
    ----------
    result
        Of the run.
    """
    found = {
        "Helmholtz free energy (eV/atom)": result.free_energy_eV_per_atom,
        "Pressure (GPa)": result.pressure_GPa,
    }
    return [
        [
            name,
            with_error(value.model, value.model_stderr),
            with_error(value.correction, value.correction_stderr, sign=True),
            with_error(value.corrected, value.stderr),
        ]
        for name, value in found.items()
        if value is not None and value.model_stderr is not None
    ]


def _shift_text(shift: Shift) -> str:
    text = with_error(shift.delta, shift.stderr, sign=True)
    return f"{text}\n(tolerance {significant(shift.tolerance, 2)})"


def draw_gauge(axes: Axes, row: CertificateRecord) -> None:
    """Draw the three shifts of one check in units of their tolerances.

    Parameters
    ----------
    axes
        Axes to draw into; they get no frame.
    row
        The check.
    """
    reach = 1.75
    axes.axvspan(-1.0, 1.0, color=BAND_COLOUR, linewidth=0.0)
    axes.axvline(0.0, color="white", linewidth=1.0)
    for place, (name, _, _, _) in enumerate(reversed(SHIFTS)):
        shift: Shift = getattr(row, name)
        scaled = shift.delta / shift.tolerance
        error = 2.0 * float(np.nan_to_num(shift.stderr)) / shift.tolerance
        colour = PASS_COLOUR if shift.passed else FAIL_COLOUR
        ends = np.clip((scaled - error, scaled + error), -reach, reach)
        axes.plot(ends, (place, place), color=colour, linewidth=2.0, solid_capstyle="butt")
        inside = abs(scaled) <= reach
        marker = "o" if inside else ">" if scaled > 0.0 else "<"
        axes.plot(
            np.clip(scaled, -reach, reach), place, marker=marker, color=colour, markersize=5.5
        )
    axes.set(xlim=(-reach - 0.1, reach + 0.1), ylim=(-0.6, len(SHIFTS) - 0.4))
    axes.set_yticks([])
    axes.set_xticks((-1.0, 0.0, 1.0), ("− tolerance", "0", "+ tolerance"))
    axes.tick_params(axis="x", length=0, top=False, labelsize=7.0)
    axes.spines[:].set_visible(False)
    axes.patch.set_visible(False)
