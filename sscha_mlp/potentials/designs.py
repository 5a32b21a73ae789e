"""Choose rows of a feature matrix that represent all of its rows."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh, qr

from sscha_mlp.errors import InputError

FloatArray = NDArray[np.float64]

_SPANNED = 1.0e-10  # part of its first norm below which what is left of a matrix is rounding


def cur(
    features: ArrayLike, n: int, *, n_vectors: int = 1, known: ArrayLike = ()
) -> tuple[int, ...]:
    """Return `n` rows that span the features best, the most important first (CUR).

    The leverage of a row is its weight in the leading singular vectors of the matrix (Mahoney,
    Drineas, Proc. Natl. Acad. Sci. USA 106, 697 (2009)).  The row of largest leverage is taken, the
    others are made orthogonal to it, and the leverages are computed anew (Imbalzano et al., J.
    Chem. Phys. 148, 241730 (2018)).  Nothing is random.  When the chosen rows span all the others,
    the rest is treated as a matrix of its own.

    Parameters
    ----------
    features
        Shape (n_rows, n_features).
    n
        At most n_rows.
    n_vectors
        How many singular vectors count in the leverage.
    known
        Rows that all others are made orthogonal to first, shape (n_known, n_features).

    Raises
    ------
    InputError
        If a shape does not fit, a number is not finite, or `n` or `n_vectors` is out of range.
    """
    matrix = _matrix(features)
    spanned = _matrix(known) if np.size(known) else np.empty((0, matrix.shape[1]))
    if spanned.shape[1] != matrix.shape[1]:
        raise InputError(
            f"Known rows have {spanned.shape[1]} features, the others {matrix.shape[1]}."
        )
    if not 0 <= n <= len(matrix):
        raise InputError(f"{n} rows cannot be selected from {len(matrix)}: ask for fewer.")
    if n_vectors < 1:
        raise InputError(f"CUR needs at least one singular vector, not {n_vectors}.")
    rest = np.arange(len(matrix))
    chosen: list[int] = []
    left = _orthogonal_to(spanned, matrix)
    while len(chosen) < n:
        layer = _layer(left[rest], n - len(chosen), n_vectors)
        if not layer and left is matrix:  # only zeros are left
            layer = list(range(n - len(chosen)))
        chosen += [int(rest[row]) for row in layer]
        rest = np.setdiff1d(rest, chosen)
        left = matrix
    return tuple(chosen)


def _layer(features: FloatArray, n: int, n_vectors: int) -> list[int]:
    """Return at most `n` rows, fewer when they span all the others."""
    left = _narrow(features)
    least = _SPANNED * np.linalg.norm(left)
    chosen: list[int] = []
    while len(chosen) < n and np.linalg.norm(left) > least:
        best = int(np.argmax(_leverages(left, n_vectors)))
        direction = left[best] / np.linalg.norm(left[best])
        for _ in range(2):  # once more, for what rounding leaves
            left = left - np.outer(left @ direction, direction)
        left[best] = 0.0
        chosen.append(best)
    return chosen


def _leverages(matrix: FloatArray, n_vectors: int) -> FloatArray:
    size = matrix.shape[1]
    values, right = eigh(matrix.T @ matrix, subset_by_index=[max(size - n_vectors, 0), size - 1])
    kept = values > values[-1] * 1.0e-14
    return np.asarray(np.sum((matrix @ right[:, kept]) ** 2 / values[kept], axis=1))


def _narrow(matrix: FloatArray) -> FloatArray:
    """Return the same rows in coordinates of their own, when there are fewer rows than features."""
    if len(matrix) >= matrix.shape[1]:
        return matrix
    return np.asarray(np.linalg.qr(matrix.T, mode="r")).T


def _orthogonal_to(known: FloatArray, matrix: FloatArray) -> FloatArray:
    if not known.any():
        return matrix
    basis, triangle, _ = qr(known.T, mode="economic", pivoting=True)
    sizes = np.abs(np.diag(triangle))
    basis = basis[:, : np.count_nonzero(sizes > _SPANNED * sizes[0])]
    left = matrix
    for _ in range(2):
        left = left - (left @ basis) @ basis.T
    known_to_rounding = np.linalg.norm(left) <= _SPANNED * np.linalg.norm(matrix)
    return np.zeros_like(left) if known_to_rounding else left


def _matrix(rows: ArrayLike) -> FloatArray:
    matrix = np.asarray(rows, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] == 0 or not np.isfinite(matrix).all():
        raise InputError(
            f"Features must be a matrix of finite numbers, not an array of shape {matrix.shape}."
        )
    return matrix
