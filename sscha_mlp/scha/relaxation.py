"""The population loop: variable-cell SSCHA relaxation as an iterator that the caller drives.

Each population draws a fresh ensemble of the present state, evaluates it, judges the state by
what this fresh ensemble says of it, and minimises.  The caller sees each population, may save
it, stop, or go on later from the state that it holds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np

from sscha_mlp import units
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.crystal.symmetry import SpaceGroup, find_space_group
from sscha_mlp.ensemble.averages import Estimate
from sscha_mlp.ensemble.nuclei import Nuclei, as_nuclei
from sscha_mlp.ensemble.sampling import (
    MINIMUM_DISTANCE_RATIO,
    Ensemble,
    Sampler,
    require_drawable,
    sample,
)
from sscha_mlp.errors import ConfigError
from sscha_mlp.scha import minimiser
from sscha_mlp.scha.cell import CellMode, Evaluator
from sscha_mlp.scha.cell_response import CellResponse, cell_response
from sscha_mlp.scha.cell_step import CellPoint, cell_strain, strained_state
from sscha_mlp.scha.convergence import Allowed, CrystalScale, Tolerances, judge, unwanted_stress
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
    looseness
        All tolerances are this many times as large.
    replicates
        Parts of each population that are drawn independently of each other: their spread is the
        error of what a Sobol sequence averages, which its single configurations overstate.
    frame
        State whose modes the random numbers belong to, see
        :func:`sscha_mlp.ensemble.sampling.sample`; each population's own when left out.
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
    looseness: float = 1.0
    replicates: int = 1
    frame: DynamicalMatrix | None = None

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
            if one.name not in {"tolerances", "minimiser", "frame"}
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
    response
        How stress and centroids of the model answer a strain of this cell.
    allowed
        Tolerances that it was judged by.
    points
        Stress in the cell of each population so far, this one last: a relaxation that is taken
        up again takes them as `points`.
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
    response: CellResponse
    allowed: Allowed
    points: tuple[CellPoint, ...]
    converged: bool
    reason: str
    ended: bool

    @property
    def ensemble(self) -> Ensemble:
        """Configurations that were drawn for this population."""
        return self.drawn.ensemble

    @property
    def bulk_modulus(self) -> float:
        """Of the model at this cell, centroids following, eV/Å³."""
        return self.response.bulk_modulus

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
    points: Sequence[CellPoint] = (),
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
    first_population, previous_free_energy, earlier, points, reference_volume
        Where an earlier relaxation stood: the number of the next population, the last free energy
        with its error (eV per atom), the populations that its last one was made of, by number, the
        stress in each cell so far, and the volume of the very first state (Å³).

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
    pooled, measured = dict(earlier or {}), list(points)
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
        response = cell_response(evaluator, minimised.dynamical_matrix, group)
        stress = minimised.estimators.stress
        measured.append(_point(state, stress))
        missing = stress.value + offset + pressure * units.GPA * np.eye(3)
        scale = CrystalScale.of(
            minimised.dynamical_matrix, response.bulk_modulus, temperature, nuclei
        )
        allowed = settings.tolerances.for_crystal(scale, factor=settings.looseness)
        missing_stress = Estimate(missing, stress.stderr)
        judged = judge(
            minimised, fresh, missing_stress, previous, allowed=allowed, cell=settings.cell
        )
        following = minimised.dynamical_matrix
        if judged and index < settings.max_populations:
            step = _Step(response, tuple(measured), group, settings.cell)
            following = step.next_state(minimised.proposal, missing, allowed.pressure_gpa)
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
            response=response,
            allowed=allowed,
            points=tuple(measured),
            converged=not judged,
            reason="; ".join(judged) if judged else "gradient, stress and free energy converged",
            ended=not judged or last or left,
        )
        if not judged or left:
            return
        free_energy = minimised.steps[-1]
        previous = (free_energy.free_energy, free_energy.free_energy_stderr)
        state = following


def _point(state: DynamicalMatrix, stress: Estimate) -> CellPoint:
    """Return what a population has found, as the next steps of the cell learn from it."""
    return CellPoint(
        state.crystal.cell, stress.value / units.GPA, float(stress.stderr.max()) / units.GPA
    )


@dataclass(frozen=True, eq=False)
class _Step:
    """What decides the cell of the next population."""

    response: CellResponse
    points: tuple[CellPoint, ...]
    group: SpaceGroup
    mode: CellMode

    def next_state(
        self, proposal: DynamicalMatrix, missing: FloatArray, allowed_gpa: float
    ) -> DynamicalMatrix:
        """Return the proposal of the minimiser in the next cell, centroids following the strain.

        The cell stays where the stress is on target: the populations drawn in it can then be used
        again.
        """
        unwanted = np.abs(unwanted_stress(missing, self.mode)).max()
        if unwanted <= allowed_gpa * units.GPA:
            return proposal
        strain = cell_strain(
            missing,
            self.response,
            self.group,
            mode=self.mode,
            points=self.points,
        )
        return strained_state(proposal, strain, self.response) if strain.any() else proposal


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
    wanted = settings.n_configs if n_configs is None else n_configs
    require_drawable(wanted, antithetic=settings.antithetic)
    step = 2 if settings.antithetic else 1
    parts = [
        sample(
            state,
            temperature=temperature,
            n_configs=step * len(part),
            rng=rng,
            nuclei=nuclei,
            antithetic=settings.antithetic,
            sampler=settings.sampler,
            minimum_distance_ratio=settings.minimum_distance_ratio,
            frame=settings.frame,
        )
        for part in np.array_split(np.arange(wanted // step), settings.replicates)
    ]
    ensemble = parts[0]
    if len(parts) > 1:
        displacements = np.concatenate([one.displacements for one in parts])
        rejected = sum(one.rejected for one in parts)
        ensemble = Ensemble(ensemble.gaussian, displacements, settings.antithetic, rejected)
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


def pressure_of(stress: FloatArray) -> float:
    """Pressure of a stress tensor (3, 3): minus a third of its trace, same unit."""
    return -float(np.trace(stress)) / 3
