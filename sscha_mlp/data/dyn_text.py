"""The text of one dyn file of Quantum ESPRESSO, as it stands there and in its units.

Written by ph.x, phcg.x, CellConstructor and others.  A header (crystal), one matrix for each wave
vector of a star, at q = 0 the dielectric tensor and Born charges where they are known, and the
modes of the first matrix.  Quantum ESPRESSO reads the numbers of a line in any width, and so does
this reader; it also takes six numbers on two lines (phcg.x).  What the matrices of several files
say together is in :mod:`sscha_mlp.data.dyn_files`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from sscha_mlp import units
from sscha_mlp.crystal.bravais import bravais_cell
from sscha_mlp.crystal.reciprocal import ComplexArray, hermitian
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.data.lines import Text
from sscha_mlp.errors import InputError, StructureError, cause_of

_NUMBER: Final = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][-+]?\d+)?")
_SPECIES: Final = re.compile(r"\s*(\d+)\s*'([^']*)'\s*(\S+)\s*$")
_CUT: Final = "a file may be cut off or damaged; write it again"
_LIGHTEST: Final = 400.0
"""Masses below this are in amu, not in units of two electron masses; hydrogen has 919 of these."""


@dataclass(frozen=True, eq=False)
class DynText:
    """What a dyn file holds.

    Parameters
    ----------
    alat
        Unit of its lengths, bohr.
    cell
        Lattice vectors as rows, shape (3, 3), alat.
    positions
        Shape (n_atoms, 3), alat.
    labels
        Label of each atom: a chemical symbol, or one with something behind it (Fe1, C_h).
    masses
        Of each atom, shape (n_atoms,), in units of two electron masses.
    qpoints
        Cartesian, shape (n_qpoints, 3), 2 pi / alat.
    matrices
        Force constants at the wave vectors, shape (n_qpoints, 3 n_atoms, 3 n_atoms), Ry/bohr².
    dielectric, charges
        ``eps_infinity``, (3, 3), and Born charges, (n_atoms, 3, 3), first index that of the field,
        in units of e; None where the file does not hold them.
    """

    alat: float
    cell: FloatArray
    positions: FloatArray
    labels: Sequence[str]
    masses: FloatArray
    qpoints: FloatArray
    matrices: ComplexArray
    dielectric: FloatArray | None = None
    charges: FloatArray | None = None


# --- reading -----------------------------------------------------------------------------------


@dataclass
class _Found:
    """What has been read so far behind the header."""

    qpoints: list[FloatArray] = field(default_factory=list)
    matrices: list[ComplexArray] = field(default_factory=list)
    dielectric: FloatArray | None = None
    charges: dict[str, FloatArray] = field(default_factory=dict)


def parse_dyn(path: str | Path) -> DynText:
    """Read one dyn file.

    Raises
    ------
    InputError
        If the file cannot be read, or is no whole dyn file; the error names the line.
    """
    path = Path(path)
    try:
        content = path.read_text(encoding="utf-8", errors="replace")
    except OSError as err:
        raise InputError(f"The dyn file {path} could not be read: {cause_of(err)}.") from err
    if content.lstrip().startswith("<?xml"):
        raise InputError(
            f"{path} is a dyn file in XML; run ph.x with a fildyn that does not end in .xml."
        )
    text = Text(path, content.splitlines())
    text.skip(2)  # two lines of title, the second of them often blank
    alat, cell, labels, masses, positions = _header(text)
    found = _Found()
    while (line := text.line_or_none()) is not None:
        _section(text, line.strip().lower(), found, len(labels))
    if not found.qpoints:
        text.fail(f"no dynamical matrix where one should be; {_CUT}")
    charges = found.charges.get("e-u")
    if charges is None and "u-e" in found.charges:
        charges = found.charges["u-e"].transpose(0, 2, 1)
    return DynText(
        alat,
        cell,
        positions,
        labels,
        masses,
        np.array(found.qpoints),
        np.array(found.matrices),
        found.dielectric,
        charges,
    )


def _header(text: Text) -> tuple[float, FloatArray, list[str], FloatArray, FloatArray]:
    """Read unit of length, cell, label and mass of each atom, and positions."""
    line = text.line("the numbers of kinds and of atoms")
    words = line.split()
    try:
        n_kinds, n_atoms, lattice = (int(word) for word in words[:3])
        celldm = [_float(word) for word in words[3:9]]
    except ValueError:
        n_kinds = n_atoms = lattice = 0
        celldm = []
    if n_kinds < 1 or n_atoms < n_kinds or not celldm:
        text.fail(
            f"{line.strip()[:60]!r} where the numbers of kinds and atoms, ibrav and celldm should "
            "be; this is no dyn file of Quantum ESPRESSO"
        )
    celldm += [0.0] * (6 - len(celldm))
    alat = celldm[0]
    if not alat > 0:
        text.fail(f"the lattice parameter celldm(1) = {alat:g} is no length in bohr")
    if lattice == 0:
        text.line("Basis vectors")
        cell = np.reshape(_numbers(text, 9, "lattice vectors"), (3, 3))
    else:
        cell = _checked_cell(text, lattice, celldm)
    names, weights = _kinds(text, n_kinds)
    atoms = [_numbers(text, 5, f"the position of atom {n + 1}") for n in range(n_atoms)]
    kinds = [round(atom[1]) - 1 for atom in atoms]
    if any(not 0 <= kind < n_kinds for kind in kinds):
        text.fail(f"an atom of a kind that is none of the {n_kinds} kinds above")
    labels = [names[kind] for kind in kinds]
    return alat, cell, labels, weights[kinds], np.array(atoms)[:, 2:]


def _checked_cell(text: Text, lattice: int, celldm: Sequence[float]) -> FloatArray:
    try:
        return bravais_cell(lattice, celldm)
    except StructureError as err:
        text.fail(str(err).rstrip("."))


def _kinds(text: Text, n_kinds: int) -> tuple[list[str], FloatArray]:
    """Read names and masses of the kinds of atoms."""
    names, masses = [], []
    for _ in range(n_kinds):
        line = text.line("a kind of atom")
        found = _SPECIES.match(line)
        mass = _as_float(found[3]) if found else None
        if found is None or mass is None or not mass > 0:
            text.fail(f"{line.strip()[:60]!r} where number, 'label' and mass of a kind should be")
        names.append(found[2].strip())
        masses.append(mass if mass > _LIGHTEST else mass * units.AMU_RYDBERG)
    return names, np.array(masses)


def _section(text: Text, title: str, found: _Found, n_atoms: int) -> None:
    """Read what begins with this line, where it is anything that is kept."""
    if title.startswith("dynamical") and "cartesian axes" in title:
        qpoint = _qpoint(text)
        found.qpoints.append(qpoint)
        found.matrices.append(_matrix(text, qpoint, n_atoms))
    elif title.startswith("dielectric"):
        values = _numbers(text, 9, "the dielectric tensor")
        found.dielectric = np.reshape(values, (3, 3))
    elif title.startswith("effective charges"):
        kind = "u-e" if "u-e" in title else "e-u"
        charges = []
        for n in range(n_atoms):
            text.line(f"the number of atom {n + 1}")
            charges.append(_numbers(text, 9, f"the Born charge of atom {n + 1}"))
        found.charges[kind] = np.reshape(charges, (n_atoms, 3, 3))


def _qpoint(text: Text) -> FloatArray:
    line = text.line("a wave vector")
    inside = re.search(r"\((.*)\)", line)
    values = [_as_float(word) for word in _NUMBER.findall(inside[1])] if inside else []
    if len(values) != 3:
        text.fail(f"{line.strip()[:60]!r} where a wave vector, q = ( x y z ), should be")
    return np.array(values, dtype=np.float64)


def _matrix(text: Text, qpoint: FloatArray, n_atoms: int) -> ComplexArray:
    """Read the blocks of all pairs of atoms."""
    where = f"the matrix at q = {np.round(qpoint, 6).tolist()} (2π/alat)"
    blocks = np.empty((n_atoms, n_atoms, 3, 3), dtype=np.complex128)
    for a in range(n_atoms):
        for b in range(n_atoms):
            pair = text.line(f"atoms {a + 1} and {b + 1} of {where}").split()
            if pair != [str(a + 1), str(b + 1)]:
                text.fail(
                    f"{' '.join(pair)[:60]!r} where atoms {a + 1} {b + 1} of {where} should be; "
                    f"{_CUT}"
                )
            values = _numbers(text, 18, where)
            blocks[a, b] = np.array(values).view(np.complex128).reshape(3, 3)
    return blocks.transpose(0, 2, 1, 3).reshape(3 * n_atoms, 3 * n_atoms)


def _numbers(text: Text, count: int, what: str) -> list[float]:
    """Read as many numbers, on one line or several."""
    values: list[float] = []
    while len(values) < count:
        line = text.line(what)
        read = [_as_float(word) for word in line.split()]
        values += [value for value in read if value is not None]
        if None in read or len(values) > count:
            text.fail(f"{line.strip()[:60]!r} where {what} should be: {count} numbers; {_CUT}")
    return values


def _as_float(word: str) -> float | None:
    """Return a number as Fortran writes it, 0.1D-3 included; None where it is none."""
    try:
        value = _float(word)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _float(word: str) -> float:
    return float(word.replace("D", "E").replace("d", "e"))


# --- labels ------------------------------------------------------------------------------------


def element_of(label: str) -> str:
    """Return the chemical symbol in the label of a kind: Fe of Fe1, C of C_h, H of D.

    Quantum ESPRESSO's labels are a symbol in any case, alone or followed by a number, a letter, or
    ``_`` or ``-`` and anything.

    Raises
    ------
    InputError
        If there is no element in it.
    """
    letters = re.match(r"[A-Za-z]*", label)
    name = letters[0] if letters else ""
    for length in (2, 1):
        symbol = name[:length].capitalize()
        if len(symbol) == length and symbol in chemical_symbols[1:]:
            return symbol
    if name.upper() in {"D", "T"}:
        return "H"
    raise InputError(f"The label {label!r} of a kind of atom in a dyn file names no element.")


# --- writing -----------------------------------------------------------------------------------


def format_dyn(dyn: DynText, *, title: str = "") -> str:
    """Return a dyn file as ph.x writes it, with all digits.

    The modes at its end are those of the first matrix.
    """
    return "\n".join([*_header_lines(dyn, title), *_body_lines(dyn), *_mode_lines(dyn)]) + "\n"


def _header_lines(dyn: DynText, title: str) -> Iterator[str]:
    kinds = list(dict.fromkeys(zip(dyn.labels, dyn.masses.tolist(), strict=True)))
    yield "Dynamical matrix file"
    yield title
    celldm = "".join(f"{value:22.16f}" for value in (dyn.alat, 0.0, 0.0, 0.0, 0.0, 0.0))
    yield f"{len(kinds):3d}{len(dyn.labels):5d}{0:4d}{celldm}"
    yield "Basis vectors"
    for vector in dyn.cell:
        yield "  " + _row(vector, "22.16f")
    for number, (label, mass) in enumerate(kinds, start=1):
        yield f"{number:12d}  '{label:<4}'  {mass:25.12f}"
    for number, atom in enumerate(zip(dyn.labels, dyn.masses.tolist(), strict=True)):
        place = _row(dyn.positions[number], "22.16f")
        yield f"{number + 1:5d}{kinds.index(atom) + 1:5d}{place}"


def _body_lines(dyn: DynText) -> Iterator[str]:
    n_atoms = len(dyn.labels)
    for qpoint, matrix in zip(dyn.qpoints, dyn.matrices, strict=True):
        yield from ("", "     Dynamical  Matrix in cartesian axes", "", _q_line(qpoint), "")
        blocks = np.asarray(matrix, dtype=np.complex128).reshape(n_atoms, 3, n_atoms, 3)
        for a in range(n_atoms):
            for b in range(n_atoms):
                yield f"{a + 1:5d}{b + 1:5d}"
                for row in blocks[a, :, b]:
                    yield _complex_row(row, "20.16f")
    if dyn.dielectric is not None:
        yield from ("", "     Dielectric Tensor:", "")
        yield from (_row(row, "24.12f") for row in dyn.dielectric)
    if dyn.charges is not None:
        yield from ("", "     Effective Charges E-U: Z_{alpha}{s,beta}", "")
        for number, charge in enumerate(dyn.charges, start=1):
            yield f"     atom # {number:4d}"
            yield from (_row(row, "24.12f") for row in charge)


def _mode_lines(dyn: DynText) -> Iterator[str]:
    """Frequencies and displacements, normalised to 1, of the first matrix."""
    root = np.sqrt(np.repeat(dyn.masses, 3))
    weighted = hermitian(dyn.matrices[0]) / np.outer(root, root)
    if not np.any(weighted.imag):
        weighted = weighted.real
    squares, vectors = np.linalg.eigh(weighted)
    frequencies = np.sign(squares) * np.sqrt(np.abs(squares))
    moves = vectors / root[:, None]
    moves = moves / np.linalg.norm(moves, axis=0)
    yield from ("", "     Diagonalizing the dynamical matrix", "", _q_line(dyn.qpoints[0]), "")
    yield " " + 74 * "*"
    for number, frequency in enumerate(frequencies, start=1):
        thz, wavenumber = frequency * units.RYDBERG_THZ, frequency * units.RYDBERG_CM
        yield f"     freq ({number:5d}) ={thz:15.6f} [THz] ={wavenumber:15.6f} [cm-1]"
        for atom in moves[:, number - 1].reshape(-1, 3):
            yield f" ({_complex_row(atom, '10.6f', between='')} )"
    yield " " + 74 * "*"


def _q_line(qpoint: NDArray[np.float64]) -> str:
    """Return a wave vector; q2r.x reads its columns 11 to 75."""
    return f"     q = ( {_row(qpoint, '20.14f')} ) "


def _row(values: NDArray[np.float64], form: str) -> str:
    return "".join(f"{value:{form}}" for value in values)


def _complex_row(values: NDArray[np.complex128], form: str, *, between: str = "  ") -> str:
    return between.join(f"{value.real:{form}}{value.imag:{form}}" for value in values.tolist())
