"""Moment tensor potentials: a linear fit in a rich basis, compiled loops, extrapolation grades."""

from typing import Final

from sscha_mlp.named_objects import later
from sscha_mlp.potentials.active_set import BREAK, SAVE
from sscha_mlp.potentials.kind import Kind, LabelCounts, Need, Schedule, Statistic, Uncertainty
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
    # It knows by its grade what it lacks, and learns on the way; its trial fits are linear.  The
    # radial functions of a model of much fewer labels lead a refinement to a worse minimum than a
    # cold start does.
    schedule=Schedule(
        need=LabelCounts(8, 0, 0, 4, 4, 12, 12, 8),
        fixed=LabelCounts(24, 12, 24, 16, 36, 36, 5, 4),
        n_folds_few=4,
        few=48,
        warm_from=60,
        warm_part=0.6,
    ),
    needs=(Need("numba"), Need("matscipy")),
    files=(".mtp", ".almtp"),
    open_file=later("sscha_mlp.potentials.mtp.imported:from_file"),
    export=later("sscha_mlp.potentials.mtp.imported:export"),
)
