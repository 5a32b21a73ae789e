"""Who watches a run: the command line draws progress bars, a notebook prints, tests stay silent."""

import logging
from collections.abc import Mapping
from typing import Any, Protocol

logger = logging.getLogger("sscha_mlp.campaign")


class Observer(Protocol):
    """What a run tells while it works."""

    def stage(self, text: str) -> None:
        """A new stage begins."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Part of a stage is done."""

    def note(self, text: str) -> None:
        """Something worth a line was found or decided."""

    def population(self, row: Mapping[str, Any]) -> None:
        """A population of the relaxation has ended; `row` is its line of the journal."""


class LogObserver:
    """Writes every line to the log and nothing to the screen."""

    def stage(self, text: str) -> None:
        """Log the start of a stage."""
        logger.info("== %s", text)

    def progress(self, what: str, done: int, total: int) -> None:
        """Say nothing: progress is for screens."""

    def note(self, text: str) -> None:
        """Log a line."""
        logger.info("%s", text)

    def population(self, row: Mapping[str, Any]) -> None:
        """Log the numbers of a population."""
        logger.info("%s", format_population(row))


def format_population(row: Mapping[str, Any]) -> str:
    """Return the numbers of a population as one line of text."""
    return (
        f"{row['phase']:>8} {row['population']:3d}  F {row['free_energy']:.5f} ± "
        f"{1e3 * row['free_energy_stderr']:.2f}e-3 eV/atom  P {row['pressure_GPa']:+.3f} ± "
        f"{row['pressure_stderr_GPa']:.3f} GPa  V {row['volume']:.4f} Å³/atom  gradient "
        f"{row['gradient_THz']:.3f} ± {row['gradient_stderr_THz']:.3f} THz  sample "
        f"{row['effective_sample_size']:.0f}/{row['n_configs'] + row.get('n_reused', 0)}  "
        f"rejected {row['rejected']}  "
        f"{row['reason']}"
    )


class BothObservers:
    """Passes everything on to two observers."""

    def __init__(self, first: Observer, second: Observer) -> None:
        self.observers = (first, second)

    def stage(self, text: str) -> None:
        """Pass on."""
        for one in self.observers:
            one.stage(text)

    def progress(self, what: str, done: int, total: int) -> None:
        """Pass on."""
        for one in self.observers:
            one.progress(what, done, total)

    def note(self, text: str) -> None:
        """Pass on."""
        for one in self.observers:
            one.note(text)

    def population(self, row: Mapping[str, Any]) -> None:
        """Pass on."""
        for one in self.observers:
            one.population(row)
