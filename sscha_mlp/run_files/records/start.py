"""Where a run begins: the harmonic start, and the finished run that it continues from."""

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.run_files.records.fields import Record
from sscha_mlp.run_files.records.models import ChoiceRecord, FitRecord

_TRANSLATION_THZ: Final = 1.0e-2


@dataclass(frozen=True)
class CompressionRecord:
    """What the reference says of a change of the volume of the crystal at rest.

    Parameters
    ----------
    bulk_modulus_GPa
        Atoms keep their scaled positions.
    stress_error_GPa
        Pressure from the stress less that from the energies.
    volume_A3_per_atom
        At rest.
    """

    bulk_modulus_GPa: float
    stress_error_GPa: float
    volume_A3_per_atom: float


@dataclass(frozen=True, eq=False)
class StartRecord(Record):
    """The harmonic starting point of a run.

    Parameters
    ----------
    n_calls
        Calls of the reference for it.
    volume_A3_per_atom
        Of the structure at rest.
    space_group
        Hermann-Mauguin symbol.
    n_operations
        Operations that are kept throughout.
    frequencies_THz
        Harmonic ones of the reference, shape (n_modes,), negative where unstable.
    modes_changed
        Modes that were unstable or very soft and have been made positive.
    energy_eV_per_atom
        Of the lattice at rest; None where it was not computed.
    compression
        None where the reference was not asked.
    formula
        Of the primitive cell.
    reference_identity
        With which reference it was computed, by content.
    structure_sha256, structure_key
        The file of the structure, and the crystal that it held.
    """

    kind: ClassVar[str] = "start"

    n_calls: int
    volume_A3_per_atom: float
    space_group: str
    n_operations: int
    frequencies_THz: FloatArray
    modes_changed: int
    energy_eV_per_atom: float | None = None
    compression: CompressionRecord | None = None
    formula: str | None = None
    reference_identity: str | None = None
    structure_sha256: str | None = None
    structure_key: str | None = None

    @property
    def name(self) -> str:
        """A run has one start."""
        return ""

    @property
    def range_thz(self) -> tuple[float, float]:
        """Lowest and highest frequency, translations left out, THz."""
        moving = self.frequencies_THz[np.abs(self.frequencies_THz) > _TRANSLATION_THZ]
        return float(moving.min()), float(moving.max())


@dataclass(frozen=True)
class OriginRecord(Record):
    """The finished run that a run continues from, and what was taken over of it.

    Parameters
    ----------
    path
        Its directory.
    generation
        How many finished runs this one continues from.
    train, test, check
        Labels taken over, by what they served for there.
    fit
        Its last fit, where its model was taken over.
    choice
        How the hyper-parameters of that were chosen; None where they were given.
    """

    kind: ClassVar[str] = "origin"

    path: str
    generation: int
    train: int
    test: int
    check: int = 0
    fit: FitRecord | None = None
    choice: ChoiceRecord | None = None

    @property
    def name(self) -> str:
        """A run has one origin."""
        return ""

    @property
    def n_train(self) -> int:
        """Labels to fit on: those of the last check have joined them."""
        return self.train + self.check

    @property
    def n_labels(self) -> int:
        """Labels taken over."""
        return self.n_train + self.test
