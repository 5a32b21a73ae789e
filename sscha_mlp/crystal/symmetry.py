"""Space-group operations and the projections that they define.

The group is that of spglib, non-symmorphic operations included, restricted to the operations
that map the supercell lattice onto itself.  Operations are kept in lattice coordinates, so that
they stay those of the crystal under any strain that the group allows.
"""

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

import numpy as np
import spglib
from numpy.typing import ArrayLike, NDArray

from sscha_mlp.crystal.reciprocal import compact, dynamical
from sscha_mlp.crystal.stars import Stars
from sscha_mlp.crystal.structure import Crystal, FloatArray, IntArray, read_only
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.errors import InputError, StructureError
from sscha_mlp.tables import Shown, Table

SYMMETRY_TOLERANCE: float = 1.0e-4
"""Largest distance (Å) between an atom's image under an operation and an atom."""

LOOSE_TOLERANCE: float = 1.0e-2
"""Distance (Å) within which rounded coordinates are looked at for more symmetry."""

_SAME_SHIFT: float = 1.0e-3
_AXES = ("x", "y", "z")
_TERM = re.compile(r"([+-]?)([xyz]|[0-9]+/[1-9][0-9]*|[0-9]+(?:\.[0-9]+)?)")


@dataclass(frozen=True, eq=False)
class SpaceGroup(Shown):
    """Operations of a crystal that also map a supercell onto itself.

    Parameters
    ----------
    supercell
        The supercell on which the operations act.
    rotations
        In lattice coordinates, shape (n_operations, 3, 3), whole numbers: ``x' = W x + w``.
    translations
        In lattice coordinates, shape (n_operations, 3).
    international
        Hermann-Mauguin symbol.
    number
        Number of the space group in the International Tables.
    """

    supercell: Supercell
    rotations: IntArray
    translations: FloatArray
    international: str
    number: int

    def __post_init__(self) -> None:
        """Make the arrays read-only."""
        object.__setattr__(self, "rotations", read_only(self.rotations, np.int64))
        object.__setattr__(self, "translations", read_only(self.translations))

    @property
    def n_operations(self) -> int:
        """Number of operations, lattice translations not counted."""
        return len(self.rotations)

    @cached_property
    def cartesian_rotations(self) -> FloatArray:
        """Rotations in Cartesian coordinates, shape (n_operations, 3, 3)."""
        lattice = self.supercell.primitive.cell.T
        return read_only(lattice @ self.rotations @ np.linalg.inv(lattice))

    @cached_property
    def permutations(self) -> IntArray:
        """Supercell atom onto which each atom is mapped, shape (n_operations, n_atoms)."""
        return read_only(_permutations(self), np.int64)

    @cached_property
    def stars(self) -> Stars:
        """Stars of the commensurate wave vectors, and how the operations act on them."""
        n_primitive = self.supercell.primitive.n_atoms
        images = self.permutations[:, :n_primitive]
        return Stars.of(
            self.supercell.grid,
            self.rotations,
            self.cartesian_rotations,
            self.supercell.primitive_index[images],
            self.supercell.translations[images // n_primitive],
        )

    def subgroup(self, operations: ArrayLike) -> "SpaceGroup":
        """Return the group of some of the operations.

        Parameters
        ----------
        operations
            Their indices, or a mask of shape (n_operations,).

        Raises
        ------
        InputError
            If they are not a group: the product of two of them is not among them.
        """
        chosen = np.asarray(operations)
        kept = np.arange(self.n_operations)[chosen if chosen.size else []]
        if len(kept) == 0:
            raise InputError("No symmetry operation was chosen; the identity belongs to any group.")
        rotations, translations = self.rotations[kept], self.translations[kept]
        _check_closed(rotations, translations)
        found = spglib.get_spacegroup_type_from_symmetry(
            rotations, translations, lattice=self.supercell.primitive.cell
        )
        return replace(
            self,
            rotations=rotations,
            translations=translations,
            international=str(found.international_short),
            number=int(found.number),
        )

    def restricted(self, symmetry: str) -> "SpaceGroup":
        """Return the group that a user asks for.

        Parameters
        ----------
        symmetry
            ``full``, ``none`` (the identity alone), or operations of the group as triplets in the
            coordinates of the primitive cell, parted by semicolons: ``x,y,z; -x,-y,-z+1/2``.

        Raises
        ------
        InputError
            If a triplet cannot be read, is no operation of the crystal, or the triplets are not a
            group.
        """
        if symmetry == "full":
            return self
        identity = np.flatnonzero(np.all(self.rotations == np.eye(3, dtype=int), axis=(1, 2)))
        if symmetry == "none":
            return self.subgroup(identity[:1])
        wanted = [read_triplet(text) for text in symmetry.split(";")]
        return self.subgroup(sorted({self._place(*operation) for operation in wanted}))

    def _place(self, rotation: IntArray, shift: FloatArray) -> int:
        """Index of an operation."""
        same = np.all(self.rotations == rotation, axis=(1, 2))
        offset = self.translations - shift
        same &= np.all(np.abs(offset - np.rint(offset)) < _SAME_SHIFT, axis=1)
        if not same.any():
            raise InputError(
                f"The operation with the rotation {rotation.tolist()} and the translation "
                f"{np.round(shift, 4).tolist()} is none of the {self.n_operations} of "
                f"{self.international}, in the coordinates of its primitive cell."
            )
        return int(np.flatnonzero(same)[0])

    def symmetrise_tensor(self, tensor: NDArray[np.float64]) -> FloatArray:
        """Average a Cartesian tensor of rank two over the group, shape (..., 3, 3)."""
        flat = np.asarray(tensor).reshape(-1, 9) @ self._tensor_projector
        return np.asarray(flat.reshape(np.shape(tensor)))

    @cached_property
    def _tensor_projector(self) -> FloatArray:
        """Projector on the symmetric tensors that the group allows, shape (9, 9)."""
        rotations = self.cartesian_rotations
        mean = np.einsum("gij,gkl->ikjl", rotations, rotations).reshape(9, 9) / self.n_operations
        swap = np.eye(9).reshape(3, 3, 9).transpose(1, 0, 2).reshape(9, 9)
        return read_only(mean.T @ (0.5 * (np.eye(9) + swap)))

    @cached_property
    def invariant_strains(self) -> FloatArray:
        """Orthonormal symmetric tensors that span all that the group allows, shape (n, 3, 3).

        The first is the isotropic one; n is 1 in a cubic crystal and 6 in a triclinic one.
        """
        projector = 0.5 * (self._tensor_projector + self._tensor_projector.T)
        isotropic = np.eye(3).ravel() / np.sqrt(3.0)
        values, vectors = np.linalg.eigh(projector - np.outer(isotropic, isotropic))
        others = vectors[:, values > 0.5].T
        return read_only(np.array([isotropic, *others]).reshape(-1, 3, 3))

    def symmetrise_vectors(self, vectors: NDArray[np.float64]) -> FloatArray:
        """Average a vector per primitive atom over the group.

        Parameters
        ----------
        vectors
            Shape (..., n_primitive, 3), for example forces on the centroids.
        """
        n = 3 * self.supercell.primitive.n_atoms
        flat = np.asarray(vectors).reshape(-1, n) @ self.vector_projector
        return np.asarray(flat.reshape(np.shape(vectors)))

    @cached_property
    def vector_projector(self) -> FloatArray:
        """Projector on the vectors that the group allows, shape (3 n_primitive, 3 n_primitive)."""
        n_primitive = self.supercell.primitive.n_atoms
        own = np.arange(n_primitive)
        projector = np.zeros((n_primitive, 3, n_primitive, 3))
        for rotation, image in zip(self.cartesian_rotations, self.stars.images, strict=True):
            projector[own, :, image, :] += rotation.T
        return read_only(projector.reshape(3 * n_primitive, -1) / self.n_operations)

    @cached_property
    def has_free_coordinates(self) -> bool:
        """Whether the group lets any atom move, be it with all others."""
        return bool(np.abs(self.vector_projector).max() > 1.0e-10)

    def symmetrise_force_constants(self, force_constants: NDArray[np.float64]) -> FloatArray:
        """Average compact force constants over the group.

        Parameters
        ----------
        force_constants
            Shape (n_primitive, n_atoms, 3, 3).
        """
        grid = self.supercell.grid
        return compact(grid, self.stars.average(dynamical(grid, force_constants)))

    def equivalent_qpoints(self) -> IntArray:
        """Label of the star that each commensurate wave vector belongs to, shape (n_cells,).

        Stars are joined by time reversal (q and -q); the label is the index of the first member.
        """
        return self.stars.labels

    def table(self) -> Table:
        """Return the symbol, the operations and the irreducible wave vectors."""
        equivalent = self.equivalent_qpoints()
        rows = (
            ("symbol", f"{self.international} ({self.number})"),
            ("operations", str(self.n_operations)),
            ("wave vectors", f"{len(equivalent)}, of which {len(set(equivalent))} are irreducible"),
        )
        return Table("Space group", rows)


def read_triplet(text: str) -> tuple[IntArray, FloatArray]:
    """Read an operation such as ``-y, x-y, z+1/2``.

    Returns
    -------
    The rotation, whole numbers (3, 3), and the translation (3,), in lattice coordinates.

    Raises
    ------
    InputError
        If it is not three sums of x, y, z and fractions.
    """
    parts = text.replace(" ", "").lower().split(",")
    rotation, shift = np.zeros((3, 3), dtype=np.int64), np.zeros(3)
    for row, part in enumerate(parts):
        terms = _TERM.findall(part)
        whole = "".join(sign + term for sign, term in terms) == part
        if len(parts) != 3 or not part or not whole or not all(sign for sign, _ in terms[1:]):
            raise InputError(
                f"{text.strip()!r} is no symmetry operation; write for example -y,x-y,z+1/2."
            )
        for sign, term in terms:
            factor = -1 if sign == "-" else 1
            if term in _AXES:
                rotation[row, _AXES.index(term)] += factor
            else:
                shift[row] += factor * float(Fraction(term))
    return rotation, shift


def _check_closed(rotations: IntArray, translations: FloatArray) -> None:
    """Refuse operations that are not a group, lattice translations not counted."""
    for rotation, shift in zip(rotations, translations, strict=True):
        products = rotation @ rotations
        shifts = translations @ rotation.T + shift
        same = np.all(products[:, None] == rotations[None], axis=(2, 3))
        offset = shifts[:, None] - translations[None]
        same &= np.all(np.abs(offset - np.rint(offset)) < _SAME_SHIFT, axis=2)
        if not np.all(same.any(axis=1)):
            raise InputError(
                "The chosen symmetry operations are not a group: the product of two of them is "
                "not among them. Choose a subgroup, for example the identity alone."
            )


def _permutations(group: SpaceGroup, tolerance: float = SYMMETRY_TOLERANCE) -> NDArray[np.int64]:
    """Find the image of each supercell atom under each operation; `tolerance` is that of spglib."""
    supercell = group.supercell
    primitive = supercell.primitive
    scaled = supercell.crystal.positions @ np.linalg.inv(primitive.cell)
    result = np.empty((group.n_operations, supercell.n_atoms), dtype=np.int64)
    for g, (rotation, shift) in enumerate(zip(group.rotations, group.translations, strict=True)):
        images = scaled @ rotation.T + shift
        remaining = np.ones(supercell.n_atoms, dtype=bool)
        for b in range(primitive.n_atoms):
            offset = images - primitive.scaled_positions[b]
            cells = np.rint(offset)
            distance = np.linalg.norm((offset - cells) @ primitive.cell, axis=1)
            found = distance < 20 * tolerance
            index = supercell.cell_index(cells.astype(np.int64)) * primitive.n_atoms + b
            result[g, found] = index[found]
            remaining &= ~found
        if np.any(remaining):
            raise StructureError(
                f"Symmetry operation {g} of {group.international} maps atom "
                f"{int(np.flatnonzero(remaining)[0])} onto no atom; the structure moved away from "
                "its symmetry. Start from a structure relaxed with its symmetry kept."
            )
    return result


def find_space_group(supercell: Supercell, *, tolerance: float = SYMMETRY_TOLERANCE) -> SpaceGroup:
    """Find the space group of a crystal with spglib; isotopes of an element are not equivalent.

    Parameters
    ----------
    supercell
        The primitive cell and its repetitions; operations that do not map the supercell lattice
        onto itself are left out.
    tolerance
        Distance within which atoms count as equivalent, Å.

    Raises
    ------
    StructureError
        If spglib finds no group.
    """
    primitive = supercell.primitive
    cell = (primitive.cell, primitive.scaled_positions, primitive.species)
    dataset = spglib.get_symmetry_dataset(cell, symprec=tolerance)
    if dataset is None:
        raise StructureError("spglib found no space group; check the structure for overlaps.")
    size = np.array(supercell.size)
    scaled = dataset.rotations * size[None, None, :] / size[None, :, None]
    keep = np.all(np.abs(scaled - np.rint(scaled)) < 1.0e-9, axis=(1, 2))
    return SpaceGroup(
        supercell=supercell,
        rotations=dataset.rotations[keep],
        translations=dataset.translations[keep],
        international=str(dataset.international),
        number=int(dataset.number),
    )


def standard_axes(crystal: Crystal, *, tolerance: float = SYMMETRY_TOLERANCE) -> FloatArray:
    """Return the Cartesian axes in which the conventional cell of a crystal is upright.

    Returns
    -------
    Orthonormal rows, shape (3, 3), in the Cartesian coordinates of the crystal, as spglib has them:
    those of the edges of a cubic cell, z along the unique axis of a hexagonal or tetragonal one.

    Raises
    ------
    StructureError
        If spglib finds no group.
    """
    cell = (crystal.cell, crystal.scaled_positions, crystal.numbers)
    dataset = spglib.get_symmetry_dataset(cell, symprec=tolerance)
    if dataset is None:
        raise StructureError("spglib found no space group; check the structure for overlaps.")
    left, _, right = np.linalg.svd(dataset.std_rotation_matrix)
    return np.asarray(left @ right)


def looser_symmetry(crystal: Crystal, *, tolerance: float = LOOSE_TOLERANCE) -> str:
    """Return in words what group a crystal has within a looser tolerance; empty if it has no more.

    Coordinates with few digits, such as 0.3333, lose operations, and with them the degeneracy of
    modes; a larger set of force constants is then sampled than the crystal has.
    """
    own, loose = (
        spglib.get_symmetry_dataset(
            (crystal.cell, crystal.scaled_positions, crystal.species), symprec=one
        )
        for one in (SYMMETRY_TOLERANCE, tolerance)
    )
    if own is None or loose is None or len(loose.rotations) <= len(own.rotations):
        return ""
    return (
        f"{loose.international} with {len(loose.rotations)} operations within {tolerance:g} Å, "
        f"but {own.international} with {len(own.rotations)} as it is given"
    )


def hidden_symmetry(name: str, crystal: Crystal) -> str:
    """Say where coordinates with few digits hide symmetry, and the way out; empty if they do not.

    Parameters
    ----------
    name
        What the crystal is called in the sentence, such as its file.
    crystal
        As it was read.
    """
    more = looser_symmetry(crystal)
    return more and (
        f"{name} is {more}: if its coordinates are rounded, {more.split()[0]} is right, and "
        f"--symmetrise {LOOSE_TOLERANCE:g} (symmetrise = {LOOSE_TOLERANCE:g}) restores it"
    )


def symmetrise_structure(crystal: Crystal, *, tolerance: float = SYMMETRY_TOLERANCE) -> Crystal:
    """Return the crystal with its cell and positions averaged over its own space group.

    Parameters
    ----------
    tolerance
        Distance within which atoms count as equivalent, Å.

    Raises
    ------
    StructureError
        If spglib finds no group.
    """
    supercell = Supercell(crystal, (1, 1, 1))
    group = find_space_group(supercell, tolerance=tolerance)
    metric = crystal.cell @ crystal.cell.T
    rotations = group.rotations.astype(float)
    # The metric tensor of the lattice is invariant: W^T G W = G in column convention.
    averaged = np.mean(rotations.transpose(0, 2, 1) @ metric @ rotations, axis=0)
    stretch = _symmetric_stretch(crystal.cell, averaged)
    relaxed = Crystal(
        cell=crystal.cell @ stretch,
        positions=crystal.scaled_positions @ crystal.cell @ stretch,
        numbers=crystal.numbers,
        masses=crystal.masses,
    )
    scaled = np.zeros((crystal.n_atoms, 3))
    permutations = _permutations(group, tolerance)
    for rotation, shift, permutation in zip(
        rotations, group.translations, permutations, strict=True
    ):
        image = crystal.scaled_positions @ rotation.T + shift
        target = crystal.scaled_positions[permutation]
        scaled[permutation] += target + (image - target - np.rint(image - target))
    scaled /= group.n_operations
    return Crystal(relaxed.cell, scaled @ relaxed.cell, crystal.numbers, crystal.masses)


def _symmetric_stretch(
    cell: NDArray[np.float64], metric: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Symmetric matrix S such that ``cell @ S`` has the given metric tensor."""
    square = np.linalg.solve(cell, np.linalg.solve(cell, metric).T)
    values, vectors = np.linalg.eigh(0.5 * (square + square.T))
    return np.asarray((vectors * np.sqrt(values)) @ vectors.T)
