"""Scattering that was computed before a command was stopped is read, not computed again."""

import contextlib
import hashlib
import json
import zipfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import numpy as np

from sscha_mlp.data.files import make_directory, write_atomic, write_npz_atomic
from sscha_mlp.properties.transport import Scattering

_INPUTS: Final = "inputs.txt"


class Steps:
    """Arrays on disk that belong to one set of inputs.

    Parameters
    ----------
    directory
        Where they are; made if needed.  What other inputs left there is removed.
    inputs
        What they depend on, as values of JSON.
    """

    def __init__(self, directory: Path, inputs: Any) -> None:
        self.directory = make_directory(directory)
        digest = _digest(inputs)
        mark = self.directory / _INPUTS
        if not mark.is_file() or mark.read_text(encoding="utf-8") != digest:
            for old in self.directory.glob("*.npz"):
                old.unlink()
            write_atomic(mark, digest)

    def path(self, name: str) -> Path:
        """Return the file of a step."""
        return self.directory / f"{name}.npz"

    def scattering(self, name: str, options: Any, compute: Callable[[], Scattering]) -> Scattering:
        """Return stored scattering, or compute and store it.

        Parameters
        ----------
        name
            Of the step.
        options
            What else it depends on, as values of JSON.
        compute
            Computes it.
        """
        path = self.path(f"{name}-{_digest(options)[:12]}")
        with contextlib.suppress(OSError, ValueError, KeyError, zipfile.BadZipFile):
            return _load(path)
        found = compute()
        stored = {one.name: getattr(found, one.name) for one in fields(found)}
        known = {name: np.asarray(one) for name, one in stored.items() if one is not None}
        write_npz_atomic(path, **known)
        return found


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _load(path: Path) -> Scattering:
    with np.load(path, allow_pickle=False) as stored:
        values: dict[str, Any] = {name: stored[name] for name in stored.files}
    n1, n2, n3 = (int(n) for n in values.pop("mesh"))
    return Scattering(mesh=(n1, n2, n3), **values)
