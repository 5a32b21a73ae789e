"""Labels, configurations and their content keys; atomic files."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixAtoms

from sscha_mlp.data import (
    Label,
    LabelledConfiguration,
    configuration_key,
    write_atomic,
    write_json_atomic,
)
from sscha_mlp.errors import InputError, SschaMlpError


def label(n_atoms: int = 2) -> Label:
    return Label(-1.5, np.full((n_atoms, 3), 0.25), np.eye(3))


def test_label_is_checked_and_read_only():
    forces = np.zeros((2, 3))
    made = Label(-1.0, forces, np.zeros((3, 3)))
    forces[0, 0] = 7.0
    assert made.forces[0, 0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        made.forces[0, 0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        made.stress[0, 0] = 1.0
    copy = pickle.loads(pickle.dumps(made))
    assert np.array_equal(copy.forces, made.forces)


@pytest.mark.parametrize(
    ("energy", "forces", "stress", "message"),
    [
        (np.nan, np.zeros((2, 3)), np.eye(3), "energy holds NaN or infinity"),
        ("high", np.zeros((2, 3)), np.eye(3), "energy cannot be read as numbers"),
        (0.0, np.full((2, 3), np.inf), np.eye(3), "forces holds NaN or infinity in 6 of 6"),
        (0.0, np.zeros((2, 2)), np.eye(3), r"forces have shape \(2, 2\)"),
        (0.0, np.zeros((2, 3)), np.zeros(6), r"stress has shape \(6,\); expected \(3, 3\)"),
        (0.0, np.zeros((2, 3)), np.triu(np.ones((3, 3))), "not symmetric"),
    ],
)
def test_bad_labels_are_refused(energy, forces, stress, message):
    with pytest.raises(InputError, match=message):
        Label(energy, forces, stress)


def test_labelled_configuration_keeps_a_clean_copy():
    atoms = bulk("Si")
    atoms.set_constraint(FixAtoms([0]))
    atoms.info["note"] = "mine"
    kept = LabelledConfiguration(atoms, label(), temperature=300.0, origin="round-1")
    atoms.positions += 1.0
    assert np.array_equal(kept.atoms.positions, bulk("Si").positions)
    assert not kept.atoms.constraints
    assert not kept.atoms.info
    assert atoms.constraints
    assert atoms.info
    assert kept.key == configuration_key(bulk("Si")) != configuration_key(atoms)
    with pytest.raises(ValueError, match="read-only"):
        kept.atoms.positions += 1.0
    kept.atoms.copy().positions += 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": label(3)}, "2 atoms has a label with forces on 3"),
        ({"temperature": -1.0}, "temperature of a configuration is -1.0"),
        ({"displacement_rms": np.nan}, "displacement_rms"),
        ({"origin": "two words"}, "must be one word"),
        ({"origin": ""}, "must be one word"),
        ({"origin": "T"}, "must be one word"),
    ],
)
def test_bad_configurations_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        LabelledConfiguration(**({"atoms": bulk("Si"), "label": label()} | changes))


def test_key_sees_what_decides_a_label_and_nothing_else():
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    key = configuration_key(atoms)
    same = atoms.copy()
    same.positions += 1.0e-10
    same.set_tags([1, 2])
    same.info["x"] = 1
    same.set_initial_magnetic_moments([0.0, 0.0])
    assert configuration_key(same) == key

    def changed(change) -> str:
        other = atoms.copy()
        change(other)
        return configuration_key(other)

    keys = {
        key,
        changed(lambda a: a.positions.__iadd__(1.0e-6)),
        changed(lambda a: a.set_cell(a.cell.array * (1.0 + 1.0e-6))),
        changed(lambda a: a.set_pbc([True, True, False])),
        changed(lambda a: a.set_atomic_numbers([11, 9])),
        changed(lambda a: a.set_initial_magnetic_moments([1.0, 0.0])),
        changed(lambda a: a.set_initial_charges([1.0, -1.0])),
    }
    assert len(keys) == 7
    minus_zero = atoms.copy()
    minus_zero.positions[0] = -0.0
    assert configuration_key(minus_zero) == key


def test_key_refuses_what_is_not_a_number():
    with pytest.raises(InputError, match="positions holds NaN"):
        configuration_key(Atoms("H", [[0.0, np.nan, 0.0]], cell=[1, 1, 1]))


def test_atomic_write(tmp_path: Path):
    path = tmp_path / "file.txt"
    write_atomic(path, "Å\n")
    assert path.read_bytes() == "Å\n".encode()
    path.chmod(0o640)
    write_atomic(path, b"second")
    assert path.read_text() == "second"
    assert path.stat().st_mode & 0o777 == 0o640
    write_json_atomic(tmp_path / "value.json", {"a": [1.0, "Å"]})
    assert json.loads((tmp_path / "value.json").read_text()) == {"a": [1.0, "Å"]}
    with pytest.raises(ValueError, match="JSON"):
        write_json_atomic(tmp_path / "value.json", {"a": float("nan")})
    assert {p.name for p in tmp_path.iterdir()} == {"file.txt", "value.json"}


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "file.txt"
    write_atomic(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SschaMlpError, match=r"file\.txt cannot be written \(No space left"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_write_into_a_missing_directory(tmp_path: Path):
    with pytest.raises(SschaMlpError, match="cannot be written"):
        write_atomic(tmp_path / "missing" / "file.txt", "text")
