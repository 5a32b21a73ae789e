"""Paths through the Brillouin zone, in the lattice vectors that the crystal is given in."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sscha_mlp.crystal.special_points import special_path
from sscha_mlp.crystal.structure import Crystal, FloatArray
from sscha_mlp.errors import InputError
from sscha_mlp.tables import Shown, Table, few

POINTS_PER_INVERSE_ANGSTROM: Final = 60.0
"""Points along a path for each 1/Å (2 pi included)."""

_ZERO: Final = 1.0e-8


@dataclass(frozen=True)
class Segment:
    """A straight line between two wave vectors.

    Parameters
    ----------
    start, end
        In units of the reciprocal lattice vectors.
    labels
        Names of both ends.
    """

    start: tuple[float, float, float]
    end: tuple[float, float, float]
    labels: tuple[str, str]

    @property
    def step(self) -> FloatArray:
        """From start to end, shape (3,)."""
        return np.subtract(self.end, self.start)


@dataclass(frozen=True, eq=False)
class BandPath(Shown):
    """A path of straight segments; where one does not begin at the end of the last, it jumps.

    Parameters
    ----------
    crystal
        The primitive cell.
    segments
        In order.
    density
        Points for each 1/Å along the path.
    """

    crystal: Crystal
    segments: tuple[Segment, ...]
    density: float = POINTS_PER_INVERSE_ANGSTROM

    def __post_init__(self) -> None:
        """Check that there is a path."""
        if not self.segments or not self.density > 0:
            raise InputError("A path needs at least one segment and a density above zero.")

    @cached_property
    def reciprocal_cell(self) -> FloatArray:
        """Reciprocal lattice vectors as rows, 2 pi included, shape (3, 3), 1/Å."""
        return np.asarray(2.0 * np.pi * np.linalg.inv(self.crystal.cell).T)

    def lengths(self) -> FloatArray:
        """Length of each segment, shape (n_segments,), 1/Å."""
        steps = np.array([one.step for one in self.segments])
        return np.asarray(np.linalg.norm(steps @ self.reciprocal_cell, axis=1))

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Number of points of each segment, both ends included."""
        return tuple(max(2, round(self.density * length) + 1) for length in self.lengths())

    @cached_property
    def starts(self) -> FloatArray:
        """Distance at which each segment begins, and at last where the path ends, 1/Å."""
        return np.concatenate([[0.0], np.cumsum(self.lengths())])

    @cached_property
    def qpoints(self) -> FloatArray:
        """All points, ends of segments twice, in reciprocal-lattice units, shape (n_points, 3)."""
        parts = [
            one.start + np.linspace(0.0, 1.0, n)[:, None] * one.step
            for one, n in zip(self.segments, self.counts, strict=True)
        ]
        return np.concatenate(parts)

    @cached_property
    def directions(self) -> FloatArray:
        """Direction of the path at each point, pointing away from q = 0, shape (n_points, 3)."""
        steps = [np.tile(one.step, (n, 1)) for one, n in self._with_counts()]
        return np.concatenate(steps)

    @cached_property
    def distances(self) -> FloatArray:
        """Distance of each point along the path, shape (n_points,), 1/Å."""
        parts = [
            np.linspace(begin, end, n)
            for begin, end, n in zip(self.starts[:-1], self.starts[1:], self.counts, strict=True)
        ]
        return np.concatenate(parts)

    @property
    def parts(self) -> list[slice]:
        """Points of each segment."""
        ends = np.cumsum(self.counts)
        return [slice(int(end) - n, int(end)) for end, n in zip(ends, self.counts, strict=True)]

    def ticks(self) -> list[tuple[float, str]]:
        """Distance and label of each special point; where the path jumps, ``U|K``."""
        labels = [self.segments[0].labels[0]]
        for before, after in zip(self.segments, self.segments[1:], strict=False):
            here, there = before.labels[1], after.labels[0]
            labels.append(here if here == there else f"{here}|{there}")
        labels.append(self.segments[-1].labels[1])
        return list(zip(self.starts.tolist(), labels, strict=True))

    def commensurate(self, size: Sequence[int]) -> Iterator[tuple[float, FloatArray]]:
        """Find the wave vectors of a supercell that lie on the path.

        Parameters
        ----------
        size
            Repetitions of the primitive cell.

        Yields
        ------
        Distance along the path (1/Å) and wave vector (reciprocal-lattice units).
        """
        for one, begin, length in zip(self.segments, self.starts, self.lengths(), strict=False):
            for part in _whole(np.array(one.start), one.step, np.array(size)):
                yield float(begin + part * length), one.start + part * one.step

    def _with_counts(self) -> Iterator[tuple[Segment, int]]:
        return zip(self.segments, self.counts, strict=True)

    def table(self) -> Table:
        """Return the segments."""
        rows = [
            (" – ".join(one.labels), f"{length:.4f}", str(count))
            for one, length, count in zip(self.segments, self.lengths(), self.counts, strict=True)
        ]
        columns = ("Segment", "length (1/Å)", "points")
        return Table("Path through the Brillouin zone", few(rows, 20), columns)


def _whole(start: FloatArray, step: FloatArray, size: NDArray[np.int64]) -> list[float]:
    """Parts t in [0, 1] at which ``size (start + t step)`` are whole numbers."""
    begin, change = size * start, size * step
    axis = int(np.argmax(np.abs(change)))
    if abs(change[axis]) < _ZERO:
        return []
    low, high = sorted((begin[axis], begin[axis] + change[axis]))
    numbers = np.arange(np.ceil(low - 1e-6), np.floor(high + 1e-6) + 1)
    parts = (numbers - begin[axis]) / change[axis]
    values = begin + parts[:, None] * change
    fits = np.all(np.abs(values - np.rint(values)) < 1e-6, axis=1)
    return sorted(float(np.clip(part, 0.0, 1.0)) for part in parts[fits])


def standard_path(crystal: Crystal, *, density: float = POINTS_PER_INVERSE_ANGSTROM) -> BandPath:
    """Return the path that the literature takes for the lattice of a crystal.

    The convention is that of Y. Hinuma et al., Comp. Mat. Sci. 128, 140 (2017), as seekpath has
    it.  The crystal keeps its own lattice vectors and orientation; the path is expressed in them.
    Where the cell is not primitive, the path is that of the primitive cell, and the bands are
    folded.

    Parameters
    ----------
    crystal
        The primitive cell.
    density
        Points for each 1/Å along the path.

    Raises
    ------
    StructureError
        If no space group is found.
    """
    points, pairs = special_path(crystal)
    segments = tuple(Segment(points[a], points[b], (a, b)) for a, b in pairs)
    return BandPath(crystal, segments, density)
