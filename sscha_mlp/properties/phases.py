"""Two structures of one composition: which has the lower Gibbs free energy, and where it changes.

Along an isobar, ``G(T)`` of each is fitted to its free energies and entropies together, along an
isotherm ``G(P)`` to its free energies and volumes (``V = dG/dP``).  Differences are looked at
within the temperatures or pressures that both have, never beyond.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sscha_mlp import units
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.ensemble.averages import Estimate
from sscha_mlp.errors import InputError
from sscha_mlp.properties.averaged_fit import AveragedFit, Observed, fit_average
from sscha_mlp.properties.gibbs import entropy_data, joint_fit
from sscha_mlp.properties.phase_tables import (
    SAME,
    SIGNIFICANT,
    Axis,
    Crossing,
    Phase,
    PhaseComparison,
    PhaseDifference,
    PhaseLine,
)
from sscha_mlp.properties.terms import Candidate, polynomial_candidates, volume_candidates

_GRID: Final = 401
_HIGHEST_POWER: Final = 5


def compare_phases(a: Phase, b: Phase) -> PhaseComparison:
    """Compare two structures by their Gibbs free energies per atom.

    Parameters
    ----------
    a, b
        The structures, of one composition, from one reference.

    Raises
    ------
    InputError
        If the compositions differ, or they have no temperature and pressure in common.
    """
    if a.composition != b.composition:
        raise InputError(
            f"{a.name} is {a.composition} and {b.name} is {b.composition}: Gibbs free energies of "
            "different compositions cannot be compared. Give two structures of one composition."
        )
    pairs = list(_pairs(a, b))
    lines = tuple(_line(pair) for pair in pairs)
    found = {(one.pressure, one.temperature): one for one in _interpolated(a, b, pairs)}
    # What both have as points needs no fit.
    found |= {(one.pressure, one.temperature): one for one in _direct(a, b)}
    if not found:
        raise InputError(
            f"{a.name} ({a.extent}) and {b.name} ({b.extent}) have no temperature and "
            "pressure in common; run one of them where the other is known."
        )
    return PhaseComparison(a, b, tuple(found[key] for key in sorted(found)), lines)


@dataclass(frozen=True, eq=False)
class _Curves:
    """G of one structure along an axis, and what is not its slope there: V(T) or S(P)."""

    gibbs: AveragedFit
    other: AveragedFit | None
    lowest: float
    highest: float


@dataclass(frozen=True, eq=False)
class _Pair:
    a: _Curves
    b: _Curves
    names: tuple[str, str]
    axis: Axis
    at: float

    @property
    def ends(self) -> tuple[float, float]:
        return max(self.a.lowest, self.b.lowest), min(self.a.highest, self.b.highest)

    def gibbs(self, x: FloatArray) -> Estimate:
        """B less A, eV."""
        return _less(self.b.gibbs.at(x), self.a.gibbs.at(x))

    def slope(self, x: FloatArray) -> Estimate:
        """Along the axis, eV/K or eV/GPa."""
        return _less(self.b.gibbs.at(x, order=1), self.a.gibbs.at(x, order=1))

    def entropy_and_volume(self, x: FloatArray) -> tuple[Estimate, Estimate]:
        """B less A: Boltzmann constants, Å³; without a number where there is no fit."""
        slope, other = self.slope(x), self._other(x)
        if self.axis is Axis.TEMPERATURE:
            return Estimate(-slope.value / units.KB, slope.stderr / units.KB), other
        return other, Estimate(slope.value / units.GPA, slope.stderr / units.GPA)

    def _other(self, x: FloatArray) -> Estimate:
        if self.a.other is None or self.b.other is None:
            return Estimate(np.full(len(x), np.nan), np.full(len(x), np.nan))
        return _less(self.b.other.at(x), self.a.other.at(x))


def _less(one: Estimate, other: Estimate) -> Estimate:
    return Estimate(one.value - other.value, np.hypot(one.stderr, other.stderr))


def _pairs(a: Phase, b: Phase) -> Iterator[_Pair]:
    """Lines that both have over a range."""
    for axis in Axis:
        for at in _common(a.places(axis.other), b.places(axis.other)):
            curves = [_curves(one, axis, at) for one in (a, b)]
            if curves[0] is None or curves[1] is None:
                continue
            pair = _Pair(curves[0], curves[1], (a.name, b.name), axis, at)
            if pair.ends[1] - pair.ends[0] > SAME:
                yield pair


def _common(one: FloatArray, other: FloatArray) -> list[float]:
    return [float(v) for v in np.unique(one) if np.any(np.abs(other - v) < SAME)]


def _curves(phase: Phase, axis: Axis, at: float) -> _Curves | None:
    """Fits of one structure along a line; None where it has too little there."""
    rows = phase.along(axis, at)
    x = phase.places(axis)[rows]
    if len(rows) < 2 or np.any(phase.gibbs_stderr[rows] == 0.0):
        return None
    values = Observed(x, phase.gibbs[rows], phase.gibbs_stderr[rows])
    fit = _along_temperature if axis is Axis.TEMPERATURE else _along_pressure
    gibbs, other = fit(phase, rows, values)
    return None if gibbs is None else _Curves(gibbs, other, float(x[0]), float(x[-1]))


_Fits = tuple[AveragedFit | None, AveragedFit | None]


def _along_temperature(phase: Phase, rows: NDArray[np.int64], values: Observed) -> _Fits:
    thetas = phase.einstein_temperatures
    slopes = entropy_data(values.x, phase.entropies[rows], phase.entropies_stderr[rows])
    volumes = _known(values.x, phase.volumes[rows], phase.volumes_stderr[rows])
    gibbs = joint_fit(values, slopes, thetas)
    return gibbs, _between(volume_candidates(thetas), volumes)


def _along_pressure(phase: Phase, rows: NDArray[np.int64], values: Observed) -> _Fits:
    scale = max(float(np.abs(values.x).max()), 1.0)
    # The volumes of n pressures are a polynomial of order n - 1, and G one of order n.
    candidates = polynomial_candidates(scale, highest=min(len(rows), _HIGHEST_POWER))
    volumes = _known(values.x, phase.volumes[rows], phase.volumes_stderr[rows])
    data = [values]
    if volumes is not None:
        slope, error = volumes.y * units.GPA, volumes.stderr * units.GPA
        data.append(Observed(volumes.x, slope, error, 1))
    entropies = _known(values.x, phase.entropies[rows], phase.entropies_stderr[rows])
    return fit_average(candidates, *data), _between(candidates, entropies)


def _between(candidates: Sequence[Candidate], data: Observed | None) -> AveragedFit | None:
    """What the slopes of a line of coexistence need: two points are enough."""
    return None if data is None else fit_average(candidates, data, spare=0)


def _known(x: FloatArray, y: FloatArray, stderr: FloatArray) -> Observed | None:
    """Those with an error; None where there are none."""
    known = stderr > 0.0
    return Observed(x[known], y[known], stderr[known]) if known.any() else None


def _interpolated(a: Phase, b: Phase, pairs: Sequence[_Pair]) -> Iterator[PhaseDifference]:
    """Differences of the fits at the points of either."""
    for pair in reversed(pairs):  # what isobars say goes before what isotherms say
        rows = [one.places(pair.axis)[one.along(pair.axis, pair.at)] for one in (a, b)]
        lowest, highest = pair.ends
        x = np.unique(np.concatenate(rows))
        x = x[(x >= lowest) & (x <= highest)]
        gibbs = pair.gibbs(x)
        entropy, volume = pair.entropy_and_volume(x)
        for n, place in enumerate(x):
            is_isobar = pair.axis is Axis.TEMPERATURE
            yield PhaseDifference(
                temperature=float(place) if is_isobar else pair.at,
                pressure=pair.at if is_isobar else float(place),
                **_numbers(gibbs, entropy, volume, n),
                interpolated=True,
            )


def _numbers(gibbs: Estimate, entropy: Estimate, volume: Estimate, n: int) -> dict[str, float]:
    return {
        "gibbs": float(gibbs.value[n]),
        "gibbs_stderr": float(gibbs.stderr[n]),
        "entropy": float(entropy.value[n]),
        "entropy_stderr": float(entropy.stderr[n]),
        "volume": float(volume.value[n]),
        "volume_stderr": float(volume.stderr[n]),
    }


def _direct(a: Phase, b: Phase) -> Iterator[PhaseDifference]:
    """Differences where both have a point."""
    for n in range(len(a.temperatures)):
        same = (np.abs(b.temperatures - a.temperatures[n]) < SAME) & (
            np.abs(b.pressures - a.pressures[n]) < SAME
        )
        for m in np.flatnonzero(same)[:1]:
            yield PhaseDifference(
                temperature=float(a.temperatures[n]),
                pressure=float(a.pressures[n]),
                gibbs=float(b.gibbs[m] - a.gibbs[n]),
                gibbs_stderr=float(np.hypot(b.gibbs_stderr[m], a.gibbs_stderr[n])),
                entropy=float(b.entropies[m] - a.entropies[n]),
                entropy_stderr=float(np.hypot(b.entropies_stderr[m], a.entropies_stderr[n])),
                volume=float(b.volumes[m] - a.volumes[n]),
                volume_stderr=float(np.hypot(b.volumes_stderr[m], a.volumes_stderr[n])),
                interpolated=False,
            )


def _line(pair: _Pair) -> PhaseLine:
    x = np.linspace(*pair.ends, _GRID)
    found = pair.gibbs(x)
    certain = np.abs(found.value) > SIGNIFICANT * found.stderr
    sides = np.sign(found.value[certain])
    both = len(sides) > 0 and bool(np.any(sides != sides[0]))
    places = _zeros(x, found.value) if both else []
    crossings = tuple(_crossing(pair, place) for place in places)
    statement = _statement(pair, x, found, crossings)
    return PhaseLine(pair.axis, pair.at, x, found, crossings, statement)


def _zeros(x: FloatArray, y: FloatArray) -> list[float]:
    """Places where y changes its sign, between neighbours by a straight line."""
    before = np.flatnonzero(np.sign(y[:-1]) * np.sign(y[1:]) < 0)
    between = x[before] - y[before] * (x[before + 1] - x[before]) / (y[before + 1] - y[before])
    return sorted([*(float(v) for v in between), *(float(v) for v in x[y == 0.0])])


def _crossing(pair: _Pair, place: float) -> Crossing:
    x = np.array([place])
    slope = abs(float(pair.slope(x).value[0]))
    stderr = float(pair.gibbs(x).stderr[0]) / slope if slope > 0.0 else np.inf
    entropy, volume = pair.entropy_and_volume(x)
    is_isobar = pair.axis is Axis.TEMPERATURE
    ratio, ratio_stderr = _clausius_clapeyron(entropy, volume)
    return Crossing(
        axis=pair.axis,
        temperature=place if is_isobar else pair.at,
        pressure=pair.at if is_isobar else place,
        stderr=stderr,
        entropy_change=float(entropy.value[0]),
        entropy_stderr=float(entropy.stderr[0]),
        volume_change=float(volume.value[0]),
        volume_stderr=float(volume.stderr[0]),
        slope=ratio,
        slope_stderr=ratio_stderr,
    )


def _clausius_clapeyron(
    entropy: Estimate, volume: Estimate
) -> tuple[float, float] | tuple[None, None]:
    """``dP/dT = dS/dV`` in GPa/K with its error."""
    ds, ds_error = float(entropy.value[0]), float(entropy.stderr[0])
    dv, dv_error = float(volume.value[0]), float(volume.stderr[0])
    if not (abs(dv) > SIGNIFICANT * dv_error and np.isfinite(ds)):
        return None, None
    unit = units.KB / units.GPA
    return ds / dv * unit, float(np.hypot(ds_error, ds / dv * dv_error) / abs(dv)) * unit


def _statement(pair: _Pair, x: FloatArray, found: Estimate, crossings: Sequence[Crossing]) -> str:
    """The result along a line in a sentence."""
    a, b = pair.names
    kept = f"At {pair.at:g} {pair.axis.other.unit}"
    certain = np.abs(found.value) > SIGNIFICANT * found.stderr
    if not certain.any():
        return f"{kept} the errors do not say which of {a} and {b} is stable; they need more."
    unit = pair.axis.unit
    sides = np.sign(found.value[certain])
    if np.all(sides == sides[0]):
        stable = a if sides[0] > 0 else b
        if certain.all():
            return f"{kept} {stable} is stable from {x[0]:g} to {x[-1]:g} {unit}."
        first, last = x[certain][0], x[certain][-1]
        return (
            f"{kept} {stable} is stable where the errors allow to say it, between {first:.4g} and "
            f"{last:.4g} {unit} of {x[0]:g} to {x[-1]:g} {unit}; a crossing is not certain."
        )
    return f"{kept} {_transitions(pair, found, crossings)}."


def _transitions(pair: _Pair, found: Estimate, crossings: Sequence[Crossing]) -> str:
    a, b = pair.names
    first = a if found.value[0] > 0 else b
    second = b if first == a else a
    is_isobar = pair.axis is Axis.TEMPERATURE
    decimals = 1 if is_isobar else 3
    places = " and ".join(
        f"{one.place:.{decimals}f} ± {one.stderr:.{decimals}f} {pair.axis.unit}"
        for one in crossings
    )
    if len(crossings) == 1:
        return f"{first} is stable below {places}, {second} above"
    return f"{first} is stable at first, and it changes at {places}"
