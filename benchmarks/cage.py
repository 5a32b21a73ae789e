"""A crystal that only temperature stabilises: atoms in cages, with central pair bonds.

CsCl structure.  Bonds between first and second neighbours of the same kind are springs; those
between an atom and the eight corners of its cage have a negative stiffness, a cubic and a quartic
term: at rest the crystal is unstable against moving one kind against the other, and against little
else.
The energy depends on distances alone, so that potentials can learn it.

Use it as a reference from this directory: ``--reference cage:calculator --structure cage.vasp``,
with ``python benchmarks/cage.py --structure cage.vasp`` to write the structure.
"""

import argparse

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.neighborlist import neighbor_list

LATTICE = 4.0
"""Lattice parameter of the springs at rest, Å."""

CAGE = 0.5 * np.sqrt(3.0) * LATTICE
SYMBOLS = ("Cs", "Cl")


class Cage(Calculator):
    """Central bonds ``v(x) = k x²/2 + c x³ + b x⁴`` of the elongation ``x`` of each bond.

    Parameters
    ----------
    spring
        Stiffness between first and second neighbours of one kind, eV/Å².
    stiffness, cubic, quartic
        k (eV/Å²), c (eV/Å³) and b (eV/Å⁴) of the bonds of a cage.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012 - as ASE has it

    def __init__(self, spring: float, stiffness: float, cubic: float, quartic: float) -> None:
        super().__init__()
        self.spring = spring
        self.stiffness = stiffness
        self.cubic = cubic
        self.quartic = quartic

    def calculate(self, atoms=None, properties=None, system_changes=all_changes) -> None:
        """Sum over the bonds of the first three shells."""
        super().calculate(atoms, properties, system_changes)
        symbols = self.atoms.get_chemical_symbols()
        reach = dict.fromkeys((SYMBOLS, SYMBOLS[::-1]), 1.25 * LATTICE)
        reach |= {(one, one): 1.57 * LATTICE for one in SYMBOLS}
        i, j, span = neighbor_list("ijD", self.atoms, reach)
        length = np.linalg.norm(span, axis=1)
        same = np.array([symbols[a] == symbols[b] for a, b in zip(i, j, strict=True)])
        side = np.where(length < 1.2 * LATTICE, LATTICE, np.sqrt(2.0) * LATTICE)
        x = length - np.where(same, side, CAGE)
        k = np.where(same, self.spring, self.stiffness)
        c = np.where(same, 0.0, self.cubic)
        b = np.where(same, 0.0, self.quartic)
        pull = (k * x + 3 * c * x**2 + 4 * b * x**3)[:, None] * span / length[:, None]
        forces = np.zeros((len(self.atoms), 3))
        np.add.at(forces, i, pull)  # each bond comes in both directions
        virial = 0.5 * pull.T @ span
        stress = 0.5 * (virial + virial.T) / self.atoms.get_volume()
        energy = 0.5 * float((k * x**2 / 2 + c * x**3 + b * x**4).sum())
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": forces,
            "stress": stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]],
        }


def calculator() -> Cage:
    """Atoms in cages, unstable at rest."""
    return Cage(spring=2.0, stiffness=-0.30, cubic=-1.5, quartic=2.0)


def deep() -> Cage:
    """Atoms in deeper cages: 30 meV/atom below the cubic crystal when displaced along an edge."""
    return Cage(spring=2.0, stiffness=-0.60, cubic=0.0, quartic=3.0)


def structure() -> Atoms:
    """The crystal at rest."""
    return bulk("".join(SYMBOLS), "cesiumchloride", a=LATTICE)


def main() -> None:
    """Write the structure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--structure", required=True)
    structure().write(parser.parse_args().structure, format="vasp")


if __name__ == "__main__":
    main()
