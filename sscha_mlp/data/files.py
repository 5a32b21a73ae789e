"""Files that are either complete or not there."""

import contextlib
import errno
import io
import json
import os
import stat
import tempfile
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from sscha_mlp.errors import InputError, SschaMlpError


def write_atomic(path: str | Path, content: str | bytes) -> None:
    """Write a file so that a reader, or a crash, never sees half of it.

    The content goes to a temporary file beside the target, is forced to the disk, and takes the
    target's name.  Text is encoded in UTF-8.

    Raises
    ------
    SschaMlpError
        If the file cannot be written, for example because the disk is full.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    try:
        _write_and_rename(path, data)
    except OSError as err:
        raise SschaMlpError(
            f"{path} cannot be written ({err.strerror or err}); "
            "free some space or check the permissions. What was there before is unchanged."
        ) from err


def open_own(path: Path, *, append: bool = False) -> TextIO:
    """Open a file of ours to read and write it, or to append to it, and make it if needed.

    Nothing is cut off.  What lies there under this name must be a plain file: through a symbolic
    link we would write into a file of somebody else, and a named pipe would wait for ever.

    Parameters
    ----------
    path
        The file, for text in UTF-8.
    append
        Whether everything is written at its end.

    Raises
    ------
    InputError
        If something else has this name.
    OSError
        If it cannot be opened.
    """
    flags = os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    flags |= os.O_WRONLY | os.O_APPEND if append else os.O_RDWR
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as err:
        if err.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise _not_plain(path) from err
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _not_plain(path)
    return os.fdopen(descriptor, "a" if append else "r+", encoding="utf-8")


def read_plain(path: Path) -> bytes:
    """Return what a plain file holds; from a pipe that nobody writes to one would read for ever.

    Raises
    ------
    InputError
        If something else has its name.
    OSError
        If it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    kind = os.fstat(descriptor).st_mode
    if stat.S_ISREG(kind):
        with os.fdopen(descriptor, "rb") as stream:
            return stream.read()
    os.close(descriptor)
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise InputError(f"{path} is no plain file (a pipe or a device has its name); give a file.")


def _not_plain(path: Path) -> InputError:
    return InputError(
        f"{path} is no plain file (a symbolic link, a directory or a pipe has its name), and is "
        "left as it is; remove it."
    )


def make_directory(path: str | Path) -> Path:
    """Make a directory and those above it, where they are not there yet.

    Raises
    ------
    InputError
        If it cannot be made, for example because a file has its name.
    """
    directory = Path(path)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise InputError(
            f"The directory {directory} cannot be made ({err.strerror}); choose another."
        ) from err
    return directory


def write_json_atomic(path: str | Path, value: Any) -> None:
    """Write a value as indented JSON with :func:`write_atomic`; NaN and infinity are refused.

    Raises
    ------
    SschaMlpError
        If the file cannot be written.
    ValueError
        If the value holds NaN or infinity.
    """
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_npz_atomic(path: str | Path, /, **arrays: NDArray[Any]) -> None:
    """Write arrays to an ``.npz`` file with :func:`write_atomic`, without pickles.

    Raises
    ------
    SschaMlpError
        If the file cannot be written.
    """
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_atomic(path, buffer.getvalue())


def _write_and_rename(path: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        draft.chmod(_permissions(path))
        draft.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
    _sync_directory(path.parent)


def _permissions(path: Path) -> int:
    """Return those of the file that is replaced, or those that the umask gives."""
    with contextlib.suppress(OSError):
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _sync_directory(directory: Path) -> None:
    """Make the rename itself durable, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
