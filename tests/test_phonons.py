"""Phonons between the wave vectors of a supercell, against phonopy and closed forms."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from phonon_crystals import CRYSTALS, QPOINTS, bonded, load_phonopy
from toys import Bonds

from sscha_mlp import units
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix, contract
from sscha_mlp.crystal.structure import Crystal
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.errors import InputError
from sscha_mlp.properties.density_of_states import density_of_states
from sscha_mlp.properties.dispersion import dispersion
from sscha_mlp.properties.interpolation import interpolate, interpolate_change
from sscha_mlp.properties.mesh import mesh_for, mesh_frequencies
from sscha_mlp.properties.modes import matched_frequencies
from sscha_mlp.properties.paths import standard_path
from sscha_mlp.properties.thermodynamics import thermodynamics

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

TEMPERATURES = [0.0, 20.0, 300.0, 1500.0]


@pytest.fixture(scope="module", params=CRYSTALS, ids=list(CRYSTALS))
def state(request):
    return CRYSTALS[request.param]()


@pytest.fixture(scope="module")
def diamond():
    return CRYSTALS["diamond"]()


@pytest.fixture(scope="module")
def rock_salt():
    return CRYSTALS["rock salt"]()


# --- interpolation ------------------------------------------------------------------------


def test_frequencies_are_those_of_phonopy(state, tmp_path):
    other = load_phonopy(tmp_path, state)
    other.run_qpoints(QPOINTS)
    found = interpolate(state).frequencies_thz(QPOINTS)
    assert np.abs(found - other.qpoints.frequencies).max() < 1e-5


def test_the_wave_vectors_of_the_supercell_stay_exact(state):
    found = interpolate(state).frequencies_thz(state.supercell.qpoints + np.array([1, 0, -2]))
    assert np.abs(found - state.frequencies_at_qpoints() / units.THZ).max() < 1e-5


def test_translations_cost_nothing(state):
    matrix = interpolate(state).dynamical_matrices([[0.0, 0.0, 0.0]])[0]
    root = np.sqrt(state.crystal.masses)
    shift = np.kron(root, np.eye(3)).T
    assert np.abs(matrix @ shift).max() < 1e-12 * np.abs(matrix).max() * len(shift)


def test_atoms_moved_by_lattice_vectors_change_nothing(diamond):
    crystal = diamond.crystal
    moved = replace(crystal, positions=crystal.positions + np.outer([0, 1], crystal.cell[0]))
    constants = diamond.force_constants.copy()
    supercell = Supercell(moved, diamond.supercell.size)
    shift = np.array([0, 0, 0]), np.array([1, 0, 0])
    for a in range(2):
        for b in range(2):
            cells = diamond.supercell.cell_index(
                diamond.supercell.translations + shift[b] - shift[a]
            )
            constants[a, b::2] = diamond.force_constants[a, cells * 2 + b]
    found = interpolate(DynamicalMatrix(supercell, constants)).frequencies_thz(QPOINTS)
    assert np.allclose(found, interpolate(diamond).frequencies_thz(QPOINTS), atol=1e-6)


def test_short_bonds_need_no_larger_supercell():
    """Force constants that fit into the small supercell are interpolated exactly."""
    atoms = bulk("Cu", a=3.6)
    small, large = (bonded(atoms, (n, n, n), 2.7) for n in (3, 5))
    found = interpolate(small).frequencies_thz(QPOINTS)
    assert np.allclose(found, interpolate(large).frequencies_thz(QPOINTS), atol=1e-8)


def test_a_short_ranged_change_is_exact_on_a_finer_harmonic_crystal():
    """Bonds beyond the small supercell stay those of the large one; the change is of the first."""
    atoms = bulk("Cu", a=3.6)
    supercells = [Supercell(Crystal.from_ase(atoms), (n, n, n)) for n in (2, 4)]
    coarse, fine = (Bonds(one, 6.3, k=3.0, far=0.3).harmonic()[0] for one in supercells)
    soft = [Bonds(one, 2.7, k=-0.4).harmonic()[0].force_constants for one in supercells]
    state = coarse.with_force_constants(coarse.force_constants + soft[0])
    expected = interpolate(fine.with_force_constants(fine.force_constants + soft[1]))
    found = interpolate_change(state, coarse, fine)
    errors = [
        np.abs(one.frequencies_thz(QPOINTS) - expected.frequencies_thz(QPOINTS)).max()
        for one in (found, interpolate(state))
    ]
    assert errors[0] < 1e-8
    assert errors[1] > 0.05
    assert len(found.rotations) == 48
    with pytest.raises(InputError, match="in a larger one"):
        interpolate_change(state, fine, fine)


def test_unusable_wave_vectors_are_refused(diamond):
    series = interpolate(diamond)
    with pytest.raises(InputError, match="three for each"):
        series.frequencies([[0.0, 0.5]])
    with pytest.raises(InputError, match="1 q points have 2 directions"):
        series.dynamical_matrices([[0.0, 0.0, 0.0]], [[1.0, 0.0, 0.0]] * 2)


# --- paths --------------------------------------------------------------------------------


def rotation(angle, axis):
    atoms = Atoms("H", positions=[(0, 0, 0)], cell=np.eye(3))
    atoms.rotate(angle, axis, rotate_cell=True)
    return atoms.cell.array


def other_setting(state):
    """The same crystal turned in space, in other lattice vectors."""
    turn = rotation(37.0, (1.0, 0.3, -0.5))
    basis = np.array([[1, 0, 0], [1, 1, 0], [0, -1, 1]])
    crystal = state.crystal
    turned = replace(crystal, cell=basis @ crystal.cell @ turn, positions=crystal.positions @ turn)
    return Supercell(turned, state.supercell.size)


@pytest.mark.parametrize(
    ("atoms", "size"),
    [
        (bulk("Cu", a=3.6), (3, 3, 3)),
        (bulk("Si", "diamond", a=5.43), (3, 3, 3)),
        (bulk("Fe", "bcc", a=2.87), (3, 3, 3)),
    ],
    ids=["fcc", "diamond", "bcc"],
)
def test_the_path_does_not_depend_on_the_setting_of_the_cell(atoms, size):
    state = bonded(atoms, size, 1.2 * _shortest(atoms))
    turned = other_setting(state)
    bonds = Bonds(turned, 1.2 * _shortest(atoms), k=3.0, far=0.15)
    again = DynamicalMatrix(
        turned, contract(turned, (bonds.projections.T * bonds.k) @ bonds.projections)
    )
    one, other = (
        dispersion(state, standard_path(state.crystal, density=8.0)),
        dispersion(again, standard_path(again.crystal, density=8.0)),
    )
    assert [name for _, name in one.path.ticks()] == [name for _, name in other.path.ticks()]
    assert np.allclose(one.path.distances, other.path.distances)
    assert np.abs(one.frequencies_thz - other.frequencies_thz).max() < 1e-5


def _shortest(atoms):
    return Crystal.from_ase(atoms).shortest_distance()


def test_the_path_of_an_fcc_crystal(diamond):
    path = standard_path(diamond.crystal)
    names = [name for _, name in path.ticks()]
    assert names == ["Γ", "X", "U|K", "Γ", "L", "W", "X"]
    lengths = path.lengths() * 5.43 / (2 * np.pi)
    assert np.allclose(lengths[[0, 2, 3]], [1.0, 1.5 / np.sqrt(2), np.sqrt(3) / 2])


def test_modes_that_symmetry_makes_equal_stay_equal(diamond):
    """Along Γ-X and Γ-L of diamond the transverse branches are degenerate."""
    path = standard_path(diamond.crystal)
    found = dispersion(diamond, path).frequencies_thz
    for number in (0, 3):
        part = found[path.parts[number]]
        assert np.abs(part[:, 0] - part[:, 1]).max() < 1e-5
    general = interpolate(diamond).frequencies_thz([[0.11, 0.23, 0.37]])[0]
    assert np.diff(general).min() > 1e-2


def test_wave_vectors_of_the_supercell_on_the_path(diamond):
    path = standard_path(diamond.crystal)
    size = np.array([2, 2, 2])
    found = list(path.commensurate(size))
    assert {round(at, 6) for at, _ in found} >= {
        round(at, 6) for at, name in path.ticks() if name in {"Γ", "X", "L"}
    }
    for at, q in found:
        assert np.allclose(q * size, np.rint(q * size))
        nearest = np.argmin(np.abs(path.distances - at))
        assert np.abs(path.qpoints[nearest] - q).max() < 0.01


# --- mesh, density of states, thermodynamics ----------------------------------------------


def test_symmetry_of_the_mesh_changes_nothing(state):
    series = interpolate(state)
    found = mesh_frequencies(series, (5, 5, 4))
    plain = replace(series, rotations=np.eye(3, dtype=int)[None])
    everywhere = mesh_frequencies(plain, (5, 5, 4))
    assert len(found.weights) < len(everywhere.weights)
    assert found.weights.sum() == pytest.approx(1.0)
    assert np.abs(found.everywhere() - everywhere.everywhere()).max() < 1e-5 * units.THZ


def test_force_constants_without_the_symmetry_use_none(diamond):
    constants = diamond.force_constants.copy()
    constants[0, 0] += np.diag([0.3, 0.0, -0.1])
    assert len(interpolate(diamond.with_force_constants(constants)).rotations) == 1
    assert len(interpolate(diamond).rotations) == 48


@pytest.mark.parametrize("smearing", ["tetrahedron", "gaussian"])
def test_the_density_integrates_to_all_modes(state, smearing):
    found = density_of_states(state, (8, 8, 6), smearing=smearing)
    assert found.n_modes == pytest.approx(3 * state.crystal.n_atoms, abs=1e-5)
    assert found.density.min() > -1e-9


def test_tetrahedra_of_a_chain_are_exact_in_the_limit():
    """Atoms that move along one chain: the density of ``w = w0 |sin(pi q)|`` is known."""
    atoms = Atoms("H", positions=[(0, 0, 0)], cell=[2.0, 9.0, 9.0], pbc=True)
    state = bonded(atoms, (4, 1, 1), 2.1)
    series = interpolate(state)
    values = mesh_frequencies(series, (400, 1, 1))
    top = values.frequencies_thz.max()
    edges = np.linspace(1e-3 * top, 0.95 * top, 20)
    found = density_of_states(values, edges_thz=edges)
    below = 2 / np.pi * np.arcsin(edges / top)
    assert np.allclose(found.density * np.diff(edges), np.diff(below), atol=2e-4)


def test_the_density_is_that_of_phonopy(rock_salt, tmp_path):
    """Compared as numbers of modes below a frequency: both are linear tetrahedra."""
    other = load_phonopy(tmp_path, rock_salt)
    other.run_mesh([16, 16, 16], is_gamma_center=True)
    top = 1.02 * other.mesh.frequencies.max()
    other.run_total_dos(use_tetrahedron_method=True, freq_min=0, freq_max=top, freq_pitch=0.002)
    grid, density = other.total_dos.frequency_points, other.total_dos.dos
    theirs = np.concatenate([[0], np.cumsum(0.5 * (density[1:] + density[:-1]) * np.diff(grid))])
    found = density_of_states(rock_salt, (16, 16, 16))
    ours = np.concatenate([[0.0], np.cumsum(found.density * np.diff(found.edges_thz))])
    assert np.abs(np.interp(grid, found.edges_thz, ours) - theirs).max() < 0.01


@pytest.mark.parametrize("name", ["diamond", "rock salt"])
def test_thermodynamics_are_those_of_phonopy(name, tmp_path):
    """In phonopy's own constants, which differ from CODATA 2018 by up to 10⁻⁶."""
    from phonopy.physical_units import get_physical_units

    theirs = get_physical_units()
    state = CRYSTALS[name]()
    other = load_phonopy(tmp_path, state)
    other.run_mesh([7, 7, 7], is_gamma_center=True)
    other.run_thermal_properties(temperatures=TEMPERATURES, cutoff_frequency=1e-3)
    expected = other.thermal_properties
    values = mesh_frequencies(state, (7, 7, 7))
    scale = theirs.DefaultToTHz * theirs.THzToEv / units.HBAR
    warmer = theirs.KB / units.KB
    found = thermodynamics(
        values.frequencies * scale, np.array(TEMPERATURES) * warmer, weights=values.weights
    )
    kilo = theirs.EvTokJmol
    assert np.allclose(found.free_energy * kilo, expected.free_energy, rtol=1e-6)
    assert np.allclose(found.entropy * warmer * kilo * 1e3, expected.entropy, rtol=1e-6)
    assert np.allclose(found.heat_capacity * warmer * kilo * 1e3, expected.heat_capacity, rtol=1e-6)
    assert found.zero_point * kilo == pytest.approx(expected.zero_point_energy, rel=1e-6)


def test_entropy_and_heat_capacity_are_derivatives(rock_salt):
    values = mesh_frequencies(rock_salt, (4, 4, 4))
    low, here, high = (thermodynamics(values, [t]) for t in (299.9, 300.0, 300.1))
    slope = (high.free_energy - low.free_energy) / 0.2
    assert here.entropy[0] == pytest.approx(-slope[0], rel=1e-6)
    rise = (high.entropy - low.entropy) / 0.2
    assert here.heat_capacity[0] == pytest.approx(300.0 * rise[0], rel=1e-6)
    assert here.energy[0] == pytest.approx(here.free_energy[0] + 300.0 * here.entropy[0])


def test_limits_of_the_thermodynamics(rock_salt):
    values = mesh_frequencies(rock_salt, (4, 4, 4))
    cold, hot = thermodynamics(values, [0.0]), thermodynamics(values, [2.0e4])
    assert cold.free_energy[0] == cold.zero_point > 0.0
    assert cold.entropy[0] == cold.heat_capacity[0] == 0.0
    # Dulong and Petit, less the translations at q = 0
    assert hot.heat_capacity[0] / units.KB == pytest.approx(6.0 - 3.0 / 64.0, rel=1e-3)
    assert thermodynamics(values, [1.0e-3]).free_energy[0] == pytest.approx(cold.zero_point)


def test_unstable_modes_are_counted_and_left_out():
    frequencies = np.array([[-1.0, 2.0, 3.0]]) * units.THZ
    found = thermodynamics(frequencies, [0.0])
    assert found.left_out == 1.0
    assert found.zero_point == pytest.approx(2.5 * units.HBAR * units.THZ)


def test_bad_requests_are_refused(diamond):
    with pytest.raises(InputError, match="mesh"):
        mesh_frequencies(diamond, (0, 2, 2))
    with pytest.raises(InputError, match="smearing 'magic'"):
        density_of_states(diamond, (2, 2, 2), smearing="magic")
    with pytest.raises(InputError, match="not above zero"):
        density_of_states(diamond, (2, 2, 2), smearing="gaussian", width_thz=0.0)
    with pytest.raises(InputError, match="temperature"):
        thermodynamics(np.ones((1, 3)), [-1.0])


def test_the_default_mesh_is_finer_where_the_cell_is_short():
    n1, n2, n3 = mesh_for(Crystal.from_ase(bulk("Mg", "hcp", a=3.2, c=10.4)))
    assert n1 == n2 > n3


# --- comparing states ---------------------------------------------------------------------


def test_modes_are_matched_by_polarisation_not_by_order():
    """Two springs of a simple lattice exchange their order; the modes keep their names."""
    atoms = Atoms("H", positions=[(0, 0, 0)], cell=[2.0, 2.5, 3.0], pbc=True)
    supercell = Supercell(Crystal.from_ase(atoms), (2, 2, 2))

    def with_springs(k):
        constants = np.zeros((1, 8, 3, 3))
        for axis, strength in enumerate(k):
            step = np.zeros(3, dtype=int)
            step[axis] = 1
            constants[0, 0, axis, axis] += 2 * strength
            constants[0, supercell.cell_index(step), axis, axis] -= 2 * strength
            for across in range(3):
                if across != axis:
                    side = np.zeros(3, dtype=int)
                    side[across] = 1
                    constants[0, 0, axis, axis] += strength
                    constants[0, supercell.cell_index(side), axis, axis] -= strength
        return DynamicalMatrix(supercell, constants)

    one, other = with_springs((1.0, 2.0, 3.5)), with_springs((4.4, 2.0, 3.5))
    matched = matched_frequencies(one, other)
    q = int(supercell.cell_index(np.array([1, 1, 1])))
    ours = one.frequencies_at_qpoints()[q]
    assert np.allclose(matched[q] / ours, [np.sqrt(4.4), 1.0, 1.0])
    assert np.allclose(matched_frequencies(one, one), one.frequencies_at_qpoints())
    with pytest.raises(InputError, match="cannot be compared"):
        matched_frequencies(one, CRYSTALS["diamond"]())


def test_phonopy_reads_an_anisotropic_supercell_back(tmp_path):
    state = bonded(bulk("Mg", "hcp", a=3.2, c=5.2), (3, 1, 2), 3.3)
    other = load_phonopy(tmp_path, state)
    other.run_qpoints(state.supercell.qpoints)
    expected = state.frequencies_at_qpoints() / units.THZ
    assert np.abs(other.qpoints.frequencies - expected).max() < 1e-5
    assert np.allclose(other.primitive.masses, state.crystal.masses)
