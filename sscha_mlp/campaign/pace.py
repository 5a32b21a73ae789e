"""How fast something goes, and how long the rest of it takes."""

import time
from collections.abc import Callable
from typing import Final

from sscha_mlp.digits import duration

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
