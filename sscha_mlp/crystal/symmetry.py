"""Space-group operations and the projections that they define.

The group is that of spglib, non-symmorphic operations included, restricted to the operations
that map the supercell lattice onto itself.  Operations are kept in lattice coordinates, so that
they stay those of the crystal under any strain that the group allows.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import spglib
from numpy.typing import NDArray

from sscha_mlp.crystal.structure import Crystal, FloatArray, IntArray, read_only
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.errors import StructureError

SYMMETRY_TOLERANCE: float = 1.0e-4
"""Largest distance (Å) between an atom's image under an operation and an atom."""


@dataclass(frozen=True, eq=False)
class SpaceGroup:
    """Operations of a crystal that also map a supercell onto itself.

    Parameters
    ----------
    supercell
        The supercell on which the operations act.
    rotations
        In lattice coordinates, shape (n_operations, 3, 3), whole numbers: ``x' = W x + w``.
    translations
        In lattice coordinates, shape (n_operations, 3).
    international
        Hermann-Mauguin symbol.
    number
        Number of the space group in the International Tables.
    """

    supercell: Supercell
    rotations: IntArray
    translations: FloatArray
    international: str
    number: int

    def __post_init__(self) -> None:
        """Make the arrays read-only."""
        object.__setattr__(self, "rotations", read_only(self.rotations, np.int64))
        object.__setattr__(self, "translations", read_only(self.translations))

    @property
    def n_operations(self) -> int:
        """Number of operations, lattice translations not counted."""
        return len(self.rotations)

    @cached_property
    def cartesian_rotations(self) -> FloatArray:
        """Rotations in Cartesian coordinates, shape (n_operations, 3, 3)."""
        lattice = self.supercell.primitive.cell.T
        return read_only(lattice @ self.rotations @ np.linalg.inv(lattice))

    @cached_property
    def permutations(self) -> IntArray:
        """Supercell atom onto which each atom is mapped, shape (n_operations, n_atoms)."""
        return read_only(_permutations(self), np.int64)

    def symmetrise_tensor(self, tensor: NDArray[np.float64]) -> FloatArray:
        """Average a Cartesian tensor of rank two over the group, shape (..., 3, 3)."""
        rotations = self.cartesian_rotations
        turned = np.einsum("gij,...jk,glk->...il", rotations, tensor, rotations, optimize=True)
        averaged: FloatArray = turned / self.n_operations
        return 0.5 * (averaged + np.swapaxes(averaged, -1, -2))

    def symmetrise_vectors(self, vectors: NDArray[np.float64]) -> FloatArray:
        """Average a vector per primitive atom over the group.

        Parameters
        ----------
        vectors
            Shape (..., n_primitive, 3), for example forces on the centroids.
        """
        n_primitive = self.supercell.primitive.n_atoms
        result = np.zeros_like(vectors)
        for rotation, permutation in zip(self.cartesian_rotations, self.permutations, strict=True):
            image = self.supercell.primitive_index[permutation[:n_primitive]]
            result[..., image, :] += vectors @ rotation.T
        return result / self.n_operations

    def symmetrise_force_constants(self, force_constants: NDArray[np.float64]) -> FloatArray:
        """Average compact force constants over the group.

        Parameters
        ----------
        force_constants
            Shape (..., n_primitive, n_atoms, 3, 3).
        """
        result = np.zeros_like(force_constants)
        for rotation, (rows, columns) in zip(
            self.cartesian_rotations, self._compact_indices, strict=True
        ):
            turned = np.einsum(
                "ij,...jk,lk->...il", rotation, force_constants, rotation, optimize=True
            )
            result[..., rows[:, None], columns, :, :] += turned
        return result / self.n_operations

    @cached_property
    def _compact_indices(self) -> list[tuple[IntArray, IntArray]]:
        """For each operation the row and columns that compact force constants move to."""
        supercell = self.supercell
        n_primitive = supercell.primitive.n_atoms
        cells = supercell.translations[np.arange(supercell.n_atoms) // n_primitive]
        indices = []
        for permutation in self.permutations:
            rows = permutation[:n_primitive]
            shifted = cells[permutation][None, :, :] - cells[rows][:, None, :]
            columns = supercell.cell_index(shifted) * n_primitive
            columns += supercell.primitive_index[permutation][None, :]
            indices.append((supercell.primitive_index[rows], columns))
        return indices

    def equivalent_qpoints(self) -> IntArray:
        """Label of the star that each commensurate wave vector belongs to, shape (n_cells,).

        Stars are joined by time reversal (q and -q).
        """
        supercell = self.supercell
        size = np.array(supercell.size)
        labels = np.full(supercell.n_cells, -1, dtype=np.int64)
        reciprocal = np.linalg.inv(self.rotations.astype(float)).transpose(0, 2, 1)
        for index, qpoint in enumerate(supercell.qpoints):
            if labels[index] >= 0:
                continue
            images = reciprocal @ qpoint
            images = np.concatenate([images, -images]) * size
            labels[supercell.cell_index(np.rint(images).astype(np.int64))] = index
        return labels


def _permutations(group: SpaceGroup) -> NDArray[np.int64]:
    """Find the image of each supercell atom under each operation."""
    supercell = group.supercell
    primitive = supercell.primitive
    scaled = supercell.crystal.positions @ np.linalg.inv(primitive.cell)
    result = np.empty((group.n_operations, supercell.n_atoms), dtype=np.int64)
    for g, (rotation, shift) in enumerate(zip(group.rotations, group.translations, strict=True)):
        images = scaled @ rotation.T + shift
        remaining = np.ones(supercell.n_atoms, dtype=bool)
        for b in range(primitive.n_atoms):
            offset = images - primitive.scaled_positions[b]
            cells = np.rint(offset)
            distance = np.linalg.norm((offset - cells) @ primitive.cell, axis=1)
            found = distance < 20 * SYMMETRY_TOLERANCE
            index = supercell.cell_index(cells.astype(np.int64)) * primitive.n_atoms + b
            result[g, found] = index[found]
            remaining &= ~found
        if np.any(remaining):
            raise StructureError(
                f"Symmetry operation {g} of {group.international} maps atom "
                f"{int(np.flatnonzero(remaining)[0])} onto no atom; the structure moved away from "
                "its symmetry. Start from a structure relaxed with its symmetry kept."
            )
    return result


def find_space_group(supercell: Supercell, *, tolerance: float = SYMMETRY_TOLERANCE) -> SpaceGroup:
    """Find the space group of a crystal with spglib.

    Parameters
    ----------
    supercell
        The primitive cell and its repetitions; operations that do not map the supercell lattice
        onto itself are left out.
    tolerance
        Distance within which atoms count as equivalent, Å.

    Raises
    ------
    StructureError
        If spglib finds no group.
    """
    primitive = supercell.primitive
    cell = (primitive.cell, primitive.scaled_positions, primitive.numbers)
    dataset = spglib.get_symmetry_dataset(cell, symprec=tolerance)
    if dataset is None:
        raise StructureError("spglib found no space group; check the structure for overlaps.")
    size = np.array(supercell.size)
    scaled = dataset.rotations * size[None, None, :] / size[None, :, None]
    keep = np.all(np.abs(scaled - np.rint(scaled)) < 1.0e-9, axis=(1, 2))
    return SpaceGroup(
        supercell=supercell,
        rotations=dataset.rotations[keep],
        translations=dataset.translations[keep],
        international=str(dataset.international),
        number=int(dataset.number),
    )


def symmetrise_structure(crystal: Crystal, *, tolerance: float = SYMMETRY_TOLERANCE) -> Crystal:
    """Return the crystal with its cell and positions averaged over its own space group."""
    supercell = Supercell(crystal, (1, 1, 1))
    group = find_space_group(supercell, tolerance=tolerance)
    metric = crystal.cell @ crystal.cell.T
    rotations = group.rotations.astype(float)
    # The metric tensor of the lattice is invariant: W^T G W = G in column convention.
    averaged = np.mean(rotations.transpose(0, 2, 1) @ metric @ rotations, axis=0)
    stretch = _symmetric_stretch(crystal.cell, averaged)
    relaxed = Crystal(
        cell=crystal.cell @ stretch,
        positions=crystal.scaled_positions @ crystal.cell @ stretch,
        numbers=crystal.numbers,
        masses=crystal.masses,
    )
    scaled = np.zeros((crystal.n_atoms, 3))
    for rotation, shift, permutation in zip(
        rotations, group.translations, group.permutations, strict=True
    ):
        image = crystal.scaled_positions @ rotation.T + shift
        target = crystal.scaled_positions[permutation]
        scaled[permutation] += target + (image - target - np.rint(image - target))
    scaled /= group.n_operations
    return Crystal(relaxed.cell, scaled @ relaxed.cell, crystal.numbers, crystal.masses)


def _symmetric_stretch(
    cell: NDArray[np.float64], metric: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Symmetric matrix S such that ``cell @ S`` has the given metric tensor."""
    square = np.linalg.solve(cell, np.linalg.solve(cell, metric).T)
    values, vectors = np.linalg.eigh(0.5 * (square + square.T))
    return np.asarray((vectors * np.sqrt(values)) @ vectors.T)
