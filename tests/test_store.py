"""The label store: exact, durable, shared, and whole after a kill at any moment."""

import os
import random
import resource
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import ase.db
import faulty
import numpy as np
import pytest
from ase.build import bulk

from sscha_mlp.data import Label, configuration_key
from sscha_mlp.errors import InputError, SschaMlpError
from sscha_mlp.reference import LabelStore, Reference, get_reference, label

ROOT = Path(__file__).resolve().parents[1]


def copper(n: int):
    configurations = []
    for seed in range(n):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, seed=seed)
        configurations.append(atoms)
    return configurations


def random_label(seed: int) -> Label:
    rng = np.random.default_rng(seed)
    stress = rng.normal(size=(3, 3))
    return Label(rng.normal(), rng.normal(size=(4, 3)), stress + stress.T)


def test_labels_come_back_exactly(tmp_path: Path):
    atoms = copper(1)[0]
    made = random_label(0)
    key = configuration_key(atoms)
    with LabelStore(tmp_path / "labels.db") as store:
        assert store.get(key, "a") is None
        store.put(atoms, "a", made)
        for opened in (store, LabelStore(tmp_path / "labels.db")):
            found = opened.get(key, "a")
            assert found.energy == made.energy
            assert np.array_equal(found.forces, made.forces)
            assert np.array_equal(found.stress, made.stress)
            assert opened.get(key, "b") is None
            assert opened.get("0" * 64, "a") is None
            assert opened.get_all("a").keys() == {key}
            assert opened.get_all("b") == {}
            opened.close()
    assert [p.name for p in tmp_path.iterdir()] == ["labels.db"]
    assert atoms.calc is None


def test_ase_reads_the_store(tmp_path: Path):
    atoms = copper(1)[0]
    with LabelStore(tmp_path / "labels.db") as store:
        store.put(atoms, "the identity", random_label(0))
    (row,) = ase.db.connect(tmp_path / "labels.db").select()
    assert row.energy == random_label(0).energy
    assert row.data["identity"] == "the identity"
    assert row.configuration == "sha256-" + configuration_key(atoms)


def test_failures_are_kept_until_a_label_replaces_them(tmp_path: Path):
    first, second = copper(2)
    store = LabelStore(tmp_path / "labels.db")
    store.put_failure(first, "a", "no convergence")
    store.put_failure(first, "a", "still none")
    store.put_failure(second, "b", "hung")
    assert [failure.reason for failure in store.get_failures()] == ["still none", "hung"]
    assert [failure.reason for failure in store.get_failures("b")] == ["hung"]
    assert store.get(configuration_key(first), "a") is None
    store.put(first, "a", random_label(1))
    assert [failure.key for failure in store.get_failures()] == [configuration_key(second)]
    assert store.get(configuration_key(first), "a") is not None


def test_second_call_computes_nothing(tmp_path: Path):
    configurations = copper(4)
    store = LabelStore(tmp_path / "labels.db")
    first = label(configurations[:3], get_reference("emt"), store=store)
    second = label(configurations, get_reference("emt"), store=store)
    assert (first.n_computed, second.n_computed, second.n_reused) == (3, 1, 3)
    assert [x.energy for x in second.labels[:3]] == [x.energy for x in first.labels]


def test_failures_are_retried_or_not(tmp_path: Path):
    configurations = copper(3)
    configurations[1].set_tags(1)
    reference = Reference.from_factory(faulty.faulty)
    store = LabelStore(tmp_path / "labels.db")
    assert len(label(configurations, reference, store=store).failures) == 1
    kept = label(configurations, reference, store=store, retry_failures=False)
    assert (kept.n_computed, kept.failures[0].index) == (0, 1)
    assert "did not converge" in kept.failures[0].reason
    configurations[1].set_tags(0)
    assert label(configurations, reference, store=store).failures == ()
    assert store.get_failures() == ()


def test_inserts_are_quick(tmp_path: Path):
    atoms = copper(1)[0]
    store = LabelStore(tmp_path / "labels.db")
    times = []
    for i in range(30):
        start = time.perf_counter()
        store.put(atoms, str(i), random_label(i))
        times.append(time.perf_counter() - start)
    assert np.median(times) < 0.05  # about 1 ms on an idle machine


def test_not_a_store(tmp_path: Path):
    path = tmp_path / "labels.db"
    path.write_text("this is not a database, but long enough to be taken for one" * 20)
    with pytest.raises(InputError, match=r"label store .*labels\.db cannot be read"):
        LabelStore(path)
    with pytest.raises(SschaMlpError, match="cannot be written"):
        LabelStore(path / "below" / "labels.db")


def test_full_disk(tmp_path: Path):
    store = LabelStore(tmp_path / "labels.db")
    atoms = copper(1)[0]
    store.put(atoms, "a", random_label(0))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        with pytest.raises(SschaMlpError, match="Is the disk full"):
            store.put(atoms, "b", random_label(1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert store.get(configuration_key(atoms), "a") is not None
    assert store.get(configuration_key(atoms), "b") is None
    store.put(atoms, "b", random_label(1))
    assert store.get(configuration_key(atoms), "b") is not None


def test_a_database_that_is_held_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = LabelStore(tmp_path / "labels.db")
    atoms = copper(1)[0]
    calls = []
    original = sqlite3.connect

    def locked_once(*args, **kwargs):
        calls.append(1)
        if len(calls) == 1:
            raise sqlite3.OperationalError("database is locked")
        return original(*args, **kwargs)

    monkeypatch.setattr(sqlite3, "connect", locked_once)
    store.put(atoms, "a", random_label(0))
    assert len(calls) == 2


WRITER = """
import sys
from test_store import copper, random_label
from sscha_mlp.reference import LabelStore

store = LabelStore(sys.argv[1])
for i, atoms in enumerate(copper(20)):
    store.put(atoms, sys.argv[2], random_label(i))
"""

LABELLER = """
import sys
import faulty
from test_store import copper
from sscha_mlp.reference import LabelStore, Reference, label

report = label(
    copper(int(sys.argv[2])),
    Reference.from_factory(faulty.counting),
    store=LabelStore(sys.argv[1]),
    n_workers=2,
    progress=lambda done, total: print(done, flush=True),
)
print("computed", report.n_computed, "reused", report.n_reused, flush=True)
"""


def start(script: str, *arguments: object, **environment: str) -> subprocess.Popen:
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", **environment}
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=env,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_several_writers(tmp_path: Path):
    writers = [start(WRITER, tmp_path / "labels.db", name) for name in "abc"]
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    store = LabelStore(tmp_path / "labels.db")
    assert [len(store.get_all(name)) for name in "abc"] == [20, 20, 20]


def test_killed_while_labelling_nothing_finished_is_lost(tmp_path: Path):
    n, calls = 60, tmp_path / "calls"
    rng = random.Random(4)
    finished = 0
    in_flight = 0
    for delay in (0.0, 0.1, 0.2):
        process = start(LABELLER, tmp_path / "labels.db", n, **{faulty.COUNT_FILE: str(calls)})
        for line in process.stdout:
            if int(line) > finished + 3:  # it is under way: kill it at a random moment
                break
        time.sleep(delay * rng.random())
        process.kill()
        reported = [line, *process.stdout.read().splitlines()]
        process.wait()
        time.sleep(0.1)
        with LabelStore(tmp_path / "labels.db") as store:
            stored = len(store.get_all(Reference.from_factory(faulty.counting).identity))
        assert int(reported[-1]) <= stored
        assert finished < stored < n
        finished = stored
        in_flight += 3  # one in each worker, and one that is being written
    before = len(calls.read_text().splitlines())
    assert before <= finished + in_flight

    process = start(LABELLER, tmp_path / "labels.db", n, **{faulty.COUNT_FILE: str(calls)})
    output, _ = process.communicate(timeout=60)
    assert output.splitlines()[-1] == f"computed {n - finished} reused {finished}"
    assert len(calls.read_text().splitlines()) == before + n - finished
