"""A finished run, opened for a study: its settings, state, space group and model at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sscha_mlp.campaign.context import ChunkedEvaluator
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.symmetry import SpaceGroup
from sscha_mlp.potentials.protocol import Potential
from sscha_mlp.potentials.registry import load
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.run_files.finished_run import FinishedRun
from sscha_mlp.run_files.observer import Observer, watched_by
from sscha_mlp.run_files.settings import RunSettings


@dataclass(frozen=True, eq=False)
class OpenedRun:
    """A finished run with its model loaded.

    Parameters
    ----------
    run
        The run.
    state
        Minimum of the model at the final cell.
    group
        Space group that is kept there.
    potential
        The last model.
    evaluator
        The same with progress.
    observer
        Who watches.
    """

    run: FinishedRun
    state: DynamicalMatrix
    group: SpaceGroup
    potential: Potential
    evaluator: ChunkedEvaluator
    observer: Observer

    @property
    def place(self) -> RunDirectory:
        """Its directory."""
        return self.run.place

    @property
    def settings(self) -> RunSettings:
        """Its settings."""
        return self.run.settings


@contextmanager
def opened_run(
    directory: str | Path, what: str, *, n_workers: int = 1, observer: Observer | None = None
) -> Iterator[OpenedRun]:
    """Open a finished run; its model is closed at the end.

    Parameters
    ----------
    directory
        A finished run.
    what
        What the model is evaluated for, for who watches.
    n_workers
        Processes or threads of the model.
    observer
        Who watches.

    Raises
    ------
    InputError
        If this is no finished run, or its model or state cannot be read.
    """
    run, watcher = FinishedRun.read(directory), watched_by(observer)
    state, group = run.minimum()
    with load(run.model_directory, n_workers=n_workers) as potential:
        evaluator = ChunkedEvaluator(potential, watcher, what)
        yield OpenedRun(run, state, group, potential, evaluator, watcher)
