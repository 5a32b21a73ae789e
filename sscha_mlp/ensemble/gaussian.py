"""The Gaussian distribution of displacements in a harmonic crystal at a temperature."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sscha_mlp import units
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.errors import InputError, RelaxationError


def check_temperature(temperature: float) -> float:
    """Return the temperature, or raise :class:`InputError` when it is not a number >= 0 K."""
    if not np.isfinite(temperature) or temperature < 0:
        raise InputError(
            f"The temperature {temperature} K is not a number of at least 0; write for example "
            "--T 300."
        )
    return float(temperature)


def mean_square_amplitudes(frequencies: NDArray[np.float64], temperature: float) -> FloatArray:
    """Mean square mass-weighted amplitude of quantum oscillators.

    ``a² = hbar / (2 omega) coth(hbar omega / (2 k T))``, zero-point motion included.

    Parameters
    ----------
    frequencies
        Positive angular frequencies, shape (n_modes,), ``sqrt(eV/(amu Å²))``.
    temperature
        In K; 0 gives the zero-point amplitude.

    Returns
    -------
    Shape (n_modes,), amu Å².
    """
    zero_point = units.HBAR / (2 * frequencies)
    if temperature == 0:
        return np.asarray(zero_point)
    return np.asarray(zero_point / np.tanh(units.HBAR * frequencies / (2 * units.KB * temperature)))


def harmonic_free_energy(frequencies: NDArray[np.float64], temperature: float) -> float:
    """Helmholtz free energy of quantum oscillators, eV.

    ``sum hbar omega / 2 + k T log(1 - exp(-hbar omega / k T))``.
    """
    zero_point = 0.5 * units.HBAR * frequencies.sum()
    if temperature == 0:
        return float(zero_point)
    thermal = units.KB * temperature
    return float(
        zero_point + thermal * np.log(-np.expm1(-units.HBAR * frequencies / thermal)).sum()
    )


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Distribution of the displacements from the centroids at (Phi, R, T).

    Parameters
    ----------
    dynamical_matrix
        Positive-definite force constants and centroids.
    temperature
        In K, at least 0.

    Raises
    ------
    InputError
        If the temperature is negative.
    RelaxationError
        If a mode is unstable: it has no Gaussian distribution.
    """

    dynamical_matrix: DynamicalMatrix
    temperature: float

    def __post_init__(self) -> None:
        """Check the temperature and the modes."""
        check_temperature(self.temperature)
        lowest = float(self.dynamical_matrix.modes.frequencies.min())
        if lowest <= 0:
            raise RelaxationError(
                f"A mode has the frequency {lowest / units.THZ:.3f} THz: an unstable mode has no "
                "Gaussian ensemble. Make the dynamical matrix positive first."
            )

    @cached_property
    def _vectors(self) -> FloatArray:
        root = np.sqrt(self.dynamical_matrix.supercell.masses3)
        return np.asarray(self.dynamical_matrix.modes.vectors / root[:, None])

    @cached_property
    def mean_squares(self) -> FloatArray:
        """Mean square mass-weighted amplitude of each mode, shape (n_modes,), amu Å²."""
        return mean_square_amplitudes(self.dynamical_matrix.modes.frequencies, self.temperature)

    @property
    def n_modes(self) -> int:
        """Number of modes that move, the translations left out."""
        return len(self.mean_squares)

    def displacements(self, normal: NDArray[np.float64]) -> FloatArray:
        """Turn normal numbers (n_configs, n_modes) into displacements (n_configs, 3 n_atoms), Å."""
        return np.asarray((normal * np.sqrt(self.mean_squares)) @ self._vectors.T)

    @cached_property
    def covariance(self) -> FloatArray:
        """Covariance of the displacements, shape (3 n_atoms, 3 n_atoms), Å²."""
        return np.asarray((self._vectors * self.mean_squares) @ self._vectors.T)

    @cached_property
    def inverse_covariance(self) -> FloatArray:
        """Upsilon, the inverse covariance without translations, (3 n_atoms, 3 n_atoms), 1/Å²."""
        mass = self.dynamical_matrix.supercell.masses3
        weighted = self._vectors * mass[:, None]
        return np.asarray((weighted / self.mean_squares) @ weighted.T)

    @cached_property
    def log_determinant(self) -> float:
        """Logarithm of the determinant of the mass-weighted covariance."""
        return float(np.log(self.mean_squares).sum())

    @cached_property
    def free_energy(self) -> float:
        """Harmonic free energy of the supercell, eV."""
        return harmonic_free_energy(self.dynamical_matrix.modes.frequencies, self.temperature)

    def log_density(self, displacements: NDArray[np.float64]) -> FloatArray:
        """Log density of displacements (n_configs, 3 n_atoms), up to a constant of the crystal."""
        amplitudes = displacements @ (
            self._vectors * self.dynamical_matrix.supercell.masses3[:, None]
        )
        return np.asarray(
            -0.5 * (amplitudes**2 / self.mean_squares).sum(axis=1) - 0.5 * self.log_determinant
        )
