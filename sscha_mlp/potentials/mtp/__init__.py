"""Moment tensor potentials: a linear fit in a rich basis, compiled loops, extrapolation grades."""

from sscha_mlp.potentials.mtp.fitting import fit
from sscha_mlp.potentials.mtp.model import MtpPotential, load
from sscha_mlp.potentials.mtp.presets import presets, trial_settings
from sscha_mlp.potentials.mtp.settings import MtpSettings

__all__ = ["MtpPotential", "MtpSettings", "fit", "load", "presets", "trial_settings"]
