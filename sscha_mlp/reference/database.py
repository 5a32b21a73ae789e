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
    with explained(path, "written", SschaMlpError), _in_turn(path):
        return _patiently(path, action)


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
