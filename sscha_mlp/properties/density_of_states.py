"""Density of states of the phonons, by linear tetrahedra or with Gaussians."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import permutations
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from sscha_mlp import units
from sscha_mlp.crystal.born_charges import BornCharges
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.digits import fixed
from sscha_mlp.errors import InputError
from sscha_mlp.properties.interpolation import Interpolation
from sscha_mlp.properties.mesh import MeshFrequencies, mesh_frequencies
from sscha_mlp.tables import Shown, Table

GAUSSIAN_WIDTH_THZ: Final = 0.1
"""Default standard deviation of the Gaussians, THz."""

_N_BINS: Final = 300
_MARGIN_THZ: Final = 0.5


class Smearing(StrEnum):
    """How a mesh becomes a density."""

    TETRAHEDRON = "tetrahedron"
    GAUSSIAN = "gaussian"


@dataclass(frozen=True, eq=False)
class DensityOfStates(Shown):
    """Number of modes per frequency.

    Parameters
    ----------
    edges_thz
        Edges of the bins, shape (n_bins + 1,), THz.
    density
        Mean density in each bin, shape (n_bins,), modes of the primitive cell per THz.
    mesh
        Mesh of wave vectors that it rests on.
    smearing
        How it was made.
    """

    edges_thz: FloatArray
    density: FloatArray
    mesh: tuple[int, int, int]
    smearing: Smearing

    @property
    def frequencies_thz(self) -> FloatArray:
        """Middle of each bin, shape (n_bins,), THz."""
        return np.asarray(0.5 * (self.edges_thz[1:] + self.edges_thz[:-1]))

    @property
    def n_modes(self) -> float:
        """Integral of the density: 3 n_primitive if the bins hold all modes."""
        return float(self.density @ np.diff(self.edges_thz))

    def table(self) -> Table:
        """Return how it was made, and its mean and range."""
        widths = np.diff(self.edges_thz)
        filled = np.flatnonzero(self.density > 0.0)
        mean = float((self.density * widths) @ self.frequencies_thz) / self.n_modes
        rows = (
            ("mesh", "×".join(str(n) for n in self.mesh)),
            ("smearing", self.smearing.value),
            ("modes", fixed(self.n_modes, 3)),
            ("mean frequency (THz)", fixed(mean, 3)),
            ("lowest (THz)", fixed(self.edges_thz[filled[0]], 2)),
            ("highest (THz)", fixed(self.edges_thz[filled[-1] + 1], 2)),
        )
        return Table("Density of states", rows)


def density_of_states(
    state: DynamicalMatrix | Interpolation | MeshFrequencies,
    mesh: tuple[int, int, int] | None = None,
    *,
    born: BornCharges | None = None,
    smearing: Smearing | str = Smearing.TETRAHEDRON,
    width_thz: float = GAUSSIAN_WIDTH_THZ,
    edges_thz: NDArray[np.float64] | None = None,
) -> DensityOfStates:
    """Compute the density of states.

    Both ways count the modes below the edge of each bin, so that the density integrates to the
    number of modes.

    Parameters
    ----------
    state
        Force constants, their interpolation, or frequencies on a mesh.
    mesh
        Points along the reciprocal lattice vectors, where there are no frequencies yet.
    born
        Born charges of a polar crystal, where there is no interpolation yet.
    smearing
        ``tetrahedron``: frequencies are linear between the points of the mesh.  ``gaussian``: each
        frequency is a Gaussian.
    width_thz
        Standard deviation of the Gaussians, THz.
    edges_thz
        Edges of the bins, ascending; 300 bins over all modes when left out.

    Raises
    ------
    InputError
        If the smearing is unknown, the width is not above zero, or the edges do not rise.
    """
    if isinstance(state, MeshFrequencies):
        values = state
    else:
        values = mesh_frequencies(state, mesh, born=born)
    how = _smearing(smearing)
    if not width_thz > 0:
        raise InputError(f"The width {width_thz} THz of the Gaussians is not above zero.")
    edges = _default_edges(values, how, width_thz) if edges_thz is None else np.array(edges_thz)
    if edges.ndim != 1 or len(edges) < 2 or not np.all(np.diff(edges) > 0):
        raise InputError("The edges of the bins of a density of states must rise.")
    if how is Smearing.GAUSSIAN:
        below = _below_gaussian(values, edges, width_thz)
    else:
        below = _below_tetrahedra(values.everywhere() / units.THZ, edges, values.crystal.cell)
    return DensityOfStates(edges, np.diff(below) / np.diff(edges), values.size, how)


def _smearing(name: Smearing | str) -> Smearing:
    try:
        return Smearing(name)
    except ValueError as err:
        raise InputError(
            f"There is no smearing {name!r}; choose {' or '.join(one.value for one in Smearing)}."
        ) from err


def _default_edges(values: MeshFrequencies, how: Smearing, width_thz: float) -> FloatArray:
    """Bins over all modes, zero among the edges' range."""
    found = values.frequencies_thz
    margin = 5.0 * width_thz if how is Smearing.GAUSSIAN else _MARGIN_THZ
    lowest = min(0.0, float(found.min()))
    start = lowest - margin if lowest < -1.0e-3 or how is Smearing.GAUSSIAN else 0.0
    return np.linspace(start, float(found.max()) + margin, _N_BINS + 1)


def _below_gaussian(values: MeshFrequencies, edges: FloatArray, width_thz: float) -> FloatArray:
    """Number of modes below each edge, every mode a Gaussian."""
    found = values.frequencies_thz
    result = np.zeros(len(edges))
    for band in found.T:
        scaled = (edges[:, None] - band) / (np.sqrt(2.0) * width_thz)
        result += 0.5 * (1.0 + erf(scaled)) @ values.weights
    return result


def _below_tetrahedra(
    frequencies: FloatArray, edges: FloatArray, cell: NDArray[np.float64]
) -> FloatArray:
    """Number of modes below each edge, frequencies linear in tetrahedra.

    Parameters
    ----------
    frequencies
        At all points of the mesh, shape (n1, n2, n3, n_bands).
    """
    below = np.zeros(len(edges))
    for corners in _tetrahedra(frequencies.shape[:3], cell):
        shifted = [
            np.roll(frequencies, tuple(-int(one) for one in corner), axis=(0, 1, 2)).ravel()
            for corner in corners
        ]
        below += _count_below(np.sort(np.array(shifted), axis=0), edges)
    n_points = frequencies[..., 0].size
    return below / (6 * n_points)


def _tetrahedra(size: tuple[int, ...], cell: NDArray[np.float64]) -> Iterator[NDArray[np.int64]]:
    """Corners of the six tetrahedra around the shortest diagonal of a cell of the mesh.

    After P. E. Blöchl et al., Phys. Rev. B 49, 16223 (1994).
    """
    steps = np.linalg.inv(cell).T / np.array(size)[:, None]
    signs = [(1, 1, 1), (1, 1, -1), (1, -1, 1), (-1, 1, 1)]
    sign = np.array(min(signs, key=lambda one: float(np.linalg.norm(one @ steps))))
    for order in permutations(range(3)):
        walk = np.eye(3, dtype=np.int64)[list(order)] * sign[list(order), None]
        yield np.concatenate([np.zeros((1, 3), dtype=np.int64), np.cumsum(walk, axis=0)])


def _count_below(corners: FloatArray, edges: FloatArray) -> FloatArray:
    """Summed volume fraction below each edge of tetrahedra with corners (4, n), ascending."""
    corners = corners[:, np.argsort(corners[0])]
    tops = np.sort(corners[3])
    result = np.empty(len(edges))
    for index, edge in enumerate(edges):
        begun = corners[:, : np.searchsorted(corners[0], edge, side="left")]
        cut = begun[:, begun[3] > edge]
        result[index] = np.searchsorted(tops, edge, side="right") + _fractions(cut, edge).sum()
    return result


def _fractions(corners: FloatArray, edge: float) -> FloatArray:
    """Volume fraction below ``edge`` of tetrahedra that it cuts, corners (4, n) ascending."""
    result = np.empty(corners.shape[1])
    low, high = edge < corners[1], edge >= corners[2]
    middle = ~low & ~high
    a, b, c, d = (one[low] for one in corners)
    result[low] = (edge - a) ** 3 / ((b - a) * (c - a) * (d - a))
    a, b, c, d = (one[high] for one in corners)
    result[high] = 1.0 - (d - edge) ** 3 / ((d - a) * (d - b) * (d - c))
    a, b, c, d = (one[middle] for one in corners)
    x = edge - b
    curved = (c - a + d - b) / ((c - b) * (d - b))
    rest = (b - a) ** 2 + 3.0 * (b - a) * x + 3.0 * x**2 - curved * x**3
    result[middle] = rest / ((c - a) * (d - a))
    return result
