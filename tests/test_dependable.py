"""Labelling is dependable: the same everywhere, nothing lost or repeated, faults set apart."""

import json
import os
import resource
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from cheap import DIARY, command, environment, relax_arguments, sscha_mlp, without_timings
from cluster_tasks import scheduler_and_workers, wait_for
from offline_outputs import results
from test_bad_input import limited, sentence
from test_parallel import alive
from unreliable import SHARES, Accounts, fault_of

from sscha_mlp.cli import run_command
from sscha_mlp.data.extxyz import read_configurations, read_extxyz, write_extxyz
from sscha_mlp.data.labels import Label, LabelledConfiguration, configuration_key
from sscha_mlp.errors import SschaMlpError
from sscha_mlp.parallel import ExecutorLostError, WorkerStartError
from sscha_mlp.parallel.dask_executor import DaskExecutor
from sscha_mlp.reference import LabelStore, get_reference, label


def copper(n: int, *, size: int = 1, seed: int = 0):
    """Configurations of hot copper that differ."""
    frames = []
    for number in range(n):
        atoms = bulk("Cu", a=3.6, cubic=True).repeat((size, 1, 1))
        atoms.rattle(0.06, seed=1000 * seed + number)
        frames.append(atoms)
    return frames


def by_hand(directory: Path) -> None:
    """Compute what is asked for in a directory, as a script of somebody would."""
    frames = read_configurations(directory / "configurations.xyz")
    made = [LabelledConfiguration(atoms, Label(*results(atoms, EMT()))) for atoms in frames]
    write_extxyz(directory / "out.xyz", made)
    assert run_command(["label", "import", str(directory)]) == 0


# --- the same answer everywhere ---------------------------------------------------------------


def test_a_label_is_the_same_from_processes_dask_and_files(tmp_path):
    write_extxyz(tmp_path / "in.xyz", copper(10))
    written = {}
    for name, options in {
        "processes": ("--reference", "emt", "--workers", "2"),
        "dask": ("--reference", "emt", "--executor", "dask-local:2"),
        "files": ("--reference", "files"),
    }.items():
        out = tmp_path / name / "out.xyz"
        out.parent.mkdir()
        arguments = ["label", str(tmp_path / "in.xyz"), *options, "--out", str(out), "--quiet"]
        status = run_command(arguments)
        if name == "files":
            assert status == 3
            by_hand(out.parent / "offline" / "000")
            status = run_command(arguments)
        assert status == 0
        written[name] = out.read_bytes()
    assert written["processes"] == written["dask"] == written["files"]


def answer(run: Path) -> dict:
    """A result without timings and paths."""
    return without_timings(run / "result.json")


@pytest.mark.slow
def test_a_run_is_the_same_on_processes_dask_and_files(tmp_path):
    found = {}
    for name, reference, options in (
        ("processes", "emt", ("--workers", "2")),
        ("dask", "emt", ("--executor", "dask-local:2")),
        ("files", "files", ()),
    ):
        place = tmp_path / name
        place.mkdir()
        arguments = [*relax_arguments(place, reference, explore_configs=0), *options, "--quiet"]
        config = place / "tiny.toml"
        config.write_text(config.read_text().replace("[start]", "[start]\nrelax = false"))
        for _ in range(12):
            status = run_command(arguments)
            if status != 3:
                break
            by_hand(max((place / "run" / "offline").iterdir()))
        assert status == 0
        found[name] = answer(place / "run")
    assert found["processes"] == found["dask"] == found["files"]


# --- kills ------------------------------------------------------------------------------------

ACCOUNTING = "unreliable:accounting"


def stored(store: Path) -> set[str]:
    """Keys of the labels that are safe."""
    if not store.is_file():
        return set()
    with LabelStore(store) as opened:
        return set(opened.get_all(get_reference(ACCOUNTING).identity))


def still(diary: Path) -> Accounts:
    """Accounts once every process of a killed command has ended."""
    deadline = time.monotonic() + 20.0
    before, quiet = -1, 0
    while quiet < 3:
        assert time.monotonic() < deadline, "a killed command goes on labelling"
        time.sleep(0.1)
        size = diary.stat().st_size if diary.is_file() else 0
        quiet = quiet + 1 if size == before else 0
        before = size
    return Accounts.read(diary)


class Books:
    """Compares what was begun with what is stored, kill after kill.

    Parameters
    ----------
    diary
        Where the reference keeps its accounts.
    store
        The label store.
    in_progress
        How many labels may be in progress at once: each worker computes one, and its last one
        may be on its way to the disk.
    """

    def __init__(self, diary: Path, store: Path, in_progress: int) -> None:
        self.diary, self.store, self.in_progress = diary, store, in_progress
        self.lost: Counter = Counter()
        self.kills = 0
        self.safe: set[str] = set()

    def after_kill(self) -> None:
        """Nothing stored is lost or begun again; what is begun and not stored was in progress."""
        accounts = still(self.diary)
        self.kills += 1
        safe = stored(self.store)
        assert self.safe <= safe
        open_ones = {key for key in accounts.begun if key not in safe}
        # Those that an earlier kill has interrupted too were begun once more since, or not yet.
        now = [key for key in open_ones if accounts.begun[key] > self.lost[key]]
        assert len(now) <= self.in_progress
        self.lost.update(now)
        self.safe = safe

    def at_the_end(self) -> None:
        """Each label was begun once, and once more for each time it was interrupted."""
        begun = Accounts.read(self.diary).begun
        assert begun == Counter(set(begun)) + self.lost
        assert set(begun) <= stored(self.store)


def start(arguments: list[str], diary: Path) -> subprocess.Popen:
    return subprocess.Popen(
        command(arguments),
        env=environment(**{DIARY: diary}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill_after(process: subprocess.Popen, moment: Callable[[], bool]) -> bool:
    """Kill a command when the moment has come; False if it ended before."""
    with process:
        while process.poll() is None and not moment():
            time.sleep(0.003)
        process.kill()
        process.wait()
    return process.returncode == -signal.SIGKILL


def progress(diary: Path, n_begun: int, pause: float) -> Callable[[], bool]:
    """A moment: so many labels more have been begun, and a while later."""
    target = sum(Accounts.read(diary).begun.values()) + n_begun
    since: list[float] = []

    def reached() -> bool:
        if not since and sum(Accounts.read(diary).begun.values()) >= target:
            since.append(time.monotonic())
        return bool(since) and time.monotonic() - since[0] >= pause

    return reached


def label_arguments(place: Path, n: int, *options: str) -> list[str]:
    write_extxyz(place / "in.xyz", copper(n))
    names = ["--out", str(place / "out.xyz"), "--store", str(place / "labels.db")]
    return ["label", str(place / "in.xyz"), "--reference", ACCOUNTING, *names, "--quiet", *options]


def expected_labels(place: Path) -> bytes:
    """What an undisturbed command writes for the same configurations."""
    out = place / "expected.xyz"
    arguments = ["label", str(place / "in.xyz"), "--reference", "emt", "--out", str(out)]
    assert run_command([*arguments, "--store", str(place / "emt.db"), "--quiet"]) == 0
    return out.read_bytes()


def test_labelling_is_killed_and_goes_on(tmp_path):
    """SIGKILL to the command, twice."""
    rng = np.random.default_rng(3)
    arguments = label_arguments(tmp_path, 40, "--workers", "2")
    diary = tmp_path / "diary"
    books = Books(diary, tmp_path / "labels.db", in_progress=4)
    for _ in range(2):
        moment = progress(diary, int(rng.integers(3, 15)), rng.uniform(0.0, 0.1))
        assert kill_after(start(arguments, diary), moment)
        books.after_kill()
    done = sscha_mlp(arguments, **{DIARY: diary})
    assert done.returncode == 0, done.stderr
    books.at_the_end()
    assert (tmp_path / "out.xyz").read_bytes() == expected_labels(tmp_path)


def kill_workers(
    process: subprocess.Popen, diary: Path, rng: np.random.Generator, n: int
) -> Counter:
    """Kill processes that are computing a label; count the labels that this interrupts."""
    interrupted: Counter = Counter()
    while interrupted.total() < n and process.poll() is None:
        time.sleep(rng.uniform(0.05, 0.3))
        at_work = Accounts.read(diary).at_work
        if not at_work:
            continue
        pid = int(rng.choice(list(at_work)))
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda pid=pid: not alive(pid))
            accounts = Accounts.read(diary)
            if pid in accounts.at_work:
                interrupted[accounts.at_work[pid]] += 1
                # This process is dead and must not be chosen again.
                with diary.open("a") as stream:
                    stream.write(f"killed {accounts.at_work[pid]} {pid}\n")
    return interrupted


def executor_file(place: Path, kind: str) -> str:
    path = place / "executor.toml"
    path.write_text(f'[executor]\nkind = "{kind}"\nworkers = 2\nretries = 5\nbackoff = 0.05\n')
    return str(path)


@pytest.mark.parametrize(
    ("kind", "n_kills"),
    [
        ("processes", 1),
        pytest.param("processes", 6, marks=pytest.mark.slow),
        pytest.param("dask-local", 4, marks=pytest.mark.slow),
    ],
)
def test_workers_are_killed_and_the_labels_come(kind, n_kills, tmp_path):
    rng = np.random.default_rng(7)
    diary = tmp_path / "diary"
    arguments = label_arguments(tmp_path, 80, "--executor", executor_file(tmp_path, kind))
    with start(arguments, diary) as process:
        wait_for(lambda: Accounts.read(diary).begun)
        interrupted = kill_workers(process, diary, rng, n_kills)
        _, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert interrupted.total() == n_kills
    begun = Accounts.read(diary).begun
    assert begun == Counter(set(begun)) + interrupted
    assert (tmp_path / "out.xyz").read_bytes() == expected_labels(tmp_path)


@contextmanager
def scheduler(place: Path, diary: Path, monkeypatch) -> Iterator[tuple[str, list]]:
    place.mkdir()
    monkeypatch.setenv(DIARY, str(diary))  # the workers of the scheduler write it
    with scheduler_and_workers(place, 2) as started:
        yield started


@pytest.mark.slow
@pytest.mark.parametrize("n_kills", [1, 5])
def test_the_scheduler_is_killed_and_labelling_goes_on(n_kills, tmp_path, monkeypatch):
    rng = np.random.default_rng(13)
    diary = tmp_path / "diary"
    books = Books(diary, tmp_path / "labels.db", in_progress=4)
    for number in range(n_kills):
        with scheduler(tmp_path / f"dask-{number}", diary, monkeypatch) as (address, processes):
            arguments = label_arguments(tmp_path, 80, "--executor", address)
            moment = progress(diary, int(rng.integers(2, 12)), rng.uniform(0.0, 0.1))
            with start(arguments, diary) as process:
                wait_for(lambda moment=moment: moment(), 60.0)
                processes[0].kill()
                _, error = process.communicate(timeout=120)
        assert process.returncode == 1
        sentence(error, "scheduler", "was lost", "same command goes on")
        books.after_kill()
    done = sscha_mlp(label_arguments(tmp_path, 80, "--workers", "2"), **{DIARY: diary})
    assert done.returncode == 0, done.stderr
    books.at_the_end()
    assert (tmp_path / "out.xyz").read_bytes() == expected_labels(tmp_path)


@pytest.mark.parametrize(
    ("status", "error"), [("finished", ExecutorLostError), ("error", WorkerStartError)]
)
def test_a_connection_that_breaks_is_not_blamed_on_the_reference(status, error):
    """The scheduler may die while an outcome is fetched, before dask knows of it."""

    def result(timeout: float) -> None:
        raise ConnectionResetError("peer")

    executor = object.__new__(DaskExecutor)
    executor.connection = SimpleNamespace(
        is_running=True,
        address="tcp://a:1",
        lost=lambda: ExecutorLostError("lost"),
        took_workers_down=lambda _: False,
    )
    future = SimpleNamespace(cancelled=lambda: False, status=status, result=result)
    with pytest.raises(error):
        executor._outcome(future)


@pytest.mark.slow
def test_a_run_is_killed_at_random_moments(finished_run, tmp_path):
    """SIGKILL to the command, and with it or later to its workers, in a whole run."""
    rng = np.random.default_rng(17)
    run, diary = tmp_path / "run", tmp_path / "diary"
    arguments = [*relax_arguments(tmp_path, ACCOUNTING), "--quiet", "--workers", "2"]
    books = Books(diary, run / "labels.db", in_progress=4)
    for _ in range(8):
        if rng.random() < 0.7:
            moment = progress(diary, int(rng.integers(1, 12)), rng.uniform(0.0, 0.1))
        else:
            end = time.monotonic() + rng.uniform(1.0, 5.0)
            moment = lambda end=end: time.monotonic() > end  # noqa: E731
        if not kill_after(start(arguments, diary), moment):
            break
        books.after_kill()
    assert books.kills >= 5
    done = sscha_mlp(arguments, **{DIARY: diary})
    assert done.returncode == 0, done.stderr
    books.at_the_end()
    assert answer(run) == answer(finished_run)


# --- faults -----------------------------------------------------------------------------------

SEED = 3
"""With it there are faults of every kind, and one configuration that hangs."""

SAYS = {
    "raise": "did not converge",
    "nan": "forces",
    "no stress": "stress",
    "hang": "time limit of 1",
}


def test_every_fault_is_listed_and_costs_no_other_label(tmp_path, capsys):
    frames = copper(160, seed=SEED)
    faults = Counter(fault_of(atoms) for atoms in frames)
    assert set(faults) == {"", *SHARES}  # each kind of fault is there
    store = tmp_path / "labels.db"
    with LabelStore(store) as opened:
        report = label(
            frames,
            get_reference("unreliable:unreliable"),
            store=opened,
            n_workers=2,
            time_limit=1.0,
        )
        listed = {one.key: one.reason for one in opened.get_failures()}
    expected = label(frames, get_reference("emt"))
    assert len(report.failures) == len(frames) - faults[""]
    for failure in report.failures:
        name = fault_of(frames[failure.index])
        assert SAYS[name] in failure.reason
        assert listed[configuration_key(frames[failure.index])] == failure.reason
    for found, one in zip(report.labels, expected.labels, strict=True):
        assert found is None or found.energy == one.energy
    assert run_command(["labels", str(store), "list", "--status", "failed", "--json"]) == 0
    told = [row["reason"] for row in json.loads(capsys.readouterr().out)]
    assert sorted(told) == sorted(one.reason for one in report.failures)


@pytest.mark.slow
def test_a_run_on_an_unreliable_reference_has_the_same_answer(finished_run, tmp_path, capsys):
    arguments = [*relax_arguments(tmp_path, "unreliable:unreliable"), "--workers", "2", "--quiet"]
    config = tmp_path / "tiny.toml"
    config.write_text("label_time_limit = 2.0\n" + config.read_text())
    done = sscha_mlp(arguments)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "run"
    steps = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    told = [
        failure
        for step in steps
        if step["step"].startswith("labels/")
        for failure in step["payload"]["failures"]
    ]
    assert run_command(["labels", str(run / "labels.db"), "list", "--status", "failed"]) == 0
    assert len(told) >= 4
    assert len(read_failures(run / "labels.db")) == len(told)
    assert run_command(["status", str(run)]) == 0
    assert f"{len(told)} failed" in capsys.readouterr().out
    same_within_errors(answer(run), answer(finished_run))


def read_failures(store: Path) -> tuple:
    with LabelStore(store) as opened:
        return opened.get_failures()


def same_within_errors(first: dict, second: dict) -> None:
    """Numbers differ by at most four of the standard errors that are stated."""
    pairs = []
    for name in ("free_energy_eV_per_atom", "pressure_GPa"):
        pairs.append((first[name]["corrected"], second[name]["corrected"], name))
        pairs[-1] += (np.hypot(first[name]["stderr"], second[name]["stderr"]),)
    for one, other in zip(first["frequencies_THz"], second["frequencies_THz"], strict=True):
        errors = np.hypot(one["stderr"], other["stderr"])
        for a, b, error in zip(one["corrected"], other["corrected"], errors, strict=True):
            pairs.append((a, b, "frequency", error))
    for a, b, name, error in pairs:
        assert abs(a - b) <= 4.0 * error + 1e-6, (name, a, b, error)


# --- a full disk ------------------------------------------------------------------------------


@contextmanager
def full_disk(n_bytes: int) -> Iterator[None]:
    """No file of this process grows beyond a size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("n_bytes", [90_000, 130_000, 200_000])
def test_a_disk_that_is_full_leaves_store_and_index_whole(n_bytes, tmp_path, capsys):
    path = tmp_path / "labels.db"
    frames = copper(200, size=4)
    made = Label(-1.0, np.ones((16, 3)), np.eye(3))
    numbers = []

    def fill(store: LabelStore) -> None:
        numbers.extend(store.put(atoms, "a", made) for atoms in frames)

    with LabelStore(path) as store:
        with full_disk(n_bytes), pytest.raises(SschaMlpError, match="Is the disk full"):
            fill(store)
    n_stored = len(numbers)
    assert 0 < n_stored < 200
    assert run_command(["labels", str(path), "verify"]) == 0
    assert f"{n_stored} rows" in capsys.readouterr().out
    with LabelStore(path) as store:
        for number in (0, n_stored - 1):  # found by the index in another order and place
            moved = frames[number][::-1]
            moved.positions += 0.7
            assert store.find([moved], "a")[0] is not None
        assert store.find([frames[n_stored]], "a") == (None,)
        for atoms in frames[n_stored:]:
            store.put(atoms, "a", made)
        assert len(store.get_all("a")) == 200


def test_a_disk_that_is_full_when_inputs_are_written(tmp_path):
    write_extxyz(tmp_path / "in.xyz", copper(60, size=8))
    out = tmp_path / "out.xyz"
    arguments = ["label", str(tmp_path / "in.xyz"), "--reference", "files", "--out", str(out)]
    done = limited([*arguments, "--quiet"], 120_000)
    assert done.returncode == 1
    sentence(done.stderr, "inputs.xyz", "free some space")
    assert run_command([*arguments, "--quiet"]) == 3
    by_hand(max((tmp_path / "offline").iterdir()))
    assert run_command([*arguments, "--quiet"]) == 0
    assert len(read_extxyz(out)) == 60
