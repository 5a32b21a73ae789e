"""A sweep over temperature and pressure: one run after the other, each from its neighbour.

Every point is a run of its own in ``points/``, which starts from a finished neighbour: from its
state, its model and its labels.  The model is trained again only where the certificate of a point
asks for it, and what it has learnt goes on to the points that follow.  All labels are in one store.
A sweep that was interrupted goes on with the point where it stopped.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from sscha_mlp.calculators.registry import get_reference
from sscha_mlp.campaign.input_checks import check_input
from sscha_mlp.campaign.input_identity import require_same_input_of
from sscha_mlp.campaign.loop import run
from sscha_mlp.data.files import write_atomic
from sscha_mlp.errors import ConfigError, InputError, SschaMlpError, WaitingForLabelsError
from sscha_mlp.parallel import Done, ExecutorSettings, Failed, Machines
from sscha_mlp.parallel.settings import HERE
from sscha_mlp.reference.offline import is_offline
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.run_files.observer import LogObserver, Observer, logged_to, watched_by
from sscha_mlp.run_files.records.hessian import HessianRecord
from sscha_mlp.run_files.settings import RunSettings, differences, format_toml, read_toml
from sscha_mlp.run_files.stage_settings import LabelPolicy
from sscha_mlp.studies.hessian import hessian_of_run
from sscha_mlp.studies.response import read_response, response_of_run
from sscha_mlp.studies.sweep.plan import PlannedPoint, plan_points
from sscha_mlp.studies.sweep.point import SweepPoint
from sscha_mlp.studies.sweep.settings import SweepSettings
from sscha_mlp.studies.sweep.table import FILE, Sweep


@dataclass(frozen=True)
class PointTask:
    """What is to be done at one point.

    Parameters
    ----------
    settings
        Of its run, as plain values.
    directory
        Of its run.
    response_configs, hessian_configs, fourth
        See :class:`SweepSettings`.
    """

    settings: Mapping[str, Any]
    directory: str
    response_configs: int
    hessian_configs: int
    fourth: bool


@dataclass(frozen=True)
class _Runner:
    """Does the work of a point; what an executor sends to its workers.

    Parameters
    ----------
    afterwards
        What is done with the directory of a finished run, such as writing its report.
    observer
        Who watches; the log alone in other processes.
    """

    afterwards: Callable[[Path], None] | None = None
    observer: Observer = field(default_factory=LogObserver)

    def __call__(self, task: PointTask) -> None:
        """Run the point, then its response and its Hessian."""
        settings, directory = RunSettings.from_mapping(task.settings), Path(task.directory)
        place = RunDirectory(directory)
        if not place.result.is_file():
            run(settings, directory, observer=self.observer)
            if self.afterwards is not None:
                self.stage("report", settings)
                self.afterwards(directory)
        if not place.read_result().converged:
            return
        n_workers = settings.workers or 1
        if task.response_configs and not place.response.is_file():
            self.stage("response", settings)
            response_of_run(
                directory,
                n_configs=task.response_configs,
                n_workers=n_workers,
                observer=self.observer,
            )
        if task.hessian_configs and not _has_hessian(place, fourth=task.fourth):
            self.stage("Hessian", settings)
            hessian_of_run(
                directory,
                n_configs=task.hessian_configs,
                fourth=task.fourth,
                n_workers=n_workers,
                observer=self.observer,
            )

    def stage(self, what: str, settings: RunSettings) -> None:
        """Say what is made of a finished run."""
        where = _in_words(settings.temperature, settings.pressure)
        watched_by(self.observer).stage(f"{what} of {where}")


def _in_words(temperature: float, pressure: float) -> str:
    """Return a point, K and GPa, in words."""
    return f"{temperature:g} K, {pressure:g} GPa"


def _has_hessian(place: RunDirectory, *, fourth: bool) -> bool:
    """Whether a run has a Hessian of this order."""
    if not place.hessian.is_file():
        return False
    return HessianRecord.read(place.hessian).fourth_order == fourth


def _runner(runner: _Runner) -> _Runner:
    """What a worker calls to get what it does."""
    return runner


def run_sweep(
    settings: SweepSettings,
    directory: str | Path,
    *,
    where: ExecutorSettings | None = None,
    afterwards: Callable[[Path], None] | None = None,
    observer: Observer | None = None,
) -> Sweep:
    """Run a sweep, or go on with one.

    Parameters
    ----------
    settings
        What is asked.  Points may be added to an earlier sweep; its other settings must be the
        same.
    directory
        Of the sweep; made if needed.  ``sweep.json`` is written after each generation of points.
    where
        Where independent points are computed; one after the other in this
        process by default, and where labels are computed by hand.
    afterwards
        Called with the directory of each run that has finished; importable from a module.
    observer
        Who watches; as for :func:`sscha_mlp.run`.

    Returns
    -------
    The table of all points that are finished.

    Raises
    ------
    InputError
        If settings, structure or reference cannot be used, or the directory holds another sweep.
    WaitingForLabelsError
        If labels are to be computed by hand.
    SschaMlpError
        If the first point fails, or no point could be finished.
    """
    path = Path(directory)
    settings = as_begun(settings, path)
    first = prepare(settings, path)
    points = plan_points(settings.temperatures, settings.pressures, first)
    here = ExecutorSettings(kind=HERE)
    by_hand = is_offline(get_reference(settings.shared(*first).reference))
    machines = Machines(here if where is None or by_hand else where)
    log = RunDirectory(path).log
    runner = _Runner(afterwards, LogObserver() if observer is None else observer)
    with RunDirectory(path).locked(), logged_to(log, shown=observer is None), machines:
        return _Sweeping(settings, path, points, machines, runner).go()


def as_begun(settings: SweepSettings, path: Path) -> SweepSettings:
    """Return settings that keep fixed numbers of labels in a sweep that was begun with them.

    Versions without this choice wrote nothing of it.
    """
    file = path / "sweep.toml"
    if not file.is_file():
        return settings
    policy = read_toml(file).get("run", {}).get("labels", LabelPolicy.FIXED)
    if policy != LabelPolicy.FIXED:
        return settings
    return replace(settings, run={**settings.run, "labels": LabelPolicy.FIXED})


def prepare(settings: SweepSettings, path: Path) -> tuple[float, float]:
    """Make the directory of a sweep, or check that it is one of these settings.

    Returns
    -------
    Temperature (K) and pressure (GPa) of its first point.

    Raises
    ------
    ConfigError
        If it holds a sweep with other settings.
    InputError
        If it cannot be made, or the structure or reference of a new sweep cannot be used.
    """
    file = path / "sweep.toml"
    first = settings.first
    if file.is_file():
        stored = read_toml(file)
        # What an earlier version did not write is at its default.
        run = {"labels": LabelPolicy.FIXED, **stored.get("run", {})}
        changed = differences(replace(settings, run=run).run, settings.run)
        if changed:
            raise ConfigError(
                f"{path} holds a sweep with other settings ({'; '.join(changed)}). Use the same "
                "settings to go on, or another --run-dir."
            )
        for journal in sorted((path / "points").glob("*/journal.jsonl")):
            require_same_input_of(settings.shared(*first), RunDirectory(journal.parent))
        earlier = stored.get("first", first)
        if earlier[0] in settings.temperatures and earlier[1] in settings.pressures:
            first = (float(earlier[0]), float(earlier[1]))
    else:
        check_input(settings.shared(*first))
    try:
        (path / "points").mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise InputError(
            f"The directory {path} cannot be made ({err.strerror}); choose another with --run-dir."
        ) from err
    write_atomic(file, format_toml({"first": list(first), **settings.to_mapping()}))
    return first


@dataclass
class _Sweeping:
    """One pass over the points of a sweep; what is finished is left as it is."""

    settings: SweepSettings
    path: Path
    points: tuple[PlannedPoint, ...]
    machines: Machines
    runner: _Runner
    failed: dict[str, str] = field(default_factory=dict)
    rows: dict[str, SweepPoint] = field(default_factory=dict)

    @property
    def observer(self) -> Observer:
        """Who watches, and the log."""
        return watched_by(self.runner.observer)

    def go(self) -> Sweep:
        """Run what is missing, generation by generation."""
        for _, group in groupby(self.points, key=lambda one: one.generation):
            generation = list(group)
            tasks = [(one, self.task(one, len(generation))) for one in generation]
            self.run([(one, task) for one, task in tasks if task is not None])
            self.write()
        for name, reason in self.failed.items():
            self.observer.note(f"{name} is missing: {reason}")
        return self.write()

    def place(self, point: PlannedPoint) -> RunDirectory:
        """Return the run of a point."""
        return RunDirectory(self.path / "points" / point.name)

    def task(self, point: PlannedPoint, n_beside: int) -> PointTask | None:
        """Return what is to be done at a point; None where nothing is, or nothing can be."""
        place = self.place(point)
        if place.settings_file.is_file() and place.has_begun:
            settings = place.settings()
        else:
            changes = self.changes(point, n_beside)
            if changes is None:
                return None
            settings = self.settings.shared(point.temperature, point.pressure, **changes)
        return PointTask(
            settings.to_mapping(),
            str(place.path),
            self.settings.response_configs,
            self.settings.hessian_configs,
            self.settings.fourth,
        )

    def changes(self, point: PlannedPoint, n_beside: int) -> dict[str, Any] | None:
        """What the run of a point has of its own; None where the budget or a start is missing."""
        changes: dict[str, Any] = {"label_store": str((self.path / "labels.db").resolve())}
        if point.parent is None:
            reserved = self.settings.first_look * (len(self.points) - 1)
            return {**changes, "max_labels": self.settings.budget - reserved}
        start = self.start_of(point)
        if start is None:
            self.failed[point.name] = "no point that it could start from is finished"
            return None
        later = sum(one.generation > point.generation for one in self.points)
        room = self.settings.budget - self.spent - self.settings.first_look * later
        share = room // n_beside
        if share < self.settings.first_look:
            self.failed[point.name] = (
                f"the budget of {self.settings.budget} labels is used; the same command with a "
                "larger --max-labels goes on"
            )
            return None
        return {
            **changes,
            "origin": str(self.place(start).path.resolve()),
            "structure": "",
            "dyn": "",
            "max_labels": share,
            **self.of_check,
        }

    @property
    def of_check(self) -> dict[str, Any]:
        """The certificates after that of the first point, where they are not as in any run."""
        settings = self.settings
        by_need = settings.shared(*settings.first).labels is LabelPolicy.NEED
        if by_need and not settings.check_labels:
            return {}
        return {"certificate": {"n_labels": settings.first_look}}

    def start_of(self, point: PlannedPoint) -> PlannedPoint | None:
        """Nearest point on the way that is certified, else the nearest that is finished."""
        finished = [one for one in point.ancestors() if self.place(one).result.is_file()]
        certified = [one for one in finished if self.place(one).read_result().converged]
        return next(iter([*certified, *finished]), None)

    @property
    def spent(self) -> int:
        """Labels of all finished points."""
        return sum(
            self.place(one).read_result().labels.n_new
            for one in self.points
            if self.place(one).result.is_file()
        )

    def run(self, tasks: Sequence[tuple[PlannedPoint, PointTask]]) -> None:
        """Run independent points: none continues from another of them."""
        waiting = None
        finished = {one.name for one, _ in tasks if self.place(one).result.is_file()}
        for point, reason in self.outcomes(tasks):
            self.rows.pop(point.name, None)
            if isinstance(reason, WaitingForLabelsError):
                waiting = reason
            elif reason is not None:
                if point.parent is None:
                    raise reason
                self.failed[point.name] = str(reason)
                self.observer.note(f"{point.name} failed: {reason}")
            elif point.name not in finished:
                self.tell(point)
        if waiting is not None:
            raise waiting

    def outcomes(
        self, tasks: Sequence[tuple[PlannedPoint, PointTask]]
    ) -> Iterator[tuple[PlannedPoint, SschaMlpError | None]]:
        """Yield each point with what went wrong, as it ends."""
        if self.machines.settings.kind == HERE:
            for number, (point, task) in enumerate(tasks):
                if not self.place(point).result.is_file():
                    self.observer.stage(self.title(point, number))
                yield point, _error_of(self.runner, task)
            return
        factory = partial(_runner, replace(self.runner, observer=LogObserver()))
        missing = [one for one, _ in tasks if not self.place(one).result.is_file()]
        if missing:
            names = "; ".join(_in_words(one.temperature, one.pressure) for one in missing)
            self.observer.stage(f"independent points: {names}")
        with self.machines.executor(factory, n_workers=2, isolate=True) as executor:
            for index, outcome in executor.run([task for _, task in tasks]):
                yield tasks[index][0], _error_in(outcome)

    def title(self, point: PlannedPoint, number: int) -> str:
        """What is done next."""
        before = sum(one.generation < point.generation for one in self.points)
        where = _in_words(point.temperature, point.pressure)
        return f"point {before + number + 1} of {len(self.points)}: {where}"

    def tell(self, point: PlannedPoint) -> None:
        """Say how a point ended."""
        result = self.place(point).read_result()
        volume = result.volume_A3_per_atom
        word = "certified" if result.converged else "NOT certified"
        size = "" if volume is None else f"V {volume.value:.4f} ± {volume.stderr:.4f} Å³/atom, "
        self.observer.note(
            f"{_in_words(point.temperature, point.pressure)}: {word}, {size}"
            f"{result.labels.n_new} new labels, {result.retrains} refits"
        )

    def write(self) -> Sweep:
        """Write and return the table of the points that are finished.

        Raises
        ------
        SschaMlpError
            If there is none.
        """
        finished = [one for one in self.points if self.place(one).result.is_file()]
        if not finished:
            raise SschaMlpError(f"No point of the sweep in {self.path} could be finished.")
        for one in finished:  # a row takes a space group and a state; those that stand are kept
            if one.name not in self.rows:
                self.rows[one.name] = self.row(one)
        points = tuple(self.rows[one.name] for one in finished)
        table = replace(
            Sweep.from_run(self.place(finished[0]).path),
            labels_total=sum(one.labels_new for one in points),
            points=points,
        )
        table.write(self.path / FILE)
        return table

    def row(self, point: PlannedPoint) -> SweepPoint:
        """What is known of a finished point."""
        place = self.place(point)
        row = SweepPoint.from_run(place.path, directory=f"points/{point.name}")
        if not place.response.is_file():
            return row
        return replace(row, response=read_response(place.response))


def _error_of(runner: _Runner, task: PointTask) -> SschaMlpError | None:
    try:
        runner(task)
    except SschaMlpError as err:
        return err
    return None


def _error_in(outcome: Done[None] | Failed) -> SschaMlpError | None:
    return SschaMlpError(outcome.reason) if isinstance(outcome, Failed) else None
