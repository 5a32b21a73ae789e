r"""Errors of the cell and of the centroids, from what each configuration says of stress and forces.

A configuration whose stress is off by ``ds`` and whose forces on the centroids are off by ``df``
would move strain and centroids, to first order, by

    e = - C^-1 (ds - (K⁺ L)^T df / V),   u = K⁺ df + K⁺ L e

with the relaxed stiffness C and the internal strain K⁺ L of :mod:`sscha_mlp.scha.cell_response`.
The mean over an ensemble has the error of these numbers, correlations of stress components and of
forces included; every parameter of the crystal is linear in them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sscha_mlp.crystal.free_parameters import FreeParameter
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.scha.cell_response import CellResponse
from sscha_mlp.scha.estimators import Estimators

_MIN_BLOCKS: Final = 12


@dataclass(frozen=True, eq=False)
class CellShifts:
    """How far each configuration would move cell and centroids, less the mean over all.

    Parameters
    ----------
    strain
        In the basis of the response, shape (n, n_strains).  Each is a part of the error of the
        mean: their squares sum up to its square.
    positions
        Shape (n, n_primitive, 3), Å.
    volume
        Relative change of the volume, shape (n,).
    """

    strain: FloatArray
    positions: FloatArray
    volume: FloatArray

    @property
    def volume_stderr(self) -> float:
        """Relative standard error of the volume."""
        return float(np.sqrt((self.volume**2).sum()))

    def stderr(self, parameter: FreeParameter) -> float:
        """Standard error of a parameter of the crystal."""
        moved = self.strain @ parameter.by_strain
        moved = moved + np.tensordot(self.positions, parameter.by_position, axes=2)
        return float(np.sqrt((moved**2).sum()))


def cell_shifts(
    averages: Estimators,
    response: CellResponse,
    free: FloatArray,
    *,
    stiffness: FloatArray | None = None,
    evenly_drawn: bool = False,
) -> CellShifts:
    """Return what an ensemble does not know of cell and centroids.

    Parameters
    ----------
    averages
        Of a potential at the state, or of a difference of two.
    response
        How stress and centroids answer a strain at this state.
    free
        Strains that the settings leave free, shape (n_free, 3, 3).
    stiffness
        In the basis of the response; its own when left out.
    evenly_drawn
        Whether the configurations come from a Sobol sequence, in their order: its blocks are the
        observations then, since single configurations vary more than the mean knows.
    """
    group, weights = averages.group, averages.weights
    antithetic = averages.samples.ensemble.antithetic
    stress = response.components(averages.stress_per_configuration)
    forces = group.symmetrise_vectors(averages.centroid_forces_per_configuration)
    flat = forces.reshape(len(forces), -1)
    dynamical_matrix = averages.trial.dynamical_matrix
    following = response.displacements.reshape(len(response.strains), -1)
    pull = stress - flat @ following.T / dynamical_matrix.crystal.volume
    within = response.components(free)
    matrix = within @ (response.stiffness if stiffness is None else stiffness) @ within.T
    strain = -(pull @ within.T) @ np.linalg.inv(matrix) @ within if len(free) else 0.0 * pull
    moved = flat @ dynamical_matrix.optical_compliance + strain @ following

    def parts(values: NDArray[np.float64]) -> FloatArray:
        return error_parts(values, weights, antithetic=antithetic, blocks=evenly_drawn)

    kept = parts(strain)
    return CellShifts(
        kept, parts(moved).reshape(len(kept), *forces.shape[1:]), kept @ response.traces
    )


def error_parts(
    values: NDArray[np.float64],
    weights: NDArray[np.float64],
    *,
    antithetic: bool,
    blocks: bool = False,
) -> FloatArray:
    """Return independent parts of the error of a weighted mean; their squares sum up to its square.

    Parameters
    ----------
    values
        Shape (n_configs, n).
    weights
        Shape (n_configs,).
    antithetic
        Whether neighbours are a pair.
    blocks
        Whether consecutive configurations are one observation, as many as leave twelve of them.

    Returns
    -------
    Shape (n_observations, n).
    """
    mean = weights @ values / weights.sum()
    parts = weights[:, None] * (values - mean) / weights.sum()
    size = 2 if antithetic and len(parts) % 2 == 0 else 1
    while blocks and len(parts) // (2 * size) >= _MIN_BLOCKS:
        size *= 2
    begins = np.arange(0, len(parts), size)
    observed = np.add.reduceat(parts, begins)
    n = len(observed)
    return np.asarray(observed * np.sqrt(n / max(n - 1, 1)))


def combined(sources: Sequence[float]) -> float:
    """Standard error of a sum of independent parts."""
    return float(np.sqrt(np.sum(np.square(sources))))
