"""Functions of tasks, queues of jobs and clusters that the tests of the executors use."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cheap import environment

from sscha_mlp.parallel.outcome import Done, Failed


@dataclass(frozen=True)
class Work:
    """Sleep, then write the number into a file; or end the parent process, as `what` says."""

    number: int
    diary: Path
    seconds: float = 0.0
    what: str = "work"

    def do(self) -> tuple[int, int]:
        """Return the number, and the dask worker or, if asked to, the process of the task."""
        if self.what == "crash":
            self._note()
            os._exit(5)
        if self.what == "kill the dask worker":
            self._note()
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60.0)
        time.sleep(self.seconds)
        self._note()
        return self.number, os.getpid() if self.what == "name the process" else os.getppid()

    def _note(self) -> None:
        with self.diary.open("a") as stream:
            stream.write(f"{self.number}\n")


def make_work() -> Callable[[Work], tuple[int, int]]:
    """Make the function of :class:`Work`."""
    return Work.do


def numbers(diary: Path) -> list[int]:
    """What was written, in order."""
    return [int(line) for line in diary.read_text().split()] if diary.exists() else []


class Scripted:
    """An executor in this process: each task is a list of the outcomes of its attempts."""

    def __init__(self) -> None:
        self.rounds: list[int] = []
        self.closed = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        self.closed = True

    def run(self, tasks) -> Iterator[tuple[int, Done | Failed]]:
        self.rounds.append(0)
        for index, task in enumerate(tasks):
            self.rounds[-1] += 1
            yield index, task.pop(0)


@contextmanager
def scheduler_and_workers(directory: Path, n_workers: int = 1) -> Iterator[tuple[str, list]]:
    """Scheduler and workers as commands; yields the address and the processes, scheduler first."""
    place = directory / "scheduler.json"
    tool = [sys.executable, "-m"]
    options = ["--scheduler-file", str(place), "--no-dashboard"]
    quiet = {"env": environment(), "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    commands = [
        [*tool, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", *options],
        *[
            [*tool, "distributed.cli.dask_worker", *options, "--no-nanny", "--nthreads", "1"]
            for _ in range(n_workers)
        ],
    ]
    processes = []
    try:
        for command in commands:
            processes.append(subprocess.Popen(command, cwd=directory, **quiet))
            wait_for(place.is_file)
        yield address_in(place), processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def address_in(place: Path) -> str:
    wait_for(lambda: place.read_text().strip().endswith("}"))
    return json.loads(place.read_text())["address"]


def wait_for(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until a condition holds, or fail."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "this did not happen in time"
        time.sleep(0.02)


SUBMIT = """#!/bin/sh
# A queue that starts each job at once, in a session of its own.
n=$(ls "{place}"/job.* 2>/dev/null | wc -l)
cp "$1" "{place}/job.$n"
setsid sh "{place}/job.$n" >"{place}/out.$n" 2>&1 </dev/null &
echo $! >"{place}/pid.$n"
echo "Submitted batch job $!"
"""

CANCEL = """#!/bin/sh
for id in "$@"; do echo "$id" >>"{place}/cancelled"; kill -9 -"$id"; done
"""


def fake_queue(place: Path, submit: str, cancel: str) -> str:
    """Write the commands of a queue; returns the search path that has them first."""
    for name, text in ((submit, SUBMIT), (cancel, CANCEL)):
        script = place / name
        script.write_text(text.format(place=place))
        script.chmod(0o755)
    return f"{place}{os.pathsep}{os.environ['PATH']}"


def job_pids(place: Path) -> list[int]:
    """Processes of the jobs that were submitted."""
    return [int(path.read_text()) for path in sorted(place.glob("pid.*"))]
