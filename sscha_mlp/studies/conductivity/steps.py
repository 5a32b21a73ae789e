"""Scattering that was computed before a command was stopped is read, not computed again."""

import contextlib
import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import numpy as np

from sscha_mlp.data.files import make_directory, write_atomic
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
        digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
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
        key = hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:12]
        path = self.path(f"{name}-{key}")
        with contextlib.suppress(OSError, ValueError, KeyError, zipfile.BadZipFile):
            return _load(path)
        found = compute()
        buffer = io.BytesIO()
        stored = {one.name: getattr(found, one.name) for one in fields(found)}
        np.savez(buffer, **{name: value for name, value in stored.items() if value is not None})
        write_atomic(path, buffer.getvalue())
        return found


def _load(path: Path) -> Scattering:
    with np.load(path, allow_pickle=False) as stored:
        values: dict[str, Any] = {name: stored[name] for name in stored.files}
    n1, n2, n3 = (int(n) for n in values.pop("mesh"))
    return Scattering(mesh=(n1, n2, n3), **values)
