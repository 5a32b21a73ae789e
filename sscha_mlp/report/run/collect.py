"""The report of a run from the files of its directory, finished or not."""

import hashlib
import math
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from sscha_mlp.errors import InputError
from sscha_mlp.report.phonons.data import Phonons, run_phonons
from sscha_mlp.report.phonons.known_frequencies import known_frequencies
from sscha_mlp.report.run.data import ReportData, UncertaintyRow, ValidationStage
from sscha_mlp.report.run.notes import batch_name, notes
from sscha_mlp.report.run.pdf import write_report
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.run_files.journal import Journal, Payload
from sscha_mlp.run_files.provenance import timings, versions
from sscha_mlp.run_files.records import (
    CertificateRow,
    FitRow,
    LabelRow,
    OriginRow,
    PopulationRow,
    StartRow,
)
from sscha_mlp.run_files.settings import RunSettings
from sscha_mlp.run_files.status import Standing, State
from sscha_mlp.validation.metrics import ValidationSet

_TRANSLATION_THZ = 1.0e-2

_N_UNCERTAIN = 24
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
    finished = place.result.is_file()
    return ReportData(
        name=place.path.resolve().name,
        result=place.read_result() if finished else _result_so_far(place, journal, steps),
        settings=settings.to_mapping(),
        asked=_asked(settings),
        populations=tuple(_populations(steps)),
        certificates=tuple(_certificates(steps)),
        validation=tuple(_stages(place, steps)),
        labels=tuple(_labels(steps, _origin(journal))),
        notes=tuple(notes(journal)),
        uncertainties=tuple(_uncertainties(place, steps)),
        origin=_origin(journal),
        start=_start(journal),
        fits=tuple(_fits(steps)),
        phonons=_phonons(place),
        defaults=RunSettings(temperature=settings.temperature).to_mapping(),
        provenance=tuple(_provenance(place)),
    )


@dataclass(frozen=True)
class Step:
    """A finished step with how many fits came before it.

    Parameters
    ----------
    key
        Key in the journal.
    payload
        What was recorded.
    fits
        Fits finished before it.
    """

    key: str
    payload: Payload
    fits: int

    @property
    def refits(self) -> int:
        """Fits before it beyond the first."""
        return max(self.fits - 1, 0)

    @property
    def name(self) -> str:
        """The key without its kind."""
        return self.key.partition("/")[2]


def _steps(journal: Journal) -> Iterator[Step]:
    fits = 0
    for key, payload in journal.steps():
        yield Step(key, payload, fits)
        fits += key.startswith("fit/")


def _of(steps: list[Step], kind: str) -> list[Step]:
    """Return the steps of a kind, numbered or alone."""
    return [step for step in steps if step.key.partition("/")[0] == kind]


def _has_fit(step: Step) -> bool:
    return "fit" in step.payload


def _origin(journal: Journal) -> OriginRow | None:
    row: Payload | None = next((row for _, row in journal.steps("origin")), None)
    if row is None:
        return None
    train = row["train"] + row.get("check", 0)
    return OriginRow(row["path"], train, row["test"], has_model="fit" in row)


def _start(journal: Journal) -> StartRow | None:
    row: Payload | None = dict(journal.steps("start")).get("start")
    if row is None:
        return None
    moving = [one for one in row["frequencies_THz"] if abs(one) > _TRANSLATION_THZ]
    return StartRow(
        n_calls=row["n_calls"],
        energy=row.get("energy_eV_per_atom"),
        volume=row["volume_A3_per_atom"],
        space_group=row["space_group"],
        n_operations=row["n_operations"],
        modes_changed=row["modes_changed"],
        lowest=min(moving),
        highest=max(moving),
    )


def _fits(steps: list[Step]) -> Iterator[FitRow]:
    """Return the models, each with its errors on the test set."""
    inherited = {step.payload["fit"]["sha256"] for step in _of(steps, "origin") if _has_fit(step)}
    errors = {step.name: step.payload for step in _of(steps, "validation")}
    for step in _of(steps, "fit"):
        row = step.payload
        yield FitRow(
            number=int(step.name),
            n_train=row["n_train"],
            choice=str(row.get("choice") or ""),
            sha256=row["sha256"],
            taken_over=row["sha256"] in inherited,
            errors=errors.get(f"test-{step.name}", {}),
        )


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


def _result_so_far(place: RunDirectory, journal: Journal, steps: list[Step]) -> dict[str, Any]:
    """Return what can be said of a run without a result, and why it failed if it did."""
    settings = place.settings()
    standing = Standing.read(place.path)
    fits = _of(steps, "fit")
    start: Payload = next((row for _, row in journal.steps("start")), {})
    labels = [_label_row(step, steps) for step in _of(steps, "labels")]
    counts = {use: sum(getattr(row, use) for row in labels) for use in ("train", "test", "check")}
    model = {"kind": settings.model}
    if fits:
        model["sha256"] = fits[-1].payload["sha256"]
    return {
        "converged": False,
        "stop_reason": standing.reason if standing.state is State.FAILED else "",
        "temperature_K": settings.temperature,
        "nuclei": str(settings.nuclei),
        "pressure_target_GPa": settings.pressure,
        "supercell": list(settings.supercell),
        "formula": start.get("formula"),
        "space_group": start.get("space_group"),
        "validation": [step.payload for step in _of(steps, "validation")],
        "labels": {**counts, "total": sum(counts.values())},
        "retrains": max(len(fits) - 1, 0),
        "populations": len(_of(steps, "population")),
        "model": model,
        "timings_s": timings(journal),
        "versions": versions(),
        "seed": settings.seed,
    }


def _populations(steps: list[Step]) -> Iterator[PopulationRow]:
    """Return the populations of all phases, numbered through the run."""
    for number, step in enumerate(_of(steps, "population"), start=1):
        row = step.payload
        yield PopulationRow.from_mapping(
            {
                **row,
                "round": step.refits,
                "population": number,
                "n_configs": row["n_configs"] + row.get("n_reused", 0),
                "stop_reason": f"{row['phase']}: {row['reason']}",
            }
        )


def _certificates(steps: list[Step]) -> Iterator[CertificateRow]:
    for step in _of(steps, "certificate"):
        row = {**step.payload, "stress": step.payload["pressure"], "round": step.refits}
        yield CertificateRow.from_mapping(row)


def _stages(place: RunDirectory, steps: list[Step]) -> Iterator[ValidationStage]:
    """Return the validation of the first model and of the last one."""
    by_model: dict[int, list[Step]] = {}
    for step in _of(steps, "validation"):
        by_model.setdefault(step.fits - 1, []).append(step)
    models = sorted(by_model)
    for model in dict.fromkeys([*models[:1], *models[-1:]]):
        sets = tuple(
            ValidationSet.load(place.validation(step.name)) for step in by_model[model][:6]
        )
        yield ValidationStage(_stage_title(model, models), sets)


def _stage_title(model: int, models: list[int]) -> str:
    if len(models) == 1:
        return f"model {model}"
    if model == models[0]:
        return f"model {model}, before retraining"
    return f"model {model}, after retraining"


def _labels(steps: list[Step], origin: OriginRow | None = None) -> Iterator[LabelRow]:
    if origin is not None:
        yield LabelRow(origin="taken over", train=origin.train, test=origin.test)
    for step in _of(steps, "labels"):
        yield _label_row(step, steps)


def _label_row(step: Step, steps: list[Step]) -> LabelRow:
    """Return what a batch was used for: a check that failed teaches the next model."""
    use = step.name.partition("-")[0]
    n_fits = len(_of(steps, "fit"))
    if use == "check" and n_fits > step.fits:
        use = "train"
    count = {use: step.payload["n_labels"]} if use in {"train", "test", "check"} else {}
    return LabelRow(origin=batch_name(step.name), failed=len(step.payload["failures"]), **count)


def _uncertainties(place: RunDirectory, steps: list[Step]) -> Iterator[UncertaintyRow]:
    """Return the model's uncertainty on the validation sets and on the populations.

    A population has that of the model that was validated before it.
    """
    level = 1.0 - place.settings().training.break_fraction
    latest: ValidationSet | None = None
    for step in steps:
        if step.key.startswith("validation/"):
            latest = ValidationSet.load(place.validation(step.name))
            if latest.uncertainties is not None:
                yield _validated(latest)
        elif step.key.startswith("population/") and step.payload.get("uncertainty") is not None:
            yield _on_population(step.payload, latest, level)


def _validated(one: ValidationSet) -> UncertaintyRow:
    factor, unit = _shown_unit(one)
    median, upper = factor * np.quantile(np.asarray(one.uncertainties), (0.5, 0.95))
    return UncertaintyRow(
        one.name, one.n_configs, float(median), float(upper), unit, measure=_measure(one)
    )


def _on_population(row: Payload, latest: ValidationSet | None, level: float) -> UncertaintyRow:
    """Return what the alarm looked at: a quantile of all, or the median of some.

    It depends on whether the model's uncertainty has an absolute limit.
    """
    factor, unit = _shown_unit(latest)
    name = f"population {row['population']} of {row['phase']}"
    value, alarm = factor * row["uncertainty"], bool(row["left_domain"])
    if latest is not None and latest.uncertainty_limit is not None:
        measure = _measure(latest)
        return UncertaintyRow(name, row["n_configs"], math.nan, value, unit, level, alarm, measure)
    n_configs = min(_N_UNCERTAIN, row["n_configs"])
    return UncertaintyRow(name, n_configs, value, math.nan, unit, alarm=alarm)


def _measure(one: ValidationSet) -> str:
    """Return what the uncertainty of a set is, without its unit."""
    return (one.uncertainty_name or "").partition(" (")[0]


def _shown_unit(one: ValidationSet | None) -> tuple[float, str]:
    """Return the factor to the unit in which an uncertainty is shown, and the unit.

    A set that does not say what its uncertainty is comes from a GAP.
    """
    name = None if one is None else one.uncertainty_name
    unit = "eV" if name is None else name.partition("(")[2].rstrip(")")
    return (1.0e3, "meV") if unit == "eV" else (1.0, unit)
