r"""How far a configuration lies outside the training data: extrapolation grades by D-optimality.

A model that is linear in its basis functions is fitted to rows of their values; one row belongs to
one atom (neighbourhood mode), or is the sum over the atoms of one configuration (configuration
mode).  Among all training rows, the active set is the square matrix A of those whose determinant
is largest in magnitude.  The grade of a row b,

.. math:: \gamma = \max_k |(b A^{-1})_k| ,

says by how much b is a combination of active rows with coefficients above one: training rows have
:math:`\gamma \le 1`, and beyond one the model extrapolates (Podryabinkin, Shapeev, Comput. Mater.
Sci. 140, 171 (2017); Podryabinkin et al., J. Chem. Phys. 159, 084112 (2023)).  A is found by
maxvol (Goreinov et al., in Matrix Methods: Theory, Algorithms and Applications, 247 (2010)).

The basis functions are nearly dependent, so that A itself may have a condition number beyond what
floating point can invert.  The grade does not change under an invertible transformation of the
basis, and the rows are whitened first: with columns scaled to unit mean square, training rows
:math:`X = U S V^T` become :math:`W = X V / S`.

Directions with :math:`s_k < \tau s_\max` (:math:`\tau = 10^{-8}`) cannot be told from rounding.
They are not forgotten, since a row that leaves the training data along them extrapolates.  For
each of them the pool of rows is completed by an artificial one, :math:`\tau s_\max v_k^T /
\sqrt{n}`, which is as large as the n training rows are, on average, along a direction that is just
large enough.  Such a direction therefore counts as if :math:`s_k = \tau s_\max`: the grade is
continuous at the threshold, rounding errors stay far below one, and a component that no training
row has gives :math:`|x_k| \sqrt{n} / (\tau s_\max)`, which is enormous unless it is tiny.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import qr

from sscha_mlp.errors import InputError, ModelError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SAVE: Final = 2.0
"""Grade above which a configuration is worth a label, as in MLIP-3."""

BREAK: Final = 10.0
"""Grade above which a prediction is not to be used at all, as in MLIP-3."""

TOLERANCE: Final = 1.001
"""Rows are exchanged until no coefficient exceeds this; each exchange gains as much in volume."""

FOLLOWED: Final = 8
"""Candidates that are looked at again after each choice, for each one wanted."""

EXTENDS: Final = 1.01
"""Grade above which a row extends an active set: beyond TOLERANCE by more than rounding."""

RANK_TOLERANCE: Final = 1.0e-8
"""Part of the largest singular value below which a direction counts as unseen."""

ARTIFICIAL: Final = -1
"""Index of an active row that stands for an unseen direction instead of a training row."""

_CHUNK = 8192


@dataclass(frozen=True, eq=False)
class ActiveSet:
    """The rows of largest volume, in whitened coordinates; made by :meth:`of`.

    Parameters
    ----------
    whitening
        Takes a row to whitened coordinates from the right, shape (n_basis, n_basis).
    members
        The active rows in these coordinates, shape (n_basis, n_basis).
    indices
        Which training row each member is, shape (n_basis,); :data:`ARTIFICIAL` where it stands for
        a direction that no training row has.
    n_rows
        How many rows have been considered; `indices` are below it.

    Raises
    ------
    ModelError
        If the shapes do not fit, a number is not finite, or an index points nowhere.
    """

    whitening: FloatArray
    members: FloatArray
    indices: IntArray
    n_rows: int

    def __post_init__(self) -> None:
        for name, kind in {"whitening": float, "members": float, "indices": np.int64}.items():
            array = np.array(getattr(self, name), dtype=kind)
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        object.__setattr__(self, "n_rows", int(self.n_rows))
        n = len(self.indices) if self.indices.ndim == 1 else 0
        if n == 0 or self.whitening.shape != (n, n) or self.members.shape != (n, n):
            raise ModelError(
                f"An active set of whitening {self.whitening.shape}, members {self.members.shape} "
                f"and indices {self.indices.shape} is damaged: build it from the training rows."
            )
        if not (np.isfinite(self.whitening).all() and np.isfinite(self.members).all()):
            raise ModelError("An active set holds a number that is not finite: build it again.")
        if self.indices.min() < ARTIFICIAL or self.indices.max() >= self.n_rows:
            raise ModelError(f"An active set points beyond its {self.n_rows} rows: build it again.")

    @classmethod
    def of(cls, rows: ArrayLike) -> Self:
        """Choose the active set of training rows, shape (n_rows, n_basis).

        Raises
        ------
        InputError
            If the rows are no matrix of finite numbers, or all zero.
        """
        training = _matrix(rows)
        whitening, dropped = _whitening(training)
        n = len(training)
        artificial = np.eye(len(whitening))[dropped] / np.sqrt(n)
        pool = np.concatenate([training @ whitening, artificial])
        _, pivots = qr(pool.T, mode="r", pivoting=True, check_finite=False)
        members = maxvol(pool, pivots[: len(whitening)])
        return cls(whitening, pool[members], np.where(members < n, members, ARTIFICIAL), n)

    @property
    def n_basis(self) -> int:
        """Number of basis functions."""
        return len(self.indices)

    @property
    def rank(self) -> int:
        """Number of active rows that are training rows."""
        return int(np.count_nonzero(self.indices != ARTIFICIAL))

    @property
    def rows(self) -> tuple[int, ...]:
        """The training rows in the active set, in ascending order."""
        return tuple(int(index) for index in np.sort(self.indices[self.indices != ARTIFICIAL]))

    def grade(self, rows: ArrayLike) -> FloatArray:
        """Return the grade of each row.

        Parameters
        ----------
        rows
            Shape (n, n_basis).

        Returns
        -------
        Shape (n,), dimensionless, at least zero.

        Raises
        ------
        InputError
            If the rows do not have `n_basis` finite columns.
        """
        return _grades(_matrix(rows, self.n_basis), self._to_coefficients)

    def update(self, rows: ArrayLike) -> Self:
        """Return the active set of the present members and further rows, shape (n, n_basis).

        Row i of `rows` gets the index ``n_rows + i``.  The volume never decreases, and the grades
        of all members and `rows` are at most :data:`TOLERANCE` afterwards.  Those of training rows
        that are no members can rise above it: after a fit, build the set from all rows.

        The whitening stays.  It is a choice of coordinates, which grades do not depend on; and the
        artificial rows keep their meaning, so that grades before and after can be compared.
        """
        further = _matrix(rows, self.n_basis)
        pool = np.concatenate([self.members, further @ self.whitening])
        members = maxvol(pool, np.arange(self.n_basis))
        numbers = np.concatenate([self.indices, self.n_rows + np.arange(len(further))])
        n_rows = self.n_rows + len(further)
        return type(self)(self.whitening, pool[members], numbers[members], n_rows)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return plain arrays for ``numpy.savez``; :meth:`from_arrays` reads them."""
        return {
            "whitening": self.whitening,
            "members": self.members,
            "indices": self.indices,
            "n_rows": np.array(self.n_rows),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the active set that :meth:`to_arrays` wrote.

        Raises
        ------
        ModelError
            If an array is missing or damaged.
        """
        names = ("whitening", "members", "indices", "n_rows")
        missing = [name for name in names if name not in arrays]
        if missing:
            raise ModelError(f"An active set lacks {', '.join(missing)}: build it again.")
        try:
            return cls(**{name: arrays[name] for name in names})  # type: ignore[arg-type]
        except (TypeError, ValueError) as err:
            raise ModelError(f"An active set cannot be read ({err}): build it again.") from err

    @cached_property
    def _to_coefficients(self) -> FloatArray:
        return np.asarray(self.whitening @ np.linalg.inv(self.members))


def maxvol(
    pool: FloatArray, start: NDArray[np.integer[Any]], *, tolerance: float = TOLERANCE
) -> IntArray:
    """Return the rows of a submatrix that no single exchange enlarges by more than `tolerance`.

    With A the chosen rows of the pool P, the largest element of :math:`|P A^{-1}|` names the
    exchange that gains most; the coefficients follow by a rank-one update (Sherman-Morrison).
    Only rows with a coefficient above `tolerance` are followed; all are looked at again, with
    coefficients computed afresh, until there is none.  Should rounding feign a gain, as it can
    when rows differ by more than 10¹⁶ in size, the last rows that did gain are kept.

    Parameters
    ----------
    pool
        Shape (n_rows, n).
    start
        Shape (n,): rows that are linearly independent.
    tolerance
        Above one.

    Returns
    -------
    Shape (n,).

    Raises
    ------
    InputError
        If the determinant of `start` is zero.
    """
    members = np.array(start, dtype=np.int64)
    _, volume = np.linalg.slogdet(pool[members])
    if volume == -np.inf:
        raise InputError("The first rows of maxvol are linearly dependent: give independent ones.")
    while True:
        inverse = np.asarray(np.linalg.inv(pool[members]), dtype=np.float64)
        violators = np.flatnonzero(_grades(pool, inverse) > tolerance)
        proposed = _exchange(pool[violators] @ inverse, violators, members, tolerance)
        _, larger = np.linalg.slogdet(pool[proposed])
        if len(violators) == 0 or larger <= volume:
            return members
        members, volume = proposed, larger


def select_add(
    train_rows: ArrayLike,
    candidate_rows: ArrayLike,
    owners: ArrayLike,
    n_max: int,
    *,
    threshold: float = EXTENDS,
) -> tuple[int, ...]:
    """Return the candidate configurations that the active set needs, the most needed first.

    The configuration with the row of highest grade is taken, all of its rows are offered to the
    active set, and so on until no candidate has a grade above `threshold` or `n_max` are taken.
    One whose rows are all displaced by later ones does not count.  Of many candidates only those
    of highest grade at the beginning are followed, :data:`FOLLOWED` for each one wanted.

    Parameters
    ----------
    train_rows
        Shape (n_train, n_basis).  If there is none that is not zero, the configuration with the
        row of largest leverage comes first.
    candidate_rows
        Shape (n_candidates, n_basis); several rows may belong to one configuration.
    owners
        Configuration that each candidate row belongs to, shape (n_candidates,).
    n_max
        Largest number of configurations.
    threshold
        Grade that a configuration must exceed.

    Raises
    ------
    InputError
        If shapes do not fit, a number is not finite, or `n_max` is negative.
    """
    candidates = _matrix(candidate_rows)
    owner_of = _owners(owners, len(candidates))
    if n_max < 0:
        raise InputError(f"{n_max} configurations cannot be selected: give n_max of at least 0.")
    if n_max == 0 or not candidates.any():
        return ()
    taken: list[int] = []
    offered: list[int] = []  # owner of each row after the training rows
    if np.any(train_rows):
        active = ActiveSet.of(train_rows)
        n_train = active.n_rows
        _matrix(candidates, active.n_basis)
    else:
        taken.append(_of_largest_leverage(candidates, owner_of))
        active, n_train = ActiveSet.of(candidates[owner_of == taken[0]]), 0
        offered = [taken[0]] * active.n_rows
    candidates, owner_of = _highest(active.grade(candidates), candidates, owner_of, n_max)
    waiting = ~np.isin(owner_of, taken)
    while len(needed := _needed(taken, active, n_train, offered)) < n_max and waiting.any():
        grades = np.where(waiting, active.grade(candidates), 0.0)
        best = int(np.argmax(grades))
        if grades[best] <= threshold:
            break
        mine = owner_of == owner_of[best]
        taken.append(int(owner_of[best]))
        offered += [taken[-1]] * int(np.count_nonzero(mine))
        active = active.update(candidates[mine])
        waiting &= ~mine
    return needed


def _highest(
    grades: FloatArray, rows: FloatArray, owners: IntArray, n_max: int
) -> tuple[FloatArray, IntArray]:
    """Rows and owners of the configurations with the highest grades."""
    names, places = np.unique(owners, return_inverse=True)
    n_followed = FOLLOWED * max(n_max, FOLLOWED)
    if len(names) <= n_followed:
        return rows, owners
    highest = configuration_grades(grades, places, len(names))
    kept = np.isin(places, np.argsort(-highest, kind="stable")[:n_followed])
    return rows[kept], owners[kept]


def configuration_grades(grades: ArrayLike, owners: ArrayLike, n_configs: int) -> FloatArray:
    """Return the highest grade among the atoms of each configuration, shape (n_configs,).

    Parameters
    ----------
    grades
        Of the atoms, shape (n,).
    owners
        Configuration of each atom, from 0 to `n_configs` - 1, shape (n,).
    n_configs
        How many configurations there are; one without atoms gets zero.

    Raises
    ------
    InputError
        If the shapes do not fit or an owner is out of range.
    """
    values = np.asarray(grades, dtype=float)
    owner_of = _owners(owners, len(values))
    if len(owner_of) and (owner_of.min() < 0 or owner_of.max() >= n_configs):
        raise InputError(f"The owners of the grades must lie between 0 and {n_configs - 1}.")
    highest = np.zeros(n_configs)
    np.maximum.at(highest, owner_of, values)
    return highest


def _whitening(rows: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return the matrix that whitens rows, and which of its columns are dropped directions.

    The singular values come from the triangle of a QR decomposition, not from the Gram matrix,
    whose condition number is the square.
    """
    if not np.any(rows):
        raise InputError("An active set needs a training row that is not zero.")
    scales = np.sqrt(np.mean(rows**2, axis=0))
    scales[scales == 0.0] = scales.max()  # an unseen column is measured by the largest one
    triangle = np.linalg.qr(rows / scales, mode="r")
    _, values, right = np.linalg.svd(triangle, full_matrices=True)
    singular = np.zeros(len(right))
    singular[: len(values)] = values
    least = RANK_TOLERANCE * singular[0]
    return right.T / np.maximum(singular, least) / scales[:, None], singular < least


def _exchange(
    coefficients: FloatArray, rows: IntArray, members: IntArray, tolerance: float
) -> IntArray:
    """Return members exchanged for `rows` of the pool until no coefficient exceeds the tolerance.

    The array of coefficients, shape (n_rows, n), is overwritten.
    """
    members = members.copy()
    while len(rows):
        low, high = int(coefficients.argmin()), int(coefficients.argmax())
        place = low if -coefficients.flat[low] > coefficients.flat[high] else high
        i, k = divmod(place, coefficients.shape[1])
        pivot = float(coefficients[i, k])
        if abs(pivot) <= tolerance:
            break
        row = coefficients[i].copy()
        row[k] -= 1.0
        coefficients -= np.outer(coefficients[:, k], row / pivot)
        members[k] = rows[i]
    return members


def _needed(
    taken: list[int], active: ActiveSet, n_train: int, offered: list[int]
) -> tuple[int, ...]:
    holders = {offered[index - n_train] for index in active.rows if index >= n_train}
    return tuple(owner for owner in taken if owner in holders)


def _of_largest_leverage(rows: FloatArray, owners: IntArray) -> int:
    whitening, _ = _whitening(rows)
    return int(owners[np.argmax(np.sum((rows @ whitening) ** 2, axis=1))])


def _grades(rows: FloatArray, to_coefficients: FloatArray) -> FloatArray:
    grades = np.empty(len(rows))
    for start in range(0, len(rows), _CHUNK):
        part = slice(start, start + _CHUNK)
        grades[part] = np.abs(rows[part] @ to_coefficients).max(axis=1)
    return grades


def _matrix(rows: ArrayLike, n_basis: int | None = None) -> FloatArray:
    matrix = np.asarray(rows, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] == 0 or n_basis not in (None, matrix.shape[1]):
        columns = "n_basis" if n_basis is None else n_basis
        raise InputError(
            f"Rows of basis functions have shape {matrix.shape}, but (n, {columns}) is needed."
        )
    if not np.isfinite(matrix).all():
        raise InputError("A row of basis functions holds a number that is not finite.")
    return matrix


def _owners(owners: ArrayLike, n: int) -> IntArray:
    array = np.asarray(owners)
    if array.shape != (n,) or (n and not np.issubdtype(array.dtype, np.integer)):
        raise InputError(
            f"The owners of {n} rows must be {n} integers, not {array.dtype} {array.shape}."
        )
    return array.astype(np.int64)
