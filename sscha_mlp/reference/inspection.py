"""What is in a label store: records to list, counts, and a check of every row."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from ase import Atoms
from ase.db.core import T2000, YEAR

from sscha_mlp.data.labels import Label, LabelledConfiguration, configuration_key
from sscha_mlp.data.matching import fingerprint, match
from sscha_mlp.errors import InputError
from sscha_mlp.reference import database, index
from sscha_mlp.reference.index import State
from sscha_mlp.reference.store import LabelStore, read_atoms, row_label

_QUERY: Final = """
    SELECT i.id, r.identity, i.state, i.reason, i.configuration, s.natoms, s.energy, s.volume,
    s.ctime, i.formula
    FROM sscha_label_index i JOIN systems s ON s.id = i.id
    LEFT JOIN sscha_reference r ON r.reference = i.reference"""


@dataclass(frozen=True)
class Record:
    """One row of a label store.

    Parameters
    ----------
    row
        Its number.
    reference
        Identity of the reference, as text.
    state
        Label, failed or quarantined.
    reason
        Why it failed or is in quarantine.
    key
        Content of the configuration.
    formula
        Chemical formula; empty where the configuration is not periodic.
    n_atoms
        Number of atoms.
    energy
        eV; None for a failure.
    volume
        Å³; None where there is none.
    time
        When it was stored, s since 1970.
    """

    row: int
    reference: str
    state: State
    reason: str
    key: str
    formula: str
    n_atoms: int
    energy: float | None
    volume: float | None
    time: float


@dataclass(frozen=True)
class Selection:
    """Which rows to take; what is left out selects nothing away.

    Parameters
    ----------
    reference
        Part of the identity of the reference.
    state
        Label, failed or quarantined.
    lowest, highest
        Range of the energy per atom, eV/atom.
    since, until
        Range of the time, s since 1970.
    """

    reference: str = ""
    state: State | None = None
    lowest: float | None = None
    highest: float | None = None
    since: float | None = None
    until: float | None = None

    def takes(self, record: Record) -> bool:
        """Whether a record is in the selection."""
        if self.reference not in record.reference or self.state not in (None, record.state):
            return False
        if not _between(record.time, self.since, self.until):
            return False
        if self.lowest is None and self.highest is None:
            return True
        if record.energy is None:
            return False
        return _between(record.energy / record.n_atoms, self.lowest, self.highest)


@dataclass(frozen=True)
class Verified:
    """What was found wrong in a store.

    Parameters
    ----------
    n_rows
        Rows that were read.
    problems
        Row, or 0 for the file, and what is wrong with it.
    duplicates
        Rows that hold the same configuration of the same reference as an earlier one: row, the
        earlier row, and whether the two are written in the same way.
    failures
        Reason and number of rows that failed with it.
    """

    n_rows: int
    problems: tuple[tuple[int, str], ...]
    duplicates: tuple[tuple[int, int, bool], ...]
    failures: tuple[tuple[str, int], ...]


def open_existing(path: str | Path) -> LabelStore:
    """Open a label store that is there.

    Raises
    ------
    InputError
        If it is not there, or is not a label store.
    """
    if not Path(path).is_file():
        raise InputError(f"There is no label store {path}; give the path of a labels.db.")
    return LabelStore(path)


def records(store: LabelStore, selection: Selection | None = None) -> list[Record]:
    """Return the rows of a store in the order they were written.

    Parameters
    ----------
    selection
        Which rows; all by default.
    """
    wanted = selection or Selection()

    def look(db: Any) -> list[Record]:
        rows = db.connection.execute(_QUERY).fetchall()
        return [_record(row) for row in sorted(rows)]

    return [one for one in database.read(store.path, look) if wanted.takes(one)]


def configuration(store: LabelStore, row: int) -> tuple[Atoms, Label | None]:
    """Return the configuration of a row and its label, None for a failure.

    Raises
    ------
    InputError
        If there is no such row, its numbers are not finite, or its key is that of another
        configuration.
    """

    def look(db: Any) -> tuple[Atoms, Label | None]:
        try:
            found = db.get(id=row)
        except KeyError as err:
            raise InputError(f"{store.path} has no row {row}.") from err
        atoms = read_atoms(db, row)
        if found.get("configuration") != f"sha256-{configuration_key(atoms)}":
            raise InputError(
                f"Row {row} of {store.path} is damaged: the configuration is not the one that its "
                "key says."
            )
        return atoms, row_label(found) if index.is_label(found) else None

    return database.read(store.path, look)


def export(store: LabelStore, chosen: Iterable[Record]) -> list[LabelledConfiguration]:
    """Return labelled configurations; failures are left out.

    Raises
    ------
    InputError
        If a number of a row is not finite.
    """
    result = []
    for record in chosen:
        if record.state is State.FAILED:
            continue
        atoms, label = configuration(store, record.row)
        if label is not None:
            result.append(LabelledConfiguration(atoms, label, origin="store"))
    return result


def counts(found: Iterable[Record]) -> dict[str, dict[str, int]]:
    """Return the number of rows of each state for each reference."""
    table: dict[str, dict[str, int]] = {}
    for record in found:
        row = table.setdefault(record.reference, {str(state): 0 for state in State})
        row[str(record.state)] += 1
    return table


def verify(store: LabelStore, *, progress: Callable[[int, int], None] | None = None) -> Verified:
    """Read every row: finite numbers, the key of its content, duplicates, reasons of failures.

    Parameters
    ----------
    progress
        Called with the number of rows that are read, and their total.
    """
    everything = records(store)

    def look(db: Any) -> tuple[list[tuple[int, str]], list[tuple[int, int, bool]]]:
        problems = [(0, text) for text in _damage(db)]
        duplicates = []
        for number, record in enumerate(everything, 1):
            problem = _problem(db, record)
            if problem:
                problems.append((record.row, problem))
            elif record.state is not State.FAILED:
                duplicates += _earlier(db, record)
            if progress is not None:
                progress(number, len(everything))
        return problems, duplicates

    problems, duplicates = database.read(store.path, look)
    reasons: dict[str, int] = {}
    for record in everything:
        if record.state is not State.LABEL:
            reason = (
                record.reason if record.state is State.FAILED else f"quarantined: {record.reason}"
            )
            reasons[reason] = reasons.get(reason, 0) + 1
    ordered = tuple(sorted(reasons.items(), key=lambda item: -item[1]))
    return Verified(len(everything), tuple(problems), tuple(duplicates), ordered)


def _damage(db: Any) -> list[str]:
    rows = db.connection.execute("PRAGMA quick_check").fetchall()
    return [str(text) for (text,) in rows if text != "ok"]


def _problem(db: Any, record: Record) -> str:
    """Return what is wrong with a row, or an empty text."""
    try:
        row = db.get(id=record.row)
        atoms = row.toatoms()
        if configuration_key(atoms) != record.key:
            return "the configuration is not the one that its key says"
        if record.state is State.FAILED:
            return "" if record.reason else "a failure without a reason"
        label = row_label(row)
    except (InputError, ValueError, KeyError, TypeError, AttributeError) as err:
        return " ".join(str(err).split()) or type(err).__name__
    if label.forces.shape != (len(atoms), 3):
        return f"forces on {len(label.forces)} atoms for {len(atoms)}"
    return "" if record.reference else "no reference"


def _earlier(db: Any, record: Record) -> list[tuple[int, int, bool]]:
    """Return the first earlier row with the same configuration, if there is one."""
    atoms = read_atoms(db, record.row)
    wanted = fingerprint(atoms)
    same = [(one, True) for one in index.by_key(db, record.key, record.reference)]
    if wanted is not None:
        same += [(one, False) for one in index.by_content(db, wanted, record.reference)]
    for entry, exact in same:
        if entry.row >= record.row or entry.state is State.FAILED:
            continue
        if exact or match(read_atoms(db, entry.row), atoms) is not None:
            return [(record.row, entry.row, exact)]
    return []


def _record(row: tuple[Any, ...]) -> Record:
    number, identity, state, reason, key, n_atoms, energy, volume, time, formula = row
    return Record(
        row=int(number),
        reference=str(identity or ""),
        state=State(state),
        reason=str(reason),
        key=key.hex(),
        formula=str(formula or ""),
        n_atoms=int(n_atoms),
        energy=float(energy) if isinstance(energy, int | float) else None,
        volume=None if volume is None or not np.isfinite(volume) else float(volume),
        time=T2000 + float(time) * YEAR,  # ASE counts years
    )


def _between(value: float, low: float | None, high: float | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)


def parse_time(text: str) -> float:
    """Return a date, or a date and time, of the local clock as s since 1970.

    Raises
    ------
    InputError
        If it is none.
    """
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError as err:
        raise InputError(f"{text!r} is no date; write 2026-01-31 or 2026-01-31T12:00.") from err
