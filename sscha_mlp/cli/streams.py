"""Standard output and error for any terminal: every character fits, and none is a command.

A stream that is not UTF-8 gets its nearest characters, and JSON its own escapes.  Escape sequences
pass only where the screen draws with them; a text of a file that holds one shows it.
"""

import contextlib
import json
import re
import sys
from collections.abc import Iterator
from typing import Any, Final

from sscha_mlp.errors import printable

_DRAWN: Final = re.compile(r"\x1b\[(?:[\d;]*m|\d*[A-GJK]|\?25[hl])|[\n\t\r]")
"""Colours, movements and lines: what rich draws bars and tables with."""

_PLAIN_LINES: Final = re.compile(r"[\n\t\r]")

_GREEK: Final = (
    *("Gamma", "Delta", "Phi", "sigma", "omega", "alpha"),
    *("beta", "gamma", "kappa", "lambda", "theta", "chi"),
)
_NEAREST: Final = {
    **dict(zip("ÅåÖöüé×·−–—²³⁴⁻¹µμν≈█━╸╺•“”’", 'AaOouex.---234-1uun~#---*""\'', strict=True)),
    **dict(zip("ΓΔΦσωαβγκλθχ", _GREEK, strict=True)),
    "±": "+-",
    "…": "...",
    "°": " deg",
    "∞": "inf",
    "≤": "<=",
    "≥": ">=",
    "→": "->",
}
"""What is nearest to a character in ASCII."""


class FittingStream:
    """A text stream that takes every character.

    Parameters
    ----------
    stream
        Where it goes.
    as_json
        Whether what does not fit is escaped as JSON has it.
    """

    def __init__(self, stream: Any, *, as_json: bool) -> None:
        self._stream = stream
        self._as_json = as_json

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text; characters that do not fit become others."""
        if not isinstance(text, str):  # click finds out with bytes which kind of stream it has
            raise TypeError("this stream takes text")
        self._stream.write(self._fitting(self._harmless(text)))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def _harmless(self, text: str) -> str:
        """Keep what a screen draws with, and make everything else printable."""
        if text.isprintable():
            return text
        kept = _DRAWN if self._stream.isatty() else _PLAIN_LINES
        parts, last = [], 0
        for found in kept.finditer(text):
            parts += [printable(text[last : found.start()]), found[0]]
            last = found.end()
        return "".join([*parts, printable(text[last:])])

    def _fitting(self, text: str) -> str:
        encoding = self._stream.encoding or "utf-8"
        if text.isascii() or _fits(text, encoding):
            return text
        return "".join(
            one if _fits(one, encoding) else _escaped(one, as_json=self._as_json) for one in text
        )


def _fits(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _escaped(one: str, *, as_json: bool) -> str:
    return json.dumps(one)[1:-1] if as_json else _NEAREST.get(one, "?")


@contextlib.contextmanager
def fitting_streams(*, as_json: bool) -> Iterator[None]:
    """Let standard output and error take every character for a while."""
    before = sys.stdout, sys.stderr
    # A stream that is closed is None.
    out, error = (
        None if one is None else FittingStream(one, as_json=flag)
        for one, flag in zip(before, (as_json, False), strict=True)
    )
    sys.stdout, sys.stderr = out, error
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
