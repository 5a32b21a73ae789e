"""The commensurate wave vectors of a supercell, and Fourier transforms between them and its cells.

What is real in the supercell has conjugate values at q and -q, so that one of each pair is kept:
the half grid.  Sums over all wave vectors are sums over the half grid with weights one (q = -q)
and two.  The transform is unitary: sums of squares are the same on both sides.

Where every wave vector is its own opposite (grids of 1 or 2 along each direction) all values are
real, and are kept so: the arrays called complex here are then real.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from sscha_mlp.crystal.structure import FloatArray, IntArray

ComplexArray = NDArray[np.complex128]


@dataclass(frozen=True, eq=False)
class HalfGrid:
    """One wave vector of each pair q, -q of the grid that belongs to a supercell.

    Parameters
    ----------
    size
        Repetitions of the primitive cell.
    index
        Place of each kept wave vector in the full grid, shape (n_half,); q = 0 comes first.
    weights
        One where q = -q up to a reciprocal lattice vector, else two, shape (n_half,).
    opposite
        Index of -q, shape (n_cells,).
    place
        Kept wave vector, q or -q, of each wave vector of the full grid, shape (n_cells,).
    conjugated
        Whether it is -q that is kept, shape (n_cells,).
    """

    size: tuple[int, int, int]
    index: IntArray
    weights: FloatArray
    opposite: IntArray
    place: IntArray
    conjugated: NDArray[np.bool_]

    @classmethod
    def of(cls, size: tuple[int, int, int]) -> "HalfGrid":
        """Find the half grid of a supercell."""
        points = np.array(list(np.ndindex(*size)), dtype=np.int64)
        own = np.arange(len(points))
        opposite = np.asarray(np.ravel_multi_index(tuple(np.mod(-points, size).T), size))
        # The last component of what is kept is at most half of the grid, as in rfftn.
        last, other = points[:, 2], points[opposite, 2]
        kept = (last < other) | ((last == other) & (own <= opposite))
        index = np.flatnonzero(kept)
        position = np.full(len(points), -1, dtype=np.int64)
        position[index] = np.arange(len(index))
        place = np.where(kept, position, position[opposite])
        weights = np.where(opposite[index] == index, 1.0, 2.0)
        return cls(size, index.astype(np.int64), weights, opposite, place, ~kept)

    @property
    def n_half(self) -> int:
        """Number of kept wave vectors."""
        return len(self.index)

    @property
    def is_real(self) -> NDArray[np.bool_]:
        """Whether q = -q, so that values there are real, shape (n_half,)."""
        return np.asarray(self.weights == 1.0)

    def forward(self, values: NDArray[np.floating[Any]]) -> ComplexArray:
        """Unitary transform ``x(q) = sum_T x(T) exp(-2 pi i q . T) / sqrt(n_cells)``.

        Parameters
        ----------
        values
            Real, shape (n_cells, ...).

        Returns
        -------
        Shape (n_half, ...).
        """
        tail = values.shape[1:]
        grid = fft.rfftn(values.reshape(*self.size, *tail), axes=(0, 1, 2), norm="ortho")
        return self.reduced(grid.reshape(-1, *tail)[self._rfft_place])

    def reduced(self, values: ComplexArray) -> ComplexArray:
        """Values without their imaginary parts where all of them are zero."""
        return np.ascontiguousarray(values.real) if self.is_real.all() else values

    def backward(self, values: ComplexArray) -> FloatArray:
        """Undo :meth:`forward`: (n_half, ...) complex to (n_cells, ...) real."""
        tail = values.shape[1:]
        points = self._rfft_points
        grid, conjugated = values[self.place[points]], self.conjugated[points]
        grid[conjugated] = grid[conjugated].conj()
        n1, n2, n3 = self.size
        grid = grid.reshape(n1, n2, n3 // 2 + 1, *tail)
        real = fft.irfftn(grid, s=self.size, axes=(0, 1, 2), norm="ortho")
        return np.asarray(real.reshape(-1, *tail))

    def full(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values at all wave vectors, (n_cells, ...), from those of the half grid."""
        everywhere = values[self.place]
        if np.iscomplexobj(everywhere):
            everywhere[self.conjugated] = everywhere[self.conjugated].conj()
        return everywhere

    @cached_property
    def _rfft_points(self) -> IntArray:
        """Index in the full grid of each point that rfftn returns."""
        n1, n2, n3 = self.size
        points = np.arange(n1 * n2 * n3, dtype=np.int64).reshape(self.size)
        return points[:, :, : n3 // 2 + 1].ravel()

    @cached_property
    def _rfft_place(self) -> IntArray:
        """Place in the output of rfftn of each kept wave vector."""
        n1, n2, n3 = self.size
        points = np.unravel_index(self.index, self.size)
        return np.asarray(np.ravel_multi_index(points, (n1, n2, n3 // 2 + 1)), dtype=np.int64)


def dynamical(grid: HalfGrid, constants: FloatArray) -> ComplexArray:
    """``D(q) = sum_T Phi(0 a, T b) exp(2 pi i q . T)`` on the half grid.

    Parameters
    ----------
    grid
        Half grid of the supercell.
    constants
        Compact force constants, shape (n_primitive, n_atoms, 3, 3).

    Returns
    -------
    Shape (n_half, 3 n_primitive, 3 n_primitive), same unit; Hermitian when the force constants are
    symmetric.
    """
    n = len(constants)
    blocks = constants.reshape(n, -1, n, 3, 3).transpose(1, 0, 3, 2, 4)  # T, a, i, b, j
    at_q = grid.forward(np.ascontiguousarray(blocks)).conj() * np.sqrt(len(blocks))
    return np.asarray(at_q.reshape(grid.n_half, 3 * n, 3 * n))


def compact(grid: HalfGrid, matrices: ComplexArray) -> FloatArray:
    """Undo :func:`dynamical`: compact force constants of matrices on the half grid."""
    n = matrices.shape[-1] // 3
    blocks = matrices.conj().reshape(grid.n_half, n, 3, n, 3)
    in_cells = grid.backward(blocks)
    in_cells /= np.sqrt(len(in_cells))
    return np.ascontiguousarray(in_cells.transpose(1, 0, 3, 2, 4)).reshape(n, -1, 3, 3)


def hermitian(matrices: ComplexArray) -> ComplexArray:
    """Hermitian part of each matrix, shape (..., n, n)."""
    return np.asarray(0.5 * (matrices + np.swapaxes(matrices, -1, -2).conj()))
