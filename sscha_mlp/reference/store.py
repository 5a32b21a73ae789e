"""Labels that are safe on disk: an ASE database (SQLite) that finds them again by content.

Each row is one configuration with its energy, forces and stress as ASE stores them, so that
``ase db labels.db`` shows them.  Its keys ``configuration`` and ``reference`` are the hashes of
the configuration (:func:`sscha_mlp.data.labels.configuration_key`) and of the reference's
identity, whose text is in the row's data.  A row without results is a failure, with its reason.
A row in quarantine has results that are not believed, and the reason.

A label is found by the exact content first, and then by content up to the order of the atoms,
the origin and periodic wrapping (:mod:`sscha_mlp.data.matching`); its forces are put in order.

The database is in write-ahead mode, where a durable insert costs one synchronisation of the disk,
and writers take turns.  All of them must run on one machine.  While a store is open, or after a
kill, the labels of the last second may be in ``labels.db-wal`` alone: copy ``labels.db-wal`` and
``labels.db-shm`` with it, or take :meth:`LabelStore.back_up`.
"""

import os
import sqlite3
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db.core import now
from ase.db.row import AtomsRow
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress

from sscha_mlp.data.labels import Label, configuration_key
from sscha_mlp.data.matching import fingerprint, match
from sscha_mlp.errors import InputError
from sscha_mlp.reference import database, index
from sscha_mlp.reference.index import Entry, State, Written

_RANKS: Final = {State.LABEL: 0, State.QUARANTINED: 1, State.FAILED: 2}
_TITLE: Final = {"title": "sscha-mlp labels", "schema": "sscha-mlp/labels/1"}


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


@dataclass(frozen=True, eq=False)
class Found:
    """What a store knows of a configuration.

    Parameters
    ----------
    row
        Number of the row.
    state
        A label, a failure, or a label in quarantine.
    label
        The label, in the order of the atoms that was asked for; None for a failure.
    reason
        Why it failed or is in quarantine.
    exact
        Whether the stored configuration is the same to the last digit of its key; otherwise its
        atoms are in another order, its origin is elsewhere, or it is wrapped in another way.
    """

    row: int
    state: State
    label: Label | None
    reason: str = ""
    exact: bool = True


class LabelStore:
    """Finished labels in one file, found by configuration and reference.

    Parameters
    ----------
    path
        The database, usually ``labels.db``; it is made if it is not there.  One of an earlier
        version gets its index now.

    Raises
    ------
    InputError
        If the file is there and is not an ASE database.
    SschaMlpError
        If it cannot be made.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        if not self.path.exists():
            database.create(self.path, _TITLE)
        database.read(self.path, lambda db: db.metadata)
        self._index()
        # As long as this connection is open, closing another one does not fold the write-ahead
        # log into the database, which takes longer than an insert.
        with database.explained(self.path, "read", InputError):
            anchor = sqlite3.connect(self.path, check_same_thread=False)
            anchor.execute("SELECT id FROM systems LIMIT 1").fetchall()
        self._close = weakref.finalize(self, anchor.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Fold everything into the one file; the store stays usable, with slower inserts."""
        self._close()

    def fold_in(self) -> None:
        """Put the newest rows into the one file: whoever copies it has all of them then."""
        database.fold_in(self.path)

    def back_up(self, target: str | Path) -> None:
        """Write all rows to one new file, also while others write to the store.

        Raises
        ------
        InputError
            If there is something of that name.
        SschaMlpError
            If it cannot be written.
        """
        database.back_up(self.path, Path(target).absolute())

    # --- looking up -----------------------------------------------------------------------

    def find(self, configurations: Sequence[Atoms], identity: str) -> tuple[Found | None, ...]:
        """Return what is known of configurations, in any order of their atoms and any origin.

        A label goes before one in quarantine, that before a failure, and the oldest goes first.

        Parameters
        ----------
        identity
            Identity of the reference, as text.
        """
        return database.read(
            self.path, lambda db: tuple(_find(db, atoms, identity) for atoms in configurations)
        )

    def get(self, key: str, identity: str) -> Label | None:
        """Return the label of a configuration by a reference, or None.

        Parameters
        ----------
        key
            Exact content of the configuration.
        identity
            Identity of the reference, as text.
        """
        return self.get_many([key], identity).get(key)

    def get_many(self, keys: Iterable[str], identity: str) -> dict[str, Label]:
        """Return the labels of several configurations by their keys; the others are left out."""

        def look(db: Any) -> dict[str, Label]:
            found = {key: _best(index.by_key(db, key, identity)) for key in keys}
            return {
                key: _read_label(db, one.row)
                for key, one in found.items()
                if one is not None and one.state is State.LABEL
            }

        return database.read(self.path, look)

    def get_all(self, identity: str) -> dict[str, Label]:
        """Return every label by a reference, by the key of the configuration.

        For a large store :meth:`find` or :meth:`get_many` is what you want.
        """

        def look(db: Any) -> dict[str, Label]:
            rows = [one for one in index.of_reference(db, identity) if one.state is State.LABEL]
            return {one.key: _read_label(db, one.row) for one in reversed(rows)}

        return database.read(self.path, look)

    def latest(self, identity: str, count: int) -> list[tuple[Atoms, Label]]:
        """Return the last labels of a reference with their configurations, the oldest first."""

        def look(db: Any) -> list[tuple[Atoms, Label]]:
            rows = index.of_reference(db, identity, last=count)
            kept = [one.row for one in rows if one.state is State.LABEL]
            return [(read_atoms(db, row), _read_label(db, row)) for row in kept]

        return database.read(self.path, look)

    def get_failures(self, identity: str | None = None) -> tuple[StoredFailure, ...]:
        """Return the failures that no later attempt has turned into a label.

        Parameters
        ----------
        identity
            Only those of this reference; of all references by default.
        """

        def look(db: Any) -> tuple[StoredFailure, ...]:
            return tuple(StoredFailure(one.key, one.reason) for one in index.failures(db, identity))

        return database.read(self.path, look)

    # --- writing --------------------------------------------------------------------------

    def put(self, atoms: Atoms, identity: str, label: Label, *, quarantine: str = "") -> int:
        """Store a label; it is on the disk when this returns.

        Parameters
        ----------
        quarantine
            Why the label is not believed, if it is not.

        Returns
        -------
        Number of the row.

        Raises
        ------
        SschaMlpError
            If it cannot be written, for example because the disk is full.
        """
        state = State.QUARANTINED if quarantine else State.LABEL
        written = Written(atoms, identity, state, quarantine)
        return self._insert(labelled_atoms(atoms, label), written)

    def put_failure(self, atoms: Atoms, identity: str, reason: str) -> int:
        """Store that a reference failed on a configuration, and why.

        Raises
        ------
        SschaMlpError
            If it cannot be written.
        """
        return self._insert(_bare(atoms), Written(atoms, identity, State.FAILED, reason))

    def put_many(self, pairs: Iterable[tuple[Atoms, Label]], identity: str) -> int:
        """Store many labels in one transaction: all of them or, after a crash, none.

        Returns
        -------
        How many.

        Raises
        ------
        SschaMlpError
            If they cannot be written.
        """
        rows = [
            (
                _as_row(labelled_atoms(atoms, label)),
                Written(atoms, identity, State.LABEL).computed(),
            )
            for atoms, label in pairs
        ]

        def add(db: Any) -> int:
            for row, written in rows:
                _add(db, row, written)
            return len(rows)

        return database.write(self.path, add)

    def quarantine(self, row: int, reason: str) -> None:
        """Keep a label, but believe it no longer.

        Raises
        ------
        InputError
            If there is no such label.
        SschaMlpError
            If it cannot be written.
        """
        self._change(row, State.QUARANTINED, reason)

    def release(self, row: int) -> None:
        """Believe a label in quarantine again.

        Raises
        ------
        InputError
            If there is no such label.
        SschaMlpError
            If it cannot be written.
        """
        self._change(row, State.LABEL, "")

    def _change(self, row: int, state: State, reason: str) -> None:
        def change(db: Any) -> None:
            try:
                known = db.get(id=row)
            except KeyError as err:
                raise InputError(f"{self.path} has no row {row}.") from err
            if not index.is_label(known):
                raise InputError(f"Row {row} of {self.path} is a failure, not a label.")
            db.update(row, quarantined=state is State.QUARANTINED, data={"quarantined": reason})
            index.set_state(db, row, state, reason)

        database.write(self.path, change)

    def _insert(self, row: Atoms, written: Written) -> int:
        # All that can be computed is, before the transaction keeps other writers waiting.
        known, ready = written.computed(), _as_row(row)
        return database.write(self.path, lambda db: _add(db, ready, known))

    def _index(self) -> None:
        """Index what is not in the index: all of an old store, or what ASE has added."""
        if not database.read(self.path, index.is_prepared):
            database.write(self.path, index.prepare)
        while rows := database.read(self.path, index.missing_rows):
            database.write(self.path, partial(index.add_rows, rows=rows))


def labelled_atoms(atoms: Atoms, label: Label) -> Atoms:
    """Return a bare copy of a configuration with its label attached as ASE attaches it."""
    copy = _bare(atoms)
    copy.calc = SinglePointCalculator(
        copy,
        energy=label.energy,
        forces=label.forces.copy(),
        stress=full_3x3_to_voigt_6_stress(label.stress),
    )
    return copy


def _bare(atoms: Atoms) -> Atoms:
    copy: Atoms = atoms.copy()
    copy.set_constraint()
    return copy


def _as_row(atoms: Atoms) -> AtomsRow:
    """Return a configuration as ASE writes it."""
    row = AtomsRow(atoms)
    row.ctime = now()
    row.user = os.getenv("USER")
    return row


def _add(db: Any, row: AtomsRow, written: Written) -> int:
    """Write a row and its entry in the index, in the transaction that is open."""
    keys = {
        "configuration": f"sha256-{written.key}",  # looks like no number
        "reference": f"sha256-{index.digest(written.identity).hex()}",
        "failed": written.state is State.FAILED,
    }
    data = {"identity": written.identity}
    if written.state is State.QUARANTINED:
        keys["quarantined"] = True
        data["quarantined"] = written.reason
    elif written.state is State.FAILED:
        data["reason"] = written.reason
    number = int(db.write(row, key_value_pairs=keys, data=data))
    index.insert(db, number, written)
    return number


def _find(db: Any, atoms: Atoms, identity: str) -> Found | None:
    exact = _best(index.by_key(db, configuration_key(atoms), identity))
    found = None if exact is None else _exactly(db, exact)
    if found is not None and found.state is State.LABEL:
        return found
    wanted = fingerprint(atoms)
    if wanted is not None:
        other = _elsewhere(db, atoms, index.by_content(db, wanted, identity))
        if other is not None and (found is None or other.state is State.LABEL):
            return other
    return found


def _exactly(db: Any, entry: Entry) -> Found:
    label = None if entry.state is State.FAILED else _read_label(db, entry.row)
    return Found(entry.row, entry.state, label, entry.reason)


def _elsewhere(db: Any, atoms: Atoms, entries: Sequence[Entry]) -> Found | None:
    """Return the best of the candidates that hold this configuration, its forces in order."""
    for entry in sorted(entries, key=_rank):
        order = match(read_atoms(db, entry.row), atoms)
        if order is None:
            continue
        found = replace(_exactly(db, entry), exact=False)
        if found.label is None:
            return found
        label = Label(found.label.energy, found.label.forces[order], found.label.stress)
        return replace(found, label=label)
    return None


def _best(entries: Sequence[Entry]) -> Entry | None:
    """Return the oldest label; without one the oldest in quarantine; else the last failure."""
    if not entries:
        return None
    best = min(entries, key=_rank)
    return entries[-1] if best.state is State.FAILED else best


def _rank(entry: Entry) -> tuple[int, int]:
    return _RANKS[entry.state], entry.row


def read_atoms(db: Any, row: int) -> Atoms:
    """Return the bare configuration of a row."""
    atoms: Atoms = db.get(id=row).toatoms()
    atoms.calc = None
    return atoms


def _read_label(db: Any, row: int) -> Label:
    return row_label(db.get(id=row))


def row_label(row: Any) -> Label:
    """Return the label of a row of ASE's table.

    Raises
    ------
    InputError
        If a number is not finite.
    """
    return Label(row.energy, row.forces, voigt_6_to_full_3x3_stress(row.stress))
