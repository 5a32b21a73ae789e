"""Modes of a polar crystal as q goes to zero: which are transverse, which longitudinal.

A mode with eigenvector e carries the charge ``p = sum_a Z_a e_a / sqrt(m_a)``.  Approached along
n, its macroscopic field acts back on it by ``4 pi e²/V (p.n)² / (n eps n)``: a mode with p along n
is longitudinal (LO), one with p across n transverse (TO), one without p is not polar (M. Born and
K. Huang, Dynamical Theory of Crystal Lattices, section 7).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from sscha_mlp import units
from sscha_mlp.crystal.dynamical_matrix import signed_root
from sscha_mlp.crystal.structure import Crystal, FloatArray
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import find_space_group
from sscha_mlp.properties.interpolation import Interpolation
from sscha_mlp.properties.modes import levels

_NO_CHARGE: Final = 1.0e-3
"""A mode with less than this part of the largest mode charge is not polar."""

_ALONG: Final = 0.9
"""A polar mode is longitudinal where |p.n| is more than this part of |p|, transverse where it is
less than the square root of what is missing to one."""

_SAME: Final = 1.0e-6
"""Relative difference below which two spectra, or two directions, are one."""

_IONIC: Final = 1.0
"""Difference of electronegativity (Pauling) above which a bond is called ionic here."""

_PAULING: Final = {
    "H": 2.20,
    "Li": 0.98,
    "Be": 1.57,
    "B": 2.04,
    "C": 2.55,
    "N": 3.04,
    "O": 3.44,
    "F": 3.98,
    "Na": 0.93,
    "Mg": 1.31,
    "Al": 1.61,
    "Si": 1.90,
    "P": 2.19,
    "S": 2.58,
    "Cl": 3.16,
    "K": 0.82,
    "Ca": 1.00,
    "Sc": 1.36,
    "Ti": 1.54,
    "V": 1.63,
    "Cr": 1.66,
    "Mn": 1.55,
    "Fe": 1.83,
    "Co": 1.88,
    "Ni": 1.91,
    "Cu": 1.90,
    "Zn": 1.65,
    "Ga": 1.81,
    "Ge": 2.01,
    "As": 2.18,
    "Se": 2.55,
    "Br": 2.96,
    "Rb": 0.82,
    "Sr": 0.95,
    "Y": 1.22,
    "Zr": 1.33,
    "Nb": 1.6,
    "Mo": 2.16,
    "Ag": 1.93,
    "Cd": 1.69,
    "In": 1.78,
    "Sn": 1.96,
    "Sb": 2.05,
    "Te": 2.1,
    "I": 2.66,
    "Cs": 0.79,
    "Ba": 0.89,
    "La": 1.10,
    "Ce": 1.12,
    "Hf": 1.3,
    "Ta": 1.5,
    "W": 2.36,
    "Hg": 2.00,
    "Tl": 1.62,
    "Pb": 2.33,
    "Bi": 2.02,
}
"""Electronegativities on Pauling's scale (A. L. Allred, J. Inorg. Nucl. Chem. 17, 215 (1961))."""


class Character(StrEnum):
    """What a mode at q → 0 is with respect to the direction of q."""

    LONGITUDINAL = "LO"
    TRANSVERSE = "TO"
    MIXED = "LO/TO"
    NOT_POLAR = "not polar"


@dataclass(frozen=True)
class PolarLevel:
    """Equal modes at q → 0 along one direction, translations left out.

    Parameters
    ----------
    direction
        Of q, in units of the reciprocal lattice vectors, whole numbers.
    degeneracy
        How many modes.
    character
        Longitudinal, transverse, both, or without charge.
    frequency, stderr
        THz; the error is NaN where none is known.
    """

    direction: tuple[int, int, int]
    degeneracy: int
    character: Character
    frequency: float
    stderr: float


def polar_levels(series: Interpolation, stderr_thz: FloatArray | None = None) -> list[PolarLevel]:
    """Return the optical modes at q → 0 for each direction that symmetry tells apart.

    Parameters
    ----------
    series
        Interpolated force constants with dipoles; without them the list is empty.
    stderr_thz
        Standard errors of the frequencies at Γ without a field, ascending, shape
        (3 n_primitive,), THz.  The field is taken as exact: an LO mode inherits the errors of
        the TO modes that it is made of, ``sigma(x_LO) <= sum_k |<k|LO>|² sigma(x_k)`` for the
        squares x.
    """
    if series.dipoles is None:
        return []
    bare_squares, bare = np.linalg.eigh(series.dynamical_matrices([[0.0, 0.0, 0.0]])[0].real)
    found: list[PolarLevel] = []
    for direction in _directions(series):
        towards = np.array(direction, dtype=np.float64)
        matrix = series.dynamical_matrices([[0.0, 0.0, 0.0]], [towards])[0].real
        squares, vectors = np.linalg.eigh(matrix)
        errors = _errors(squares, vectors, bare_squares, bare, stderr_thz)
        found += _levels_along(series, direction, squares, vectors, errors)
    return found


def _levels_along(
    series: Interpolation,
    direction: tuple[int, int, int],
    squares: FloatArray,
    vectors: FloatArray,
    errors: FloatArray,
) -> list[PolarLevel]:
    """Levels of one direction; those that move the crystal as a whole are left out."""
    assert series.dipoles is not None
    born, root_masses = series.dipoles.born, np.sqrt(series.crystal.masses)
    per_atom = vectors.T.reshape(len(squares), -1, 3) / root_masses[:, None]
    charges = np.einsum("aij,maj->mi", born.charges, per_atom)
    normal = np.array(direction) @ series.dipoles.reciprocal_cell
    normal = normal / np.linalg.norm(normal)
    rigid = np.einsum("mai,a->mi", per_atom, series.crystal.masses)
    rigid_part = (rigid**2).sum(axis=1) / series.crystal.masses.sum()
    frequencies = signed_root(squares) / units.THZ
    largest = float(np.linalg.norm(charges, axis=1).max())
    levels_found = []
    for level in levels(frequencies):
        part = level.modes
        if rigid_part[part].mean() > 0.5:
            continue
        levels_found.append(
            PolarLevel(
                direction,
                level.degeneracy,
                _character(charges[part], normal, largest),
                float(frequencies[part].mean()),
                float(errors[part].max()),
            )
        )
    return levels_found


def _character(charges: FloatArray, normal: FloatArray, largest: float) -> Character:
    """Character of equal modes by their summed charges along and across the direction."""
    total = float((charges**2).sum())
    if total <= (_NO_CHARGE * largest) ** 2:
        return Character.NOT_POLAR
    along = float(((charges @ normal) ** 2).sum()) / total
    if along > _ALONG**2:
        return Character.LONGITUDINAL
    return Character.TRANSVERSE if along < 1.0 - _ALONG**2 else Character.MIXED


def _errors(
    squares: FloatArray,
    vectors: FloatArray,
    bare_squares: FloatArray,
    bare: FloatArray,
    stderr_thz: FloatArray | None,
) -> FloatArray:
    """Standard errors with the field, THz, from those of the modes without it."""
    if stderr_thz is None:
        return np.full(len(squares), np.nan)
    roots = np.sqrt(np.abs(bare_squares))
    of_squares = 2.0 * roots * np.asarray(stderr_thz) * units.THZ
    overlaps = (bare.T @ vectors) ** 2
    frequencies = np.sqrt(np.maximum(np.abs(squares), 1.0e-12))
    return np.asarray(overlaps.T @ of_squares / (2.0 * frequencies) / units.THZ)


def _directions(series: Interpolation) -> list[tuple[int, int, int]]:
    """Principal directions of the crystal among short reciprocal vectors, one of each spectrum.

    Along a principal axis of every tensor that the crystal allows, a polar mode is longitudinal or
    transverse; elsewhere it may be both.  Cubic crystals have one such direction, uniaxial ones
    two.  Where low symmetry fixes less than that, the axes of the reciprocal cell are kept.
    """
    steps = (0, 1, -1)
    every = [(a, b, c) for a in steps for b in steps for c in steps]
    candidates = [one for one in every if _leads_positive(one)]
    candidates.sort(key=lambda one: (sum(map(abs, one)), -one[0], -one[1], -one[2]))
    principal = [one for one in candidates if _is_principal(series, one)]
    kept: list[tuple[int, int, int]] = []
    seen: list[FloatArray] = []
    for one in principal if len(principal) > 1 else candidates[:3]:
        towards = np.array(one, dtype=np.float64)
        spectrum = np.linalg.eigvalsh(series.dynamical_matrices([[0.0, 0.0, 0.0]], [towards])[0])
        scale = float(np.abs(spectrum).max())
        if all(np.abs(spectrum - other).max() > _SAME * scale for other in seen):
            seen.append(spectrum)
            kept.append(one)
    return kept


def _leads_positive(direction: tuple[int, int, int]) -> bool:
    """One of each direction and its opposite: the first index that is not zero is positive."""
    return next((one for one in direction if one), 0) > 0


def _is_principal(series: Interpolation, direction: tuple[int, int, int]) -> bool:
    """Whether a direction is an axis of every symmetric tensor that the point group allows."""
    cell = series.crystal.cell
    normal = np.array(direction) @ np.linalg.inv(cell).T
    rotations = [cell.T @ one @ np.linalg.inv(cell.T) for one in series.rotations]
    for seed in (1, 2):  # two tensors without symmetry of their own
        tensor = np.random.default_rng(seed).normal(size=(3, 3))
        averaged = np.mean([one @ (tensor + tensor.T) @ one.T for one in rotations], axis=0)
        turned = averaged @ normal
        across = turned - normal * (turned @ normal) / (normal @ normal)
        if np.linalg.norm(across) > _SAME * np.linalg.norm(normal):
            return False
    return True


def is_ionic(crystal: Crystal) -> bool:
    """Whether a crystal is of ions that move against each other, so that LO and TO modes part.

    True where its elements differ by more than 1.0 on Pauling's scale, and symmetry allows some
    atom a Born charge other than zero once the crystal is neutral.
    """
    known = [_PAULING[one] for one in set(crystal.symbols) if one in _PAULING]
    if len(known) < 2 or max(known) - min(known) < _IONIC:
        return False
    group = find_space_group(Supercell(crystal, (1, 1, 1)))
    charges = np.array([_PAULING.get(one, 2.0) * np.eye(3) for one in crystal.symbols])
    averaged = np.zeros_like(charges)
    for rotation, images in zip(group.cartesian_rotations, group.permutations, strict=True):
        averaged[images] += rotation @ charges @ rotation.T
    averaged = averaged / group.n_operations - averaged.mean(axis=0) / group.n_operations
    return bool(np.abs(averaged).max() > _NO_CHARGE)
