"""Files of configurations in any format: MLIP, extended XYZ, VASP, LAMMPS, and what ASE knows.

A format is named (``cfg``, ``extxyz``, ``poscar``, ``outcar``, ``vasprun``, ``lammps-data``, or as
ASE names it) or follows from the name of the file.  ``cfg`` is MLIP's; ASE's AtomEye format of the
same suffix is ``atomeye``.  Every file that is written is read again, and what did not come back
is named: labels, Features, the orientation of the cell.
"""

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_masses, atomic_numbers
from ase.io.formats import UnknownFileTypeError, filetype, ioformats, string2index
from ase.stress import full_3x3_to_voigt_6_stress

from sscha_mlp.crystal.cif import read_cif
from sscha_mlp.crystal.structure import check_geometry
from sscha_mlp.crystal.structure_files import (
    check_occupancy,
    format_by_name,
    read_with_isotopes,
    reason_of,
)
from sscha_mlp.data.attached import as_atoms, attached_labels
from sscha_mlp.data.cfg import SPECIES, check_species, read_cfg, species_order, write_cfg
from sscha_mlp.data.extxyz import frame_text, read_configurations
from sscha_mlp.data.files import make_directory, write_atomic
from sscha_mlp.data.labels import LabelledConfiguration
from sscha_mlp.data.losses import left_out
from sscha_mlp.data.pw_output import read_pw_output
from sscha_mlp.errors import InputError, StructureError
from sscha_mlp.tables import Shown, Table, few
from sscha_mlp.text_files import check_file

NUMBER: Final = "{}"
"""Stands in the name of a file for the number of the configuration: one file for each."""

_OWN: Final = frozenset({"cfg", "extxyz"})
_TYPED: Final = frozenset({"cfg", "lammps-data"})
_OTHER_NAMES: Final = {
    "mlip": "cfg",
    "xyz": "extxyz",
    "poscar": "vasp",
    "contcar": "vasp",
    "outcar": "vasp-out",
    "vasprun": "vasp-xml",
    "vasprun.xml": "vasp-xml",
    "lammps": "lammps-data",
}
_ASE: Final = {"atomeye": "cfg"}  # our name -> ASE's
_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_TAKEN: Final = frozenset({"lattice", "properties", "pbc", "energy", "stress", "forces", "virial"})


@dataclass(frozen=True)
class Written(Shown):
    """What was written.

    Parameters
    ----------
    paths
        The files.
    file_format
        Name of the format.
    n_configs
        Number of configurations.
    species
        Elements in the order of the types, where the format has types; otherwise empty.
    left_out
        What the format cannot hold of these configurations, in words.
    """

    paths: tuple[Path, ...]
    file_format: str
    n_configs: int
    species: tuple[str, ...]
    left_out: tuple[str, ...]

    def table(self) -> Table:
        """Return the files, and what they cannot hold."""
        rows = [(str(path), self.file_format) for path in self.paths]
        note = f"Left out: {', '.join(self.left_out)}." if self.left_out else ""
        return Table(f"{self.n_configs} configurations written", few(rows), note=note)


def read_any(
    path: str | Path,
    *,
    file_format: str | None = None,
    index: str = ":",
    species: Sequence[str] | None = None,
) -> tuple[Atoms, ...]:
    """Read configurations; labels stay attached as ASE attaches them.

    Parameters
    ----------
    path
        The file.
    file_format
        Its format; by default from its name, then from its content.
    index
        Which configurations, as ASE counts: ``"0"``, ``"-1"``, ``"::10"``.
    species
        Elements in the order of the types, for ``cfg`` and ``lammps-data`` files that do not say
        it themselves.

    Raises
    ------
    StructureError
        If the file does not exist or cannot be read, or a position or the cell is not finite.
    InputError
        If the format is not known or not readable, the index selects nothing, or nothing says
        which element a type is.
    """
    path = Path(path)
    check_file(path)
    name = _format(path, file_format, to_read=True)
    if name == "cfg":
        frames = read_cfg(path, species=species)
    elif name == "extxyz":
        frames = tuple(
            _with_virial(atoms, f"Configuration {number} of {path}")
            for number, atoms in enumerate(read_configurations(path))
        )
    else:
        frames = _read_with_ase(path, name, species)
    if not frames:
        raise InputError(f"{path} holds no configuration; check the file, or name its format.")
    for number, atoms in enumerate(frames):
        check_geometry(atoms, f"Configuration {number} of {path}")
        check_occupancy(atoms, f"Configuration {number} of {path}")
    return _selected(frames, index, path)


def write_any(
    path: str | Path,
    configurations: Sequence[LabelledConfiguration | Atoms],
    *,
    file_format: str | None = None,
    species: Sequence[str] | None = None,
) -> Written:
    """Write configurations, labelled or not, and say what the format cannot hold.

    Atoms keep their order, except in a POSCAR, which groups them by element.  A format for one
    configuration, such as POSCAR, takes several only as numbered files: ``POSCAR-{}``.

    Parameters
    ----------
    path
        The file to write; its directory is made if needed.  ``{}`` in the name stands for the
        number of the configuration.
    configurations
        What to write.
    file_format
        The format; by default from the name of the file.
    species
        Elements in the order of the types in ``cfg`` and ``lammps-data``, or of the groups in a
        POSCAR; by default as in the files that were read, then in the order of appearance.

    Raises
    ------
    InputError
        If there is nothing to write, the format is not known or cannot be written or cannot hold
        these configurations, or `species` lacks an element.
    SschaMlpError
        If the file cannot be written.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a directory; give the name of a file in it.")
    frames = [as_atoms(one) for one in configurations]
    if not frames:
        raise InputError(f"There is no configuration to write to {path}.")
    name = _format(path, file_format, to_read=False)
    order = _order(frames, species)
    make_directory(path.parent)
    if NUMBER in path.name:
        width = len(str(len(frames) - 1))
        names = [path.name.replace(NUMBER, f"{i:0{width}d}") for i in range(len(frames))]
        files = [(path.with_name(name), [one]) for name, one in zip(names, frames, strict=True)]
    else:
        files = [(path, frames)]
    lost: dict[str, None] = {}
    for file, content in files:
        lost |= dict.fromkeys(_write(file, content, name, order))
    return Written(
        paths=tuple(file for file, _ in files),
        file_format=name,
        n_configs=len(frames),
        species=order if name in _TYPED else (),
        left_out=tuple(lost),
    )


# --- which format -------------------------------------------------------------------------


def _format(path: Path, given: str | None, *, to_read: bool) -> str:
    """Return the name of a format that can be read, or written."""
    name = _named(given) if given else _guessed(path, to_read=to_read)
    if name in _OWN:
        return name
    able = ioformats[_ASE.get(name, name)]
    if not (able.can_read if to_read else able.can_write):
        do, others = ("read", "written") if to_read else ("written", "read")
        raise InputError(
            f"{path}: the format {name} is only {others}, not {do}; choose another, such as "
            "extxyz or cfg."
        )
    return name


def _named(given: str) -> str:
    name = _OTHER_NAMES.get(given.lower(), given.lower())
    if name not in _OWN and _ASE.get(name, name) not in ioformats:
        raise InputError(
            f"The format {given!r} is not known; give cfg (MLIP), extxyz, poscar, outcar, vasprun, "
            "lammps-data, or a format as ASE names it."
        )
    return name


def _guessed(path: Path, *, to_read: bool) -> str:
    if name := format_by_name(path.name.replace(NUMBER, "0")):
        return name
    try:
        name = str(filetype(str(path), read=to_read))
    except (UnknownFileTypeError, OSError, ValueError, StopIteration):
        name = ""
    if name not in ioformats:
        raise InputError(
            f"The format of {path} is not known from its name; name it: cfg (MLIP), extxyz, poscar,"
            " outcar, vasprun, lammps-data, or as ASE names it."
        )
    return {"cfg": "atomeye"}.get(name, name)


def _selected(frames: Sequence[Atoms], index: str, path: Path) -> tuple[Atoms, ...]:
    try:
        chosen = string2index(index)
        selected = frames[chosen]
    except (ValueError, TypeError) as err:
        raise InputError(
            f"The index {index!r} is none; give a number or a range, such as -1 or ::10."
        ) from err
    except IndexError as err:
        raise InputError(
            f"{path} has no configuration with the index {index}; it holds {len(frames)}, and "
            "the first has the index 0."
        ) from err
    return (selected,) if isinstance(chosen, int) else tuple(selected)


# --- reading ------------------------------------------------------------------------------


def _with_virial(atoms: Atoms, name: str) -> Atoms:
    """Attach the stress of a virial (eV), as some codes write it; `name` is for errors."""
    if np.size(atoms.info.get("virial")) != 9:
        return atoms
    try:
        stress = attached_labels(atoms).get("stress")
    except InputError as err:
        raise InputError(f"{name}: {err}") from err
    if stress is not None:
        results = dict(atoms.calc.results) if atoms.calc is not None else {}
        del atoms.info["virial"]
        results["stress"] = full_3x3_to_voigt_6_stress(stress)
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def _read_with_ase(path: Path, name: str, species: Sequence[str] | None) -> tuple[Atoms, ...]:
    options: dict[str, Any] = {}
    if name == "lammps-data" and not _tells_elements(path):
        if species is None:
            raise InputError(
                f"{path} holds neither Masses nor type labels, so nothing says which element a "
                "type is; give the species in the order of the types, such as Si,Ge."
            )
        numbers = [atomic_numbers[symbol] for symbol in check_species(species)]
        options["Z_of_type"] = dict(enumerate(numbers, start=1))
    frames = _ase_read(path, name, options)
    if name == "lammps-data":
        for atoms in frames:
            _keep_types(atoms)
    return frames


def _ase_read(path: Path, name: str, options: dict[str, Any]) -> tuple[Atoms, ...]:
    if name == "cif":
        return read_cif(path)
    try:
        if name == "vasp":
            return tuple(read_with_isotopes(path, name, index=slice(None)))
        if name == "espresso-out":
            return read_pw_output(path)
        frames = ase.io.read(
            str(path),
            index=":",
            format=_ASE.get(name, name),
            do_not_split_by_at_sign=True,
            **options,
        )
    except Exception as err:  # readers raise anything, from KeyError to ASE's own errors
        reason = " ".join(reason_of(err).split())
        raise StructureError(
            f"{path} cannot be read as {name}: {reason}. Check the file, or name its format."
        ) from err
    return tuple(frames)


def _tells_elements(path: Path) -> bool:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as err:
        raise StructureError(f"{path} cannot be read ({err.strerror}).") from err
    return re.search(r"^\s*(Masses|Atom\s+Type\s+Labels)\b", text, flags=re.MULTILINE) is not None


def _keep_types(atoms: Atoms) -> None:
    """Keep the order of LAMMPS's types as the order of the species, and no masses of elements."""
    types = atoms.arrays.pop("type")
    atoms.arrays.pop("id", None)
    symbols = np.array(atoms.get_chemical_symbols())
    _, first = np.unique(types, return_index=True)
    listed = list(dict.fromkeys(symbols[first].tolist()))
    atoms.info = {SPECIES: ",".join(listed)}
    if atoms.has("masses") and np.allclose(
        atoms.get_masses(), atomic_masses[atoms.numbers], rtol=1.0e-3
    ):
        del atoms.arrays["masses"]


# --- writing ------------------------------------------------------------------------------


def _order(frames: Sequence[Atoms], species: Sequence[str] | None) -> tuple[str, ...]:
    found = species_order(frames)
    if species is None:
        return found
    order = check_species(species)
    held = {symbol for one in frames for symbol in one.get_chemical_symbols()}
    if missing := sorted(held.difference(order)):
        raise InputError(
            f"The species {','.join(order)} do not list {', '.join(missing)}, which the "
            "configurations hold; add them."
        )
    return order


def _write(path: Path, frames: Sequence[Atoms], name: str, order: Sequence[str]) -> list[str]:
    """Write one file, and return what it cannot hold."""
    if name == "cfg":
        write_cfg(path, frames, species=order)
        return list(left_out(frames, read_cfg(path)))
    if name == "extxyz":
        write_atomic(path, "".join(_extxyz_frame(atoms) for atoms in frames))
        return list(left_out(frames, read_configurations(path)))
    if ioformats[_ASE.get(name, name)].single and len(frames) > 1:
        raise InputError(
            f"{path}: the format {name} holds one configuration, and there are {len(frames)}; "
            f"select one with an index, put {NUMBER} into the name of the file for numbered "
            "files, or choose a format for several, such as extxyz or cfg."
        )
    with tempfile.TemporaryDirectory() as directory:
        draft = Path(directory) / f"draft{''.join(path.suffixes)}"
        _ase_write(draft, path, frames, name, order)
        lost = _read_back(draft, frames, name)
        write_atomic(path, draft.read_bytes())
    return lost


def _extxyz_frame(atoms: Atoms) -> str:
    labels = attached_labels(atoms)
    info: dict[str, str] = {}
    if "energy" in labels:
        info["energy"] = repr(labels["energy"])
    if "stress" in labels:
        info["stress"] = _extxyz_value(labels["stress"]) or ""
    for key, value in atoms.info.items():
        text = _extxyz_value(value)
        if text and _KEY.fullmatch(str(key)) and key.lower() not in _TAKEN:
            info[key] = text
    return frame_text(atoms, info, labels.get("forces"))


def _extxyz_value(value: Any) -> str | None:
    """Return a value of the comment line, or None for what it cannot hold."""
    if isinstance(value, str):
        return f'"{value}"' if re.fullmatch(r'[^"{}\n\r\\]+', value) else None
    if isinstance(value, bool | np.bool_):
        return "T" if value else "F"
    array = np.asarray(value)
    if array.dtype.kind not in "fi" or array.ndim > 2 or array.size == 0:
        return None
    numbers = " ".join(repr(one) for one in array.ravel().tolist())
    return f'"{numbers}"' if array.ndim else numbers


def _ase_write(
    draft: Path, path: Path, frames: Sequence[Atoms], name: str, order: Sequence[str]
) -> None:
    options: dict[str, Any] = {}
    content = list(frames)
    if name == "lammps-data":
        options = {"specorder": list(order), "masses": True}
    elif name == "vasp":
        content = [_grouped(atoms, order) for atoms in frames]
    single = ioformats[_ASE.get(name, name)].single
    try:
        ase.io.write(
            str(draft), content[0] if single else content, format=_ASE.get(name, name), **options
        )
        draft.stat()
    except Exception as err:  # writers raise anything, from KeyError to ASE's own errors
        reason = " ".join(str(err).replace(str(draft), str(path)).split()) or type(err).__name__
        raise InputError(
            f"{path} cannot be written as {name}: {reason}. Choose another format, such as extxyz."
        ) from err


def _grouped(atoms: Atoms, order: Sequence[str]) -> Atoms:
    """Return the atoms of each element together, as VASP's files of potentials need them."""
    symbols = atoms.get_chemical_symbols()
    return atoms[sorted(range(len(atoms)), key=lambda i: order.index(symbols[i]))]


def _read_back(draft: Path, frames: Sequence[Atoms], name: str) -> list[str]:
    try:
        again = _ase_read(draft, name, {})
    except StructureError:
        return ["whatever ASE cannot read back from it"]
    return list(left_out(frames, again))
