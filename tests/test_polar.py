"""Dipoles of polar crystals, against Ewald sums, Lyddane, Sachs and Teller, and phonopy."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from phonon_crystals import BORN, CRYSTALS, QPOINTS, load_phonopy
from scipy.special import erfc
from toys import Bonds

from sscha_mlp import units
from sscha_mlp.crystal.born_charges import BornCharges
from sscha_mlp.crystal.structure import Crystal
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.errors import InputError
from sscha_mlp.properties.born_files import read_born
from sscha_mlp.properties.dipoles import COULOMB, DipoleSum
from sscha_mlp.properties.interpolation import interpolate
from sscha_mlp.properties.polar_modes import Character, is_ionic, polar_levels

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def rock_salt():
    return CRYSTALS["rock salt"]()


# --- polar crystals -----------------------------------------------------------------------


def ewald(crystal, charges, q, *, width):
    """Force constants of point charges at wave vector q by Ewald's sum, (3n, 3n), eV/Å²."""
    cells = np.array(list(np.ndindex(13, 13, 13))) - 6
    at_zero = _ewald_blocks(crystal, cells, 0 * q, width)
    blocks = _ewald_blocks(crystal, cells, q, width)
    weights = charges[:, None] * charges
    blocks, at_zero = (one * weights[:, :, None, None] for one in (blocks, at_zero))
    for atom in range(len(charges)):  # the acoustic sum rule gives the term of an atom with itself
        blocks[atom, atom] -= at_zero[atom].sum(axis=0)
    size = 3 * len(charges)
    return COULOMB * blocks.transpose(0, 2, 1, 3).reshape(size, size)


def _ewald_blocks(crystal, cells, q, width):
    positions, volume, cell = crystal.positions, crystal.volume, crystal.cell
    reciprocal = 2 * np.pi * np.linalg.inv(cell).T
    n = len(positions)
    blocks = np.zeros((n, n, 3, 3), dtype=complex)
    waves = (cells + q) @ reciprocal
    waves = waves[np.linalg.norm(waves, axis=1) > 1e-9]
    square = (waves**2).sum(axis=1)
    damped = 4 * np.pi / volume * np.exp(-square / (4 * width**2)) / square
    for a in range(n):
        for b in range(n):
            phase = np.exp(1j * waves @ (positions[a] - positions[b]))
            blocks[a, b] = np.einsum("k,ki,kj->ij", damped * phase, waves, waves)
            spans = cells @ cell + positions[b] - positions[a]
            distance = np.linalg.norm(spans, axis=1)
            far = distance > 1e-9
            x, r = spans[far], distance[far]
            gauss = 2 * width / np.sqrt(np.pi) * np.exp(-((width * r) ** 2))
            first = erfc(width * r) / r**3 + gauss / r**2
            second = 3 * first / r**2 + 2 * width**2 * gauss / r**2
            curvature = second[:, None, None] * x[:, :, None] * x[:, None, :]
            curvature -= first[:, None, None] * np.eye(3)
            turn = np.exp(2j * np.pi * cells[far] @ q)
            blocks[a, b] -= np.einsum("k,kij->ij", turn, curvature)
    return blocks


def ionic(atoms, size, charges):
    """Bonds and point charges: force constants in a supercell, and exact ones at any q."""
    supercell = Supercell(Crystal.from_ase(atoms), size)
    crystal = supercell.primitive
    short = Bonds(supercell, 2.9, k=6.0).harmonic()[0]
    at_q = [ewald(crystal, charges, q, width=0.6) for q in supercell.qpoints]
    n = crystal.n_atoms
    phases = np.exp(-2j * np.pi * supercell.translations @ supercell.qpoints.T)
    in_cells = (phases @ np.array(at_q).reshape(len(at_q), -1)).real / supercell.n_cells
    blocks = in_cells.reshape(-1, n, 3, n, 3).transpose(1, 0, 3, 2, 4)
    state = short.with_force_constants(
        short.force_constants + blocks.reshape(n, supercell.n_atoms, 3, 3)
    )
    root = np.sqrt(np.repeat(crystal.masses, 3))

    def exact(q):
        bonds = interpolate(short).dynamical_matrices([q])[0]
        matrix = bonds + ewald(crystal, charges, np.array(q), width=0.6) / np.outer(root, root)
        values = np.linalg.eigvalsh(matrix)
        return np.sign(values) * np.sqrt(np.abs(values)) / units.THZ

    born = BornCharges(charges[:, None, None] * np.eye(3), np.eye(3))
    return state, born, exact


def test_ewald_of_this_test_does_not_depend_on_its_width():
    crystal = Crystal.from_ase(bulk("NaCl", "rocksalt", a=5.64))
    q, charges = np.array([0.2, 0.3, -0.1]), np.array([1.0, -1.0])
    one, other = (ewald(crystal, charges, q, width=width) for width in (0.5, 0.75))
    assert np.abs(one - other).max() < 1e-7


@pytest.mark.parametrize("size", [(2, 2, 2), (3, 2, 2)])
def test_point_charges_are_interpolated_as_ewald_has_them(size):
    state, born, exact = ionic(bulk("NaCl", "rocksalt", a=5.64), size, np.array([0.8, -0.8]))
    series, bare = interpolate(state, born=born), interpolate(state)
    expected = np.array([exact(q) for q in QPOINTS[:6]])
    error = np.abs(series.frequencies_thz(QPOINTS[:6]) - expected).max()
    assert error < 1e-4
    assert np.abs(bare.frequencies_thz(QPOINTS[:6]) - expected).max() > 100 * error


def test_lo_and_to_part_as_lyddane_sachs_and_teller_say():
    """``w_LO² - w_TO² = 4 pi e² Z² / (V eps mu)`` in a cubic crystal, along any direction."""
    state, born, exact = ionic(bulk("NaCl", "rocksalt", a=5.64), (2, 2, 2), np.array([0.8, -0.8]))
    series = interpolate(state, born=born)
    reduced = 1.0 / (1.0 / state.crystal.masses).sum()
    plasma = 4 * np.pi * COULOMB * 0.8**2 / (state.crystal.volume * reduced)
    for direction in ([1.0, 0.0, 0.0], [0.3, -0.2, 0.7]):
        found = series.frequencies([[0.0, 0.0, 0.0]], [direction])[0]
        assert found[5] ** 2 - found[4] ** 2 == pytest.approx(plasma, rel=1e-6)
        near = exact(1e-4 * np.array(direction))
        assert np.allclose(found[3:] / units.THZ, near[3:], atol=1e-3)


def rhombohedral():
    """Rock salt stretched along its diagonal, the sublattices off their centres."""
    cell = bulk("NaCl", "rocksalt", a=5.64).cell.array @ (np.eye(3) + 0.06)
    return Atoms("NaCl", cell=cell, scaled_positions=[[0, 0, 0], [0.47] * 3], pbc=True)


@pytest.mark.parametrize(
    ("atoms", "charges", "directions"),
    [
        (bulk("ZnO", "wurtzite", a=3.25, c=5.2), [0.8, 0.8, -0.8, -0.8], [(1, 0, 0), (0, 0, 1)]),
        (rhombohedral(), [0.8, -0.8], [(1, 1, 1), (1, 0, -1)]),
        (bulk("NaCl", "rocksalt", a=5.64), [0.8, -0.8], [(1, 0, 0)]),
    ],
    ids=["hexagonal", "rhombohedral", "cubic"],
)
def test_modes_at_gamma_are_those_of_ewald_near_it_along_each_axis(atoms, charges, directions):
    state, born, exact = ionic(atoms, (2, 2, 2), np.array(charges))
    series = interpolate(state, born=born)
    found = polar_levels(series)
    assert {one.direction for one in found} == set(directions)
    for direction in directions:
        along = [one for one in found if one.direction == direction]
        mine = np.repeat([one.frequency for one in along], [one.degeneracy for one in along])
        near = np.sort(exact(2e-5 * np.array(direction)))
        near = near[np.abs(near) > 1e-2]  # without the translations
        np.testing.assert_allclose(np.sort(mine), near, atol=2e-3)
        kinds = {one.character for one in along}
        assert Character.LONGITUDINAL in kinds and Character.MIXED not in kinds


def test_an_error_goes_from_the_square_without_field_to_the_square_with_it():
    state, born, _ = ionic(bulk("NaCl", "rocksalt", a=5.64), (2, 2, 2), np.array([0.8, -0.8]))
    transverse, longitudinal = polar_levels(interpolate(state, born=born), np.full(6, 0.05))
    assert (transverse.degeneracy, longitudinal.degeneracy) == (2, 1)
    assert transverse.stderr == pytest.approx(0.05)
    assert longitudinal.stderr * longitudinal.frequency == pytest.approx(
        0.05 * transverse.frequency
    )


@pytest.mark.parametrize(
    ("atoms", "ionic_bonds"),
    [
        (bulk("NaCl", "rocksalt", a=5.64), True),
        (bulk("ZnO", "wurtzite", a=3.25, c=5.2), True),
        (bulk("SiGe", "zincblende", a=5.5), False),
        (bulk("Si"), False),
        (bulk("GaAs", "zincblende", a=5.65), False),
    ],
)
def test_which_crystals_are_called_ionic(atoms, ionic_bonds):
    assert is_ionic(Crystal.from_ase(atoms)) is ionic_bonds


def test_without_a_direction_there_is_no_field(rock_salt):
    at_gamma = interpolate(rock_salt, born=BORN).frequencies([[0.0, 0.0, 0.0]])[0]
    assert np.allclose(at_gamma, rock_salt.frequencies_at_qpoints()[0], atol=1e-6)


@pytest.mark.parametrize("name", ["rock salt", "wurtzite"])
def test_polar_frequencies_are_those_of_phonopy(name, tmp_path):
    """With the same damping: how much of the dipoles is interpolated is a choice."""
    state = CRYSTALS[name]()
    born = BORN
    if name == "wurtzite":
        charges = np.array([np.diag([2.1, 2.1, 2.3])] * 4)
        signs = np.where(state.crystal.numbers == state.crystal.numbers[0], 1.0, -1.0)
        born = BornCharges(charges * signs[:, None, None], np.diag([3.7, 3.7, 3.8]))
    other = load_phonopy(tmp_path, state)
    damping = DipoleSum(state.crystal, born).damping / (2 * np.pi)
    other.nac_params = {
        "born": born.charges,
        "dielectric": born.dielectric,
        "factor": COULOMB,
        "Lambda": damping,
        "G_cutoff": 20 * damping / np.sqrt(np.linalg.eigvalsh(born.dielectric).min()),
    }
    other.run_qpoints(QPOINTS)
    series = interpolate(state, born=born)
    assert np.abs(series.frequencies_thz(QPOINTS) - other.qpoints.frequencies).max() < 1e-4
    other.run_qpoints([[0.0, 0.0, 0.0]], nac_q_direction=[1.0, 0.5, 0.2])
    found = series.frequencies_thz([[0.0, 0.0, 0.0]], [[1.0, 0.5, 0.2]])
    assert np.abs(found - other.qpoints.frequencies).max() < 1e-4


def test_phonopy_reads_our_born_charges(rock_salt, tmp_path):
    other = load_phonopy(tmp_path, rock_salt, BORN)
    assert np.allclose(other.nac_params["born"], BORN.charges)
    assert np.allclose(other.nac_params["dielectric"], BORN.dielectric)
    other.run_qpoints(QPOINTS)
    # Its own damping leaves another part of these charges, which the bonds do not know, to
    # the interpolation.
    ours = interpolate(rock_salt, born=BORN).frequencies_thz(QPOINTS)
    assert np.abs(ours - other.qpoints.frequencies).max() < 1e-3


def test_born_files_in_both_formats(tmp_path):
    crystal = Crystal.from_ase(bulk("NaCl", "rocksalt", a=5.64))
    rows = ["default", "2.4 0 0 0 2.4 0 0 0 2.4", "1.11 0 0 0 1.11 0 0 0 1.11"]
    rows.append("-1.09 0 0 0 -1.09 0 0 0 -1.09")
    (tmp_path / "BORN").write_text("\n".join(rows) + "\n")
    text = f"dielectric = {BORN.dielectric.tolist()}\ncharges = {BORN.charges.tolist()}\n"
    (tmp_path / "born.toml").write_text(text)
    for name in ("BORN", "born.toml"):
        found = read_born(tmp_path / name, crystal)
        assert np.allclose(found.charges, BORN.charges)  # made neutral
        assert np.allclose(found.dielectric, BORN.dielectric)


def test_charges_of_equivalent_atoms_follow_from_the_first(tmp_path):
    crystal = CRYSTALS["wurtzite"]().crystal
    first = np.array([[2.1, 0, 0], [0, 2.1, 0], [0, 0, 2.3]])
    symbols = crystal.symbols
    kinds = list(dict.fromkeys(symbols))
    rows = ["# factor", "3.7 0 0 0 3.7 0 0 0 3.8"]
    rows += [" ".join(str(v) for v in (sign * first).ravel()) for sign in (1, -1)]
    (tmp_path / "BORN").write_text("\n".join(rows))
    found = read_born(tmp_path / "BORN", crystal)
    for symbol, charge in zip(symbols, found.charges, strict=True):
        assert np.allclose(charge, first * (1 if symbol == kinds[0] else -1), atol=1e-3)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("BORN", "default\n1 0 0 0 1 0 0 0 1\n", "no BORN file"),
        ("BORN", "default\n1 0 0\n", "not nine numbers"),
        ("BORN", "x\n" + "2 0 0 0 2 0 0 0 2\n" * 4, "of 3 atoms"),
        ("BORN", "x\n" + "2 0 0 0 2 0 0 0 2\n" * 3, "must cancel"),
        ("BORN", "x\n-2 0 0 0 -2 0 0 0 -2\n" + "0 0 0 0 0 0 0 0 0\n" * 2, "not positive"),
        ("born.toml", "dielectric = 1\n", "needs dielectric and charges"),
        ("born.toml", "dielectric = 1\ncharges = [[1]]\n", "three rows"),
        ("born.toml", "= 1", "not TOML"),
    ],
)
def test_bad_born_files_are_refused(name, text, message, tmp_path):
    crystal = Crystal.from_ase(bulk("NaCl", "rocksalt", a=5.64))
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_born(tmp_path / name, crystal)
