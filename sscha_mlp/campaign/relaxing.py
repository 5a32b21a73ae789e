"""Relaxations of a run: population by population into the journal, with an eye on the model."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sscha_mlp import units
from sscha_mlp.campaign.context import Context
from sscha_mlp.campaign.model_domain import Alarm
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.data.states import load_state, save_state
from sscha_mlp.errors import RelaxationError
from sscha_mlp.potentials.protocol import Potential
from sscha_mlp.run_files.last_ensemble import save_samples
from sscha_mlp.run_files.records.population import PopulationRecord
from sscha_mlp.scha.cell import Evaluator
from sscha_mlp.scha.cell_step import CellPoint
from sscha_mlp.scha.estimators import Samples
from sscha_mlp.scha.relaxation import (
    Population,
    RelaxationSettings,
    draw_samples,
    relax,
)


@dataclass(frozen=True, eq=False)
class Relaxed:
    """How a relaxation of the run ended.

    Parameters
    ----------
    state
        Where it stands; when converged, the minimum itself.
    last
        What the last population came to; None if there was none.
    converged
        Whether gradient, stress and free energy are within tolerance.
    left_domain
        Whether it was stopped because the model is outside what it knows.
    reason
        In words.
    broke_down
        Whether there was no next step: a bulk modulus that cannot be, a mode without limit, or
        configurations without sense.
    state_name
        Name of the state in the run directory; empty where no population has led to it.
    """

    state: DynamicalMatrix
    last: PopulationRecord | None
    converged: bool
    left_domain: bool
    reason: str
    broke_down: bool = False
    state_name: str = ""


def run_relaxation(
    context: Context,
    state: DynamicalMatrix,
    potential: Potential,
    *,
    phase: str,
    settings: RelaxationSettings,
    alarm: Alarm,
    reference_volume: float,
    numbers: str = "",
    previous: tuple[float, float] | None = None,
) -> Relaxed:
    """Relax with a model, going on after the last population that the journal knows.

    Parameters
    ----------
    state
        Start of this phase.
    phase
        Its name: part of the journal's keys and of the random numbers.
    alarm
        When the model is stopped.
    reference_volume
        Volume of the start of the run, Å³.
    numbers
        Name that the random numbers go by, the same in every population; those of the phase, others
        in each population, when left out.
    previous
        Free energy and error (eV/atom) that an earlier relaxation with this model ended with.
    """
    done = context.journal.all(PopulationRecord, f"{phase}/")
    start = state
    for row in done:
        state = load_state(context.directory.state(row.state))
        previous = (row.free_energy, row.free_energy_stderr)
        if row.ended:
            return _outcome(state, row)
    if not done:
        context.observer.stage(f"{phase}: relaxation with {settings.n_configs} configurations")
    evaluator = context.evaluator(potential, f"{phase} population")
    steps = relax(
        state,
        evaluator,
        temperature=context.settings.temperature,
        nuclei=context.settings.nuclei,
        pressure=context.settings.pressure,
        rng=lambda index: context.rng("population", numbers or phase, 1 if numbers else index),
        settings=settings,
        group=context.group,
        engine=context.engine(),
        first_population=len(done) + 1,
        earlier=_earlier(
            context,
            numbers or phase,
            start,
            state,
            done=done,
            evaluator=evaluator,
            settings=settings,
        ),
        points=_points(done),
        previous_free_energy=previous,
        reference_volume=reference_volume,
    )
    watch = _Watch(context, potential, phase, alarm)
    try:
        for population in steps:
            recorded = watch.record(population, evaluator)
            state = population.following
            if recorded.ended:
                return _outcome(load_state(context.directory.state(recorded.state)), recorded)
    except RelaxationError as err:
        context.observer.note(f"{phase}: {err}")
        last = done[-1] if done else None
        return Relaxed(state, last, False, True, str(err), broke_down=True)
    raise AssertionError("a relaxation ends with a population that says so")


def _earlier(
    context: Context,
    numbers: str,
    start: DynamicalMatrix,
    here: DynamicalMatrix,
    *,
    done: Sequence[PopulationRecord],
    evaluator: Evaluator,
    settings: RelaxationSettings,
) -> dict[int, Samples]:
    """Populations that the last one of an interrupted relaxation was made of, drawn again.

    Only those in the cell where it goes on are of use.
    """
    earlier: dict[int, Samples] = {}
    if not settings.reuse or context.settings.engine != "native":
        return earlier
    for number in done[-1].pooled if done else ():
        state = start
        if number > 1:
            state = load_state(context.directory.state(done[number - 2].state))
        if not np.array_equal(state.crystal.cell, here.crystal.cell):
            continue
        earlier[number] = draw_samples(
            state,
            evaluator,
            temperature=context.settings.temperature,
            nuclei=context.settings.nuclei,
            settings=settings,
            rng=context.rng("population", numbers, number),
            n_configs=done[number - 1].n_drawn,
        )
    return earlier


def _points(done: Sequence[PopulationRecord]) -> list[CellPoint]:
    """Stress in the cell of each population, as the journal keeps it; older journals have none."""
    return [row.point for row in done if row.point is not None]


def _outcome(state: DynamicalMatrix, row: PopulationRecord) -> Relaxed:
    return Relaxed(
        state,
        row,
        row.converged,
        row.left_domain,
        row.reason,
        broke_down=row.broke_down,
        state_name=row.state,
    )


class _Watch:
    """Turns populations into records and raises the alarm.

    Parameters
    ----------
    context, potential, phase, alarm
        See :func:`run_relaxation`.
    """

    def __init__(self, context: Context, potential: Potential, phase: str, alarm: Alarm) -> None:
        self.context = context
        self.potential = potential
        self.phase = phase
        self.alarm = alarm
        self.evaluated = 0.0
        self.clock = time.perf_counter()

    def record(self, population: Population, evaluator: Any) -> PopulationRecord:
        """Judge the model, save the state, and write the record."""
        uncertainty = self.alarm.look(self.potential, population.drawn)
        start = population.ensemble.dynamical_matrix
        wrong_modulus = self.alarm.wrong_modulus(
            population.response.clamped_bulk_modulus / units.GPA,
            start.crystal.volume / start.crystal.n_atoms,
        )
        left = self.alarm.raised_by(uncertainty, population.drawn) or bool(wrong_modulus)
        name = f"population-{self.phase}-{population.index}"
        left_volume = "volume has changed" in population.reason
        # Labels that teach the model belong where it began to fail, not where it led.
        save_state(
            self.context.directory.state(name),
            start if left or left_volume else population.following,
        )
        row = replace(
            PopulationRecord.of(population),
            phase=self.phase,
            state=name,
            uncertainty=uncertainty,
            left_domain=left_volume,
        )
        if left:
            n_configs = population.drawn.ensemble.n_configs
            reason = wrong_modulus or self.alarm.sentence(uncertainty or 0.0, n_configs)
            row = row.stopped(reason, broke_down=bool(wrong_modulus))
        if row.ended:
            save_samples(self.context.directory.samples(self.phase), population.samples)
        seconds, spent = time.perf_counter() - self.clock, evaluator.seconds - self.evaluated
        self.clock, self.evaluated = time.perf_counter(), evaluator.seconds
        row = replace(
            row, seconds_evaluate=round(spent, 3), seconds_minimise=round(seconds - spent, 3)
        )
        recorded = self.context.journal.write(row, seconds)
        self.context.observer.population(recorded)
        return recorded
