"""The reference calculators that come with the package."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ase.calculators.calculator import Calculator

from sscha_mlp.calculators.espresso import prepare_espresso
from sscha_mlp.calculators.files import by_hand, by_hand_settings
from sscha_mlp.calculators.prepared import Prepared
from sscha_mlp.calculators.tersoff import ELEMENTS, tersoff, tersoff_parameters
from sscha_mlp.calculators.vasp import prepare_vasp
from sscha_mlp.errors import ConfigError

EMT_ELEMENTS: Final = ("Al", "Cu", "Ag", "Au", "Ni", "Pd", "Pt", "H", "C", "N", "O")
"""The elements of ASE's effective medium theory; those after Pt only serve as toys."""


@dataclass(frozen=True)
class BuiltIn:
    """A calculator that comes with the package.

    Parameters
    ----------
    factory
        Makes the calculator from keyword parameters.
    description
        What it is and where it was published.
    settings
        Returns all that decides a label, from the same parameters.
    elements
        Returns the elements that it knows, from the same parameters; None means all.
    parameters
        Those that the name stands for.
    """

    factory: Callable[..., Calculator]
    description: str
    settings: Callable[..., dict[str, Any]]
    elements: Callable[..., tuple[str, ...] | None]
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BuiltInProgram:
    """A command-line code that the package knows how to run; it needs a TOML file.

    Parameters
    ----------
    prepare
        Checks the parameters of a table whose relative paths refer to a directory.
    description
        What it is.
    """

    prepare: Callable[[Mapping[str, Any], Path], Prepared]
    description: str


def emt() -> Calculator:
    """Make ASE's effective medium theory, for Al, Cu, Ag, Au, Ni, Pd and Pt."""
    from ase.calculators.emt import EMT

    return EMT()


def lennard_jones(
    *,
    sigma: float = 3.40,
    epsilon: float = 0.0104,
    rc: float = 8.5,
    ro: float = 6.5,
) -> Calculator:
    """Make a Lennard-Jones potential that goes smoothly to zero; argon by default.

    Parameters
    ----------
    sigma
        Distance of zero energy, in Å.
    epsilon
        Depth of the well, in eV.
    rc, ro
        The energy is switched off between ``ro`` and ``rc``, in Å, with continuous forces.
    """
    from ase.calculators.lj import LennardJones

    settings = _lennard_jones_settings(sigma=sigma, epsilon=epsilon, rc=rc, ro=ro)
    return LennardJones(**settings["parameters"])


def _lennard_jones_settings(
    *, sigma: float = 3.40, epsilon: float = 0.0104, rc: float = 8.5, ro: float = 6.5
) -> dict[str, Any]:
    if not (sigma > 0.0 and epsilon > 0.0 and 0.0 < ro < rc):
        raise ConfigError(
            f"The Lennard-Jones parameters sigma={sigma}, epsilon={epsilon}, rc={rc}, ro={ro} "
            "cannot be used: all must be positive, and ro smaller than rc."
        )
    values = {"sigma": sigma, "epsilon": epsilon, "rc": rc, "ro": ro}
    numbers = {name: float(value) for name, value in values.items()}
    return {"calculator": "ase LennardJones", "parameters": {**numbers, "smooth": True}}


def _tersoff_settings(*, elements: tuple[str, ...] = ("Si",)) -> dict[str, Any]:
    return {"calculator": "quip IP Tersoff", "parameters": tersoff_parameters(elements)}


def _tersoff_elements(*, elements: tuple[str, ...] = ("Si",)) -> tuple[str, ...]:
    return tuple(element for element in ELEMENTS if element in elements)


_TERSOFF: Final = "Tersoff potential for {}, Phys. Rev. B 39, 5566 (1989)"

BUILT_IN: Final[dict[str, BuiltIn]] = {
    "tersoff": BuiltIn(
        tersoff, _TERSOFF.format("Si"), _tersoff_settings, _tersoff_elements, {"elements": ["Si"]}
    ),
    "tersoff-sic": BuiltIn(
        tersoff,
        _TERSOFF.format("Si and C"),
        _tersoff_settings,
        _tersoff_elements,
        {"elements": ["Si", "C"]},
    ),
    "tersoff-sige": BuiltIn(
        tersoff,
        _TERSOFF.format("Si and Ge"),
        _tersoff_settings,
        _tersoff_elements,
        {"elements": ["Si", "Ge"]},
    ),
    "emt": BuiltIn(
        emt,
        "Effective medium theory of ASE, for metals",
        lambda: {"calculator": "ase EMT"},
        lambda: EMT_ELEMENTS,
    ),
    "lj": BuiltIn(
        lennard_jones,
        "Lennard-Jones potential, by default for argon",
        _lennard_jones_settings,
        lambda **_: None,
    ),
    "files": BuiltIn(
        by_hand,
        "Labels computed by hand: inputs are written, outputs are imported",
        by_hand_settings,
        lambda **_: None,
    ),
}
"""Name -> calculator."""

PROGRAMS: Final[dict[str, BuiltInProgram]] = {
    "espresso": BuiltInProgram(prepare_espresso, "Quantum ESPRESSO, pw.x: plane waves"),
    "vasp": BuiltInProgram(prepare_vasp, "VASP: plane waves, PAW"),
}
"""Name -> command-line code."""
