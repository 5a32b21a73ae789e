"""Lattice vectors of Quantum ESPRESSO's numbered Bravais lattices.

The conventions are those of pw.x, documented with its variable ``ibrav``: lengths ``a``, ``b/a``
and ``c/a``, then the cosines of angles.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.errors import StructureError

_Rows = list[list[float]]


def bravais_cell(number: int, celldm: Sequence[float]) -> FloatArray:
    """Lattice vectors of a numbered Bravais lattice, in units of the lattice parameter a.

    Parameters
    ----------
    number
        ``ibrav``, but for 0, which means that the vectors are given.
    celldm
        ``a`` (not used here), ``b/a``, ``c/a``, and three cosines as ``ibrav`` needs them.

    Returns
    -------
    Rows, shape (3, 3).

    Raises
    ------
    StructureError
        If there is no such lattice, or its parameters span no cell.
    """
    make = _LATTICES.get(number)
    if make is None:
        raise StructureError(
            f"There is no Bravais lattice ibrav = {number}; Quantum ESPRESSO has "
            f"{', '.join(str(one) for one in sorted(_LATTICES))}."
        )
    with np.errstate(invalid="ignore", divide="ignore"):
        cell = np.array(make(*(np.float64(value) for value in celldm[1:6])))
    if not np.all(np.isfinite(cell)) or abs(np.linalg.det(cell)) < 1.0e-8:
        raise StructureError(
            f"The parameters celldm = {[float(value) for value in celldm]} span no cell of the "
            f"Bravais lattice ibrav = {number}."
        )
    return cell


def _rhombohedral(cosine: float) -> tuple[float, float]:
    """Lengths of a lattice vector along the threefold axis, and across it.

    Three vectors of length 1 with equal angles between them: the sum has the length
    ``sqrt(3 + 6 cos)``, and each has a third of it along the axis.
    """
    return np.sqrt((1.0 + 2.0 * cosine) / 3.0), np.sqrt(2.0 * (1.0 - cosine) / 3.0)


def _trigonal(_b: float, _c: float, cosine: float, *_: float) -> _Rows:
    """Threefold axis along z."""
    along, across = _rhombohedral(cosine)
    x, y = across * np.sqrt(3.0) / 2.0, across / 2.0
    return [[x, -y, along], [0, across, along], [-x, -y, along]]


def _trigonal_111(_b: float, _c: float, cosine: float, *_: float) -> _Rows:
    """Threefold axis along (1 1 1)."""
    along, across = _rhombohedral(cosine)
    one = along / np.sqrt(3.0)
    u, v = one - across * np.sqrt(2.0 / 3.0), one + across / np.sqrt(6.0)
    return [[u, v, v], [v, u, v], [v, v, u]]


def _triclinic(b: float, c: float, bc: float, ac: float, ab: float) -> _Rows:
    sine = np.sqrt(1.0 - ab**2)
    height = np.sqrt(1.0 + 2.0 * bc * ac * ab - bc**2 - ac**2 - ab**2) / sine
    return [[1, 0, 0], [b * ab, b * sine, 0], [c * ac, c * (bc - ac * ab) / sine, c * height]]


_LATTICES: Final[dict[int, Callable[..., _Rows]]] = {
    1: lambda *_: [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    2: lambda *_: [[-0.5, 0, 0.5], [0, 0.5, 0.5], [-0.5, 0.5, 0]],
    3: lambda *_: [[0.5, 0.5, 0.5], [-0.5, 0.5, 0.5], [-0.5, -0.5, 0.5]],
    -3: lambda *_: [[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]],
    4: lambda _, c, *__: [[1, 0, 0], [-0.5, np.sqrt(0.75), 0], [0, 0, c]],
    5: _trigonal,
    -5: _trigonal_111,
    6: lambda _, c, *__: [[1, 0, 0], [0, 1, 0], [0, 0, c]],
    7: lambda _, c, *__: [[0.5, -0.5, c / 2], [0.5, 0.5, c / 2], [-0.5, -0.5, c / 2]],
    8: lambda b, c, *_: [[1, 0, 0], [0, b, 0], [0, 0, c]],
    9: lambda b, c, *_: [[0.5, b / 2, 0], [-0.5, b / 2, 0], [0, 0, c]],
    -9: lambda b, c, *_: [[0.5, -b / 2, 0], [0.5, b / 2, 0], [0, 0, c]],
    91: lambda b, c, *_: [[1, 0, 0], [0, b / 2, -c / 2], [0, b / 2, c / 2]],
    10: lambda b, c, *_: [[0.5, 0, c / 2], [0.5, b / 2, 0], [0, b / 2, c / 2]],
    11: lambda b, c, *_: [[0.5, b / 2, c / 2], [-0.5, b / 2, c / 2], [-0.5, -b / 2, c / 2]],
    12: lambda b, c, ab, *_: [[1, 0, 0], [b * ab, b * np.sqrt(1 - ab**2), 0], [0, 0, c]],
    -12: lambda b, c, _, ac, *__: [[1, 0, 0], [0, b, 0], [c * ac, 0, c * np.sqrt(1 - ac**2)]],
    13: lambda b, c, ab, *_: [
        [0.5, 0, -c / 2],
        [b * ab, b * np.sqrt(1 - ab**2), 0],
        [0.5, 0, c / 2],
    ],
    -13: lambda b, c, _, ac, *__: [
        [0.5, b / 2, 0],
        [-0.5, b / 2, 0],
        [c * ac, 0, c * np.sqrt(1 - ac**2)],
    ],
    14: _triclinic,
}
"""By ``ibrav``: the lattice vectors from ``b/a``, ``c/a`` and the cosines, celldm(2) to (6)."""
