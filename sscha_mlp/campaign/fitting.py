"""Fits of a run: hyper-parameters chosen once, refits, validation, and the alarm's threshold."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from sscha_mlp.campaign.context import Context
from sscha_mlp.campaign.journal import Payload
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.data.dataset import Dataset
from sscha_mlp.data.labels import LabelledConfiguration
from sscha_mlp.potentials.choice import Score, choose_settings, presets
from sscha_mlp.potentials.protocol import Potential
from sscha_mlp.potentials.registry import fit, load
from sscha_mlp.validation.metrics import ValidationSet, compare

_CLEAR_LEAD: Final = 0.25
"""Hyper-parameters that beat the next best by this mean logarithm (a quarter) are kept."""


def fit_model(context: Context, dataset: Dataset, start: DynamicalMatrix, number: int) -> Potential:
    """Fit model `number` to the training set, or load it when it is finished."""
    settings = _settings(context, dataset, start, number)
    directory = context.directory.model(number)
    counts = dataset.counts
    if f"fit/{number}" not in context.journal:
        context.observer.stage(
            f"fit {number}: {context.settings.model} on {counts['train']} labels"
        )

    def run() -> Payload:
        potential = fit(
            context.settings.model,
            dataset.train,
            directory=directory,
            settings=settings["settings"],
            seed=context.settings.seed,
            progress=lambda done, total: context.observer.progress("fitting", done, total),
        )
        with potential:
            return {"n_train": counts["train"], "sha256": potential.sha256}

    context.journal.once(f"fit/{number}", run)
    return load(directory, n_workers=context.n_workers)


def _settings(context: Context, dataset: Dataset, start: DynamicalMatrix, number: int) -> Payload:
    """Choose hyper-parameters by cross-validation.

    The choice is made again when the training set has doubled, unless it was clear.
    """
    given = dict(context.settings.gap)
    if given:
        return {"name": "given", "settings": given, "n_train": len(dataset.train), "scores": {}}
    key = f"choice/{number}"
    earlier = context.journal.steps("choice/")
    before = [row for name, row in earlier if int(name.split("/")[1]) < number]
    if key not in context.journal and before:
        grown = len(dataset.train) >= 2 * before[-1]["n_train"]
        if not grown or before[-1]["lead"] > _CLEAR_LEAD:
            return before[-1]
    return context.journal.once(key, lambda: _choose(context, dataset, start))


def _choose(context: Context, dataset: Dataset, start: DynamicalMatrix) -> Payload:
    """Compare the presets on the training set."""
    context.observer.stage("hyper-parameters: compared by cross-validation on the training labels")
    kind = context.settings.model
    candidates = presets(kind, start.crystal.to_ase())
    name, scores = choose_settings(
        kind,
        dataset.train,
        candidates,
        directory=context.directory.trial_model("trials"),
        seed=context.settings.seed,
        n_workers=context.n_workers,
        progress=lambda done, total: context.observer.progress("trial fits", done, total),
    )
    table = "; ".join(f"{key} {1e3 * one.force_typical:.0f} meV/Å" for key, one in scores.items())
    context.observer.note(f"hyper-parameters: {name} ({table}, typical on held-out forces)")
    return {
        "name": name,
        "settings": candidates[name],
        "n_train": len(dataset.train),
        "lead": _lead(scores),
        "scores": {key: asdict(one) for key, one in scores.items()},
    }


def _lead(scores: Mapping[str, Score]) -> float:
    """By how much the best candidate beats the next, in the mean logarithm of its errors."""
    ranked = sorted(one.total for one in scores.values())
    return ranked[1] - ranked[0] if len(ranked) > 1 else 1.0e3


def validate(
    context: Context,
    potential: Potential,
    configurations: tuple[LabelledConfiguration, ...],
    *,
    key: str,
    name: str,
) -> ValidationSet:
    """Compare a model with labels it has not seen; arrays go to ``validation/``."""
    path = context.directory.validation(key)

    def run() -> Payload:
        predictions = potential.evaluate([one.atoms for one in configurations], uncertainty=True)
        compared = compare(name, configurations, predictions, configurations[0].temperature)
        compared.save(path)
        spread = predictions.uncertainty
        row: dict[str, Any] = dict(compared.to_json())
        row["median_uncertainty"] = None if spread is None else float(np.median(spread))
        context.observer.note(
            f"validation on {name} ({len(configurations)} unseen labels): energy "
            f"{row['energy_rmse_meV_per_atom']:.2f} meV/atom, force "
            f"{row['force_rmse_meV_per_A']:.0f} meV/Å, stress {row['stress_rmse_GPa']:.3f} GPa"
        )
        return row

    context.journal.once(f"validation/{key}", run)
    return ValidationSet.load(path)


def alarm_threshold(context: Context, key: str) -> float | None:
    """Uncertainty beyond which a model has left its domain, by a validation; None if unknown."""
    usual = context.journal[f"validation/{key}"]["median_uncertainty"]
    return None if usual is None else context.settings.training.alarm_ratio * float(usual)
