"""Files in other formats and the verb convert: labels survive, losses are named."""

import re
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from sscha_mlp.cli import run_command
from sscha_mlp.data.attached import attached_labels
from sscha_mlp.data.cfg import read_cfg, write_cfg
from sscha_mlp.data.extxyz import read_extxyz
from sscha_mlp.data.formats import read_any, write_any
from sscha_mlp.data.labels import Label, LabelledConfiguration
from sscha_mlp.errors import InputError, StructureError

VASP = Path(ase.__file__).parent / "test" / "testdata" / "vasp"


def alloy(seed: int = 0) -> Atoms:
    """Gold and copper, mixed, with labels from EMT."""
    atoms = bulk("Cu", a=3.7).repeat((2, 2, 1))
    atoms.symbols = ["Au", "Cu", "Au", "Cu"]
    atoms.rattle(0.1, seed=seed)
    atoms.calc = EMT()
    atoms.calc = SinglePointCalculator(
        atoms,
        energy=atoms.get_potential_energy(),
        forces=atoms.get_forces(),
        stress=atoms.get_stress(),
    )
    return atoms


def assert_same_labels(one: Atoms, other: Atoms) -> None:
    first, second = attached_labels(one), attached_labels(other)
    assert set(first) == set(second) == {"energy", "forces", "stress"}
    for name, value in first.items():
        assert np.array_equal(value, second[name])


# --- formats ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.cfg", "a.xyz", "a.extxyz", "a.traj", "a.json"])
def test_labels_survive_where_the_format_holds_them(name, tmp_path):
    frames = [alloy(seed) for seed in range(3)]
    written = write_any(tmp_path / name, frames)
    assert written.left_out == ()
    assert written.n_configs == 3
    read = read_any(tmp_path / name)
    for one, other in zip(frames, read, strict=True):
        assert np.array_equal(one.positions, other.positions)
        assert_same_labels(one, other)


def test_cfg_to_extxyz_and_back_loses_no_bit(tmp_path):
    frames = [alloy(seed) for seed in range(3)]
    for i, atoms in enumerate(frames):
        atoms.info |= {"EFS_by": "VASP", "n": i, "temperature": 300.0, "config_type": "round-1"}
        atoms.set_array("nbh_grades", np.arange(4) / 3.0)
    write_cfg(tmp_path / "a.cfg", frames)
    write_any(tmp_path / "a.xyz", read_any(tmp_path / "a.cfg"))
    write_any(tmp_path / "b.cfg", read_any(tmp_path / "a.xyz"))
    assert (tmp_path / "a.cfg").read_bytes() == (tmp_path / "b.cfg").read_bytes()
    assert read_extxyz(tmp_path / "a.xyz")[0].origin == "round-1"


def test_labelled_configurations_are_written_too(tmp_path):
    label = Label(1.0, np.ones((2, 3)), np.eye(3))
    one = LabelledConfiguration(bulk("Si"), label, temperature=5.0, origin="start")
    assert write_any(tmp_path / "a.cfg", [one]).left_out == ()
    (read,) = read_any(tmp_path / "a.cfg")
    assert (read.info["temperature"], read.info["config_type"]) == (5.0, "start")


def test_parts_of_a_label_go_into_extxyz(tmp_path):
    atoms = bulk("Si")
    atoms.calc = SinglePointCalculator(atoms, forces=np.full((2, 3), 1.0 / 3.0))
    assert write_any(tmp_path / "a.xyz", [atoms]).left_out == ()
    assert np.array_equal(read_any(tmp_path / "a.xyz")[0].get_forces(), atoms.get_forces())


def test_a_virial_of_another_code_is_a_stress(tmp_path):
    (tmp_path / "a.xyz").write_text(
        '1\nLattice="2 0 0 0 2 0 0 0 2" Properties=species:S:1:pos:R:3 '
        'virial="8 0 0 0 16 0 0 0 24" pbc="T T T"\nAr 0 0 0\n'
    )
    (read,) = read_any(tmp_path / "a.xyz")
    assert np.allclose(read.get_stress(), [-1.0, -2.0, -3.0, 0.0, 0.0, 0.0])


def test_a_poscar_groups_elements_and_says_what_it_loses(tmp_path):
    written = write_any(tmp_path / "POSCAR", [alloy()], species=["Cu", "Au"])
    assert written.left_out == ("energy", "forces", "stress", "the order of the atoms")
    (read,) = read_any(tmp_path / "POSCAR")
    assert read.get_chemical_symbols() == ["Cu", "Cu", "Au", "Au"]
    assert np.allclose(read.positions, alloy().positions[[1, 3, 0, 2]], rtol=0.0, atol=1e-15)


def test_several_poscars_are_numbered_files(tmp_path):
    frames = [alloy(seed) for seed in range(11)]
    with pytest.raises(InputError, match=r"holds one configuration, and there are 11; .*\{\}"):
        write_any(tmp_path / "POSCAR", frames)
    assert not (tmp_path / "POSCAR").exists()
    written = write_any(tmp_path / "run" / "POSCAR-{}", frames)
    assert [path.name for path in written.paths] == [f"POSCAR-{i:02d}" for i in range(11)]
    assert all(path.is_file() for path in written.paths)


def test_lammps_data_keeps_the_types_and_says_that_it_rotates(tmp_path):
    atoms = alloy()
    written = write_any(tmp_path / "a.data", [atoms], species=["Cu", "Au"])
    assert written.species == ("Cu", "Au")
    assert "the orientation of the cell (it is rotated)" in written.left_out
    (read,) = read_any(tmp_path / "a.data")
    assert read.get_chemical_symbols() == ["Au", "Cu", "Au", "Cu"]
    assert read.info["species"] == "Cu,Au"
    assert np.allclose(read.get_all_distances(mic=True), atoms.get_all_distances(mic=True))
    assert write_any(tmp_path / "b.cfg", [read]).species == ("Cu", "Au")


def test_lammps_data_without_masses_asks_for_the_elements(tmp_path):
    path = tmp_path / "a.data"
    ase.io.write(path, alloy(), format="lammps-data", specorder=["Cu", "Au"])
    with pytest.raises(InputError, match="neither Masses nor type labels"):
        read_any(path)
    (read,) = read_any(path, species=["Cu", "Au"])
    assert read.get_chemical_symbols() == ["Au", "Cu", "Au", "Cu"]


def test_what_is_left_out_is_named(tmp_path):
    atoms = alloy()
    atoms.set_constraint(FixAtoms([0]))
    atoms.set_initial_charges([1, -1, 1, -1])
    atoms.info["table"] = {"not": "a scalar"}
    left_out = write_any(tmp_path / "a.cfg", [atoms]).left_out
    assert set(left_out) >= {"constraints", "initial_charges", "table"}


def outcar_row(text: str, name: str) -> np.ndarray:
    """The row of the stress that VASP prints, in the order of Voigt."""
    row = re.findall(rf"^  {name} (.*)$", text, flags=re.MULTILINE)[-1].split()
    xx, yy, zz, xy, yz, zx = (float(word) for word in row)
    return np.array([xx, yy, zz, yz, zx, xy])


@pytest.mark.skipif(not (VASP / "OUTCAR_example_1").is_file(), reason="ASE without its test data")
def test_an_outcar_keeps_its_labels_with_their_signs(tmp_path):
    """VASP prints -V * stress in eV in its row Total: the same numbers as PlusStress."""
    path = VASP / "OUTCAR_example_1"
    written = write_any(tmp_path / "a.cfg", read_any(path))
    assert "the energy without smearing" in written.left_out
    text = (tmp_path / "a.cfg").read_text()
    plus_stress = [float(word) for word in text.split("PlusStress:")[1].split("\n")[1].split()]
    assert np.allclose(plus_stress, outcar_row(path.read_text(), "Total"), atol=2.0e-4)
    energy = re.findall(r"free  energy   TOTEN  = +(\S+) eV", path.read_text())[-1]
    assert read_cfg(tmp_path / "a.cfg")[-1].get_potential_energy() == float(energy)


@pytest.mark.skipif(not (VASP / "vasprun_pstress.xml").is_file(), reason="ASE without test data")
def test_a_vasprun_is_read_and_not_written(tmp_path):
    (read,) = read_any(VASP / "vasprun_pstress.xml")
    assert set(attached_labels(read)) == {"energy", "forces", "stress"}
    for name in ("vasprun.xml", "OUTCAR"):
        with pytest.raises(InputError, match="only read, not written"):
            write_any(tmp_path / name, [read])


def test_bad_requests_name_the_way_out(tmp_path):
    write_any(tmp_path / "a.xyz", [alloy()])
    with pytest.raises(StructureError, match="does not exist"):
        read_any(tmp_path / "b.xyz")
    with pytest.raises(InputError, match=r"index 3; it holds 1"):
        read_any(tmp_path / "a.xyz", index="3")
    with pytest.raises(InputError, match="There is no configuration to write"):
        write_any(tmp_path / "b.xyz", [])
    with pytest.raises(InputError, match="do not list Cu"):
        write_any(tmp_path / "b.xyz", [alloy()], species=["Au"])
    with pytest.raises(InputError, match="'nonsense' is not known; give cfg"):
        read_any(tmp_path / "a.xyz", file_format="nonsense")
    with pytest.raises(InputError, match="cannot be written as vasp: Lattice vectors"):
        write_any(tmp_path / "POSCAR", [Atoms("H")])


# --- the verb -----------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_cfg("a.cfg", [alloy(0), alloy(1)])
    write_any("plain.xyz", [bulk("Si")])
    text = "\n".join(
        line for line in Path("a.cfg").read_text().split("\n") if "species" not in line
    )
    Path("typed.cfg").write_text(text)
    Path("truncated.cfg").write_text(text[: len(text) // 3])
    Path("nan.cfg").write_text(re.sub(r"^    1 0 \S+", "    1 0 nan", text, flags=re.MULTILINE))
    Path("stress.cfg").write_text(text.replace("PlusStress", "Stress"))
    Path("binary.cfg").write_bytes(bytes(range(256)))
    Path("empty.cfg").write_text("")
    Path("prose.vasp").write_text("this is not a crystal\n")
    Path("prose.xml").write_text("<no")
    Path("vasprun.xml").write_text("<modeling></modeling>")
    Path("OUTCAR").write_text("nothing\n")
    Path("a.data").write_text("LAMMPS\n\n1 atoms\n\nMasses\n\n1 28\n\nAtoms\n\n1 1 0 0\n")
    Path("a.what").write_text("?")
    return tmp_path


def convert(*arguments: str) -> int:
    return run_command(["convert", *arguments])


def test_one_line_says_what_was_done(here, capsys):
    assert convert("a.cfg", "a.cfg", "--out", "b.xyz") == 0
    said = capsys.readouterr().err.strip()
    assert said == "4 configurations of 4 atoms, labelled with energy, forces, stress: b.xyz"
    assert convert("b.xyz", "plain.xyz", "--out", "c.cfg", "--species", "Cu,Si,Au") == 0
    said = capsys.readouterr().err.strip()
    assert "5 configurations of 2 to 4 atoms" in said
    assert "energy in 4, forces in 4, stress in 4" in said
    assert "types 0 Cu, 1 Si, 2 Au" in said
    assert convert("plain.xyz", "--out", "POSCAR") == 0
    assert capsys.readouterr().err.strip() == "1 configuration of 2 atoms, not labelled: POSCAR"


def test_index_format_and_species_are_taken(here, capsys):
    assert convert("a.cfg", "--index", "-1", "--out", "last", "--to", "poscar") == 0
    assert "left out: energy, forces, stress" in capsys.readouterr().err
    (read,) = read_any("last", file_format="poscar")
    assert np.allclose(np.sort(read.positions, axis=0), np.sort(alloy(1).positions, axis=0))
    assert convert("typed.cfg", "--from", "mlip", "--species", "Au,Cu", "--out", "b.cfg") == 0
    assert Path("b.cfg").read_bytes() == Path("a.cfg").read_bytes()
    assert convert("a.cfg", "--out", "new/POSCAR-{}") == 0
    assert sorted(path.name for path in Path("new").iterdir()) == ["POSCAR-0", "POSCAR-1"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.cfg"], "does not exist"),
        (["."], "is a directory"),
        (["typed.cfg"], "give the species in the order of the types"),
        (["typed.cfg", "--species", "Au"], "list all of them"),
        (["typed.cfg", "--species", "gold"], "no chemical symbol"),
        (["typed.cfg", "--species", ""], "list each element once"),
        (["truncated.cfg", "--species", "Au,Cu"], "truncated.cfg, line"),
        (["nan.cfg", "--species", "Au,Cu"], "cartes_x is 'nan'"),
        (["stress.cfg", "--species", "Au,Cu"], "write PlusStress"),
        (["binary.cfg"], "is not text"),
        (["empty.cfg"], "no configuration"),
        (["prose.vasp"], "cannot be read as vasp"),
        (["prose.xml"], "name it"),
        (["vasprun.xml"], "vasprun.xml"),
        (["OUTCAR"], "OUTCAR"),
        (["a.data"], "cannot be read as lammps-data"),
        (["a.what"], "format"),
        (["a.cfg", "--from", "atomeye"], "cannot be read as atomeye"),
        (["a.cfg", "--from", "nonsense"], "'nonsense' is not known"),
        (["a.cfg", "--to", "outcar"], "only read"),
        (["a.cfg", "--to", "poscar"], "holds one configuration"),
        (["a.cfg", "--index", "first"], "such as -1 or ::10"),
        (["a.cfg", "--index", "7"], "it holds 2"),
        (["a.cfg", "--index", "5:"], "no configuration"),
        (["a.cfg", "--species", "Cu"], "do not list Au"),
        ([], "Missing argument"),
    ],
)
def test_wrong_input_is_one_sentence_and_status_2(arguments, words, here, capsys):
    assert convert(*arguments, "--out", "out.xyz") == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("sscha-mlp: error: ")
    assert "\n" not in error
    assert words in error
    assert not Path("out.xyz").exists()


def test_a_name_without_a_format_is_asked_for(here, capsys):
    assert convert("a.cfg", "--out", "out.foo") == 2
    assert "is not known from its name; name it" in capsys.readouterr().err
