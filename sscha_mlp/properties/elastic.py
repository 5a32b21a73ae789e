"""Elastic constants of the lattice at rest, from the stresses of few strained cells.

The operations of the crystal turn each strain with its stress and its forces into others.  As few
strains are taken as span, with their images, all six; a strain that an operation turns into
its negative needs no second sign.

Atoms that are free to follow a strain lower the constants.  To first order their displacements
are ``u = K⁺ L e``, with the force constants K at q = 0 and the forces ``L e`` on the atoms of the
strained cell, and ``C = C_clamped - L^T K⁺ L / V`` (M. Born and K. Huang, Dynamical Theory of
Crystal Lattices, 1954).

Strains and constants are in the axes of the conventional cell as spglib turns it, so that a cubic
crystal has C11, C12 and C44 however its lattice vectors were chosen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from sscha_mlp import units
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.crystal.symmetry import SpaceGroup, standard_axes
from sscha_mlp.digits import fixed
from sscha_mlp.errors import InputError
from sscha_mlp.tables import Shown, Table

STRAIN: Final = 5.0e-3
"""Size of the strains."""

_PAIRS: Final = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
_ROOT: Final = np.array([1.0, 1.0, 1.0, *[np.sqrt(2.0)] * 3])
"""Makes the six components of a symmetric tensor orthonormal."""

_SAME: Final = 1.0e-6


@dataclass(frozen=True, eq=False)
class ElasticConstants(Shown):
    """Stiffness of a crystal in Voigt order and the axes of its conventional cell, eV/Å³.

    Parameters
    ----------
    clamped
        Atoms follow the cell: shape (6, 6).
    relaxed
        Atoms are at rest in the strained cell: shape (6, 6); None where the crystal is not stable
        against moving its atoms within the cell.
    """

    clamped: FloatArray
    relaxed: FloatArray | None

    @property
    def best(self) -> FloatArray:
        """The relaxed constants where there are any, else the clamped ones, shape (6, 6)."""
        return self.clamped if self.relaxed is None else self.relaxed

    @property
    def bulk_modulus(self) -> float:
        """Voigt's average, eV/Å³."""
        return float(self.best[:3, :3].sum() / 9.0)

    def table(self) -> Table:
        """Return the constants in GPa, with relaxed atoms where there are any."""
        names = [str(number) for number in range(1, 7)]
        rows = [
            (name, *(fixed(value / units.GPA, 1) for value in row))
            for name, row in zip(names, self.best, strict=True)
        ]
        kind = "clamped" if self.relaxed is None else "relaxed"
        note = f"Voigt's average of the bulk modulus: {self.bulk_modulus / units.GPA:.1f} GPa."
        return Table(f"Elastic constants (GPa), {kind} atoms", tuple(rows), ("", *names), note)


@dataclass(frozen=True, eq=False)
class ElasticStrains(Shown):
    """Strained supercells that suffice for all elastic constants of a crystal.

    Parameters
    ----------
    group
        Space group of the supercell.
    size
        Size of the strains.
    """

    group: SpaceGroup
    size: float = STRAIN

    @cached_property
    def _axes(self) -> FloatArray:
        """Rows are the conventional axes, shape (3, 3)."""
        return standard_axes(self.group.supercell.primitive)

    def _tensor(self, components: NDArray[np.float64]) -> FloatArray:
        """Tensor (3, 3) in the axes of the cell of six components in the conventional ones."""
        return np.asarray(self._axes.T @ _tensor(components) @ self._axes)

    def _components(self, tensors: NDArray[np.float64]) -> FloatArray:
        """Undo :meth:`_tensor` for tensors (..., 3, 3)."""
        return _components(self._axes @ tensors @ self._axes.T)

    @cached_property
    def _turns(self) -> FloatArray:
        """How each operation acts on the six components, shape (n_operations, 6, 6)."""
        basis = np.array([self._tensor(one) for one in np.eye(6)])
        rotations = self.group.cartesian_rotations[:, None]
        turned = rotations @ basis @ rotations.transpose(0, 1, 3, 2)
        return np.asarray(np.moveaxis(self._components(turned), -1, 1))

    @cached_property
    def directions(self) -> FloatArray:
        """Strains that span all six with their images, unit components, shape (n_strains, 6)."""
        chosen: list[NDArray[np.float64]] = []
        rank = 0
        for direction in np.eye(6):
            images = self._turns @ np.array([*chosen, direction]).T
            reached = int(np.linalg.matrix_rank(np.hstack(list(images)), tol=_SAME))
            if reached > rank:
                chosen.append(direction)
                rank = reached
        return np.array(chosen)

    def _reversing(self, direction: NDArray[np.float64]) -> int | None:
        """Operation that turns a strain into its negative, if there is one."""
        same = np.all(np.abs(self._turns @ direction + direction) < _SAME, axis=1)
        return int(np.flatnonzero(same)[0]) if same.any() else None

    def configurations(self) -> list[Atoms]:
        """Return the strained supercells; scaled positions are those at rest."""
        crystal = self.group.supercell.crystal
        return [
            crystal.strained(sign * self.size * self._tensor(direction)).to_ase()
            for direction, _, operation in self._places()
            for sign in ((1, -1) if operation is None else (1,))
        ]

    def constants(
        self,
        stresses: Sequence[NDArray[np.float64]] | NDArray[np.float64],
        forces: Sequence[NDArray[np.float64]],
        dynamical_matrix: DynamicalMatrix,
    ) -> ElasticConstants:
        """Return the elastic constants by central differences.

        Parameters
        ----------
        stresses
            Of each of the configurations, shape (3, 3), eV/Å³, ASE's sign.
        forces
            Of each of the configurations, shape (n_atoms, 3), eV/Å.
        dynamical_matrix
            Harmonic force constants of the crystal at rest.

        Raises
        ------
        InputError
            If there are not as many stresses and forces as configurations.
        """
        n_configs = len(self.configurations())
        if not len(stresses) == len(forces) == n_configs:
            raise InputError(
                f"{len(stresses)} stresses and {len(forces)} sets of forces do not belong to "
                f"{n_configs} strained cells; give those of exactly these cells."
            )
        supercell = self.group.supercell
        shape = (n_configs, supercell.n_cells, supercell.primitive.n_atoms, 3)
        stress = self._components(np.array(stresses))
        force = np.array(forces).reshape(shape).mean(axis=1).reshape(n_configs, -1)
        strains, rows, followed = [], [], []
        for direction, place, operation in self._places():
            change_of_stress, change_of_force = self._change(stress, force, place, operation)
            strains.append(self._turns @ direction)
            rows.append(self._turns @ change_of_stress)
            followed += [self._moved(g, change_of_force) for g in range(self.group.n_operations)]
        inverse = np.linalg.pinv(np.concatenate(strains))
        stiffness = inverse @ np.concatenate(rows)
        clamped = 0.5 * (stiffness + stiffness.T)
        following = _following(dynamical_matrix, inverse @ np.array(followed))
        scale = _ROOT[:, None] * _ROOT
        return ElasticConstants(
            clamped / scale, None if following is None else (clamped - following) / scale
        )

    def _places(self) -> Iterator[tuple[FloatArray, int, int | None]]:
        """Each direction, its first configuration, and the operation that reverses it."""
        place = 0
        for direction in self.directions:
            operation = self._reversing(direction)
            yield direction, place, operation
            place += 2 if operation is None else 1

    def _change(
        self, stress: FloatArray, force: FloatArray, place: int, operation: int | None
    ) -> tuple[FloatArray, FloatArray]:
        """Change of stress (6,) and forces (3 n_primitive,) per strain, by central differences."""
        if operation is None:
            minus = stress[place + 1], force[place + 1]
        else:
            minus = self._turns[operation] @ stress[place], self._moved(operation, force[place])
        width = 2.0 * self.size
        return (stress[place] - minus[0]) / width, (force[place] - minus[1]) / width

    def _moved(self, operation: int, vectors: NDArray[np.float64]) -> FloatArray:
        """Vectors of the primitive atoms, flat, as an operation turns them."""
        by_atom = vectors.reshape(-1, 3)
        moved = np.empty_like(by_atom)
        image = self.group.stars.images[operation]
        moved[image] = by_atom @ self.group.cartesian_rotations[operation].T
        return moved.ravel()

    @cached_property
    def independent(self) -> list[tuple[int, int]]:
        """Places of the constants that symmetry makes neither zero nor equal to an earlier one."""
        random = np.random.default_rng(0).normal(size=(6, 6))
        mean = np.mean(self._turns @ (random + random.T) @ self._turns.transpose(0, 2, 1), axis=0)
        mean /= _ROOT[:, None] * _ROOT
        found: list[tuple[int, int]] = []
        places = [(i, j) for i in range(6) for j in range(i, 6)]
        for i, j in sorted(places, key=lambda place: place[0] != place[1]):  # C11, C22, ... first
            known = [0.0, *(abs(mean[place]) for place in found)]
            if np.abs(np.array(known) - abs(mean[i, j])).min() > _SAME:
                found.append((i, j))
        return sorted(found)

    def table(self) -> Table:
        """Return how many strained cells there are, and which constants are independent."""
        names = ", ".join(f"C{i + 1}{j + 1}" for i, j in self.independent)
        rows = (
            ("directions", str(len(self.directions))),
            ("strained cells", str(len(self.configurations()))),
            ("size of a strain", f"{self.size:g}"),
            ("independent constants", names),
        )
        return Table("Strains", rows)


def _following(state: DynamicalMatrix, forces: NDArray[np.float64]) -> FloatArray | None:
    """``L^T K⁺ L / V`` of the forces per strain, shape (6, 3 n_primitive); None if unstable."""
    values, vectors = np.linalg.eigh(state.half_grid[0].real)
    order = np.argsort(np.abs(values))[3:]  # translations cost nothing
    values, vectors = values[order], vectors[:, order]
    if values.size and values.min() <= 0:
        return None
    along = forces @ vectors
    return np.asarray((along / values) @ along.T / state.crystal.volume)


def _tensor(components: NDArray[np.float64]) -> FloatArray:
    """Symmetric tensor (3, 3) of six orthonormal components."""
    tensor: FloatArray = np.zeros((3, 3))
    for value, (i, j) in zip(components / _ROOT, _PAIRS, strict=True):
        tensor[i, j] = tensor[j, i] = value
    return tensor


def _components(tensors: NDArray[np.float64]) -> FloatArray:
    """Six orthonormal components (..., 6) of symmetric tensors (..., 3, 3)."""
    return np.asarray(np.stack([tensors[..., i, j] for i, j in _PAIRS], axis=-1) * _ROOT)
