"""Force constants for phonopy: ``phonopy.yaml`` and ``FORCE_CONSTANTS``, and the way back."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sscha_mlp import __version__
from sscha_mlp.crystal.born_charges import BornCharges
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.structure import IntArray
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.data.files import make_directory, write_atomic


def write_phonopy(
    directory: str | Path, state: DynamicalMatrix, *, born: BornCharges | None = None
) -> list[Path]:
    """Write the files from which ``phonopy.load`` gets the crystal and its force constants.

    ``phonopy.load("DIRECTORY/phonopy.yaml")`` works from any directory: that file holds all of it.
    Lengths are in Å, force constants in eV/Å², masses in amu: phonopy's defaults.  The primitive
    cell is given as both the unit cell and the primitive cell.

    Parameters
    ----------
    directory
        Made if needed; ``phonopy.yaml`` and ``FORCE_CONSTANTS`` there are replaced.
    state
        Force constants of a supercell.
    born
        Born charges and dielectric tensor, written into ``phonopy.yaml``.

    Returns
    -------
    The files written.

    Raises
    ------
    InputError
        If the directory cannot be made.
    SschaMlpError
        If a file cannot be written.
    """
    place = make_directory(directory)
    contents = {
        "phonopy.yaml": "\n".join(_yaml(state, born)) + "\n",
        "FORCE_CONSTANTS": "\n".join(_force_constants(state)) + "\n",
    }
    for name, content in contents.items():
        write_atomic(place / name, content)
    return [place / name for name in contents]


def phonopy_order(supercell: Supercell) -> IntArray:
    """Our index of each supercell atom of phonopy, shape (n_atoms,).

    There all images of the first atom come first, the first lattice translation running fastest.
    """
    n1, n2, n3 = supercell.size
    cells = [(i, j, k) for k in range(n3) for j in range(n2) for i in range(n1)]
    index = supercell.cell_index(np.array(cells, dtype=np.int64))
    n_primitive = supercell.primitive.n_atoms
    return np.concatenate([index * n_primitive + atom for atom in range(n_primitive)])


def _blocks(state: DynamicalMatrix) -> Iterator[tuple[int, int, np.ndarray]]:
    """The compact form: rows for the atoms of the primitive cell, 1-based indices, 3 x 3 blocks."""
    order = phonopy_order(state.supercell)
    first = np.argsort(order, kind="stable")[: state.supercell.primitive.n_atoms]
    for atom, row in enumerate(first):
        for column, ours in enumerate(order):
            yield int(row) + 1, column + 1, state.force_constants[atom, ours]


def _force_constants(state: DynamicalMatrix) -> Iterator[str]:
    """The file ``FORCE_CONSTANTS``, as other programs read it."""
    yield f"{state.supercell.primitive.n_atoms} {state.supercell.n_atoms}"
    for row, column, block in _blocks(state):
        yield f"{row} {column}"
        for line in block:
            yield " ".join(f"{value:22.15f}" for value in line)


def _force_constants_yaml(state: DynamicalMatrix) -> Iterator[str]:
    """The same numbers in ``phonopy.yaml``: the file is then enough, from any directory."""
    yield "force_constants:"
    yield '  format: "compact"'
    yield f"  shape: [ {state.supercell.primitive.n_atoms}, {state.supercell.n_atoms} ]"
    yield "  elements:"
    for row, column, block in _blocks(state):
        yield f"  - # ({row}, {column})"
        yield from _rows(block, "    ")


def _yaml(state: DynamicalMatrix, born: BornCharges | None) -> Iterator[str]:
    crystal = state.crystal
    yield "phonopy:"
    yield f'  version: "sscha-mlp {__version__}"'
    yield "physical_unit:"
    for line in ('atomic_mass: "AMU"', 'length: "angstrom"', 'force_constants: "eV/angstrom^2"'):
        yield f"  {line}"
    yield from _matrix("supercell_matrix", np.diag(state.supercell.size))
    yield from _matrix("primitive_matrix", np.eye(3, dtype=int))
    for name in ("unit_cell", "primitive_cell"):
        yield f"{name}:"
        yield "  lattice:"
        yield from _rows(crystal.cell, "  ")
        yield "  points:"
        for symbol, point, mass in zip(
            crystal.symbols, crystal.scaled_positions, crystal.masses, strict=True
        ):
            yield f"  - symbol: {symbol}"
            yield f"    coordinates: {_numbers(point)}"
            yield f"    mass: {mass:.12f}"
    if born is not None:
        yield from _matrix("dielectric_constant", born.dielectric)
        yield "born_effective_charge:"
        for charge in born.charges:
            lines = list(_rows(charge, "    "))
            yield f"  - {lines[0].strip()}"
            yield from lines[1:]
    yield from _force_constants_yaml(state)


def _matrix(name: str, values: np.ndarray) -> Iterator[str]:
    yield f"{name}:"
    yield from _rows(values, "")


def _rows(values: np.ndarray, indent: str) -> Iterator[str]:
    for row in values:
        yield f"{indent}- {_numbers(row)}"


def _numbers(values: np.ndarray) -> str:
    if np.issubdtype(values.dtype, np.integer):
        return f"[ {', '.join(str(value) for value in values)} ]"
    return f"[ {', '.join(f'{value:.15f}' for value in values)} ]"
