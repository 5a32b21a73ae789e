"""The plan of a sweep: which temperatures and pressures, and from which point each one starts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from sscha_mlp.errors import ConfigError

_MOST: Final = 1000
"""A range of more values than this is a mistake."""


@dataclass(frozen=True)
class PlannedPoint:
    """A temperature and pressure of a sweep.

    Parameters
    ----------
    temperature, pressure
        K, GPa.
    generation
        How many points it continues from.
    parent
        The neighbour that it starts from; None for the first point of all.
    """

    temperature: float
    pressure: float
    generation: int
    parent: "PlannedPoint | None"

    @property
    def name(self) -> str:
        """Name of its directory."""
        return point_name(self.temperature, self.pressure)

    def ancestors(self) -> Iterator["PlannedPoint"]:
        """The points that it continues from, the nearest first."""
        one = self.parent
        while one is not None:
            yield one
            one = one.parent


def point_name(temperature: float, pressure: float) -> str:
    """Return the name of the directory of a point, temperature in K, pressure in GPa."""
    return f"T{temperature:.10g}-P{pressure:.10g}"


def first_point(temperatures: Sequence[float], pressures: Sequence[float]) -> tuple[float, float]:
    """Return where a sweep begins: at the highest temperature, at the pressure nearest to 0 GPa.

    What is learnt where the atoms move most serves colder points as well.
    """
    return max(temperatures), min(pressures, key=lambda one: (abs(one), -one))


def plan_points(
    temperatures: Sequence[float], pressures: Sequence[float], first: tuple[float, float]
) -> tuple[PlannedPoint, ...]:
    """Return the points of a sweep, each after the one that it starts from.

    From the first point the plan goes along its isobar to both sides, and from there along each
    isotherm.

    Parameters
    ----------
    temperatures, pressures
        K, GPa.
    first
        Temperature and pressure to begin with, one of the points.
    """
    found: list[PlannedPoint] = []
    for temperature, before in _outwards(sorted(set(temperatures)), first[0]):
        for pressure, nearer in _outwards(sorted(set(pressures)), first[1]):
            place = {(one.temperature, one.pressure): one for one in found}
            parent = None
            if nearer is not None:
                parent = place[temperature, nearer]
            elif before is not None:
                parent = place[before, pressure]
            generation = 0 if parent is None else parent.generation + 1
            found.append(PlannedPoint(temperature, pressure, generation, parent))
    return tuple(sorted(found, key=lambda one: one.generation))


def _outwards(values: Sequence[float], first: float) -> Iterator[tuple[float, float | None]]:
    """Values from the first one outwards, each with its neighbour on the way."""
    centre = values.index(first)
    yield first, None
    for above in range(centre + 1, len(values)):
        yield values[above], values[above - 1]
    for below in range(centre - 1, -1, -1):
        yield values[below], values[below + 1]


def read_values(text: str, name: str) -> tuple[float, ...]:
    """Read ``start:stop:step``, ends included, or values with commas between them.

    Parameters
    ----------
    text
        What the user wrote.
    name
        What it is, for the error.

    Returns
    -------
    Ascending.

    Raises
    ------
    ConfigError
        If it is neither, or has no values, or too many.
    """
    try:
        if ":" in text:
            start, stop, step = (float(one) for one in text.split(":"))
            _check_direction(text, name, start, stop, step)
            values = _range(start, stop, step)
        else:
            values = [float(one) for one in text.split(",")]
    except (ValueError, OverflowError) as err:
        raise ConfigError(
            f"{name} {text!r} cannot be read; write start:stop:step such as 0:2000:250, or values "
            "such as 300,600."
        ) from err
    if not values or len(values) > _MOST or not np.all(np.isfinite(values)):
        raise ConfigError(f"{name} {text!r} must be between 1 and {_MOST} finite numbers.")
    return tuple(sorted(set(values)))


def _check_direction(text: str, name: str, start: float, stop: float, step: float) -> None:
    """Refuse a range that descends, with the ascending one in its place."""
    if stop < start and np.isfinite([start, stop, step]).all() and step != 0.0:
        raise ConfigError(
            f"{name} {text!r} descends; write it upwards: {name} {stop:g}:{start:g}:{abs(step):g} "
            "(a sweep computes its points from the highest temperature down in either case)."
        )


def _range(start: float, stop: float, step: float) -> list[float]:
    """Values from start to stop; the last one is stop where the step hits it."""
    if not step > 0 or stop < start:
        raise ValueError("a step above 0 leads from a start to a later stop")
    count = int(np.floor((stop - start) / step * (1 + 1e-12) + 1e-9)) + 1
    if count > _MOST:
        return [start] * (_MOST + 1)
    return [round(start + index * step, 10) for index in range(count)]
