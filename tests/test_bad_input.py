"""Bad input gets one sentence and the right exit status, and nothing that is finished is lost."""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ase import Atoms
from ase.build import bulk
from cheap import (
    command,
    environment,
    finish,
    relax_arguments,
    write_settings,
)

from sscha_mlp.calculators.registry import get_reference
from sscha_mlp.cli import run_command
from sscha_mlp.data.extxyz import read_extxyz, write_extxyz
from sscha_mlp.reference.store import LabelStore
from sscha_mlp.report.run.collect import report_data
from sscha_mlp.scha import python_sscha


def sentence(error: str, *words: str) -> str:
    """Check that an error is one sentence without a traceback, and return it."""
    lines = error.strip().splitlines()
    assert len(lines) == 1, error
    assert lines[0].startswith("sscha-mlp: error: ")
    assert "Traceback" not in error
    for word in words:
        assert word in error
    return lines[0]


def n_labels(store: Path, reference: str) -> int:
    with LabelStore(store) as labels:
        return len(labels.get_all(get_reference(reference).identity))


def test_the_second_engine_is_asked_for_where_it_is_not_installed(tmp_path, capsys, monkeypatch):
    """Nothing else needs it: the same command without --engine runs (``finished_run``)."""
    monkeypatch.setitem(sys.modules, "cellconstructor", None)
    python_sscha.upstream.cache_clear()
    arguments = [*relax_arguments(tmp_path, "emt"), "--engine", "python-sscha"]
    assert run_command(arguments) == 2
    words = ["cellconstructor", "pip install 'sscha-mlp[python-sscha]'", "--engine native"]
    sentence(capsys.readouterr().err, "python-sscha is not installed here", *words)
    assert not (tmp_path / "run").exists()


# --- wrong input: status 2, and no directory is left behind --------------------------------


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("empty.cif").write_text("")
    Path("prose.cif").write_text("this is not a crystal\n")
    Path("prose.md").write_text("# A title\n\nand what it is about\n")
    Path("molecule.xyz").write_text("1\n\nCu 0 0 0\n")
    overlapping = Atoms("Cu2", cell=[3, 3, 3], positions=[[0, 0, 0], [0, 0, 0.1]], pbc=True)
    overlapping.write("overlapping.vasp", format="vasp")
    bulk("Cu").write("copper.vasp", format="vasp")
    Path("broken.toml").write_text("temperature = \n")
    Path("unknown.toml").write_text("temperature = 300\ntemprature = 3\n")
    Path("nested.toml").write_text("temperature = 300\n[training]\nn_strat = 3\n")
    Path("wrong.toml").write_text('temperature = "hot"\n')
    Path("reference.toml").write_text('[reference]\nfactory = "emt"\nspeed = 3\n')
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--structure", "missing.cif"], ["missing.cif", "give a file"]),
        (["--structure", "empty.cif"], ["empty.cif"]),
        (["--structure", "prose.cif"], ["prose.cif", "ASE reads"]),
        (["--structure", "prose.md"], ["prose.md", "(it is in no known format", "ASE reads"]),
        (["--structure", "molecule.xyz"], ["molecule.xyz", "periodic cell"]),
        (["--structure", "overlapping.vasp"], ["0.10 Å apart"]),
        (["--structure", "copper.vasp"], ["no parameters for Cu", "another reference"]),
        (["--dyn", "nothing"], ["nothing1"]),
        (["--dyn", "nothing", "--structure", "copper.vasp"], ["Give one of --structure"]),
        (["--supercell", "2", "0", "2"], ["(2, 0, 2)"]),
        (["--supercell", "2x0x2"], ["(2, 0, 2)", "--supercell 2 2 2"]),
        (["--supercell=2,2,0"], ["(2, 2, 0)"]),
        (["--T", "-5"], ["-5.0 K"]),
        (["--T", "nan"], ["nan K"]),
        (["--pressure", "inf"], ["inf GPa"]),
        (["--configs", "7"], ["configs = 7", "even"]),
        (["--max-labels", "10"], ["max_labels = 10", "Raise the budget"]),
        (["--seed", "-1"], ["seed = -1"]),
        (["--workers", "-2"], ["workers"]),
        (["--cell", "round"], ["variable", "fixed-volume", "fixed"]),
        (["--engine", "steam"], ["native, python-sscha"]),
        (["--reference", "tersof"], ["Did you mean 'tersoff'?"]),
        (["--reference", "no_such_module:factory"], ["no_such_module", "cannot be imported"]),
        (["--reference", "reference.toml"], ["speed"]),
        (["--reference", "missing.toml"], ["missing.toml"]),
        (["--model", "neural"], ["'neural'", "gap"]),
        (["--config", "missing.toml"], ["missing.toml"]),
        (["--config", "broken.toml"], ["broken.toml"]),
        (["--config", "unknown.toml"], ["temprature"]),
        (["--config", "nested.toml"], ["training.n_strat"]),
        (["--config", "wrong.toml"], ["temperature = 'hot'"]),
        (["--run-dir", "copper.vasp/run"], ["copper.vasp/run"]),
    ],
)
def test_wrong_input_is_one_sentence_and_status_2(arguments, words, here, capsys):
    temperature = [] if "--T" in arguments or "--config" in arguments else ["--T", "300"]
    before = sorted(here.iterdir())
    assert run_command(["relax", *temperature, *arguments]) == 2
    sentence(capsys.readouterr().err, *words)
    assert sorted(here.iterdir()) == before


# --- a reference that fails: status 1, and what is finished stays ---------------------------


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("raising", ["no licence for this code"]),
        ("returning_nan", ["forces", "NaN"]),
        ("without_stress", ["no stress"]),
    ],
)
def test_a_reference_that_fails_always_ends_the_run(factory, words, tmp_path, capsys):
    assert run_command([*relax_arguments(tmp_path, f"cheap:{factory}"), "--quiet"]) == 1
    sentence(capsys.readouterr().err, *words)


def test_a_reference_that_hangs_is_stopped(tmp_path, capsys):
    arguments = relax_arguments(tmp_path, "cheap:sleeping")
    config = tmp_path / "tiny.toml"
    config.write_text("label_time_limit = 2.0\n" + config.read_text())
    start = time.perf_counter()
    assert run_command([*arguments, "--quiet"]) == 1
    assert time.perf_counter() - start < 60
    sentence(capsys.readouterr().err, "2 s")


def test_labels_that_fail_are_named_and_the_others_stay(tmp_path, monkeypatch, capsys):
    """Tags tell the reference to raise, hang, die, and return NaN, no stress or infinity."""
    monkeypatch.chdir(tmp_path)
    frames = []
    for tag in (0, 1, 2, 3, 4, 5, 6, 0):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.01, seed=len(frames))
        atoms.set_tags([tag] * 4)
        frames.append(atoms)
    write_extxyz("in.xyz", frames)

    arguments = ["label", "in.xyz", "--reference", "faulty:faulty", "--time-limit", "3"]
    assert run_command([*arguments, "--workers", "2", "--quiet"]) == 0
    warnings = capsys.readouterr().err.splitlines()[:-1]
    assert len(read_extxyz("labelled.xyz")) == 2
    assert n_labels(Path("labels.db"), "faulty:faulty") == 2
    assert len(warnings) == 6
    for index, words in enumerate(
        ["did not converge", "3", "exit status 9", "forces", "stress", "energy"], start=1
    ):
        (line,) = (one for one in warnings if f"configuration {index} " in one)
        assert words in line


def test_a_run_survives_labels_that_do_not_converge(tmp_path, capsys):
    relax_arguments(tmp_path, "cheap:moody", explore_configs=0)
    assert finish(tmp_path, "cheap:moody")["converged"]
    told = [one for one in report_data(tmp_path / "run").notes if "failed" in one]
    assert told and all("SCF not converged in 100 iterations" in one for one in told)
    assert run_command(["status", str(tmp_path / "run")]) == 0
    assert f"{len(told)} failed" in capsys.readouterr().out


# --- models -------------------------------------------------------------------------------


@pytest.fixture
def model(finished_run, tmp_path):
    """A copy of a fitted model."""
    copy = tmp_path / "model"
    copy.mkdir()
    for path in (finished_run / "models" / "000").iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    return copy


def test_a_model_that_was_changed_is_refused(model, finished_run, tmp_path, capsys):
    (xml,) = model.glob("*.xml")
    xml.write_text(xml.read_text().replace("0", "1", 1))
    data = finished_run / "dataset" / "test.xyz"
    assert run_command(["validate", str(model), str(data), "--out", str(tmp_path)]) == 2
    sentence(capsys.readouterr().err, str(model))


def test_a_directory_without_a_model_is_refused(finished_run, tmp_path, capsys):
    data = finished_run / "dataset" / "test.xyz"
    assert run_command(["validate", str(tmp_path), str(data), "--out", str(tmp_path)]) == 2
    sentence(capsys.readouterr().err, "no finished model")


def test_an_element_the_model_has_not_seen_is_refused(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_extxyz("gold.xyz", [bulk("Au", cubic=True)])
    assert run_command(["label", "gold.xyz", "--reference", "emt", "--quiet"]) == 0
    capsys.readouterr()
    assert run_command(["validate", str(model), "labelled.xyz"]) == 2
    sentence(capsys.readouterr().err, "Au")


def test_data_without_labels_are_refused(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_extxyz("bare.xyz", [bulk("Cu", cubic=True)])
    for arguments in (["validate", str(model), "bare.xyz"], ["fit", "bare.xyz", "--out", "new"]):
        assert run_command(arguments) == 2
        sentence(capsys.readouterr().err, "bare.xyz", "energy")


def test_a_fit_into_the_directory_of_another_model_is_refused(model, finished_run, capsys):
    data = finished_run / "dataset" / "test.xyz"
    assert run_command(["fit", str(data), "--out", str(model), "--quiet"]) == 2
    sentence(capsys.readouterr().err, str(model))


# --- the machine --------------------------------------------------------------------------


def limited(arguments: list[str], n_bytes: int) -> subprocess.CompletedProcess:
    """Run with a largest file size: what is written beyond it fails like on a full disk."""
    return subprocess.run(
        command(arguments),
        env=environment(),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes)),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("n_bytes", [60_000, 150_000])
def test_a_full_disk_ends_the_run_and_keeps_the_labels(n_bytes, tmp_path):
    arguments = [*relax_arguments(tmp_path, explore_configs=0), "--quiet"]
    done = limited(arguments, n_bytes)
    assert done.returncode == 1, done.stderr
    sentence(done.stderr)
    finished = n_labels(tmp_path / "run" / "labels.db", "emt")

    if n_bytes == 60_000:
        return
    assert finished > 0
    assert finish(tmp_path)["converged"]
    assert n_labels(tmp_path / "run" / "labels.db", "emt") >= finished


def test_a_directory_that_cannot_be_written_is_named(tmp_path, capsys):
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    place = tmp_path / "locked"
    place.mkdir(mode=0o500)
    config = write_settings(tmp_path)
    arguments = ["relax", "--config", str(config), "--run-dir", str(place / "run")]
    assert run_command([*arguments, "--reference", "tersoff"]) == 2
    sentence(capsys.readouterr().err, str(place))


def test_a_damaged_journal_is_named(finished_run, tmp_path, capsys):
    for name in ("run.toml", "journal.jsonl"):
        (tmp_path / name).write_bytes((finished_run / name).read_bytes())
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(b"garbage\n" + journal.read_bytes())
    assert run_command(["status", str(tmp_path)]) == 1
    sentence(capsys.readouterr().err, "journal", "damaged at byte 0")
