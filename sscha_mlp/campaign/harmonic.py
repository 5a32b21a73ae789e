"""Harmonic force constants by finite displacements, symmetry used."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix, symmetrise
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import SpaceGroup, find_space_group
from sscha_mlp.errors import ConfigError, ReferenceFailedError
from sscha_mlp.reference.label import LabelReport, label
from sscha_mlp.reference.registry import Reference
from sscha_mlp.reference.store import LabelStore


def harmonic(
    supercell: Supercell,
    reference: Reference,
    *,
    group: SpaceGroup | None = None,
    distance: float = 0.01,
    n_workers: int = 1,
    store: LabelStore | None = None,
) -> DynamicalMatrix:
    """Compute harmonic force constants with a reference.

    One atom of each orbit of the space group is moved along x, y and z, both ways; the others
    follow by symmetry.

    Parameters
    ----------
    supercell
        The crystal, at rest.
    reference
        What labels the displaced supercells.
    group
        Space group to impose; that of the supercell by default.
    distance
        By which an atom is moved, Å.
    n_workers
        Processes for the labels.
    store
        Where labels are found and kept.

    Returns
    -------
    Symmetric force constants that obey the acoustic sum rule; modes may be unstable.

    Raises
    ------
    ConfigError
        If the distance is not above zero.
    ReferenceFailedError
        If the reference fails on a displacement.
    """
    if not distance > 0.0:
        raise ConfigError(f"Atoms cannot be displaced by {distance} Å; give a length above 0.")
    symmetry = find_space_group(supercell) if group is None else group
    frames = displaced(symmetry, distance)
    # Labels of displacements are too small and too much alike for the checks of a batch.
    done = label(frames, reference, n_workers=n_workers, store=store, guard=False)
    return from_forces(symmetry, forces_of(done), distance)


def displaced(group: SpaceGroup, distance: float) -> list[Atoms]:
    """Return supercells with one atom of each orbit moved by ± distance (Å) along x, y and z."""
    frames = []
    for atom in _orbit_representatives(group):
        for direction in range(3):
            for sign in (1, -1):
                frame = group.supercell.crystal.to_ase()
                frame.positions[atom, direction] += sign * distance
                frames.append(frame)
    return frames


def forces_of(report: LabelReport) -> list[FloatArray]:
    """Return the forces of all configurations of a report, (n_atoms, 3) each, eV/Å.

    Raises
    ------
    ReferenceFailedError
        If one of them has no label.
    """
    if report.failures:
        raise ReferenceFailedError(
            f"The reference failed on a finite displacement: {report.failures[0].reason}"
        )
    return [one.forces for one in report.labels if one is not None]


def from_forces(
    group: SpaceGroup, forces: Sequence[FloatArray], distance: float
) -> DynamicalMatrix:
    """Return the force constants that the forces on :func:`displaced` supercells make.

    Parameters
    ----------
    group
        Space group.
    forces
        Of each displaced supercell, (n_atoms, 3), eV/Å.
    distance
        By which atoms were moved, Å.
    """
    supercell, atoms = group.supercell, _orbit_representatives(group)
    pairs = np.array(forces).reshape(len(atoms), 3, 2, supercell.n_atoms, 3)
    rows = -(pairs[:, :, 0] - pairs[:, :, 1]) / (2 * distance)  # atom, i, J, j
    constants = np.zeros((supercell.primitive.n_atoms, supercell.n_atoms, 3, 3))
    constants[atoms] = rows.transpose(0, 2, 1, 3)
    counts = _orbit_sizes(group, atoms)
    filled = group.symmetrise_force_constants(constants) * counts[:, None, None, None]
    return DynamicalMatrix(supercell, symmetrise(group, filled))


def _orbit_representatives(group: SpaceGroup) -> list[int]:
    """One primitive atom of each orbit of the group."""
    n_primitive = group.supercell.primitive.n_atoms
    images = group.supercell.primitive_index[group.permutations[:, :n_primitive]]
    return sorted({int(images[:, atom].min()) for atom in range(n_primitive)})


def _orbit_sizes(group: SpaceGroup, atoms: list[int]) -> FloatArray:
    """Factor by which an average over the group misses rows that were not computed."""
    n_primitive = group.supercell.primitive.n_atoms
    images = group.supercell.primitive_index[group.permutations[:, :n_primitive]]
    hits = np.zeros(n_primitive)
    for atom in atoms:
        hits += np.bincount(images[:, atom], minlength=n_primitive)
    return np.asarray(group.n_operations / hits)
