"""Tersoff's potential for silicon, carbon and germanium.

The parameters are those of Table I of J. Tersoff, Phys. Rev. B 39, 5566 (1989), with the two
corrections for carbon (B and d) of the erratum, Phys. Rev. B 41, 3248 (1990).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Final

from ase.calculators.calculator import Calculator
from ase.data import atomic_numbers

from sscha_mlp.errors import ConfigError
from sscha_mlp.quippy_adapter import quippy_potential


@dataclass(frozen=True)
class TersoffElement:
    """Parameters of one element, named as in the paper.

    ``A`` and ``B`` are in eV, ``lambda_`` and ``mu`` in 1/Å, the cut-off radii ``R`` and ``S`` in
    Å; the others are pure numbers.
    """

    A: float
    B: float
    lambda_: float
    mu: float
    beta: float
    n: float
    c: float
    d: float
    h: float
    R: float
    S: float


ELEMENTS: Final[dict[str, TersoffElement]] = {
    "C": TersoffElement(
        A=1393.6,
        B=346.74,
        lambda_=3.4879,
        mu=2.2119,
        beta=1.5724e-7,
        n=0.72751,
        c=38049.0,
        d=4.3484,
        h=-0.57058,
        R=1.8,
        S=2.1,
    ),
    "Si": TersoffElement(
        A=1830.8,
        B=471.18,
        lambda_=2.4799,
        mu=1.7322,
        beta=1.1e-6,
        n=0.78734,
        c=100390.0,
        d=16.217,
        h=-0.59825,
        R=2.7,
        S=3.0,
    ),
    "Ge": TersoffElement(
        A=1769.0,
        B=419.23,
        lambda_=2.4451,
        mu=1.7047,
        beta=9.0166e-7,
        n=0.75627,
        c=106430.0,
        d=15.652,
        h=-0.43884,
        R=2.8,
        S=3.1,
    ),
}
"""The elements of the paper."""

CHI: Final[dict[frozenset[str], float]] = {
    frozenset({"C", "Si"}): 0.9776,
    frozenset({"Si", "Ge"}): 1.00061,
}
"""Strength of the bonds between unlike elements; the paper gives none for C and Ge."""


def tersoff_parameters(elements: Sequence[str] = ("Si",)) -> str:
    """Return the parameters of some elements as the XML text that QUIP reads.

    Only the elements in use should be asked for: the longest cut-off radius among them is the
    reach of the neighbour list.

    Raises
    ------
    ConfigError
        If an element, or a pair of elements, has no parameters, or one appears twice.
    """
    elements = [elements] if isinstance(elements, str) else list(elements)
    unknown = [element for element in elements if element not in ELEMENTS]
    if unknown or not elements or len(set(elements)) < len(elements):
        raise ConfigError(
            f"Tersoff parameters were asked for the elements {elements}; "
            f"give each once, out of {', '.join(ELEMENTS)}."
        )
    if {"C", "Ge"} <= set(elements):
        raise ConfigError(
            "Tersoff's paper has no parameters for C and Ge together; use Si with C, or Si with Ge."
        )
    elements = sorted(elements, key=atomic_numbers.__getitem__)
    lines = [f'<Tersoff_params n_types="{len(elements)}" label="PRB_39">']
    lines += [_element_line(i, element) for i, element in enumerate(elements, start=1)]
    for (i, first), (j, second) in combinations_with_replacement(enumerate(elements, 1), 2):
        chi = 1.0 if first == second else CHI[frozenset({first, second})]
        lines.append(f'<per_pair_data type1="{j}" type2="{i}" chi="{chi!r}" />')
    return "\n".join([*lines, "</Tersoff_params>"])


def tersoff(*, elements: Sequence[str] = ("Si",)) -> Calculator:
    """Make the calculator for some elements."""
    return quippy_potential("IP Tersoff", param_str=tersoff_parameters(elements))


def _element_line(number: int, element: str) -> str:
    values = " ".join(
        f'{name.rstrip("_")}="{value!r}"' for name, value in vars(ELEMENTS[element]).items()
    )
    return f'<per_type_data type="{number}" atomic_num="{atomic_numbers[element]}" {values} />'
