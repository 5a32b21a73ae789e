"""The content of ``result.json``, read once and typed."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import numpy as np

from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.errors import InputError
from sscha_mlp.quantities import AtWaveVector
from sscha_mlp.run_files.records.fields import Row, fields_of, read

SCHEMA: Final = "sscha-mlp/result/1"


@dataclass(frozen=True)
class Corrected:
    """A number of the model and what it becomes by the certificate; NaN where it is not known.

    Parameters
    ----------
    model, correction, corrected
        Of the model, the shift to the reference, and their sum.
    stderr
        Standard error of the sum.
    model_stderr, correction_stderr
        Of its two parts; None in results of early versions.
    """

    model: float
    correction: float
    corrected: float
    stderr: float
    model_stderr: float | None = None
    correction_stderr: float | None = None


@dataclass(frozen=True)
class Measured:
    """A number with its standard error; NaN where it is not known."""

    value: float
    stderr: float


@dataclass(frozen=True)
class Frequencies(AtWaveVector):
    """Frequencies of one irreducible wave vector, THz, in rising order.

    Parameters
    ----------
    q
        In units of the reciprocal lattice vectors.
    model, corrected, stderr
        For each mode; NaN where the result has none.
    name
        Of the special point; empty where it has none, and in results of an earlier version.
    """

    q: tuple[float, float, float]
    model: tuple[float, ...]
    corrected: tuple[float, ...] | None = None
    stderr: tuple[float, ...] | None = None
    name: str = ""

    @classmethod
    def of(cls, entry: "Frequencies | Mapping[str, Any]") -> "Frequencies":
        """Return an entry of ``frequencies_THz``."""
        found: Frequencies = entry if isinstance(entry, cls) else read(cls, entry)
        return found

    @property
    def n_modes(self) -> int:
        """Number of modes."""
        return len(self.model)

    def values(self, name: str) -> FloatArray:
        """Return ``model``, ``corrected`` or ``stderr``, shape (n_modes,)."""
        found = getattr(self, name)
        return np.full(self.n_modes, np.nan) if found is None else np.array(found)

    @property
    def modes(self) -> tuple[Corrected, ...]:
        """The modes one by one."""
        columns = (self.values(name).tolist() for name in ("model", "corrected", "stderr"))
        return tuple(
            Corrected(model, corrected - model, corrected, stderr)
            for model, corrected, stderr in zip(*columns, strict=True)
        )


@dataclass(frozen=True)
class LabelCounts:
    """Labels of a run.

    Parameters
    ----------
    train, test, check, total
        In use at its end, those taken over included; None where a file does not say.
    start
        Calls of the reference for the start, not in the total.
    new
        Labels that a run asked for itself, where it took over others.
    """

    train: int | None = None
    test: int | None = None
    check: int | None = None
    total: int | None = None
    start: int | None = None
    new: int | None = None

    @property
    def n_new(self) -> int:
        """Labels that the run asked for itself."""
        return (self.total or 0) if self.new is None else self.new

    @property
    def n_taken_over(self) -> int:
        """Labels of the run that it started from."""
        return (self.total or 0) - self.n_new

    @property
    def uses(self) -> str:
        """What they serve for, in words; empty where it is not known."""
        counts = {"train": self.train, "test": self.test, "check": self.check}
        return ", ".join(f"{count} {use}" for use, count in counts.items() if count is not None)


@dataclass(frozen=True)
class ModelUsed:
    """The last model of a run.

    Parameters
    ----------
    kind
        Of potential.
    path, sha256
        Its directory and the hash of its file.
    settings, choice
        Its hyper-parameters, and what they are called.
    start_sha256
        Hash of the file that its fit began with, such as a foundation model.
    reproducible
        Whether the same fit gives the same files, byte for byte.
    """

    kind: str | None = None
    path: str | None = None
    sha256: str | None = None
    settings: Mapping[str, Any] | None = None
    choice: str | None = None
    start_sha256: str | None = None
    reproducible: bool | None = None


@dataclass(frozen=True)
class StartedFrom:
    """The run that a run continues from, and how many finished runs it stands on."""

    path: str
    generation: int = 0


@dataclass(frozen=True)
class Result:
    """The content of ``result.json``; of a run that is not finished, what there is so far.

    The fields are those of the file (docs/run-directory.md), None or NaN where a file does not have
    them.

    Parameters
    ----------
    temperature_K, pressure_target_GPa, nuclei, supercell
        What was asked.
    n_atoms, formula, space_group, cell_A, scaled_positions, symbols, masses_amu
        The relaxed primitive cell; Å, no unit, amu.
    volume_A3_per_atom, free_energy_eV_per_atom, pressure_GPa, bulk_modulus_GPa
        The answer.
    lattice, coordinates
        Parameters of the conventional cell that symmetry leaves free, by name, Å and degrees, and
        coordinates of atoms as fractions of it.
    entropy_kB_per_atom, heat_capacity_kB_per_atom, zero_point_energy_eV_per_atom
        Sums over the modes of the corrected state.
    tolerances
        Of the relaxation and of the certificate, as they were in this crystal.
    frequencies_THz
        By irreducible wave vector.
    validation
        Errors of the models, as the file has them.
    labels, retrains, populations, model, timings_s, versions, seed, left_out, origin
        What it took.
    more
        Fields that this version does not know.
    """

    converged: bool = False
    stop_reason: str = ""
    schema: str = SCHEMA
    temperature_K: float = math.nan
    nuclei: str = "quantum"
    pressure_target_GPa: float = math.nan
    supercell: tuple[int, int, int] | None = None
    n_atoms: int | None = None
    formula: str | None = None
    space_group: str | None = None
    cell_A: tuple[tuple[float, float, float], ...] | None = None
    scaled_positions: tuple[tuple[float, float, float], ...] | None = None
    symbols: tuple[str, ...] | None = None
    masses_amu: tuple[float, ...] | None = None
    volume_A3_per_atom: Measured | None = None
    free_energy_eV_per_atom: Corrected | None = None
    pressure_GPa: Corrected | None = None
    bulk_modulus_GPa: float | None = None
    lattice: Mapping[str, Measured] | None = None
    coordinates: Mapping[str, Measured] | None = None
    entropy_kB_per_atom: Measured | None = None
    heat_capacity_kB_per_atom: Measured | None = None
    zero_point_energy_eV_per_atom: Measured | None = None
    tolerances: Mapping[str, Any] | None = None
    frequencies_THz: tuple[Frequencies, ...] = ()
    validation: tuple[Mapping[str, Any], ...] = ()
    labels: LabelCounts = LabelCounts()
    retrains: int | None = None
    populations: int | None = None
    model: ModelUsed = ModelUsed()
    timings_s: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None
    left_out: str | None = None
    origin: StartedFrom | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, content: "Result | Mapping[str, Any]") -> "Result":
        """Read the content of ``result.json``, or return a result that was read.

        Raises
        ------
        InputError
            If a field is not what a run writes.
        """
        if isinstance(content, cls):
            return content
        assert isinstance(content, Mapping)
        known = {one.name for one in fields(cls)} - {"more"}
        given = {key: one for key, one in content.items() if key in known and one is not None}
        more = {key: one for key, one in content.items() if key not in known}
        found: Result = read(cls, {**given, "more": more})
        return found

    @classmethod
    def read(cls, path: Path) -> "Result":
        """Read a file.

        Raises
        ------
        InputError
            If there is none, or it is damaged.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(content["converged"], bool):
                raise TypeError("converged is neither true nor false")  # noqa: TRY301
            return cls.of(content)
        except (OSError, ValueError, LookupError, TypeError, RecursionError, InputError) as err:
            raise InputError(
                f"{path} cannot be read ({err}); remove it and run the same command again, which "
                "writes it anew."
            ) from err

    def to_json(self) -> Row:
        """Return the content of the file."""
        values = fields_of(self)
        values |= values.pop("more")
        rows = {"labels": self.labels, "model": self.model}
        values |= {name: _present(fields_of(one)) for name, one in rows.items()}
        # Results of an earlier version have no names of wave vectors, and get none.
        values["frequencies_THz"] = [
            {key: one for key, one in entry.items() if key != "name" or one}
            for entry in values["frequencies_THz"]
        ]
        return _present(values)

    @property
    def volume(self) -> Measured:
        """Volume, Å³/atom.

        Raises
        ------
        InputError
            If the result has none.
        """
        if self.volume_A3_per_atom is None:
            raise InputError("The result has no volume; run the same relax command again.")
        return self.volume_A3_per_atom

    @property
    def free_energy(self) -> Corrected:
        """Free energy, eV/atom.

        Raises
        ------
        InputError
            If the result has none.
        """
        if self.free_energy_eV_per_atom is None:
            raise InputError("The result has no free energy; run the same relax command again.")
        return self.free_energy_eV_per_atom

    @property
    def n_atoms_of_supercell(self) -> int:
        """Atoms of the supercell; 0 where the result does not say."""
        return math.prod(self.supercell or (0,)) * (self.n_atoms or 0)

    @property
    def generation(self) -> int:
        """How many finished runs it stands on: 0 where it began with a structure."""
        return 0 if self.origin is None else self.origin.generation


def _present(values: Row) -> Row:
    return {key: value for key, value in values.items() if value is not None}
