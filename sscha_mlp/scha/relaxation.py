"""The population loop: variable-cell SSCHA relaxation as an iterator that the caller drives.

Each population draws a fresh ensemble of the present state, evaluates it, judges the state by
what this fresh ensemble says of it, and minimises.  The caller sees each population, may save
it, stop, or go on later from the state that it holds.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields

import numpy as np

from sscha_mlp import units
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.crystal.symmetry import SpaceGroup, find_space_group
from sscha_mlp.ensemble.averages import Estimate
from sscha_mlp.ensemble.nuclei import Nuclei, as_nuclei
from sscha_mlp.ensemble.sampling import MINIMUM_DISTANCE_RATIO, Ensemble, Sampler, sample
from sscha_mlp.errors import ConfigError
from sscha_mlp.scha import minimiser
from sscha_mlp.scha.cell import CellMode, Evaluator, bulk_modulus, cell_strain, stiffness
from sscha_mlp.scha.estimators import Estimators, Samples, estimate
from sscha_mlp.scha.minimiser import (
    Minimisation,
    MinimisationStep,
    Minimise,
    MinimiserSettings,
    record_step,
)
from sscha_mlp.scha.reuse import Reusable, pool_samples, reusable
from sscha_mlp.tables import Shown, Table, pm


@dataclass(frozen=True)
class Tolerances:
    """When a relaxation counts as converged.

    A quantity x with standard error s is converged when ``|x| <= tolerance + 2 s`` *and*
    ``s <= largest error``: few configurations cannot converge anything.  The gradient and the
    change of the free energy compare two independent ensembles (the fresh one, and the one that
    the state was minimised on), so that their s is that of the difference.

    Parameters
    ----------
    frequency_thz
        Largest shift that the gradient asks of a mode, THz.
    pressure_gpa
        Largest component of the stress less its target, GPa.
    free_energy_mev
        Largest change of the free energy between populations, meV/atom.
    max_frequency_stderr_thz
        Largest standard error of a frequency, THz.
    max_pressure_stderr_gpa
        Largest standard error of a component of the stress, GPa.
    max_free_energy_stderr_mev
        Largest standard error of the free energy, meV/atom.
    """

    frequency_thz: float = 0.05
    pressure_gpa: float = 0.03
    free_energy_mev: float = 0.2
    max_frequency_stderr_thz: float = 0.15
    max_pressure_stderr_gpa: float = 0.15
    max_free_energy_stderr_mev: float = 1.0

    def __post_init__(self) -> None:
        """Check that every tolerance is positive."""
        for name, value in vars(self).items():
            if not value > 0:
                raise ConfigError(f"The tolerance {name} = {value} is not above 0.")

    def looser(self, factor: float) -> "Tolerances":
        """Return all tolerances multiplied by a factor."""
        return Tolerances(**{name: factor * value for name, value in vars(self).items()})


@dataclass(frozen=True)
class RelaxationSettings(Shown):
    """How a relaxation is done.

    Parameters
    ----------
    n_configs
        Configurations per population.
    max_populations
        Largest number of populations.
    cell
        What of the cell is free.
    tolerances
        When it is converged.
    minimiser
        How each ensemble is minimised.
    sampler, antithetic, minimum_distance_ratio
        See :func:`sscha_mlp.ensemble.sampling.sample`.
    reuse
        Whether earlier populations of the same cell are used again by importance weights, so that
        fewer configurations are drawn.
    max_volume_change
        Relative change of the volume since the start beyond which the state is not the crystal
        that was asked for.
    """

    n_configs: int = 1000
    max_populations: int = 20
    cell: CellMode = CellMode.VARIABLE
    tolerances: Tolerances = field(default_factory=Tolerances)
    minimiser: MinimiserSettings = field(default_factory=MinimiserSettings)
    sampler: Sampler = Sampler.SOBOL
    antithetic: bool = True
    minimum_distance_ratio: float = MINIMUM_DISTANCE_RATIO
    reuse: bool = True
    max_volume_change: float = 0.15

    def __post_init__(self) -> None:
        """Take the name of a cell mode for the mode.

        Raises
        ------
        ConfigError
            If there is no such mode.
        """
        if self.cell not in list(CellMode):
            raise ConfigError(f"cell = {self.cell!r} must be one of: {', '.join(CellMode)}.")
        object.__setattr__(self, "cell", CellMode(self.cell))

    def table(self) -> Table:
        """Return all settings."""
        rows = [
            (one.name, str(getattr(self, one.name)))
            for one in fields(self)
            if one.name not in {"tolerances", "minimiser"}
        ]
        for name in ("tolerances", "minimiser"):
            part = getattr(self, name)
            rows += [(f"{name}.{one.name}", str(getattr(part, one.name))) for one in fields(part)]
        return Table("Settings of a relaxation", tuple(rows))


@dataclass(frozen=True, eq=False)
class Population(Shown):
    """What one population showed and where it leads.

    Parameters
    ----------
    index
        Counted from 1.
    pooled
        Numbers of the populations that it is made of, its own last.
    drawn
        The fresh ensemble with the model's values.
    samples
        The same with the earlier populations that could be used again.
    fresh
        What the fresh ensemble says of the state it was drawn from.
    minimisation
        The minimum found on the samples, same cell.
    following
        State for the next population: the minimum with its cell moved; at the end, the minimum
        itself.
    bulk_modulus
        Of the static lattice of the model at this cell, eV/Å³.
    converged
        Whether all criteria hold.
    reason
        In words: which criterion holds the run back, or that it converged.
    ended
        Whether this is the last population.
    """

    index: int
    pooled: tuple[int, ...]
    drawn: Samples
    samples: Samples
    fresh: Estimators
    minimisation: Minimisation
    following: DynamicalMatrix
    bulk_modulus: float
    converged: bool
    reason: str
    ended: bool

    @property
    def ensemble(self) -> Ensemble:
        """Configurations that were drawn for this population."""
        return self.drawn.ensemble

    @property
    def n_reused(self) -> int:
        """Configurations of earlier populations that were used again."""
        return self.samples.ensemble.n_configs - self.drawn.ensemble.n_configs

    @property
    def summary(self) -> MinimisationStep:
        """The fresh ensemble's view of the state, before minimisation."""
        return record_step(self.fresh)

    @property
    def state(self) -> DynamicalMatrix:
        """The minimum found, at the cell of the ensemble."""
        return self.minimisation.dynamical_matrix

    def table(self) -> Table:
        """Return the numbers of the minimum, and what holds the run back."""
        last, stress = self.minimisation.steps[-1], self.minimisation.estimators.stress
        crystal, fresh = self.state.crystal, self.summary
        pressure = pressure_of(stress.value) / units.GPA
        error = float(np.trace(stress.stderr)) / 3 / units.GPA
        rows = (
            ("free energy (eV/atom)", pm(last.free_energy, last.free_energy_stderr, 5)),
            ("pressure (GPa)", pm(pressure, error, 3, sign=True)),
            ("volume (Å³/atom)", f"{crystal.volume / crystal.n_atoms:.4f}"),
            ("gradient (THz)", pm(fresh.gradient_thz, fresh.gradient_stderr_thz, 3)),
            ("configurations", f"{self.ensemble.n_configs}, and {self.n_reused} used again"),
        )
        return Table(f"Population {self.index}", rows, note=self.reason)


def relax(
    dynamical_matrix: DynamicalMatrix,
    evaluator: Evaluator,
    *,
    temperature: float,
    pressure: float = 0.0,
    nuclei: Nuclei | str = Nuclei.QUANTUM,
    stress_offset: FloatArray | None = None,
    rng: Callable[[int], np.random.Generator] | np.random.Generator | None = None,
    settings: RelaxationSettings | None = None,
    group: SpaceGroup | None = None,
    engine: Minimise = minimiser.minimise,
    first_population: int = 1,
    previous_free_energy: tuple[float, float] | None = None,
    earlier: Mapping[int, Samples] | None = None,
    reference_volume: float | None = None,
) -> Iterator[Population]:
    """Relax force constants, centroids and cell at a temperature and pressure.

    Parameters
    ----------
    dynamical_matrix
        Positive-definite start.
    evaluator
        The potential, for example a fitted model.
    temperature
        In K.
    pressure
        Target, GPa.
    nuclei
        ``quantum``, ``classical`` or ``no-zero-point``.
    stress_offset
        Known shift from the model's stress to the reference's, shape (3, 3), eV/Å³: the cell is
        relaxed to where the model's stress plus this one is on target.
    rng
        A generator, or a function from the population's number to one: with the latter a
        relaxation that is taken up again draws what it would have drawn.
    settings
        See :class:`RelaxationSettings`.
    group
        Space group to impose; found with spglib when left out.
    engine
        The minimiser.
    first_population, previous_free_energy, earlier, reference_volume
        Where an earlier relaxation stood: the number of the next population, the last free energy
        with its error (eV per atom), the populations that its last one was made of, by number, and
        the volume of the very first state (Å³).

    Yields
    ------
    One :class:`Population` after the other; the last one has ``ended`` set and says why.
    """
    settings = settings or RelaxationSettings()
    nuclei = as_nuclei(nuclei)
    group = group or find_space_group(dynamical_matrix.supercell)
    generator = _generator_of(rng)
    offset = np.zeros((3, 3)) if stress_offset is None else stress_offset
    start_volume = reference_volume or dynamical_matrix.crystal.volume
    state, previous = dynamical_matrix, previous_free_energy
    pooled = dict(earlier or {})
    reuse = settings.reuse and engine is minimiser.minimise  # the other engine takes no weights
    for index in range(first_population, settings.max_populations + 1):
        old = reusable(pooled, state, temperature, nuclei) if reuse else Reusable()
        drawn = draw_samples(
            state,
            evaluator,
            temperature=temperature,
            nuclei=nuclei,
            settings=settings,
            rng=generator(index),
            n_configs=old.n_fresh(settings.n_configs),
        )
        pooled = {**old.samples, index: drawn}
        samples = pool_samples(list(pooled.values()))
        fresh = estimate(drawn, group)
        minimised = engine(samples, group, settings.minimiser)
        constants = stiffness(evaluator, state.supercell.crystal)
        stress = minimised.estimators.stress
        missing = stress.value + offset + pressure * units.GPA * np.eye(3)
        judged = judge(minimised, fresh, Estimate(missing, stress.stderr), previous, settings)
        following = minimised.dynamical_matrix
        if judged and index < settings.max_populations:
            following = _next_state(minimised.proposal, missing, constants, group, settings)
        change = following.crystal.volume / start_volume - 1
        left = abs(change) > settings.max_volume_change
        if left:
            judged.append(
                f"stopped: the volume has changed by {100 * change:+.0f} % since the start, more "
                f"than the {100 * settings.max_volume_change:.0f} % allowed"
            )
        last = index == settings.max_populations
        yield Population(
            index=index,
            pooled=tuple(pooled),
            drawn=drawn,
            samples=samples,
            fresh=fresh,
            minimisation=minimised,
            following=following,
            bulk_modulus=bulk_modulus(constants),
            converged=not judged,
            reason="; ".join(judged) if judged else "gradient, stress and free energy converged",
            ended=not judged or last or left,
        )
        if not judged or left:
            return
        free_energy = minimised.steps[-1]
        previous = (free_energy.free_energy, free_energy.free_energy_stderr)
        state = following


def _next_state(
    proposal: DynamicalMatrix,
    missing: FloatArray,
    constants: FloatArray,
    group: SpaceGroup,
    settings: RelaxationSettings,
) -> DynamicalMatrix:
    """Return the proposal of the minimiser with its cell moved, unless the stress is on target.

    Where the cell stays, the populations drawn in it can be used again.
    """
    unwanted = np.abs(_unwanted(missing, settings)).max()
    if unwanted <= settings.tolerances.pressure_gpa * units.GPA:
        return proposal
    return proposal.strained(cell_strain(missing, 0.0, constants, group, mode=settings.cell))


def _generator_of(
    rng: Callable[[int], np.random.Generator] | np.random.Generator | None,
) -> Callable[[int], np.random.Generator]:
    """Return a function from the population's number to its random generator."""
    if isinstance(rng, np.random.Generator):
        fixed = rng
        return lambda _index: fixed
    if rng is None:
        fresh = np.random.default_rng()
        return lambda _index: fresh
    return rng


def draw_samples(
    state: DynamicalMatrix,
    evaluator: Evaluator,
    *,
    temperature: float,
    settings: RelaxationSettings,
    rng: np.random.Generator,
    nuclei: Nuclei = Nuclei.QUANTUM,
    n_configs: int | None = None,
) -> Samples:
    """Draw an ensemble of a state and evaluate it."""
    ensemble = sample(
        state,
        temperature=temperature,
        n_configs=n_configs or settings.n_configs,
        rng=rng,
        nuclei=nuclei,
        antithetic=settings.antithetic,
        sampler=settings.sampler,
        minimum_distance_ratio=settings.minimum_distance_ratio,
    )
    return evaluate_ensemble(ensemble, evaluator)


def evaluate_ensemble(ensemble: Ensemble, evaluator: Evaluator) -> Samples:
    """Return an ensemble with the values of a potential."""
    values = evaluator.evaluate(ensemble.configurations())
    return Samples(
        ensemble,
        np.asarray(values.energies),
        np.array([np.asarray(f).ravel() for f in values.forces]),
        np.asarray(values.stresses),
        getattr(values, "uncertainty", None),
    )


def judge(
    minimised: Minimisation,
    fresh: Estimators,
    missing_stress: Estimate,
    previous: tuple[float, float] | None,
    settings: RelaxationSettings,
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
    settings
        Tolerances and what of the cell is free.
    """
    tolerances = settings.tolerances
    missing = _judge_gradient(fresh, minimised.estimators, tolerances)
    if settings.cell is not CellMode.FIXED:
        missing += _judge_stress(missing_stress, settings)
    missing += _judge_free_energy(minimised.steps[-1], previous, tolerances)
    return missing


def _judge_gradient(fresh: Estimators, all_of_it: Estimators, tolerances: Tolerances) -> list[str]:
    """Judge the state by fresh configurations, and the errors of the result by all that it has."""
    shifts = fresh.frequency_shifts
    value, error = np.abs(shifts.value) / units.THZ, shifts.stderr / units.THZ
    excess = value - 2 * np.sqrt(2) * error
    worst = np.unravel_index(np.argmax(excess), excess.shape)
    uncertain = float(all_of_it.frequency_shifts.stderr.max()) / units.THZ
    if uncertain > tolerances.max_frequency_stderr_thz:
        return [f"frequencies are uncertain by {uncertain:.3f} THz; more configurations are needed"]
    if excess[worst] > tolerances.frequency_thz:
        return [f"a mode still shifts by {value[worst]:.3f} ± {error[worst]:.3f} THz"]
    return []


def _unwanted(stress: FloatArray, settings: RelaxationSettings) -> FloatArray:
    """Part of a stress that the cell is free to follow."""
    if settings.cell is CellMode.FIXED:
        return np.zeros((3, 3))
    if settings.cell is CellMode.FIXED_VOLUME:
        return np.asarray(stress - np.trace(stress) / 3 * np.eye(3))
    return stress


def _judge_stress(stress: Estimate, settings: RelaxationSettings) -> list[str]:
    tolerances = settings.tolerances
    missing = _unwanted(stress.value, settings)
    value, error = np.abs(missing) / units.GPA, stress.stderr / units.GPA
    worst = np.unravel_index(np.argmax(value - 2 * error), (3, 3))
    if error.max() > tolerances.max_pressure_stderr_gpa:
        return [f"the stress is uncertain by {error.max():.2f} GPa; more configurations are needed"]
    if value[worst] - 2 * error[worst] > tolerances.pressure_gpa:
        return [f"the stress is off its target by {value[worst]:.3f} ± {error[worst]:.3f} GPa"]
    return []


def _judge_free_energy(
    step: MinimisationStep, previous: tuple[float, float] | None, tolerances: Tolerances
) -> list[str]:
    error = 1.0e3 * step.free_energy_stderr
    if error > tolerances.max_free_energy_stderr_mev:
        return [
            f"the free energy is uncertain by {error:.2f} meV/atom; more configurations are needed"
        ]
    if previous is None:
        return ["the first population has no free energy to compare with"]
    change = 1.0e3 * (step.free_energy - previous[0])
    combined = np.hypot(error, 1.0e3 * previous[1])
    if abs(change) > tolerances.free_energy_mev + 2 * combined:
        return [f"the free energy still changes by {change:+.2f} ± {combined:.2f} meV/atom"]
    return []


def pressure_of(stress: FloatArray) -> float:
    """Pressure of a stress tensor (3, 3): minus a third of its trace, same unit."""
    return -float(np.trace(stress)) / 3
