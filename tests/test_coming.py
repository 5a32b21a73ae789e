"""Labels while they come in: counted, timed, shown in the log and by ``status``, never lost."""

import logging
import re
from types import SimpleNamespace

import pytest
from cheap import finish, relax_arguments

from sscha_mlp.campaign.finalisation import stop_reason
from sscha_mlp.campaign.loop import run
from sscha_mlp.campaign.model_domain import Alarm
from sscha_mlp.cli import run_command
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.run_files.journal import Journal
from sscha_mlp.run_files.label_progress import Coming, LabelWatch
from sscha_mlp.run_files.observer import (
    LogObserver,
    Pace,
    ProgressLines,
    logged_to,
    progress_in_words,
    watched_by,
)
from sscha_mlp.run_files.settings import RunSettings, read_toml
from sscha_mlp.run_files.stage_settings import LabelPolicy
from sscha_mlp.run_files.status import Standing, State
from sscha_mlp.validation.certificate import Verdict


class Clock:
    """Time that passes when it is told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Watcher:
    """Keeps what it is told, and stops the work at a number of labels or at a stage."""

    def __init__(self, stop_at=None, stop_stage="never"):
        self.stop_at, self.stop_stage = stop_at, stop_stage
        self.stages, self.told = [], []

    def stage(self, text):
        self.stages.append(text)
        if self.stop_stage in text:
            raise KeyboardInterrupt

    def progress(self, what, done, total):
        self.told.append((what, done, total))
        if (what, done) == ("labels", self.stop_at):
            raise KeyboardInterrupt

    def note(self, text):
        pass

    def population(self, row):
        pass


# --- pace -----------------------------------------------------------------------------------


def test_what_was_there_at_the_beginning_took_no_time():
    clock = Clock()
    pace = Pace(clock)
    clock.now += 100.0
    assert pace.seconds_each(10) is None
    assert pace.seconds_each(11) is None  # the first of all also waits for its workers
    clock.now += 24.0
    assert pace.seconds_each(13) == pytest.approx(8.0)


@pytest.mark.parametrize(
    ("done", "total", "each", "words"),
    [
        (17, 28, 8.0, "17 of 28, one every 8.0 s, about 88 s left"),
        (17, 28, 13.0, "17 of 28, one every 13 s, about 2 min 20 s left"),
        (0, 28, None, "0 of 28"),
        (5, 0, 20.0, "5, one every 20 s"),
    ],
)
def test_progress_in_words(done, total, each, words):
    assert progress_in_words(done, total, each) == words


def test_a_file_gets_a_line_in_half_a_minute_and_not_one_for_each_label():
    clock = Clock()
    lines = ProgressLines(clock)
    said = []
    for done in range(29):
        said.append(lines.line("labels", done, 28))
        clock.now += 8.0
    said = [one for one in said if one]
    assert said[0] == "labels: 4 of 28, one every 8.0 s, about 3 min 10 s left"
    assert len(said) == 6  # 28 times 8 s, in steps of 32 s; the end has a line of its own
    assert not any("28 of 28" in one for one in said)


def test_quick_work_gets_no_lines():
    clock = Clock()
    lines = ProgressLines(clock)
    for _ in range(100):  # one population after the other, 1 s each
        assert not lines.line("population", 0, 1000)
        clock.now += 1.0
        assert not lines.line("population", 1000, 1000)


# --- the count ------------------------------------------------------------------------------


def test_two_batches_of_a_stage_are_counted_together(tmp_path):
    clock, watcher = Clock(), Watcher()
    path = tmp_path / "labelling.json"
    watch = LabelWatch(path, watcher, clock=clock)
    watch.stage(28)
    tell = watch.batch("labels/train-start", "labels", 20)
    for done in range(21):
        tell(done, 20)
        clock.now += 10.0
    assert Coming.read(path) == Coming("labels/train-start", 20, 20, 28, 10.0)
    watch.recorded()
    assert not path.exists()
    tell = watch.batch("labels/test-start", "labels", 8)
    tell(0, 8)
    tell(3, 8)
    watch.close()
    found = Coming.read(path)
    assert (found.in_step, found.done, found.total) == (3, 23, 28)
    assert found.seconds_left == pytest.approx(5 * found.seconds_each)
    assert watcher.told[-1] == ("labels", 23, 28)
    # What belongs to no stage is one of its own.
    watch.batch("labels/check-1-1", "labels", 12)(4, 12)
    assert watcher.told[-1] == ("labels", 4, 12)


def test_the_file_is_written_seldom_and_read_only_where_it_is_whole(tmp_path):
    clock = Clock()
    path = tmp_path / "labelling.json"
    watch = LabelWatch(path, Watcher(), clock=clock)
    tell = watch.batch("start", "finite displacements", 100)
    for done in range(100):
        tell(done, 100)
        clock.now += 0.1
    assert 80 <= Coming.read(path).done <= 99
    assert Coming.read(path).in_words().startswith(f"{Coming.read(path).done} of 100 calls")
    for damaged in ("", "[]", "{}", '{"step": 1, "in_step": null}'):
        path.write_text(damaged)
        assert Coming.read(path) is None
    assert Coming.read(tmp_path / "none.json") is None


# --- a run ----------------------------------------------------------------------------------


def copper(directory, **changes):
    relax_arguments(directory)
    settings = read_toml(directory / "tiny.toml") | changes
    settings |= {"structure": str(directory / "copper.vasp"), "reference": "emt"}
    return RunSettings.from_mapping(settings)


def test_a_run_that_is_stopped_among_its_labels_says_how_many_it_has(tmp_path, capsys):
    settings, place = copper(tmp_path, executor={"kind": "here"}), tmp_path / "run"
    first = Watcher(stop_at=12)
    with pytest.raises(KeyboardInterrupt):
        run(settings, place, observer=first)
    assert not Standing.read(place).log.stage.startswith("explore")
    found = Standing.read(place)
    assert (found.state, found.coming.done, found.coming.total) == (State.STOPPED, 12, 14)
    assert found.labels == 12  # ten to train are in the journal, two to test are not
    assert found.to_json()["labels_of_the_step"]["in_step"] == 2
    assert run_command(["status", str(place)]) == 0
    text = capsys.readouterr().out
    assert "12 of at most 60" in text
    assert "So far        12 of 14 labels of this stage; they are kept" in text

    # What there is is not announced again once all of it is there.
    second = Watcher(stop_stage="fit 0")
    with pytest.raises(KeyboardInterrupt):
        run(settings, place, observer=second)
    assert second.told[0] == ("labels", 8, 14)  # the first batch; two of the ten are strained
    third = Watcher(stop_stage="explore")
    with pytest.raises(KeyboardInterrupt):
        run(settings, place, observer=third)
    assert not any(one.startswith("labels") for one in third.stages)
    assert Standing.read(place).coming is None
    assert Standing.read(place).labels == 14


def test_each_wait_for_labels_is_a_stage(finished_run):
    log = (finished_run / "log.txt").read_text()
    stages = re.findall(r"== (.*)", log)
    explored = next(i for i, one in enumerate(stages) if one.startswith("explore:"))
    assert stages[explored + 1] == "labels: 6 more to train"
    assert "check 1: 8 fresh labels of the converged state" in stages
    assert not RunDirectory(finished_run).labelling.exists()


def test_sigterm_has_a_line_in_the_log(tmp_path, monkeypatch):
    copper(tmp_path)

    def ended(*args, **kwargs):
        raise SystemExit(143)

    monkeypatch.setattr("sscha_mlp.campaign.loop.make_start", ended)
    with pytest.raises(SystemExit):
        finish(tmp_path)
    found = Standing.read(tmp_path / "run")
    assert found.state is State.STOPPED
    assert found.log.last == "ended by SIGTERM"


# --- who is told ----------------------------------------------------------------------------


def test_a_script_without_observer_and_logging_sees_the_log(tmp_path, monkeypatch, capsys):
    package = logging.getLogger("sscha_mlp")
    monkeypatch.setattr(package, "propagate", False)  # pytest has handlers of its own
    for shown in (True, False):
        with logged_to(tmp_path / f"{shown}.txt", shown=shown):
            watched_by(None).stage("fit 0")
        assert capsys.readouterr().err == ("== fit 0\n" if shown else "")
        assert (tmp_path / f"{shown}.txt").read_text().endswith(" == fit 0\n")
    package.addHandler(quiet := logging.NullHandler())
    try:
        with logged_to(tmp_path / "quiet.txt", shown=True):
            watched_by(None).note("nobody hears this")
    finally:
        package.removeHandler(quiet)
    assert capsys.readouterr().err == ""
    assert package.handlers == []


def test_lines_are_in_the_log_once(tmp_path):
    with logged_to(tmp_path / "log.txt", shown=False):
        watched_by(LogObserver()).note("once")
        watched_by(Watcher()).note("twice")
    text = (tmp_path / "log.txt").read_text()
    assert text.count("once") == text.count("twice") == 1


# --- sentences ------------------------------------------------------------------------------


@pytest.mark.parametrize(("spent", "more"), [(100, True), (84, False), (120, False)])
def test_a_budget_that_is_left_but_too_small_is_explained(spent, more, tmp_path):
    settings = RunSettings(300.0, labels=LabelPolicy.FIXED, max_labels=120)
    text = stop_reason(
        SimpleNamespace(settings=settings, journal=Journal(tmp_path / "journal.jsonl")),
        SimpleNamespace(left_domain=False, converged=True),
        SimpleNamespace(left_domain=False),
        SimpleNamespace(certificate=SimpleNamespace(verdict=Verdict.RETRAIN, reason="outside")),
        on_target=True,
        spent=spent,
        checks=1,
    )
    assert f"{spent} of 120 labels" in text
    assert ("takes 36 labels for its check alone, more than the 20 left" in text) == more


@pytest.mark.parametrize(
    ("n_configs", "fraction", "words"),
    [(200, 0.001, "1 of 200"), (1000, 0.01, "10 of 1000"), (40, 0.0, "1 of 40")],
)
def test_an_alarm_counts_configurations(n_configs, fraction, words):
    text = Alarm(10.0, fraction, "extrapolation grade").sentence(4912.3, n_configs)
    assert f"reaches 4912 on {words} configurations" in text
