"""Crystals from CIF: each site under the operations of the setting that the file is in.

The operations are those that the file lists, or those of its Hall symbol, of its Hermann-Mauguin
symbol or of its number, as spglib has them.  Where a symbol leaves the setting open (the origin, or
rhombohedral axes), the cell, the formula and the density decide; where they do not, the file is
refused.  A site that is within :data:`SAME_SITE` of a special position is moved onto it, so that
coordinates such as 0.3333 keep their symmetry.

What the reader does not take is refused as well: sites that are partly occupied, hydrogen atoms
without positions, modulated structures.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import spglib
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers
from ase.io.cif import CIFBlock, parse_cif

from sscha_mlp.crystal.isotopes import ISOTOPES
from sscha_mlp.crystal.structure import check_volume
from sscha_mlp.crystal.symmetry import read_triplet
from sscha_mlp.errors import InputError, StructureError

SAME_SITE: Final = 0.02
"""Images of a site that are closer than this, in Å, are one atom."""

_OPERATIONS: Final = (
    "_space_group_symop_operation_xyz",
    "_space_group_symop.operation_xyz",
    "_symmetry_equiv_pos_as_xyz",
    "_symmetry_equiv.pos_as_xyz",
)
_HALL: Final = ("_space_group_name_hall", "_symmetry_space_group_name_hall")
_HERMANN_MAUGUIN: Final = (
    "_space_group_name_h-m_alt",
    "_symmetry_space_group_name_h-m",
    "_space_group.name_h-m_alt",
)
_NUMBER: Final = (
    "_space_group_it_number",
    "_space_group.it_number",
    "_symmetry_int_tables_number",
)
_LARGEST_HALL: Final = 530
_BEFORE_1992: Final = {
    **dict(zip(range(191, 197), ("Abm2", "Bma2", "B2cm", "C2mb", "Cm2a", "Ac2m"), strict=True)),
    **dict(zip(range(203, 209), ("Aba2", "Bba2", "B2cb", "C2cb", "Cc2a", "Ac2a"), strict=True)),
    **dict(zip(range(304, 310), ("Cmca", "Ccmb", "Abma", "Acam", "Bbcm", "Bmab"), strict=True)),
    **dict(zip(range(316, 322), ("Cmma", "Cmmb", "Abmm", "Acmm", "Bmcm", "Bmam"), strict=True)),
    **dict(zip(range(322, 334, 2), ("Ccca", "Cccb", "Abaa", "Acaa", "Bbcb", "Bbab"), strict=True)),
    **dict(zip(range(323, 334, 2), ("Ccca", "Cccb", "Abaa", "Acaa", "Bbcb", "Bbab"), strict=True)),
}
"""Symbols with the letters that 'e' replaced, by the Hall number of spglib."""
_DENSITY: Final = 1.66053907  # g/cm³ of one amu/Å³
_UNKNOWN: Final = frozenset({"?", ".", ""})


@dataclass(frozen=True)
class _Operations:
    """Rotations and translations of one setting, and its name."""

    name: str
    rotations: np.ndarray
    translations: np.ndarray


def read_cif(path: str | Path) -> tuple[Atoms, ...]:
    """Read the crystals of a CIF, one from each block that has sites.

    Raises
    ------
    StructureError
        If the file cannot be read, holds more than a crystal with full sites, leaves its setting
        open, or contradicts itself: its sites against its formula, its density or its space group.
    """
    try:
        with Path(path).open("rb") as stream:
            blocks = [block for block in parse_cif(stream) if "_atom_site_fract_x" in block]
        return tuple(_crystal(block, f"{path} (data_{block.name})") for block in blocks)
    except InputError:
        raise
    except Exception as err:  # the parser raises whatever it met
        said = str(err).strip()
        reason = f"{type(err).__name__}: {said}" if said else "it is cut off, or no CIF"
        raise StructureError(
            f"{path} could not be read as a CIF ({reason}); check the file, or give the structure "
            "in another format that ASE reads, such as POSCAR."
        ) from err


def _crystal(block: CIFBlock, where: str) -> Atoms:
    _check_content(block, where)
    cell = block.get_cell().array
    symbols = _symbols(block, where)
    sites = np.column_stack([_floats(block, f"_atom_site_fract_{axis}", where) for axis in "xyz"])
    found: dict[str, Atoms] = {}
    wrong: list[str] = []
    for operations in _settings(block, cell, where):
        atoms = _expanded(cell, symbols, sites, operations)
        check_volume(atoms, where)
        reason = _contradiction(block, atoms, operations)
        if reason:
            wrong.append(reason)
        elif not any(_same_crystal(atoms, other) for other in found.values()):
            found[operations.name] = atoms
    if not found:
        raise StructureError(f"{where}: {wrong[0]}.")
    if len(found) > 1:
        choices = ", ".join(f"{name} with {len(one)} atoms" for name, one in found.items())
        raise StructureError(
            f"{where} does not say in which setting its sites are: {choices}. Complete the symbol "
            "of the space group (':1', ':2', ':H', ':R'), or list the symmetry operations."
        )
    return next(iter(found.values()))


# --- what the file says -----------------------------------------------------------------------


def _check_content(block: CIFBlock, where: str) -> None:
    """Refuse a file that says more than a crystal with full sites."""
    labels = _site_names(block)
    partial = [
        f"{label} {occupancy:g}"
        for label, occupancy in zip(labels, _occupancies(block, len(labels)), strict=True)
        if abs(occupancy - 1.0) > 1.0e-3
    ]
    if partial:
        raise StructureError(
            f"{where} has sites that are partly occupied ({', '.join(partial[:6])}"
            f"{', ...' if len(partial) > 6 else ''}); a phonon needs an ordered crystal: give a "
            "supercell in which each site holds one atom or none."
        )
    hydrogens = [one for one in _listed(block, "_atom_site_attached_hydrogens") if _is_count(one)]
    if hydrogens:
        raise StructureError(
            f"{where} has hydrogen atoms without positions; give a file that lists them."
        )
    if "dum" in _listed(block, "_atom_site_calc_flag"):
        raise StructureError(f"{where} has dummy sites, which are no atoms; remove them.")
    if _is_count(block.get("_cell_modulation_dimension", 0)):
        raise StructureError(f"{where} is a modulated structure; give an ordinary supercell.")
    if block.get_cellpar() is None:
        raise StructureError(f"{where} has no cell; give its six parameters.")


def _is_count(value: Any) -> bool:
    return isinstance(value, int | float) and value > 0


def _listed(block: CIFBlock, key: str) -> list[Any]:
    value = block.get(key, [])
    return list(value) if isinstance(value, list) else [value]


def _site_names(block: CIFBlock) -> list[str]:
    for key in ("_atom_site_label", "_atom_site_type_symbol"):
        if key in block:
            return [str(one) for one in _listed(block, key)]
    return [str(i + 1) for i in range(len(_listed(block, "_atom_site_fract_x")))]


def _occupancies(block: CIFBlock, n_sites: int) -> list[float]:
    given = _listed(block, "_atom_site_occupancy") or [1.0] * n_sites
    return [1.0 if str(one) in _UNKNOWN else float(one) for one in given]


def _floats(block: CIFBlock, key: str, where: str) -> list[float]:
    values = _listed(block, key)
    if wrong := [one for one in values if not isinstance(one, int | float)]:
        raise StructureError(f"{where} has {wrong[0]!r} in place of a coordinate; give a number.")
    return [float(one) for one in values]


def _symbols(block: CIFBlock, where: str) -> list[str]:
    """Return the element of each site, D and T included."""
    if "_atom_site_type_symbol" in block:
        words, typed = _listed(block, "_atom_site_type_symbol"), True
    else:
        words, typed = _listed(block, "_atom_site_label"), False
    if not words:
        raise StructureError(f"{where} does not say which element a site is.")
    return [_element(str(word), where, typed=typed) for word in words]


def _element(word: str, where: str, *, typed: bool) -> str:
    """Return the element of a type (``Fe3+``, ``CU``) or of a label (``Fe2A``)."""
    match = re.match(r"[A-Za-z]+", word)
    letters = match.group(0) if match else ""
    symbol = letters.capitalize() if typed or len(letters) == 1 else letters
    if symbol in ISOTOPES or (symbol in atomic_numbers and symbol != "X"):
        return symbol
    raise StructureError(
        f"{where} has a site {word!r}, whose element cannot be read; name it with "
        "_atom_site_type_symbol."
    )


# --- which operations -------------------------------------------------------------------------


def _settings(block: CIFBlock, cell: np.ndarray, where: str) -> list[_Operations]:
    """Return the operations that are listed, or those of each setting that the file may mean."""
    for key in _OPERATIONS:
        texts = [str(one) for one in _listed(block, key)]
        if texts:
            return [_read_operations(texts, where)]
    halls = _named_halls(block, where)
    fitting = [_of_hall(hall) for hall in halls]
    fitting = [one for one in fitting if _keeps_metric(one, cell)]
    if not fitting:
        raise StructureError(
            f"{where}: the cell has not the shape that the space group "
            f"{_hall_type(halls[0])[0]} needs; correct the cell or the symbol."
        )
    return fitting


def _read_operations(texts: Sequence[str], where: str) -> _Operations:
    rotations, shifts = [], []
    for text in texts:
        try:
            rotation, shift = read_triplet(re.sub(r"(?<!\d)\.(\d)", r"0.\1", text))
        except (InputError, IndexError) as err:
            raise StructureError(f"{where}: {text!r} is no symmetry operation.") from err
        rotations.append(rotation)
        shifts.append([float(Fraction(one).limit_denominator(24)) for one in shift])
    read = _Operations("listed", np.array(rotations), np.array(shifts))
    if not _is_group(read):
        raise StructureError(
            f"{where}: the {len(texts)} symmetry operations that it lists are no group, since the "
            "product of two of them is missing; list all of them."
        )
    return read


def _is_group(operations: _Operations) -> bool:
    """Whether the product of any two operations is one of them, lattice translations apart."""
    rotations, shifts = operations.rotations, operations.translations
    products = np.einsum("aij,bjk->abik", rotations, rotations)
    moved = np.einsum("aij,bj->abi", rotations, shifts) + shifts[:, None]
    own, made = _code(rotations, shifts), _code(products, moved)
    return bool(np.isin(made, own).all())


def _code(rotations: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Return a whole number for each operation; translations are whole 24ths (or 0.04 apart)."""
    parts = np.rint(24.0 * shifts).astype(np.int64) % 24
    turned = rotations.reshape(*rotations.shape[:-2], 9) + 1
    return np.asarray(turned @ 3 ** np.arange(9) + parts @ (3**9 * 24 ** np.arange(3)))


def _named_halls(block: CIFBlock, where: str) -> list[int]:
    """Return the settings (Hall numbers of spglib) that symbol and number may mean."""
    hall = _first(block, _HALL)
    named = _first(block, _HERMANN_MAUGUIN)
    number = _first(block, _NUMBER)
    if hall and (found := _halls_of_symbol(hall)):
        return found
    halls = _halls_of_name(named) if named else _standard_halls(int(number or 1))
    if not halls:
        raise StructureError(
            f"{where}: the space group {named or number!r} is not known; write its symbol as in "
            "the International Tables, or list the symmetry operations."
        )
    if number and named:
        halls = [one for one in halls if _hall_type(one)[1] == int(number)]
        if not halls:
            raise StructureError(
                f"{where} names the space group {named!r} and the number {number}, which is "
                "another; correct one of them."
            )
    setting = str(block.get("_symmetry_space_group_setting", ""))
    wanted = {"1": "1H", "2": "2R"}.get(setting, "")
    return [one for one in halls if _hall_type(one)[2][:1] in (*wanted,)] or halls


def _first(block: CIFBlock, keys: Sequence[str]) -> str:
    for key in keys:
        value = str(block.get(key, ""))
        if value not in _UNKNOWN:
            return value
    return ""


@cache
def _hall_type(hall: int) -> tuple[str, int, str]:
    """Return the full symbol, the number and the choice of a setting."""
    found = spglib.get_spacegroup_type(hall)
    return str(found.international_full), int(found.number), str(found.choice)


@cache
def _names() -> Mapping[str, list[int]]:
    """Return the settings by each of their symbols, without spaces."""
    names: dict[str, list[int]] = {}
    for hall in range(1, _LARGEST_HALL + 1):
        found = spglib.get_spacegroup_type(hall)
        texts = {found.international_full, *str(found.international).split("=")}
        # The short symbol of a monoclinic setting leaves out the axes without symmetry.
        if 3 <= int(found.number) <= 15:
            texts |= {" ".join(word for word in one.split() if word != "1") for one in texts}
        texts.add(_BEFORE_1992.get(hall, ""))
        for text in {_plain(one) for one in texts if one}:
            names.setdefault(text, []).append(hall)
    return names


def _plain(symbol: str) -> str:
    return re.sub(r"[\s_()]", "", symbol).lower()


def _halls_of_symbol(symbol: str) -> list[int]:
    """Return the setting of a Hall symbol."""
    wanted = " ".join(symbol.replace("_", " ").split())
    return [_hall_symbols()[wanted]] if wanted in _hall_symbols() else []


@cache
def _hall_symbols() -> Mapping[str, int]:
    """Return the setting of each Hall symbol, the first of those that share one."""
    found = range(_LARGEST_HALL, 0, -1)
    symbols = ((str(spglib.get_spacegroup_type(hall).hall_symbol), hall) for hall in found)
    return {" ".join(symbol.split()): hall for symbol, hall in symbols}


def _halls_of_name(named: str) -> list[int]:
    """Return the settings of a Hermann-Mauguin symbol with or without its choice (:1, :R, Z)."""
    base, _, choice = named.partition(":")
    # ICSD writes the choice as a letter: F d -3 m Z, R -3 m H.
    match = re.fullmatch(r"(R.+?)\s*([HR])S?|(.+?)\s*([SZ])", named.strip())
    if match and not choice:
        base, choice = (one for one in match.groups() if one)
    choice = {"S": "1", "Z": "2"}.get(choice.strip().upper(), choice.strip().upper())
    halls = _names().get(_plain(base), [])
    if choice:
        halls = [hall for hall in halls if _hall_type(hall)[2].upper().startswith(choice)]
    # One symbol for two settings (Cmme for Cmma and Cmmb): that of the International Tables.
    axes = [_hall_type(hall)[2].lstrip("12") for hall in halls]
    monoclinic = any(3 <= _hall_type(hall)[1] <= 15 for hall in halls)
    first = (hall for hall, one in zip(halls, axes, strict=True) if one in ("H", "R", axes[0]))
    return halls if monoclinic else list(first)


def _standard_halls(number: int) -> list[int]:
    """Return the settings of the standard symbol of a number: both origins, both axes of R."""
    if not 1 <= number <= 230:
        return []
    of_number = [h for h in range(1, _LARGEST_HALL + 1) if _hall_type(h)[1] == number]
    return [hall for hall in of_number if _hall_type(hall)[0] == _hall_type(of_number[0])[0]]


@cache
def _of_hall(hall: int) -> _Operations:
    found = spglib.get_symmetry_from_database(hall)
    full, _, choice = _hall_type(hall)
    name = f"{full} :{choice}" if choice else full
    return _Operations(name, found["rotations"], found["translations"])


def _keeps_metric(operations: _Operations, cell: np.ndarray) -> bool:
    """Whether the operations leave the lengths and angles of the cell as they are, to 1 %."""
    metric = cell @ cell.T
    rotations = operations.rotations.astype(float)
    images = rotations.transpose(0, 2, 1) @ metric @ rotations
    scale = np.sqrt(np.outer(np.diag(metric), np.diag(metric)))
    return bool(np.all(np.abs(images - metric) < 0.01 * scale))


# --- from sites to atoms ----------------------------------------------------------------------


def _expanded(
    cell: np.ndarray,
    symbols: Sequence[str],
    sites: np.ndarray,
    operations: _Operations,
) -> Atoms:
    """Return all images of the sites, those on special positions once and exactly there."""
    positions: list[np.ndarray] = []
    elements: list[str] = []
    for symbol, site in zip(symbols, sites, strict=True):
        images = _orbit(site, operations, cell)
        positions.extend(images)
        elements.extend([symbol] * len(images))
    numbers = [atomic_numbers[ISOTOPES[s][0] if s in ISOTOPES else s] for s in elements]
    atoms = Atoms(numbers=numbers, cell=cell, scaled_positions=np.array(positions), pbc=True)
    if any(symbol in ISOTOPES for symbol in elements):
        pairs = zip(elements, atomic_masses[numbers], strict=True)
        atoms.set_masses([ISOTOPES[s][1] if s in ISOTOPES else mass for s, mass in pairs])
    return atoms


def _orbit(site: np.ndarray, operations: _Operations, cell: np.ndarray) -> np.ndarray:
    """Return the images of a site, shape (n_images, 3), scaled, in the cell."""
    if len(operations.rotations) == 1:
        return site[None] % 1.0
    images = site @ operations.rotations.transpose(0, 2, 1) + operations.translations
    offset = images - site
    shifts = np.rint(offset)
    near = np.linalg.norm((offset - shifts) @ cell, axis=1) < SAME_SITE
    # The mean over the operations that keep the site is the special position itself.
    centre = site + np.mean((offset - shifts)[near], axis=0) if near.any() else site
    images = centre @ operations.rotations.transpose(0, 2, 1) + operations.translations
    images = np.where(np.abs(images - np.rint(images)) < 1.0e-9, np.rint(images), images) % 1.0
    steps = images[:, None] - images
    near = np.linalg.norm((steps - np.rint(steps)) @ cell, axis=2) < SAME_SITE
    return np.asarray(images[np.argmax(near, axis=1) == np.arange(len(images))])


# --- guards -----------------------------------------------------------------------------------


def _contradiction(block: CIFBlock, atoms: Atoms, operations: _Operations) -> str:
    """Return how the crystal contradicts what else the file says; empty where it does not."""
    return (
        _against_formula(block, atoms)
        or _against_density(block, atoms)
        or (_against_group(block, atoms, operations) if operations.name == "listed" else "")
    )


def _against_formula(block: CIFBlock, atoms: Atoms) -> str:
    text = str(block.get("_chemical_formula_sum", ""))
    pairs = re.findall(r"([A-Z][a-z]?)\s*(\d*\.?\d*)", text)
    named: Counter[str] = Counter()
    for symbol, count in pairs:
        named[ISOTOPES[symbol][0] if symbol in ISOTOPES else symbol] += float(count or 1)  # type: ignore[assignment]
    counted = Counter(atoms.get_chemical_symbols())
    if not named or re.sub(r"[A-Z][a-z]?|[\d.\s]", "", text):
        return ""
    units = block.get("_cell_formula_units_z")
    given = isinstance(units, int | float) and units > 0
    scale = float(units) if given else len(atoms) / sum(named.values())
    expected = {symbol: scale * count for symbol, count in named.items()}
    if set(expected) == set(counted) and all(
        abs(expected[symbol] - count) < 0.01 * count + 0.01 for symbol, count in counted.items()
    ):
        return ""
    return (
        f"its sites give {atoms.get_chemical_formula()} in a cell, but its formula "
        f"{' '.join(text.split())!r}{f' x {units:g} (Z)' if given else ''} says otherwise; correct "
        "the sites, the symmetry operations or the formula"
    )


def _against_density(block: CIFBlock, atoms: Atoms) -> str:
    stated = block.get("_exptl_crystal_density_diffrn")
    if not _is_count(stated):
        return ""
    density = _DENSITY * atoms.get_masses().sum() / atoms.get_volume()
    if abs(density / stated - 1.0) < 0.05:
        return ""
    return (
        f"its atoms and its cell give {density:.3f} g/cm³, but it states {stated:g} g/cm³; correct "
        "the sites, the cell, the symmetry operations or the density"
    )


def _against_group(block: CIFBlock, atoms: Atoms, operations: _Operations) -> str:
    """Compare the operations that are listed with the space group that is named."""
    named, number = _first(block, _HERMANN_MAUGUIN), _first(block, _NUMBER)
    halls = _halls_of_name(named) if named else []
    numbers = {_hall_type(hall)[1] for hall in halls} | ({int(float(number))} if number else set())
    if not numbers or numbers == {1}:
        return ""
    group = spglib.get_spacegroup_type_from_symmetry(
        operations.rotations, operations.translations, lattice=atoms.cell.array
    )
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    found = spglib.get_symmetry_dataset(cell, symprec=SAME_SITE)
    if found is None or (group is not None and group.number in numbers):
        return ""
    needed = min(len(_of_hall(_standard_halls(one)[0]).rotations) for one in numbers)
    if found.number in numbers or len(found.rotations) >= needed:
        return ""
    return (
        f"it names the space group {named or number}, but its sites and the "
        f"{len(operations.rotations)} operations that it lists give {found.international}; list "
        "all operations, or correct the symbol"
    )


def _same_crystal(one: Atoms, other: Atoms) -> bool:
    """Whether two crystals in one cell have the same atoms at the same distances."""
    from ase.neighborlist import neighbor_list

    if sorted(one.numbers) != sorted(other.numbers):
        return False
    first, second = (np.sort(neighbor_list("d", atoms, 6.0)) for atoms in (one, other))
    return len(first) == len(second) and bool(np.allclose(first, second, atol=1.0e-3))
