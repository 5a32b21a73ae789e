r"""What each configuration contributes to the third and fourth derivatives of the potential.

In the basis of the modes of the trial state, with A the amplitudes of a configuration, a² their
mean squares and G the gradient of the anharmonic part, integration by parts over the Gaussian gives

    < d³V > = sym < x x G >,  < d⁴V > = sym < x x x G >,  x = A / a²

where the mean and the part of G that is linear in A are taken out: their averages vanish, their
noise does not.  Each tensor is averaged over the position of G.  The wave vectors of its indices
add up to zero, so that the third order is kept as (3n)³ n_cells² numbers, and the fourth is never
kept: it is applied to vectors, configuration by configuration.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sscha_mlp.crystal.reciprocal import ComplexArray
from sscha_mlp.crystal.structure import FloatArray, IntArray
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.ensemble.averages import displacements_at_q
from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.ensemble.nuclei import mean_square_slopes
from sscha_mlp.scha.estimators import Estimators


@dataclass(frozen=True, eq=False)
class ModeFields:
    """Configurations in the basis of the modes of a trial state, all wave vectors.

    Parameters
    ----------
    supercell
        The supercell.
    scaled
        ``A / a²``, shape (n_cells, n_bands, n_configs), 1/(amu^1/2 Å); zero for the translations.
    slopes
        G, same shape, eV/(amu^1/2 Å); zero for the translations.
    weights
        Of the configurations, of sum one, shape (n_configs,).
    """

    supercell: Supercell
    scaled: ComplexArray
    slopes: ComplexArray
    weights: FloatArray

    def pairs(self, q: int) -> Iterator[tuple[int, int, float]]:
        """Yield k and ``-q - k`` once for each pair, and how often the pair counts."""
        translations = self.supercell.translations
        partner = self.supercell.cell_index(-translations[q] - translations)
        for k, other in enumerate(partner):
            if k <= other:
                yield k, int(other), 1.0 if k == other else 2.0

    def third_order(self) -> ComplexArray:
        """``< d³V >`` of all wave vectors, averaged over the position of the gradient.

        Returns
        -------
        Shape (n_cells, n_bands, n_cells, n_bands, n_bands), eV/(amu^1/2 Å)³.
        """
        n_cells, n_bands, _ = self.scaled.shape
        raw = np.empty((n_cells, n_bands, n_cells, n_bands, n_bands), dtype=self.scaled.dtype)
        for q in self.supercell.grid.index:
            weighted = self.slopes[q] * self.weights
            for k, other, _ in self.pairs(q):
                products = self._products(self.scaled[k], self.scaled[other])
                tensor = (weighted @ products.T).reshape(n_bands, n_bands, n_bands)
                raw[q, :, k], raw[q, :, other] = tensor, tensor.transpose(0, 2, 1)
        self._fill_opposites(raw)
        return self._over_positions(raw)

    def fourth_order(self, vectors: ComplexArray) -> ComplexArray:
        """Apply ``< d⁴V >`` to the last two indices of tensors of rank three.

        Parameters
        ----------
        vectors
            Shape as that of :meth:`third_order`.
        """
        n_bands = self.scaled.shape[1]
        result = np.empty_like(vectors)
        for q in self.supercell.grid.index:
            squares, mixed = self.contract(vectors[q], q)
            squares, mixed = squares * self.weights, mixed * self.weights
            for k, other, _ in self.pairs(q):
                products = self._products(self.scaled[k], self.scaled[other])
                tensor = mixed @ products.T + squares @ self._mixed(k, other).T
                block = 0.5 * tensor.reshape(n_bands, n_bands, n_bands)
                result[q, :, k], result[q, :, other] = block, block.transpose(0, 2, 1)
        self._fill_opposites(result)
        return result

    def contract(self, vectors: ComplexArray, q: int) -> tuple[ComplexArray, ComplexArray]:
        """``sum Z x* x*`` and ``sum Z x* G*`` of each configuration.

        Parameters
        ----------
        vectors
            Z at one wave vector, shape (n_bands, n_cells, n_bands, n_bands), symmetric in its
            last two indices.
        q
            The wave vector.

        Returns
        -------
        Two arrays of shape (n_bands, n_configs).
        """
        _, n_bands, n_configs = self.scaled.shape
        squares = np.zeros((n_bands, n_configs), dtype=self.scaled.dtype)
        mixed = np.zeros_like(squares)
        for k, other, count in self.pairs(q):
            flat = count * vectors[:, k].reshape(n_bands, -1).conj()
            squares += flat @ self._products(self.scaled[k], self.scaled[other])
            mixed += flat @ self._mixed(k, other)
        return squares.conj(), mixed.conj()

    @staticmethod
    def _products(first: ComplexArray, second: ComplexArray) -> ComplexArray:
        """All products of two sets of fields, shape (n_bands², n_configs)."""
        return (first[:, None] * second[None]).reshape(-1, first.shape[-1])

    def _mixed(self, k: int, other: int) -> ComplexArray:
        """Products of a field and a gradient, averaged over which is which."""
        first = self._products(self.scaled[k], self.slopes[other])
        return np.asarray(0.5 * (first + self._products(self.slopes[k], self.scaled[other])))

    def _fill_opposites(self, tensors: ComplexArray) -> None:
        """Set the tensors at -q, which are conjugate, in place."""
        opposite = self.supercell.cell_index(-self.supercell.translations)
        for q in self.supercell.grid.index:
            if opposite[q] != q:
                tensors[opposite[q]][:, opposite] = tensors[q].conj()

    def _over_positions(self, raw: ComplexArray) -> ComplexArray:
        """Average over the index that the gradient has, first as it is raw."""
        result = np.empty_like(raw)
        translations = self.supercell.translations
        for q in range(len(raw)):
            other: IntArray = self.supercell.cell_index(-translations[q] - translations)
            second = raw[:, :, q].transpose(2, 0, 1, 3)
            third = raw[other, :, q].transpose(2, 0, 3, 1)
            result[q] = (raw[q] + second + third) / 3
        return result


def mode_fields(estimators: Estimators, frame: Gaussian | None = None) -> ModeFields:
    """Return the fields of samples at a trial state, means and linear parts taken out.

    Parameters
    ----------
    estimators
        Samples, trial state and group; also of a difference of two potentials.
    frame
        State whose modes are the basis, on the same lattice; the trial state when left out.
    """
    weights = estimators.weights / estimators.weights.sum()
    scaled, slopes = half_grid_fields(estimators, frame, anharmonic=True)
    supercell = estimators.trial.dynamical_matrix.supercell
    return ModeFields(supercell, supercell.grid.full(scaled), supercell.grid.full(slopes), weights)


def half_grid_fields(
    estimators: Estimators,
    frame: Gaussian | None = None,
    *,
    anharmonic: bool = False,
) -> tuple[ComplexArray, ComplexArray]:
    """Scaled amplitudes, and gradients beyond the harmonic part.

    Parameters
    ----------
    estimators
        Samples and the trial state that they are scaled by.
    frame
        State whose modes are the basis; the trial state when left out.
    anharmonic
        Whether the symmetrised averages of the gradient and of the curvature are taken out too:
        both vanish at the minimum.

    Returns
    -------
    Both on the half grid, shape (n_half, n_bands, n_configs), zero for the translations.
    """
    trial, samples = estimators.trial, estimators.samples
    frame = trial if frame is None else frame
    displacements = displacements_at_q(samples.ensemble, trial)
    forces = samples.forces_at_q
    if anharmonic:
        forces = forces + estimators.change_at_q @ displacements
        root = np.sqrt(trial.dynamical_matrix.supercell.n_cells)
        forces[0] -= root * estimators.centroid_forces.value.reshape(-1, 1)
    if not estimators.of_difference:
        forces = forces + trial.dynamical_matrix.half_grid @ displacements
    scaled = frame.force_amplitudes(trial.upsilon_at_q @ displacements)
    slopes = -frame.force_amplitudes(forces)
    scaled[0, :3] = slopes[0, :3] = 0.0
    return scaled, slopes


def response(trial: Gaussian) -> FloatArray:
    r"""Half the response of the covariance to the force constants, between pairs of modes.

    ``Lambda = (a²(x) - a²(y)) / (x - y) / 2`` with x, y the squared frequencies of the two modes,
    and half the derivative of a² where they are equal; zero with a translation.

    Returns
    -------
    Shape (n_cells, n_bands, n_cells, n_bands), amu² Å⁴/eV, negative.
    """
    grid = trial.dynamical_matrix.supercell.grid
    squares = grid.full(trial.dynamical_matrix.modes.at_q) ** 2
    widths = grid.full(trial.mean_squares_at_q)
    moving = grid.full(trial.dynamical_matrix.modes.moving)
    x, a = squares.ravel(), widths.ravel()
    gap = x[:, None] - x[None, :]
    same = np.abs(gap) < 1.0e-6 * x.max()
    slope = np.zeros_like(a)
    slope[moving.ravel()] = mean_square_slopes(
        np.sqrt(x[moving.ravel()]), trial.temperature, trial.nuclei
    )
    divided = (a[:, None] - a[None, :]) / np.where(same, 1.0, gap)
    result = 0.5 * np.where(same, 0.5 * (slope[:, None] + slope[None, :]), divided)
    result *= moving.ravel()[:, None] & moving.ravel()[None, :]
    return np.asarray(result.reshape(*squares.shape, *squares.shape))
