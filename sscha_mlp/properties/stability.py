"""Is a crystal stable: squared frequencies with errors, and what they allow to say."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from sscha_mlp.errors import InputError

N_ERRORS: float = 2.0
"""Standard errors that a squared frequency must be away from zero."""


class Verdict(StrEnum):
    """What the squared frequencies say."""

    STABLE = "stable"
    UNSTABLE = "unstable"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Stability:
    """A verdict and the mode that it rests on.

    Parameters
    ----------
    verdict
        Stable when every squared frequency is above zero by two standard errors, unstable when one
        is below zero by two, else undecided.
    place
        Indices of the mode that it rests on: that of the lowest squared frequency, or of the lowest
        limit by two standard errors, the upper one when unstable, the lower one when undecided.
    value, stderr
        Its squared frequency and error, in the unit they were given in.
    """

    verdict: Verdict
    place: tuple[int, ...]
    value: float
    stderr: float


def judge_stability(
    squares: NDArray[np.float64], stderr: NDArray[np.float64], moving: NDArray[np.bool_]
) -> Stability:
    """Judge squared frequencies.

    Parameters
    ----------
    squares, stderr
        Squared frequencies, negative when unstable, and their errors, same shape.
    moving
        False for the translations, which say nothing.

    Raises
    ------
    InputError
        If there is no mode, or a value is not finite.
    """
    if not moving.any():
        raise InputError("A crystal whose only modes are translations has no stability to judge.")
    if not (np.all(np.isfinite(squares[moving])) and np.all(np.isfinite(stderr[moving]))):
        raise InputError("A squared frequency or its error is not a finite number.")
    upper, lower = squares + N_ERRORS * stderr, squares - N_ERRORS * stderr
    verdict, ranked = Verdict.UNDECIDED, lower
    if np.any((upper < 0) & moving):
        verdict, ranked = Verdict.UNSTABLE, upper
    elif np.all((lower > 0) | ~moving):
        verdict, ranked = Verdict.STABLE, squares
    lowest = int(np.argmin(np.where(moving, ranked, np.inf)))
    place = tuple(int(i) for i in np.unravel_index(lowest, squares.shape))
    return Stability(verdict, place, float(squares[place]), float(stderr[place]))
