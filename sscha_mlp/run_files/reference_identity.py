"""With which reference a run was labelled, by content."""

import json
from collections.abc import Mapping
from typing import Any, Final

from sscha_mlp.calculators.registry import Reference
from sscha_mlp.errors import ConfigError
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.run_files.journal import Journal
from sscha_mlp.run_files.settings import differences

REFERENCE: Final = "reference_identity"
"""Key of the row of the start."""

_SHOWN: Final = 4


def start_row(place: RunDirectory) -> Mapping[str, Any]:
    """Return the row of the start of a run; empty where it is not finished."""
    rows = Journal(place.journal, read_only=True).steps("start")
    return rows[0][1] if rows else {}


def require_same_reference(place: RunDirectory, reference: Reference) -> None:
    """Refuse a reference whose content is not that with which a run was labelled.

    Parameters
    ----------
    place
        The run; one of an earlier version does not tell, and is believed.
    reference
        As it is now.

    Raises
    ------
    ConfigError
        If it has changed; the message says what.
    """
    before = start_row(place).get(REFERENCE)
    if before is None or before == reference.identity:
        return
    changed = differences(json.loads(before), json.loads(reference.identity))
    what = "; ".join(changed[:_SHOWN]) or "its form"
    raise ConfigError(
        f"The reference {reference.name!r} is not the one with which the run in {place.shown} was "
        f"labelled ({what}): labels of both would be mixed. Bring the old one back to go on, or "
        "take another --run-dir."
    )
