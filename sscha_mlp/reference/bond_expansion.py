r"""A polynomial in the bonds of a crystal, fitted to forces: how the energy depends on them.

The trapezoidal rule for the energy between two configurations is wrong where the potential is far
from harmonic: by a factor of two for a quartic one.  A potential that has the same anharmonicity
takes that away.  Here it is a sum over bonds of the first shells,

    E(u) = \sum_b [c_1 l + c_2 l^2 + c_3 t^2 + c_4 l^3 + c_5 l t^2
                    + c_6 l^4 + c_7 l^2 t^2 + c_8 t^4],

with the relative displacement s of the two atoms, its component l along the bond at rest, and
t^2 = s^2 - l^2; the coefficients belong to a shell of a pair of elements.  It is linear in them,
and its forces are fitted to those of the labels, so that it has their units and not those of the
energies.  What it leaves of the forces is left to the trapezoidal rule.

Displacements of one size, as those of finite differences, do not tell l^2 from l^4: both give the
same forces there, and energies that differ by a factor of two.  What two orders explain alike
belongs to the lower one: a small penalty on the coefficients of third and fourth order does that.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

REACH: Final = 1.75
"""Bonds are up to this many times as long as the shortest."""

_SAME_SHELL: Final = 0.15
"""Bonds of two elements whose lengths differ by less, Å, may belong to one shell."""

_EQUATIONS: Final = 12
"""Components of forces that there must be for each coefficient."""

_N_TERMS: Final = 8

_N_HARMONIC: Final = 3
"""Terms up to second order, which come first."""

_PENALTY: Final = 1.0e-4
"""Weight of a coefficient of higher order against the norm of its forces: well above rounding, and
far below the part of the forces by which two orders differ at displacements of several sizes."""


@dataclass(frozen=True, eq=False)
class Explained:
    """What the polynomial says.

    Parameters
    ----------
    energies
        Shape (n,), eV, up to a constant.
    forces
        Shape (n, n_atoms, 3), eV/Å.
    missed
        Part of the mean square force that it leaves, for data that were not fitted: 0 where it
        explains all, 1 where there is no fit.
    """

    energies: FloatArray
    forces: FloatArray
    missed: float


def explain(rest: Atoms, displacements: FloatArray, forces: FloatArray) -> Explained:
    """Fit the polynomial to forces, and return its energies and forces.

    Both are zero where there are too few forces for its coefficients.

    Parameters
    ----------
    rest
        The crystal without displacements.
    displacements
        Shape (n, n_atoms, 3), Å.
    forces
        Shape (n, n_atoms, 3), eV/Å.
    """
    shells = list(_shells(rest))
    n_coefficients = _N_TERMS * len(shells)
    if not shells or forces.size < _EQUATIONS * n_coefficients or not forces.any():
        return Explained(np.zeros(len(forces)), np.zeros_like(forces), 1.0)
    parts = [_terms(shell, displacements) for shell in shells]
    energies = np.concatenate([energy for energy, _ in parts], axis=1)
    columns = np.concatenate([force for _, force in parts], axis=-1)
    matrix = columns.reshape(-1, n_coefficients)
    sizes = np.linalg.norm(matrix, axis=0)
    sizes[sizes == 0.0] = 1.0
    coefficients = _lowest_orders(matrix / sizes, forces.ravel(), len(shells)) / sizes
    explained = columns @ coefficients
    free = (forces.size - n_coefficients) / forces.size
    left = float(np.sum((forces - explained) ** 2) / np.sum(forces**2))
    return Explained(energies @ coefficients, explained, min(1.0, left / free))


def _lowest_orders(matrix: FloatArray, forces: FloatArray, n_shells: int) -> FloatArray:
    """Return the coefficients that fit the forces, of the lower order where two serve alike."""
    higher = np.tile(np.arange(_N_TERMS) >= _N_HARMONIC, n_shells)
    penalty = _PENALTY * np.diag(higher.astype(np.float64))[higher]
    inverse = np.linalg.pinv(np.concatenate([matrix, penalty]), rcond=1.0e-9)[:, : len(forces)]
    found = inverse @ forces
    # A second step takes away what the penalty costs where the forces do tell the orders apart.
    return np.asarray(found + inverse @ (forces - matrix @ found))


@dataclass(frozen=True, eq=False)
class _Shell:
    """Bonds that share their coefficients: atoms (m,), (m,), and unit vectors at rest (m, 3)."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    directions: FloatArray


def _shells(rest: Atoms) -> Iterator[_Shell]:
    """Yield the bonds of a crystal, each once, by elements and length."""
    shortest = float(neighbor_list("d", rest, _longest(rest)).min(initial=np.inf))
    if not np.isfinite(shortest):
        return
    i, j, lengths, vectors = neighbor_list("ijdD", rest, REACH * shortest)
    once = i < j
    i, j, lengths, vectors = i[once], j[once], lengths[once], vectors[once]
    elements = np.sort(rest.numbers[np.stack([i, j], axis=1)], axis=1)
    for pair in np.unique(elements, axis=0):
        chosen = np.flatnonzero((elements == pair).all(axis=1))
        chosen = chosen[np.argsort(lengths[chosen], kind="stable")]
        gaps = np.flatnonzero(np.diff(lengths[chosen]) > _SAME_SHELL) + 1
        for part in np.split(chosen, gaps):
            yield _Shell(i[part], j[part], vectors[part] / lengths[part, None])


def _longest(rest: Atoms) -> float:
    """Return a length within which every atom has a neighbour, Å."""
    return 2.0 * float(np.cbrt(rest.get_volume() / len(rest)))


def _terms(shell: _Shell, displacements: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return energies (n, 8) and forces (n, n_atoms, 3, 8) of each term with coefficient 1."""
    relative = displacements[:, shell.second] - displacements[:, shell.first]
    along = np.einsum("nbx,bx->nb", relative, shell.directions)
    across = relative - along[..., None] * shell.directions
    square = np.einsum("nbx,nbx->nb", across, across)
    powers = [along, along**2, square, along**3, along * square]
    powers += [along**4, along**2 * square, square**2]
    energies = np.stack(powers, axis=-1).sum(axis=1)
    zero, one = np.zeros_like(along), np.ones_like(along)
    # Derivatives by the component along the bond, and by the vector across it.
    by_along = [one, 2 * along, zero, 3 * along**2, square]
    by_along += [4 * along**3, 2 * along * square, zero]
    by_across = [zero, zero, 2 * one, zero, 2 * along, zero, 2 * along**2, 4 * square]
    pulls = (
        np.stack(by_along, axis=-1)[:, :, None, :] * shell.directions[None, :, :, None]
        + np.stack(by_across, axis=-1)[:, :, None, :] * across[..., None]
    )
    forces = np.zeros((*displacements.shape, _N_TERMS))
    for k, (first, second) in enumerate(zip(shell.first, shell.second, strict=True)):
        forces[:, first] += pulls[:, k]
        forces[:, second] -= pulls[:, k]
    return energies, forces
