"""Force constants of a crystal: modes, frequencies, and projections onto what is physical."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sscha_mlp import units
from sscha_mlp.crystal.reciprocal import ComplexArray, compact, dynamical, hermitian
from sscha_mlp.crystal.structure import Crystal, FloatArray, IntArray, read_only
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import SpaceGroup
from sscha_mlp.errors import InputError
from sscha_mlp.quantities import cations_first
from sscha_mlp.tables import Shown, Table, span


@dataclass(frozen=True, eq=False)
class Modes:
    """Normal modes of a supercell, by wave vector; the three translations do not count as modes.

    Parameters
    ----------
    supercell
        The supercell.
    at_q
        Angular frequencies on the half grid, shape (n_half, 3 n_primitive), ``sqrt(eV/(amu Å²))``;
        negative when unstable.  At q = 0 the translations come first, with zero.
    polarisations
        Orthonormal mass-weighted polarisation vectors as columns, shape (n_half, 3 n_primitive,
        3 n_primitive), real where q = -q.
    """

    supercell: Supercell
    at_q: FloatArray
    polarisations: ComplexArray

    @cached_property
    def moving(self) -> NDArray[np.bool_]:
        """False for the translations, shape (n_half, 3 n_primitive)."""
        moving = np.ones(self.at_q.shape, dtype=bool)
        moving[0, :3] = False
        return moving

    @cached_property
    def _order(self) -> tuple[IntArray, IntArray, IntArray]:
        """Wave vector, band and part (0 or 1) of each supercell mode, by ascending frequency.

        A pair q, -q has two modes, the real and the imaginary part of its amplitude.
        """
        grid = self.supercell.grid
        parts = [np.argwhere(self.moving), np.argwhere(self.moving & ~grid.is_real[:, None])]
        place = np.concatenate(parts)
        part = np.repeat([0, 1], [len(one) for one in parts])
        order = np.lexsort((part, place[:, 1], place[:, 0], self.at_q[tuple(place.T)]))
        return place[order, 0], place[order, 1], part[order]

    def by_mode(self, values: NDArray[np.float64]) -> FloatArray:
        """Values (n_half, 3 n_primitive) as one per supercell mode, by ascending frequency."""
        half, band, _ = self._order
        return np.asarray(values[half, band])

    @cached_property
    def frequencies(self) -> FloatArray:
        """Angular frequencies of all supercell modes, ascending, shape (n_modes,)."""
        return read_only(self.by_mode(self.at_q))

    @property
    def frequencies_thz(self) -> FloatArray:
        """Frequencies in THz, shape (n_modes,)."""
        return self.frequencies / units.THZ

    def amplitudes(self, normal: NDArray[np.float64]) -> ComplexArray:
        """Amplitudes by wave vector of real amplitudes of the supercell modes.

        Parameters
        ----------
        normal
            Shape (n_configs, n_modes).

        Returns
        -------
        Shape (n_half, n_bands, n_configs).
        """
        half, band, part = self._order
        shape = (*self.at_q.shape, len(normal))
        result = np.zeros(shape, dtype=self.polarisations.dtype)
        scale = np.where(self.supercell.grid.is_real, 1.0, np.sqrt(0.5))[half]
        real = part == 0
        values = normal.T * scale[:, None]
        result.real[half[real], band[real]] = values[real]
        if not real.all():
            result.imag[half[~real], band[~real]] = values[~real]
        return result

    def displacements(self, amplitudes: ComplexArray) -> FloatArray:
        """Displacements (n_configs, 3 n_atoms) of mass-weighted amplitudes by wave vector."""
        root = np.sqrt(self.supercell.primitive.masses3)
        at_q = self.polarisations @ amplitudes / root[:, None]
        return self.supercell.from_reciprocal(at_q)

    @cached_property
    def vectors(self) -> FloatArray:
        """Orthonormal mass-weighted modes as columns, shape (3 n_atoms, n_modes): large."""
        return read_only(self.lowest(len(self.frequencies)))

    def lowest(self, count: int) -> FloatArray:
        """Orthonormal mass-weighted vectors of the lowest modes, shape (3 n_atoms, count)."""
        normal = np.eye(count, len(self.frequencies))
        columns = self.displacements(self.amplitudes(normal)).T
        return np.asarray(columns * np.sqrt(self.supercell.masses3)[:, None])


@dataclass(frozen=True, eq=False)
class DynamicalMatrix(Shown):
    """A crystal with the force constants of its harmonic (or auxiliary SSCHA) Hamiltonian.

    Parameters
    ----------
    supercell
        The supercell to which the force constants belong.
    force_constants
        Compact form, shape (n_primitive, n_atoms, 3, 3), eV/Å²: the first index runs over the
        atoms of the first primitive cell, the second over all atoms of the supercell.

    Raises
    ------
    InputError
        If the shape does not fit the supercell or a value is not finite.
    """

    supercell: Supercell
    force_constants: FloatArray

    def __post_init__(self) -> None:
        """Make the array read-only and check its shape."""
        object.__setattr__(self, "force_constants", read_only(self.force_constants))
        expected = (self.crystal.n_atoms, self.supercell.n_atoms, 3, 3)
        if self.force_constants.shape != expected:
            raise InputError(
                f"Force constants have shape {self.force_constants.shape}, expected {expected} "
                f"for a supercell of {self.supercell.n_atoms} atoms."
            )
        if not np.all(np.isfinite(self.force_constants)):
            raise InputError("Force constants hold a value that is not a finite number.")

    @property
    def crystal(self) -> Crystal:
        """The primitive cell with its centroids."""
        return self.supercell.primitive

    def table(self) -> Table:
        """Return the crystal, its supercell and the range of its modes."""
        crystal = self.crystal
        rows = (
            ("primitive cell", cations_first(crystal.to_ase().get_chemical_formula())),
            ("supercell", "×".join(str(n) for n in self.supercell.size)),
            ("atoms", str(self.supercell.n_atoms)),
            ("volume", f"{crystal.volume / crystal.n_atoms:.4f} Å³/atom"),
            ("modes", f"{span(self.modes.frequencies_thz.tolist(), 3)} THz"),
        )
        return Table("Dynamical matrix", rows)

    @cached_property
    def matrix(self) -> FloatArray:
        """Force constants of the whole supercell, shape (3 n_atoms, 3 n_atoms), eV/Å²."""
        return read_only(expand(self.supercell, self.force_constants))

    @cached_property
    def modes(self) -> Modes:
        """Normal modes of the supercell without the three translations."""
        return normal_modes(self.supercell, self.half_grid)

    @cached_property
    def half_grid(self) -> ComplexArray:
        """Fourier transform on the half grid, (n_half, 3 n_primitive, 3 n_primitive), eV/Å²."""
        return hermitian(dynamical(self.supercell.grid, self.force_constants))

    @cached_property
    def optical_compliance(self) -> FloatArray:
        """Inverse of the force constants at q = 0 without the translations, Å²/eV.

        Shape (3 n_primitive, 3 n_primitive): forces on the primitive atoms, the same in every
        cell, to the displacements that answer them; translations get none.
        """
        matrix = self.half_grid[0].real
        n_primitive = self.crystal.n_atoms
        uniform = np.tile(np.eye(3), (n_primitive, n_primitive)) / n_primitive
        scale = float(np.abs(matrix).max()) or 1.0
        rest = np.eye(3 * n_primitive) - uniform
        inverse = np.linalg.inv(rest @ matrix @ rest + scale * uniform)
        return read_only(rest @ inverse @ rest)

    @property
    def is_positive(self) -> bool:
        """Whether every mode but the translations has a real frequency above zero."""
        return bool(np.all(self.modes.frequencies > 0))

    def with_force_constants(self, force_constants: ArrayLike) -> "DynamicalMatrix":
        """Return the same crystal with other force constants (compact form)."""
        return replace(self, force_constants=np.asarray(force_constants))

    def strained(self, strain: ArrayLike) -> "DynamicalMatrix":
        """Return the strained crystal with unchanged force constants."""
        return replace(
            self, supercell=Supercell(self.crystal.strained(strain), self.supercell.size)
        )

    def moved(self, displacements: ArrayLike) -> "DynamicalMatrix":
        """Return the crystal with moved centroids, displacements (n_primitive, 3) in Å."""
        moved = Supercell(self.crystal.moved(displacements), self.supercell.size)
        return replace(self, supercell=moved)

    def harmonic_forces(self, displacements: NDArray[np.float64]) -> FloatArray:
        """``-Phi u`` of displacements (n_configs, 3 n_atoms) in Å, same shape, eV/Å."""
        at_q = self.supercell.to_reciprocal(displacements)
        return -self.supercell.from_reciprocal(self.half_grid @ at_q)

    def at_qpoints(self) -> ComplexArray:
        """Mass-weighted dynamical matrices on the commensurate grid.

        Returns
        -------
        Shape (n_cells, 3 n_primitive, 3 n_primitive), eV/(amu Å²), with the phase convention
        ``exp(2 pi i q . T)`` (T the lattice translation, not the distance between atoms).
        """
        root = np.sqrt(self.crystal.masses3)
        return self.supercell.grid.full(self.half_grid / (root[:, None] * root[None, :]))

    def frequencies_at_qpoints(self) -> FloatArray:
        """Angular frequencies on the commensurate grid, ascending, (n_cells, 3 n_primitive).

        The translations at q = 0 are exactly zero.
        """
        return np.sort(self.supercell.grid.full(self.modes.at_q), axis=1)


def signed_root(values: NDArray[np.floating[Any]]) -> FloatArray:
    """Square root that keeps the sign: unstable modes get negative frequencies."""
    return np.asarray(np.sign(values) * np.sqrt(np.abs(values)))


def expand(supercell: Supercell, compact: NDArray[np.float64]) -> FloatArray:
    """Return the full (3 n_atoms, 3 n_atoms) matrix of compact force constants."""
    n_cells, n_primitive = supercell.n_cells, supercell.primitive.n_atoms
    blocks = compact.reshape(n_primitive, n_cells, n_primitive, 3, 3)
    full = blocks[:, supercell.difference_index]  # a, T, T', b, i, j
    size = 3 * supercell.n_atoms
    return np.asarray(full.transpose(1, 0, 4, 2, 3, 5).reshape(size, size))


def contract(supercell: Supercell, matrix: NDArray[np.float64]) -> FloatArray:
    """Average a full matrix over lattice translations into compact form.

    Parameters
    ----------
    supercell
        The supercell.
    matrix
        Shape (3 n_atoms, 3 n_atoms).

    Returns
    -------
    Shape (n_primitive, n_atoms, 3, 3).
    """
    n_cells, n_primitive = supercell.n_cells, supercell.primitive.n_atoms
    blocks = matrix.reshape(n_cells, n_primitive, 3, n_cells, n_primitive, 3)
    blocks = blocks.transpose(0, 3, 1, 4, 2, 5)  # T, T', a, b, i, j
    result = np.zeros((n_cells, n_primitive, n_primitive, 3, 3))
    np.add.at(result, supercell.difference_index.ravel(), blocks.reshape(-1, *blocks.shape[2:]))
    result /= n_cells
    return np.asarray(result.transpose(1, 0, 2, 3, 4).reshape(n_primitive, supercell.n_atoms, 3, 3))


def normal_modes(supercell: Supercell, matrices: ComplexArray) -> Modes:
    """Diagonalise the force constants of each wave vector, the translations set apart.

    Parameters
    ----------
    supercell
        The supercell.
    matrices
        Force constants on the half grid, Hermitian, shape (n_half, 3n, 3n), eV/Å².
    """
    root = np.sqrt(supercell.primitive.masses3)
    weighted = matrices / (root[:, None] * root[None, :])
    scale = 2 * float(np.linalg.norm(weighted[0])) + 1.0
    translations = np.tile(np.eye(3), (supercell.primitive.n_atoms, 1)) * root[:, None]
    translations /= np.linalg.norm(translations, axis=0)
    rest = np.eye(len(root)) - translations @ translations.T
    # Translations are moved below the spectrum, where they cannot mix with anything.
    weighted[0] = rest @ weighted[0] @ rest - scale * translations @ translations.T
    real = supercell.grid.is_real
    values = np.empty(weighted.shape[:2])
    vectors = np.empty_like(weighted)
    values[real], vectors[real] = np.linalg.eigh(weighted[real].real)
    values[~real], vectors[~real] = np.linalg.eigh(weighted[~real])
    values[0, :3] = 0.0
    return Modes(supercell, read_only(signed_root(values)), vectors)


def symmetrise(group: SpaceGroup, force_constants: NDArray[np.float64]) -> FloatArray:
    """Impose the space group, Phi_IJ = Phi_JI^T and the acoustic sum rule on force constants.

    Parameters
    ----------
    group
        Operations of the supercell.
    force_constants
        Compact form, shape (n_primitive, n_atoms, 3, 3), eV/Å².
    """
    grid = group.supercell.grid
    return compact(grid, project(group, dynamical(grid, force_constants)))


def project(group: SpaceGroup, matrices: ComplexArray) -> ComplexArray:
    """Project matrices on the half grid on what a crystal allows.

    The projection is orthogonal: the Hermitian part, its average over the space group and time
    reversal, and at q = 0 ``P D P`` with ``P = 1 - sum |t><t|`` over the translations.

    Parameters
    ----------
    group
        Operations of the supercell.
    matrices
        Shape (n_half, 3 n_primitive, 3 n_primitive).
    """
    irreducible = group.stars.fold(hermitian(matrices))
    n_primitive = group.supercell.primitive.n_atoms
    blocks = irreducible[0].reshape(n_primitive, 3, n_primitive, 3)
    blocks = blocks - blocks.mean(axis=0, keepdims=True)
    blocks = blocks - blocks.mean(axis=2, keepdims=True)
    irreducible[0] = blocks.reshape(irreducible[0].shape)
    return group.stars.spread(irreducible)


def make_positive(
    dynamical_matrix: DynamicalMatrix, *, smallest_thz: float = 0.1
) -> tuple[DynamicalMatrix, int]:
    """Replace unstable and very soft modes by stable ones, as a start for the SSCHA.

    Parameters
    ----------
    dynamical_matrix
        Force constants that may have imaginary frequencies.
    smallest_thz
        Frequencies keep their modulus, but at least this one.

    Returns
    -------
    The positive-definite dynamical matrix, and how many supercell modes were changed.
    """
    modes = dynamical_matrix.modes
    smallest = smallest_thz * units.THZ
    changed = int((modes.frequencies < smallest).sum())
    if not changed:
        return dynamical_matrix, 0
    lifted = np.where(modes.moving, np.maximum(np.abs(modes.at_q), smallest), 0.0)
    grid = dynamical_matrix.supercell.grid
    matrices = from_modes(modes, lifted**2)
    return dynamical_matrix.with_force_constants(compact(grid, matrices)), changed


def from_modes(modes: Modes, values: NDArray[np.float64]) -> ComplexArray:
    """Force constants on the half grid with given squared frequencies.

    Parameters
    ----------
    modes
        Polarisation vectors.
    values
        Squared angular frequencies, shape (n_half, 3 n_primitive), eV/(amu Å²).

    Returns
    -------
    Shape (n_half, 3 n_primitive, 3 n_primitive), eV/Å².
    """
    root = np.sqrt(modes.supercell.primitive.masses3)
    scaled = modes.polarisations * root[:, None]
    return hermitian((scaled * values[:, None, :]) @ scaled.conj().transpose(0, 2, 1))
