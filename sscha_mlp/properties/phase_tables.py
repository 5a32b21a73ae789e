"""Structures that are compared, and what comes of it, as values."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from ase.formula import Formula
from numpy.typing import NDArray

from sscha_mlp.crystal.structure import FloatArray, read_only
from sscha_mlp.digits import with_error
from sscha_mlp.ensemble.averages import Estimate
from sscha_mlp.errors import InputError
from sscha_mlp.tables import Shown, Table, few

SIGNIFICANT: Final = 2.0
"""Standard errors that a difference must be away from zero."""

SAME: Final = 1.0e-6
"""Temperatures (K) or pressures (GPa) that differ by less are one."""


_ARRAYS: Final = (
    "temperatures",
    "pressures",
    "gibbs",
    "gibbs_stderr",
    "entropies",
    "entropies_stderr",
    "volumes",
    "volumes_stderr",
)


class Axis(StrEnum):
    """What changes along a line."""

    TEMPERATURE = "temperature"
    PRESSURE = "pressure"

    @property
    def unit(self) -> str:
        """K or GPa."""
        return "K" if self is Axis.TEMPERATURE else "GPa"

    @property
    def other(self) -> "Axis":
        """What is kept."""
        return Axis.PRESSURE if self is Axis.TEMPERATURE else Axis.TEMPERATURE


@dataclass(frozen=True, eq=False)
class Phase(Shown):
    """Thermodynamics of one structure, per atom.

    Parameters
    ----------
    name
        What it is called.
    formula
        Chemical formula; only its composition counts.
    temperatures, pressures
        Of each point, shape (n,): K, GPa.
    gibbs, gibbs_stderr
        eV.
    entropies, entropies_stderr
        Boltzmann constants.
    volumes, volumes_stderr
        Å³.
    einstein_temperatures
        Some that span the modes, K; none for classical nuclei.
    """

    name: str
    formula: str
    temperatures: FloatArray
    pressures: FloatArray
    gibbs: FloatArray
    gibbs_stderr: FloatArray
    entropies: FloatArray
    entropies_stderr: FloatArray
    volumes: FloatArray
    volumes_stderr: FloatArray
    einstein_temperatures: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what is no table.

        Raises
        ------
        InputError
            If it is empty, the shapes differ, a number is not finite, or an error is negative.
        """
        for name in _ARRAYS:
            given = read_only(np.asarray(getattr(self, name), dtype=np.float64))
            object.__setattr__(self, name, given)
            if given.shape != (len(self.temperatures),) or not len(given):
                raise InputError(f"{self.name}: {name} should have one number for each point.")
            if not np.all(np.isfinite(given)) or (name.endswith("stderr") and np.any(given < 0.0)):
                raise InputError(f"{self.name}: {name} should be finite, and errors at least 0.")

    @property
    def composition(self) -> str:
        """Formula unit, elements in alphabetical order.

        Raises
        ------
        InputError
            If the formula is none.
        """
        try:
            reduced, _ = Formula(self.formula).reduce()
        except ValueError as err:
            raise InputError(f"{self.name}: {self.formula!r} is no chemical formula.") from err
        return str(reduced.format("abc"))

    @property
    def extent(self) -> str:
        """Range of its points, in words."""
        parts = [(self.temperatures, "K"), (self.pressures, "GPa")]
        return ", ".join(
            f"{values.min():g} {unit}"
            if values.min() == values.max()
            else f"{values.min():g} to {values.max():g} {unit}"
            for values, unit in parts
        )

    def places(self, axis: Axis) -> FloatArray:
        """Return the temperatures (K) or pressures (GPa) of the points, shape (n,)."""
        return self.temperatures if axis is Axis.TEMPERATURE else self.pressures

    def along(self, axis: Axis, at: float) -> NDArray[np.int64]:
        """Return the points at a value of what is kept, ascending along the axis."""
        found = np.flatnonzero(np.abs(self.places(axis.other) - at) < SAME)
        return found[np.argsort(self.places(axis)[found], kind="stable")]

    def table(self) -> Table:
        """Return its points."""
        values = (
            (self.gibbs, self.gibbs_stderr),
            (self.entropies, self.entropies_stderr),
            (self.volumes, self.volumes_stderr),
        )
        rows = [
            (f"{t:g}", f"{p:g}", *(with_error(value[n], error[n]) for value, error in values))
            for n, (t, p) in enumerate(zip(self.temperatures, self.pressures, strict=True))
        ]
        columns = ("T (K)", "P (GPa)", "G (eV/atom)", "S (k/atom)", "V (Å³/atom)")
        return Table(f"{self.name}: {self.formula}", few(rows), columns)


@dataclass(frozen=True)
class PhaseDifference:
    """What B has more than A, per atom; each with one standard error.

    Parameters
    ----------
    temperature, pressure
        K, GPa.
    gibbs, gibbs_stderr
        eV.
    entropy, entropy_stderr
        Boltzmann constants.
    volume, volume_stderr
        Å³.
    interpolated
        Whether one of the two comes from a fit rather than from a point.
    """

    temperature: float
    pressure: float
    gibbs: float
    gibbs_stderr: float
    entropy: float
    entropy_stderr: float
    volume: float
    volume_stderr: float
    interpolated: bool

    @property
    def is_certain(self) -> bool:
        """Whether the difference of G is two standard errors away from zero."""
        return abs(self.gibbs) > SIGNIFICANT * self.gibbs_stderr


@dataclass(frozen=True)
class Crossing:
    """Where both have one Gibbs free energy.

    Parameters
    ----------
    axis
        Along which it was found.
    temperature, pressure
        Where: K, GPa.
    stderr
        Of the one that the axis names.
    entropy_change, entropy_stderr
        B less A, per atom, Boltzmann constants; not a number where no fit is possible.
    volume_change, volume_stderr
        B less A, per atom, Å³; not a number where no fit is possible.
    slope, slope_stderr
        ``dP/dT = dS/dV`` of the line of coexistence, GPa/K; None where dV is not away from zero
        by two standard errors.
    """

    axis: Axis
    temperature: float
    pressure: float
    stderr: float
    entropy_change: float
    entropy_stderr: float
    volume_change: float
    volume_stderr: float
    slope: float | None
    slope_stderr: float | None

    @property
    def place(self) -> float:
        """The temperature in K or the pressure in GPa that the axis names."""
        return self.temperature if self.axis is Axis.TEMPERATURE else self.pressure


@dataclass(frozen=True, eq=False)
class PhaseLine:
    """The difference along an isobar or an isotherm.

    Parameters
    ----------
    axis, at
        What changes, and the value of what is kept (GPa on an isobar, K on an isotherm).
    x
        Temperatures (K) or pressures (GPa), shape (n,).
    difference
        G of B less that of A with errors, shape (n,), eV/atom.
    crossings
        Ascending; only where each of the two is stable somewhere by two standard errors.
    statement
        In a sentence.
    """

    axis: Axis
    at: float
    x: FloatArray
    difference: Estimate
    crossings: tuple[Crossing, ...]
    statement: str


@dataclass(frozen=True, eq=False)
class PhaseComparison(Shown):
    """Two structures side by side.

    Parameters
    ----------
    a, b
        The structures.
    differences
        At each point of either where the other is known, by pressure and temperature.
    lines
        Isobars, then isotherms, that both have over a range.
    withheld
        Why the differences do not say which structure is stable; empty where they do.
    """

    a: Phase
    b: Phase
    differences: tuple[PhaseDifference, ...]
    lines: tuple[PhaseLine, ...]
    withheld: str = ""

    @property
    def crossings(self) -> tuple[Crossing, ...]:
        """All crossings, those of isobars first; none where nothing can be said."""
        if self.withheld:
            return ()
        return tuple(one for line in self.lines for one in line.crossings)

    @property
    def statements(self) -> tuple[str, ...]:
        """The result in sentences: one for each line, or for each point where there is none."""
        if self.withheld:
            return (self.withheld,)
        if self.lines:
            return tuple(line.statement for line in self.lines)
        return tuple(_of_point(self.a, self.b, one) for one in self.differences)

    def table(self) -> Table:
        """Return the differences at the points, and the result in sentences."""
        rows = [
            (
                f"{one.temperature:g}",
                f"{one.pressure:g}",
                with_error(1e3 * one.gibbs, 1e3 * one.gibbs_stderr, sign=True),
                with_error(one.entropy, one.entropy_stderr, sign=True),
                with_error(one.volume, one.volume_stderr, sign=True),
            )
            for one in self.differences
        ]
        columns = ("T (K)", "P (GPa)", "ΔG (meV/atom)", "ΔS (k/atom)", "ΔV (Å³/atom)")
        title = f"{self.b.name} less {self.a.name}"
        return Table(title, few(rows), columns, " ".join(self.statements))


def _of_point(a: Phase, b: Phase, one: PhaseDifference) -> str:
    where = f"At {one.temperature:g} K and {one.pressure:g} GPa"
    amount = f"by {1e3 * abs(one.gibbs):.2f} ± {1e3 * one.gibbs_stderr:.2f} meV/atom"
    if not one.is_certain:
        return f"{where} the errors do not say which of {a.name} and {b.name} is stable."
    return f"{where} {a.name if one.gibbs > 0 else b.name} is stable {amount}."
