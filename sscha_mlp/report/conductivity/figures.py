"""Figures of heat transport: conductivity over temperature, widths, mean free paths."""

from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sscha_mlp.quantities import QUANTITIES
from sscha_mlp.report.page.style import BLUE, GREEN, GREY, MM, colour_of, style
from sscha_mlp.run_files.records.conductivity import COMPONENTS, ConductivityRecord

_SIZE: Final = (174.0, 140.0)
_GHZ: Final = 1.0e3


def conductivity_figure(found: ConductivityRecord) -> Figure:
    """Return four panels: conductivity, widths, what carries the heat, mean free paths.

    Parameters
    ----------
    found
        Content of ``conductivity.json``.
    """
    with style():
        figure = Figure(figsize=(_SIZE[0] * MM, _SIZE[1] * MM), layout="constrained")
        panels = figure.subplots(2, 2)
        draw_conductivity(panels[0, 0], found)
        draw_widths(panels[0, 1], found)
        draw_modes(panels[1, 0], found)
        draw_cumulative(panels[1, 1], found)
    return figure


def draw_conductivity(axes: Axes, found: ConductivityRecord) -> None:
    """Draw the diagonal over temperature with errors; equal components once."""
    kelvin = [one.temperature_K for one in found.temperatures]
    drawn: list[np.ndarray] = []
    for n in range(3):
        values = np.array([one.kappa[n] for one in found.temperatures])
        if any(np.allclose(values, other, rtol=1.0e-4) for other in drawn):
            continue
        drawn.append(values)
        errors = [one.stderr[n] for one in found.temperatures]
        axes.errorbar(
            kelvin, values, errors, fmt="o-", color=colour_of(n), capsize=1.5, label=COMPONENTS[n]
        )
    axes.set_xlabel(QUANTITIES["temperature"].axis)
    axes.set_ylabel(QUANTITIES["conductivity"].axis)
    axes.legend(loc="best")


def draw_widths(axes: Axes, found: ConductivityRecord) -> None:
    """Draw the full width of each mode over its frequency; above ω it is overdamped."""
    frequencies, widths, errors = _by_mode(found)
    shown = (frequencies > 0) & (widths > 0)
    axes.errorbar(
        frequencies[shown],
        2 * _GHZ * widths[shown],
        2 * _GHZ * errors[shown],
        fmt=".",
        markersize=2.0,
        elinewidth=0.4,
        color=BLUE,
    )
    axes.set_yscale("log")
    axes.set_xlabel(QUANTITIES["frequency"].axis)
    axes.set_ylabel("Full width 2Γ (GHz)")
    axes.set_title(f"{found.temperatures[0].temperature_K:g} K", fontsize=7.0)


def draw_modes(axes: Axes, found: ConductivityRecord) -> None:
    """Draw which part of the heat is carried by modes up to a frequency."""
    frequencies = np.concatenate([one.frequency_THz for one in found.modes])
    carried = np.concatenate([one.kappa for one in found.modes])
    order = np.argsort(frequencies, kind="stable")
    parts = np.cumsum(carried[order]) / carried.sum()
    axes.step(frequencies[order], parts, where="post", color=GREEN)
    axes.set_xlabel(QUANTITIES["frequency"].axis)
    axes.set_ylabel("Part of κ carried up to ω")
    axes.set_ylim(0.0, 1.05)


def draw_cumulative(axes: Axes, found: ConductivityRecord) -> None:
    """Draw the conductivity of modes up to a mean free path, for each temperature."""
    for n, one in enumerate(found.temperatures):
        label = f"{one.temperature_K:g} K"
        axes.plot(one.mean_free_paths_nm, one.cumulative, color=colour_of(n), label=label)
    axes.set_xscale("log")
    if found.boundary_um is not None:
        axes.axvline(1.0e3 * found.boundary_um, color=GREY, linewidth=0.6)
    axes.set_xlabel("Mean free path (nm)")
    axes.set_ylabel("Cumulative κ (W/mK)")
    axes.legend(loc="best")


def _by_mode(found: ConductivityRecord) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frequencies, half widths and their errors of all modes, THz."""
    return (
        np.concatenate([one.frequency_THz for one in found.modes]),
        np.concatenate([one.half_width_THz for one in found.modes]),
        np.concatenate([one.half_width_stderr_THz for one in found.modes]),
    )
