"""Gaussian approximation potentials with SOAP descriptors, through gap_fit and quippy."""

from sscha_mlp.potentials.gap.fitting import fit
from sscha_mlp.potentials.gap.model import GapPotential, load
from sscha_mlp.potentials.gap.presets import presets, trial_settings
from sscha_mlp.potentials.gap.settings import GapSettings

__all__ = ["GapPotential", "GapSettings", "fit", "load", "presets", "trial_settings"]
