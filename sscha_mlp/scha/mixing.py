r"""Steps of the self-consistent iteration: accelerated, and positive whatever their length.

The map from a state to ``< d²V/du² >`` and ``R + Phi^-1 < f >`` has the SSCHA minimum as its fixed
point.  Its steps are combined by Anderson's method (J. ACM 12, 547 (1965)): the next state is the
mixture of earlier ones whose residuals cancel best, plus a part of the residual that is left.
States are compared in the modes of the first one, relative to its frequencies and amplitudes, so
that soft modes count as much as hard ones.

A change dPhi multiplies Phi, in the eigenvectors of ``Phi^-1/2 dPhi Phi^-1/2``, by ``1 + b`` for an
eigenvalue b >= 0 and by ``1 / (1 - b)`` for b < 0.  Small steps are as asked for, and no step makes
a mode unstable.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sscha_mlp import units
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.reciprocal import ComplexArray, compact, hermitian
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.errors import RelaxationError
from sscha_mlp.scha.estimators import Estimators

_HISTORY: int = 6
_LARGEST_FACTOR: float = 4.0
_SMALLEST_FACTOR: float = 1.0e-4


@dataclass(eq=False)
class Mixer:
    """Anderson's method for the self-consistent iteration of one ensemble.

    Parameters
    ----------
    start
        First state; it sets the scale.
    step
        Part of the residual that is added, above 0 and at most 1.
    relax_centroids
        Whether the centroids move.
    """

    start: Gaussian
    step: float
    relax_centroids: bool
    _states: list[FloatArray] = field(default_factory=list)
    _residuals: list[FloatArray] = field(default_factory=list)

    def next_state(self, current: Estimators) -> DynamicalMatrix:
        """Return the state that follows on one whose averages are known.

        Raises
        ------
        RelaxationError
            If a mode softens without limit.
        """
        state = current.trial.dynamical_matrix
        change = current.change_at_q
        shift = np.zeros((state.crystal.n_atoms, 3))
        if self.relax_centroids and current.group.has_free_coordinates:
            shift = centroid_step(state, current)
        moved = state.crystal.positions - self.start.dynamical_matrix.crystal.positions
        residual = self._pack(change, shift)
        if self._residuals and np.linalg.norm(residual) > np.linalg.norm(self._residuals[-1]):
            self.step = max(0.5 * self.step, 0.05)  # steep walls overshoot
            self._states.clear()
            self._residuals.clear()
        self._states.append(self._pack(state.half_grid, moved))
        self._residuals.append(residual)
        del self._states[:-_HISTORY], self._residuals[:-_HISTORY]
        change, shift = self._unpack(self._mixed_step())
        following = positive_step(current.trial, hermitian(change))
        if not shift.any():
            return following
        return following.moved(current.group.symmetrise_vectors(shift))

    def _mixed_step(self) -> FloatArray:
        """Step from the last state: ``beta g - (dX + beta dG) gamma``, dG gamma closest to g."""
        residual = self._residuals[-1]
        step = self.step * residual
        if len(self._states) == 1:
            return np.asarray(step)
        states = np.diff(np.array(self._states), axis=0).T
        residuals = np.diff(np.array(self._residuals), axis=0).T
        mixture = np.linalg.lstsq(residuals, residual, rcond=1.0e-8)[0]
        return np.asarray(step - (states + self.step * residuals) @ mixture)

    @cached_property
    def _scaling(self) -> ComplexArray:
        """``m^-1/2 e / omega`` of the start, shape (n_half, 3 n_primitive, n_bands)."""
        return mode_scaling(self.start)

    def _pack(self, matrices: ComplexArray, vectors: NDArray[np.float64]) -> FloatArray:
        """Matrices (n_half, 3n, 3n) and vectors (n, 3) as one real vector without dimension."""
        supercell = self.start.dynamical_matrix.supercell
        scaling = self._scaling
        scaled = scaling.conj().transpose(0, 2, 1) @ matrices @ scaling
        scaled *= np.sqrt(supercell.grid.weights)[:, None, None]
        root = np.sqrt(supercell.n_cells * supercell.primitive.masses3)
        polarisations = self.start.dynamical_matrix.modes.polarisations[0].real
        inverse = np.sqrt(self.start.inverse_squares_at_q[0])
        widths = inverse * (polarisations.T @ (root * vectors.ravel()))
        return np.concatenate([scaled.real.ravel(), scaled.imag.ravel(), widths])

    def _unpack(self, packed: NDArray[np.float64]) -> tuple[ComplexArray, FloatArray]:
        """Undo :meth:`_pack`."""
        supercell = self.start.dynamical_matrix.supercell
        shape = self.start.dynamical_matrix.half_grid.shape
        size = int(np.prod(shape))
        scaled = np.empty(shape, dtype=np.complex128)
        scaled.real, scaled.imag = packed[: 2 * size].reshape(2, *shape)
        scaled /= np.sqrt(supercell.grid.weights)[:, None, None]
        scaled = supercell.grid.reduced(scaled)
        modes = self.start.dynamical_matrix.modes
        squares = modes.at_q[:, :, None] * modes.at_q[:, None, :]
        matrices = self.start.from_modes(np.asarray(scaled * squares))
        root = np.sqrt(supercell.n_cells * supercell.primitive.masses3)
        amplitudes = np.sqrt(self.start.mean_squares_at_q[0]) * packed[2 * size :]
        vectors = (modes.polarisations[0].real @ amplitudes) / root
        return matrices, vectors.reshape(-1, 3)


def mode_scaling(state: Gaussian) -> ComplexArray:
    """``m^-1/2 e / omega``, zero for the translations, (n_half, 3 n_primitive, n_bands)."""
    modes = state.dynamical_matrix.modes
    inverse = np.divide(1.0, modes.at_q, out=np.zeros_like(modes.at_q), where=modes.moving)
    root = np.sqrt(state.dynamical_matrix.crystal.masses3)
    return np.asarray(modes.polarisations * inverse[:, None, :] / root[:, None])


def positive_step(state: Gaussian, change: ComplexArray) -> DynamicalMatrix:
    """Add a change to the force constants such that every mode stays stable.

    Parameters
    ----------
    state
        With positive force constants.
    change
        Hermitian, on the half grid, shape (n_half, 3 n_primitive, 3 n_primitive), eV/Å².

    Raises
    ------
    RelaxationError
        If a mode would lose all but 1 % of its frequency.
    """
    scaling = mode_scaling(state)
    relative = hermitian(scaling.conj().transpose(0, 2, 1) @ change @ scaling)
    values, vectors = np.linalg.eigh(relative)
    negative = np.minimum(values, 0.0)
    factors = np.where(values > 0, np.minimum(1 + values, _LARGEST_FACTOR), 1 / (1 - negative))
    if factors.min() < _SMALLEST_FACTOR:
        lowest = state.dynamical_matrix.modes.frequencies.min() / units.THZ
        raise RelaxationError(
            f"A mode of {lowest:.2f} THz or more softens without limit: the model may have left "
            "its domain, or the crystal may be unstable at this temperature and pressure."
        )
    changed = (vectors * (factors - 1)[:, None, :]) @ vectors.conj().transpose(0, 2, 1)
    at_q = state.dynamical_matrix.modes.at_q
    added = state.from_modes(changed * at_q[:, :, None] * at_q[:, None, :])
    grid = state.dynamical_matrix.supercell.grid
    constants = state.dynamical_matrix.force_constants + compact(grid, hermitian(added))
    return state.dynamical_matrix.with_force_constants(constants)


def centroid_step(state: DynamicalMatrix, estimators: Estimators) -> FloatArray:
    """Newton step of the centroids, ``Phi(q=0)^-1 <f>``, shape (n_primitive, 3), Å."""
    forces = estimators.centroid_forces.value
    step = np.linalg.pinv(state.half_grid[0].real, rcond=1.0e-6, hermitian=True) @ forces.ravel()
    return estimators.group.symmetrise_vectors(step.reshape(-1, 3))
