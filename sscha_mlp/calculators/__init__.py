"""ASE calculators that a user names: built-in ones, factories, TOML files, command-line codes."""

from sscha_mlp.calculators.registry import Reference, get_reference, reference_names

__all__ = ["Reference", "get_reference", "reference_names"]
