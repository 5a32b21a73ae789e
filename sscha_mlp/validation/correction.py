r"""From shifts to the corrected state: what the differences of a certificate do to the minimum.

A shift dPhi of the average curvature is not yet the shift of Phi at the minimum: where Phi moves,
so does the ensemble, and with it every average.  That response is of first order too.  It costs no
label: the last ensemble of the model is minimised once more with the potential

    V(u) = V_model(u) - <df> . u + u dPhi u / 2

whose SSCHA averages differ from the model's by just what the certificate has measured, wherever the
Gaussian stands.  The term acts on the displacements alone and adds nothing to the SSCHA stress at
fixed u; the measured shift of the stress is added afterwards.
"""

from dataclasses import dataclass

import numpy as np

from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.symmetry import SpaceGroup
from sscha_mlp.ensemble.averages import Estimate
from sscha_mlp.scha import minimiser
from sscha_mlp.scha.estimators import Estimators, Samples, displacement_stress, estimate
from sscha_mlp.scha.minimiser import Minimise, MinimiserSettings
from sscha_mlp.validation.certificate import Certificate, LeftOut


@dataclass(frozen=True, eq=False)
class Corrected:
    """The minimum of the model with the certificate's differences added.

    Parameters
    ----------
    dynamical_matrix
        Corrected force constants and centroids, at the cell of the samples.
    stress
        Corrected SSCHA stress, shape (3, 3), eV/Å³: sampling errors of model and certificate.
    """

    dynamical_matrix: DynamicalMatrix
    stress: Estimate


def correct(
    samples: Samples,
    certificate: Certificate,
    group: SpaceGroup,
    settings: MinimiserSettings,
    *,
    engine: Minimise = minimiser.minimise,
) -> Corrected:
    """Minimise an ensemble of the model with the differences to the reference added.

    Parameters
    ----------
    samples
        Last ensemble of the relaxation with the model's values.
    certificate
        Differences measured at the state that this ensemble led to.
    group
        Space group of the state.
    settings
        How it is minimised.
    engine
        The minimiser.

    Raises
    ------
    RelaxationError
        If the corrected force constants are not positive.
    """
    shifted = add_difference(samples, certificate)
    minimum = engine(shifted, group, settings)
    stress = minimum.estimators.stress
    return Corrected(
        minimum.dynamical_matrix,
        Estimate(
            stress.value + certificate.stress.value,
            np.hypot(stress.stderr, certificate.stress.stderr),
        ),
    )


def left_out(
    samples: Samples,
    delta: Samples,
    certificate: Certificate,
    group: SpaceGroup,
    corrected: Corrected,
) -> LeftOut:
    """Return the size of what the correction leaves out, of second order in the difference.

    The certificate measures the differences at the model's state, and the corrected minimum lies
    elsewhere.  Importance weights carry the same labels there: what their averages change by is
    missing in the corrected frequencies and stress.  The free energy that is reported is that of
    the model's state, above the minimum by what the minimisation with the differences gains.

    Parameters
    ----------
    samples
        Last ensemble of the relaxation with the model's values.
    delta
        Reference minus model on the labels of the check.
    certificate
        What follows from `delta` at the state that it was drawn from.
    group
        Space group of the state.
    corrected
        Minimum with the differences added, in the cell of `delta`.
    """
    before = delta.ensemble.gaussian
    after = before.at(corrected.dynamical_matrix)
    here, there = (Estimators(delta, one, group, of_difference=True) for one in (before, after))
    shifted = add_difference(samples, certificate)
    first, last = (estimate(shifted, group, trial=one).free_energy.value for one in (before, after))
    return LeftOut(
        abs(float(first - last)),
        np.abs(there.stress.value - here.stress.value),
        np.abs(here.shift_by(there.change_at_q - here.change_at_q)),
    )


def add_difference(samples: Samples, certificate: Certificate) -> Samples:
    """Return samples of the model plus the harmonic difference of a certificate.

    The stress gets what cancels the term's own ``sym(f u) / Omega``.
    """
    ensemble = samples.ensemble
    supercell = ensemble.dynamical_matrix.supercell
    primitive = supercell.primitive
    shift = (primitive.scaled_positions - certificate.scaled_positions) @ primitive.cell
    displacements = ensemble.displacements + np.tile(shift.ravel(), supercell.n_cells)
    added = DynamicalMatrix(supercell, certificate.force_constants)
    slope = np.tile(certificate.centroid_forces.value.ravel(), supercell.n_cells)
    pull = added.harmonic_forces(displacements)
    energies = -displacements @ slope - 0.5 * (displacements * pull).sum(axis=1)
    forces = slope + pull
    shape = (ensemble.n_configs, -1, 3)
    virial = displacement_stress(
        forces.reshape(shape), ensemble.displacements.reshape(shape), supercell.crystal.volume
    )
    return Samples(
        ensemble,
        samples.energies + energies,
        samples.forces + forces,
        samples.stresses - virial,
    )
