"""Names of wave vectors: the special points of the literature, and all that symmetry makes equal.

The names are those of Y. Hinuma et al., Comp. Mat. Sci. 128, 140 (2017), as seekpath has them.  A
wave vector k has the name of a special point p where an operation of the point group, or one
followed by time reversal, takes k to p up to a reciprocal lattice vector.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import seekpath
import spglib

from sscha_mlp.crystal.structure import Crystal, FloatArray, IntArray
from sscha_mlp.crystal.symmetry import SYMMETRY_TOLERANCE
from sscha_mlp.errors import StructureError

Point = tuple[float, float, float]
"""In units of the reciprocal lattice vectors."""

_GREEK: Final = {"GAMMA": "Γ", "SIGMA": "Σ", "DELTA": "Δ", "LAMBDA": "Λ"}
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
            known, _ = special_path(crystal)
        except StructureError:
            return nothing
        if found is None:
            return nothing
        points = dict(sorted(known.items(), key=lambda pair: (len(pair[0]), pair[0])))
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


def special_path(crystal: Crystal) -> tuple[dict[str, Point], list[tuple[str, str]]]:
    """Return the special points of a crystal by name, and the pairs that a standard path joins.

    The crystal keeps its own lattice vectors and orientation; points are expressed in them.

    Raises
    ------
    StructureError
        If no space group is found.
    """
    structure = (crystal.cell, crystal.scaled_positions, crystal.species)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # edge cases between lattices, folded cells
            found = seekpath.get_path_orig_cell(structure, symprec=SYMMETRY_TOLERANCE)
    except Exception as err:  # seekpath raises whatever spglib's answer led to
        raise StructureError(
            f"No standard path was found for this crystal ({err}); give a BandPath of your own."
        ) from err
    points = {_shown(name): _tidy(point) for name, point in found["point_coords"].items()}
    return points, [(_shown(a), _shown(b)) for a, b in found["path"]]


def _tidy(point: Sequence[float]) -> Point:
    """Round off what the change of the basis has left."""
    a, b, c = (float(np.round(one, 10)) + 0.0 for one in point)
    return a, b, c


def _shown(name: str) -> str:
    """Greek letters, and indices as subscripts: ``S_2`` is ``S₂``."""
    letter, _, index = name.partition("_")
    digits = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
    return _GREEK.get(letter, letter) + index.translate(digits)
