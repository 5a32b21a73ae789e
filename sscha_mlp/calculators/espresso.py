"""Quantum ESPRESSO: ``pw.x`` on displaced supercells, its input, and what its output must say."""

import functools
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import ase.io
from ase import Atoms

from sscha_mlp.calculators.espresso_output import parse_output, parse_version
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
from sscha_mlp.errors import ConfigError, ReferenceFailedError

DEBIAN_PSEUDO: Final = Path("/usr/share/espresso/pseudo")
"""Where Debian's package quantum-espresso-data puts its pseudopotentials."""

PARAMETERS: Final = (
    "pseudopotentials",
    "ecutwfc",
    "ecutrho",
    "kpoints",
    "occupations",
    "smearing",
    "degauss",
    "conv_thr_per_atom",
    "system",
    "electrons",
    "version",
    "pseudo_dir",
    "command",
    "environment",
    "scratch",
    "keep_files",
)
"""What a table may say; the last five do not change a label."""

_INSTALL: Final = (
    "Install Quantum ESPRESSO (Debian: apt-get install quantum-espresso), or give its path as "
    "command in the reference file."
)
_RESERVED: Final = {
    "system": {
        "ibrav": "the cell is written as it is",
        "nat": "it follows from the structure",
        "ntyp": "it follows from the structure",
        "nosym": "displaced supercells have no symmetry to use",
        "ecutwfc": "it has a parameter of its own",
        "ecutrho": "it has a parameter of its own",
        "occupations": "it has a parameter of its own",
        "smearing": "it has a parameter of its own",
        "degauss": "it has a parameter of its own",
    },
    "electrons": {
        "conv_thr": "give conv_thr_per_atom",
        "scf_must_converge": "a label that has not converged is none",
    },
}
_INPUT: Final = "espresso.pwi"
_OUTPUT: Final = "espresso.pwo"
_ERRORS: Final = "espresso.err"


@dataclass(frozen=True)
class EspressoSettings:
    """All that a calculation with ``pw.x`` needs; made by :func:`prepare_espresso`.

    Parameters
    ----------
    program
        How ``pw.x`` is run.
    files
        Element and file of each pseudopotential.
    system, electrons
        Keywords of the namelists with their values; energies in Ry.
    conv_thr_per_atom
        Error of the energy at which the self-consistency ends, Ry per atom.
    kpoints
        Grid of the supercell.
    version
        Version that the output must name; None for any.
    """

    program: Program
    files: tuple[tuple[str, Path], ...]
    system: tuple[tuple[str, Any], ...]
    electrons: tuple[tuple[str, Any], ...]
    conv_thr_per_atom: float
    kpoints: KPoints
    version: str | None = None

    @property
    def decisive(self) -> dict[str, Any]:
        """What decides a label, as plain values; pseudopotentials by their content."""
        return {
            "calculator": "quantum espresso pw.x",
            "version": self.version,
            "pseudopotentials_sha256": {element: sha256(file) for element, file in self.files},
            "kpoints": self.kpoints.settings,
            "system": dict(self.system),
            "electrons": {**dict(self.electrons), "conv_thr_per_atom": self.conv_thr_per_atom},
        }


class EspressoCalculator(ProgramCalculator[EspressoSettings]):
    """Energy, forces and stress from ``pw.x``; each calculation in a directory of its own.

    The energy is the one that ``pw.x`` calls total: with smearing the free energy E − TS, whose
    derivatives the forces are.

    Parameters
    ----------
    settings
        What is computed and how.
    """

    prefix = "sscha-mlp-pw-"

    def compute(self, directory: Path, atoms: Atoms) -> dict[str, Any]:
        """Run ``pw.x`` in a directory and read what it says."""
        write_input(directory, atoms, self.settings)
        status = self.settings.program.run(
            directory, ["-in", _INPUT], stdout=_OUTPUT, stderr=_ERRORS
        )
        output = read_text(directory / _OUTPUT)
        if not output.strip():
            said = last_line(directory / _ERRORS)
            raise ReferenceFailedError(
                f"pw.x wrote nothing and ended with exit status {status}"
                + (f" ({said})" if said else "")
            )
        return parse_output(
            output, n_atoms=len(atoms), status=status, version=self.settings.version
        )


def prepare_espresso(given: Mapping[str, Any], place: Path) -> Prepared:
    """Check the table of a ``pw.x`` reference.

    Parameters
    ----------
    given
        The keys of :data:`PARAMETERS`; energies in Ry as in the input of ``pw.x``.
    place
        Directory to which relative paths refer.

    Raises
    ------
    ConfigError
        If a key is unknown, a value out of range, or ``pw.x`` or a pseudopotential is not there.
    """
    refuse_unknown("espresso", given, PARAMETERS)
    files = _pseudopotential_files(given, place)
    system, electrons = _namelists(given, files)
    program = make_program(given, default="pw.x", place=place, hint=_INSTALL)
    version = given.get("version")
    settings = EspressoSettings(
        program=program,
        files=tuple(files.items()),
        system=tuple(system.items()),
        electrons=tuple(electrons.items()),
        conv_thr_per_atom=positive(
            "conv_thr_per_atom", given.get("conv_thr_per_atom", 1.0e-9), "Ry per atom"
        ),
        kpoints=KPoints.from_given(given.get("kpoints")),
        version=installed_version(program) if version is None else text("version", version),
    )
    return Prepared(
        EspressoCalculator, {"settings": settings}, settings.decisive, tuple(sorted(files))
    )


def write_input(directory: Path, atoms: Atoms, settings: EspressoSettings) -> None:
    """Write the input of ``pw.x``, and links to its pseudopotentials beside it."""
    links = {}
    for element, file in settings.files:
        links[element] = f"{element}-{re.sub('[^A-Za-z0-9._-]', '_', file.name)}"
        (directory / links[element]).symlink_to(file)
    control = {
        "calculation": "scf",
        "tprnfor": True,
        "tstress": True,
        "disk_io": "none",
        "outdir": "./out",
        "pseudo_dir": "./",
    }
    electrons = {**dict(settings.electrons), "conv_thr": settings.conv_thr_per_atom * len(atoms)}
    gamma = settings.kpoints.is_gamma(atoms.cell.array)
    ase.io.write(
        directory / _INPUT,
        atoms,
        format="espresso-in",
        input_data={"control": control, "system": dict(settings.system), "electrons": electrons},
        pseudopotentials=links,
        kpts=None if gamma else settings.kpoints.size(atoms.cell.array),
        koffset=settings.kpoints.shift,
    )


def installed_version(program: Program) -> str | None:
    """Return the version of ``pw.x``, which it prints before it asks for input.

    The word of the command that is ``pw.x`` runs alone, without what launches it; None where that
    cannot be done.
    """
    words = [word for word in program.command if Path(word).name.startswith("pw")]
    name = words[-1] if words else program.command[0]
    return _version_of(name, dict(program.environment).get("PATH", os.environ.get("PATH", "")))


@functools.lru_cache(maxsize=8)
def _version_of(name: str, path: str) -> str | None:
    with tempfile.TemporaryDirectory() as directory:
        try:
            done = subprocess.run(
                [name],
                cwd=directory,
                env={**os.environ, "PATH": path},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=20.0,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
    return parse_version(done.stdout.decode(errors="replace"))


def _pseudopotential_files(given: Mapping[str, Any], place: Path) -> dict[str, Path]:
    table = pseudopotential_table("espresso", given.get("pseudopotentials"))
    default = os.environ.get("ESPRESSO_PSEUDO", str(DEBIAN_PSEUDO))
    directory = resolve(text("pseudo_dir", given.get("pseudo_dir", default)), place)
    files = {}
    for element, name in table.items():
        candidates = [directory / name, resolve(name, place)]
        found = [file.resolve() for file in candidates if file.is_file()]
        if not found:
            raise ConfigError(
                f"The pseudopotential {name!r} of {element} is not in {directory} nor in {place}. "
                "Set pseudo_dir, or install some (Debian: apt-get install quantum-espresso-data "
                f"puts them into {DEBIAN_PSEUDO})."
            )
        files[element] = found[0]
        _check_element(element, found[0])
    return files


def _check_element(element: str, file: Path) -> None:
    stated = re.search(r'element\s*=\s*"\s*([A-Za-z]+)\s*"', read_text(file)) or re.search(
        r"^\s*([A-Z][a-z]?)\s+Element", read_text(file), flags=re.MULTILINE
    )
    if stated and stated.group(1).lower() != element.lower():
        raise ConfigError(
            f"The pseudopotential {file} is one of {stated.group(1)}, but the table "
            f"pseudopotentials gives it to {element}."
        )


def _namelists(
    given: Mapping[str, Any], files: Mapping[str, Path]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the namelists SYSTEM and ELECTRONS without what depends on the structure."""
    if "ecutwfc" not in given:
        raise ConfigError("The reference 'espresso' needs ecutwfc, the energy cutoff in Ry.")
    cutoff = positive("ecutwfc", given["ecutwfc"], "Ry")
    density = given.get("ecutrho", cutoff * (8.0 if _has_augmentation(files) else 4.0))
    system = {
        "ecutwfc": cutoff,
        "ecutrho": positive("ecutrho", density, "Ry"),
        "nosym": True,
        **_occupations(given),
        **_extra("system", given),
    }
    return system, {"electron_maxstep": 100, **_extra("electrons", given)}


def _occupations(given: Mapping[str, Any]) -> dict[str, Any]:
    occupations = given.get("occupations", "fixed")
    if occupations == "fixed":
        extra = sorted({"smearing", "degauss"} & set(given))
        if extra:
            raise ConfigError(f'{extra[0]} has no effect without occupations = "smearing".')
        return {"occupations": "fixed"}
    if occupations != "smearing":
        raise ConfigError(f'occupations is {occupations!r}; it must be "fixed" or "smearing".')
    return {
        "occupations": "smearing",
        "smearing": text("smearing", given.get("smearing", "cold")),
        "degauss": positive("degauss", given.get("degauss", 0.01), "Ry"),
    }


def _extra(namelist: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return further keywords of a namelist, those that `pw.x` knows and we do not set."""
    from ase.io.espresso_namelist.keys import pw_keys

    table = plain_table(namelist, given.get(namelist, {}))
    known = {key.lower() for key in pw_keys[namelist]}
    for key in table:
        name = re.sub(r"\(.*\)$", "", key.lower())
        if name in _RESERVED[namelist]:
            raise ConfigError(f"{namelist}.{key} cannot be set: {_RESERVED[namelist][name]}.")
        if name not in known:
            raise ConfigError(f"{namelist}.{key}: pw.x has no such keyword in &{namelist.upper()}.")
        if isinstance(table[key], list):
            raise ConfigError(f'{namelist}.{key} is a list; write one key for each, "{key}(1)".')
    return {key.lower(): value for key, value in table.items()}


def _has_augmentation(files: Mapping[str, Path]) -> bool:
    """Whether a pseudopotential is ultrasoft or PAW, so that the density needs more waves."""
    stated = r'pseudo_type\s*=\s*"\s*(US|PAW)|is_(ultrasoft|paw)\s*=\s*"\s*\.?t|^\s*US\s'
    found = (
        re.search(stated, read_text(file), flags=re.IGNORECASE | re.MULTILINE)
        for file in files.values()
    )
    return any(found)
