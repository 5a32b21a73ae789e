"""The report of a run from the files of its directory: finished, unfinished, hardly begun."""

import hashlib
import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from sscha_mlp.cli.running import resolve
from sscha_mlp.errors import InputError
from sscha_mlp.report.phonons.known_frequencies import known_frequencies
from sscha_mlp.report.run.collect import report_data, write_run_report
from sscha_mlp.report.run.pdf import report_pages
from sscha_mlp.report.run.summary_page import summary_page, verdict_of
from sscha_mlp.run_files.conventional_cell import conventional_lattice
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.run_files.records.result import Frequencies, Measured, Result
from sscha_mlp.run_files.settings import RunSettings
from sscha_mlp.validation.metrics import ValidationSet

KEEP = {"labels only": "labels/test-start", "one population": "population/explore/1"}


def cut_after(run, key):
    """Take a run back to where a step had just been finished."""
    (run / "result.json").unlink()
    lines = (run / "journal.jsonl").read_text().splitlines(keepends=True)
    last = next(i for i, line in enumerate(lines) if f'"step": "{key}"' in line)
    (run / "journal.jsonl").write_text("".join(lines[: last + 1]))


@pytest.fixture
def copied_run(finished_run, tmp_path):
    shutil.copytree(finished_run, tmp_path / "run")
    return tmp_path / "run"


def test_a_finished_run_is_told_from_its_files(finished_run):
    data = report_data(finished_run)
    result = json.loads((finished_run / "result.json").read_text())

    assert data.result == Result.of(result)
    assert [row.number for row in data.populations] == list(range(1, result["populations"] + 1))
    refits = [row.refits for row in data.populations]
    assert refits == sorted(refits)
    assert sum(row.train for row in data.labels) == result["labels"]["train"]
    assert sum(row.check for row in data.labels) == result["labels"]["check"]
    assert data.certificates[-1].record.holds
    assert verdict_of(data).title == "CERTIFIED"


def test_validation_before_and_after_retraining_is_shown(finished_run):
    before, after = report_data(finished_run).validation
    assert before.title == "model 0, before retraining"
    assert after.title.endswith("after retraining")
    assert [one.n_configs for one in before.sets] == [4]
    assert [one.n_configs for one in after.sets] == [4, 8]


def test_the_first_page_asks_answers_and_shows_the_phonons(finished_run):
    data = report_data(finished_run)
    page = summary_page(data)
    text = " ".join(one.get_text() for one in page.texts)
    for words in ("What are the volume", "CERTIFIED", "±", "Circles: corrected", "What it cost"):
        assert words in text
    labels = {axes.get_ylabel() for axes in page.axes}
    assert "Frequency (THz)" in labels
    assert min(one.get_position()[1] for one in page.texts) > 0.06, "all of it is on the page"


def test_every_page_with_a_figure_says_in_sentences_what_to_look_at(finished_run):
    for page in report_pages(report_data(finished_run)):
        words = " ".join(text.get_text() for text in page.texts).split()
        sentences = [word for word in words if len(word) > 3 and word.endswith(".")]
        assert not page.axes or (len(words) > 25 and sentences), words[:8]


def test_the_command_of_the_report_asks_for_the_same_run(finished_run):
    data = report_data(finished_run)
    command = shlex.split(dict(data.provenance)["Command"])
    config = Path(command[command.index("--config") + 1])
    assert resolve({}, config) == RunDirectory(finished_run).settings()


def test_hashes_are_those_of_the_files(finished_run):
    stored = dict(report_data(finished_run).provenance)
    train = (finished_run / "dataset" / "train.xyz").read_bytes()
    assert stored["SHA-256 of train.xyz"] == hashlib.sha256(train).hexdigest()


def test_the_provenance_has_the_dates_of_the_log(finished_run):
    lines = RunDirectory(finished_run).log.read_text().splitlines()
    dates = dict(report_data(finished_run).provenance)["Log from, to"].split(", ")
    assert lines[0].startswith(dates[0]) and lines[-1].startswith(dates[1])


def test_models_have_their_errors_on_the_test_set(finished_run):
    first, *_ = report_data(finished_run).fits
    assert (first.record.number, first.record.n_train, first.taken_over) == (0, 10, False)
    assert first.errors.n_configs == 4


def test_notes_say_what_the_start_took(finished_run):
    notes = report_data(finished_run).notes
    assert "reference calls" in notes[0]
    assert "Fm-3m" in notes[0]


def test_every_uncertainty_of_the_journal_is_there(finished_run):
    names = [row.ensemble for row in report_data(finished_run).uncertainties]
    assert any(name.startswith("population 1 of") for name in names)
    assert any(name.startswith("start, 300 K") for name in names)


def test_uncertainties_are_shown_in_the_unit_of_their_kind(copied_run):
    rows = report_data(copied_run).uncertainties
    assert {row.unit for row in rows} == {"meV"}

    for path in (copied_run / "validation").glob("*.npz"):
        graded = {
            "uncertainty_name": "extrapolation grade",
            "uncertainty_limit": 10.0,
            "uncertainty_statistic": "quantile",
        }
        replace(ValidationSet.load(path), **graded).save(path)
    grades = report_data(copied_run).uncertainties
    populations = [row for row in grades if row.ensemble.startswith("population")]

    assert {row.unit for row in grades} == {""}
    assert grades[0].median == pytest.approx(1e-3 * rows[0].median)
    assert {row.level for row in populations} == {0.999}, "of all, not the median of some"
    assert all(row.n_configs >= 10 and row.upper > 0.0 for row in populations)


@pytest.mark.parametrize("key", KEEP.values(), ids=KEEP)
def test_an_unfinished_run_gives_what_there_is(copied_run, key):
    cut_after(copied_run, key)
    files = write_run_report(copied_run)
    data = report_data(copied_run)

    assert files[0].stat().st_size > 5_000
    assert verdict_of(data).title == "NOT FINISHED"
    assert data.result.labels.total > 0


def test_the_report_of_a_run_that_failed_says_why(copied_run):
    cut_after(copied_run, "labels/test-start")
    with (copied_run / "log.txt").open("a") as log:
        log.write("2026-11-21 20:00:00,000 failed: the reference is gone\n")
    verdict = verdict_of(report_data(copied_run))

    assert verdict.title == "NOT CONVERGED"
    assert verdict.sentence == "The relaxation stopped: the reference is gone."


def test_a_report_is_made_again_byte_by_byte_and_changes_nothing_else(copied_run):
    first = [path.read_bytes() for path in write_run_report(copied_run)]
    others = {
        path: path.stat().st_mtime_ns
        for path in copied_run.rglob("*")
        if path.is_file() and path.name.split(".")[0] not in {"report", "validation"}
    }
    again = write_run_report(copied_run)

    assert [path.read_bytes() for path in again] == first
    assert all(path.stat().st_mtime_ns == time for path, time in others.items())


def test_a_check_that_failed_has_the_number_that_the_log_gives_it(copied_run):
    path = copied_run / "journal.jsonl"
    lines = path.read_text().splitlines()
    place = next(n for n, line in enumerate(lines) if '"step": "certificate/1"' in line)
    row = json.loads(lines[place])
    row["payload"] |= {"passed": False, "reason": "outside: stress"}
    lines[place] = json.dumps(row)
    path.write_text("".join(f"{line}\n" for line in lines))

    assert "Check 1 did not pass: outside: stress." in report_data(copied_run).notes


def test_a_run_that_has_hardly_begun_has_a_report(tmp_path):
    RunDirectory(tmp_path / "run").prepare(RunSettings(temperature=300.0))
    (path,) = write_run_report(tmp_path / "run")
    assert path.is_file()


def test_a_damaged_result_is_named(copied_run):
    (copied_run / "result.json").write_text("{")
    with pytest.raises(InputError, match=r"result\.json cannot be read .* remove it"):
        report_data(copied_run)


def test_reading_a_run_changes_nothing(copied_run):
    def seen():
        return {path: path.stat().st_mtime_ns for path in copied_run.rglob("*") if path.is_file()}

    before = seen()
    report_data(copied_run)
    assert seen() == before


def test_a_check_that_failed_counts_as_training(copied_run):
    journal = copied_run / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    fit = next(line for line in lines if '"step": "fit/0"' in line)
    journal.write_text("".join([*lines, fit.replace("fit/0", "fit/9")]))

    rows = report_data(copied_run).labels
    assert sum(row.check for row in rows) == 0
    assert {row.origin: row.train for row in rows}["check 1"] == 8


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ([[0, 1.8, 1.8], [1.8, 0, 1.8], [1.8, 1.8, 0]], "3.6000 ± 0.0012"),
        ([[3, 0, 0], [0, 3, 0], [0, 0, 4]], "3.0000, 3.0000, 4.0000"),
    ],
)
def test_the_conventional_lattice_is_quoted(cell, expected):
    found = Result(
        cell_A=cell,
        scaled_positions=[[0.0, 0.0, 0.0]],
        symbols=("Cu",),
        volume_A3_per_atom=Measured(10.0, 0.01),
    )
    ((_, text),) = conventional_lattice(found)
    assert text == expected
    assert conventional_lattice(Result()) == []


def test_frequencies_known_directly_are_shown_beside_those_of_the_run(tmp_path):
    result = Result(frequencies_THz=(Frequencies((0.0, 0.0, 0.5), (1.0, 2.0)),))
    direct = tmp_path / "direct.json"
    direct.write_text('{"frequencies_THz": [{"q": [0, 0, 0.5], "value": [1.1, 2.1]}]}')
    assert known_frequencies(direct, result) == [[1.1, 2.1]]
    direct.write_text('{"frequencies_THz": [{"q": [0, 0, 0.5], "corrected": [1.2, 2.2]}]}')
    assert known_frequencies(direct, result) == [[1.2, 2.2]]
    direct.write_text('{"frequencies_THz": [{"q": [0, 0.5, 0.5], "value": [1.1, 2.1]}]}')
    with pytest.raises(InputError, match=r"no frequencies of the 2 modes at q = \[0.0, 0.0, 0.5\]"):
        known_frequencies(direct, result)
    direct.write_text("nothing")
    with pytest.raises(InputError, match="holds no frequencies that can be read"):
        known_frequencies(direct, result)
