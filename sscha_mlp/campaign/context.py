"""What the stages of a run share."""

import os
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms

from sscha_mlp.calculators.registry import Reference, get_reference
from sscha_mlp.crystal.symmetry import SpaceGroup
from sscha_mlp.errors import WaitingForLabelsError
from sscha_mlp.parallel import Machines
from sscha_mlp.potentials.kind import Statistic
from sscha_mlp.potentials.protocol import Potential, Predictions
from sscha_mlp.potentials.spread import SpreadPotential
from sscha_mlp.reference.label import LabelReport, label
from sscha_mlp.reference.store import LabelStore
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.run_files.journal import Journal
from sscha_mlp.run_files.label_progress import LabelWatch
from sscha_mlp.run_files.observer import Observer, end_in_log, logged_to, watched_by
from sscha_mlp.run_files.settings import RunSettings
from sscha_mlp.scha import minimiser
from sscha_mlp.scha.minimiser import Minimise

_CHUNK = 128


@dataclass
class Context:
    """Settings, files, reference and watcher of one run.

    Parameters
    ----------
    settings, directory, journal, store, reference, observer
        What their names say.
    machines
        Where labels are computed.
    model_machines
        Where populations are evaluated with the model.
    generation
        How many finished runs this one continues from; set when one of them is taken over.
    group
        Space group of the start, kept throughout; set by the start stage.
    coming
        Counts labels while they come in.
    """

    settings: RunSettings
    directory: RunDirectory
    journal: Journal
    store: LabelStore
    reference: Reference
    observer: Observer
    machines: Machines = field(default_factory=Machines)
    model_machines: Machines = field(default_factory=Machines)
    generation: int = 0
    _group: SpaceGroup | None = field(default=None)
    _spread: SpreadPotential | None = field(default=None)
    coming: LabelWatch = field(init=False)

    def __post_init__(self) -> None:
        """Count labels for the observer and in the run directory."""
        self.coming = LabelWatch(self.directory.labelling, self.observer)

    @property
    def group(self) -> SpaceGroup:
        """Space group of the start."""
        if self._group is None:
            raise RuntimeError("the start stage has not set the space group")
        return self._group

    @group.setter
    def group(self, value: SpaceGroup) -> None:
        """Set it: the start stage does."""
        self._group = value

    @property
    def n_workers(self) -> int:
        """Number of processes for labels, where the executor does not give one."""
        return self.settings.workers or len(os.sched_getaffinity(0))

    @property
    def n_model_workers(self) -> int:
        """Number of processes or threads of a model on this machine."""
        return self.model_machines.local_workers(self.n_workers)

    def rng(self, *names: str | int) -> np.random.Generator:
        """Random generator of one purpose: the same for a resumed run, apart from all others.

        A run that continues from another one draws other numbers than that one did: a check must
        not repeat, in another state, the configurations that a model has learnt from.
        """
        if self.generation:
            names = (*names, "generation", self.generation)
        words = [zlib.crc32(str(name).encode()) for name in names]
        return np.random.default_rng([self.settings.seed, *words])

    def engine(self) -> Minimise:
        """Return the minimiser that the settings name."""
        if self.settings.engine == "python-sscha":
            from sscha_mlp.scha import python_sscha

            return python_sscha.minimise
        return minimiser.minimise

    def label(
        self,
        configurations: Sequence[Atoms],
        what: str,
        *,
        step: str = "",
        retry_failures: bool = True,
        guard: bool = True,
    ) -> LabelReport:
        """Label configurations with the reference, with progress.

        What failed in a sitting that was cut short is tried again unless told otherwise: the cause
        may be gone.  The guard compares configurations that are alike, as in an ensemble.

        Parameters
        ----------
        configurations
            What is labelled.
        what
            What they are, for who watches.
        step
            Step of the journal that they belong to.
        retry_failures, guard
            As :func:`sscha_mlp.reference.label.label` takes them.
        """
        limit = self.settings.label_time_limit or None
        try:
            return label(
                configurations,
                self.reference,
                store=self.store,
                n_workers=self.n_workers,
                time_limit=limit,
                isolate=True,
                retry_failures=retry_failures,
                guard=guard,
                offline_directory=self.directory.offline,
                progress=self.coming.batch(step, what, len(configurations)),
                machines=self.machines,
            )
        except WaitingForLabelsError as err:
            self.observer.note(f"{what}: waiting for {err.n_waiting}, inputs in {err.directory}")
            raise

    def evaluator(self, potential: Potential, what: str) -> "ChunkedEvaluator":
        """Return an evaluator of a potential that shows progress and counts its time.

        Where a quantile of the uncertainty is watched, the uncertainty comes with the values.
        """
        stated = potential.uncertainty
        uncertainty = stated is not None and stated.statistic is Statistic.QUANTILE
        where = self._where_it_runs(potential)
        return ChunkedEvaluator(where, self.observer, what, uncertainty=uncertainty)

    def _where_it_runs(self, potential: Potential) -> Potential:
        """Return the potential on its machines; the workers of one model at a time stay ready."""
        if not self.model_machines.settings.on_dask:
            return potential
        if self._spread is None or self._spread.sha256 != potential.sha256:
            self._release()
            self._spread = SpreadPotential(potential, self.model_machines, self.n_workers)
        return self._spread

    def close(self) -> None:
        """End what evaluates the model on a cluster; the potential itself is its maker's."""
        self._release()
        self.coming.close()

    def _release(self) -> None:
        if self._spread is not None:
            self._spread.release()
        self._spread = None


class ChunkedEvaluator:
    """Evaluates a potential in batches, telling how far it is and how long it took.

    Parameters
    ----------
    potential
        What evaluates.
    observer
        Who is told.
    what
        What is being done, in a few words.
    uncertainty
        Whether to ask for the uncertainty of each configuration.
    """

    def __init__(
        self, potential: Potential, observer: Observer, what: str, *, uncertainty: bool = False
    ) -> None:
        self.potential = potential
        self.uncertainty = uncertainty
        self.observer = observer
        self.what = what
        self.seconds = 0.0
        self.n_evaluated = 0

    def evaluate(self, configurations: Sequence[Atoms]) -> Predictions:
        """Return energies, forces and stresses of all configurations."""
        start = time.perf_counter()
        parts = []
        for first in range(0, len(configurations), _CHUNK):
            self.observer.progress(self.what, first, len(configurations))
            chunk = configurations[first : first + _CHUNK]
            parts.append(self.potential.evaluate(chunk, uncertainty=self.uncertainty))
        self.observer.progress(self.what, len(configurations), len(configurations))
        self.seconds += time.perf_counter() - start
        self.n_evaluated += len(configurations)
        stated = [part.uncertainty for part in parts if part.uncertainty is not None]
        return Predictions(
            np.concatenate([part.energies for part in parts]),
            tuple(force for part in parts for force in part.forces),
            np.concatenate([part.stresses for part in parts]),
            np.concatenate(stated) if stated else None,
        )


@contextmanager
def open_run(
    settings: RunSettings,
    place: RunDirectory,
    observer: Observer | None,
    reference: Reference | None = None,
) -> Iterator[Context]:
    """Open journal, label store and log of a run directory, which the caller holds.

    Parameters
    ----------
    settings, place, observer
        Of the run.
    reference
        What labels, where it has been made already.

    Raises
    ------
    InputError
        If the reference is unknown, or the label store cannot be read.
    """
    with (
        logged_to(place.log, shown=observer is None),
        end_in_log(),
        LabelStore(settings.label_store or place.labels) as store,
        Machines(settings.executor) as machines,
        Machines(settings.model_executor) as model_machines,
    ):
        context = Context(
            settings=settings,
            directory=place,
            journal=Journal(place.journal),
            store=store,
            reference=reference or get_reference(settings.reference),
            observer=watched_by(observer),
            machines=machines,
            model_machines=model_machines,
        )
        with closing(context):
            yield context
