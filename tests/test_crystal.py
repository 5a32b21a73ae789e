"""Structures, supercells, space groups and force constants: what symmetry says, and round trips."""

from itertools import pairwise

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from toys import Bonds, CalculatorEvaluator, fcc, perovskite, wurtzite

from sscha_mlp import units
from sscha_mlp.crystal.dynamical_matrix import (
    DynamicalMatrix,
    contract,
    expand,
    make_positive,
    symmetrise,
)
from sscha_mlp.crystal.finite_displacements import FiniteDisplacements
from sscha_mlp.crystal.structure import Crystal
from sscha_mlp.crystal.structure_files import read_structure
from sscha_mlp.crystal.supercell import Supercell, check_supercell_size
from sscha_mlp.crystal.symmetry import find_space_group, symmetrise_structure
from sscha_mlp.errors import InputError, StructureError

EXACT = 1.0e-10
"""Rounding alone, for numbers of order one."""

CRYSTALS = {
    # name: atoms, supercell, international symbol, operations of the point group
    "fcc": (bulk("Al", "fcc", a=4.05), (2, 2, 2), "Fm-3m", 48),
    "diamond": (bulk("Si", "diamond", a=5.43), (2, 2, 2), "Fd-3m", 48),
    "rock salt": (bulk("NaCl", "rocksalt", a=5.64), (2, 2, 2), "Fm-3m", 48),
    "wurtzite": (bulk("ZnO", "wurtzite", a=3.25, c=5.2, u=0.38), (2, 2, 1), "P6_3mc", 12),
    "perovskite": (perovskite(), (2, 2, 2), "Pm-3m", 48),
    "bcc": (bulk("Fe", "bcc", a=2.87), (3, 3, 3), "Im-3m", 48),
    "hcp": (bulk("Mg", "hcp", a=3.2, c=5.2), (2, 2, 2), "P6_3/mmc", 24),
}


def triclinic():
    cell = [[4.0, 0.1, 0.2], [0.3, 4.4, -0.2], [-0.1, 0.5, 4.9]]
    return Atoms(
        "SiGe", scaled_positions=[(0.1, 0.2, 0.3), (0.55, 0.61, 0.83)], cell=cell, pbc=True
    )


def make_supercell(name):
    atoms, size, *_ = CRYSTALS[name]
    return Supercell(Crystal.from_ase(atoms), size)


@pytest.fixture(params=list(CRYSTALS))
def supercell(request):
    return make_supercell(request.param)


@pytest.fixture
def group(supercell):
    return find_space_group(supercell)


def random_constants(supercell, rng, *lead):
    return rng.standard_normal((*lead, supercell.primitive.n_atoms, supercell.n_atoms, 3, 3))


# --- structures --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"numbers": [], "positions": np.zeros((0, 3)), "masses": []}, "has no atoms"),
        ({"positions": np.zeros((3, 3))}, "positions of shape"),
        ({"masses": [28.0, -1.0]}, "positive masses"),
        ({"positions": [[0, 0, 0], [np.nan, 1, 1]]}, "not a number"),
        ({"cell": np.diag([5.0, 5.0, 0.0])}, "no periodic cell"),
    ],
)
def test_a_crystal_that_makes_no_sense_is_refused_with_a_sentence(change, message):
    good = {
        "cell": 5 * np.eye(3),
        "positions": [[0, 0, 0], [2, 2, 2]],
        "numbers": [14, 14],
        "masses": [28.0, 28.0],
    }
    Crystal(**good)
    with pytest.raises(StructureError, match=message):
        Crystal(**{**good, **change})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "There is no structure file"),
        ("", "could not be read|holds no atoms"),
        ("1\n\nSi 0 0 0\n", "no periodic cell"),
        ('2\nLattice="5 0 0 0 5 0 0 0 5"\nSi 0 0 0\nSi 0 0 4.8\n', "are 0.20 Å apart"),
        ("\x00\x01 not a structure", "could not be read"),
    ],
)
def test_a_bad_structure_file_is_refused_with_a_sentence(tmp_path, content, message):
    path = tmp_path / "structure.xyz"
    if content is not None:
        path.write_text(content)
    with pytest.raises(StructureError, match=message) as caught:
        read_structure(path)
    assert "structure.xyz" in str(caught.value)


def test_a_structure_survives_the_way_through_a_file_and_its_arrays_are_read_only(tmp_path):
    atoms = triclinic()
    atoms.write(tmp_path / "POSCAR")
    crystal = read_structure(tmp_path / "POSCAR")
    assert crystal.symbols == ["Si", "Ge"]
    np.testing.assert_allclose(crystal.cell, atoms.cell.array, atol=1e-9)
    np.testing.assert_allclose(crystal.positions, atoms.positions, atol=1e-9)
    with pytest.raises(ValueError, match="read-only"):
        crystal.positions[0, 0] = 1.0


@pytest.mark.parametrize("a", [3.0, 5.0, 9.0, 14.0])
def test_the_shortest_distance_is_found_for_dense_and_for_wide_crystals(a):
    """Cesium's atoms are 5.2 Å apart: the distance must not be infinite there."""
    crystal = Crystal.from_ase(bulk("Cs", "bcc", a=a))
    assert crystal.shortest_distance() == pytest.approx(a * np.sqrt(3) / 2, abs=EXACT)


@pytest.mark.parametrize(
    "size", [(2, 2), (0, 1, 1), (-1, 2, 2), (1.5, 2, 2), ("a", 2, 2), (None, 1, 1), (True, 1, 1)]
)
def test_a_supercell_that_is_not_three_whole_numbers_is_refused(size):
    with pytest.raises(InputError, match="three positive whole numbers"):
        check_supercell_size(size)
    assert check_supercell_size((2.0, np.int64(3), 1)) == (2, 3, 1)


# --- supercells --------------------------------------------------------------------------------


def test_supercell_atoms_are_where_their_indices_say():
    primitive = Crystal.from_ase(triclinic())
    supercell = Supercell(primitive, (2, 1, 3))
    assert supercell.n_atoms == 12
    assert supercell.crystal.volume == pytest.approx(6 * primitive.volume)
    for cell, translation in enumerate(supercell.translations):
        for atom in range(2):
            index = 2 * cell + atom
            expected = primitive.positions[atom] + translation @ primitive.cell
            np.testing.assert_allclose(supercell.crystal.positions[index], expected, atol=EXACT)
            assert supercell.primitive_index[index] == atom
    distances = supercell.crystal.to_ase().get_all_distances(mic=True)
    assert distances[~np.eye(12, dtype=bool)].min() > 2.0


def test_cells_are_folded_and_subtracted_on_the_torus():
    supercell = Supercell(Crystal.from_ase(triclinic()), (2, 1, 3))
    far = supercell.translations + np.array([4, -7, 3])
    np.testing.assert_array_equal(supercell.cell_index(far), np.arange(6))
    difference = supercell.translations[supercell.difference_index]
    raw = supercell.translations[None] - supercell.translations[:, None]
    assert np.all((difference - raw) % np.array([2, 1, 3]) == 0)


# --- space groups ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(CRYSTALS))
def test_the_full_space_group_is_found(name):
    group = find_space_group(make_supercell(name))
    assert (group.international, group.n_operations) == CRYSTALS[name][2:]


def test_a_crystal_without_symmetry_has_one_operation():
    group = find_space_group(Supercell(Crystal.from_ase(triclinic()), (2, 2, 1)))
    assert (group.international, group.n_operations) == ("P1", 1)


def test_an_anisotropic_supercell_keeps_only_the_operations_that_fit_it():
    """(2, 2, 1) of a cubic lattice keeps the fourfold axis along c: 4/mmm, 16 operations."""
    crystal = Crystal.from_ase(perovskite())
    group = find_space_group(Supercell(crystal, (2, 2, 1)))
    assert group.n_operations == 16
    turned = group.cartesian_rotations @ [0, 0, 1]
    np.testing.assert_allclose(np.abs(turned @ [0, 0, 1]), 1, atol=EXACT)
    assert find_space_group(Supercell(crystal, (1, 2, 3))).n_operations == 8


def test_a_conventional_cell_gives_the_operations_of_the_primitive_one_times_its_centrings():
    cubic = Crystal.from_ase(bulk("Si", "diamond", a=5.43, cubic=True))
    assert find_space_group(Supercell(cubic, (1, 1, 1))).n_operations == 4 * 48


def test_operations_form_a_group_of_isometries(supercell, group):
    rotations = group.cartesian_rotations
    np.testing.assert_allclose(
        rotations @ rotations.transpose(0, 2, 1),
        np.broadcast_to(np.eye(3), rotations.shape),
        atol=1e-9,
    )
    known = {rotation.tobytes() for rotation in group.rotations}
    for one in group.rotations[:6]:
        assert all((one @ other).tobytes() in known for other in group.rotations)


def test_permutations_are_permutations_that_keep_distances_and_elements(supercell, group):
    distances = supercell.crystal.to_ase().get_all_distances(mic=True)
    numbers = supercell.crystal.numbers
    for permutation in group.permutations[:: max(1, group.n_operations // 8)]:
        assert sorted(permutation) == list(range(supercell.n_atoms))
        np.testing.assert_array_equal(numbers[permutation], numbers)
        np.testing.assert_allclose(
            distances[np.ix_(permutation, permutation)], distances, atol=1e-3
        )


def test_a_structure_that_has_left_its_symmetry_is_told(rng):
    supercell = make_supercell("diamond")
    group = find_space_group(supercell)
    broken = Supercell(supercell.primitive.moved([[0, 0, 0], [0.01, 0, 0]]), (2, 2, 2))
    lost = type(group)(broken, group.rotations, group.translations, "Fd-3m", 227)
    with pytest.raises(StructureError, match=r"maps atom \d onto no atom"):
        _ = lost.permutations


@pytest.mark.parametrize("name", list(CRYSTALS))
def test_a_slightly_broken_structure_gets_its_symmetry_back(name, rng):
    """Noise below the tolerance of spglib is removed to rounding, cell included."""
    ideal = Crystal.from_ase(CRYSTALS[name][0])
    noise = 1.0e-5 * rng.standard_normal((3, 3))
    broken = ideal.strained(0.5 * (noise + noise.T) / 5).moved(
        1.0e-5 * rng.standard_normal((ideal.n_atoms, 3))
    )
    mended = symmetrise_structure(broken)
    tight = find_space_group(Supercell(mended, (1, 1, 1)), tolerance=1.0e-9)
    assert tight.n_operations == CRYSTALS[name][3]
    rotations = tight.cartesian_rotations
    np.testing.assert_allclose(
        rotations @ rotations.transpose(0, 2, 1),
        np.broadcast_to(np.eye(3), rotations.shape),
        atol=1e-12,
    )
    assert mended.volume == pytest.approx(broken.volume, rel=1e-6)
    np.testing.assert_allclose(mended.scaled_positions, broken.scaled_positions, atol=3e-5)


def test_stars_of_wave_vectors():
    """On the 2x2x2 grid of the fcc lattice: Γ, four L points, three X points."""
    labels = find_space_group(make_supercell("diamond")).equivalent_qpoints()
    assert sorted(np.unique(labels, return_counts=True)[1]) == [1, 3, 4]
    anisotropic = find_space_group(Supercell(Crystal.from_ase(perovskite()), (2, 2, 1)))
    assert sorted(np.unique(anisotropic.equivalent_qpoints(), return_counts=True)[1]) == [1, 1, 2]
    chiral = find_space_group(Supercell(Crystal.from_ase(triclinic()), (3, 1, 1)))
    assert chiral.equivalent_qpoints().tolist() == [0, 1, 1]  # q and -q, by time reversal


# --- projections -------------------------------------------------------------------------------


def test_symmetrised_force_constants_keep_every_rule(supercell, group, rng):
    constants = symmetrise(group, random_constants(supercell, rng))
    matrix = expand(supercell, constants)
    np.testing.assert_allclose(symmetrise(group, constants), constants, atol=EXACT)
    np.testing.assert_allclose(matrix, matrix.T, atol=EXACT)
    rows = matrix.reshape(3 * supercell.n_atoms, -1, 3).sum(axis=1)
    np.testing.assert_allclose(rows, 0, atol=EXACT)
    assert np.abs(matrix).max() > 1e-3  # something is left
    blocks = matrix.reshape(supercell.n_atoms, 3, supercell.n_atoms, 3).transpose(0, 2, 1, 3)
    for rotation, permutation in zip(group.cartesian_rotations, group.permutations, strict=True):
        turned = rotation @ blocks @ rotation.T
        np.testing.assert_allclose(blocks[np.ix_(permutation, permutation)], turned, atol=1e-8)


def test_symmetrisation_is_a_projection_in_the_metric_of_the_matrices(supercell, group, rng):
    """<P a, b> = <a, P b>: an orthogonal projection loses nothing that is symmetric."""
    a, b = random_constants(supercell, rng, 2)
    left = (symmetrise(group, a) * b).sum()
    right = (a * symmetrise(group, b)).sum()
    assert left == pytest.approx(right, abs=1e-9 * np.sqrt(a.size))


def test_expand_and_contract_are_inverse_and_contract_averages_translations(rng):
    supercell = make_supercell("wurtzite")
    constants = random_constants(supercell, rng)
    np.testing.assert_allclose(
        contract(supercell, expand(supercell, constants)), constants, atol=EXACT
    )
    matrix = rng.standard_normal((3 * supercell.n_atoms,) * 2)
    averaged = expand(supercell, contract(supercell, matrix))
    for translation in supercell.translations:
        cells = supercell.cell_index(supercell.translations + translation)
        atoms = (cells[:, None] * 4 + np.arange(4)).ravel()
        index = (3 * atoms[:, None] + np.arange(3)).ravel()
        np.testing.assert_allclose(averaged[np.ix_(index, index)], averaged, atol=EXACT)


def test_symmetrised_vectors_and_tensors(rng):
    group = find_space_group(make_supercell("wurtzite"))
    vectors = group.symmetrise_vectors(rng.standard_normal((4, 3)))
    np.testing.assert_allclose(vectors[:, :2], 0, atol=EXACT)  # only along c
    np.testing.assert_allclose(vectors[0], vectors[2], atol=EXACT)  # Zn, O, Zn, O
    assert abs(vectors[0, 2]) > 1e-3
    tensor = group.symmetrise_tensor(rng.standard_normal((3, 3)))
    np.testing.assert_allclose(tensor, np.diag(np.diag(tensor)), atol=1e-9)
    assert tensor[0, 0] == pytest.approx(tensor[1, 1])
    assert abs(tensor[0, 0] - tensor[2, 2]) > 1e-3
    cubic = find_space_group(make_supercell("diamond"))
    np.testing.assert_allclose(cubic.symmetrise_vectors(rng.standard_normal((2, 3))), 0, atol=EXACT)
    symmetric = cubic.symmetrise_tensor(np.diag([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(symmetric, 2 * np.eye(3), atol=EXACT)


# --- modes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("toy", [fcc, wurtzite])
def test_frequencies_on_the_grid_are_the_modes_of_the_supercell(toy):
    state, _ = toy().harmonic()
    grid = np.sort(state.frequencies_at_qpoints().ravel())
    translations = np.argsort(np.abs(grid))[:3]
    # An eigenvalue that vanishes up to rounding has a frequency of about its square root.
    np.testing.assert_allclose(grid[translations], 0, atol=1e-6)
    np.testing.assert_allclose(
        np.delete(grid, translations), np.sort(state.modes.frequencies), atol=1e-9
    )


def test_frequencies_of_an_fcc_crystal_of_springs():
    """Textbook: at X, ``omega² = 8 k / m`` longitudinal and ``4 k / m`` transverse."""
    state, _ = fcc(k=1.2).harmonic()
    mass = state.crystal.masses[0]
    at_x = state.frequencies_at_qpoints()[state.supercell.cell_index(np.array([0, 1, 1]))]
    np.testing.assert_allclose(at_x**2 * mass / 1.2, [4, 4, 8], atol=1e-9)


def test_units_of_frequencies():
    """1 eV/(Å² amu) is (98.2269 rad/ps)²: 15.6333 THz."""
    assert pytest.approx(15.633302, rel=1e-6) == 1 / units.THZ


def test_modes_are_orthonormal_and_without_translation():
    state, _ = wurtzite().harmonic()
    vectors = state.modes.vectors
    n = 3 * state.supercell.n_atoms
    assert vectors.shape == (n, n - 3)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(n - 3), atol=EXACT)
    weighted = np.sqrt(state.supercell.masses3)[:, None] * vectors
    np.testing.assert_allclose(weighted.reshape(-1, 3, n - 3).sum(axis=0), 0, atol=1e-8)


def test_a_force_constant_of_the_wrong_shape_or_that_is_no_number_is_refused():
    state, _ = fcc().harmonic()
    with pytest.raises(InputError, match="expected"):
        DynamicalMatrix(state.supercell, np.zeros((2, 8, 3, 3)))
    with pytest.raises(InputError, match="not a finite number"):
        state.with_force_constants(np.full((1, 8, 3, 3), np.nan))


def test_unstable_modes_are_made_positive_and_the_others_stay():
    """A nearest-neighbour spring that pushes at X alone cannot be had: shift one star by hand."""
    state, group = fcc().harmonic()
    same, changed = make_positive(state)
    assert changed == 0 and same is state
    softer = state.with_force_constants(state.force_constants - 1.05 * lowest_star(state, group))
    assert softer.modes.frequencies.min() < 0 and not softer.is_positive
    mended, changed = make_positive(softer, smallest_thz=0.4)
    n_negative = int((softer.modes.frequencies_thz < 0.4).sum())
    assert changed == n_negative > 0
    expected = np.sort(np.maximum(np.abs(softer.modes.frequencies_thz), 0.4))
    np.testing.assert_allclose(np.sort(mended.modes.frequencies_thz), expected, atol=1e-8)
    np.testing.assert_allclose(
        symmetrise(group, mended.force_constants), mended.force_constants, atol=1e-9
    )


def lowest_star(state, group):
    """The part of the force constants that belongs to the softest set of modes, symmetric."""
    modes = state.modes
    lowest = modes.frequencies < modes.frequencies.min() * (1 + 1e-6)
    root = np.sqrt(state.supercell.masses3)[:, None]
    scaled = modes.vectors[:, lowest] * root
    matrix = (scaled * modes.frequencies[lowest] ** 2) @ scaled.T
    return symmetrise(group, contract(state.supercell, matrix))


def test_strain_and_moves_leave_the_input_alone_and_keep_force_constants():
    state, _ = wurtzite().harmonic()
    before = state.crystal.positions.copy()
    strained = state.strained(0.01 * np.eye(3))
    assert strained.crystal.volume == pytest.approx(1.01**3 * state.crystal.volume)
    np.testing.assert_allclose(strained.crystal.scaled_positions, state.crystal.scaled_positions)
    np.testing.assert_array_equal(strained.force_constants, state.force_constants)
    moved = state.moved(np.full((4, 3), 0.1))
    np.testing.assert_allclose(moved.crystal.positions, before + 0.1)
    np.testing.assert_array_equal(state.crystal.positions, before)


# --- the start's finite displacements ----------------------------------------------------------


def differences(supercell, evaluator, distance):
    """Force constants from displacements of every atom of the cell, no symmetry used."""
    rows = np.zeros((supercell.primitive.n_atoms, supercell.n_atoms, 3, 3))
    for atom in range(supercell.primitive.n_atoms):
        for direction in range(3):
            frames = [supercell.crystal.to_ase() for _ in range(2)]
            for frame, sign in zip(frames, (1, -1), strict=True):
                frame.positions[atom, direction] += sign * distance
            plus, minus = evaluator.evaluate(frames).forces
            rows[atom, :, direction, :] = (minus - plus) / (2 * distance)
    return rows


def by_orbits(group, evaluator):
    """Force constants from displacements of one atom of each orbit, and how many there were."""
    displaced = FiniteDisplacements(group, 0.01)
    frames = displaced.configurations()
    return displaced.force_constants(evaluator.evaluate(frames).forces), len(frames)


START_CASES = {
    "wurtzite bonds": (wurtzite(c=-8.0, b=10.0), 12),  # two orbits of two atoms
    "fcc bonds": (fcc(b=3.0), 6),
}


@pytest.mark.parametrize("name", START_CASES)
def test_one_atom_of_each_orbit_gives_the_force_constants_of_all(name):
    bonds, n_frames = START_CASES[name]
    group = find_space_group(bonds.supercell)
    state, calls = by_orbits(group, bonds)
    assert calls == n_frames
    full = symmetrise(group, differences(bonds.supercell, bonds, 0.01))
    np.testing.assert_allclose(state.force_constants, full, atol=1e-9)
    # Cubic terms cancel in central differences; quartic ones leave 4 b h² per bond.
    np.testing.assert_allclose(
        state.force_constants, bonds.harmonic()[0].force_constants, atol=0.02
    )


def test_one_atom_of_each_orbit_is_enough_for_an_alloy_with_several_orbits_and_many_bodies():
    """L1_2 Cu3Au in ASE's effective medium theory: Au alone, three Cu in one orbit."""
    atoms = Atoms(
        "AuCu3",
        scaled_positions=[(0, 0, 0), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)],
        cell=[3.75] * 3,
        pbc=True,
    )
    supercell = Supercell(Crystal.from_ase(atoms), (2, 2, 2))
    group = find_space_group(supercell)
    evaluator = CalculatorEvaluator(EMT())
    state, calls = by_orbits(group, evaluator)
    assert calls == 12
    full = symmetrise(group, differences(supercell, evaluator, 0.01))
    # Central differences leave h² times fifth derivatives, which are not those of one orbit's atom.
    np.testing.assert_allclose(state.force_constants, full, atol=1e-6)
    assert state.is_positive


def test_the_toy_potential_is_consistent(rng):
    """Forces and stress of the bonds are derivatives of their energy: other tests lean on it."""
    bonds = wurtzite(c=-8.0, b=10.0)
    assert isinstance(bonds, Bonds)
    atoms = bonds.supercell.crystal.to_ase()
    atoms.positions += 0.1 * rng.standard_normal(atoms.positions.shape)
    energy, forces, stress = bonds.one(atoms.positions, atoms.cell.array)
    step = 1e-5
    direction = rng.standard_normal(atoms.positions.shape)
    up, down = (
        bonds.one(atoms.positions + sign * step * direction, atoms.cell.array)[0]
        for sign in (1, -1)
    )
    assert (up - down) / (2 * step) == pytest.approx(-(forces * direction).sum(), rel=1e-6)
    strain = rng.standard_normal((3, 3))
    strain = 0.5 * (strain + strain.T)
    energies = []
    for sign in (1, -1):
        deformation = np.eye(3) + sign * step * strain
        energies.append(bonds.one(atoms.positions @ deformation, atoms.cell.array @ deformation)[0])
    slope = (energies[0] - energies[1]) / (2 * step)
    assert slope == pytest.approx(atoms.get_volume() * (stress * strain).sum(), rel=1e-6)
    assert all(a != b for a, b in pairwise([energy, *energies]))
