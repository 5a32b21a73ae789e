"""Functions of temperature or pressure that fits are linear in, with two derivatives each."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from sscha_mlp import units
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.properties.einstein import (
    einstein_energy,
    einstein_entropy,
    einstein_heat_capacity,
)

Curve = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class Term:
    """A function that a coefficient multiplies.

    Parameters
    ----------
    value, slope, curvature
        The function and its first two derivatives, each from x to an array of the same shape.
    """

    value: Curve
    slope: Curve
    curvature: Curve

    def derivative(self, order: int) -> Curve:
        """Return the function for 0, the slope for 1, the curvature for 2."""
        return (self.value, self.slope, self.curvature)[order]


Candidate = tuple[Term, ...]
"""The terms of one fit."""


def power(n: int, scale: float = 1.0) -> Term:
    """Return ``(x / scale)^n``."""

    def derivative(order: int) -> Curve:
        factor = float(np.prod([n - k for k in range(order)])) / scale**order
        return lambda x: factor * (x / scale) ** max(n - order, 0)

    return Term(derivative(0), derivative(1), derivative(2))


def energy_term(theta: float) -> Term:
    """Return the Einstein energy over k without its zero point, K: how volumes expand."""
    return Term(
        lambda t: einstein_energy(t, theta),
        lambda t: einstein_heat_capacity(t, theta),
        lambda t: _capacity_slope(t, theta),
    )


def free_energy_term(theta: float) -> Term:
    """Return the Einstein free energy ``k T log(1 - exp(-theta / T))``, eV."""
    return Term(
        lambda t: units.KB * (einstein_energy(t, theta) - t * einstein_entropy(t, theta)),
        lambda t: -units.KB * einstein_entropy(t, theta),
        lambda t: -units.KB * _over(einstein_heat_capacity(t, theta), t),
    )


def anharmonic_term(theta: float, scale: float = 1.0) -> Term:
    """Return ``scale e² / 2 theta`` of the Einstein energy e: flat at 0 K, as T² at high T."""

    def slope(t: FloatArray) -> FloatArray:
        return einstein_energy(t, theta) * einstein_heat_capacity(t, theta)

    def curvature(t: FloatArray) -> FloatArray:
        capacity = einstein_heat_capacity(t, theta)
        return capacity**2 + einstein_energy(t, theta) * _capacity_slope(t, theta)

    factor = scale / theta
    return Term(
        lambda t: 0.5 * factor * einstein_energy(t, theta) ** 2,
        lambda t: factor * slope(t),
        lambda t: factor * curvature(t),
    )


def classical_free_energy_term() -> Term:
    """Return ``k T (1 - log T)``, eV: the part of a classical oscillator that all share."""

    def logarithm(t: FloatArray) -> FloatArray:
        return np.log(np.where(t > 0, t, 1.0))

    return Term(
        lambda t: units.KB * t * (1.0 - logarithm(t)),
        lambda t: -units.KB * logarithm(t),
        lambda t: -units.KB * _over(np.ones_like(t), t),
    )


def volume_candidates(thetas: tuple[float, ...]) -> list[Candidate]:
    """Return the fits of a volume or a length over temperature; polynomials without thetas."""
    if not thetas:
        return [tuple(power(k) for k in range(n + 1)) for n in (1, 2, 3)]
    anharmonic = anharmonic_term(_middle(thetas))
    harmonic = _subsets([energy_term(one) for one in thetas], anharmonic)
    return [*harmonic, (power(0), anharmonic)]


def gibbs_candidates(thetas: tuple[float, ...]) -> list[Candidate]:
    """Return the fits of a free energy over temperature; classical nuclei without thetas."""
    if not thetas:
        shared = (power(0), power(1, 1.0 / units.KB), classical_free_energy_term())
        more = tuple(power(k, 1000.0) for k in (2, 3))
        return [shared + more[:n] for n in range(3)]
    anharmonic = anharmonic_term(_middle(thetas), -units.KB)
    return _subsets([free_energy_term(one) for one in thetas], anharmonic)


def polynomial_candidates(scale: float, *, highest: int) -> list[Candidate]:
    """Return polynomials from first order to the highest."""
    return [tuple(power(k, scale) for k in range(n + 1)) for n in range(1, highest + 1)]


def _subsets(terms: list[Term], anharmonic: Term) -> list[Candidate]:
    """Each choice of at least one term, with a constant, with and without the anharmonic one."""
    chosen = [one for n in range(1, len(terms) + 1) for one in combinations(terms, n)]
    plain = [(power(0), *one) for one in chosen]
    return plain + [(*one, anharmonic) for one in plain]


def _middle(thetas: tuple[float, ...]) -> float:
    return sorted(thetas)[len(thetas) // 2]


def _capacity_slope(t: FloatArray, theta: float) -> FloatArray:
    """Slope of the Einstein heat capacity, 1/K."""
    x = theta / np.where(t > 0, t, 1.0)
    factor = np.where(t > 0, x / np.tanh(0.5 * x) - 2.0, 0.0)
    return _over(einstein_heat_capacity(t, theta) * factor, t)


def _over(values: FloatArray, t: FloatArray) -> FloatArray:
    """Quotient that is zero at T = 0."""
    return np.divide(values, t, out=np.zeros_like(values), where=t > 0)
