r"""SSCHA estimators: free energy, self-consistent force constants, centroid forces and stress.

For a Gaussian trial state with force constants Phi, centroids R and covariance Psi, and
displacements u drawn from it, with f and sigma the forces and stress of the potential V
(Errea, Calandra, Mauri, Phys. Rev. B 89, 064302 (2014); Monacelli, Errea, Calandra, Mauri,
Phys. Rev. B 98, 024106 (2018); Bianco et al., Phys. Rev. B 96, 014111 (2017)):

- free energy   ``F = F_harm(Phi, T) + < V - u Phi u / 2 >``
- force constants ``< d²V/du² > = Phi - < Upsilon u (f + Phi u) >``, ``Upsilon = Psi^-1``
- centroid force ``< f >``
- stress ``< sigma + sym(f u) / Omega >``: at fixed u, a strain moves the centroids alone

Everything is done wave vector by wave vector, where Phi, Psi and Upsilon are small blocks: an
average over the whole ensemble costs n_configs (3 n_atoms) (3 n_primitive) operations instead of
n_configs (3 n_atoms)².

The harmonic parts are subtracted from the forces wherever their average is known exactly, which
removes most of the variance.  All estimators are linear in V: applied to the difference of two
potentials they give the difference of the two results, which is what the certificate uses.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sscha_mlp import units
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix, project
from sscha_mlp.crystal.reciprocal import ComplexArray, compact
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.crystal.symmetry import SpaceGroup
from sscha_mlp.digits import with_error
from sscha_mlp.ensemble.averages import (
    Estimate,
    average,
    centroid_shift,
    displacements_at_q,
    effective_sample_size,
    weights_from,
)
from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.ensemble.sampling import Ensemble
from sscha_mlp.errors import InputError
from sscha_mlp.tables import Shown, Table, span


@dataclass(frozen=True, eq=False)
class Samples(Shown):
    """An ensemble with the energies, forces and stresses of one potential.

    Parameters
    ----------
    ensemble
        The configurations.
    energies
        Of the supercell, shape (n_configs,), eV.
    forces
        Shape (n_configs, 3 n_atoms), eV/Å.
    stresses
        Shape (n_configs, 3, 3), eV/Å³, ASE's sign.
    uncertainty
        What the potential says of its own error, one number each, shape (n_configs,), if it was
        asked.

    Raises
    ------
    InputError
        If shapes do not fit the ensemble or a value is not finite: a potential's failure must
        never enter an average.
    """

    ensemble: Ensemble
    energies: FloatArray
    forces: FloatArray
    stresses: FloatArray
    uncertainty: FloatArray | None = None

    def __post_init__(self) -> None:
        """Check shapes and values."""
        n_configs, n_coordinates = self.ensemble.displacements.shape
        expected = {
            "energies": (n_configs,),
            "forces": (n_configs, n_coordinates),
            "stresses": (n_configs, 3, 3),
        }
        for name, shape in expected.items():
            values = getattr(self, name)
            if values.shape != shape:
                raise InputError(
                    f"The {name} of the ensemble have shape {values.shape}, not {shape}."
                )
            if not np.all(np.isfinite(values)):
                raise InputError(f"The {name} of the ensemble hold a value that is not finite.")

    @cached_property
    def forces_at_q(self) -> ComplexArray:
        """Forces on the half grid, shape (n_half, 3 n_primitive, n_configs), eV/Å."""
        return self.ensemble.dynamical_matrix.supercell.to_reciprocal(self.forces)

    @cached_property
    def displacement_stress(self) -> FloatArray:
        """``sym(f u) / Omega`` of each configuration, shape (n_configs, 3, 3), eV/Å³."""
        ensemble = self.ensemble
        shape = (ensemble.n_configs, -1, 3)
        volume = ensemble.dynamical_matrix.supercell.crystal.volume
        return displacement_stress(
            self.forces.reshape(shape), ensemble.displacements.reshape(shape), volume
        )

    @cached_property
    def cell_forces(self) -> FloatArray:
        """Force on each primitive atom, averaged over cells, (n_configs, n_primitive, 3), eV/Å."""
        supercell = self.ensemble.dynamical_matrix.supercell
        shape = (self.ensemble.n_configs, supercell.n_cells, supercell.primitive.n_atoms, 3)
        return np.asarray(self.forces.reshape(shape).mean(axis=1))

    def chosen(self, which: NDArray[np.bool_]) -> "Samples":
        """Return some configurations with their values; pairs u, -u must stay together."""
        return Samples(
            self.ensemble.chosen(which),
            self.energies[which],
            self.forces[which],
            self.stresses[which],
        )

    def minus(self, other: "Samples") -> "Samples":
        """Return the difference of two potentials on the same configurations."""
        return Samples(
            self.ensemble,
            self.energies - other.energies,
            self.forces - other.forces,
            self.stresses - other.stresses,
        )

    def table(self) -> Table:
        """Return what a potential says of the ensemble, in the mean."""
        ensemble = self.ensemble
        n_atoms = ensemble.dynamical_matrix.supercell.n_atoms
        energies = self.energies / n_atoms
        pressures = -np.trace(self.stresses, axis1=1, axis2=2) / 3.0 / units.GPA
        rows = (
            ("configurations", str(ensemble.n_configs)),
            ("energy", f"{span(energies.tolist(), 4)} eV/atom"),
            ("force, rms", f"{np.sqrt((self.forces**2).mean()):.4f} eV/Å"),
            ("pressure", f"{span(pressures.tolist(), 2)} GPa"),
        )
        return Table("Energies, forces and stresses", rows)


@dataclass(frozen=True, eq=False)
class Estimators(Shown):
    """SSCHA averages of samples, reweighted to a trial state.

    Parameters
    ----------
    samples
        Configurations with energies, forces and stresses.
    trial
        The state at which averages are wanted; by default the one the samples were drawn from.
    group
        Space group that the averages are symmetrised with.
    of_difference
        Whether the samples are the difference of two potentials: then nothing harmonic is
        subtracted, and the results are the differences of the two free energies, forces and
        curvatures.
    """

    samples: Samples
    trial: Gaussian
    group: SpaceGroup
    of_difference: bool = False

    @cached_property
    def weights(self) -> FloatArray:
        """Importance weights of the configurations, mean one, shape (n_configs,)."""
        ensemble = self.samples.ensemble
        if self.trial is ensemble.gaussian and not ensemble.is_pooled:
            return np.ones(ensemble.n_configs)
        log_density = -0.5 * self._quadratics[0] - 0.5 * self.trial.log_determinant
        return weights_from(ensemble, log_density)

    @property
    def effective_sample_size(self) -> float:
        """Kong-Liu effective sample size of the weights."""
        return effective_sample_size(self.weights)

    @cached_property
    def _displacements(self) -> ComplexArray:
        """Displacements from the centroids of the trial state, (n_half, 3n, n_configs), Å."""
        return displacements_at_q(self.samples.ensemble, self.trial)

    @cached_property
    def _quadratics(self) -> FloatArray:
        """``u Upsilon u`` and ``u Phi u`` of each configuration, shape (2, n_configs)."""
        displacements = self._displacements
        matrices = [self.trial.upsilon_at_q, self.trial.dynamical_matrix.half_grid]
        n_half, n_coordinates, n_configs = displacements.shape
        products = np.stack(matrices) @ displacements
        # Complex numbers as two real columns each.
        products.view(np.float64)[:] *= displacements.view(np.float64)
        weights = np.repeat(self.group.supercell.grid.weights, n_coordinates)
        sums = weights @ products.view(np.float64).reshape(2, n_half * n_coordinates, -1)
        return np.asarray(sums.reshape(2, n_configs, -1).sum(axis=2))

    def mean(self, values: NDArray[np.float64]) -> Estimate:
        """Average a value per configuration over the trial state."""
        antithetic = self.samples.ensemble.antithetic
        return average(values, self.weights, antithetic=antithetic)

    @cached_property
    def free_energy(self) -> Estimate:
        """Variational free energy of the supercell with its error, eV."""
        if self.of_difference:
            return self.mean(self.samples.energies)
        anharmonic = self.mean(self.energy_per_configuration)
        return Estimate(anharmonic.value + self.trial.free_energy, anharmonic.stderr)

    @cached_property
    def energy_per_configuration(self) -> FloatArray:
        """What each configuration contributes to it beyond the harmonic one, (n_configs,), eV."""
        if self.of_difference:
            return self.samples.energies
        return np.asarray(self.samples.energies - 0.5 * self._quadratics[1])

    @cached_property
    def centroid_forces(self) -> Estimate:
        """Symmetrised average force on each primitive atom, shape (n_primitive, 3), eV/Å."""
        return self.mean(self.group.symmetrise_vectors(self.centroid_forces_per_configuration))

    @cached_property
    def centroid_forces_per_configuration(self) -> FloatArray:
        """What each configuration contributes to them, shape (n_configs, n_primitive, 3), eV/Å.

        Without its harmonic part, whose average is zero.
        """
        forces = self.samples.cell_forces
        if self.of_difference:
            return forces
        at_zero = self._displacements[0].real
        harmonic = self.trial.dynamical_matrix.half_grid[0].real @ at_zero
        root = np.sqrt(self.group.supercell.n_cells)
        return np.asarray(forces + harmonic.T.reshape(forces.shape) / root)

    @cached_property
    def stress(self) -> Estimate:
        """Symmetrised SSCHA stress, shape (3, 3), eV/Å³."""
        return self.mean(self.stress_per_configuration)

    @cached_property
    def stress_per_configuration(self) -> FloatArray:
        """What each configuration contributes to the stress, shape (n_configs, 3, 3), eV/Å³.

        ``sigma + sym(f u) / Omega``: the stress at fixed u lacks the second part.
        """
        supercell = self.trial.dynamical_matrix.supercell
        virial = self.samples.displacement_stress
        shift = centroid_shift(self.samples.ensemble, self.trial)
        if shift.any():
            primitive_volume = supercell.primitive.volume
            virial = virial - displacement_stress(self.samples.cell_forces, shift, primitive_volume)
        return self.group.symmetrise_tensor(self.samples.stresses + virial)

    @cached_property
    def force_constants(self) -> FloatArray:
        """Self-consistent force constants ``< d²V/du² >``, compact and symmetrised, eV/Å²."""
        change = self.force_constant_change
        return np.asarray(self.trial.dynamical_matrix.force_constants + change)

    @cached_property
    def force_constant_change(self) -> FloatArray:
        """``< d²V/du² > - Phi``, compact and symmetrised, eV/Å²; zero at the SSCHA minimum."""
        return compact(self.group.supercell.grid, self.change_at_q)

    @cached_property
    def change_at_q(self) -> ComplexArray:
        """The same on the half grid, shape (n_half, 3 n_primitive, 3 n_primitive), eV/Å²."""
        displacements, forces = self._displacements, self.samples.forces_at_q
        weighted = displacements.conj() * (self.weights / self.weights.sum())
        with_forces = (weighted @ forces.transpose(0, 2, 1)).conj()  # < u f >, then < u u > Phi
        if not self.of_difference:
            covariance = (weighted @ displacements.transpose(0, 2, 1)).conj()
            with_forces = with_forces + covariance @ self.trial.dynamical_matrix.half_grid
        return project(self.group, -self.trial.upsilon_at_q @ with_forces)

    @cached_property
    def degenerate_modes(self) -> "DegenerateModes":
        """Sets of modes of the trial state that are equal by symmetry."""
        return DegenerateModes.of(self.trial.dynamical_matrix, self.group)

    @cached_property
    def gradient(self) -> FloatArray:
        """First-order shift of each mode by ``< d²V/du² > - Phi``, without error.

        ``d omega = e* dD e / (2 omega)``, averaged over degenerate modes and equivalent wave
        vectors.

        Returns
        -------
        Shape (n_qpoints, n_bands), ``sqrt(eV/(amu Å²))``, aligned with ``frequencies_at_qpoints``;
        zero for the translations.
        """
        return self.shift_by(self.change_at_q)

    def shift_by(self, change_at_q: ComplexArray) -> FloatArray:
        """First-order shift of each mode by a change of the force constants.

        Parameters
        ----------
        change_at_q
            On the half grid, shape (n_half, 3 n_primitive, 3 n_primitive), eV/Å².

        Returns
        -------
        As :attr:`gradient`.
        """
        modes = self.trial.dynamical_matrix.modes
        root = np.sqrt(self.group.supercell.primitive.masses3)
        vectors = modes.polarisations / root[:, None]
        diagonal = np.einsum("qib,qib->qb", vectors.conj(), change_at_q @ vectors).real
        return self.degenerate_modes.shift(diagonal)

    @cached_property
    def frequency_shifts(self) -> Estimate:
        """The same as :attr:`gradient` with errors, from what each configuration contributes."""
        displacements = self.trial.amplitudes(self._displacements)
        forces = self.trial.force_amplitudes(self.samples.forces_at_q)
        if not self.of_difference:
            forces += (self.trial.dynamical_matrix.modes.at_q**2)[:, :, None] * displacements
        displacements *= self.trial.inverse_squares_at_q[:, :, None]
        diagonal = -(displacements.real * forces.real + displacements.imag * forces.imag)
        sets = self.degenerate_modes
        shifts = self.mean(sets.shifts(diagonal))
        return Estimate(shifts.value[sets.labels], shifts.stderr[sets.labels])

    def table(self) -> Table:
        """Return the averages with their standard errors."""
        supercell = self.samples.ensemble.dynamical_matrix.supercell
        energy, stress, shifts = self.free_energy, self.stress, self.frequency_shifts
        place = np.unravel_index(np.abs(shifts.value).argmax(), shifts.value.shape)
        pressure = -np.trace(stress.value) / 3.0 / units.GPA
        error = np.trace(stress.stderr) / 3.0 / units.GPA
        n = supercell.n_atoms
        forces = np.abs(self.centroid_forces.value).max()
        rows = (
            ("free energy (eV/atom)", with_error(energy.value / n, energy.stderr / n)),
            ("pressure (GPa)", with_error(pressure, error)),
            ("largest force on a centroid (eV/Å)", f"{forces:.4f}"),
            (
                "largest shift of a mode (THz)",
                with_error(shifts.value[place] / units.THZ, shifts.stderr[place] / units.THZ),
            ),
            ("effective sample size", f"{self.effective_sample_size:.0f}"),
        )
        title = "Averages of a difference" if self.of_difference else "SSCHA averages"
        return Table(title, rows)


def estimate(samples: Samples, group: SpaceGroup, *, trial: Gaussian | None = None) -> Estimators:
    """Return the SSCHA estimators of samples at a trial state (their own when left out)."""
    return Estimators(samples, samples.ensemble.gaussian if trial is None else trial, group)


def estimate_difference(difference: Samples, group: SpaceGroup) -> Estimators:
    """Return what a difference of two potentials does to the averages at its ensemble's state."""
    return Estimators(difference, difference.ensemble.gaussian, group, of_difference=True)


def displacement_stress(
    forces: NDArray[np.float64], displacements: NDArray[np.float64], volume: float
) -> FloatArray:
    """``sym(f u) / Omega`` of each configuration: what the stress at fixed u lacks.

    Parameters
    ----------
    forces
        Shape (n_configs, n_atoms, 3), eV/Å.
    displacements
        Shape (n_configs, n_atoms, 3), or (n_atoms, 3) for all, Å.
    volume
        Of these atoms, Å³.

    Returns
    -------
    Shape (n_configs, 3, 3), eV/Å³.
    """
    product = np.swapaxes(forces, -1, -2) @ displacements
    return np.asarray(0.5 * (product + np.swapaxes(product, -1, -2)) / volume)


@dataclass(frozen=True, eq=False)
class DegenerateModes:
    """Sets of modes that are equal by symmetry.

    Parameters
    ----------
    labels
        Set that each (wave vector, band) belongs to, shape (n_qpoints, n_bands).
    frequencies
        Mean frequency of each set, shape (n_sets,), internal.
    of_half
        Set of each (wave vector, band) of the half grid, shape (n_half n_bands,).
    parts
        Its part of the average over the set, same shape.
    """

    labels: NDArray[np.int64]
    frequencies: FloatArray
    of_half: NDArray[np.int64]
    parts: FloatArray

    @classmethod
    def of(cls, dynamical_matrix: DynamicalMatrix, group: SpaceGroup) -> "DegenerateModes":
        """Group the modes of a dynamical matrix."""
        grid = dynamical_matrix.supercell.grid
        at_q = dynamical_matrix.modes.at_q
        labels, means = degenerate_sets(grid.full(at_q), group.equivalent_qpoints())
        of_half = labels[grid.index].ravel()
        counts = np.bincount(labels.ravel())
        parts = np.repeat(grid.weights, at_q.shape[1]) / counts[of_half]
        return cls(labels, means, of_half, parts)

    @property
    def _scale(self) -> FloatArray:
        """``1 / (2 omega)`` of each set, zero for the translations."""
        return 0.5 / np.where(np.abs(self.frequencies) > 1.0e-3, self.frequencies, np.inf)

    def shift(self, diagonal: NDArray[np.float64]) -> FloatArray:
        """Frequency shift of each mode, (n_qpoints, n_bands), of ``e* dD e`` (n_half, n_bands)."""
        weighted = self.parts * diagonal.ravel()
        means = np.bincount(self.of_half, weights=weighted, minlength=len(self.frequencies))
        return np.asarray((means * self._scale)[self.labels])

    def shifts(self, diagonal: NDArray[np.float64]) -> FloatArray:
        """Frequency shift of each set.

        Parameters
        ----------
        diagonal
            ``e* dD e`` of each configuration, shape (n_half, n_bands, n_configs).

        Returns
        -------
        Shape (n_configs, n_sets), zero for the translations.
        """
        return self.means(diagonal) * self._scale

    def means(self, diagonal: NDArray[np.float64]) -> FloatArray:
        """Average of each set, (n_configs, n_sets), of ``e* dD e`` as :meth:`shifts` takes it."""
        by_mode = diagonal.reshape(-1, diagonal.shape[-1])
        place = (self.of_half, np.arange(self.of_half.size))
        shape = (len(self.frequencies), self.of_half.size)
        averaging = sparse.csr_array((self.parts, place), shape=shape)
        return np.asarray((averaging @ by_mode).T)


def degenerate_sets(
    frequencies: NDArray[np.float64], stars: NDArray[np.int64], *, tolerance: float = 1.0e-5
) -> tuple[NDArray[np.int64], FloatArray]:
    """Label modes that are equal by symmetry: same star, frequencies within a relative tolerance.

    The tolerance is that of rounding: modes that are close by accident move apart, and their mean
    would hide it.

    Parameters
    ----------
    frequencies
        Shape (n_qpoints, n_bands), sorted within each wave vector.
    stars
        Star that each wave vector belongs to, shape (n_qpoints,).
    tolerance
        Relative to the largest frequency.

    Returns
    -------
    Labels, shape (n_qpoints, n_bands), and the mean frequency of each set.
    """
    _, star_of = np.unique(stars, return_inverse=True)
    bands = np.zeros((star_of.max() + 1, frequencies.shape[1]))
    np.add.at(bands, star_of, frequencies)
    bands /= np.bincount(star_of)[:, None]
    begins = np.ones(bands.shape, dtype=bool)
    begins[:, 1:] = np.diff(bands, axis=1) > tolerance * np.abs(frequencies).max()
    sets = np.cumsum(begins).reshape(bands.shape) - 1
    means = np.bincount(sets.ravel(), weights=bands.ravel()) / np.bincount(sets.ravel())
    return sets[star_of], means
