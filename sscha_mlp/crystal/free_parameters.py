"""Lattice parameters and internal coordinates that symmetry leaves free, by their names.

The parameters are those of the conventional cell as spglib chooses it: a, b, c, the angles, and
the fractional coordinates of one atom of each orbit.  All are smooth functions of the primitive
cell and its positions, so that their errors follow from those of strain and centroids.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import spglib
from numpy.typing import NDArray

from sscha_mlp.crystal.structure import Crystal, FloatArray, IntArray
from sscha_mlp.crystal.symmetry import SYMMETRY_TOLERANCE, SpaceGroup
from sscha_mlp.errors import StructureError

_AXES: Final = ("x", "y", "z")
_LATTICE: Final = ("a", "b", "c", "alpha", "beta", "gamma")
_STEP: Final = 1.0e-5
_FREE: Final = 1.0e-6
_PAIRS: Final = ((1, 2), (0, 2), (0, 1))


@dataclass(frozen=True)
class FreeParameter:
    """One number that describes a crystal within its space group.

    Parameters
    ----------
    name
        ``a``, ``gamma``, or ``x(O 6c)`` for a coordinate of an orbit of atoms.
    value
        Å for a length, degrees for an angle, a fraction of the conventional cell for a coordinate.
    by_strain
        Derivative by each of the invariant strains of the group, shape (n_strains,).
    by_position
        Derivative by the positions at a fixed cell, shape (n_primitive, 3), 1/Å.
    """

    name: str
    value: float
    by_strain: FloatArray
    by_position: FloatArray

    @property
    def is_coordinate(self) -> bool:
        """Whether it is a coordinate of an atom."""
        return "(" in self.name


@dataclass(frozen=True, eq=False)
class _Setting:
    """The conventional cell of a crystal, as a change of basis that a strain does not touch."""

    crystal: Crystal
    group: SpaceGroup
    transformation: FloatArray
    shift: FloatArray
    orbits: IntArray
    letters: list[str]

    @classmethod
    def of(cls, crystal: Crystal, group: SpaceGroup) -> "_Setting":
        """Ask spglib, with the operations of the group alone."""
        cell = (crystal.cell, crystal.scaled_positions, crystal.species)
        dataset = spglib.get_symmetry_dataset(cell, symprec=SYMMETRY_TOLERANCE)
        if dataset is None:
            raise StructureError("spglib found no space group; check the structure for overlaps.")
        full = len(dataset.rotations) == group.n_operations
        images = group.stars.images
        return cls(
            crystal,
            group,
            np.asarray(dataset.transformation_matrix) if full else np.eye(3),
            np.asarray(dataset.origin_shift) if full else np.zeros(3),
            np.asarray(images.min(axis=0)),
            list(dataset.wyckoffs) if full else [""] * crystal.n_atoms,
        )

    @cached_property
    def to_conventional(self) -> FloatArray:
        """Matrix from positions (rows, Å) to fractions of the conventional cell."""
        return np.asarray(np.linalg.inv(self.crystal.cell) @ self.transformation.T)

    @cached_property
    def polar(self) -> NDArray[np.bool_]:
        """Conventional axes along which the origin is free."""
        change = self.transformation
        mean = change @ self.group.rotations.mean(axis=0) @ np.linalg.inv(change)
        return np.asarray(np.diag(mean) > 0.5)

    def lattice(self, cell: NDArray[np.float64]) -> FloatArray:
        """a, b, c (Å) and the three angles (degrees) of the conventional cell."""
        rows = np.linalg.inv(self.transformation).T @ cell
        lengths = np.linalg.norm(rows, axis=1)
        cosines = [rows[i] @ rows[j] / (lengths[i] * lengths[j]) for i, j in _PAIRS]
        return np.concatenate([lengths, np.degrees(np.arccos(cosines))])

    def free_axes(self, atom: int) -> list[int]:
        """Conventional axes whose coordinates of an atom are independent, and fixed by no symmetry.

        Along a polar axis the first atom is the origin.
        """
        projector = self.group.vector_projector
        n = self.crystal.n_atoms
        own = projector.reshape(n, 3, n, 3)[:, :, atom]
        allowed = own.reshape(-1, 3) @ self.to_conventional  # every motion, as it moves this atom
        if self.polar.any():
            allowed = allowed - projector.reshape(n, 3, n, 3)[:, :, 0].reshape(-1, 3) @ (
                self.to_conventional * self.polar
            )
        chosen: list[int] = []
        for axis in range(3):
            if np.linalg.matrix_rank(allowed[:, [*chosen, axis]], tol=_FREE) > len(chosen):
                chosen.append(axis)
        return chosen

    def coordinate(self, atom: int, axis: int) -> tuple[float, FloatArray]:
        """Value of a coordinate in [0, 1), and its derivative by the positions."""
        scaled = self.crystal.positions @ self.to_conventional + self.shift
        value = scaled[atom, axis]
        slope = np.zeros((self.crystal.n_atoms, 3))
        slope[atom] += self.to_conventional[:, axis]
        if self.polar[axis]:
            value -= scaled[0, axis]
            slope[0] -= self.to_conventional[:, axis]
        wrapped = float(value % 1.0)
        return (0.0 if 1.0 - wrapped < 1.0e-9 else wrapped), slope

    def name(self, atom: int, axis: int) -> str:
        """Return the name of a coordinate: axis, element, multiplicity and Wyckoff's letter."""
        same = np.flatnonzero(self.orbits == self.orbits[atom])
        cells = abs(np.linalg.det(np.linalg.inv(self.transformation)))
        site = f"{round(len(same) * cells)}{self.letters[atom]}"
        twins = [
            one
            for one in np.unique(self.orbits)
            if self.letters[one] == self.letters[atom]
            and self.crystal.species[one] == self.crystal.species[atom]
        ]
        number = str(twins.index(self.orbits[atom]) + 1) if len(twins) > 1 else ""
        return f"{_AXES[axis]}({self.crystal.symbols[atom]}{number} {site})"


def free_parameters(crystal: Crystal, group: SpaceGroup) -> list[FreeParameter]:
    """Return the lattice parameters and coordinates that the group leaves free.

    Parameters
    ----------
    crystal
        The primitive cell.
    group
        Its space group, or the part of it that is imposed.

    Raises
    ------
    StructureError
        If spglib finds no group.
    """
    setting = _Setting.of(crystal, group)
    return [*_of_lattice(setting), *_of_coordinates(setting)]


def _of_lattice(setting: _Setting) -> list[FreeParameter]:
    """The independent ones of a, b, c and the angles."""
    cell = setting.crystal.cell

    def strained(components: NDArray[np.float64]) -> FloatArray:
        strain = np.tensordot(components, setting.group.invariant_strains, axes=1)
        return setting.lattice(cell @ (np.eye(3) + strain))

    values, slopes = setting.lattice(cell), _derivatives(strained, setting.group)
    scale = np.array([*values[:3], *[np.degrees(1.0)] * 3])
    nothing = np.zeros((setting.crystal.n_atoms, 3))
    chosen: list[int] = []
    for k in range(6):
        rows = slopes[[*chosen, k]] / scale[[*chosen, k], None]
        if np.linalg.matrix_rank(rows, tol=1.0e-4) > len(chosen):
            chosen.append(k)
    return [FreeParameter(_LATTICE[k], float(values[k]), slopes[k], nothing) for k in chosen]


def _derivatives(
    function: Callable[[NDArray[np.float64]], FloatArray], group: SpaceGroup
) -> FloatArray:
    """Central differences of a function of the invariant strains, (n_values, n_strains)."""
    steps = _STEP * np.eye(len(group.invariant_strains))
    return np.array([(function(one) - function(-one)) / (2 * _STEP) for one in steps]).T


def _of_coordinates(setting: _Setting) -> list[FreeParameter]:
    """The free coordinates of the first atom of each orbit."""
    none = np.zeros(len(setting.group.invariant_strains))
    found = []
    for atom in np.unique(setting.orbits):
        for axis in setting.free_axes(int(atom)):
            value, slope = setting.coordinate(int(atom), axis)
            found.append(FreeParameter(setting.name(int(atom), axis), value, none, slope))
    return found
