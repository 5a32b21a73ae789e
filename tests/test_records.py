"""Records: what is written is read again, rows of the first version too, later ones are refused."""

import json
import math

import numpy as np
import pytest

from sscha_mlp.errors import InputError, SschaMlpError
from sscha_mlp.potentials.choice import Score
from sscha_mlp.report.run.data import PopulationRow
from sscha_mlp.report.run.relaxation_figures import population_table
from sscha_mlp.run_files.journal import Journal
from sscha_mlp.run_files.records.certificate import CertificateRecord
from sscha_mlp.run_files.records.labels import BatchName, BatchRecord, FailedLabel
from sscha_mlp.run_files.records.models import ChoiceRecord, FitRecord, ValidationRecord
from sscha_mlp.run_files.records.population import MinimisationTrace, PopulationRecord
from sscha_mlp.run_files.records.start import CompressionRecord, OriginRecord, StartRecord
from sscha_mlp.validation.shift import Shift

TRACE = MinimisationTrace(
    free_energy=np.array([-1.0, -1.1]),
    free_energy_stderr=np.array([0.1, 0.2]),
    gradient_THz=np.array([0.3, 0.1]),
    gradient_stderr_THz=np.array([0.1, 0.1]),
    effective_sample_size=np.array([60.0, 55.5]),
)
POPULATION = PopulationRecord(
    phase="round-1.2",
    population=2,
    n_drawn=20,
    n_reused=40,
    pooled=(1, 2),
    free_energy=-1.1,
    free_energy_stderr=0.2,
    gradient_THz=0.1,
    gradient_stderr_THz=0.1,
    effective_sample_size=55.5,
    frequencies_THz=np.array([0.0, 1 / 3, 7.7]),
    volume=11.5,
    pressure_GPa=0.1,
    pressure_stderr_GPa=0.02,
    stress_GPa=-0.1 * np.eye(3),
    reason="gradient 0.10 THz is above 0.05 THz",
    state="population-round-1.2-2",
    trace=TRACE,
)
FIT = FitRecord(1, "mtp", "fast", 24, "ab12")
CHOICE = ChoiceRecord(0, "fast", "mtp", {"level": 8}, 24, 0.3, {"fast": Score(1.0, 2.0, 3.0, 4.0)})
RECORDS = [
    POPULATION,
    FIT,
    CHOICE,
    BatchRecord(BatchName.of("train-left-2-rare"), 5, 1, (FailedLabel(3, "no SCF"),), 2.5),
    ValidationRecord("check", 1, "converged", 300.0, 8, 1.0, -0.5, 40.0, 0.1, None, {"a": [1]}),
    CertificateRecord(
        number=1,
        n_labels=8,
        free_energy=Shift(0.1, 0.2, 1.0),
        stress=Shift(0.01, 0.02, 0.1),
        frequency=Shift(math.nan, 0.02, 0.05),
        passed=False,
        state="population-round-1-3",
        delta_stress_GPa=np.eye(3),
    ),
    StartRecord(
        n_calls=9,
        volume_A3_per_atom=11.5,
        space_group="Fm-3m",
        n_operations=48,
        frequencies_THz=np.array([-1.0, 0.0, 8.0]),
        modes_changed=1,
        compression=CompressionRecord(134.0, 1e-6, 11.5),
    ),
    OriginRecord("/runs/one", 2, 16, 4, 8, FIT, CHOICE),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda one: one.kind)
def test_a_record_is_read_as_it_was_written(tmp_path, record):
    journal = Journal(tmp_path / "journal.jsonl")
    written = journal.write(record)
    (again,) = Journal(tmp_path / "journal.jsonl").all(type(record))
    assert again.key == record.key == written.key
    assert again.to_row() == record.to_row()
    assert again.to_row()["schema"] == f"sscha-mlp/{record.kind}/2"
    assert Journal(tmp_path / "journal.jsonl").find(type(record), record.name) is not None


def test_arrays_are_read_only_and_exact(tmp_path):
    found = Journal(tmp_path / "journal.jsonl").write(POPULATION)
    assert found.frequencies_THz[1] == 1 / 3
    assert not found.frequencies_THz.flags.writeable
    assert found.trace.n_steps == 2
    assert found.n_configs == 60


def test_rows_keep_the_names_of_the_first_version():
    row = POPULATION.to_row()
    assert (row["n_configs"], row["n_drawn"], row["n_reused"]) == (20, 20, 40)
    check = RECORDS[5].to_row()
    assert check["pressure"] == check["stress"] and check["round"] == check["number"] == 1
    assert FIT.to_row()["kind"] == "mtp" and CHOICE.to_row()["name"] == "fast"


def without(row, *names):
    """A row as the first version wrote it."""
    return {key: value for key, value in row.items() if key not in {"schema", *names}}


@pytest.mark.parametrize(
    ("record", "added"),
    [
        (POPULATION, ["n_drawn"]),
        (FIT, ["number", "model"]),
        (CHOICE, ["number", "model", "choice"]),
        (RECORDS[3], ["batch"]),
        (RECORDS[4], ["part", "number"]),
        (RECORDS[5], ["number", "stress", "state"]),
        (RECORDS[6], []),
    ],
    ids=lambda one: getattr(one, "kind", ""),
)
def test_rows_of_the_first_version_are_read(record, added):
    found = type(record).from_row(without(record.to_row(), *added), record.name)
    if "state" in added:
        assert found.state == ""  # it was not said
        added = [one for one in added if one != "state"]
    for name in added:
        assert getattr(found, name) == getattr(record, name)
    assert found.key == record.key


def test_a_record_of_a_later_version_is_refused(tmp_path):
    row = {**FIT.to_row(), "schema": "sscha-mlp/fit/3"}
    journal = Journal(tmp_path / "journal.jsonl")
    journal.record("fit/1", row)
    with pytest.raises(SschaMlpError, match="use the version that wrote it"):
        journal.all(FitRecord)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"n_train": "many"}, r"n_train cannot be read \('many' is not of the type int\)"),
        ({"sha256": None}, "sha256 cannot be read"),
    ],
)
def test_a_damaged_row_is_named_with_its_step(tmp_path, change, sentence):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.record("fit/1", {**FIT.to_row(), **change})
    with pytest.raises(SschaMlpError, match=f"at its step fit/1 .*{sentence}"):
        journal.all(FitRecord)


def test_a_missing_field_is_named():
    with pytest.raises(InputError, match="Shift lacks stderr"):
        CertificateRecord.from_row(
            {
                "round": 1,
                "free_energy": {"delta": 1.0, "tolerance": 2.0},
                "n_labels": 8,
                "pressure": {},
                "frequency": {},
                "passed": True,
            },
            "1",
        )


def test_a_trace_with_a_step_too_few_is_refused():
    row = json.loads(json.dumps(POPULATION.to_row()))
    row["trace"]["gradient_THz"].pop()
    with pytest.raises(InputError, match="gradient_THz has 1 steps, free_energy has 2"):
        PopulationRecord.from_row(row)


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        (BatchName("train-start", "train", "start"), "train start"),
        (BatchName("train-explored-rare", "train", "explored", rare=True), "train explored rare"),
        (BatchName("train-left-2", "train", "left", "2"), "train left 2"),
        (BatchName("train-extra-1-rare", "train", "extra", "1", rare=True), "train extra 1 rare"),
        (BatchName("train-round-1", "train", "round", "1"), "train round 1"),
        (BatchName("train-round-2.1", "train", "round", "2.1"), "train round 2.1"),
        (BatchName("train-explore.3", "train", "explore", "3"), "train explore.3"),
        (BatchName("check-2-0", "check", "check", "2", 0), "check 2"),
        (BatchName("check-2-1", "check", "check", "2", 1), "check 2, more"),
    ],
)
def test_what_the_name_of_a_batch_stands_for(expected, words):
    assert BatchName.of(expected.name) == expected
    assert expected.in_words == words


def test_the_table_counts_all_configurations_of_a_population():
    columns, (row,) = population_table([PopulationRow(1, 0, POPULATION)])
    shown = dict(zip((one.title for one in columns), row, strict=True))
    assert (shown["N"], shown["ESS"]) == ("60", "56")
    assert shown["Judged"] == "round-1.2: gradient 0.10 THz is above 0.05 THz"
