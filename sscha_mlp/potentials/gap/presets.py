"""Sets of GAP hyper-parameters to choose from, scaled to the crystal."""

from collections.abc import Mapping
from typing import Any, Final

from ase import Atoms

from sscha_mlp.potentials.shells import shells

TUTORIAL: Final = "tutorial"
"""The SSCHA tutorial's hyper-parameters: the defaults of GapSettings."""

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


def trial_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings themselves: there is no quicker GAP that says as much."""
    return dict(settings)
