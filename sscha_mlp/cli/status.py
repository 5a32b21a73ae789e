"""The verb ``status``: where a run or a sweep stands, from its files; also while it works."""

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sscha_mlp.cli import options

if TYPE_CHECKING:
    from sscha_mlp.run_files.label_progress import Coming
    from sscha_mlp.run_files.records.population import PopulationRecord
    from sscha_mlp.run_files.status import Standing
    from sscha_mlp.studies.sweep.status import PointStanding

_WIDTH: Final = 80
_LABEL: Final = 14
_MOST_ROWS: Final = 12


def status(
    run_directory: options.RunDirectoryArgument,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Say where a run or a sweep stands, what it waits for, its labels and its time so far.

    A sweep has a line for each point. Reads files alone and changes none.
    """
    del debug  # read by the command line itself
    from sscha_mlp.run_files.status import Standing
    from sscha_mlp.studies.sweep.status import is_sweep, sweep_at, sweep_standing

    content: dict[str, Any]
    if is_sweep(run_directory):
        points, at = sweep_standing(run_directory), sweep_at(run_directory)
        content = {
            "run_directory": str(run_directory),
            "stage": at or None,
            "points": [p.to_json() for p in points],
        }
        lines = _sweep_lines(run_directory, points, at)
    else:
        standing = Standing.read(run_directory)
        with standing.place.trusted():
            content, lines = standing.to_json(), iter(list(_lines(standing)))
    if as_json:
        print(json.dumps(content, indent=2, ensure_ascii=False))
        return
    for line in lines:
        print(line)


def _lines(run: "Standing") -> Iterator[str]:
    yield from _heading(run)
    yield from _now(run)
    yield ""
    yield from _entry("Labels", _labels(run))
    yield from _entry("Work", _work(run))
    yield from _entry("Time", _time(run.timings_s))
    if run.populations:
        yield ""
        yield from _population_table(run.populations)
    if run.certificates:
        yield ""
    for number, row in enumerate(run.certificates, start=1):
        yield from _entry(f"Check {number}", row.reason)


def _heading(run: "Standing") -> Iterator[str]:
    from sscha_mlp.quantities import cells_name

    settings = run.settings
    what = Path(settings.structure or settings.dyn or "bundled silicon").name
    if run.origin:
        what = f"from {Path(run.origin).name}"
    yield from _wrapped(
        f"{what}, {settings.temperature:g} K{settings.nuclei.remark}, "
        f"{settings.pressure:g} GPa, {cells_name(settings.supercell)}: {str(run.state).upper()}"
    )
    yield from _entry("Directory", str(run.place.shown))
    if run.origin:
        yield from _entry("Starts from", run.origin)


def _now(run: "Standing") -> Iterator[str]:
    """What it does or waits for, why it ended, and how it goes on."""
    from sscha_mlp.run_files.status import State

    names = {State.FAILED: "Because", State.WAITING: "Waits for"}
    if run.reason:
        yield from _entry(names.get(run.state, "Ended"), run.reason.removeprefix("waiting for "))
    if run.state in (State.WORKING, State.STOPPED) and run.log.stage:
        yield from _entry("At", run.log.at(working=run.state is State.WORKING))
        told_below = run.last_step.startswith("population/") or run.log.last == run.log.stage
        counted = run.coming is not None and run.state is State.WORKING
        if not (told_below or counted):
            yield from _entry("Last", run.log.last)
    if run.coming is not None:
        yield from _coming(run.coming, working=run.state is State.WORKING)
    if run.state in (State.STOPPED, State.FAILED):
        yield from _entry("Go on", "the same relax command goes on from there")


def _coming(coming: "Coming", *, working: bool) -> Iterator[str]:
    """How many labels of this stage there are; those of a run that has ended are not lost."""
    kept = "" if working else "; they are kept"
    yield from _entry("So far", f"{coming.in_words(pace=working)}{kept}")


def _labels(run: "Standing") -> str:
    new = "new of at most" if run.origin else "of at most"
    text = f"{run.labels} {new} {run.settings.max_labels}"
    if run.labels_taken_over:
        text += f", {run.labels_taken_over} taken over"
    if run.labels_failed:
        text += f", {run.labels_failed} failed"
    return text if run.start_calls is None else f"{text}; {run.start_calls} calls for the start"


def _work(run: "Standing") -> str:
    counts = {
        "model": run.fits,
        "population": len(run.populations),
        "check": len(run.certificates),
    }
    return ", ".join(f"{n} {name}{'' if n == 1 else 's'}" for name, n in counts.items())


def _time(timings: Mapping[str, float]) -> str:
    from sscha_mlp.digits import duration

    parts = [f"{name} {duration(value)}" for name, value in timings.items() if value >= 0.05]
    parts = [part for part in parts if not part.startswith("total ")]
    total = f"{duration(timings['total'])} in finished steps"
    return f"{total}: {', '.join(parts)}" if parts else total


def _population_table(rows: tuple["PopulationRecord", ...]) -> Iterator[str]:
    """The last populations, and what is missing after the last one."""
    from sscha_mlp.digits import fixed, with_error

    yield _row("Population", "F (eV/atom)", "P (GPa)", "V (Å³)", "gradient (THz)", "ESS")
    if len(rows) > _MOST_ROWS:
        yield f"... {len(rows) - _MOST_ROWS} before these"
    for row in rows[-_MOST_ROWS:]:
        yield _row(
            f"{row.phase} {row.population}",
            with_error(row.free_energy, row.free_energy_stderr),
            with_error(row.pressure_GPa, row.pressure_stderr_GPa),
            fixed(row.volume, 3),
            with_error(row.gradient_THz, row.gradient_stderr_THz),
            f"{fixed(100.0 * row.effective_sample_size / row.n_configs, 0)} %",
        )
    yield from _entry("Judged", rows[-1].reason)


def _row(name: str, *cells: str) -> str:
    """A row of the table of populations; it fills the width."""
    widths = (20, 15, 6, 15, 5)
    right = (f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
    return f"{name:<12} {' '.join(right)}"


def _sweep_lines(directory: Path, points: tuple["PointStanding", ...], at: str) -> Iterator[str]:
    from sscha_mlp.run_files.status import State
    from sscha_mlp.studies.sweep.table import and_start

    certified = sum(one.state is State.CERTIFIED for one in points)
    working = ": WORKING" if at or any(one.stage for one in points) else ""
    yield f"Sweep: {certified} of {len(points)} points certified{working}"
    yield from _entry("Directory", str(directory))
    for one in points:
        if one.stage:
            where = f"{one.temperature_K:g} K, {one.pressure_GPa:g} GPa"
            yield from _entry("At", f"{where}: {one.stage}")
    if at and not any(one.stage for one in points):
        yield from _entry("At", at)
    labels, calls = (sum(getattr(p, key) for p in points) for key in ("labels_new", "start_calls"))
    yield from _entry("Labels", f"{labels}{and_start(calls)}")
    yield ""
    yield (
        f"{'T (K)':>7}{'P (GPa)':>8}  {'State':<15}{'labels':>7}{'V (Å³/atom)':>19}"
        f"{'F (eV/atom)':>22}"
    )
    for one in points:
        yield (
            f"{one.temperature_K:>7g}{one.pressure_GPa:>8g}  {_short(one.state):<15}"
            f"{one.labels_new:>7}{_value(one.volume_A3_per_atom):>19}"
            f"{_value(one.free_energy_eV_per_atom):>22}"
        )
    for one in points:
        if one.reason:
            yield ""
            yield f"{one.temperature_K:g} K, {one.pressure_GPa:g} GPa, {_short(one.state)}:"
            yield from _wrapped(one.reason, indent=2)


def _short(state: str) -> str:
    """The state of a point in no more than thirteen letters."""
    return str(state).removeprefix("finished, ").removesuffix(" for labels")


def _value(pair: tuple[float, float] | None) -> str:
    from sscha_mlp.digits import with_error

    return "" if pair is None else with_error(*pair)


def _entry(name: str, text: str) -> Iterator[str]:
    """A name and what there is to say, its lines one below the other."""
    first, *rest = list(_wrapped(text, indent=_LABEL)) or [""]
    yield f"{name:<{_LABEL}}{first[_LABEL:]}"
    yield from rest


def _wrapped(text: str, indent: int = 0) -> Iterator[str]:
    """Lines of text; a word that is too long, such as a path, is not broken."""
    space = " " * indent
    yield from textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=space,
        subsequent_indent=space,
        break_long_words=False,
        break_on_hyphens=False,
    )
