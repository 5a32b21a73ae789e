"""The lines of a text file, read one after the other, with their numbers for what is wrong."""

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from sscha_mlp.errors import StructureError


class Text:
    """The lines of a file that are not blank, with their numbers."""

    def __init__(self, path: Path, lines: Iterable[str]) -> None:
        self.path = path
        self.number = 0
        self._lines = enumerate(lines, start=1)
        self._again: str | None = None

    def line(self, wanted: str) -> str:
        """Return the next line, or fail because the file ends where `wanted` should be."""
        found = self.line_or_none()
        if found is None:
            self.fail(f"the file ends where {wanted} should be; it is truncated, write it again")
        return found

    def line_or_none(self) -> str | None:
        """Return the next line, or None at the end of the file."""
        if self._again is not None:
            line, self._again = self._again, None
            return line
        for number, line in self._lines:
            self.number = number
            if line.strip():
                return line.rstrip("\r\n")
        return None

    def skip(self, count: int) -> None:
        """Go past as many lines, blank ones included."""
        for number, _ in itertools.islice(self._lines, count):
            self.number = number

    def put_back(self, line: str) -> None:
        """Let the next call return this line."""
        self._again = line

    def fail(self, reason: str, line: int | None = None) -> NoReturn:
        """Say what is wrong, and where."""
        raise StructureError(f"{self.path}, line {line or self.number}: {reason}.")
