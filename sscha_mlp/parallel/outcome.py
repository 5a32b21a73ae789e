"""What every executor offers, and what comes of a task."""

import pickle
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Generic, Protocol, Self, TypeVar

from sscha_mlp.errors import SschaMlpError, message_of, one_line

TaskT_contra = TypeVar("TaskT_contra", contravariant=True)
ResultT = TypeVar("ResultT")

PICKLE_ERRORS: Final = (pickle.PicklingError, AttributeError, TypeError)
"""What :func:`pickle.dumps` raises for an object that cannot be sent."""

_REASON_LENGTH: Final = 500


class WorkerStartError(SschaMlpError):
    """A worker process could not be started, so no task can be done."""


class ExecutorLostError(SschaMlpError):
    """The cluster that did the tasks went away; what it returned before is not lost."""


@dataclass(frozen=True)
class Done(Generic[ResultT]):
    """A task that returned.

    Parameters
    ----------
    value
        What the function returned.
    seconds
        Wall time of the call in the worker, in s.
    """

    value: ResultT
    seconds: float


@dataclass(frozen=True)
class Failed:
    """A task that raised, took its worker down, or exceeded the time limit.

    Parameters
    ----------
    reason
        Why, in words, on one line.
    seconds
        Wall time until the failure, in s.
    transient
        Whether the same task may succeed when it is tried again: its worker died, or a connection
        was lost.  A calculation that raised or took too long would do so again.
    """

    reason: str
    seconds: float
    transient: bool = False


class Closing(ABC):
    """Something that is closed at the end of a ``with`` block."""

    @abstractmethod
    def close(self) -> None:
        """End what was started; it is harmless to call this again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Executor(Protocol[TaskT_contra, ResultT]):
    """Applies one function to many tasks somewhere; use it as a context manager."""

    def run(self, tasks: Iterable[TaskT_contra]) -> Iterator[tuple[int, "Done[ResultT] | Failed"]]:
        """Yield ``(index of the task, outcome)`` as the tasks finish, in any order.

        If the caller stops iterating, the tasks in progress are ended.

        Raises
        ------
        WorkerStartError
            If a worker cannot import or build the function.
        ExecutorLostError
            If the cluster goes away.
        SschaMlpError
            If the executor is closed or already running other tasks.
        """
        ...

    def close(self) -> None:
        """End the workers that the executor started."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


def describe_exception(error: BaseException) -> str:
    """Return an exception as one line: the bare message for the package's own errors."""
    text = one_line(message_of(error))
    if not isinstance(error, SschaMlpError):
        name = type(error).__name__
        text = f"{name}: {text}" if text else name
    return shorten(text)


def shorten(text: str) -> str:
    """Return a reason that is not longer than a reader wants."""
    return text if len(text) <= _REASON_LENGTH else text[: _REASON_LENGTH - 1] + "…"
