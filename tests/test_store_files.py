"""The files of a label store: copied alone, cut off, backed up, and not ours to write."""

import shutil
import signal
import sqlite3
import subprocess
import sys

import pytest
from cheap import environment
from test_bad_input import sentence
from test_store import copper, random_label

from sscha_mlp.cli import run_command
from sscha_mlp.errors import InputError, SschaMlpError
from sscha_mlp.reference import LabelStore, database, get_reference, label, store

WRITER = """
import os, signal, sys, time
from test_store import copper, random_label
from sscha_mlp.reference import LabelStore
store = LabelStore(sys.argv[1])
for number, atoms in enumerate(copper(int(sys.argv[2]))):
    store.put(atoms, "a", random_label(number))
    time.sleep(float(sys.argv[3]))
os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_after(path, n, pause=0.0):
    """Store labels in a process that is killed without closing the store."""
    done = subprocess.run(
        [sys.executable, "-c", WRITER, str(path), str(n), str(pause)],
        env=environment(),
        check=False,
    )
    assert done.returncode == -signal.SIGKILL


def test_the_one_file_has_the_label_after_a_kill(tmp_path):
    """Whoever copies labels.db alone, as users do, has what was stored a moment before."""
    path = tmp_path / "labels.db"
    kill_after(path, 2, pause=1.1)
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(path, alone)
    assert len(LabelStore(alone / "labels.db").get_all("a")) == 2


def test_the_one_file_has_every_label_when_a_batch_ends(tmp_path):
    """A run that is killed while it fits has had its labels for a long time."""
    path = tmp_path / "labels.db"
    opened = LabelStore(path)
    label(copper(5), get_reference("emt"), store=opened)
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(path, alone)
    found = LabelStore(alone / "labels.db").get_all(get_reference("emt").identity)
    assert len(found) == 5


def test_rows_are_folded_in_once_in_a_while(tmp_path, monkeypatch):
    """Not at each insert: it takes longer than the insert."""
    folded = []
    monkeypatch.setattr(database, "fold_in", folded.append)
    monkeypatch.setattr(database, "_FOLDED", {})
    opened = LabelStore(tmp_path / "labels.db")
    folded.clear()
    for number, atoms in enumerate(copper(3)):
        opened.put(atoms, "a", random_label(number))
    assert folded == [opened.path] * 3  # the clock is set when it is done
    monkeypatch.setattr(database, "_FOLDED", {opened.path: float("inf")})
    opened.put(copper(4)[3], "a", random_label(3))
    assert len(folded) == 3


def test_a_backup_is_whole_while_others_write(tmp_path, capsys):
    path, copy = tmp_path / "labels.db", tmp_path / "backup.db"
    kill_after(path, 3)
    with LabelStore(path) as writing:
        writing.put(copper(4)[3], "a", random_label(3))
        assert run_command(["labels", str(path), "backup", "--out", str(copy)]) == 0
        assert sorted(one.name for one in tmp_path.iterdir() if "backup" in one.name) == [copy.name]
    (tmp_path / "elsewhere").mkdir()
    moved = copy.rename(tmp_path / "elsewhere" / "labels.db")
    assert len(LabelStore(moved).get_all("a")) == 4
    capsys.readouterr()
    assert run_command(["labels", str(path), "backup", "--out", str(moved)]) == 2
    sentence(capsys.readouterr().err, "is there already")
    (tmp_path / "new.db-wal").write_bytes(b"of another store")
    assert run_command(["labels", str(path), "backup", "--out", str(tmp_path / "new.db")]) == 2
    sentence(capsys.readouterr().err, "new.db-wal is there already")
    assert run_command(["labels", str(path), "backup"]) == 2


@pytest.mark.parametrize("part", [0.02, 0.3, 0.5, 0.9])
def test_a_store_that_was_cut_off_is_not_called_safe(part, tmp_path, capsys):
    path = tmp_path / "labels.db"
    with LabelStore(path) as opened:
        for number, atoms in enumerate(copper(40)):
            opened.put(atoms, "a", random_label(number))
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    for words in (["labels", str(path)], ["labels", str(path), "verify"]):
        assert run_command(words) in (1, 2)
        seen = capsys.readouterr()
        assert "safe" not in seen.err
        assert "damaged" in seen.err + seen.out
        assert "unexpected" not in seen.err


def test_a_store_that_is_not_ours_to_write_is_named(tmp_path, monkeypatch):
    """In a directory that cannot be written SQLite cannot even read what is in write-ahead mode."""
    path = tmp_path / "labels.db"
    LabelStore(path).close()

    def refuse(*_, **__):
        raise sqlite3.OperationalError("attempt to write a readonly database")

    monkeypatch.setattr(store.sqlite3, "connect", refuse)
    with pytest.raises(SschaMlpError, match="not yours"):
        LabelStore(path)


def test_writers_of_one_store_take_turns(tmp_path):
    """Four at once, each label durable: nobody is sent away, and nothing is lost."""
    path = tmp_path / "labels.db"
    LabelStore(path).close()
    code = (
        "import sys\nfrom test_store import copper, random_label\n"
        "from sscha_mlp.reference import LabelStore\n"
        "store = LabelStore(sys.argv[1])\n"
        "for number, atoms in enumerate(copper(8)):\n"
        "    store.put(atoms, sys.argv[2], random_label(number))\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(path), name], env=environment())
        for name in "abcd"
    ]
    assert [one.wait(120) for one in writers] == [0, 0, 0, 0]
    opened = LabelStore(path)
    assert [len(opened.get_all(name)) for name in "abcd"] == [8, 8, 8, 8]


def test_a_file_that_is_no_store_is_refused(tmp_path):
    (tmp_path / "labels.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(InputError, match="not a label store"):
        LabelStore(tmp_path / "labels.db")
