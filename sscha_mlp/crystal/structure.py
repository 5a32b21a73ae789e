"""Crystal structures as immutable values."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import ArrayLike, NDArray

from sscha_mlp.crystal.isotopes import ISOTOPES
from sscha_mlp.errors import StructureError
from sscha_mlp.quantities import cations_first
from sscha_mlp.tables import Shown, Table

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SHORTEST_DISTANCE: float = 0.5
"""Atoms closer than this (Å) cannot be a crystal that anybody means."""

LONGEST: float = 1.0e5
"""Coordinates above this (Å) are mistakes, and a search for neighbours would not end."""


SMALLEST_VOLUME: float = 0.2
"""Volume of an atom (Å³) below which none can be: hydrogen at 500 GPa has 1.2."""

THINNEST: float = 0.05
"""Distance (Å) of lattice planes below which a cell is a mistake."""

MASSES: tuple[float, float] = (1.0e-3, 1.0e5)
"""Masses (amu) outside these bounds are mistakes: the muon has 0.11, the heaviest nuclei 300."""

SAME_MASS: float = 1.0e-6
"""Atoms of one element whose masses differ by less than this part of them are the same isotope."""


def read_only(array: ArrayLike, dtype: type = np.float64) -> NDArray[Any]:
    """Return a read-only copy of an array with the given type."""
    try:
        copy: NDArray[Any] = np.array(array, dtype=dtype)
    except ValueError as err:
        raise StructureError(f"Numbers of a structure cannot be read: {err}.") from err
    copy.flags.writeable = False
    return copy


@dataclass(frozen=True, eq=False)
class Crystal(Shown):
    """A periodic crystal.

    Parameters
    ----------
    cell
        Lattice vectors as rows, shape (3, 3), Å.
    positions
        Cartesian positions, shape (n_atoms, 3), Å.
    numbers
        Atomic numbers, shape (n_atoms,).
    masses
        Atomic masses, shape (n_atoms,), amu.

    Raises
    ------
    StructureError
        If the shapes do not match, the cell has no volume, or a value is not finite.
    """

    cell: FloatArray
    positions: FloatArray
    numbers: IntArray
    masses: FloatArray

    def __post_init__(self) -> None:
        """Make the arrays read-only and check them."""
        object.__setattr__(self, "cell", read_only(self.cell))
        object.__setattr__(self, "positions", read_only(self.positions))
        object.__setattr__(self, "numbers", read_only(self.numbers, np.int64))
        object.__setattr__(self, "masses", read_only(self.masses))
        n_atoms = self.numbers.size
        if n_atoms == 0:
            raise StructureError("The structure has no atoms; give a file that holds a crystal.")
        if self.cell.shape != (3, 3) or self.positions.shape != (n_atoms, 3):
            raise StructureError(
                f"A crystal of {n_atoms} atoms needs a cell of shape (3, 3) and positions of shape "
                f"({n_atoms}, 3); got {self.cell.shape} and {self.positions.shape}."
            )
        if self.masses.shape != (n_atoms,) or not np.all(self.masses > 0):
            raise StructureError(f"A crystal of {n_atoms} atoms needs {n_atoms} positive masses.")
        _check_size_of(self.masses)
        if not (np.all(np.isfinite(self.cell)) and np.all(np.isfinite(self.positions))):
            raise StructureError("The structure has a cell or a position that is not a number.")
        if abs(np.linalg.det(self.cell)) < 1.0e-3:
            raise StructureError(
                "The structure has no periodic cell in three dimensions; SSCHA needs a bulk "
                "crystal (give the file three lattice vectors)."
            )

    @classmethod
    def from_ase(cls, atoms: Atoms) -> "Crystal":
        """Return the crystal of an ASE object; its calculator and constraints are left behind."""
        return cls(atoms.cell.array, atoms.positions, atoms.numbers, atoms.get_masses())

    def to_ase(self) -> Atoms:
        """Return a new ASE object with periodic boundaries."""
        return Atoms(
            numbers=self.numbers,
            positions=self.positions,
            cell=self.cell,
            masses=self.masses,
            pbc=True,
        )

    @property
    def n_atoms(self) -> int:
        """Number of atoms in the cell."""
        return len(self.numbers)

    @property
    def volume(self) -> float:
        """Volume of the cell, Å³."""
        return float(abs(np.linalg.det(self.cell)))

    @property
    def symbols(self) -> list[str]:
        """Chemical symbol of each atom."""
        return list(self.to_ase().get_chemical_symbols())

    @cached_property
    def masses3(self) -> FloatArray:
        """Mass of each Cartesian coordinate, shape (3 n_atoms,), amu."""
        return read_only(np.repeat(self.masses, 3))

    @cached_property
    def species(self) -> IntArray:
        """Class of each atom, shape (n_atoms,): atoms of one element and one mass share it.

        A class has the index of its first atom.
        """
        same = self.numbers[:, None] == self.numbers
        same &= np.abs(self.masses[:, None] - self.masses) < SAME_MASS * self.masses
        return read_only(np.argmax(same, axis=1), np.int64)

    @property
    def labels(self) -> list[str]:
        """Symbol of each atom, with a number where its element has several masses: Si1, Si2."""
        isotopes: dict[str, list[int]] = {}
        named = list(zip(self.symbols, self.species.tolist(), strict=True))
        for symbol, kind in dict.fromkeys(named):
            isotopes.setdefault(symbol, []).append(kind)
        return [
            symbol if len(isotopes[symbol]) == 1 else f"{symbol}{1 + isotopes[symbol].index(kind)}"
            for symbol, kind in named
        ]

    @cached_property
    def scaled_positions(self) -> FloatArray:
        """Positions in units of the lattice vectors, shape (n_atoms, 3), not wrapped."""
        return read_only(np.linalg.solve(self.cell.T, self.positions.T).T)

    def strained(self, strain: ArrayLike) -> "Crystal":
        """Return the crystal under a homogeneous strain; scaled positions stay.

        Parameters
        ----------
        strain
            Symmetric strain tensor, shape (3, 3); lattice vectors become ``a (1 + strain)``.
        """
        deformation = np.eye(3) + np.asarray(strain, dtype=np.float64)
        return replace(self, cell=self.cell @ deformation, positions=self.positions @ deformation)

    def moved(self, displacements: ArrayLike) -> "Crystal":
        """Return the crystal with its atoms moved by ``displacements``, shape (n_atoms, 3), Å."""
        return replace(self, positions=self.positions + np.asarray(displacements))

    def with_masses(self, masses: Mapping[str, float]) -> "Crystal":
        """Return the crystal with other masses.

        Parameters
        ----------
        masses
            Mass of every atom of an element, amu, by chemical symbol.  Elements that are not named
            keep theirs.

        Raises
        ------
        StructureError
            If there is no atom of an element, or a mass is not positive.
        """
        changed = np.array(self.masses)
        symbols = np.array(self.symbols)
        for symbol, mass in masses.items():
            if symbol not in symbols:
                raise StructureError(
                    f"A mass is given for {symbol}, but the structure holds only "
                    f"{', '.join(sorted(set(self.symbols)))}; leave it out or correct the symbol."
                )
            changed[symbols == symbol] = mass
        return replace(self, masses=changed)

    def shortest_distance(self) -> float:
        """Shortest distance between two atoms or an atom and its image, Å."""
        return shortest_distance(self.to_ase())

    def widest_gaps(self) -> FloatArray:
        """Thickness of the widest layer without atoms along each lattice vector, shape (3,), Å.

        Such a layer lies between planes that the two other lattice vectors span.
        """
        ordered = np.sort(self.scaled_positions % 1.0, axis=0)
        steps = np.diff(ordered, axis=0, append=ordered[:1] + 1.0)
        planes = 1.0 / np.linalg.norm(np.linalg.inv(self.cell), axis=0)
        return np.asarray(steps.max(axis=0) * planes)

    def table(self) -> Table:
        """Return the formula, the cell and the volume."""
        lengths = np.linalg.norm(self.cell, axis=1)
        rows = (
            ("formula", cations_first(self.to_ase().get_chemical_formula())),
            ("atoms", str(self.n_atoms)),
            ("lattice vectors", ", ".join(f"{one:.4f}" for one in lengths) + " Å"),
            ("volume", f"{self.volume / self.n_atoms:.4f} Å³/atom"),
        )
        return Table("Crystal", rows)


def check_masses(masses: Mapping[str, Any]) -> dict[str, float]:
    """Return masses by chemical symbol, amu.

    Raises
    ------
    StructureError
        If a symbol is no element, or a mass no positive number.
    """
    for symbol, mass in masses.items():
        if symbol in ISOTOPES:
            element, own = ISOTOPES[symbol]
            raise StructureError(
                f"A mass is given for {symbol}, which is an isotope; write {element}={own:.6g}."
            )
        if symbol not in chemical_symbols[1:]:
            raise StructureError(
                f"A mass is given for {symbol!r}, which is no chemical symbol; write for example "
                "Si=28.9765."
            )
        is_number = isinstance(mass, int | float) and not isinstance(mass, bool)
        if not (is_number and np.isfinite(mass) and mass > 0):
            raise StructureError(
                f"The mass {mass!r} of {symbol} is no positive number of atomic mass units; write "
                f"for example {symbol}=28.9765."
            )
    return {symbol: float(mass) for symbol, mass in masses.items()}


def check_volume(atoms: Atoms, where: str) -> None:
    """Check that a cell is large enough for its atoms, before neighbours are searched in it.

    Parameters
    ----------
    where
        File and place in it, for the error.

    Raises
    ------
    StructureError
        If an atom has less than 0.2 Å³, or planes of the lattice are closer than 0.05 Å.
    """
    cell = atoms.cell.array
    volume = float(abs(np.linalg.det(cell)))
    areas = np.linalg.norm(np.cross(cell[[1, 2, 0]], cell[[2, 0, 1]]), axis=1)
    thinnest = volume / float(max(areas.max(), 1.0e-300))
    if volume < SMALLEST_VOLUME * len(atoms) or thinnest < THINNEST:
        raise StructureError(
            f"{where} has a cell of {volume:.3g} Å³, {thinnest:.3g} Å thin, for {len(atoms)} "
            "atoms, which overlap in it; correct its lengths, angles or unit."
        )


def _check_size_of(masses: FloatArray) -> None:
    """Refuse masses that no atom has: the frequencies would be no numbers of use."""
    low, high = MASSES
    if wrong := [mass for mass in masses if not low <= mass <= high]:
        raise StructureError(
            f"A mass is {wrong[0]:.3g} amu; masses outside {low:g} to {high:g} amu are taken for "
            "mistakes."
        )


def shortest_distance(atoms: Atoms) -> float:
    """Shortest distance between two atoms, images included, Å (infinite above 16 Å)."""
    from ase.neighborlist import neighbor_list

    for cutoff in (2.0, 4.0, 8.0, 16.0):
        distances = neighbor_list("d", atoms, cutoff)
        if len(distances):
            return float(distances.min())
    return float("inf")


def check_geometry(atoms: Atoms, where: str) -> None:
    """Check that positions and cell are lengths that a structure can have.

    Parameters
    ----------
    where
        File and place in it, for the error.

    Raises
    ------
    StructureError
        If one of them is not finite, or is above 10⁵ Å.
    """
    for name, values in (("a position", atoms.positions), ("a lattice vector", atoms.cell.array)):
        if not np.all(np.isfinite(values)):
            raise StructureError(f"{where} has {name} that is NaN or infinite; correct it.")
        if np.any(np.abs(values) > LONGEST):
            raise StructureError(
                f"{where} has {name} of {np.abs(values).max():.3g} Å; lengths above {LONGEST:g} Å "
                "are taken for mistakes."
            )
