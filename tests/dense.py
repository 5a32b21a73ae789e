"""Symmetry written out on the atoms of a supercell: slow, and plain to read."""

import numpy as np

from sscha_mlp.crystal.dynamical_matrix import contract, expand


def average_over_atoms(group, constants):
    """Mean over the operations, each of which moves the atoms of the supercell and turns."""
    supercell = group.supercell
    n_atoms = supercell.n_atoms
    matrix = expand(supercell, constants)
    blocks = matrix.reshape(n_atoms, 3, n_atoms, 3).transpose(0, 2, 1, 3)
    total = np.zeros_like(blocks)
    for rotation, image in zip(group.cartesian_rotations, group.permutations, strict=True):
        total[np.ix_(image, image)] += rotation @ blocks @ rotation.T
    mean = total.transpose(0, 2, 1, 3).reshape(matrix.shape) / group.n_operations
    return contract(supercell, mean)


def without_translations(n_atoms):
    """Projector on the displacements that leave the centre where it is."""
    shift = np.tile(np.eye(3), (n_atoms, 1)) / np.sqrt(n_atoms)
    return np.eye(3 * n_atoms) - shift @ shift.T
