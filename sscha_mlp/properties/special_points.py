"""Names of wave vectors: the special points of the literature, and all that symmetry makes equal.

The names are those of Y. Hinuma et al., Comp. Mat. Sci. 128, 140 (2017), as
:func:`sscha_mlp.properties.paths.standard_path` has them.  A wave vector k has the name of a
special point p where an operation of the point group, or one followed by time reversal, takes k to
p up to a reciprocal lattice vector.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import spglib

from sscha_mlp.crystal.structure import Crystal, FloatArray, IntArray
from sscha_mlp.crystal.symmetry import SYMMETRY_TOLERANCE
from sscha_mlp.errors import StructureError
from sscha_mlp.properties.paths import standard_path

_SAME: Final = 1.0e-5
"""Fractions of reciprocal lattice vectors that differ by less are one."""


@dataclass(frozen=True, eq=False)
class SpecialPoints:
    """The named wave vectors of a crystal.

    Parameters
    ----------
    names
        The shorter ones first: of two names of one point, K before U₂.
    points
        In units of the reciprocal lattice vectors, shape (n_points, 3).
    rotations
        Of wave vectors in these units, as rows, shape (n_rotations, 3, 3).
    """

    names: tuple[str, ...]
    points: FloatArray
    rotations: IntArray

    @classmethod
    def of(cls, crystal: Crystal) -> "SpecialPoints":
        """Return the named points of a crystal; none where it has no standard path."""
        structure = (crystal.cell, crystal.scaled_positions, crystal.species)
        found = spglib.get_symmetry(structure, symprec=SYMMETRY_TOLERANCE)
        nothing = cls((), np.zeros((0, 3)), np.zeros((0, 3, 3), dtype=np.int64))
        try:
            path = standard_path(crystal)
        except StructureError:
            return nothing
        if found is None:
            return nothing
        ends = [pair for one in path.segments for pair in _ends(one.labels, one.start, one.end)]
        points = dict(sorted(ends, key=lambda pair: (len(pair[0]), pair[0])))
        # k . x is unchanged where x turns by W and the row k by its inverse, which is a W too.
        turned = np.asarray(found["rotations"], dtype=np.int64)
        rotations = np.unique(np.concatenate([turned, -turned]), axis=0)
        return cls(tuple(points), np.array(list(points.values())), rotations)

    def name(self, q: Sequence[float]) -> str:
        """Return the name of a wave vector (3,); empty where it has none."""
        if not self.names:
            return ""
        images = np.asarray(q, dtype=np.float64) @ self.rotations  # (n_rotations, 3)
        apart = images[:, None] - self.points
        same = np.abs(apart - np.rint(apart)).max(axis=2).min(axis=0) < _SAME
        return self.names[int(np.argmax(same))] if same.any() else ""


def _ends(
    labels: tuple[str, str], *points: tuple[float, float, float]
) -> list[tuple[str, tuple[float, float, float]]]:
    return list(zip(labels, points, strict=True))
