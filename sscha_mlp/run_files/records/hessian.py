"""The content of ``hessian.json``, typed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final

from sscha_mlp.quantities import AtWaveVector
from sscha_mlp.run_files.records.fields import FileRecord

SCHEMA: Final = "sscha-mlp/hessian/1"


@dataclass(frozen=True)
class SoftestMode:
    """The mode of the Hessian that is lowest by its error.

    Parameters
    ----------
    q
        Wave vector in units of the reciprocal lattice vectors.
    squared_frequency_THz2, stderr_THz2
        Corrected where labels correct it.
    name
        Of the special point; empty where it has none, and in files of an earlier version.
    """

    q: tuple[float, float, float]
    squared_frequency_THz2: float
    stderr_THz2: float
    name: str = ""


@dataclass(frozen=True)
class SquaredFrequencies:
    """Squared frequencies of a wave vector, THz², negative where unstable; one for each mode."""

    model: tuple[float, ...]
    correction: tuple[float, ...]
    corrected: tuple[float, ...]
    stderr: tuple[float, ...]


@dataclass(frozen=True)
class HessianModes(AtWaveVector):
    """Modes of the Hessian at one irreducible wave vector.

    Parameters
    ----------
    q
        In units of the reciprocal lattice vectors.
    is_translation
        For each mode.
    sscha_THz, hessian_THz
        Frequencies of the trial modes and of the Hessian, negative where unstable.
    squared_THz2
        Squared frequencies of the Hessian with their errors.
    name
        Of the special point; empty where it has none, and in files of an earlier version.
    """

    q: tuple[float, float, float]
    is_translation: tuple[bool, ...]
    sscha_THz: tuple[float, ...]
    hessian_THz: tuple[float, ...]
    squared_THz2: SquaredFrequencies
    name: str = ""

    @property
    def moving(self) -> list[int]:
        """Places of the modes that are no translations."""
        return [place for place, rigid in enumerate(self.is_translation) if not rigid]

    @property
    def softest(self) -> int:
        """Place of the softest mode that is no translation."""
        return min(self.moving, key=lambda place: self.squared_THz2.corrected[place])


@dataclass(frozen=True)
class HessianRecord(FileRecord):
    """The free-energy Hessian of a finished run; the fields are those of the file.

    Parameters
    ----------
    temperature_K, nuclei, supercell, n_configs, fourth_order, seed
        What was asked.
    effective_sample_size
        Of the ensemble at its minimum.
    check_labels
        Labels that correct it; 0 where none do.
    verdict, statement
        In a word and in a sentence.
    softest, modes
        What was found.
    versions, left_out
        What it was made with, and what its errors leave out.
    """

    verb: ClassVar[str] = "hessian"

    temperature_K: float
    supercell: tuple[int, int, int]
    n_configs: int
    effective_sample_size: float
    fourth_order: bool
    check_labels: int
    verdict: str
    statement: str
    softest: SoftestMode
    modes: tuple[HessianModes, ...]
    left_out: str = ""
    nuclei: str = "quantum"
    seed: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    schema: str = SCHEMA
