"""Frequencies known from another study, to show beside those of a run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sscha_mlp.errors import InputError
from sscha_mlp.text_files import written_text


def known_frequencies(path: Path, result: Mapping[str, Any]) -> list[list[float]]:
    """Read frequencies (THz) of the wave vectors of a result from another study's JSON.

    Raises
    ------
    InputError
        If the file cannot be read, or lacks a wave vector or a mode of the result.
    """
    try:
        stored = json.loads(written_text(path, largest=100_000_000))["frequencies_THz"]
        found = {
            tuple(round(float(one), 6) for one in row["q"]): [
                float(one) for one in row.get("corrected") or row["value"]
            ]
            for row in stored
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        raise InputError(
            f"{path} holds no frequencies that can be read ({err}); give a result.json or the "
            "output of benchmarks/direct.py."
        ) from err
    rows = []
    for row in result.get("frequencies_THz", []):
        values = found.get(tuple(round(float(one), 6) for one in row["q"]), [])
        if len(values) != len(row["model"]):
            raise InputError(
                f"{path} has no frequencies of the {len(row['model'])} modes at q = {row['q']}; it "
                "must belong to the same crystal and supercell."
            )
        rows.append(values)
    return rows
