"""Trying again what failed for a reason that may have gone, after a pause that grows."""

import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

from sscha_mlp.parallel.outcome import Closing, Done, Executor, Failed

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")

_LONGEST_PAUSE: Final = 300.0
_HOPELESS: Final = 20
"""With this many transient failures and nothing done, it is not worth trying again."""


@dataclass(frozen=True)
class Backoff:
    """Pauses between attempts, doubled each time, with jitter.

    Parameters
    ----------
    first
        Mean length of the first pause, s.
    """

    first: float = 1.0

    def pause(self, attempt: int, chance: float) -> float:
        """Return the pause after an attempt, s.

        Parameters
        ----------
        attempt
            Number of the attempt that failed, from 0.
        chance
            Random number in [0, 1): the pause lies between a half and one and a half of its mean,
            so that many clients of one server do not come back at the same moment.
        """
        return min(self.first * 2.0**attempt, _LONGEST_PAUSE) * (0.5 + chance)


class Retrying(Closing, Generic[TaskT, ResultT]):
    """An executor that tries transient failures again.

    The tasks that failed are tried once more when all others are finished and a pause has passed:
    by then a full disk, a lost node or a licence server may have recovered.

    Parameters
    ----------
    inner
        Executor that does the tasks; it is closed with this one.
    retries
        How often one task is tried again.
    backoff
        Pauses before the retries.
    sleep
        What waits, for a time in s.
    """

    def __init__(
        self,
        inner: Executor[TaskT, ResultT],
        retries: int,
        backoff: Backoff,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.inner = inner
        self.retries = retries
        self.backoff = backoff
        self._sleep = sleep
        self._random = random.Random()
        self._any_done = False

    def close(self) -> None:
        """Close the inner executor."""
        self.inner.close()

    def run(self, tasks: Iterable[TaskT]) -> Iterator[tuple[int, Done[ResultT] | Failed]]:
        """Yield ``(index of the task, outcome)``; a failure only after its last attempt.

        Raises
        ------
        WorkerStartError, ExecutorLostError, SschaMlpError
            As the inner executor.
        """
        todo: Iterable[_Attempt[TaskT]] = (
            _Attempt(index, task) for index, task in enumerate(tasks)
        )
        for attempt in range(self.retries + 1):
            held: list[tuple[_Attempt[TaskT], Failed]] = []
            for one, outcome in self._attempt(todo):
                if isinstance(outcome, Done):
                    self._any_done = True
                if isinstance(outcome, Done) or not outcome.transient or attempt == self.retries:
                    yield one.index, one.conclude(outcome, attempt + 1)
                    continue
                held.append((one, outcome))
                if not self._any_done and len(held) >= _HOPELESS:
                    yield from ((one.index, one.conclude(failed, 1)) for one, failed in held)
                    held.clear()
            if not held:
                return
            self._sleep(self.backoff.pause(attempt, self._random.random()))
            todo = [one.after(failed) for one, failed in held]

    def _attempt(
        self, todo: "Iterable[_Attempt[TaskT]]"
    ) -> "Iterator[tuple[_Attempt[TaskT], Done[ResultT] | Failed]]":
        """Run tasks once; only those in progress are kept."""
        running: dict[int, _Attempt[TaskT]] = {}

        def feed() -> Iterator[TaskT]:
            for place, one in enumerate(todo):
                running[place] = one
                yield one.task

        for place, outcome in self.inner.run(feed()):
            yield running.pop(place), outcome


@dataclass(frozen=True)
class _Attempt(Generic[TaskT]):
    """A task, its place in the input, and the time that its failed attempts took, s."""

    index: int
    task: TaskT
    seconds: float = 0.0

    def after(self, failed: Failed) -> "_Attempt[TaskT]":
        return replace(self, seconds=self.seconds + failed.seconds)

    def conclude(self, outcome: Done[ResultT] | Failed, n_attempts: int) -> Done[ResultT] | Failed:
        """Return the outcome with the time of all attempts, and their number if it failed."""
        seconds = self.seconds + outcome.seconds
        if isinstance(outcome, Failed) and n_attempts > 1:
            reason = f"{outcome.reason} (the last of {n_attempts} attempts)"
            return replace(outcome, reason=reason, seconds=seconds)
        return replace(outcome, seconds=seconds)
