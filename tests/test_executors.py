"""Executors: the same answers everywhere, and what happens when something dies."""

import os
import pickle
import re
import signal
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import dask
import dask_jobqueue
import pytest
from ase.build import bulk
from cheap import DIARY, relax_arguments, sscha_mlp, without_timings
from cluster_tasks import (
    Scripted,
    Work,
    fake_queue,
    job_pids,
    make_work,
    numbers,
    scheduler_and_workers,
    wait_for,
)
from faulty import COUNT_FILE, broken_factory, make_misbehave, make_square
from test_parallel import alive, values, wait_until_dead

from sscha_mlp.calculators.registry import get_reference
from sscha_mlp.cli import run_command
from sscha_mlp.data.extxyz import write_extxyz
from sscha_mlp.errors import ConfigError, InputError, SschaMlpError
from sscha_mlp.parallel import (
    Done,
    ExecutorLostError,
    ExecutorSettings,
    Failed,
    Machines,
    WorkerStartError,
    make_executor,
    read_executor,
    remote,
)
from sscha_mlp.parallel import pool as pool_module
from sscha_mlp.parallel.retries import Backoff, Retrying
from sscha_mlp.potentials.registry import load
from sscha_mlp.potentials.spread import spread
from sscha_mlp.reference.label import label
from sscha_mlp.reference.store import LabelStore
from sscha_mlp.run_files.settings import RunSettings, differences, format_toml

ROOT = Path(__file__).parents[1]
LOCAL = ExecutorSettings(kind="dask-local", workers=2, retries=2, backoff=0.05)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Machines]:
    """Two dask workers on this machine."""
    with Machines(LOCAL) as machines:
        yield machines


@pytest.fixture(params=["here", "processes:2", "dask-local"])
def machines(request) -> Iterator[Machines]:
    """Each kind of machines that this computer offers."""
    if request.param == "dask-local":
        yield request.getfixturevalue("cluster")
        return
    with Machines(request.param) as own:
        yield own


def copper(n: int):
    """Configurations of copper that differ."""
    frames = []
    for number in range(n):
        atoms = bulk("Cu", a=3.6, cubic=True)
        atoms.rattle(0.02, seed=number)
        frames.append(atoms)
    return frames


# --- what holds for every executor -----------------------------------------------------------


def test_every_executor_does_every_task(machines):
    with machines.executor(make_square) as executor:
        outcomes = dict(executor.run(iter(range(30))))
        assert values(outcomes) == [i * i for i in range(30)]
        assert dict(executor.run([])) == {}
        assert values(dict(executor.run([3.0]))) == [9.0]
    with pytest.raises(SschaMlpError, match="closed"):
        list(executor.run([1]))


def test_workers_stay_for_the_next_executor_of_the_same_function(tmp_path):
    def workers(machines, factory=make_work, **options):
        tasks = [Work(number, tmp_path / "diary", 0.2, "name the process") for number in range(4)]
        with machines.executor(factory, n_workers=2, isolate=True, **options) as executor:
            return {value[1] for value in values(dict(executor.run(tasks)))}

    with Machines() as machines:
        first = workers(machines, keep=True)
        assert workers(machines, keep=True) == first
        assert not workers(machines) & first
        other = workers(machines, keep=True, time_limit=60.0)
        assert not other & first
    for one in first | other:
        with pytest.raises(ProcessLookupError):
            os.kill(one, 0)
    with pytest.raises(SschaMlpError, match="closed"):
        workers(machines, keep=True)


def test_every_executor_names_a_broken_factory(machines):
    with machines.executor(broken_factory) as executor:
        with pytest.raises(WorkerStartError, match="RuntimeError: no licence"):
            list(executor.run([1, 2]))


def test_every_executor_may_be_left_early(machines):
    with machines.executor(make_square) as executor:
        for _ in executor.run(range(1000)):
            break
        assert values(dict(executor.run([2, 3]))) == [4, 9]


def test_labels_do_not_depend_on_the_executor(machines):
    frames = copper(6)
    expected = label(frames, get_reference("emt"))
    found = label(frames, get_reference("emt"), n_workers=2, machines=machines)
    for one, other in zip(expected.labels, found.labels, strict=True):
        assert one.energy == other.energy
        assert (one.forces == other.forces).all() and (one.stress == other.stress).all()


def test_a_reference_is_checked_where_it_labels(machines):
    atoms = copper(1)[0]
    expected = get_reference("emt").check(atoms)
    assert get_reference("emt").check(atoms, machines=machines).energy == expected.energy


# --- dask: failures of tasks -----------------------------------------------------------------


def test_failures_on_dask_have_reasons_and_the_others_go_on(cluster):
    tasks = [1, "raise", "sys.exit", "unpicklable", "exit", lambda: None, 2]
    with cluster.executor(make_misbehave) as executor:
        result = values(dict(executor.run(tasks)))
    assert result[0] == 1 and result[6] == 2
    assert result[1] == "ValueError: this one does not converge"
    assert result[2] == "SystemExit: 4"
    assert "result cannot be sent back" in result[3]
    assert result[4].endswith("SYSTEM ABORT: out of ideas (the last of 3 attempts)")
    assert "task cannot be sent to a worker" in result[5]


def test_the_processes_of_a_function_are_kept_for_the_next_executor(cluster, tmp_path):
    tasks = [Work(number, tmp_path / "diary", 0.3, "name the process") for number in range(4)]

    def processes(time_limit: float) -> set[int]:
        with cluster.executor(make_work, time_limit=time_limit) as executor:
            return {outcome.value[1] for _, outcome in executor.run(tasks)}

    first = processes(77.0)
    assert len(first) == 2 and processes(77.0) == first
    for other in (78.0, 79.0):  # only those of the functions that were used last are kept
        assert processes(other).isdisjoint(first)
    assert wait_until_dead(list(first))


def test_a_hang_on_dask_meets_the_time_limit_with_all_that_it_started(cluster, tmp_path):
    pid_file = tmp_path / "pid"
    with cluster.executor(make_misbehave, time_limit=1.0) as executor:
        result = values(dict(executor.run(["hang", f"spawn {pid_file}", 1, 2])))
    assert result[:2] == ["exceeded the time limit of 1 s"] * 2 and result[2:] == [1, 2]
    assert wait_until_dead([int(pid_file.read_text())])


def test_tasks_in_progress_end_with_the_caller(cluster):
    with cluster.executor(make_misbehave) as executor:
        run = executor.run([*["environment"] * 2, "hang", "hang"])
        pids = {next(run)[1].value[1] for _ in range(2)}
        assert all(alive(pid) for pid in pids)
    run.close()
    assert wait_until_dead(list(pids))


def test_a_crash_on_dask_is_tried_again_as_often_as_asked(cluster, tmp_path):
    diary = tmp_path / "diary"
    tasks = [Work(0, diary, what="crash"), Work(1, diary), Work(2, diary)]
    with cluster.executor(make_work) as executor:
        outcomes = dict(executor.run(tasks))
    assert sorted(numbers(diary)) == [0, 0, 0, 1, 2]
    assert outcomes[0].reason.endswith("exit status 5 (the last of 3 attempts)")


# --- dask: deaths of workers and of the scheduler --------------------------------------------


def test_a_killed_dask_worker_loses_nothing_and_repeats_nothing_that_was_finished(tmp_path):
    diary = tmp_path / "diary"
    tasks = [Work(number, diary, 0.15) for number in range(16)]
    received: dict[int, Done | Failed] = {}
    with make_executor(LOCAL, make_work) as executor:
        for index, outcome in executor.run(tasks):
            received[index] = outcome
            if len(received) == 4:
                safe, killed = set(received), outcome.value[1]
                os.kill(killed, signal.SIGKILL)
    assert [received[number].value[0] for number in range(16)] == list(range(16))
    late = [received[number].value[1] for number in range(16) if number not in safe]
    assert late.count(killed) <= 1  # what was on its way
    written = numbers(diary)
    assert all(written.count(number) == 1 for number in safe)
    assert len(written) - len(set(written)) <= 1  # what it had finished and not yet returned


def test_a_task_that_kills_its_dask_workers_is_given_up(tmp_path):
    diary = tmp_path / "diary"
    killer = Work(0, diary, what="kill the dask worker")
    settings = ExecutorSettings(kind="dask-local", workers=2, retries=1)
    with make_executor(settings, make_work) as executor:
        outcomes = dict(executor.run([killer, *(Work(n, diary, 0.1) for n in range(1, 9))]))
    assert outcomes[0].reason == "every dask worker that it was given to died"
    assert numbers(diary).count(0) == 2
    assert [outcomes[n].value[0] for n in range(1, 9)] == list(range(1, 9))


def test_a_lost_scheduler_ends_labelling_and_keeps_what_is_finished(tmp_path, monkeypatch):
    count = tmp_path / "count"
    monkeypatch.setenv(COUNT_FILE, str(count))
    frames, reference = copper(40), get_reference("faulty:counting")
    with LabelStore(tmp_path / "labels.db") as store, scheduler_and_workers(tmp_path) as started:
        address, processes = started

        def kill(done: int, _: int) -> None:
            if done == 5:
                processes[0].kill()

        with Machines(address) as machines:
            with pytest.raises(ExecutorLostError) as caught:
                label(frames, reference, store=store, progress=kill, machines=machines)
        kept = store.get_all(reference.identity)
        text = str(caught.value)
        assert f"scheduler at {address} was lost" in text and "same command goes on" in text
        assert f"{len(kept)} of 40 configurations have a label, safe in" in text
        assert 5 <= len(kept) < 40
        before = len(count.read_text().split())
        again = label(frames, reference, store=store)
    assert again.n_computed == 40 - len(kept) and again.n_reused == len(kept)
    assert len(count.read_text().split()) - before == again.n_computed


def test_a_scheduler_without_workers_is_given_up_after_a_while(tmp_path):
    with scheduler_and_workers(tmp_path, 0) as (address, _):
        with make_executor(address, make_square, patience=0.5) as executor:
            with pytest.raises(ExecutorLostError, match=r"no worker for 0\.5 s.*dask worker"):
                list(executor.run([1]))


def test_the_command_line_says_what_became_of_the_cluster(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sscha_mlp.parallel.dask_adapter._CONNECT_LIMIT", 3.0)
    frames = tmp_path / "in.xyz"
    write_extxyz(frames, copper(2))
    asked = ["label", str(frames), "--reference", "emt", "--out", str(tmp_path / "out.xyz")]
    assert run_command([*asked, "--executor", "tcp://127.0.0.1:9"]) == 2
    error = capsys.readouterr().err
    assert "No dask scheduler answers at tcp://127.0.0.1:9" in error.replace("\n", " ")
    assert "Traceback" not in error
    with scheduler_and_workers(tmp_path) as (address, _):
        assert run_command([*asked, "--executor", address, "--quiet"]) == 0
    assert (tmp_path / "out.xyz").is_file()


# --- the same result -------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_on_dask_has_the_result_of_a_run_on_processes(finished_run, tmp_path):
    arguments = [*relax_arguments(tmp_path, "cheap:diary"), "--executor", "dask-local:2"]
    diary = tmp_path / "diary"
    done = sscha_mlp([*arguments, "--quiet"], cwd=tmp_path, **{DIARY: diary})
    assert done.returncode == 0, done.stderr
    found = tmp_path / "run" / "result.json"
    assert without_timings(found) == without_timings(finished_run / "result.json")
    asked = diary.read_text().split()
    assert sorted(asked) == sorted((finished_run.parent / "diary").read_text().split())
    assert len(asked) == len(set(asked))


def test_a_model_on_dask_predicts_as_it_does_here(finished_run, cluster):
    frames = copper(40)
    with load(finished_run / "models" / "000") as potential:
        expected = potential.evaluate(frames, uncertainty=True)
        with spread(potential, cluster) as elsewhere:
            found = elsewhere.evaluate(frames, uncertainty=True)
            assert elsewhere.sha256 == potential.sha256
            assert elsewhere.uncertainty == potential.uncertainty
    assert found.energies == pytest.approx(expected.energies, abs=1e-9)
    assert found.stresses == pytest.approx(expected.stresses, abs=1e-9)
    assert found.uncertainty == pytest.approx(expected.uncertainty, abs=1e-9)
    assert all(
        a == pytest.approx(b, abs=1e-9) for a, b in zip(found.forces, expected.forces, strict=True)
    )


def test_a_model_stays_as_it_is_on_this_machine(finished_run):
    with load(finished_run / "models" / "000") as potential, Machines() as machines:
        assert spread(potential, machines) is potential


# --- retries ---------------------------------------------------------------------------------

TRANSIENT = Failed("the worker process died", 1.0, transient=True)
PERMANENT = Failed("not converged", 1.0)


def test_only_transient_failures_are_tried_again_after_growing_pauses():
    inner, pauses = Scripted(), []
    tasks = [
        [Done("a", 2.0)],
        [TRANSIENT, TRANSIENT, Done("b", 2.0)],
        [PERMANENT, Done("never", 0.0)],
        [TRANSIENT, PERMANENT],
        [TRANSIENT] * 5,
    ]
    with Retrying(inner, 3, Backoff(10.0), sleep=pauses.append) as executor:
        outcomes = dict(executor.run(tasks))
    assert inner.rounds == [5, 3, 2, 1] and inner.closed
    assert outcomes[0] == Done("a", 2.0) and outcomes[1] == Done("b", 4.0)
    assert outcomes[2] == PERMANENT
    assert outcomes[3].reason == "not converged (the last of 2 attempts)"
    assert outcomes[4].reason == "the worker process died (the last of 4 attempts)"
    assert outcomes[4].seconds == 4.0
    assert len(pauses) == 3
    for mean, pause in zip((10, 20, 40), pauses, strict=True):
        assert mean / 2 <= pause <= 1.5 * mean


def test_pauses_have_jitter_and_an_upper_bound():
    backoff = Backoff(2.0)
    assert [backoff.pause(n, 0.5) for n in range(4)] == [2.0, 4.0, 8.0, 16.0]
    assert backoff.pause(0, 0.0) == 1.0 and backoff.pause(0, 0.999) == pytest.approx(3.0, abs=0.01)
    assert backoff.pause(60, 0.5) == 300.0


def test_what_can_only_fail_is_not_tried_again():
    inner = Scripted()
    executor = Retrying(inner, 3, Backoff(0.0), sleep=lambda _: None)
    outcomes = dict(executor.run([[TRANSIENT] * 4 for _ in range(40)]))
    assert inner.rounds == [40] and len(outcomes) == 40


def test_a_lost_connection_of_a_calculator_is_transient():
    def refuse(_: object) -> None:
        raise ConnectionResetError("peer")

    with make_executor("here", lambda: refuse, retries=2, backoff=0.0) as executor:
        ((_, outcome),) = executor.run([1])
    assert outcome.transient
    assert outcome.reason == "ConnectionResetError: peer (the last of 3 attempts)"


def test_processes_try_again_only_when_asked(tmp_path):
    for retries, expected in ((None, 1), (2, 3)):
        diary = tmp_path / f"{retries}"
        with make_executor("processes:2", make_work, retries=retries, backoff=0.01) as executor:
            dict(executor.run([Work(0, diary, what="crash"), Work(1, diary)]))
        assert numbers(diary).count(0) == expected and numbers(diary).count(1) == 1


# --- queues ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "submit", "cancel"),
    [
        ("slurm", "sbatch", "scancel"),
        pytest.param("pbs", "qsub", "qdel", marks=pytest.mark.slow),
    ],
)
def test_a_queue_gives_workers_and_new_ones_for_lost_ones(
    kind, submit, cancel, tmp_path, monkeypatch
):
    monkeypatch.setenv("PATH", fake_queue(tmp_path, submit, cancel))
    monkeypatch.setenv("DASK_DISTRIBUTED__DEPLOY__LOST_WORKER_TIMEOUT", "500ms")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
    refresh_configuration()
    arguments = {
        "cores": 1,
        "memory": "1GB",
        "walltime": "00:10:00",
        "interface": "lo",
        "python": sys.executable,
        "local_directory": str(tmp_path),
        "job_script_prologue": ["export SSCHA_MLP_PROLOGUE=1"],
    }
    settings = ExecutorSettings(kind=kind, workers=1, cluster=arguments)
    diary = tmp_path / "diary"
    try:
        with make_executor(settings, make_work) as executor:
            assert values(dict(executor.run([Work(1, diary)])))[0][0] == 1
            os.killpg(job_pids(tmp_path)[0], signal.SIGKILL)
            assert values(dict(executor.run([Work(2, diary), Work(3, diary)])))[1][0] == 3
        script = (tmp_path / "job.0").read_text()
        assert "00:10:00" in script and "export SSCHA_MLP_PROLOGUE=1" in script
        assert len(job_pids(tmp_path)) >= 2
        assert wait_until_dead(job_pids(tmp_path))
    finally:
        for pid in job_pids(tmp_path):
            if alive(pid):
                os.killpg(pid, signal.SIGKILL)
        monkeypatch.undo()
        refresh_configuration()
    assert numbers(diary) == [1, 2, 3]


def test_a_queue_that_refuses_the_jobs_is_named(tmp_path, monkeypatch):
    place = fake_queue(tmp_path, "sbatch", "scancel")
    arguments = {"cores": 1, "memory": "1GB", "interface": "lo"}
    settings = ExecutorSettings(kind="slurm", workers=1, cluster=arguments)
    with pytest.raises(ConfigError, match="needs the command 'sbatch'"):
        make_executor(settings, make_square)
    (tmp_path / "sbatch").write_text("#!/bin/sh\necho invalid partition >&2\nexit 1\n")
    monkeypatch.setenv("PATH", place)
    with make_executor(settings, make_square) as executor:
        with pytest.raises(ExecutorLostError, match=r"did not take the jobs.*invalid partition"):
            list(executor.run([1]))


def refresh_configuration() -> None:
    dask.config.refresh()


def test_the_examples_of_the_document_are_job_scripts():
    text = (ROOT / "docs" / "clusters.md").read_text()
    tables = [tomllib.loads(one) for one in re.findall(r"```toml\n(.*?)```", text, re.DOTALL)]
    jobs = {"slurm": dask_jobqueue.slurm.SLURMJob, "pbs": dask_jobqueue.pbs.PBSJob}
    seen = set()
    for table in tables:
        settings = ExecutorSettings(**table["executor"])
        seen.add(settings.kind)
        if settings.kind in jobs:
            arguments = {k: v for k, v in settings.cluster.items() if k != "interface"}
            job = jobs[settings.kind](scheduler="tcp://127.0.0.1:1", name="0", **arguments)
            assert settings.cluster["walltime"] in job.job_script()
    assert {"slurm", "pbs"} <= seen


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("dusk-local:2", "executor 'dusk-local:2' is not understood; write here, processes"),
        ("dask-local:0", "a number of workers is written as in"),
        ("dask-local:two", "a number of workers is written as in"),
        ("here:2", "a number of workers is written as in"),
        ("slurm", "name of a TOML file"),
        ("http://host:1", "tcp://host:port"),
        ("missing.toml", r"There is no executor file missing\.toml"),
    ],
)
def test_an_executor_that_is_not_understood_is_named(spec, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        read_executor(spec)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "cloud"}, "Unknown executor 'cloud'; known: here"),
        ({"kind": "dask"}, "needs the address of a running scheduler"),
        ({"address": "tcp://a:1"}, "kind 'dask', and no other"),
        ({"kind": "dask", "address": "localhost:8786"}, "write tcp://host:port"),
        ({"kind": "slurm"}, "needs the number of workers"),
        ({"cluster": {"queue": "x"}}, "executor.cluster has no meaning for kind = 'processes'"),
        ({"retries": -1}, r"executor\.retries = -1 must be a whole number of at least 0"),
        ({"retries": 1.5}, "must be a whole number"),
        ({"workers": True}, "must be a whole number"),
        ({"backoff": float("inf")}, r"executor\.backoff = inf must be a number"),
        ({"time_limit": "1h"}, "must be a number"),
    ],
)
def test_settings_out_of_range_are_named(values, message):
    with pytest.raises(ConfigError, match=message):
        ExecutorSettings(**values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind = 'slurm'", r"needs a table \[executor\]"),
        ("[executor]\nworkers = 2", "with kind"),
        ("[executor]\nkind = 'slurm'\nqueue = 'x'", r"unknown key executor\.queue; known here"),
        ("[executor]\nkind = 'slurm'\ncluster = 3", "must be a table"),
        ("[executor", "cannot be read"),
    ],
)
def test_an_executor_file_with_an_error_is_named(text, message, tmp_path):
    path = tmp_path / "executor.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_executor(path)


def test_arguments_that_the_cluster_does_not_know_are_named():
    settings = ExecutorSettings(kind="dask-local", workers=1, cluster={"coars": 2})
    with pytest.raises(ConfigError, match=r"arguments in \[executor\.cluster\].*coars"):
        make_executor(settings, make_square)


@pytest.mark.parametrize("package", ["distributed", "dask_jobqueue"])
def test_a_missing_package_is_named_with_what_installs_it(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    settings = ExecutorSettings(kind="slurm", workers=1, cluster={"cores": 1, "memory": "1GB"})
    with pytest.raises(ConfigError, match=rf"package '{package}'.*sscha-mlp\[dask\]"):
        make_executor(settings, make_square)


def test_a_function_that_cannot_be_sent_is_refused(cluster):
    with pytest.raises(InputError, match="top level of a module"):
        cluster.executor(lambda: abs)
    with pytest.raises(InputError, match="must be positive"):
        cluster.executor(make_square, time_limit=-1.0)
    with pytest.raises(InputError, match="isolate=True"):
        make_executor("here", make_square, time_limit=1.0)


def test_closed_machines_are_refused():
    machines = Machines(LOCAL)
    machines.close()
    with pytest.raises(SschaMlpError, match="machines are closed"):
        machines.executor(make_square)


# --- settings of a run -----------------------------------------------------------------------


def test_the_executor_of_a_run_survives_toml_and_may_differ_on_resume():
    table = {"kind": "slurm", "workers": 4, "retries": 0, "cluster": {"queue": "a", "cores": 2}}
    first = RunSettings.from_mapping({"temperature": 300, "executor": table})
    assert first.model_executor == ExecutorSettings()
    text = format_toml(first.to_mapping())
    assert RunSettings.from_mapping(tomllib.loads(text)) == first
    second = RunSettings.from_mapping({"temperature": 300})
    assert differences(first.to_mapping(), second.to_mapping()) == []
    old = {k: v for k, v in first.to_mapping().items() if "executor" not in k}
    assert differences(old, first.to_mapping()) == []
    with pytest.raises(ConfigError, match=r"Unknown setting executor\.wokers"):
        RunSettings.from_mapping({"temperature": 300, "executor": {"wokers": 1}})


def test_workers_and_time_limit_of_the_executor_go_first():
    settings = ExecutorSettings(workers=3, time_limit=9.0)
    with Machines(settings).executor(make_square, n_workers=1, time_limit=1.0) as executor:
        assert (executor.n_workers, executor.time_limit) == (3, 9.0)
    assert Machines(settings).local_workers(1) == 3
    assert Machines("here").local_workers(4) == 1
    assert Machines("tcp://host:1").local_workers(4) == 4


def test_wait_for_fails_when_nothing_happens():
    with pytest.raises(AssertionError):
        wait_for(lambda: False, 0.05)


# --- what comes too late -----------------------------------------------------------------------


def test_a_task_that_begins_after_its_function_was_ended_does_not_run(tmp_path):
    order = remote.Order("ended-before", pickle.dumps(make_work), tuple(sys.path), None)
    remote.end(order.key)
    outcome = remote.apply_isolated(order, pickle.dumps(Work(0, tmp_path / "diary")))
    assert isinstance(outcome, Failed) and "withdrawn" in outcome.reason
    assert not (tmp_path / "diary").exists()


def test_a_pool_that_is_interrupted_while_its_worker_starts_does_not_wait_for_it(monkeypatch):
    start = pool_module._start_worker
    with pool_module.WorkerPool(make_misbehave, 1, isolate=True) as pool:

        def interrupted(payload):
            worker = start(payload)
            pool.interrupt()
            return worker

        monkeypatch.setattr(pool_module, "_start_worker", interrupted)
        with pytest.raises(SschaMlpError, match="interrupted"):
            dict(pool.run(["hang"]))
