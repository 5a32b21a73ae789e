"""What a run shows in a notebook: one display that is drawn anew in its place."""

import time
from collections.abc import Callable
from html import escape
from typing import Any, Final

from sscha_mlp.errors import ConfigError
from sscha_mlp.run_files.records.population import PopulationRecord
from sscha_mlp.tables import Table, pm

_INTERVAL: Final = 0.2
_NOTES: Final = 8
_POPULATIONS: Final = 12
_COLUMNS: Final = (
    "Population",
    "F (eV/atom)",
    "P (GPa)",
    "V (Å³/atom)",
    "gradient (THz)",
    "converged",
)


class NotebookObserver:
    """Watches a run, a fit or labels from a notebook: a bar, the last notes, the populations.

    However much is told, there is one output, which is replaced at most five times a second.  Give
    it to :func:`sscha_mlp.run` and others as ``observer``, and what :meth:`bar` returns to
    :func:`sscha_mlp.label` and :func:`sscha_mlp.fit` as ``progress``.

    Parameters
    ----------
    title
        Heading of the output.

    Raises
    ------
    ConfigError
        If IPython is not installed.
    """

    def __init__(self, title: str = "") -> None:
        self._display = _display_function()
        self._title = title
        self._stage = ""
        self._bar: tuple[str, int, int] | None = None
        self._notes: list[str] = []
        self._populations: list[tuple[str, ...]] = []
        self._n_populations = 0
        self._handle: Any = None
        self._drawn = 0.0
        self._begun = time.monotonic()

    def stage(self, text: str) -> None:
        """Name what is done now."""
        self._stage, self._bar = text, None
        self._draw()

    def progress(self, what: str, done: int, total: int) -> None:
        """Move the bar."""
        self._bar = (what, done, total)
        if done >= total or time.monotonic() - self._drawn >= _INTERVAL:
            self._draw()

    def note(self, text: str) -> None:
        """Show a line among the last ones."""
        self._notes = [*self._notes, text][-_NOTES:]
        self._draw()

    def population(self, row: PopulationRecord) -> None:
        """Show a population among the last ones."""
        self._n_populations += 1
        line = (
            str(self._n_populations),
            pm(row.free_energy, row.free_energy_stderr, 5),
            pm(row.pressure_GPa, row.pressure_stderr_GPa, 3, sign=True),
            f"{row.volume:.4f}",
            pm(row.gradient_THz, row.gradient_stderr_THz, 3),
            "yes" if row.converged else "no",
        )
        self._populations = [*self._populations, line][-_POPULATIONS:]
        self._draw()

    def bar(self, what: str) -> Callable[[int, int], None]:
        """Return a function of (done, total) that moves a bar with this name."""
        return lambda done, total: self.progress(what, done, total)

    def _draw(self) -> None:
        """Show what is known now in the place of what was shown before."""
        self._drawn = time.monotonic()
        view = _View(self._html(), self._text())
        if self._handle is None:
            self._handle = self._display(view, display_id=True)
        else:
            self._handle.update(view)

    def _text(self) -> str:
        seconds = f"{time.monotonic() - self._begun:.0f} s"
        parts = [self._title, self._stage, _progress_text(self._bar), seconds]
        return " | ".join(part for part in parts if part)

    def _html(self) -> str:
        parts = [f"<div>{escape(self._text())}{_bar_html(self._bar)}</div>"]
        parts += [f"<div>{escape(note)}</div>" for note in self._notes]
        if self._populations:
            rows = tuple(self._populations)
            parts.append(Table("Populations", rows, _COLUMNS)._repr_html_())
        return "".join(parts)


class _View:
    """What is shown: HTML, and a line of text where there is none."""

    def __init__(self, html: str, text: str) -> None:
        self._html, self._text = html, text

    def _repr_html_(self) -> str:
        return self._html

    def __repr__(self) -> str:
        return self._text


def _progress_text(bar: tuple[str, int, int] | None) -> str:
    if bar is None:
        return ""
    what, done, total = bar
    return f"{what}: {done} of {total}" if total else f"{what}: {done}"


def _bar_html(bar: tuple[str, int, int] | None) -> str:
    """A bar while something is under way."""
    if bar is None or bar[1] >= bar[2]:
        return ""
    return f' <progress value="{bar[1]}" max="{bar[2]}"></progress>'


def _display_function() -> Callable[..., Any]:
    try:
        from IPython.display import display
    except ImportError as err:
        raise ConfigError(
            "NotebookObserver shows its output with IPython, which is not installed; install the "
            "extra: pip install 'sscha-mlp[notebooks]'."
        ) from err
    return display
