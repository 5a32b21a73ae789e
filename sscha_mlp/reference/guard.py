"""Guard rails: labels that cannot be right are not believed.

One label is checked by itself (:func:`check_label`): distances, stress, net force.  The labels of
a batch are checked against each other (:func:`check_batch`).  No potential is needed for that.
Between two configurations i and j of one crystal the trapezoidal rule gives the difference of the
energies from the forces and stresses,

    E_i - E_j = -1/2 (f_i + f_j) . (u_i - u_j) + V/2 (s_i + s_j) : e + third order in u,

with displacements u in a common cell and the strain e between the two cells.  Its error for one
configuration, the median over the others, is compared with the work that the displacement of
that configuration explains.  So are the size of the forces and their angle to the displacements.
Each is an outlier where it is many median absolute deviations away from the median of the batch,
and not by a small amount: hot configurations are not outliers, because they are compared with
what their displacements explain, and because the limits are wide.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray

from sscha_mlp.data.labels import Label

FloatArray = NDArray[np.float64]

QUARANTINED: Final = "quarantined: "
"""Beginning of the reason of a label that is not believed."""

MIN_BATCH: Final = 8
"""A batch with fewer labels of one crystal is not judged by itself."""

CLOSEST: Final = 0.4
"""Atoms closer than this part of the sum of their covalent radii are too close."""

NET_FORCE: Final = 0.02
"""Largest net force per atom, relative to the rms force of an atom ..."""

NET_FORCE_FLOOR: Final = 0.01
"""... or in eV/Å, whichever is larger."""

N_DEVIATIONS: Final = 12.0
"""How many normal standard deviations, from the median absolute deviation, make an outlier."""

ENERGY_PART: Final = 0.1
"""An energy within this part of the work of its displacement is no outlier; in a batch of n, 1.5/n
more, because the deviation of a few labels is not known well."""

ENERGY_FLOOR: Final = 1.0e-3
"""An energy error of less than this per atom, eV, is no outlier whatever the displacements."""

FORCE_FACTOR: Final = 3.0
"""Forces within this factor of those usual at their displacement are no outliers."""

ALIGNMENT_PART: Final = 0.35
"""An alignment of forces and displacements this close to the usual one is no outlier."""

_NORMAL: Final = 1.4826
_STILL: Final = 1.0e-6
"""Displacements below this, Å, explain no forces ..."""

_HARDLY: Final = 0.3
"""... nor do those below this part of the median: the crystal at rest is no outlier of a batch of
displaced ones, whose median positions are not quite at rest."""


@dataclass(frozen=True, eq=False)
class Consistency:
    """How well the labels of one crystal fit together, one number for each configuration.

    Parameters
    ----------
    energy_error
        What the forces and stresses do not explain of the energy, shape (n,), eV.
    n_atoms
        Atoms of a configuration.
    work
        Energy that the displacement explains, shape (n,), eV.
    stiffness
        Logarithm of the norm of the forces over that of the displacements, shape (n,).
    alignment
        Cosine between forces and the way back to the mean positions, shape (n,).
    """

    energy_error: FloatArray
    n_atoms: int
    work: FloatArray
    stiffness: FloatArray
    alignment: FloatArray


def check_label(atoms: Atoms, label: Label) -> str:
    """Return why one label cannot be right, or an empty text.

    Parameters
    ----------
    atoms
        The configuration.
    label
        Its label.
    """
    close = _too_close(atoms)
    if close:
        return close
    if bool(np.all(atoms.pbc)) and label.energy != 0.0 and not label.stress.any():
        return "every component of the stress is exactly zero: was it computed?"
    net = float(np.linalg.norm(label.forces.sum(axis=0))) / len(label.forces)
    usual = float(np.sqrt(np.mean(np.sum(label.forces**2, axis=1))))
    if net > max(NET_FORCE * usual, NET_FORCE_FLOOR):
        return (
            f"the forces do not sum to zero: {net:.3g} eV/Å on each atom in the mean, "
            f"with an rms force of {usual:.3g} eV/Å"
        )
    return ""


def check_batch(configurations: Sequence[Atoms], labels: Sequence[Label]) -> dict[int, str]:
    """Return which labels of a batch do not fit the others, and why.

    Configurations of different crystals are judged apart; fewer than :data:`MIN_BATCH` of one
    crystal are not judged.

    Parameters
    ----------
    configurations
        The configurations, in any order.
    labels
        Their labels.
    """
    reasons: dict[int, str] = {}
    for places in group_crystals(configurations):
        if len(places) < MIN_BATCH:
            continue
        found = consistency([configurations[i] for i in places], [labels[i] for i in places])
        for position, reason in _outliers(found).items():
            reasons[places[position]] = reason
    return reasons


def group_crystals(configurations: Sequence[Atoms]) -> list[list[int]]:
    """Return the indices of configurations with the same atoms in nearly the same cell."""
    groups: list[list[int]] = []
    for i, atoms in enumerate(configurations):
        if not (np.all(atoms.pbc) and atoms.cell.rank == 3 and len(atoms) > 1):
            continue
        for group in groups:
            if _same_crystal(configurations[group[0]], atoms):
                group.append(i)
                break
        else:
            groups.append([i])
    return groups


def consistency(configurations: Sequence[Atoms], labels: Sequence[Label]) -> Consistency:
    """Return how well labels of one crystal fit together.

    Parameters
    ----------
    configurations
        At least two, with the atoms in the same order and nearly the same cell.
    labels
        Their labels.
    """
    pairs = WorkPairs.of(configurations, labels)
    errors = pairs.energies - pairs.force_work - pairs.stress_work
    np.fill_diagonal(errors, np.nan)
    forces = np.array([label.forces.ravel() for label in labels])
    back = -pairs.displacements
    size = np.linalg.norm(back, axis=1)
    norms = np.linalg.norm(forces, axis=1)
    products = np.einsum("ij,ij->i", forces, back)
    moved = size > max(_STILL * np.sqrt(size.shape[0]), _HARDLY * float(np.median(size)))
    with np.errstate(divide="ignore", invalid="ignore"):
        stiffness = np.where(moved, np.log(norms / size), np.nan)
        alignment = np.where(moved & (norms > 0.0), products / (norms * size), np.nan)
    return Consistency(
        energy_error=np.asarray(np.nanmedian(errors, axis=1)),
        n_atoms=len(configurations[0]),
        work=0.5 * norms * size,
        stiffness=stiffness,
        alignment=alignment,
    )


@dataclass(frozen=True, eq=False)
class WorkPairs:
    """Differences of the energies of all pairs, and the work that explains them.

    Parameters
    ----------
    energies
        E_i - E_j, shape (n, n), eV.
    force_work
        Work of the forces from j to i, with the sign of the energy, shape (n, n), eV.
    stress_work
        Work of the stress on the way from the cell of j to that of i, shape (n, n), eV.
    displacements
        From the median positions, in the mean cell, shape (n, 3 n_atoms), Å.
    forces
        On these displacements, shape (n, 3 n_atoms), eV/Å.
    """

    energies: FloatArray
    force_work: FloatArray
    stress_work: FloatArray
    displacements: FloatArray
    forces: FloatArray

    @classmethod
    def of(cls, configurations: Sequence[Atoms], labels: Sequence[Label]) -> "WorkPairs":
        """Compute them.

        Parameters
        ----------
        configurations
            With the atoms in the same order and nearly the same cell.
        labels
            Their labels.
        """
        cells = np.array([atoms.cell.array for atoms in configurations])
        scaled = _unwrapped(configurations, cells)
        energies = np.array([label.energy for label in labels])
        forces = np.array([label.forces for label in labels])
        stresses = np.array([label.stress for label in labels])
        # Forces on scaled coordinates, dE = -(f cell^T) . ds, hold for any cell.
        pull = np.einsum("nai,nki->nak", forces, cells).reshape(len(cells), -1)
        flat = scaled.reshape(len(cells), -1)
        force_work = trapezoidal_work(pull, flat)
        stress_work = _stress_work(cells, stresses)
        mean = cells.mean(axis=0)
        moved = (scaled - np.median(scaled, axis=0)) @ mean
        moved -= moved.mean(axis=1, keepdims=True)
        return cls(
            energies[:, None] - energies[None, :],
            force_work,
            stress_work,
            moved.reshape(len(cells), -1),
            (pull.reshape(scaled.shape) @ np.linalg.inv(mean).T).reshape(len(cells), -1),
        )


def trapezoidal_work(forces: FloatArray, places: FloatArray) -> FloatArray:
    """Return -1/2 (f_i + f_j) . (x_i - x_j): the work from j to i with the sign of the energy.

    Parameters
    ----------
    forces, places
        Of each configuration, shape (n, 3 n_atoms).

    Returns
    -------
    Shape (n, n).
    """
    own = np.einsum("ij,ij->i", forces, places)
    cross = forces @ places.T
    return np.asarray(-0.5 * (own[:, None] - own[None, :] + cross.T - cross))


def _stress_work(cells: FloatArray, stresses: FloatArray) -> FloatArray:
    """Return V/2 (s_i + s_j) : (e_i - e_j), with the strains from the mean cell."""
    mean = cells.mean(axis=0)
    volume = abs(float(np.linalg.det(mean)))
    strains = np.linalg.solve(mean, cells) - np.eye(3)
    strains = 0.5 * (strains + strains.transpose(0, 2, 1)).reshape(len(cells), 9)
    flat = stresses.reshape(len(cells), 9)
    own = np.einsum("ij,ij->i", flat, strains)
    cross = flat @ strains.T
    return np.asarray(0.5 * volume * (own[:, None] - own[None, :] + cross.T - cross))


def _unwrapped(configurations: Sequence[Atoms], cells: FloatArray) -> FloatArray:
    """Return scaled positions, all nearest to those of the first, shape (n, n_atoms, 3)."""
    scaled = np.array(
        [
            atoms.positions @ np.linalg.inv(cell)
            for atoms, cell in zip(configurations, cells, strict=True)
        ]
    )
    return np.asarray(scaled - np.rint(scaled - scaled[0]))


def _outliers(found: Consistency) -> dict[int, str]:
    """Return which configurations of one crystal do not fit, and why."""
    reasons: dict[int, str] = {}
    usual_work = float(np.median(found.work))
    floor = ENERGY_FLOOR * found.n_atoms / ENERGY_PART
    part = found.energy_error / (found.work + 0.5 * usual_work + floor)
    checks = (
        (part, ENERGY_PART + 1.5 / len(part), _energy_reason),
        (found.stiffness, float(np.log(FORCE_FACTOR)), _force_reason),
        (found.alignment, ALIGNMENT_PART, _alignment_reason),
    )
    for values, smallest, reason in checks:
        for i in np.flatnonzero(_far(values, smallest)):
            reasons.setdefault(int(i), reason(found, int(i)))
    return reasons


def _far(values: FloatArray, smallest: float) -> NDArray[np.bool_]:
    """Whether a number is far from the median of all, in deviations and in itself."""
    known = values[np.isfinite(values)]
    if len(known) < MIN_BATCH:
        return np.zeros(len(values), dtype=bool)
    median = np.median(known)
    deviation = _NORMAL * float(np.median(np.abs(known - median)))
    distance = np.abs(values - median)
    return np.asarray(distance > max(N_DEVIATIONS * deviation, smallest))


def _energy_reason(found: Consistency, i: int) -> str:
    error = found.energy_error[i] - np.median(found.energy_error)
    return (
        f"its energy is {error:+.3g} eV from what the forces of the batch explain, while its "
        f"displacement is worth {found.work[i]:.3g} eV"
    )


def _force_reason(found: Consistency, i: int) -> str:
    factor = float(np.exp(found.stiffness[i] - np.nanmedian(found.stiffness)))
    return f"its forces are {factor:.3g} times those usual in the batch at its displacement"


def _alignment_reason(found: Consistency, i: int) -> str:
    usual = float(np.nanmedian(found.alignment))
    return (
        f"its forces do not belong to its displacements (cosine {found.alignment[i]:.2f}, in the "
        f"batch {usual:.2f}): are the atoms in another order?"
    )


def _same_crystal(one: Atoms, other: Atoms) -> bool:
    """Whether two configurations have the same atoms and cells that differ by a small strain."""
    if not np.array_equal(one.numbers, other.numbers):
        return False
    strain = np.linalg.solve(one.cell.array, other.cell.array) - np.eye(3)
    return bool(np.abs(strain).max() < 0.05)


def _too_close(atoms: Atoms) -> str:
    """Return which two atoms are too close, or an empty text."""
    symbols = sorted(set(atoms.get_chemical_symbols()))
    radii = {symbol: float(covalent_radii[Atoms(symbol).numbers[0]]) for symbol in symbols}
    limits = {(a, b): CLOSEST * (radii[a] + radii[b]) for a in symbols for b in symbols if a <= b}
    first, second, distances = neighbor_list("ijd", atoms, limits)
    if len(distances) == 0:
        return ""
    k = int(np.argmin(distances))
    i, j = int(first[k]), int(second[k])
    return (
        f"atoms {min(i, j)} and {max(i, j)} ({atoms.symbols[i]}, {atoms.symbols[j]}) are only "
        f"{distances[k]:.2f} Å apart"
    )
