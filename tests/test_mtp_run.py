"""The whole loop with an MTP: learning on the fly, the choice of the kind, resume."""

import json
from types import SimpleNamespace

import pytest
from cheap import (
    DIARY,
    finish,
    relax_arguments,
    sscha_mlp,
    without_timings,
    write_copper,
    write_settings,
)

from sscha_mlp.campaign.fitting import has_learnt_all
from sscha_mlp.campaign.loop import _Run
from sscha_mlp.campaign.relaxing import Relaxed
from sscha_mlp.data.extxyz import read_extxyz
from sscha_mlp.potentials.registry import load
from sscha_mlp.run_files.journal import Journal
from sscha_mlp.run_files.records.models import FitRecord
from sscha_mlp.run_files.settings import RunSettings


def journal(run) -> dict:
    lines = (run / "journal.jsonl").read_text().splitlines()
    return {row["step"]: row["payload"] for row in map(json.loads, lines)}


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """A run whose model is stopped by its grade: its limit is one that nothing new can keep."""
    directory = tmp_path_factory.mktemp("learnt")
    write_settings(directory, model="mtp", break_grade=0.5, labels="fixed")
    write_copper(directory)
    return directory / "run", finish(directory)


def test_a_run_with_an_mtp_ends_with_a_result(tmp_path):
    write_settings(tmp_path, model="mtp")
    write_copper(tmp_path)
    result = finish(tmp_path)
    assert result["converged"] and result["model"]["kind"] == "mtp"
    assert result["labels"]["total"] == result["labels"]["train"] + 4 + 8
    with load(tmp_path / "run" / result["model"]["path"]) as model:
        assert model.sha256 == result["model"]["sha256"]


def test_where_the_grade_breaks_the_run_labels_and_goes_on(learnt):
    run, result = learnt
    steps = journal(run)
    stopped = [row for row in steps.values() if "extrapolation grade" in row.get("reason", "")]
    assert stopped and all("end of its domain" in row["reason"] for row in stopped)
    lessons = [name for name in steps if name.startswith("labels/train-explore")]
    assert lessons, "no label was taken where the model was stopped"
    assert result["labels"]["train"] > 10
    assert sum(result["labels"][name] for name in ("train", "test", "check")) <= 60


def test_nothing_is_fitted_again_without_new_labels(tmp_path):
    """The budget ends while the model is still stopped: the run goes on with the model it has."""
    config = write_settings(tmp_path, model="mtp", break_grade=0.5, labels="fixed")
    config.write_text(config.read_text().replace("max_labels = 60", "max_labels = 24"))
    write_copper(tmp_path)
    result = finish(tmp_path)
    steps = journal(tmp_path / "run")
    learnt = [row["n_train"] for name, row in steps.items() if name.startswith("fit/")]
    assert learnt == [10, 12]
    assert result["labels"]["train"] == 12 and result["labels"]["total"] == 24
    assert result["model"]["sha256"] == steps["fit/1"]["sha256"]
    assert any(row.get("phase") == "round-1" for row in steps.values())


def test_an_earlier_version_may_have_fitted_the_same_labels_again(tmp_path):
    """A run that such a version began goes on with the fit that its journal has."""
    dataset = SimpleNamespace(train=[None] * 12)
    context = SimpleNamespace(journal=Journal(tmp_path / "journal.jsonl"))
    for number, n_train in enumerate((10, 12)):
        context.journal.write(FitRecord(number, "mtp", "given", n_train, "-"))
    assert [has_learnt_all(context, dataset, number) for number in (-1, 0, 1)] == [
        False,
        False,
        True,
    ]
    context.journal.write(FitRecord(2, "mtp", "given", 12, "-"))
    assert not has_learnt_all(context, dataset, 1)
    assert has_learnt_all(context, dataset, 2)


@pytest.mark.parametrize("broke_down", [True, False])
def test_where_a_relaxation_broke_down_the_run_says_that_it_learns(broke_down, monkeypatch):
    taken, said, looked = [], [], []
    monkeypatch.setattr(
        _Run, "add_training", lambda self, *what, strain: taken.append((what[:2], strain))
    )
    monkeypatch.setattr(
        "sscha_mlp.campaign.loop.check_reach", lambda *what, name: looked.append((what[1:], name))
    )
    study = object.__new__(_Run)
    study.settings = RunSettings(temperature=300.0)
    study.start = SimpleNamespace(dynamical_matrix="start")
    study.at = SimpleNamespace(dataset=SimpleNamespace(train=["label"]), state="state")
    study.context = SimpleNamespace(observer=SimpleNamespace(note=said.append))
    ended = Relaxed(None, None, False, True, "no bulk modulus", broke_down=broke_down)
    study.learn_there("train-left-1", 8, None, ended)
    assert looked == [((None, "state", "start", ["label"]), "train-left-1")]
    assert taken == [
        (("train-left-1", (4, 4)), study.settings.training.strain if broke_down else 0.0)
    ]
    assert said == (["learning 8 labels there, half in strained cells"] if broke_down else [])


def test_chosen_labels_are_marked_and_fair_draws_are_not(learnt):
    run, _ = learnt
    train = read_extxyz(run / "dataset" / "train.xyz")
    for item in train:
        rare = item.origin.endswith("-rare") or item.origin.startswith("train-explore.")
        picked = rare or item.origin == "train-explore" or item.origin.startswith("train-round-")
        assert item.chosen == picked, item.origin
    assert not any(item.chosen for item in read_extxyz(run / "dataset" / "test.xyz"))


def test_auto_compares_both_kinds_and_says_which(tmp_path):
    write_settings(tmp_path, model="auto")
    write_copper(tmp_path)
    result = finish(tmp_path)
    choice = journal(tmp_path / "run")["choice/0"]
    assert set(choice["scores"]) == {"gap given", "mtp given"}
    totals = {name: score["force_typical"] for name, score in choice["scores"].items()}
    assert choice["kind"] == choice["name"].split()[0]
    assert result["model"]["kind"] == choice["kind"]
    assert min(totals.values()) > 0


@pytest.mark.slow
def test_the_same_run_in_two_sittings_gives_the_same(tmp_path):
    """The second sitting finds labels and fits of the first, and ends where one sitting does."""
    arguments = relax_arguments(
        tmp_path, reference="cheap:diary", model="mtp", break_grade=5.0, labels="fixed"
    )
    diary = tmp_path / "diary"
    done = sscha_mlp([*arguments, "--quiet"], **{DIARY: diary})
    assert done.returncode == 0, done.stderr
    first = without_timings(tmp_path / "run" / "result.json")
    journal_file = tmp_path / "run" / "journal.jsonl"
    lines = journal_file.read_text().splitlines(keepends=True)
    (tmp_path / "run" / "result.json").unlink()
    journal_file.write_text("".join(lines[: len(lines) // 2]))
    calls = len(diary.read_text().split())
    again = sscha_mlp([*arguments, "--quiet"], **{DIARY: diary})
    assert again.returncode == 0, again.stderr
    assert without_timings(tmp_path / "run" / "result.json") == first
    assert len(diary.read_text().split()) == calls
