"""MLIP's .cfg: nothing is lost, signs are ASE's, other readers agree, damage is one sentence."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from sscha_mlp.data.attached import attached_labels
from sscha_mlp.data.cfg import (
    read_cfg,
    read_labelled_cfg,
    species_order,
    write_cfg,
)
from sscha_mlp.data.labels import Label, LabelledConfiguration
from sscha_mlp.errors import InputError, StructureError


def labelled(seed: int, **options) -> LabelledConfiguration:
    """Two elements, a skewed cell, and numbers of all sizes."""
    rng = np.random.default_rng(seed)
    atoms = bulk("SiC", "zincblende", a=4.36).repeat((2, 1, 1))
    atoms.set_cell(atoms.cell.array + rng.normal(scale=0.1, size=(3, 3)), scale_atoms=True)
    atoms.positions += rng.normal(scale=0.1, size=(4, 3))
    stress = rng.normal(size=(3, 3)) * 10.0 ** rng.integers(-12, 3)
    forces = rng.normal(size=(4, 3)) * 10.0 ** rng.integers(-20, 3, size=(4, 3))
    return LabelledConfiguration(
        atoms, Label(rng.normal() * 1.0e4, forces, stress + stress.T), **options
    )


def copper(a: float = 3.4) -> Atoms:
    """Copper and gold with labels from EMT; a is short of 3.6 Å, so they push outwards."""
    atoms = bulk("Cu", cubic=True, a=a)
    atoms.symbols[1] = "Au"
    atoms.rattle(0.05, seed=1)
    atoms.calc = EMT()
    for compute in (atoms.get_potential_energy, atoms.get_forces, atoms.get_stress):
        compute()
    return atoms


GOOD = """\
BEGIN_CFG
 Size
    2
 Supercell
    4.0 0.0 0.0
    0.0 4.0 0.0
    0.0 0.0 4.0
 AtomData:  id type cartes_x cartes_y cartes_z fx fy fz
    1 0 0.0 0.0 0.0 0.1 0.2 0.3
    2 1 2.0 2.0 2.0 -0.1 -0.2 -0.3
 Energy
    -7.5
 PlusStress:  xx yy zz yz xz xy
    64.0 32.0 16.0 8.0 4.0 2.0
 Feature   EFS_by\tVASP
 Feature   mindist\t2.400000
END_CFG

"""


@pytest.fixture
def file(tmp_path):
    """Write text as a.cfg and return its path."""

    def write(text: str) -> Path:
        (tmp_path / "a.cfg").write_text(text)
        return tmp_path / "a.cfg"

    return write


# --- round trips --------------------------------------------------------------------------


def test_labelled_configurations_come_back_exactly(tmp_path):
    written = [
        labelled(0, temperature=2000.0, displacement_rms=0.1 / 3.0, origin="round-1"),
        labelled(1, temperature=0.0, origin="check-2.b_c"),
        *(labelled(seed) for seed in range(2, 40)),
    ]
    write_cfg(tmp_path / "a.cfg", written)
    read = read_labelled_cfg(tmp_path / "a.cfg")
    assert len(read) == len(written)
    for one, other in zip(written, read, strict=True):
        assert one.key == other.key
        assert np.array_equal(one.atoms.positions, other.atoms.positions)
        assert np.array_equal(one.atoms.cell.array, other.atoms.cell.array)
        assert one.label.energy == other.label.energy
        assert np.array_equal(one.label.forces, other.label.forces)
        assert np.array_equal(one.label.stress, other.label.stress)
        for name in ("temperature", "displacement_rms", "origin"):
            assert getattr(one, name) == getattr(other, name)


def test_atoms_with_all_that_the_format_holds(tmp_path):
    atoms = copper()
    rng = np.random.default_rng(0)
    for name in ("site_en", "charge", "nbh_grades"):
        atoms.set_array(name, rng.normal(size=4))
    told = {"EFS_by": "VASP", "n": 3, "grade": 1.5e-7, "a key": "two words", "yes": True}
    told["lines"] = "first\nsecond"
    atoms.info |= told
    before = atoms.copy()
    write_cfg(tmp_path / "a.cfg", [atoms])
    (read,) = read_cfg(tmp_path / "a.cfg")

    assert read == atoms
    assert read.info == told | {"species": "Cu,Au"}
    assert read.get_potential_energy() == atoms.get_potential_energy()
    assert np.array_equal(read.get_forces(), atoms.get_forces())
    assert np.array_equal(read.get_stress(), atoms.get_stress())
    for name in ("site_en", "charge", "nbh_grades"):
        assert np.array_equal(read.arrays[name], before.arrays[name])
    assert before == atoms
    assert atoms.info == before.info


def test_a_second_round_trip_writes_the_same_file(tmp_path):
    write_cfg(tmp_path / "a.cfg", [labelled(seed, temperature=300.0) for seed in range(5)])
    write_cfg(tmp_path / "b.cfg", read_cfg(tmp_path / "a.cfg"))
    assert (tmp_path / "a.cfg").read_bytes() == (tmp_path / "b.cfg").read_bytes()


@pytest.mark.parametrize("moments", [[2.3, -1.0], [[0.1, 0.2, 0.3], [0.0, 0.0, 1.0]]])
def test_magnetic_moments(moments, tmp_path):
    atoms = bulk("Si")
    atoms.set_initial_magnetic_moments(moments)
    write_cfg(tmp_path / "a.cfg", [atoms])
    (read,) = read_cfg(tmp_path / "a.cfg")
    assert np.array_equal(read.get_initial_magnetic_moments(), moments)


@pytest.mark.parametrize("pbc", [(True, True, False), (False, True, True), (False, False, False)])
def test_directions_that_are_not_periodic(pbc, tmp_path):
    atoms = labelled(0).atoms.copy()
    atoms.pbc = pbc
    atoms.calc = SinglePointCalculator(atoms, energy=1.0, stress=np.arange(6.0) / 7.0)
    write_cfg(tmp_path / "a.cfg", [atoms])
    (read,) = read_cfg(tmp_path / "a.cfg")
    assert read == atoms
    assert np.array_equal(read.get_stress(), atoms.get_stress())


def test_parts_of_a_label_and_none(tmp_path):
    forces_only, energy_only, stale = bulk("Si"), bulk("Si"), copper()
    forces_only.calc = SinglePointCalculator(forces_only, forces=np.ones((2, 3)))
    energy_only.calc = SinglePointCalculator(energy_only, energy=2.0)
    stale.positions[0] += 0.1
    write_cfg(tmp_path / "a.cfg", [forces_only, energy_only, stale])
    read = read_cfg(tmp_path / "a.cfg")
    assert [set(attached_labels(one)) for one in read] == [{"forces"}, {"energy"}, set()]
    with pytest.raises(InputError, match=r"Configuration 0 of .* no energy and no stress"):
        read_labelled_cfg(tmp_path / "a.cfg")


def test_the_energy_is_the_one_of_the_forces(tmp_path):
    atoms = bulk("Si")
    atoms.calc = SinglePointCalculator(atoms, energy=1.0, free_energy=2.0)
    write_cfg(tmp_path / "a.cfg", [atoms])
    assert read_cfg(tmp_path / "a.cfg")[0].get_potential_energy() == 2.0


# --- signs and units ----------------------------------------------------------------------


def test_plus_stress_is_positive_under_compression(tmp_path):
    """PlusStress is -V * stress, in eV: minus the derivative of the energy by the strain."""
    atoms = copper(a=3.4)
    write_cfg(tmp_path / "a.cfg", [atoms])
    lines = (tmp_path / "a.cfg").read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if "PlusStress" in line)
    names, values = lines[at].split()[1:], [float(word) for word in lines[at + 1].split()]

    def energy(strain):
        strained = atoms.copy()
        strained.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
        strained.calc = EMT()
        return strained.get_potential_energy()

    assert names == ["xx", "yy", "zz", "yz", "xz", "xy"]
    assert min(values[:3]) > 0.0
    for name, value in zip(names, values, strict=True):
        strain = np.zeros((3, 3))
        strain["xyz".index(name[0]), "xyz".index(name[1])] = 1.0e-5
        strain = 0.5 * (strain + strain.T)
        derivative = (energy(strain) - energy(-strain)) / 2.0e-5
        assert value == pytest.approx(-derivative, abs=1.0e-4)


def test_stress_of_a_file_of_mlip(file):
    (read,) = read_cfg(file(GOOD), species=["Si", "Ge"])
    assert np.array_equal(read.get_stress(), -np.array([64, 32, 16, 8, 4, 2]) / 64.0)
    assert read.get_chemical_symbols() == ["Si", "Ge"]
    assert read.info == {"EFS_by": "VASP", "mindist": 2.4, "species": "Si,Ge"}


def test_virial_is_divided_by_the_volume_first(file):
    (read,) = read_cfg(file(GOOD.replace("PlusStress", "Virial")), species=["Si", "Ge"])
    assert np.allclose(read.get_stress(), -np.array([64, 32, 16, 8, 4, 2]) / 64.0**2)


def test_plain_stress_is_refused(file):
    with pytest.raises(StructureError, match=r"a\.cfg, line 13: .*sign is ambiguous; write Plus"):
        read_cfg(file(GOOD.replace("PlusStress", "Stress")), species=["Si", "Ge"])


def test_stress_columns_in_any_order(file):
    text = GOOD.replace("xx yy zz yz xz xy", "xy xx yy zz xz yz").replace(
        "64.0 32.0 16.0 8.0 4.0 2.0", "2 64 32 16 4 8"
    )
    (read,) = read_cfg(file(text), species=["Si", "Ge"])
    assert np.array_equal(read.get_stress(), -np.array([64, 32, 16, 8, 4, 2]) / 64.0)


# --- files of other codes -----------------------------------------------------------------


def test_ids_and_columns_in_any_order_and_direct_coordinates(file):
    text = """\
BEGIN_CFG
 Size 3
 SuperCell
    2 0 0
    1 4 0
    0 0 8
 AtomData: type nbh_grades direct_z direct_y direct_x id
    1 0.3 0.5 0.0 0.0 3
    0 0.1 0.0 0.0 0.5 1

    0 0.2 0.0 0.5 0.0 2
 Energy -3.25
 Features: a b
    1 x
END_CFG"""
    (read,) = read_cfg(file(text), species=["Si", "Ge"])
    assert read.get_chemical_symbols() == ["Si", "Si", "Ge"]
    assert np.allclose(read.positions, [[1, 0, 0], [0.5, 2, 0], [0, 0, 4]])
    assert np.array_equal(read.arrays["nbh_grades"], [0.1, 0.2, 0.3])
    assert read.get_potential_energy() == -3.25
    assert (read.info["a"], read.info["b"]) == (1, "x")


@pytest.mark.parametrize("n_vectors", [0, 1, 2, 3])
def test_the_supercell_says_what_is_periodic(n_vectors, file):
    vectors = GOOD.splitlines()[4:7]
    text = GOOD.replace("\n".join(vectors), "\n".join(vectors[:n_vectors]))
    text = text.replace(" Supercell\n\n", "").replace("\n\n AtomData", "\n AtomData")
    (read,) = read_cfg(file(text), species=["Si", "Ge"])
    assert read.pbc.tolist() == [i < n_vectors for i in range(3)]
    assert set(attached_labels(read)) >= {"energy", "forces"}
    assert ("stress" in attached_labels(read)) == (n_vectors == 3)
    assert ("PlusStress" in read.info) == (n_vectors < 3)


def test_ghosts_and_unknown_types_default_to_the_first(file):
    text = (
        "BEGIN_CFG\n Size\n 1\n AtomData: cartes_x cartes_y cartes_z ghost\n 1 2 3 true\nEND_CFG\n"
    )
    (read,) = read_cfg(file(text), species=["Si"])
    assert read.get_chemical_symbols() == ["Si"]
    assert read.arrays["ghost"].tolist() == [True]


def test_an_empty_file_holds_no_configuration(file):
    assert read_cfg(file("\n")) == ()


# --- species ------------------------------------------------------------------------------


def test_the_file_carries_its_elements(tmp_path):
    atoms = bulk("SiC", "zincblende", a=4.36)
    write_cfg(tmp_path / "a.cfg", [atoms], species=["C", "Ge", "Si"])
    assert " Feature   species\tC,Ge,Si\n" in (tmp_path / "a.cfg").read_text()
    (read,) = read_cfg(tmp_path / "a.cfg", species=["H"])  # what the file says goes first
    assert read.get_chemical_symbols() == ["Si", "C"]
    assert species_order([read]) == ("C", "Ge", "Si")


def test_types_follow_the_first_appearance(tmp_path):
    assert species_order([bulk("Ge"), bulk("SiC", "zincblende", a=4.4)]) == ("Ge", "Si", "C")


def test_unknown_elements_are_asked_for(file):
    with pytest.raises(InputError, match=r"line 1: .* type 0, 1 and nothing says .* give the spec"):
        read_cfg(file(GOOD))
    with pytest.raises(InputError, match=r"type 1, but the species Si end at type 0"):
        read_cfg(file(GOOD), species=["Si"])
    with pytest.raises(InputError, match="'Xy' is no chemical symbol"):
        read_cfg(file(GOOD), species=["Si", "Xy"])
    with pytest.raises(StructureError, match="species is 'silicon'; it must list elements"):
        read_cfg(file(GOOD.replace("EFS_by\tVASP", "species\tsilicon")))


# --- what cannot be read or written --------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("BEGIN_CFG\n", "BEGIN\n", "line 1: 'BEGIN' where BEGIN_CFG should be"),
        ("END_CFG\n\n", "", "line 16: the file ends where END_CFG should be; it is truncated"),
        ("    2\n", "    two\n", "line 3: Size is 'two'; it must be the number of atoms"),
        ("    2\n", "    -1\n", "line 3: Size is '-1'"),
        ("    2\n", "    3\n", "line 11: 1 values where atom 3 of 3 should have 8"),
        ("    2\n", "    1\n", "line 10: unknown field '2'; correct it, or the Size above it"),
        (" Size\n    2\n", "", "AtomData comes before Size"),
        ("4.0 0.0 0.0", "4.0 0.0", "line 5: a vector of the Supercell has 2 numbers; it needs 3"),
        ("4.0 0.0 0.0", "4.0 0.0 nan", "line 5: the Supercell is 'nan'"),
        ("4.0 0.0 0.0", "0.0 0.0 0.0", "PlusStress"),
        ("0.0 4.0 0.0", "4.0 0.0 0.0", "line 1: the cell has no volume"),
        ("fx fy fz", "fx fy speed", "line 8: unknown column 'speed' in AtomData; MLIP has id, "),
        ("cartes_x", "cartes_y", "line 8: a column appears twice"),
        ("fx fy fz", "fx fy charge", "line 8: AtomData has no column fz beside"),
        ("cartes_x cartes_y cartes_z", "site_en charge nbh_grades", "AtomData needs positions"),
        ("2.0 2.0 2.0", "2.0 NaN 2.0", "line 10: cartes_y is 'NaN'; it must be a finite number"),
        ("2.0 2.0 2.0", "2.0 2.O 2.0", "line 10: cartes_y is '2.O'"),
        ("-0.1 -0.2 -0.3", "-0.1 -0.2", "line 10: 7 values where atom 2 of 2 should have 8"),
        ("    2 1 2.0", "    2 -1 2.0", "line 10: type is '-1'; it must be a whole number"),
        ("    2 1 2.0", "    1 1 2.0", "the id 1 appears twice"),
        ("    -7.5", "    inf", "line 12: Energy is 'inf'"),
        ("yz xz xy", "yz xz yx", "line 13: PlusStress: names xx yy zz yz xz yx; it must name"),
        ("8.0 4.0 2.0", "8.0 4.0", "line 14: PlusStress: has 5 numbers; it needs 6"),
        ("8.0 4.0 2.0", "8.0 4.0 nan", "line 14: PlusStress: xy is 'nan'"),
        ("EFS_by\tVASP", "", "line 15: a Feature has no key"),
        (" Energy", " Enthalpy", "line 11: unknown field 'Enthalpy'"),
        ("END_CFG\n\n", "BEGIN_CFG\n", "the configuration from line 1 has no END_CFG"),
    ],
)
def test_damage_is_named_with_file_and_line(old, new, message, file):
    assert old in GOOD
    path = file(GOOD.replace(old, new, 1))
    if message == "PlusStress":  # a zero vector is a direction that is not periodic
        assert message in read_cfg(path, species=["Si", "Ge"])[0].info
        return
    with pytest.raises(InputError) as caught:
        read_cfg(path, species=["Si", "Ge"])
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def read_or_sentence(path: Path) -> tuple[Atoms, ...] | str:
    try:
        return read_cfg(path, species=["Si", "Ge"])
    except InputError as err:
        return " ".join(str(err).splitlines())


def test_every_truncation_is_an_error_or_shorter(file):
    text = GOOD * 2
    for length in range(1, len(text) - 1):
        read = read_or_sentence(file(text[:length]))
        assert isinstance(read, str) or len(read) < 2 or text[:length].rstrip() == text.rstrip()


def test_noise_never_ends_in_a_traceback(file):
    rng = np.random.default_rng(0)
    for _ in range(300):
        text = list(GOOD)
        for at in rng.integers(len(text), size=3):
            text[at] = rng.choice(list(" \n0a.-\tN"))
        read_or_sentence(file("".join(text)))


def test_files_that_are_none(tmp_path):
    with pytest.raises(StructureError, match="does not exist"):
        read_cfg(tmp_path / "missing.cfg")
    with pytest.raises(StructureError, match="is a directory"):
        read_cfg(tmp_path)
    (tmp_path / "binary.cfg").write_bytes(b"n\xff\xfe\x00")
    with pytest.raises(StructureError, match="is not text"):
        read_cfg(tmp_path / "binary.cfg")


def test_what_cannot_be_written(tmp_path):
    path = tmp_path / "a.cfg"
    with pytest.raises(InputError, match=r"Configuration 1 .* holds C, which the species Si do"):
        write_cfg(path, [bulk("Si"), bulk("C")], species=["Si"])
    broken = bulk("Si")
    broken.positions[0, 0] = np.nan
    with pytest.raises(InputError, match="positions holds NaN"):
        write_cfg(path, [broken])
    broken = Atoms("H", cell=[1, 1, np.inf])
    broken.calc = SinglePointCalculator(broken, stress=np.zeros(6))
    with pytest.raises(InputError, match="cell holds NaN or infinity"):
        write_cfg(path, [broken])
    with pytest.raises(InputError, match="periodic along a cell vector that is zero"):
        write_cfg(path, [Atoms("H", pbc=True)])
    with pytest.raises(InputError, match="repetitions"):
        write_cfg(path, [bulk("Si")], species=["Si", "Si"])
    assert not path.exists()


# --- a second reader ----------------------------------------------------------------------


def test_motep_reads_what_we_write(tmp_path):
    cfg = pytest.importorskip("motep.io.mlip.cfg")
    written = [labelled(seed, temperature=300.0, origin="round-1") for seed in range(5)]
    write_cfg(tmp_path / "a.cfg", written, species=["Si", "C"])
    read = cfg.read_cfg(tmp_path / "a.cfg", index=":", species=["Si", "C"])
    for one, atoms in zip(written, read, strict=True):
        assert np.array_equal(atoms.positions, one.atoms.positions)
        assert np.array_equal(atoms.cell.array, one.atoms.cell.array)
        assert np.array_equal(atoms.numbers, one.atoms.numbers)
        assert atoms.get_potential_energy() == one.label.energy
        assert np.array_equal(atoms.get_forces(), one.label.forces)
        assert np.allclose(atoms.get_stress(voigt=False), one.label.stress, rtol=1e-14, atol=0.0)
        assert atoms.info["temperature"] == 300.0
        assert (atoms.info["species"], atoms.info["config_type"]) == ("Si,C", "round-1")


def test_we_read_what_motep_writes(tmp_path):
    cfg = pytest.importorskip("motep.io.mlip.cfg")
    atoms = copper()
    cfg.write_cfg(tmp_path / "a.cfg", [atoms], species=["Au", "Cu"])
    (read,) = read_cfg(tmp_path / "a.cfg", species=["Au", "Cu"])
    assert np.array_equal(read.numbers, atoms.numbers)
    assert np.allclose(read.positions, atoms.positions, atol=1.0e-6)
    assert np.allclose(read.get_forces(), atoms.get_forces(), atol=1.0e-6)
    assert np.allclose(read.get_stress(), atoms.get_stress(), atol=1.0e-6)
