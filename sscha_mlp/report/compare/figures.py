"""Figures of model against reference: dispersions with differences, and energy over volume."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.properties.dispersion import Dispersion
from sscha_mlp.properties.equation_of_state import EquationOfState
from sscha_mlp.quantities import QUANTITIES
from sscha_mlp.report.page.layout import add_axes_mm, legend_above
from sscha_mlp.report.page.style import BLUE, GREY, INK, MM, PALE, TEXT_WIDTH, VERMILION, style
from sscha_mlp.report.phonons.figures import set_path
from sscha_mlp.studies.compare_values import (
    Comparison,
    FrequencyComparison,
    FrequencyEntry,
    HarmonicComparison,
    VolumeComparison,
)

_LEFT: Final = 13.0
_LEGEND: Final = 7.0
_BANDS: Final = 82.0
_CHANGES: Final = 42.0
_GAP: Final = 4.0
_LABEL: Final = 10.5
_ENERGIES: Final = 52.0
_ENERGY_WIDTH: Final = 108.0
_ENERGY_CHANGES: Final = 32.0

LINES: Final[dict[str, dict[str, Any]]] = {
    "reference": {"color": BLUE, "linewidth": 1.4, "linestyle": "-", "zorder": 2.0},
    "model": {"color": INK, "linewidth": 0.9, "linestyle": (0, (4.0, 2.0)), "zorder": 2.2},
    "model, own cell": {
        "color": VERMILION,
        "linewidth": 0.8,
        "linestyle": (0, (1.0, 1.8)),
        "zorder": 2.1,
    },
}
"""How each curve is drawn; told apart without colours, too."""

_POINTS: Final[dict[str, dict[str, Any]]] = {
    "harmonic, at rest": {"color": INK, "marker": "o", "markersize": 3.2},
    "SSCHA": {"color": BLUE, "marker": "s", "markersize": 2.8, "markerfacecolor": "white"},
}


def comparison_figure(comparison: Comparison) -> Figure:
    """Return the harmonic dispersions of both, with differences below, as one figure.

    Parameters
    ----------
    comparison
        From :func:`sscha_mlp.studies.compare.compare_run`.
    """
    with style():
        height = 2 * _LEGEND + _BANDS + _GAP + _CHANGES + 11.0
        figure = Figure(figsize=(TEXT_WIDTH * MM, height * MM))
        draw_comparison(figure, comparison, left=0.0, top=1.0)
    return figure


def draw_comparison(figure: Figure, comparison: Comparison, *, left: float, top: float) -> float:
    """Draw the dispersions on a page; return where they end, mm.

    Parameters
    ----------
    figure
        A page or a figure that has room.
    comparison
        What to show.
    left, top
        Upper left corner, mm.
    """
    harmonic = comparison.harmonic
    path = harmonic.reference_bands.path
    top += _LEGEND
    width = TEXT_WIDTH - _LEFT - 1.0
    bands = add_axes_mm(figure, left + _LEFT, top, width, _BANDS)
    curves = {
        "reference": harmonic.reference_bands,
        "model": harmonic.model_bands,
        "model, own cell": harmonic.own_bands,
    }
    for name, one in curves.items():
        if one is not None:
            _draw_bands(bands, name, one)
    bands.yaxis.set_major_locator(MaxNLocator(8))
    bands.set_ylabel(QUANTITIES["frequency"].axis)
    set_path(bands, path)
    bands.set_xlabel("")
    bands.tick_params(axis="x", labelbottom=False)
    _zero_line(bands)
    legend_above(bands)
    below = top + _BANDS + _GAP + _LEGEND
    changes = add_axes_mm(figure, left + _LEFT, below, width, _CHANGES)
    for name, found in (("harmonic, at rest", harmonic.frequencies), ("SSCHA", comparison.sscha)):
        _draw_differences(changes, name, harmonic, found)
    changes.axhline(0.0, color=GREY, linewidth=0.7, zorder=1.5)
    changes.margins(y=0.15)
    changes.yaxis.set_major_locator(MaxNLocator(5))
    changes.set_ylabel("Model − reference (THz)")
    set_path(changes, path)
    legend_above(changes)
    for axes in (bands, changes):
        axes.yaxis.set_label_coords(-_LABEL / width, 0.5)
    return below + _CHANGES + 10.0


def _draw_bands(axes: Axes, name: str, one: Dispersion) -> None:
    for part in one.path.parts:
        axes.plot(one.path.distances[part], one.frequencies_thz[part], label=name, **LINES[name])


def _zero_line(axes: Axes) -> None:
    """The line of zero where there are unstable modes; else the axis begins there."""
    low, _ = axes.get_ylim()
    if low < -1.0:
        axes.axhline(0.0, color=PALE, linewidth=0.6, zorder=1.0)
    else:
        axes.set_ylim(bottom=0.0)


def _draw_differences(
    axes: Axes, name: str, harmonic: HarmonicComparison, found: FrequencyComparison
) -> None:
    """Differences at the wave vectors of the supercell that the path meets, with two errors."""
    end = float(harmonic.reference_bands.path.distances[-1])
    for distance, entry in _on_path(harmonic, found):
        moving = entry.moving
        beside = 0.0 if name != "SSCHA" else 0.01 * end * (1.0 if distance < 0.99 * end else -1.0)
        axes.errorbar(
            np.full(int(moving.sum()), distance + beside),
            (entry.model - entry.reference)[moving],
            2.0 * entry.stderr[moving] if entry.stderr.any() else None,
            label=f"{name} ± 2σ" if entry.stderr.any() else name,
            linestyle="none",
            elinewidth=0.9,
            markeredgewidth=0.9,
            capsize=1.6,
            clip_on=False,
            zorder=3.0,
            **_POINTS[name],
        )


def _on_path(
    harmonic: HarmonicComparison, found: FrequencyComparison
) -> Iterator[tuple[float, FrequencyEntry]]:
    """Distance along the path and frequencies of each of its commensurate wave vectors."""
    supercell, stars = harmonic.group.supercell, harmonic.group.equivalent_qpoints()

    def star(q: Any) -> int:
        cell = np.rint(np.asarray(q) * supercell.size).astype(np.int64)
        return int(stars[int(supercell.cell_index(cell))])

    by_star = {star(entry.q): entry for entry in found.entries}
    places: dict[float, FrequencyEntry] = {}
    for distance, q in harmonic.reference_bands.path.commensurate(supercell.size):
        places.setdefault(round(distance, 8), by_star[star(q)])
    yield from places.items()


def volume_figure(eos: VolumeComparison) -> Figure:
    """Return energies over volume of both, with the difference below, as one figure.

    Parameters
    ----------
    eos
        From :func:`sscha_mlp.studies.compare.compare_run`.
    """
    with style():
        height = _LEGEND + _ENERGIES + _GAP + _ENERGY_CHANGES + 12.0
        figure = Figure(figsize=((_LEFT + _ENERGY_WIDTH + 4.0) * MM, height * MM))
        draw_volumes(figure, eos, left=0.0, top=1.0)
    return figure


def draw_volumes(figure: Figure, eos: VolumeComparison, *, left: float, top: float) -> float:
    """Draw energies over volume on a page; return where they end, mm.

    Parameters
    ----------
    figure
        A page or a figure that has room.
    eos
        What to show.
    left, top
        Upper left corner, mm.
    """
    top += _LEGEND
    energies = add_axes_mm(figure, left + _LEFT, top, _ENERGY_WIDTH, _ENERGIES)
    below = top + _ENERGIES + _GAP
    changes = add_axes_mm(figure, left + _LEFT, below, _ENERGY_WIDTH, _ENERGY_CHANGES)
    zero = float(eos.reference.min()) if eos.reference_fit is None else eos.reference_fit.energy
    fine = np.linspace(eos.volumes.min(), eos.volumes.max(), 200)
    series: tuple[tuple[str, FloatArray, EquationOfState | None, dict[str, Any]], ...] = (
        ("reference", eos.reference, eos.reference_fit, {"marker": "o", "markersize": 4.6}),
        ("model", eos.model, eos.model_fit, {"marker": "x", "markersize": 4.2}),
    )
    for name, values, fit, marks in series:
        colour = LINES[name]["color"]
        energies.plot(
            eos.volumes,
            1.0e3 * (values - zero),
            linestyle="none",
            color=colour,
            markerfacecolor="none",
            label=name,
            zorder=3.0,
            **marks,
        )
        if fit is not None:
            curve = 1.0e3 * (fit.energies(fine) - zero)
            energies.plot(fine, curve, label=f"{name}, fit", **LINES[name])
    changes.plot(eos.volumes, 1.0e3 * (eos.model - eos.reference), color=INK, marker="x")
    changes.axhline(0.0, color=GREY, linewidth=0.7, zorder=1.5)
    changes.margins(y=0.15)
    energies.tick_params(axis="x", labelbottom=False)
    energies.set_ylabel("E − E0 of reference (meV/atom)")
    changes.set_ylabel("Difference (meV/atom)")
    changes.set_xlabel(QUANTITIES["volume"].axis)
    for axes in (energies, changes):
        axes.yaxis.set_label_coords(-(_LABEL - 1.0) / _ENERGY_WIDTH, 0.5)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlim(*energies.get_xlim())
    legend_above(energies)
    return below + _ENERGY_CHANGES + 11.0
