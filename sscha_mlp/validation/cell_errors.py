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

import numpy as np
from numpy.typing import NDArray

from sscha_mlp.crystal.free_parameters import FreeParameter
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.scha.cell_response import CellResponse
from sscha_mlp.scha.estimators import Estimators


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

    def widened(self, factor: float) -> "CellShifts":
        """Return the same with all errors some times as large."""
        return CellShifts(factor * self.strain, factor * self.positions, factor * self.volume)

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
    replicates: int = 0,
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
    replicates
        Independent parts of the ensemble, as :func:`error_parts` takes them.
    """
    group, weights = averages.group, averages.weights
    antithetic = averages.samples.ensemble.antithetic
    stress = response.components(averages.stress_per_configuration)
    forces = group.symmetrise_vectors(averages.centroid_forces_per_configuration)
    flat = forces.reshape(len(forces), -1)
    dynamical_matrix = averages.trial.dynamical_matrix
    following = response.displacements.reshape(len(response.strains), -1)
    pull = stress - flat @ following.T / dynamical_matrix.crystal.volume
    strain = _strain_of(pull, response, free) if len(free) else 0.0 * pull
    moved = flat @ dynamical_matrix.optical_compliance + strain @ following

    def parts(values: NDArray[np.float64]) -> FloatArray:
        return error_parts(values, weights, antithetic=antithetic, replicates=replicates)

    kept = parts(strain)
    return CellShifts(
        kept, parts(moved).reshape(len(kept), *forces.shape[1:]), kept @ response.traces
    )


def _strain_of(pull: FloatArray, response: CellResponse, free: FloatArray) -> FloatArray:
    """Strain by which a cell follows each stress, within the strains that are free."""
    within = response.components(free)
    matrix = within @ response.stiffness @ within.T
    return np.asarray(-(pull @ within.T) @ np.linalg.inv(matrix) @ within)


def error_parts(
    values: NDArray[np.float64],
    weights: NDArray[np.float64],
    *,
    antithetic: bool,
    replicates: int = 0,
) -> FloatArray:
    """Return independent parts of the error of a weighted mean; their squares sum up to its square.

    Parameters
    ----------
    values
        Shape (n_configs, n).
    weights
        Shape (n_configs,).
    antithetic
        Whether neighbours are a pair, which is one observation.
    replicates
        How many parts of the ensemble were drawn independently of each other: these are the
        observations then.  Within a Sobol sequence single configurations vary more than their mean
        is off; 0 for configurations that are independent.

    Returns
    -------
    Shape (n_observations, n).
    """
    mean = weights @ values / weights.sum()
    observed = weights[:, None] * (values - mean) / weights.sum()
    if antithetic and len(observed) % 2 == 0:
        observed = observed[0::2] + observed[1::2]
    if replicates > 1:
        observed = np.array([one.sum(axis=0) for one in np.array_split(observed, replicates)])
    n = len(observed)
    return np.asarray(observed * np.sqrt(n / max(n - 1, 1)))


@dataclass(frozen=True, eq=False)
class FinalErrors:
    """Errors of the final state.

    Parameters
    ----------
    shifts
        What the model's ensemble and the check do not know of cell and centroids.
    free_energy, pressure
        Standard errors of the model's ensemble, eV per supercell and eV/Å³.
    """

    shifts: tuple[CellShifts, ...]
    free_energy: float
    pressure: float


def final_errors(
    averages: Estimators,
    differences: Estimators | None,
    response: CellResponse,
    free: FloatArray,
    *,
    replicates: int,
    widening: float = 1.0,
) -> FinalErrors:
    """Return the errors of a minimum.

    Parameters
    ----------
    averages
        Of the model with the differences, at the corrected minimum.
    differences
        Of reference and model on the labels of the check; None where they are not known.
    response, free, replicates
        As :func:`cell_shifts` takes them; the replicates are those of the first ensemble.
    widening
        Of the errors of the differences, where they rest on few labels.
    """
    shifts = [cell_shifts(averages, response, free, replicates=replicates)]
    if differences is not None:
        shifts.append(cell_shifts(differences, response, free).widened(widening))
    pressures = -np.trace(averages.stress_per_configuration, axis1=1, axis2=2) / 3
    values = np.stack([averages.energy_per_configuration, pressures], axis=1)
    antithetic = averages.samples.ensemble.antithetic
    parts = error_parts(values, averages.weights, antithetic=antithetic, replicates=replicates)
    energy, pressure = np.sqrt((parts**2).sum(axis=0))
    return FinalErrors(tuple(shifts), float(energy), float(pressure))


def combined(sources: Sequence[float]) -> float:
    """Standard error of a sum of independent parts."""
    return float(np.sqrt(np.sum(np.square(sources))))
