"""What a reader of the report should know beyond the numbers, one sentence each."""

from collections.abc import Iterator

from sscha_mlp.campaign.bulk_modulus_check import compression_of
from sscha_mlp.digits import significant, with_minus
from sscha_mlp.run_files.journal import Journal, Payload

_MOST_FAILURES = 12
"""Failed labels of one batch that are named one by one."""


def notes(journal: Journal) -> Iterator[str]:
    """Return the notes of a run in order: start, failures, choices, rejections, alarms."""
    if "start" in journal:
        yield from _start(journal["start"], taken_over="origin" in journal)
    for key, row in journal.steps():
        kind, _, name = key.partition("/")
        if kind == "labels":
            yield from _labels(name, row)
        elif kind == "choice":
            yield _choice(row)
        elif kind == "population":
            yield from _population(row)
        elif kind == "certificate" and not row["passed"]:
            yield f"Check {name} did not pass: {row['reason']}."


def _start(row: Payload, *, taken_over: bool) -> Iterator[str]:
    if taken_over:
        yield (
            "State, labels and harmonic frequencies come from the run that this one started from; "
            f"the start took {row['n_calls']} reference calls."
        )
        return
    text = (
        f"The start took {row['n_calls']} reference calls, relaxation of the structure and finite "
        f"displacements together, beside the labels.{_compression(row)} "
        f"Space group {row['space_group']} with {row['n_operations']} operations; it is kept "
        "throughout"
    )
    if row["modes_changed"]:
        lowest = min(row["frequencies_THz"])
        text += (
            f". {row['modes_changed']} modes were unstable or soft in the harmonic start (lowest "
            f"{lowest:.3f} THz) and were made positive"
        )
    yield f"{text}."


def _compression(start: Payload) -> str:
    """What the start found of the reference's answer to a change of the volume."""
    found = compression_of(start)
    if found is None:
        return ""
    error = with_minus(f"{found.stress_error:+.2g}")
    return (
        f" At rest the reference has a bulk modulus of {found.bulk_modulus:.1f} GPa, and its "
        f"stress is {error} GPa off the derivative of its energy."
    )


def batch_name(name: str) -> str:
    """Return the name of a batch of labels as a reader of the report knows it."""
    words = name.split("-")
    if words[0] == "check":
        more = ", more" if words[2] != "0" else ""
        return f"check {words[1]}{more}"
    return " ".join(words)


def _labels(batch: str, row: Payload) -> Iterator[str]:
    name = batch_name(batch)
    failures = row["failures"]
    for failure in failures[:_MOST_FAILURES]:
        yield f"Label {failure['index']} of {name} failed: {failure['reason']}"
    if len(failures) > _MOST_FAILURES:
        yield f"{len(failures) - _MOST_FAILURES} further labels of {name} failed."
    if row["rejected"]:
        yield (
            f"{row['rejected']} configurations of {name} had atoms on top of each other; they were "
            "replaced by others."
        )


def _choice(row: Payload) -> str:
    scores = ", ".join(
        f"{name} {significant(1.0e3 * score['force_typical'], 2)}"
        for name, score in row["scores"].items()
    )
    return (
        f"Hyper-parameters on {row['n_train']} training labels: {row['name']} (typical force error "
        f"on those held out, meV/Å: {scores})."
    )


def _population(row: Payload) -> Iterator[str]:
    where = f"population {row['population']} of {row['phase']}"
    if row["rejected"]:
        yield (
            f"{row['rejected']} configurations of {where} had atoms on top of each other; they "
            f"were replaced by others ({row['n_configs']} were used)."
        )
    if row["left_domain"]:
        yield f"Alarm in {where}: {row['reason']}."
