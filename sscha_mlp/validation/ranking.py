r"""Whether one positive number ranks another: rank correlation, ratios, running means.

The rank correlation is Spearman's.  Its interval is that of Fisher's transformation with the
variance :math:`(1 + \rho^2 / 2) / (n - 3)` of Bonett and Wright (Psychometrika 65, 23 (2000)).
Errors span decades, so the typical one is the geometric mean, and errors are compared by their
ratio, with Welch's interval for the difference of two mean logarithms.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import stats

from sscha_mlp.validation.statistics import FloatArray, finite_or_none

_LEVEL: Final = 0.95
_SMALLEST_WINDOW: Final = 9
_LARGEST_WINDOW: Final = 61
_WINDOWS: Final = 6
"""So many windows hold all values, where neither the smallest nor the largest size decides."""

_ROUNDING: Final = 1.0e-9
"""Force errors below this, eV/Å, are rounding; a logarithm is taken of no smaller one."""


@dataclass(frozen=True)
class Interval:
    """A number with its 95 % interval; all three are NaN where there is too little data.

    Parameters
    ----------
    value
        The estimate.
    low, high
        Ends of the interval.
    """

    value: float
    low: float = math.nan
    high: float = math.nan

    def to_json(self) -> dict[str, float | None]:
        """Return the three numbers, ``None`` where there is none."""
        return {
            "value": finite_or_none(self.value),
            "low": finite_or_none(self.low),
            "high": finite_or_none(self.high),
        }


@dataclass(frozen=True, eq=False)
class Running:
    """Geometric mean of the errors along the uncertainty, over neighbours in it.

    Parameters
    ----------
    window
        Configurations in a window; towards both ends windows become smaller.
    uncertainty
        Geometric mean of the uncertainty in each window, ascending, shape (n_windows,).
    typical, low, high
        Geometric mean of the error in each window, and two standard errors of its logarithm below
        and above, eV/Å, shape (n_windows,).
    """

    window: int
    uncertainty: FloatArray
    typical: FloatArray
    low: FloatArray
    high: FloatArray


def spearman(x: FloatArray, y: FloatArray) -> Interval:
    """Return Spearman's rank correlation with its 95 % interval.

    Parameters
    ----------
    x, y
        Values of each configuration, shape (n,).

    Returns
    -------
    Interval
        NaN for fewer than four configurations, or if all values of one kind are the same.
    """
    n = len(x)
    if n < 4 or np.ptp(x) == 0.0 or np.ptp(y) == 0.0:
        return Interval(math.nan)
    value = float(np.clip(stats.spearmanr(x, y).statistic, -1.0, 1.0))
    perfect = 1.0 - 6.0 / (n * (n**2 - 1.0))  # half way to one exchange of neighbours
    z = math.atanh(float(np.clip(value, -perfect, perfect)))
    half = float(stats.norm.ppf(0.5 + 0.5 * _LEVEL)) * math.sqrt((1.0 + value**2 / 2.0) / (n - 3))
    return Interval(value, min(value, math.tanh(z - half)), max(value, math.tanh(z + half)))


def geometric_mean(errors: FloatArray) -> tuple[float, float]:
    """Return the geometric mean of force errors, eV/Å, and its standard error.

    Both are NaN without a value, the error also with only one.
    """
    if errors.size == 0:
        return math.nan, math.nan
    logs = _logarithms(errors)
    mean = math.exp(float(logs.mean()))
    return mean, mean * _mean_stderr(logs)


def ratio(above: FloatArray, below: FloatArray) -> Interval:
    """Return the ratio of two geometric means with its 95 % interval, by Welch's t.

    Parameters
    ----------
    above, below
        Force errors of two samples, eV/Å.

    Returns
    -------
    Interval
        NaN if one of them is empty; without ends if one of them has a single value.
    """
    if above.size == 0 or below.size == 0:
        return Interval(math.nan)
    x, y = _logarithms(above), _logarithms(below)
    difference = float(x.mean() - y.mean())
    if x.size < 2 or y.size < 2:
        return Interval(math.exp(difference))
    parts = [_mean_stderr(side) ** 2 for side in (x, y)]
    variance = sum(parts)
    if variance == 0.0:
        return Interval(*[math.exp(difference)] * 3)
    freedom = variance**2 / (parts[0] ** 2 / (x.size - 1) + parts[1] ** 2 / (y.size - 1))
    half = float(stats.t.ppf(0.5 + 0.5 * _LEVEL, freedom)) * math.sqrt(variance)
    return Interval(math.exp(difference), math.exp(difference - half), math.exp(difference + half))


def running_mean(uncertainties: FloatArray, errors: FloatArray) -> Running | None:
    """Return the geometric mean of the errors around each uncertainty.

    A window is centred on each configuration and shrinks towards both ends.  Uncertainties that
    are not positive are left out.

    Parameters
    ----------
    uncertainties
        Shape (n,).
    errors
        Force errors, eV/Å, shape (n,).

    Returns
    -------
    Running or None
        None for fewer configurations than two of the smallest windows.
    """
    positive = uncertainties > 0.0
    n = int(positive.sum())
    if n < 2 * _SMALLEST_WINDOW:
        return None
    order = np.argsort(uncertainties[positive], kind="stable")
    place = np.log(uncertainties[positive][order])
    logs = _logarithms(errors[positive][order])
    window = int(np.clip(n // _WINDOWS, _SMALLEST_WINDOW, _LARGEST_WINDOW)) | 1
    margin = _SMALLEST_WINDOW // 2
    rows = []
    for centre in range(margin, n - margin):
        half = min(window // 2, centre, n - 1 - centre)
        inside = slice(centre - half, centre + half + 1)
        rows.append((place[inside].mean(), logs[inside].mean(), _mean_stderr(logs[inside])))
    x, y, stderr = np.array(rows).T
    return Running(window, np.exp(x), np.exp(y), np.exp(y - 2.0 * stderr), np.exp(y + 2.0 * stderr))


def _logarithms(errors: FloatArray) -> FloatArray:
    return np.asarray(np.log(np.maximum(errors, _ROUNDING)), dtype=np.float64)


def _mean_stderr(values: FloatArray) -> float:
    if values.size < 2:
        return math.nan
    return float(values.std(ddof=1)) / math.sqrt(values.size)
