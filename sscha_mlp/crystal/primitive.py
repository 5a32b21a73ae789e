"""The primitive cell of a crystal, in its own orientation, with its own atoms and masses."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import spglib

from sscha_mlp.crystal.structure import Crystal, FloatArray
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import SYMMETRY_TOLERANCE, SpaceGroup, find_space_group
from sscha_mlp.errors import StructureError

_PARALLEL = 1.0e-6


def count_primitive_cells(crystal: Crystal, *, tolerance: float = SYMMETRY_TOLERANCE) -> int:
    """Return how many primitive cells the cell of a crystal holds; isotopes are not equivalent.

    Parameters
    ----------
    tolerance
        Distance within which atoms count as equivalent, Å.

    Raises
    ------
    StructureError
        If spglib finds no space group.
    """
    return _translations(crystal, tolerance).n_operations


def primitive_cell(crystal: Crystal, *, tolerance: float = SYMMETRY_TOLERANCE) -> Crystal:
    """Return the primitive cell of a crystal; one that is primitive is returned as it is.

    Nothing is rotated, and each atom stays where the first of its copies is.  A cell that repeats
    a smaller one along its own lattice vectors is divided along them.  Of any other, the lattice
    vectors are those of the standard primitive cell; one that is parallel to a lattice vector of
    the given cell has its place.

    Parameters
    ----------
    tolerance
        Distance within which atoms count as equivalent, Å; copies are averaged.

    Raises
    ------
    StructureError
        If spglib finds no space group or no primitive cell.
    """
    group = _translations(crystal, tolerance)
    if group.n_operations == 1:
        return crystal
    # Image of each atom under each translation, taken back by that translation.
    copies = crystal.scaled_positions[group.permutations] - group.translations[:, None]
    offset = copies - crystal.scaled_positions
    mean = crystal.scaled_positions + np.mean(offset - np.rint(offset), axis=0)
    kept = np.unique(group.permutations.min(axis=0))
    return Crystal(
        cell=_axes(crystal, group.translations, tolerance),
        positions=mean[kept] @ crystal.cell,
        numbers=crystal.numbers[kept],
        masses=crystal.masses[kept],
    )


def _translations(crystal: Crystal, tolerance: float) -> SpaceGroup:
    """Return the operations without rotation: one for each primitive cell."""
    group = find_space_group(Supercell(crystal, (1, 1, 1)), tolerance=tolerance)
    pure = np.all(group.rotations == np.eye(3, dtype=np.int64), axis=(1, 2))
    return replace(group, rotations=group.rotations[pure], translations=group.translations[pure])


def _axes(crystal: Crystal, translations: FloatArray, tolerance: float) -> FloatArray:
    """Return primitive lattice vectors, shape (3, 3), Å."""
    n_cells = len(translations)
    # n_cells times any of them is a lattice vector: whole numbers below n_cells.
    steps = np.rint(n_cells * translations).astype(np.int64) % n_cells
    along = [np.sum(~np.delete(steps, axis, axis=1).any(axis=1)) for axis in range(3)]
    if np.prod(along) == n_cells:
        return np.asarray(crystal.cell / np.array(along)[:, None])
    found = spglib.standardize_cell(
        (crystal.cell, crystal.scaled_positions, crystal.species),
        to_primitive=True,
        no_idealize=True,
        symprec=tolerance,
    )
    if found is None or len(found[2]) * n_cells != crystal.n_atoms:
        raise StructureError(
            "spglib found no primitive cell of the structure; check it for overlaps, or give its "
            "primitive cell."
        )
    whole = np.rint(n_cells * found[0] @ np.linalg.inv(crystal.cell))
    return _in_place(whole @ crystal.cell / n_cells, crystal.cell)


def _in_place(axes: FloatArray, cell: FloatArray) -> FloatArray:
    """Order lattice vectors: one that is parallel to a vector of `cell` takes its place."""
    unit, given = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (axes, cell))
    parallel = np.abs(unit @ given.T) > 1.0 - _PARALLEL
    orders = (list(order) for order in permutations(range(3)))
    ordered = axes[max(orders, key=lambda order: int(np.trace(parallel[order])))]
    return np.asarray(ordered if np.linalg.det(ordered) > 0 else -ordered)
