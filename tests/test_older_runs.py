"""Run directories of an earlier version: they are read, and a half-way one goes on."""

import json
import sqlite3
import tarfile
from pathlib import Path

import pytest

from sscha_mlp.campaign.continuation import settings_from
from sscha_mlp.campaign.loop import run
from sscha_mlp.cli import run_command
from sscha_mlp.cli.screen import ScreenObserver
from sscha_mlp.report.phonons.data import run_phonons
from sscha_mlp.report.run.collect import report_data
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.run_files.finished_run import FinishedRun
from sscha_mlp.run_files.journal import Journal
from sscha_mlp.run_files.records.certificate import CertificateRecord
from sscha_mlp.run_files.records.hessian import HessianRecord
from sscha_mlp.run_files.records.result import Result
from sscha_mlp.run_files.settings import RunSettings
from sscha_mlp.run_files.status import Standing, State
from sscha_mlp.studies.hessian import hessian_of_run

STORED = Path(__file__).parent / "fixtures" / "runs-0.1.0.tar.xz"


@pytest.fixture
def stored(tmp_path) -> Path:
    with tarfile.open(STORED) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def steps(directory: Path) -> list[str]:
    return [json.loads(one)["step"] for one in (directory / "journal.jsonl").open()]


def n_stored(directory: Path) -> int:
    with sqlite3.connect(directory / "labels.db") as db:
        return db.execute("SELECT COUNT(*) FROM systems").fetchone()[0]


def test_its_journal_is_of_the_first_version(stored):
    for name in ("finished", "halfway"):
        for line in (stored / name / "journal.jsonl").open():
            assert "schema" not in json.loads(line)["payload"]


def test_status_of_a_finished_one(stored, capsys):
    found = Standing.read(stored / "finished")
    assert found.state is State.CERTIFIED
    assert (found.labels, found.labels_failed, found.start_calls, found.fits) == (28, 0, 11, 2)
    assert len(found.populations) == 5 and len(found.certificates) == 1
    assert run_command(["status", str(stored / "finished")]) == 0
    shown = capsys.readouterr().out
    assert "final 1" in shown and "28 of at most 60" in shown


def test_report_of_a_finished_one(stored):
    data = report_data(stored / "finished")
    assert [row.origin for row in data.labels] == [
        "train start",
        "test start",
        "train explored",
        "train explored rare",
        "check 1",
    ]
    assert [row.record.n_train for row in data.fits] == [10, 16]
    assert len(data.populations) == 5
    assert data.start.n_calls == 11 and data.start.space_group == "Fm-3m"
    check = data.certificates[0].record
    written = json.loads((stored / "finished" / "journal.jsonl").read_text().splitlines()[14])
    assert check.stress.delta == written["payload"]["pressure"]["delta"]
    assert check.passed


def test_phonons_of_a_finished_one(stored):
    found = run_phonons(stored / "finished")
    result = json.loads((stored / "finished" / "result.json").read_text())
    shown = [one.corrected for one in found.rows]  # means over degenerate modes
    written = [v for entry in result["frequencies_THz"] for v in entry["corrected"]]
    moving = [v for v in written if abs(v) > 0.1]
    assert min(shown) == pytest.approx(min(moving), abs=1e-6)
    assert max(shown) == pytest.approx(max(moving), abs=1e-6)
    assert [one.name for one in found.states] == ["harmonic", "model", "corrected"]


class UntilPopulation(ScreenObserver):
    """Interrupts a run after its first population."""

    def population(self, row) -> None:
        raise KeyboardInterrupt


def test_a_run_continues_from_a_finished_one(stored):
    settings = RunSettings.from_mapping(settings_from(stored / "finished"))
    with pytest.raises(KeyboardInterrupt):
        run(settings, stored / "next", observer=UntilPopulation())
    assert steps(stored / "next") == [
        "start",
        "origin",
        "fit/0",  # the model was taken over
        "validation/test-0",
        "population/round-1/1",
    ]
    data = report_data(stored / "next")
    assert (data.origin.n_train, data.origin.test) == (24, 4)  # with the 8 of the check
    assert data.fits[0].taken_over


def test_a_half_way_one_goes_on(stored):
    place = RunDirectory(stored / "halfway")
    before = place.journal.read_bytes()
    paid = n_stored(place.path)
    result = run(place.settings(), place.path)
    assert place.journal.read_bytes().startswith(before)
    assert steps(place.path)[12] == "population/round-1/2"
    rows = [json.loads(one) for one in place.journal.read_text().splitlines()[12:]]
    new = sum(one["payload"]["n_labels"] for one in rows if one["step"].startswith("labels/"))
    assert n_stored(place.path) == paid + new
    finished = FinishedRun.read(stored / "finished").result
    (check,) = Journal(place.journal).all(CertificateRecord)
    assert check.state == "population-round-1-2"
    now = Result.of(result)
    assert abs(now.volume_A3_per_atom.value - finished.volume_A3_per_atom.value) < 0.2
    energies = (one.free_energy_eV_per_atom.corrected for one in (now, finished))
    assert abs(next(energies) - next(energies)) < 5.0e-3


def test_the_state_of_a_check_that_does_not_name_it_is_found_by_its_cell(stored):
    found = HessianRecord.of(hessian_of_run(stored / "finished", n_configs=200))
    assert found.check_labels == 8
    assert found.verdict == "stable"
    assert HessianRecord.read(stored / "finished" / "hessian.json") == found


def test_a_result_is_written_as_it_was_read(stored):
    path = stored / "finished" / "result.json"
    content = json.loads(path.read_text())
    assert Result.read(path).to_json() == content
    assert Result.of({**content, "later": 1}).to_json() == {**content, "later": 1}
