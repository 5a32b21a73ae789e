"""Several small crystals in one call of QUIP.

A call of QUIP costs 6 to 9 ms before it computes anything, spent on parsing its options: more than
a third of the time for 16 atoms (quippy-ase 0.10.3: 16.0 ms each, 10.2 ms in groups of eight).
Crystals share that cost if each is cut out of the infinite lattice
together with the periodic images that its atoms can feel, and all are put side by side, out of
reach of each other, into one box without periodicity.  Local energies are asked of the atoms
themselves only; the forces that these energies exert on images belong to the atoms whose images
they are.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

MASK: Final = "own_atom"
"""Logical array of the box: True where the local energy counts."""

_MARGIN: Final = 0.01
"""Images are kept this far (Å) beyond the cutoff, where they contribute exactly nothing."""


@dataclass(frozen=True)
class Box:
    """Crystals side by side.

    Parameters
    ----------
    atoms
        All atoms and images, without periodicity, with the array :data:`MASK`.
    owner
        Index of the crystal, shape (n,).
    original
        Index of the atom, counted through all crystals, of which this is an image, shape (n,).
    n_atoms
        Number of atoms of each crystal, without images.
    """

    atoms: Atoms
    owner: NDArray[np.int64]
    original: NDArray[np.int64]
    n_atoms: tuple[int, ...]

    def energies(self, local: FloatArray) -> FloatArray:
        """Sum local energies (n,) over each crystal, eV; images carry their half of pair terms."""
        total = np.zeros(len(self.n_atoms))
        np.add.at(total, self.owner, local)
        return total

    def forces(self, forces: FloatArray) -> list[FloatArray]:
        """Collect forces (n, 3), images included, on the atoms of each crystal, eV/Å."""
        total = np.zeros((sum(self.n_atoms), 3))
        np.add.at(total, self.original, forces)
        return np.split(total, np.cumsum(self.n_atoms)[:-1])

    def virials(self, local: FloatArray) -> FloatArray:
        """Sum local virials (n, 9) over each crystal with its images, shape (n_crystals, 3, 3)."""
        total = np.zeros((len(self.n_atoms), 9))
        np.add.at(total, self.owner, local)
        return total.reshape(-1, 3, 3)

    def largest(self, local: FloatArray) -> FloatArray:
        """Largest value of an atom of each crystal; images add theirs (n,) to their atom."""
        per_atom = np.zeros(sum(self.n_atoms))
        np.add.at(per_atom, self.original, local)
        ends = np.cumsum(self.n_atoms)
        return np.array([part.max() for part in np.split(per_atom, ends[:-1])])


def pack(crystals: Sequence[Atoms], cutoff: float) -> Box:
    """Put crystals side by side, each with its images within `cutoff` (Å)."""
    positions, original, owner, own = [], [], [], []
    first, left = 0, 0.0
    for index, atoms in enumerate(crystals):
        points, which = _with_images(atoms, cutoff + _MARGIN)
        points = points - points.min(axis=0)
        points[:, 0] += left
        left = float(points[:, 0].max()) + 2.0 * cutoff
        positions.append(points)
        original.append(which + first)
        owner.append(np.full(len(points), index))
        own.append(np.arange(len(points)) < len(atoms))
        first += len(atoms)
    points = np.concatenate(positions) + cutoff
    numbers = np.concatenate([atoms.numbers for atoms in crystals])
    image_of = np.concatenate(original)
    box = Atoms(numbers[image_of], positions=points, cell=points.max(axis=0) + cutoff, pbc=False)
    box.set_array(MASK, np.concatenate(own))
    return Box(box, np.concatenate(owner), image_of, tuple(len(atoms) for atoms in crystals))


def _with_images(atoms: Atoms, reach: float) -> tuple[FloatArray, NDArray[np.int64]]:
    """Return the atoms, then all images within `reach` of one of them; and whose they are."""
    cell, pbc = atoms.cell.array, atoms.pbc
    inverse = np.linalg.inv(cell)
    fractions = atoms.positions @ inverse
    fractions -= np.floor(fractions) * pbc
    own = fractions @ cell
    # the planes of the lattice lie 1/|column of the inverse| apart
    n_images = (np.floor(reach * np.linalg.norm(inverse, axis=0)).astype(int) + 1) * pbc
    ranges = [range(-n, n + 1) for n in n_images]
    shifts = np.array([shift for shift in itertools.product(*ranges) if any(shift)]).reshape(-1, 3)
    images = (own[None] + (shifts @ cell)[:, None]).reshape(-1, 3)
    which = np.tile(np.arange(len(atoms)), len(shifts))
    near = np.all((images > own.min(axis=0) - reach) & (images < own.max(axis=0) + reach), axis=1)
    images, which = images[near], which[near]
    squared = ((images[:, None] - own[None]) ** 2).sum(axis=2)
    felt = (squared < reach**2).any(axis=1)
    return (
        np.concatenate([own, images[felt]]),
        np.concatenate([np.arange(len(atoms)), which[felt]]),
    )
