"""Cell steps: how a cell follows its stress."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from sscha_mlp import units
from sscha_mlp.crystal.structure import Crystal, FloatArray
from sscha_mlp.crystal.symmetry import SpaceGroup
from sscha_mlp.errors import RelaxationError

_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


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


def stiffness(evaluator: Evaluator, crystal: Crystal, *, strain: float = 2.0e-3) -> FloatArray:
    """Clamped-ion elastic stiffness of the static lattice by central differences of the stress.

    Parameters
    ----------
    evaluator
        The potential.
    crystal
        A (super)cell; its atoms keep their scaled positions.
    strain
        Size of each strain.

    Returns
    -------
    Shape (6, 6) in Voigt order, eV/Å³: column k is the change of stress per engineering strain k.
    """
    frames = []
    for i, j in _VOIGT:
        direction = np.zeros((3, 3))
        direction[i, j] = direction[j, i] = strain if i == j else 0.5 * strain
        frames += [crystal.strained(direction).to_ase(), crystal.strained(-direction).to_ase()]
    stresses = np.asarray(evaluator.evaluate(frames).stresses)
    change = (stresses[0::2] - stresses[1::2]) / (2 * strain)
    return np.array([[change[k][i, j] for k in range(6)] for i, j in _VOIGT])


def bulk_modulus(constants: NDArray[np.float64]) -> float:
    """Voigt bulk modulus of an elastic stiffness (6, 6), same unit."""
    return float(constants[:3, :3].sum() / 9)


def cell_strain(
    stress: NDArray[np.float64],
    target_pressure: float,
    constants: NDArray[np.float64],
    group: SpaceGroup,
    *,
    mode: CellMode,
    largest: float = 0.02,
) -> FloatArray:
    """Newton step of the cell towards a hydrostatic target.

    Parameters
    ----------
    stress
        SSCHA stress, shape (3, 3), eV/Å³, ASE's sign.
    target_pressure
        eV/Å³.
    constants
        Elastic stiffness, shape (6, 6), eV/Å³.
    group
        Space group that the strain keeps.
    mode
        What is free.
    largest
        Longest step: no component of the strain is larger.

    Returns
    -------
    Symmetric strain, shape (3, 3).

    Raises
    ------
    RelaxationError
        If the stiffness has no positive bulk modulus: the model makes the lattice collapse.
    """
    if mode is CellMode.FIXED:
        return np.zeros((3, 3))
    if not bulk_modulus(constants) > 0:
        raise RelaxationError(
            f"The bulk modulus of the model is {bulk_modulus(constants) / units.GPA:.1f} GPa at "
            "this cell: the model has left its domain; it knows too little of other volumes."
        )
    missing = -target_pressure * np.eye(3) - stress
    if mode is CellMode.FIXED_VOLUME:
        missing = missing - np.trace(missing) / 3 * np.eye(3)
    voigt = np.array([missing[i, j] for i, j in _VOIGT])
    solved = np.linalg.lstsq(_stable(constants), voigt, rcond=None)[0]
    strain = np.zeros((3, 3))
    for value, (i, j) in zip(solved, _VOIGT, strict=True):
        strain[i, j] = strain[j, i] = value if i == j else 0.5 * value
    strain = group.symmetrise_tensor(strain)
    size = float(np.abs(strain).max())
    strain = np.asarray(strain * min(1.0, largest / size) if size > 0 else strain)
    if mode is CellMode.FIXED_VOLUME:  # exactly: removing the trace keeps it to first order alone
        strain = (np.eye(3) + strain) / np.cbrt(np.linalg.det(np.eye(3) + strain)) - np.eye(3)
    return strain


def _stable(constants: NDArray[np.float64]) -> FloatArray:
    """Symmetric stiffness whose softest strain is no softer than 5 % of the stiffest."""
    values, vectors = np.linalg.eigh(0.5 * (constants + constants.T))
    values = np.maximum(np.abs(values), 0.05 * values.max())
    return np.asarray((vectors * values) @ vectors.T)
