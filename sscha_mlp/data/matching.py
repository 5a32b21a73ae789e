"""The same crystal written down in another way: atoms in another order, another origin, wrapped.

A :func:`fingerprint` is a few numbers that do not change under any of these and change little
when atoms move little, so that a search for them by range misses nothing.  What is found in this
way is verified by :func:`match`, which returns the order of the atoms.  Rotated crystals and
other choices of lattice vectors are other configurations.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.spatial import cKDTree

FloatArray = NDArray[np.float64]

TOLERANCE: Final = 1.0e-6
"""Positions and lattice vectors that differ by no more than this, in Å, are the same."""

_WAVES: Final = np.array([(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1), (2, -1, 1), (-1, 2, 3)])
_SHORT: Final = 3
"""The numbers of a fingerprint come from this many sums of waves, the last of the list."""
_PROPERTIES: Final = ("initial_magmoms", "initial_charges")


@dataclass(frozen=True)
class Fingerprint:
    """Numbers that do not depend on the order of atoms, the origin, and periodic wrapping.

    Parameters
    ----------
    formula
        Chemical elements with their numbers, in alphabetical order.
    volume
        Of the cell, Å³.
    waves
        Three moduli of structure factors, weighted by atomic numbers, between 0 and 1.
    volume_range, waves_range
        How much of a difference the tolerance of the positions can make.
    """

    formula: str
    volume: float
    waves: tuple[float, float, float]
    volume_range: float
    waves_range: tuple[float, float, float]


def fingerprint(atoms: Atoms, tolerance: float = TOLERANCE) -> Fingerprint | None:
    """Return the fingerprint of a crystal; None where it is not periodic in three directions.

    Parameters
    ----------
    tolerance
        Of each coordinate and each component of the lattice vectors, Å.
    """
    if not has_fingerprint(atoms):
        return None
    cell = atoms.cell.array
    areas = sum(float(np.linalg.norm(np.cross(cell[i - 1], cell[i - 2]))) for i in range(3))
    sums = np.abs(_wave_sums(atoms))[-_SHORT:]
    # A wave vector per unit of reciprocal lattice; lattice vectors that are off move atoms too.
    lengths = 2.0 * np.pi * np.linalg.norm(_WAVES[-_SHORT:] @ np.linalg.inv(cell).T, axis=1)
    ranges = 8.0 * tolerance * lengths + 1.0e-12
    return Fingerprint(
        atoms.symbols.formula.format("abc"),
        float(abs(np.linalg.det(cell))),
        (float(sums[0]), float(sums[1]), float(sums[2])),
        2.0 * areas * tolerance,
        (float(ranges[0]), float(ranges[1]), float(ranges[2])),
    )


def has_fingerprint(atoms: Atoms) -> bool:
    """Whether a configuration is a crystal: some atoms, periodic in all three directions."""
    return len(atoms) > 0 and bool(np.all(atoms.pbc)) and atoms.cell.rank == 3


def match(stored: Atoms, wanted: Atoms, tolerance: float = TOLERANCE) -> NDArray[np.int64] | None:
    """Return where each atom of one configuration is in another; None if they are not the same.

    Parameters
    ----------
    stored, wanted
        Two crystals.
    tolerance
        Largest difference of a lattice vector's component, and of a distance after the best shift
        of the origin is found from one pair of atoms, Å.

    Returns
    -------
    Index into `stored` for each atom of `wanted`, shape (n_atoms,): forces of the stored one,
    indexed with it, are those of the wanted one.
    """
    if not _comparable(stored, wanted, tolerance):
        return None
    cell = wanted.cell.array
    old = _fractional(stored)
    new = _fractional(wanted)
    numbers, counts = np.unique(wanted.numbers, return_counts=True)
    rare = numbers[np.argmin(counts)]
    anchor = int(np.flatnonzero(wanted.numbers == rare)[0])
    shifts = new[anchor] - old[stored.numbers == rare]
    tree = cKDTree(new, boxsize=1.0)
    for shift in shifts[_possible(stored, wanted, shifts, tolerance)]:
        moved = np.mod(old + shift, 1.0)
        moved[moved >= 1.0] = 0.0
        order = _assignment(tree, moved, new, cell, tolerance)
        if order is not None and _same_atoms(stored, wanted, order, tolerance):
            return order
    return None


def _comparable(stored: Atoms, wanted: Atoms, tolerance: float) -> bool:
    if len(stored) != len(wanted) or not (has_fingerprint(stored) and has_fingerprint(wanted)):
        return False
    if not np.array_equal(np.sort(stored.numbers), np.sort(wanted.numbers)):
        return False
    return bool(np.abs(stored.cell.array - wanted.cell.array).max() <= tolerance)


def _fractional(atoms: Atoms) -> FloatArray:
    """Return fractional coordinates from 0 to below 1."""
    fractional = np.mod(atoms.positions @ np.linalg.inv(atoms.cell.array), 1.0)
    fractional[fractional >= 1.0] = 0.0  # what rounding makes of -1e-17
    return np.asarray(fractional, dtype=np.float64)


def _wave_sums(atoms: Atoms) -> NDArray[np.complex128]:
    """Return structure factors for a few wave vectors, weighted by the atomic numbers."""
    fractional = atoms.positions @ np.linalg.inv(atoms.cell.array)
    weights = np.maximum(atoms.numbers, 1) / np.maximum(atoms.numbers, 1).sum()
    waves = np.exp(2j * np.pi * (_WAVES @ fractional.T)) @ weights
    return np.asarray(waves, dtype=np.complex128)


def _possible(
    stored: Atoms, wanted: Atoms, shifts: FloatArray, tolerance: float
) -> NDArray[np.bool_]:
    """Whether a shift of the origin turns the structure factors of one into those of the other."""
    lengths = 2.0 * np.pi * np.linalg.norm(_WAVES @ np.linalg.inv(wanted.cell.array).T, axis=1)
    turned = np.exp(2j * np.pi * (shifts @ _WAVES.T)) * _wave_sums(stored)
    differences = np.abs(turned - _wave_sums(wanted))
    return np.asarray((differences <= 16.0 * tolerance * lengths + 1e-9).all(axis=1))


def _assignment(
    tree: cKDTree, moved: FloatArray, new: FloatArray, cell: FloatArray, tolerance: float
) -> NDArray[np.int64] | None:
    """Return which atom lies on each place; None unless there is one for each."""
    _, nearest = tree.query(moved)
    difference = moved - new[nearest]
    difference -= np.rint(difference)
    if np.linalg.norm(difference @ cell, axis=1).max() > 4.0 * tolerance:
        return None
    if len(np.unique(nearest)) != len(new):
        return None
    order = np.empty(len(new), dtype=np.int64)
    order[nearest] = np.arange(len(new))
    return order


def _same_atoms(stored: Atoms, wanted: Atoms, order: NDArray[np.int64], tolerance: float) -> bool:
    """Whether elements, initial magnetic moments and charges agree in this order."""
    if not np.array_equal(stored.numbers[order], wanted.numbers):
        return False
    return all(
        np.abs(_property(stored, name)[order] - _property(wanted, name)).max() <= tolerance
        for name in _PROPERTIES
    )


def _property(atoms: Atoms, name: str) -> FloatArray:
    if not atoms.has(name):
        return np.zeros((len(atoms), 1))
    values = np.asarray(atoms.get_array(name), dtype=np.float64)
    return values.reshape(len(atoms), -1)
