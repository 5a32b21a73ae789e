"""Batches of labels: what each is for, where it was drawn, and what came of it."""

from dataclasses import dataclass
from typing import ClassVar

from sscha_mlp.run_files.records.batch_names import batch_fields
from sscha_mlp.run_files.records.fields import Record, read


@dataclass(frozen=True)
class BatchName:
    """What a batch of labels is for, and where it was drawn.

    Parameters
    ----------
    name
        The whole name, which decides the random numbers, for example ``train-left-2-rare``.
    use
        ``train``, ``test`` or ``check``.
    drawn
        ``start``: the first ensemble; ``explore``: where a brief relaxation left what its model
        knew; ``explored``: where it ended; ``round``: where the relaxation itself left what its
        model knew; ``left``: where it had to end for that; ``extra``: the state of a failed check;
        ``check``: the converged state.
    number
        Of the round, with the active-learning step behind a point, or of the check; may be empty.
    look
        Of a check, how often labels have been added.
    rare
        Whether its configurations were chosen rather than drawn.
    """

    name: str
    use: str
    drawn: str
    number: str = ""
    look: int = 0
    rare: bool = False

    @classmethod
    def of(cls, name: str) -> "BatchName":
        """Return what a name stands for."""
        found: BatchName = read(cls, batch_fields(name))
        return found

    @property
    def in_words(self) -> str:
        """The name as a reader of the report knows it."""
        if self.use == "check":
            return f"check {self.number}{', more' if self.look else ''}"
        return " ".join(self.name.split("-"))


@dataclass(frozen=True)
class FailedLabel:
    """A configuration that the reference could not label.

    Parameters
    ----------
    index
        Place in its batch.
    reason
        In words.
    """

    index: int
    reason: str


@dataclass(frozen=True)
class BatchRecord(Record):
    """Labels of one draw.

    Parameters
    ----------
    batch
        What it is for.
    n_labels
        Configurations that have a label.
    rejected
        Configurations replaced because atoms were on top of each other.
    failures
        Configurations without a label.
    seconds
        Wall time of the reference.
    """

    kind: ClassVar[str] = "labels"

    batch: BatchName
    n_labels: int
    rejected: int = 0
    failures: tuple[FailedLabel, ...] = ()
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """Name of the batch."""
        return self.batch.name

    @property
    def n_spent(self) -> int:
        """Labels that were asked for, failed ones included."""
        return self.n_labels + len(self.failures)
