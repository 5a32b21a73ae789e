"""Labelling many configurations: in parallel, safe on disk one by one, failures set apart."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ase import Atoms

from sscha_mlp.calculators.compute import LabelFunction, bare_copy
from sscha_mlp.calculators.registry import Reference
from sscha_mlp.data.labels import Label, LabelledConfiguration, configuration_key, was_chosen
from sscha_mlp.ensemble.sampling import Ensemble
from sscha_mlp.errors import InputError, ReferenceFailedError
from sscha_mlp.parallel import Done, ExecutorLostError, Failed, Machines, WorkerStartError
from sscha_mlp.reference.guard import QUARANTINED, check_batch, check_label
from sscha_mlp.reference.index import State
from sscha_mlp.reference.offline import ask_for_labels, is_offline
from sscha_mlp.reference.store import Found, LabelStore
from sscha_mlp.tables import Shown, Table

GIVE_UP_AFTER: Final = 20
"""Labelling ends when this many configurations have failed and none has succeeded."""

_SHOWN: Final = 5
"""Failures that a table shows."""

Progress = Callable[[int, int], None]
"""Called with the number of configurations that are finished, and their total."""


@dataclass(frozen=True)
class LabelFailure:
    """A configuration without a label.

    Parameters
    ----------
    index
        Its place in the input.
    reason
        Why, in words; it begins with ``quarantined:`` where there is a label that is not believed.
    """

    index: int
    reason: str


@dataclass(frozen=True)
class LabelReport(Shown):
    """What came of labelling.

    Parameters
    ----------
    labels
        One for each configuration of the input, in its order; None where it failed or where
        the label is in quarantine.
    failures
        Those that failed or are in quarantine, by index.
    n_computed
        Labels computed now that are believed.
    n_reused
        Labels found in the store, or given twice in the input.
    seconds
        Wall time, in s.
    seconds_computing
        Sum of the times of the calculations, failed ones included, over all workers, in s.
    """

    labels: tuple[Label | None, ...]
    failures: tuple[LabelFailure, ...]
    n_computed: int
    n_reused: int
    seconds: float
    seconds_computing: float = 0.0

    def table(self) -> Table:
        """Return counts and times, and why the first failures failed."""
        rows = (
            ("computed", str(self.n_computed)),
            ("found in the store", str(self.n_reused)),
            ("failed or in quarantine", str(len(self.failures))),
            ("wall time", f"{self.seconds:.1f} s"),
            *((f"configuration {one.index}", one.reason) for one in self.failures[:_SHOWN]),
        )
        return Table("Labels", rows)


def label(
    configurations: Sequence[Atoms],
    reference: Reference,
    *,
    store: LabelStore | None = None,
    n_workers: int = 1,
    time_limit: float | None = None,
    isolate: bool | None = None,
    retry_failures: bool = True,
    guard: bool = True,
    offline_directory: Path | None = None,
    progress: Progress | None = None,
    machines: Machines | None = None,
) -> LabelReport:
    """Label configurations with a reference.

    A label that the store has is not computed again, also where its atoms are in another order or
    its origin is elsewhere; one that is computed is in the store before it is counted by
    `progress`.  A configuration for which the reference raises, hangs, dies, or returns NaN or no
    stress gets no label but a reason, which the store records too.  A label that cannot be right
    (:mod:`sscha_mlp.reference.guard`) is kept in quarantine and counts as a failure here.

    Parameters
    ----------
    configurations
        Configurations; they are not changed.
    store
        Where finished labels are found and kept; without it nothing is kept.
    n_workers
        Number of processes.
    time_limit
        Longest time for one configuration, in s.
    isolate
        Whether to compute in other processes, which keeps a crash of the calculator away from
        the caller.  By default this is so with several workers or with a time limit.
    retry_failures
        Whether to try again what failed in an earlier run.
    guard
        Whether labels that cannot be right are put into quarantine.
    offline_directory
        Where inputs are written for a reference that labels by hand; ``offline`` beside the store
        by default.
    progress
        Called after each configuration with the number finished so far and the total.
    machines
        Where to compute; processes on this machine by default.  Its own number of workers and
        time limit go before those given here.

    Raises
    ------
    InputError
        If an element is unknown to the reference, a position is not finite, or the store cannot
        be read.
    ReferenceFailedError
        If the calculator cannot be made, or no configuration at all could be labelled.
    ExecutorLostError
        If the cluster goes away; the labels that it returned are in the store.
    WaitingForLabelsError
        If somebody has to compute labels by hand; their inputs are written.
    SschaMlpError
        If the store cannot be written.
    """
    start = time.perf_counter()
    # What was computed by hand and failed is not asked for again.
    retry = retry_failures and not is_offline(reference)
    task = _Task.prepare(configurations, reference, store, retry_failures=retry, guard=guard)
    task.report(progress)
    todo = task.todo()
    if todo and is_offline(reference):
        wanted = [configurations[task.first[key]] for key in todo]
        ask_for_labels(wanted, reference, store, offline_directory)
    if todo:
        function = LabelFunction(reference.make_calculator)
        with (machines or Machines()).executor(
            function,
            n_workers=min(n_workers, len(todo)),
            time_limit=time_limit,
            isolate=isolate,
            keep=machines is not None,
        ) as executor:
            outcomes = executor.run(bare_copy(configurations[task.first[key]]) for key in todo)
            try:
                for index, outcome in outcomes:
                    task.finish(todo[index], outcome)
                    task.report(progress)
            except WorkerStartError as err:
                raise ReferenceFailedError(
                    f"The reference {reference.name!r} cannot be set up: {err}"
                ) from err
            except ExecutorLostError as err:
                raise ExecutorLostError(f"{err} {task.kept()}") from err
    return task.result(time.perf_counter() - start)


def labelled_configurations(
    configurations: Sequence[Atoms], report: LabelReport, *, origin: str | None = None
) -> tuple[LabelledConfiguration, ...]:
    """Pair configurations with their labels; those without a label are left out.

    Parameters
    ----------
    configurations
        What was labelled; ``temperature`` (K) and ``displacement_rms`` (Å) are taken from their
        ``info``.
    report
        What :func:`label` returned for them.
    origin
        Where they come from; their ``config_type`` when left out.

    Raises
    ------
    InputError
        If the report is not of these configurations.
    """
    if len(configurations) != len(report.labels):
        raise InputError(
            f"{len(configurations)} configurations and {len(report.labels)} labels do not belong "
            "together; give the report of exactly these configurations."
        )
    return tuple(
        LabelledConfiguration(
            atoms,
            one,
            temperature=atoms.info.get("temperature"),
            displacement_rms=atoms.info.get("displacement_rms"),
            origin=origin or str(atoms.info.get("config_type", "unknown")),
            chosen=was_chosen(atoms),
        )
        for atoms, one in zip(configurations, report.labels, strict=True)
        if one is not None
    )


def label_ensemble(
    ensemble: Ensemble,
    reference: Reference,
    *,
    origin: str = "ensemble",
    store: LabelStore | None = None,
    n_workers: int = 1,
    progress: Progress | None = None,
) -> tuple[LabelledConfiguration, ...]:
    """Label an ensemble; temperature and amplitude go with each configuration.

    Parameters
    ----------
    ensemble
        What is labelled.
    reference
        The calculator.
    origin
        Where the configurations come from, one word.
    store
        Where labels are found and kept.
    n_workers
        Processes.
    progress
        As for :func:`label`.

    Returns
    -------
    Those with a label; :func:`label` says why others have none.

    Raises
    ------
    InputError
        If an element is unknown to the reference, or the origin is not one word.
    ReferenceFailedError
        If no configuration at all could be labelled.
    """
    frames = ensemble.configurations()
    for frame, amplitude in zip(frames, ensemble.displacement_rms, strict=True):
        frame.info.update(temperature=ensemble.temperature, displacement_rms=float(amplitude))
    report = label(frames, reference, store=store, n_workers=n_workers, progress=progress)
    return labelled_configurations(frames, report, origin=origin)


@dataclass
class _Task:
    """Where one call of :func:`label` stands; `first` maps each key to its first index."""

    configurations: Sequence[Atoms]
    reference: Reference
    store: LabelStore | None
    keys: list[str]
    first: dict[str, int]
    guard: bool
    labels: dict[str, Label] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    computed: set[str] = field(default_factory=set)
    seconds: float = 0.0

    @classmethod
    def prepare(
        cls,
        configurations: Sequence[Atoms],
        reference: Reference,
        store: LabelStore | None,
        *,
        retry_failures: bool,
        guard: bool,
    ) -> "_Task":
        """Find what is known already."""
        for atoms in configurations:
            reference.check_elements(atoms)
        keys = [configuration_key(atoms) for atoms in configurations]
        first = {key: i for i, key in reversed(list(enumerate(keys)))}
        task = cls(configurations, reference, store, keys, first, guard)
        if store is not None and keys:
            places = list(first.values())
            known = store.find([configurations[i] for i in places], reference.identity)
            for i, found in zip(places, known, strict=True):
                task.recall(keys[i], found, retry_failures=retry_failures)
        return task

    def recall(self, key: str, found: Found | None, *, retry_failures: bool) -> None:
        """Take note of what the store knows of a configuration."""
        if found is None:
            return
        if found.state is State.LABEL and found.label is not None:
            self.labels[key] = found.label
            self.rows[key] = found.row
        elif found.state is State.QUARANTINED:
            self.reasons[key] = QUARANTINED + found.reason
        elif not retry_failures:
            self.reasons[key] = found.reason

    def todo(self) -> list[str]:
        """Return the keys without label or failure, in the order of the input."""
        known = self.labels.keys() | self.reasons.keys()
        return sorted(self.first.keys() - known, key=self.first.__getitem__)

    def finish(self, key: str, outcome: Done[Any] | Failed) -> None:
        """Take note of one outcome, on disk first."""
        self.seconds += outcome.seconds
        atoms = self.configurations[self.first[key]]
        if isinstance(outcome, Failed):
            if self.store is not None:
                self.store.put_failure(atoms, self.reference.identity, outcome.reason)
            self.fail(key, outcome.reason)
            return
        label = Label(*outcome.value)
        doubt = check_label(atoms, label) if self.guard else ""
        if self.store is not None:
            row = self.store.put(atoms, self.reference.identity, label, quarantine=doubt)
            self.rows[key] = row
        if doubt:
            self.fail(key, QUARANTINED + doubt)
            return
        self.labels[key] = label
        self.computed.add(key)

    def fail(self, key: str, reason: str) -> None:
        """Take note of a failure, and give up where nothing but failures comes."""
        self.reasons[key] = reason
        if len(self.reasons) >= GIVE_UP_AFTER and not self.labels:
            raise self.hopeless()

    def judge(self) -> None:
        """Put labels that do not fit the others of the batch into quarantine."""
        keys = sorted(self.labels, key=self.first.__getitem__)
        configurations = [self.configurations[self.first[key]] for key in keys]
        doubts = check_batch(configurations, [self.labels[key] for key in keys])
        for i, doubt in doubts.items():
            if self.store is not None:
                self.store.quarantine(self.rows[keys[i]], doubt)
            self.reasons[keys[i]] = QUARANTINED + doubt
            self.computed.discard(keys[i])
            del self.labels[keys[i]]

    def report(self, progress: Progress | None) -> None:
        """Tell how many configurations are finished."""
        if progress is not None:
            known = self.labels.keys() | self.reasons.keys()
            progress(sum(key in known for key in self.keys), len(self.keys))

    def kept(self) -> str:
        """Say what is finished, when labelling ends early."""
        count = f"{len(self.labels)} of {len(self.first)} configurations have a label"
        return f"{count}." if self.store is None else f"{count}, safe in {self.store.path}."

    def result(self, seconds: float) -> LabelReport:
        """Return the report, unless nothing could be labelled."""
        if self.keys and not self.labels:
            raise self.hopeless()
        if self.guard:
            self.judge()
        if self.store is not None and self.computed:
            self.store.fold_in()
        labels = tuple(self.labels.get(key) for key in self.keys)
        failures = tuple(
            LabelFailure(i, self.reasons[key])
            for i, key in enumerate(self.keys)
            if key not in self.labels
        )
        n_reused = len(self.keys) - len(failures) - len(self.computed)
        return LabelReport(labels, failures, len(self.computed), n_reused, seconds, self.seconds)

    def hopeless(self) -> ReferenceFailedError:
        """Return the error that says that every configuration failed, and how the first did."""
        key = min(self.reasons, key=self.first.__getitem__)
        if len(self.reasons) == 1:
            return ReferenceFailedError(
                f"The reference {self.reference.name!r} failed: {self.reasons[key]}"
            )
        return ReferenceFailedError(
            f"The reference {self.reference.name!r} failed on every one of the "
            f"{len(self.reasons)} configurations it tried; on number {self.first[key]}: "
            f"{self.reasons[key]}"
        )
