"""Harmonic force constants by finite displacements of one atom of each orbit."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix, symmetrise
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.crystal.symmetry import SpaceGroup
from sscha_mlp.errors import InputError


@dataclass(frozen=True, eq=False)
class FiniteDisplacements:
    """Central differences of the forces by the coordinates of symmetrically distinct atoms.

    Parameters
    ----------
    group
        Space group of the supercell.
    distance
        Length of each displacement, Å.
    """

    group: SpaceGroup
    distance: float

    @cached_property
    def _images(self) -> NDArray[np.int64]:
        """Primitive atom onto which each one is mapped, shape (n_operations, n_primitive)."""
        supercell = self.group.supercell
        n_primitive = supercell.primitive.n_atoms
        return np.asarray(supercell.primitive_index[self.group.permutations[:, :n_primitive]])

    @cached_property
    def atoms(self) -> list[int]:
        """One primitive atom of each orbit of the group."""
        images = self._images
        return sorted({int(images[:, atom].min()) for atom in range(images.shape[1])})

    def configurations(self) -> list[Atoms]:
        """Return the displaced supercells: atom by atom, x, y, z, plus before minus."""
        frames = []
        for atom in self.atoms:
            for direction in range(3):
                for sign in (1, -1):
                    frame = self.group.supercell.crystal.to_ase()
                    frame.positions[atom, direction] += sign * self.distance
                    frames.append(frame)
        return frames

    def force_constants(self, forces: Sequence[NDArray[np.float64]]) -> DynamicalMatrix:
        """Return the force constants with the symmetry of the group and the sum rule.

        Parameters
        ----------
        forces
            Of each of the configurations, shape (n_atoms, 3), eV/Å.

        Raises
        ------
        InputError
            If there are not as many forces as configurations.
        """
        supercell = self.group.supercell
        if len(forces) != 6 * len(self.atoms):
            raise InputError(
                f"{len(forces)} sets of forces do not belong to {6 * len(self.atoms)} "
                "displacements; give those of exactly these configurations."
            )
        by_sign = np.array(forces).reshape(len(self.atoms), 3, 2, supercell.n_atoms, 3)
        rows = -(by_sign[:, :, 0] - by_sign[:, :, 1]) / (2 * self.distance)  # atom, i, J, j
        constants = np.zeros((supercell.primitive.n_atoms, supercell.n_atoms, 3, 3))
        constants[self.atoms] = rows.transpose(0, 2, 1, 3)
        filled = self.group.symmetrise_force_constants(constants)
        filled *= self._orbit_factors[:, None, None, None]
        return DynamicalMatrix(supercell, symmetrise(self.group, filled))

    @property
    def _orbit_factors(self) -> FloatArray:
        """Factor by which an average over the group misses rows that were not computed."""
        hits = np.zeros(self._images.shape[1])
        for atom in self.atoms:
            hits += np.bincount(self._images[:, atom], minlength=len(hits))
        return np.asarray(self.group.n_operations / hits)
