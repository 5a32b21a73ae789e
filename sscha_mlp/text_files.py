"""Files that a user names: text of a size that somebody has written, and ordinary files."""

from pathlib import Path
from typing import Final

from sscha_mlp.errors import StructureError

LARGEST_SETTINGS: Final = 1_000_000
"""Bytes of a file of settings above which it is another file that was named by mistake."""


def written_text(path: str | Path, *, largest: int = LARGEST_SETTINGS) -> str:
    """Return the text of a file that somebody wrote, such as settings.

    Raises
    ------
    OSError
        If it is not there or cannot be read.
    ValueError
        If it is a pipe or a device, larger than `largest` bytes, or no text.
    """
    path = Path(path)
    size = path.stat().st_size
    if not path.is_file() and not path.is_dir():
        raise ValueError("it is no ordinary file; give one that can be read again")
    if size > largest:
        raise ValueError(
            f"it has {size / 1e6:.3g} MB, and such a file has less than {largest / 1e6:g} MB"
        )
    return path.read_text(encoding="utf-8")


def check_file(path: Path) -> None:
    """Refuse a path that is no file with configurations or a structure.

    Raises
    ------
    StructureError
        If there is nothing, a directory, or a pipe or device.
    """
    if path.is_dir():
        raise StructureError(f"{path} is a directory; give a file in it.")
    if path.exists() and not path.is_file():
        raise StructureError(f"{path} is no ordinary file; write its content to one.")
    if not path.exists():
        raise StructureError(f"The file {path} does not exist.")
