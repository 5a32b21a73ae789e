"""Outputs of electronic-structure codes: which configuration, which label, and did it converge."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ase import Atoms

from sscha_mlp.data.attached import attached_labels
from sscha_mlp.data.formats import read_any
from sscha_mlp.data.labels import Label
from sscha_mlp.errors import InputError, StructureError

_KINDS: Final = (
    (re.compile(r"(.*[._-])?outcar([._-].*)?"), "outcar"),
    (re.compile(r".*vasprun.*\.xml"), "vasprun"),
    (re.compile(r".*\.(ext)?xyz"), "extxyz"),
    (re.compile(r".*\.cfg"), "cfg"),
)
_PW: Final = re.compile(r".*\.(out|pwo|log|txt)|pw\.?out")
_HOW_TO: Final = {
    "espresso-out": "set tprnfor and tstress to .true. and compute it again",
    "outcar": "set ISIF = 2 (or 3) and compute it again",
    "vasprun": "set ISIF = 2 (or 3) and compute it again",
    "extxyz": "write the keys energy, forces and stress",
    "cfg": "write Energy, the forces and PlusStress",
}


@dataclass(frozen=True, eq=False)
class Output:
    """One configuration of an output.

    Parameters
    ----------
    name
        File, and number of the configuration where it holds several.
    atoms
        The configuration.
    label
        Its label; None if the calculation failed.
    failure
        Why it failed.
    """

    name: str
    atoms: Atoms
    label: Label | None
    failure: str = ""


def find_outputs(directory: Path, *, leave_out: frozenset[str] = frozenset()) -> list[Path]:
    """Return the outputs below a directory, by their names and, for pw.x, their content.

    Parameters
    ----------
    directory
        Where to look, with all below it.
    leave_out
        Names of files that are no outputs.
    """
    return [
        path
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name not in leave_out and _kind(path)
    ]


def read_outputs(path: Path) -> Iterator[Output]:
    """Read the configurations of an output with their labels.

    Parameters
    ----------
    path
        Output of pw.x (one calculation without steps), OUTCAR, vasprun.xml, extended XYZ or .cfg.

    Yields
    ------
    Each configuration; of a calculation that did not converge, why.

    Raises
    ------
    StructureError
        If the file cannot be read.
    InputError
        If energy, forces or stress are missing, or the calculation has not ended.
    """
    kind = _kind(path)
    if not kind:
        raise InputError(
            f"{path} is no output that can be read: give one of pw.x, an OUTCAR, a vasprun.xml, "
            "an extended XYZ or a .cfg."
        )
    if kind in ("extxyz", "cfg"):
        frames = read_any(path, file_format=kind)
        for i, atoms in enumerate(frames):
            yield _output(f"{path}, configuration {i}", atoms, kind, "")
        return
    text = path.read_text(encoding="utf-8", errors="replace")
    _check_end(path, kind, text)
    failure = _not_converged(kind, text)
    (atoms,) = read_any(path, file_format=kind, index="-1")
    yield _output(str(path), atoms, kind, failure)


def _kind(path: Path) -> str:
    """Return the format of an output, or an empty text."""
    name = path.name.lower()
    for pattern, kind in _KINDS:
        if pattern.fullmatch(name):
            return kind
    if _PW.fullmatch(name):
        with path.open(encoding="utf-8", errors="replace") as stream:
            return "espresso-out" if "Program PWSCF" in stream.read(4000) else ""
    return ""


def _check_end(path: Path, kind: str, text: str) -> None:
    """Refuse the output of a calculation that is under way or was killed."""
    ends = {"espresso-out": "JOB DONE", "outcar": "General timing", "vasprun": "</modeling>"}
    if ends[kind] not in text:
        raise InputError(f"{path} is of a calculation that has not ended; wait, or run it again.")


def _not_converged(kind: str, text: str) -> str:
    """Return why the electronic steps are not converged, or an empty text."""
    if kind == "espresso-out" and "convergence NOT achieved" in text:
        return "SCF not converged: pw.x says 'convergence NOT achieved'"
    if kind == "outcar" and "aborting loop because EDIFF is reached" not in text:
        return "SCF not converged: the OUTCAR does not say that EDIFF is reached"
    if kind == "vasprun":
        limit = re.search(r'<i type="int" name="NELM">\s*(\d+)', text)
        last = text.rpartition("<calculation>")[2].count("<scstep>")
        if limit and last >= int(limit.group(1)):
            return f"SCF not converged: {last} electronic steps, which is NELM"
    return ""


def _output(name: str, atoms: Atoms, kind: str, failure: str) -> Output:
    if failure:
        return Output(name, atoms, None, failure)
    labels = attached_labels(atoms)
    missing = [one for one in ("energy", "forces", "stress") if one not in labels]
    if missing:
        raise InputError(f"{name} has no {' and no '.join(missing)}; {_HOW_TO[kind]}.")
    try:
        return Output(name, atoms, Label(**labels))
    except InputError as err:
        raise StructureError(f"{name}: {err} Compute it again.") from err
