"""Thermal expansion: a volume or a length over temperature, fitted with errors.

A finite supercell has discrete modes, so that to first order its volume follows their energies,
``V(T) = V0 + sum_k c_k e(theta_k, T)`` with the Einstein energies e of a few temperatures that
span the modes (their zero point is in V0), and ``alpha -> 0`` as T -> 0.  Higher orders begin as
``e² / 2 theta``, which is T² when it is warm.  Which terms are taken is averaged over, see
:mod:`sscha_mlp.properties.averaged_fit`.  Classical nuclei have polynomials in T instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.digits import with_error
from sscha_mlp.ensemble.averages import Estimate
from sscha_mlp.errors import InputError
from sscha_mlp.properties.averaged_fit import IMPROBABLE, AveragedFit, Observed, fit_average
from sscha_mlp.properties.terms import volume_candidates
from sscha_mlp.tables import Shown, Table, few

LEAST: Final = 3
"""Temperatures without which there is no fit: two leave nothing to judge it by."""


TOO_CLOSE: Final = "The points determine no fit: they are too close together."


@dataclass(frozen=True, eq=False)
class ExpansionFit(Shown):
    """A volume or a length over temperature.

    Parameters
    ----------
    data
        The points, ascending in temperature: K, and Å³ or Å.
    curve
        The fit; None where it cannot be said.
    statement
        What the fit is worth, or why there is none, in a sentence.
    """

    data: Observed
    curve: AveragedFit | None
    statement: str

    @property
    def chi_squared(self) -> float | None:
        """Sum of the squared deviations over their errors, or None without a fit."""
        return None if self.curve is None else self.curve.chi_squared

    @property
    def degrees_of_freedom(self) -> int:
        """Number of points less that of terms; 0 without a fit."""
        return 0 if self.curve is None else self.curve.degrees_of_freedom

    def covers(self, temperature: float) -> bool:
        """Return whether a temperature in K is within the points."""
        return bool(self.data.x[0] <= temperature <= self.data.x[-1])

    def size(self, temperatures: ArrayLike) -> Estimate:
        """Return the volume or length with errors, shape (n,), Å³ or Å.

        Raises
        ------
        InputError
            If there is no fit.
        """
        return known(self.curve, self.statement).at(temperatures)

    def coefficient(self, temperatures: ArrayLike) -> Estimate:
        """Return ``(dy/dT) / y`` with errors, shape (n,), 1/K.

        Volumetric for a volume, linear for a length.

        Raises
        ------
        InputError
            If there is no fit.
        """
        curve = known(self.curve, self.statement)
        y, slope = curve.at(temperatures).value, curve.at(temperatures, order=1).value
        errors = curve.combined([(1, 1.0 / y), (0, -slope / y**2)], temperatures)
        return Estimate(slope / y, errors.stderr)

    def table(self) -> Table:
        """Return the points beside the fit and its expansion coefficient."""
        t, points = self.data.x, Estimate(self.data.y, self.data.stderr)
        columns = {
            "T (K)": [f"{one:g}" for one in t],
            "size (Å³ or Å)": estimate_texts(points),
        }
        if self.curve is not None:
            columns["fit"] = estimate_texts(self.size(t))
            columns["α (ppm/K)"] = estimate_texts(self.coefficient(t), 1.0e6)
        rows = list(zip(*columns.values(), strict=True))
        return Table("Thermal expansion", few(rows), tuple(columns), self.statement)


def fit_expansion(
    temperatures: ArrayLike,
    sizes: ArrayLike,
    stderr: ArrayLike,
    *,
    einstein_temperatures: Sequence[float],
) -> ExpansionFit:
    """Fit a volume, or a lattice parameter, over temperature at one pressure.

    Parameters
    ----------
    temperatures
        K, at least 0, in any order.
    sizes, stderr
        Volumes (Å³) or lengths (Å) with their errors, above zero.
    einstein_temperatures
        Some that span the modes, K; none for classical nuclei.

    Returns
    -------
    The fit; without a curve where there are fewer than three temperatures.

    Raises
    ------
    InputError
        If the shapes differ, a number is not finite, or an error is not above zero.
    """
    data = ascending(temperatures, sizes, stderr)
    n = len(np.unique(data.x))
    if n < LEAST:
        return ExpansionFit(data, None, too_few(n, "temperature"))
    curve = fit_average(volume_candidates(tuple(einstein_temperatures)), data)
    if curve is None:
        return ExpansionFit(data, None, TOO_CLOSE)
    return ExpansionFit(data, curve, quality(curve))


def ascending(x: ArrayLike, y: ArrayLike, stderr: ArrayLike, *, order: int = 0) -> Observed:
    """Return data sorted by x; temperatures and pressures come in any order.

    Raises
    ------
    InputError
        If the shapes differ, a number is not finite, or an error is not above zero.
    """
    given = Observed(np.asarray(x), np.asarray(y), np.asarray(stderr), order)
    places = np.argsort(given.x, kind="stable")
    return Observed(given.x[places], given.y[places], given.stderr[places], order)


def known(curve: AveragedFit | None, statement: str) -> AveragedFit:
    """Return the curve of a fit, or say why there is none.

    Raises
    ------
    InputError
        If there is none.
    """
    if curve is None:
        raise InputError(statement)
    return curve


def too_few(n: int, what: str) -> str:
    """Say that there are too few points."""
    return f"{n} {what}{'' if n == 1 else 's'}: a fit needs {LEAST}."


def quality(curve: AveragedFit) -> str:
    """Say how well a fit describes its points."""
    freedom = curve.degrees_of_freedom
    text = f"χ² = {curve.chi_squared:.1f} with {_counted(freedom, 'degree')} of freedom"
    if curve.probability < IMPROBABLE:
        text += (
            ": the fit does not describe the points within their errors, and its errors are "
            f"multiplied by {curve.inflation:.1f}"
        )
    elif freedom == 1:
        text += ": too few points to judge the form of the fit"
    return f"{text}."


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def linear_coefficient(volumetric: Estimate) -> Estimate:
    """Return the mean linear coefficient, a third of the volumetric one, shape (n,), 1/K."""
    parts: tuple[FloatArray, FloatArray] = (volumetric.value / 3.0, volumetric.stderr / 3.0)
    return Estimate(*parts)


def estimate_texts(found: Estimate, scale: float = 1.0) -> list[str]:
    """Return values with their errors as texts, each multiplied by ``scale``."""
    pairs = zip(found.value, found.stderr, strict=True)
    return [with_error(scale * value, abs(scale) * stderr) for value, stderr in pairs]
