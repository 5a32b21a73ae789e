"""Fits of a run: hyper-parameters chosen once, refits, validation, and the alarm's threshold."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from sscha_mlp.campaign.context import Context
from sscha_mlp.campaign.reachable import Reach, within_reach
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.data.dataset import Dataset
from sscha_mlp.data.labels import LabelledConfiguration
from sscha_mlp.potentials.choice import Candidate, Score, choose_settings
from sscha_mlp.potentials.kind import HERE
from sscha_mlp.potentials.protocol import Potential
from sscha_mlp.potentials.registry import find_kind, fit, installed_kinds, load
from sscha_mlp.run_files.records.models import ChoiceRecord, FitRecord, ValidationRecord
from sscha_mlp.run_files.settings import AUTO
from sscha_mlp.validation.metrics import ValidationSet, compare

_CLEAR_LEAD: Final = 0.25
"""Hyper-parameters that beat the next best by this mean logarithm (a quarter) are kept ..."""

_LASTING: Final = 24
"""... if they were compared on so many labels: what is best for few may not be so for more."""


def fit_model(context: Context, dataset: Dataset, start: DynamicalMatrix, number: int) -> Potential:
    """Fit model `number` to the training set, or load it when it is finished."""
    choice = _choice(context, dataset, start, number)
    directory = context.directory.model(number)
    n_train = len(dataset.train)
    if not context.journal.has(FitRecord, number):
        context.observer.stage(f"fit {number}: {choice.model} on {n_train} labels")

    def run() -> FitRecord:
        train = _within_reach(context, dataset, start)
        potential = fit(
            choice.model,
            train,
            directory=directory,
            settings=choice.settings,
            seed=context.settings.seed,
            n_workers=context.n_model_workers,
            progress=lambda done, total: context.observer.progress("fitting", done, total),
            start=_earlier(context, number, choice, n_train),
        )
        with potential:
            return FitRecord(number, choice.model, choice.choice, n_train, potential.sha256)

    context.journal.make(FitRecord, number, run)
    return load_model(context, number)


def _within_reach(
    context: Context, dataset: Dataset, start: DynamicalMatrix
) -> list[LabelledConfiguration]:
    """Return the training labels that the crystal can reach, and say how many it cannot."""
    settings = context.settings
    fair = [one for one in dataset.train if not one.chosen]
    temperature = max(settings.temperature, settings.training_temperature)
    reach = Reach.of(fair, start, temperature, settings.nuclei)
    kept = within_reach(dataset.train, reach)
    left = len(dataset.train) - len(kept)
    if left:
        context.observer.note(
            f"{left} of {len(dataset.train)} labels lie far above what the crystal reaches at "
            f"{temperature:g} K, and are not learnt"
        )
    return kept


def load_model(context: Context, number: int) -> Potential:
    """Load model `number`, which is finished.

    Raises
    ------
    ModelError
        If it is missing or damaged.
    """
    return load(context.directory.model(number), n_workers=context.n_model_workers)


def has_learnt_all(context: Context, dataset: Dataset, number: int) -> bool:
    """Whether model `number` was fitted to all of the training set, which only grows.

    Where the journal has another fit to the same labels after it, as earlier versions made one,
    that one counts.
    """
    if number < 0:
        return False
    n_train = len(dataset.train)
    later = context.journal.find(FitRecord, number + 1)
    again = later is not None and later.n_train == n_train
    return context.journal.get(FitRecord, number).n_train == n_train and not again


def _earlier(context: Context, number: int, choice: ChoiceRecord, n_train: int) -> Path | None:
    """Return the directory of the model before, if the fit is to begin with it."""
    if number == 0:
        return None
    before = context.journal.get(FitRecord, number - 1)
    alike = before.choice == choice.choice
    enough = find_kind(choice.model).schedule.begins_warm(before.n_train, n_train)
    return context.directory.model(number - 1) if alike and enough else None


def _choice(
    context: Context, dataset: Dataset, start: DynamicalMatrix, number: int
) -> ChoiceRecord:
    """Choose the settings of a fit, and with ``auto`` the kind of potential, by cross-validation.

    The choice is made again when the training set has doubled, unless it was clear on labels
    enough.
    """
    asked = context.settings.model
    given = {} if asked == AUTO else context.settings.hyper_parameters(find_kind(asked).name)
    if given:
        return ChoiceRecord(number, "given", asked, given)
    before = [one for one in context.journal.all(ChoiceRecord) if one.number < number]
    if not context.journal.has(ChoiceRecord, number) and before:
        grown = len(dataset.train) >= 2 * before[-1].n_train
        clear = before[-1].lead > _CLEAR_LEAD and before[-1].n_train >= _LASTING
        if not grown or clear:
            return before[-1]
    return context.journal.make(
        ChoiceRecord, number, lambda: _choose(context, dataset, start, number)
    )


def _choose(
    context: Context, dataset: Dataset, start: DynamicalMatrix, number: int
) -> ChoiceRecord:
    """Compare the presets on the training set; with ``auto``, then the best of each kind."""
    context.observer.stage("hyper-parameters: compared by cross-validation on the training labels")
    asked = context.settings.model
    best: dict[str, Candidate] = {}
    scores: dict[str, Score] = {}
    for kind in _kinds_to_compare(context) if asked == AUTO else (asked,):
        name, chosen, found = _choose_preset(context, dataset, start, kind)
        best[f"{kind} {name}" if asked == AUTO else name] = chosen
        scores |= {f"{kind} {key}" if asked == AUTO else key: one for key, one in found.items()}
    if asked == AUTO:
        name, final = _compare(context, dataset, best)
        scores |= final
    else:
        name = next(iter(best))
    table = "; ".join(f"{key} {1e3 * one.force_typical:.1f} meV/Å" for key, one in scores.items())
    context.observer.note(f"hyper-parameters: {name} ({table}, typical on held-out forces)")
    return ChoiceRecord(
        number=number,
        choice=name,
        model=best[name].kind,
        settings=dict(best[name].settings),
        n_train=len(dataset.train),
        lead=_lead(scores),
        scores=scores,
    )


def _kinds_to_compare(context: Context) -> list[str]:
    """Return the kinds that can be used here, and say which cannot."""
    kinds, reasons = installed_kinds()
    for name, why in reasons.items():
        context.observer.note(f"{name} is not compared: {why}")
    return [one.name for one in kinds]


def _choose_preset(
    context: Context, dataset: Dataset, start: DynamicalMatrix, kind: str
) -> tuple[str, Candidate, dict[str, Score]]:
    """Return the best preset of a kind, and the scores; what was given needs no comparison."""
    found = find_kind(kind)
    given = context.settings.hyper_parameters(found.name)
    if given:
        return "given", Candidate(kind, given), {}
    offered = found.presets(start.crystal.to_ase())
    trials = {name: Candidate(kind, found.trial_settings(one)) for name, one in offered.items()}
    name, scores = _compare(context, dataset, trials)
    return name, Candidate(kind, offered[name]), scores


def _compare(
    context: Context, dataset: Dataset, candidates: Mapping[str, Candidate]
) -> tuple[str, dict[str, Score]]:
    """Return the best candidate and all scores."""
    kinds = [find_kind(one.kind) for one in candidates.values()]
    shared = any(
        kind.device_of(one.settings) != HERE
        for kind, one in zip(kinds, candidates.values(), strict=True)
    )
    n_train = len(dataset.train)
    return choose_settings(
        dataset.train,
        candidates,
        directory=context.directory.trial_model("trials"),
        n_folds=min(kind.schedule.folds(n_train) for kind in kinds),
        seed=context.settings.seed,
        n_workers=1 if shared else context.n_model_workers,
        progress=lambda done, total: context.observer.progress("trial fits", done, total),
    )


def _lead(scores: Mapping[str, Score]) -> float:
    """By how much the best candidate beats the next, in the mean logarithm of its errors."""
    ranked = sorted(one.total for one in scores.values())
    return ranked[1] - ranked[0] if len(ranked) > 1 else 1.0e3


def validate(
    context: Context,
    potential: Potential,
    configurations: tuple[LabelledConfiguration, ...],
    *,
    part: str,
    number: int,
    name: str,
) -> ValidationSet:
    """Compare a model with labels it has not seen; arrays go to ``validation/``.

    Parameters
    ----------
    part
        ``test`` or ``check``.
    number
        Of the model on the test set, and of the check.
    name
        Which configurations and which model, in words.
    """
    key = f"{part}-{number}"
    path = context.directory.validation(key)

    def run() -> ValidationRecord:
        predictions = potential.evaluate([one.atoms for one in configurations], uncertainty=True)
        compared = compare(
            name,
            configurations,
            predictions,
            configurations[0].temperature,
            uncertainty=potential.uncertainty,
        )
        compared.save(path)
        spread = predictions.uncertainty
        median = None if spread is None else float(np.median(spread))
        row = ValidationRecord.of(part, number, compared.to_json(), median)
        context.observer.note(
            f"validation on {name} ({len(configurations)} unseen labels): energy "
            f"{row.energy_rmse_meV_per_atom:.2f} meV/atom, force "
            f"{row.force_rmse_meV_per_A:.0f} meV/Å, stress {row.stress_rmse_GPa:.3f} GPa"
        )
        return row

    context.journal.make(ValidationRecord, key, run)
    return ValidationSet.load(path)
