"""Einstein oscillators: energy, entropy and heat capacity over temperature, and which to take.

All are per oscillator and in units of the Boltzmann constant, with ``x = theta / T``.
"""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sscha_mlp import units
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.errors import InputError

_ZERO_THZ: Final = 1.0e-3
"""A mode below this is no oscillator, THz."""

_FIRST, _LAST = 0.05, 0.95
"""Share of the modes below the lowest and below the highest Einstein temperature."""


def einstein_energy(
    temperatures: ArrayLike, theta: float, *, zero_point: bool = False
) -> FloatArray:
    """Energy over the Boltzmann constant: ``theta / (exp(theta / T) - 1)``, K.

    Parameters
    ----------
    temperatures
        In K, at least 0, any shape.
    theta
        Einstein temperature, K.
    zero_point
        Add ``theta / 2``.
    """
    _, decay, filled = _boltzmann(temperatures, theta)
    start = 0.5 * theta if zero_point else 0.0
    return np.asarray(start + theta * decay / filled)


def einstein_heat_capacity(temperatures: ArrayLike, theta: float) -> FloatArray:
    """Heat capacity ``x² exp(x) / (exp(x) - 1)²``, in Boltzmann constants.

    Parameters
    ----------
    temperatures
        In K, at least 0, any shape.
    theta
        Einstein temperature, K.
    """
    x, decay, filled = _boltzmann(temperatures, theta)
    return np.asarray(x**2 * decay / filled**2)


def einstein_entropy(temperatures: ArrayLike, theta: float) -> FloatArray:
    """Entropy ``x / (exp(x) - 1) - log(1 - exp(-x))``, in Boltzmann constants.

    Parameters
    ----------
    temperatures
        In K, at least 0, any shape.
    theta
        Einstein temperature, K.
    """
    x, decay, filled = _boltzmann(temperatures, theta)
    return np.asarray(x * decay / filled - np.log(filled))


def _boltzmann(temperatures: ArrayLike, theta: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return ``x = theta / T``, ``exp(-x)`` and ``1 - exp(-x)``; 1, 0 and 1 at T = 0."""
    t = np.asarray(temperatures, dtype=np.float64)
    moving = t > 0
    x = np.divide(theta, t, out=np.ones_like(t), where=moving)
    return x, np.where(moving, np.exp(-x), 0.0), np.where(moving, -np.expm1(-x), 1.0)


def einstein_temperatures(
    frequencies_thz: NDArray[np.float64],
    *,
    weights: NDArray[np.float64] | None = None,
    count: int = 4,
) -> tuple[float, ...]:
    """Einstein temperatures that span the modes of a crystal, ascending, K.

    ``h nu / k`` at equally spaced shares of the modes, from 5 to 95 %.

    Parameters
    ----------
    frequencies_thz
        Shape (n_qpoints, n_bands); modes that do not oscillate are left out.
    weights
        Of the wave vectors, shape (n_qpoints,); equal ones when left out.
    count
        How many, at least one.

    Raises
    ------
    InputError
        If no mode oscillates.
    """
    values = np.atleast_2d(frequencies_thz)
    shares = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64)
    every = np.broadcast_to(shares[:, None], values.shape)
    moving = values > _ZERO_THZ
    if not moving.any():
        raise InputError("No mode oscillates: there is no Einstein temperature to take.")
    order = np.argsort(values[moving], kind="stable")
    ranked, below = values[moving][order], np.cumsum(every[moving][order])
    wanted = np.linspace(_FIRST, _LAST, count) * below[-1]
    found = ranked[np.minimum(np.searchsorted(below, wanted), len(ranked) - 1)]
    return tuple(float(v) for v in found * units.THZ * units.HBAR / units.KB)
