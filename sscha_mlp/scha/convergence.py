"""When a relaxation counts as converged: tolerances that fit the crystal, and the judgement."""

from dataclasses import dataclass, fields
from typing import Final

import numpy as np

from sscha_mlp import units
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.digits import significant, with_error
from sscha_mlp.ensemble.averages import Estimate
from sscha_mlp.ensemble.nuclei import Nuclei, mean_square_amplitudes
from sscha_mlp.errors import ConfigError
from sscha_mlp.scha.cell import CellMode
from sscha_mlp.scha.estimators import Estimators
from sscha_mlp.scha.minimiser import Minimisation, MinimisationStep


@dataclass(frozen=True)
class CrystalScale:
    """What is large and what is small in a crystal.

    Parameters
    ----------
    bulk_modulus_gpa
        With the centroids following, GPa.
    highest_thz
        Highest frequency, THz.
    mode_energy_mev
        Mean energy of a mode, half of it potential, meV: kT in a hot crystal, half a quantum in a
        cold one.
    """

    bulk_modulus_gpa: float
    highest_thz: float
    mode_energy_mev: float

    @classmethod
    def of(
        cls,
        state: DynamicalMatrix,
        bulk_modulus: float,
        temperature: float,
        nuclei: Nuclei = Nuclei.QUANTUM,
    ) -> "CrystalScale":
        """Return the scale of a state at a temperature (K); bulk modulus in eV/Å³."""
        frequencies = state.modes.frequencies
        energies = frequencies**2 * mean_square_amplitudes(frequencies, temperature, nuclei)
        return cls(
            bulk_modulus / units.GPA,
            float(frequencies.max()) / units.THZ,
            1.0e3 * float(energies.mean()),
        )


@dataclass(frozen=True)
class Tolerances:
    """When a relaxation counts as converged.

    A quantity x with standard error s is converged when ``|x| <= tolerance + 2 s`` *and*
    ``s <= largest error``: few configurations cannot converge anything.  The gradient and the
    change of the free energy compare two independent ensembles (the fresh one, and the one that
    the state was minimised on), so that their s is that of the difference.

    A tolerance that is not set fits the crystal: a part of its bulk modulus B, of its highest
    frequency, or of the mean energy of a mode (kT when hot, half a quantum when cold), and at most
    that of a hard crystal.

    Parameters
    ----------
    frequency_thz
        Largest shift that the gradient asks of a mode, THz; when not set 1/100 of the highest
        frequency, at most 0.05.
    pressure_gpa
        Largest component of the stress less its target, GPa; when not set B/5000, at most 0.03.
    free_energy_mev
        Largest change of the free energy between populations, meV/atom; when not set 1/50 of the
        energy of a mode, at most 0.2.
    max_frequency_stderr_thz
        Largest standard error of a frequency, THz; when not set 1/30 of the highest frequency, at
        most 0.15.
    max_pressure_stderr_gpa
        Largest standard error of a component of the stress, GPa; when not set B/300, at most 0.15.
    max_free_energy_stderr_mev
        Largest standard error of the free energy, meV/atom; when not set 1/10 of the energy of a
        mode, at most 1.
    """

    frequency_thz: float | None = None
    pressure_gpa: float | None = None
    free_energy_mev: float | None = None
    max_frequency_stderr_thz: float | None = None
    max_pressure_stderr_gpa: float | None = None
    max_free_energy_stderr_mev: float | None = None

    def __post_init__(self) -> None:
        """Check that every tolerance is positive."""
        for name, value in vars(self).items():
            if value is not None and not value > 0:
                raise ConfigError(f"The tolerance {name} = {value} is not above 0.")

    def for_crystal(self, scale: CrystalScale, *, factor: float = 1.0) -> "Allowed":
        """Return what is allowed in a crystal, in all `factor` times as much."""
        parts = {
            one.name: RULES[one.name].tolerance(getattr(self, one.name), scale)
            for one in fields(self)
        }
        return Allowed(**{name: factor * value for name, value in parts.items()})


@dataclass(frozen=True)
class Rule:
    """How a tolerance that was not given follows from the crystal.

    Parameters
    ----------
    most
        That of a hard crystal; a softer one has less.
    scale
        Field of :class:`CrystalScale` that it is a part of.
    divisor
        Which part: the scale divided by this.
    """

    most: float
    scale: str
    divisor: float

    def tolerance(self, given: float | None, scale: CrystalScale) -> float:
        """Return what was given, else a part of the crystal's scale, at most that of a hard one.

        A crystal without a scale, where it is not positive, counts as hard.
        """
        if given is not None:
            return given
        part = getattr(scale, self.scale) / self.divisor
        return min(self.most, part) if part > 0 else self.most


RULES: Final = {
    "frequency_thz": Rule(0.05, "highest_thz", 100.0),
    "pressure_gpa": Rule(0.03, "bulk_modulus_gpa", 5000.0),
    "free_energy_mev": Rule(0.2, "mode_energy_mev", 50.0),
    "max_frequency_stderr_thz": Rule(0.15, "highest_thz", 30.0),
    "max_pressure_stderr_gpa": Rule(0.15, "bulk_modulus_gpa", 300.0),
    "max_free_energy_stderr_mev": Rule(1.0, "mode_energy_mev", 10.0),
}
"""Rules of :class:`Tolerances`."""


@dataclass(frozen=True)
class Allowed:
    """The tolerances of :class:`Tolerances` as they are in one crystal, same names and units."""

    frequency_thz: float
    pressure_gpa: float
    free_energy_mev: float
    max_frequency_stderr_thz: float
    max_pressure_stderr_gpa: float
    max_free_energy_stderr_mev: float


def judge(
    minimised: Minimisation,
    fresh: Estimators,
    missing_stress: Estimate,
    previous: tuple[float, float] | None,
    *,
    allowed: Allowed,
    cell: CellMode,
) -> list[str]:
    """Return what keeps a state from being converged, in words; nothing when it is.

    Parameters
    ----------
    minimised
        Minimum found on the ensemble.
    fresh
        Averages over the ensemble at the state it was drawn from.
    missing_stress
        Stress less its target, shape (3, 3), eV/Å³.
    previous
        Free energy and error of the population before, eV/atom; None at the first.
    allowed
        Tolerances.
    cell
        What of the cell is free.
    """
    missing = _judge_gradient(fresh, minimised.estimators, allowed)
    if cell is not CellMode.FIXED:
        missing += _judge_stress(missing_stress, cell, allowed)
    missing += _judge_free_energy(minimised.steps[-1], previous, allowed)
    return missing


def _judge_gradient(fresh: Estimators, all_of_it: Estimators, allowed: Allowed) -> list[str]:
    """Judge the state by fresh configurations, and the errors of the result by all that it has."""
    shifts = fresh.frequency_shifts
    value, error = np.abs(shifts.value) / units.THZ, shifts.stderr / units.THZ
    excess = value - 2 * np.sqrt(2) * error
    worst = np.unravel_index(np.argmax(excess), excess.shape)
    uncertain = float(all_of_it.frequency_shifts.stderr.max()) / units.THZ
    if uncertain > allowed.max_frequency_stderr_thz:
        return [
            f"frequencies are uncertain by {significant(uncertain)} THz; "
            "more configurations are needed"
        ]
    if excess[worst] > allowed.frequency_thz:
        return [f"a mode still shifts by {with_error(value[worst], error[worst])} THz"]
    return []


def unwanted_stress(stress: FloatArray, cell: CellMode) -> FloatArray:
    """Part of a stress that the cell is free to follow."""
    if cell is CellMode.FIXED:
        return np.zeros((3, 3))
    if cell is CellMode.FIXED_VOLUME:
        return np.asarray(stress - np.trace(stress) / 3 * np.eye(3))
    return stress


def _judge_stress(stress: Estimate, cell: CellMode, allowed: Allowed) -> list[str]:
    missing = unwanted_stress(stress.value, cell)
    value, error = np.abs(missing) / units.GPA, stress.stderr / units.GPA
    worst = np.unravel_index(np.argmax(value - 2 * error), (3, 3))
    if error.max() > allowed.max_pressure_stderr_gpa:
        return [
            f"the stress is uncertain by {significant(error.max())} GPa; "
            "more configurations are needed"
        ]
    if value[worst] - 2 * error[worst] > allowed.pressure_gpa:
        return [f"the stress is off its target by {with_error(value[worst], error[worst])} GPa"]
    return []


def _judge_free_energy(
    step: MinimisationStep, previous: tuple[float, float] | None, allowed: Allowed
) -> list[str]:
    error = 1.0e3 * step.free_energy_stderr
    if error > allowed.max_free_energy_stderr_mev:
        return [
            f"the free energy is uncertain by {error:.2f} meV/atom; more configurations are needed"
        ]
    if previous is None:
        return ["the first population has no free energy to compare with"]
    change = 1.0e3 * (step.free_energy - previous[0])
    combined = np.hypot(error, 1.0e3 * previous[1])
    if abs(change) > allowed.free_energy_mev + 2 * combined:
        return [f"the free energy still changes by {change:+.2f} ± {combined:.2f} meV/atom"]
    return []
