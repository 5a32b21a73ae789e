"""What a report is made of: plain values, in the units in which they are shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sscha_mlp.errors import InputError
from sscha_mlp.report.phonons.data import Phonons
from sscha_mlp.run_files.records.certificate import CertificateRecord
from sscha_mlp.run_files.records.labels import BatchName
from sscha_mlp.run_files.records.models import FitRecord, ValidationRecord
from sscha_mlp.run_files.records.population import PopulationRecord
from sscha_mlp.run_files.records.result import LabelCounts, Result, StartedFrom
from sscha_mlp.run_files.records.start import OriginRecord, StartRecord
from sscha_mlp.validation.metrics import ValidationSet

FloatArray = NDArray[np.float64]

_NOTHING: Mapping[str, Any] = MappingProxyType({})


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


@dataclass(frozen=True, eq=False)
class PopulationRow:
    """A population and its place in the run.

    Parameters
    ----------
    number
        In the whole run, from 1.
    refits
        Fits before it, beyond the first.
    record
        What it came to.
    """

    number: int
    refits: int
    record: PopulationRecord

    @property
    def stop_reason(self) -> str:
        """Its relaxation, and what was found at its end."""
        phase, reason = self.record.phase, self.record.reason
        return f"{phase}: {reason}" if phase else reason


@dataclass(frozen=True, eq=False)
class CertificateRow:
    """A check, and how many refits came before it.

    Parameters
    ----------
    refits
        Fits before it, beyond the first.
    record
        What it found.
    """

    refits: int
    record: CertificateRecord


@dataclass(frozen=True)
class LabelRow:
    """Where labels came from and what they were used for.

    Parameters
    ----------
    origin
        For example ``train start``, ``check 1``.
    train, test, check
        Labels used for fitting, for validation, and for the certificate alone.
    failed
        Configurations that the reference could not label.
    batch
        What the batch is for; None where labels were taken over from another run.
    """

    origin: str
    train: int = 0
    test: int = 0
    check: int = 0
    failed: int = 0
    batch: BatchName | None = None


@dataclass(frozen=True, eq=False)
class FitRow:
    """A model of a run, and its errors on labels that it has not seen.

    Parameters
    ----------
    record
        Its fit.
    errors
        On the test set; None if there are none.
    taken_over
        Whether it comes from another run.
    """

    record: FitRecord
    errors: ValidationRecord | None = None
    taken_over: bool = False


@dataclass(frozen=True)
class UncertaintyRow:
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
        Its result, or what there is so far; what is missing is shown as a dash.
    settings
        Resolved settings, nested mappings allowed.
    asked
        What was asked beyond what the result says, as label and value: the structure, the
        reference, the configurations in a population.
    populations
        Of all relaxations in order.
    certificates
        Checks in order.
    validation
        Stages in order.
    labels
        Labels by origin.
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
    result: Result
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
    origin: OriginRecord | None = None
    start: StartRecord | None = None
    fits: tuple[FitRow, ...] = ()
    phonons: Phonons | None = None
    defaults: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    provenance: tuple[tuple[str, str], ...] = ()
    date: str | None = None

    def __post_init__(self) -> None:
        """Make every list a tuple."""
        lists = ("populations", "certificates", "labels", "uncertainties", "validation", "notes")
        for name in lists:
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "asked", tuple((str(a), str(b)) for a, b in self.asked))

    @property
    def certificate_tolerances(self) -> dict[str, float]:
        """What the certificate allowed in this crystal, by the fields of its tolerances.

        Results of an earlier version do not say it; their settings do.
        """
        asked = (self.settings.get("certificate") or {}).get("tolerances") or {}
        had = (self.result.tolerances or {}).get("certificate") or asked
        return {name: float(value) for name, value in had.items() if value is not None}


def labels_in_words(labels: LabelCounts, origin: StartedFrom | None = None) -> str:
    """Return what a run took in labels, those taken over told apart.

    Parameters
    ----------
    labels
        Of its result.
    origin
        The run that it started from.
    """
    total = "no" if labels.total is None else labels.total
    if origin is not None:
        return (
            f"{labels.n_new} new, {labels.n_taken_over} taken over from {origin.path}; in use "
            f"{total} ({labels.uses})"
        )
    start = "" if labels.start is None else f", and {labels.start} calls for the start"
    return f"{total} ({labels.uses}){start}" if labels.uses else f"{total}{start}"
