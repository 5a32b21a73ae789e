"""A soft mode over temperature: where its squared frequency passes through zero.

Near a displacive transition of second order the squared frequency of the free-energy Hessian is
linear, ``omega² = a (T - Tc)``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sscha_mlp.crystal.structure import FloatArray, read_only
from sscha_mlp.digits import fixed, with_error
from sscha_mlp.errors import InputError
from sscha_mlp.tables import Shown, Table, few

_SIGNIFICANT = 2.0
"""Standard errors that the slope must be away from zero."""


@dataclass(frozen=True, eq=False)
class SoftModeFit(Shown):
    """A straight line through squared frequencies.

    Parameters
    ----------
    temperatures, squares, stderr
        The points, ascending in temperature, shape (n,): K, and squared frequencies with their
        errors in one unit, that of the results.
    slope, slope_stderr
        a and its error, unit of the squares per K.
    critical_temperature, critical_stderr
        Tc and its error, K; None when there is no crossing.
    chi_squared, degrees_of_freedom
        Sum of the squared deviations over their errors, and n - 2.
    statement
        The result in a sentence.
    """

    temperatures: FloatArray
    squares: FloatArray
    stderr: FloatArray
    slope: float
    slope_stderr: float
    critical_temperature: float | None
    critical_stderr: float | None
    chi_squared: float
    degrees_of_freedom: int
    statement: str

    def line(self, temperatures: NDArray[np.float64]) -> FloatArray:
        """Squared frequencies of the fit at temperatures in K, same shape."""
        weights = self.stderr**-2
        centre = (weights * self.temperatures).sum() / weights.sum()
        mean = (weights * self.squares).sum() / weights.sum()
        return np.asarray(mean + self.slope * (np.asarray(temperatures) - centre))

    def table(self) -> Table:
        """Return the points beside the line, and the result as a sentence."""
        rows = [
            (f"{t:g}", with_error(y, s, sign=True), fixed(line, 3, sign=True))
            for t, y, s, line in zip(
                self.temperatures,
                self.squares,
                self.stderr,
                self.line(self.temperatures),
                strict=True,
            )
        ]
        fit = f" χ² = {self.chi_squared:.1f} for {self.degrees_of_freedom} degrees of freedom."
        columns = ("T (K)", "squared frequency", "line")
        return Table("Soft mode", few(rows), columns, self.statement + fit)


def fit_soft_mode(
    temperatures: Sequence[float] | NDArray[np.float64],
    squares: Sequence[float] | NDArray[np.float64],
    stderr: Sequence[float] | NDArray[np.float64],
) -> SoftModeFit:
    """Fit ``omega² = a (T - Tc)`` by weighted least squares.

    Parameters
    ----------
    temperatures
        At least two different ones, K.
    squares
        Squared frequency of the soft mode at each, negative when unstable.
    stderr
        Their errors, above zero.

    Returns
    -------
    The fit.  There is a crossing when the points reach both sides of zero, or come within two
    standard errors of it, and the slope is away from zero by two of its errors.

    Raises
    ------
    InputError
        If the shapes differ, a value is not finite, an error is not above zero, or fewer than two
        temperatures differ.
    """
    t, y, s = _points(temperatures, squares, stderr)
    weights = s**-2
    centre, mean = (weights * t).sum() / weights.sum(), (weights * y).sum() / weights.sum()
    spread = float((weights * (t - centre) ** 2).sum())
    slope = float((weights * (t - centre) * (y - mean)).sum() / spread)
    slope_stderr = spread**-0.5
    missing = _no_crossing(y, s, slope, slope_stderr)
    critical = error = None
    if not missing:
        critical = float(centre - mean / slope)
        # Tc follows the mean and the slope, which are independent about the weighted centre.
        error = float(np.hypot(weights.sum() ** -0.5, (critical - centre) * slope_stderr))
        error /= abs(slope)
    residuals = (y - mean - slope * (t - centre)) / s
    return SoftModeFit(
        temperatures=read_only(t),
        squares=read_only(y),
        stderr=read_only(s),
        slope=slope,
        slope_stderr=float(slope_stderr),
        critical_temperature=critical,
        critical_stderr=error,
        chi_squared=float((residuals**2).sum()),
        degrees_of_freedom=len(t) - 2,
        statement=missing or _sentence(t, slope, critical, error),
    )


def _points(
    temperatures: Sequence[float] | NDArray[np.float64],
    squares: Sequence[float] | NDArray[np.float64],
    stderr: Sequence[float] | NDArray[np.float64],
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Check the points and sort them by temperature."""
    t, y, s = (np.asarray(one, dtype=np.float64) for one in (temperatures, squares, stderr))
    if t.ndim != 1 or t.shape != y.shape or t.shape != s.shape:
        raise InputError(
            f"Temperatures, squares and errors have shapes {t.shape}, {y.shape} and {s.shape}; "
            "give one number each per temperature."
        )
    if not all(np.all(np.isfinite(one)) for one in (t, y, s)) or np.any(s <= 0):
        raise InputError("A soft-mode fit needs finite numbers, and errors above zero.")
    if len(np.unique(t)) < 2:
        raise InputError("A soft-mode fit needs at least two temperatures.")
    order = np.argsort(t, kind="stable")
    return t[order], y[order], s[order]


def _no_crossing(y: FloatArray, s: FloatArray, slope: float, slope_stderr: float) -> str:
    """Say why there is no transition temperature; nothing when there is one."""
    if np.all(y - _SIGNIFICANT * s > 0):
        return "No crossing: the mode is stable at every temperature given."
    if np.all(y + _SIGNIFICANT * s < 0):
        return "No crossing: the mode is unstable at every temperature given."
    if abs(slope) < _SIGNIFICANT * slope_stderr:
        return (
            "No crossing: the squared frequency does not change with temperature beyond its "
            "errors; more configurations or a wider range are needed."
        )
    return ""


def _sentence(t: FloatArray, slope: float, critical: float | None, error: float | None) -> str:
    side = "above" if slope > 0 else "below"
    text = f"The mode is stable {side} Tc = {critical:.1f} ± {error:.1f} K"
    inside = critical is not None and t[0] <= critical <= t[-1]
    return f"{text}." if inside else f"{text}, extrapolated beyond the temperatures given."
