r"""How stress and centroids answer a strain: the elastic stiffness, internal strain included.

In the strains ``e`` that the space group allows, with the stress ``s`` and the forces ``f`` on the
atoms of the primitive cell, both at fixed scaled positions,

    C_clamped = ds/de,   L = df/de,   u = K⁺ L e,   C_relaxed = C_clamped - L^T K⁺ L / V

where K are the force constants at q = 0 and K⁺ leaves the translations out (M. Born and K. Huang,
Dynamical Theory of Crystal Lattices, 1954).  The two stiffnesses differ by a factor of seven in
quartz, whose tetrahedra turn.  C and L are those of the static lattice of the model, by central
differences; K are the force constants of the state, which are positive, so that no label and few
evaluations are needed.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sscha_mlp import units
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.crystal.symmetry import SpaceGroup
from sscha_mlp.errors import RelaxationError
from sscha_mlp.scha.cell import Evaluator

_STRAIN: float = 2.0e-3

_SOFTEST: float = 0.02
"""No strain is taken for softer than this part of what clamped atoms would make of it."""


@dataclass(frozen=True, eq=False)
class CellResponse:
    """Linear answer of a crystal to the strains that its space group allows.

    Parameters
    ----------
    strains
        Orthonormal basis of these strains, shape (n, 3, 3).
    clamped
        Stiffness at fixed scaled positions in this basis, shape (n, n), eV/Å³.
    relaxed
        The same where the centroids follow, not above ``clamped``.
    displacements
        How far they follow each strain, beyond the homogeneous strain, shape (n, n_primitive, 3),
        Å.
    """

    strains: FloatArray
    clamped: FloatArray
    relaxed: FloatArray
    displacements: FloatArray

    @cached_property
    def traces(self) -> FloatArray:
        """Relative change of the volume per strain, shape (n,)."""
        return np.asarray(np.trace(self.strains, axis1=1, axis2=2))

    @cached_property
    def stiffness(self) -> FloatArray:
        """Relaxed stiffness, made positive: no strain softer than 2 % of the clamped one."""
        clamped = _positive(self.clamped)
        root = np.linalg.cholesky(clamped)
        inverse = np.linalg.inv(root)
        values, vectors = np.linalg.eigh(inverse @ self.relaxed @ inverse.T)
        back = root @ vectors
        return np.asarray((back * np.maximum(values, _SOFTEST)) @ back.T)

    @property
    def clamped_bulk_modulus(self) -> float:
        """``-V dP/dV`` at fixed scaled positions and shape, eV/Å³."""
        return float(self.traces @ self.clamped @ self.traces) / 9.0

    @property
    def bulk_modulus(self) -> float:
        """``-V dP/dV`` under a pressure, shape and centroids following it, eV/Å³.

        Zero for a potential without stress, as a toy in a fixed cell may be.
        """
        if not self.clamped.any():
            return 0.0
        return 1.0 / float(self.traces @ np.linalg.solve(self.stiffness, self.traces))

    def components(self, tensor: NDArray[np.float64]) -> FloatArray:
        """Components of symmetric tensors (..., 3, 3) in the basis of the strains, (..., n)."""
        return np.asarray(np.tensordot(tensor, self.strains, axes=([-2, -1], [1, 2])))

    def following(self, components: NDArray[np.float64]) -> FloatArray:
        """How the centroids follow a strain, shape (n_primitive, 3), Å."""
        return np.asarray(np.tensordot(components, self.displacements, axes=1))

    def check(self) -> None:
        """Refuse a lattice that collapses.

        Raises
        ------
        RelaxationError
            If the clamped stiffness has no positive bulk modulus.
        """
        if not self.clamped_bulk_modulus > 0:
            raise RelaxationError(
                f"The bulk modulus of the model is {self.clamped_bulk_modulus / units.GPA:.1f} GPa "
                "at this cell: the model has left its domain; it knows too little of other volumes."
            )


def cell_response(
    evaluator: Evaluator, state: DynamicalMatrix, group: SpaceGroup, *, strain: float = _STRAIN
) -> CellResponse:
    """Return the answer of stress and centroids to each strain, by central differences.

    Parameters
    ----------
    evaluator
        The potential.
    state
        Cell, centroids, and the force constants that the centroids follow by.
    group
        Space group that the strains keep.
    strain
        Size of each strain.
    """
    strains, crystal = group.invariant_strains, state.supercell.crystal
    frames = [
        crystal.strained(sign * strain * one).to_ase() for one in strains for sign in (1.0, -1.0)
    ]
    values = evaluator.evaluate(frames)
    stresses = np.asarray(values.stresses)
    change = (stresses[0::2] - stresses[1::2]) / (2 * strain)
    clamped = np.tensordot(change, strains, axes=([1, 2], [1, 2]))
    n_primitive, n_cells = state.crystal.n_atoms, state.supercell.n_cells
    forces = np.array([np.asarray(one) for one in values.forces])
    forces = forces.reshape(len(frames), n_cells, n_primitive, 3).mean(axis=1)
    pulls = group.symmetrise_vectors((forces[0::2] - forces[1::2]) / (2 * strain))
    flat = pulls.reshape(len(strains), -1)
    moved = flat @ state.optical_compliance
    return CellResponse(
        strains=strains,
        clamped=0.5 * (clamped + clamped.T),
        relaxed=0.5 * (clamped + clamped.T) - flat @ moved.T / state.crystal.volume,
        displacements=group.symmetrise_vectors(moved.reshape(pulls.shape)),
    )


def _positive(matrix: NDArray[np.float64]) -> FloatArray:
    """Symmetric matrix whose smallest eigenvalue is at least 2 % of the largest modulus."""
    values, vectors = np.linalg.eigh(matrix)
    values = np.abs(values)
    return np.asarray((vectors * np.maximum(values, _SOFTEST * values.max())) @ vectors.T)
