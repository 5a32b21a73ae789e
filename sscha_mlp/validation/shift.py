"""Shift of one observable from the model to the reference, and whether it is small enough."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.validation.bounds import FIXED

_SUSPECT: Final = 1.5
"""A shift beyond what is allowed and so many of its errors is hardly noise."""


@dataclass(frozen=True)
class Shift:
    """Shift of one observable, its error and what is allowed, in the unit it is shown in.

    Parameters
    ----------
    delta, stderr, tolerance
        The shift, its standard error, and the tolerance.
    left_out
        Size of what the correction by this shift leaves out, of second order in it.
    n_errors, reach
        The shift and `n_errors` standard errors must be inside `reach` tolerances.
    """

    delta: float
    stderr: float
    tolerance: float
    left_out: float = 0.0
    n_errors: float = FIXED.n_errors
    reach: float = FIXED.reach

    @property
    def allowed(self) -> float:
        """Largest size of the shift itself."""
        return self.reach * self.tolerance

    @property
    def error(self) -> float:
        """Half-width of the corrected value: two standard errors, and what is left out."""
        return 2 * self.stderr + self.left_out

    @property
    def passed(self) -> bool:
        """Whether the shift is surely inside what is allowed, and the answer in its tolerance."""
        inside = abs(self.delta) + self.n_errors * self.stderr <= self.allowed
        return inside and self.error <= self.tolerance

    def passes_with(self, scale: FloatArray, n_errors: FloatArray) -> NDArray[np.bool_]:
        """Whether it would pass with other errors; the part of second order has noise like them.

        Parameters
        ----------
        scale
            What the standard error is of the present one, any shape.
        n_errors
            What is asked for then, the same shape.
        """
        stderr = scale * self.stderr
        now = self.delta**2 + self.stderr**2
        left_out = self.left_out * ((self.delta**2 + stderr**2) / now if now else 1.0)
        inside = abs(self.delta) + n_errors * stderr <= self.allowed
        return np.asarray(inside & (2 * stderr + left_out <= self.tolerance))

    @property
    def biased(self) -> bool:
        """Whether the shift alone is outside, its standard errors granted."""
        outside = abs(self.delta) - self.n_errors * self.stderr > self.allowed
        return outside or self.left_out > self.tolerance

    @property
    def suspect(self) -> bool:
        """Whether it is outside and noise alone hardly explains it: a fit is the better buy."""
        return abs(self.delta) > max(self.allowed, _SUSPECT * self.stderr)

    @property
    def noisy(self) -> bool:
        """Whether two standard errors alone exceed the tolerance: no fit could be judged."""
        return 2 * self.stderr > self.tolerance

    @property
    def labels_factor(self) -> float:
        """How many times the labels would bring the error inside, were the shift to stay."""
        room = self.allowed - abs(self.delta)
        left = self.tolerance - self.left_out
        if min(room, left) <= 0:
            return float("inf")
        return max(self.n_errors * self.stderr / room, 2 * self.stderr / left) ** 2
