"""Quantum ESPRESSO's dyn files: what is written is read back, and so is what ph.x writes.

No file of ph.x is kept here: ``as_ph_x`` writes force constants of ours with the formats of its
source, in the variants that are met (order and choice of q, numbers of the lattice, D exponents,
titles, blocks that follow).  CellConstructor reads and writes the same in ``test_python_sscha.py``.
"""

import re

import numpy as np
import pytest
from ase.build import bulk
from toys import Bonds, fcc, perovskite, wurtzite

from sscha_mlp import units
from sscha_mlp.crystal.born_charges import BornCharges
from sscha_mlp.crystal.bravais import bravais_cell
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix, symmetrise
from sscha_mlp.crystal.structure import Crystal
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import find_space_group
from sscha_mlp.data.dyn_files import crystal_of, read_dyn, read_dyn_files, write_dyn
from sscha_mlp.data.dyn_text import element_of, parse_dyn
from sscha_mlp.errors import InputError, StructureError
from sscha_mlp.properties.born_files import read_born

CRYSTALS = {
    "diamond": (bulk("Si", "diamond", a=5.43), (2, 2, 2)),
    "wurtzite": (bulk("ZnO", "wurtzite", a=3.25, c=5.2, u=0.38), (2, 2, 1)),
    "perovskite": (perovskite(), (2, 1, 2)),
    "odd grid": (bulk("NaCl", "rocksalt", a=5.64), (3, 1, 2)),
    "large grid": (bulk("Al", "fcc", a=4.05), (4, 4, 4)),
}
BORN = BornCharges(
    np.array([np.diag([2.1, 2.1, 2.3]), np.diag([-2.1, -2.1, -2.2])]), 3.7 * np.eye(3)
)


def random_state(name, rng):
    """Force constants without any meaning but with every symmetry."""
    atoms, size = CRYSTALS[name]
    supercell = Supercell(Crystal.from_ase(atoms), size)
    constants = rng.standard_normal((len(atoms), supercell.n_atoms, 3, 3))
    return DynamicalMatrix(supercell, symmetrise(find_space_group(supercell), constants))


PH_X = 3e-7
"""Half of the last of its 8 decimals of Ry/bohr² in eV/Å²: 2.5e-7."""


def same(found, expected, tolerance):
    """Whether two states are the same, force constants to a tolerance in eV/Å²."""
    assert found.supercell.size == expected.supercell.size
    assert found.crystal.symbols == expected.crystal.symbols
    np.testing.assert_allclose(found.crystal.cell, expected.crystal.cell, atol=10 * tolerance)
    np.testing.assert_allclose(
        found.crystal.positions, expected.crystal.positions, atol=10 * tolerance
    )
    np.testing.assert_allclose(found.crystal.masses, expected.crystal.masses, rtol=1e-9)
    np.testing.assert_allclose(
        found.force_constants, expected.force_constants, rtol=0, atol=tolerance
    )


# --- there and back ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", CRYSTALS)
def test_what_is_written_is_read_back(name, rng, tmp_path):
    """The 16 decimals of a matrix in Ry/bohr² are what a double holds."""
    state = random_state(name, rng)
    files = write_dyn(tmp_path / "new" / "final_dyn", state)
    assert sorted(files) == sorted((tmp_path / "new").iterdir())
    same(read_dyn(tmp_path / "new" / "final_dyn"), state, 1e-13)


def test_a_second_call_writes_the_same_bytes(rng, tmp_path):
    state = random_state("wurtzite", rng)
    first, again = (
        {path.name: path.read_bytes() for path in write_dyn(tmp_path / "dyn", state)}
        for _ in range(2)
    )
    assert first == again


def test_there_is_one_file_for_each_star_and_a_list_of_them(tmp_path):
    state, _ = fcc().harmonic()
    listed, *files = write_dyn(tmp_path / "dyn", state)
    assert [path.name for path in files] == ["dyn1", "dyn2", "dyn3"]  # Γ, L and X
    size, count, *qpoints = listed.read_text().splitlines()
    assert (size.split(), count.split()) == (["2", "2", "2"], ["3"])
    firsts = [parse_dyn(path).qpoints[0] for path in files]
    np.testing.assert_allclose([[float(v) for v in line.split()] for line in qpoints], firsts)
    assert [len(parse_dyn(path).qpoints) for path in files] == [1, 4, 3]


def test_charges_and_the_dielectric_tensor_are_kept(rng, tmp_path):
    state = random_state("odd grid", rng)
    files = write_dyn(tmp_path / "dyn", state, born=BORN)
    assert [one.name for one in files if "Dielectric" in one.read_text()] == ["dyn1"]
    found = read_dyn_files(tmp_path / "dyn")
    np.testing.assert_allclose(found.born.charges, BORN.charges, atol=1e-12)
    np.testing.assert_allclose(found.born.dielectric, BORN.dielectric, atol=1e-12)
    same(found.state, state, 1e-13)
    with pytest.raises(InputError, match="Born charges of 2 atoms, but the primitive cell has 4"):
        write_dyn(tmp_path / "other", random_state("wurtzite", rng), born=BORN)


def test_the_file_of_the_charges_is_read_as_such(tmp_path, rng):
    state = random_state("odd grid", rng)
    files = write_dyn(tmp_path / "dyn", state, born=BORN)
    found = read_born(files[1], state.crystal)
    third = np.trace(BORN.charges[0] - BORN.charges[1]) / 6  # cubic and neutral
    np.testing.assert_allclose(found.charges, [third * np.eye(3), -third * np.eye(3)], atol=1e-10)
    with pytest.raises(InputError, match=r"dyn2 holds no dielectric tensor"):
        read_born(files[2], state.crystal)


def test_the_modes_at_the_end_are_those_of_the_first_wave_vector(tmp_path):
    state, _ = wurtzite().harmonic()
    ours = state.frequencies_at_qpoints() / units.THZ
    for path in write_dyn(tmp_path / "dyn", state)[1:]:
        text = parse_dyn(path)
        place = np.rint(text.qpoints[0] @ text.cell.T * state.supercell.size).astype(int)
        printed = re.findall(r"= +(\S+) \[THz\] = +(\S+) \[cm-1\]", path.read_text())
        thz, wavenumbers = np.array(printed, dtype=float).T
        expected = np.sort(ours[state.supercell.cell_index(place)])
        moving = np.abs(expected) > 1e-3
        np.testing.assert_allclose(thz[moving], expected[moving], atol=2e-6)
        assert np.abs(thz[~moving]).max(initial=0.0) < 1e-3  # rounding under a square root
        np.testing.assert_allclose(wavenumbers, thz * 33.3564095, atol=1e-4)


def test_columns_are_where_q2r_looks_for_them(tmp_path, rng):
    """It reads keywords in columns 6 to 15, and a wave vector in columns 11 to 75."""
    state = random_state("odd grid", rng)
    for path in write_dyn(tmp_path / "dyn", state, born=BORN)[1:]:
        lines = path.read_text().splitlines()
        starts = [n for n, line in enumerate(lines) if line[5:14] == "Dynamical"]
        text = parse_dyn(path)
        assert len(starts) == len(text.qpoints)
        for start, qpoint in zip(starts, text.qpoints, strict=True):
            values = [float(word) for word in lines[start + 2][10:75].split()[:3]]
            assert values == pytest.approx(qpoint.tolist(), abs=1e-13)
    first = (tmp_path / "dyn1").read_text().splitlines()
    assert any(line[5:15] == "Dielectric" for line in first)


# --- what ph.x writes --------------------------------------------------------------------------


def blocks(matrix, form="{:12.8f} {:12.8f}"):
    """Rows of a matrix in Ry/bohr² as ph.x writes them."""
    n = len(matrix) // 3
    for a in range(n):
        for b in range(n):
            yield f"{a + 1:5d}{b + 1:5d}"
            for row in matrix[3 * a : 3 * a + 3, 3 * b : 3 * b + 3]:
                yield "   ".join(form.format(v.real, v.imag) for v in row)


def as_ph_x(directory, state, choose, *, lattice=0, celldm=(0,) * 5, form="{:12.8f} {:12.8f}"):
    """Write a state with the formats of ph.x; `choose` makes the list of q of each file.

    `choose` gets the wave vectors of the supercell and returns lists of reduced coordinates, which
    may lie outside the first zone.
    """
    crystal, supercell = state.crystal, state.supercell
    alat = np.linalg.norm(crystal.cell[0]) if lattice == 0 else celldm[0] * units.BOHR
    reciprocal = np.linalg.inv(crystal.cell).T * alat
    everywhere = supercell.grid.full(state.half_grid) / (units.RYDBERG / units.BOHR**2)
    kinds = list(dict.fromkeys(crystal.symbols))
    for number, qpoints in enumerate(choose(supercell), start=1):
        lengths = "".join(f"{v:12.7f}" for v in (alat / units.BOHR, *celldm[1:], 0.0)[:6])
        lines = [
            "Dynamical matrix file",
            "",
            f"{len(kinds):3d}{crystal.n_atoms:5d}{lattice:4d}{lengths}",
        ]
        if lattice == 0:
            lines.append("Basis vectors")
            lines += ["  " + "".join(f"{v:15.9f}" for v in row) for row in crystal.cell / alat]
        for n, kind in enumerate(kinds, start=1):
            mass = crystal.masses[crystal.symbols.index(kind)] * units.AMU_RYDBERG
            lines.append(f"           {n}  '{kind:<4}'    {mass:.12f}     ")
        for n, (symbol, place) in enumerate(
            zip(crystal.symbols, crystal.positions / alat, strict=True)
        ):
            numbers = "".join(f"{v:18.10f}" for v in place)
            lines.append(f"{n + 1:5d}{kinds.index(symbol) + 1:5d}{numbers}")
        for q in qpoints:
            cartesian = "".join(f"{v:14.9f}" for v in np.array(q) @ reciprocal)
            lines += [
                "",
                "     Dynamical  Matrix in cartesian axes",
                "",
                f"     q = ( {cartesian} ) ",
                "",
            ]
            index = supercell.cell_index(np.rint(np.array(q) * supercell.size).astype(int))
            lines += blocks(everywhere[index], form)
        lines += [
            "",
            "     Diagonalizing the dynamical matrix",
            "",
            f"     q = ( {cartesian} ) ",
            "",
        ]
        lines += [
            " " + "*" * 74,
            "     freq (    1) =       0.164575 [THz] =       5.489636 [cm-1]",
        ]
        lines += [
            " (  0.582815  0.000000 -0.112436  0.000000 -0.384377  0.000000 ) "
        ] * crystal.n_atoms
        (directory / f"ph{number}").write_text("\n".join(lines) + "\n")


def folded(q):
    return np.where(np.array(q) > 0.5, np.array(q) - 1, q)


CHOICES = {
    "a file for each": lambda s: [[q] for q in s.qpoints],
    "one file": lambda s: [list(s.qpoints)],
    "backwards": lambda s: [[q] for q in s.qpoints[::-1]],
    "in pairs": lambda s: [[q, -np.array(q)] for q in s.qpoints[s.grid.index]],
    "without -q": lambda s: [[q] for q in s.qpoints[s.grid.index]],
    "outside the zone": lambda s: [[q + np.array([1, -2, 0])] for q in s.qpoints],
    "inside the zone": lambda s: [[folded(q)] for q in s.qpoints],
}


@pytest.mark.parametrize("name", ["wurtzite", "odd grid", "large grid"])
@pytest.mark.parametrize("choice", CHOICES)
def test_wave_vectors_come_in_any_order_and_choice(name, choice, rng, tmp_path):
    state = random_state(name, rng)
    as_ph_x(tmp_path, state, CHOICES[choice])
    same(read_dyn(tmp_path / "ph"), state, PH_X)


def test_a_list_of_wave_vectors_tells_how_many_files_there_are(rng, tmp_path):
    state = random_state("odd grid", rng)
    as_ph_x(tmp_path, state, CHOICES["without -q"])
    count = state.supercell.grid.n_half
    (tmp_path / f"ph{count + 1}").write_text("left over from another calculation\n")
    with pytest.raises(InputError, match=rf"ph{count + 1}, line 1"):
        read_dyn(tmp_path / "ph")
    (tmp_path / "ph0").write_text(f"   3   1   2\n   {count}\n")
    same(read_dyn(tmp_path / "ph"), state, PH_X)
    same(read_dyn(tmp_path / "ph", n_files=count), state, PH_X)
    (tmp_path / f"ph{count - 1}").unlink()
    with pytest.raises(
        InputError, match=rf"{count} irreducible wave vectors, but no file ph{count - 1}"
    ):
        read_dyn(tmp_path / "ph")
    (tmp_path / "ph0").write_text("not a list\n")
    with pytest.raises(InputError, match=r"second line of .*ph0 is not the number"):
        read_dyn(tmp_path / "ph")


def test_numbers_of_fortran_and_two_lines_for_a_row_are_read(rng, tmp_path):
    """phcg.x writes 3e24.12: the six numbers of a row take two lines; D is an exponent."""
    state = random_state("odd grid", rng)
    as_ph_x(tmp_path, state, CHOICES["one file"], form="{:24.12E} {:24.12E}")
    text = (tmp_path / "ph1").read_text()
    rows = re.compile(r"^((?: +\S+E[-+]\d+){3})((?: +\S+E[-+]\d+){3})$", re.MULTILINE)
    assert rows.search(text)
    (tmp_path / "ph1").write_text(rows.sub(r"\1\n\2", text).replace("E-", "D-").replace("E+", "D+"))
    same(read_dyn(tmp_path / "ph"), state, PH_X)


def test_the_one_file_of_gamma_needs_no_number(rng, tmp_path):
    atoms, _ = CRYSTALS["wurtzite"]
    supercell = Supercell(Crystal.from_ase(atoms), (1, 1, 1))
    constants = symmetrise(find_space_group(supercell), rng.standard_normal((4, 4, 3, 3)))
    state = DynamicalMatrix(supercell, constants)
    as_ph_x(tmp_path, state, CHOICES["one file"])
    (tmp_path / "ph1").rename(tmp_path / "zno.dynG")
    same(read_dyn(tmp_path / "zno.dynG"), state, PH_X)


CHARGES = """
     Dielectric Tensor:

          2.500000000000         -0.000000000000          0.000000000000
          0.000000000000          2.500000000000          0.000000000000
          0.000000000000         -0.000000000000          2.600000000000
"""
FORCES_OF_FIELD = """
     Effective Charges U-E: Z_{s,alpha}{beta}

     atom #    1
      0.110000000000E+01      0.300000000000E+00      0.000000000000E+00
      0.000000000000E+00      0.110000000000E+01      0.000000000000E+00
      0.000000000000E+00      0.000000000000E+00      0.120000000000E+01
     atom #    2
     -0.110000000000E+01     -0.300000000000E+00      0.000000000000E+00
      0.000000000000E+00     -0.110000000000E+01      0.000000000000E+00
      0.000000000000E+00      0.000000000000E+00     -0.120000000000E+01
"""


@pytest.mark.parametrize("both", [True, False])
def test_charges_are_those_of_the_field_or_else_those_of_the_forces(both, rng, tmp_path):
    """E-U has the direction of the field first, U-E that of the force."""
    as_ph_x(tmp_path, random_state("odd grid", rng), CHOICES["one file"])
    field = FORCES_OF_FIELD.replace("U-E: Z_{s,alpha}{beta}", "E-U: Z_{alpha}{s,beta}")
    field = field.replace("0.110000000000E+01", "1.150000000000")
    text = (tmp_path / "ph1").read_text()
    more = CHARGES + (field if both else "") + FORCES_OF_FIELD
    (tmp_path / "ph1").write_text(
        text.replace("\n     Diagonalizing", f"{more}\n     Diagonalizing")
    )
    found = read_dyn_files(tmp_path / "ph").born
    off = [[0, 0.3, 0], [0, 0, 0], [0, 0, 0]]
    expected = (
        np.diag([1.15, 1.15, 1.2]) + off if both else np.diag([1.1, 1.1, 1.2]) + np.transpose(off)
    )
    np.testing.assert_allclose(found.charges, [expected, -expected], atol=1e-12)
    np.testing.assert_allclose(found.dielectric, np.diag([2.5, 2.5, 2.6]), atol=1e-12)


@pytest.mark.parametrize(
    ("label", "symbol"),
    [
        *[("Fe", "Fe"), ("Fe1", "Fe"), ("fe2", "Fe"), ("SI", "Si"), ("Cu2", "Cu")],
        *[("C_h", "C"), ("O-2", "O"), ("O1", "O"), ("H", "H"), ("D", "H")],
    ],
)
def test_labels_name_their_element(label, symbol):
    assert element_of(label) == symbol


def test_kinds_of_one_element_are_kept_apart_by_their_masses_alone(tmp_path):
    """Fe1 and Fe2 of a magnet are iron; isotopes stay two kinds, there and back."""
    atoms = bulk("Fe", "bcc", a=2.86, cubic=True)
    bonds = Bonds(Supercell(Crystal.from_ase(atoms), (2, 1, 1)), 2.6, k=8.0, far=0.1)
    state, _ = bonds.harmonic()
    files = write_dyn(tmp_path / "dyn", state)
    for path in files[1:]:
        header = path.read_text().replace("  1    2   0", "  2    2   0", 1)
        mass = re.search(r" {11}1  'Fe  ' +(\S+)\n", header)
        kinds = f"           1  'Fe1 '  {mass[1]}\n           2  'Fe2 '  {mass[1]}\n"
        header = header.replace(mass[0], kinds).replace("\n    2    1", "\n    2    2", 1)
        path.write_text(header)
    assert list(parse_dyn(files[1]).labels) == ["Fe1", "Fe2"]
    found = read_dyn(tmp_path / "dyn")
    assert found.crystal.symbols == ["Fe", "Fe"]
    same(found, state, 1e-13)
    heavy = DynamicalMatrix(
        Supercell(
            Crystal(atoms.cell.array, atoms.positions, atoms.numbers, [53.94, 56.93]), (2, 1, 1)
        ),
        state.force_constants,
    )
    text = write_dyn(tmp_path / "isotopes", heavy)[1].read_text()
    assert "'Fe1 '" in text and "'Fe2 '" in text
    same(read_dyn(tmp_path / "isotopes"), heavy, 1e-13)


def test_masses_in_atomic_mass_units_are_taken_as_such(rng, tmp_path):
    """No atom is lighter than 919 of their units, and none heavier than 300 amu."""
    state = random_state("diamond", rng)
    as_ph_x(tmp_path, state, CHOICES["one file"])
    text = (tmp_path / "ph1").read_text()
    (tmp_path / "ph1").write_text(re.sub(r"('Si  ' +)\S+", r"\g<1>28.085", text))
    assert crystal_of(parse_dyn(tmp_path / "ph1")).masses == pytest.approx([28.085] * 2)


# --- numbered lattices -------------------------------------------------------------------------

B, C, COSINES = 1.3, 1.7, (0.1, 0.2, -0.3)


def conventional(number):
    """Edges b/a, c/a and cosines of the conventional cell, and the primitive cells in it."""
    if number in {1, 2, 3, -3, 5, -5}:
        lengths = (1, 1)
    else:
        lengths = (1, C) if number in {4, 6, 7} else (B, C)
    cosines = {
        4: (0, 0, -0.5),
        12: (0, 0, 0.1),
        13: (0, 0, 0.1),
        -12: (0, 0.2, 0),
        -13: (0, 0.2, 0),
    }
    cells = {2: 4, 3: 2, -3: 2, 7: 2, 9: 2, -9: 2, 91: 2, 10: 4, 11: 2, 13: 2, -13: 2}
    return lengths, cosines.get(number, (0, 0, 0)), cells.get(number, 1)


COMBINATIONS = {  # rows: conventional edges from the primitive ones, International Tables
    2: [[-1, 1, -1], [-1, 1, 1], [1, 1, -1]],
    3: [[1, -1, 0], [0, 1, -1], [1, 0, 1]],
    -3: [[0, 1, 1], [1, 0, 1], [1, 1, 0]],
    7: [[1, 0, -1], [-1, 1, 0], [0, 1, 1]],
    9: [[1, -1, 0], [1, 1, 0], [0, 0, 1]],
    -9: [[1, 1, 0], [-1, 1, 0], [0, 0, 1]],
    91: [[1, 0, 0], [0, 1, 1], [0, -1, 1]],
    10: [[1, 1, -1], [-1, 1, 1], [1, -1, 1]],
    11: [[1, -1, 0], [0, 1, -1], [1, 0, 1]],
    13: [[1, 0, 1], [0, 1, 0], [-1, 0, 1]],
    -13: [[1, -1, 0], [1, 1, 0], [0, 0, 1]],
}


@pytest.mark.parametrize("number", [1, 2, 3, -3, 4, 6, 7, 8, 9, -9, 91, 10, 11, 12, -12, 13, -13])
def test_conventional_edges_of_numbered_lattices(number):
    (b, c), cosines, n_cells = conventional(number)
    cell = bravais_cell(number, (7.0, B, C, *COSINES))
    edges = np.array(COMBINATIONS.get(number, np.eye(3))) @ cell
    lengths = np.linalg.norm(edges, axis=1)
    np.testing.assert_allclose(lengths, [1, b, c])
    metric = edges @ edges.T / np.outer(lengths, lengths)
    np.testing.assert_allclose([metric[1, 2], metric[0, 2], metric[0, 1]], cosines, atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(edges), n_cells * np.linalg.det(cell))
    assert np.linalg.det(cell) > 0


@pytest.mark.parametrize("number", [5, -5])
def test_rhombohedral_lattices_have_their_angle_and_axis(number):
    cell = bravais_cell(number, (7.0, 0, 0, 0.25))
    np.testing.assert_allclose(cell @ cell.T, np.full((3, 3), 0.25) + 0.75 * np.eye(3), atol=1e-12)
    axis = cell.sum(axis=0) / np.linalg.norm(cell.sum(axis=0))
    np.testing.assert_allclose(
        axis, [0, 0, 1] if number == 5 else np.ones(3) / np.sqrt(3), atol=1e-12
    )
    assert np.linalg.det(cell) > 0


def test_a_triclinic_lattice_has_its_three_angles():
    cell = bravais_cell(14, (7.0, B, C, *COSINES))
    lengths = np.linalg.norm(cell, axis=1)
    np.testing.assert_allclose(lengths, [1, B, C])
    metric = cell @ cell.T / np.outer(lengths, lengths)
    np.testing.assert_allclose([metric[1, 2], metric[0, 2], metric[0, 1]], COSINES)
    assert cell[0, 1] == cell[0, 2] == cell[1, 2] == 0


def test_a_file_with_a_numbered_lattice_is_the_same_crystal(rng, tmp_path):
    """fcc as ibrav = 2: other lattice vectors than ours, the same crystal with the same numbers."""
    alat = 10.6
    cell = bravais_cell(2, (alat,)) * alat * units.BOHR
    crystal = Crystal(cell, [[0, 0, 0], [0.25 * alat * units.BOHR] * 3], [13, 33], [26.98, 74.92])
    supercell = Supercell(crystal, (2, 2, 2))
    constants = symmetrise(find_space_group(supercell), rng.standard_normal((2, 16, 3, 3)))
    state = DynamicalMatrix(supercell, constants)
    as_ph_x(tmp_path, state, CHOICES["without -q"], lattice=2, celldm=(alat, 0, 0, 0, 0))
    assert "Basis" not in (tmp_path / "ph1").read_text()
    same(read_dyn(tmp_path / "ph"), state, PH_X)


@pytest.mark.parametrize(
    ("number", "celldm", "message"),
    [
        (15, (1.0,) * 6, "no Bravais lattice ibrav = 15"),
        (4, (5.0, 0, 0, 0, 0, 0), "span no cell"),
        (5, (5.0, 0, 0, 1.5, 0, 0), "span no cell"),
        (14, (5, 1, 1, 0.9, 0.9, -0.9), "span no cell"),
    ],
)
def test_lattices_that_are_none_are_refused(number, celldm, message):
    with pytest.raises(StructureError, match=message):
        bravais_cell(number, celldm)


# --- damage ------------------------------------------------------------------------------------


def damaged(name, text):
    """The first file of wurtzite, made worse."""
    return {
        "empty": "",
        "garbage": "this is not\na dynamical matrix\n" * 5,
        "cut in a matrix": text[: text.index("q = (") + 150],
        "cut in a header": text[: text.index("'") + 3],
        "element": text.replace("Zn", "Qq"),
        "overflow": re.sub(r"\n +-?\d+\.\d{16}", "\n ********************", text, count=8),
        "pair": text.replace("\n    1    2\n", "\n    1    3\n", 1),
        "nan": re.sub(r"(    1    1\n +)\S+", r"\g<1>NaN", text),
        "kind": re.sub(r"\n    2    \d", "\n    2    9", text, count=1),
        "asymmetric": re.sub(r"(    1    2\n +)\S+", r"\g<1>99.5", text),
        "xml": '<?xml version="1.0"?>\n<Root></Root>\n',
        "no matrix": text[: text.index("Dynamical  Matrix")],
        "lattice": re.sub(r"(?m)^(  \d    4)   0", r"\1  77", text),
        "alat": re.sub(r"(?m)^(  \d    4   0) +\S+", r"\1  -3.0", text),
        "wave vector": text.replace("q = (", "q = ( what", 1).replace("0.0", "x.y", 200),
    }[name]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("empty", "the file ends where the numbers of kinds and of atoms should be"),
        ("garbage", r"line 3: .*this is no dyn file"),
        ("cut in a matrix", "cut off|ends where"),
        ("cut in a header", "where number, 'label' and mass of a kind should be"),
        ("element", "label 'Qq' .* names no element"),
        ("overflow", r"'\*+"),
        ("pair", "'1 3'|where atoms 1 2 of"),
        ("nan", "'NaN"),
        ("kind", "none of the 2 kinds"),
        ("asymmetric", "not Hermitian"),
        ("xml", "dyn file in XML"),
        ("no matrix", "no dynamical matrix where one should be"),
        ("lattice", "no Bravais lattice ibrav = 77"),
        ("alat", r"celldm\(1\) = -3 is no length"),
    ],
)
def test_damaged_files_are_refused_with_a_sentence(damage, message, tmp_path):
    state, _ = wurtzite().harmonic()
    first = write_dyn(tmp_path / "dyn", state)[1]
    first.write_text(damaged(damage, first.read_text()))
    with pytest.raises(InputError, match=message) as caught:
        read_dyn(tmp_path / "dyn")
    assert "dyn" in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_is_noticed_with_and_without_the_list(tmp_path):
    """fcc 2x2x2 without its last star: five wave vectors make no grid."""
    state, _ = fcc().harmonic()
    listed, first, *_, last = write_dyn(tmp_path / "dyn", state)
    last.unlink()
    with pytest.raises(InputError, match="3 irreducible wave vectors, but no file dyn3"):
        read_dyn(tmp_path / "dyn")
    listed.unlink()
    with pytest.raises(InputError, match="wave vectors, not the 8 of"):
        read_dyn(tmp_path / "dyn")
    first.unlink()
    with pytest.raises(InputError, match=r"There is no file .*dyn1; give the path"):
        read_dyn(tmp_path / "dyn")


def test_files_of_two_calculations_are_noticed(tmp_path, rng):
    state, _ = fcc().harmonic()
    write_dyn(tmp_path / "dyn", state)
    write_dyn(tmp_path / "wide", state.strained(0.01 * np.eye(3)))
    (tmp_path / "dyn2").write_bytes((tmp_path / "wide2").read_bytes())
    with pytest.raises(InputError, match=r"dyn2 has another cell or other atoms than .*dyn1"):
        read_dyn(tmp_path / "dyn")
    harder = state.with_force_constants(1.1 * state.force_constants)
    write_dyn(tmp_path / "dyn", state)
    (tmp_path / "dyn0").unlink()
    (tmp_path / "dyn4").write_bytes(write_dyn(tmp_path / "hard", harder)[3].read_bytes())
    with pytest.raises(InputError, match="two different matrices at the wave vector"):
        read_dyn(tmp_path / "dyn")
    as_ph_x(tmp_path, random_state("odd grid", rng), lambda _: [[[0.0, 0.0, 0.1234567]]])
    with pytest.raises(InputError, match="on no grid of up to"):
        read_dyn(tmp_path / "ph")
