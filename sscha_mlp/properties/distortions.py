r"""Structures that a crystal can leave for along an unstable mode, and their space groups.

The modes of one level, with all wave vectors of their star, span a space of order parameters on
which the space group acts by orthogonal matrices.  A direction that nothing but its own multiples
shares with the operations that leave it alone is that of a maximal isotropy subgroup: the
structures that a continuous transition most often leads to (H. T. Stokes and D. M. Hatch, Isotropy
Subgroups of the 230 Crystallographic Space Groups (1988)).
"""

from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
import spglib

from sscha_mlp import units
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix, signed_root
from sscha_mlp.crystal.primitive import primitive_cell
from sscha_mlp.crystal.structure import Crystal, FloatArray
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import SpaceGroup
from sscha_mlp.errors import InputError

_SAME_LEVEL: Final = 1.0e-3
"""Squared frequencies are one level where they differ by less than this part of the largest."""

_EQUAL: Final = 1.0e-6
_ROUNDS: Final = 4
"""How often spaces of fixed vectors are intersected with each other; four generators are enough
for every point group."""

_LARGEST_LEVEL: Final = 24
_PROBE: Final = 0.05
"""Largest displacement of the structure whose space group is looked for, Å."""

_PROBE_TOLERANCE: Final = 1.0e-3


@dataclass(frozen=True, eq=False)
class Distortion:
    """A displacement pattern of an unstable level, and what the crystal becomes along it.

    Parameters
    ----------
    supercell
        The supercell that the pattern lives in.
    displacements
        Of its atoms, shape (n_atoms, 3); the longest is 1 Å.
    international, number
        Space group of the distorted crystal: Hermann-Mauguin symbol and number.
    frequency_thz
        Of the level, negative.
    dimension
        Of the space of order parameters that the direction was chosen in.
    """

    supercell: Supercell
    displacements: FloatArray
    international: str
    number: int
    frequency_thz: float
    dimension: int

    def structure(self, amplitude: float) -> Crystal:
        """Return the distorted supercell.

        Parameters
        ----------
        amplitude
            Length of the longest displacement, Å.
        """
        return self.supercell.crystal.moved(amplitude * self.displacements)

    def primitive(self, amplitude: float) -> Crystal:
        """Return the primitive cell of the distorted crystal; nothing is rotated."""
        return primitive_cell(self.structure(amplitude), tolerance=_PROBE_TOLERANCE)


def distortions(hessian: DynamicalMatrix, group: SpaceGroup) -> list[Distortion]:
    """Return the distortions of the most unstable level, one of each kind.

    Parameters
    ----------
    hessian
        Force constants with an unstable mode, such as those of the free-energy Hessian.
    group
        Space group that they have.

    Returns
    -------
    The higher symmetry first.  Empty where no mode is unstable.

    Raises
    ------
    InputError
        If so many modes are equal that their directions cannot be listed.
    """
    squares, vectors = _level(hessian)
    if len(squares) == 0:
        return []
    if len(squares) > _LARGEST_LEVEL:
        raise InputError(
            f"The most unstable level has {len(squares)} modes, more than the {_LARGEST_LEVEL} "
            "whose directions are searched: displace the atoms along one of them by hand."
        )
    matrices = _representation(group, vectors)
    root = np.sqrt(np.repeat(hessian.supercell.crystal.masses, 3))
    frequency = float(signed_root(squares).min()) / units.THZ
    found: list[Distortion] = []
    for direction in isotropy_directions(matrices):
        moved = (vectors @ direction / root).reshape(-1, 3)
        moved = moved / np.linalg.norm(moved, axis=1).max()
        symbol, number = _space_group(hessian.supercell.crystal.moved(_PROBE * moved))
        supercell = hessian.supercell
        found.append(Distortion(supercell, moved, symbol, number, frequency, len(squares)))
    return sorted(found, key=lambda one: -one.number)


def isotropy_directions(matrices: FloatArray) -> list[FloatArray]:
    """Return the directions of maximal isotropy subgroups, one of each orbit.

    Parameters
    ----------
    matrices
        Orthogonal matrices of a group on a space of order parameters, shape (n, d, d).

    Returns
    -------
    Unit vectors, shape (d,).  Where no direction is alone with its operations, as in a crystal of
    low symmetry, the first vector of each space that is fixed by most operations.
    """
    spaces = _fixed_spaces(matrices)
    lines = [one for one in spaces if round(float(np.trace(one))) == 1]
    if not lines:
        smallest = min(round(float(np.trace(one))) for one in spaces)
        lines = [one for one in spaces if round(float(np.trace(one))) == smallest]
    kept: list[FloatArray] = []
    for line in lines:
        direction = np.linalg.eigh(line)[1][:, -1]
        images = matrices @ direction
        if not any(np.abs(np.abs(images @ other) - 1.0).min() < _EQUAL for other in kept):
            kept.append(direction)
    return kept


def _fixed_spaces(matrices: FloatArray) -> list[FloatArray]:
    """Projectors on the vectors that operations leave alone, and on what such spaces share."""
    size = matrices.shape[1]
    spaces = [np.eye(size)]
    for one in matrices:
        _add(spaces, _kernel(one - np.eye(size)))
    for _ in range(_ROUNDS):
        before = len(spaces)
        for first, second in combinations(list(spaces), 2):
            _add(spaces, _kernel(2.0 * np.eye(size) - first - second))
        if len(spaces) == before:
            break
    return spaces


def _kernel(matrix: FloatArray) -> FloatArray:
    """Projector on the vectors that a matrix takes to zero."""
    _, values, rows = np.linalg.svd(matrix)
    null = rows[values < _EQUAL]
    return np.asarray(null.T @ null)


def _add(spaces: list[FloatArray], projector: FloatArray) -> None:
    """Add a space that is not empty and not known yet."""
    if np.trace(projector) < 0.5:
        return
    if all(np.abs(projector - other).max() > _EQUAL for other in spaces):
        spaces.append(projector)


def _level(hessian: DynamicalMatrix) -> tuple[FloatArray, FloatArray]:
    """Squares and mass-weighted vectors of the lowest level of the whole supercell, if unstable."""
    modes = hessian.modes
    squares = modes.frequencies * np.abs(modes.frequencies)
    scale = float(np.abs(squares).max())
    if squares[0] > -_EQUAL * scale:
        return squares[:0], np.zeros((3 * hessian.supercell.n_atoms, 0))
    level = squares[squares < squares[0] + _SAME_LEVEL * scale]
    return level, modes.lowest(len(level))


def _representation(group: SpaceGroup, vectors: FloatArray) -> FloatArray:
    """Matrices of all operations and lattice translations on a level, without repetitions."""
    supercell = group.supercell
    n_atoms, size = supercell.n_atoms, vectors.shape[1]
    fields = vectors.reshape(n_atoms, 3, size)
    found: dict[bytes, FloatArray] = {}
    for rotation, image in zip(group.cartesian_rotations, group.permutations, strict=True):
        turned = np.empty_like(fields)
        turned[image] = np.einsum("ij,ajm->aim", rotation, fields)
        for shift in supercell.shifted_atoms:
            moved = np.empty_like(turned)
            moved[shift] = turned
            matrix = np.einsum("aim,ain->mn", fields, moved)
            found.setdefault(np.round(matrix, 5).tobytes(), matrix)
    return np.array(list(found.values()))


def _space_group(crystal: Crystal) -> tuple[str, int]:
    cell = (crystal.cell, crystal.scaled_positions, crystal.species)
    dataset = spglib.get_symmetry_dataset(cell, symprec=_PROBE_TOLERANCE)
    if dataset is None:
        return "P1", 1
    return str(dataset.international), int(dataset.number)
