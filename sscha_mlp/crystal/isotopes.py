"""Isotopes that have symbols of their own in files."""

from typing import Final

ISOTOPES: Final = {"D": ("H", 2.01410177812), "T": ("H", 3.01604928199)}
"""Element and mass (amu) of isotopes that have symbols of their own (AME2020)."""
