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
from sscha_mlp.run_files.records.start import CompressionRecord, StartRecord
from sscha_mlp.scha.relaxation import pressure_of

STEP: Final = 0.015
"""Part of the volume by which it is changed, both ways."""

FACTOR: Final = 2.0
"""A model whose bulk modulus is this many times that of the reference, or less than its inverse,
is not believed ..."""

SLOPE: Final = 9.0
"""... beyond what the volume explains, where B grows as V to minus this: the pressure derivative of
the modulus is 4 in most crystals, and 8 in rare gases."""


@dataclass(frozen=True)
class Compression:
    """Answer of the reference to a change of the volume of the crystal at rest.

    Parameters
    ----------
    bulk_modulus
        GPa; atoms keep their scaled positions.
    stress_error
        Pressure from the stress less that from the energies, GPa, in the mean over the volumes.
    volume
        At rest, Å³/atom.
    """

    bulk_modulus: float
    stress_error: float
    volume: float

    def allows(self, bulk_modulus: float, volume: float) -> bool:
        """Whether a model may have a bulk modulus, GPa, at a volume, Å³/atom.

        Any, where that of the reference is not positive.
        """
        if not self.bulk_modulus > 0.0:
            return True
        change = float((self.volume / volume) ** SLOPE)
        lowest, highest = min(1.0, change) / FACTOR, max(1.0, change) * FACTOR
        return lowest * self.bulk_modulus < bulk_modulus < highest * self.bulk_modulus

    @property
    def record(self) -> CompressionRecord:
        """What the journal keeps."""
        return CompressionRecord(self.bulk_modulus, self.stress_error, self.volume)


def compression_of(start: StartRecord | None) -> Compression | None:
    """Return what a start has found; None if the reference was not asked."""
    if start is None or start.compression is None:
        return None
    known = start.compression
    return Compression(known.bulk_modulus_GPa, known.stress_error_GPa, known.volume_A3_per_atom)


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
    above, below = pressure_of(larger.stress), pressure_of(smaller.stress)
    modulus = -volume * (above - below) / change
    from_energies = -(larger.energy - smaller.energy) / change
    error = (above + 4.0 * rest + below) / 6.0 - from_energies
    per_atom = volume / len(larger.forces)
    return Compression(modulus / units.GPA, error / units.GPA, per_atom)
