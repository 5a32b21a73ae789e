"""The loop: start, train, relax, certify, and train again until the reference agrees.

Every step is in the journal once it is finished; running the same settings in the same directory
again goes on after the last one, and the random numbers of a step depend on the seed and the
step's name alone, so that an interrupted run ends with the result of an uninterrupted one.
"""

import logging
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sscha_mlp.calculators.registry import Reference
from sscha_mlp.campaign.active_learning import Chooser, has_limit
from sscha_mlp.campaign.certification import Checked, check_state, halves, labels_beside
from sscha_mlp.campaign.context import Context, open_run
from sscha_mlp.campaign.continuation import take_over
from sscha_mlp.campaign.cross_fitting import cross_fit
from sscha_mlp.campaign.finalisation import (
    Settled,
    corrected_minimum,
    errors_of,
    export,
    final_settings,
    last_row,
    settle,
    stop_reason,
)
from sscha_mlp.campaign.first_labels import label_first
from sscha_mlp.campaign.fitting import fit_model, has_learnt_all, load_model, validate
from sscha_mlp.campaign.input_checks import check_input
from sscha_mlp.campaign.input_identity import require_same_input
from sscha_mlp.campaign.labelling import Batch, begin_labels, label_batch
from sscha_mlp.campaign.model_domain import Alarm, make_alarm
from sscha_mlp.campaign.reachable import check_reach
from sscha_mlp.campaign.relaxing import Relaxed, run_relaxation
from sscha_mlp.campaign.result import Ending, make_result
from sscha_mlp.campaign.start import Start, make_start
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.data.dataset import Dataset
from sscha_mlp.data.files import write_json_atomic
from sscha_mlp.potentials.kind import LabelCounts
from sscha_mlp.potentials.protocol import Potential
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.run_files.observer import Observer
from sscha_mlp.run_files.records.labels import BatchRecord
from sscha_mlp.run_files.records.result import Result
from sscha_mlp.run_files.result_table import RunResult
from sscha_mlp.run_files.settings import AUTO, RunSettings
from sscha_mlp.validation.certificate import MIN_LABELS, Verdict

logger = logging.getLogger(__name__)


def run(
    settings: RunSettings, directory: str | Path, *, observer: Observer | None = None
) -> RunResult:
    """Run a study from its settings to ``result.json``, or go on with one.

    Parameters
    ----------
    settings
        What is asked.
    directory
        Run directory; made if needed.
    observer
        Who watches; by default the lines of the log are shown on standard error, unless the program
        has set up logging.

    Returns
    -------
    The content of ``result.json``, a mapping.

    Raises
    ------
    InputError
        If settings, structure or reference cannot be used, or the directory holds another run.
    SschaMlpError
        If the run fails; what is finished stays, and the same command goes on.
    """
    begun = RunDirectory(Path(directory)).has_begun
    return go_on(
        settings, directory, observer=observer, reference=None if begun else check_input(settings)
    )


def go_on(
    settings: RunSettings,
    directory: str | Path,
    *,
    observer: Observer | None,
    reference: Reference | None,
) -> RunResult:
    """Run a study whose input has been checked; the rest is as for :func:`run`.

    Parameters
    ----------
    settings, directory, observer
        As for :func:`run`.
    reference
        What the check of the input has made; None where the run has begun.
    """
    place = RunDirectory(Path(directory))
    with place.held(settings) as held, open_run(held, place, observer, reference) as context:
        require_same_input(context.settings, context.reference, place)
        started = time.perf_counter()
        result = _Run(context).go()
        logger.info("this sitting took %.1f s", time.perf_counter() - started)
        return RunResult(result.to_json())


@dataclass
class _Progress:
    """Where the loop stands."""

    dataset: Dataset
    state: DynamicalMatrix
    fits: int = 0
    checks: int = 0
    spent: int = 0
    settled: int = 0


class _Run:
    """One run of the loop; every method either finds its step in the journal or does it."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.settings = context.settings
        self.start: Start = make_start(context)
        self.at = _Progress(Dataset(), self.start.dynamical_matrix)

    # --- budget ---------------------------------------------------------------------------

    @property
    def left(self) -> int:
        """Labels that may still be computed; failed ones count as spent."""
        return self.settings.max_labels - self.at.spent

    @property
    def counts(self) -> LabelCounts:
        """How many labels each stage takes."""
        return self.settings.counts

    def affordable(self, wanted: int) -> int:
        """How many of the labels wanted can be had while a certificate stays possible."""
        return max(0, min(wanted, self.left - self.counts.n_reserve))

    # --- the loop -------------------------------------------------------------------------

    def go(self) -> Result:
        """Run to the result."""
        if self.settings.origin:
            self.take_over()
        else:
            self.first_labels()
            self.explore()
        for number in range(1, self.counts.max_rounds + 1):
            potential, relaxed = self.relax_and_learn(number)
            with potential:
                if relaxed.left_domain and self.learn_where_it_failed(potential, relaxed, number):
                    continue
                checked = self.check(potential, relaxed)
                verdict = checked.certificate.verdict
                if (relaxed.converged and verdict is Verdict.PASSED) or not self.can_go_on(number):
                    settled = self.settle(potential, relaxed, checked)
                    if not (settled.relaxed.left_domain and self.can_go_on(number)):
                        return self.finish(potential, relaxed, checked, settled)
                    self.learn_the_end(potential, settled.relaxed, relaxed, number)
                self.learn(potential, checked, number)
        raise AssertionError("the last round finishes the run")

    def relax_and_learn(self, number: int) -> tuple[Potential, Relaxed]:
        """Fit and relax; where a model with a sharp limit meets it, label, fit, and go on."""
        for lesson in range(self.counts.max_lessons + 1):
            potential = self.fit()
            phase = f"round-{number}" if lesson == 0 else f"round-{number}.{lesson}"
            relaxed = self.relax(potential, phase)
            last = lesson == self.counts.max_lessons
            if last or not relaxed.left_domain or not self.take_lesson(potential, phase, relaxed):
                return potential, relaxed
            potential.close()
        raise AssertionError("the last lesson returns")

    def take_lesson(self, potential: Potential, phase: str, relaxed: Relaxed) -> bool:
        """Label what a model did not know; False if there is nothing to be had.

        That is what lies beyond its limit, or, where it does not know how the energy changes with
        the volume, configurations in strained cells.
        """
        training, name = self.settings.training, f"train-{phase}"
        count = self.affordable(self.counts.n_extra)
        if not has_limit(potential) or count < 1:
            return False
        if not relaxed.broke_down:
            text = f"labels: at most {count} to train, where the model does not know enough"
            begin_labels(self.context, text, [(name, 0)])  # how many is not known yet
            return self.add_chosen(name, count, potential, strict=True) > 0
        count = min(count, self.explored_for(potential, MIN_LABELS))
        text = f"labels: {count} to train, in strained cells: the model does not know the volume"
        begin_labels(self.context, text, [(name, count)])
        batch = label_batch(self.context, self.at.state, name, count, strain=training.strain)
        return self.learn_from(batch) > 0

    def can_go_on(self, number: int) -> bool:
        """Whether rounds and budget allow another fit with its own certificate."""
        return number < self.counts.max_rounds and self.left >= self.counts.n_check

    def take_over(self) -> None:
        """Go on with the labels of another run, and with its model if there is one."""
        inherited = take_over(self.context)
        self.at.dataset = inherited.dataset
        n_train, n_test = len(self.at.dataset.train), len(self.at.dataset.test)
        self.context.observer.note(
            f"taken over from {self.settings.origin}: {n_train} labels to train and "
            f"{n_test} to test" + (", and the model" if inherited.has_model else "")
        )
        self.write_dataset()

    def first_labels(self) -> None:
        """Label the first training and the test set at the start state."""
        self.at.dataset, self.at.spent = label_first(self.context, self.at.state)
        self.write_dataset()

    def explore(self) -> None:
        """Relax briefly with the first model and label where it leads."""
        training = self.settings.training
        nowhere = training.explore_configs == 0 or self.counts.n_explored == 0
        if nowhere or self.affordable(1) < 1:
            return
        for lesson in range(self.counts.max_lessons + 1):
            phase = "explore" if lesson == 0 else f"explore.{lesson}"
            with self.fit() as potential:
                relaxed = run_relaxation(
                    self.context,
                    self.at.state,
                    potential,
                    phase=phase,
                    settings=self.settings.exploration_settings(),
                    alarm=self.alarm(potential),
                    reference_volume=self.start_volume,
                )
                self.at.state = relaxed.state
                again = relaxed.left_domain and lesson < self.counts.max_lessons
                if again and self.take_lesson(potential, phase, relaxed):
                    continue
                count = self.affordable(self.explored_for(potential))
                self.learn_there("train-explored", count, potential, relaxed)
                return

    def fit(self) -> Potential:
        """Fit the next model and validate it on the test set; without new labels keep the last."""
        number = self.at.fits
        if has_learnt_all(self.context, self.at.dataset, number - 1):
            return load_model(self.context, number - 1)
        potential = fit_model(self.context, self.at.dataset, self.start.dynamical_matrix, number)
        if has_limit(potential):
            cross_fit(self.context, self.at.dataset.train, self.start.dynamical_matrix, number)
        self.at.fits += 1
        test = self.at.dataset.test
        if test:
            name = f"start, {test[0].temperature:g} K, model {number}"
            validate(self.context, potential, test, part="test", number=number, name=name)
        return potential

    def explored_for(self, potential: Potential, least: int = 0) -> int:
        """How many labels are taken where a relaxation with a model has led."""
        asked = self.settings.model
        kind = potential.kind if asked == AUTO else asked
        return max(self.settings.counts_for(kind).n_explored, least)

    def alarm(self, potential: Potential) -> Alarm:
        """When the newest model is stopped."""
        return make_alarm(self.context, potential, self.at.fits - 1)

    def relax(
        self,
        potential: Potential,
        phase: str,
    ) -> Relaxed:
        """Relax with a model at the full number of configurations."""
        relaxed = run_relaxation(
            self.context,
            self.at.state,
            potential,
            phase=phase,
            settings=self.settings.relaxation_settings(),
            alarm=self.alarm(potential),
            reference_volume=self.start_volume,
        )
        self.at.state = relaxed.state
        return relaxed

    def relax_in_cell(
        self,
        potential: Potential,
        checked: Relaxed,
        state: DynamicalMatrix,
        phase: str,
        before: Relaxed,
    ) -> Relaxed:
        """Relax in the cell of a state; every population draws the same numbers in one frame."""
        known = None if checked.last is None else checked.last.uncertainty
        last = before.last
        previous = None if last is None else (last.free_energy, last.free_energy_stderr)
        return run_relaxation(
            self.context,
            state,
            potential,
            phase=phase,
            settings=final_settings(self.context, checked.state),
            alarm=self.alarm(potential).after_check(known),
            reference_volume=self.start_volume,
            previous=previous,
            numbers="final",
        )

    @property
    def start_volume(self) -> float:
        """Volume of the primitive cell of the start, Å³."""
        return self.start.dynamical_matrix.crystal.volume

    def learn_where_it_failed(self, potential: Potential, relaxed: Relaxed, number: int) -> bool:
        """Label the ensemble on which the model left its domain; False if the budget is spent."""
        count = self.affordable(self.explored_for(potential, MIN_LABELS))
        if number >= self.counts.max_rounds or count < MIN_LABELS:
            return False
        self.learn_there(f"train-left-{number}", count, potential, relaxed)
        return True

    def learn_the_end(
        self, potential: Potential, final: Relaxed, relaxed: Relaxed, number: int
    ) -> None:
        """Learn what a last cell step met beyond the model's domain, and go back before it."""
        self.at.state = final.state
        self.context.observer.note(f"a last cell step was {final.reason}")
        count = self.affordable(self.counts.n_extra)
        self.add_chosen(f"train-left-{number}", count, potential, strict=has_limit(potential))
        self.at.state = relaxed.state

    def learn_there(self, name: str, count: int, potential: Potential, relaxed: Relaxed) -> None:
        """Label configurations of the state that a relaxation has led to."""
        if relaxed.left_domain:
            train, start = self.at.dataset.train, self.start.dynamical_matrix
            check_reach(self.context, potential, self.at.state, start, train, name=name)
        strain = self.settings.training.strain if relaxed.broke_down else 0.0
        if relaxed.broke_down and count:
            self.context.observer.note(f"learning {count} labels there, half in strained cells")
        self.add_training(name, halves(count), potential, strain=strain)

    def check(self, potential: Potential, relaxed: Relaxed) -> Checked:
        """Certify the present state on labels that no fit has seen."""
        number = self.at.checks + 1
        usable = relaxed.last is not None and not relaxed.left_domain
        checked = check_state(
            self.context,
            self.at.state,
            potential,
            number=number,
            budget=self.left,
            n_learnt=len(self.at.dataset.train),
            state_name=relaxed.state_name,
            last_phase=relaxed.last.phase if usable and relaxed.last else "",
        )
        self.at.checks += 1
        batches = self.context.journal.all(BatchRecord, f"check-{number}-")
        self.at.spent += sum(one.n_spent for one in batches)
        self.at.dataset = self.at.dataset.promote_check().with_check(checked.configurations)
        self.write_dataset()
        validate(
            self.context,
            potential,
            checked.configurations,
            part="check",
            number=number,
            name=f"converged, {self.settings.temperature:g} K, model {self.at.fits - 1}",
        )
        return checked

    def learn(self, potential: Potential, checked: Checked, number: int) -> None:
        """Add the labels of a failed check, and others of the same state, to the training."""
        self.context.observer.note(
            f"training again with {len(checked.configurations)} labels of the check"
        )
        counts = labels_beside(self.context, checked.certificate, self.affordable)
        self.at.dataset = self.at.dataset.promote_check()
        self.add_training(f"train-extra-{number}", counts, potential)

    def add_training(
        self, name: str, counts: tuple[int, int], potential: Potential, *, strain: float = 0.0
    ) -> None:
        """Label configurations of the present state for training.

        Some are drawn at random, for what is typical; others are chosen from a larger ensemble: the
        rare ones, which dominate the errors of a model.  Where the relaxation broke down the model
        may not know how the energy changes with the volume: the random ones get a strain.
        """
        n_random, n_rare = counts
        text = f"labels: {sum(counts)} more to train"
        batches = [(name, n_random), (f"{name}-rare", n_rare)]
        begin_labels(self.context, text, [one for one in batches if one[1]])
        if n_random:
            batch = label_batch(self.context, self.at.state, name, n_random, strain=strain)
            self.learn_from(batch)
        if n_rare:
            self.add_chosen(f"{name}-rare", n_rare, potential)
        self.write_dataset()

    def add_chosen(
        self, name: str, count: int, potential: Potential, *, strict: bool = False
    ) -> int:
        """Label configurations of the present state that the model knows least of.

        Returns
        -------
        How many: with `strict` only those beyond the grade that is worth a label.
        """
        if count < 1:
            return 0
        chooser = Chooser(self.context, potential, self.at.dataset.train, name, strict=strict)
        batch = label_batch(
            self.context,
            self.at.state,
            name,
            count,
            choose=lambda ensemble: chooser.choose(ensemble, count),
            n_candidates=chooser.n_candidates(count),
        )
        return self.learn_from(batch)

    def learn_from(self, batch: Batch) -> int:
        """Add a batch to the training set; failed labels count as spent."""
        self.at.spent += batch.n_spent
        self.at.dataset = self.at.dataset.with_train(batch.configurations)
        self.write_dataset()
        return len(batch.configurations)

    def write_dataset(self) -> None:
        """Write the three sets to the run directory."""
        self.at.dataset.write(self.context.directory.dataset)

    # --- the end --------------------------------------------------------------------------

    def settle(self, potential: Potential, relaxed: Relaxed, checked: Checked) -> Settled:
        """Correct the state, and move its cell to where the corrected stress is on target.

        A cell whose check has failed stays where it was checked: the model has been shown to be
        wrong there, and its pressure at another volume cannot be trusted either.
        """
        if checked.certificate.verdict is not Verdict.PASSED:
            corrected = corrected_minimum(self.context, relaxed, checked.certificate)
            return Settled(relaxed, corrected)
        self.at.settled += 1
        return settle(
            self.context,
            potential,
            relaxed,
            checked.certificate,
            partial(self.relax_in_cell, potential, relaxed),
            phase="final" if self.at.settled == 1 else f"final-{self.at.settled}",
        )

    def finish(
        self, potential: Potential, relaxed: Relaxed, checked: Checked, settled: Settled
    ) -> Result:
        """Write the answer in the cell where it has settled."""
        certificate = checked.certificate
        passed = certificate.verdict is Verdict.PASSED
        final = settled.relaxed
        end = Ending(
            final.state,
            settled.corrected,
            last_row(self.context, final, relaxed),
            certificate,
            errors_of(self.context, potential, settled, certificate),
            certified=passed,
        )
        reason = stop_reason(
            self.context,
            relaxed,
            final,
            checked,
            on_target=settled.on_target,
            spent=self.at.spent,
            checks=self.at.checks,
        )
        result = make_result(
            self.context,
            end,
            dataset=self.at.dataset,
            potential=potential,
            converged=passed and relaxed.converged and final.converged and settled.on_target,
            stop_reason=reason,
            fits=self.at.fits,
        )
        export(self.context, end.best, end.state)
        write_json_atomic(self.context.directory.result, result.to_json())
        self.context.observer.note(reason)
        return result
