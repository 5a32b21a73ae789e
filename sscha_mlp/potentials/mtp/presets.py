"""Sets of MTP settings to choose from, scaled to the crystal."""

from collections.abc import Mapping
from typing import Any, Final

from ase import Atoms

from sscha_mlp.potentials.shells import shell_radii, shells

_WIDE: Final = 5.0
_REFINED: Final = {
    "level": 16,
    "radial_weight": 4,
    "max_tensors": 4,
    "species": "shared",
    "n_polynomials": 10,
    "refine_steps": 16,
    "compare_linear": True,
}
"""The basis of MLIP with radial functions fitted to the data, where that beats a linear fit."""


def presets(atoms: Atoms) -> dict[str, dict[str, Any]]:
    """Return named settings for a crystal, to be compared on held-out labels.

    They differ in the size of an environment:

    - ``first-shell``: it ends between the first and the second shell of neighbours, for crystals
      whose many-body forces come from the bonds;
    - ``second-shell``: between the second and the third;
    - ``wide``: 5 Å, or at the fourth shell where that is farther.

    Parameters
    ----------
    atoms
        The undisplaced crystal.
    """
    _, between = shells(atoms)
    radii = shell_radii(atoms)
    second = 0.5 * (radii[1] + radii[2]) if len(radii) > 2 else 1.3 * between
    wide = max(_WIDE, radii[3] if len(radii) > 3 else 0.0)
    cutoffs = {"first-shell": between, "second-shell": second, "wide": wide}
    return {name: {"cutoff": round(cutoff, 3), **_REFINED} for name, cutoff in cutoffs.items()}


def trial_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a linear fit with the same environments, which takes a tenth of the time."""
    kept = ("cutoff", "energy_sigma", "force_sigma", "stress_sigma", "min_dist_ratio")
    return {name: settings[name] for name in kept if name in settings}
