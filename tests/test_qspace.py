"""Wave vectors of a supercell: transforms, stars and projections, held to sums over its atoms."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from dense import average_over_atoms, without_translations
from toys import perovskite, wurtzite

from sscha_mlp.crystal.dynamical_matrix import (
    DynamicalMatrix,
    expand,
    hermitian,
    project,
    symmetrise,
)
from sscha_mlp.crystal.reciprocal import HalfGrid, compact, dynamical
from sscha_mlp.crystal.structure import Crystal
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import find_space_group

EXACT = 1.0e-10

SIZES = [(1, 1, 1), (2, 2, 2), (3, 3, 3), (3, 3, 1), (2, 2, 1), (1, 2, 3), (4, 3, 2), (1, 1, 5)]
GRIDS = [(2, 2, 2), (3, 3, 3), (3, 3, 1), (2, 2, 1)]

CRYSTALS = {
    "diamond": bulk("Si", "diamond", a=5.43),
    "wurtzite": bulk("ZnO", "wurtzite", a=3.25, c=5.2, u=0.38),
    "perovskite": perovskite(),
    "hcp": bulk("Mg", "hcp", a=3.2, c=5.2),
    "triclinic": Atoms(
        "SiGe",
        scaled_positions=[(0.1, 0.2, 0.3), (0.55, 0.61, 0.83)],
        cell=[[4.0, 0.1, 0.2], [0.3, 4.4, -0.2], [-0.1, 0.5, 4.9]],
        pbc=True,
    ),
}


def make_supercell(name, size):
    return Supercell(Crystal.from_ase(CRYSTALS[name]), size)


def random_constants(supercell, rng):
    """Compact force constants that obey no rule at all."""
    return rng.standard_normal((supercell.primitive.n_atoms, supercell.n_atoms, 3, 3))


# --- the half grid -----------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_the_half_grid_has_one_of_each_pair(size):
    """Every wave vector is a kept one or minus a kept one; the weights count both."""
    grid = HalfGrid.of(size)
    n_cells = int(np.prod(size))
    points = np.array(list(np.ndindex(*size)))
    assert grid.weights.sum() == n_cells
    assert grid.index[0] == 0
    kept = points[grid.index][grid.place]
    np.testing.assert_array_equal(
        np.mod(np.where(grid.conjugated[:, None], -kept, kept), size), points
    )
    np.testing.assert_array_equal(np.bincount(grid.place), grid.weights)
    own_opposite = np.all(np.mod(2 * points[grid.index], size) == 0, axis=1)
    np.testing.assert_array_equal(grid.is_real, own_opposite)


@pytest.mark.parametrize("size", SIZES)
def test_the_transform_is_the_sum_over_cells_and_unitary(size, rng):
    grid = HalfGrid.of(size)
    values, others = rng.standard_normal((2, int(np.prod(size)), 3, 2))
    cells = np.array(list(np.ndindex(*size)))
    qpoints = (cells / size)[grid.index]
    phases = np.exp(-2j * np.pi * qpoints @ cells.T) / np.sqrt(len(cells))
    found = grid.forward(values)
    np.testing.assert_allclose(found, np.einsum("qt,tij->qij", phases, values), atol=EXACT)
    np.testing.assert_allclose(grid.backward(found), values, atol=EXACT)
    product = grid.weights @ (found.conj() * grid.forward(others)).real.sum(axis=(1, 2))
    assert product == pytest.approx((values * others).sum(), abs=EXACT)
    everywhere = np.exp(-2j * np.pi * (cells / size) @ cells.T) / np.sqrt(len(cells))
    np.testing.assert_allclose(
        grid.full(found), np.einsum("qt,tij->qij", everywhere, values), atol=EXACT
    )


@pytest.mark.parametrize("size", SIZES)
def test_grids_whose_wave_vectors_are_their_own_opposites_stay_real(size, rng):
    grid = HalfGrid.of(size)
    values = grid.forward(rng.standard_normal((int(np.prod(size)), 2)))
    assert np.iscomplexobj(values) == (max(size) > 2)
    np.testing.assert_allclose(values[grid.is_real].imag, 0, atol=EXACT)


@pytest.mark.parametrize("size", [(2, 2, 2), (3, 2, 1), (3, 3, 3)])
def test_force_constants_and_dynamical_matrices_are_each_other(size, rng):
    supercell = make_supercell("hcp", size)
    constants = random_constants(supercell, rng)
    matrices = dynamical(supercell.grid, constants)
    np.testing.assert_allclose(compact(supercell.grid, matrices), constants, atol=EXACT)
    blocks = constants.reshape(2, supercell.n_cells, 2, 3, 3)
    phases = np.exp(2j * np.pi * supercell.qpoints @ supercell.translations.T)
    expected = np.einsum("qt,atbij->qaibj", phases, blocks).reshape(-1, 6, 6)
    np.testing.assert_allclose(supercell.grid.full(matrices), expected, atol=EXACT)


@pytest.mark.parametrize("size", [(2, 2, 2), (3, 2, 1), (3, 3, 3)])
def test_a_product_by_wave_vector_is_the_product_in_the_supercell(size, rng):
    """Force constants on displacements, both ways of counting."""
    supercell = make_supercell("hcp", size)
    constants = symmetrise(find_space_group(supercell), random_constants(supercell, rng))
    state = DynamicalMatrix(supercell, constants)
    u = rng.standard_normal((5, 3 * supercell.n_atoms))
    np.testing.assert_allclose(state.harmonic_forces(u), -u @ state.matrix, atol=EXACT)


# --- stars -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", GRIDS)
@pytest.mark.parametrize("name", CRYSTALS)
def test_averages_by_star_are_averages_over_the_moved_atoms(name, size, rng):
    supercell = make_supercell(name, size)
    group = find_space_group(supercell)
    assert group.n_operations > 1 or name == "triclinic"
    constants = random_constants(supercell, rng)
    expected = average_over_atoms(group, constants)
    np.testing.assert_allclose(group.symmetrise_force_constants(constants), expected, atol=1e-8)
    stars, grid = group.stars, supercell.grid
    folded = stars.fold(dynamical(grid, constants))
    at_q = dynamical(grid, expected)
    np.testing.assert_allclose(folded, at_q[stars.irreducible], atol=1e-8)
    np.testing.assert_allclose(stars.spread(folded), at_q, atol=1e-8)


@pytest.mark.parametrize("size", GRIDS)
@pytest.mark.parametrize("name", CRYSTALS)
def test_stars_are_orbits_joined_by_time_reversal(name, size):
    supercell = make_supercell(name, size)
    group = find_space_group(supercell)
    labels = group.stars.labels
    inverse = np.linalg.inv(group.rotations.astype(float))
    cells = np.rint(np.einsum("qi,gij->gqj", supercell.qpoints, inverse) * size).astype(int)
    for image in (supercell.cell_index(cells), supercell.cell_index(-cells)):
        np.testing.assert_array_equal(labels[image], np.broadcast_to(labels, image.shape))
    assert group.stars.n_irreducible == len(np.unique(labels))
    for label in np.unique(labels):  # one orbit each, not several
        first = np.flatnonzero(labels == label)[0]
        orbit = {*supercell.cell_index(cells)[:, first], *supercell.cell_index(-cells)[:, first]}
        assert orbit == set(np.flatnonzero(labels == label))


@pytest.mark.parametrize("size", GRIDS)
@pytest.mark.parametrize("name", CRYSTALS)
def test_the_projection_is_that_of_the_supercell_and_done_once(name, size, rng):
    """Transposed, averaged over atoms, and with the translations taken out of rows and columns."""
    supercell = make_supercell(name, size)
    group = find_space_group(supercell)
    constants = random_constants(supercell, rng)
    matrix = expand(supercell, average_over_atoms(group, constants))
    inner = without_translations(supercell.n_atoms)
    expected = inner @ (0.5 * (matrix + matrix.T)) @ inner
    found = project(group, dynamical(supercell.grid, constants))
    np.testing.assert_allclose(
        expand(supercell, compact(supercell.grid, found)), expected, atol=1e-8
    )
    np.testing.assert_allclose(project(group, found), found, atol=1e-8)


# --- modes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "size"),
    [("diamond", (3, 3, 3)), ("wurtzite", (3, 3, 1)), ("hcp", (2, 2, 2)), ("triclinic", (3, 2, 1))],
)
def test_modes_by_wave_vector_are_those_of_the_supercell(name, size, rng):
    """Random force constants, unstable modes among them."""
    supercell = make_supercell(name, size)
    constants = symmetrise(find_space_group(supercell), random_constants(supercell, rng))
    state = DynamicalMatrix(supercell, constants)
    root = np.sqrt(supercell.masses3)
    dense = state.matrix / np.outer(root, root)
    shift = np.tile(np.eye(3), (supercell.n_atoms, 1)) * root[:, None]
    shift /= np.linalg.norm(shift, axis=0)
    values = np.linalg.eigvalsh(dense + 1e3 * shift @ shift.T)[:-3]
    expected = np.sign(values) * np.sqrt(np.abs(values))
    modes = state.modes
    np.testing.assert_allclose(modes.frequencies, expected, atol=1e-7)
    assert modes.frequencies[0] < 0 < modes.frequencies[-1]
    vectors = modes.vectors
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(len(expected)), atol=EXACT)
    np.testing.assert_allclose(shift.T @ vectors, 0, atol=EXACT)
    squares = np.sign(modes.frequencies) * modes.frequencies**2
    np.testing.assert_allclose(dense @ vectors, vectors * squares, atol=1e-8)


def test_amplitudes_are_orthogonal_coordinates_of_the_modes(rng):
    """Displacements of unit amplitudes are the modes; wave vectors that are not real have two."""
    state, _ = wurtzite(size=(3, 3, 1)).harmonic()
    modes = state.modes
    normal = rng.standard_normal((4, len(modes.frequencies)))
    found = modes.displacements(modes.amplitudes(normal))
    expected = normal @ modes.vectors.T / np.sqrt(state.supercell.masses3)
    np.testing.assert_allclose(found, expected, atol=EXACT)
    squares = np.abs(modes.amplitudes(normal)) ** 2
    total = np.einsum("q,qbn->n", state.supercell.grid.weights, squares)
    np.testing.assert_allclose(total, (normal**2).sum(axis=1), atol=EXACT)


def test_the_hermitian_part(rng):
    matrices = rng.standard_normal((3, 4, 4)) + 1j * rng.standard_normal((3, 4, 4))
    part = hermitian(matrices)
    np.testing.assert_allclose(part, part.conj().transpose(0, 2, 1), atol=EXACT)
    rest = matrices - part
    np.testing.assert_allclose(rest, -rest.conj().transpose(0, 2, 1), atol=EXACT)
