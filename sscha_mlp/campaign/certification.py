"""The certificate of a run: fresh labels of the converged state, as many as it takes."""

import time
from dataclasses import dataclass

import numpy as np

from sscha_mlp.campaign.context import Context
from sscha_mlp.campaign.labelling import Batch, begin_labels, label_batch
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.data.labels import LabelledConfiguration
from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.ensemble.sampling import Ensemble
from sscha_mlp.errors import ReferenceFailedError
from sscha_mlp.potentials.protocol import Potential
from sscha_mlp.run_files.records.certificate import CertificateRecord
from sscha_mlp.scha.estimators import Samples
from sscha_mlp.scha.relaxation import evaluate_ensemble
from sscha_mlp.validation.certificate import MIN_LABELS, Certificate, Verdict, certify

_MAX_BATCHES = 3


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
    state_name: str,
) -> Checked:
    """Certify a converged state, drawing more labels while their noise alone decides.

    Parameters
    ----------
    state
        Where the relaxation converged.
    number
        Of the check; decides the random numbers.
    budget
        Labels that may be spent.
    state_name
        Name of the state in the run directory.

    Raises
    ------
    ReferenceFailedError
        If too few configurations could be labelled.
    """
    wanted = min(context.settings.certificate.n_labels, budget)
    batches: list[Batch] = []
    spent = 0
    seconds = 0.0
    while True:
        name = f"check-{number}-{len(batches)}"
        which = "more" if batches else "fresh"
        text = f"check {number}: {wanted} {which} labels of the converged state"
        begin_labels(context, text, [(name, wanted)])
        batches.append(label_batch(context, state, name, wanted))
        spent += wanted
        if _too_few(batches) and budget - spent >= MIN_LABELS and len(batches) < _MAX_BATCHES:
            wanted = MIN_LABELS
            continue
        begin = time.perf_counter()
        certificate = _certify(context, state, potential, batches)
        seconds += time.perf_counter() - begin
        context.observer.note(f"check {number}: {certificate.reason}")
        wanted = min(_more_labels(certificate), budget - spent)
        if wanted < MIN_LABELS or len(batches) == _MAX_BATCHES:
            break
    if not context.journal.has(CertificateRecord, number):
        record = CertificateRecord.of(certificate, number=number, state=state_name)
        context.journal.write(record, seconds)
    found = tuple(one for batch in batches for one in batch.configurations)
    return Checked(certificate, found)


def _too_few(batches: list[Batch]) -> bool:
    """Whether so many labels failed that the others make no certificate."""
    return sum(len(batch.configurations) for batch in batches) < MIN_LABELS


def _more_labels(certificate: Certificate) -> int:
    """How many labels to add: enough to decide, at most as many as there are; 0 if decided."""
    if certificate.verdict is not Verdict.MORE_LABELS:
        return 0
    wanted = 1.1 * min(certificate.labels_wanted, 2.0 * certificate.n_labels)
    return max(int(np.ceil(wanted)) - certificate.n_labels, MIN_LABELS)


def _certify(
    context: Context, state: DynamicalMatrix, potential: Potential, batches: list[Batch]
) -> Certificate:
    """Join the batches into one ensemble and compare the two potentials on it."""
    displacements = np.concatenate([batch.ensemble.displacements for batch in batches])
    if len(displacements) < MIN_LABELS:
        reasons = [one.reason for batch in batches for one in batch.record.failures]
        raise ReferenceFailedError(
            f"Only {len(displacements)} configurations of the converged state could be labelled; a "
            f"certificate needs {MIN_LABELS}. First failure: {next(iter(reasons), 'none')}"
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
    return certify(reference, model, context.group, context.settings.certificate.tolerances)
