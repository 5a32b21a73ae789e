"""The verb ``status``: where a run stands, from its journal; also while it works."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sscha_mlp.cli import options

if TYPE_CHECKING:
    from sscha_mlp.campaign.directory import RunDirectory
    from sscha_mlp.campaign.journal import Journal
    from sscha_mlp.campaign.settings import RunSettings


def status(
    run_directory: options.RunDirectoryArgument,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Say where a run stands: working, stopped or finished, and what it has found so far.

    Reads the files of the run directory and changes none.
    """
    del debug  # read by the command line itself
    from sscha_mlp.campaign.directory import RunDirectory
    from sscha_mlp.campaign.journal import Journal

    place = RunDirectory(run_directory)
    settings = place.settings()
    journal = Journal(place.journal, read_only=True)
    with place.trusted():
        summary = collect(place, settings, journal)
        lines = list(_lines(summary, settings, journal))
    if as_json:
        print(json.dumps(summary, indent=2, ensure_ascii=False))
        return
    for line in lines:
        print(line)


def collect(place: "RunDirectory", settings: "RunSettings", journal: "Journal") -> dict[str, Any]:
    """Return where a run stands as plain values."""
    labels = journal.steps("labels/")
    populations = [row for _, row in journal.steps("population/")]
    result = place.read_result() if place.result.is_file() else None
    state = "working" if place.is_locked() else "stopped"
    return {
        "run_directory": str(place.path),
        "state": state if result is None else "finished",
        "converged": None if result is None else result["converged"],
        "stop_reason": None if result is None else result["stop_reason"],
        "labels": sum(row["n_labels"] for _, row in labels),
        "labels_failed": sum(len(row["failures"]) for _, row in labels),
        "max_labels": settings.max_labels,
        "fits": len(journal.steps("fit/")),
        "populations": len(populations),
        "phase": populations[-1]["phase"] if populations else None,
        "certificates": len(journal.steps("certificate/")),
        "seconds": round(journal.seconds(), 1),
        "last_step": journal.steps()[-1][0] if journal.steps() else None,
        "last_line": _last_line(place.log),
    }


def _lines(summary: dict[str, Any], settings: "RunSettings", journal: "Journal") -> Iterator[str]:
    from sscha_mlp.cli.screen import format_row
    from sscha_mlp.report.numbers import duration

    what = Path(settings.structure or settings.dyn or "bundled silicon").name
    yield (
        f"{what} at {settings.temperature:g} K{settings.nuclei.remark} and "
        f"{settings.pressure:g} GPa in {summary['run_directory']}: {_state(summary)}"
    )
    failed = f", {summary['labels_failed']} failed" if summary["labels_failed"] else ""
    yield (
        f"  {summary['labels']} of at most {summary['max_labels']} labels{failed}, "
        f"{summary['fits']} fits, {summary['populations']} populations, "
        f"{summary['certificates']} checks, {duration(summary['seconds'])} of finished steps"
    )
    for _, row in journal.steps("population/"):
        yield f"  {format_row(row)}"
        yield f"     {row['reason']}"
    for key, row in journal.steps("certificate/"):
        yield f"  check {key.partition('/')[2]}: {row['reason']}"
    if summary["stop_reason"] is not None:
        yield f"  {summary['stop_reason']}"
    elif summary["last_line"]:
        yield f"  last: {summary['last_line']}"


def _state(summary: dict[str, Any]) -> str:
    if summary["state"] == "finished":
        return "finished, certified" if summary["converged"] else "finished, not certified"
    if summary["state"] == "working":
        return "working"
    return "stopped; the same relax command goes on from there"


def _last_line(log: Path) -> str | None:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return lines[-1] if lines else None
