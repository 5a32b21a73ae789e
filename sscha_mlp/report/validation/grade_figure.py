"""Figure of a model's own uncertainty on several sets: does it know where it is."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sscha_mlp.errors import InputError
from sscha_mlp.report.page.style import GREY, MM, TEXT_WIDTH, colour_of, style
from sscha_mlp.report.validation.parity_page import set_title
from sscha_mlp.validation.metrics import ValidationSet

_HEIGHT: Final = 72.0
_MEV: Final = 1.0e3


def grade_figure(sets: Sequence[ValidationSet]) -> Figure:
    """Return the uncertainties of sets as cumulative curves, and force errors over them.

    Parameters
    ----------
    sets
        Validation sets of one model, each with its uncertainty.

    Raises
    ------
    InputError
        If there is no set, or one has no uncertainty.
    """
    if not sets or any(one.uncertainties is None for one in sets):
        raise InputError(
            "Each set needs the model's uncertainty: validate with a model of a kind "
            "that states one."
        )
    with style():
        figure = Figure(figsize=(TEXT_WIDTH * MM, _HEIGHT * MM), layout="constrained")
        left, right = figure.subplots(1, 2)
        for index, one in enumerate(sets):
            _draw(left, right, one, index)
        left.set(xscale="log", ylim=(0.0, 1.02), ylabel="Part of the configurations below")
        right.set(xscale="log", yscale="log", ylabel="Force error, rms (meV/Å)")
        for axes in (left, right):
            axes.set_xlabel(_capital(sets[0].uncertainty_name or "uncertainty"))
            if sets[0].uncertainty_limit is not None:
                axes.axvline(sets[0].uncertainty_limit, color=GREY, linewidth=0.8, linestyle="--")
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=min(2, len(sets)))
    return figure


def _draw(left: Axes, right: Axes, one: ValidationSet, index: int) -> None:
    uncertainties = np.asarray(one.uncertainties, dtype=np.float64)
    parts = np.arange(1, len(uncertainties) + 1) / len(uncertainties)
    colour = colour_of(index)
    left.step(np.sort(uncertainties), parts, where="post", color=colour, label=set_title(one))
    errors = _MEV * one.force_rmse_per_config
    right.plot(uncertainties, errors, "o", markersize=2.6, alpha=0.6, color=colour)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
