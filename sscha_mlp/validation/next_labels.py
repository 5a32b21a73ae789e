r"""Which labels to buy next: more of a check, or of the training and then a new check.

A check of n labels judges a model of N.  Its shifts and errors are known; what they would be is
estimated with two laws:

- With n' labels in the check the errors fall as ``1 / sqrt(n')`` and the shift stays.
- With N' labels learnt, shifts and scatter are ``sqrt(N / N')`` of what they are: the variance of
  a fit.  The size of a shift is ``delta^2`` less its squared error, which is what noise alone adds.
  Models learn slower where they lack flexibility, faster where they do not know a part of what
  there is; the law is trusted to twice the labels and not beyond.

Half of what a fit learns is drawn at random, for what is typical, and that half may as well be
labels of the check: it goes on at no cost until they are there, and then it is decided.

To go on costs ``n' - n`` labels more; to fit again costs ``N' - N - n``, for the labels of a check
that fails are learnt, and then a whole new check.  The cheaper one is taken.  Were the errors
alone at stake, ``n' N' = C`` would be fixed, and the sum smallest for ``N' = n'``: the check goes
on where it wants no more labels than there are in training and check together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import numpy as np

from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.validation.bounds import bounds_at, student_widening
from sscha_mlp.validation.shift import Shift

_MOST_GROWTH: Final = 2
"""The law of the learning curve is trusted up to so many times the labels there are."""

_MOST_TIMES: Final = 16
"""Beyond so many times the labels there are, how many would be enough is not of interest."""

_FIRST_LOOK: Final = 4
"""Labels of a new check; a fit that saves no more than these is not worth its time."""

_STEP: Final = 1.06
"""Numbers of labels are tried in steps of 6 %."""


@dataclass(frozen=True)
class Look:
    """A look at a check by need that has not passed.

    Parameters
    ----------
    shifts
        Those that decide, with standard errors that are widened for the labels there are.
    n_labels
        Of the check.
    number
        Which look of the run the next one is, of those that count.
    """

    shifts: Sequence[Shift]
    n_labels: int
    number: int

    def wanted(self) -> float:
        """Return with how many labels it would pass, were the shifts to stay as they are.

        Returns
        -------
        Infinite where 16 times the labels there are would not do.
        """
        numbers = _numbers(self.n_labels + 1, _MOST_TIMES * self.n_labels)
        return self._enough(self.shifts, numbers, 1.0)

    def to_learn(self, n_learnt: int) -> int:
        """Return how many labels in all a new fit should learn, where a fit is the better buy.

        Returns
        -------
        At least those that the model has learnt and those of the check, at most twice as many as
        it has learnt; 0 where the check had better go on.

        Parameters
        ----------
        n_learnt
            Labels that the model has learnt.
        """
        least = n_learnt + self.n_labels
        most = max(least, _MOST_GROWTH * n_learnt)
        checks = _numbers(_FIRST_LOOK, most)
        costs = {n: n + self._wanted_after(n / n_learnt, checks) for n in _numbers(least, most)}
        best = min(costs, key=lambda n: costs[n])
        more = _numbers(self.n_labels + 1, most)
        goes_on = n_learnt + self._wanted_after(1.0, more)
        if goes_on < np.inf and goes_on <= costs[best] + _FIRST_LOOK:
            return 0
        return best if costs[best] < np.inf else most

    def _wanted_after(self, growth: float, numbers: Sequence[int]) -> float:
        """Return how many labels a check wants where the training set has grown."""
        widening = student_widening(self.n_labels)
        expected = [_after_growth(one, widening, growth) for one in self.shifts]
        return self._enough(expected, numbers, growth**-0.5)

    def _enough(self, expected: Sequence[Shift], numbers: Sequence[int], part: float) -> float:
        """Return the first of some numbers of labels with which shifts are small enough.

        Parameters
        ----------
        expected
            With the errors that they would have with the present number of labels.
        numbers
            To try, in their order.
        part
            What the scatter is of the present one.
        """
        passed = np.ones(len(numbers), dtype=bool)
        widening, n_errors = _bounds(self.number, tuple(numbers))
        scale = np.sqrt(self.n_labels / np.array(numbers)) * widening
        scale *= part / student_widening(self.n_labels)
        for one in expected:
            passed &= one.passes_with(scale, n_errors)
        return float(numbers[int(np.argmax(passed))]) if passed.any() else np.inf


def _after_growth(shift: Shift, widening: float, growth: float) -> Shift:
    """Return a shift as it is expected of a model that has learnt more.

    The part of second order is quadratic in the shift.
    """
    size = np.sqrt(max(shift.delta**2 - (shift.stderr / widening) ** 2, 0.0) / growth)
    return replace(shift, delta=float(size), left_out=shift.left_out / growth)


@cache
def _numbers(first: int, last: int) -> tuple[int, ...]:
    """Return numbers of labels: all of them while they are few, then steps, and the last one."""
    found = []
    while first < last:
        found.append(first)
        first = max(first + 1, int(first * _STEP))
    return (*found, last)


@cache
def _bounds(look: int, numbers: tuple[int, ...]) -> tuple[FloatArray, FloatArray]:
    """Return widening and errors that are asked for with several numbers of labels."""
    bounds = [bounds_at(look, n) for n in numbers]
    return np.array([one.widening for one in bounds]), np.array([one.n_errors for one in bounds])
