"""Labelling many configurations: in parallel, safe on disk one by one, failures set apart."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ase import Atoms

from sscha_mlp.data.labels import Label, LabelledConfiguration, configuration_key, was_chosen
from sscha_mlp.errors import InputError, ReferenceFailedError
from sscha_mlp.parallel import Done, ExecutorLostError, Failed, Machines, WorkerStartError
from sscha_mlp.reference.compute import LabelFunction, bare_copy
from sscha_mlp.reference.registry import Reference
from sscha_mlp.reference.store import LabelStore

GIVE_UP_AFTER: Final = 20
"""Labelling ends when this many configurations have failed and none has succeeded."""

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
        Why, in words.
    """

    index: int
    reason: str


@dataclass(frozen=True)
class LabelReport:
    """What came of labelling.

    Parameters
    ----------
    labels
        One for each configuration of the input, in its order; None where it failed.
    failures
        Those that failed, by index.
    n_computed
        Labels computed now.
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


def label(
    configurations: Sequence[Atoms],
    reference: Reference,
    *,
    store: LabelStore | None = None,
    n_workers: int = 1,
    time_limit: float | None = None,
    isolate: bool | None = None,
    retry_failures: bool = True,
    progress: Progress | None = None,
    machines: Machines | None = None,
) -> LabelReport:
    """Label configurations with a reference.

    A label that the store has is not computed again; one that is computed is in the store before
    it is counted by `progress`.  A configuration for which the reference raises, hangs, dies, or
    returns NaN or no stress gets no label but a reason, which the store records too.

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
    SschaMlpError
        If the store cannot be written.
    """
    start = time.perf_counter()
    task = _Task.prepare(configurations, reference, store, retry_failures=retry_failures)
    task.report(progress)
    todo = task.todo()
    if todo:
        function = LabelFunction(reference.make_calculator)
        with (machines or Machines()).executor(
            function,
            n_workers=min(n_workers, len(todo)),
            time_limit=time_limit,
            isolate=isolate,
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


@dataclass
class _Task:
    """Where one call of :func:`label` stands; `first` maps each key to its first index."""

    configurations: Sequence[Atoms]
    reference: Reference
    store: LabelStore | None
    keys: list[str]
    first: dict[str, int]
    labels: dict[str, Label]
    reasons: dict[str, str]
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
    ) -> "_Task":
        """Find what is known already."""
        for atoms in configurations:
            reference.check_elements(atoms)
        keys = [configuration_key(atoms) for atoms in configurations]
        first = {key: i for i, key in reversed(list(enumerate(keys)))}
        labels: Mapping[str, Label] = {}
        reasons: dict[str, str] = {}
        if store is not None and keys:
            labels = store.get_all(reference.identity)
            if not retry_failures:
                failures = store.get_failures(reference.identity)
                reasons = {f.key: f.reason for f in failures if f.key in first}
        known = {key: labels[key] for key in first if key in labels}
        return cls(configurations, reference, store, keys, first, known, reasons)

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
            self.reasons[key] = outcome.reason
            if len(self.reasons) >= GIVE_UP_AFTER and not self.labels:
                raise self.hopeless()
            return
        label = Label(*outcome.value)
        if self.store is not None:
            self.store.put(atoms, self.reference.identity, label)
        self.labels[key] = label
        self.computed.add(key)

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
