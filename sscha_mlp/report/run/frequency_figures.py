"""Figures and tables of the frequencies: model, corrected, and known directly."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.digits import DASH, fixed, is_number
from sscha_mlp.properties.modes import TRANSLATION_THZ
from sscha_mlp.quantities import QUANTITIES
from sscha_mlp.report.page.layout import Column, Flow, add_axes_mm
from sscha_mlp.report.page.style import BAND_COLOUR, BLUE, GREY, MM, TEXT_WIDTH, VERMILION, style
from sscha_mlp.run_files.records.result import Frequencies

FREQUENCY_COLUMNS: Final = (
    Column("q", 38.0, "left"),
    Column("Mode", 12.0),
    Column("Model (THz)", 23.0),
    Column("Correction (THz)", 27.0),
    Column("Corrected (THz)", 31.0),
    Column("Known (THz)", 22.0),
    Column("(known − corrected) / σ", 21.0),
)
"""Columns of the table of frequencies."""

_LEFT: Final = 13.0
_LEVELS: Final = 62.0
_SHIFTS: Final = 40.0
MOST_NAMES: Final = 8
"""Wave vectors whose names have room below a figure; more of them are numbered."""


@dataclass(frozen=True)
class _Modes:
    """Frequencies of all irreducible q points in one row, with gaps between the points."""

    places: FloatArray
    model: FloatArray
    corrected: FloatArray
    stderr: FloatArray
    known: FloatArray
    centres: list[float]
    names: list[str]


def _modes(entries: Sequence[Frequencies], known: Sequence[Sequence[float]] | None) -> _Modes:
    places: list[float] = []
    centres, names = [], []
    start = 0.0
    for entry in entries:
        size = entry.n_modes
        places.extend(start + index for index in range(size))
        centres.append(start + 0.5 * (size - 1))
        names.append(entry.shown_q)
        start += size + 1.5
    flat = {
        key: np.concatenate([entry.values(key) for entry in entries])
        for key in ("model", "corrected", "stderr")
    }
    direct = np.full(len(places), np.nan)
    if known is not None:
        values = np.array([_number(value) for row in known for value in row])
        if values.size == direct.size:
            direct = values
    return _Modes(np.array(places), known=direct, centres=centres, names=names, **flat)


def _number(value: Any) -> float:
    return float(value) if is_number(value) else math.nan


def _draw_levels(axes: Axes, modes: _Modes, known_label: str) -> None:
    axes.hlines(
        modes.model,
        modes.places - 0.42,
        modes.places + 0.42,
        color=GREY,
        linewidth=1.2,
        label="model",
    )
    axes.errorbar(
        modes.places,
        modes.corrected,
        2.0 * np.nan_to_num(modes.stderr),
        color=BLUE,
        marker="o",
        markersize=3.0,
        linestyle="none",
        linewidth=0.9,
        label="corrected ± 2σ",
    )
    _draw_known(axes, modes.places, modes.known, known_label)
    axes.yaxis.set_major_locator(MaxNLocator(7))
    axes.set_ylabel(QUANTITIES["frequency"].axis)
    axes.legend(loc="lower right", ncols=3, bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2)
    axes.margins(y=0.12)


def _draw_known(axes: Axes, places: FloatArray, values: FloatArray, label: str) -> None:
    if np.isfinite(values).any():
        axes.plot(
            places,
            values,
            linestyle="none",
            marker="D",
            markersize=4.2,
            markerfacecolor="none",
            markeredgecolor=VERMILION,
            markeredgewidth=0.8,
            label=label,
        )


def _draw_corrections(
    axes: Axes, modes: _Modes, label: str, *, absolute: float, relative: float
) -> None:
    tolerance = np.maximum(absolute, relative * np.abs(np.nan_to_num(modes.model)))
    axes.bar(
        modes.places, 2.0 * tolerance, 1.0, bottom=-tolerance, color=BAND_COLOUR, linewidth=0.0
    )
    axes.axhline(0.0, color=GREY, linewidth=1.2)
    axes.errorbar(
        modes.places,
        modes.corrected - modes.model,
        2.0 * np.nan_to_num(modes.stderr),
        color=BLUE,
        marker="o",
        markersize=3.0,
        linestyle="none",
        linewidth=0.9,
    )
    _draw_known(axes, modes.places, modes.known - modes.model, label)
    axes.yaxis.set_major_locator(MaxNLocator(6, symmetric=True))
    axes.set_ylabel("Shift from the model (THz)")


def draw_frequencies(
    figure: Figure,
    entries: Sequence[Frequencies],
    *,
    left: float,
    top: float,
    known: Sequence[Sequence[float]] | None = None,
    known_label: str = "direct",
    tolerance_THz: float = 0.05,
    tolerance_relative: float = 0.01,
    numbered_from: int | None = None,
) -> float:
    """Draw the levels of each q point and, below, how far they shift; return where it ends, mm.

    Parameters
    ----------
    figure
        A page or a figure that has room.
    entries
        ``frequencies_THz`` of the result.
    left, top
        Upper left corner, mm.
    known
        Frequencies known directly, one list for each entry; left out where sizes differ.
    known_label
        Where they come from.
    tolerance_THz, tolerance_relative
        The band is the larger of the two, the second times the frequency.
    numbered_from
        Number of the first wave vector where they are given numbers, as in the table; names by
        default, as long as there is room for them.
    """
    modes = _modes(entries, known)
    width = TEXT_WIDTH - _LEFT - 1.0
    levels = add_axes_mm(figure, left + _LEFT, top, width, _LEVELS)
    shifts = add_axes_mm(figure, left + _LEFT, top + _LEVELS + 3.0, width, _SHIFTS)
    _draw_levels(levels, modes, known_label)
    _draw_corrections(
        shifts, modes, known_label, absolute=tolerance_THz, relative=tolerance_relative
    )
    for axes in (levels, shifts):
        axes.set_xlim(modes.places[0] - 1.0, modes.places[-1] + 1.0)
        axes.tick_params(axis="x", length=0)
    levels.set_xticks([])
    crowded = len(modes.names) > MOST_NAMES
    first = 1 if numbered_from is None and crowded else numbered_from
    names = modes.names if first is None else _numbers(modes.names, first)
    shifts.set_xticks(modes.centres, names)
    shifts.set_xlabel(
        "Irreducible q (reciprocal-lattice units)"
        if first is None
        else "Irreducible q, by its number in the table"
    )
    return top + _LEVELS + _SHIFTS + 16.0


def _numbers(names: Sequence[str], first: int) -> list[str]:
    return [name if name == "Γ" else str(first + n) for n, name in enumerate(names)]


def frequency_figure(
    entries: Sequence[Frequencies | Mapping[str, Any]],
    *,
    known: Sequence[Sequence[float]] | None = None,
    known_label: str = "direct",
    tolerance_THz: float = 0.05,
    tolerance_relative: float = 0.01,
) -> Figure:
    """Return the frequencies of a result as a figure of its own.

    Parameters
    ----------
    entries
        ``frequencies_THz`` of ``result.json``.
    known
        Frequencies known directly, THz, one list for each entry.
    known_label
        Where they come from.
    tolerance_THz, tolerance_relative
        The band is the larger of the two, the second times the frequency.
    """
    with style():
        height = _LEVELS + _SHIFTS + 24.0
        figure = Figure(figsize=(TEXT_WIDTH * MM, height * MM))
        draw_frequencies(
            figure,
            [Frequencies.of(one) for one in entries],
            left=0.0,
            top=7.0,
            known=known,
            known_label=known_label,
            tolerance_THz=tolerance_THz,
            tolerance_relative=tolerance_relative,
        )
    return figure


def frequency_rows(
    entries: Sequence[Frequencies], known: Sequence[Sequence[float]] | None = None
) -> tuple[list[list[str]], list[int]]:
    """Return the table of frequencies and the rows at which a new q point begins.

    Degenerate modes whose numbers do not differ share a row.
    """
    modes = _modes(entries, known)
    rows: list[list[str]] = []
    breaks: list[int] = []
    first = 0
    for place, entry in enumerate(entries, start=1):
        breaks.append(len(rows))
        name = entry.shown_q
        if len(entries) > MOST_NAMES and name != "Γ":
            name = f"{place}  {name}"
        n_modes = entry.n_modes
        rows += _shared_rows([_frequency_cells(modes, first + n) for n in range(n_modes)], name)
        first += n_modes
    return rows, breaks[1:]


def _shared_rows(cells: Sequence[list[str]], name: str) -> list[list[str]]:
    """Return the rows of one wave vector, neighbours with the same numbers in one."""
    rows: list[list[str]] = []
    start = 0
    for stop in range(1, len(cells) + 1):
        if stop == len(cells) or cells[stop] != cells[start]:
            numbers = str(stop) if stop == start + 1 else f"{start + 1}–{stop}"
            rows.append([name if start == 0 else "", numbers, *cells[start]])
            start = stop
    return rows


def split_entries(entries: Sequence[Frequencies], *, most: int = 96) -> list[tuple[int, int]]:
    """Return ranges of wave vectors that each fit into one figure.

    Parameters
    ----------
    entries
        ``frequencies_THz`` of the result.
    most
        Modes that one figure has room for; a single wave vector may have more.
    """
    ranges: list[tuple[int, int]] = []
    start = count = 0
    for place, entry in enumerate(entries):
        if place > start and count + entry.n_modes > most:
            ranges.append((start, place))
            start, count = place, 0
        count += entry.n_modes
    return [*ranges, (start, len(entries))]


def _frequency_cells(modes: _Modes, index: int) -> list[str]:
    model, corrected = modes.model[index], modes.corrected[index]
    stderr, known = modes.stderr[index], modes.known[index]
    distance = (known - corrected) / stderr if stderr > 0.0 else math.nan
    if abs(model) < TRANSLATION_THZ:
        return [fixed(0.0, 3), DASH, "translation", fixed(known, 3), DASH]
    return [
        fixed(model, 3),
        fixed(corrected - model, 3, sign=True),
        f"{fixed(corrected, 3)} ± {fixed(stderr, 3)}" if stderr >= 0.0 else fixed(corrected, 3),
        fixed(known, 3),
        fixed(distance, 1, sign=True),
    ]


def write_frequency_note(flow: Flow) -> None:
    """Say what the figure and the table of frequencies show, and what their errors are."""
    flow.paragraph(
        "Upper panel: frequencies at each irreducible wave vector of the supercell, of the model "
        "(bars) and corrected (circles). Lower panel: how far the reference moves each mode from "
        "the model, over the band of the tolerance. Corrected frequencies are those of the minimum "
        "of the model with the differences that the certificate measured added; their errors, two "
        "standard errors in the figure and one in the table, hold the noise of the last population "
        "as well. The certificate judges the shifts with their own, smaller errors: they are on "
        "the page of its check. Unstable modes are negative. Degenerate modes share a row of the "
        "table.",
        size=7.6,
        colour=GREY,
    )
