r"""The third derivatives of the potential in real space, averaged over an SSCHA state.

``Phi3 = < d³V >`` is sampled wave vector by wave vector, as the Hessian takes it (see
:mod:`sscha_mlp.scha.mode_fields`), and transformed to the atoms of the supercell:

    Phi3(0 a, T b, T' c) = sqrt(n_cells) / n_cells² sum_kl exp(2 pi i (k T + l T')) Phi3(-k-l, k, l)

with ``x(q) = sum_T x(T) exp(-2 pi i q T) / sqrt(n_cells)``.  It is averaged over the space group
and over all permutations of its indices, and the sum over any index vanishes, since the three
translations are left out of the modes.

Whatever is a square of Phi3, such as a linewidth, is too large by the square of its noise, which
falls as 1/n_configs.  The ensemble is therefore kept in blocks: leaving out one after the other
gives that part as well as the error (M. H. Quenouille, Biometrika 43, 353 (1956)).
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from scipy import fft

from sscha_mlp.crystal.reciprocal import ComplexArray
from sscha_mlp.crystal.representation import Representation
from sscha_mlp.crystal.structure import FloatArray, read_only
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.errors import InputError
from sscha_mlp.scha.estimators import Estimators
from sscha_mlp.scha.mode_fields import ModeFields, mode_fields
from sscha_mlp.tables import Shown, Table

MIN_BLOCKS: int = 2
"""Fewer parts of an ensemble have no scatter."""


@dataclass(frozen=True, eq=False)
class ThirdOrder(Shown):
    """``< d³V >`` on the atoms of a supercell, from independent blocks of an ensemble.

    Parameters
    ----------
    supercell
        The supercell.
    blocks
        The average of each block, (n_blocks, n_primitive, n_atoms, n_atoms, 3, 3, 3), eV/Å³: the
        first index runs over the atoms of the primitive cell at the origin.
    shares
        What each block has of the weight of all, shape (n_blocks,), of sum one.

    Raises
    ------
    InputError
        If shapes do not fit.
    """

    supercell: Supercell
    blocks: FloatArray
    shares: FloatArray

    def __post_init__(self) -> None:
        """Check the shapes; make the arrays read-only."""
        n_primitive, n_atoms = self.supercell.primitive.n_atoms, self.supercell.n_atoms
        expected = (len(self.shares), n_primitive, n_atoms, n_atoms, 3, 3, 3)
        if self.blocks.shape != expected:
            raise InputError(
                f"Third-order force constants have shape {self.blocks.shape}, not {expected}; give "
                "(n_blocks, n_primitive, n_atoms, n_atoms, 3, 3, 3)."
            )
        object.__setattr__(self, "blocks", read_only(self.blocks))
        object.__setattr__(self, "shares", read_only(self.shares))

    def table(self) -> Table:
        """Return how large the elements are, and how well they are known."""
        value = self.value
        largest = np.unravel_index(np.abs(value).argmax(), value.shape)
        error = "–"
        if self.n_blocks >= MIN_BLOCKS:
            error = f"{np.sqrt((self.stderr**2).mean()):.3g}"
        rows = (
            ("atoms in the supercell", str(self.supercell.n_atoms)),
            ("blocks of the ensemble", str(self.n_blocks)),
            ("largest element (eV/Å³)", f"{value[largest]:.4g}"),
            ("error of an element, rms (eV/Å³)", error),
        )
        return Table("Third derivatives", rows)

    @property
    def n_blocks(self) -> int:
        """Number of blocks; one where the force constants have no noise that is known."""
        return len(self.shares)

    @cached_property
    def value(self) -> FloatArray:
        """The average of all, shape (n_primitive, n_atoms, n_atoms, 3, 3, 3), eV/Å³."""
        return read_only(np.tensordot(self.shares, self.blocks, axes=1))

    def without(self, block: int) -> FloatArray:
        """Return the average of all blocks but one."""
        shares = np.array(self.shares)
        shares[block] = 0.0
        return np.asarray(np.tensordot(shares / shares.sum(), self.blocks, axes=1))

    @property
    def stderr(self) -> FloatArray:
        """Standard error of each element, from the scatter of the blocks; NaN for one block."""
        n = self.n_blocks
        if n < MIN_BLOCKS:
            return np.full(self.blocks.shape[1:], np.nan)
        squares = np.zeros(self.blocks.shape[1:])
        value = self.value
        for share, block in zip(self.shares, self.blocks, strict=True):
            squares += (share * (block - value)) ** 2
        return np.asarray(np.sqrt(n / (n - 1) * squares))


def third_order_bytes(supercell: Supercell, n_blocks: int) -> float:
    """Memory that :func:`third_order` takes at most beside the ensemble, bytes."""
    n_cells, n_bands = supercell.n_cells, 3 * supercell.primitive.n_atoms
    tensor = 8.0 * n_cells**2 * n_bands**3
    return tensor * (2 * n_blocks + 8)  # complex, raw and averaged, transforms, copies


def third_order(estimators: Estimators, *, n_blocks: int = 10) -> ThirdOrder:
    """Average the third derivatives at the trial state of an ensemble.

    Parameters
    ----------
    estimators
        Samples at a trial state; also of a difference of two potentials, whose third derivatives
        they then are.
    n_blocks
        Parts of the ensemble; pairs u, -u stay together.

    Raises
    ------
    InputError
        If there are fewer than two blocks, or fewer observations than blocks.
    """
    chosen = _blocks(estimators, n_blocks)
    fields, frame = mode_fields(estimators), estimators.trial.dynamical_matrix
    supercell = frame.supercell
    representation = Representation(estimators.group, frame.modes.polarisations)
    root = np.sqrt(supercell.primitive.masses3)
    vectors = supercell.grid.full(root[:, None] * frame.modes.polarisations)
    shares = np.array([fields.weights[one].sum() for one in chosen])
    n = supercell.primitive.n_atoms
    blocks = np.empty((n_blocks, n, supercell.n_atoms, supercell.n_atoms, 3, 3, 3))
    for place, one in enumerate(chosen):
        part = ModeFields(
            supercell,
            fields.scaled[:, :, one],
            fields.slopes[:, :, one],
            fields.weights[one] / shares[place],
        )
        averaged = representation.spread(representation.fold(part.third_order()))
        blocks[place] = in_real_space(supercell, averaged, vectors)
    return ThirdOrder(supercell, blocks, shares / shares.sum())


def in_real_space(supercell: Supercell, tensors: ComplexArray, vectors: ComplexArray) -> FloatArray:
    """Transform third derivatives by wave vectors to the atoms of a supercell.

    Parameters
    ----------
    supercell
        The supercell.
    tensors
        Shape (n_cells, n_bands, n_cells, n_bands, n_bands): wave vector and band of the first
        index, wave vector and band of the second, band of the third.
    vectors
        Columns that take bands to Cartesian derivatives, at all wave vectors, shape
        (n_cells, 3 n_primitive, n_bands).

    Returns
    -------
    Shape (n_primitive, n_atoms, n_atoms, 3, 3, 3).
    """
    n_cells, n = supercell.n_cells, supercell.primitive.n_atoms
    t = supercell.translations
    # The first wave vector of each pair of the second and third, which are the axes of the sum.
    first = supercell.cell_index(-t[:, None] - t[None, :])
    by_pair = np.empty((n_cells, n_cells, 3 * n, 3 * n, 3 * n), dtype=np.complex128)
    for k in range(n_cells):
        taken = tensors[first[k], :, k] @ vectors.transpose(0, 2, 1)[:, None]  # axis l
        taken = vectors[k] @ taken
        flat = taken.reshape(n_cells, taken.shape[1], -1)
        by_pair[k] = (vectors[first[k]] @ flat).reshape(n_cells, 3 * n, 3 * n, 3 * n)
    size = supercell.size
    grid = by_pair.reshape(*size, *size, -1)
    real = fft.ifftn(grid, axes=range(6), overwrite_x=True).real * np.sqrt(n_cells)
    shaped = real.reshape(n_cells, n_cells, n, 3, n, 3, n, 3).transpose(2, 0, 4, 1, 6, 3, 5, 7)
    return np.ascontiguousarray(shaped).reshape(n, n_cells * n, n_cells * n, 3, 3, 3)


def _blocks(estimators: Estimators, n_blocks: int) -> list[slice]:
    """Configurations of each block, one after the other."""
    ensemble = estimators.samples.ensemble
    step = 2 if ensemble.antithetic and ensemble.n_configs % 2 == 0 else 1
    n_observations = ensemble.n_configs // step
    if not MIN_BLOCKS <= n_blocks <= n_observations:
        raise InputError(
            f"{ensemble.n_configs} configurations cannot be divided into {n_blocks} blocks; there "
            f"must be at least {MIN_BLOCKS} blocks with {step} configurations each."
        )
    edges = step * np.linspace(0, n_observations, n_blocks + 1).astype(int)
    return [slice(int(a), int(b)) for a, b in pairwise(edges)]
