"""Outputs of ``pw.x`` as configurations: geometry, energy, forces and stress, and nothing else."""

import io
import re
from pathlib import Path
from typing import Final

import ase.io
from ase import Atoms

from sscha_mlp.crystal.isotopes import ISOTOPES

_NOT_FOR_LABELS: Final = (
    "number of k points=",
    "End of self-consistent calculation",
    "End of band structure calculation",
)
"""Lines after which ASE wants k-points and bands, which many outputs do not hold."""

_SITE: Final = re.compile(r"^(\s*\d+\s+)([A-Za-z][\w-]*)(\s+tau\(\s*\d+\))", re.MULTILINE)
_ROW: Final = re.compile(r"^(\s*)([DT])([\d_-]\S*)?(\s+-?\d*\.\d+)", re.MULTILINE)


def read_pw_output(path: Path) -> tuple[Atoms, ...]:
    """Read the configurations of an output of ``pw.x``; kinds such as Fe1 are their element.

    D and T are hydrogen with the mass of the isotope.

    Raises
    ------
    Exception
        Whatever ASE's reader raises.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = (
        "" if any(one in line for one in _NOT_FOR_LABELS) else line for line in text.split("\n")
    )
    names = [match.group(2) for match in _SITE.finditer(text)]
    plain = _SITE.sub(_hydrogen, _ROW.sub(_hydrogen, "\n".join(lines)))
    frames = tuple(ase.io.read(io.StringIO(plain), index=":", format="espresso-out"))
    heavy = {i: ISOTOPES[name[0]][1] for i, name in enumerate(names) if _isotope(name)}
    for atoms in frames if heavy else ():
        masses = atoms.get_masses()
        for i in range(len(atoms)):
            masses[i] = heavy.get(i, masses[i])
        atoms.set_masses(masses)
    return frames


def _isotope(name: str) -> bool:
    return name[0] in ISOTOPES and not name[1:2].isalpha()


def _hydrogen(match: re.Match[str]) -> str:
    before, name, *rest = (one or "" for one in match.groups())
    return before + ("H" if _isotope(name) else name) + rest[-1]
