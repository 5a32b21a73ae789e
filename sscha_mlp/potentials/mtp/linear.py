r"""The linear part of an MTP fit: ridge regression with its strength chosen by cross-validation.

With the radial functions fixed, energies, forces and stresses are linear in the moment coefficients
and in the energies of the species.  The weighted rows of all configurations are scaled column by
column, :math:`\theta_k = p_k x_k / \mathrm{rms}_k`, with prior sizes :math:`p_k` that fall with
the level of the basis function, and x minimises

.. math:: |A x - y|^2 + \lambda s_\max^2 |x|^2 .

:math:`s_\max` is the largest singular value of A.  The minimum is unique: there is no start to
choose and none to be caught in.  A enters through the triangle of its QR decomposition, not through
:math:`A^T A`, whose condition number is the square: the basis functions are nearly dependent.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

RIDGES: Final = tuple(10.0 ** np.arange(-18.0, -3.0))
"""Strengths that cross-validation chooses from."""

_CHUNK_ROWS: Final = 4096


@dataclass(frozen=True, eq=False)
class LinearFit:
    """Coefficients and how they were found.

    Parameters
    ----------
    coefficients
        Shape (p,).
    ridge
        Strength of the regularisation.
    scores
        By strength: :func:`score` of the configurations held out; empty if the strength was given.
    residual
        Root mean square weighted residual of the training rows.
    penalty
        Weights of the squares of the coefficients in what was minimised, shape (p,).
    """

    coefficients: FloatArray
    ridge: float
    scores: dict[float, float]
    residual: float
    penalty: FloatArray


def ridge_regression(
    blocks: Sequence[FloatArray],
    prior: FloatArray,
    *,
    ridge: float | None = None,
    n_folds: int = 5,
    scored: Sequence[bool] | None = None,
) -> LinearFit:
    """Solve for the coefficients.

    Parameters
    ----------
    blocks
        For each configuration its weighted rows with the target in the last column, shape
        (n_rows, p + 1).
    prior
        Expected sizes of the scaled coefficients, relative to each other, shape (p,).
    ridge
        Strength; chosen by cross-validation when None.
    n_folds
        Folds of the choice, made of every n-th configuration; at most as many as there are.
    scored
        Which configurations the choice looks at, shape (n,); all when None or when none is.  Those
        chosen because they are unlike all others say nothing, held out, about the strength that
        suits the rest.
    """
    n_folds = min(n_folds, len(blocks))
    folds = [triangle(blocks[fold::n_folds]) for fold in range(n_folds)]
    everything = triangle(folds)
    scale = prior / _column_sizes(everything)
    scores: dict[float, float] = {}
    if ridge is None and n_folds > 1:
        looked_at = scored if scored is not None and any(scored) else [True] * len(blocks)
        scores = _cross_validate(blocks, folds, scale, looked_at)
        ridge = min(scores, key=lambda one: scores[one])
    elif ridge is None:
        ridge = RIDGES[len(RIDGES) // 2]
    path = _Path(everything, scale)
    coefficients = path.solve(ridge)
    squares = np.sum((everything[:, :-1] @ coefficients - everything[:, -1]) ** 2)
    n_rows = sum(len(block) for block in blocks)
    return LinearFit(
        coefficients,
        float(ridge),
        scores,
        float(np.sqrt(squares / n_rows)),
        ridge * path.largest**2 / scale**2,
    )


def least_squares(reduced: FloatArray) -> FloatArray:
    """Return the coefficients that a triangle determines, without more regularisation than it has.

    Parameters
    ----------
    reduced
        QR triangle of rows and targets, see :func:`triangle`.
    """
    return _Path(reduced, 1.0 / _column_sizes(reduced)).solve(0.0)


def score(blocks: Sequence[FloatArray], coefficients: FloatArray) -> float:
    """Mean over configurations of the root mean square weighted residual."""
    return float(np.mean([_residual_size(rows, coefficients[:, None]) for rows in blocks]))


def _cross_validate(
    blocks: Sequence[FloatArray],
    folds: Sequence[FloatArray],
    scale: FloatArray,
    scored: Sequence[bool],
) -> dict[float, float]:
    """Score each strength on the configurations of each fold, fitted to the other folds."""
    total = np.zeros(len(RIDGES))
    for fold in range(len(folds)):
        others = triangle([one for place, one in enumerate(folds) if place != fold])
        path = _Path(others, scale)
        solutions = np.column_stack([path.solve(one) for one in RIDGES])
        for place in range(fold, len(blocks), len(folds)):
            if scored[place]:
                total += _residual_size(blocks[place], solutions)
    return dict(zip(RIDGES, (total / np.count_nonzero(scored)).tolist(), strict=True))


def _residual_size(rows: FloatArray, solutions: FloatArray) -> FloatArray:
    """Root mean square residual of one configuration for each column of coefficients."""
    residuals = rows[:, :-1] @ solutions - rows[:, -1:]
    return np.asarray(np.sqrt(np.mean(residuals**2, axis=0)))


class _Path:
    """Solutions for any strength, from one singular value decomposition.

    Parameters
    ----------
    reduced
        QR triangle of the rows and targets, shape (at most p + 1, p + 1).
    scale
        Of the columns, shape (p,).
    """

    def __init__(self, reduced: FloatArray, scale: FloatArray) -> None:
        left, self._values, self._right = np.linalg.svd(
            reduced[:, :-1] * scale, full_matrices=False
        )
        self._projected = left.T @ reduced[:, -1]
        self._scale = scale
        self.largest = float(self._values.max(initial=0.0))

    def solve(self, ridge: float) -> FloatArray:
        """Return the coefficients for a strength, shape (p,)."""
        values = self._values
        damped = values**2 + ridge * self.largest**2
        noise = len(values) * float(np.finfo(np.float64).eps) * self.largest
        factors = np.divide(values, damped, out=np.zeros_like(values), where=values > noise)
        return np.asarray(self._scale * (self._right.T @ (factors * self._projected)))


def triangle(blocks: Iterable[FloatArray]) -> FloatArray:
    """Triangle of the QR decomposition of stacked rows, some thousand at a time."""
    waiting: list[FloatArray] = []
    n_waiting = 0
    for block in blocks:
        waiting.append(block)
        n_waiting += len(block)
        if n_waiting > max(_CHUNK_ROWS, 2 * block.shape[1]):
            waiting = [np.asarray(np.linalg.qr(np.concatenate(waiting), mode="r"))]
            n_waiting = len(waiting[0])
    return np.asarray(np.linalg.qr(np.concatenate(waiting), mode="r"))


def _column_sizes(reduced: FloatArray) -> FloatArray:
    """Norms of the columns; 1 for those that are zero, whose coefficients then stay zero."""
    sizes = np.sqrt(np.sum(reduced[:, :-1] ** 2, axis=0))
    sizes[sizes == 0.0] = 1.0
    return np.asarray(sizes)
