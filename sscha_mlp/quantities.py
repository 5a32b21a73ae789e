"""Name, unit and axis label of each quantity that is shown to a person."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ase.formula import Formula

from sscha_mlp import units


@dataclass(frozen=True)
class Quantity:
    """A quantity as it is shown.

    Parameters
    ----------
    label
        What it is called on an axis or in a table.
    unit
        Unit in which it is shown.
    per_internal
        Factor from the internal unit to the shown one.
    """

    label: str
    unit: str
    per_internal: float = 1.0

    @property
    def axis(self) -> str:
        """Axis label with its unit, for example ``Pressure (GPa)``."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


QUANTITIES: Final[dict[str, Quantity]] = {
    "energy": Quantity("Energy", "eV/atom"),
    "energy_error": Quantity("Energy error", "meV/atom", 1.0e3),
    "force": Quantity("Force", "eV/Å"),
    "force_error": Quantity("Force error", "meV/Å", 1.0e3),
    "stress": Quantity("Stress", "GPa", 1.0 / units.GPA),
    "stress_error": Quantity("Stress error", "GPa", 1.0 / units.GPA),
    "pressure": Quantity("Pressure", "GPa", 1.0 / units.GPA),
    "frequency": Quantity("Frequency", "THz", 1.0 / units.THZ),
    "conductivity": Quantity("Thermal conductivity", "W/mK"),
    "density_of_states": Quantity("Density of states", "1/THz"),
    "free_energy": Quantity("Free energy", "eV/atom"),
    "volume": Quantity("Volume", "Å³/atom"),
    "displacement": Quantity("Rms displacement", "Å"),
    "effective_sample_size": Quantity("Effective sample size", ""),
    "temperature": Quantity("Temperature", "K"),
    "lattice_parameter": Quantity("Lattice parameter", "Å"),
    "expansion": Quantity("Expansion of the volume", "ppm/K", 1.0e6),
    "linear_expansion": Quantity("Linear expansion", "ppm/K", 1.0e6),
    "gibbs": Quantity("Gibbs free energy", "eV/atom"),
    "gibbs_difference": Quantity("Difference of G", "meV/atom", 1.0e3),
    "entropy": Quantity("Entropy", "k/atom"),
    "heat_capacity": Quantity("Heat capacity", "k/atom"),
    "bulk_modulus": Quantity("Bulk modulus", "GPa"),
    "squared_frequency": Quantity("Squared frequency", "THz²"),
    "labels": Quantity("Reference labels", ""),
}
"""Registry of quantities, by the key that code uses."""


def atoms_name(n_atoms: int) -> str:
    """Return a number of atoms in words: ``1 atom``, ``2 atoms``."""
    return f"{n_atoms} atom{'' if n_atoms == 1 else 's'}"


def cells_name(
    supercell: Sequence[int], cell_size: int | None = None, *, each: bool = False
) -> str:
    """Return a supercell in words: ``2×2×2 cells, 16 atoms``.

    Parameters
    ----------
    supercell
        Repetitions of the cell, shape (3,).
    cell_size
        Atoms of the cell that is repeated; None where that is not known.
    each
        Whether these are named too: ``2×2×2 cells of 2 atoms, 16 atoms``.
    """
    cells = "×".join(str(n) for n in supercell) + " cells"
    if cell_size is None:
        return cells
    of = f" of {atoms_name(cell_size)}" if each else ""
    return f"{cells}{of}, {atoms_name(math.prod(supercell) * cell_size)}"


_ELECTROPOSITIVE_FIRST: Final = (
    "FrCsRbKNaLiRaBaSrCaMgBeLrNoMdFmEsCfBkCmAmPuNpUPaThAcLuYbTmErHoDyTbGdEuSmPmNdPrCeLaYSc"
    "RfHfZrTiDbTaNbVSgWMoCrBhReTcMnHsOsRuFeMtIrRhCoDsPtPdNiRgAuAgCuCnHgCdZn"
    "NhTlInGaAlBFlPbSnGeSiCMcBiSbAsPNHLvPoTeSeSOTsAtIBrClF"
)
_ORDER: Final = {
    symbol: place for place, symbol in enumerate(re.findall("[A-Z][a-z]?", _ELECTROPOSITIVE_FIRST))
}
"""Place of an element in a formula; noble gases stand before all."""


def reduced_formula(formula: str) -> str:
    """Return a formula in its smallest whole numbers, cations first: ``NaCl`` for ``Cl4Na4``."""
    reduced, _ = Formula(str(formula)).reduce()
    return cations_first(str(reduced))


def cations_first(formula: str) -> str:
    """Return a formula with its elements in the order of IUPAC: ``Na4Cl4`` for ``Cl4Na4``.

    The order is that of the Red Book (2005, IR-4.4.3 and table VI), from the electropositive to the
    electronegative element.
    """
    counts = Formula(formula).count()
    ordered = sorted(counts, key=lambda one: (_ORDER.get(one, -1), one))
    return "".join(f"{one}{counts[one] if counts[one] > 1 else ''}" for one in ordered)


class AtWaveVector:
    """Base of what belongs to a wave vector that may have a name."""

    q: tuple[float, float, float]
    name: str

    @property
    def shown_q(self) -> str:
        """The wave vector as text, after its name."""
        return q_name(self.q, self.name)


def q_name(q: Sequence[float], special: str = "") -> str:
    """Return a q point in reciprocal-lattice units after its name, Γ by its name alone.

    Parameters
    ----------
    q
        Shape (3,).
    special
        Name of a special point, such as ``X``; empty where it has none.
    """
    if all(abs(float(one)) < 1.0e-8 for one in q):
        return "Γ"
    coordinates = "(" + " ".join(_fraction(float(one)) for one in q) + ")"
    return f"{special} {coordinates}" if special else coordinates


def _fraction(value: float) -> str:
    """Return a coordinate as a simple fraction where it is one."""
    for denominator in range(1, 13):
        numerator = round(value * denominator)
        if abs(value * denominator - numerator) < 1.0e-6:
            text = str(numerator) if denominator == 1 else f"{numerator}/{denominator}"
            return text.replace("-", "\N{MINUS SIGN}")
    return f"{value:.3f}".replace("-", "\N{MINUS SIGN}")
