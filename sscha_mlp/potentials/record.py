"""The record of a finished fit: ``model.json``, and the hash over the files that predict.

A directory holds one model.  It is complete when ``model.json`` is there, which is written last.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from sscha_mlp.data.files import write_json_atomic
from sscha_mlp.errors import InputError, ModelError
from sscha_mlp.potentials.registry import MARKER
from sscha_mlp.tables import Shown, Table

_KEYS = ("schema", "kind", "sha256", "files", "fingerprint", "settings", "elements")


@dataclass(frozen=True)
class ModelRecord:
    """What ``model.json`` says about a finished fit.

    Parameters
    ----------
    kind
        Kind of potential.
    sha256
        Hash over the names and contents of `files`.
    files
        The files that decide a prediction.
    fingerprint
        Hash over the training data, the settings and the seed.
    settings
        Settings of the fit as plain values.
    elements
        Chemical symbols of the training data, sorted.
    details
        Whatever else was recorded: seed, counts, seconds, versions.
    """

    kind: str
    sha256: str
    files: tuple[str, ...]
    fingerprint: str
    settings: Mapping[str, Any]
    elements: tuple[str, ...]
    details: Mapping[str, Any]


class RecordedModel(Shown):
    """What every potential with a record has: a place, an identity, and an end.

    Parameters
    ----------
    path
        Directory of the model.
    record
        What its ``model.json`` says.
    n_workers
        Processes or threads that evaluate.
    """

    def __init__(self, path: Path, record: ModelRecord, n_workers: int) -> None:
        self.path = path.resolve()
        self.record = record
        self.n_workers = n_workers

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r}, n_workers={self.n_workers})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def sha256(self) -> str:
        """Hash over the files that decide a prediction."""
        return self.record.sha256

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings of the fit."""
        return MappingProxyType(dict(self.record.settings))

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols that the model was trained on."""
        return self.record.elements

    def close(self) -> None:
        """End what evaluates; where there is nothing to end, nothing happens."""

    def table(self) -> Table:
        """Return what it is, what it was trained on, and its settings."""
        rows = [("elements", ", ".join(self.elements))]
        if "n_train" in self.record.details:
            rows.append(("training configurations", str(self.record.details["n_train"])))
        rows += [(name, str(value)) for name, value in self.settings.items()]
        rows += [("directory", str(self.path)), ("sha256", f"{self.sha256[:12]}…")]
        return Table(f"Potential: {self.record.kind.upper()}", tuple(rows))


def write_record(directory: Path, record: ModelRecord) -> None:
    """Write ``model.json`` in one step; do this last."""
    content = {
        "schema": _schema(record.kind),
        "kind": record.kind,
        "sha256": record.sha256,
        "files": list(record.files),
        "fingerprint": record.fingerprint,
        "settings": dict(record.settings),
        "elements": list(record.elements),
        **record.details,
    }
    write_json_atomic(directory / MARKER, content)


def read_record(directory: Path, kind: str) -> ModelRecord:
    """Read ``model.json`` of a potential of a kind.

    Raises
    ------
    ModelError
        If it is missing, damaged, or of another kind.
    """
    marker = directory / MARKER
    try:
        content = json.loads(marker.read_text(encoding="utf-8"))
        if content["schema"] != _schema(kind):
            raise ModelError(
                f"{marker} has the schema {content['schema']!r}, not {_schema(kind)!r}: "
                "it belongs to another kind or version; use another directory."
            )
        return ModelRecord(
            kind=kind,
            sha256=str(content["sha256"]),
            files=tuple(str(name) for name in content["files"]),
            fingerprint=str(content["fingerprint"]),
            settings=dict(content["settings"]),
            elements=tuple(str(symbol) for symbol in content["elements"]),
            details={key: value for key, value in content.items() if key not in _KEYS},
        )
    except FileNotFoundError as err:
        raise ModelError(
            f"{directory} holds no finished {kind.upper()} ({MARKER} is missing): fit it first."
        ) from err
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as err:
        raise ModelError(
            f"{marker} is damaged or unreadable ({err!r}): remove it and fit again."
        ) from err


def hash_files(directory: Path, names: Sequence[str], kind: str) -> str:
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
                f"The {kind.upper()} in {directory} is incomplete, {name} is missing or unreadable "
                f"({err.strerror}): restore the file or fit the model again."
            ) from err
        total.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return total.hexdigest()


def verify(directory: Path, record: ModelRecord) -> None:
    """Compare the files of a model with the hash taken when it was fitted.

    Raises
    ------
    ModelError
        If a file is missing or has changed.
    """
    if hash_files(directory, record.files, record.kind) != record.sha256:
        raise ModelError(
            f"The {record.kind.upper()} in {directory} is damaged, its files "
            f"({', '.join(record.files)}) do not have the hash that {MARKER} states: restore them "
            "or fit the model again."
        )


def is_finished(directory: Path, fingerprint: str, kind: str) -> bool:
    """Whether this very fit is complete and undamaged; refuse to overwrite any other one.

    Raises
    ------
    InputError
        If the directory holds a finished model of other data, settings or seed.
    ModelError
        If it holds one of another kind.
    """
    if not (directory / MARKER).exists():
        return False
    record = read_record(directory, kind)
    if record.fingerprint != fingerprint:
        raise InputError(
            f"{directory} holds a finished {kind.upper()} of other training data, settings or seed "
            f"({record.details.get('n_train')} configurations, seed {record.details.get('seed')}): "
            f"fit in another directory, or remove its {MARKER} to give it up."
        )
    try:
        verify(directory, record)
    except ModelError:
        return False
    return True


def _schema(kind: str) -> str:
    return f"sscha-mlp/{kind}/1"
