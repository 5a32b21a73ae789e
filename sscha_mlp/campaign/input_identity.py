"""What a run was begun with, by content: its reference, and the file of its structure.

Settings name files.  A file that changes changes the run: labels of two references in one data set
are no potential of either.  The row of the start in the journal keeps what they held.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sscha_mlp.calculators.registry import Reference, get_reference
from sscha_mlp.campaign.input_checks import read_input, structure_file
from sscha_mlp.data.dyn_files import dyn_paths
from sscha_mlp.data.labels import configuration_key
from sscha_mlp.errors import ConfigError, InputError
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.run_files.reference_identity import REFERENCE, require_same_reference, start_row
from sscha_mlp.run_files.settings import RunSettings

FILE = "structure_sha256"
CRYSTAL = "structure_key"


def input_row(settings: RunSettings, reference: Reference) -> dict[str, str]:
    """Return what the record of the start keeps of the input of a run."""
    row = {REFERENCE: reference.identity}
    if settings.origin:
        return row
    row[FILE] = _file_hash(settings)
    if not settings.dyn:
        row[CRYSTAL] = configuration_key(read_input(settings).to_ase())
    return row


def require_same_input(settings: RunSettings, reference: Reference, place: RunDirectory) -> None:
    """Refuse to go on with a reference or a structure that has changed since a run began.

    A structure file that is not there any more is none that has changed.

    Raises
    ------
    ConfigError
        If one of them has; the message says what.
    """
    require_same_reference(place, reference)
    start = start_row(place)
    if start.get(FILE) is None or settings.origin:
        return
    try:
        same = start[FILE] == _file_hash(settings) or _same_crystal(settings, start)
    except (OSError, InputError):
        return
    if not same:
        file = settings.dyn or structure_file(settings)
        raise ConfigError(
            f"{file} holds another structure than when the run in {place.shown} began. Bring the "
            "old file back to go on, or take another --run-dir."
        )


def require_same_input_of(settings: RunSettings, place: RunDirectory) -> None:
    """Check the input of a finished run, as far as its reference can still be found.

    Raises
    ------
    ConfigError
        If reference or structure has changed.
    """
    try:
        reference = get_reference(settings.reference)
    except InputError:
        return
    require_same_input(settings, reference, place)


def _file_hash(settings: RunSettings) -> str:
    files = dyn_paths(settings.dyn) if settings.dyn else [structure_file(settings)]
    return hashlib.sha256(b"".join(Path(file).read_bytes() for file in files)).hexdigest()


def _same_crystal(settings: RunSettings, start: Mapping[str, Any]) -> bool:
    """Whether a file that was written anew holds the same crystal."""
    if start.get(CRYSTAL) is None:
        return False
    return bool(start[CRYSTAL] == configuration_key(read_input(settings).to_ase()))
