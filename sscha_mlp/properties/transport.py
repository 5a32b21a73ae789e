r"""Heat transport by phonons: what each mode scatters and carries, summed to a conductivity.

In the relaxation-time approximation, over the modes of a mesh of N wave vectors,

    kappa = (1 / N) sum_qj W_qj / Gamma_qj,   W = c v v / (2 V)

with c the heat capacity, v the group velocity, V the volume of the primitive cell, and Gamma the
half width: ``tau = 1 / (2 * 2 pi Gamma)`` with Gamma in THz.  Rates of independent mechanisms add
up: anharmonicity, isotopes, ``|v| / (4 pi L)`` of a boundary at the distance L (Matthiessen).

Gamma is a square of third derivatives.  Those that are sampled have noise, the square of which
makes Gamma too large and kappa too small.  With an ensemble in n blocks the part that falls as 1/N
goes out exactly, since Gamma is quadratic: ``n Gamma - (n - 1) <Gamma without a block>``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.ensemble.averages import Estimate
from sscha_mlp.errors import InputError

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""Components of a symmetric tensor in the order xx, yy, zz, yz, xz, xy."""

NO_WIDTH = 1.0e-12
"""THz below which a width is rounding: nothing scatters the mode."""

_LEAST_WIDTH = 0.2
"""A width without its noise is at least this part of the plain one: one near zero is not known."""

_THZ_ANGSTROM_PER_MICROMETRE = 1.0e-4


@dataclass(frozen=True, eq=False)
class Scattering:
    """Modes on the irreducible wave vectors of a mesh, and how fast they scatter.

    Parameters
    ----------
    mesh
        Wave vectors along each reciprocal vector.
    temperatures
        K, shape (n_temperatures,).
    qpoints
        Irreducible wave vectors, shape (n_q, 3), in units of the reciprocal vectors.
    multiplicities
        How many wave vectors each stands for, shape (n_q,).
    frequencies
        THz, shape (n_q, n_bands).
    velocities
        Group velocities, THz Å, shape (n_q, n_bands, 3).
    carried
        W of the module's formula, summed over the wave vectors that each stands for, in W THz/(m
        K), shape (n_temperatures, n_q, n_bands, 6): xx, yy, zz, yz, xz, xy.
    widths
        Half widths by anharmonicity, THz, shape (n_temperatures, n_q, n_bands).
    isotope_widths
        Half widths by isotopes, THz, shape (n_q, n_bands); zero where they are left out.
    direct
        Conductivity by the direct solution of the linearised Boltzmann equation, W/(m K), shape
        (n_temperatures, 6), where it was asked for.
    interband
        What pairs of modes carry beyond the populations, W/(m K), shape (n_temperatures, 6), where
        it was asked for.
    """

    mesh: tuple[int, int, int]
    temperatures: FloatArray
    qpoints: FloatArray
    multiplicities: FloatArray
    frequencies: FloatArray
    velocities: FloatArray
    carried: FloatArray
    widths: FloatArray
    isotope_widths: FloatArray
    direct: FloatArray | None = None
    interband: FloatArray | None = None

    def total_widths(self, boundary: float | None = None) -> FloatArray:
        """Half widths of all mechanisms, THz, shape (n_temperatures, n_q, n_bands).

        Parameters
        ----------
        boundary
            Distance of a boundary, micrometre; None for a crystal without one.
        """
        others = self.isotope_widths
        if boundary is not None:
            speed = np.linalg.norm(self.velocities, axis=-1)
            others = others + speed * _THZ_ANGSTROM_PER_MICROMETRE / (4 * np.pi * boundary)
        return np.asarray(self.widths + others)

    def mode_conductivity(self, boundary: float | None = None) -> FloatArray:
        """What each mode adds to the conductivity, W/(m K), (n_temperatures, n_q, n_bands, 6)."""
        widths = self.total_widths(boundary)[..., None]
        scattered = np.broadcast_to(widths > NO_WIDTH, self.carried.shape)
        carried = self.carried / np.prod(self.mesh)
        return np.divide(carried, widths, out=np.zeros_like(carried), where=scattered)

    def conductivity(self, boundary: float | None = None) -> FloatArray:
        """Conductivity in the relaxation-time approximation, W/(m K), (n_temperatures, 6)."""
        return np.asarray(self.mode_conductivity(boundary).sum(axis=(1, 2)))

    def lifetimes(self, boundary: float | None = None) -> FloatArray:
        """``1 / (4 pi Gamma)`` of each mode, ps; infinite where nothing scatters it."""
        widths = self.total_widths(boundary)
        with np.errstate(divide="ignore"):
            return np.asarray(1.0 / (4 * np.pi * np.where(widths > NO_WIDTH, widths, 0.0)))

    def mean_free_paths(self, boundary: float | None = None) -> FloatArray:
        """``|v| tau`` of each mode that moves and scatters, else zero; nm, as the lifetimes."""
        lifetimes = self.lifetimes(boundary)
        speed = np.linalg.norm(self.velocities, axis=-1)
        return np.asarray(speed * np.where(np.isfinite(lifetimes), lifetimes, 0.0) / 10)


@dataclass(frozen=True, eq=False)
class SampledScattering:
    """Scattering by third derivatives that are averages over an ensemble.

    Parameters
    ----------
    plain
        By the average of all.
    without
        By the average of all blocks but one, one for each block, with the same second order.
    halves
        By the second order of balanced halves of the ensemble; none where it has no noise.

    Raises
    ------
    InputError
        If there are fewer than two blocks.
    """

    plain: Scattering
    without: tuple[Scattering, ...]
    halves: tuple[Scattering, ...] = ()

    def __post_init__(self) -> None:
        """Check the number of blocks."""
        if len(self.without) < 2:
            raise InputError(
                f"The noise of {len(self.without)} blocks is not known; divide into at least two."
            )

    @property
    def best(self) -> Scattering:
        """Scattering without the square of the noise."""
        return replace(self.plain, widths=np.maximum(self._without_noise, self._least_widths))

    @property
    def _without_noise(self) -> FloatArray:
        """Half widths less the square of the noise; below zero where they are nothing but noise."""
        n = len(self.without)
        return np.asarray(n * self.plain.widths - (n - 1) * self._mean_widths)

    @property
    def _least_widths(self) -> FloatArray:
        return np.asarray(_LEAST_WIDTH * self.plain.widths)

    @property
    def _mean_widths(self) -> FloatArray:
        return np.asarray(np.mean([one.widths for one in self.without], axis=0))

    @property
    def width_stderr(self) -> FloatArray:
        """Standard error of the half widths by sampling, THz, (n_temperatures, n_q, n_bands)."""
        n = len(self.without)
        squares = [(one.widths - self._mean_widths) ** 2 for one in self.without]
        return np.asarray(np.sqrt((n - 1) / n * np.sum(squares, axis=0)))

    def conductivity(self, boundary: float | None = None) -> Estimate:
        """Conductivity with the error of sampling, (n_temperatures, 6), W/(m K)."""
        best, mean, n = self.best, self._mean_widths, len(self.without)
        moved = [
            replace(one, widths=np.maximum(best.widths + one.widths - mean, self._least_widths))
            for one in self.without
        ]
        values = np.array([one.conductivity(boundary) for one in moved])
        deviation = values - values.mean(axis=0)
        variance = (n - 1) / n * (deviation**2).sum(axis=0)
        if self.halves:
            plain = self.plain.conductivity(boundary)
            changes = [one.conductivity(boundary) - plain for one in self.halves]
            variance = variance + np.mean(np.square(changes), axis=0)
        return Estimate(best.conductivity(boundary), np.sqrt(variance))

    def uncertain_share(self, boundary: float | None = None) -> FloatArray:
        """Part of the conductivity that modes with unknown widths carry, (n_temperatures,).

        Those are modes whose width is nothing but noise: what is left without the square of the
        noise is less than a fifth of the plain one.
        """
        unknown = (self._without_noise < self._least_widths) & (self.plain.widths > 0)
        traces = self.best.mode_conductivity(boundary)[..., :3].sum(axis=-1)
        return np.asarray((traces * unknown).sum(axis=(1, 2)) / traces.sum(axis=(1, 2)))


@dataclass(frozen=True, eq=False)
class Cumulative:
    """Conductivity of all modes up to a mean free path.

    Parameters
    ----------
    lengths
        Mean free paths, ascending, nm.
    conductivity
        A third of the trace, of all modes up to each of them, W/(m K).
    """

    lengths: FloatArray
    conductivity: FloatArray


def cumulative(
    scattering: Scattering, temperature: int = 0, boundary: float | None = None
) -> Cumulative:
    """Add up the conductivity by mean free path.

    Parameters
    ----------
    scattering
        The modes.
    temperature
        Index of the temperature.
    boundary
        Distance of a boundary, micrometre.
    """
    modes = scattering.mode_conductivity(boundary)[temperature, ..., :3].mean(axis=-1).ravel()
    lengths = scattering.mean_free_paths(boundary)[temperature].ravel()
    known = (lengths > 0) & (modes > 0)
    order = np.argsort(lengths[known], kind="stable")
    return Cumulative(lengths[known][order], np.cumsum(modes[known][order]))


def mean_shift(up: Sequence[FloatArray], down: Sequence[FloatArray], step: float) -> Estimate:
    """Mean of central differences over groups of labels, with its error by their scatter.

    Parameters
    ----------
    up, down
        Conductivity at plus and minus ``step`` times the change of each group, same shapes.
    step
        Part of the change.
    """
    slopes = (np.array(up) - np.array(down)) / (2 * step)
    stderr = slopes.std(axis=0, ddof=1) / np.sqrt(len(slopes))
    return Estimate(np.asarray(slopes.mean(axis=0)), np.asarray(stderr))
