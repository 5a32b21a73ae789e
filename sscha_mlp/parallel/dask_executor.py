"""Tasks on the workers of a dask cluster."""

import pickle
import sys
import time
import uuid
from asyncio import CancelledError
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, TypeVar

from sscha_mlp.errors import InputError, SschaMlpError
from sscha_mlp.parallel.dask_adapter import Connection
from sscha_mlp.parallel.outcome import (
    PICKLE_ERRORS,
    Closing,
    Done,
    Failed,
    WorkerStartError,
    describe_exception,
)
from sscha_mlp.parallel.pool import pickle_factory
from sscha_mlp.parallel.remote import Order, apply_isolated

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")


_LOOK: Final = 2.0
"""Seconds between looks at the cluster."""

_GATHER_LIMIT: Final = 60.0


class DaskExecutor(Closing, Generic[TaskT, ResultT]):
    """Applies one function to many tasks on dask workers, each task in its own process there.

    A task whose worker dies is sent to another one by dask, as often as the scheduler allows
    (``distributed.scheduler.allowed-failures``, which a cluster started here takes from the number
    of retries).  A result is fetched as soon as it is there, so that a dying worker takes none
    with it.

    Parameters
    ----------
    function_factory
        Picklable callable without arguments, importable from a module on the workers.
    connection
        Client of the cluster.
    time_limit
        Longest time for one task, s; the wait for a worker does not count.
    owns_connection
        Whether :meth:`close` closes the connection, too.

    Raises
    ------
    InputError
        If the time limit is not positive, or the factory cannot be sent to a worker.
    """

    def __init__(
        self,
        function_factory: Callable[[], Callable[[TaskT], ResultT]],
        connection: Connection,
        time_limit: float | None = None,
        *,
        owns_connection: bool = False,
    ) -> None:
        if time_limit is not None and not time_limit > 0.0:
            raise InputError(f"The time limit is {time_limit} s; it must be positive.")
        self.connection = connection
        self._owns_connection = owns_connection
        self._payload = pickle_factory(function_factory)
        self._paths = tuple(path or str(Path.cwd()) for path in sys.path)
        self._time_limit = time_limit
        self._state = "open"

    def close(self) -> None:
        """Close the connection if it is this executor's own; the workers keep their processes."""
        if self._state == "closed":
            return
        self._state = "closed"
        if self._owns_connection:
            self.connection.close()

    def run(self, tasks: Iterable[TaskT]) -> Iterator[tuple[int, Done[ResultT] | Failed]]:
        """Yield ``(index of the task, outcome)`` as the tasks finish.

        Tasks are taken from the iterable as the cluster has room for them.

        Raises
        ------
        WorkerStartError
            If a worker cannot import or build the function.
        ExecutorLostError
            If the scheduler goes away, or has no worker for too long.
        SschaMlpError
            If the executor is closed or already running other tasks.
        """
        if self._state != "open":
            raise SschaMlpError(f"The executor is {self._state}; make another one.")
        self._state = "already running other tasks"
        key = self.connection.key_of((self._payload, self._time_limit))
        sent = _Sent(Order(key, self._payload, self._paths, self._time_limit))
        try:
            yield from self._run(enumerate(tasks), sent)
        finally:
            if sent.futures:
                self._abandon(sent)
            if self._state != "closed":
                self._state = "open"

    def _run(
        self, source: Iterator[tuple[int, TaskT]], sent: "_Sent"
    ) -> Iterator[tuple[int, Done[ResultT] | Failed]]:
        window, looked, more = 0, -_LOOK, True
        while True:
            if time.monotonic() - looked >= _LOOK:
                # One task per thread: where a task takes its worker down, no other one waits for
                # its turn there, to be counted as suspicious by dask as well.
                window, looked = max(1, self.connection.keep_up()), time.monotonic()
            while more and len(sent.futures) < window:
                item = next(source, None)
                more = item is not None
                if item is not None:
                    yield from self._send(*item, sent)
            if not sent.futures:
                return
            yield from self._collect(sent)

    def _send(self, index: int, task: TaskT, sent: "_Sent") -> Iterator[tuple[int, Failed]]:
        """Send one task, or yield why that is not possible."""
        try:
            payload = pickle.dumps(task)
        except PICKLE_ERRORS as err:
            reason = f"the task cannot be sent to a worker: {describe_exception(err)}"
            yield index, Failed(reason, 0.0)
            return
        key = f"{sent.order.key}-{uuid.uuid4().hex}"
        sent.add(index, self.connection.submit(apply_isolated, sent.order, payload, key=key))

    def _collect(self, sent: "_Sent") -> Iterator[tuple[int, Done[ResultT] | Failed]]:
        """Yield the outcome of a task if one finishes soon."""
        try:
            future = sent.finished.get(timeout=_LOOK)
        except Empty:
            return
        outcome = self._outcome(future)
        if outcome is None:
            sent.watch(future)
        else:
            yield sent.remove(future), outcome

    def _outcome(self, future: Any) -> Done[ResultT] | Failed | None:
        """Fetch an outcome; None if it was lost on the way and is computed again."""
        if future.cancelled():
            raise self.connection.lost()
        try:
            outcome: Done[ResultT] | Failed = future.result(timeout=_GATHER_LIMIT)
        except TimeoutError:
            return None
        except WorkerStartError:
            raise
        except (Exception, CancelledError) as err:
            # The task is done and its outcome cannot be fetched: nothing is wrong with the task.
            broken = isinstance(err, OSError) and future.status != "error"
            if broken or future.cancelled() or not self.connection.is_running:
                raise self.connection.lost() from err
            if self.connection.took_workers_down(err):
                return Failed("every dask worker that it was given to died", 0.0)
            raise WorkerStartError(
                f"the dask workers at {self.connection.address} cannot do tasks "
                f"({describe_exception(err)}); they need the Python environment of this process"
            ) from err
        return outcome

    def _abandon(self, sent: "_Sent") -> None:
        """Withdraw the tasks that nobody waits for, and end those in progress."""
        self.connection.cancel(list(sent.futures))
        self.connection.retire(sent.order.key)


class _Sent:
    """Tasks on their way: futures with the index of their task."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.futures: dict[Any, int] = {}
        self.finished: SimpleQueue[Any] = SimpleQueue()

    def add(self, index: int, future: Any) -> None:
        self.futures[future] = index
        self.watch(future)

    def watch(self, future: Any) -> None:
        """Have a future put into the queue once it is finished."""
        future.add_done_callback(self.finished.put)

    def remove(self, future: Any) -> int:
        return self.futures.pop(future)
