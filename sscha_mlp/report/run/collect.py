"""The report of a run from the files of its directory, finished or not."""

import hashlib
import math
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from sscha_mlp.errors import InputError
from sscha_mlp.potentials.kind import Statistic
from sscha_mlp.report.phonons.data import Phonons, run_phonons
from sscha_mlp.report.phonons.known_frequencies import known_frequencies
from sscha_mlp.report.run.data import (
    CertificateRow,
    FitRow,
    LabelRow,
    PopulationRow,
    ReportData,
    UncertaintyRow,
    ValidationStage,
)
from sscha_mlp.report.run.notes import notes
from sscha_mlp.report.run.pdf import write_report
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.run_files.journal import Journal
from sscha_mlp.run_files.provenance import timings, versions
from sscha_mlp.run_files.records.certificate import CertificateRecord
from sscha_mlp.run_files.records.fields import Record
from sscha_mlp.run_files.records.labels import BatchRecord
from sscha_mlp.run_files.records.models import FitRecord, ValidationRecord
from sscha_mlp.run_files.records.population import PopulationRecord
from sscha_mlp.run_files.records.result import LabelCounts, ModelUsed, Result
from sscha_mlp.run_files.records.start import OriginRecord, StartRecord
from sscha_mlp.run_files.settings import RunSettings
from sscha_mlp.run_files.status import Standing, State
from sscha_mlp.validation.metrics import ValidationSet

_USES: Final = ("train", "test", "check")

_N_UNCERTAIN: Final = 24
"""Configurations of a population whose uncertainty the loop looks at."""


def write_run_report(
    run_directory: str | Path, *, known: str | Path | None = None
) -> tuple[Path, ...]:
    """Write ``report.pdf`` and ``validation.{pdf,png,json}`` into a run directory.

    Parameters
    ----------
    run_directory
        The run.
    known
        Another ``result.json``, or what ``benchmarks/direct.py`` writes: its frequencies are shown
        beside those of the run.

    Returns
    -------
    tuple of Path
        The files written, the report first.

    Raises
    ------
    InputError
        If this is not a run directory, a file of it is damaged, or the known frequencies are not
        of the same wave vectors.
    SschaMlpError
        If a file cannot be written.
    """
    data = report_data(run_directory)
    if known is not None:
        rows = known_frequencies(Path(known), data.result)
        data = replace(data, reference_frequencies_THz=rows, reference_label=Path(known).stem)
    return write_report(data, RunDirectory(Path(run_directory)).report)


def report_data(run_directory: str | Path) -> ReportData:
    """Collect what a report shows from ``run.toml``, the journal, the validation sets, the result.

    A run that has not come to its end, or is still working, gives what there is so far.

    Raises
    ------
    InputError
        If this is not a run directory, or a file of it is damaged.
    """
    place = RunDirectory(Path(run_directory))
    settings = place.settings()
    journal = Journal(place.journal, read_only=True)
    steps = list(_steps(journal))
    origin = journal.find(OriginRecord)
    finished = place.result.is_file()
    return ReportData(
        name=place.path.resolve().name,
        result=place.read_result() if finished else _result_so_far(settings, place, journal, steps),
        settings=settings.to_mapping(),
        asked=_asked(settings),
        populations=tuple(_populations(steps)),
        certificates=tuple(_certificates(steps)),
        validation=tuple(_stages(place, steps)),
        labels=tuple(_labels(steps, origin)),
        notes=tuple(notes(journal)),
        uncertainties=tuple(_uncertainties(place, steps)),
        origin=origin,
        start=journal.find(StartRecord),
        fits=tuple(_fits(journal, origin)),
        phonons=_phonons(place),
        defaults=RunSettings(temperature=settings.temperature).to_mapping(),
        provenance=tuple(_provenance(place)),
    )


@dataclass(frozen=True, eq=False)
class Step:
    """A finished step with how many fits came before it.

    Parameters
    ----------
    record
        What was recorded.
    fits
        Fits finished before it.
    """

    record: Record
    fits: int

    @property
    def refits(self) -> int:
        """Fits before it beyond the first."""
        return max(self.fits - 1, 0)


_R = TypeVar("_R", bound=Record)


def _steps(journal: Journal) -> Iterator[Step]:
    fits = 0
    kinds = (BatchRecord, FitRecord, ValidationRecord, PopulationRecord, CertificateRecord)
    for record in journal.typed_steps(*kinds):
        yield Step(record, fits)
        fits += isinstance(record, FitRecord)


def _of(steps: list[Step], kind: type[_R]) -> Iterator[tuple[_R, Step]]:
    """Return the records of a kind, each with its step."""
    for step in steps:
        if isinstance(step.record, kind):
            yield step.record, step


def _fits(journal: Journal, origin: OriginRecord | None) -> Iterator[FitRow]:
    """Return the models, each with its errors on the test set."""
    taken = None if origin is None or origin.fit is None else origin.fit.sha256
    tests = {one.number: one for one in journal.all(ValidationRecord) if one.part == "test"}
    for one in journal.all(FitRecord):
        yield FitRow(one, tests.get(one.number), taken_over=one.sha256 == taken)


def _phonons(place: RunDirectory) -> Phonons | None:
    """Return the dispersion, None while there is no state or where it has no standard path."""
    try:
        return run_phonons(place.path)
    except InputError:
        return None


_DATE: Final = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d):\d\d,", re.MULTILINE)
"""When a line of the log was written, to the minute."""


def _provenance(place: RunDirectory) -> Iterator[tuple[str, str]]:
    """Return the command that repeats a run, its dates, and hashes of settings and labels."""
    settings = shlex.quote(str(place.settings_file.resolve()))
    yield "Command", f"sscha-mlp relax --config {settings} --run-dir NEW_DIRECTORY"
    log = place.log.read_text(encoding="utf-8", errors="replace") if place.log.is_file() else ""
    dates = _DATE.findall(log)
    if dates:
        yield "Log from, to", f"{dates[0]}, {dates[-1]}"
    names = ("train", "test", "check")
    for path in (place.settings_file, *(place.dataset / f"{name}.xyz" for name in names)):
        if path.is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            yield f"SHA-256 of {path.name}", digest


def _asked(settings: RunSettings) -> tuple[tuple[str, str], ...]:
    source = settings.structure or (f"{settings.dyn}1, ..." if settings.dyn else "bundled silicon")
    if settings.origin:
        source = f"the state of the run {Path(settings.origin).name}"
    return (
        ("Structure", source),
        ("Reference", settings.reference),
        ("Configurations", f"{settings.configs} in each population, {settings.cell.value} cell"),
    )


def _result_so_far(
    settings: RunSettings, place: RunDirectory, journal: Journal, steps: list[Step]
) -> Result:
    """Return what can be said of a run without a result, and why it failed if it did."""
    standing = Standing.read(place.path)
    fits, start = journal.all(FitRecord), journal.find(StartRecord)
    rows = [_label_row(batch, step, len(fits)) for batch, step in _of(steps, BatchRecord)]
    train, test, check = (sum(getattr(row, use) for row in rows) for use in _USES)
    return Result(
        converged=False,
        stop_reason=standing.reason if standing.state is State.FAILED else "",
        temperature_K=settings.temperature,
        nuclei=str(settings.nuclei),
        pressure_target_GPa=settings.pressure,
        supercell=settings.supercell,
        formula=None if start is None else start.formula,
        space_group=None if start is None else start.space_group,
        validation=tuple(one.errors for one in journal.all(ValidationRecord)),
        labels=LabelCounts(train, test, check, train + test + check),
        retrains=max(len(fits) - 1, 0),
        populations=len(journal.all(PopulationRecord)),
        model=ModelUsed(kind=settings.model, sha256=fits[-1].sha256 if fits else None),
        timings_s=timings(journal),
        versions=versions(),
        seed=settings.seed,
    )


def _populations(steps: list[Step]) -> Iterator[PopulationRow]:
    """Return the populations of all relaxations, numbered through the run."""
    for number, (record, step) in enumerate(_of(steps, PopulationRecord), start=1):
        yield PopulationRow(number, step.refits, record)


def _certificates(steps: list[Step]) -> Iterator[CertificateRow]:
    for record, step in _of(steps, CertificateRecord):
        yield CertificateRow(step.refits, record)


def _stages(place: RunDirectory, steps: list[Step]) -> Iterator[ValidationStage]:
    """Return the validation of the first model and of the last one."""
    by_model: dict[int, list[ValidationRecord]] = {}
    for record, step in _of(steps, ValidationRecord):
        by_model.setdefault(step.fits - 1, []).append(record)
    models = sorted(by_model)
    for model in dict.fromkeys([*models[:1], *models[-1:]]):
        sets = tuple(ValidationSet.load(place.validation(one.name)) for one in by_model[model][:6])
        yield ValidationStage(_stage_title(model, models), sets)


def _stage_title(model: int, models: list[int]) -> str:
    if len(models) == 1:
        return f"model {model}"
    if model == models[0]:
        return f"model {model}, before retraining"
    return f"model {model}, after retraining"


def _labels(steps: list[Step], origin: OriginRecord | None = None) -> Iterator[LabelRow]:
    if origin is not None:
        yield LabelRow(origin="taken over", train=origin.n_train, test=origin.test)
    n_fits = sum(1 for _ in _of(steps, FitRecord))
    for batch, step in _of(steps, BatchRecord):
        yield _label_row(batch, step, n_fits)


def _label_row(batch: BatchRecord, step: Step, n_fits: int) -> LabelRow:
    """Return what a batch was used for: a check that failed teaches the next model."""
    use = batch.batch.use
    if use == "check" and n_fits > step.fits:
        use = "train"
    return LabelRow(
        origin=batch.batch.in_words,
        train=batch.n_labels if use == "train" else 0,
        test=batch.n_labels if use == "test" else 0,
        check=batch.n_labels if use == "check" else 0,
        failed=len(batch.failures),
        batch=batch.batch,
    )


def _uncertainties(place: RunDirectory, steps: list[Step]) -> Iterator[UncertaintyRow]:
    """Return the model's uncertainty on the validation sets and on the populations.

    A population has that of the model that was validated before it.
    """
    level = 1.0 - place.settings().training.break_fraction
    latest: ValidationSet | None = None
    for step in steps:
        record = step.record
        if isinstance(record, ValidationRecord):
            latest = ValidationSet.load(place.validation(record.name))
            if latest.uncertainties is not None:
                yield _validated(latest)
        elif isinstance(record, PopulationRecord) and record.uncertainty is not None:
            yield _on_population(record, record.uncertainty, latest, level)


def _validated(one: ValidationSet) -> UncertaintyRow:
    factor, unit = _shown_unit(one)
    median, upper = factor * np.quantile(np.asarray(one.uncertainties), (0.5, 0.95))
    return UncertaintyRow(
        one.name, one.n_configs, float(median), float(upper), unit, measure=_measure(one)
    )


def _on_population(
    row: PopulationRecord, uncertainty: float, latest: ValidationSet | None, level: float
) -> UncertaintyRow:
    """Return what the alarm looked at: a quantile of all, or the median of some.

    It depends on the kind of potential; a set that does not say it is of a version in which it
    depended on whether the uncertainty has a limit.
    """
    factor, unit = _shown_unit(latest)
    name = f"population {row.population} of {row.phase}"
    value, alarm = factor * uncertainty, row.left_domain
    if latest is not None and _watches_quantile(latest):
        measure = _measure(latest)
        return UncertaintyRow(name, row.n_drawn, math.nan, value, unit, level, alarm, measure)
    n_configs = min(_N_UNCERTAIN, row.n_drawn)
    return UncertaintyRow(name, n_configs, value, math.nan, unit, alarm=alarm)


def _watches_quantile(one: ValidationSet) -> bool:
    if one.uncertainty_statistic is None:
        return one.uncertainty_limit is not None
    return one.uncertainty_statistic == Statistic.QUANTILE


def _measure(one: ValidationSet) -> str:
    """Return what the uncertainty of a set is, without its unit."""
    return (one.uncertainty_name or "").partition(" (")[0]


def _shown_unit(one: ValidationSet | None) -> tuple[float, str]:
    """Return the factor to the unit in which an uncertainty is shown, and the unit.

    A set that does not say what its uncertainty is has an energy.
    """
    name = None if one is None else one.uncertainty_name
    unit = "eV" if name is None else name.partition("(")[2].rstrip(")")
    return (1.0e3, "meV") if unit == "eV" else (1.0, unit)
