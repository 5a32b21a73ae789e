"""Who watches a run, and where its log goes.

The command line draws progress bars, a notebook has an output of its own.  Where a script gives no
observer, the lines of the log are shown on standard error, unless the script has set up logging.
"""

import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Final, Protocol

from sscha_mlp.data.files import open_own
from sscha_mlp.digits import duration
from sscha_mlp.errors import SschaMlpError, WaitingForLabelsError, printable
from sscha_mlp.run_files.records.population import PopulationRecord

logger = logging.getLogger("sscha_mlp.campaign")

LINE_EVERY: Final = 30.0
"""Progress is a line of a file at most once in this time, s."""


class Pace:
    """Time for each of several things; those that were there at the beginning took none.

    Parameters
    ----------
    clock
        Seconds, always growing.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun = clock()
        self._first: int | None = None

    def seconds_each(self, done: int) -> float | None:
        """Return the mean time of those finished since the first call, s; None before two are.

        The first one alone says little: workers start, loops are compiled.

        Parameters
        ----------
        done
            Number of finished ones.
        """
        if self._first is None:
            self._first, self._begun = done, self._clock()
        new = done - self._first
        return (self._clock() - self._begun) / new if new > 1 else None


class ProgressLines:
    """Turns progress into one line in half a minute.

    Parameters
    ----------
    clock
        Seconds, always growing.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._task = ("", 0)
        self._done = 0
        self._said = 0.0
        self._pace = Pace(clock)

    def line(self, what: str, done: int, total: int) -> str:
        """Return a line, or nothing where one was said lately or all is finished.

        Parameters
        ----------
        what
            What is being done, in a few words.
        done, total
            How many are finished, and of how many; 0 where that is not known.
        """
        now = self._clock()
        if self._task != (what, total) or done < self._done:
            self._task, self._said, self._pace = (what, total), now, Pace(self._clock)
        self._done = done
        each = self._pace.seconds_each(done)
        if now - self._said < LINE_EVERY or (total and done >= total):
            return ""
        self._said = now
        return f"{what}: {progress_in_words(done, total, each)}"


def progress_in_words(done: int, total: int, seconds_each: float | None, name: str = "") -> str:
    """Return how far something is, and how long the rest takes.

    Parameters
    ----------
    done, total
        How many are finished, and of how many; 0 where that is not known.
    seconds_each
        Time for each, s; None where it is not known.
    name
        What they are.
    """
    parts = [f"{done} of {total}" if total else f"{done}"]
    parts[0] += f" {name}" if name else ""
    if seconds_each is not None:
        parts.append(f"one every {duration(seconds_each)}")
        if total:
            parts.append(f"about {duration(_rounded(seconds_each * (total - done)))} left")
    return ", ".join(parts)


def _rounded(seconds: float) -> float:
    """To what an estimate is worth: seconds up to 100, then tens of them."""
    return float(round(seconds, -1 if seconds >= 100.0 else 0))


class Observer(Protocol):
    """What a run tells while it works."""

    def stage(self, text: str) -> None:
        """A new stage begins."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Part of a stage is done; `total` is 0 where it is not known."""

    def note(self, text: str) -> None:
        """Something worth a line was found or decided."""

    def population(self, row: PopulationRecord) -> None:
        """A population of the relaxation has ended."""


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

    def population(self, row: PopulationRecord) -> None:
        """Log the numbers of a population."""
        logger.info("%s", format_population(row))


def format_population(row: PopulationRecord) -> str:
    """Return the numbers of a population as one line of text."""
    return (
        f"{row.phase:>8} {row.population:3d}  F {row.free_energy:.5f} ± "
        f"{1e3 * row.free_energy_stderr:.2f}e-3 eV/atom  P {row.pressure_GPa:+.3f} ± "
        f"{row.pressure_stderr_GPa:.3f} GPa  V {row.volume:.4f} Å³/atom  gradient "
        f"{row.gradient_THz:.3f} ± {row.gradient_stderr_THz:.3f} THz  sample "
        f"{row.effective_sample_size:.0f}/{row.n_configs}  rejected {row.rejected}  {row.reason}"
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

    def population(self, row: PopulationRecord) -> None:
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
    stream = open_own(path, append=True)
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
        with suppress(OSError):  # a disk that is full: what the run ends with is said elsewhere
            stream.close()


@contextmanager
def end_in_log() -> Iterator[None]:
    """Say in the log what ends the work before its end."""
    try:
        yield
    except WaitingForLabelsError as err:
        logger.info("%s", err)
        raise
    except SschaMlpError as err:
        logger.info("failed: %s", " ".join(str(err).split()))
        raise
    except KeyboardInterrupt:
        logger.info("interrupted")
        raise
    except SystemExit as err:
        terminated = err.code == 128 + signal.SIGTERM
        logger.info("ended by %s", "SIGTERM" if terminated else f"exit {err.code}")
        raise
