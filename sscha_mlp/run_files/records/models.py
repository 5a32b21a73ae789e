"""Models of a run: the choice of their hyper-parameters, their fits, and their errors."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from sscha_mlp.potentials.choice import Score
from sscha_mlp.run_files.records.fields import Record, Row, fields_of
from sscha_mlp.validation.shift import Shift


@dataclass(frozen=True)
class ChoiceRecord(Record):
    """Hyper-parameters that were chosen by cross-validation.

    Parameters
    ----------
    number
        Of the first fit with them.
    choice
        What they are called; ``given`` where the settings name them.
    model
        Kind of potential.
    settings
        As the kind takes them.
    n_train
        Labels that they were compared on.
    lead
        By how much the best beats the next, in the mean logarithm of the errors on labels held out.
    scores
        Of all candidates.
    """

    kind: ClassVar[str] = "choice"

    number: int
    choice: str
    model: str
    settings: Mapping[str, Any]
    n_train: int = 0
    lead: float = 0.0
    scores: Mapping[str, Score] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Number of the first fit with them."""
        return str(self.number)


@dataclass(frozen=True)
class FitRecord(Record):
    """A model that was fitted or taken over.

    Parameters
    ----------
    number
        From 0.
    model
        Kind of potential.
    choice
        What its hyper-parameters are called.
    n_train
        Labels that it was fitted to.
    sha256
        Of its file.
    """

    kind: ClassVar[str] = "fit"

    number: int
    model: str
    choice: str
    n_train: int
    sha256: str

    @property
    def name(self) -> str:
        """Its number."""
        return str(self.number)


@dataclass(frozen=True)
class CrossFitRecord(Record):
    """What training labels that were held out predict of the answer with a model.

    Parameters
    ----------
    number
        Of the model.
    passed
        Whether the answer is inside its tolerances.
    grade
        Largest uncertainty of a label that was held out; None where the kind states none.
    n_labels
        How many were held out, each once.
    reason
        In words.
    free_energy, stress, frequency
        Worst shifts in meV/atom, GPa and THz; None where no fit was possible.
    """

    kind: ClassVar[str] = "crossfit"

    number: int
    passed: bool
    grade: float | None = None
    n_labels: int = 0
    reason: str = ""
    free_energy: Shift | None = None
    stress: Shift | None = None
    frequency: Shift | None = None

    @property
    def name(self) -> str:
        """Number of the model."""
        return str(self.number)

    @property
    def room(self) -> float:
        """How many times larger all errors might be, the answer still inside its tolerances."""
        shifts = [one for one in (self.free_energy, self.stress, self.frequency) if one is not None]
        parts = [(abs(one.delta) + 2 * one.stderr) / one.tolerance for one in shifts]
        largest = max(parts, default=0.0)
        return 1.0 / largest if largest > 0 else 1.0


@dataclass(frozen=True)
class ValidationRecord(Record):
    """Errors of a model on labels that it has not seen.

    Parameters
    ----------
    part
        ``test``, or ``check`` for the labels of a certificate.
    number
        Of the model on the test set, and of the check.
    set
        Which configurations and which model, in words.
    temperature_K
        Of the configurations.
    n_configs
        How many.
    energy_rmse_meV_per_atom, energy_bias_meV_per_atom
        Reference less model.
    force_rmse_meV_per_A, stress_rmse_GPa
        Over components.
    median_uncertainty
        Of the model's uncertainty, in its own unit; None where it states none.
    details
        Further statistics, as ``result.json`` has them.
    """

    kind: ClassVar[str] = "validation"

    part: str
    number: int
    set: str
    temperature_K: float
    n_configs: int
    energy_rmse_meV_per_atom: float
    energy_bias_meV_per_atom: float
    force_rmse_meV_per_A: float
    stress_rmse_GPa: float
    median_uncertainty: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the set."""
        return f"{self.part}-{self.number}"

    @property
    def errors(self) -> Row:
        """The errors as ``result.json`` has them."""
        own = {"part", "number"}
        return {name: value for name, value in fields_of(self).items() if name not in own}

    @classmethod
    def of(
        cls, part: str, number: int, errors: Mapping[str, Any], median_uncertainty: float | None
    ) -> "ValidationRecord":
        """Return the record of a comparison.

        Parameters
        ----------
        errors
            What :meth:`sscha_mlp.validation.metrics.ValidationSet.to_json` gives.
        """
        identity = {"part": part, "number": number, "median_uncertainty": median_uncertainty}
        return cls(**{**errors, **identity})
