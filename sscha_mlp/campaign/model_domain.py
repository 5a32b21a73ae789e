"""When a model counts as having left what it knows."""

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sscha_mlp import units
from sscha_mlp.campaign.bulk_modulus_check import Compression, compression_of
from sscha_mlp.campaign.context import Context
from sscha_mlp.crystal.symmetry import SpaceGroup
from sscha_mlp.data.states import load_state
from sscha_mlp.potentials.kind import Statistic
from sscha_mlp.potentials.protocol import Potential
from sscha_mlp.run_files.records.models import CrossFitRecord, ValidationRecord
from sscha_mlp.run_files.records.start import StartRecord
from sscha_mlp.run_files.stage_settings import LabelPolicy
from sscha_mlp.scha.convergence import CrystalScale
from sscha_mlp.scha.estimators import Samples
from sscha_mlp.scha.influence import influence
from sscha_mlp.validation.certificate import AllowedShifts

_N_SAMPLED: Final = 24

_BEYOND_HELD_OUT: Final = 3.0
"""A grade may be this many times that of labels which were held out and predicted well, or more
where they leave more room: the error of a linear fit grows at most as the grade does."""

_OTHER_DRAW: Final = 3.0
"""An extreme grade of another draw of the same ensemble may be this many times as large."""

_PART: Final = 0.25
"""Part of a tolerance that configurations beyond the limit may contribute to the answer."""


@dataclass(frozen=True, eq=False)
class Weight:
    """Whether configurations beyond the limit of a model can decide the answer.

    The model may be wrong there by all that they contribute.  Where that is a small part of every
    tolerance, it does not matter.

    Parameters
    ----------
    group
        Space group of the run.
    tolerances
        Of the certificate, in this crystal.
    """

    group: SpaceGroup
    tolerances: AllowedShifts

    def is_felt(self, drawn: Samples, beyond: NDArray[np.bool_]) -> bool:
        """Whether the answer of a population rests on some of its configurations.

        Parameters
        ----------
        drawn
            Population with the model's values.
        beyond
            Configurations beyond the limit, shape (n_configs,).
        """
        if not beyond.any():
            return False
        if beyond.mean() > _PART:
            return True
        found, allowed = influence(drawn, beyond, self.group), self.tolerances
        frequencies = drawn.ensemble.dynamical_matrix.frequencies_at_qpoints() / units.THZ
        of_modes = np.maximum(allowed.frequency_thz, allowed.frequency_relative * frequencies)
        parts = (
            found.free_energy_mev / allowed.free_energy_mev,
            found.stress_gpa / allowed.pressure_gpa,
            float((found.frequencies_thz / of_modes).max()),
        )
        return max(parts) > _PART


@dataclass(frozen=True)
class Alarm:
    """Limits for a model: its uncertainty on an ensemble, and its bulk modulus.

    Parameters
    ----------
    limit
        Beyond it the model is stopped; None for no limit.
    fraction
        Which part of the configurations may lie beyond the limit; None where the median of some
        configurations is compared with it.
    name
        What the uncertainty is called.
    compression
        What the reference says of a change of the volume; None where it is not known.
    weight
        Whether configurations beyond an absolute limit can decide the answer; None where a model is
        stopped in any case.
    """

    limit: float | None
    fraction: float | None
    name: str
    compression: Compression | None = None
    weight: Weight | None = None

    def look(self, potential: Potential, drawn: Samples) -> float | None:
        """Return the number that is compared with the limit; None if the model states none.

        Where a quantile is wanted, the uncertainty came with the values of the population; for a
        median, some of its configurations are asked.
        """
        if self.fraction is not None:
            values, quantile = drawn.uncertainty, 1.0 - self.fraction
        else:
            few = drawn.ensemble.subset(min(_N_SAMPLED, drawn.ensemble.n_configs))
            values = potential.evaluate(few.configurations(), uncertainty=True).uncertainty
            quantile = 0.5
        return None if values is None else float(np.quantile(values, quantile))

    def after_check(self, known: float | None) -> "Alarm":
        """Return the alarm for cells beside one whose ensemble a certificate vouches for.

        Parameters
        ----------
        known
            What :meth:`look` said of that ensemble.  It is an extreme value, and another draw of
            the same ensemble may have a few times as much.
        """
        if self.limit is None or known is None:
            return self
        return replace(self, limit=max(self.limit, _OTHER_DRAW * known))

    def raised_by(self, value: float | None, drawn: Samples) -> bool:
        """Whether the model is to be stopped.

        Parameters
        ----------
        value
            What :meth:`look` says of a population.
        drawn
            The population.
        """
        if self.limit is None or value is None or value <= self.limit:
            return False
        if self.weight is None or drawn.uncertainty is None:
            return True
        return self.weight.is_felt(drawn, drawn.uncertainty > self.limit)

    def wrong_modulus(self, value: float, volume: float) -> str:
        """Say that a bulk modulus of the model is not to be believed; empty if it may be.

        Parameters
        ----------
        value
            GPa.
        volume
            Where the model has it, Å³/atom.
        """
        known = self.compression
        if known is None or known.allows(value, volume):
            return ""
        return (
            f"stopped: the bulk modulus of the model is {value:.0f} GPa, that of the reference "
            f"at rest {known.bulk_modulus:.0f} GPa: the model does not know how the energy changes "
            "with the volume"
        )

    def sentence(self, value: float, n_configs: int) -> str:
        """Say why the model was stopped.

        Parameters
        ----------
        value
            What was compared with the limit.
        n_configs
            Configurations of the population.
        """
        if self.fraction is None:
            which = f"the model's uncertainty ({self.name}) on this ensemble is {_short(value)}"
        else:
            beyond = max(1, math.ceil(self.fraction * (n_configs - 1)))
            which = (
                f"the model's {self.name} reaches {_short(value)} on {beyond} of "
                f"{n_configs} configurations"
            )
        limit = _short(self.limit or 0.0)
        return f"stopped: {which}, beyond the {limit} that mark the end of its domain"


def _short(value: float) -> str:
    """Three digits, and no exponent where the number is large."""
    return f"{value:.3g}" if abs(value) < 1.0e3 else f"{value:.0f}"


def make_alarm(context: Context, potential: Potential, number: int) -> Alarm:
    """Return the alarm for a model: absolute where its kind knows a limit, else by a validation.

    The grade of a model of few labels is large everywhere.  Where held-out labels of grades beyond
    the limit predict an answer inside its tolerances, the limit is above theirs.

    Parameters
    ----------
    number
        Of the model.
    """
    training, stated = context.settings.training, potential.uncertainty
    known = compression_of(context.journal.get(StartRecord))
    if stated is None:
        return Alarm(None, None, "", known)
    if stated.limit is not None:
        weight = None
        limit = stated.limit if training.break_grade is None else training.break_grade
        if context.settings.labels is LabelPolicy.NEED:
            weight = Weight(context.group, _allowed(context, known))
            judged = context.journal.find(CrossFitRecord, number)
            if judged is not None and judged.passed and judged.grade is not None:
                limit = max(limit, max(_BEYOND_HELD_OUT, judged.room) * judged.grade)
        quantile = stated.statistic is Statistic.QUANTILE
        part = training.break_fraction if quantile else None
        return Alarm(limit, part, stated.text, known, weight)
    found = context.journal.find(ValidationRecord, f"test-{number}")
    usual = None if found is None else found.median_uncertainty
    beyond = None if usual is None else training.alarm_ratio * usual
    return Alarm(beyond, None, stated.text, known)


def _allowed(context: Context, known: Compression | None) -> AllowedShifts:
    """Tolerances of the certificate that fit the crystal of the start."""
    settings = context.settings
    hard = known is None or not known.bulk_modulus > 0.0
    bulk = np.inf if known is None or hard else known.bulk_modulus * units.GPA
    start = load_state(context.directory.state("start"))
    scale = CrystalScale.of(start, bulk, settings.temperature, settings.nuclei)
    return settings.certificate.tolerances.for_crystal(scale)
