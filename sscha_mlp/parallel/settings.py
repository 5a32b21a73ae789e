"""Which executor does the tasks, and how patient it is: from a word, a TOML file, or Python."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from sscha_mlp.errors import ConfigError, cause_of
from sscha_mlp.text_files import written_text

HERE: Final = "here"
PROCESSES: Final = "processes"
DASK_LOCAL: Final = "dask-local"
DASK: Final = "dask"
SLURM: Final = "slurm"
PBS: Final = "pbs"

LOCAL_KINDS: Final = (HERE, PROCESSES)
QUEUES: Final = (SLURM, PBS)
KINDS: Final = (*LOCAL_KINDS, DASK_LOCAL, DASK, *QUEUES)

_SCHEMES: Final = ("tcp://", "tls://")
_RETRIES_ON_DASK: Final = 3
_PATIENCE: Final = 300.0


@dataclass(frozen=True)
class ExecutorSettings:
    """Where tasks run, and what happens when something dies there.

    Parameters
    ----------
    kind
        ``here`` (this process), ``processes`` (on this machine), ``dask-local`` (a dask cluster on
        this machine), ``dask`` (a scheduler at ``address``), ``slurm`` or ``pbs`` (dask workers in
        jobs of a queue).
    address
        Of a running dask scheduler, ``tcp://host:port`` or ``tls://host:port``.
    workers
        Number of processes or of dask workers; 0 for the number that the caller asks for.  A
        queue needs one; a scheduler at an address has its own.
    time_limit
        Longest time for one task, s; 0 for the one that the caller asks for.
    retries
        How often a task is tried again after its worker died or a connection was lost; when left
        out, 3 with dask and 0 without.
    backoff
        Pause before the first of these retries, s; it doubles each time, up to 5 minutes, and is
        varied by a half to either side.
    patience
        How long the dask cluster may be without any worker, s; when left out 300 s, and without
        end for a queue.
    cluster
        Arguments of the class of dask cluster: ``distributed.LocalCluster``,
        ``dask_jobqueue.SLURMCluster`` or ``dask_jobqueue.PBSCluster``.

    Raises
    ------
    ConfigError
        If a value is unknown, out of range, or does not belong to the kind.
    """

    kind: str = PROCESSES
    address: str = ""
    workers: int = 0
    time_limit: float = 0.0
    retries: int | None = None
    backoff: float = 1.0
    patience: float | None = None
    cluster: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what can be checked before anything is started."""
        if self.kind not in KINDS:
            raise ConfigError(f"Unknown executor {self.kind!r}; known: {', '.join(KINDS)}.")
        for name in ("workers", "time_limit", "retries", "backoff", "patience"):
            _check_number(name, getattr(self, name))
        if (self.kind == DASK) != bool(self.address):
            raise ConfigError(
                "The executor kind 'dask', and no other, needs the address of a running "
                f"scheduler; kind = {self.kind!r} has address = {self.address!r}."
            )
        if self.address and not self.address.startswith(_SCHEMES):
            raise ConfigError(
                f"The address {self.address!r} is not that of a dask scheduler: write "
                "tcp://host:port or tls://host:port."
            )
        if self.kind in QUEUES and self.workers < 1:
            raise ConfigError(
                f"The executor {self.kind!r} needs the number of workers to ask the queue for: "
                "set workers in its [executor] table."
            )
        if self.cluster and self.kind not in (DASK_LOCAL, *QUEUES):
            raise ConfigError(
                f"executor.cluster has no meaning for kind = {self.kind!r}; it belongs to "
                f"{', '.join((DASK_LOCAL, *QUEUES))}."
            )

    @property
    def on_dask(self) -> bool:
        """Whether dask workers do the tasks."""
        return self.kind not in LOCAL_KINDS

    @property
    def n_retries(self) -> int:
        """Number of retries, with the default of the kind."""
        if self.retries is not None:
            return self.retries
        return _RETRIES_ON_DASK if self.on_dask else 0

    @property
    def longest_wait(self) -> float:
        """Longest time without any worker, with the default of the kind, s."""
        if self.patience is not None:
            return self.patience
        return math.inf if self.kind in QUEUES else _PATIENCE


def read_executor(spec: str | Path | ExecutorSettings) -> ExecutorSettings:
    """Return the executor that a user asks for.

    Parameters
    ----------
    spec
        ``here``, ``processes``, ``dask-local`` (the last two also with a number of workers, as in
        ``dask-local:4``), the address of a dask scheduler, or a TOML file with a table
        ``[executor]`` that has the fields of :class:`ExecutorSettings`.

    Raises
    ------
    ConfigError
        If it is none of these, or the file cannot be used.
    """
    return spec if isinstance(spec, ExecutorSettings) else ExecutorSettings(**executor_values(spec))


def executor_values(spec: str | Path) -> dict[str, Any]:
    """Return what :func:`read_executor` reads as plain values, for merging with others.

    Raises
    ------
    ConfigError
        If the specification cannot be understood, or the file cannot be used.
    """
    text = str(spec)
    if text.endswith(".toml"):
        return _from_toml(Path(text))
    if text.startswith(_SCHEMES):
        return {"kind": DASK, "address": text}
    kind, colon, number = text.partition(":")
    if kind not in (HERE, PROCESSES, DASK_LOCAL):
        raise ConfigError(
            f"The executor {text!r} is not understood; write {HERE}, {PROCESSES}, "
            f"{DASK_LOCAL}:2, tcp://host:port, or the name of a TOML file with a table [executor]."
        )
    if not colon:
        return {"kind": kind}
    if not number.isdecimal() or int(number) < 1 or kind == HERE:
        raise ConfigError(
            f"The executor {text!r} is not understood; a number of workers is written as in "
            f"{PROCESSES}:4 or {DASK_LOCAL}:4."
        )
    return {"kind": kind, "workers": int(number)}


def _from_toml(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(written_text(path))
    except FileNotFoundError as err:
        raise ConfigError(f"There is no executor file {path}; check its path.") from err
    except (OSError, ValueError, RecursionError) as err:  # not TOML, or nested too deep
        raise ConfigError(f"The executor file {path} cannot be read: {cause_of(err)}.") from err
    table = content.get("executor")
    if not isinstance(table, dict) or not isinstance(table.get("kind"), str):
        raise ConfigError(
            f'{path} needs a table [executor] with kind = "...", one of: {", ".join(KINDS)}.'
        )
    known = [one.name for one in fields(ExecutorSettings)]
    unknown = sorted({*table} - {*known})
    if unknown:
        raise ConfigError(
            f"{path} has the unknown key executor.{unknown[0]}; known here: {', '.join(known)}."
        )
    if not isinstance(table.get("cluster", {}), dict):
        raise ConfigError(f"{path}: executor.cluster must be a table.")
    return table


def _check_number(name: str, value: object) -> None:
    """Refuse what is not a finite number of at least 0; None means the default."""
    if value is None:
        return
    whole = name in {"workers", "retries"}
    is_number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 <= value < math.inf:  # type: ignore[operator]
        what = "a whole number" if whole else "a number"
        raise ConfigError(f"executor.{name} = {value!r} must be {what} of at least 0.")
