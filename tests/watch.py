"""One command line in this process, watched: what it writes, starts and says, and how long."""

import contextlib
import io
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sscha_mlp.cli import run_command

TIME_LIMIT = 60
"""Longest time of one command line, in s: what takes longer hangs."""

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_FILE_EVENTS = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.link"}
_PROGRAM_EVENTS = {"os.system", "os.exec", "os.posix_spawn"}
_CACHES = ("__pycache__", "/dev/null", "/matplotlib", ".nbi", ".nbc")
"""Parts of the paths that the interpreter, numba and matplotlib write for themselves."""


class Hang(BaseException):
    """A command line took longer than it may; no `except Exception` holds it back."""


@dataclass
class Seen:
    """What happened while a command line ran."""

    status: int = -1
    out: str = ""
    error: str = ""
    written: set[Path] = field(default_factory=set)
    programs: list[tuple[str, ...]] = field(default_factory=list)
    unpickled: list[str] = field(default_factory=list)

    @property
    def sentences(self) -> list[str]:
        """The lines of standard error that say what is wrong."""
        return [one for one in self.error.splitlines() if one.startswith("sscha-mlp: error: ")]


class _Watch:
    """Audit hook of the interpreter, which cannot be taken away: it is switched on and off."""

    def __init__(self) -> None:
        self.seen: Seen | None = None
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple) -> None:
        seen = self.seen
        if seen is None:
            return
        if event == "open":
            path, _, flags = arguments
            # A pipe or a socket comes by its number.
            if isinstance(path, str | bytes) and (flags or 0) & _WRITING:
                self._note(seen, path)
        elif event in _FILE_EVENTS:
            for one in arguments[:2]:
                if isinstance(one, str | bytes):
                    self._note(seen, one)
        elif event == "subprocess.Popen":
            program, words = arguments[0], arguments[1]
            words = [words] if isinstance(words, str | bytes) else words
            seen.programs.append((str(program), *map(str, words)))
        elif event in _PROGRAM_EVENTS:
            seen.programs.append((event, str(arguments[0])))
        elif event == "pickle.find_class":
            seen.unpickled.append(".".join(arguments))

    @staticmethod
    def _note(seen: Seen, path: str | bytes) -> None:
        text = os.fsdecode(path)
        if not any(part in text for part in _CACHES):
            seen.written.add(Path(os.path.realpath(text)))


_watch: list[_Watch] = []


def watched(arguments: list[str], place: Path) -> Seen:
    """Run a command line in the directory `place`.

    Returns
    -------
    Status and output, files that were written, and programs that were started, by this process.
    """
    if not _watch:
        _watch.append(_Watch())
    seen, out, error = Seen(), io.StringIO(), io.StringIO()
    with _in(place), _alarm(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        _watch[0].seen = seen
        try:
            seen.status = run_command(arguments)
        finally:
            _watch[0].seen = None
    seen.out, seen.error = out.getvalue(), error.getvalue()
    return seen


@contextlib.contextmanager
def _in(place: Path) -> Iterator[None]:
    """Work in a directory, where temporary files lie too."""
    before, kept = Path.cwd(), tempfile.tempdir
    os.chdir(place)
    tempfile.tempdir = str(place)
    try:
        yield
    finally:
        os.chdir(before)
        tempfile.tempdir = kept


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    def ring(*_: object) -> None:
        raise Hang(f"longer than {TIME_LIMIT} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(TIME_LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
