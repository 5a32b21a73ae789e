"""The machines that tasks run on, and the executors that use them."""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from sscha_mlp.errors import SschaMlpError
from sscha_mlp.parallel.dask_adapter import Connection
from sscha_mlp.parallel.dask_executor import DaskExecutor
from sscha_mlp.parallel.outcome import Closing, Done, Executor, Failed
from sscha_mlp.parallel.pool import WorkerPool
from sscha_mlp.parallel.retries import Backoff, Retrying
from sscha_mlp.parallel.settings import HERE, ExecutorSettings, read_executor

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")


class Machines(Closing):
    """Where tasks run: keeps a cluster open while one executor after another uses it.

    A cluster is started, or a scheduler called, when the first executor is made.  Use it as a
    context manager, or call :meth:`close`.

    Parameters
    ----------
    spec
        Settings, or what :func:`sscha_mlp.parallel.settings.read_executor` reads; worker
        processes on this machine by default.

    Raises
    ------
    ConfigError
        If the specification cannot be used.
    """

    def __init__(self, spec: str | Path | ExecutorSettings = "processes") -> None:
        self.settings = read_executor(spec)
        self._connection: Connection | None = None
        self._kept: WorkerPool[Any, Any] | None = None
        self._lock = threading.Lock()
        self._closed = False

    def local_workers(self, default: int) -> int:
        """Return the number of processes on this machine, `default` where that is not said."""
        if self.settings.kind == HERE:
            return 1
        return default if self.settings.on_dask else self.settings.workers or default

    def executor(
        self,
        function_factory: Callable[[], Callable[[TaskT], ResultT]],
        *,
        n_workers: int = 1,
        time_limit: float | None = None,
        isolate: bool | None = None,
        keep: bool = False,
    ) -> Executor[TaskT, ResultT]:
        """Return an executor of a function on these machines; close it before them.

        Parameters
        ----------
        function_factory
            Picklable callable without arguments, importable from a module; every worker calls it
            once and applies what it returns to each task.
        n_workers
            Number of workers where the settings give none.
        time_limit
            Longest time for one task where the settings give none, s.
        isolate
            Whether tasks run in other processes; dask's always do, and those of ``here`` never.
        keep
            Whether worker processes stay, when the executor is closed, for the next one of the
            same function: a fresh one imports and builds everything anew.

        Raises
        ------
        ConfigError
            If a package is missing, or the arguments of the cluster cannot be used.
        InputError
            If a number is out of range, the factory cannot be sent, or no scheduler answers.
        """
        return self._executor(
            function_factory, n_workers, time_limit, isolate, owned=False, keep=keep
        )

    def close(self) -> None:
        """End workers and a cluster that were started, or leave the scheduler that was called."""
        with self._lock:
            self._closed = True
            connection, self._connection = self._connection, None
            kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()
        if connection is not None:
            connection.close()

    def _executor(
        self,
        function_factory: Callable[[], Callable[[TaskT], ResultT]],
        n_workers: int,
        time_limit: float | None,
        isolate: bool | None,
        *,
        owned: bool,
        keep: bool = False,
    ) -> Executor[TaskT, ResultT]:
        settings = self.settings
        n_workers = settings.workers or n_workers
        time_limit = settings.time_limit or time_limit
        inner: Executor[TaskT, ResultT]
        if settings.kind == HERE:
            inner = WorkerPool(function_factory, 1, time_limit, isolate=False)
        elif not settings.on_dask:
            inner = WorkerPool(function_factory, n_workers, time_limit, isolate=isolate)
            if keep:
                inner = _Lent(self._keep(inner))
        else:
            inner = DaskExecutor(
                function_factory, self._connect(n_workers), time_limit, owns_connection=owned
            )
        if settings.n_retries == 0:
            return inner
        return Retrying(inner, settings.n_retries, Backoff(settings.backoff))

    def _keep(self, fresh: WorkerPool[Any, Any]) -> WorkerPool[Any, Any]:
        """Return the pool that is kept where it can stand for a fresh one; else keep that one."""
        with self._lock:
            if self._closed:
                raise SschaMlpError("The machines are closed; make others.")
            kept = self._kept
            if kept is not None and kept.stands_for(fresh):
                kept.n_workers = fresh.n_workers
                return kept
            self._kept = fresh
        if kept is not None:
            kept.close()
        return fresh

    def _connect(self, n_workers: int) -> Connection:
        with self._lock:
            if self._closed:
                raise SschaMlpError("The machines are closed; make others.")
            if self._connection is None:
                self._connection = Connection(self.settings, n_workers)
            return self._connection


class _Lent(Closing, Generic[TaskT, ResultT]):
    """A pool that stays when whoever uses it closes it."""

    def __init__(self, pool: WorkerPool[TaskT, ResultT]) -> None:
        self._pool = pool

    def run(self, tasks: Iterable[TaskT]) -> Iterator[tuple[int, Done[ResultT] | Failed]]:
        """As :meth:`WorkerPool.run`."""
        return self._pool.run(tasks)

    def close(self) -> None:
        """Leave the workers to their machines."""


def make_executor(
    spec: str | Path | ExecutorSettings,
    function_factory: Callable[[], Callable[[TaskT], ResultT]],
    *,
    n_workers: int = 1,
    time_limit: float | None = None,
    isolate: bool | None = None,
    **changes: Any,
) -> Executor[TaskT, ResultT]:
    """Return an executor that starts what it needs and ends it when it is closed.

    Parameters
    ----------
    spec
        Settings, or what :func:`sscha_mlp.parallel.settings.read_executor` reads.
    function_factory, n_workers, time_limit, isolate
        As for :meth:`Machines.executor`.
    changes
        Fields of :class:`sscha_mlp.parallel.settings.ExecutorSettings` that differ from `spec`,
        such as ``retries`` and ``backoff``.

    Raises
    ------
    ConfigError
        If the specification or a change cannot be used, or a package is missing.
    InputError
        As for :meth:`Machines.executor`.
    """
    machines = Machines(replace(read_executor(spec), **changes))
    return machines._executor(function_factory, n_workers, time_limit, isolate, owned=True)
