"""Importance weights, effective sample size, and averages that come with their standard error."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sscha_mlp.crystal.reciprocal import ComplexArray
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.ensemble.sampling import Ensemble


@dataclass(frozen=True)
class Estimate:
    """A stochastic number or array with its standard error.

    Parameters
    ----------
    value
        The average.
    stderr
        One standard error, same shape; sampling alone, nothing systematic.
    """

    value: FloatArray
    stderr: FloatArray


def importance_weights(ensemble: Ensemble, target: Gaussian) -> FloatArray:
    """Weights that turn averages over the ensemble into averages over another Gaussian.

    The ratio of the two densities, normalised to a mean of one (self-normalised importance
    sampling; the bias is of order 1/n_configs).

    Parameters
    ----------
    ensemble
        Configurations with the distribution they were drawn from.
    target
        Another distribution on the same supercell lattice: force constants, centroids and
        temperature may differ, the cell must not.

    Returns
    -------
    Shape (n_configs,), mean 1.
    """
    if target is ensemble.gaussian and not ensemble.is_pooled:
        return np.ones(ensemble.n_configs)
    amplitudes = target.amplitudes(displacements_at_q(ensemble, target))
    return weights_from(ensemble, target.log_density_of(amplitudes))


def weights_from(ensemble: Ensemble, log_density: NDArray[np.float64]) -> FloatArray:
    """Weights of mean one from the log density of the target at each configuration."""
    log_ratio = log_density - ensemble.log_density
    ratio = np.exp(log_ratio - log_ratio.max())
    return np.asarray(ratio / ratio.mean())


def centroid_shift(ensemble: Ensemble, target: Gaussian) -> FloatArray:
    """How far the centroids of another state are from those of the ensemble, (n_primitive, 3) Å."""
    return np.asarray(
        target.dynamical_matrix.crystal.positions - ensemble.dynamical_matrix.crystal.positions
    )


def displacements_at_q(ensemble: Ensemble, target: Gaussian) -> ComplexArray:
    """Displacements from the centroids of another state on the half grid, Å.

    Returns
    -------
    Shape (n_half, 3 n_primitive, n_configs).
    """
    shift = centroid_shift(ensemble, target)
    if not shift.any():
        return ensemble.at_q
    moved = ensemble.at_q.copy()
    moved[0] -= np.sqrt(ensemble.dynamical_matrix.supercell.n_cells) * shift.reshape(-1, 1)
    return moved


def effective_sample_size(weights: NDArray[np.float64]) -> float:
    """Kong-Liu effective sample size, ``(sum w)² / sum w²``; n_configs for equal weights."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def average(
    values: NDArray[np.float64],
    weights: NDArray[np.float64] | None = None,
    *,
    antithetic: bool = False,
) -> Estimate:
    """Weighted average over configurations with its standard error.

    The error is that of a ratio estimator, ``sqrt(sum w² (x - mean)²) / sum w``, with antithetic
    pairs counted as one observation each.

    Parameters
    ----------
    values
        Shape (n_configs, ...).
    weights
        Shape (n_configs,); ones when left out.
    antithetic
        Whether neighbours 2k, 2k+1 are a pair.
    """
    values = np.asarray(values, dtype=np.float64)
    weights = np.ones(len(values)) if weights is None else weights
    column = weights.reshape(-1, *([1] * (values.ndim - 1)))
    total = weights.sum()
    mean = (column * values).sum(axis=0) / total
    residual = column * (values - mean)
    if antithetic and len(values) % 2 == 0:
        residual = residual[0::2] + residual[1::2]
    n_observations = len(residual)
    correction = n_observations / max(n_observations - 1, 1)
    stderr = np.sqrt(correction * (residual**2).sum(axis=0)) / total
    return Estimate(np.asarray(mean), np.asarray(stderr))
