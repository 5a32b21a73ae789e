"""One SQLite file that several processes write: sessions, waiting for each other, a whole file."""

import contextlib
import fcntl
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import ase.db

from sscha_mlp.errors import InputError, SschaMlpError

_PAUSES: Final = (0.5, 1.0, 2.0, 4.0)

_FOLD_EVERY: Final = 1.0
"""Seconds between two times that new rows are put into the one file."""

_FOLDED: Final[dict[Path, float]] = {}

_DAMAGED: Final = ("malformed", "not a database", "corrupt")

T = TypeVar("T")


def create(path: Path, metadata: dict[str, str]) -> None:
    """Make a database under another name and move it here: it is whole or not there.

    Raises
    ------
    SschaMlpError
        If it cannot be made.
    """
    with explained(path, "written", SschaMlpError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as directory:
            draft = Path(directory) / path.name
            with _session(draft) as db:
                db.metadata = metadata
            with contextlib.closing(sqlite3.connect(draft)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
            _place(draft, path)


def read(path: Path, action: Callable[[Any], T]) -> T:
    """Apply an action that only reads.

    Raises
    ------
    InputError
        If the file is not an ASE database, or a row that is read is damaged.
    SschaMlpError
        If it is held by others all the time, or cannot be opened.
    """
    with explained(path, "read", InputError):
        return _patiently(path, action)


def write(path: Path, action: Callable[[Any], T]) -> T:
    """Apply an action in one transaction; it is on the disk when this returns.

    Raises
    ------
    InputError
        If a row that is read is damaged.
    SschaMlpError
        If it cannot be written, for example because the disk is full.
    """
    with explained(path, "written", SschaMlpError):
        with _in_turn(path):
            result = _patiently(path, action)
        _fold_in(path)
    return result


def fold_in(path: Path) -> None:
    """Put the newest rows into the one file, as far as nobody reads older ones.

    They are safe before: in the write-ahead log beside it.  But who copies the one file has all of
    them then.
    """
    _FOLDED[path] = time.monotonic()
    with (
        contextlib.suppress(sqlite3.OperationalError),  # the next one does it
        contextlib.closing(sqlite3.connect(path, timeout=1.0)) as connection,
    ):
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def _fold_in(path: Path) -> None:
    """Do so once in a while: it takes longer than an insert."""
    if time.monotonic() - _FOLDED.get(path, -_FOLD_EVERY) >= _FOLD_EVERY:
        fold_in(path)


def back_up(path: Path, target: Path) -> None:
    """Write all rows to one new file, also while others write to the store.

    Raises
    ------
    InputError
        If there is something of that name, or the store cannot be read.
    SschaMlpError
        If it cannot be written.
    """
    for one in (target, *companions(target)):
        if one.exists():
            raise InputError(f"{one} is there already; name a backup that does not exist yet.")
    with (
        explained(target, "written", SschaMlpError),
        tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as directory,
    ):
        draft = Path(directory) / target.name
        with (
            contextlib.closing(sqlite3.connect(path, timeout=20.0)) as source,
            contextlib.closing(sqlite3.connect(draft)) as copy,
        ):
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE").fetchall()
        _place(draft, target)


def companions(path: Path) -> tuple[Path, Path]:
    """Return the files that SQLite keeps beside a store: its newest rows may be there alone."""
    return path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")


@contextlib.contextmanager
def explained(path: Path, verb: str, kind: type[SschaMlpError]) -> Iterator[None]:
    """Turn an error of SQLite, of the disk or of a damaged row into a sentence."""
    try:
        yield
    except (ValueError, TypeError, AttributeError, LookupError) as err:  # what a row leads to
        reason = " ".join(str(err).split())
        raise InputError(
            f"The label store {path} is damaged ({type(err).__name__}: {reason}); sscha-mlp labels "
            f"{path} verify says which rows are. Take a copy of it that is whole, or begin a new "
            "one."
        ) from err
    except (sqlite3.Error, OSError) as err:
        if isinstance(err, sqlite3.DatabaseError) and any(one in str(err) for one in _DAMAGED):
            names = " and ".join(one.name for one in companions(path))
            raise InputError(
                f"The label store {path} cannot be read ({err}): it is damaged, or not a label "
                f"store. Take a copy that is whole: with {names}, where they lie beside it, or "
                "one that sscha-mlp labels STORE backup has made."
            ) from err
        if isinstance(err, sqlite3.OperationalError):
            kind = SschaMlpError
        raise kind(
            f"The label store {path} cannot be {verb} ({err}). Is the disk full, the "
            "file not a label store, or not yours? The labels stored before are safe; run "
            "the same command again to go on."
        ) from err


@contextlib.contextmanager
def _in_turn(path: Path) -> Iterator[None]:
    """Wait for the other writers of a store in the order in which they came.

    SQLite asks again and again for its lock, after longer and longer pauses, and who comes later
    may be faster.  The lock here is that of the directory: one on the file itself would be mixed
    up with SQLite's.  It ends with the process that holds it.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # a file system without such locks: SQLite's are left
            descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


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
