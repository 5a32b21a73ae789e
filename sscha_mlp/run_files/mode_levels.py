"""Levels: the frequencies of a result, degenerate modes once."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from sscha_mlp.properties.modes import TRANSLATION_THZ, levels
from sscha_mlp.quantities import AtWaveVector
from sscha_mlp.run_files.records.result import Frequencies, Result

_SAME_Q: Final = 1.0e-6
SAME_THZ: Final = 1.0e-4
"""Modes of one wave vector that are nearer than this are one level."""


@dataclass(frozen=True)
class Level(AtWaveVector):
    """A frequency at a wave vector, degenerate modes once.

    Parameters
    ----------
    q
        In units of the reciprocal lattice vectors.
    frequency, stderr
        Corrected, THz.
    count
        Number of modes.
    name
        Of the special point; empty where it has none.
    """

    q: tuple[float, float, float]
    frequency: float
    stderr: float
    count: int
    name: str = ""

    def is_at(self, q: tuple[float, float, float]) -> bool:
        """Whether it is at a wave vector."""
        return bool(np.abs(np.subtract(self.q, q)).max() < _SAME_Q)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "q": list(self.q),
            "name": self.name,
            "value": self.frequency,
            "stderr": self.stderr,
            "n": self.count,
        }


def levels_of(result: Result) -> tuple[Level, ...]:
    """Return the corrected levels of a result, translations left out."""
    return tuple(one for entry in result.frequencies_THz for one in _levels(entry))


def _levels(entry: Frequencies) -> Iterator[Level]:
    """Levels of one wave vector, ascending."""
    values, stderr = entry.values("corrected"), entry.values("stderr")
    for level in levels(values, SAME_THZ):
        frequency = float(values[level.first])
        if abs(frequency) > TRANSLATION_THZ:
            yield Level(
                entry.q, frequency, float(stderr[level.first]), level.degeneracy, entry.name
            )
