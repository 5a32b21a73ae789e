"""The index of a label store: a side table that finds rows by key and by content.

ASE's own tables find text values by reading all of them.  This one has, for each row of ASE's
table ``systems``, the hashes of configuration and reference, whether it is a label, and the
fingerprint of :mod:`sscha_mlp.data.matching`.  It is made from the rows, so that a store of an
earlier version is indexed when it is opened, and programs that do not know it lose nothing.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Final, Self

from ase import Atoms

from sscha_mlp.data.labels import configuration_key
from sscha_mlp.data.matching import Fingerprint, fingerprint
from sscha_mlp.errors import InputError

_CHUNK: Final = 500
_SCHEMA: Final = (
    """CREATE TABLE IF NOT EXISTS sscha_label_index (
        id INTEGER PRIMARY KEY, reference BLOB NOT NULL, configuration BLOB NOT NULL,
        state TEXT NOT NULL, reason TEXT NOT NULL,
        formula TEXT, volume REAL, wave1 REAL, wave2 REAL, wave3 REAL)""",
    """CREATE INDEX IF NOT EXISTS sscha_label_by_key
        ON sscha_label_index (reference, configuration)""",
    """CREATE INDEX IF NOT EXISTS sscha_label_by_content
        ON sscha_label_index (reference, formula, wave1)""",
    """CREATE TABLE IF NOT EXISTS sscha_reference (
        reference BLOB PRIMARY KEY, identity TEXT NOT NULL)""",
)


class State(StrEnum):
    """What a row of a label store is."""

    LABEL = "label"
    FAILED = "failed"
    QUARANTINED = "quarantined"


@dataclass(frozen=True)
class Entry:
    """One row of the index.

    Parameters
    ----------
    row
        Number of the row in ASE's table.
    key
        Content of the configuration, see :func:`sscha_mlp.data.labels.configuration_key`.
    state
        What the row is.
    reason
        Why it failed or was put into quarantine; empty for a label.
    """

    row: int
    key: str
    state: State
    reason: str


@dataclass(frozen=True, eq=False)
class Written:
    """What a row holds, for the index.

    Parameters
    ----------
    atoms
        The configuration.
    identity
        Identity of the reference.
    state
        What the row is.
    reason
        Why it failed or is in quarantine; empty for a label.
    """

    atoms: Atoms
    identity: str
    state: State
    reason: str = ""

    @cached_property
    def key(self) -> str:
        """Content of the configuration; empty where it is not finite."""
        return _key(self.atoms)

    @cached_property
    def fingerprint(self) -> Fingerprint | None:
        """By which it is found in another order and place; None where it is no crystal."""
        return _fingerprint(self.atoms)

    def computed(self) -> Self:
        """Return this with both computed, before a transaction keeps others waiting.

        Raises
        ------
        InputError
            If a position or the cell is not finite.
        """
        self.__dict__["key"] = configuration_key(self.atoms)
        _ = self.fingerprint
        return self


def prepare(db: Any) -> None:
    """Make the tables of the index where they are not there."""
    for statement in _SCHEMA:
        db.connection.execute(statement)


def is_prepared(db: Any) -> bool:
    """Whether the tables of the index are there."""
    query = "SELECT COUNT(*) FROM sqlite_master WHERE name IN (?, ?, ?, ?)"
    names = (
        "sscha_label_index",
        "sscha_reference",
        "sscha_label_by_key",
        "sscha_label_by_content",
    )
    return bool(db.connection.execute(query, names).fetchone()[0] == len(names))


def missing_rows(db: Any) -> list[int]:
    """Return up to a few hundred rows that are not in the index."""
    query = (
        "SELECT id FROM systems WHERE id NOT IN (SELECT id FROM sscha_label_index) "
        f"ORDER BY id LIMIT {_CHUNK}"
    )
    return [row for (row,) in db.connection.execute(query)]


def add_rows(db: Any, rows: Sequence[int]) -> None:
    """Index rows that an earlier version, or ASE itself, has written."""
    for number in rows:
        row = db.get(id=number)
        identity = str(row.data.get("identity", ""))
        reason = str(row.data.get("reason", ""))
        state = State.LABEL if is_label(row) else State.FAILED
        if state is State.LABEL and row.data.get("quarantined"):
            state, reason = State.QUARANTINED, str(row.data["quarantined"])
        atoms = row.toatoms()
        key = str(row.get("configuration", "")).removeprefix("sha256-")
        insert(db, number, Written(atoms, identity, state, reason), key=key or None)


def insert(db: Any, row: int, written: "Written", *, key: str | None = None) -> None:
    """Index one row; in the transaction that writes the row."""
    reference = digest(written.identity)
    found = written.fingerprint
    key = key or written.key
    content: tuple[Any, ...] = (None, None, None, None, None)
    if found is not None:
        content = (found.formula, found.volume, *found.waves)
    db.connection.execute(
        "INSERT OR REPLACE INTO sscha_label_index VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (row, reference, _key_bytes(key), str(written.state), written.reason, *content),
    )
    db.connection.execute(
        "INSERT OR IGNORE INTO sscha_reference VALUES (?, ?)", (reference, written.identity)
    )


def set_state(db: Any, row: int, state: State, reason: str) -> None:
    """Change what a row is."""
    db.connection.execute(
        "UPDATE sscha_label_index SET state = ?, reason = ? WHERE id = ?", (str(state), reason, row)
    )


def by_key(db: Any, key: str, identity: str) -> list[Entry]:
    """Return the rows of a configuration by its exact content, the oldest first."""
    where = "i.reference = ? AND i.configuration = ?"
    return _entries(db, where, (digest(identity), _key_bytes(key)))


def by_content(db: Any, wanted: Fingerprint, identity: str) -> list[Entry]:
    """Return the rows that may hold a configuration in another order or place, oldest first."""
    where = "i.reference = ? AND i.formula = ? AND i.volume BETWEEN ? AND ?"
    values: list[Any] = [digest(identity), wanted.formula]
    values += [wanted.volume - wanted.volume_range, wanted.volume + wanted.volume_range]
    for number, (wave, margin) in enumerate(zip(wanted.waves, wanted.waves_range, strict=True), 1):
        where += f" AND i.wave{number} BETWEEN ? AND ?"
        values += [wave - margin, wave + margin]
    return _entries(db, where, values)


def of_reference(db: Any, identity: str, *, last: int | None = None) -> list[Entry]:
    """Return all rows of a reference, or the last few, in the order they were written."""
    entries = _entries(db, "i.reference = ?", (digest(identity),), newest=last)
    return sorted(entries, key=lambda entry: entry.row)


def failures(db: Any, identity: str | None) -> Iterator[Entry]:
    """Yield the failed rows of a reference that no label has replaced, the oldest first."""
    where = "i.state = 'failed' AND NOT EXISTS (SELECT 1 FROM sscha_label_index l WHERE "
    where += "l.reference = i.reference AND l.configuration = i.configuration AND "
    where += "(l.state != 'failed' OR l.id > i.id))"  # the last failure speaks for all
    values: tuple[Any, ...] = ()
    if identity is not None:
        where, values = f"{where} AND i.reference = ?", (digest(identity),)
    return iter(_entries(db, where, values))


def digest(identity: str) -> bytes:
    """Return the SHA-256 of a reference's identity."""
    return hashlib.sha256(identity.encode()).digest()


def is_label(row: Any) -> bool:
    """Whether a row of ASE's table has energy, forces and stress."""
    return all(row.get(name) is not None for name in ("energy", "forces", "stress"))


def _entries(
    db: Any, where: str, values: Sequence[Any], *, newest: int | None = None
) -> list[Entry]:
    # A row that someone has deleted with ASE is not found any more.
    query = (
        "SELECT i.id, i.configuration, i.state, i.reason FROM sscha_label_index i "
        f"JOIN systems s ON s.id = i.id WHERE {where} "
    )
    query += "ORDER BY i.id" if newest is None else f"ORDER BY i.id DESC LIMIT {newest:d}"
    rows = db.connection.execute(query, tuple(values))
    return [Entry(row, key.hex(), State(state), why) for row, key, state, why in rows]


def _key_bytes(key: str) -> bytes:
    try:
        return bytes.fromhex(key)
    except ValueError:  # not a hash: a key that someone has made up, or written with ASE
        return key.encode()


def _key(atoms: Atoms) -> str:
    try:
        return configuration_key(atoms)
    except InputError:  # positions that are not finite: the row is there, and can be verified
        return ""


def _fingerprint(atoms: Atoms) -> Fingerprint | None:
    try:
        found = fingerprint(atoms)
    except (ValueError, ArithmeticError):
        return None
    return found if found is not None and found.volume == found.volume else None
