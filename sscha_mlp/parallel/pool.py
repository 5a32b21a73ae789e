"""Long-lived worker processes that outlive neither their parent nor a hanging task.

A worker is a fresh Python interpreter, started with :mod:`subprocess` and joined to the parent by
a socket.  Nothing of the caller's ``__main__`` is imported again, so a pool works the same from a
script without an ``if __name__ == "__main__"`` guard, a notebook, a test and the command line.
The price: the function that makes the worker's function must be importable from a module.

Each worker leads its own session.  A task that exceeds its time limit is ended together with
every program that it started, and so is everything when the parent disappears: a small sentinel
process in each session watches a pipe that only the parent holds open.
"""

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import IO, Any, Final, Generic, NoReturn, TypeVar

from sscha_mlp.errors import InputError, SschaMlpError
from sscha_mlp.parallel.outcome import (
    PICKLE_ERRORS,
    Closing,
    Done,
    Failed,
    WorkerStartError,
    describe_exception,
    shorten,
)

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")

START_LIMIT: Final = 300.0
"""Seconds a worker may take to import its modules and to build its function."""

_CLOSE_LIMIT: Final = 5.0
_MAX_STARTS: Final = 3

_ONE_THREAD: Final[Mapping[str, str]] = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "BLIS_NUM_THREADS",
    ),
    "1",
)

_BOOT: Final = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from sscha_mlp.parallel.pool import _worker_main; _worker_main(int(sys.argv[1]))"
)


class WorkerPool(Closing, Generic[TaskT, ResultT]):
    """Worker processes that apply one function to many tasks.

    Workers start when the first tasks arrive and stay until :meth:`close`.  They run with one
    thread each, ignore Ctrl-C (the parent decides), and end when the parent ends, however that
    happens.  What they print is discarded, unless one dies: the last line then joins the reason.

    Parameters
    ----------
    function_factory
        Picklable callable without arguments, importable from a module; every worker calls it once
        and applies what it returns to each task.
    n_workers
        Number of worker processes.
    time_limit
        Longest time for one task, in s; the start of the worker does not count.
    isolate
        Whether tasks run in other processes.  By default they do, unless one worker without a
        time limit is asked for; then they run in the caller's process.

    Raises
    ------
    InputError
        If ``n_workers`` or ``time_limit`` is not positive, if a time limit is asked for without
        worker processes, or if the factory cannot be sent to a worker.
    """

    def __init__(
        self,
        function_factory: Callable[[], Callable[[TaskT], ResultT]],
        n_workers: int,
        time_limit: float | None = None,
        *,
        isolate: bool | None = None,
    ) -> None:
        if n_workers < 1:
            raise InputError(f"The number of workers is {n_workers}; it must be at least 1.")
        if time_limit is not None and not time_limit > 0.0:
            raise InputError(f"The time limit is {time_limit} s; it must be positive.")
        if isolate is None:
            isolate = n_workers > 1 or time_limit is not None
        if not isolate and (n_workers > 1 or time_limit is not None):
            raise InputError("A time limit or several workers need isolate=True.")
        self.n_workers = n_workers
        self.time_limit = time_limit
        self._factory = function_factory
        self._function: Callable[[TaskT], ResultT] | None = None
        self._payload = pickle_factory(function_factory) if isolate else None
        self._workers: list[_Worker] = []
        self._running = False
        self._closed = False

    def stands_for(self, other: "WorkerPool[Any, Any]") -> bool:
        """Whether the workers of this pool can do the tasks of another one."""
        return (
            not self._closed
            and self._payload is not None
            and self._payload == other._payload
            and self.time_limit == other.time_limit
        )

    def run(self, tasks: Iterable[TaskT]) -> Iterator[tuple[int, Done[ResultT] | Failed]]:
        """Yield ``(index of the task, outcome)`` as the tasks finish.

        Tasks are taken from the iterable only when a worker is free for them.  If the caller stops
        iterating, the tasks in progress are ended and their workers replaced at the next run.

        Raises
        ------
        WorkerStartError
            If a worker cannot import or build its function.
        SschaMlpError
            If the pool is closed or already running other tasks.
        """
        if self._closed or self._running:
            state = "closed" if self._closed else "already running other tasks"
            raise SschaMlpError(f"The worker pool is {state}; make another one.")
        self._running = True
        try:
            source = enumerate(tasks)
            if self._payload is None:
                yield from self._run_here(source)
            else:
                yield from self._run_in_workers(source)
        finally:
            self._running = False
            for worker in [worker for worker in self._workers if worker.job is not None]:
                self._discard(worker)

    def close(self) -> None:
        """End the workers; those that do not leave by themselves are killed."""
        self._closed = True
        for worker in self._workers:
            worker.connection.close()
        limit = time.monotonic() + _CLOSE_LIMIT
        for worker in self._workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(0.0 if worker.job else max(0.0, limit - time.monotonic()))
            worker.kill()
        self._workers.clear()

    def interrupt(self) -> None:
        """End the tasks in progress and close the pool; may be called from another thread.

        The thread that runs the tasks gets them back as failed, and closes the pool in the end.
        """
        self._closed = True
        for worker in list(self._workers):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(worker.process.pid, signal.SIGKILL)

    def _run_here(
        self, source: Iterator[tuple[int, TaskT]]
    ) -> Iterator[tuple[int, Done[ResultT] | Failed]]:
        if self._function is None:
            try:
                with _no_silent_end():
                    self._function = self._factory()
            except (Exception, SystemExit) as err:
                raise WorkerStartError(describe_exception(err)) from err
        for index, task in source:
            with _no_silent_end():
                outcome = _apply(self._function, task)
            yield index, outcome

    def _run_in_workers(
        self, source: Iterator[tuple[int, TaskT]]
    ) -> Iterator[tuple[int, Done[ResultT] | Failed]]:
        finished: deque[tuple[int, Done[ResultT] | Failed]] = deque()
        while True:
            finished.extend(self._fill(source))
            if finished:
                yield finished.popleft()
                continue
            busy = [worker for worker in self._workers if worker.job is not None]
            if not busy:
                return
            finished.extend(self._collect(busy))

    def _fill(self, source: Iterator[tuple[int, TaskT]]) -> list[tuple[int, Failed]]:
        """Give every free worker a task, and start workers while there is room and work."""
        unsendable: list[tuple[int, Failed]] = []
        while not unsendable:
            free = next((worker for worker in self._workers if worker.job is None), None)
            if free is None and len(self._workers) >= self.n_workers:
                break
            item = next(source, None)
            if item is None:
                break
            try:
                job = _Job(item[0], pickle.dumps(item[1]))
            except PICKLE_ERRORS as err:
                reason = f"the task cannot be sent to a worker: {describe_exception(err)}"
                unsendable.append((item[0], Failed(reason, 0.0)))
            else:
                self._assign(free, job)
        return unsendable

    def _assign(self, worker: "_Worker | None", job: "_Job") -> None:
        """Put a job on a worker, or on a new one if that has died since its last task."""
        if worker is not None and worker.take(job, self.time_limit):
            return
        if worker is not None:
            self._discard(worker)
        assert self._payload is not None
        try:
            fresh = _start_worker(self._payload)
        except OSError as err:
            raise WorkerStartError(f"A worker could not start: {describe_exception(err)}") from err
        self._workers.append(fresh)
        if self._closed:  # interrupted while the worker started, and so not ended by that
            self._discard(fresh)
            raise SschaMlpError("The worker pool was interrupted; make another one.")
        fresh.take(job, self.time_limit)

    def _collect(self, busy: "list[_Worker]") -> list[tuple[int, Done[ResultT] | Failed]]:
        """Wait until a worker reports or a time limit passes; return what has finished."""
        now = time.monotonic()
        timeout = max(0.0, min(worker.deadline for worker in busy) - now)
        ready = wait([w.connection for w in busy], None if timeout == float("inf") else timeout)
        finished = []
        for worker in busy:
            if worker.connection in ready:
                outcome = self._hear(worker)
            elif time.monotonic() >= worker.deadline:
                outcome = self._overdue(worker)
            else:
                continue
            if outcome is not None:
                finished.append(outcome)
        return finished

    def _hear(self, worker: "_Worker") -> tuple[int, Done[ResultT] | Failed] | None:
        """Read one message of a worker."""
        job = worker.job
        assert job is not None
        try:
            kind, value = worker.connection.recv()
        except (EOFError, OSError):
            return self._dead(worker, job)
        if kind == "broken":
            self._discard(worker)
            raise WorkerStartError(f"A worker could not start: {value}")
        if kind == "ready":
            worker.ready = True
            worker.job = None
            self._assign(worker, job)
            return None
        worker.job = None
        worker.clear_output()
        return job.index, value

    def _dead(self, worker: "_Worker", job: "_Job") -> tuple[int, Failed] | None:
        seconds = time.monotonic() - worker.since
        reason = f"the worker process {worker.obituary()}"
        started = worker.ready
        self._discard(worker)
        if not started and not self._closed:
            job.starts += 1
            if job.starts >= _MAX_STARTS:
                raise WorkerStartError(f"A worker could not start: {reason}.")
            self._assign(None, job)
            return None
        return job.index, Failed(reason, seconds, transient=True)

    def _overdue(self, worker: "_Worker") -> tuple[int, Failed]:
        job, started = worker.job, worker.ready
        assert job is not None
        seconds = time.monotonic() - worker.since
        self._discard(worker)
        if not started:
            raise WorkerStartError(f"A worker did not start within {START_LIMIT:g} s.")
        return job.index, Failed(f"exceeded the time limit of {self.time_limit:g} s", seconds)

    def _discard(self, worker: "_Worker") -> None:
        worker.kill()
        self._workers.remove(worker)


@dataclass
class _Job:
    """A task on its way, and how many workers died before they could begin with it."""

    index: int
    payload: bytes
    starts: int = 0


@dataclass(eq=False)
class _Worker:
    """The parent's end of one worker process."""

    process: subprocess.Popen[bytes]
    connection: Connection
    output: IO[bytes]
    ready: bool = False
    job: _Job | None = None
    since: float = field(default_factory=time.monotonic)
    deadline: float = float("inf")

    def take(self, job: _Job, time_limit: float | None) -> bool:
        """Accept a job (kept until the worker is ready); False if the worker is dead."""
        self.since = time.monotonic()
        if self.ready:
            try:
                self.connection.send_bytes(job.payload)
            except OSError:
                return False
            self.deadline = self.since + (float("inf") if time_limit is None else time_limit)
        else:
            self.deadline = self.since + START_LIMIT
        self.job = job
        return True

    def clear_output(self) -> None:
        """Forget what the worker has printed so far."""
        with contextlib.suppress(OSError):
            os.ftruncate(self.output.fileno(), 0)

    def obituary(self) -> str:
        """Return how the process ended, with the last line that it printed."""
        try:
            code = self.process.wait(1.0)
        except subprocess.TimeoutExpired:
            return "closed its connection"
        if code < 0:
            text = f"was killed by {signal.Signals(-code).name}"
            text += " (often a sign that memory ran out)" if -code == signal.SIGKILL else ""
        else:
            text = f"ended with exit status {code}"
        self.output.seek(max(0, self.output.seek(0, os.SEEK_END) - 4096))
        lines = self.output.read().decode(errors="replace").strip().splitlines()
        return shorten(f"{text}: {lines[-1].strip()}") if lines else text

    def kill(self) -> None:
        """End the worker and every program of its session; harmless when it has ended."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.connection.close()
        self.output.close()
        assert self.process.stdin is not None
        self.process.stdin.close()


def pickle_factory(function_factory: Callable[[], object]) -> bytes:
    """Return a factory as bytes.

    Raises
    ------
    InputError
        If it cannot be sent to another process.
    """
    try:
        return pickle.dumps(function_factory)
    except PICKLE_ERRORS as err:
        raise InputError(
            f"{function_factory!r} cannot be sent to a worker process "
            f"({describe_exception(err)}): define it at the top level of a module."
        ) from err


def _start_worker(payload: bytes) -> _Worker:
    """Start an interpreter that waits for tasks; its standard input is the lifeline."""
    ours, theirs = socket.socketpair()
    output = tempfile.TemporaryFile("a+b")  # noqa: SIM115  closed with the worker
    paths = [path or str(Path.cwd()) for path in sys.path]
    root = str(Path(__file__).resolve().parents[2])
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", _BOOT, str(theirs.fileno()), *paths, root],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env={**os.environ, **_ONE_THREAD},
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
        )
    except OSError:
        ours.close()
        output.close()
        raise
    finally:
        theirs.close()
    worker = _Worker(process, Connection(ours.detach()), output)
    with contextlib.suppress(OSError):  # a worker that died at once is noticed when it is heard
        worker.connection.send_bytes(payload)
    return worker


def _apply(function: Callable[[TaskT], ResultT], task: TaskT) -> Done[ResultT] | Failed:
    start = time.perf_counter()
    try:
        value = function(task)
    except (Exception, SystemExit) as err:  # noqa: BLE001  it becomes the reason
        seconds = time.perf_counter() - start
        return Failed(describe_exception(err), seconds, isinstance(err, ConnectionError))
    return Done(value, time.perf_counter() - start)


class LeavingError(SystemExit):
    """A task wanted to end the process that it shares with us."""


@contextlib.contextmanager
def _no_silent_end() -> Iterator[None]:
    """Let ``os._exit`` raise in this process: a task would end all of it without a word.

    A program in C or Fortran that ends the process can only be met in a process of its own.
    """
    leave = os._exit
    own = os.getpid()

    def refuse(status: int) -> NoReturn:
        if os.getpid() != own:  # a child that was forked here may leave
            leave(status)
        raise LeavingError(f"the task ends its process with os._exit({status})")

    os._exit = refuse
    try:
        yield
    finally:
        os._exit = leave


def _worker_main(descriptor: int) -> None:
    """Run in the worker: build the function, then answer tasks until the parent leaves."""
    os.set_inheritable(descriptor, False)
    connection = Connection(descriptor)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _start_sentinel(connection)
    try:
        function = _load_function(connection)
        while function is not None:
            _answer(connection, _apply(function, connection.recv()))
    except (EOFError, OSError):  # the parent closed the connection, or died
        return


def _start_sentinel(connection: Connection) -> None:
    """Fork a process that ends the whole session once standard input (the lifeline) closes."""
    lifeline = os.dup(0)
    if os.fork() == 0:
        connection.close()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while os.read(lifeline, 1):
            pass
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os.close(lifeline)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def _load_function(connection: Connection) -> Callable[[Any], Any] | None:
    payload = connection.recv_bytes()
    try:
        function: Callable[[Any], Any] = pickle.loads(payload)()
    except (Exception, SystemExit) as err:  # noqa: BLE001  it becomes the reason
        hint = " (define it in a module, not in a script or notebook)" * (b"__main__" in payload)
        connection.send(("broken", describe_exception(err) + hint))
        return None
    connection.send(("ready", None))
    return function


def _answer(connection: Connection, outcome: Done[Any] | Failed) -> None:
    try:
        connection.send(("outcome", outcome))
    except PICKLE_ERRORS as err:
        reason = f"the result cannot be sent back: {describe_exception(err)}"
        connection.send(("outcome", Failed(reason, outcome.seconds)))
