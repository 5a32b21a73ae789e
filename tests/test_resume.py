"""A run that is killed and started again ends with the result of one that was left alone."""

import json
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from cheap import DIARY, command, environment, relax_arguments, sscha_mlp, without_timings

from sscha_mlp.calculators.registry import get_reference
from sscha_mlp.cli import run_command
from sscha_mlp.errors import InputError
from sscha_mlp.reference.store import LabelStore
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.run_files.settings import RunSettings

MOMENTS = {
    "in the middle of the labels": lambda run: journal_holds(run, "labels/train-start"),
    "after the first fit": lambda run: journal_holds(run, "fit/0"),
    "in the middle of the relaxation": lambda run: journal_holds(run, "population/round-1/1"),
}


def journal_holds(run: Path, key: str) -> bool:
    journal = run / "journal.jsonl"
    return journal.is_file() and f'"step": "{key}"' in journal.read_text(errors="replace")


def diary_lines(path: Path) -> list[str]:
    return path.read_text().split() if path.is_file() else []


def finished_labels(run: Path) -> set[str]:
    """Keys of the labels that are safe in the store of a run."""
    if not (run / "labels.db").is_file():
        return set()
    with LabelStore(run / "labels.db") as store:
        return set(store.get_all(get_reference("cheap:diary").identity))


def start(arguments: list[str], diary: Path) -> subprocess.Popen:
    return subprocess.Popen(
        command(arguments),
        env=environment(**{DIARY: diary}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill_when(arguments: list[str], diary: Path, run: Path, reached) -> bool:
    """Start the run and kill it when `reached(run)`; return whether it was killed."""
    with start(arguments, diary) as process:
        while process.poll() is None and not reached(run):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    return process.returncode == -signal.SIGKILL


def workers_have_ended(diary: Path) -> bool:
    """Whether no process of a killed run goes on labelling."""
    time.sleep(0.5)  # a label in progress may end
    before = len(diary_lines(diary))
    time.sleep(0.5)
    return len(diary_lines(diary)) == before


def same_result(first: Path, second: Path) -> None:
    assert json.dumps(without_timings(first)) == json.dumps(without_timings(second))


@pytest.fixture
def uninterrupted(finished_run):
    """Result of a run that was left alone, and the configurations that it asked about."""
    return finished_run / "result.json", diary_lines(finished_run.parent / "diary")


def test_a_reference_is_asked_once_for_each_configuration(uninterrupted):
    _, asked = uninterrupted
    assert len(asked) == len(set(asked))


def test_a_run_killed_three_times_ends_with_the_same_result(uninterrupted, tmp_path):
    expected, asked = uninterrupted
    run, diary = tmp_path / "run", tmp_path / "diary"
    arguments = [*relax_arguments(tmp_path, "cheap:diary"), "--quiet"]

    for reached in MOMENTS.values():
        before, known = len(diary_lines(diary)), finished_labels(run)
        assert kill_when(arguments, diary, run, reached)
        assert known.isdisjoint(diary_lines(diary)[before:])
        assert workers_have_ended(diary)

    before, known = len(diary_lines(diary)), finished_labels(run)
    done = sscha_mlp([*arguments, "--workers", "2"], **{DIARY: diary})
    assert done.returncode == 0, done.stderr
    assert known.isdisjoint(diary_lines(diary)[before:])
    assert set(diary_lines(diary)) == set(asked)
    same_result(run / "result.json", expected)


@pytest.mark.slow
def test_a_run_killed_at_ten_random_moments_ends_with_the_same_result(uninterrupted, tmp_path):
    expected, _ = uninterrupted
    rng = np.random.default_rng(11)
    run, diary, killed = tmp_path / "run", tmp_path / "diary", 0
    arguments = [*relax_arguments(tmp_path, "cheap:diary"), "--quiet"]
    while killed < 10 and not (run / "report.pdf").is_file():
        moment = time.perf_counter() + rng.uniform(1.0, 6.0)
        before, known = len(diary_lines(diary)), finished_labels(run)
        killed += kill_when(arguments, diary, run, lambda _: time.perf_counter() > moment)  # noqa: B023
        assert known.isdisjoint(diary_lines(diary)[before:])
    done = sscha_mlp(arguments, **{DIARY: diary})
    assert done.returncode == 0, done.stderr
    assert killed >= 4
    same_result(run / "result.json", expected)


def test_a_second_run_in_the_same_directory_is_refused(tmp_path, capsys):
    arguments = [*relax_arguments(tmp_path), "--quiet"]
    (tmp_path / "run").mkdir()
    with RunDirectory(tmp_path / "run").locked():
        assert run_command(arguments) == 1
    assert "Another run is working in" in capsys.readouterr().err


def test_settings_may_change_before_the_first_step(tmp_path):
    place = RunDirectory(tmp_path / "run")
    place.prepare(RunSettings(temperature=300.0))
    place.prepare(RunSettings(temperature=400.0))
    assert place.settings().temperature == 400.0
    place.journal.write_text('{"step": "start", "seconds": 1.0, "payload": {}}\n')
    with pytest.raises(InputError, match=r"temperature: 400\.0 -> 500\.0"):
        place.prepare(RunSettings(temperature=500.0))
