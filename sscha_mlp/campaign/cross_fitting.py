"""Cross-fitting: what labels say of models that have not seen them, before any check.

The fairly drawn training labels of the first state are judged by fits that leave each of them out.
The differences go through the estimators of a certificate: what they predict is the error of the
answer and not that of forces.  They are labels to learn from, so that nothing is
certified by them; they say whether a model of few labels may go ahead, and up to which
extrapolation grade it is known to be right.
"""

import shutil
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from sscha_mlp.campaign.context import Context
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.data.labels import LabelledConfiguration
from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.ensemble.sampling import Ensemble
from sscha_mlp.errors import FitError
from sscha_mlp.potentials.protocol import Predictions
from sscha_mlp.potentials.record import read_record
from sscha_mlp.potentials.registry import find_kind, fit
from sscha_mlp.run_files.records.models import CrossFitRecord, FitRecord
from sscha_mlp.run_files.stage_settings import LabelPolicy
from sscha_mlp.scha.estimators import Samples
from sscha_mlp.validation.bounds import LEAST
from sscha_mlp.validation.certificate import Verdict, certify

_FOLDS: Final = 4
_MOST: Final = 48
"""A model of more training labels has a grade that means something."""

_ORIGIN: Final = "train-start"


def cross_fit(
    context: Context,
    train: Sequence[LabelledConfiguration],
    state: DynamicalMatrix,
    number: int,
) -> None:
    """Judge the settings of model `number` on the labels of the first state, each held out once.

    A run that starts from another one has no such labels: those that it took over were drawn from
    the first state of that run, maybe in another supercell, and say nothing of an ensemble of this.

    Parameters
    ----------
    train
        What the model has learnt from.
    state
        What the labels of the first state were drawn from.
    number
        Of the model, which is fitted.
    """
    settings = context.settings
    if settings.labels is not LabelPolicy.NEED or settings.origin:
        return
    judged = [place for place, one in enumerate(train) if _is_fair(one)]
    at_temperature = settings.training_temperature == settings.temperature
    if not (len(judged) > LEAST and len(train) <= _MOST and at_temperature):
        return
    context.journal.make(
        CrossFitRecord, number, lambda: _judge(context, train, judged, state, number)
    )


def _judge(
    context: Context,
    train: Sequence[LabelledConfiguration],
    judged: Sequence[int],
    state: DynamicalMatrix,
    number: int,
) -> CrossFitRecord:
    """Put the differences of the judged labels through the estimators of a certificate."""
    try:
        predicted = _held_out(context, train, judged, number)
    except FitError as err:
        return CrossFitRecord(number, False, reason=str(err))
    reference = _reference(context, [train[place] for place in judged], state)
    model = Samples(
        reference.ensemble,
        predicted.energies,
        np.array([one.ravel() for one in predicted.forces]),
        predicted.stresses,
    )
    tolerances = context.settings.certificate.tolerances
    found = certify(reference, model, context.group, tolerances, look=1)
    reason = _in_words(found.shifts, len(judged))
    context.observer.note(reason)
    grades = predicted.uncertainty
    return CrossFitRecord(
        number,
        found.verdict is Verdict.PASSED,
        None if grades is None else float(grades.max()),
        len(judged),
        reason,
        found.free_energy_shift,
        found.stress_shift,
        found.frequency_shift,
    )


def _is_fair(one: LabelledConfiguration) -> bool:
    """Whether a label was drawn fairly from the first state."""
    return one.origin == _ORIGIN and not one.chosen


def _held_out(
    context: Context,
    train: Sequence[LabelledConfiguration],
    judged: Sequence[int],
    number: int,
) -> Predictions:
    """Return what fits without them predict of the judged labels, in their order."""
    kind = context.journal.get(FitRecord, number).model
    found_kind = find_kind(kind)
    record = read_record(context.directory.model(number), found_kind.name)
    trial = dict(found_kind.trial_settings(record.settings))
    place = context.directory.trial_model("crossfit")
    energies, stresses = np.zeros(len(judged)), np.zeros((len(judged), 3, 3))
    forces: list[Any] = [None] * len(judged)
    grades = np.zeros(len(judged))
    graded = True
    for fold in range(_FOLDS):
        held = list(range(fold, len(judged), _FOLDS))
        out = {judged[index] for index in held}
        kept = [one for index, one in enumerate(train) if index not in out]
        directory = place / str(fold)
        with fit(kind, kept, directory=directory, settings=trial) as model:
            frames = [train[judged[index]].atoms for index in held]
            found = model.evaluate(frames, uncertainty=True)
        energies[held], stresses[held] = found.energies, found.stresses
        for index, force in zip(held, found.forces, strict=True):
            forces[index] = force
        if found.uncertainty is None:
            graded = False
        else:
            grades[held] = found.uncertainty
    shutil.rmtree(place, ignore_errors=True)
    return Predictions(energies, tuple(forces), stresses, grades if graded else None)


def _reference(
    context: Context, labelled: Sequence[LabelledConfiguration], state: DynamicalMatrix
) -> Samples:
    """Return labels of the first state as an ensemble with the reference's values."""
    centroids = state.supercell.crystal.positions
    moved = np.array([(one.atoms.positions - centroids).ravel() for one in labelled])
    gaussian = Gaussian(state, context.settings.temperature, context.settings.nuclei)
    return Samples(
        Ensemble(gaussian, moved, False),
        np.array([one.label.energy for one in labelled]),
        np.array([one.label.forces.ravel() for one in labelled]),
        np.array([one.label.stress for one in labelled]),
    )


def _in_words(shifts: Mapping[str, Any], n_labels: int) -> str:
    """Say what error of the answer is predicted, in tolerances."""
    errors = ", ".join(
        f"{name} {(abs(one.delta) + 2 * one.stderr) / one.tolerance:.2g}"
        for name, one in shifts.items()
    )
    return f"predicted error of the answer on {n_labels} held-out labels, in tolerances: {errors}"
