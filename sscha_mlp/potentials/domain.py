"""What every potential asks of the configurations it is to evaluate, and of its own predictions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike

from sscha_mlp.errors import InputError, ModelError


def require_usable(
    configurations: Sequence[Atoms], elements: Sequence[str], kind: str, path: Path
) -> None:
    """Check that a potential can say something about every configuration.

    Raises
    ------
    InputError
        If one has no atoms, positions or a cell that are not finite, or no volume.
    ModelError
        If one holds an element that the potential was not trained on.
    """
    known = set(elements)
    for index, atoms in enumerate(configurations):
        unknown = sorted(set(atoms.symbols) - known)
        if unknown:
            raise ModelError(
                f"Configuration {index} holds {', '.join(unknown)}, but the {kind.upper()} in "
                f"{path} was trained on {', '.join(elements)} only: fit one on data with "
                f"{', '.join(unknown)}."
            )
        if len(atoms) == 0:
            raise InputError(f"Configuration {index} has no atoms; leave it out.")
        if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
            raise InputError(f"Configuration {index} has positions or a cell that are not finite.")
        if abs(np.linalg.det(atoms.cell.array)) <= 0.0:
            raise InputError(f"Configuration {index} has a cell without volume; give it one.")


def require_finite(index: int, kind: str, *values: ArrayLike) -> None:
    """Check what a potential predicts for one configuration.

    Raises
    ------
    ModelError
        If a number is not finite.
    """
    if not all(np.isfinite(one).all() for one in values):
        raise ModelError(
            f"The {kind.upper()} predicts NaN or infinity for configuration {index}: it is outside "
            "the model's domain (atoms on top of each other?); leave it out."
        )
