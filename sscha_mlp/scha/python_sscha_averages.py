"""python-sscha's own averages and symmetry operations, to hold ours against.

Everything here is computed by their code, on an ensemble whose masses and temperature make
``hbar omega`` and ``k T`` those of ours (:func:`sscha_mlp.scha.python_sscha.to_ensemble`), and
returned in our units and conventions: equal numbers are expected to rounding.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import SpaceGroup, find_space_group
from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.errors import InputError
from sscha_mlp.scha.estimators import Samples
from sscha_mlp.scha.python_sscha import (
    GradientSymmetriser,
    TheirSymmetry,
    matched_phonons,
    quiet,
    their_free_energy,
    to_ensemble,
    to_structure,
    upstream,
)


@dataclass(frozen=True, eq=False)
class UpstreamAverages:
    """What python-sscha says of samples at a trial state.

    Parameters
    ----------
    free_energy
        Variational free energy of the supercell, eV.
    force_constant_change
        ``< d²V/du² > - Phi``, compact, shape (n_primitive, n_atoms, 3, 3), eV/Å².
    centroid_forces
        Average force on each primitive atom, shape (n_primitive, 3), eV/Å.
    stress
        SSCHA stress, shape (3, 3), eV/Å³, ASE's sign.  Theirs keeps the antisymmetric part of
        ``< f u >``, which is noise; here it is left out.
    weights
        Importance weights, shape (n_configs,), scaled to a mean of one.
    effective_sample_size
        Kong-Liu effective sample size.
    """

    free_energy: float
    force_constant_change: FloatArray
    centroid_forces: FloatArray
    stress: FloatArray
    weights: FloatArray
    effective_sample_size: float


def upstream_averages(
    samples: Samples, *, trial: Gaussian | None = None, symmetry: TheirSymmetry | None = None
) -> UpstreamAverages:
    """Return python-sscha's averages of samples, reweighted by its ``update_weights``.

    Their preconditioned gradient, the one that their minimiser steps along, is
    ``< Upsilon u (f + Phi u) >``: minus our change of force constants, without the Lambda tensor
    that turns it into the derivative of the free energy.  It is Fourier transformed by them, to
    the wave vectors of the supercell, and back by us.

    Parameters
    ----------
    samples
        Configurations with energies, forces and stresses.
    trial
        State at which averages are wanted; by default the one the samples were drawn from.  Its
        temperature must be that of the samples.
    symmetry
        Symmetrise force constants and forces by their code; by default they are left as they are,
        averaged over lattice translations.  The stress is symmetrised by them in any case, with
        Quantum ESPRESSO's operations unless spglib's are chosen.

    Raises
    ------
    InputError
        If the trial state has another temperature, or their default symmetrisation cannot be done
        because the supercell has less symmetry than the crystal.
    """
    if trial is not None and trial.temperature != samples.ensemble.temperature:
        raise InputError(
            f"The samples are at {samples.ensemble.temperature} K and the trial state at "
            f"{trial.temperature} K; the comparison with python-sscha needs one temperature."
        )
    up = upstream()
    supercell = samples.ensemble.dynamical_matrix.supercell
    is_default = symmetry is TheirSymmetry.QE
    group = their_space_group(supercell) if is_default else find_space_group(supercell)
    with quiet():
        ensemble, _ = to_ensemble(samples, group=group)
        if trial is not None:
            phonons = matched_phonons(trial.dynamical_matrix, group)
            ensemble.update_weights(phonons, ensemble.T0)
        free_energy = their_free_energy(ensemble)
        gradient = ensemble.get_preconditioned_gradient(True, False)
        forces = ensemble.get_average_forces(False)
        if symmetry is not None:
            gradient = _symmetrised(gradient, forces, ensemble.current_dyn, symmetry)
        stress, _ = ensemble.get_stress_tensor(use_spglib=symmetry is TheirSymmetry.SPGLIB)
        sample_size = float(ensemble.get_effective_sample_size())
    compact = GradientSymmetriser(group, ensemble.current_dyn).to_compact(gradient)
    return UpstreamAverages(
        free_energy=free_energy,
        force_constant_change=-compact * up.units.force_constants,
        centroid_forces=np.asarray(forces * up.units.rydberg),
        stress=np.asarray(-0.5 * (stress + stress.T) * up.units.stress),
        weights=np.asarray(ensemble.rho / ensemble.rho.mean()),
        effective_sample_size=sample_size,
    )


def _symmetrised(
    gradient: NDArray[np.complex128],
    forces: NDArray[np.float64],
    phonons: Any,
    symmetry: TheirSymmetry,
) -> NDArray[np.complex128]:
    """Return the gradient symmetrised as in a step of their minimiser; forces change in place."""
    cc = upstream().cc
    operations = _operations(phonons.structure, symmetry)
    if symmetry is TheirSymmetry.QE:
        try:
            operations.SymmetrizeFCQ(gradient, phonons.q_stars, asr="custom")
        except ValueError as err:
            raise InputError(
                f"python-sscha cannot symmetrise on this supercell ({err}); choose repetitions "
                "with the symmetry of the crystal, or its use of spglib."
            ) from err
        operations.SetupQPoint()
    else:
        small, qpoints = phonons.structure, np.array(phonons.q_tot)
        large = small.generate_supercell(phonons.GetSupercell())
        matrix = cc.Phonons.GetSupercellFCFromDyn(gradient, qpoints, small, large)
        _operations(large, symmetry).ApplySymmetriesToV2(matrix)
        gradient = cc.Phonons.GetDynQFromFCSupercell(matrix, qpoints, small, large)
        cc.symmetries.CustomASR(gradient[0])
    operations.SymmetrizeVector(forces)
    return gradient


def _operations(structure: Any, symmetry: TheirSymmetry) -> Any:
    """Operations of a CellConstructor structure, searched for by their code."""
    operations = upstream().cc.symmetries.QE_Symmetry(structure)
    if symmetry is TheirSymmetry.QE:
        operations.SetupQPoint()
    else:
        operations.SetupFromSPGLIB()
    return operations


def their_space_group(supercell: Supercell) -> SpaceGroup:
    """Return the operations that python-sscha symmetrises with by default, as a group of ours.

    Quantum ESPRESSO's search leaves out operations whose fractional translation does not fit its
    mesh: 24 of diamond's 48 are found.  With ``use_spglib`` they have all, those of
    :func:`find_space_group`.

    Parameters
    ----------
    supercell
        The primitive cell and its repetitions; operations that do not map the supercell lattice
        onto itself are left out.

    Returns
    -------
    A group with the name and number of the crystal's full space group.
    """
    full = find_space_group(supercell)
    with quiet():
        operations = _operations(to_structure(supercell.primitive), TheirSymmetry.QE)
    found = np.array(operations.GetSymmetries())
    rotations = np.rint(found[:, :, :3]).astype(np.int64)
    keep = np.any(np.all(rotations[:, None] == full.rotations[None], axis=(2, 3)), axis=1)
    return SpaceGroup(
        supercell, rotations[keep], found[keep, :, 3], full.international, full.number
    )
