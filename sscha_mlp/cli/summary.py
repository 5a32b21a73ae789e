"""The last screen of a run: the answer with its errors, what it is worth, what it cost."""

from pathlib import Path
from typing import Final

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sscha_mlp.digits import duration
from sscha_mlp.ensemble.nuclei import Nuclei
from sscha_mlp.properties.modes import TRANSLATION_THZ, levels
from sscha_mlp.quantities import cells_name, reduced_formula
from sscha_mlp.report.run.data import labels_in_words
from sscha_mlp.run_files.answer import (
    AnswerRow,
    corrected_row,
    thermodynamic_rows,
)
from sscha_mlp.run_files.mode_levels import SAME_THZ
from sscha_mlp.run_files.records.result import Corrected, Frequencies, Result

_Row = tuple[str, Corrected]
_WIDTH: Final = 80
_MOST_MODES: Final = 24


def print_summary(directory: Path, result: Result) -> None:
    """Print the summary of a finished run on standard output."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    print_trimmed(console, _title(result))
    print_trimmed(console, _answer(result))
    console.print(_cost(directory, result), highlight=False, soft_wrap=True)
    if result.left_out:
        print_trimmed(console, f"[dim]Not in the errors: {escape(result.left_out)}.[/]")


def output_console() -> Console:
    """Return a console on standard output; in a file its lines are 110 wide, for tables."""
    console = Console()
    return console if console.is_terminal else Console(width=110)


def print_trimmed(console: Console, content: Table | str) -> None:
    """Print a table, or text with markup; in a file its lines do not end with spaces."""
    if console.is_terminal:
        console.print(content, highlight=False)
        return
    with console.capture() as caught:
        console.print(content, highlight=False)
    print("\n".join(line.rstrip() for line in caught.get().splitlines()))


def _title(result: Result) -> str:
    colour, word = ("green", "CERTIFIED") if result.converged else ("red", "NOT CERTIFIED")
    cells = cells_name(result.supercell or (), result.n_atoms)
    crystal = f"{reduced_formula(result.formula or '')} {result.space_group or ''}"
    nuclei = Nuclei(result.nuclei).remark
    return (
        f"\n[bold]{crystal}[/], {cells}, "
        f"{result.temperature_K:g} K{nuclei}, {result.pressure_target_GPa:g} GPa: "
        f"[bold {colour}]{word}[/]\n{escape(result.stop_reason)}"
    )


def _answer(result: Result) -> Table:
    """Return the table of the answer."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Quantity")
    for name in ("Model", "Correction", "Result ± standard error"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in thermodynamic_rows(result):
        _add(table, row)
    table.add_section()
    rows = [row for entry in result.frequencies_THz for row in _modes(entry)]
    table.add_row("Frequencies (THz)" if rows else "")
    for name, value in _shown(rows):
        _add(table, corrected_row(name, value))
    if len(rows) > _MOST_MODES:
        table.add_row(f"  {len(rows) - _MOST_MODES} between these are in report.pdf")
    return table


def _shown(rows: list[_Row]) -> list[_Row]:
    """Return the modes that are shown: all, or the softest and the hardest of many."""
    if len(rows) <= _MOST_MODES:
        return rows
    ordered = sorted(rows, key=lambda row: row[1].corrected)
    half = _MOST_MODES // 2
    return [*ordered[:half], *ordered[-half:]]


def _add(table: Table, row: AnswerRow) -> None:
    table.add_row(row.name, row.model, row.correction, row.result)


def _modes(entry: Frequencies) -> list[_Row]:
    """Return the modes of one wave vector, degenerate ones once; translations are left out."""
    moving = [mode for mode in entry.modes if abs(mode.model) >= TRANSLATION_THZ]
    rows: list[_Row] = []
    for level in levels(np.array([mode.model for mode in moving]), SAME_THZ):
        count = f" ×{level.degeneracy}" if level.degeneracy > 1 else ""
        rows.append((f"  q = {entry.shown_q}{count}", moving[level.first]))
    return rows


def _cost(directory: Path, result: Result) -> str:
    stored = Path(result.model.path or "")
    moved = directory / "models" / stored.name
    model = moved if moved.is_dir() else stored
    lines = [
        *_labels(result),
        f"Refits      {result.retrains}, populations {result.populations}, "
        f"time {duration(result.timings_s.get('total'))}",
        f"Report      {escape(str(directory / 'report.pdf'))}",
        f"Result      {escape(str(directory / 'result.json'))}",
        f"Matrices    {escape(str(directory / 'dyn' / 'final_dyn*'))}",
        f"Potential   {escape(str(model))}",
    ]
    return "\n".join(lines)


def _labels(result: Result) -> list[str]:
    """Return what was paid for in labels, and what was taken over from another run."""
    labels, origin = result.labels, result.origin
    if origin is None:
        return [f"Labels      {labels_in_words(labels)}"]
    return [
        f"Labels      {labels.n_new} new, and {labels.start or 0} calls for the start",
        f"Taken over  {labels.n_taken_over} labels from {escape(origin.path)}",
        f"In use      {labels.total} ({labels.uses})",
    ]
