"""Dynamical matrices in the files of Quantum ESPRESSO: ``PREFIX1``, ``PREFIX2``, ..., ``PREFIX0``.

Each numbered file holds the matrices of one star of wave vectors.  ``PREFIX0`` lists the grid and
one wave vector of each star; ph.x writes it and q2r.x reads it, other programs leave it out.

The matrices have the phase convention ``exp(2 pi i q . T)`` with the lattice translation T, as ours
(:mod:`sscha_mlp.crystal.reciprocal`), and so depend on q up to a reciprocal lattice vector only.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from sscha_mlp import units
from sscha_mlp.crystal.born_charges import BornCharges
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.reciprocal import ComplexArray, compact, hermitian
from sscha_mlp.crystal.structure import Crystal, FloatArray
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import find_space_group
from sscha_mlp.data.dyn_text import DynText, element_of, format_dyn, parse_dyn
from sscha_mlp.data.files import make_directory, write_atomic
from sscha_mlp.errors import InputError

_FORCE_CONSTANT: Final = units.RYDBERG / units.BOHR**2
"""One Ry/bohr² in eV/Å²."""

_LARGEST_GRID: Final = 64
_SAME_Q: Final = 1.0e-4
"""Wave vectors are rounded to 9 decimals in files, and cells to 7; this is far more."""

_SAME_LENGTH: Final = 1.0e-5
_ASYMMETRY: Final = 1.0e-2
"""Matrices that differ from their adjoints by more than this part of them are damaged."""


@dataclass(frozen=True, eq=False)
class DynFiles:
    """What a set of dyn files holds.

    Parameters
    ----------
    state
        Crystal and force constants.
    born
        Born charges and dielectric tensor, as they stand in the files; None where they do not.
    """

    state: DynamicalMatrix
    born: BornCharges | None


# --- reading -----------------------------------------------------------------------------------


def read_dyn(prefix: str | Path, *, n_files: int | None = None) -> DynamicalMatrix:
    """Read Quantum ESPRESSO dyn files; the supercell follows from their wave vectors.

    Parameters
    ----------
    prefix
        Path without the number, for example ``dyn/final_dyn`` for ``final_dyn1`` and so on; or
        the one file of a calculation at q = 0.
    n_files
        Number of irreducible wave vectors; by default what ``prefix`` with a 0 says, or else as
        many files as there are.

    Raises
    ------
    InputError
        If a file is missing or unreadable, or the wave vectors are not a full grid.
    """
    return read_dyn_files(prefix, n_files=n_files).state


def read_dyn_files(prefix: str | Path, *, n_files: int | None = None) -> DynFiles:
    """Read dyn files with what they say of the electric field; see :func:`read_dyn`.

    Wave vectors may come in any order, outside the first Brillouin zone, and with or without their
    opposites: where only q is there, ``D(-q) = D(q)*``.

    Raises
    ------
    InputError
        If a file is missing or unreadable, or the wave vectors are not a full grid.
    """
    paths = dyn_paths(prefix, n_files=n_files)
    texts = [parse_dyn(path) for path in paths]
    crystal = crystal_of(texts[0])
    for path, text in zip(paths[1:], texts[1:], strict=True):
        _check_same_crystal(paths[0], texts[0], path, text)
    where = str(paths[0]) if len(paths) == 1 else f"{prefix}1..{len(paths)}"
    # q in units of 2 pi / alat times lattice vectors in alat: reduced coordinates.
    qpoints = np.concatenate([text.qpoints @ text.cell.T for text in texts])
    matrices = np.concatenate([text.matrices for text in texts])
    supercell = Supercell(crystal, _grid_size(qpoints, where))
    half = _on_half_grid(supercell, qpoints, matrices, where) * _FORCE_CONSTANT
    state = DynamicalMatrix(supercell, compact(supercell.grid, half))
    found = (born_of(text) for text in texts)
    return DynFiles(state, next((born for born in found if born is not None), None))


def dyn_paths(prefix: str | Path, *, n_files: int | None = None) -> list[Path]:
    """Return the numbered files of a prefix.

    Raises
    ------
    InputError
        If there are none, or fewer than there should be.
    """
    first = Path(f"{prefix}1")
    if not first.is_file():
        if Path(prefix).is_file():
            return [Path(prefix)]
        raise InputError(
            f"There is no file {first}; give the path of the dyn files without number."
        )
    count = n_files or _listed(prefix)
    if count is None:
        counted = itertools.takewhile(lambda n: Path(f"{prefix}{n}").is_file(), itertools.count(1))
        count = max(counted)
    paths = [Path(f"{prefix}{n}") for n in range(1, count + 1)]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise InputError(
            f"There are {count} irreducible wave vectors, but no file {', '.join(missing[:3])} "
            f"beside {first}; copy all files of the calculation."
        )
    return paths


def _listed(prefix: str | Path) -> int | None:
    """Return how many files ``PREFIX0`` says that there are; None without it."""
    path = Path(f"{prefix}0")
    if not path.is_file():
        return None
    try:
        return int(path.read_text(encoding="utf-8").splitlines()[1])
    except (OSError, ValueError, IndexError) as err:
        raise InputError(
            f"The second line of {path} is not the number of irreducible wave vectors; remove the "
            f"file, or copy it again from the calculation ({err})."
        ) from err


def crystal_of(text: DynText) -> Crystal:
    """Return the crystal of a dyn file.

    Kinds of one element and one mass (Fe1 and Fe2 of a magnet) become the same kind of atom.

    Raises
    ------
    InputError
        If a label names no element, or the cell has no volume.
    """
    length = text.alat * units.BOHR
    numbers = [atomic_numbers[element_of(label)] for label in text.labels]
    masses = text.masses / units.AMU_RYDBERG
    return Crystal(text.cell * length, text.positions * length, np.array(numbers), masses)


def born_of(text: DynText) -> BornCharges | None:
    """Return Born charges and dielectric tensor of a dyn file; None unless it has both.

    Raises
    ------
    InputError
        If the dielectric tensor is not positive.
    """
    if text.dielectric is None or text.charges is None:
        return None
    return BornCharges(text.charges, text.dielectric)


def born_of_file(path: str | Path) -> BornCharges | None:
    """Read Born charges and dielectric tensor from a dyn file; None where it has none.

    Parameters
    ----------
    path
        File of q = 0, with its number; where there is no such file, there are no charges.

    Raises
    ------
    InputError
        If the file is damaged, or the dielectric tensor is not positive.
    """
    return born_of(parse_dyn(path)) if Path(path).is_file() else None


def _check_same_crystal(first: Path, one: DynText, path: Path, other: DynText) -> None:
    same = list(one.labels) == list(other.labels) and np.allclose(
        one.cell * one.alat, other.cell * other.alat, atol=_SAME_LENGTH * one.alat
    )
    if not same:
        raise InputError(
            f"{path} has another cell or other atoms than {first}; files of two calculations may "
            "be mixed up."
        )


def _grid_size(qpoints: FloatArray, where: str) -> tuple[int, int, int]:
    """Return the smallest grid that holds wave vectors in reduced coordinates, shape (n, 3)."""
    size = []
    for values in qpoints.T:
        for n in range(1, _LARGEST_GRID + 1):
            if np.all(np.abs(n * values - np.rint(n * values)) < n * _SAME_Q):
                size.append(n)
                break
        else:
            raise InputError(
                f"The wave vectors of the dyn files {where} are on no grid of up to "
                f"{_LARGEST_GRID} points along each axis; give those of a regular grid, from a "
                "calculation whose celldm(1) is its alat (after vc-relax, take ibrav = 0)."
            )
    return size[0], size[1], size[2]


def _on_half_grid(
    supercell: Supercell, qpoints: FloatArray, matrices: ComplexArray, where: str
) -> ComplexArray:
    """Return the matrices in the order of the half grid, Hermitian, same unit."""
    grid, size = supercell.grid, np.array(supercell.size)
    places = supercell.cell_index(np.rint(qpoints * size).astype(np.int64))
    everywhere = np.zeros((supercell.n_cells, *matrices.shape[1:]), dtype=np.complex128)
    known = np.zeros(supercell.n_cells, dtype=bool)
    for place, qpoint, matrix in zip(places, qpoints, matrices, strict=True):
        _check_hermitian(matrix, qpoint, where)
        if known[place] and np.abs(everywhere[place] - matrix).max() > 1e-6 * np.abs(matrix).max():
            raise InputError(
                f"The dyn files {where} hold two different matrices at the wave vector "
                f"{_text_of(qpoint)}; files of two calculations may be mixed up."
            )
        everywhere[place], known[place] = matrix, True
    both = (known[grid.index].astype(float) + known[grid.opposite[grid.index]])[:, None, None]
    if not np.all(both):
        raise InputError(
            f"The dyn files {where} hold {int(known.sum())} wave vectors, not the "
            f"{supercell.n_cells} of a {supercell.size} grid; a file may be missing."
        )
    # D(q) and D(-q)* are the same; where both are given, their mean is taken.
    half = everywhere[grid.index] + everywhere[grid.opposite[grid.index]].conj()
    return grid.reduced(hermitian(half / both))


def _check_hermitian(matrix: ComplexArray, qpoint: FloatArray, where: str) -> None:
    largest = np.abs(matrix).max()
    if np.abs(matrix - matrix.conj().T).max() > _ASYMMETRY * largest:
        raise InputError(
            f"The dyn files {where} hold a matrix at the wave vector {_text_of(qpoint)} that is "
            "not Hermitian; the file may be damaged. Write it again."
        )


def _text_of(qpoint: FloatArray) -> str:
    return f"{(np.round(qpoint, 6) + 0.0).tolist()} (reciprocal-lattice units)"


# --- writing -----------------------------------------------------------------------------------


def write_dyn(
    prefix: str | Path, state: DynamicalMatrix, *, born: BornCharges | None = None
) -> list[Path]:
    """Write Quantum ESPRESSO dyn files ``prefix0``, ``prefix1``, ..., one per star of q.

    The format is that of ph.x with ``ibrav = 0``, and 16 decimals where ph.x has 8.

    Parameters
    ----------
    prefix
        Path without the number; directories are made where needed.
    state
        Crystal and force constants.
    born
        Born charges and dielectric tensor, written into the file of q = 0.

    Returns
    -------
    The files written, that with the list of wave vectors first.

    Raises
    ------
    InputError
        If the charges are not of as many atoms as the crystal has.
    SschaMlpError
        If a file cannot be written.
    """
    prefix = Path(prefix)
    make_directory(prefix.parent)
    if born is not None:
        born.check_count(state.crystal)
    texts = list(_texts(state, born))
    title = "written by sscha-mlp"
    contents = [_list_of_stars(state.supercell.size, texts)]
    contents += [format_dyn(text, title=title) for text in texts]
    paths = [Path(f"{prefix}{n}") for n in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        write_atomic(path, content)
    return paths


def _texts(state: DynamicalMatrix, born: BornCharges | None) -> Iterator[DynText]:
    """The content of the file of each star, that of q = 0 first."""
    crystal, supercell = state.crystal, state.supercell
    alat = float(np.linalg.norm(crystal.cell[0]))
    matrices = supercell.grid.full(state.half_grid) / _FORCE_CONSTANT
    reduced = supercell.qpoints - np.floor(supercell.qpoints + 0.5 - 1.0e-9)  # in (-1/2, 1/2]
    qpoints = reduced @ (np.linalg.inv(crystal.cell).T * alat)
    for star in _stars(supercell):
        at_zero = born if star[0] == 0 else None
        yield DynText(
            alat=alat / units.BOHR,
            cell=crystal.cell / alat,
            positions=crystal.positions / alat,
            labels=crystal.labels,
            masses=crystal.masses * units.AMU_RYDBERG,
            qpoints=qpoints[star],
            matrices=matrices[star],
            dielectric=None if at_zero is None else at_zero.dielectric,
            charges=None if at_zero is None else at_zero.charges,
        )


def _stars(supercell: Supercell) -> list[NDArray[np.int64]]:
    """Indices of the wave vectors of each star, -q included, that of zero first."""
    labels = find_space_group(supercell).stars.labels
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def _list_of_stars(size: tuple[int, int, int], texts: Sequence[DynText]) -> str:
    lines = ["".join(f"{n:4d}" for n in size), f"{len(texts):4d}"]
    lines += ["".join(f"{value:24.15E}" for value in text.qpoints[0]) for text in texts]
    return "\n".join(lines) + "\n"
