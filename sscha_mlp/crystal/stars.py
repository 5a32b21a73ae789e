r"""The space group in reciprocal space: stars of wave vectors, and the projection on its matrices.

An operation ``x' = W x + w`` takes the wave vector q to ``q' = W^-T q`` and the dynamical matrix
(phase convention ``exp(2 pi i q . T)``) to

    D_a'b'(q') = exp(-2 pi i q' . t_a) R D_ab(q) R^T exp(2 pi i q' . t_b)

where atom a of the cell at the origin goes to atom a' of the cell t_a, and R is W in Cartesian
coordinates.  A matrix that the group allows is fixed by those at one wave vector of each star,
which are averages over all operations; time reversal, ``D(-q) = D(q)*``, joins the stars of q and
-q.  All that depends on lattice and group alone is made once; a projection is one matrix product.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sscha_mlp.crystal.reciprocal import ComplexArray, HalfGrid
from sscha_mlp.crystal.structure import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class _Moves:
    """How pairs of atoms move under a list of (wave vector, operation), shape (...) each.

    Parameters
    ----------
    grid
        Half grid of the supercell.
    place
        Image of the wave vector on it.
    conjugated
        Whether the image is minus the kept wave vector.
    operation
        The operation.
    phases
        ``exp(2 pi i q' . t_a)``, shape (..., n_primitive).
    """

    grid: HalfGrid
    place: IntArray
    conjugated: NDArray[np.bool_]
    operation: IntArray
    phases: ComplexArray

    @cached_property
    def pair_phases(self) -> ComplexArray:
        """``exp(2 pi i q' . (t_a - t_b))``, shape (..., n_primitive, n_primitive, 1)."""
        pairs = self.phases[..., :, None, None] * self.phases.conj()[..., None, :, None]
        return self.grid.reduced(pairs)


@dataclass(frozen=True, eq=False)
class Stars:
    """Stars of the commensurate wave vectors under a space group with time reversal.

    Parameters
    ----------
    grid
        Half grid of the supercell.
    moved
        Wave vector that each operation takes each wave vector to, shape (n_operations, n_cells).
    labels
        Star of each wave vector of the full grid, shape (n_cells,): the index of its first member.
    irreducible
        Kept wave vectors, one of each star, shape (n_irreducible,), indices of the half grid.
    images
        Atom of the primitive cell onto which each is mapped, shape (n_operations, n_primitive).
    rotations
        Cartesian, shape (n_operations, 3, 3).
    """

    grid: HalfGrid
    moved: IntArray
    labels: IntArray
    irreducible: IntArray
    images: IntArray
    rotations: FloatArray
    _folding: _Moves
    _spreading: _Moves
    _source: IntArray

    @classmethod
    def of(
        cls,
        grid: HalfGrid,
        rotations: IntArray,
        cartesian: FloatArray,
        images: IntArray,
        cells: IntArray,
    ) -> "Stars":
        """Find the stars.

        Parameters
        ----------
        grid
            Half grid of the supercell.
        rotations
            In lattice coordinates, shape (n_operations, 3, 3).
        cartesian
            The same in Cartesian coordinates.
        images
            Primitive atom onto which each primitive atom is mapped, (n_operations, n_primitive).
        cells
            Lattice translation of the cell that it is mapped into, (n_operations, n_primitive, 3).
        """
        size = np.array(grid.size)
        qpoints = np.array(list(np.ndindex(*grid.size))) / size
        inverse_transposed = np.linalg.inv(rotations.astype(float)).transpose(0, 2, 1)
        turned = np.einsum("gij,qj->gqi", inverse_transposed, qpoints) * size
        turned = np.mod(np.rint(turned).astype(np.int64), size)
        moved = np.asarray(np.ravel_multi_index(tuple(np.moveaxis(turned, -1, 0)), grid.size))
        # The images of q under a group are its whole orbit; q and -q are joined.
        labels = np.minimum(moved.min(axis=0), grid.opposite[moved].min(axis=0))
        # The representative of a star is its first member on the half grid.
        of_half = labels[grid.index]
        irreducible = np.array([np.flatnonzero(of_half == s)[0] for s in np.unique(of_half)])
        image_qpoints = qpoints[moved]  # g, q, 3
        phases = np.exp(2j * np.pi * np.einsum("gqi,gai->gqa", image_qpoints, cells))

        def moves(half: IntArray, operation: IntArray) -> _Moves:
            q = grid.index[half]
            image = moved[operation, q]
            place, conjugated = grid.place[image], grid.conjugated[image]
            return _Moves(grid, place, conjugated, operation, phases[operation, q])

        n_operations = len(rotations)
        folding = moves(irreducible[:, None], np.arange(n_operations)[None, :])
        source, operation = _ways(grid, folding.place)
        spreading = moves(irreducible[source], operation)
        return cls(grid, moved, labels, irreducible, images, cartesian, folding, spreading, source)

    @cached_property
    def _fold_turn(self) -> FloatArray:
        """``R^T D R`` on flattened blocks, all operations, shape (9 n_operations, 9)."""
        turns = np.einsum("gki,glj->gklij", self.rotations, self.rotations)
        return np.asarray(turns.reshape(-1, 9))

    @cached_property
    def _spread_turn(self) -> FloatArray:
        """``R D R^T`` on flattened blocks for each kept wave vector, shape (n_half, 1, 9, 9)."""
        rotations = self.rotations[self._spreading.operation]
        turns = np.einsum("qik,qjl->qklij", rotations, rotations)
        return np.asarray(turns.reshape(-1, 1, 9, 9))

    @property
    def n_irreducible(self) -> int:
        """Number of stars."""
        return len(self.irreducible)

    def average(self, matrices: ComplexArray) -> ComplexArray:
        """Average matrices over the group.

        Parameters
        ----------
        matrices
            Shape (n_half, 3 n_primitive, 3 n_primitive).
        """
        return self.spread(self.fold(matrices))

    def fold(self, matrices: ComplexArray) -> ComplexArray:
        """Averages over the group at the irreducible wave vectors, (n_irreducible, 3n, 3n)."""
        moves, images = self._folding, self.images
        n_operations, n = images.shape
        blocks = _to_blocks(matrices)
        # D_ab(q) = mean over g of R^T D_a'b'(q') R exp(2 pi i q' . (t_a - t_b))
        rows, columns = images[None, :, :, None], images[None, :, None, :]
        taken = blocks[moves.place[:, :, None, None], rows, columns]
        taken[moves.conjugated] = taken[moves.conjugated].conj()
        taken *= moves.pair_phases
        flat = taken.transpose(0, 2, 3, 1, 4).reshape(-1, n_operations * 9)
        return _from_blocks((flat @ self._fold_turn).reshape(-1, n, n, 9) / n_operations)

    def spread(self, matrices: ComplexArray) -> ComplexArray:
        """Matrices on the half grid, (n_half, 3n, 3n), from those at the irreducible ones."""
        moves, images = self._spreading, self.images
        blocks = _to_blocks(matrices)[self._source]
        turned = blocks @ self._spread_turn * moves.pair_phases.conj()
        result = np.empty_like(turned)
        target = images[moves.operation]
        half = np.arange(len(turned))
        result[half[:, None, None], target[:, :, None], target[:, None, :]] = turned
        result[moves.conjugated] = result[moves.conjugated].conj()
        return _from_blocks(result)


def _ways(grid: HalfGrid, places: IntArray) -> tuple[IntArray, IntArray]:
    """For each kept wave vector a star and an operation that lead there from its representative."""
    source = np.full(grid.n_half, -1, dtype=np.int64)
    operation = np.full(grid.n_half, -1, dtype=np.int64)
    for star in range(len(places)):
        reached, first = np.unique(places[star], return_index=True)
        source[reached], operation[reached] = star, first
    return source, operation


def _to_blocks(matrices: ComplexArray) -> ComplexArray:
    """(m, 3n, 3n) -> (m, n, n, 9)."""
    m, n = len(matrices), matrices.shape[-1] // 3
    return matrices.reshape(m, n, 3, n, 3).transpose(0, 1, 3, 2, 4).reshape(m, n, n, 9)


def _from_blocks(blocks: ComplexArray) -> ComplexArray:
    """(m, n, n, 9) -> (m, 3n, 3n)."""
    m, n = blocks.shape[:2]
    return blocks.reshape(m, n, n, 3, 3).transpose(0, 1, 3, 2, 4).reshape(m, 3 * n, 3 * n)
