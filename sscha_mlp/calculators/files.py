"""Inputs of electronic-structure codes for people who submit them by hand."""

import hashlib
import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.io import espresso

from sscha_mlp.data.formats import write_any
from sscha_mlp.errors import ConfigError, ReferenceFailedError, cause_of
from sscha_mlp.text_files import written_text

_CARDS: Final = ("ATOMIC_SPECIES", "K_POINTS", "HUBBARD", "OCCUPATIONS")
"""Cards of a pw.x input that do not depend on the configuration."""

_OTHER_CARDS: Final = ("ATOMIC_POSITIONS", "CELL_PARAMETERS", "CONSTRAINTS", "ATOMIC_FORCES")
_LATTICE: Final = re.compile(r"celldm.*|a|b|c|cosab|cosac|cosbc|nat|ibrav")


class InputFormat(StrEnum):
    """Kinds of inputs."""

    QE = "qe"
    VASP = "vasp"
    EXTXYZ = "extxyz"
    CFG = "cfg"


UNITS: Final = {
    InputFormat.QE: "Ry and bohr, as pw.x prints them",
    InputFormat.VASP: "eV, Å and kB, as VASP prints them",
    InputFormat.EXTXYZ: "energy eV, forces eV/Å, stress eV/Å³ positive under tension",
    InputFormat.CFG: "Energy eV, forces eV/Å, PlusStress eV (minus stress times volume)",
}
"""What the outputs are expected to be in."""


def by_hand(
    *,
    format: str = "extxyz",  # noqa: A002 -- the name in the TOML file
    template: str = "",
    name: str = "",
) -> Calculator:
    """Refuse to compute: this reference writes inputs, and somebody else computes.

    Parameters
    ----------
    format, template, name
        As :func:`by_hand_settings` has them.

    Raises
    ------
    ReferenceFailedError
        Always.
    """
    raise ReferenceFailedError(
        f"The reference of files ({format}, {template or 'no template'}, {name or 'no name'}) "
        "computes nothing: use sscha-mlp relax or label, which write inputs for it."
    )


def by_hand_settings(
    *,
    format: str = "extxyz",  # noqa: A002 -- the name in the TOML file
    template: str = "",
    name: str = "",
) -> dict[str, Any]:
    """Return all that decides a label: the format, the text of the template and a name.

    Parameters
    ----------
    format
        ``qe``, ``vasp``, ``extxyz`` or ``cfg``.
    template
        For ``qe`` an input of pw.x, whose positions and cell are replaced.
    name
        Tells apart references that differ in what the files do not show, such as the INCAR.

    Raises
    ------
    ConfigError
        If the format is not known, or the template is missing or cannot be read.
    """
    known = [str(one) for one in InputFormat]
    if format not in known:
        raise ConfigError(
            f"The reference 'files' has no format {format!r}; choose {', '.join(known)}."
        )
    content = None
    if format == InputFormat.QE:
        content = hashlib.sha256(read_template(template).encode()).hexdigest()
    elif template:
        raise ConfigError(
            f"The reference 'files' takes a template for qe only, not for {format}; leave it out."
        )
    return {"files": format, "template_sha256": content, "name": name}


def read_template(template: str) -> str:
    """Return the text of a template of a pw.x input.

    Raises
    ------
    ConfigError
        If it is not named, cannot be read, or lacks the kinds of atoms or the k-points.
    """
    if not template:
        raise ConfigError(
            "The reference 'files' with format qe needs template = \"pw.in\" in "
            "[reference.parameters]: an input of pw.x with pseudopotentials, cutoffs and k-points."
        )
    try:
        text = written_text(template)
    except (OSError, ValueError) as err:
        raise ConfigError(f"The template {template} cannot be read: {cause_of(err)}.") from err
    missing = [card for card in _CARDS[:2] if not _card(text, card)]
    if missing:
        raise ConfigError(f"The template {template} has no {' and no '.join(missing)}; add it.")
    return text


def write_inputs(directory: Path, frames: Sequence[Atoms], parameters: dict[str, Any]) -> list[str]:
    """Write one input for each configuration, or one file for all.

    Parameters
    ----------
    directory
        Where to; it is there.
    frames
        The configurations.
    parameters
        Of the reference, see :func:`by_hand_settings`.

    Returns
    -------
    Name of the file of each configuration, relative to the directory.

    Raises
    ------
    ConfigError
        If the template cannot be used.
    SschaMlpError
        If a file cannot be written.
    """
    kind = InputFormat(parameters.get("format", "extxyz"))
    bare = [_bare(atoms) for atoms in frames]
    if kind in (InputFormat.EXTXYZ, InputFormat.CFG):
        name = f"inputs.{'xyz' if kind is InputFormat.EXTXYZ else 'cfg'}"
        write_any(directory / name, bare, file_format=str(kind))
        return [name] * len(bare)
    text = "" if kind is InputFormat.VASP else read_template(str(parameters.get("template", "")))
    names = []
    for i, atoms in enumerate(bare):
        name = f"{i:03d}/{'POSCAR' if kind is InputFormat.VASP else 'pw.in'}"
        (directory / name).parent.mkdir()
        if kind is InputFormat.VASP:
            write_any(directory / name, [atoms], file_format="poscar")
        else:
            (directory / name).write_text(pw_input(text, atoms), encoding="utf-8")
        names.append(name)
    return names


def pw_input(template: str, atoms: Atoms) -> str:
    """Return an input of pw.x for a configuration: a template with its positions and cell.

    Parameters
    ----------
    template
        Text of the template; ``calculation``, ``tprnfor`` and ``tstress`` are set.
    atoms
        The configuration.

    Raises
    ------
    ConfigError
        If an element of the configuration is not in the template.
    """
    species = _card(template, "ATOMIC_SPECIES")
    labels = [line.split()[0] for line in species[1:]]
    elements = {re.split(r"[\d_-]", label)[0].capitalize(): label for label in reversed(labels)}
    missing = sorted(set(atoms.get_chemical_symbols()) - elements.keys())
    if missing:
        raise ConfigError(
            f"The template's ATOMIC_SPECIES lack {', '.join(missing)}; add the pseudopotential."
        )
    data, _ = espresso.read_fortran_namelist(template.splitlines(keepends=True))
    system = {key: one for key, one in data["system"].items() if not _LATTICE.fullmatch(key)}
    data["system"] = {"ibrav": 0, "nat": len(atoms), **system, "ntyp": len(labels)}
    data["control"] = {
        **data.get("control", {}),
        "calculation": "scf",
        "tprnfor": True,
        "tstress": True,
    }
    lines = [_namelists(data)]
    for card in _CARDS:
        lines += _card(template, card)
    lines += ["CELL_PARAMETERS angstrom", *_rows(atoms.cell.array)]
    lines.append("ATOMIC_POSITIONS angstrom")
    for symbol, row in zip(atoms.get_chemical_symbols(), _rows(atoms.positions), strict=True):
        lines.append(f"{elements[symbol]} {row}")
    return "\n".join(lines) + "\n"


def _namelists(data: dict[str, dict[str, Any]]) -> str:
    order = ["control", "system", "electrons", "ions", "cell", "fcp", "rism"]
    names = [name for name in order if name in data or name in order[:3]]
    return "\n".join(_namelist(name, data.get(name, {})) for name in names)


def _namelist(name: str, values: dict[str, Any]) -> str:
    lines = [f"   {key} = {_fortran(value)}" for key, value in values.items()]
    return "\n".join([f"&{name.upper()}", *lines, "/"])


def _fortran(value: Any) -> str:
    if isinstance(value, bool):
        return ".true." if value else ".false."
    return f"'{value}'" if isinstance(value, str) else repr(value)


def _card(text: str, card: str) -> list[str]:
    """Return the lines of a card, its title first; none if it is not there."""
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        bare = line.split("!")[0].split("#")[0].strip()
        word = re.split(r"[\s({]", bare.upper())[0] if bare else ""
        if word in (*_CARDS, *_OTHER_CARDS) or bare.startswith("&"):
            inside = word == card
        if inside and bare:
            lines.append(bare)
    return lines


def _rows(array: Any) -> list[str]:
    return [" ".join(f"{value:.12f}" for value in row) for row in np.asarray(array)]


def _bare(atoms: Atoms) -> Atoms:
    copy: Atoms = atoms.copy()
    copy.set_constraint()
    copy.info = {}
    copy.calc = None
    return copy
