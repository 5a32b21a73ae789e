"""What a reader of the report should know beyond the numbers, one sentence each."""

from collections.abc import Iterator

from sscha_mlp.digits import significant, with_minus
from sscha_mlp.run_files.journal import Journal
from sscha_mlp.run_files.records.certificate import CertificateRecord
from sscha_mlp.run_files.records.labels import BatchRecord
from sscha_mlp.run_files.records.models import ChoiceRecord
from sscha_mlp.run_files.records.population import PopulationRecord
from sscha_mlp.run_files.records.start import OriginRecord, StartRecord

_MOST_FAILURES = 12
"""Failed labels of one batch that are named one by one."""


def notes(journal: Journal) -> Iterator[str]:
    """Return the notes of a run in order: start, failures, choices, rejections, alarms."""
    start = journal.find(StartRecord)
    if start is not None:
        yield from _start(start, taken_over=journal.has(OriginRecord))
    kinds = (BatchRecord, ChoiceRecord, PopulationRecord, CertificateRecord)
    for record in journal.typed_steps(*kinds):
        if isinstance(record, BatchRecord):
            yield from _labels(record)
        elif isinstance(record, ChoiceRecord):
            yield _choice(record)
        elif isinstance(record, PopulationRecord):
            yield from _population(record)
        elif isinstance(record, CertificateRecord) and not record.passed:
            yield f"Check {record.number} did not pass: {record.reason}."


def _start(start: StartRecord, *, taken_over: bool) -> Iterator[str]:
    if taken_over:
        yield (
            "State, labels and harmonic frequencies come from the run that this one started from; "
            f"the start took {start.n_calls} reference calls."
        )
        return
    text = (
        f"The start took {start.n_calls} reference calls, relaxation of the structure and finite "
        f"displacements together, beside the labels.{_compression(start)} "
        f"Space group {start.space_group} with {start.n_operations} operations; it is kept "
        "throughout"
    )
    if start.modes_changed:
        text += (
            f". {start.modes_changed} modes were unstable or soft in the harmonic start (lowest "
            f"{start.frequencies_THz.min():.3f} THz) and were made positive"
        )
    yield f"{text}."


def _compression(start: StartRecord) -> str:
    """What the start found of the reference's answer to a change of the volume."""
    found = start.compression
    if found is None:
        return ""
    error = with_minus(f"{found.stress_error_GPa:+.2g}")
    return (
        f" At rest the reference has a bulk modulus of {found.bulk_modulus_GPa:.1f} GPa, and its "
        f"stress is {error} GPa off the derivative of its energy."
    )


def _labels(batch: BatchRecord) -> Iterator[str]:
    name, failures = batch.batch.in_words, batch.failures
    for failure in failures[:_MOST_FAILURES]:
        yield f"Label {failure.index} of {name} failed: {failure.reason}"
    if len(failures) > _MOST_FAILURES:
        yield f"{len(failures) - _MOST_FAILURES} further labels of {name} failed."
    if batch.rejected:
        yield (
            f"{batch.rejected} configurations of {name} had atoms on top of each other; they were "
            "replaced by others."
        )


def _choice(row: ChoiceRecord) -> str:
    scores = ", ".join(
        f"{name} {significant(1.0e3 * score.force_typical, 2)}"
        for name, score in row.scores.items()
    )
    return (
        f"Hyper-parameters on {row.n_train} training labels: {row.choice} (typical force error "
        f"on those held out, meV/Å: {scores})."
    )


def _population(row: PopulationRecord) -> Iterator[str]:
    where = f"population {row.population} of {row.phase}"
    if row.rejected:
        yield (
            f"{row.rejected} configurations of {where} had atoms on top of each other; they "
            f"were replaced by others ({row.n_drawn} were used)."
        )
    if row.left_domain:
        yield f"Alarm in {where}: {row.reason}."
