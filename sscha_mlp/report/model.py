"""What a report is made of: plain values, in the units in which they are shown."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from sscha_mlp.errors import InputError
from sscha_mlp.report.phonons import Phonons
from sscha_mlp.report.story import FitRow, OriginRow, StartRow
from sscha_mlp.validation.certificate import Certificate, Shift, Verdict
from sscha_mlp.validation.metrics import ValidationSet

FloatArray = NDArray[np.float64]

_NOTHING: Mapping[str, Any] = MappingProxyType({})


_Reader = Callable[[Mapping[str, Any]], Any]


class _FromMapping:
    """Lets a dataclass of values be read from a line of a journal."""

    _nested: ClassVar[Mapping[str, _Reader]] = {}
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


def _freeze(owner: object, name: str, *, ndim: int) -> None:
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
class MinimisationTrace(_FromMapping):
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
            _freeze(self, one.name, ndim=2 if one.name == "frequencies_THz" else 1)
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
class PopulationRow(_FromMapping):
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

    _nested: ClassVar[Mapping[str, _Reader]] = {"trace": MinimisationTrace.from_mapping}

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
        _freeze(self, "frequencies_THz", ndim=1)
        _freeze(self, "stress_GPa", ndim=2)
        _freeze(self, "cell_lengths_A", ndim=1)


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
class CertificateRow(_FromMapping):
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

    _nested: ClassVar[Mapping[str, _Reader]] = {
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
class ValidationStage:
    """Validation of one model: the sets that it was compared on.

    Parameters
    ----------
    title
        Which model this is, for example ``Before retraining``.
    sets
        Sets to show side by side; at most six.
    """

    title: str
    sets: tuple[ValidationSet, ...]

    def __post_init__(self) -> None:
        """Make the sets a tuple that is not empty."""
        object.__setattr__(self, "sets", tuple(self.sets))
        if not 1 <= len(self.sets) <= 6:
            raise InputError(
                f"validation stage '{self.title}' has {len(self.sets)} sets; show one to six"
            )


@dataclass(frozen=True)
class LabelRow(_FromMapping):
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
class UncertaintyRow(_FromMapping):
    """The model's own uncertainty on one ensemble, an alarm rather than an error bar.

    What it measures is the model's affair: the largest standard deviation of a local energy in a
    configuration for a Gaussian approximation potential, the extrapolation grade for a moment
    tensor potential.

    Parameters
    ----------
    ensemble
        Which configurations.
    n_configs
        How many.
    median, upper
        Median and an upper quantile of the uncertainties of the configurations, NaN if unknown.
    unit
        Of both; empty if they have none.
    level
        Part of the configurations that lies below the upper quantile.
    alarm
        Whether they are outside what the model was fitted to.
    measure
        What the uncertainty is; empty if the model does not say.
    """

    ensemble: str
    n_configs: int
    median: float
    upper: float
    unit: str = ""
    level: float = 0.95
    alarm: bool = False
    measure: str = ""


@dataclass(frozen=True, eq=False)
class ReportData:
    """Everything that a report shows.

    Parameters
    ----------
    name
        Name of the run, in the running head.
    result
        The mapping of result.json; what is missing is shown as a dash.
    settings
        Resolved settings, nested mappings allowed.
    asked
        What was asked beyond what the result says, as label and value: the structure, the
        reference, the configurations in a population.
    populations
        Rows of the relaxation in order; rows may be given as mappings.
    certificates
        Checks in order; may be given as mappings.
    validation
        Stages in order.
    labels
        Labels by origin; may be given as mappings.
    notes
        Failures and rejections, one sentence each.
    uncertainties
        The model's own uncertainties.
    reference_frequencies_THz
        Frequencies known directly, one list for each entry of ``frequencies_THz`` of the
        result.
    reference_label
        Where they come from.
    origin
        The run that it starts from, if any.
    start
        The state that it begins with.
    fits
        Its models in order.
    phonons
        Dispersion and density of states, for the figure of the first page.
    defaults
        Settings as they are where none is given; others are marked.
    provenance
        The command that repeats the run, and hashes of its files, as name and value.
    date
        A date to print; nothing else in the report depends on when it is made.
    """

    name: str
    result: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    asked: tuple[tuple[str, str], ...] = ()
    populations: tuple[PopulationRow, ...] = ()
    certificates: tuple[CertificateRow, ...] = ()
    validation: tuple[ValidationStage, ...] = ()
    labels: tuple[LabelRow, ...] = ()
    notes: tuple[str, ...] = ()
    uncertainties: tuple[UncertaintyRow, ...] = ()
    reference_frequencies_THz: Sequence[Sequence[float]] | None = None
    reference_label: str = "direct"
    origin: OriginRow | None = None
    start: StartRow | None = None
    fits: tuple[FitRow, ...] = ()
    phonons: Phonons | None = None
    defaults: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    provenance: tuple[tuple[str, str], ...] = ()
    date: str | None = None

    def __post_init__(self) -> None:
        """Read rows given as mappings and make every list a tuple."""
        readers: dict[str, type[_FromMapping]] = {
            "populations": PopulationRow,
            "certificates": CertificateRow,
            "labels": LabelRow,
            "uncertainties": UncertaintyRow,
        }
        for name, reader in readers.items():
            rows = tuple(
                reader.from_mapping(row) if isinstance(row, Mapping) else row
                for row in getattr(self, name)
            )
            object.__setattr__(self, name, rows)
        object.__setattr__(self, "validation", tuple(self.validation))
        object.__setattr__(self, "notes", tuple(self.notes))
        object.__setattr__(self, "asked", tuple((str(a), str(b)) for a, b in self.asked))
