"""Force constants of a crystal: modes, frequencies, and projections onto what is physical."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sscha_mlp import units
from sscha_mlp.crystal.structure import Crystal, FloatArray, read_only
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import SpaceGroup
from sscha_mlp.errors import InputError


@dataclass(frozen=True, eq=False)
class Modes:
    """Normal modes of the supercell, the three translations left out.

    Parameters
    ----------
    frequencies
        Angular frequencies, shape (n_modes,), ``sqrt(eV/(amu Å²))``; negative when unstable.
    vectors
        Orthonormal mass-weighted eigenvectors as columns, shape (3 n_atoms, n_modes).
    """

    frequencies: FloatArray
    vectors: FloatArray

    @property
    def frequencies_thz(self) -> FloatArray:
        """Frequencies in THz, shape (n_modes,)."""
        return self.frequencies / units.THZ


@dataclass(frozen=True, eq=False)
class DynamicalMatrix:
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

    @cached_property
    def matrix(self) -> FloatArray:
        """Force constants of the whole supercell, shape (3 n_atoms, 3 n_atoms), eV/Å²."""
        return read_only(expand(self.supercell, self.force_constants))

    @cached_property
    def modes(self) -> Modes:
        """Normal modes of the supercell without the three translations."""
        return normal_modes(self.supercell, self.matrix)

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

    def at_qpoints(self) -> NDArray[np.complex128]:
        """Mass-weighted dynamical matrices on the commensurate grid.

        Returns
        -------
        Shape (n_cells, 3 n_primitive, 3 n_primitive), eV/(amu Å²), with the phase convention
        ``exp(2 pi i q . T)`` (T the lattice translation, not the distance between atoms).
        """
        return mass_weighted_at_qpoints(self.supercell, self.force_constants)

    def frequencies_at_qpoints(self) -> FloatArray:
        """Angular frequencies on the commensurate grid, shape (n_cells, 3 n_primitive)."""
        values = np.linalg.eigvalsh(self.at_qpoints())
        return signed_root(values)


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


def mass_weighted_at_qpoints(
    supercell: Supercell, force_constants: NDArray[np.float64]
) -> NDArray[np.complex128]:
    """Fourier transform of compact force constants, divided by the square root of the masses."""
    n_cells, n_primitive = supercell.n_cells, supercell.primitive.n_atoms
    blocks = force_constants.reshape(n_primitive, n_cells, n_primitive, 3, 3)
    phases = np.exp(2j * np.pi * supercell.qpoints @ supercell.translations.T)
    matrices = np.einsum("qT,aTbij->qaibj", phases, blocks)
    matrices = matrices.reshape(n_cells, 3 * n_primitive, 3 * n_primitive)
    root = np.sqrt(np.repeat(supercell.primitive.masses, 3))
    matrices /= root[:, None] * root[None, :]
    return np.asarray(0.5 * (matrices + matrices.conj().transpose(0, 2, 1)))


def normal_modes(supercell: Supercell, matrix: NDArray[np.float64]) -> Modes:
    """Diagonalise the force constants of a supercell in the space without translations."""
    root = np.sqrt(supercell.masses3)
    dynamical = matrix / (root[:, None] * root[None, :])
    translations = np.tile(np.eye(3), (supercell.n_atoms, 1)) * root[:, None]
    translations /= np.linalg.norm(translations, axis=0)
    scale = np.linalg.norm(dynamical)
    shifted = 0.5 * (dynamical + dynamical.T)
    shifted = shifted - translations @ (translations.T @ shifted)
    shifted = shifted - (shifted @ translations) @ translations.T
    # Translations are moved above the spectrum, where they cannot mix with anything.
    values, vectors = np.linalg.eigh(shifted + 2 * scale * translations @ translations.T)
    return Modes(read_only(signed_root(values[:-3])), read_only(vectors[:, :-3]))


def apply_sum_rule(supercell: Supercell, force_constants: NDArray[np.float64]) -> FloatArray:
    """Project compact force constants onto those without force under a uniform translation.

    The projection ``P Phi P`` with ``P = 1 - sum |t><t|`` keeps every symmetry.
    """
    symmetric = permute(supercell, force_constants)
    rows = symmetric.mean(axis=-3, keepdims=True)
    n_primitive = supercell.primitive.n_atoms
    columns = symmetric.mean(axis=-4)  # over the rows of one cell, then over the cells
    folded = columns.reshape(*columns.shape[:-3], supercell.n_cells, n_primitive, 3, 3)
    columns = np.broadcast_to(folded.mean(axis=-4, keepdims=True), folded.shape)
    columns = columns.reshape(*symmetric.shape[:-4], 1, supercell.n_atoms, 3, 3)
    total = rows.mean(axis=-4, keepdims=True)
    return np.asarray(symmetric - rows - columns + total)


def permute(supercell: Supercell, force_constants: NDArray[np.float64]) -> FloatArray:
    """Average compact force constants with their transpose: Phi_IJ = Phi_JI^T."""
    n_cells, n_primitive = supercell.n_cells, supercell.primitive.n_atoms
    lead = force_constants.shape[:-4]
    blocks = force_constants.reshape(*lead, n_primitive, n_cells, n_primitive, 3, 3)
    inverse = supercell.cell_index(-supercell.translations)
    swapped = np.swapaxes(blocks, -5, -3)[..., inverse, :, :, :]
    swapped = np.swapaxes(swapped, -1, -2)
    return np.asarray(0.5 * (blocks + swapped).reshape(force_constants.shape))


def symmetrise(group: SpaceGroup, force_constants: NDArray[np.float64]) -> FloatArray:
    """Impose the space group, Phi_IJ = Phi_JI^T and the acoustic sum rule on force constants.

    Parameters
    ----------
    group
        Operations of the supercell.
    force_constants
        Compact form, shape (..., n_primitive, n_atoms, 3, 3), eV/Å².
    """
    averaged = group.symmetrise_force_constants(force_constants)
    return apply_sum_rule(group.supercell, averaged)


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
    changed = modes.frequencies < smallest
    if not np.any(changed):
        return dynamical_matrix, 0
    frequencies = np.maximum(np.abs(modes.frequencies), smallest)
    root = np.sqrt(dynamical_matrix.supercell.masses3)
    vectors = modes.vectors * root[:, None]
    matrix = (vectors * frequencies**2) @ vectors.T
    compact = contract(dynamical_matrix.supercell, matrix)
    return dynamical_matrix.with_force_constants(compact), int(changed.sum())
