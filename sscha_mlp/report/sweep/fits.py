"""What a sweep says along its isobars and isotherms: the fits to its points."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.properties.expansion import ExpansionFit, fit_expansion
from sscha_mlp.properties.gibbs import IsobarFit, fit_isobar
from sscha_mlp.properties.isotherm import EquationOfState, fit_isotherm
from sscha_mlp.properties.soft_mode import SoftModeFit, fit_soft_mode
from sscha_mlp.run_files.json_fields import Value
from sscha_mlp.studies.sweep.point import SweepPoint
from sscha_mlp.studies.sweep.table import Sweep

_SAME_SHAPE: Final = 1.0e-6
"""Lengths that differ by less, relatively, at every point are one."""


@dataclass(frozen=True, eq=False)
class Isobar:
    """The points at one pressure, and what is fitted to those that are converged.

    Parameters
    ----------
    pressure
        GPa.
    points
        Ascending in temperature.
    volume
        Fit of the volume; None where no point has an error.
    lengths
        Name and fit of each lattice parameter that is not that of another.
    thermal
        Fit of Gibbs free energy and entropy; None where no point has an error.
    soft
        Fit of the softest squared frequency, where two points have one.
    """

    pressure: float
    points: tuple[SweepPoint, ...]
    volume: ExpansionFit | None
    lengths: tuple[tuple[str, ExpansionFit], ...]
    thermal: IsobarFit | None
    soft: SoftModeFit | None

    @property
    def statements(self) -> list[str]:
        """What the fits are worth, in sentences."""
        return self._of_fits() + ([] if self.soft is None else [self.soft.statement])

    def _of_fits(self) -> list[str]:
        if self.volume is None or self.thermal is None:
            return ["No converged point with an error: nothing is fitted."]
        if self.volume.curve is None:
            return [self.volume.statement]
        found = [f"Volume: {self.volume.statement}", f"G and S: {self.thermal.statement}"]
        return found + ([self.thermal.agreement] if self.thermal.agreement else [])


@dataclass(frozen=True, eq=False)
class Isotherm:
    """The points at one temperature, and their equation of state.

    Parameters
    ----------
    temperature
        K.
    points
        Ascending in pressure.
    state
        Fitted to those that are converged; None where no point has an error.
    """

    temperature: float
    points: tuple[SweepPoint, ...]
    state: EquationOfState | None

    @property
    def statement(self) -> str:
        """What the equation of state says, in a sentence."""
        if self.state is None:
            return "No converged point with an error: nothing is fitted."
        return self.state.statement


@dataclass(frozen=True, eq=False)
class SweepFits:
    """A sweep with its fits.

    Parameters
    ----------
    sweep
        The points.
    isobars, isotherms
        One for each pressure and for each temperature, ascending.
    """

    sweep: Sweep
    isobars: tuple[Isobar, ...]
    isotherms: tuple[Isotherm, ...]

    @property
    def is_cubic(self) -> bool:
        """Whether one length says it all."""
        return all(_is_cubic(one) for one in self.sweep.points)

    @property
    def n_unconverged(self) -> int:
        """Points that no fit uses."""
        return sum(not one.converged for one in self.sweep.points)

    @property
    def classical_limit(self) -> float:
        """Heat capacity of the modes of the supercell when it is warm, k per atom.

        Three per atom, less the translations of the supercell as a whole.
        """
        n_atoms = self.sweep.n_atoms * int(np.prod(self.sweep.supercell))
        return 3.0 * (1.0 - 1.0 / n_atoms)


def fit_sweep(sweep: Sweep) -> SweepFits:
    """Fit the isobars and isotherms of a sweep.

    Points that are not converged, or whose volume or free energy has no error, are shown and not
    fitted.
    """
    thetas = () if sweep.nuclei == "classical" else sweep.einstein_temperatures_K
    isobars = tuple(_isobar(sweep, pressure, thetas) for pressure in sweep.pressures)
    isotherms = tuple(_isotherm(sweep, temperature) for temperature in sweep.temperatures)
    return SweepFits(sweep, isobars, isotherms)


def _isobar(sweep: Sweep, pressure: float, thetas: tuple[float, ...]) -> Isobar:
    points = sweep.isobar(pressure)
    used = _usable(points)
    if not used:
        return Isobar(pressure, points, None, (), None, _soft(points))
    t = [one.temperature_K for one in used]
    volume = fit_expansion(
        t, *numbers([one.volume_A3_per_atom for one in used]), einstein_temperatures=thetas
    )
    thermal = fit_isobar(
        t,
        *numbers([one.gibbs_eV_per_atom for one in used]),
        *numbers([one.entropy_kB for one in used]),
        einstein_temperatures=thetas,
    )
    return Isobar(pressure, points, volume, _lengths(used, thetas), thermal, _soft(points))


def _lengths(
    used: Sequence[SweepPoint], thetas: tuple[float, ...]
) -> tuple[tuple[str, ExpansionFit], ...]:
    """Fits of those lattice parameters that differ from the ones before."""
    found: list[tuple[str, ExpansionFit]] = []
    t = [one.temperature_K for one in used]
    for index, name in enumerate("abc"):
        sides = [one.cell_lengths_A[index] for one in used]
        earlier = range(index)
        repeated = any(_same(sides, [one.cell_lengths_A[k] for one in used]) for k in earlier)
        if repeated or any(one.stderr == 0.0 for one in sides):
            continue
        fit = fit_expansion(t, *numbers(sides), einstein_temperatures=thetas)
        found.append((name, fit))
    return tuple(found)


def _same(one: Sequence[Value], other: Sequence[Value]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(abs(a.value - b.value) <= _SAME_SHAPE * a.value for a, b in pairs)


def _is_cubic(point: SweepPoint) -> bool:
    a, b, c = ([one] for one in point.cell_lengths_A)
    right = all(abs(angle - 90.0) < 1.0e-3 for angle in point.cell_angles_deg)
    return right and _same(a, b) and _same(a, c)


def _soft(points: Sequence[SweepPoint]) -> SoftModeFit | None:
    given = [(one.temperature_K, one.soft_mode) for one in points if one.converged]
    known = [(t, mode) for t, mode in given if mode is not None and mode["stderr_THz2"] > 0.0]
    if len(known) < 2:
        return None
    return fit_soft_mode(
        [t for t, _ in known],
        [mode["squared_frequency_THz2"] for _, mode in known],
        [mode["stderr_THz2"] for _, mode in known],
    )


def _isotherm(sweep: Sweep, temperature: float) -> Isotherm:
    points = sweep.isotherm(temperature)
    used = _usable(points)
    if not used:
        return Isotherm(temperature, points, None)
    values = numbers([one.volume_A3_per_atom for one in used])
    state = fit_isotherm([one.pressure_GPa for one in used], *values)
    return Isotherm(temperature, points, state)


def _usable(points: Sequence[SweepPoint]) -> list[SweepPoint]:
    return [
        one
        for one in points
        if one.converged
        and one.volume_A3_per_atom.stderr > 0.0
        and one.gibbs_eV_per_atom.stderr > 0.0
    ]


def numbers(values: Sequence[Value]) -> tuple[FloatArray, FloatArray]:
    """Return values and errors as arrays, each of shape (n,)."""
    return np.array([one.value for one in values]), np.array([one.stderr for one in values])
