"""What the reference itself says of a change of the volume: two labels of the crystal at rest.

Labels of one cell do not say how the energy changes with the volume, and a model that was fitted
to them may have any bulk modulus.  The reference's own, at rest, tells such a model from one that
knows.  The same labels tell whether the stress is the derivative of the energy, which a model of
both has to assume.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from ase import Atoms

from sscha_mlp import units
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.data.labels import Label

STEP: Final = 0.015
"""Part of the volume by which it is changed, both ways."""

FACTOR: Final = 2.0
"""A model whose bulk modulus is this many times that of the reference, or less than its inverse,
is not believed: between rest and a temperature at which it is stable, no crystal changes as much.
"""


@dataclass(frozen=True)
class Compression:
    """Answer of the reference to a change of the volume of the crystal at rest.

    Parameters
    ----------
    bulk_modulus
        GPa; atoms keep their scaled positions.
    stress_error
        Pressure from the stress less that from the energies, GPa, in the mean over the volumes.
    """

    bulk_modulus: float
    stress_error: float


def compressed(supercell: Supercell) -> list[Atoms]:
    """Return the supercell a little larger and a little smaller."""
    lengths = np.cbrt([1.0 + STEP, 1.0 - STEP])
    return [supercell.crystal.strained((one - 1.0) * np.eye(3)).to_ase() for one in lengths]


def compression(rest: float, labels: Sequence[Label], volume: float) -> Compression:
    """Return what two labels of :func:`compressed` say.

    The mean pressure follows from the stresses by Simpson's rule and from the energies exactly:
    what is left is of fourth order in the step.

    Parameters
    ----------
    rest
        Pressure between them, eV/Å³.
    labels
        Of the larger and the smaller one.
    volume
        Of the supercell between them, Å³.
    """
    larger, smaller = labels
    change = 2.0 * STEP * volume
    above, below = pressure_of_label(larger), pressure_of_label(smaller)
    modulus = -volume * (above - below) / change
    from_energies = -(larger.energy - smaller.energy) / change
    error = (above + 4.0 * rest + below) / 6.0 - from_energies
    return Compression(modulus / units.GPA, error / units.GPA)


def can_be(bulk_modulus: float, at_rest: float | None) -> bool:
    """Whether a model may have a bulk modulus, given that of the reference at rest, same unit.

    Where that one is not known, or not positive, any may.
    """
    if at_rest is None or not at_rest > 0.0:
        return True
    return at_rest / FACTOR < bulk_modulus < at_rest * FACTOR


def pressure_of_label(label: Label) -> float:
    """Return the pressure of a label, eV/Å³."""
    return -float(np.trace(label.stress)) / 3.0
