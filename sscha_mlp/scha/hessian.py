r"""The free-energy Hessian: whether a crystal is stable at a temperature.

At the SSCHA minimum over the force constants, the second derivative of the free energy by the
centroids (Bianco, Errea, Paulatto, Calandra, Mauri, Phys. Rev. B 96, 014111 (2017)) is

    d²F/dR² = Phi + Phi3 Lambda (1 - Phi4 Lambda)^-1 Phi3

with the averages Phi3 = < d³V > and Phi4 = < d⁴V >, and Lambda half the response of the covariance
to the force constants.  A negative eigenvalue is an instability: the centroids leave the symmetric
place.  With Phi4 left out this is the bubble approximation, Phi + Phi3 Lambda Phi3.

Phi3 is kept by wave vector and averaged over the space group; Phi4 is applied configuration by
configuration while the linear equation is solved.  What is quadratic in a noisy Phi3 is too low by
a part that falls as 1/n_configs; it is measured on halves of the ensemble and taken out.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, gmres

from sscha_mlp import units
from sscha_mlp.crystal.dynamical_matrix import (
    DynamicalMatrix,
    normal_modes,
    project,
    signed_root,
)
from sscha_mlp.crystal.reciprocal import ComplexArray, compact
from sscha_mlp.crystal.representation import Representation
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.crystal.symmetry import SpaceGroup
from sscha_mlp.digits import with_error
from sscha_mlp.ensemble.averages import Estimate
from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.errors import InputError, RelaxationError
from sscha_mlp.quantities import q_name
from sscha_mlp.scha.estimators import (
    DegenerateModes,
    Estimators,
    Samples,
    degenerate_sets,
    estimate,
)
from sscha_mlp.scha.mode_fields import ModeFields, half_grid_fields, mode_fields, response
from sscha_mlp.tables import Shown, Table, few

MIN_CONFIGS: int = 8
"""Fewer configurations than this cannot be halved with any sense."""

_TOLERANCE = 1.0e-7
_MAX_STEPS = 200


@dataclass(frozen=True, eq=False)
class Hessian(Shown):
    """The free-energy Hessian of a state, by sampling.

    Parameters
    ----------
    dynamical_matrix
        The Hessian as force constants, symmetrised, its 1/n_configs bias taken out.
    plain
        The same as the formula gives it on the whole ensemble.
    squares
        Squared angular frequencies, negative when unstable, ascending, with their errors: shape
        (n_qpoints, n_bands), eV/(amu Å²).  The errors are of first order: what each configuration
        adds to Phi, Phi3 and Phi4.  The response of Phi itself is not in them.
    fourth
        Whether Phi4 is in it.
    n_configs, effective_sample_size
        Of the ensemble.
    """

    dynamical_matrix: DynamicalMatrix
    plain: DynamicalMatrix
    squares: Estimate
    fourth: bool
    n_configs: int
    effective_sample_size: float
    _response: "_Response"

    @property
    def frequencies(self) -> FloatArray:
        """Angular frequencies, negative when unstable, aligned with :attr:`squares`."""
        return signed_root(self.squares.value)

    @property
    def squares_thz2(self) -> Estimate:
        """Squared frequencies and their errors in THz², aligned with :attr:`squares`."""
        unit = units.THZ**2
        return Estimate(self.squares.value / unit, self.squares.stderr / unit)

    @property
    def trial_frequencies_thz(self) -> FloatArray:
        """Frequencies of the trial state, ascending, zero where the Hessian has a translation."""
        frequencies = self._response.frame.dynamical_matrix.frequencies_at_qpoints() / units.THZ
        result = np.zeros_like(frequencies)
        result[self.moving] = np.sort(frequencies, axis=1)[_moving_last(self.moving)]
        return result

    @property
    def moving(self) -> NDArray[np.bool_]:
        """False for the three translations at q = 0, shape (n_qpoints, n_bands)."""
        return self._response.moving

    def shift(self, difference: Estimators) -> Estimate:
        """First-order shift of the squared frequencies by a difference of two potentials.

        Parameters
        ----------
        difference
            Configurations of the same state with the differences of energies and forces.

        Returns
        -------
        Aligned with :attr:`squares`: the changes of Phi, Phi3 and, with the fourth order, Phi4 at
        a fixed state.  That the state itself moves is left out.
        """
        return self._response.average(difference, fourth=self.fourth)

    def table(self) -> Table:
        """Return the softest mode at each wave vector, beside that of the trial state."""
        squares, trial = self.squares_thz2, self.trial_frequencies_thz
        supercell = self.dynamical_matrix.supercell
        lowest = np.where(self.moving, squares.value, np.inf).argmin(axis=1)
        softest = squares.value[np.arange(len(lowest)), lowest]
        rows = [
            (
                q_name(supercell.qpoints[q]),
                f"{trial[q][self.moving[q]].min() ** 2:.2f}",
                with_error(squares.value[q, lowest[q]], squares.stderr[q, lowest[q]]),
            )
            for q in np.argsort(softest, kind="stable")
            if self.moving[q].any()
        ]
        order = "with" if self.fourth else "without"
        note = (
            f"{self.n_configs} configurations, effective sample size "
            f"{self.effective_sample_size:.0f}, {order} the fourth order. Below zero the crystal "
            "is not stable."
        )
        columns = ("q", "SSCHA, squared (THz²)", "free-energy Hessian (THz²)")
        return Table("Softest mode at each wave vector", few(rows), columns, note)


def free_energy_hessian(
    samples: Samples, group: SpaceGroup, *, trial: Gaussian | None = None, fourth: bool = False
) -> Hessian:
    """Return the free-energy Hessian of samples at a trial state.

    Parameters
    ----------
    samples
        Configurations with energies and forces; pairs u, -u stay together wherever the ensemble is
        divided.
    group
        Space group that Phi, Phi3 and Phi4 are averaged over.
    trial
        Minimum over the force constants, which the formula takes for granted; by default the state
        that the samples were drawn from.
    fourth
        Whether to include Phi4: a linear equation is solved by iteration, each step of which is a
        pass over the ensemble.

    Raises
    ------
    InputError
        If there are fewer than eight configurations.
    RelaxationError
        If the equation of the fourth order does not converge.
    """
    n_configs = samples.ensemble.n_configs
    if n_configs < MIN_CONFIGS:
        raise InputError(
            f"A Hessian needs at least {MIN_CONFIGS} configurations, not {n_configs}; it takes "
            "thousands to be accurate."
        )
    estimators = estimate(samples, group, trial=trial)
    frame = estimators.trial
    representation = Representation(group, frame.dynamical_matrix.modes.polarisations)
    whole = _Order.of(estimators, representation, fourth=fourth)
    parts = [
        _Order.of(estimate(_half(samples, parity), group, trial=frame), representation, fourth)
        for parity in (0, 1)
    ]
    curvature = frame.dynamical_matrix.half_grid + estimators.change_at_q
    plain = curvature + whole.correction(frame)
    mean = 0.5 * (parts[0].correction(frame) + parts[1].correction(frame))
    better = plain + (whole.correction(frame) - mean)
    state = frame.dynamical_matrix
    grid = group.supercell.grid
    answer = _Response.of(better, frame, group, representation.spread(whole.answered))
    errors = answer.average(estimators, fourth=fourth)
    return Hessian(
        dynamical_matrix=state.with_force_constants(compact(grid, better)),
        plain=state.with_force_constants(compact(grid, plain)),
        squares=Estimate(answer.squares, errors.stderr),
        fourth=fourth,
        n_configs=n_configs,
        effective_sample_size=estimators.effective_sample_size,
        _response=answer,
    )


def _moving_last(moving: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The same mask with the translations first."""
    return np.asarray(np.sort(moving, axis=1))


def _half(samples: Samples, parity: int) -> Samples:
    """Every second pair of the configurations."""
    return samples.chosen(np.arange(samples.ensemble.n_configs) // 2 % 2 == parity)


@dataclass(frozen=True, eq=False)
class _Order:
    """Phi3 and what Lambda and Phi4 make of it, at the irreducible wave vectors.

    Parameters
    ----------
    representation
        The space group in the basis of the modes.
    third
        Phi3, shape (n_irreducible, n_bands, n_cells, n_bands, n_bands).
    answered
        ``Lambda (1 - Phi4 Lambda)^-1 Phi3``, same shape.
    """

    representation: Representation
    third: ComplexArray
    answered: ComplexArray

    @classmethod
    def of(cls, estimators: Estimators, representation: Representation, fourth: bool) -> "_Order":
        """Average Phi3 and solve for the response."""
        fields = mode_fields(estimators)
        third = representation.fold(fields.third_order())
        strength = _strength(estimators.trial, representation)
        if not fourth:
            return cls(representation, third, -strength * third)
        return cls(representation, third, _solve(fields, representation, third, strength))

    def correction(self, frame: Gaussian) -> ComplexArray:
        """What is added to Phi, on the half grid, eV/Å²."""
        group = self.representation.group
        matrices = np.einsum("qbkcd,qekcd->qbe", self.third, self.answered.conj(), optimize=True)
        state = frame.dynamical_matrix
        root = np.sqrt(state.crystal.masses3)
        vectors = state.modes.polarisations[group.stars.irreducible] * root[:, None]
        cartesian = vectors @ matrices @ vectors.conj().transpose(0, 2, 1)
        return project(group, group.stars.spread(cartesian))


def _strength(trial: Gaussian, representation: Representation) -> FloatArray:
    """``-Lambda`` at the irreducible wave vectors, (n_irreducible, 1, n_cells, n_bands, n_bands).

    It is positive: a stiffer mode is narrower.
    """
    between = response(trial).transpose(0, 2, 1, 3)  # k, l, bands
    own = np.arange(len(between))
    thirds = representation.thirds[representation.irreducible]
    return np.asarray(-between[own[None, :], thirds][:, None])


def _solve(
    fields: ModeFields, representation: Representation, third: ComplexArray, strength: FloatArray
) -> ComplexArray:
    """``Lambda (1 - Phi4 Lambda)^-1 Phi3``, the ensemble as the operator Phi4."""
    root = np.sqrt(strength)

    def apply(flat: ComplexArray) -> ComplexArray:
        vectors = root * flat.reshape(third.shape)
        applied = representation.fold(fields.fourth_order(representation.spread(vectors)))
        return np.asarray((flat.reshape(third.shape) + root * applied).ravel())

    size = third.size
    operator = LinearOperator((size, size), matvec=apply, dtype=third.dtype)
    found, status = gmres(
        operator,
        (root * third).ravel(),
        rtol=_TOLERANCE,
        restart=_MAX_STEPS,
        maxiter=_MAX_STEPS,
        callback=None,
    )
    if status != 0:
        raise RelaxationError(
            "The fourth order of the Hessian does not converge on this ensemble; draw more "
            "configurations, or leave the fourth order out."
        )
    return np.asarray(-root * found.reshape(third.shape))


@dataclass(frozen=True, eq=False)
class _Response:
    """How the squared frequencies of a Hessian follow Phi, Phi3 and Phi4, to first order.

    Parameters
    ----------
    frame
        State whose modes are the basis.
    answered
        ``Lambda (1 - Phi4 Lambda)^-1 Phi3`` at all wave vectors.
    vectors
        Modes of the Hessian in that basis as columns, (n_half, n_bands, n_bands).
    squares
        Its eigenvalues at all wave vectors, ascending, (n_qpoints, n_bands).
    moving
        False for the translations, same shape.
    sets
        Modes that are equal by symmetry.
    """

    frame: Gaussian
    group: SpaceGroup
    answered: ComplexArray
    vectors: ComplexArray
    squares: FloatArray
    moving: NDArray[np.bool_]
    sets: DegenerateModes

    @classmethod
    def of(
        cls, hessian: ComplexArray, frame: Gaussian, group: SpaceGroup, answered: ComplexArray
    ) -> "_Response":
        """Diagonalise a Hessian on the half grid."""
        grid = group.supercell.grid
        modes = normal_modes(group.supercell, hessian)
        order = np.argsort(modes.at_q, axis=1, kind="stable")
        frequencies = np.take_along_axis(modes.at_q, order, axis=1)
        basis = frame.dynamical_matrix.modes.polarisations.conj().transpose(0, 2, 1)
        columns = np.take_along_axis(modes.polarisations, order[:, None, :], axis=2)
        full = grid.full(frequencies)
        labels, means = degenerate_sets(full, group.equivalent_qpoints())
        of_half = labels[grid.index].ravel()
        parts = np.repeat(grid.weights, full.shape[1]) / np.bincount(labels.ravel())[of_half]
        return cls(
            frame,
            group,
            answered,
            basis @ columns,
            np.sign(full) * full**2,
            grid.full(np.take_along_axis(modes.moving, order, axis=1)),
            DegenerateModes(labels, means, of_half, parts),
        )

    def average(self, estimators: Estimators, *, fourth: bool) -> Estimate:
        """Average what each configuration adds to ``e* H e``, (n_qpoints, n_bands)."""
        found = estimators.mean(self.sets.means(self.diagonal(estimators, fourth=fourth)))
        labels = self.sets.labels
        return Estimate(found.value[labels], found.stderr[labels])

    def diagonal(self, estimators: Estimators, *, fourth: bool) -> FloatArray:
        """What each configuration adds to each mode, (n_half, n_bands, n_configs)."""
        fields = mode_fields(estimators, self.frame)
        adjoint = self.vectors.conj().transpose(0, 2, 1)
        scaled, slopes = half_grid_fields(estimators, self.frame)
        result = _real_product(adjoint @ scaled, adjoint @ slopes)
        grid = self.group.supercell.grid
        for half, q in enumerate(grid.index):
            squares, mixed = (adjoint[half] @ one for one in fields.contract(self.answered[q], q))
            result[half] += (2 / 3) * _real_product(adjoint[half] @ fields.slopes[q], squares)
            result[half] += (4 / 3) * _real_product(adjoint[half] @ fields.scaled[q], mixed)
            if fourth:
                result[half] += _real_product(squares, mixed)
        return result


def _real_product(first: ComplexArray, second: ComplexArray) -> FloatArray:
    """Real part of the product of one array with the conjugate of another."""
    return np.asarray(first.real * second.real + first.imag * second.imag)
