r"""The electric dipoles of moving ions in a polar crystal: why LO and TO modes part at q = 0.

The long-range part of the force constants of ions with Born charges Z in a medium with the
dielectric tensor eps is, in Gaussian damping of width Lambda,

    C_ab(q) = 4 pi e² / V  sum_K  (K Z_a)(K Z_b) / (K eps K)
              exp(-K eps K / 4 Lambda²) exp(i K (r_a - r_b)),   K = q + G,

with the term K = 0 left out.  It holds all that is not analytic at q = 0 (X. Gonze and C. Lee,
Phys. Rev. B 55, 10355 (1997), whose sum in real space is short-ranged and stays with the force
constants).  Approached along n, the limit q -> 0 adds ``4 pi e²/V (n Z_a)(n Z_b)/(n eps n)``.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import constants

from sscha_mlp.crystal.born_charges import BornCharges
from sscha_mlp.crystal.reciprocal import ComplexArray
from sscha_mlp.crystal.structure import Crystal, FloatArray

COULOMB: float = constants.e / (4.0 * np.pi * constants.epsilon_0 * constants.angstrom)
"""``e² / (4 pi eps_0)`` in eV Å."""

_DAMPING = 2.5
"""Lambda in units of sqrt(eps) / V^(1/3)."""

_CUTOFF = 28.0
"""Terms damped by more than exp(-28) are left out."""

_SMALL = 1.0e-10
"""Wave vectors shorter than this (reciprocal-lattice units) are zero."""


@dataclass(frozen=True, eq=False)
class DipoleSum:
    """The long-range part of the force constants of a polar crystal.

    Parameters
    ----------
    crystal
        The primitive cell.
    born
        Its Born charges and dielectric tensor.

    Raises
    ------
    InputError
        If the charges are not of as many atoms as the crystal has.
    """

    crystal: Crystal
    born: BornCharges

    def __post_init__(self) -> None:
        """Check the number of charges."""
        self.born.check_count(self.crystal)

    @property
    def damping(self) -> float:
        """Lambda, the width of the Gaussian damping, 1/Å."""
        determinant = float(np.linalg.det(self.born.dielectric))
        return float(_DAMPING * determinant ** (1.0 / 6.0) / self.crystal.volume ** (1.0 / 3.0))

    @cached_property
    def reciprocal_cell(self) -> FloatArray:
        """Reciprocal lattice vectors as rows, 2 pi included, shape (3, 3), 1/Å."""
        return np.asarray(2.0 * np.pi * np.linalg.inv(self.crystal.cell).T)

    @cached_property
    def _lattice(self) -> FloatArray:
        """Reciprocal lattice vectors that may matter for q in the first cell, (n_vectors, 3)."""
        bound = 4.0 * self.damping**2 * _CUTOFF
        longest = np.sqrt(bound / np.linalg.eigvalsh(self.born.dielectric).min())
        reach = np.ceil(longest * np.linalg.norm(self.crystal.cell, axis=1) / (2 * np.pi)) + 1
        axes = [np.arange(-n, n + 1) for n in reach]
        vectors = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        cartesian = vectors @ self.reciprocal_cell
        margin = 0.5 * np.linalg.norm(self.reciprocal_cell, axis=1).sum()
        return np.asarray(vectors[np.linalg.norm(cartesian, axis=1) < longest + margin])

    def at(
        self, qpoints: NDArray[np.float64], directions: NDArray[np.float64] | None = None
    ) -> ComplexArray:
        """Long-range part at wave vectors.

        Parameters
        ----------
        qpoints
            In units of the reciprocal lattice vectors, shape (n_qpoints, 3).
        directions
            From where q = 0 is approached, as in
            :meth:`sscha_mlp.properties.interpolation.Interpolation.dynamical_matrices`.

        Returns
        -------
        Shape (n_qpoints, 3 n_primitive, 3 n_primitive), eV/Å².
        """
        towards = np.zeros_like(qpoints) if directions is None else directions
        return np.array([self._at(q, n) for q, n in zip(qpoints, towards, strict=True)])

    def _at(self, qpoint: FloatArray, direction: FloatArray) -> ComplexArray:
        folded = qpoint - np.rint(qpoint)
        vectors = folded + self._lattice
        vectors = vectors[np.any(np.abs(vectors) > _SMALL, axis=1)] @ self.reciprocal_cell
        length = ((vectors @ self.born.dielectric) * vectors).sum(axis=1)
        exponent = length / (4.0 * self.damping**2)
        near = exponent < _CUTOFF
        vectors, weight = vectors[near], np.exp(-exponent[near]) / length[near]
        phases = np.exp(1j * vectors @ self.crystal.positions.T)
        polar = self._polarity(vectors) * phases[:, :, None]
        columns = polar.reshape(len(vectors), -1)
        result = (columns.T * weight) @ columns.conj()
        if np.all(np.abs(folded) < _SMALL) and np.any(np.abs(direction) > _SMALL):
            towards = direction @ self.reciprocal_cell
            along = self._polarity(towards[None]).ravel()
            result = result + np.outer(along, along) / (towards @ self.born.dielectric @ towards)
        return np.asarray(4.0 * np.pi * COULOMB / self.crystal.volume * result)

    def _polarity(self, vectors: FloatArray) -> FloatArray:
        """``K Z_a`` of each wave vector and atom, shape (n_vectors, n_primitive, 3)."""
        return np.asarray(np.einsum("ki,aij->kaj", vectors, self.born.charges))
