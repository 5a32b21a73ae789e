"""Regular meshes of wave vectors with q = 0 on them, and the part of them that symmetry leaves."""

from dataclasses import dataclass

import numpy as np

from sscha_mlp import units
from sscha_mlp.crystal.born_charges import BornCharges
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.structure import Crystal, FloatArray, IntArray
from sscha_mlp.crystal.supercell import check_supercell_size
from sscha_mlp.digits import fixed
from sscha_mlp.errors import InputError
from sscha_mlp.properties.interpolation import Interpolation, interpolate
from sscha_mlp.tables import Shown, Table

MESH_LENGTH: float = 60.0
"""A mesh is as fine as the grid of a supercell of this length (Å) in every direction."""


@dataclass(frozen=True, eq=False)
class MeshFrequencies(Shown):
    """Frequencies on a mesh of wave vectors.

    Parameters
    ----------
    crystal
        The primitive cell.
    size
        Points along the three reciprocal lattice vectors.
    qpoints
        Irreducible wave vectors, reciprocal-lattice units, shape (n_irreducible, 3); q = 0 is the
        first.
    weights
        Part of the mesh that each stands for, shape (n_irreducible,); they add up to one.
    frequencies
        Angular frequencies, ascending, shape (n_irreducible, 3 n_primitive),
        ``sqrt(eV/(amu Å²))``.  The three translations at q = 0 are zero.
    place
        Irreducible wave vector of each point of the mesh, the last index running fastest, shape
        (n_points,).
    """

    crystal: Crystal
    size: tuple[int, int, int]
    qpoints: FloatArray
    weights: FloatArray
    frequencies: FloatArray
    place: IntArray

    @property
    def frequencies_thz(self) -> FloatArray:
        """Frequencies in THz, shape (n_irreducible, 3 n_primitive)."""
        return self.frequencies / units.THZ

    def everywhere(self) -> FloatArray:
        """Angular frequencies at all points of the mesh, shape (*size, 3 n_primitive)."""
        return self.frequencies[self.place].reshape(*self.size, -1)

    def table(self) -> Table:
        """Return the mesh and the range of the frequencies."""
        found = self.frequencies_thz
        rows = (
            ("mesh", "×".join(str(n) for n in self.size)),
            ("irreducible wave vectors", str(len(self.qpoints))),
            ("lowest (THz)", fixed(found.min(), 3)),
            ("highest (THz)", fixed(found.max(), 3)),
        )
        return Table("Frequencies on a mesh", rows)


def mesh_for(crystal: Crystal, length: float = MESH_LENGTH) -> tuple[int, int, int]:
    """Return a mesh as fine as the grid of a supercell of that length (Å) in every direction."""
    heights = 1.0 / np.linalg.norm(np.linalg.inv(crystal.cell), axis=0)
    n1, n2, n3 = (max(1, round(length / height)) for height in heights)
    return n1, n2, n3


def mesh_frequencies(
    state: DynamicalMatrix | Interpolation,
    mesh: tuple[int, int, int] | None = None,
    *,
    born: BornCharges | None = None,
) -> MeshFrequencies:
    """Interpolate the frequencies on a mesh.

    Parameters
    ----------
    state
        Force constants of a supercell, or their interpolation.
    mesh
        Points along the reciprocal lattice vectors; :func:`mesh_for` when left out.
    born
        Born charges of a polar crystal; not with an interpolation, which has its own.

    Raises
    ------
    InputError
        If the mesh is not three positive whole numbers.
    """
    series = state if isinstance(state, Interpolation) else interpolate(state, born=born)
    crystal = series.crystal
    try:
        size = mesh_for(crystal) if mesh is None else check_supercell_size(mesh)
    except InputError as err:
        raise InputError(f"The mesh {mesh} is not three positive whole numbers.") from err
    points = np.array(list(np.ndindex(*size)))
    smallest = _orbits(points, np.array(size), series.rotations)
    first, place = np.unique(smallest, return_inverse=True)
    qpoints = points[first] / np.array(size)
    frequencies = series.frequencies(qpoints)
    # Translations are found by their size: unstable modes lie below them.
    at_gamma = np.argsort(np.abs(frequencies[0]))[:3]
    frequencies[0, at_gamma] = 0.0
    frequencies[0].sort()
    weights = np.bincount(place) / len(place)
    return MeshFrequencies(crystal, size, qpoints, weights, frequencies, place)


def _orbits(points: IntArray, size: IntArray, rotations: IntArray) -> IntArray:
    """Smallest index among the images of each point, those under q -> -q included.

    A rotation that does not map the mesh onto itself is left out.  In reciprocal-lattice units a
    rotation W of the crystal takes q (a row) to ``q W``.
    """
    smallest = np.arange(len(points))
    for rotation in rotations:
        images = (points / size) @ rotation * size
        whole = np.rint(images).astype(np.int64)
        if np.abs(images - whole).max() > 1.0e-6:
            continue
        for sign in (1, -1):
            index = np.ravel_multi_index(tuple(np.mod(sign * whole, size).T), tuple(size))
            smallest = np.minimum(smallest, index)
    return smallest
