"""The figure of the phonons: dispersion, and the density of states beside it."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sscha_mlp.properties.paths import BandPath
from sscha_mlp.quantities import QUANTITIES
from sscha_mlp.report.page.layout import add_axes_mm, legend_above
from sscha_mlp.report.page.style import BLUE, GREY, INK, MM, PALE, TEXT_WIDTH, VERMILION, style
from sscha_mlp.report.phonons.data import PathPoint, Phonons, PhononState

_LEFT: Final = 13.0
_HEIGHT: Final = 84.0
_LEGEND: Final = 7.0
_DENSITY: Final = 38.0
_GAP: Final = 4.0
_CHANGES: Final = 30.0
_LABEL: Final = 10.5
_ERRORS: Final = "corrected ± 2σ"

LINES: Final[dict[str, dict[str, Any]]] = {
    "corrected": {"color": BLUE, "linewidth": 1.3, "linestyle": "-", "zorder": 2.0},
    "model": {"color": INK, "linewidth": 0.8, "linestyle": (0, (1.2, 1.6)), "zorder": 2.2},
    "harmonic": {"color": GREY, "linewidth": 0.8, "linestyle": (0, (5.0, 2.5)), "zorder": 1.8},
}
"""How each state is drawn; told apart without colours, too."""

NAMES: Final = {
    "harmonic": "harmonic",
    "model": "SSCHA, model",
    "corrected": "SSCHA, corrected",
}
"""What a reader calls each state."""


def phonon_figure(phonons: Phonons) -> Figure:
    """Return the dispersion with the density of states beside it as one figure.

    Parameters
    ----------
    phonons
        From :func:`sscha_mlp.report.phonons.data.run_phonons`.
    """
    with style():
        figure = Figure(figsize=(TEXT_WIDTH * MM, (_LEGEND + _height(phonons) + 11.0) * MM))
        draw_phonons(figure, phonons, left=0.0, top=1.0)
    return figure


def _height(phonons: Phonons) -> float:
    """Height of the axes, mm."""
    return _HEIGHT + (_CHANGES + _GAP if phonons.points else 0.0)


def draw_phonons(
    figure: Figure,
    phonons: Phonons,
    *,
    left: float,
    top: float,
    height: float = _HEIGHT,
    changes: bool = True,
) -> float:
    """Draw the figure on a page; return where it ends, mm.

    Parameters
    ----------
    figure
        A page or a figure that has room.
    phonons
        What to show.
    left, top
        Upper left corner, mm.
    height
        Of the axes of the dispersion, mm.
    changes
        Whether the changes from the harmonic frequencies are drawn below.
    """
    top += _LEGEND
    below = top + height
    width = TEXT_WIDTH - _LEFT - _DENSITY - _GAP - 1.0
    bands = add_axes_mm(figure, left + _LEFT, top, width, height)
    density = add_axes_mm(figure, left + _LEFT + width + _GAP, top, _DENSITY, height)
    for one in phonons.states:
        _draw_bands(bands, one)
        _draw_density(density, one)
    _draw_points(bands, phonons.points, phonons.known_label)
    set_path(bands, phonons.path)
    _set_frequencies(bands, density, phonons.states)
    if changes and phonons.points:
        panel = add_axes_mm(figure, left + _LEFT, below + _GAP, width, _CHANGES)
        below += _GAP + _CHANGES
        _draw_changes(panel, phonons.points)
        set_path(panel, phonons.path)
        bands.set_xlabel("")
        bands.tick_params(axis="x", labelbottom=False)
        panel.yaxis.set_label_coords(-_LABEL / width, 0.5)
    bands.yaxis.set_label_coords(-_LABEL / width, 0.5)
    legend_above(bands, rank=_rank)
    return below + 9.0


def _rank(label: str) -> int:
    """Place in the legend: the states, their errors, what is known."""
    order = [*NAMES.values(), _ERRORS]
    return order.index(label) if label in order else len(order)


def _draw_bands(axes: Axes, one: PhononState) -> None:
    curves, path = one.dispersion.frequencies_thz, one.dispersion.path
    for part in path.parts:
        axes.plot(path.distances[part], curves[part], label=NAMES[one.name], **LINES[one.name])


def _draw_density(axes: Axes, one: PhononState) -> None:
    axes.plot(one.density.density, one.density.frequencies_thz, **LINES[one.name])


def _draw_points(axes: Axes, points: Sequence[PathPoint], known_label: str) -> None:
    for point in points:
        places = np.full(len(point.corrected), point.distance)
        axes.errorbar(
            places,
            point.corrected,
            2.0 * point.stderr,
            color=BLUE,
            marker="o",
            markersize=2.8,
            markerfacecolor="white",
            markeredgewidth=0.9,
            linestyle="none",
            elinewidth=0.9,
            capsize=1.6,
            zorder=3.0,
            clip_on=False,
            label=_ERRORS,
        )
        if point.known is not None:
            axes.plot(
                places,
                np.where(np.isnan(point.corrected), np.nan, point.known),
                linestyle="none",
                marker="D",
                markersize=4.6,
                markerfacecolor="none",
                markeredgecolor=VERMILION,
                markeredgewidth=0.8,
                zorder=3.2,
                clip_on=False,
                label=known_label,
            )


def _draw_changes(axes: Axes, points: Sequence[PathPoint]) -> None:
    """How far each mode has moved from the harmonic one, with its error."""
    axes.axhline(0.0, color=GREY, linewidth=0.8, linestyle=(0, (5.0, 2.5)), zorder=1.5)
    for point in points:
        axes.errorbar(
            np.full(len(point.corrected), point.distance),
            point.corrected - point.harmonic,
            2.0 * point.stderr,
            color=BLUE,
            marker="o",
            markersize=2.6,
            markerfacecolor="white",
            markeredgewidth=0.9,
            linestyle="none",
            elinewidth=0.9,
            capsize=1.8,
            clip_on=False,
        )
    axes.margins(y=0.15)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_ylabel("Change (THz)")


def set_path(axes: Axes, path: BandPath, *, length: float = 1.0) -> None:
    """Mark the special points of a path on the axis of wave vectors.

    Parameters
    ----------
    axes
        Where the path is drawn.
    path
        The path.
    length
        By which distances along it were divided.
    """
    ticks = path.ticks()
    places = [place / length for place, _ in ticks]
    for place in places[1:-1]:
        axes.axvline(place, color=PALE, linewidth=0.6, zorder=1.0)
    axes.set_xticks(places, [label.replace("|", " | ") for _, label in ticks])
    axes.tick_params(axis="x", length=0, pad=4.0)
    axes.set_xlim(places[0], places[-1])
    axes.set_xlabel("Wave vector")


def _set_frequencies(bands: Axes, density: Axes, states: Sequence[PhononState]) -> None:
    edges = states[0].density.edges_thz
    for axes in (bands, density):
        axes.set_ylim(edges[0], edges[-1])
        axes.yaxis.set_major_locator(MaxNLocator(8))
        if edges[0] < 0.0:
            axes.axhline(0.0, color=PALE, linewidth=0.6, zorder=1.0)
    bands.set_ylabel(QUANTITIES["frequency"].axis)
    density.set_yticklabels([])
    highest = max(float(one.density.density.max()) for one in states)
    density.set_xlim(0.0, 1.05 * highest)
    density.xaxis.set_major_locator(MaxNLocator(4, prune="lower"))
    density.set_xlabel(QUANTITIES["density_of_states"].axis)
