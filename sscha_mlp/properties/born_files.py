"""Born charges on disk: phonopy's BORN, TOML with the same numbers, or a dyn file of ph.x."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sscha_mlp.crystal.born_charges import BornCharges
from sscha_mlp.crystal.structure import Crystal, FloatArray
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import SpaceGroup, find_space_group
from sscha_mlp.data.dyn_files import born_of_file
from sscha_mlp.errors import InputError
from sscha_mlp.text_files import written_text

_LARGEST_NET_CHARGE = 0.1
"""Mean charge per atom (e) above which charges are no numerical noise but wrong."""

_DYN = "Dynamical matrix file"


def read_born(path: str | Path, crystal: Crystal) -> BornCharges:
    """Read Born charges and the dielectric tensor, and impose the symmetry of the crystal.

    Three formats are read.  A dyn file of Quantum ESPRESSO at q = 0 begins with ``Dynamical matrix
    file``.  A file that ends in ``.toml`` has ``dielectric`` (three rows) and
    ``charges`` (three rows for each atom).  Any other is taken for phonopy's BORN: a line that is
    not used (the conversion factor follows from the units), nine numbers of the dielectric tensor,
    nine numbers for each atom.  Both give charges for all atoms of the primitive cell, or for the
    first of each set of equivalent atoms.

    Parameters
    ----------
    path
        The file; tensors in the Cartesian axes of the crystal, in units of e.
    crystal
        Primitive cell to which they belong.

    Raises
    ------
    InputError
        If the file cannot be read, has another number of charges, or the charges do not add up to
        about zero.
    """
    path = Path(path)
    if path.suffix == ".toml":
        dielectric, charges = _from_toml(path)
    elif _text(path).startswith(_DYN):
        dielectric, charges = _from_dyn(path)
    else:
        dielectric, charges = _from_born(path)
    if len(charges) != crystal.n_atoms:
        charges = _spread(charges, crystal, path)
    return fitted(BornCharges(charges, dielectric), crystal, str(path))


def fitted(born: BornCharges, crystal: Crystal, where: str) -> BornCharges:
    """Return charges as the symmetry of a crystal has them, and neutral.

    Parameters
    ----------
    born
        Charges of all atoms of the primitive cell.
    crystal
        To which they belong.
    where
        Where they come from, for the error.

    Raises
    ------
    InputError
        If they do not add up to about zero, or are not of as many atoms as the crystal has.
    """
    net = float(np.abs(born.charges.mean(axis=0)).max())
    if net > _LARGEST_NET_CHARGE:
        raise InputError(
            f"The Born charges of {where} add up to {net * len(born.charges):.2f} e in the "
            "primitive cell; they must cancel. Check the charges and the order of the atoms."
        )
    return born.symmetrised(crystal)


def _text(path: Path) -> str:
    try:
        return written_text(path)
    except (OSError, ValueError) as err:
        raise InputError(
            f"The Born charges {path} cannot be read ({err}); give a BORN or a TOML file."
        ) from err


def _from_dyn(path: Path) -> tuple[FloatArray, FloatArray]:
    born = born_of_file(path)
    if born is None:
        raise InputError(
            f"The dyn file {path} holds no dielectric tensor with effective charges; give that of "
            "q = 0 from ph.x with epsil = .true."
        )
    return born.dielectric, born.charges


def _from_toml(path: Path) -> tuple[FloatArray, FloatArray]:
    try:
        content = tomllib.loads(_text(path))
    except tomllib.TOMLDecodeError as err:
        raise InputError(f"{path} is not TOML: {err}.") from err
    unknown = set(content) - {"dielectric", "charges"}
    if unknown or len(content) != 2:
        raise InputError(
            f"{path} needs dielectric and charges, and nothing else; it has "
            f"{', '.join(sorted(content)) or 'nothing'}."
        )
    dielectric = _numbers(content["dielectric"], (3, 3), path, "dielectric")
    charges = _numbers(content["charges"], (-1, 3, 3), path, "charges")
    return dielectric, charges


def _numbers(value: Any, shape: tuple[int, ...], path: Path, name: str) -> FloatArray:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    same = array.ndim == len(shape) and array.shape[-2:] == (3, 3)
    if not same or array.size == 0:
        raise InputError(f"{name} in {path} is not made of three rows of three numbers.")
    return array


def _from_born(path: Path) -> tuple[FloatArray, FloatArray]:
    lines = [line for line in _text(path).splitlines() if line.strip()]
    rows = list(_rows(lines[1:], path))
    if len(rows) < 2:
        raise InputError(
            f"{path} is no BORN file: after its first line it needs nine numbers of the dielectric "
            "tensor and nine for each atom."
        )
    tensors = np.array(rows).reshape(-1, 3, 3)
    return tensors[0], tensors[1:]


def _rows(lines: list[str], path: Path) -> Iterator[list[float]]:
    for line in lines:
        try:
            values = [float(word) for word in line.partition("#")[0].split()]
        except ValueError:
            values = []
        if len(values) != 9:
            raise InputError(f"The line {line.strip()!r} of {path} is not nine numbers.")
        yield values


def _spread(charges: FloatArray, crystal: Crystal, path: Path) -> FloatArray:
    """Give each atom the rotated charge of the first one of its kind."""
    group = find_space_group(Supercell(crystal, (1, 1, 1)))
    first = sorted({int(images.min()) for images in group.permutations.T})
    if len(first) != len(charges):
        raise InputError(
            f"{path} has Born charges of {len(charges)} atoms; the crystal has {crystal.n_atoms}, "
            f"of which {len(first)} are inequivalent. Give one of these numbers of tensors."
        )
    return _images(charges, first, group)


def _images(charges: FloatArray, first: list[int], group: SpaceGroup) -> FloatArray:
    result = np.zeros((group.permutations.shape[1], 3, 3))
    for rotation, images in zip(group.cartesian_rotations, group.permutations, strict=True):
        for atom, charge in zip(first, charges, strict=True):
            result[images[atom]] = rotation @ charge @ rotation.T
    return result
