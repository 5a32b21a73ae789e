"""Minimise the SSCHA free energy of one ensemble with respect to force constants and centroids.

At the minimum ``Phi = < d²V/du² >`` and ``< f > = 0``.  The self-consistent step moves Phi to the
reweighted average and the centroids by ``Phi^-1 < f >``, which is the preconditioned gradient with
its natural step length of one; :mod:`sscha_mlp.scha.mixing` accelerates it and keeps Phi positive
by construction.  The ensemble is kept and reweighted until its effective sample size is used up.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from sscha_mlp import units
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.crystal.symmetry import SpaceGroup
from sscha_mlp.errors import ConfigError
from sscha_mlp.scha.estimators import Estimators, Samples, estimate
from sscha_mlp.scha.mixing import Mixer
from sscha_mlp.tables import Shown, Table, pm


class MinimiserStop(StrEnum):
    """Why a minimisation of one ensemble ended."""

    CONVERGED = "the gradient is below its tolerance"
    SAMPLE_USED_UP = "the effective sample size fell below its limit"
    MAX_STEPS = "the largest number of steps was reached"


@dataclass(frozen=True)
class MinimiserSettings:
    """How one ensemble is minimised.

    Parameters
    ----------
    min_sample_ratio
        Effective sample size, as a part of that at the start, below which the ensemble is used up.
    meaningful_factor
        Converged when no mode would shift by more than this part of its standard error, that at
        the start.
    max_steps
        Largest number of steps.
    step
        Part of the self-consistent step that is taken, between 0 and 1.
    relax_centroids
        Whether free internal coordinates move.
    """

    min_sample_ratio: float = 0.5
    meaningful_factor: float = 0.01
    max_steps: int = 100
    step: float = 0.8
    relax_centroids: bool = True

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 < self.min_sample_ratio < 1:
            raise ConfigError(f"min_sample_ratio = {self.min_sample_ratio} is not between 0 and 1.")
        if not self.meaningful_factor > 0:
            raise ConfigError(f"meaningful_factor = {self.meaningful_factor} is not above 0.")
        if self.max_steps < 1:
            raise ConfigError(f"max_steps = {self.max_steps} is not at least 1.")
        if not 0 < self.step <= 1:
            raise ConfigError(f"step = {self.step} is not above 0 and at most 1.")


@dataclass(frozen=True)
class MinimisationStep:
    """One step: what the reweighted ensemble says of the state before the step.

    Parameters
    ----------
    free_energy, free_energy_stderr
        eV per atom.
    gradient_thz, gradient_stderr_thz
        Largest first-order frequency shift that the gradient asks for, and its error as it was at
        the start of the minimisation, THz.
    effective_sample_size
        Kong-Liu number of configurations.
    frequencies_thz
        Frequencies of the supercell modes, THz.
    """

    free_energy: float
    free_energy_stderr: float
    gradient_thz: float
    gradient_stderr_thz: float
    effective_sample_size: float
    frequencies_thz: FloatArray = field(repr=False)


@dataclass(frozen=True, eq=False)
class Minimisation(Shown):
    """Result of minimising one ensemble.

    Parameters
    ----------
    dynamical_matrix
        Force constants and centroids at the end.
    estimators
        Averages at that state, reweighted.
    steps
        One record per step.
    reason
        Why it ended.
    proposal
        Where a new ensemble is best drawn: the minimum when it was found; else a step beyond the
        last state that the ensemble supports.
    """

    dynamical_matrix: DynamicalMatrix
    estimators: Estimators
    steps: tuple[MinimisationStep, ...]
    reason: MinimiserStop
    proposal: DynamicalMatrix

    def table(self) -> Table:
        """Return the first and the last step."""
        named = {"first": self.steps[0], "last": self.steps[-1]}
        rows = tuple(
            (
                name,
                pm(step.free_energy, step.free_energy_stderr, 5),
                pm(step.gradient_thz, step.gradient_stderr_thz, 3),
                f"{step.effective_sample_size:.0f}",
            )
            for name, step in named.items()
        )
        columns = ("Step", "free energy (eV/atom)", "gradient (THz)", "effective sample size")
        title = f"Minimisation in {len(self.steps)} steps"
        return Table(title, rows, columns, f"It ended because {self.reason.value}.")


Minimise = Callable[[Samples, SpaceGroup, MinimiserSettings], Minimisation]
"""An engine: samples, symmetry and settings in, the minimum out."""


def minimise(samples: Samples, group: SpaceGroup, settings: MinimiserSettings) -> Minimisation:
    """Minimise the free energy of an ensemble by accelerated self-consistent steps.

    Parameters
    ----------
    samples
        Ensemble with energies, forces and stresses of one potential.
    group
        Space group imposed on force constants and centroids.
    settings
        Step length and stopping rules.

    Raises
    ------
    RelaxationError
        If a mode softens without limit.
    """
    current = estimate(samples, group)
    limit = settings.min_sample_ratio * current.effective_sample_size
    mixer = Mixer(current.trial, step=settings.step, relax_centroids=settings.relax_centroids)
    errors = current.frequency_shifts.stderr
    steps = [record_step(current, errors)]
    while True:
        state = current.trial.dynamical_matrix
        if _is_converged(current, errors, settings):
            return Minimisation(state, current, tuple(steps), MinimiserStop.CONVERGED, state)
        if len(steps) > settings.max_steps:
            return Minimisation(state, current, tuple(steps), MinimiserStop.MAX_STEPS, state)
        following = mixer.next_state(current)
        trial = estimate(samples, group, trial=current.trial.at(following))
        if trial.effective_sample_size < limit:
            current = _last_supported(current, following, limit)
            steps.append(record_step(current, errors))
            state = current.trial.dynamical_matrix
            proposal = mixer.next_state(current)
            return Minimisation(
                state, current, tuple(steps), MinimiserStop.SAMPLE_USED_UP, proposal
            )
        current = trial
        steps.append(record_step(current, errors))


def record_step(estimators: Estimators, errors: FloatArray | None = None) -> MinimisationStep:
    """Summarise a state for the journal and the figures.

    Parameters
    ----------
    estimators
        Averages at the state.
    errors
        Standard errors of the shifts at the start of the minimisation, shape (n_qpoints, n_bands),
        where they stand for those of this state; computed when left out.
    """
    n_atoms = estimators.group.supercell.n_atoms
    stderr = estimators.frequency_shifts.stderr if errors is None else errors
    gradient = np.abs(estimators.gradient)
    largest = np.unravel_index(np.argmax(gradient), gradient.shape)
    free_energy = estimators.free_energy
    return MinimisationStep(
        free_energy=float(free_energy.value) / n_atoms,
        free_energy_stderr=float(free_energy.stderr) / n_atoms,
        gradient_thz=float(gradient[largest]) / units.THZ,
        gradient_stderr_thz=float(stderr[largest]) / units.THZ,
        effective_sample_size=estimators.effective_sample_size,
        frequencies_thz=estimators.trial.dynamical_matrix.modes.frequencies_thz,
    )


def _is_converged(estimators: Estimators, errors: FloatArray, settings: MinimiserSettings) -> bool:
    """Whether force constants and centroids ask for less than a part of their errors."""
    floor = 1.0e-6 * units.THZ
    if np.any(np.abs(estimators.gradient) > settings.meaningful_factor * errors + floor):
        return False
    if not settings.relax_centroids or not estimators.group.has_free_coordinates:
        return True
    forces = estimators.centroid_forces
    return bool(np.all(np.abs(forces.value) <= settings.meaningful_factor * forces.stderr + 1.0e-7))


def _last_supported(current: Estimators, following: DynamicalMatrix, limit: float) -> Estimators:
    """Go as far along the step as the effective sample size allows, by bisection."""
    samples, group = current.samples, current.group
    state, best = current.trial.dynamical_matrix, current
    low, high = 0.0, 1.0
    for _ in range(6):
        part = 0.5 * (low + high)
        between = _interpolate(state, following, part)
        trial = estimate(samples, group, trial=current.trial.at(between))
        if trial.effective_sample_size < limit:
            high = part
        else:
            low, best = part, trial
    return best


def _interpolate(first: DynamicalMatrix, second: DynamicalMatrix, part: float) -> DynamicalMatrix:
    """State a part of the way from the first to the second, same cell."""
    constants = (1 - part) * first.force_constants + part * second.force_constants
    shift = second.crystal.positions - first.crystal.positions
    return first.with_force_constants(constants).moved(part * shift)
