"""Second differences of the energy against forces and stresses: units and signs of a reference.

At rest the first derivatives of the energy vanish, and agree in any units.  The second do not:

    E(u) + E(-u) - 2 E(0)  =  -1/2 [f(u) - f(-u)] . u,
    E(V + dV) + E(V - dV) - 2 E(V)  =  -1/2 [P(V + dV) - P(V - dV)] dV,

both up to fourth order in the step.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from sscha_mlp import units
from sscha_mlp.data.labels import Label
from sscha_mlp.errors import ReferenceFailedError
from sscha_mlp.reference.consistency import explain_energies, explain_stress

LIMITS: Final = (0.6, 1.6)
"""A reference whose ratio is outside cannot be used."""

DOUBTFUL: Final = 0.05
"""A ratio that is further from 1 is worth a warning."""

_MIXED: Final = units.RYDBERG / units.BOHR / (2.0 * units.RYDBERG)
"""Ratio of energies in Hartree to forces in Ry/bohr: 0.945, so near to 1 that it is asked for
..."""

_EXACTLY: Final = 2.0e-3
"""... within this."""

_FLAT: Final = 1.0e-6
"""A second difference smaller than this per atom, eV, is noise."""


@dataclass(frozen=True)
class SecondDifferences:
    """Second differences of the energy over what forces or stresses say of them.

    Parameters
    ----------
    forces
        Of displaced atoms; None where it could not be had.
    stress
        Of other volumes; None where it could not be had.
    """

    forces: float | None
    stress: float | None

    @property
    def doubtful(self) -> bool:
        """Whether one of them is further from 1 than anharmonicity explains."""
        known = [one for one in (self.forces, self.stress) if one is not None]
        return any(abs(one - 1.0) > DOUBTFUL for one in known)

    def require(self, name: str, n_atoms: int) -> None:
        """Refuse a reference in other units than ASE's.

        Parameters
        ----------
        name
            Of the reference.
        n_atoms
            Of the supercell.

        Raises
        ------
        ReferenceFailedError
            If energies, forces and stress do not belong together.
        """
        if self.forces is not None and not _belongs(self.forces):
            raise ReferenceFailedError(
                f"The reference {name!r} is inconsistent: second differences of its energy are "
                f"{self.forces:.4g} times those of its forces. "
                f"{explain_energies(self.forces, n_atoms)} Its calculator must return eV and eV/Å, "
                "for the whole cell."
            )
        if self.stress is not None and not _belongs(self.stress):
            raise ReferenceFailedError(
                f"The reference {name!r} is inconsistent: second differences of its energy with "
                f"the volume are {self.stress:.4g} times those of its stress. "
                f"{explain_stress(self.stress)} Its calculator must return the stress in eV/Å³, "
                "positive under tension."
            )


def second_differences(
    rest: float,
    moved: Sequence[Label],
    displacements: Sequence[np.ndarray],
    strained: Sequence[Label],
    change: float,
) -> SecondDifferences:
    """Compare second differences of the energy.

    Parameters
    ----------
    rest
        Energy of the supercell at rest, eV; NaN where it is not known well enough.
    moved
        Labels of displaced supercells, in pairs of opposite displacements.
    displacements
        Of the first of each pair, shape (n_atoms, 3), Å.
    strained
        Labels of the larger and the smaller volume; empty where they were not computed.
    change
        Change of the volume, Å³.
    """
    if not np.isfinite(rest) or not moved:
        return SecondDifferences(None, None)
    n_atoms = len(moved[0].forces)
    energies = np.array([one.energy for one in moved]).reshape(-1, 2).sum(axis=1) - 2.0 * rest
    pulls = [one.forces - other.forces for one, other in zip(moved[::2], moved[1::2], strict=True)]
    work = [-0.5 * float(np.sum(f * u)) for f, u in zip(pulls, displacements, strict=True)]
    by_forces = _ratio(float(energies.sum()), float(np.sum(work)), n_atoms)
    if not strained:
        return SecondDifferences(by_forces, None)
    larger, smaller = strained
    pressures = [-float(np.trace(one.stress)) / 3.0 for one in (larger, smaller)]
    energy = larger.energy + smaller.energy - 2.0 * rest
    by_stress = _ratio(energy, -0.5 * (pressures[0] - pressures[1]) * change, n_atoms)
    return SecondDifferences(by_forces, by_stress)


def _ratio(energy: float, work: float, n_atoms: int) -> float | None:
    return energy / work if min(abs(energy), abs(work)) > _FLAT * n_atoms else None


def _belongs(ratio: float) -> bool:
    return LIMITS[0] < ratio < LIMITS[1] and abs(ratio / _MIXED - 1.0) > _EXACTLY
