"""The Gaussian distribution of displacements in a harmonic crystal at a temperature."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sscha_mlp import units
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix, Modes, expand, from_modes
from sscha_mlp.crystal.reciprocal import ComplexArray, compact
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.ensemble.nuclei import (
    Nuclei,
    as_nuclei,
    check_temperature,
    harmonic_free_energy,
    mean_square_amplitudes,
)
from sscha_mlp.errors import RelaxationError


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Distribution of the displacements from the centroids at (Phi, R, T).

    Parameters
    ----------
    dynamical_matrix
        Positive-definite force constants and centroids.
    temperature
        In K, at least 0.
    nuclei
        How they move: decides the amplitude of a mode and its free energy.

    Raises
    ------
    InputError
        If these nuclei cannot have this temperature.
    RelaxationError
        If a mode is unstable: it has no Gaussian distribution.
    """

    dynamical_matrix: DynamicalMatrix
    temperature: float
    nuclei: Nuclei = Nuclei.QUANTUM

    def __post_init__(self) -> None:
        """Check the temperature and the modes."""
        object.__setattr__(self, "nuclei", as_nuclei(self.nuclei))
        check_temperature(self.temperature, self.nuclei)
        lowest = float(self.dynamical_matrix.modes.frequencies.min())
        if lowest <= 0:
            raise RelaxationError(
                f"A mode has the frequency {lowest / units.THZ:.3f} THz: an unstable mode has no "
                "Gaussian ensemble. Make the dynamical matrix positive first."
            )

    def at(self, dynamical_matrix: DynamicalMatrix) -> "Gaussian":
        """Return the distribution in another state: same temperature, same kind of nuclei."""
        return Gaussian(dynamical_matrix, self.temperature, self.nuclei)

    @cached_property
    def mean_squares_at_q(self) -> FloatArray:
        """Mean square amplitudes on the half grid, zero for the translations, amu Å².

        Shape (n_half, 3 n_primitive).
        """
        modes = self.dynamical_matrix.modes
        values = np.zeros(modes.at_q.shape)
        moving = modes.moving
        values[moving] = mean_square_amplitudes(modes.at_q[moving], self.temperature, self.nuclei)
        return values

    @cached_property
    def inverse_squares_at_q(self) -> FloatArray:
        """Inverses of :attr:`mean_squares_at_q`, zero for the translations, 1/(amu Å²)."""
        squares = self.mean_squares_at_q
        return np.divide(1.0, squares, out=np.zeros_like(squares), where=squares > 0)

    @cached_property
    def upsilon_at_q(self) -> ComplexArray:
        """Inverse covariance on the half grid, (n_half, 3 n_primitive, 3 n_primitive), 1/Å²."""
        return from_modes(self.dynamical_matrix.modes, self.inverse_squares_at_q)

    @property
    def mean_squares(self) -> FloatArray:
        """Mean square mass-weighted amplitude of each supercell mode, shape (n_modes,), amu Å²."""
        return self.dynamical_matrix.modes.by_mode(self.mean_squares_at_q)

    @property
    def n_modes(self) -> int:
        """Number of modes that move, the translations left out."""
        return len(self.dynamical_matrix.modes.frequencies)

    def displacements(self, normal: NDArray[np.float64], frame: Modes | None = None) -> FloatArray:
        """Turn normal numbers into displacements (n_configs, 3 n_atoms), Å.

        The vectors of equal modes are any basis of their space, and modes change their order: the
        displacements of the same numbers in two states are near each other in a common frame alone.
        There they are ``C^1/2 w``, with the symmetric root of the covariance and the numbers as
        a vector w along the modes of the frame.

        Parameters
        ----------
        normal
            Shape (n_configs, n_modes).
        frame
            Modes that the numbers belong to, on the same grid; those of this state when left out.
        """
        modes = self.dynamical_matrix.modes
        scale = np.sqrt(self.mean_squares_at_q)[:, :, None]
        if frame is None:
            return modes.displacements(modes.amplitudes(normal) * scale)
        vectors = frame.polarisations @ frame.amplitudes(normal)
        return modes.displacements((modes.polarisations.conj().swapaxes(1, 2) @ vectors) * scale)

    def amplitudes(self, displacements: ComplexArray) -> ComplexArray:
        """Mass-weighted mode amplitudes of displacements.

        Parameters
        ----------
        displacements
            On the half grid, shape (n_half, 3 n_primitive, n_configs), Å.

        Returns
        -------
        Same shape, the second axis running over the bands, Å amu^1/2.
        """
        return self._to_amplitudes @ displacements

    @cached_property
    def _to_amplitudes(self) -> ComplexArray:
        root = np.sqrt(self.dynamical_matrix.crystal.masses3)
        adjoint = self.dynamical_matrix.modes.polarisations.conj().transpose(0, 2, 1)
        return np.asarray(adjoint * root)

    def force_amplitudes(self, forces: ComplexArray) -> ComplexArray:
        """Mode amplitudes of forces (n_half, 3 n_primitive, n_configs), eV/(Å amu^1/2)."""
        root = np.sqrt(self.dynamical_matrix.crystal.masses3)
        adjoint = self.dynamical_matrix.modes.polarisations.conj().transpose(0, 2, 1)
        return np.asarray((adjoint / root) @ forces)

    def from_modes(self, matrices: ComplexArray) -> ComplexArray:
        """Cartesian force constants on the half grid of matrices between modes, eV/Å²."""
        scaled = self._to_amplitudes
        return np.asarray(scaled.conj().transpose(0, 2, 1) @ matrices @ scaled)

    @cached_property
    def covariance(self) -> FloatArray:
        """Covariance of the displacements, shape (3 n_atoms, 3 n_atoms), Å²: large."""
        supercell = self.dynamical_matrix.supercell
        mass = supercell.primitive.masses3
        weighted = from_modes(self.dynamical_matrix.modes, self.mean_squares_at_q)
        matrices = weighted / (mass[:, None] * mass[None, :])
        return expand(supercell, compact(supercell.grid, matrices))

    @cached_property
    def inverse_covariance(self) -> FloatArray:
        """Upsilon, the inverse without translations, (3 n_atoms, 3 n_atoms), 1/Å²: large."""
        supercell = self.dynamical_matrix.supercell
        return expand(supercell, compact(supercell.grid, self.upsilon_at_q))

    @cached_property
    def log_determinant(self) -> float:
        """Logarithm of the determinant of the mass-weighted covariance."""
        return float(np.log(self.mean_squares).sum())

    @cached_property
    def free_energy(self) -> float:
        """Harmonic free energy of the supercell, eV."""
        frequencies = self.dynamical_matrix.modes.frequencies
        return harmonic_free_energy(frequencies, self.temperature, self.nuclei)

    def log_density(self, displacements: NDArray[np.float64]) -> FloatArray:
        """Log density of displacements (n_configs, 3 n_atoms), up to a constant of the crystal."""
        at_q = self.dynamical_matrix.supercell.to_reciprocal(displacements)
        return self.log_density_of(self.amplitudes(at_q))

    def log_density_of(self, amplitudes: ComplexArray) -> FloatArray:
        """Log density of mode amplitudes on the half grid, see :meth:`amplitudes`."""
        weights = self.dynamical_matrix.supercell.grid.weights
        scale = self.inverse_squares_at_q * weights[:, None]
        return -0.5 * quadratic(amplitudes, scale) - 0.5 * self.log_determinant


def quadratic(amplitudes: ComplexArray, scale: NDArray[np.float64]) -> FloatArray:
    """``sum scale |a|²`` over wave vectors and bands of each configuration, shape (n_configs,).

    Parameters
    ----------
    amplitudes
        Shape (n_half, n_bands, n_configs).
    scale
        Shape (n_half, n_bands).
    """
    squares = amplitudes.real**2 + amplitudes.imag**2
    return np.asarray(scale.ravel() @ squares.reshape(-1, squares.shape[-1]))
