"""Frequencies known from another study, to show beside those of a run."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sscha_mlp.errors import InputError
from sscha_mlp.run_files.records.fields import read
from sscha_mlp.run_files.records.result import Result
from sscha_mlp.text_files import written_text

_FIELD: Final = "frequencies_THz"
_LARGEST: Final = 100_000_000


@dataclass(frozen=True)
class _Known:
    """Frequencies of a wave vector: of a ``result.json``, or of ``benchmarks/direct.py``."""

    q: tuple[float, float, float]
    corrected: tuple[float, ...] | None = None
    value: tuple[float, ...] | None = None


def known_frequencies(path: Path, result: Result) -> list[list[float]]:
    """Read frequencies (THz) of the wave vectors of a result from another study's JSON.

    Raises
    ------
    InputError
        If the file cannot be read, or lacks a wave vector or a mode of the result.
    """
    try:
        stored = read(tuple[_Known, ...], json.loads(written_text(path, largest=_LARGEST))[_FIELD])
        found = {_rounded(one.q): list(one.corrected or one.value or ()) for one in stored}
    except (OSError, ValueError, LookupError, TypeError, RecursionError, InputError) as err:
        raise InputError(
            f"{path} holds no frequencies that can be read ({err}); give a result.json or the "
            "output of benchmarks/direct.py."
        ) from err
    rows = []
    for row in result.frequencies_THz:
        values = found.get(_rounded(row.q), [])
        if len(values) != row.n_modes:
            raise InputError(
                f"{path} has no frequencies of the {row.n_modes} modes at q = {list(row.q)}; it "
                "must belong to the same crystal and supercell."
            )
        rows.append(values)
    return rows


def _rounded(q: tuple[float, float, float]) -> tuple[float, ...]:
    return tuple(round(one, 6) for one in q)
