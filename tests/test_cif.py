"""CIF: every setting gives its own crystal; what is no crystal with full sites is refused."""

from pathlib import Path

import ase.io
import numpy as np
import pytest
import spglib
from ase import Atoms
from ase.build import bulk
from ase.geometry import cellpar_to_cell, get_distances

import sscha_mlp as sm
from sscha_mlp.crystal.cif import _BEFORE_1992, read_cif
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.errors import StructureError

ANY = (0.1234, 0.2718, 0.0577)
"""A general position, far from special ones in every setting."""


def text(cell: tuple, lines: list[str], sites: list[tuple], columns: str = "") -> str:
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    head = [f"_cell_{name} {value}" for name, value in zip(names, cell, strict=True)]
    loop = ["loop_", *(f"_atom_site_{one}" for one in ("label", "type_symbol"))]
    loop += [f"_atom_site_fract_{axis}" for axis in "xyz"]
    loop += [f"_atom_site_{one}" for one in columns.split()]
    rows = [f"{site[0]}{i} " + " ".join(map(str, site)) for i, site in enumerate(sites)]
    return "\n".join(["data_x", *head, *lines, *loop, *rows]) + "\n"


def cell_for(number: int, full: str, choice: str) -> tuple:
    """A cell that a setting allows, with nothing equal that need not be."""
    if number <= 2:
        return (6.1, 7.2, 8.3, 81, 84, 99)
    if number <= 15:
        words = full.split()
        angles = [90 if word == "1" else 101 for word in words[1:]]
        return (6.1, 7.2, 8.3, *angles)
    if number <= 74:
        return (6.1, 7.2, 8.3, 90, 90, 90)
    if number <= 142:
        return (7.1, 7.1, 8.3, 90, 90, 90)
    if choice == "R":
        return (7.1, 7.1, 7.1, 77, 77, 77)
    return (7.1, 7.1, 9.3, 90, 90, 120) if number <= 194 else (9.1, 9.1, 9.1, 90, 90, 90)


def triplets(hall: int) -> list[str]:
    found = spglib.get_symmetry_from_database(hall)
    made = []
    for rotation, shift in zip(found["rotations"], found["translations"], strict=True):
        parts = []
        for row, s in zip(rotation, shift, strict=True):
            terms = "".join(
                ("-" if v < 0 else "+") + a for v, a in zip(row, "xyz", strict=True) if v
            )
            parts.append(f"{terms}{round(12 * s):+d}/12")
        made.append(f"'{','.join(parts)}'")
    return made


def same(one: Atoms, other: Atoms) -> bool:
    if len(one) != len(other):
        return False
    _, distances = get_distances(one.positions, other.positions, cell=one.cell, pbc=True)
    return bool(distances.min(axis=1).max() < 1e-6)


EVERY_SEVENTH = range(3, 531, 7)
"""76 settings of all systems, with origins, axes and cells that are not the first."""


@pytest.mark.parametrize(
    "halls",
    [
        pytest.param(EVERY_SEVENTH, id="every-seventh"),
        pytest.param(
            [one for one in range(1, 531) if one not in EVERY_SEVENTH],
            id="the-others",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_each_of_the_530_settings_by_symbol_hall_symbol_and_operations(tmp_path: Path, halls):
    for hall in halls:
        kind = spglib.get_spacegroup_type(hall)
        full, choice = kind.international_full, kind.choice
        cell = cell_for(kind.number, full, choice)
        base = _BEFORE_1992.get(hall, full)
        named = f"{base}:{choice[0]}" if choice[:1] in ("1", "2", "H", "R") else base
        made = []
        listed = ["loop_", "_space_group_symop_operation_xyz", *triplets(hall)]
        for lines in (
            [f"_symmetry_space_group_name_H-M '{named.replace('_', '')}'"],
            [f"_space_group_name_Hall '{kind.hall_symbol}'"],
            *([listed] if len(listed) < 100 or hall % 4 == 0 else []),
        ):
            (tmp_path / "a.cif").write_text(text(cell, lines, [("Na", *ANY)]))
            try:
                made += read_cif(tmp_path / "a.cif")
            except StructureError as err:
                raise AssertionError(f"{hall} {full} {choice}: {err}") from err
        assert np.allclose(made[0].cell.array, cellpar_to_cell(cell))
        assert len(made[0]) == len(spglib.get_symmetry_from_database(hall)["rotations"])
        assert all(same(atoms, made[-1]) for atoms in made), (hall, full, choice)


def write(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def group(path: Path) -> str:
    crystal = sm.read_structure(path)
    return sm.find_space_group(Supercell(crystal, (1, 1, 1))).international


def test_another_setting_of_a_monoclinic_group(tmp_path: Path):
    cell = (5.2, 6.1, 7.3, 90, 98.5, 90)
    lines = ["_symmetry_space_group_name_H-M 'P 1 21/n 1'", "_symmetry_Int_Tables_number 14"]
    path = write(tmp_path / "n.cif", text(cell, lines, [("Na", 0.1, 0.2, 0.3)]))
    expected = [[0.1, 0.2, 0.3], [0.9, 0.8, 0.7], [0.4, 0.7, 0.2], [0.6, 0.3, 0.8]]
    assert np.allclose(sm.read_structure(path).scaled_positions, expected)
    other = write(tmp_path / "c.cif", text(cell, lines[1:], [("Na", 0.1, 0.2, 0.3)]))
    assert np.allclose(sm.read_structure(other).scaled_positions[2], [0.9, 0.7, 0.2])  # P 21/c


@pytest.mark.parametrize("symbol", ["R -3 m", "R -3 m :R", "R -3 m R", "R-3m:r", "R -3 2/m"])
def test_rhombohedral_axes(tmp_path: Path, symbol: str):
    cell = (4.7459, 4.7459, 4.7459, 57.23, 57.23, 57.23)
    lines = [f"_symmetry_space_group_name_H-M '{symbol}'", "_symmetry_Int_Tables_number 166"]
    path = write(tmp_path / "bi.cif", text(cell, lines, [("Bi", 0.23389, 0.23389, 0.23389)]))
    crystal = sm.read_structure(path)
    assert crystal.n_atoms == 2
    assert crystal.shortest_distance() == pytest.approx(3.071, abs=0.001)
    assert group(path) == "R-3m"
    hexagonal = (4.546, 4.546, 11.862, 90, 90, 120)
    if "R" not in symbol[1:].upper():
        path = write(tmp_path / "hex.cif", text(hexagonal, lines, [("Bi", 0, 0, 0.23389)]))
        assert sm.read_structure(path).n_atoms == 6
        assert group(path) == "R-3m"


def test_an_origin_that_is_not_said(tmp_path: Path):
    cell = (5.43, 5.43, 5.43, 90, 90, 90)
    named = "_symmetry_space_group_name_H-M 'F d -3 m{}'"
    for x, choice, other in ((0.0, ":1", ":2"), (0.125, ":2", ":1"), (0.125, " Z", " S")):
        sites = [("Si", x, x, x)]
        path = write(tmp_path / "a.cif", text(cell, [named.format("")], sites))
        with pytest.raises(StructureError, match=r":1 with \d+ atoms, .*:2 with \d+ atoms"):
            sm.read_structure(path)
        write(path, text(cell, [named.format(choice)], sites))
        assert sm.read_structure(path).n_atoms == 8
        write(path, text(cell, [named.format(other)], sites))
        assert sm.read_structure(path).n_atoms == 16
        told = [named.format(""), "_chemical_formula_sum Si", "_cell_formula_units_Z 8"]
        write(path, text(cell, told, sites))
        assert sm.read_structure(path).n_atoms == 8
        told[2] = "_exptl_crystal_density_diffrn 2.33"
        write(path, text(cell, told, sites))
        assert sm.read_structure(path).n_atoms == 8


CUBIC = (3.61, 3.61, 3.61, 90, 90, 90)
FM3M = ["_symmetry_space_group_name_H-M 'F m -3 m'", "_symmetry_Int_Tables_number 225"]


@pytest.mark.parametrize(
    ("lines", "sites", "columns", "message"),
    [
        (FM3M, [("Cu", 0, 0, 0, 0.8)], "occupancy", r"partly occupied \(Cu0 0\.8\)"),
        (
            FM3M,
            [("Cu", 0, 0, 0, "0.50(2)"), ("Au", 0, 0, 0, 0.5)],
            "occupancy",
            r"\(Cu0 0\.5, Au1 0\.5\)",
        ),
        (FM3M, [("Cu", 0, 0, 0, 2)], "attached_hydrogens", "hydrogen atoms without positions"),
        (FM3M, [("Cu", 0, 0, 0, "dum")], "calc_flag", "dummy sites"),
        ([*FM3M, "_cell_modulation_dimension 1"], [("Cu", 0, 0, 0)], "", "modulated"),
        ([*FM3M, "_chemical_formula_sum 'Cu O'"], [("Cu", 0, 0, 0)], "", r"Cu4 .*'Cu O'"),
        (
            [*FM3M, "_chemical_formula_sum Cu", "_cell_formula_units_Z 2"],
            [("Cu", 0, 0, 0)],
            "",
            r"Cu4 .*x 2 \(Z\)",
        ),
        ([*FM3M, "_exptl_crystal_density_diffrn 4.48"], [("Cu", 0, 0, 0)], "", r"8\.97\d g/cm³"),
        ([FM3M[0], "_symmetry_Int_Tables_number 227"], [("Cu", 0, 0, 0)], "", "which is another"),
        (["_symmetry_space_group_name_H-M 'F m -3 q'"], [("Cu", 0, 0, 0)], "", "not known"),
        (["_symmetry_Int_Tables_number 194"], [("Cu", 0, 0, 0)], "", "the cell has not the shape"),
        ([*FM3M, "loop_", "_symmetry_equiv_pos_as_xyz", "'x,y,z'"], [("Cu", 0, 0, 0)], "", "lists"),
        (["loop_", "_symmetry_equiv_pos_as_xyz", "'x,y'"], [("Cu", 0, 0, 0)], "", "no symmetry"),
        (
            ["loop_", "_symmetry_equiv_pos_as_xyz", "'x,y,z'", "'y,z,x'"],
            [("Cu", 0.1, 0.2, 0.3), ("Cu", 0.2, 0.3, 0.4)],
            "",
            "no group",
        ),
        (FM3M, [("Wat", 0, 0, 0)], "", r"'Wat', whose element"),
        (FM3M, [("Cu", "?", 0, 0)], "", r"'\?' in place of a coordinate"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, lines, sites, columns, message):
    path = write(tmp_path / "bad.cif", text(CUBIC, lines, sites, columns))
    for reader in (sm.read_structure, sm.read_any):
        with pytest.raises(StructureError, match=message) as caught:
            reader(path)
        assert str(path) in str(caught.value)


def test_rounded_coordinates_on_special_positions(tmp_path: Path):
    cell = (2.55, 2.55, 4.16, 90, 90, 120)
    lines = ["_symmetry_space_group_name_H-M 'P 63/m m c'"]
    path = write(tmp_path / "hcp.cif", text(cell, lines, [("Mg", 0.3333, 0.6667, 0.25)]))
    crystal = sm.read_structure(path)
    assert np.allclose(crystal.scaled_positions[0], [1 / 3, 2 / 3, 0.25], atol=1e-12)
    assert group(path) == "P6_3/mmc"


def test_types_with_charges_and_labels_without_types(tmp_path: Path):
    for symbols in (("Na1+", "Cl1-"), ("NA", "CL")):
        sites = [(symbols[0], 0, 0, 0), (symbols[1], 0.5, 0.5, 0.5)]
        path = write(tmp_path / "a.cif", text((5.64, 5.64, 5.64, 90, 90, 90), FM3M, sites))
        assert sm.read_structure(path).to_ase().get_chemical_formula() == "Cl4Na4"
    plain = path.read_text().replace("_atom_site_type_symbol\n", "").replace(" NA ", " ")
    write(path, plain.replace(" CL ", " "))
    with pytest.raises(StructureError, match="'NA0', whose element"):  # N or Na?
        sm.read_structure(path)


@pytest.mark.parametrize("name", ["a.cif", "POSCAR_a.cif", "OUTCAR.CIF", "x.vasp.cif"])
def test_the_suffix_names_the_format(tmp_path: Path, name: str):
    path = write(tmp_path / name, text(CUBIC, FM3M, [("Cu", 0, 0, 0)]))
    assert sm.read_structure(path).n_atoms == 4
    assert len(sm.read_any(path)[0]) == 4


def test_what_ase_writes_is_read_as_it_was(tmp_path: Path):
    atoms = bulk("Si").repeat((2, 1, 1))
    atoms.rattle(0.1, seed=3)
    atoms.wrap()
    atoms.write(tmp_path / "a.cif")
    ours, theirs = sm.read_structure(tmp_path / "a.cif"), ase.io.read(tmp_path / "a.cif")
    assert np.allclose(ours.positions, theirs.positions, atol=1e-12)
    assert ours.symbols == theirs.get_chemical_symbols()


LID = {
    "POSCAR": "LiD\n1.0\n0 2 2\n2 0 2\n2 2 0\nLi D\n1 1\nDirect\n0 0 0\n0.5 0.5 0.5\n",
    "a.xyz": '2\nLattice="0 2 2 2 0 2 2 2 0" pbc="T T T"\nLi 0 0 0\nD 2 2 2\n',
    "b.xyz": '2\nLattice="0 2 2 2 0 2 2 2 0" Properties=pos:R:3:species:S:1\n0 0 0 Li\n2 2 2 D\n',
    "a.cif": text((4, 4, 4, 90, 90, 90), FM3M, [("Li", 0, 0, 0), ("D", 0.5, 0.5, 0.5)]),
}


@pytest.mark.parametrize("name", LID)
def test_deuterium_is_hydrogen_of_its_mass_in_every_format(tmp_path: Path, name: str):
    path = write(tmp_path / name, LID[name])
    crystal = sm.read_structure(path)
    atoms = sm.read_any(path)[0]
    light = crystal.numbers == 1
    assert 2 * light.sum() == crystal.n_atoms
    assert np.allclose(crystal.masses[light], 2.014102, atol=1e-6)
    assert np.allclose(crystal.masses[~light], 6.94)
    assert np.array_equal(atoms.get_masses(), crystal.masses)


def test_sites_that_another_format_calls_partly_occupied(tmp_path: Path):
    atoms = bulk("Cu", cubic=True)
    atoms.set_array("occupancies", np.array([1.0, 0.5, 1.0, 1.0]))
    atoms.write(tmp_path / "a.xyz", format="extxyz")
    with pytest.raises(StructureError, match=r"partly occupied \(Cu 0\.5\)"):
        sm.read_structure(tmp_path / "a.xyz")


@pytest.mark.parametrize("mass", [1e300, 1e-300, float("inf")])
def test_masses_that_no_atom_has(mass: float):
    crystal = sm.Crystal.from_ase(bulk("Cu"))
    with pytest.raises(StructureError, match="are taken for mistakes"):
        crystal.with_masses({"Cu": mass})
