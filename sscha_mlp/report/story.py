"""How a run began and what it learned from: plain values, in the units in which they are shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sscha_mlp.campaign.finished import new_labels


@dataclass(frozen=True)
class OriginRow:
    """The finished run that a run starts from.

    Parameters
    ----------
    path
        Its directory.
    train, test
        Labels taken over, to fit on and to validate with.
    has_model
        Whether its model was taken over.
    """

    path: str
    train: int
    test: int
    has_model: bool

    @property
    def n_labels(self) -> int:
        """Labels taken over."""
        return self.train + self.test


@dataclass(frozen=True)
class StartRow:
    """The state that a run begins with.

    Parameters
    ----------
    n_calls
        Calls of the reference for it.
    energy
        Of the lattice at rest, eV/atom; None if unknown.
    volume
        Å³/atom.
    space_group
        Hermann-Mauguin symbol.
    n_operations
        Operations that are kept throughout.
    modes_changed
        Modes that were unstable or very soft and have been made positive.
    lowest, highest
        Frequencies before that, translations left out, THz.
    """

    n_calls: int
    energy: float | None
    volume: float
    space_group: str
    n_operations: int
    modes_changed: int
    lowest: float
    highest: float


@dataclass(frozen=True)
class FitRow:
    """A model of a run, and its errors on labels that it has not seen.

    Parameters
    ----------
    number
        From 0.
    n_train
        Labels that it was fitted to.
    choice
        Name of its hyper-parameters.
    sha256
        Of its file.
    taken_over
        Whether it comes from another run.
    errors
        Its entry of ``validation`` in the result, on the test set; empty if there is none.
    """

    number: int
    n_train: int
    choice: str
    sha256: str
    taken_over: bool
    errors: Mapping[str, Any]


def taken_over_labels(labels: Mapping[str, Any]) -> int:
    """Return how many of the labels of a result come from the run it started from.

    Parameters
    ----------
    labels
        The entry of ``result.json``.
    """
    return int(labels.get("total", 0)) - new_labels(labels)


def labels_in_words(labels: Mapping[str, Any], origin: Mapping[str, Any] | None = None) -> str:
    """Return what a run took in labels, those taken over told apart.

    Parameters
    ----------
    labels
        The entry of ``result.json``.
    origin
        The entry of ``result.json`` on the run that this one started from.
    """
    uses = ", ".join(f"{labels[use]} {use}" for use in ("train", "test", "check") if use in labels)
    total = labels.get("total", "no")
    if origin:
        return (
            f"{new_labels(labels)} new, {taken_over_labels(labels)} taken over from "
            f"{origin.get('path', '')}; in use {total} ({uses})"
        )
    start = f", and {labels['start']} calls for the start" if "start" in labels else ""
    return f"{total} ({uses}){start}" if uses else f"{total}{start}"
