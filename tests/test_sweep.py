"""Sweeps over temperature and pressure: points, budget, interruption, points that fail."""

import json
from dataclasses import replace

import pytest
from cheap import DIARY, environment, sscha_mlp, write_copper, write_settings

from sscha_mlp.errors import ConfigError, SschaMlpError
from sscha_mlp.parallel import read_executor
from sscha_mlp.report.sweep.fits import fit_sweep
from sscha_mlp.report.sweep.mode_pages import mode_pages
from sscha_mlp.run_files.settings import read_toml
from sscha_mlp.studies.sweep.driver import run_sweep
from sscha_mlp.studies.sweep.settings import SweepSettings
from sscha_mlp.studies.sweep.table import Sweep


def shared(directory, reference="cheap:diary"):
    values = read_toml(write_settings(directory, model="mtp"))
    del values["temperature"], values["max_labels"]
    values["training"] |= {"explore_configs": 0}
    values["executor"] = {"kind": "here"}
    return {**values, "structure": str(write_copper(directory)), "reference": reference}


def asked(directory, **changes) -> SweepSettings:
    given = {
        "temperatures": (100.0, 200.0, 300.0),
        "run": shared(directory),
        "max_labels": 80,
        "check_labels": 8,
        "response_configs": 80,
    }
    return SweepSettings(**{**given, **changes})


@pytest.fixture
def diary(tmp_path, monkeypatch):
    for name, value in environment(**{DIARY: tmp_path / "diary"}).items():
        monkeypatch.setenv(name, value)
    return tmp_path / "diary"


class StopError(Exception):
    """What ends a sweep in the middle."""


class Watcher:
    """An observer that stops the work when it is told of a stage with these words."""

    def __init__(self, words="never"):
        self.words, self.notes = words, []

    def stage(self, text):
        if self.words in text:
            raise StopError

    def progress(self, what, done, total):
        pass

    def note(self, text):
        self.notes.append(text)

    def population(self, row):
        pass


def results(directory):
    return {
        path.parent.name: json.loads(path.read_text())
        for path in sorted(directory.glob("points/*/result.json"))
    }


def test_one_model_and_one_store_serve_all_points(tmp_path, diary):
    table = run_sweep(asked(tmp_path), tmp_path / "sweep")
    assert [one.temperature_K for one in table.points] == [100.0, 200.0, 300.0]
    assert all(one.converged for one in table.points)
    assert [one.labels_new for one in table.points[:2]] == [8, 8]
    found = results(tmp_path / "sweep")
    assert len({one["model"]["sha256"] for one in found.values()}) == 1
    assert found["T100-P0"]["origin"]["generation"] == 2
    calls = diary.read_text().splitlines()
    assert len(calls) == len(set(calls)) == table.labels_total + table.start_calls
    assert [one.start_calls > 0 for one in table.points] == [False, False, True]
    log = (tmp_path / "sweep" / "log.txt").read_text()
    for words in ("point 2 of 3: 200 K, 0 GPa", "response of 300 K, 0 GPa", "check 1: 8 fresh"):
        assert f"== {words}" in log
    assert log.count("== check 1") == 3
    assert Sweep.read(tmp_path / "sweep") == table
    assert not list((tmp_path / "sweep").glob("points/*/labels.db"))
    assert all(one.response.expansion_per_K is not None for one in table.points)
    result = found["T100-P0"]["frequencies_THz"]
    moving = [value for entry in result for value in entry["corrected"] if abs(value) > 1e-6]
    levels = table.points[0].levels
    assert sum(one.count for one in levels) == len(moving)
    assert sum(one.count * one.frequency for one in levels) == pytest.approx(sum(moving), rel=1e-4)
    assert len(mode_pages(fit_sweep(table))) == 1
    assert not mode_pages(fit_sweep(replace(table, points=table.points[:1])))
    # The same command shows what there is, and more points go on from it.
    more = run_sweep(asked(tmp_path, temperatures=(200.0, 300.0, 400.0)), tmp_path / "sweep")
    assert [one.temperature_K for one in more.points] == [200.0, 300.0, 400.0]
    assert len(diary.read_text().splitlines()) == len(calls) + 8
    assert results(tmp_path / "sweep")["T400-P0"]["origin"]["generation"] == 1


def test_an_interrupted_sweep_ends_as_an_uninterrupted_one(tmp_path, diary):
    settings = asked(tmp_path, temperatures=(200.0, 300.0), response_configs=0)
    for words in ("fit 0", "check 1", "200 K"):
        with pytest.raises(StopError):
            run_sweep(settings, tmp_path / "often", observer=Watcher(words))
    often = run_sweep(settings, tmp_path / "often")
    calls = diary.read_text().splitlines()
    assert len(calls) == len(set(calls)), "a label was computed twice"
    assert often == run_sweep(settings, tmp_path / "once")


@pytest.mark.slow
def test_points_in_processes_are_those_of_one_after_the_other(tmp_path, diary):
    grid = {"temperatures": (200.0, 300.0), "pressures": (0.0, 12.0), "response_configs": 0}
    settings = asked(tmp_path, **grid)
    here = run_sweep(settings, tmp_path / "here")
    there = run_sweep(settings, tmp_path / "there", where=read_executor("processes:2"))
    assert here == there
    assert [(one.pressure_GPa, one.temperature_K) for one in here.points] == [
        (0.0, 200.0),
        (0.0, 300.0),
        (12.0, 200.0),
        (12.0, 300.0),
    ]
    squeezed, free = here.isotherm(300.0)[1], here.isotherm(300.0)[0]
    assert squeezed.volume_A3_per_atom.value < free.volume_A3_per_atom.value


def test_a_point_that_fails_does_not_end_the_sweep(tmp_path, diary, monkeypatch):
    from sscha_mlp.studies.sweep import driver as sweep

    original = sweep.run

    def moody(settings, directory, **more):
        if settings.temperature == 200.0:
            raise SschaMlpError("the computer room is under water")
        return original(settings, directory, **more)

    monkeypatch.setattr(sweep, "run", moody)
    watcher = Watcher()
    table = run_sweep(asked(tmp_path, response_configs=0), tmp_path / "sweep", observer=watcher)
    assert [one.temperature_K for one in table.points] == [100.0, 300.0]
    assert any("under water" in note for note in watcher.notes)
    assert results(tmp_path / "sweep")["T100-P0"]["origin"]["path"].endswith("T300-P0")


def test_the_budget_ends_with_a_sentence(tmp_path, diary):
    watcher = Watcher()
    settings = asked(tmp_path, max_labels=38, response_configs=0)
    table = run_sweep(settings, tmp_path / "sweep", observer=watcher)
    new = sum(one.labels_new for one in table.points)
    start = json.loads((tmp_path / "sweep/points/T300-P0/result.json").read_text())["labels"]
    assert new - start["start"] <= 38


def test_another_sweep_is_not_mixed_in(tmp_path, diary):
    settings = asked(tmp_path, temperatures=(300.0,), response_configs=0, hessian_configs=40)
    table = run_sweep(settings, tmp_path / "sweep")
    assert table.points[0].soft_mode["stderr_THz2"] > 0
    other = {**shared(tmp_path), "seed": 5}
    with pytest.raises(ConfigError, match="seed"):
        run_sweep(asked(tmp_path, run=other), tmp_path / "sweep")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"temperatures": ()}, "at least one temperature"),
        ({"temperatures": (-5.0, 100.0)}, "temperature"),
        ({"max_labels": 30}, "take at least"),
        ({"response_configs": -1}, "negative"),
        ({"hessian_configs": 51}, "even"),
        ({"run": {"reference": "emt", "colour": "red"}}, "colour"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path, changes, words):
    with pytest.raises(SschaMlpError, match=words):
        asked(tmp_path, **changes)


def test_the_command_line_says_what_is_wrong(tmp_path):
    done = sscha_mlp(["sweep", "--T", "0:100", "--run-dir", str(tmp_path / "s")], cwd=tmp_path)
    assert done.returncode == 2 and "start:stop:step" in done.stderr
    assert not (tmp_path / "s" / "points").exists()
