"""Figures of the relaxation: what it did, population by population and step by step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.digits import fixed, with_error, with_minus
from sscha_mlp.errors import InputError
from sscha_mlp.quantities import QUANTITIES
from sscha_mlp.report.page.layout import Column, add_axes_mm, set_labels
from sscha_mlp.report.page.style import (
    BLUE,
    CYCLE,
    GREY,
    MM,
    PALE,
    TEXT_WIDTH,
    VERMILION,
    style,
)
from sscha_mlp.report.run.cell_lengths import distinct_lengths
from sscha_mlp.report.run.data import PopulationRow
from sscha_mlp.run_files.records.population import MinimisationTrace, PopulationRecord
from sscha_mlp.scha.relaxation import Population
from sscha_mlp.tables import Table, pm

_LEFT: Final = 15.0
_PANEL: Final = 69.0
_STEP: Final = TEXT_WIDTH - _PANEL
_HEIGHT: Final = 43.0
_ROW: Final = 13.5
_MOST_NAMED: Final = 5
_MOST_MARKED: Final = 30
_COMPONENTS: Final = (
    ("xx", 0, 0),
    ("yy", 1, 1),
    ("zz", 2, 2),
    ("yz", 1, 2),
    ("xz", 0, 2),
    ("xy", 0, 1),
)

POPULATION_COLUMNS: Final = (
    Column("Pop.", 9.0),
    Column("Round", 11.0),
    Column("N", 11.0),
    Column("Free energy (eV/atom)", 29.0),
    Column("Gradient (THz)", 21.0),
    Column("ESS", 11.0),
    Column("V (Å³/atom)", 17.0),
    Column("P (GPa)", 20.0),
    Column("Rej.", 9.0),
    Column("Judged", 36.0, "left"),
)
"""Columns of the table of populations; without rejections that column is left to the last one."""

_REJECTED: Final = 8
"""Place of the column of rejected configurations."""


_TABLE_COLUMNS = (
    "Population",
    "F (eV/atom)",
    "P (GPa)",
    "V (Å³/atom)",
    "gradient (THz)",
    "ended with",
)


@dataclass(frozen=True)
class Progress:
    """Rows of a relaxation and where they stand on the horizontal axis.

    Parameters
    ----------
    rows
        Populations in order.
    ends
        Position of the end of each, shape (n_populations,).
    stepwise
        Whether positions count minimisation steps rather than populations.
    """

    rows: tuple[PopulationRow, ...]
    ends: FloatArray
    stepwise: bool

    @classmethod
    def of(cls, rows: Sequence[PopulationRow]) -> "Progress":
        """Count steps if any population kept them, else populations."""
        stepwise = any(row.record.trace is not None for row in rows)
        sizes = [1 if row.record.trace is None else row.record.trace.n_steps for row in rows]
        ends = np.cumsum(sizes) if stepwise else np.array([row.number for row in rows])
        return cls(tuple(rows), ends.astype(np.float64), stepwise)

    @property
    def label(self) -> str:
        """Label of the horizontal axis."""
        return "Minimisation step" if self.stepwise else "Population"

    def values(self, name: str) -> FloatArray:
        """Return one field of every row."""
        return np.array([getattr(row.record, name) for row in self.rows], dtype=np.float64)

    def traces(self) -> list[tuple[FloatArray, MinimisationTrace]]:
        """Return the traces that were kept with the positions of their steps."""
        found = []
        for end, row in zip(self.ends, self.rows, strict=True):
            trace = row.record.trace
            if trace is not None:
                found.append((end - trace.n_steps + 1.0 + np.arange(trace.n_steps), trace))
        return found


def _frame(axes: Axes, progress: Progress, label: str) -> None:
    """Mark the populations with pale lines and the refits with dashed ones; label the axes."""
    half = 0.5
    named = progress.rows[-1].refits - progress.rows[0].refits <= _MOST_NAMED
    for previous, end, row, following in zip(
        progress.ends[:-1], progress.ends[1:], progress.rows[:-1], progress.rows[1:], strict=True
    ):
        refit = following.refits != row.refits
        if not refit and len(progress.rows) > _MOST_MARKED:
            continue
        place = previous + half if progress.stepwise else 0.5 * (previous + end)
        axes.axvline(
            place,
            color=VERMILION if refit else PALE,
            linewidth=0.8 if refit else 0.4,
            linestyle=(0, (4, 2)) if refit else "-",
            zorder=0,
        )
        if refit and named:
            axes.annotate(
                f"refit {following.refits}",
                (place, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=6.5,
                color=VERMILION,
            )
    first = 0.5 if progress.stepwise else progress.ends[0] - half
    axes.set_xlim(first, progress.ends[-1] + half)
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    set_labels(axes, progress.label, label)


def _series(axes: Axes, progress: Progress, value: str, stderr: str | None) -> None:
    """Draw the steps as a line with a band, and the populations as points with two sigma."""
    for x, trace in progress.traces():
        middle = getattr(trace, value)
        axes.plot(x, middle, color=BLUE, linewidth=0.8)
        if stderr is not None:
            spread = 2.0 * getattr(trace, stderr)
            axes.fill_between(
                x, middle - spread, middle + spread, color=BLUE, alpha=0.18, linewidth=0.0
            )
    error = None if stderr is None else 2.0 * np.nan_to_num(progress.values(stderr))
    axes.errorbar(
        progress.ends,
        progress.values(value),
        error,
        color=BLUE,
        marker="o",
        markersize=3.4,
        markeredgecolor="white",
        markeredgewidth=0.4,
        linestyle="none" if progress.stepwise else "-",
        linewidth=0.7,
        elinewidth=0.9,
        zorder=3,
    )


def draw_free_energy(axes: Axes, progress: Progress) -> None:
    """Draw the free energy with two standard errors."""
    _series(axes, progress, "free_energy", "free_energy_stderr")
    axes.yaxis.set_major_locator(MaxNLocator(5))
    _frame(axes, progress, QUANTITIES["free_energy"].axis)


def draw_gradient(axes: Axes, progress: Progress) -> None:
    """Draw the largest frequency shift that the gradient predicts, on a logarithmic scale."""
    _series(axes, progress, "gradient_THz", "gradient_stderr_THz")
    values = [progress.values("gradient_THz")]
    values += [trace.gradient_THz for _, trace in progress.traces()]
    positive = np.concatenate(values)
    positive = positive[np.isfinite(positive) & (positive > 0.0)]
    if positive.size:
        axes.set_yscale("log", nonpositive="clip")
        axes.set_ylim(0.3 * positive.min(), 3.0 * positive.max())
    _frame(axes, progress, "Gradient as frequency shift (THz)")


def draw_sample_size(axes: Axes, progress: Progress) -> None:
    """Draw the effective sample size, and the number of configurations as a dotted line.

    Those of earlier populations that are used again count: no sample is worth more than that.
    """
    _series(axes, progress, "effective_sample_size", None)
    sizes = progress.values("n_configs")
    first = 0.0 if progress.stepwise else progress.ends[0] - 1.0
    starts = np.concatenate([[first], progress.ends[:-1]])
    shift = 0.5
    for low, high, size in zip(starts + shift, progress.ends + shift, sizes, strict=True):
        axes.plot((low, high), (size, size), color=GREY, linewidth=0.8, linestyle=(0, (2, 1.5)))
    reached = [progress.values("effective_sample_size"), sizes]
    reached += [trace.effective_sample_size for _, trace in progress.traces()]
    axes.set_ylim(0.0, 1.12 * float(np.max(np.concatenate(reached))))
    _frame(axes, progress, QUANTITIES["effective_sample_size"].axis)


def draw_frequencies(axes: Axes, progress: Progress) -> None:
    """Draw all frequencies, the softest one that is not acoustic in another colour."""
    modes = {row.record.frequencies_THz.size for row in progress.rows}
    for x, trace in progress.traces():
        if trace.frequencies_THz is not None:
            axes.plot(x, trace.frequencies_THz, color=BLUE, linewidth=0.5, alpha=0.6)
    if len(modes) == 1:
        table = np.array([row.record.frequencies_THz for row in progress.rows])
        softest = _softest(table[-1])
        for index in range(table.shape[1]):
            axes.plot(
                progress.ends,
                table[:, index],
                color=VERMILION if index == softest else BLUE,
                linewidth=1.0 if index == softest else 0.5,
                marker="o",
                markersize=2.6 if index == softest else 1.6,
                zorder=4 if index == softest else 2,
            )
    axes.yaxis.set_major_locator(MaxNLocator(6))
    _frame(axes, progress, QUANTITIES["frequency"].axis)


def _softest(frequencies: FloatArray) -> int:
    """Index of the lowest frequency that is not a translation."""
    moving = np.abs(frequencies) > 1.0e-2
    return int(np.argmin(np.where(moving, frequencies, np.inf)))


def draw_volume(axes: Axes, progress: Progress) -> None:
    """Draw the volume of an atom at the end of each population."""
    axes.plot(progress.ends, progress.values("volume"), color=BLUE, marker="o", linewidth=0.8)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.margins(y=0.18)
    _frame(axes, progress, QUANTITIES["volume"].axis)


def draw_cell_lengths(axes: Axes, progress: Progress) -> None:
    """Draw the lengths of the primitive lattice vectors; equal ones as one curve."""
    styles = ("-", "--", ":")
    if all(row.record.cell_lengths_A is not None for row in progress.rows):
        lengths = np.array([row.record.cell_lengths_A for row in progress.rows])
        for index, (names, values) in enumerate(distinct_lengths(lengths)):
            axes.plot(
                progress.ends,
                values,
                color=CYCLE[index],
                linestyle=styles[index],
                marker=("o", "s", "^")[index],
                markersize=(4.6, 3.2, 2.0)[index],
                linewidth=0.9,
                label=names,
            )
        _legend(axes)
        axes.margins(y=0.25)
    else:
        _nothing(axes)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    _frame(axes, progress, "Lattice vectors (Å)")


def draw_pressure(axes: Axes, progress: Progress, *, target: float | None = None) -> None:
    """Draw the pressure with two standard errors, and the one that was asked for."""
    axes.errorbar(
        progress.ends,
        progress.values("pressure_GPa"),
        2.0 * np.nan_to_num(progress.values("pressure_stderr_GPa")),
        color=BLUE,
        marker="o",
        linewidth=0.8,
        elinewidth=0.9,
    )
    if target is not None:
        axes.axhline(target, color=GREY, linewidth=0.7, linestyle=(0, (2, 1.5)), zorder=0)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.margins(y=0.12)
    _frame(axes, progress, QUANTITIES["pressure"].axis)


def draw_stress(axes: Axes, progress: Progress) -> None:
    """Draw the six components of the stress, in ASE's sign."""
    if all(row.record.stress_GPa is not None for row in progress.rows):
        stresses = np.array([row.record.stress_GPa for row in progress.rows])
        for index, (name, i, j) in enumerate(_COMPONENTS):
            axes.plot(
                progress.ends,
                stresses[:, i, j],
                color=CYCLE[index],
                linestyle="-" if i == j else "--",
                marker="os^DvP"[index],
                markersize=2.6,
                linewidth=0.8,
                label=name,
            )
        _legend(axes)
        axes.margins(y=0.12)
    else:
        _nothing(axes)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    _frame(axes, progress, QUANTITIES["stress"].axis)


def _legend(axes: Axes) -> None:
    """Name the curves on a ground that the lines of populations and refits do not cross."""
    axes.legend(
        ncols=3,
        loc="best",
        columnspacing=1.0,
        labelspacing=0.3,
        borderpad=0.2,
        frameon=True,
        framealpha=1.0,
        edgecolor="none",
    )


def _nothing(axes: Axes) -> None:
    axes.text(
        0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", va="center", color=GREY
    )


def draw_run(
    figure: Figure,
    rows: Sequence[PopulationRow],
    *,
    left: float,
    top: float,
    pressure_target_GPa: float | None = None,
) -> float:
    """Draw the eight panels into a figure, and return where they end, in mm from its top.

    Parameters
    ----------
    figure
        A page or a figure that has room for them.
    rows
        Populations in order, at least one.
    left, top
        Upper left corner, mm.
    pressure_target_GPa
        Pressure that was asked for.
    """
    progress = Progress.of(rows)
    panels: tuple[tuple[Callable[..., None], dict[str, Any]], ...] = (
        (draw_free_energy, {}),
        (draw_gradient, {}),
        (draw_sample_size, {}),
        (draw_frequencies, {}),
        (draw_volume, {}),
        (draw_cell_lengths, {}),
        (draw_pressure, {"target": pressure_target_GPa}),
        (draw_stress, {}),
    )
    for number, (draw, options) in enumerate(panels):
        row, column = divmod(number, 2)
        x = left + (_LEFT if column == 0 else _STEP)
        y = top + 3.0 + row * (_HEIGHT + _ROW)
        draw(add_axes_mm(figure, x, y, _PANEL - 1.0, _HEIGHT), progress, **options)
    return top + 3.0 + 4 * (_HEIGHT + _ROW)


def run_figure(
    rows: Sequence[PopulationRow], *, pressure_target_GPa: float | None = None
) -> Figure:
    """Return the figures of a relaxation as one figure, as wide as the text of a page."""
    with style():
        width, height = TEXT_WIDTH + 6.0, 4 * (_HEIGHT + _ROW) + 6.0
        figure = Figure(figsize=(width * MM, height * MM))
        draw_run(figure, rows, left=3.0, top=2.0, pressure_target_GPa=pressure_target_GPa)
    return figure


def population_table(
    rows: Sequence[PopulationRow],
) -> tuple[tuple[Column, ...], list[list[str]]]:
    """Return the table of populations, without a column of rejections where there are none.

    Parameters
    ----------
    rows
        Populations in order.

    Returns
    -------
    columns : tuple of Column
        As wide together as the text.
    cells : list
        Text, a list for each population.
    """
    cells = population_rows(rows)
    if any(row.record.rejected for row in rows):
        return POPULATION_COLUMNS, cells
    *first, rejected, last = POPULATION_COLUMNS
    wider = replace(last, width=last.width + rejected.width)
    shown = [[*row[:_REJECTED], *row[_REJECTED + 1 :]] for row in cells]
    return (*first, wider), shown


def population_rows(rows: Sequence[PopulationRow]) -> list[list[str]]:
    """Return the table of populations, all columns."""
    return [
        [
            str(row.number),
            str(row.refits),
            str(one.n_configs),
            with_error(one.free_energy, one.free_energy_stderr, fallback=4),
            with_error(one.gradient_THz, one.gradient_stderr_THz),
            fixed(one.effective_sample_size, 0),
            fixed(one.volume, 3),
            with_error(one.pressure_GPa, one.pressure_stderr_GPa, fallback=2),
            str(one.rejected),
            with_minus(row.stop_reason),
        ]
        for row, one in ((row, row.record) for row in rows)
    ]


def relaxation_figure(
    populations: Sequence[Population], *, pressure: float | None = None
) -> Figure:
    """Return free energy, gradient, sample size, frequencies and cell over a relaxation.

    Lines are the steps of each minimisation, dots the populations with two standard errors.

    Parameters
    ----------
    populations
        In order, at least one.
    pressure
        Pressure that was asked for, GPa.

    Raises
    ------
    InputError
        If there is no population.
    """
    if not populations:
        raise InputError("A figure of a relaxation needs at least one population.")
    records = [PopulationRecord.of(one) for one in populations]
    rows = [PopulationRow(one.population, 0, one) for one in records]
    return run_figure(rows, pressure_target_GPa=pressure)


def relaxation_table(populations: Sequence[Population]) -> Table:
    """Return one line for each population of a relaxation."""
    return Table(
        "Relaxation", tuple(_line(PopulationRecord.of(one)) for one in populations), _TABLE_COLUMNS
    )


def _line(row: PopulationRecord) -> tuple[str, ...]:
    return (
        str(row.population),
        pm(row.free_energy, row.free_energy_stderr, 5),
        pm(row.pressure_GPa, row.pressure_stderr_GPa, 3, sign=True),
        f"{row.volume:.4f}",
        pm(row.gradient_THz, row.gradient_stderr_THz, 3),
        row.reason,
    )
