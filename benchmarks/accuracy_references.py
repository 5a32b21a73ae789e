"""References for ``make accuracy``: pair functions that end smoothly, and Ewald sums.

Each function without arguments is a factory for ``--reference accuracy_references:NAME``.  Rigid
ions and pairs are no match for nature; they are smooth, cheap, and exact truths of themselves.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Final

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from matscipy.neighbours import neighbour_list
from numpy.typing import NDArray
from scipy.special import erfc

Values = NDArray[np.float64]
PairFunction = Callable[[Values], tuple[Values, Values]]
"""Energy and its derivative at some distances."""

COULOMB: Final = 14.399645
"""e² / (4 pi epsilon0), eV Å."""


class PairPotential(Calculator):
    """Pair functions times a switch, and the Ewald sum of point charges.

    Parameters
    ----------
    pairs
        Energy and derivative by two symbols in alphabetical order.
    cutoff, switch_from
        Distance at which pairs end and at which they begin to end, Å.
    charges
        In units of e by symbol; none for a crystal of neutral atoms.
    """

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012

    def __init__(
        self,
        pairs: Mapping[tuple[str, str], PairFunction],
        *,
        cutoff: float,
        switch_from: float,
        charges: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.pairs, self.charges = dict(pairs), dict(charges or {})
        self.cutoff, self.switch_from = cutoff, switch_from

    @cached_property
    def screening(self) -> float:
        """Gaussian width of the Ewald sum, 1/Å: erfc is 10⁻⁸ at the cutoff."""
        return 4.05 / self.cutoff

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        """Compute energy, forces and stress."""
        super().calculate(atoms, properties, system_changes)
        atoms, cell = self.atoms, self.atoms.cell.array
        i, j, r, d = neighbour_list("ijdD", atoms, self.cutoff)
        energy, slope = self._of_pairs(i, j, r)
        if self.charges:
            charges = np.array([self.charges[one] for one in atoms.symbols])
            more, steeper = _screened(COULOMB * charges[i] * charges[j], r, self.screening)
            energy, slope = energy + more, slope + steeper
        pull = (slope / r)[:, None] * d  # every pair is there twice
        forces = np.zeros((len(atoms), 3))
        for k in range(3):
            forces[:, k] = np.bincount(i, weights=pull[:, k], minlength=len(atoms))
        total, virial = 0.5 * energy.sum(), 0.5 * d.T @ pull
        if self.charges:
            volume = atoms.get_volume()
            more, long, stretch = _long_range(
                charges, atoms.positions, cell, volume, self.screening
            )
            total, forces, virial = total + more, forces + long, virial + stretch
        stress = 0.5 * (virial + virial.T) / atoms.get_volume()
        self.results = {
            "energy": float(total),
            "forces": forces,
            "stress": stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]],
        }

    def _of_pairs(self, i, j, r) -> tuple[Values, Values]:
        """Energy and slope of each pair by its function, switched off smoothly."""
        energy, slope = np.zeros(len(r)), np.zeros(len(r))
        symbols = np.array(self.atoms.get_chemical_symbols())
        first, second = symbols[i], symbols[j]
        switch, change = _switch(r, self.switch_from, self.cutoff)
        for (a, b), function in self.pairs.items():
            chosen = ((first == a) & (second == b)) | ((first == b) & (second == a))
            value, derivative = function(r[chosen])
            energy[chosen] = value * switch[chosen]
            slope[chosen] = derivative * switch[chosen] + value * change[chosen]
        return energy, slope


def _switch(r: Values, begin: float, end: float) -> tuple[Values, Values]:
    """Quintic from one to zero, twice differentiable, and its derivative."""
    x = np.clip((r - begin) / (end - begin), 0.0, 1.0)
    return 1 - x**3 * (10 - 15 * x + 6 * x**2), -30 * (x * (1 - x)) ** 2 / (end - begin)


def _screened(strength: Values, r: Values, screening: float) -> tuple[Values, Values]:
    """``q q erfc(a r) / r`` and its derivative."""
    part = erfc(screening * r) / r
    gauss = 2 * screening / np.sqrt(np.pi) * np.exp(-((screening * r) ** 2))
    return strength * part, -strength * (part + gauss) / r


def _long_range(charges, positions, cell, volume, screening) -> tuple[float, Values, Values]:
    """Energy, forces and virial of the smooth charges, in reciprocal space."""
    vectors = _half_space(cell, 2 * screening * 4.05)
    squares = (vectors**2).sum(axis=1)
    phases = np.exp(1j * positions @ vectors.T)
    structure = charges @ phases
    weight = 4 * np.pi * COULOMB / volume * np.exp(-squares / (4 * screening**2)) / squares
    parts = weight * np.abs(structure) ** 2
    energy = parts.sum() - COULOMB * screening / np.sqrt(np.pi) * (charges**2).sum()
    slope = 2 * charges[:, None] * np.imag(phases * structure.conj())
    stretch = parts * 2 * (1 / squares + 1 / (4 * screening**2))
    virial = (vectors.T * stretch) @ vectors - parts.sum() * np.eye(3)
    return float(energy), (slope * weight) @ vectors, virial


def _half_space(cell, longest: float) -> Values:
    """One of each pair k, -k of reciprocal lattice vectors up to a length, without zero."""
    reciprocal = 2 * np.pi * np.linalg.inv(cell).T
    most = np.ceil(longest * np.linalg.norm(cell, axis=1) / (2 * np.pi)).astype(int)
    axes = [np.arange(-one, one + 1) for one in most]
    integers = np.array(np.meshgrid(*axes, indexing="ij")).reshape(3, -1).T
    vectors = integers[integers @ [10**6, 10**3, 1] > 0] @ reciprocal
    return vectors[(vectors**2).sum(axis=1) < longest**2]


# --- pair functions -----------------------------------------------------------------------------


def buckingham(a: float, rho: float, c: float = 0.0) -> PairFunction:
    """``A exp(-r/rho) - C/r⁶``, in eV and Å."""

    def function(r):
        wall, pull = a * np.exp(-r / rho), c / r**6
        return wall - pull, -wall / rho + 6 * pull / r

    return function


def walled(function: PairFunction, height: float, radius: float) -> PairFunction:
    """A function with ``height (radius/r)³⁰`` added, which keeps ions from falling together."""

    def both(r):
        value, slope = function(r)
        wall = height * (radius / r) ** 30
        return value + wall, slope - 30 * wall / r

    return both


def lennard_jones(epsilon: float, sigma: float) -> PairFunction:
    """``4 epsilon ((sigma/r)¹² - (sigma/r)⁶)``, in eV and Å."""

    def function(r):
        x = (sigma / r) ** 6
        return 4 * epsilon * (x**2 - x), -24 * epsilon * (2 * x**2 - x) / r

    return function


def molecule(depth: float, steepness: float, bond: float, outside: PairFunction) -> PairFunction:
    """Morse's bond within a molecule, and another function between molecules; both switched."""

    def function(r):
        inner, change = _switch(r, 1.5 * bond, 2.0 * bond)
        x = np.exp(-steepness * (r - bond))
        bonded, pull = depth * (x**2 - 2 * x), -2 * depth * steepness * (x**2 - x)
        apart, push = outside(np.maximum(r, 1.4 * bond))
        push = np.where(r > 1.4 * bond, push, 0.0)
        value = bonded * inner + apart * (1 - inner)
        return value, pull * inner + push * (1 - inner) + (bonded - apart) * change

    return function


# --- the references -----------------------------------------------------------------------------


def argon() -> PairPotential:
    """Argon of Lennard-Jones."""
    return PairPotential({("Ar", "Ar"): lennard_jones(0.01032, 3.405)}, cutoff=8.5, switch_from=6.5)


def salt() -> PairPotential:
    """NaCl, F. G. Fumi and M. P. Tosi, J. Phys. Chem. Solids 25, 31 (1964), without 1/r⁸."""
    return PairPotential(
        {
            ("Na", "Na"): buckingham(424.097, 0.317, 1.05),
            ("Cl", "Na"): buckingham(1256.31, 0.317, 7.0),
            ("Cl", "Cl"): buckingham(3488.998, 0.317, 72.5),
        },
        cutoff=8.0,
        switch_from=6.0,
        charges={"Na": 1.0, "Cl": -1.0},
    )


def magnesia() -> PairPotential:
    """MgO, G. V. Lewis and C. R. A. Catlow, J. Phys. C 18, 1149 (1985), rigid ions."""
    return PairPotential(
        {("Mg", "O"): buckingham(821.6, 0.3242), ("O", "O"): buckingham(22764.0, 0.149, 27.88)},
        cutoff=7.5,
        switch_from=6.0,
        charges={"Mg": 2.0, "O": -2.0},
    )


def hydride() -> PairPotential:
    """LiH: rigid ions with walls that give the lattice parameter of 4.08 Å, about."""
    return PairPotential(
        {("H", "Li"): buckingham(187.0, 0.3285), ("H", "H"): buckingham(915.0, 0.30, 4.0)},
        cutoff=7.5,
        switch_from=6.0,
        charges={"Li": 1.0, "H": -1.0},
    )


def silica() -> PairPotential:
    """SiO2, B. W. H. van Beest, G. J. Kramer and R. A. van Santen, Phys. Rev. Lett. 64, 1955
    (1990), with walls."""
    return PairPotential(
        {
            ("O", "Si"): walled(buckingham(18003.7572, 1 / 4.87318, 133.5381), 0.0124, 1.3136),
            ("O", "O"): walled(buckingham(1388.773, 1 / 2.76, 175.0), 0.0042, 1.7793),
        },
        cutoff=8.0,
        switch_from=6.0,
        charges={"Si": 2.4, "O": -1.2},
    )


def rutile() -> PairPotential:
    """TiO2, M. Matsui and M. Akaogi, Mol. Simul. 6, 239 (1991)."""
    return PairPotential(
        {
            ("Ti", "Ti"): buckingham(31120.2, 0.154, 5.25),
            ("O", "Ti"): buckingham(16957.53, 0.194, 12.59),
            ("O", "O"): buckingham(11782.76, 0.234, 30.22),
        },
        cutoff=7.5,
        switch_from=6.0,
        charges={"Ti": 2.196, "O": -1.098},
    )


def zincite() -> PairPotential:
    """ZnO, D. J. Binks and R. W. Grimes, J. Am. Ceram. Soc. 76, 2370 (1993), rigid ions."""
    return PairPotential(
        {("O", "Zn"): buckingham(529.7, 0.3581), ("O", "O"): buckingham(9547.96, 0.21916, 32.0)},
        cutoff=7.5,
        switch_from=6.0,
        charges={"Zn": 2.0, "O": -2.0},
    )


def corundum() -> PairPotential:
    """Al2O3 with the walls of Lewis and Catlow, rigid ions."""
    return PairPotential(
        {("Al", "O"): buckingham(1109.92, 0.3154), ("O", "O"): buckingham(9547.96, 0.21916, 32.0)},
        cutoff=7.5,
        switch_from=6.0,
        charges={"Al": 3.0, "O": -2.0},
    )


def fluoroperovskite() -> PairPotential:
    """A cubic perovskite ABF3 of rigid ions whose octahedra turn softly: RbCaF3, about."""
    return PairPotential(
        {
            ("Ca", "F"): buckingham(1272.8, 0.2997),
            ("F", "Rb"): buckingham(3600.0, 0.2910),
            ("F", "F"): buckingham(1127.7, 0.2753, 15.83),
        },
        cutoff=8.0,
        switch_from=6.0,
        charges={"Rb": 1.0, "Ca": 2.0, "F": -1.0},
    )


def nitrogen() -> PairPotential:
    """N2: two sites of Lennard-Jones and a bond, a molecular crystal."""
    outside = lennard_jones(0.00314, 3.31)
    return PairPotential(
        {("N", "N"): molecule(9.9, 2.69, 1.098, outside)}, cutoff=8.0, switch_from=6.5
    )


def alloy() -> PairPotential:
    """Two kinds of Lennard-Jones atoms that like each other."""
    return PairPotential(
        {
            ("Ni", "Ni"): lennard_jones(0.40, 2.2),
            ("Al", "Ni"): lennard_jones(0.50, 2.35),
            ("Al", "Al"): lennard_jones(0.35, 2.6),
        },
        cutoff=6.5,
        switch_from=5.0,
    )
