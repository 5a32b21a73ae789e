"""What some configurations of an ensemble contribute to its averages."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sscha_mlp import units
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.crystal.symmetry import SpaceGroup
from sscha_mlp.ensemble.sampling import Ensemble
from sscha_mlp.scha.estimators import Estimators, Samples, estimate


@dataclass(frozen=True, eq=False)
class Influence:
    """By how much averages change when some configurations are left out.

    Parameters
    ----------
    free_energy_mev
        meV/atom.
    stress_gpa
        Largest component, GPa.
    frequencies_thz
        First-order shifts, shape (n_qpoints, n_bands), THz.
    """

    free_energy_mev: float
    stress_gpa: float
    frequencies_thz: FloatArray


def influence(samples: Samples, which: NDArray[np.bool_], group: SpaceGroup) -> Influence:
    """Return what some configurations contribute to the averages of an ensemble.

    Parameters
    ----------
    samples
        Of one distribution, with the values of a potential.
    which
        The configurations, shape (n_configs,); not all of them.
    group
        Space group that the averages are symmetrised with.
    """
    everything, rest = estimate(samples, group), estimate(_only(samples, ~which), group)
    n_atoms = group.supercell.n_atoms
    return Influence(
        1.0e3 * abs(_change(everything, rest, "free_energy").item()) / n_atoms,
        float(np.abs(_change(everything, rest, "stress")).max()) / units.GPA,
        np.abs(everything.gradient - rest.gradient) / units.THZ,
    )


def _only(samples: Samples, which: NDArray[np.bool_]) -> Samples:
    """Return samples of some configurations alone."""
    ensemble = Ensemble(samples.ensemble.gaussian, samples.ensemble.displacements[which], False)
    return Samples(
        ensemble, samples.energies[which], samples.forces[which], samples.stresses[which]
    )


def _change(one: Estimators, other: Estimators, name: str) -> FloatArray:
    """Return the difference of an average."""
    return np.asarray(getattr(one, name).value - getattr(other, name).value)
