"""Worker pools: order, laziness, failures, time limits, and no orphan processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty import broken_factory, dying_factory, make_misbehave, make_square

from sscha_mlp.errors import InputError, SschaMlpError
from sscha_mlp.parallel import Done, Failed, WorkerPool, WorkerStartError

ROOT = Path(__file__).resolve().parents[1]


def alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] == "Z")


def wait_until_dead(pids: list[int], seconds: float = 5.0) -> bool:
    """Whether all processes end in the given time."""
    limit = time.monotonic() + seconds
    while any(alive(pid) for pid in pids) and time.monotonic() < limit:
        time.sleep(0.02)
    return not any(alive(pid) for pid in pids)


def values(outcomes: dict[int, Done | Failed]) -> list[object]:
    """Values in the order of the tasks; reasons for the failures."""
    return [o.value if isinstance(o, Done) else o.reason for _, o in sorted(outcomes.items())]


@pytest.mark.parametrize(("n_workers", "isolate"), [(1, None), (1, True), (2, None)])
def test_all_tasks_are_done(n_workers: int, isolate: bool | None) -> None:
    with WorkerPool(make_square, n_workers, isolate=isolate) as pool:
        outcomes = dict(pool.run(range(20)))
        assert values(outcomes) == [i * i for i in range(20)]
        assert all(o.seconds >= 0.0 for o in outcomes.values())
        assert dict(pool.run([])) == {}
        assert values(dict(pool.run([3.0]))) == [9.0]


def test_tasks_are_pulled_lazily() -> None:
    pulled = []

    def tasks() -> Iterator[int]:
        for i in range(1000):
            pulled.append(i)
            yield i

    with WorkerPool(make_square, 2) as pool:
        for n_done, _ in enumerate(pool.run(tasks()), start=1):
            assert len(pulled) <= n_done + 4
            if n_done == 10:
                break
        assert values(dict(pool.run([2, 3]))) == [4, 9]


def test_failures_have_reasons_and_the_pool_goes_on() -> None:
    tasks = [1, "raise", "exit", "sys.exit", "unpicklable", "print", lambda: None, 2]
    with WorkerPool(make_misbehave, 2) as pool:
        result = values(dict(pool.run(tasks)))
    assert result[0] == 1 and result[5] == "print" and result[7] == 2
    assert result[1] == "ValueError: this one does not converge"
    assert result[2] == ("the worker process ended with exit status 3: SYSTEM ABORT: out of ideas")
    assert result[3] == "SystemExit: 4"
    assert "result cannot be sent back" in str(result[4])
    assert "task cannot be sent" in str(result[6])


def test_failures_in_the_callers_process() -> None:
    with WorkerPool(make_misbehave, 1) as pool:
        assert values(dict(pool.run(["raise", 5]))) == [
            "ValueError: this one does not converge",
            5,
        ]


def test_time_limit() -> None:
    start = time.monotonic()
    with WorkerPool(make_misbehave, 2, time_limit=0.5) as pool:
        outcomes = dict(pool.run(["hang", 1, 2, "hang", 3]))
    assert values(outcomes) == [
        "exceeded the time limit of 0.5 s", 1, 2, "exceeded the time limit of 0.5 s", 3,
    ]  # fmt: skip
    assert outcomes[0].seconds == pytest.approx(0.5, abs=0.4)
    assert time.monotonic() - start < 20.0


def test_time_limit_ends_what_the_task_started(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with WorkerPool(make_misbehave, 1, time_limit=1.0) as pool:
        ((_, outcome),) = pool.run([f"spawn {pid_file}"])
    assert "time limit" in outcome.reason
    assert wait_until_dead([int(pid_file.read_text())])


def test_results_come_as_they_complete() -> None:
    with WorkerPool(make_misbehave, 2) as pool:
        dict(pool.run([1, 2, 3, 4]))  # both workers are up
        order = [index for index, _ in pool.run([("slow", 1.0), ("fast", 0.0)])]
    assert order == [1, 0]


def test_workers_have_one_thread_and_leave_the_environment_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "13")
    with WorkerPool(make_misbehave, 1, isolate=True) as pool:
        ((_, outcome),) = pool.run(["environment"])
        threads, pid, group = outcome.value
        assert threads == "1" and pid == group != os.getpid()
    assert os.environ["OMP_NUM_THREADS"] == "13"
    assert wait_until_dead([pid])


def test_worker_killed_between_tasks_is_replaced() -> None:
    with WorkerPool(make_misbehave, 1, isolate=True) as pool:
        ((_, outcome),) = pool.run(["environment"])
        os.kill(outcome.value[1], signal.SIGKILL)
        assert wait_until_dead([outcome.value[1]])
        assert values(dict(pool.run([1, 2]))) == [1, 2]


@pytest.mark.parametrize("isolate", [False, True])
def test_broken_factory(isolate: bool) -> None:
    with WorkerPool(broken_factory, 1, isolate=isolate) as pool:
        with pytest.raises(WorkerStartError, match="RuntimeError: no licence"):
            list(pool.run([1, 2]))


def test_dying_factory() -> None:
    with WorkerPool(dying_factory, 2) as pool:
        with pytest.raises(WorkerStartError, match="ended with exit status 7"):
            list(pool.run([1, 2]))


def test_bad_arguments() -> None:
    with pytest.raises(InputError, match="number of workers is 0"):
        WorkerPool(make_square, 0)
    with pytest.raises(InputError, match="must be positive"):
        WorkerPool(make_square, 1, time_limit=0.0)
    with pytest.raises(InputError, match="isolate=True"):
        WorkerPool(make_square, 2, isolate=False)
    with pytest.raises(InputError, match="top level of a module"):
        WorkerPool(lambda: abs, 2)


def test_function_of_a_script_is_explained() -> None:
    code = (
        "from sscha_mlp.parallel import WorkerPool\n"
        "def make(): return abs\n"
        "list(WorkerPool(make, 2).run([1]))\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False
    )
    assert "define it in a module, not in a script or notebook" in result.stderr


def test_closed_pool_is_refused() -> None:
    pool = WorkerPool(make_square, 2)
    pool.close()
    with pytest.raises(SschaMlpError, match="closed"):
        list(pool.run([1]))


SCRIPT = """
import sys
from faulty import make_misbehave
from sscha_mlp.parallel import WorkerPool

print("started", flush=True)
with WorkerPool(make_misbehave, 2) as pool:
    for _, outcome in pool.run(["environment", "environment", ("x", 0.0), "hang", "hang"]):
        print(outcome.value, flush=True)
"""


def test_workers_die_with_a_killed_parent_without_main_guard(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    with subprocess.Popen(
        [sys.executable, str(script)], env=env, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(4)]
        process.kill()
        rest = process.stdout.read()
    assert lines[0] == "started\n" and "started" not in rest
    pids = [int(line.split(",")[1]) for line in lines if line.startswith("(")]
    assert len(pids) == 2
    assert wait_until_dead(pids)
