"""Gaussian approximation potentials with SOAP descriptors, through gap_fit and quippy."""

from typing import Final

from sscha_mlp.named_objects import later
from sscha_mlp.potentials.gap.presets import presets, trial_settings
from sscha_mlp.potentials.gap.settings import GapSettings
from sscha_mlp.potentials.kind import Kind, Need, Uncertainty

__all__ = ["KIND", "GapSettings"]

KIND: Final = Kind(
    name="gap",
    settings=GapSettings,
    fit=later("sscha_mlp.potentials.gap.fitting:fit"),
    load=later("sscha_mlp.potentials.gap.model:load"),
    presets=presets,
    trial_settings=trial_settings,
    uncertainty=Uncertainty("standard deviation of a local energy", "eV"),
    needs=(Need("quippy", "quippy-ase"),),
)
