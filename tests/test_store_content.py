"""The label store: duplicates by content, old files, quarantine, and the verb that looks at it."""

import contextlib
import json
import sqlite3
from pathlib import Path

import ase.db
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from test_store import copper, random_label, start

from sscha_mlp.calculators.compute import compute_label
from sscha_mlp.cli import run_command
from sscha_mlp.data import Label, configuration_key
from sscha_mlp.data.extxyz import read_extxyz
from sscha_mlp.data.matching import TOLERANCE, fingerprint, match
from sscha_mlp.errors import InputError
from sscha_mlp.reference import LabelStore, get_reference, label
from sscha_mlp.reference.index import State


def alloy(seed: int = 0, size: float = 0.1) -> Atoms:
    atoms = bulk("Cu", cubic=True, a=3.7).repeat((2, 2, 1))
    atoms.symbols[[1, 2, 6]] = "Au"
    atoms.positions += np.random.default_rng(seed).normal(scale=size, size=(len(atoms), 3))
    return atoms


def moved(atoms: Atoms, seed: int, *, noise: float = 0.0) -> Atoms:
    """The same configuration: another order, another origin, wrapped, rounded."""
    rng = np.random.default_rng(seed)
    other = atoms[rng.permutation(len(atoms))]
    other.positions += rng.uniform(-9.0, 9.0, 3)
    other.positions += rng.integers(-2, 3, size=(len(other), 3)) @ other.cell.array
    other.positions += rng.uniform(-noise, noise, size=(len(other), 3))
    if seed % 2:
        other.wrap()
    return other


@pytest.mark.parametrize("noise", [0.0, 0.3 * TOLERANCE])
def test_the_same_configuration_in_another_order_and_place_is_the_same_label(noise, tmp_path):
    """What comes back is what the potential would have said, atom by atom."""
    with LabelStore(tmp_path / "labels.db") as store:
        for seed in range(5):
            atoms = alloy(seed)
            store.put(atoms, "emt", compute_label(atoms, EMT()))
        for seed in range(5):
            for k in range(8):
                other = moved(alloy(seed), 10 * seed + k, noise=noise)
                assert configuration_key(other) != configuration_key(alloy(seed))
                (found,) = store.find([other], "emt")
                direct = compute_label(other, EMT())
                assert found is not None and not found.exact
                assert found.label.energy == pytest.approx(direct.energy, abs=1e-4)
                assert np.abs(found.label.forces - direct.forces).max() < 1e-4
                assert np.abs(found.label.stress - direct.stress).max() < 1e-5
                assert store.find([other], "another reference") == (None,)


def test_no_edge_of_a_bucket_is_missed():
    """Wherever the numbers lie, a configuration is found that differs by less than is allowed."""
    rng = np.random.default_rng(3)
    for seed in range(200):
        atoms = alloy(seed % 7)
        atoms.positions += rng.uniform(-1.0, 1.0, 3) * TOLERANCE
        other = moved(atoms, seed, noise=0.4 * TOLERANCE)
        one, two = fingerprint(atoms), fingerprint(other)
        assert abs(one.volume - two.volume) <= one.volume_range
        assert (np.abs(np.subtract(one.waves, two.waves)) <= one.waves_range).all()
        assert match(atoms, other) is not None


def test_configurations_that_differ_are_different():
    atoms = alloy()
    for change in ("position", "swap", "cell", "magmom", "mirror"):
        other = moved(atoms, 1)
        if change == "position":
            other.positions[3, 1] += 1e-3
        elif change == "swap":
            i, j = list(other.symbols).index("Au"), list(other.symbols).index("Cu")
            other.positions[[i, j]] = other.positions[[j, i]]
        elif change == "cell":
            other.set_cell(other.cell.array * 1.0001, scale_atoms=True)
        elif change == "magmom":
            other.set_initial_magnetic_moments([1.0] + [0.0] * (len(other) - 1))
        else:
            other.positions *= -1.0  # the same fingerprint, and not the same forces
        assert match(atoms, other) is None, change
    assert match(atoms, moved(atoms, 1)) is not None


def test_a_perfect_crystal_has_many_ways_to_match():
    atoms = bulk("Si", cubic=True).repeat((2, 2, 2))
    assert match(atoms, moved(atoms, 1)) is not None
    displaced = atoms.copy()
    displaced.positions[5, 0] += 0.01
    assert match(atoms, displaced) is None
    other = moved(displaced, 4)
    order = match(displaced, other)
    assert np.abs(displaced.positions[order][:, 0] - atoms.positions[order][:, 0]).argmax() == list(
        order
    ).index(5)


def test_magnetic_moments_travel_with_their_atoms():
    atoms = alloy()
    atoms.set_initial_magnetic_moments(np.arange(len(atoms)) % 3)
    order = match(atoms, moved(atoms, 2))
    assert order is not None
    assert np.array_equal(
        atoms.get_initial_magnetic_moments()[order],
        moved(atoms, 2).get_initial_magnetic_moments(),
    )


def test_labelling_finds_what_is_written_in_another_way(tmp_path):
    store = LabelStore(tmp_path / "labels.db")
    label([alloy(1), alloy(2)], get_reference("emt"), store=store)
    again = label([moved(alloy(2), 3), alloy(3)], get_reference("emt"), store=store)
    assert (again.n_computed, again.n_reused) == (1, 1)
    direct = compute_label(moved(alloy(2), 3), EMT())
    assert np.abs(again.labels[0].forces - direct.forces).max() < 1e-8


def test_molecules_are_found_by_exact_content_alone(tmp_path):
    atoms = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.3]])
    with LabelStore(tmp_path / "labels.db") as store:
        store.put(atoms, "a", Label(1.0, np.zeros((2, 3)), np.zeros((3, 3))))
        shifted = atoms.copy()
        shifted.positions += 1.0
        assert store.find([atoms], "a")[0].exact
        assert store.find([shifted], "a") == (None,)


# --- files of earlier versions, and several writers -------------------------------------------


def without_index(path: Path) -> None:
    """Make a store what an earlier version would have written."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE sscha_label_index")
        connection.execute("DROP TABLE sscha_reference")


def test_a_store_of_an_earlier_version_opens(tmp_path):
    path = tmp_path / "labels.db"
    frames = copper(6)
    with LabelStore(path) as store:
        for i, atoms in enumerate(frames[:4]):
            store.put(atoms, "a", random_label(i))
        store.put_failure(frames[4], "a", "no convergence")
        store.put(frames[5], "a", random_label(5), quarantine="odd")
    without_index(path)
    with LabelStore(path) as store:
        assert store.get_all("a").keys() == {configuration_key(one) for one in frames[:4]}
        assert [one.reason for one in store.get_failures("a")] == ["no convergence"]
        (found,) = store.find([moved(frames[2], 5)], "a")
        assert found.label.energy == random_label(2).energy
        assert store.find(frames[5:], "a")[0].state is State.QUARANTINED


def test_rows_that_ase_deletes_are_gone(tmp_path):
    frames = copper(2)
    with LabelStore(tmp_path / "labels.db") as store:
        for i, atoms in enumerate(frames):
            store.put(atoms, "a", random_label(i))
        with ase.db.connect(tmp_path / "labels.db") as db:
            db.delete([1])
        assert store.find(frames, "a")[0] is None
        assert store.get_all("a").keys() == {configuration_key(frames[1])}


OPENER = """
import sys
from test_store import copper, random_label
from sscha_mlp.reference import LabelStore

store = LabelStore(sys.argv[1])
for i, atoms in enumerate(copper(20)):
    store.put(atoms, sys.argv[2], random_label(i))
    assert store.find([atoms], sys.argv[2])[0] is not None
"""


def test_two_writers_open_an_old_store_at_once(tmp_path):
    path = tmp_path / "labels.db"
    with LabelStore(path) as store:
        store.put_many(((one, random_label(0)) for one in copper(300)), "old")
    without_index(path)
    writers = [start(OPENER, path, name) for name in "ab"]
    for writer in writers:
        writer.communicate(timeout=120)
        assert writer.returncode == 0
    with LabelStore(path) as store:
        assert [len(store.get_all(name)) for name in ("old", "a", "b")] == [300, 20, 20]


def test_a_transaction_that_is_killed_leaves_nothing(tmp_path):
    script = OPENER.split("for i", maxsplit=1)[0] + (
        "import os\n"
        "def pairs():\n"
        "    for i, atoms in enumerate(copper(50)):\n"
        "        yield atoms, random_label(i)\n"
        "from sscha_mlp.reference import index, store as module\n"
        "insert = index.insert\n"
        "def killed(db, row, *rest, **more):\n"
        "    insert(db, row, *rest, **more)\n"
        "    if row == 30: os._exit(9)\n"
        "index.insert = killed\n"
        "store.put(copper(1)[0], 'first', random_label(0))\n"
        "store.put_many(pairs(), 'many')\n"
    )
    process = start(script, tmp_path / "labels.db")
    process.communicate(timeout=60)
    assert process.returncode == 9
    with LabelStore(tmp_path / "labels.db") as store:
        assert len(store.get_all("first")) == 1
        assert store.get_all("many") == {}


def test_failures_of_two_references_are_both_told(tmp_path):
    atoms = copper(1)[0]
    with LabelStore(tmp_path / "labels.db") as store:
        store.put_failure(atoms, "a", "one")
        store.put_failure(atoms, "b", "two")
        store.put_failure(atoms, "a", "three")
        assert sorted(one.reason for one in store.get_failures()) == ["three", "two"]


def test_quarantine_and_release(tmp_path):
    frames = copper(2)
    with LabelStore(tmp_path / "labels.db") as store:
        row = store.put(frames[0], "a", random_label(0))
        failed = store.put_failure(frames[1], "a", "no convergence")
        store.quarantine(row, "odd")
        assert store.get(configuration_key(frames[0]), "a") is None
        assert store.find(frames[:1], "a")[0].reason == "odd"
        assert store.latest("a", 5) == []
        store.release(row)
        assert store.get(configuration_key(frames[0]), "a").energy == random_label(0).energy
        with pytest.raises(InputError, match="is a failure"):
            store.release(failed)
        with pytest.raises(InputError, match="no row 77"):
            store.quarantine(77, "odd")


# --- the verb labels ------------------------------------------------------------------------


@pytest.fixture
def filled(tmp_path) -> Path:
    path = tmp_path / "labels.db"
    frames = copper(6)
    with LabelStore(path) as store:
        for i, atoms in enumerate(frames[:4]):
            store.put(atoms, "first reference", random_label(i))
        store.put_failure(frames[4], "first reference", "SCF not converged " + "x" * 200)
        store.put(frames[5], "second reference", random_label(5), quarantine="odd")
        store.put(moved(frames[0], 1), "first reference", random_label(0))
    return path


def told(arguments: list[str], capsys, status: int = 0) -> str:
    assert run_command(["labels", *map(str, arguments)]) == status
    return capsys.readouterr().out


def test_what_is_printed_fits_80_columns(filled, capsys):
    for arguments in (["list"], ["counts"], ["show", "1", "5", "6"], ["verify"]):
        out = told([filled, *arguments], capsys)
        assert out and max(map(len, out.splitlines())) < 80


def test_rows_are_selected(filled, capsys):
    def rows(*options: str) -> list[int]:
        return [
            one["row"] for one in json.loads(told([filled, "list", "--json", *options], capsys))
        ]

    assert rows() == [1, 2, 3, 4, 5, 6, 7]
    assert rows("--status", "failed") == [5]
    assert rows("--status", "quarantined") == [6]
    assert rows("--reference", "second") == [6]
    assert rows("--since", "2001-01-01", "--until", "2100-01-01") == rows()
    assert rows("--until", "2001-01-01") == []
    energies = {i + 1: random_label(i).energy / 4 for i in range(4)}
    limit = sorted(energies.values())[1] + 1e-9
    low = rows("--max-energy", str(limit), "--reference", "first", "--status", "label")
    assert set(low) - {7} == {row for row, one in energies.items() if one <= limit}


def test_counts_and_show(filled, capsys):
    counts = json.loads(told([filled, "counts", "--json"], capsys))
    assert counts["first reference"] == {"label": 5, "failed": 1, "quarantined": 0}
    shown = json.loads(told([filled, "show", "2", "--json"], capsys))
    assert shown["energy_eV"] == random_label(1).energy
    assert shown["forces_eV_per_A"] == random_label(1).forces.tolist()


@pytest.mark.parametrize("name", ["out.xyz", "out.cfg"])
def test_export_holds_the_labels_that_are_believed(name, filled, tmp_path, capsys):
    told([filled, "export", "--out", str(tmp_path / name)], capsys)
    if name == "out.xyz":
        found = [one.label.energy for one in read_extxyz(tmp_path / name)]
        assert found == [random_label(i).energy for i in (0, 1, 2, 3, 0)]
    assert (tmp_path / name).stat().st_size > 0


def test_verify_names_what_is_wrong(filled, capsys):
    sound = json.loads(told([filled, "verify", "--json"], capsys))
    assert sound["problems"] == [] and sound["n_rows"] == 7
    assert sound["duplicates"] == [[7, 1, False]]
    with contextlib.closing(sqlite3.connect(filled)) as connection, connection:
        bad = np.full(12, np.nan).tobytes()
        connection.execute("UPDATE systems SET forces = ? WHERE id = 2", (bad,))
        other = (copper(1)[0].positions + 0.1).tobytes()
        connection.execute("UPDATE systems SET positions = ? WHERE id = 3", (other,))
    out = told([filled, "verify"], capsys, status=1)
    assert "row 2: The forces holds NaN" in out
    assert "row 3: the configuration is not the one that its key says" in out
    assert "1 × SCF not converged" in out and "1 × quarantined: odd" in out


def test_release(filled, capsys):
    told([filled, "release", "6"], capsys)
    counts = json.loads(told([filled, "counts", "--json"], capsys))
    assert counts["second reference"] == {"label": 1, "failed": 0, "quarantined": 0}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.db"], "no label store"),
        (["labels.db", "dance"], "no action 'dance'"),
        (["labels.db", "show"], "Name the rows"),
        (["labels.db", "show", "99"], "no row 99"),
        (["labels.db", "list", "--status", "good"], "none of label, failed, quarantined"),
        (["labels.db", "list", "--since", "soon"], "is no date"),
        (["labels.db", "export"], "--out"),
    ],
)
def test_wrong_input(arguments, words, filled, monkeypatch, capsys):
    monkeypatch.chdir(filled.parent)
    assert run_command(["labels", *arguments]) == 2
    assert words in capsys.readouterr().err


# --- one store for several runs ---------------------------------------------------------------


@pytest.mark.slow
def test_two_runs_share_a_store(tmp_path, capsys):
    from cheap import relax_arguments

    arguments = [*relax_arguments(tmp_path, explore_configs=0), "--quiet", "--label-store"]
    shared = tmp_path / "shared.db"
    assert run_command([*arguments, str(shared)]) == 0
    with LabelStore(shared) as store:
        n_first = len(store.get_all(get_reference("emt").identity))
    second = [one.replace(str(tmp_path / "run"), str(tmp_path / "again")) for one in arguments]
    assert run_command([*second, str(shared)]) == 0
    with LabelStore(shared) as store:
        assert len(store.get_all(get_reference("emt").identity)) == n_first
    results = [json.loads((tmp_path / one / "result.json").read_text()) for one in ("run", "again")]
    assert results[0]["labels"] == results[1]["labels"]
    assert not (tmp_path / "run" / "labels.db").exists()
