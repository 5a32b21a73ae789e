"""Linear fits with errors, averaged over which terms to take.

Which terms describe the data is not known beforehand.  Each candidate is fitted by weighted least
squares and counts with ``exp(-(chi² + 2 p) / 2)``, p its number of terms: with known errors
``chi² + 2 p`` is the Akaike information criterion without any correction for small samples.  The
variance of a prediction is that of the candidates, and how far they are apart (Buckland, Burnham
and Augustin, Biometrics 53, 603 (1997)).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaincc

from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.ensemble.averages import Estimate
from sscha_mlp.errors import InputError
from sscha_mlp.properties.terms import Candidate, Term

IMPROBABLE: Final = 0.01
"""Below this probability of chi² a fit does not describe its points."""

_WORST_CONDITION: Final = 1.0e9
_NEGLIGIBLE: Final = 1.0e-6


@dataclass(frozen=True, eq=False)
class Observed:
    """Data of a fit.

    Parameters
    ----------
    x, y, stderr
        Shape (n,); errors above zero.
    order
        0 for values of the function, 1 for its slopes.
    """

    x: FloatArray
    y: FloatArray
    stderr: FloatArray
    order: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be fitted.

        Raises
        ------
        InputError
            If the shapes differ, a number is not finite, or an error is not above zero.
        """
        for name in ("x", "y", "stderr"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.float64))
        x, y, s = self.x, self.y, self.stderr
        if x.ndim != 1 or x.shape != y.shape or x.shape != s.shape:
            raise InputError(
                f"Places, values and errors of a fit have shapes {x.shape}, {y.shape} and "
                f"{s.shape}; give one number each per point."
            )
        if not all(np.all(np.isfinite(one)) for one in (x, y, s)) or np.any(s <= 0.0):
            raise InputError("A fit needs finite numbers, and errors above zero.")


@dataclass(frozen=True, eq=False)
class _Fitted:
    """A candidate with its coefficients and their covariance."""

    terms: Candidate
    coefficients: FloatArray
    covariance: FloatArray
    chi_squared: float
    weight: float


@dataclass(frozen=True, eq=False)
class AveragedFit:
    """The average over candidates.

    Parameters
    ----------
    candidates
        Those that count.
    chi_squared, degrees_of_freedom
        Of the candidate that counts most.
    inflation
        What errors are multiplied by: ``sqrt(chi² / degrees of freedom)`` where that chi² has a
        probability below one per cent, else 1.
    """

    candidates: tuple[_Fitted, ...]
    chi_squared: float
    degrees_of_freedom: int
    inflation: float

    @property
    def n_terms(self) -> int:
        """Number of terms of the candidate that counts most."""
        return len(max(self.candidates, key=lambda one: one.weight).terms)

    @property
    def probability(self) -> float:
        """Probability of a chi² that is at least as large; 1 without degrees of freedom."""
        return _probability(self.chi_squared, self.degrees_of_freedom)

    def at(self, x: ArrayLike, *, order: int = 0) -> Estimate:
        """Return the function, or a derivative of it, with errors.

        Parameters
        ----------
        x
            Shape (n,).
        order
            0 for the function, 1 and 2 for its derivatives.
        """
        return self.combined([(order, np.ones(np.shape(x)))], x)

    def combined(self, parts: Sequence[tuple[int, FloatArray]], x: ArrayLike) -> Estimate:
        """Return a sum of derivatives with factors, ``sum f_i(x) y^(i)(x)``, with errors.

        Parameters
        ----------
        parts
            Order of each derivative, and its factors, shape (n,).
        x
            Shape (n,).
        """
        rows, found = self._rows(parts, x)
        mean = self._mean(found)
        variance = np.zeros(len(mean))
        for one, row, value in zip(self.candidates, rows, found, strict=True):
            inner = np.einsum("xi,ij,xj->x", row, one.covariance, row)
            variance += one.weight * (inner + (value - mean) ** 2)
        return Estimate(mean, np.sqrt(variance) * self.inflation)

    def covariance(
        self, parts: Sequence[tuple[int, FloatArray]], x: ArrayLike
    ) -> tuple[FloatArray, FloatArray]:
        """Return such a sum and its covariance, shapes (n,) and (n, n)."""
        rows, found = self._rows(parts, x)
        mean = self._mean(found)
        total = np.zeros((len(mean), len(mean)))
        for one, row, value in zip(self.candidates, rows, found, strict=True):
            away = value - mean
            total += one.weight * (row @ one.covariance @ row.T + np.outer(away, away))
        return mean, total * self.inflation**2

    def _rows(
        self, parts: Sequence[tuple[int, FloatArray]], x: ArrayLike
    ) -> tuple[list[FloatArray], list[FloatArray]]:
        """What each candidate's coefficients are multiplied by, (n, n_terms), and the result."""
        places = np.asarray(x, dtype=np.float64)
        rows = [
            sum(
                (factor[:, None] * _design(one.terms, places, order) for order, factor in parts),
                np.zeros((len(places), len(one.terms))),
            )
            for one in self.candidates
        ]
        return rows, [
            row @ one.coefficients for row, one in zip(rows, self.candidates, strict=True)
        ]

    def _mean(self, found: Sequence[FloatArray]) -> FloatArray:
        return np.asarray(np.array([one.weight for one in self.candidates]) @ np.array(found))


def fit_average(
    candidates: Sequence[Candidate], *data: Observed, spare: int = 1
) -> AveragedFit | None:
    """Fit each candidate to all data together, and average.

    Parameters
    ----------
    candidates
        Terms of each.
    data
        Values, or slopes, of one function.
    spare
        How many more data than terms there have to be.

    Returns
    -------
    The average, or None where every candidate has too many terms, or the data determine none.
    """
    y = np.concatenate([one.y / one.stderr for one in data])
    best = [_fit(one, data, y) for one in candidates if len(one) + spare <= len(y)]
    fitted = [one for one in best if one is not None]
    if not fitted:
        return None
    scores = np.array([one[2] + 2.0 * len(one[0]) for one in fitted])
    weights = np.exp(-0.5 * (scores - scores.min()))
    weights[weights < _NEGLIGIBLE] = 0.0
    weights /= weights.sum()
    kept = tuple(
        _Fitted(terms, coefficients, covariance, chi_squared, float(weight))
        for (terms, coefficients, chi_squared, covariance), weight in zip(
            fitted, weights, strict=True
        )
        if weight > 0.0
    )
    first = max(kept, key=lambda one: one.weight)
    freedom = len(y) - len(first.terms)
    unlikely = _probability(first.chi_squared, freedom) < IMPROBABLE
    inflation = float(np.sqrt(first.chi_squared / freedom)) if unlikely else 1.0
    return AveragedFit(kept, first.chi_squared, freedom, inflation)


def _fit(
    terms: Candidate, data: Sequence[Observed], y: FloatArray
) -> tuple[Candidate, FloatArray, float, FloatArray] | None:
    """Terms, coefficients, chi² and covariance; a term that no datum feels is left out."""
    rows = [_design(terms, one.x, one.order) / one.stderr[:, None] for one in data]
    design = np.concatenate(rows)
    scales = np.linalg.norm(design, axis=0)
    felt = scales > 0.0
    kept = tuple(term for term, one in zip(terms, felt, strict=True) if one)
    design, scales = design[:, felt], scales[felt]
    left, singular, right = np.linalg.svd(design / scales, full_matrices=False)
    if not kept or singular[-1] * _WORST_CONDITION < singular[0]:
        return None
    inverse = right.T / singular
    coefficients = inverse @ (left.T @ y) / scales
    residuals = y - design @ coefficients
    covariance = inverse @ inverse.T / np.outer(scales, scales)
    return kept, coefficients, float(residuals @ residuals), covariance


def _design(terms: Sequence[Term], x: FloatArray, order: int) -> FloatArray:
    """Shape (n, n_terms)."""
    return np.column_stack([one.derivative(order)(x) for one in terms])


def _probability(chi_squared: float, freedom: int) -> float:
    return float(gammaincc(0.5 * freedom, 0.5 * chi_squared)) if freedom > 0 else 1.0
