"""What every fit asks of its training data, and how it names them."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from sscha_mlp import __version__
from sscha_mlp.data.labels import LabelledConfiguration
from sscha_mlp.errors import InputError


def require_labels(train: Sequence[LabelledConfiguration], kind: str) -> None:
    """Check that there are labels, and that each is complete and finite.

    Raises
    ------
    InputError
        If one is not.
    """
    if not train:
        raise InputError(
            f"A {kind.upper()} fit needs at least one labelled configuration; got none."
        )
    for index, item in enumerate(train):
        label, n_atoms = item.label, len(item.atoms)
        shapes = {"energy": (), "forces": (n_atoms, 3), "stress": (3, 3)}
        for name, shape in shapes.items():
            value = getattr(label, name, None)
            if value is None or np.shape(value) != shape or not np.all(np.isfinite(value)):
                raise InputError(
                    f"Training configuration {index} ({n_atoms} atoms) has no finite {name} of "
                    f"shape {shape}: label it again or leave it out."
                )


def fingerprint(
    train: Sequence[LabelledConfiguration], settings: Mapping[str, Any], seed: int
) -> str:
    """Return the hash of all that decides the model: data in their order, settings, seed."""
    digest = hashlib.sha256(json.dumps([settings, seed], sort_keys=True).encode())
    for item in train:
        atoms, label = item.atoms, item.label
        digest.update(np.asarray(atoms.numbers, dtype=np.int64).tobytes())
        digest.update(np.asarray(atoms.pbc, dtype=np.int64).tobytes())
        for values in (atoms.cell, atoms.positions, label.energy, label.forces, label.stress):
            digest.update(np.ascontiguousarray(values, dtype=np.float64).tobytes())
    return digest.hexdigest()


def elements_of(train: Iterable[LabelledConfiguration]) -> tuple[str, ...]:
    """Chemical symbols of the training data, sorted."""
    return tuple(sorted({symbol for item in train for symbol in item.atoms.symbols}))


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of this package and of those that decide a fit."""
    found = {"sscha-mlp": __version__}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
