"""Figure of a soft mode: squared frequencies over temperature, and where they reach zero."""

import numpy as np
from matplotlib.figure import Figure

from sscha_mlp.properties.soft_mode import SoftModeFit
from sscha_mlp.quantities import QUANTITIES
from sscha_mlp.report.page.style import BAND_COLOUR, BLUE, GREY, MM, VERMILION, style

_SIZE = (88.0, 62.0)


def soft_mode_figure(fit: SoftModeFit, *, unit: str = "THz²") -> Figure:
    """Return a figure of a soft-mode fit: points with errors, the line, and Tc with its error.

    Parameters
    ----------
    fit
        The fit.
    unit
        Unit of its squared frequencies, for the axis.
    """
    with style():
        figure = Figure(figsize=(_SIZE[0] * MM, _SIZE[1] * MM), layout="constrained")
        axes = figure.add_subplot()
        axes.axhline(0.0, color=GREY, linewidth=0.6)
        axes.errorbar(
            fit.temperatures,
            fit.squares,
            fit.stderr,
            fmt="o",
            color=BLUE,
            capsize=1.5,
            label="free-energy Hessian",
        )
        ends = [fit.temperatures[0], fit.temperatures[-1]]
        critical, error = fit.critical_temperature, fit.critical_stderr
        if critical is not None and error is not None:
            ends += [critical]
            axes.axvspan(critical - error, critical + error, color=BAND_COLOUR, linewidth=0)
            axes.axvline(critical, color=VERMILION, linewidth=0.8, label="Tc")
        span = np.array([min(ends), max(ends)])
        axes.plot(span, fit.line(span), color=BLUE, linewidth=0.8)
        axes.set_xlabel(QUANTITIES["temperature"].axis)
        axes.set_ylabel(f"Squared frequency ({unit})")
        axes.set_title(fit.statement, fontsize=7.0)
        axes.legend(loc="best")
    return figure
