"""Sets of GAP hyper-parameters to choose from, scaled to the crystal."""

from typing import Any, Final

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

TUTORIAL: Final = "tutorial"
"""The SSCHA tutorial's hyper-parameters: the defaults of GapSettings."""

_SEARCH: Final = 8.0
_SHELL_GAP: Final = 0.3
_TIGHT: Final = {"default_sigma": [0.0005, 0.03, 0.02, 0.0]}
_WIDE: Final = {"default_sigma": [0.002, 0.1, 0.05, 0.0]}


def presets(atoms: Atoms) -> dict[str, dict[str, Any]]:
    """Return named hyper-parameters for a crystal, to be compared on held-out labels.

    - ``tutorial``: SOAP of 4.2 Å with wide Gaussians, good near the minimum and for metals;
    - ``pair``: the same with a pair term, for steep repulsion;
    - ``first-shell``: a pair term, and a sharp SOAP that ends between the first and the second
      shell of neighbours: for covalent crystals whose many-body forces come from the bonds.

    Parameters
    ----------
    atoms
        The undisplaced crystal.
    """
    first, between = shells(atoms)
    pair = {"pair_n_sparse": 20, "pair_theta": 0.2, "pair_cutoff": max(4.2, between + 0.5)}
    sharp = {
        "cutoff": between,
        "cutoff_transition_width": min(0.4, 0.5 * (between - first)),
        "atom_sigma": 0.25,
        "delta": 1.0,
        "zeta": 4,
        "n_sparse": 400,
    }
    return {TUTORIAL: {}, "pair": {**pair, **_WIDE}, "first-shell": {**pair, **sharp, **_TIGHT}}


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
