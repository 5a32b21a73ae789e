"""Moment tensor potentials: a linear fit in a rich basis, compiled loops, extrapolation grades."""

from typing import Final

from sscha_mlp.named_objects import later
from sscha_mlp.potentials.active_set import BREAK, SAVE
from sscha_mlp.potentials.kind import Kind, Need, Schedule, Statistic, Uncertainty
from sscha_mlp.potentials.mtp.presets import presets, trial_settings
from sscha_mlp.potentials.mtp.settings import MtpSettings

__all__ = ["KIND", "MtpSettings"]

KIND: Final = Kind(
    name="mtp",
    settings=MtpSettings,
    fit=later("sscha_mlp.potentials.mtp.fitting:fit"),
    load=later("sscha_mlp.potentials.mtp.model:load"),
    presets=presets,
    trial_settings=trial_settings,
    uncertainty=Uncertainty(
        "extrapolation grade", statistic=Statistic.QUANTILE, limit=BREAK, worth_a_label=SAVE
    ),
    # It learns on the way, where a relaxation meets the limit; its trial fits are linear.  The
    # radial functions of a model of much fewer labels lead a refinement to a worse minimum than a
    # cold start does.
    schedule=Schedule(n_explored=24, n_folds=2, n_folds_few=4, few=48, warm_from=60, warm_part=0.6),
    needs=(Need("numba"), Need("matscipy")),
    files=(".mtp", ".almtp"),
    open_file=later("sscha_mlp.potentials.mtp.imported:from_file"),
)
