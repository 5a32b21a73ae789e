r"""SSCHA estimators: free energy, self-consistent force constants, centroid forces and stress.

For a Gaussian trial state with force constants Phi, centroids R and covariance Psi, and
displacements u drawn from it, with f and sigma the forces and stress of the potential V
(Errea, Calandra, Mauri, Phys. Rev. B 89, 064302 (2014); Monacelli, Errea, Calandra, Mauri,
Phys. Rev. B 98, 024106 (2018); Bianco et al., Phys. Rev. B 96, 014111 (2017)):

- free energy   ``F = F_harm(Phi, T) + < V - u Phi u / 2 >``
- force constants ``< d²V/du² > = Phi - < Upsilon u (f + Phi u) >``, ``Upsilon = Psi^-1``
- centroid force ``< f >``
- stress ``< sigma + sym(f u) / Omega >``: at fixed u, a strain moves the centroids alone

The harmonic parts are subtracted from the forces wherever their average is known exactly, which
removes most of the variance.  All estimators are linear in V: applied to the difference of two
potentials they give the difference of the two results, which is what the certificate uses.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sscha_mlp.crystal.dynamical_matrix import (
    DynamicalMatrix,
    contract,
    mass_weighted_at_qpoints,
    symmetrise,
)
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.crystal.symmetry import SpaceGroup
from sscha_mlp.ensemble.averages import (
    Estimate,
    average,
    displacements_from,
    effective_sample_size,
    importance_weights,
)
from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.ensemble.sampling import Ensemble
from sscha_mlp.errors import InputError


@dataclass(frozen=True, eq=False)
class Samples:
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

    def minus(self, other: "Samples") -> "Samples":
        """Return the difference of two potentials on the same configurations."""
        return Samples(
            self.ensemble,
            self.energies - other.energies,
            self.forces - other.forces,
            self.stresses - other.stresses,
        )


@dataclass(frozen=True, eq=False)
class Estimators:
    """SSCHA averages of samples, reweighted to a trial state.

    Parameters
    ----------
    samples
        Configurations with energies, forces and stresses.
    trial
        The state at which averages are wanted; by default the one the samples were drawn from.
    group
        Space group that the averages are symmetrised with.
    """

    samples: Samples
    trial: Gaussian
    group: SpaceGroup

    @cached_property
    def weights(self) -> FloatArray:
        """Importance weights of the configurations, mean one, shape (n_configs,)."""
        return importance_weights(self.samples.ensemble, self.trial)

    @property
    def effective_sample_size(self) -> float:
        """Kong-Liu effective sample size of the weights."""
        return effective_sample_size(self.weights)

    @cached_property
    def displacements(self) -> FloatArray:
        """Displacements from the centroids of the trial state, shape (n_configs, 3 n_atoms), Å."""
        return displacements_from(self.samples.ensemble, self.trial)

    @cached_property
    def _harmonic_forces(self) -> FloatArray:
        return np.asarray(-self.displacements @ self.trial.dynamical_matrix.matrix)

    @cached_property
    def residual_forces(self) -> FloatArray:
        """Forces less those of the trial Hamiltonian, shape (n_configs, 3 n_atoms), eV/Å."""
        return np.asarray(self.samples.forces - self._harmonic_forces)

    def mean(self, values: NDArray[np.float64]) -> Estimate:
        """Average a value per configuration over the trial state."""
        antithetic = self.samples.ensemble.antithetic
        return average(values, self.weights, antithetic=antithetic)

    @cached_property
    def free_energy(self) -> Estimate:
        """Variational free energy of the supercell with its error, eV."""
        harmonic = -0.5 * (self.displacements * self._harmonic_forces).sum(axis=1)
        anharmonic = self.mean(self.samples.energies - harmonic)
        return Estimate(anharmonic.value + self.trial.free_energy, anharmonic.stderr)

    @cached_property
    def centroid_forces(self) -> Estimate:
        """Symmetrised average force on each primitive atom, shape (n_primitive, 3), eV/Å."""
        return self.mean(forces_on_centroids(self.group, self.residual_forces))

    @cached_property
    def stress(self) -> Estimate:
        """Symmetrised SSCHA stress, shape (3, 3), eV/Å³."""
        return self.mean(self.stress_per_configuration)

    @cached_property
    def stress_per_configuration(self) -> FloatArray:
        """What each configuration contributes to the stress, shape (n_configs, 3, 3), eV/Å³."""
        volume = self.trial.dynamical_matrix.supercell.crystal.volume
        virial = displacement_stress(self.samples.forces, self.displacements, volume)
        return self.group.symmetrise_tensor(self.samples.stresses + virial)

    @cached_property
    def force_constants(self) -> FloatArray:
        """Self-consistent force constants ``< d²V/du² >``, compact and symmetrised, eV/Å²."""
        change = self.force_constant_change
        return np.asarray(self.trial.dynamical_matrix.force_constants + change)

    @cached_property
    def force_constant_change(self) -> FloatArray:
        """``< d²V/du² > - Phi``, compact and symmetrised, eV/Å²; zero at the SSCHA minimum."""
        return force_constant_average(
            self.group, self.trial, self.displacements, self.residual_forces, self.weights
        )

    def frequency_shifts(self) -> Estimate:
        """First-order shift of each mode by ``< d²V/du² > - Phi``.

        Returns
        -------
        Shape (n_qpoints, n_bands), internal angular frequency, aligned with
        ``frequencies_at_qpoints``; averaged over degenerate modes.
        """
        return frequency_shifts(
            self.group,
            self.trial,
            self.displacements,
            self.residual_forces,
            self.weights,
            antithetic=self.samples.ensemble.antithetic,
        )


def estimate(samples: Samples, group: SpaceGroup, *, trial: Gaussian | None = None) -> Estimators:
    """Return the SSCHA estimators of samples at a trial state (their own when left out)."""
    return Estimators(samples, samples.ensemble.gaussian if trial is None else trial, group)


def displacement_stress(
    forces: NDArray[np.float64], displacements: NDArray[np.float64], volume: float
) -> FloatArray:
    """``sym(f u) / Omega`` of each configuration: what the stress at fixed u lacks.

    Parameters
    ----------
    forces, displacements
        Shape (n_configs, 3 n_atoms), eV/Å and Å.
    volume
        Of the supercell, Å³.

    Returns
    -------
    Shape (n_configs, 3, 3), eV/Å³.
    """
    f = forces.reshape(len(forces), -1, 3)
    u = displacements.reshape(len(forces), -1, 3)
    product = np.einsum("nia,nib->nab", f, u)
    return np.asarray(0.5 * (product + product.transpose(0, 2, 1)) / volume)


def forces_on_centroids(group: SpaceGroup, forces: NDArray[np.float64]) -> FloatArray:
    """Symmetrised force on each primitive atom, averaged over the cells of each configuration.

    Parameters
    ----------
    group
        Operations of the supercell.
    forces
        Shape (n_configs, 3 n_atoms), eV/Å.

    Returns
    -------
    Shape (n_configs, n_primitive, 3), eV/Å.
    """
    supercell = group.supercell
    shape = (len(forces), supercell.n_cells, supercell.primitive.n_atoms, 3)
    return group.symmetrise_vectors(forces.reshape(shape).mean(axis=1))


def force_constant_average(
    group: SpaceGroup,
    trial: Gaussian,
    displacements: NDArray[np.float64],
    forces: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> FloatArray:
    """Symmetrised ``- < Upsilon u f >`` in compact form.

    Parameters
    ----------
    group
        Operations of the supercell.
    trial
        Gaussian whose Upsilon is used.
    displacements, forces
        Shape (n_configs, 3 n_atoms), Å and eV/Å.
    weights
        Shape (n_configs,).

    Returns
    -------
    Shape (n_primitive, n_atoms, 3, 3), eV/Å².
    """
    product = (displacements * weights[:, None]).T @ forces / weights.sum()
    matrix = -trial.inverse_covariance @ product
    compact = contract(group.supercell, 0.5 * (matrix + matrix.T))
    return symmetrise(group, compact)


def frequency_shifts(
    group: SpaceGroup,
    trial: Gaussian,
    displacements: NDArray[np.float64],
    forces: NDArray[np.float64],
    weights: NDArray[np.float64],
    *,
    antithetic: bool,
) -> Estimate:
    """First-order frequency shifts due to forces beyond the trial Hamiltonian, with errors.

    ``d omega = e* dD e / (2 omega)`` for each mode of each commensurate wave vector, averaged over
    degenerate modes and equivalent wave vectors.  The error comes from what each configuration
    (or antithetic pair) contributes.

    Returns
    -------
    Shape (n_qpoints, n_bands), ``sqrt(eV/(amu Å²))``.
    """
    projection = ModeProjection.of(trial.dynamical_matrix, group)
    contributions = projection.shifts(displacements @ trial.inverse_covariance, forces)
    return average(contributions, weights, antithetic=antithetic)


@dataclass(frozen=True, eq=False)
class ModeProjection:
    """Sets of degenerate modes, and how a force-constant perturbation moves their frequency.

    Parameters
    ----------
    labels
        Set that each (wave vector, band) belongs to, shape (n_qpoints, n_bands).
    frequencies
        Mean frequency of each set, shape (n_sets,), internal.
    vectors
        Mass-scaled modes of all wave vectors, shape (3 n_atoms, n_qpoints, n_bands), complex,
        in amu^-1/2, normalised over the supercell.
    """

    labels: NDArray[np.int64]
    frequencies: FloatArray
    vectors: NDArray[np.complex128]

    @classmethod
    def of(cls, dynamical_matrix: DynamicalMatrix, group: SpaceGroup) -> "ModeProjection":
        """Find the modes of a dynamical matrix and group the degenerate ones."""
        supercell = dynamical_matrix.supercell
        matrices = mass_weighted_at_qpoints(supercell, dynamical_matrix.force_constants)
        values, vectors = np.linalg.eigh(matrices)
        frequencies = np.sign(values) * np.sqrt(np.abs(values))
        labels, means = degenerate_sets(frequencies, group.equivalent_qpoints())
        root = np.sqrt(np.repeat(supercell.primitive.masses, 3))
        phases = np.exp(2j * np.pi * supercell.translations @ supercell.qpoints.T)
        scaled = vectors / root[None, :, None] / np.sqrt(supercell.n_cells)
        full = np.einsum("Tq,qib->Tiqb", phases, scaled)
        return cls(labels, means, full.reshape(3 * supercell.n_atoms, *labels.shape))

    def shifts(self, scaled: NDArray[np.float64], forces: NDArray[np.float64]) -> FloatArray:
        """Frequency shift that each configuration contributes.

        Parameters
        ----------
        scaled
            ``Upsilon u``, shape (n_configs, 3 n_atoms), 1/Å.
        forces
            Forces beyond the trial Hamiltonian, shape (n_configs, 3 n_atoms), eV/Å.

        Returns
        -------
        Shape (n_configs, n_qpoints, n_bands), zero for the translations.
        """
        flat = self.vectors.reshape(len(self.vectors), -1)
        diagonal = -np.real((scaled @ flat.conj()) * (forces @ flat))
        labels = self.labels.ravel()
        counts = np.bincount(labels)
        summed = np.zeros((len(counts), len(diagonal)))
        np.add.at(summed, labels, diagonal.T)
        means = summed / counts[:, None]
        safe = np.where(np.abs(self.frequencies) > 1.0e-3, self.frequencies, np.inf)
        return np.asarray((means / (2 * safe[:, None]))[labels].T.reshape(-1, *self.labels.shape))


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
    labels = np.full(frequencies.shape, -1, dtype=np.int64)
    means: list[float] = []
    width = tolerance * np.abs(frequencies).max()
    for star in np.unique(stars):
        members = np.flatnonzero(stars == star)
        bands = frequencies[members].mean(axis=0)
        start = 0
        for band in range(1, len(bands) + 1):
            if band == len(bands) or bands[band] - bands[band - 1] > width:
                labels[np.ix_(members, np.arange(start, band))] = len(means)
                means.append(float(bands[start:band].mean()))
                start = band
    return labels, np.asarray(means)
