"""What runs on a dask worker: each task in a process of its own, with a time limit.

A calculation that hangs or crashes takes down only that process, never the dask worker.  The
processes stay between tasks and between the executors of one client, so that a calculator is made
once per worker and not once per task.  Those of the functions that were used last are kept.
"""

import pickle
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sscha_mlp.parallel.outcome import Done, Failed
from sscha_mlp.parallel.pool import WorkerPool

_Pool = WorkerPool[bytes, Any]

_LOCK: Final = threading.Lock()
_IDLE: Final[dict[str, list[_Pool]]] = {}
_BUSY: Final[dict[str, set[_Pool]]] = {}
_ENDED: Final[set[str]] = set()

_KEPT: Final = 2
"""Functions whose processes may wait for tasks."""


@dataclass(frozen=True)
class Order:
    """What one function is made of, the same for all of its tasks.

    Parameters
    ----------
    key
        Tells the functions of all clients apart.
    payload
        The pickled factory of the function.
    paths
        Search path of the client, in which its modules are found on a shared file system.
    time_limit
        Longest time for one task, s.
    """

    key: str
    payload: bytes
    paths: tuple[str, ...]
    time_limit: float | None


@dataclass(frozen=True)
class SentFactory:
    """A factory that is unpickled in the process that uses it, as are its tasks.

    Parameters
    ----------
    payload
        The pickled factory of the function.
    """

    payload: bytes

    def __call__(self) -> Callable[[bytes], Any]:
        """Return the function of pickled tasks."""
        function = pickle.loads(self.payload)()
        return lambda task: function(pickle.loads(task))


def apply_isolated(order: Order, task: bytes) -> Done[Any] | Failed:
    """Do one pickled task in a process of its own.

    Raises
    ------
    WorkerStartError
        If the process cannot build the function.
    """
    pool = _take(order)
    if pool is None:
        return Failed("it was withdrawn before it began", 0.0)
    try:
        ((_, outcome),) = pool.run([task])
    finally:
        _give_back(order.key, pool)
    return outcome


def end(key: str) -> None:
    """End the tasks of a function, and the processes that wait for more of them."""
    with _LOCK:
        _ENDED.add(key)
        idle = _IDLE.pop(key, [])
        busy = list(_BUSY.get(key, ()))
    for pool in busy:
        pool.interrupt()
    for pool in idle:
        pool.close()


def _take(order: Order) -> _Pool | None:
    """Return a pool that waits, or a new one: one for each thread of the dask worker.

    None for a function whose tasks have been ended: this one came too late to be ended with them.
    """
    with _LOCK:
        if order.key in _ENDED:
            return None
        idle = _IDLE.get(order.key)
        pool = idle.pop() if idle else None
        unused: list[_Pool] = []
        if pool is None:
            others = [key for key in _IDLE if key != order.key]
            unused = [one for key in others[: -_KEPT + 1] for one in _IDLE.pop(key)]
            _extend_path(order.paths)
            pool = WorkerPool(SentFactory(order.payload), 1, order.time_limit, isolate=True)
        _BUSY.setdefault(order.key, set()).add(pool)
    for one in unused:
        one.close()
    return pool


def _give_back(key: str, pool: _Pool) -> None:
    with _LOCK:
        _BUSY[key].discard(pool)
        ended = key in _ENDED
        if not ended:
            _IDLE[key] = [*_IDLE.pop(key, []), pool]  # the last key is the one used last
    if ended:
        pool.close()


def _extend_path(paths: Sequence[str]) -> None:
    sys.path += [path for path in paths if path not in sys.path]
