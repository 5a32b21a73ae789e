"""Data sets without overlap, and extended XYZ that loses nothing."""

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from sscha_mlp.data import (
    Dataset,
    Label,
    LabelledConfiguration,
    configuration_key,
    read_configurations,
    read_extxyz,
    write_extxyz,
)
from sscha_mlp.data.attached import attached_labels
from sscha_mlp.data.formats import read_any, write_any
from sscha_mlp.data.outputs import read_outputs
from sscha_mlp.errors import InputError, StructureError


def configuration(seed: int, **options) -> LabelledConfiguration:
    rng = np.random.default_rng(seed)
    atoms = bulk("SiC", "zincblende", a=4.36).repeat((2, 1, 1))
    atoms.positions += rng.normal(scale=0.1, size=(4, 3))
    stress = rng.normal(size=(3, 3)) * 10.0 ** rng.integers(-12, 3)
    label = Label(rng.normal() * 1.0e4, rng.normal(size=(4, 3)), stress + stress.T)
    return LabelledConfiguration(atoms, label, **options)


def assert_same(first: LabelledConfiguration, second: LabelledConfiguration) -> None:
    assert first.key == second.key
    assert np.array_equal(first.atoms.positions, second.atoms.positions)
    assert np.array_equal(first.atoms.cell.array, second.atoms.cell.array)
    assert np.array_equal(first.atoms.pbc, second.atoms.pbc)
    assert first.label.energy == second.label.energy
    assert np.array_equal(first.label.forces, second.label.forces)
    assert np.array_equal(first.label.stress, second.label.stress)
    for name in ("temperature", "displacement_rms", "origin"):
        assert getattr(first, name) == getattr(second, name)


def test_extxyz_round_trip_is_exact(tmp_path: Path):
    written = [
        configuration(0, temperature=2000.0, displacement_rms=0.1 / 3.0, origin="round-1"),
        configuration(1, temperature=0.0, origin="check-2.b_c"),
        configuration(2),
    ]
    write_extxyz(tmp_path / "a.xyz", written)
    read = read_extxyz(tmp_path / "a.xyz")
    assert len(read) == 3
    for one, other in zip(written, read, strict=True):
        assert_same(one, other)


def test_extxyz_of_one_atom_with_arrays(tmp_path: Path):
    atoms = Atoms("Fe", [[0.1, 0.2, 1.0 / 3.0]], cell=np.eye(3) * 2.4, pbc=[True, True, False])
    atoms.set_initial_magnetic_moments([2.3])
    atoms.set_tags([5])
    write_extxyz(
        tmp_path / "a.xyz",
        [LabelledConfiguration(atoms, Label(1.0, np.ones((1, 3)), np.zeros((3, 3))))],
    )
    (read,) = read_extxyz(tmp_path / "a.xyz")
    assert read.key == configuration_key(atoms)
    assert read.atoms.get_initial_magnetic_moments() == [2.3]
    assert read.atoms.get_tags() == [5]


def test_unlabelled_configurations(tmp_path: Path):
    atoms = [bulk("Si"), bulk("Cu").repeat(2)]
    atoms[1].rattle(0.1, seed=1)
    write_extxyz(tmp_path / "a.xyz", atoms)
    read = read_configurations(tmp_path / "a.xyz")
    assert [configuration_key(a) for a in read] == [configuration_key(a) for a in atoms]
    with pytest.raises(InputError, match=r"Configuration 0 of .*a\.xyz has no energy and no f"):
        read_extxyz(tmp_path / "a.xyz")


def test_ase_reads_what_we_write_with_its_own_sign(tmp_path: Path):
    written = configuration(3)
    write_extxyz(tmp_path / "a.xyz", [written])
    atoms = ase.io.read(tmp_path / "a.xyz")
    assert atoms.get_potential_energy() == written.label.energy
    assert np.array_equal(atoms.get_forces(), written.label.forces)
    assert np.array_equal(atoms.get_stress(voigt=False), written.label.stress)


def test_virial_of_another_code(tmp_path: Path):
    (tmp_path / "a.xyz").write_text(
        '1\nLattice="2 0 0 0 2 0 0 0 2" Properties=species:S:1:pos:R:3:forces:R:3 energy=-1 '
        'virial="8 0 0 0 16 0 0 0 24" pbc="T T T"\nAr 0 0 0 0 0 0\n'
    )
    (read,) = read_extxyz(tmp_path / "a.xyz")
    assert np.allclose(read.label.stress, -np.diag([1.0, 2.0, 3.0]))
    assert read.origin == "unknown"


TWO_ENERGIES = (
    '2\nLattice="0 2.7 2.7 2.7 0 2.7 2.7 2.7 0" Properties=species:S:1:pos:R:3:forces:R:3 '
    'energy=-9.1 free_energy=-9.2 stress="0.01 0 0 0 0.01 0 0 0 0.01" {} pbc="T T T"\n'
    "Si 0 0 0 0.5 0.1 0.2\nSi 1.40 1.36 1.36 -0.5 -0.1 -0.2\n"
)


def test_one_frame_has_one_energy_for_every_reader(tmp_path: Path):
    (tmp_path / "a.xyz").write_text(TWO_ENERGIES.format(""))
    (read,) = read_extxyz(tmp_path / "a.xyz")
    (same,) = read_any(tmp_path / "a.xyz")
    (output,) = read_outputs(tmp_path / "a.xyz")
    written = write_any(tmp_path / "a.cfg", [same], file_format="cfg")
    (converted,) = read_any(tmp_path / "a.cfg")
    assert read.label.energy == attached_labels(same)["energy"] == output.label.energy == -9.2
    assert attached_labels(converted)["energy"] == -9.2
    assert "the energy without smearing" in written.left_out


@pytest.mark.parametrize("virial", [0.3937, 0.394])
def test_stress_beside_the_same_virial(tmp_path: Path, virial: float):
    text = f'virial="{-virial} 0 0 0 {-virial} 0 0 0 {-virial}"'
    (tmp_path / "a.xyz").write_text(TWO_ENERGIES.format(text))
    (read,) = read_extxyz(tmp_path / "a.xyz")
    (same,) = read_any(tmp_path / "a.xyz")
    assert np.array_equal(read.label.stress, 0.01 * np.eye(3))
    assert np.array_equal(attached_labels(same)["stress"], 0.01 * np.eye(3))


@pytest.mark.parametrize("virial", [0.39366, -0.41, -63.07, 0.0])  # sign, size, GPa, none
def test_stress_and_virial_that_contradict(tmp_path: Path, virial: float):
    text = f'virial="{virial} 0 0 0 {virial} 0 0 0 {virial}"'
    (tmp_path / "a.xyz").write_text(TWO_ENERGIES.format(text))
    for reader in (read_extxyz, read_any, lambda path: list(read_outputs(path))):
        with pytest.raises(InputError, match=r"Configuration 0 of .*stress and virial contradict"):
            reader(tmp_path / "a.xyz")


def test_bad_files(tmp_path: Path):
    with pytest.raises(StructureError, match="does not exist"):
        read_extxyz(tmp_path / "missing.xyz")
    (tmp_path / "bad.xyz").write_text("two\nthree\n")
    with pytest.raises(StructureError, match="cannot be read as extended XYZ"):
        read_extxyz(tmp_path / "bad.xyz")
    (tmp_path / "nan.xyz").write_text(
        '1\nLattice="2 0 0 0 2 0 0 0 2" Properties=species:S:1:pos:R:3:forces:R:3 energy=-1 '
        'stress="0 0 0 0 0 0 0 0 0"\nAr 0 0 0 0 NaN 0\n'
    )
    with pytest.raises(InputError, match=r"Configuration 0 of .* forces holds NaN"):
        read_extxyz(tmp_path / "nan.xyz")
    (tmp_path / "empty.xyz").write_text("")
    assert read_extxyz(tmp_path / "empty.xyz") == ()


def test_sets_never_overlap():
    a, b, c = (configuration(seed) for seed in range(3))
    again = configuration(0)
    dataset = Dataset(train=(a,), test=(b,))
    assert dataset.counts == {"train": 1, "test": 1, "check": 0, "total": 2}
    for add in (dataset.with_train, dataset.with_test, dataset.with_check):
        with pytest.raises(InputError, match=r"train\[0\] and .* are the same"):
            add([again])
        assert add([c]).counts["total"] == 3
    assert dataset.counts["total"] == 2


def test_check_is_promoted():
    a, b, c = (configuration(seed) for seed in range(3))
    dataset = Dataset((a,), (b,)).with_check([c])
    promoted = dataset.promote_check()
    assert promoted.train == (a, c)
    assert promoted.test == (b,)
    assert promoted.check == ()
    assert dataset.check == (c,)


def test_dataset_round_trip(tmp_path: Path):
    a, b, c = (configuration(seed, origin="start") for seed in range(3))
    dataset = Dataset((a,), (b,), (c,))
    dataset.write(tmp_path / "dataset")
    read = Dataset.read(tmp_path / "dataset")
    assert read.counts == dataset.counts
    assert_same(read.check[0], c)
    dataset.promote_check().write(tmp_path / "dataset")
    assert Dataset.read(tmp_path / "dataset").counts == {
        "train": 2, "test": 1, "check": 0, "total": 3,
    }  # fmt: skip
    with pytest.raises(InputError, match="There is no data set in"):
        Dataset.read(tmp_path)


def test_interrupted_write_never_leaves_an_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    dataset = Dataset((configuration(0),), (), (configuration(1),))
    dataset.write(tmp_path)
    n_written = 0

    def write_two(path, configurations):
        nonlocal n_written
        n_written += 1
        if n_written == 3:
            raise KeyboardInterrupt
        write_extxyz(path, configurations)

    monkeypatch.setattr("sscha_mlp.data.dataset.write_extxyz", write_two)
    with pytest.raises(KeyboardInterrupt):
        dataset.promote_check().write(tmp_path)
    assert Dataset.read(tmp_path).counts["check"] == 0
