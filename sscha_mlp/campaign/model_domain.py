"""When a model counts as having left what it knows."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from sscha_mlp.campaign.bulk_modulus_check import Compression, compression_of
from sscha_mlp.campaign.context import Context
from sscha_mlp.potentials.protocol import Potential
from sscha_mlp.run_files.records.models import ValidationRecord
from sscha_mlp.run_files.records.start import StartRecord
from sscha_mlp.scha.estimators import Samples

_N_SAMPLED: Final = 24


@dataclass(frozen=True)
class Alarm:
    """Limits for a model: its uncertainty on an ensemble, and its bulk modulus.

    Parameters
    ----------
    limit
        Beyond it the model is stopped; None for no limit.
    fraction
        Which part of the configurations may lie beyond an absolute limit; None where the limit is
        relative to the test set, and the median of some configurations is compared with it.
    name
        What the uncertainty is called.
    compression
        What the reference says of a change of the volume; None where it is not known.
    """

    limit: float | None
    fraction: float | None
    name: str
    compression: Compression | None = None

    def look(self, potential: Potential, drawn: Samples) -> float | None:
        """Return the number that is compared with the limit; None if the model states none.

        An absolute uncertainty came with the values of the population; a relative one is asked of
        some of its configurations.
        """
        if self.fraction is not None:
            values, quantile = drawn.uncertainty, 1.0 - self.fraction
        else:
            few = drawn.ensemble.subset(min(_N_SAMPLED, drawn.ensemble.n_configs))
            values = potential.evaluate(few.configurations(), uncertainty=True).uncertainty
            quantile = 0.5
        return None if values is None else float(np.quantile(values, quantile))

    def raised_by(self, value: float | None) -> bool:
        """Whether the model is to be stopped."""
        return self.limit is not None and value is not None and value > self.limit

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


def make_alarm(context: Context, potential: Potential, validation: str) -> Alarm:
    """Return the alarm for a model: absolute where its kind knows a limit, else by a validation.

    Parameters
    ----------
    validation
        Key of the validation of this model on the test set.
    """
    training, name = context.settings.training, potential.uncertainty_name
    known = compression_of(context.journal.get(StartRecord))
    if potential.uncertainty_limit is not None:
        return Alarm(training.break_grade, training.break_fraction, name, known)
    usual = context.journal.get(ValidationRecord, validation).median_uncertainty
    limit = None if usual is None else training.alarm_ratio * usual
    return Alarm(limit, None, name, known)
