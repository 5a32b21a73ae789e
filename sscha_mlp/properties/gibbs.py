"""Gibbs free energy, entropy and heat capacity along an isobar, from one fit.

``G(T)`` and ``S(T) = -dG/dT`` are data of one function, a sum of Einstein free energies.  At the
minimum of the SSCHA the entropy is that of the trial modes, so that the two are found in different
ways, and agree when both are right: the entropies alone, integrated, have to give the differences
of the free energies.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaincc

from sscha_mlp import units
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.ensemble.averages import Estimate
from sscha_mlp.errors import InputError
from sscha_mlp.properties.averaged_fit import IMPROBABLE, AveragedFit, Observed, fit_average
from sscha_mlp.properties.expansion import (
    LEAST,
    TOO_CLOSE,
    ascending,
    estimate_texts,
    known,
    quality,
    too_few,
)
from sscha_mlp.properties.terms import gibbs_candidates
from sscha_mlp.tables import Shown, Table, few

_LEAST_ENTROPIES: Final = 5
"""With fewer the form between them decides their integral, not they."""


@dataclass(frozen=True, eq=False)
class IsobarFit(Shown):
    """Thermodynamics along an isobar, per atom.

    Parameters
    ----------
    gibbs, entropy
        The points, ascending in temperature: eV, and slopes of G, eV/K.
    curve
        G(T) in eV, fitted to both; None where it cannot be said.
    statement
        What the fit is worth, or why there is none, in a sentence.
    agreement
        Whether the entropies integrate to the free energies, in a sentence.
    """

    gibbs: Observed
    entropy: Observed
    curve: AveragedFit | None
    statement: str
    agreement: str

    def free_energy(self, temperatures: ArrayLike) -> Estimate:
        """Return G with errors, shape (n,), eV/atom.

        Raises
        ------
        InputError
            If there is no fit.
        """
        return known(self.curve, self.statement).at(temperatures)

    def entropies(self, temperatures: ArrayLike) -> Estimate:
        """Return ``S = -dG/dT`` with errors, shape (n,), Boltzmann constants per atom.

        Raises
        ------
        InputError
            If there is no fit.
        """
        found = known(self.curve, self.statement).at(temperatures, order=1)
        return Estimate(-found.value / units.KB, found.stderr / units.KB)

    def heat_capacity(self, temperatures: ArrayLike) -> Estimate:
        """Return ``C_p = T dS/dT`` with errors, shape (n,), Boltzmann constants per atom.

        Raises
        ------
        InputError
            If there is no fit.
        """
        t = np.asarray(temperatures, dtype=np.float64)
        return known(self.curve, self.statement).combined([(2, -t / units.KB)], t)

    def table(self) -> Table:
        """Return the points beside the fit, its entropy and heat capacity."""
        t, points = self.gibbs.x, Estimate(self.gibbs.y, self.gibbs.stderr)
        columns = {"T (K)": [f"{one:g}" for one in t], "G (eV/atom)": estimate_texts(points)}
        if self.curve is not None:
            columns["fit"] = estimate_texts(self.free_energy(t))
            columns["S (k/atom)"] = estimate_texts(self.entropies(t))
            columns["C_P (k/atom)"] = estimate_texts(self.heat_capacity(t))
        rows = list(zip(*columns.values(), strict=True))
        note = f"{self.statement} {self.agreement}".strip()
        return Table("Thermodynamics of an isobar", few(rows), tuple(columns), note)


def fit_isobar(
    temperatures: ArrayLike,
    gibbs: ArrayLike,
    gibbs_stderr: ArrayLike,
    entropies: ArrayLike,
    entropies_stderr: ArrayLike,
    *,
    einstein_temperatures: Sequence[float],
) -> IsobarFit:
    """Fit Gibbs free energies and entropies at one pressure.

    Parameters
    ----------
    temperatures
        K, at least 0, in any order.
    gibbs, gibbs_stderr
        eV/atom; errors above zero.
    entropies, entropies_stderr
        Boltzmann constants per atom.  Those without an error, as at 0 K, are left out.
    einstein_temperatures
        Some that span the modes, K; none for classical nuclei.

    Returns
    -------
    The fit; without a curve where there are fewer than three temperatures.

    Raises
    ------
    InputError
        If the shapes differ, a number is not finite, or an error is not above zero.
    """
    values = ascending(temperatures, gibbs, gibbs_stderr)
    slopes = entropy_data(temperatures, entropies, entropies_stderr)
    n = len(np.unique(values.x))
    if n < LEAST:
        return IsobarFit(values, slopes, None, too_few(n, "temperature"), "")
    curve = joint_fit(values, slopes, einstein_temperatures)
    if curve is None:
        return IsobarFit(values, slopes, None, TOO_CLOSE, "")
    agreement = _agreement(values, slopes, einstein_temperatures)
    return IsobarFit(values, slopes, curve, quality(curve), agreement)


def entropy_data(temperatures: ArrayLike, entropies: ArrayLike, stderr: ArrayLike) -> Observed:
    """Return entropies in Boltzmann constants as slopes of G in eV/K.

    Raises
    ------
    InputError
        If the shapes differ, a number is not finite, or an error is negative.
    """
    t, s, error = (np.asarray(one, dtype=np.float64) for one in (temperatures, entropies, stderr))
    if t.shape != s.shape or t.shape != error.shape:
        raise InputError("Temperatures, entropies and errors differ in number.")
    known = error != 0.0
    return ascending(t[known], -units.KB * s[known], units.KB * error[known], order=1)


def joint_fit(
    gibbs: Observed, entropy: Observed, einstein_temperatures: Sequence[float]
) -> AveragedFit | None:
    """Return G(T) fitted to free energies and entropies together; None where it cannot be."""
    return fit_average(gibbs_candidates(tuple(einstein_temperatures)), gibbs, entropy)


def _agreement(gibbs: Observed, entropy: Observed, thetas: Sequence[float]) -> str:
    """Compare differences of G with the integral of the entropies alone."""
    if len(entropy.x) < _LEAST_ENTROPIES:
        return f"Too few entropies to integrate them; {_LEAST_ENTROPIES} are needed."
    alone = fit_average(gibbs_candidates(tuple(thetas)), entropy)
    if alone is None:
        return "Too few entropies to integrate them."
    integral, covariance = alone.covariance([(0, np.ones(len(gibbs.x)))], gibbs.x)
    difference = gibbs.y - integral
    total = covariance + np.diag(gibbs.stderr**2)
    chi_squared, freedom = _about_a_constant(difference, total), len(difference) - 1
    held = gammaincc(0.5 * freedom, 0.5 * chi_squared) >= IMPROBABLE
    words = "agree with" if held else "do not agree with"
    return (
        f"The entropies, integrated, {words} the free energies: χ² = {chi_squared:.1f} "
        f"for {freedom} differences."
    )


def _about_a_constant(values: FloatArray, covariance: FloatArray) -> float:
    """Chi² of values about the constant that fits them best."""
    inverse = np.linalg.inv(covariance)
    constant = inverse.sum(axis=0) @ values / inverse.sum()
    away = values - constant
    return float(away @ inverse @ away)
