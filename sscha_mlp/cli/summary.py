"""The last screen of a run: the answer with its errors, what it is worth, what it cost."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sscha_mlp.digits import duration, fixed, with_error
from sscha_mlp.ensemble.nuclei import Nuclei
from sscha_mlp.properties.modes import levels
from sscha_mlp.quantities import cells_name, q_name, reduced_formula
from sscha_mlp.report.run.data import labels_in_words, taken_over_labels
from sscha_mlp.run_files.conventional_cell import conventional_lattice
from sscha_mlp.run_files.finished_run import new_labels
from sscha_mlp.run_files.mode_levels import SAME_THZ

_Row = tuple[str, dict[str, float]]
_WIDTH: Final = 80
_MOST_MODES: Final = 24


def print_summary(directory: Path, result: Mapping[str, Any]) -> None:
    """Print the summary of a finished run on standard output."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    print_trimmed(console, _title(result))
    print_trimmed(console, _answer(result))
    console.print(_cost(directory, result), highlight=False, soft_wrap=True)
    if result.get("left_out"):
        print_trimmed(console, f"[dim]Not in the errors: {escape(result['left_out'])}.[/]")


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


def _title(result: Mapping[str, Any]) -> str:
    colour, word = ("green", "CERTIFIED") if result["converged"] else ("red", "NOT CERTIFIED")
    cells = cells_name(result["supercell"], result.get("n_atoms"))
    crystal = f"{reduced_formula(result.get('formula', ''))} {result.get('space_group', '')}"
    nuclei = Nuclei(result.get("nuclei", Nuclei.QUANTUM)).remark
    return (
        f"\n[bold]{crystal}[/], {cells}, "
        f"{result['temperature_K']:g} K{nuclei}, {result['pressure_target_GPa']:g} GPa: "
        f"[bold {colour}]{word}[/]\n{escape(result['stop_reason'])}"
    )


def _answer(result: Mapping[str, Any]) -> Table:
    """Return the table of the answer."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Quantity")
    for name in ("Model", "Correction", "Result ± standard error"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, key in (
        ("Free energy (eV/atom)", "free_energy_eV_per_atom"),
        ("Pressure (GPa)", "pressure_GPa"),
    ):
        table.add_row(name, *_corrected(result[key]))
    volume = result["volume_A3_per_atom"]
    table.add_row("Volume (Å³/atom)", "", "", with_error(volume["value"], volume["stderr"]))
    for name, text in conventional_lattice(result):
        table.add_row(name, "", "", text)
    table.add_section()
    rows = [row for entry in result["frequencies_THz"] for row in _modes(entry)]
    table.add_row("Frequencies (THz)" if rows else "")
    for name, value in _shown(rows):
        table.add_row(name, *_corrected(value))
    if len(rows) > _MOST_MODES:
        table.add_row(f"  {len(rows) - _MOST_MODES} between these are in report.pdf")
    return table


def _shown(rows: list[_Row]) -> list[_Row]:
    """Return the modes that are shown: all, or the softest and the hardest of many."""
    if len(rows) <= _MOST_MODES:
        return rows
    ordered = sorted(rows, key=lambda row: row[1]["corrected"])
    half = _MOST_MODES // 2
    return [*ordered[:half], *ordered[-half:]]


def _corrected(value: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return model value, correction and result, all with the decimals of the result."""
    text = with_error(value["corrected"], value["stderr"])
    decimals = len(text.partition(" ±")[0].partition(".")[2])
    return (
        fixed(value["model"], decimals),
        fixed(value["correction"], decimals, sign=True),
        text,
    )


def _modes(entry: Mapping[str, Any]) -> list[_Row]:
    """Return the modes of one wave vector, degenerate ones once; translations are left out."""
    columns = zip(entry["model"], entry["corrected"], entry["stderr"], strict=True)
    moving = [row for row in columns if abs(row[0]) >= 1.0e-6]
    rows: list[_Row] = []
    for level in levels(np.array([model for model, _, _ in moving]), SAME_THZ):
        model, corrected, stderr = moving[level.first]
        shift = corrected - model
        value = {"model": model, "correction": shift, "corrected": corrected, "stderr": stderr}
        count = f" ×{level.degeneracy}" if level.degeneracy > 1 else ""
        rows.append((f"  q = {q_name(entry['q'])}{count}", value))
    return rows


def _cost(directory: Path, result: Mapping[str, Any]) -> str:
    stored = Path(result["model"]["path"])
    moved = directory / "models" / stored.name
    model = moved if moved.is_dir() else stored
    lines = [
        *_labels(result),
        f"Refits      {result['retrains']}, populations {result['populations']}, "
        f"time {duration(result['timings_s']['total'])}",
        f"Report      {escape(str(directory / 'report.pdf'))}",
        f"Result      {escape(str(directory / 'result.json'))}",
        f"Matrices    {escape(str(directory / 'dyn' / 'final_dyn*'))}",
        f"Potential   {escape(str(model))}",
    ]
    return "\n".join(lines)


def _labels(result: Mapping[str, Any]) -> list[str]:
    """Return what was paid for in labels, and what was taken over from another run."""
    labels, origin = result["labels"], result.get("origin")
    if not origin:
        return [f"Labels      {labels_in_words(labels)}"]
    uses = ", ".join(f"{labels[use]} {use}" for use in ("train", "test", "check"))
    new, calls = new_labels(labels), labels.get("start", 0)
    return [
        f"Labels      {new} new, and {calls} calls for the start",
        f"Taken over  {taken_over_labels(labels)} labels from {escape(str(origin['path']))}",
        f"In use      {labels['total']} ({uses})",
    ]
