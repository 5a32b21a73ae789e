"""Who watches a run, and where its log goes.

The command line draws progress bars, a notebook has an output of its own.  Where a script gives no
observer, the lines of the log are shown on standard error, unless the script has set up logging.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from sscha_mlp.campaign.pace import ProgressLines
from sscha_mlp.data.files import open_own
from sscha_mlp.errors import printable

logger = logging.getLogger("sscha_mlp.campaign")


class Observer(Protocol):
    """What a run tells while it works."""

    def stage(self, text: str) -> None:
        """A new stage begins."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Part of a stage is done; `total` is 0 where it is not known."""

    def note(self, text: str) -> None:
        """Something worth a line was found or decided."""

    def population(self, row: Mapping[str, Any]) -> None:
        """A population of the relaxation has ended; `row` is its line of the journal."""


class LogObserver:
    """Writes every line to the log of the package, and progress once in half a minute."""

    @cached_property
    def _lines(self) -> ProgressLines:
        return ProgressLines()

    def stage(self, text: str) -> None:
        """Log the start of a stage."""
        logger.info("== %s", text)

    def progress(self, what: str, done: int, total: int) -> None:
        """Log how far it is, once in a while."""
        if line := self._lines.line(what, done, total):
            logger.info("%s", line)

    def note(self, text: str) -> None:
        """Log a line."""
        logger.info("%s", text)

    def population(self, row: Mapping[str, Any]) -> None:
        """Log the numbers of a population."""
        logger.info("%s", format_population(row))


def format_population(row: Mapping[str, Any]) -> str:
    """Return the numbers of a population as one line of text."""
    return (
        f"{row['phase']:>8} {row['population']:3d}  F {row['free_energy']:.5f} ± "
        f"{1e3 * row['free_energy_stderr']:.2f}e-3 eV/atom  P {row['pressure_GPa']:+.3f} ± "
        f"{row['pressure_stderr_GPa']:.3f} GPa  V {row['volume']:.4f} Å³/atom  gradient "
        f"{row['gradient_THz']:.3f} ± {row['gradient_stderr_THz']:.3f} THz  sample "
        f"{row['effective_sample_size']:.0f}/{row['n_configs'] + row.get('n_reused', 0)}  "
        f"rejected {row['rejected']}  "
        f"{row['reason']}"
    )


class BothObservers:
    """Passes everything on to two observers."""

    def __init__(self, first: Observer, second: Observer) -> None:
        self.observers = (first, second)

    def stage(self, text: str) -> None:
        """Pass on."""
        for one in self.observers:
            one.stage(text)

    def progress(self, what: str, done: int, total: int) -> None:
        """Pass on."""
        for one in self.observers:
            one.progress(what, done, total)

    def note(self, text: str) -> None:
        """Pass on."""
        for one in self.observers:
            one.note(text)

    def population(self, row: Mapping[str, Any]) -> None:
        """Pass on."""
        for one in self.observers:
            one.population(row)


def watched_by(observer: Observer | None) -> Observer:
    """Return an observer that tells the log, and the one that is given if there is one."""
    if observer is None or type(observer) is LogObserver:
        return LogObserver()
    return BothObservers(LogObserver(), observer)


class _OneLine(logging.Formatter):
    """Lines without commands for the terminal that may show them."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line of a record."""
        record.message = printable(record.message)
        return super().formatMessage(record)


@contextmanager
def logged_to(path: Path, *, shown: bool) -> Iterator[None]:
    """Append the log of the package to a file.

    Parameters
    ----------
    path
        The file.
    shown
        Whether its lines go to standard error as well, unless the program has a handler for them.

    Raises
    ------
    InputError
        If something else than a plain file has its name.
    OSError
        If it cannot be written.
    """
    package = logging.getLogger("sscha_mlp")
    handlers: list[logging.Handler] = []
    if shown and not package.hasHandlers():
        handlers.append(logging.StreamHandler())
    with open_own(path, append=True) as stream:
        file = logging.StreamHandler(stream)
        file.setFormatter(_OneLine("%(asctime)s %(message)s"))
        handlers.append(file)
        package.setLevel(logging.INFO)
        for one in handlers:
            package.addHandler(one)
        try:
            yield
        finally:
            for one in handlers:
                package.removeHandler(one)
                one.close()
