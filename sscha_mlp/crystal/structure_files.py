"""Structures from files: which format a name means, and what a file says beside its atoms."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import ase.io
import numpy as np
from ase import Atoms

from sscha_mlp.crystal.cif import read_cif
from sscha_mlp.crystal.isotopes import ISOTOPES
from sscha_mlp.crystal.structure import (
    SHORTEST_DISTANCE,
    Crystal,
    check_geometry,
    check_volume,
)
from sscha_mlp.crystal.symmetry import looser_symmetry, symmetrise_structure
from sscha_mlp.errors import InputError, StructureError
from sscha_mlp.text_files import check_file

LARGEST_FILE: Final = 200_000_000
"""Bytes of a structure file above which it is another file that was named by mistake."""

_LARGEST_MOVE: Final = 0.5

_BY_NAME: Final = (
    (r".*\.cif", "cif"),
    (r".*\.cfg", "cfg"),
    (r".*\.(ext)?xyz", "extxyz"),
    (r".*\.(data|lmp|lammps|lammps-data)", "lammps-data"),
    (r".*vasprun.*\.xml", "vasp-xml"),
    (r".*\.vasp", "vasp"),
    (r"(.*[._-])?(poscar|contcar)([._-].*)?", "vasp"),
    (r"(.*[._-])?outcar([._-].*)?", "vasp-out"),
)


def format_by_name(name: str) -> str:
    """Return the format that the name of a file means, as ASE names it; a suffix goes first.

    Empty where the name does not tell.
    """
    for pattern, found in _BY_NAME:
        if re.fullmatch(pattern, name.lower()):
            return found
    return ""


def read_structure(path: str | Path, *, symmetrise: float | None = None) -> Crystal:
    """Read a crystal from any file that ASE reads; the last frame of a trajectory.

    Atoms named ``D`` or ``T`` in a CIF, a POSCAR or an extended XYZ are hydrogen with the mass of
    the isotope.

    Parameters
    ----------
    path
        The file.
    symmetrise
        Distance, in Å, within which atoms count as equivalent: cell and positions are averaged
        over the space group that is found with it.  For coordinates with few digits; None leaves
        them as they are.

    Raises
    ------
    InputError
        If `symmetrise` is not between 0 and 0.5 Å.
    StructureError
        If the file is missing, unreadable or empty, has no periodic cell, atoms closer than 0.5 Å,
        or sites that are partly occupied.
    """
    path = Path(path)
    if path.exists():
        check_file(path)
    else:
        raise StructureError(f"There is no structure file {path}; give a file that ASE reads.")
    if path.stat().st_size > LARGEST_FILE:
        raise StructureError(
            f"{path} has {path.stat().st_size / 1e6:.0f} MB, which no structure needs; give a file "
            "that holds one crystal."
        )
    atoms = _last_frame(path)
    if not isinstance(atoms, Atoms) or len(atoms) == 0:
        raise StructureError(f"{path} holds no atoms.")
    check_geometry(atoms, str(path))
    if atoms.cell.rank < 3:
        raise StructureError(
            f"{path} has no periodic cell in three dimensions; SSCHA needs a bulk crystal."
        )
    check_occupancy(atoms, str(path))
    check_volume(atoms, str(path))
    crystal = Crystal.from_ase(atoms)
    distance = crystal.shortest_distance()
    if distance < SHORTEST_DISTANCE:
        raise StructureError(
            f"Two atoms of {path} are {distance:.2f} Å apart; remove the duplicate or correct the "
            "positions."
        )
    return crystal if symmetrise is None else _symmetrised(crystal, symmetrise, path)


def check_symmetrise(tolerance: float) -> None:
    """Check a distance within which a structure is symmetrised, Å.

    Raises
    ------
    InputError
        If it is not between 0 and 0.5.
    """
    if not 0.0 < tolerance <= _LARGEST_MOVE:
        raise InputError(
            f"symmetrise = {tolerance} must be a distance between 0 and {_LARGEST_MOVE} Å, such as "
            "0.01."
        )


def _symmetrised(crystal: Crystal, tolerance: float, path: Path) -> Crystal:
    """Return the crystal averaged over the group that a tolerance finds."""
    check_symmetrise(tolerance)
    averaged = symmetrise_structure(crystal, tolerance=tolerance)
    left = looser_symmetry(averaged, tolerance=tolerance)
    if left:
        raise StructureError(
            f"{path} cannot be symmetrised: it is {left}; give a smaller distance than "
            f"{tolerance:g} Å."
        )
    return averaged


def _last_frame(path: Path) -> Any:
    name = format_by_name(path.name)
    if name == "cif":
        return (read_cif(path) or (None,))[-1]
    try:
        if name in ("vasp", "extxyz"):
            return read_with_isotopes(path, name, index=-1)
        return ase.io.read(path, index=-1, do_not_split_by_at_sign=True)
    except Exception as err:  # ASE's readers raise whatever their parser met
        raise StructureError(
            f"{path} could not be read as a structure ({reason_of(err)}); give a file in a format "
            "that ASE reads, such as POSCAR, .cif or .xyz with a cell."
        ) from err


def reason_of(err: Exception) -> str:
    """Return what a reader said; some only stop, and some name only the isotope."""
    said = str(err).strip()
    match = re.fullmatch(r"['\"]*(?:Could not parse species from label )?([DT])\d*\.?['\"]*", said)
    if isinstance(err, KeyError) and match:
        symbol = match.group(1)
        element, mass = ISOTOPES[symbol]
        return f"it holds {symbol}: write {element}, and give --mass {element}={mass:.5g}"
    return f"{type(err).__name__}: {said}" if said else "it is in no known format, or cut off"


def check_occupancy(atoms: Atoms, where: str) -> None:
    """Refuse sites that a reader of ASE found to be partly occupied.

    Raises
    ------
    StructureError
        If there is one; the message names sites and occupancies.
    """
    partial = list(_partial(atoms))
    if partial:
        raise StructureError(
            f"{where} has sites that are partly occupied ({', '.join(partial[:6])}"
            f"{', ...' if len(partial) > 6 else ''}); a phonon needs an ordered crystal: give a "
            "supercell in which each site holds one atom or none."
        )


def _partial(atoms: Atoms) -> Iterator[str]:
    by_site = atoms.info.get("occupancy")
    if isinstance(by_site, dict):
        for shares in by_site.values():
            if isinstance(shares, dict) and any(
                abs(float(x) - 1.0) > 1e-3 for x in shares.values()
            ):
                yield " + ".join(f"{symbol} {float(x):g}" for symbol, x in shares.items())
    for key in ("occupancy", "occupancies"):
        if key in atoms.arrays and atoms.arrays[key].dtype.kind == "f":
            for symbol, share in zip(atoms.symbols, np.ravel(atoms.arrays[key]), strict=False):
                if abs(share - 1.0) > 1.0e-3:
                    yield f"{symbol} {share:g}"


# --- isotopes ---------------------------------------------------------------------------------


def read_with_isotopes(path: Path, name: str, *, index: int | slice) -> Any:
    """Read a POSCAR (``vasp``) or extended XYZ (``extxyz``) in which D and T may stand for H.

    Raises
    ------
    Exception
        Whatever ASE's reader raises.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    if name == "vasp":
        _check_counts(text.splitlines())
    if not re.search(r"(?m)^[^\n=]*\b[DT]\b[^\n=]*$", text):
        return ase.io.read(path, index=index, format=name, do_not_split_by_at_sign=True)
    plain, masses = (_poscar if name == "vasp" else _xyz)(text)
    frames = ase.io.read(io.StringIO(plain), index=":", format=name)
    for atoms, changed in zip(frames, masses, strict=True):
        own = atoms.get_masses()
        for place, mass in changed.items():
            own[place] = mass
        if changed:
            atoms.set_masses(own)
    return frames[index]


def _check_counts(lines: list[str]) -> None:
    """Refuse a POSCAR that counts more atoms than it has lines, before a reader makes them."""
    for line in lines[5:7]:
        counts = [int(word) for word in line.split() if word.isdecimal()]
        if counts and sum(counts) > len(lines):
            raise ValueError(f"it counts {sum(counts)} atoms and has {len(lines)} lines")


def _poscar(text: str) -> tuple[str, list[dict[int, float]]]:
    """Return a POSCAR with H for D and T, and the masses of those atoms."""
    lines = text.splitlines()
    symbols, counts = lines[5].split(), [int(word) for word in lines[6].split()]
    lines[5] = " ".join(ISOTOPES[one][0] if one in ISOTOPES else one for one in symbols)
    each = [one for one, count in zip(symbols, counts, strict=True) for _ in range(count)]
    masses = {i: ISOTOPES[one][1] for i, one in enumerate(each) if one in ISOTOPES}
    return "\n".join(lines) + "\n", [masses]


def _xyz(text: str) -> tuple[str, list[dict[int, float]]]:
    """Return extended XYZ with H for D and T, and the masses of those atoms in each frame."""
    lines = text.splitlines()
    masses: list[dict[int, float]] = []
    start = 0
    while start < len(lines) and lines[start].strip():
        n_atoms, column = int(lines[start]), _species_column(lines[start + 1])
        masses.append({})
        for i in range(n_atoms):
            words = lines[start + 2 + i].split()
            if words[column] in ISOTOPES:
                words[column], masses[-1][i] = ISOTOPES[words[column]]
                lines[start + 2 + i] = " ".join(words)
        start += 2 + n_atoms
    return "\n".join(lines) + "\n", masses


def _species_column(comment: str) -> int:
    """Return which column of a frame holds the symbols."""
    match = re.search(r'Properties="?([^\s"]+)', comment)
    fields = match.group(1).split(":") if match else ["species", "S", "1"]
    column = 0
    for name, _, count in zip(fields[::3], fields[1::3], fields[2::3], strict=False):
        if name.lower() in ("species", "symbols"):
            return column
        column += int(count)
    return 0
