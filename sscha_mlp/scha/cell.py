"""What of a cell is free, and what a potential must offer to move it."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.crystal.symmetry import SpaceGroup


class CellMode(StrEnum):
    """What of the cell is free."""

    VARIABLE = "variable"
    FIXED_VOLUME = "fixed-volume"
    FIXED = "fixed"


class Evaluation(Protocol):
    """Energies, forces and stresses of a batch of configurations."""

    @property
    def energies(self) -> NDArray[np.float64]:
        """Shape (n_configs,), eV."""

    @property
    def forces(self) -> Sequence[NDArray[np.float64]]:
        """One array of shape (n_atoms, 3) per configuration, eV/Å."""

    @property
    def stresses(self) -> NDArray[np.float64]:
        """Shape (n_configs, 3, 3), eV/Å³, ASE's sign."""


class Evaluator(Protocol):
    """Anything that gives energies, forces and stresses of a batch of configurations."""

    def evaluate(self, configurations: Sequence[Atoms], /) -> Evaluation:
        """Evaluate configurations, one call each."""


def free_strains(group: SpaceGroup, mode: CellMode) -> FloatArray:
    """Return the strains that symmetry and the settings leave free, orthonormal, (n, 3, 3).

    Parameters
    ----------
    group
        Space group that the strain keeps.
    mode
        What is free.
    """
    strains = group.invariant_strains
    if mode is CellMode.FIXED:
        return strains[:0]
    if mode is CellMode.VARIABLE:
        return strains
    traces = np.trace(strains, axis1=1, axis2=2)
    without_trace = np.linalg.svd(traces[None, :])[2][1:]
    return np.asarray(np.tensordot(without_trace, strains, axes=1))
