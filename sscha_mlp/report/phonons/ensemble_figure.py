"""Figure of an ensemble: how far atoms are displaced, and how that grows with temperature."""

from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.ensemble.sampling import Ensemble
from sscha_mlp.report.page.style import BLUE, MM, TEXT_WIDTH, VERMILION, style

_HEIGHT: Final = 58.0
_LEAST_RANGE: Final = 300.0
_N_TEMPERATURES: Final = 41


def ensemble_figure(ensemble: Ensemble) -> Figure:
    """Return a figure of an ensemble.

    On the left the displacement components of all atoms in units of their standard deviations,
    over the normal law; on the right the rms displacement of an atom over temperature, with the
    same force constants, and that of this ensemble.

    Parameters
    ----------
    ensemble
        Drawn from one Gaussian, not a pool of several.
    """
    with style():
        size = (TEXT_WIDTH * MM, _HEIGHT * MM)
        figure = Figure(figsize=size, layout="constrained")
        left, right = figure.subplots(1, 2)
        _draw_components(left, ensemble)
        _draw_temperatures(right, ensemble)
    return figure


def _draw_components(axes: Axes, ensemble: Ensemble) -> None:
    deviations = np.sqrt(np.diag(ensemble.gaussian.covariance))
    x = np.linspace(-4.5, 4.5, 200)
    components = (ensemble.displacements / deviations).ravel()
    axes.hist(components, 60, density=True, color=BLUE, alpha=0.35, label="drawn")
    axes.plot(x, np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi), color=BLUE, label="normal law")
    axes.set(xlabel="Displacement component (standard deviations)", ylabel="Density")
    axes.legend()


def _draw_temperatures(axes: Axes, ensemble: Ensemble) -> None:
    top = max(_LEAST_RANGE, 1.5 * ensemble.temperature)
    temperatures = np.linspace(0.0, top, _N_TEMPERATURES)
    state = ensemble.dynamical_matrix
    values = [_rms(Gaussian(state, float(one))) for one in temperatures]
    axes.plot(temperatures, values, color=BLUE, label="same force constants")
    drawn = float(np.sqrt((ensemble.displacement_rms**2).mean()))
    axes.plot(ensemble.temperature, drawn, "o", color=VERMILION, label="this ensemble")
    axes.set(xlabel="Temperature (K)", ylabel="Rms displacement of an atom (Å)", ylim=(0.0, None))
    axes.legend()


def _rms(gaussian: Gaussian) -> float:
    covariance = gaussian.covariance
    return float(np.sqrt(3.0 * np.trace(covariance) / len(covariance)))
