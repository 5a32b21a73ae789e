"""The content of ``hessian.json``, typed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sscha_mlp.errors import InputError
from sscha_mlp.quantities import q_name
from sscha_mlp.run_files.records.fields import Row, fields_of, read

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
class HessianModes:
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
    def shown_q(self) -> str:
        """The wave vector as text, after its name."""
        return q_name(self.q, self.name)

    @property
    def moving(self) -> list[int]:
        """Places of the modes that are no translations."""
        return [place for place, rigid in enumerate(self.is_translation) if not rigid]

    @property
    def softest(self) -> int:
        """Place of the softest mode that is no translation."""
        return min(self.moving, key=lambda place: self.squared_THz2.corrected[place])


@dataclass(frozen=True)
class HessianRecord:
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

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "HessianRecord":
        """Read the content of a file.

        Raises
        ------
        InputError
            If a field is missing or not what is written there.
        """
        found: HessianRecord = read(cls, content)
        return found

    @classmethod
    def read(cls, path: Path) -> "HessianRecord":
        """Read a file.

        Raises
        ------
        InputError
            If it cannot be read.
        """
        try:
            return cls.of(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, RecursionError, InputError) as err:
            raise InputError(
                f"{path} cannot be read ({err}); remove it and run sscha-mlp hessian again."
            ) from err

    def to_json(self) -> Row:
        """Return the content of the file."""
        return fields_of(self)
