"""Files that are either complete or not there."""

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

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
