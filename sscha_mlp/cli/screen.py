"""What a run shows while it works: bars on a terminal, plain lines elsewhere, or nothing."""

import logging
import os
import warnings
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from sscha_mlp.errors import printable
from sscha_mlp.run_files.observer import ProgressLines

if TYPE_CHECKING:
    from sscha_mlp.run_files.records.population import PopulationRecord
    from sscha_mlp.run_files.settings import RunSettings


def quiet_logging(*, debug: bool) -> None:
    """Keep warnings of libraries and complaints about a log that cannot be written to itself."""
    if not debug:
        logging.raiseExceptions = False
        warnings.simplefilter("ignore")


class ScreenObserver:
    """Shows nothing; the others build on it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing is left behind."""

    def begin(self, settings: "RunSettings", directory: Path, cell_size: int) -> None:
        """Say what is run and where.

        Parameters
        ----------
        settings, directory
            Of the run.
        cell_size
            Atoms of the cell that its supercell repeats.
        """

    def stage(self, text: str) -> None:
        """A new stage begins."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Part of a stage is done."""

    def note(self, text: str) -> None:
        """Something was found or decided."""

    def population(self, row: "PopulationRecord") -> None:
        """A population has ended."""


class LineObserver(ScreenObserver):
    """Prints one line for each thing that is finished.

    Parameters
    ----------
    console
        Where to.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.lines = ProgressLines()

    def print(self, text: str) -> None:
        """Print a line with markup; a terminal breaks it below its first word, a file does not."""
        text = printable(text)
        if not self.console.is_terminal:
            self.console.print(text, highlight=False, soft_wrap=True)
            return
        indent = len(text) - len(text.lstrip())
        content = self.console.render_str(text.lstrip(), highlight=False)
        self.console.print(Padding(content, (0, 0, 0, indent), expand=False))

    def begin(self, settings: "RunSettings", directory: Path, cell_size: int) -> None:
        """Say what is run and where."""
        from sscha_mlp.quantities import cells_name

        what = Path(settings.structure or settings.dyn or "bundled silicon").name
        if settings.origin:
            what = f"from {Path(settings.origin).name}"
        cells = cells_name(settings.supercell, cell_size)
        again = "going on in" if (directory / "journal.jsonl").exists() else "run directory"
        self.print(
            f"[bold]{escape(what)}[/] at {settings.temperature:g} K{settings.nuclei.remark} "
            f"and {settings.pressure:g} GPa, {cells}, "
            f"reference {escape(settings.reference)}, model {settings.model}; "
            f"{again} {escape(str(directory))}"
        )

    def stage(self, text: str) -> None:
        """Print the start of a stage."""
        self.print(f"[bold cyan]{escape(text)}[/]")

    def note(self, text: str) -> None:
        """Print a line."""
        self.print(f"  {escape(text)}")

    def progress(self, what: str, done: int, total: int) -> None:
        """Print how far it is, once in a while."""
        if line := self.lines.line(what, done, total):
            self.note(line)

    def population(self, row: "PopulationRecord") -> None:
        """Print the numbers of a population, and below them what is missing."""
        self.print(f"  {format_row(row)}")
        self.print(f"     [dim]{escape(format_progress(row))}[/]")


class BarObserver(LineObserver):
    """Lines, and below them a bar with the time that is left.

    Parameters
    ----------
    console
        A terminal.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.bars = Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self.task: TaskID | None = None
        self.shown = ("", 0)

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the bar off the screen."""
        self.bars.stop()

    def progress(self, what: str, done: int, total: int) -> None:
        """Move the bar; another task gets a new one."""
        if self.task is None or self.shown != (what, total) or done == 0:
            self._drop()
            self.task = self.bars.add_task(escape(printable(what)), total=total or None)
            self.shown = (what, total)
        self.bars.update(self.task, completed=done)
        if total and done >= total:
            self._drop()

    def stage(self, text: str) -> None:
        """Print the start of a stage and show that it works."""
        self._drop()
        super().stage(text)

    def _drop(self) -> None:
        if self.task is not None:
            self.bars.remove_task(self.task)
            self.task = None


def format_row(row: "PopulationRecord") -> str:
    """Return the answer of a population as one line for a terminal of 80 columns."""
    return (
        f"{row.phase:<8}{row.population:>3}  "
        f"F {row.free_energy:.5f} ± {row.free_energy_stderr:.5f} eV/atom  "
        f"P {row.pressure_GPa:+.3f} ± {row.pressure_stderr_GPa:.3f} GPa  "
        f"V {row.volume:.3f} Å³"
    )


def format_progress(row: "PopulationRecord") -> str:
    """Return how far a population is from its end, and what is missing."""
    return (
        f"gradient {row.gradient_THz:.2f} ± {row.gradient_stderr_THz:.2f} THz, "
        f"sample {row.effective_sample_size:.0f}/{row.n_configs}; {row.reason}"
    )


def error_console() -> Console:
    """Return a console on standard error; lines in a file are not broken."""
    console = Console(stderr=True)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        return Console(stderr=True, width=200)
    return console


def make_observer(*, quiet: bool) -> ScreenObserver:
    """Return bars for a terminal, lines for a file, nothing when quiet."""
    if quiet:
        return ScreenObserver()
    console = error_console()
    return BarObserver(console) if console.is_terminal else LineObserver(console)


def note(text: str) -> None:
    """Print one line about what was done on standard error."""
    console = error_console()
    console.print(printable(text), highlight=False, markup=False, soft_wrap=not console.is_terminal)
