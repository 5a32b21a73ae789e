"""Whether a model's own uncertainty tells its large errors from its small ones.

An uncertainty is compared with the true error, configuration by configuration.  It need not be an
error bar, and need not have the unit of one: what counts is whether it *ranks* the errors, and by
how much the errors beyond a threshold exceed those below.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sscha_mlp.digits import fixed, with_error
from sscha_mlp.errors import InputError
from sscha_mlp.tables import Shown, Table
from sscha_mlp.validation.metrics import ValidationSet
from sscha_mlp.validation.ranking import (
    Interval,
    Running,
    geometric_mean,
    ratio,
    running_mean,
    spearman,
)
from sscha_mlp.validation.statistics import FloatArray, finite_or_none, root_mean_square

FEWEST: Final = 10
"""Configurations below which nothing is said about an uncertainty."""

WITHIN: Final = "within the domain"
"""What is said of a configuration below all thresholds."""

_IN_A_BIN: Final = 5
_UPPER_PART: Final = 0.75
_WEAK: Final = 0.3
_MEV: Final = 1.0e3


@dataclass(frozen=True)
class Threshold:
    """A value of an uncertainty that means the same for any set.

    Parameters
    ----------
    value
        In the unit of the uncertainty.
    meaning
        What is said of a configuration above it.
    """

    value: float
    meaning: str


@dataclass(frozen=True)
class UncertaintyBin:
    """Force errors of the configurations whose uncertainty lies in one interval.

    Errors are NaN where no configuration is inside; standard errors, where there is only one.

    Parameters
    ----------
    low, high
        Ends of the interval, in the unit of the uncertainty; the upper one belongs to it.
    n_configs
        Number of configurations.
    typical, typical_stderr
        Geometric mean of the configurations' rms force errors, eV/Å.
    rmse, rmse_stderr
        Root mean square of the same, eV/Å.
    meaning
        Of the threshold that the interval begins at; empty in a quantile.
    """

    low: float
    high: float
    n_configs: int
    typical: float = math.nan
    typical_stderr: float = math.nan
    rmse: float = math.nan
    rmse_stderr: float = math.nan
    meaning: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the errors as plain values, in meV/Å; an open end is ``None``."""
        named = {"class": self.meaning} if self.meaning else {}
        return {
            **named,
            "low": finite_or_none(self.low),
            "high": finite_or_none(self.high),
            "n_configs": self.n_configs,
            "force_typical_meV_per_A": finite_or_none(self.typical * _MEV),
            "force_typical_stderr_meV_per_A": finite_or_none(self.typical_stderr * _MEV),
            "force_rmse_meV_per_A": finite_or_none(self.rmse * _MEV),
            "force_rmse_stderr_meV_per_A": finite_or_none(self.rmse_stderr * _MEV),
        }


@dataclass(frozen=True)
class Excess:
    """By how much the force errors above a threshold exceed those below.

    Parameters
    ----------
    threshold
        In the unit of the uncertainty.
    absolute
        Whether the threshold is one that the uncertainty has for any set; otherwise it parts the
        quarter of largest uncertainty from the rest of this set.
    n_below, n_above
        Configurations on either side.
    ratio
        Of the typical force error above to the one below.
    """

    threshold: float
    absolute: bool
    n_below: int
    n_above: int
    ratio: Interval

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "threshold": self.threshold,
            "absolute": self.absolute,
            "n_below": self.n_below,
            "n_above": self.n_above,
            "ratio": self.ratio.to_json(),
        }


@dataclass(frozen=True, eq=False)
class Calibration(Shown):
    """Uncertainty and true error of each configuration, and what the one says about the other.

    Made by :func:`calibrate`.

    Parameters
    ----------
    name
        What the set, or the sets together, are called.
    uncertainty_name
        What the uncertainty is, with its unit in parentheses.
    thresholds
        Values that part its classes, ascending; empty if it has no absolute scale.
    uncertainties
        Of each configuration, shape (n,).
    force_errors
        Root mean square over the force components of a configuration, eV/Å, shape (n,).
    energy_errors
        Absolute energy error after the mean over all configurations is taken off, eV/atom, shape
        (n,).
    """

    name: str
    uncertainty_name: str
    thresholds: tuple[Threshold, ...]
    uncertainties: FloatArray
    force_errors: FloatArray
    energy_errors: FloatArray

    @property
    def n_configs(self) -> int:
        """Number of configurations."""
        return int(self.uncertainties.size)

    @cached_property
    def force_rank(self) -> Interval:
        """Rank correlation of the uncertainty with the force error."""
        return spearman(self.uncertainties, self.force_errors)

    @cached_property
    def energy_rank(self) -> Interval:
        """Rank correlation of the uncertainty with the energy error."""
        return spearman(self.uncertainties, self.energy_errors)

    @cached_property
    def classes(self) -> tuple[UncertaintyBin, ...]:
        """Force errors between the thresholds; empty if there are none."""
        if not self.thresholds:
            return ()
        parts = (Threshold(-math.inf, WITHIN), *self.thresholds, Threshold(math.inf, ""))
        found = []
        for part, following in pairwise(parts):
            low, high = part.value, following.value
            chosen = (low < self.uncertainties) & (self.uncertainties <= high)
            found.append(replace(self._bin(low, high, chosen), meaning=part.meaning))
        return tuple(found)

    def bins(self, *, n_bins: int = 6) -> tuple[UncertaintyBin, ...]:
        """Return the force errors in quantiles of the uncertainty.

        Parameters
        ----------
        n_bins
            Largest number of bins; each holds five configurations or more where possible.
        """
        order = np.argsort(self.uncertainties, kind="stable")
        parts = np.array_split(order, max(1, min(n_bins, self.n_configs // _IN_A_BIN)))
        found = []
        for part in parts:
            values = self.uncertainties[part]
            chosen = np.isin(np.arange(self.n_configs), part)
            found.append(self._bin(float(values.min()), float(values.max()), chosen))
        return tuple(found)

    def _bin(self, low: float, high: float, chosen: NDArray[np.bool_]) -> UncertaintyBin:
        errors = self.force_errors[chosen]
        if errors.size == 0:
            return UncertaintyBin(low, high, 0)
        rms = root_mean_square(errors, np.arange(errors.size))
        return UncertaintyBin(low, high, int(errors.size), *geometric_mean(errors), *rms)

    @cached_property
    def excess(self) -> Excess:
        """Force errors above the first threshold against those below.

        An uncertainty without thresholds is parted at the upper quarter of this set.
        """
        absolute = bool(self.thresholds)
        threshold = (
            self.thresholds[0].value
            if absolute
            else float(np.quantile(self.uncertainties, _UPPER_PART))
        )
        above = self.uncertainties > threshold
        n_above = int(above.sum())
        found = ratio(self.force_errors[above], self.force_errors[~above])
        return Excess(threshold, absolute, self.n_configs - n_above, n_above, found)

    @cached_property
    def running(self) -> Running | None:
        """The running geometric mean of the force error; None for too few configurations."""
        return running_mean(self.uncertainties, self.force_errors)

    @property
    def statement(self) -> str:
        """Whether the uncertainty ranks the errors of this set, and by how much, in a sentence."""
        what, n = _plain(self.uncertainty_name), self.n_configs
        if n < FEWEST:
            found = "one configuration is" if n == 1 else f"{n} configurations are"
            return f"{found.capitalize()} too few to say whether the {what} ranks the errors."
        if not math.isfinite(self.force_rank.value):
            return (
                f"On these {n} configurations the {what}, or the force error, is always the same: "
                "nothing can be said about ranking."
            )
        return f"On these {n} configurations the {what} {self._ranking()}; {self._exceeding()}."

    def _ranking(self) -> str:
        rank = self.force_rank
        numbers = f"Spearman's ρ = {_rounded(rank.value)}, {_range(rank, _rounded)}"
        if rank.high < 0.0:
            return f"ranks the force errors the wrong way round ({numbers})"
        if rank.low <= 0.0:
            return f"does not tell large force errors from small ones ({numbers})"
        weakly = " weakly" if rank.value < _WEAK else ""
        return f"ranks the force errors{weakly} ({numbers})"

    def _exceeding(self) -> str:
        excess = self.excess
        threshold = f"{excess.threshold:.3g}"
        if excess.n_above == 0 or excess.n_below == 0:
            side = "above" if excess.n_above == 0 else "below"
            return f"none of them lies {side} {threshold}, so the set says nothing of that side"
        where = (
            f"above {threshold} ({excess.n_above} of them)"
            if excess.absolute
            else "in the quarter where it is largest"
        )
        than = "below" if excess.absolute else "of the others"
        text = f"{where} the typical force error is {_rough(excess.ratio.value)} times that {than}"
        return text if math.isnan(excess.ratio.low) else f"{text} ({_range(excess.ratio, _rough)})"

    def to_json(self) -> dict[str, Any]:
        """Return the summary as plain values, without the configurations themselves."""
        return {
            "uncertainty": self.uncertainty_name,
            "n_configs": self.n_configs,
            "spearman_force": self.force_rank.to_json(),
            "spearman_energy": self.energy_rank.to_json(),
            "excess": self.excess.to_json(),
            "classes": [row.to_json() for row in self.classes],
            "bins": [row.to_json() for row in self.bins()],
            "statement": self.statement,
        }

    def table(self) -> Table:
        """Return the force errors between the thresholds, and the rank correlations."""
        rows = [
            (
                f"{one.low:g} to {one.high:g}".replace("-inf to", "up to").replace(
                    "to inf", "and more"
                ),
                str(one.n_configs),
                with_error(1e3 * one.typical, 1e3 * one.typical_stderr),
            )
            for one in self.classes
        ]
        ranks = {"force": self.force_rank, "energy": self.energy_rank}
        note = "Rank correlation with the error (95 % interval): " + ", ".join(
            f"{name} {fixed(one.value, 2)} ({fixed(one.low, 2)} to {fixed(one.high, 2)})"
            for name, one in ranks.items()
        )
        columns = ("Uncertainty", "configurations", "typical force error (meV/Å)")
        title = f"{self.name}: {self.uncertainty_name}, {self.n_configs} configurations"
        return Table(title, tuple(rows), columns if rows else (), f"{note}.")


def calibrate(
    sets: ValidationSet | Sequence[ValidationSet], *, name: str | None = None
) -> Calibration | None:
    """Compare the uncertainty that a model states with its true errors.

    Configurations whose uncertainty is not finite are left out.

    Parameters
    ----------
    sets
        A set, or several sets of one model that are taken together; those that carry no
        uncertainty are passed over.
    name
        What they are called together; by default the names of the sets.

    Returns
    -------
    Calibration or None
        None if no configuration has an uncertainty.

    Raises
    ------
    InputError
        If the sets carry uncertainties of different kinds.
    """
    given = [sets] if isinstance(sets, ValidationSet) else list(sets)
    known = [one for one in given if has_uncertainty(one)]
    if not known:
        return None
    kinds = dict.fromkeys(one.uncertainty_name for one in known)
    if len(kinds) > 1:
        raise InputError(
            f"the sets carry different uncertainties ({', '.join(map(str, kinds))}); calibrate "
            "those of one kind together"
        )
    first = known[0]
    uncertainties = np.concatenate([np.asarray(one.uncertainties) for one in known])
    energies = np.concatenate([one.energies_reference - one.energies_predicted for one in known])
    forces = np.concatenate([one.force_rmse_per_config for one in known])
    finite = np.isfinite(uncertainties)
    energies = energies[finite]
    return Calibration(
        name=name or " and ".join(one.name for one in known),
        uncertainty_name=first.uncertainty_name or "uncertainty",
        thresholds=_thresholds(first),
        uncertainties=uncertainties[finite],
        force_errors=forces[finite],
        energy_errors=np.abs(energies - energies.mean()),
    )


def has_uncertainty(one: ValidationSet) -> bool:
    """Return whether any configuration of a set has an uncertainty."""
    return one.uncertainties is not None and bool(np.isfinite(one.uncertainties).any())


def _thresholds(one: ValidationSet) -> tuple[Threshold, ...]:
    found = []
    if one.uncertainty_worth is not None:
        found.append(Threshold(one.uncertainty_worth, "worth a label"))
    if one.uncertainty_limit is not None:
        found.append(Threshold(one.uncertainty_limit, "not to be used"))
    return tuple(found)


def _plain(name: str) -> str:
    """Return the name of an uncertainty without its unit."""
    return name.partition(" (")[0]


def _range(number: Interval, write: Callable[[float], str]) -> str:
    return f"95 % interval {write(number.low)} to {write(number.high)}"


def _rounded(value: float) -> str:
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def _rough(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio < 10.0 else f"{ratio:.0f}"
