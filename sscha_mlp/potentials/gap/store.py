"""A GAP on disk: its files, the hash over them, and the marker that says the fit is complete.

gap_fit puts the time of day into the name of the model and of its files.  Here both are renamed
after the training data and settings, so that the same fit gives the same bytes.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sscha_mlp.data.files import write_json_atomic
from sscha_mlp.errors import FitError, ModelError
from sscha_mlp.potentials.gap.command import LOG_FILE, MODEL_FILE, TRAIN_FILE
from sscha_mlp.potentials.registry import MARKER

SCHEMA: Final = "sscha-mlp/gap/1"
SCRATCH_PREFIX: Final = ".fit-"

_LABEL: Final = re.compile(rb'<GAP_params label="([^"]+)"')
_KEYS: Final = ("schema", "kind", "sha256", "files", "fingerprint", "settings", "elements")


@dataclass(frozen=True)
class GapRecord:
    """What ``model.json`` says about a finished fit.

    Parameters
    ----------
    sha256
        Hash over the names and contents of `files`.
    files
        The model file and its sparse-point files.
    fingerprint
        Hash over the training data, the settings and the seed.
    settings
        Hyper-parameters as plain values.
    elements
        Chemical symbols of the training data, sorted.
    details
        Whatever else was recorded: seed, counts, seconds, memory, versions.
    """

    sha256: str
    files: tuple[str, ...]
    fingerprint: str
    settings: Mapping[str, Any]
    elements: tuple[str, ...]
    details: Mapping[str, Any]


def write_record(directory: Path, record: GapRecord) -> None:
    """Write ``model.json`` in one step; do this last."""
    content = {
        "schema": SCHEMA,
        "kind": "gap",
        "sha256": record.sha256,
        "files": list(record.files),
        "fingerprint": record.fingerprint,
        "settings": dict(record.settings),
        "elements": list(record.elements),
        **record.details,
    }
    write_json_atomic(directory / MARKER, content)


def read_record(directory: Path) -> GapRecord:
    """Read ``model.json``.

    Raises
    ------
    ModelError
        If it is missing, damaged, or of another kind.
    """
    marker = directory / MARKER
    try:
        content = json.loads(marker.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise ModelError(
                f"{marker} has the schema {content['schema']!r}, not {SCHEMA!r}: "
                "it belongs to another kind or version; use another directory."
            )
        return GapRecord(
            sha256=str(content["sha256"]),
            files=tuple(str(name) for name in content["files"]),
            fingerprint=str(content["fingerprint"]),
            settings=dict(content["settings"]),
            elements=tuple(str(symbol) for symbol in content["elements"]),
            details={key: value for key, value in content.items() if key not in _KEYS},
        )
    except FileNotFoundError as err:
        raise ModelError(
            f"{directory} holds no finished GAP ({MARKER} is missing): fit it first."
        ) from err
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise ModelError(
            f"{marker} is damaged or unreadable ({err!r}): remove it and fit again."
        ) from err


def hash_files(directory: Path, names: Sequence[str]) -> str:
    """Return the sha256 over the names and contents of files, in the order of their names.

    Raises
    ------
    ModelError
        If a file is missing or unreadable.
    """
    total = hashlib.sha256()
    for name in sorted(names):
        try:
            content = (directory / name).read_bytes()
        except OSError as err:
            raise ModelError(
                f"The GAP in {directory} is incomplete, {name} is missing or unreadable "
                f"({err.strerror}): restore the file or fit the model again."
            ) from err
        total.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return total.hexdigest()


def verify(directory: Path, record: GapRecord) -> None:
    """Compare the files of a model with the hash taken when it was fitted.

    Raises
    ------
    ModelError
        If a file is missing or has changed.
    """
    if hash_files(directory, record.files) != record.sha256:
        raise ModelError(
            f"The GAP in {directory} is damaged, its files ({', '.join(record.files)}) do not have "
            f"the hash that {MARKER} states: restore them or fit the model again."
        )


def adopt(scratch: Path, directory: Path, *, name: str) -> tuple[str, ...]:
    """Move a fit out of its scratch directory, renamed from the time of day to `name`.

    Returns
    -------
    The names of the files that make up the model.

    Raises
    ------
    FitError
        If the model file is not what gap_fit writes, or holds weights that are not finite.
    """
    content = (scratch / MODEL_FILE).read_bytes()
    match = _LABEL.search(content)
    sparse = sorted(scratch.glob(f"{MODEL_FILE}.sparseX.*"))
    if match is None or not sparse:
        raise FitError(f"gap_fit wrote no complete model; its output is in {directory / LOG_FILE}.")
    if re.search(rb'alpha="[^"]*(nan|inf)', content, re.IGNORECASE):
        raise FitError(
            "gap_fit found weights that are not finite: the covariance matrix is singular. "
            f"Raise sparse_jitter or lower n_sparse; the output is in {directory / LOG_FILE}."
        )
    old, new = match[1], name.encode()
    names = []
    for path in sparse:
        names.append(path.name.replace(old.decode(), name))
        path.replace(directory / names[-1])
    (scratch / TRAIN_FILE).replace(directory / TRAIN_FILE)
    (directory / MODEL_FILE).write_bytes(content.replace(old, new))
    return (MODEL_FILE, *names)


def clean(directory: Path) -> None:
    """Remove what a fit leaves in its directory, the marker first; other files stay."""
    (directory / MARKER).unlink(missing_ok=True)
    for path in directory.glob(f"{MODEL_FILE}*"):
        path.unlink()
    for name in (TRAIN_FILE, LOG_FILE):
        (directory / name).unlink(missing_ok=True)
    for path in directory.glob(f"{SCRATCH_PREFIX}*"):
        shutil.rmtree(path, ignore_errors=True)
