r"""Cell steps: how a cell follows its stress, its centroids with it.

A Newton step with the elastic stiffness of the static lattice is right at rest.  At temperature the
stress answers a strain in another way: the force constants follow too, and a population lets
them and the centroids go only as far as its effective sample size allows.  Each pair of populations
has measured that answer.  The stiffness therefore learns from them, by the update of Broyden,
Fletcher, Goldfarb and Shanno (J. Nocedal and S. J. Wright, Numerical Optimization, section 6.1),
which keeps it symmetric and positive.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sscha_mlp import units
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.structure import FloatArray, read_only
from sscha_mlp.crystal.symmetry import SpaceGroup
from sscha_mlp.scha.cell import CellMode, free_strains
from sscha_mlp.scha.cell_response import CellResponse

LARGEST_STRAIN: float = 0.02
"""No component of the strain of one step is larger."""

_HISTORY: int = 6
_SMALLEST: float = 1.0e-4
_SIGNAL: float = 4.0
_FACTORS: tuple[float, float] = (0.25, 4.0)


@dataclass(frozen=True, eq=False)
class CellPoint:
    """The stress that a population has found in its cell.

    Parameters
    ----------
    cell
        Lattice vectors as rows, shape (3, 3), Å.
    stress_gpa
        SSCHA stress at the minimum, shape (3, 3), GPa, ASE's sign.
    stderr_gpa
        Largest standard error of a component, GPa.
    """

    cell: FloatArray
    stress_gpa: FloatArray
    stderr_gpa: float

    def __post_init__(self) -> None:
        """Make the arrays read-only."""
        object.__setattr__(self, "cell", read_only(self.cell))
        object.__setattr__(self, "stress_gpa", read_only(self.stress_gpa))


def strain_between(first: ArrayLike, second: ArrayLike) -> FloatArray:
    """Symmetric strain, shape (3, 3), that turns a cell into another, rows are lattice vectors."""
    change = np.linalg.solve(np.asarray(first), np.asarray(second)) - np.eye(3)
    return np.asarray(0.5 * (change + change.T))


def learnt_stiffness(response: CellResponse, points: Sequence[CellPoint]) -> FloatArray:
    """Return the relaxed stiffness, corrected by what populations have measured of it.

    Parameters
    ----------
    response
        Of the static lattice.
    points
        Populations in the order in which they were made.

    Returns
    -------
    Symmetric and positive, in the basis of the response, shape (n, n), eV/Å³.
    """
    stiffness = response.stiffness
    for before, after in pairwise(points[-_HISTORY:]):
        strain = response.components(strain_between(before.cell, after.cell))
        stress = response.components(after.stress_gpa - before.stress_gpa) * units.GPA
        noise = np.hypot(before.stderr_gpa, after.stderr_gpa) * units.GPA
        size = float(np.linalg.norm(strain))
        if size < _SMALLEST or abs(strain @ stress) < _SIGNAL * noise * size:
            continue
        stiffness = _updated(stiffness, strain, stress)
    return stiffness


def _updated(
    stiffness: FloatArray, strain: NDArray[np.float64], stress: NDArray[np.float64]
) -> FloatArray:
    """Update a stiffness such that it answers a strain with a stress, within a factor of four."""
    answer = stiffness @ strain
    expected = float(strain @ answer)
    ratio = float(strain @ stress) / expected
    factor = float(np.clip(ratio, *_FACTORS))
    # Beyond the factor the pair is not believed, and scales the old answer alone.
    measured = stress if factor == ratio else factor * answer
    rest = stiffness - np.outer(answer, answer) / expected
    return np.asarray(rest + np.outer(measured, measured) / float(strain @ measured))


def cell_strain(
    missing: NDArray[np.float64],
    response: CellResponse,
    group: SpaceGroup,
    *,
    mode: CellMode,
    points: Sequence[CellPoint] = (),
    largest: float = LARGEST_STRAIN,
) -> FloatArray:
    """Newton step of the cell that removes a stress.

    Parameters
    ----------
    missing
        Stress less its target, shape (3, 3), eV/Å³, ASE's sign.
    response
        How stress and centroids answer a strain.
    group
        Space group that the strain keeps.
    mode
        What is free.
    points
        Populations in the order in which they were made: the stiffness learns from them.
    largest
        Longest step: no component of the strain is larger.

    Returns
    -------
    Symmetric strain, shape (3, 3).

    Raises
    ------
    RelaxationError
        If the lattice has no positive bulk modulus: the model makes it collapse.
    """
    free = free_strains(group, mode)
    if not len(free):
        return np.zeros((3, 3))
    response.check()
    within = response.components(free)  # free strains in the basis of the response, (n_free, n)
    matrix = within @ learnt_stiffness(response, points) @ within.T
    wanted = -within @ response.components(missing)
    strain = np.tensordot(np.linalg.solve(matrix, wanted), free, axes=1)
    size = float(np.abs(strain).max())
    strain = np.asarray(strain * min(1.0, largest / size) if size > 0 else strain)
    if mode is CellMode.FIXED_VOLUME:  # exactly: removing the trace keeps it to first order alone
        strain = (np.eye(3) + strain) / np.cbrt(np.linalg.det(np.eye(3) + strain)) - np.eye(3)
    return strain


def strained_state(
    state: DynamicalMatrix, strain: NDArray[np.float64], response: CellResponse
) -> DynamicalMatrix:
    """Return a state in a strained cell, its centroids where they follow to first order."""
    following = response.following(response.components(strain))
    moved = state.strained(strain)
    return moved.moved(following) if np.abs(following).max() > 0 else moved
