"""VASP on displaced supercells: its four input files, and one run in a directory of its own."""

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from sscha_mlp.calculators.kpoints import KPoints
from sscha_mlp.calculators.prepared import (
    Prepared,
    plain_table,
    positive,
    pseudopotential_table,
    refuse_unknown,
    sha256,
    text,
)
from sscha_mlp.calculators.program import (
    Program,
    ProgramCalculator,
    last_line,
    make_program,
    read_text,
    resolve,
)
from sscha_mlp.calculators.vasp_output import parse_run
from sscha_mlp.errors import ConfigError, ReferenceFailedError

PARAMETERS: Final = (
    "pseudopotentials",
    "encut",
    "kpoints",
    "ediff_per_atom",
    "incar",
    "version",
    "pseudo_dir",
    "family",
    "command",
    "environment",
    "scratch",
    "keep_files",
)
"""What a table may say; what follows ``version`` does not change a label."""

_INSTALL: Final = "Give the path of your VASP as command in the reference file."
_DEFAULTS: Final[dict[str, Any]] = {
    "PREC": "Accurate",
    "ALGO": "Normal",
    "NELM": 100,
    "ISMEAR": 0,
    "SIGMA": 0.05,
    "LREAL": False,
    "LASPH": True,
}
"""Tags that a table may change."""

_FIXED: Final[dict[str, Any]] = {
    "IBRION": -1,
    "NSW": 0,
    "ISIF": 2,
    "ISYM": 0,
    "LWAVE": False,
    "LCHARG": False,
}
"""Tags that a label of a displaced supercell needs."""

_RESERVED: Final = {
    **dict.fromkeys(_FIXED, "a label of a displaced supercell needs its value"),
    "ENCUT": "give encut",
    "EDIFF": "give ediff_per_atom",
    "KSPACING": "give kpoints",
    "KGAMMA": "give kpoints",
    "PSTRESS": "it would be added to each stress; the target pressure is --pressure",
    "MAGMOM": "it is a list over atoms, whose order is not yours here",
    "SYSTEM": "it only names the run",
}
_OUTPUT: Final = "vasp.out"
_ERRORS: Final = "vasp.err"


@dataclass(frozen=True)
class VaspSettings:
    """All that a calculation with VASP needs; made by :func:`prepare_vasp`.

    Parameters
    ----------
    program
        How VASP is run.
    files
        Element and POTCAR of each.
    incar
        Tags with their values, without EDIFF; energies in eV.
    ediff_per_atom
        Change of the energy at which the self-consistency ends, eV per atom.
    kpoints
        Grid of the supercell.
    version
        Version that the output must name; None for any.
    """

    program: Program
    files: tuple[tuple[str, Path], ...]
    incar: tuple[tuple[str, Any], ...]
    ediff_per_atom: float
    kpoints: KPoints
    version: str | None = None

    @property
    def decisive(self) -> dict[str, Any]:
        """What decides a label, as plain values; each POTCAR by its content."""
        return {
            "calculator": "vasp",
            "version": self.version,
            "pseudopotentials_sha256": {element: sha256(file) for element, file in self.files},
            "kpoints": self.kpoints.settings,
            "incar": dict(self.incar),
            "ediff_per_atom": self.ediff_per_atom,
        }


class VaspCalculator(ProgramCalculator[VaspSettings]):
    """Energy, forces and stress from VASP; each calculation in a directory of its own.

    The energy is the free energy F = E − TS (TOTEN), whose derivatives the forces are, not the
    one extrapolated to zero smearing.

    Parameters
    ----------
    settings
        What is computed and how.
    """

    prefix = "sscha-mlp-vasp-"

    def compute(self, directory: Path, atoms: Atoms) -> dict[str, Any]:
        """Run VASP in a directory and read what it says, in the order of the structure."""
        order = write_input(directory, atoms, self.settings)
        status = self.settings.program.run(directory, [], stdout=_OUTPUT, stderr=_ERRORS)
        if status != 0 or not (directory / "vasprun.xml").is_file():
            said = last_line(directory / _ERRORS, directory / _OUTPUT)
            raise ReferenceFailedError(
                f"VASP ended with exit status {status}" + (f": {said}" if said else "")
            )
        results = parse_run(directory, atoms[order], expected_version=self.settings.version)
        results["forces"] = results["forces"][np.argsort(order)]
        return results


def prepare_vasp(given: Mapping[str, Any], place: Path) -> Prepared:
    """Check the table of a VASP reference.

    Parameters
    ----------
    given
        The keys of :data:`PARAMETERS`; energies in eV as in INCAR.
    place
        Directory to which relative paths refer.

    Raises
    ------
    ConfigError
        If a key is unknown, a value out of range, or the program or a POTCAR is not there.
    """
    refuse_unknown("vasp", given, PARAMETERS)
    files = _potcar_files(given, place)
    version = given.get("version")
    if "encut" not in given:
        raise ConfigError("The reference 'vasp' needs encut, the energy cutoff in eV.")
    settings = VaspSettings(
        program=make_program(given, default="vasp_std", place=place, hint=_INSTALL),
        files=tuple(files.items()),
        incar=tuple(sorted(_incar(given).items())),
        ediff_per_atom=positive(
            "ediff_per_atom", given.get("ediff_per_atom", 1.0e-8), "eV per atom"
        ),
        kpoints=KPoints.from_given(given.get("kpoints")),
        version=None if version is None else text("version", version),
    )
    return Prepared(VaspCalculator, {"settings": settings}, settings.decisive, tuple(sorted(files)))


def write_input(directory: Path, atoms: Atoms, settings: VaspSettings) -> NDArray[np.int64]:
    """Write INCAR, POSCAR, KPOINTS and POTCAR.

    Returns
    -------
    The index of the atom at each place of POSCAR, shape (n_atoms,): elements in alphabetical
    order, each in the order of the structure.

    Raises
    ------
    ReferenceFailedError
        If a file cannot be written.
    """
    symbols = np.array(atoms.get_chemical_symbols())
    order = np.asarray(np.argsort(symbols, kind="stable"), dtype=np.int64)
    elements, counts = np.unique(symbols, return_counts=True)
    files = dict(settings.files)
    tags = {**dict(settings.incar), "EDIFF": settings.ediff_per_atom * len(atoms)}
    (directory / "INCAR").write_text(_incar_text(tags))
    (directory / "KPOINTS").write_text(_kpoints_text(settings.kpoints, atoms))
    (directory / "POSCAR").write_text(_poscar_text(atoms[order], elements, counts))
    with (directory / "POTCAR").open("wb") as stream:
        for element in elements:
            stream.write(files[element].read_bytes())
    return order


def _potcar_files(given: Mapping[str, Any], place: Path) -> dict[str, Path]:
    table = pseudopotential_table("vasp", given.get("pseudopotentials"))
    family = text("family", given.get("family", "potpaw_PBE"))
    stated = given.get("pseudo_dir", os.environ.get("VASP_PP_PATH"))
    directory = None if stated is None else resolve(text("pseudo_dir", stated), place)
    files = {}
    for element, name in table.items():
        candidates = [resolve(name, place)]
        if directory is not None:
            candidates += [directory / family / name / "POTCAR", directory / name / "POTCAR"]
        found = [file.resolve() for file in candidates if file.is_file()]
        if not found:
            where = f"in {directory} nor in {directory / family}" if directory else f"in {place}"
            raise ConfigError(
                f"The POTCAR {name!r} of {element} is not {where}. Set pseudo_dir in the reference "
                "file, or VASP_PP_PATH, to the directory that holds potpaw_PBE."
            )
        files[element] = found[0]
        _check_element(element, found[0])
    return files


def _check_element(element: str, file: Path) -> None:
    """Refuse a POTCAR of another element, or of several."""
    titles = [line for line in read_text(file).split("\n") if line.strip().startswith("VRHFIN")]
    stated = [line.partition("=")[2].partition(":")[0].strip() for line in titles]
    if len(stated) > 1 or (stated and stated[0] != element):
        raise ConfigError(
            f"The POTCAR {file} is one of {', '.join(stated)}, but the table pseudopotentials "
            f"gives it to {element}."
        )


def _incar(given: Mapping[str, Any]) -> dict[str, Any]:
    tags = dict(_DEFAULTS)
    for key, value in plain_table("incar", given.get("incar", {})).items():
        tag = key.upper()
        if tag in _RESERVED:
            raise ConfigError(f"incar.{key} cannot be set: {_RESERVED[tag]}.")
        if not tag.isidentifier() or "#" in f"{value}" or ";" in f"{value}":
            raise ConfigError(f"incar.{key} = {value!r} cannot be written into INCAR.")
        tags[tag] = value
    return {**tags, **_FIXED, "ENCUT": positive("encut", given["encut"], "eV")}


def _incar_text(tags: Mapping[str, Any]) -> str:
    return "".join(f"{tag} = {_fortran(value)}\n" for tag, value in sorted(tags.items()))


def _fortran(value: Any) -> str:
    if isinstance(value, bool):
        return ".TRUE." if value else ".FALSE."
    if isinstance(value, float):
        return f"{value:.10g}" if math.isfinite(value) else str(value)
    if isinstance(value, list):
        return " ".join(_fortran(one) for one in value)
    return str(value)


def _kpoints_text(kpoints: KPoints, atoms: Atoms) -> str:
    size = " ".join(map(str, kpoints.size(atoms.cell.array)))
    shift = " ".join("0.5" if one else "0" for one in kpoints.shift)
    return f"k-points\n0\nGamma\n{size}\n{shift}\n"


def _poscar_text(atoms: Atoms, elements: Iterable[str], counts: Iterable[int]) -> str:
    lines = ["sscha-mlp", "1.0"]
    lines += [" ".join(f"{x:.14f}" for x in row) for row in atoms.cell.array]
    lines += [" ".join(elements), " ".join(map(str, counts)), "Direct"]
    lines += [" ".join(f"{x:.16f}" for x in row) for row in atoms.get_scaled_positions(wrap=False)]
    return "\n".join(lines) + "\n"
