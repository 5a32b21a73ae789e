"""Where tasks run: this process, a pool of processes, or the workers of a dask cluster."""

from sscha_mlp.parallel.machines import Machines, make_executor
from sscha_mlp.parallel.outcome import (
    Done,
    Executor,
    ExecutorLostError,
    Failed,
    WorkerStartError,
    describe_exception,
)
from sscha_mlp.parallel.pool import WorkerPool
from sscha_mlp.parallel.settings import ExecutorSettings, read_executor

__all__ = [
    "Done",
    "Executor",
    "ExecutorLostError",
    "ExecutorSettings",
    "Failed",
    "Machines",
    "WorkerPool",
    "WorkerStartError",
    "describe_exception",
    "make_executor",
    "read_executor",
]
