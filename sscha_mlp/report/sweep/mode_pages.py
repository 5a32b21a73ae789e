"""Frequencies of a sweep over temperature: a panel for each wave vector."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sscha_mlp.quantities import QUANTITIES
from sscha_mlp.report.page.layout import Flow, add_axes_mm, new_page, set_labels
from sscha_mlp.report.page.style import GREY, MARGIN, TEXT_WIDTH
from sscha_mlp.report.sweep.fits import Isobar, SweepFits
from sscha_mlp.report.sweep.series_style import line_style, marker
from sscha_mlp.run_files.mode_levels import Level
from sscha_mlp.studies.sweep.point import SweepPoint

_COLUMNS: Final = 2
_ROWS: Final = 3
_PANEL: Final = (70.0, 60.0)
_LEFT: Final = 15.0
_STEP: Final = 80.0

_HOW: Final = (
    "Corrected frequencies less those of the coldest point, with two standard errors of the "
    "former, one panel for each wave vector of the supercell that differs by symmetry. At the end "
    "of each line stand the frequency at the coldest point (THz) and the number of modes. Lines "
    "connect points and are no fits. Lines that fall are modes that soften as the crystal warms."
)

_Q = tuple[float, float, float]


def mode_pages(fits: SweepFits) -> list[Figure]:
    """Return pages with the frequencies along the isobar nearest to zero pressure.

    None where it has fewer than two points with frequencies.

    Parameters
    ----------
    fits
        A sweep with its fits.
    """
    isobar = min(fits.isobars, key=lambda one: abs(one.pressure), default=None)
    if isobar is None:
        return []
    points = [one for one in isobar.points if one.levels and one.converged]
    if len(points) < 2:
        return []
    wave_vectors = list(dict.fromkeys(one.q for one in points[0].levels))
    size = _COLUMNS * _ROWS
    parts = [wave_vectors[n : n + size] for n in range(0, len(wave_vectors), size)]
    return [_page(isobar, points, part, number) for number, part in enumerate(parts)]


def _page(isobar: Isobar, points: Sequence[SweepPoint], part: Sequence[_Q], number: int) -> Figure:
    page = new_page()
    flow = Flow(page)
    more = ", continued" if number else ""
    flow.heading(f"Frequencies over temperature, {isobar.pressure:g} GPa{more}")
    if not number:
        flow.paragraph(_HOW, size=8.2, colour=GREY)
    top = flow.top + 6.0
    for place, q in enumerate(part):
        row, column = divmod(place, _COLUMNS)
        left = MARGIN + _LEFT + column * (TEXT_WIDTH - _PANEL[0] - _LEFT - 1.0)
        axes = add_axes_mm(page, left, top + row * _STEP, *_PANEL)
        _draw(axes, points, q)
        set_labels(axes, QUANTITIES["temperature"].axis, "Change of frequency (THz)")
    return page


def _draw(axes: Axes, points: Sequence[SweepPoint], q: _Q) -> None:
    """The levels of one wave vector."""
    lines: dict[int, list[tuple[float, Level]]] = {}
    for point in points:
        for band, level in _bands(point, q):
            lines.setdefault(band, []).append((point.temperature_K, level))
    axes.axhline(0.0, color=GREY, linewidth=0.5)
    for index, line in enumerate(lines.values()):
        first, (end, last) = line[0][1], line[-1]
        axes.errorbar(
            [temperature for temperature, _ in line],
            [one.frequency - first.frequency for _, one in line],
            [2.0 * one.stderr for _, one in line],
            **line_style(index),
            marker=marker(index),
            markersize=3.0,
            markerfacecolor="white",
            markeredgewidth=0.8,
            elinewidth=0.8,
            capsize=1.4,
        )
        count = f" ×{first.count}" if first.count > 1 else ""
        axes.annotate(
            f"{first.frequency:.2f}{count}",
            (end, last.frequency - first.frequency),
            xytext=(5.0, 0.0),
            textcoords="offset points",
            va="center",
            fontsize=6.5,
            color=line_style(index)["color"],
        )
    shown = next(one.shown_q for one in points[0].levels if one.is_at(q))
    axes.set_title(shown, fontsize=8.5, loc="left")
    axes.margins(0.04, 0.08)
    axes.set_xlim(right=axes.get_xlim()[1] + 0.16 * np.ptp(axes.get_xlim()))
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_locator(MaxNLocator(6))


def _bands(point: SweepPoint, q: _Q) -> Iterator[tuple[int, Level]]:
    """Levels at a wave vector, each with the number of its first band."""
    band = 0
    for level in point.levels:
        if level.is_at(q):
            yield band, level
            band += level.count
