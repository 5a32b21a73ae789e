"""The one import of dask: clusters and schedulers, opened, asked and closed."""

import contextlib
import importlib
import logging
import shutil
import time
import uuid
from collections.abc import Callable, Hashable, Mapping
from types import ModuleType
from typing import Any, ClassVar, Final

from sscha_mlp.errors import ConfigError, InputError
from sscha_mlp.parallel.outcome import ExecutorLostError, describe_exception
from sscha_mlp.parallel.remote import end
from sscha_mlp.parallel.settings import DASK, DASK_LOCAL, PBS, SLURM, ExecutorSettings

_CONNECT_LIMIT: Final = 10.0
_ANSWER_LIMIT: Final = 60.0
_CLOSE_LIMIT: Final = 20.0
_QUEUE_CLASSES: Final = {SLURM: "SLURMCluster", PBS: "PBSCluster"}

_LOCAL_DEFAULTS: Final[Mapping[str, Any]] = {
    "threads_per_worker": 1,
    "processes": True,
    "dashboard_address": "127.0.0.1:0",
    "memory_limit": 0,  # the work is done in processes that dask does not see
    "silence_logs": logging.CRITICAL,
}


class Connection:
    """A client of a dask scheduler, with the cluster where that was started for it.

    Parameters
    ----------
    settings
        Which cluster.
    n_workers
        Dask workers of a cluster that is started here, unless the settings give a number.

    Raises
    ------
    ConfigError
        If a package is missing, or the arguments of the cluster cannot be used.
    InputError
        If no scheduler answers at the address.
    """

    def __init__(self, settings: ExecutorSettings, n_workers: int) -> None:
        self.settings = settings
        self.n_workers = settings.workers or n_workers
        self.cluster: Any = None
        distributed = _import("distributed")
        _quieten()
        if settings.kind != DASK:
            self.cluster = _open_cluster(settings, self.n_workers)
        try:
            self.client: Any = distributed.Client(
                self.cluster or settings.address, timeout=_CONNECT_LIMIT, set_as_default=False
            )
        except (OSError, ValueError) as err:
            self._close_cluster()
            raise InputError(
                f"No dask scheduler answers at {settings.address or 'the new cluster'} "
                f"({describe_exception(err)}); start one with `dask scheduler`, or correct the "
                "address."
            ) from err
        self._killed: type[Exception] = distributed.KilledWorker
        self._without_workers_since = time.monotonic()
        self._keys: dict[Hashable, str] = {}

    @property
    def address(self) -> str:
        """Where the scheduler is."""
        return self.settings.address or str(self.cluster.scheduler_address)

    @property
    def is_running(self) -> bool:
        """Whether the client has its connection to the scheduler."""
        return bool(self.client.status == "running")

    def keep_up(self) -> int:
        """Ask a queue for jobs in the place of lost ones; return the threads there are now.

        Raises
        ------
        ExecutorLostError
            If the scheduler is gone, or has been without any worker for too long.
        """
        if not self.is_running:
            raise self.lost()
        try:
            refused = self._ask_the_queue()
            threads = self.client.sync(
                self.client.scheduler.ncores, workers=None, callback_timeout=_ANSWER_LIMIT
            )
        except (OSError, TimeoutError) as err:
            raise self.lost() from err
        now = time.monotonic()
        if refused and not threads:
            raise ExecutorLostError(
                f"The queue did not take the jobs: {refused}. Correct [executor.cluster], and the "
                "same command goes on."
            )
        if threads:
            self._without_workers_since = now
        elif now - self._without_workers_since > self.settings.longest_wait:
            raise ExecutorLostError(
                f"The dask scheduler at {self.address} has had no worker for "
                f"{self.settings.longest_wait:g} s; start workers with `dask worker "
                f"{self.address}`, or allow more time with executor.patience."
            )
        return sum(threads.values())

    def _ask_the_queue(self) -> str | None:
        """Ask for the jobs that are missing; return why the queue refused some."""
        if self.settings.kind not in _QUEUE_CLASSES:
            return None
        self.cluster.scale(self.n_workers)
        refusals: list[str] = self.cluster.job_cls.refusals
        refused = refusals[-1] if refusals else None
        refusals.clear()
        return refused

    def lost(self) -> ExecutorLostError:
        """Return the error that says that the scheduler went away."""
        return ExecutorLostError(
            f"The connection to the dask scheduler at {self.address} was lost. Start the cluster "
            "again, and the same command goes on."
        )

    def key_of(self, function: Hashable) -> str:
        """Return the key of a function: its processes on the workers are found by it."""
        return self._keys.setdefault(function, f"sscha-mlp-{uuid.uuid4().hex}")

    def retire(self, *keys: str) -> None:
        """End the tasks and processes of some keys, as far as the workers can be reached."""
        self._keys = {one: key for one, key in self._keys.items() if key not in keys}
        with contextlib.suppress(Exception):
            if self.is_running:
                self.client.run(_end_all, keys, on_error="ignore")

    def submit(self, function: Callable[..., Any], *arguments: object, key: str) -> Any:
        """Send a call to some worker; returns a future of dask."""
        return self.client.submit(function, *arguments, key=key, pure=False)

    def cancel(self, futures: list[Any]) -> None:
        """Withdraw what has not begun, as far as the scheduler can be reached."""
        with contextlib.suppress(Exception):
            self.client.cancel(futures, force=True)

    def took_workers_down(self, error: BaseException) -> bool:
        """Whether dask gave a task up because its workers died too often."""
        return isinstance(error, self._killed)

    def close(self) -> None:
        """Leave the scheduler, and end the cluster if it was started here."""
        if self.cluster is None and self._keys:
            self.retire(*self._keys.values())
        with contextlib.suppress(Exception):
            self.client.close(timeout=_CLOSE_LIMIT)
        self._close_cluster()

    def _close_cluster(self) -> None:
        if self.cluster is not None:
            with contextlib.suppress(Exception):
                self.cluster.close(timeout=_CLOSE_LIMIT)


def _open_cluster(settings: ExecutorSettings, n_workers: int) -> Any:
    """Start a cluster whose scheduler is in this process."""
    import dask

    # After the death of its worker a task runs elsewhere; the scheduler counts, not the client.
    dask.config.set({"distributed.scheduler.allowed-failures": settings.n_retries})
    if settings.kind == DASK_LOCAL:
        cluster = _import("distributed").LocalCluster
        arguments = {**_LOCAL_DEFAULTS, "n_workers": n_workers, **settings.cluster}
    else:
        cluster = getattr(_import("dask_jobqueue"), _QUEUE_CLASSES[settings.kind])
        arguments = {"scheduler_options": {"dashboard_address": "127.0.0.1:0"}, **settings.cluster}
        _require_command(settings.kind, cluster.job_cls.submit_command)
        arguments["job_cls"] = _noting_refusals(cluster.job_cls)
    try:
        return cluster(**arguments)
    except Exception as err:
        raise ConfigError(
            f"{cluster.__name__} cannot be started with the arguments in [executor.cluster]: "
            f"{describe_exception(_root(err))}."
        ) from err


def _require_command(kind: str, command: str) -> None:
    if shutil.which(command.split(maxsplit=1)[0]) is None:
        raise ConfigError(
            f"The executor {kind!r} needs the command {command!r}, which is not on this machine; "
            "run where jobs are submitted."
        )


def _noting_refusals(job_class: type[Any]) -> type[Any]:
    """Return a class of jobs that remembers why one was refused: dask only logs it."""

    class NotingJob(job_class):
        refusals: ClassVar[list[str]] = []

        async def _submit_job(self, script_filename: str) -> Any:
            try:
                return await super()._submit_job(script_filename)
            except (RuntimeError, OSError) as err:
                self.refusals.append(describe_exception(err))
                raise

    return NotingJob


def _root(error: BaseException) -> BaseException:
    """Return the first cause of an error."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _end_all(keys: tuple[str, ...]) -> None:
    """Run on a worker: end the tasks and processes of some functions."""
    for key in keys:
        end(key)


def _import(name: str) -> ModuleType:
    """Import a package of dask when it is needed."""
    try:
        return importlib.import_module(name)
    except ImportError as err:
        raise ConfigError(
            f"This executor needs the package {name!r}, which is not installed ({err}): "
            "pip install 'sscha-mlp[dask]'."
        ) from err


def _quieten() -> None:
    """Leave it to the package's own errors to say what went wrong."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]
    for name in (*names, "tornado.application"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
