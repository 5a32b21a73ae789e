"""Labels while they come in: how many there are, how fast they come, and a file that says so.

A step is in the journal when it is finished, which for labels of DFT is after hours.  The file
``labelling.json`` of the run directory holds the count meanwhile, for :mod:`.standing`.
"""

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from sscha_mlp.data.files import write_json_atomic
from sscha_mlp.errors import SschaMlpError
from sscha_mlp.run_files.observer import Observer, Pace, progress_in_words

_INTERVAL: Final = 2.0
"""The file is written at most once in this time, s."""


@dataclass(frozen=True)
class Coming:
    """How many labels of a stage there are.

    Parameters
    ----------
    step
        Step of the journal that they belong to, such as ``labels/train-start`` or ``start``.
    in_step
        Finished labels of that step, failed ones included.
    done, total
        The same of the whole stage, and how many it takes; 0 where that is not known.
    seconds_each
        Time for each, s, with all workers at work; None before the second.
    """

    step: str
    in_step: int
    done: int
    total: int
    seconds_each: float | None = None

    @property
    def seconds_left(self) -> float | None:
        """Time for those that are missing, s; None where it is not known."""
        if self.seconds_each is None or not self.total:
            return None
        return self.seconds_each * (self.total - self.done)

    @property
    def of_the_start(self) -> bool:
        """Whether they are calls for the start, which are counted apart."""
        return not self.step.startswith("labels/")

    def to_json(self) -> dict[str, Any]:
        """Return plain values, the time that is left among them."""
        return {**asdict(self), "seconds_left": self.seconds_left}

    def in_words(self, *, pace: bool = True) -> str:
        """Return how many there are, and with `pace` how fast they come."""
        name = "calls of the reference" if self.of_the_start else "labels of this stage"
        return progress_in_words(self.done, self.total, self.seconds_each if pace else None, name)

    @classmethod
    def read(cls, path: Path) -> "Coming | None":
        """Return what a file says; None where there is none, or it is damaged."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            each = content["seconds_each"]
            return cls(
                step=str(content["step"]),
                in_step=int(content["in_step"]),
                done=int(content["done"]),
                total=int(content["total"]),
                seconds_each=None if each is None else float(each),
            )
        except (OSError, ValueError, TypeError, LookupError):
            return None


class LabelWatch:
    """Counts the labels of a stage over its batches, and tells the observer and the file.

    Parameters
    ----------
    path
        The file.
    observer
        Who is told of each label.
    clock
        Seconds, always growing.
    """

    def __init__(
        self, path: Path, observer: Observer, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.path = path
        self.observer = observer
        self.clock = clock
        self._expected = self._before = self._size = 0
        self._pace = Pace(clock)
        self._coming: Coming | None = None
        self._written = -_INTERVAL

    def stage(self, total: int) -> None:
        """Expect this many labels, in one batch or in several."""
        self._expected, self._before, self._size = total, 0, 0
        self._pace = Pace(self.clock)

    def batch(self, step: str, what: str, n_labels: int) -> Callable[[int, int], None]:
        """Begin a batch, and return what is called with the number of its finished labels.

        Parameters
        ----------
        step
            Of the journal; empty where the file is to say nothing.
        what
            What the observer is told that these are.
        n_labels
            How many; 0 where that is not known.
        """
        self._before += self._size
        if self._before + n_labels > self._expected:
            self.stage(n_labels)
        self._size = n_labels
        before, total, pace = self._before, self._expected, self._pace

        def tell(done: int, _: int) -> None:
            each = pace.seconds_each(before + done)
            self._coming = Coming(step, done, before + done, total, each)
            self._write()
            self.observer.progress(what, before + done, total)

        return tell

    def _write(self, *, now: bool = False) -> None:
        """Write the file, unless it has been written just now; a full disk shows elsewhere."""
        coming = self._coming
        if coming is None or not coming.step:
            return
        if now or self._written < 0 or self.clock() - self._written >= _INTERVAL:
            self._written = self.clock()
            with contextlib.suppress(SschaMlpError):
                write_json_atomic(self.path, asdict(coming))

    def recorded(self) -> None:
        """Remove the file: the step is in the journal."""
        self._coming, self._written = None, -_INTERVAL
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave the last count in the file where the run ends before the step."""
        self._write(now=True)
