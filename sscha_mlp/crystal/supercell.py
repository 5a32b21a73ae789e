"""Supercells: which atom is which, and how lattice translations move them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sscha_mlp.crystal.reciprocal import ComplexArray, HalfGrid
from sscha_mlp.crystal.structure import Crystal, FloatArray, IntArray, read_only
from sscha_mlp.errors import InputError
from sscha_mlp.quantities import cations_first
from sscha_mlp.tables import Shown, Table


@dataclass(frozen=True, eq=False)
class Supercell(Shown):
    """A diagonal supercell of a primitive cell.

    Atoms are ordered cell by cell: atom ``T * n_primitive + a`` is primitive atom ``a`` moved by
    lattice translation ``T``, with the last index of the translation running fastest.

    Parameters
    ----------
    primitive
        The primitive cell.
    size
        Repetitions along the three lattice vectors.

    Raises
    ------
    InputError
        If a repetition is not a positive whole number.
    """

    primitive: Crystal
    size: tuple[int, int, int]

    def __post_init__(self) -> None:
        """Check the primitive cell and the repetitions."""
        given: object = self.primitive
        if not isinstance(given, Crystal):
            kind = type(given).__name__
            raise InputError(
                f"The primitive cell of a supercell must be a Crystal, not {kind}; "
                "sm.read_structure and sm.Crystal.from_ase make one."
            )
        object.__setattr__(self, "size", check_supercell_size(self.size))

    @property
    def n_cells(self) -> int:
        """Number of primitive cells."""
        return int(np.prod(self.size))

    @property
    def n_atoms(self) -> int:
        """Number of atoms in the supercell."""
        return self.n_cells * self.primitive.n_atoms

    @cached_property
    def translations(self) -> IntArray:
        """Lattice translations of the cells, shape (n_cells, 3), whole numbers."""
        return read_only(np.array(list(np.ndindex(*self.size))), np.int64)

    @cached_property
    def primitive_index(self) -> IntArray:
        """Primitive atom that each supercell atom is an image of, shape (n_atoms,)."""
        return read_only(np.tile(np.arange(self.primitive.n_atoms), self.n_cells), np.int64)

    @cached_property
    def crystal(self) -> Crystal:
        """The supercell as a crystal."""
        primitive = self.primitive
        shifts = self.translations @ primitive.cell
        positions = (shifts[:, None, :] + primitive.positions[None, :, :]).reshape(-1, 3)
        return Crystal(
            cell=np.diag(self.size) @ primitive.cell,
            positions=positions,
            numbers=np.tile(primitive.numbers, self.n_cells),
            masses=np.tile(primitive.masses, self.n_cells),
        )

    @property
    def masses3(self) -> FloatArray:
        """Mass of each Cartesian coordinate, shape (3 n_atoms,), amu."""
        return self.crystal.masses3

    def cell_index(self, translations: NDArray[np.int64]) -> IntArray:
        """Index of each lattice translation, folded into the supercell.

        Parameters
        ----------
        translations
            Whole numbers, shape (..., 3).
        """
        folded = np.mod(translations, self.size)
        return np.asarray(np.ravel_multi_index(np.moveaxis(folded, -1, 0), self.size), np.int64)

    @cached_property
    def difference_index(self) -> IntArray:
        """Index of the cell ``T' - T`` for each pair, shape (n_cells, n_cells)."""
        t = self.translations
        return read_only(self.cell_index(t[None, :, :] - t[:, None, :]), np.int64)

    @cached_property
    def shifted_atoms(self) -> IntArray:
        """Atom onto which each lattice translation takes each atom, shape (n_cells, n_atoms)."""
        n, t = self.primitive.n_atoms, self.translations
        cells = self.cell_index(t[:, None] + t[None, :])
        atoms = cells[:, :, None] * n + np.arange(n)
        return read_only(atoms.reshape(self.n_cells, -1), np.int64)

    @cached_property
    def qpoints(self) -> FloatArray:
        """Commensurate wave vectors, shape (n_cells, 3), in units of the reciprocal vectors."""
        return read_only(self.translations / np.array(self.size))

    @cached_property
    def grid(self) -> HalfGrid:
        """One of each pair q, -q of the commensurate wave vectors."""
        return HalfGrid.of(self.size)

    def to_reciprocal(self, values: NDArray[np.float64]) -> ComplexArray:
        """Transform a vector field on the atoms to the half grid, one wave vector after the other.

        Parameters
        ----------
        values
            Shape (n_configs, 3 n_atoms).

        Returns
        -------
        Shape (n_half, 3 n_primitive, n_configs), unitary.
        """
        by_cell = np.ascontiguousarray(values.T).reshape(self.n_cells, -1, len(values))
        return self.grid.forward(by_cell)

    def from_reciprocal(self, values: ComplexArray) -> FloatArray:
        """Undo :meth:`to_reciprocal`."""
        by_coordinate = self.grid.backward(values).reshape(-1, values.shape[2])
        return np.ascontiguousarray(by_coordinate.T)

    def table(self) -> Table:
        """Return the size, and the wave vectors that fit into it."""
        rows = (
            ("primitive cell", cations_first(self.primitive.to_ase().get_chemical_formula())),
            ("repetitions", "×".join(str(n) for n in self.size)),
            ("atoms", str(self.n_atoms)),
            ("wave vectors", str(self.n_cells)),
        )
        return Table("Supercell", rows)


def check_supercell_size(size: tuple[int, ...] | list[int]) -> tuple[int, int, int]:
    """Return the size as three positive whole numbers, or raise :class:`InputError`."""
    values = tuple(size)
    if len(values) != 3 or not all(_is_count(v) for v in values):
        raise InputError(
            f"The supercell {values} is not three positive whole numbers; write for example "
            "--supercell 2 2 2."
        )
    return int(values[0]), int(values[1]), int(values[2])


def _is_count(value: object) -> bool:
    """Whether a value is a positive whole number; ``True`` and texts are none."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer):
        return False
    return bool(value >= 1) and float(value).is_integer()
