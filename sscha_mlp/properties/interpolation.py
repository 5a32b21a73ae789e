"""Dynamical matrices at any wave vector, from force constants of a finite supercell.

A force constant of a supercell belongs to an atom and all its periodic images.  It is given to the
nearest of them, in equal parts where several are equally near (the Wigner-Seitz cell of the
supercell).  At the wave vectors of the supercell all images have the same phase, so that nothing
changes there; the acoustic sum rule stays as well.

In polar crystals the dipoles reach farther than any supercell.  Their part is taken off before
and added after the interpolation (X. Gonze and C. Lee, Phys. Rev. B 55, 10355 (1997)).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from ase.geometry.minkowski_reduction import minkowski_reduce
from numpy.typing import ArrayLike, NDArray

from sscha_mlp import units
from sscha_mlp.crystal.born_charges import BornCharges
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix, signed_root
from sscha_mlp.crystal.reciprocal import ComplexArray, compact, hermitian
from sscha_mlp.crystal.structure import Crystal, FloatArray, IntArray
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import SYMMETRY_TOLERANCE, find_space_group
from sscha_mlp.errors import InputError, StructureError
from sscha_mlp.properties.dipoles import DipoleSum
from sscha_mlp.quantities import cations_first
from sscha_mlp.tables import Shown, Table

_ASYMMETRY = 1.0e-6
"""Relative change by symmetrisation up to which force constants have the symmetry."""

_BATCH = 512
"""Wave vectors treated at once: bounds the memory."""


@dataclass(frozen=True, eq=False)
class Interpolation(Shown):
    """Force constants as a Fourier series over lattice translations.

    Parameters
    ----------
    crystal
        The primitive cell.
    translations
        Lattice translations, whole numbers, shape (n_translations, 3).
    force_constants
        Short-range force constants between the primitive cell and each translated one, shape
        (n_translations, 3 n_primitive, 3 n_primitive), eV/Å².
    rotations
        Rotations in lattice coordinates under which the force constants are invariant, shape
        (n_rotations, 3, 3).
    dipoles
        The long-range part; None without Born charges.
    """

    crystal: Crystal
    translations: IntArray
    force_constants: FloatArray
    rotations: IntArray
    dipoles: DipoleSum | None = None

    @cached_property
    def _root_masses(self) -> FloatArray:
        return np.asarray(np.sqrt(self.crystal.masses3))

    def dynamical_matrices(
        self, qpoints: ArrayLike, directions: ArrayLike | None = None
    ) -> ComplexArray:
        """Mass-weighted dynamical matrices.

        Parameters
        ----------
        qpoints
            In units of the reciprocal lattice vectors, shape (n_qpoints, 3).
        directions
            Directions in which q = 0 is approached, in the same units and of the same shape; they
            matter at q = 0 in polar crystals alone.  Without them, or where they are zero, q = 0
            has no macroscopic electric field.

        Returns
        -------
        Shape (n_qpoints, 3 n_primitive, 3 n_primitive), eV/(amu Å²), with the phase convention
        ``exp(2 pi i q . T)``.

        Raises
        ------
        InputError
            If the shapes do not fit, or a value is not finite.
        """
        points = _as_qpoints(qpoints)
        towards = np.zeros_like(points) if directions is None else _as_qpoints(directions)
        if towards.shape != points.shape:
            raise InputError(
                f"{len(points)} q points have {len(towards)} directions; give as many."
            )
        size = len(self._root_masses)
        result = np.empty((len(points), size, size), dtype=np.complex128)
        for start in range(0, len(points), _BATCH):
            part = slice(start, start + _BATCH)
            result[part] = self._cartesian(points[part], towards[part])
        return result / (self._root_masses[:, None] * self._root_masses)

    def _cartesian(self, points: FloatArray, towards: FloatArray) -> ComplexArray:
        """Hermitian matrices in eV/Å² of one batch of wave vectors."""
        phases: ComplexArray = np.exp(2j * np.pi * points @ self.translations.T)
        flat: ComplexArray = phases @ self.force_constants.reshape(len(self.translations), -1)
        matrices: ComplexArray = flat.reshape(-1, *self.force_constants.shape[1:])
        if self.dipoles is not None:
            matrices = matrices + self.dipoles.at(points, towards)
        return hermitian(matrices)

    def in_supercell(self, size: tuple[int, int, int]) -> DynamicalMatrix:
        """Force constants of a supercell, whose wave vectors need not be those of the first one.

        Parameters
        ----------
        size
            Repetitions of the primitive cell.
        """
        supercell = Supercell(self.crystal, size)
        grid = supercell.grid
        points = supercell.qpoints[grid.index]
        matrices = grid.reduced(self._cartesian(points, np.zeros_like(points)))
        return DynamicalMatrix(supercell, compact(grid, matrices))

    def frequencies(self, qpoints: ArrayLike, directions: ArrayLike | None = None) -> FloatArray:
        """Angular frequencies, ascending, shape (n_qpoints, 3 n_primitive), ``sqrt(eV/(amu Å²))``.

        Unstable modes are negative.  Parameters are those of :meth:`dynamical_matrices`.
        """
        points = _as_qpoints(qpoints)
        values = np.empty((len(points), len(self._root_masses)))
        for start in range(0, len(points), _BATCH):
            part = slice(start, start + _BATCH)
            towards = None if directions is None else np.asarray(directions)[part]
            values[part] = np.linalg.eigvalsh(self.dynamical_matrices(points[part], towards))
        return signed_root(values)

    def frequencies_thz(
        self, qpoints: ArrayLike, directions: ArrayLike | None = None
    ) -> FloatArray:
        """Frequencies in THz, otherwise as :meth:`frequencies`."""
        return self.frequencies(qpoints, directions) / units.THZ

    def table(self) -> Table:
        """Return what is interpolated."""
        rows = (
            ("primitive cell", cations_first(self.crystal.to_ase().get_chemical_formula())),
            ("lattice translations", str(len(self.translations))),
            ("rotations", str(len(self.rotations))),
            ("dipoles", "no" if self.dipoles is None else "yes"),
        )
        return Table("Interpolated force constants", rows)


def interpolate(state: DynamicalMatrix, *, born: BornCharges | None = None) -> Interpolation:
    """Prepare the interpolation of force constants between the wave vectors of their supercell.

    Parameters
    ----------
    state
        Force constants of a supercell.
    born
        Born charges and dielectric tensor of a polar crystal.

    Raises
    ------
    InputError
        If the charges are not of as many atoms as the primitive cell has.
    """
    dipoles = None if born is None else DipoleSum(state.crystal, born)
    constants = state.force_constants
    supercell = state.supercell
    if dipoles is not None:
        at_q = dipoles.at(supercell.qpoints[supercell.grid.index])
        long_range = compact(supercell.grid, supercell.grid.reduced(hermitian(at_q)))
        constants = constants - long_range
    translations, weights = nearest_images(supercell)
    unique, place = np.unique(translations.reshape(-1, 3), axis=0, return_inverse=True)
    n = supercell.primitive.n_atoms
    series = np.zeros((len(unique), n, n, 3, 3))
    first, second, image = np.nonzero(weights)
    target = place.reshape(weights.shape)[first, second, image]
    parts = weights[first, second, image, None, None] * constants[first, second]
    np.add.at(series, (target, first, supercell.primitive_index[second]), parts)
    matrices = series.transpose(0, 1, 3, 2, 4).reshape(len(unique), 3 * n, 3 * n)
    return Interpolation(state.crystal, unique, matrices, _rotations(state), dipoles)


def _rotations(state: DynamicalMatrix) -> IntArray:
    """Rotations under which force constants are invariant; the identity alone if in doubt.

    A supercell may have less symmetry than the crystal, and a run may impose less.
    """
    try:
        group = find_space_group(state.supercell)
    except StructureError:
        return np.eye(3, dtype=np.int64)[None]
    change = group.symmetrise_force_constants(state.force_constants) - state.force_constants
    if np.abs(change).max() > _ASYMMETRY * np.abs(state.force_constants).max():
        return np.eye(3, dtype=np.int64)[None]
    return group.rotations


def interpolate_change(
    state: DynamicalMatrix,
    harmonic: DynamicalMatrix,
    fine: DynamicalMatrix,
    *,
    born: BornCharges | None = None,
) -> Interpolation:
    """Interpolate an anharmonic change from a small supercell, harmonic ones from a large one.

    ``Phi = Phi_fine + (Phi_state - Phi_harmonic)``: the change is often shorter-ranged than the
    force constants themselves.  At the wave vectors that both supercells have, the frequencies are
    those of ``state`` if ``fine`` and ``harmonic`` agree there.

    Parameters
    ----------
    state
        Force constants of the SSCHA.
    harmonic
        Harmonic force constants in the same supercell.
    fine
        Harmonic force constants of the same crystal in a larger supercell.
    born
        Born charges of a polar crystal; the dipoles belong to the harmonic part.

    Raises
    ------
    InputError
        If the three are not of the same atoms, or the first two not of the same supercell.
    """
    same_atoms = all(
        np.array_equal(state.crystal.numbers, one.crystal.numbers) for one in (harmonic, fine)
    )
    if not same_atoms or state.supercell.size != harmonic.supercell.size:
        raise InputError(
            "An anharmonic change needs the harmonic force constants of the same crystal twice: in "
            "the supercell of the SSCHA, and in a larger one."
        )
    change = state.force_constants - harmonic.force_constants
    base = interpolate(fine, born=born)
    added = interpolate(state.with_force_constants(change))
    shared = [np.any(np.all(one == added.rotations, axis=(1, 2))) for one in base.rotations]
    return Interpolation(
        state.crystal,
        np.concatenate([base.translations, added.translations]),
        np.concatenate([base.force_constants, added.force_constants]),
        base.rotations[np.array(shared)],
        base.dipoles,
    )


def nearest_images(
    supercell: Supercell, *, tolerance: float = SYMMETRY_TOLERANCE
) -> tuple[IntArray, FloatArray]:
    """Find the nearest periodic images of the atoms of a supercell.

    Parameters
    ----------
    supercell
        The supercell.
    tolerance
        Distances (Å) that differ by less count as equal.

    Returns
    -------
    The lattice translation from each atom of the primitive cell to the cell of each image, whole
    numbers, shape (n_primitive, n_atoms, n_images, 3), and the weight of each image, shape
    (n_primitive, n_atoms, n_images); weights of the images of one atom add up to one, and are zero
    beyond the nearest.
    """
    primitive, size = supercell.primitive, np.array(supercell.size)
    _, basis = minkowski_reduce(supercell.crystal.cell)
    reduced = basis @ supercell.crystal.cell
    spans = supercell.crystal.positions[None] - primitive.positions[:, None]
    folded = -np.rint(spans @ np.linalg.inv(reduced)).astype(np.int64)
    around = np.array(list(np.ndindex(5, 5, 5))) - 2
    shifts = (folded[:, :, None] + around) @ basis
    distances = np.linalg.norm(spans[:, :, None] + shifts @ supercell.crystal.cell, axis=-1)
    nearest = distances < distances.min(axis=-1, keepdims=True) + tolerance
    used = nearest.any(axis=(0, 1))
    weights = nearest[:, :, used] / nearest.sum(axis=-1, keepdims=True)
    cells = np.repeat(supercell.translations, primitive.n_atoms, axis=0)
    return cells[None, :, None] + (shifts * size)[:, :, used], weights


def _as_qpoints(values: ArrayLike) -> NDArray[np.float64]:
    """Return wave vectors as an array of shape (n, 3)."""
    points = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if points.ndim != 2 or points.shape[1] != 3 or not np.all(np.isfinite(points)):
        raise InputError(
            f"Wave vectors of shape {points.shape} cannot be used; give finite numbers, three for "
            "each, in units of the reciprocal lattice vectors."
        )
    return points
