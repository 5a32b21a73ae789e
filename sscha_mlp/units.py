"""Physical constants and unit conversions, in one place.

Inside the package every quantity is in eV, Å, eV/Å³ (ASE's sign for stress: positive when the
crystal is pulled apart) and K; masses are in atomic mass units.  Frequencies are angular, in
``sqrt(eV / (amu Å²))``, until they are shown to a person, in THz.  Pressures are shown in GPa.

The values are those of CODATA 2018, the set that :mod:`scipy.constants` ships.
"""

from typing import Final

import numpy as np
from scipy import constants

KB: Final = constants.k / constants.e
"""Boltzmann constant, eV/K."""

GPA: Final = 1.0e9 * constants.angstrom**3 / constants.e
"""One GPa in eV/Å³."""

_ANGULAR: Final = float(np.sqrt(constants.e / (constants.atomic_mass * constants.angstrom**2)))
"""One internal angular frequency, ``sqrt(eV/(amu Å²))``, in rad/s."""

HBAR: Final = constants.hbar / constants.e * _ANGULAR
"""Reduced Planck constant in eV per internal angular frequency."""

THZ: Final = 2.0e12 * np.pi / _ANGULAR
"""One THz (ordinary frequency) as an internal angular frequency."""

RYDBERG: Final = constants.value("Rydberg constant times hc in eV")
"""One Rydberg in eV."""

BOHR: Final = constants.value("Bohr radius") / constants.angstrom
"""One Bohr radius in Å."""

AMU_RYDBERG: Final = constants.atomic_mass / constants.m_e / 2.0
"""One atomic mass unit in that of Rydberg units, which is two electron masses."""

RYDBERG_THZ: Final = RYDBERG * constants.e / constants.h * 1.0e-12
"""Frequency of one Rydberg in THz."""

RYDBERG_CM: Final = RYDBERG * constants.e / (constants.h * constants.c) * 1.0e-2
"""Wave number of one Rydberg in 1/cm."""
