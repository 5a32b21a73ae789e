r"""Bounds of a check: how well a shift must be known, and how large it may be.

A check by need is looked at after each batch of labels and ends as soon as it is decided.  Two
things follow from that.

**Few labels.**  The mean of n independent differences over its standard error follows Student's
law with n - 1 degrees of freedom, where the differences are normal.  The standard errors are
widened so that two of them hold what two hold of a normal law, 95.45 %.  The half-width of the
corrected value, two widened errors and the part of second order, must be inside the tolerance.
When that happens depends on the scatter of the differences and not on their mean, which are
independent for a normal law: the interval keeps its coverage (Y. S. Chow and H. Robbins, Ann.
Math. Stat. 36, 457 (1965)).

**Repeated looks.**  A shift that is too large must not pass because one of many looks was lucky.
The one-sided error rate of 2.5 % is spent over all looks of a run, ``2.5 % / (k (k + 1))`` at the
k-th, which adds up to 2.5 % however many there are (K. K. G. Lan and D. L. DeMets, Biometrika 70,
659 (1983), with Bonferroni's inequality in place of the joint law).  A look at which the noise
alone exceeds a tolerance cannot pass, whatever the shift is; it spends nothing and is not counted.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final

from scipy import stats

ERROR_RATE: Final = 0.025
"""How often a model whose shift is at the largest allowed may pass, over all looks of a run."""

REACH: Final = 1.5
"""A shift may be this many tolerances: the corrected value holds it, the model is not wrong."""

LEAST: Final = 3
"""Fewer labels have no usable bound: with two, two widened standard errors are 14 plain ones."""

_TWO_SIGMA: Final = 0.977249868051821
"""Of a normal law below two standard deviations."""


@dataclass(frozen=True)
class Bounds:
    """What a check asks of each shift.

    Parameters
    ----------
    n_errors
        The shift and so many standard errors must be inside what it may be.
    reach
        What it may be, in tolerances.
    widening
        Factor of the standard errors.
    by_need
        Whether the check goes on until it is decided, rather than by rule of thumb.
    look
        Which look of the run they are of; 0 for a check of a fixed number of labels.
    """

    n_errors: float = 2.0
    reach: float = 1.0
    widening: float = 1.0
    by_need: bool = False
    look: int = 0


FIXED: Final = Bounds()
"""A check of a fixed number of labels: the shift and two plain standard errors in the tolerance."""


@cache
def bounds_at(look: int, n_labels: int) -> Bounds:
    """Return the bounds at one look of a run.

    Parameters
    ----------
    look
        Which one of the run, over all its checks, from 1; those that could not pass do not count.
    n_labels
        Labels that it rests on, at least three.
    """
    widening = student_widening(n_labels)
    quantile = float(stats.t.isf(ERROR_RATE / (look * (look + 1)), n_labels - 1))
    return Bounds(quantile / widening, REACH, widening, by_need=True, look=look)


@cache
def student_widening(n_labels: int) -> float:
    """Return the factor with which two standard errors of n labels hold 95.45 %."""
    return float(stats.t.ppf(_TWO_SIGMA, n_labels - 1)) / 2.0
