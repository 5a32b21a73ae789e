"""The certificate of a run: fresh labels of the converged state, as many as it takes."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from sscha_mlp.campaign.context import Context
from sscha_mlp.campaign.labelling import Batch, begin_labels, label_batch
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.data.labels import LabelledConfiguration
from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.ensemble.sampling import Ensemble
from sscha_mlp.errors import ReferenceFailedError, RelaxationError
from sscha_mlp.potentials.protocol import Potential
from sscha_mlp.run_files.last_ensemble import load_samples
from sscha_mlp.run_files.records.certificate import CertificateRecord
from sscha_mlp.run_files.stage_settings import LabelPolicy
from sscha_mlp.scha.cell_response import cell_response
from sscha_mlp.scha.convergence import CrystalScale
from sscha_mlp.scha.estimators import Samples
from sscha_mlp.scha.relaxation import evaluate_ensemble
from sscha_mlp.validation.bounds import LEAST
from sscha_mlp.validation.certificate import (
    MIN_LABELS,
    AllowedShifts,
    Certificate,
    Verdict,
    certify,
)
from sscha_mlp.validation.correction import correct, left_out

_MAX_BATCHES: Final = 3
"""Of a check of a fixed number of labels."""

_MAX_LOOKS: Final = 8
"""At one check by need; batches grow, so that it is decided before."""

_BATCH: Final = 2
"""Smallest batch that is added in a check by need."""

_SAME_CELL: Final = 1.0e-9
"""Å"""


@dataclass(frozen=True, eq=False)
class Checked:
    """A certificate with the labels it rests on.

    Parameters
    ----------
    certificate
        Shifts and verdict.
    configurations
        Labels that no fit has seen.
    """

    certificate: Certificate
    configurations: tuple[LabelledConfiguration, ...]


def check_state(
    context: Context,
    state: DynamicalMatrix,
    potential: Potential,
    *,
    number: int,
    budget: int,
    n_learnt: int,
    state_name: str,
    last_phase: str = "",
) -> Checked:
    """Certify a converged state, drawing more labels until it is decided.

    A fixed number of labels is looked at, and more are drawn while their noise alone decides, at
    most three times.  By need the first look is at a handful, and each batch makes another look
    with the bounds of :mod:`sscha_mlp.validation.bounds`.

    Parameters
    ----------
    state
        Where the relaxation converged.
    number
        Of the check; decides the random numbers.
    budget
        Labels that may be spent.
    n_learnt
        Labels that the model has learnt.
    state_name
        Name of the state in the run directory.
    last_phase
        Phase whose last ensemble led to the state; empty where there is none that can be corrected.

    Raises
    ------
    ReferenceFailedError
        If too few configurations could be labelled.
    """
    plan = _Plan.of(context)
    look = before = 1 + _looks_before(context, number) if plan.by_need else 0
    tolerances = allowed_shifts(context, state, potential)
    wanted = min(context.settings.counts.n_check, budget)
    batches: list[Batch] = []
    spent = 0
    seconds, why = 0.0, ""
    while True:
        name = f"check-{number}-{len(batches)}"
        which = "more" if batches else "fresh"
        text = f"check {number}: {wanted} {which} labels of the converged state{why}"
        begin_labels(context, text, [(name, wanted)])
        batches.append(label_batch(context, state, name, wanted))
        spent += wanted
        going = len(batches) < plan.max_batches
        if _n_labels(batches) < plan.least and budget - spent >= plan.batch and going:
            wanted = plan.batch
            continue
        begin = time.perf_counter()
        reference, model = _both(context, state, potential, batches, least=plan.least)
        certificate = certify(
            reference, model, context.group, tolerances, look=look, n_learnt=n_learnt
        )
        if plan.by_need:
            delta = reference.minus(model)
            certificate = _with_left_out(context, certificate, delta, last_phase)
            look = certificate.next_look
        seconds += time.perf_counter() - begin
        context.observer.note(f"check {number}: {certificate.reason}")
        wanted = min(_more_labels(certificate, plan.batch), budget - spent)
        why = _why(certificate) if plan.by_need else ""
        if wanted < plan.batch or not going:
            break
    if not context.journal.has(CertificateRecord, number):
        record = CertificateRecord.of(
            certificate,
            number=number,
            state=state_name,
            n_looks=len(batches),
            n_counted=look - before if plan.by_need else None,
        )
        context.journal.write(record, seconds)
    found = tuple(one for batch in batches for one in batch.configurations)
    return Checked(certificate, found)


def labels_beside(
    context: Context, certificate: Certificate, affordable: Callable[[int], int]
) -> tuple[int, int]:
    """Return how many labels a new fit learns besides those of the check that failed.

    Parameters
    ----------
    affordable
        Returns how many of the labels wanted can be had.

    Returns
    -------
    Random ones and chosen ones.  By need the random half are the labels of the check.
    """
    settings = context.settings
    if settings.labels is LabelPolicy.FIXED or settings.training.n_extra is not None:
        return halves(affordable(settings.counts.n_extra))
    wanted = certificate.to_learn - certificate.n_learnt - certificate.n_labels
    return 0, affordable(max(wanted, 0))


def halves(count: int) -> tuple[int, int]:
    """Return how many of some labels are drawn at random, and how many are chosen."""
    return count - count // 2, count // 2


def _why(certificate: Certificate) -> str:
    """Say which quantity more labels are asked for, and how well it is known."""
    name, worst = max(certificate.shifts.items(), key=lambda item: item[1].labels_factor)
    part = worst.error / worst.tolerance
    return f", for the {name}: its error is {part:.2g} of what is allowed"


@dataclass(frozen=True)
class _Plan:
    """How a check goes on: by need, smallest batch, least labels, and most batches."""

    by_need: bool
    batch: int
    least: int
    max_batches: int

    @classmethod
    def of(cls, context: Context) -> "_Plan":
        """Return that of a run."""
        if context.settings.labels is LabelPolicy.NEED:
            return cls(True, _BATCH, LEAST, _MAX_LOOKS)
        return cls(False, MIN_LABELS, MIN_LABELS, _MAX_BATCHES)


def _looks_before(context: Context, number: int) -> int:
    """How often the checks before this one could have passed."""
    records = context.journal.all(CertificateRecord)
    return sum(one.looks_spent for one in records if one.number < number)


def _n_labels(batches: list[Batch]) -> int:
    """How many labels there are, without those that failed."""
    return sum(len(batch.configurations) for batch in batches)


def _more_labels(certificate: Certificate, batch: int) -> int:
    """How many labels to add: enough to decide, at most as many as there are; 0 if decided."""
    if certificate.verdict is not Verdict.MORE_LABELS:
        return 0
    slack = 1.0 if certificate.share else 1.1
    wanted = slack * min(certificate.labels_wanted, 2.0 * certificate.n_labels)
    return max(int(np.ceil(wanted)) - certificate.n_labels, batch)


def _both(
    context: Context,
    state: DynamicalMatrix,
    potential: Potential,
    batches: list[Batch],
    *,
    least: int,
) -> tuple[Samples, Samples]:
    """Join the batches into one ensemble, and return reference and model on it."""
    displacements = np.concatenate([batch.ensemble.displacements for batch in batches])
    if len(displacements) < least:
        reasons = [one.reason for batch in batches for one in batch.record.failures]
        raise ReferenceFailedError(
            f"Only {len(displacements)} configurations of the converged state could be labelled; a "
            f"certificate needs {least}. First failure: {next(iter(reasons), 'none')}"
        )
    gaussian = Gaussian(state, context.settings.temperature, context.settings.nuclei)
    ensemble = Ensemble(gaussian, displacements, False)
    parts = [batch.samples for batch in batches]
    reference = Samples(
        ensemble,
        np.concatenate([part.energies for part in parts]),
        np.concatenate([part.forces for part in parts]),
        np.concatenate([part.stresses for part in parts]),
    )
    model = evaluate_ensemble(ensemble, context.evaluator(potential, "model on the check set"))
    return reference, model


def _with_left_out(
    context: Context, certificate: Certificate, delta: Samples, last_phase: str
) -> Certificate:
    """Return a certificate with what its correction leaves out.

    Where there is no corrected state, the shifts themselves must be inside their tolerances.
    """
    uncorrected = replace(certificate, bounds=replace(certificate.bounds, reach=1.0))
    if not last_phase:
        return uncorrected
    samples = load_samples(context.directory.samples(last_phase))
    here, there = (one.ensemble.dynamical_matrix.crystal.cell for one in (delta, samples))
    if np.abs(here - there).max() > _SAME_CELL:
        return uncorrected
    settings = context.settings.relaxation.minimiser
    try:
        corrected = correct(samples, certificate, context.group, settings)
    except RelaxationError:
        return uncorrected
    rest = left_out(samples, delta, certificate, context.group, corrected)
    return replace(certificate, left_out=rest)


def allowed_shifts(context: Context, state: DynamicalMatrix, potential: Potential) -> AllowedShifts:
    """Return what the reference may shift in a state: tolerances that fit the crystal."""
    settings = context.settings
    response = cell_response(potential, state, context.group)
    scale = CrystalScale.of(state, response.bulk_modulus, settings.temperature, settings.nuclei)
    return settings.certificate.tolerances.for_crystal(scale)
