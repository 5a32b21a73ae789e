"""Statistics of errors that come in configurations.

The components of one configuration are not independent of each other: whatever is said about
significance is said about configurations.  An error is always *reference minus model*, the sign
with which the certificate corrects a result.
"""

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_ROUNDING = 64.0 * np.finfo(np.float64).eps
"""Relative size below which a spread of errors is rounding, not scatter."""

_SCALED = (
    "rmse",
    "rmse_stderr",
    "mae",
    "bias",
    "bias_stderr",
    "max_abs",
    "q95_abs",
    "normal_mean",
    "normal_sigma",
)


@dataclass(frozen=True)
class ErrorStatistics:
    """What the errors of one quantity look like, in the unit of that quantity.

    A number that needs more data than there is (a standard error of one configuration) is NaN.

    Parameters
    ----------
    n_configs, n_values
        Number of configurations, and of values (components) in all of them.
    rmse, rmse_stderr
        Root mean square error over all values, and its standard error over configurations.
    mae
        Mean absolute error over all values.
    r2
        Coefficient of determination of the identity line, dimensionless.
    slope, slope_stderr
        Slope of the model regressed on the reference and its standard error over
        configurations, dimensionless; below one the model is too soft.
    bias, bias_stderr
        Mean over configurations of the configuration's mean error, and its standard error.
    bias_p_value
        Two-sided p-value of Student's t-test, over configurations, that the bias is zero.
    max_abs, q95_abs
        Largest absolute error, and the one that 95 % of the values do not exceed.
    excess_kurtosis
        Fourth standardised moment minus three: zero for a normal law, larger for heavy tails.
    normal_mean, normal_sigma
        The normal law of greatest likelihood for the errors of all values.
    """

    n_configs: int
    n_values: int
    rmse: float
    rmse_stderr: float
    mae: float
    r2: float
    slope: float
    slope_stderr: float
    bias: float
    bias_stderr: float
    bias_p_value: float
    max_abs: float
    q95_abs: float
    excess_kurtosis: float
    normal_mean: float
    normal_sigma: float

    def to_json(
        self, *, factor: float = 1.0, unit: str = ""
    ) -> dict[str, float | int | str | None]:
        """Return the statistics as plain values, ``None`` where there is no number.

        Parameters
        ----------
        factor
            What the numbers that carry a unit are multiplied by.
        unit
            Name of the resulting unit, stored under ``unit``.
        """
        plain: dict[str, float | int | str | None] = {"unit": unit}
        for key, value in asdict(self).items():
            scaled = value * factor if key in _SCALED else value
            plain[key] = finite_or_none(scaled)
        return plain


def finite_or_none(value: float | int) -> float | int | None:
    """Return ``value``, or ``None`` (JSON's null) if it is not finite."""
    return value if math.isfinite(value) else None


def error_statistics(
    reference: FloatArray,
    predicted: FloatArray,
    groups: IntArray,
    *,
    biased: NDArray[np.bool_] | None = None,
) -> ErrorStatistics:
    """Compare predicted with reference values.

    Parameters
    ----------
    reference, predicted
        Values, shape (n_values,), in one unit.
    groups
        Index of the configuration of each value, shape (n_values,), from 0 without gaps.
    biased
        Values that enter the bias, shape (n_values,); all if not given.  For stresses these are
        the normal components, whose mean is the pressure.
    """
    error = reference - predicted
    selected = np.ones(error.shape, dtype=np.bool_) if biased is None else biased
    rmse, rmse_stderr = root_mean_square(error, groups)
    slope, slope_stderr = _slope(reference, predicted, groups)
    bias, bias_stderr, p_value = _bias(
        error[selected], groups[selected], float(np.abs(reference).max())
    )
    spread = float(np.sum((reference - reference.mean()) ** 2))
    sigma = float(error.std())
    return ErrorStatistics(
        n_configs=int(groups.max()) + 1,
        n_values=int(error.size),
        rmse=rmse,
        rmse_stderr=rmse_stderr,
        mae=float(np.abs(error).mean()),
        r2=1.0 - float(np.sum(error**2)) / spread if spread > 0.0 else math.nan,
        slope=slope,
        slope_stderr=slope_stderr,
        bias=bias,
        bias_stderr=bias_stderr,
        bias_p_value=p_value,
        max_abs=float(np.abs(error).max()),
        q95_abs=float(np.quantile(np.abs(error), 0.95)),
        excess_kurtosis=float(stats.kurtosis(error)) if sigma > 0.0 else math.nan,
        normal_mean=float(error.mean()),
        normal_sigma=sigma,
    )


def root_mean_square(error: FloatArray, groups: IntArray) -> tuple[float, float]:
    """Return the root mean square of errors and its standard error over configurations.

    The mean square is a ratio of two sums over configurations, and its error is linearised in
    them (W. G. Cochran, *Sampling Techniques*, 3rd ed., section 6.3).
    """
    _, index = np.unique(groups, return_inverse=True)
    squares = np.bincount(index, weights=error**2)
    counts = np.bincount(index).astype(np.float64)
    n_groups = squares.size
    mean_square = float(squares.sum() / counts.sum())
    rmse = math.sqrt(mean_square)
    if n_groups < 2:
        return rmse, math.nan
    if rmse == 0.0:
        return 0.0, 0.0
    residual = squares - mean_square * counts
    variance = n_groups / (n_groups - 1) * float(np.sum(residual**2)) / float(counts.sum()) ** 2
    return rmse, math.sqrt(variance) / (2.0 * rmse)


def _slope(reference: FloatArray, predicted: FloatArray, groups: IntArray) -> tuple[float, float]:
    """Return the slope of model against reference, with its error clustered by configuration."""
    x = reference - reference.mean()
    y = predicted - predicted.mean()
    norm = float(np.sum(x**2))
    n_groups = int(groups.max()) + 1
    if norm == 0.0:
        return math.nan, math.nan
    slope = float(np.sum(x * y)) / norm
    if n_groups < 2:
        return slope, math.nan
    score = np.bincount(groups, weights=x * (y - slope * x))
    variance = n_groups / (n_groups - 1) * float(np.sum(score**2)) / norm**2
    return slope, math.sqrt(variance)


def _bias(error: FloatArray, groups: IntArray, magnitude: float) -> tuple[float, float, float]:
    """Return the mean over configurations, its standard error, and the t-test's p-value."""
    means = np.bincount(groups, weights=error) / np.bincount(groups)
    bias = float(means.mean())
    if means.size < 2:
        return bias, math.nan, math.nan
    stderr = float(means.std(ddof=1)) / math.sqrt(means.size)
    threshold = _ROUNDING * magnitude
    if stderr <= threshold:
        return bias, stderr, 1.0 if abs(bias) <= threshold else 0.0
    return bias, stderr, float(stats.ttest_1samp(means, 0.0).pvalue)
