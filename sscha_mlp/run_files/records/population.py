"""Populations of a relaxation: what each came to, with the steps of its minimisation."""

import math
from dataclasses import dataclass, fields, replace
from typing import ClassVar

import numpy as np

from sscha_mlp import units
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.errors import InputError
from sscha_mlp.run_files.records.fields import Record
from sscha_mlp.scha.cell_step import CellPoint
from sscha_mlp.scha.convergence import Allowed
from sscha_mlp.scha.minimiser import MinimisationStep
from sscha_mlp.scha.relaxation import Population, pressure_of


@dataclass(frozen=True, eq=False)
class MinimisationTrace:
    """The steps of the minimisation inside one population.

    Parameters
    ----------
    free_energy, free_energy_stderr
        eV/atom, shape (n_steps,).
    gradient_THz, gradient_stderr_THz
        Largest frequency shift that the gradient predicts, shape (n_steps,).
    effective_sample_size
        Shape (n_steps,).
    frequencies_THz
        Shape (n_steps, n_modes), sorted in each row.
    """

    free_energy: FloatArray
    free_energy_stderr: FloatArray
    gradient_THz: FloatArray
    gradient_stderr_THz: FloatArray
    effective_sample_size: FloatArray
    frequencies_THz: FloatArray | None = None

    def __post_init__(self) -> None:
        """Check that all arrays have one value for each step."""
        for one in fields(self):
            value = getattr(self, one.name)
            if value is not None and len(value) != self.n_steps:
                raise InputError(
                    f"minimisation trace: {one.name} has {len(value)} steps, free_energy has "
                    f"{self.n_steps}; store one value for each step"
                )

    @classmethod
    def of(cls, steps: tuple[MinimisationStep, ...]) -> "MinimisationTrace":
        """Return the trace of a minimisation."""
        return cls(
            free_energy=np.array([one.free_energy for one in steps]),
            free_energy_stderr=np.array([one.free_energy_stderr for one in steps]),
            gradient_THz=np.array([one.gradient_thz for one in steps]),
            gradient_stderr_THz=np.array([one.gradient_stderr_thz for one in steps]),
            effective_sample_size=np.array([one.effective_sample_size for one in steps]),
            frequencies_THz=np.array([one.frequencies_thz for one in steps]),
        )

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return len(self.free_energy)


@dataclass(frozen=True, eq=False)
class PopulationRecord(Record):
    """What one population of a relaxation came to.

    Parameters
    ----------
    phase
        The relaxation that it is of: ``explore``, ``round-1``, ``round-1.2``, ``final``.
    population
        Number in its relaxation, from 1.
    n_drawn, n_reused
        Configurations drawn for it, and those of earlier populations that were used again.
    pooled
        Numbers of the populations that it is made of, its own last.
    rejected
        Configurations replaced because atoms were on top of each other.
    free_energy, free_energy_stderr
        At its end, eV/atom.
    gradient_THz, gradient_stderr_THz
        Largest frequency shift that the gradient of the fresh ensemble predicts.
    effective_sample_size
        At its end, of all configurations.
    frequencies_THz
        Of all modes, shape (n_modes,).
    frequency_stderr_THz
        Sampling error of the frequencies, shape (n_qpoints, n_bands).
    volume
        Å³/atom.
    pressure_GPa, pressure_stderr_GPa
        SSCHA pressure.
    stress_GPa
        SSCHA stress in ASE's sign, shape (3, 3).
    stress_stderr_GPa
        Largest standard error of a component of the stress.
    cell_A
        Lattice vectors of the primitive cell as rows, shape (3, 3).
    cell_lengths_A
        Their lengths, shape (3,).
    bulk_modulus_GPa, clamped_bulk_modulus_GPa
        Of the model at this cell, with ions that follow their forces and with clamped ions.
    tolerances
        What was asked of this crystal.
    minimiser
        Why its minimisation ended.
    reason
        Which criterion holds the relaxation back, or that it converged, or why it was stopped.
    converged
        Whether all criteria hold.
    ended
        Whether it is the last population of its relaxation.
    left_domain
        Whether the model is outside what it knows.
    broke_down
        Whether its bulk modulus cannot be that of the reference.
    uncertainty
        Of the model, as the alarm looked at it; None where it states none.
    state
        Name of the state that the next step begins with, below ``states/``.
    seconds_evaluate, seconds_minimise
        Wall time of the model and of the minimisation.
    trace
        Steps of the minimisation, if they were kept.
    """

    kind: ClassVar[str] = "population"

    population: int
    n_drawn: int
    free_energy: float
    free_energy_stderr: float
    gradient_THz: float
    gradient_stderr_THz: float
    effective_sample_size: float
    frequencies_THz: FloatArray
    volume: float
    pressure_GPa: float
    pressure_stderr_GPa: float
    phase: str = ""
    n_reused: int = 0
    pooled: tuple[int, ...] = ()
    rejected: int = 0
    frequency_stderr_THz: FloatArray | None = None
    stress_GPa: FloatArray | None = None
    stress_stderr_GPa: float | None = None
    cell_A: FloatArray | None = None
    cell_lengths_A: FloatArray | None = None
    bulk_modulus_GPa: float = math.nan
    clamped_bulk_modulus_GPa: float | None = None
    tolerances: Allowed | None = None
    minimiser: str = ""
    reason: str = ""
    converged: bool = False
    ended: bool = False
    left_domain: bool = False
    broke_down: bool = False
    uncertainty: float | None = None
    state: str = ""
    seconds_evaluate: float = 0.0
    seconds_minimise: float = 0.0
    trace: MinimisationTrace | None = None

    @classmethod
    def of(cls, population: Population) -> "PopulationRecord":
        """Return the record of a population, in the units in which it is shown."""
        minimised, fresh = population.minimisation, population.summary
        estimators, state = minimised.estimators, minimised.dynamical_matrix
        stress, last = estimators.stress, minimised.steps[-1]
        return cls(
            population=population.index,
            n_drawn=population.ensemble.n_configs,
            n_reused=population.n_reused,
            pooled=tuple(population.pooled),
            rejected=population.ensemble.rejected,
            free_energy=last.free_energy,
            free_energy_stderr=last.free_energy_stderr,
            gradient_THz=fresh.gradient_thz,
            gradient_stderr_THz=fresh.gradient_stderr_thz,
            effective_sample_size=last.effective_sample_size,
            frequencies_THz=np.array(state.modes.frequencies_thz),
            volume=state.crystal.volume / state.crystal.n_atoms,
            pressure_GPa=pressure_of(stress.value) / units.GPA,
            pressure_stderr_GPa=float(np.trace(stress.stderr)) / 3 / units.GPA,
            stress_GPa=np.asarray(stress.value / units.GPA),
            stress_stderr_GPa=population.points[-1].stderr_gpa,
            cell_A=population.points[-1].cell,
            cell_lengths_A=np.linalg.norm(state.crystal.cell, axis=1),
            bulk_modulus_GPa=population.bulk_modulus / units.GPA,
            clamped_bulk_modulus_GPa=population.response.clamped_bulk_modulus / units.GPA,
            tolerances=population.allowed,
            frequency_stderr_THz=np.asarray(estimators.frequency_shifts.stderr / units.THZ),
            minimiser=str(minimised.reason.value),
            trace=MinimisationTrace.of(minimised.steps),
            converged=population.converged,
            ended=population.ended,
            reason=population.reason,
        )

    @property
    def name(self) -> str:
        """Its relaxation and its number there."""
        return f"{self.phase}/{self.population}"

    @property
    def point(self) -> CellPoint | None:
        """Its stress in its cell; None where an older version did not keep them."""
        if self.cell_A is None or self.stress_GPa is None or self.stress_stderr_GPa is None:
            return None
        return CellPoint(self.cell_A, self.stress_GPa, self.stress_stderr_GPa)

    @property
    def n_configs(self) -> int:
        """Configurations that it is made of, those used again included."""
        return self.n_drawn + self.n_reused

    def stopped(self, reason: str, *, broke_down: bool) -> "PopulationRecord":
        """Return the record of a population at which the model was stopped."""
        return replace(
            self,
            reason=reason,
            broke_down=broke_down,
            left_domain=True,
            ended=True,
            converged=False,
        )
