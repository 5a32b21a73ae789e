"""Dynamical matrices on disk, exact to the last bit (Quantum ESPRESSO files are for exchange)."""

import zipfile
from pathlib import Path

import numpy as np

from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.structure import Crystal
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.data.files import write_npz_atomic
from sscha_mlp.errors import InputError

_KEYS = ("cell", "positions", "numbers", "masses", "size", "force_constants")


def save_state(path: str | Path, state: DynamicalMatrix) -> None:
    """Write a dynamical matrix to an ``.npz`` file, atomically."""
    crystal = state.crystal
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_npz_atomic(
        path,
        cell=crystal.cell,
        positions=crystal.positions,
        numbers=crystal.numbers,
        masses=crystal.masses,
        size=np.array(state.supercell.size),
        force_constants=state.force_constants,
    )


def load_state(path: str | Path) -> DynamicalMatrix:
    """Read what :func:`save_state` wrote.

    Raises
    ------
    InputError
        If the file is missing, is a directory, or is no state.
    """
    if Path(path).is_dir():
        states = sorted(Path(path, "states").glob("*.npz"))
        way_out = f"give one of its states, such as {states[0]}" if states else "give a file"
        raise InputError(f"{path} is a directory, not a state; {way_out}.")
    if not Path(path).exists():
        raise InputError(f"There is no state {path}; give an .npz file that save_state wrote.")
    try:
        with np.load(path, allow_pickle=False) as stored:
            values = {key: stored[key] for key in _KEYS}
    except (OSError, TypeError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as err:
        raise InputError(
            f"The state {path} cannot be read ({err}); give an .npz file that save_state or a run "
            "wrote. If it is a damaged file of a run, remove it with what came after it."
        ) from err
    crystal = Crystal(values["cell"], values["positions"], values["numbers"], values["masses"])
    size = tuple(int(v) for v in values["size"])
    return DynamicalMatrix(
        Supercell(crystal, (size[0], size[1], size[2])), values["force_constants"]
    )
