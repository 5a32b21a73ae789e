"""Which mode of one state is which of another, at the wave vectors of a supercell."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from sscha_mlp import units
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.reciprocal import ComplexArray
from sscha_mlp.crystal.structure import FloatArray, IntArray
from sscha_mlp.errors import InputError

TRANSLATION_THZ = 1.0e-6
"""A mode of a result below this is a translation, THz: it is set to zero where a state is made."""

DEGENERATE_THZ = 1.0e-3
"""Modes of one wave vector that differ by less (THz) are one level."""


@dataclass(frozen=True)
class Level:
    """Modes of one wave vector with the same frequency.

    Parameters
    ----------
    first
        Index of the first mode, counted from 0 in rising order.
    degeneracy
        How many modes.
    """

    first: int
    degeneracy: int

    @property
    def modes(self) -> slice:
        """Their places among the modes of the wave vector."""
        return slice(self.first, self.first + self.degeneracy)


def levels(
    frequencies_thz: NDArray[np.float64], tolerance_thz: float = DEGENERATE_THZ
) -> list[Level]:
    """Group frequencies (n_bands,) of one wave vector, ascending, into levels; none of none."""
    if len(frequencies_thz) == 0:
        return []
    jumps = np.flatnonzero(np.diff(frequencies_thz) > tolerance_thz) + 1
    starts = [0, *jumps.tolist(), len(frequencies_thz)]
    return [Level(a, b - a) for a, b in pairwise(starts)]


def matched_frequencies(state: DynamicalMatrix, other: DynamicalMatrix) -> FloatArray:
    """Frequencies of another state, each beside the mode of this one that it resembles most.

    At each wave vector the modes are paired so that the summed overlap of their polarisation
    vectors is largest; the overlap of degenerate modes is that of the spaces that they span.

    Parameters
    ----------
    state
        The state that gives the order.
    other
        Same crystal and supercell, other force constants, another cell perhaps.

    Returns
    -------
    Angular frequencies, shape (n_cells, 3 n_primitive), ``sqrt(eV/(amu Å²))``: those of ``other``
    in the order of :meth:`DynamicalMatrix.frequencies_at_qpoints` of ``state``.

    Raises
    ------
    InputError
        If the two are not of the same atoms and supercell.
    """
    same = state.supercell.size == other.supercell.size
    if not same or not np.array_equal(state.crystal.numbers, other.crystal.numbers):
        raise InputError("Modes of two different crystals or supercells cannot be compared.")
    grid = state.supercell.grid
    ours, theirs = _sorted(state), _sorted(other)
    matched = np.empty_like(ours[0])
    for q in range(grid.n_half):
        pairs = _pairs(ours[0][q], ours[1][q], theirs[0][q], theirs[1][q])
        matched[q] = theirs[0][q][pairs]
    return np.asarray(grid.full(matched))


def _sorted(state: DynamicalMatrix) -> tuple[FloatArray, ComplexArray]:
    """Frequencies and polarisations on the half grid, ascending at each wave vector."""
    modes = state.modes
    order = np.argsort(modes.at_q, axis=1, kind="stable")
    vectors = np.take_along_axis(modes.polarisations, order[:, None, :], axis=2)
    return np.take_along_axis(modes.at_q, order, axis=1), vectors


def _pairs(
    ours: FloatArray, vectors: ComplexArray, theirs: FloatArray, others: ComplexArray
) -> IntArray:
    """Mode of the other state for each mode of this one, at one wave vector."""
    overlap = np.abs(vectors.conj().T @ others) ** 2
    rows, columns = _shared(ours), _shared(theirs)
    _, pairs = linear_sum_assignment(rows @ overlap @ columns, maximize=True)
    # Degenerate modes have no order of their own: they are matched by ascending frequency.
    result = np.asarray(pairs, dtype=np.int64)
    for level in levels(ours / units.THZ):
        result[level.modes] = np.sort(result[level.modes])
    return result


def _shared(frequencies: FloatArray) -> FloatArray:
    """Matrix (n, n) that averages over the modes of each level."""
    matrix = np.zeros((len(frequencies), len(frequencies)))
    for level in levels(frequencies / units.THZ):
        matrix[level.modes, level.modes] = 1.0 / level.degeneracy
    return matrix
