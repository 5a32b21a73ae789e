"""The records of a run: what passes between stages, onto disk, and into the report."""

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from sscha_mlp.errors import InputError
from sscha_mlp.validation.certificate import Certificate, Shift, Verdict

FloatArray = NDArray[np.float64]


Reader = Callable[[Mapping[str, Any]], Any]


class FromMapping:
    """Lets a dataclass of values be read from a line of a journal."""

    _nested: ClassVar[Mapping[str, Reader]] = {}
    """Fields that are read from mappings themselves."""

    @classmethod
    def from_mapping(cls, row: Mapping[str, Any]) -> Self:
        """Read the fields from a mapping, nested ones too; other keys are left alone.

        Raises
        ------
        InputError
            If a field without a default is missing.
        """
        declared = fields(cls)  # type: ignore[arg-type]
        missing = [
            one.name
            for one in declared
            if one.name not in row and one.default is MISSING and one.default_factory is MISSING
        ]
        if missing:
            raise InputError(
                f"a row of the report lacks {', '.join(missing)}; "
                f"{cls.__name__} needs them, write them into the journal"
            )
        values = {one.name: row[one.name] for one in declared if one.name in row}
        for name, reader in cls._nested.items():
            if isinstance(values.get(name), Mapping):
                values[name] = reader(values[name])
        return cls(**values)


def freeze(owner: object, name: str, *, ndim: int) -> None:
    """Replace a field by a read-only array, checking its number of dimensions."""
    value = getattr(owner, name)
    if value is None:
        return
    array = np.array(value, dtype=np.float64)
    if array.ndim != ndim:
        raise InputError(
            f"{type(owner).__name__}: {name} has shape {array.shape}, expected {ndim} dimensions"
        )
    array.setflags(write=False)
    object.__setattr__(owner, name, array)


@dataclass(frozen=True, eq=False)
class MinimisationTrace(FromMapping):
    """The steps of the minimisation inside one population.

    Parameters
    ----------
    free_energy, free_energy_stderr
        eV/atom, shape (n_steps,).
    gradient_THz, gradient_stderr_THz
        Largest frequency shift that the gradient predicts, shape (n_steps,).
    effective_sample_size
        Shape (n_steps,).
    frequencies_THz
        Shape (n_steps, n_modes), sorted in each row.
    """

    free_energy: FloatArray
    free_energy_stderr: FloatArray
    gradient_THz: FloatArray
    gradient_stderr_THz: FloatArray
    effective_sample_size: FloatArray
    frequencies_THz: FloatArray | None = None

    def __post_init__(self) -> None:
        """Freeze the arrays and check that all have one value for each step."""
        for one in fields(self):
            freeze(self, one.name, ndim=2 if one.name == "frequencies_THz" else 1)
        for one in fields(self):
            value = getattr(self, one.name)
            if value is not None and len(value) != self.n_steps:
                raise InputError(
                    f"minimisation trace: {one.name} has {len(value)} steps, free_energy has "
                    f"{self.n_steps}; store one value for each step"
                )

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return len(self.free_energy)


@dataclass(frozen=True, eq=False)
class PopulationRow(FromMapping):
    """What one population of the relaxation came to.

    Parameters
    ----------
    round
        0 before the first refit, 1 after it, and so on.
    population
        Number of the population in the whole run, from 1.
    n_configs
        Configurations in it, those of earlier populations included.
    free_energy, free_energy_stderr
        At its end, eV/atom.
    gradient_THz, gradient_stderr_THz
        Largest frequency shift that the remaining gradient predicts, THz.
    effective_sample_size
        At its end.
    frequencies_THz
        Of all modes, shape (n_modes,).
    volume
        Å³/atom.
    pressure_GPa, pressure_stderr_GPa
        SSCHA pressure.
    stress_GPa
        SSCHA stress in ASE's sign, shape (3, 3).
    rejected
        Configurations rejected as impossible.
    stop_reason
        Why its minimisation ended, in words.
    cell_lengths_A
        Lengths of the primitive lattice vectors, shape (3,).
    trace
        Steps of the minimisation, if they were kept.
    """

    _nested: ClassVar[Mapping[str, Reader]] = {"trace": MinimisationTrace.from_mapping}

    round: int
    population: int
    n_configs: int
    free_energy: float
    free_energy_stderr: float
    gradient_THz: float
    gradient_stderr_THz: float
    effective_sample_size: float
    frequencies_THz: FloatArray
    volume: float
    pressure_GPa: float
    pressure_stderr_GPa: float
    stress_GPa: FloatArray | None = None
    rejected: int = 0
    stop_reason: str = ""
    cell_lengths_A: FloatArray | None = None
    trace: MinimisationTrace | None = None

    def __post_init__(self) -> None:
        """Freeze the arrays."""
        freeze(self, "frequencies_THz", ndim=1)
        freeze(self, "stress_GPa", ndim=2)
        freeze(self, "cell_lengths_A", ndim=1)


def read_shift(row: Mapping[str, Any]) -> Shift:
    """Read a shift from its ``delta``, ``stderr`` and ``tolerance``; an unknown one is NaN.

    Raises
    ------
    InputError
        If one of them is missing.
    """
    try:
        values = [row[name] for name in ("delta", "stderr", "tolerance")]
    except KeyError as err:
        raise InputError(
            f"a shift of a check lacks {err}; write delta, stderr and tolerance into the journal"
        ) from err
    return Shift(*(math.nan if value is None else float(value) for value in values))


@dataclass(frozen=True)
class CertificateRow(FromMapping):
    """One check of the converged state against the reference.

    Parameters
    ----------
    round
        Refits done before the check.
    n_labels
        Fresh reference labels that it used.
    free_energy
        Shift of the free energy, meV/atom.
    stress
        Worst shift among the pressure and the components of the stress, GPa.
    frequency
        Shift of the worst frequency, the one with the largest ``(|delta| + 2 stderr) /
        tolerance``, THz.
    passed
        The verdict.
    reason
        The verdict in words.
    """

    _nested: ClassVar[Mapping[str, Reader]] = {
        "free_energy": read_shift,
        "stress": read_shift,
        "frequency": read_shift,
    }

    round: int
    n_labels: int
    free_energy: Shift
    stress: Shift
    frequency: Shift
    passed: bool
    reason: str = ""

    @classmethod
    def of(cls, certificate: Certificate, *, refits: int) -> "CertificateRow":
        """Return the row of a certificate that was made after that many refits."""
        return cls(
            round=refits,
            n_labels=certificate.n_labels,
            free_energy=certificate.free_energy_shift,
            stress=certificate.stress_shift,
            frequency=certificate.frequency_shift,
            passed=certificate.verdict is Verdict.PASSED,
            reason=certificate.reason,
        )

    @property
    def holds(self) -> bool:
        """Whether it passed, and each shift shown is inside its tolerance."""
        return self.passed and all(
            shift.passed for shift in (self.free_energy, self.stress, self.frequency)
        )


@dataclass(frozen=True)
class LabelRow(FromMapping):
    """Where labels came from and what they were used for.

    Parameters
    ----------
    origin
        For example ``start``, ``check 1``.
    train, test, check
        Labels used for fitting, for validation, and for the certificate alone.
    failed
        Configurations that the reference could not label.
    """

    origin: str
    train: int = 0
    test: int = 0
    check: int = 0
    failed: int = 0


@dataclass(frozen=True)
class OriginRow:
    """The finished run that a run starts from.

    Parameters
    ----------
    path
        Its directory.
    train, test
        Labels taken over, to fit on and to validate with.
    has_model
        Whether its model was taken over.
    """

    path: str
    train: int
    test: int
    has_model: bool

    @property
    def n_labels(self) -> int:
        """Labels taken over."""
        return self.train + self.test


@dataclass(frozen=True)
class StartRow:
    """The state that a run begins with.

    Parameters
    ----------
    n_calls
        Calls of the reference for it.
    energy
        Of the lattice at rest, eV/atom; None if unknown.
    volume
        Å³/atom.
    space_group
        Hermann-Mauguin symbol.
    n_operations
        Operations that are kept throughout.
    modes_changed
        Modes that were unstable or very soft and have been made positive.
    lowest, highest
        Frequencies before that, translations left out, THz.
    """

    n_calls: int
    energy: float | None
    volume: float
    space_group: str
    n_operations: int
    modes_changed: int
    lowest: float
    highest: float


@dataclass(frozen=True)
class FitRow:
    """A model of a run, and its errors on labels that it has not seen.

    Parameters
    ----------
    number
        From 0.
    n_train
        Labels that it was fitted to.
    choice
        Name of its hyper-parameters.
    sha256
        Of its file.
    taken_over
        Whether it comes from another run.
    errors
        Its entry of ``validation`` in the result, on the test set; empty if there is none.
    """

    number: int
    n_train: int
    choice: str
    sha256: str
    taken_over: bool
    errors: Mapping[str, Any]
