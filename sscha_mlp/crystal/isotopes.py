"""Names of atoms in files: elements, isotopes with names of their own, kinds of one element."""

import re
from typing import Final

from ase.data import atomic_numbers

ISOTOPES: Final = {"D": ("H", 2.01410177812), "T": ("H", 3.01604928199)}
"""Element and mass (amu) of isotopes that have symbols of their own (AME2020)."""

_KIND: Final = re.compile(r"([A-Za-z]{1,2})(\d.*|[_-].*)?")


def element_of(name: str) -> tuple[str, float | None] | None:
    """Return the element of an atom's name, and the mass of an isotope in amu.

    Parameters
    ----------
    name
        A chemical symbol, ``D`` or ``T``, or a symbol with what ``pw.x`` allows after it to tell
        kinds of atoms of one element apart: ``Fe1``, ``Fe_up``, ``O-a``.

    Returns
    -------
    Symbol and mass; the mass is None except for ``D`` and ``T``.  None if it names no element.
    """
    match = _KIND.fullmatch(name.strip())
    symbol = match.group(1).capitalize() if match else ""
    if symbol in ISOTOPES:
        return ISOTOPES[symbol]
    return (symbol, None) if symbol in atomic_numbers and symbol != "X" else None
