r"""How space-group operations act on vector fields at the wave vectors, in any basis of each.

An operation turns the field ``x(q)`` into a field with ``S_g(q) x(q)`` at ``q' = W^-T q``, where
``S_g(q)`` takes atom a to atom a' of the cell t_a: ``exp(-2 pi i q' . t_a) R``.  A tensor of rank
three with ``q + k + l = 0`` turns with three such matrices, and what the group allows is its
average.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sscha_mlp.crystal.reciprocal import ComplexArray
from sscha_mlp.crystal.structure import IntArray
from sscha_mlp.crystal.symmetry import SpaceGroup


@dataclass(frozen=True, eq=False)
class Representation:
    """A space group on fields given in a basis at each wave vector.

    Parameters
    ----------
    group
        Operations of the supercell.
    basis
        Orthonormal columns at each wave vector of the half grid, (n_half, 3 n_primitive,
        3 n_primitive): mass-weighted polarisation vectors, for example.
    """

    group: SpaceGroup
    basis: ComplexArray

    @property
    def image(self) -> IntArray:
        """Wave vector that each operation takes each wave vector to, (n_operations, n_cells)."""
        return self.group.stars.moved

    @cached_property
    def matrices(self) -> ComplexArray:
        """``S_g(q)`` in the basis, shape (n_operations, n_cells, n_bands, n_bands)."""
        supercell = self.group.supercell
        n = supercell.primitive.n_atoms
        basis = supercell.grid.full(self.basis)
        images = self.group.permutations[:, :n]
        result = np.empty((len(images), *basis.shape), dtype=basis.dtype)
        for g, (rotation, atoms) in enumerate(
            zip(self.group.cartesian_rotations, images, strict=True)
        ):
            turned = supercell.qpoints[self.image[g]]
            cells = supercell.translations[atoms // n]
            phases = supercell.grid.reduced(np.exp(-2j * np.pi * turned @ cells.T))
            vectors = basis.reshape(len(basis), n, 3, -1)
            moved = np.empty_like(vectors)
            moved[:, atoms % n] = phases[:, :, None, None] * (rotation @ vectors)
            adjoint = basis[self.image[g]].conj().transpose(0, 2, 1)
            result[g] = adjoint @ moved.reshape(basis.shape)
        return result

    @property
    def opposite(self) -> IntArray:
        """Index of ``-q``, shape (n_cells,)."""
        return self.group.supercell.grid.opposite

    @cached_property
    def thirds(self) -> IntArray:
        """Wave vector ``-q - k`` of each pair q, k, shape (n_cells, n_cells)."""
        supercell = self.group.supercell
        t = supercell.translations
        return supercell.cell_index(-t[:, None] - t[None, :])

    @property
    def irreducible(self) -> IntArray:
        """One wave vector of each star on the full grid, shape (n_irreducible,)."""
        return np.asarray(self.group.supercell.grid.index[self.group.stars.irreducible])

    def fold(self, tensors: ComplexArray) -> ComplexArray:
        """Average tensors of rank three over the group.

        Parameters
        ----------
        tensors
            Shape (n_cells, n_bands, n_cells, n_bands, n_bands): wave vector and band of the first
            index, wave vector and band of the second, band of the third.

        Returns
        -------
        Those of the irreducible wave vectors, (n_irreducible, n_bands, n_cells, n_bands, n_bands).
        """
        shape = (len(self.irreducible), *tensors.shape[1:])
        result: ComplexArray = np.zeros(shape, dtype=tensors.dtype)
        for place, q in enumerate(self.irreducible):
            for g, image in enumerate(self.image):
                adjoint = self.matrices[g].conj().transpose(0, 2, 1)
                taken = tensors[image[q]][:, image]
                result[place] += self._turn(taken, adjoint, int(q))
        return np.asarray(result / len(self.image))

    def spread(self, tensors: ComplexArray) -> ComplexArray:
        """Tensors at all wave vectors from those that :meth:`fold` returns."""
        shape = (self.group.supercell.n_cells, *tensors.shape[1:])
        result = np.empty(shape, dtype=tensors.dtype)
        for place, q in enumerate(self.irreducible):
            targets, first = np.unique(self.image[:, q], return_index=True)
            for target, g in zip(targets, first, strict=True):
                turned = self._turn(tensors[place], self.matrices[g], int(q))
                result[target][:, self.image[g]] = turned
                result[self.opposite[target]][:, self.opposite[self.image[g]]] = turned.conj()
        return result

    def _turn(self, tensor: ComplexArray, matrices: ComplexArray, q: int) -> ComplexArray:
        """Apply one matrix per wave vector to all three indices of (n_bands, n_cells, ...)."""
        third = matrices[self.thirds[q]].transpose(0, 2, 1)
        turned = matrices @ (tensor @ third)
        return np.asarray(np.tensordot(matrices[q], turned, axes=(1, 0)))
