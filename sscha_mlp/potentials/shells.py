"""Shells of neighbours of a crystal, by which radii of environments are chosen."""

from typing import Final

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

_SEARCH: Final = 8.0
_SHELL_GAP: Final = 0.3


def shell_radii(atoms: Atoms) -> list[float]:
    """Return the radii of the shells around all atoms, Å: distances less than 0.3 Å apart are one.

    A shell's radius is its shortest distance; the search ends at 8 Å.
    """
    distances = np.sort(neighbor_list("d", atoms, _SEARCH))
    if len(distances) == 0:
        return []
    starts = np.flatnonzero(np.diff(distances) > _SHELL_GAP) + 1
    return [float(distances[index]) for index in (0, *starts)]


def shells(atoms: Atoms) -> tuple[float, float]:
    """Return the nearest-neighbour distance and the middle of the gap to the next shell, Å.

    Shells are distances more than 0.3 Å apart; without a second shell within 8 Å the middle is
    1.3 times the nearest distance.
    """
    distances = np.sort(neighbor_list("d", atoms, _SEARCH))
    if len(distances) == 0:
        return _SEARCH, 1.3 * _SEARCH
    gaps = np.flatnonzero(np.diff(distances) > _SHELL_GAP)
    first = float(distances[0])
    if len(gaps) == 0:
        return first, 1.3 * first
    inner, outer = distances[gaps[0]], distances[gaps[0] + 1]
    return first, float(0.5 * (inner + outer))
