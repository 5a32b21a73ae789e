"""Runs that start from a finished run: what they take over, what they draw, what they refuse."""

import json
import shutil

import numpy as np
import pytest
from cheap import (
    DIARY,
    environment,
    finish,
    sscha_mlp,
    without_timings,
    write_copper,
    write_settings,
)

from sscha_mlp.campaign.continuation import settings_from
from sscha_mlp.campaign.loop import run
from sscha_mlp.cli import run_command
from sscha_mlp.cli.running import as_settings, resolve
from sscha_mlp.cli.summary import print_summary
from sscha_mlp.data.dataset import Dataset
from sscha_mlp.data.states import load_state
from sscha_mlp.errors import ConfigError, InputError
from sscha_mlp.parallel import ExecutorSettings
from sscha_mlp.properties.interpolation import interpolate
from sscha_mlp.report.compare.supercell_convergence import write_sizes
from sscha_mlp.report.run.collect import report_data
from sscha_mlp.report.run.training_pages import start_pages
from sscha_mlp.run_files.journal import Journal
from sscha_mlp.run_files.records.models import CrossFitRecord
from sscha_mlp.run_files.records.result import Result
from sscha_mlp.run_files.settings import RunSettings, read_toml
from sscha_mlp.studies.supercell_convergence import enlarged_settings, size_rows

FEW = {"max_labels": 40, "executor": {"kind": "here"}}


def settings(finished_run, **changes) -> RunSettings:
    return RunSettings.from_mapping({**settings_from(finished_run), **FEW, **changes})


@pytest.fixture(scope="module")
def colder(finished_run, tmp_path_factory):
    """A run at another temperature that starts from a finished one."""
    directory = tmp_path_factory.mktemp("colder")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(**{DIARY: directory / "diary"}).items():
            patch.setenv(name, value)
        patch.syspath_prepend(str(finished_run.parent))
        result = run(settings(finished_run, temperature=200.0), directory / "run")
    return directory, result


def test_model_and_labels_are_taken_over(finished_run, colder):
    directory, result = colder
    before = json.loads((finished_run / "result.json").read_text())
    labels = result["labels"]
    assert labels["start"] == 0
    assert labels["new"] == labels["check"] == 8
    assert labels["train"] == before["labels"]["train"] + before["labels"]["check"]
    assert labels["test"] == before["labels"]["test"]
    assert result["retrains"] == 0
    assert result["model"]["sha256"] == before["model"]["sha256"]
    assert result["origin"] == {"path": str(finished_run), "generation": 1}
    calls = (directory / "diary").read_text().splitlines()
    assert len(calls) == 8, "only the certificate costs labels"


def test_report_and_status_tell_new_labels_from_those_taken_over(finished_run, colder, capsys):
    directory, result = colder
    data = report_data(directory / "run")
    labels = result["labels"]
    inherited = labels["total"] - labels["new"]
    assert data.origin is not None
    assert data.origin.n_labels == inherited
    assert (data.labels[0].origin, data.labels[0].train) == ("taken over", labels["train"])
    assert sum(row.train + row.test + row.check for row in data.labels) == labels["total"]
    assert [fit.taken_over for fit in data.fits] == [True]
    (page,) = start_pages(data)
    text = " ".join(one.get_text() for one in page.texts)
    assert f"starts from the finished run in {finished_run}" in text
    assert "harmonic frequencies come from that run" in text

    assert run_command(["status", str(directory / "run")]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert f"8 new of at most 40, {inherited} taken over; 0 calls for the start" in told
    print_summary(directory / "run", Result.of(result))
    shown = capsys.readouterr().out
    assert "8 new, and 0 calls for the start" in shown
    assert f"{inherited} labels from" in shown


def test_the_run_stands_by_itself(finished_run, colder, tmp_path, monkeypatch):
    """Copied files, not links: what was taken over may be gone when the run goes on."""
    directory, _ = colder
    copy = tmp_path / "run"
    shutil.copytree(directory / "run", copy)
    (copy / "result.json").unlink()
    lines = (copy / "journal.jsonl").read_text().splitlines(keepends=True)
    kept = [line for line in lines if not json.loads(line)["step"].startswith(("certi", "labels"))]
    (copy / "journal.jsonl").write_text("".join(kept))
    monkeypatch.setenv(DIARY, str(tmp_path / "diary"))
    text = (copy / "run.toml").read_text()
    assert str(finished_run) in text
    (copy / "run.toml").write_text(text.replace(str(finished_run), str(tmp_path / "gone")))
    again = settings(finished_run, temperature=200.0, origin=str(tmp_path / "gone"))
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    run(again, copy)
    assert without_timings(copy / "result.json") == without_timings(
        directory / "run" / "result.json"
    )
    assert not (tmp_path / "diary").exists(), "labels are found in the store"


def test_a_check_does_not_repeat_the_numbers_of_the_run_before(finished_run, colder):
    """In units of the widths of its ensemble a new check is none of the earlier configurations."""
    directory, _ = colder

    def normal(run_directory):
        state = load_state(run_directory / "states" / "model.npz")
        check = Dataset.read(run_directory / "dataset").check
        rest = state.supercell.crystal.to_ase()
        moved = [one.atoms.get_scaled_positions() - rest.get_scaled_positions() for one in check]
        moved = np.array([one - np.rint(one) for one in moved]).reshape(len(check), -1)
        return moved / np.linalg.norm(moved, axis=1, keepdims=True)

    overlap = normal(finished_run) @ normal(directory / "run").T
    assert np.abs(overlap).max() < 0.9


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reference": "lj"}, "its labels would be mixed"),
        ({"origin": "nowhere"}, "not a run directory"),
        ({"structure": "x.cif"}, "Give one of --structure"),
        ({"max_labels": 4}, "8 to check"),
    ],
)
def test_what_does_not_fit_is_refused(finished_run, tmp_path, changes, words):
    with pytest.raises((ConfigError, InputError), match=words):
        run(settings(finished_run, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_command_line_takes_the_settings_over(finished_run, tmp_path):
    before = RunSettings.from_mapping(read_toml(finished_run / "run.toml"))
    found = resolve(as_settings({"origin": finished_run, "temperature": 250.0}), None)
    assert found.temperature == 250.0 and found.origin == str(finished_run)
    assert not found.structure and found.executor == ExecutorSettings()
    for name in (
        "supercell",
        "reference",
        "model",
        "potential",
        "certificate",
        "configs",
        "max_labels",
    ):
        assert getattr(found, name) == getattr(before, name), name
    config = tmp_path / "less.toml"
    config.write_text(f'origin = "{finished_run}"\nmax_labels = 33\n[certificate]\nn_labels = 9\n')
    less = resolve({}, config)
    assert (less.max_labels, less.certificate.n_labels) == (33, 9)
    assert less.certificate.max_rounds == before.certificate.max_rounds
    assert less.temperature == before.temperature


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A finished run with an MTP, which is quick in larger cells."""
    directory = tmp_path_factory.mktemp("small")
    write_settings(directory, model="mtp", explore_configs=0)
    write_copper(directory)
    assert finish(directory)["converged"]
    return directory / "run"


@pytest.fixture(scope="module")
def larger(small, tmp_path_factory):
    """That run in a larger cell, by the command line."""
    directory = tmp_path_factory.mktemp("larger")
    done = sscha_mlp(
        [
            *("supercell", str(small), "3", "3", "3", "--executor", "here"),
            *("--run-dir", str(directory / "run")),
        ],
        cwd=directory,
        **{DIARY: directory / "diary"},
    )
    assert done.returncode == 0, done.stderr
    return directory / "run", done.stdout


def test_a_larger_cell_begins_with_interpolated_force_constants(small, larger):
    run_directory, _ = larger
    small = load_state(small / "states" / "model.npz")
    large = load_state(run_directory / "states" / "start.npz")
    assert large.supercell.size == (3, 3, 3)
    found = large.frequencies_at_qpoints()
    expected = interpolate(small).frequencies(large.supercell.qpoints)
    np.testing.assert_allclose(found, np.abs(expected), atol=1e-6 * found.max())


def test_a_larger_cell_is_certified_by_its_own_labels(larger):
    run_directory, _ = larger
    result = json.loads((run_directory / "result.json").read_text())
    assert result["supercell"] == [3, 3, 3] and result["labels"]["new"] <= 60
    check = Dataset.read(run_directory / "dataset").check
    assert all(len(one.atoms) == 27 for one in check)


def test_labels_of_another_first_state_are_not_held_out(small, larger):
    """Those that were taken over were drawn from a state of another cell."""
    run_directory, _ = larger
    for place, n_judged in ((small, 1), (run_directory, 0)):
        journal = Journal(place / "journal.jsonl", read_only=True)
        assert len(journal.all(CrossFitRecord)) == n_judged


def test_sizes_stand_side_by_side(small, larger):
    run_directory, printed = larger
    rows = size_rows(run_directory)
    assert [row.n_atoms for row in rows] == [8, 27]
    before = json.loads((small / "result.json").read_text())
    assert rows[0].volume == tuple(before["volume_A3_per_atom"][k] for k in ("value", "stderr"))
    assert {one.q for one in rows[0].levels} != {one.q for one in rows[1].levels}
    stored = json.loads((run_directory / "sizes.json").read_text())
    assert [one["supercell"] for one in stored["sizes"]] == [[2, 2, 2], [3, 3, 3]]
    assert (run_directory / "sizes.pdf").read_bytes().startswith(b"%PDF")
    table = [line for line in printed.splitlines() if line.startswith(("2×2×2", "3×3×3"))]
    assert len(table) == 2 and all(len(line) <= 80 for line in table)


def test_the_same_size_is_no_other_size(finished_run):
    with pytest.raises(InputError, match="2×2×2 cells"):
        enlarged_settings(finished_run, (2, 2, 2))
    with pytest.raises(InputError):
        write_sizes([], finished_run)
