"""Labels that are safe on disk: an ASE database (SQLite) that finds them again by content.

Each row is one configuration with its energy, forces and stress as ASE stores them, so that
``ase db labels.db`` shows them.  Its keys ``configuration`` and ``reference`` are the hashes of
the configuration (:func:`sscha_mlp.data.labels.configuration_key`) and of the reference's
identity, whose text is in the row's data.  A row without results is a failure, with its reason.

The database is in write-ahead mode, where a durable insert costs one synchronisation of the disk,
and SQLite's own locks serialise several writers.  All of them must run on one machine.  While a
store is open, or after a crash, the newest labels are in ``labels.db-wal``: copy both files.
"""

import contextlib
import hashlib
import os
import sqlite3
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import ase.db
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress

from sscha_mlp.data.labels import Label, configuration_key
from sscha_mlp.errors import InputError, SschaMlpError

_PAUSES: Final = (0.5, 1.0, 2.0, 4.0)
_TITLE: Final = {"title": "sscha-mlp labels", "schema": "sscha-mlp/labels/1"}

T = TypeVar("T")


@dataclass(frozen=True)
class StoredFailure:
    """A configuration that a reference could not label.

    Parameters
    ----------
    key
        Content of the configuration, see :func:`sscha_mlp.data.labels.configuration_key`.
    reason
        Why, in words.
    """

    key: str
    reason: str


class LabelStore:
    """Finished labels in one file, found by configuration and reference.

    Parameters
    ----------
    path
        The database, usually ``labels.db``; it is made if it is not there.

    Raises
    ------
    InputError
        If the file is there and is not an ASE database.
    SschaMlpError
        If it cannot be made.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.exists():
            self._create()
        self._read(lambda db: db.count())
        # As long as this connection is open, closing another one does not fold the write-ahead
        # log into the database, which takes longer than an insert.
        anchor = sqlite3.connect(self.path, check_same_thread=False)
        anchor.execute("SELECT COUNT(*) FROM systems").fetchall()
        self._close = weakref.finalize(self, anchor.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Fold everything into the one file; the store stays usable, with slower inserts."""
        self._close()

    def get(self, key: str, identity: str) -> Label | None:
        """Return the label of a configuration by a reference, or None.

        Parameters
        ----------
        key
            Content of the configuration.
        identity
            Identity of the reference, as text.
        """
        selection = {"configuration": _hash_value(key), "reference": _identity_value(identity)}
        rows = self._read(lambda db: list(db.select(**selection)))
        return next((_row_label(row) for row in rows if _is_label(row)), None)

    def get_all(self, identity: str) -> dict[str, Label]:
        """Return every label by a reference, by the key of the configuration: one query."""
        rows = self._read(lambda db: list(db.select(reference=_identity_value(identity))))
        return {_row_key(row): _row_label(row) for row in reversed(rows) if _is_label(row)}

    def get_failures(self, identity: str | None = None) -> tuple[StoredFailure, ...]:
        """Return the failures that no later attempt has turned into a label.

        Parameters
        ----------
        identity
            Only those of this reference; of all references by default.
        """
        selection = {} if identity is None else {"reference": _identity_value(identity)}
        failures: dict[tuple[str, str], StoredFailure] = {}
        for row in self._read(lambda db: list(db.select(**selection))):
            place = (row.get("reference", ""), _row_key(row))
            if _is_label(row):
                failures.pop(place, None)
            else:
                failures[place] = StoredFailure(place[1], str(row.data.get("reason", "")))
        return tuple(failures.values())

    def put(self, atoms: Atoms, identity: str, label: Label) -> None:
        """Store a label; it is on the disk when this returns.

        Raises
        ------
        SschaMlpError
            If it cannot be written, for example because the disk is full.
        """
        copy = atoms.copy()
        copy.set_constraint()
        copy.calc = SinglePointCalculator(
            copy,
            energy=label.energy,
            forces=label.forces.copy(),
            stress=full_3x3_to_voigt_6_stress(label.stress),
        )
        self._insert(copy, atoms, identity, {})

    def put_failure(self, atoms: Atoms, identity: str, reason: str) -> None:
        """Store that a reference failed on a configuration, and why.

        Raises
        ------
        SschaMlpError
            If it cannot be written.
        """
        copy = atoms.copy()
        copy.set_constraint()
        self._insert(copy, atoms, identity, {"reason": reason})

    def _insert(self, row: Atoms, atoms: Atoms, identity: str, data: dict[str, Any]) -> None:
        keys = {
            "configuration": _hash_value(configuration_key(atoms)),
            "reference": _identity_value(identity),
            "failed": "reason" in data,
        }
        data = {**data, "identity": identity}
        self._write(lambda db: db.write(row, key_value_pairs=dict(keys), data=dict(data)))

    def _create(self) -> None:
        """Make the database under another name and move it here: it is whole or not there."""
        with self._explained("written", SschaMlpError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(
                prefix=f".{self.path.name}.", dir=self.path.parent
            ) as directory:
                draft = Path(directory) / self.path.name
                with _session(draft) as db:
                    db.metadata = _TITLE
                with contextlib.closing(sqlite3.connect(draft)) as connection:
                    connection.execute("PRAGMA journal_mode=WAL")
                _place(draft, self.path)

    def _read(self, action: Callable[[Any], T]) -> T:
        with self._explained("read", InputError):
            return _patiently(self.path, action)

    def _write(self, action: Callable[[Any], T]) -> T:
        with self._explained("written", SschaMlpError):
            return _patiently(self.path, action)

    @contextlib.contextmanager
    def _explained(self, verb: str, kind: type[SschaMlpError]) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as err:
            if isinstance(err, sqlite3.OperationalError):
                kind = SschaMlpError
            raise kind(
                f"The label store {self.path} cannot be {verb} ({err}). Is the disk full, the "
                "file not a label store, or not yours? The labels stored before are safe; run "
                "the same command again to go on."
            ) from err


@contextlib.contextmanager
def _session(path: Path) -> Iterator[Any]:
    """Open the database, commit at the end, and close it whatever happens."""
    # Without ASE's lock file: a killed process would leave it behind, and SQLite locks itself.
    db = ase.db.connect(str(path), type="db", use_lock_file=False, serial=True)
    try:
        with db:
            yield db
    finally:
        if db.connection is not None:
            db.connection.close()


def _patiently(path: Path, action: Callable[[Any], T]) -> T:
    """Apply an action to the database; try again when another process holds it."""
    for pause in (*_PAUSES, None):
        try:
            with _session(path) as db:
                return action(db)
        except sqlite3.OperationalError as err:
            busy = "locked" in str(err) or "busy" in str(err)
            if not busy or pause is None:
                raise
            time.sleep(pause)
    raise AssertionError("unreachable")


def _place(draft: Path, path: Path) -> None:
    """Give a finished file its name, unless another process was faster."""
    try:
        os.link(draft, path)
    except FileExistsError:
        return
    except OSError:  # a file system without hard links
        if not path.exists():
            draft.rename(path)


def _hash_value(digest: str) -> str:
    """Return a hash as ASE accepts it: a text that no one can take for a number."""
    return f"sha256-{digest}"


def _identity_value(identity: str) -> str:
    return _hash_value(hashlib.sha256(identity.encode()).hexdigest())


def _row_key(row: Any) -> str:
    return str(row.get("configuration", "")).removeprefix("sha256-")


def _is_label(row: Any) -> bool:
    return all(row.get(name) is not None for name in ("energy", "forces", "stress"))


def _row_label(row: Any) -> Label:
    return Label(row.energy, row.forces, voigt_6_to_full_3x3_stress(row.stress))
