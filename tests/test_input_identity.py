"""What a run was begun with is part of it: two references are never mixed, nor two settings."""

import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from ase.build import bulk
from cheap import command, environment, finish, relax_arguments
from test_bad_input import sentence

import sscha_mlp as sm
from sscha_mlp.calculators.registry import get_reference
from sscha_mlp.campaign import context, input_checks, loop
from sscha_mlp.cli import run_command
from sscha_mlp.errors import ConfigError, SschaMlpError
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.run_files.finished_run import FinishedRun
from sscha_mlp.run_files.settings import RunSettings, read_toml

TABLE = """[reference]
factory = "faulty:scaled"

[reference.parameters]
energy = {factor}
forces = {factor}
stress = {factor}
"""


def write_reference(directory: Path, factor: float) -> str:
    path = directory / "reference.toml"
    path.write_text(TABLE.format(factor=factor))
    return str(path)


@pytest.fixture(scope="module")
def scaled(tmp_path_factory):
    """A finished run on a reference file, in a directory of its own; not to be changed."""
    place = tmp_path_factory.mktemp("scaled")
    reference = write_reference(place, 1.0)
    relax_arguments(place, reference, explore_configs=0)
    assert finish(place, reference)["converged"]
    return place


@pytest.fixture
def place(scaled, tmp_path) -> Path:
    """A copy of it; its settings still name the files of the first place."""
    copy = tmp_path / "copy"
    shutil.copytree(scaled, copy)
    for name in ("reference.toml", "copper.vasp"):
        text = (copy / "run" / "run.toml").read_text()
        (copy / "run" / "run.toml").write_text(text.replace(str(scaled / name), str(copy / name)))
    return copy


def again(place: Path) -> list[str]:
    reference = str(place / "reference.toml")
    return [*relax_arguments(place, reference, explore_configs=0), "--quiet", "--json"]


def test_the_same_input_shows_the_result(place):
    assert run_command(again(place)) == 0
    comment = (place / "reference.toml").read_text() + "\n# a note\n"
    (place / "reference.toml").write_text(comment)
    assert run_command(again(place)) == 0


def test_a_reference_that_has_changed_is_refused_everywhere(place, capsys):
    write_reference(place, 1.1)
    run = str(place / "run")
    before = (place / "run" / "journal.jsonl").read_bytes()
    for words in (
        again(place),
        ["relax", "--from", run, "--T", "400", "--run-dir", str(place / "next"), "--quiet"],
        ["compare", run, "--quiet"],
        ["supercell", run, "3", "3", "3", "--run-dir", str(place / "larger"), "--quiet"],
    ):
        assert run_command(words) == 2, words
        sentence(capsys.readouterr().err, "parameters.energy: 1.0 -> 1.1", "mixed")
    assert not (place / "next").exists()
    assert (place / "run" / "journal.jsonl").read_bytes() == before


def test_code_of_a_run_directory_is_named_before_it_runs(place, capsys):
    """A run directory of somebody else may bring its own function as a reference."""
    write_reference(place, 1.1)
    run = str(place / "run")
    for words in (
        ["relax", "--from", run, "--T", "400", "--run-dir", str(place / "next")],
        ["compare", run],
    ):
        assert run_command(words) == 2
        first = capsys.readouterr().err.splitlines()[0]
        assert "faulty:scaled" in first and "runs now as you" in first


def test_code_of_another_user_runs_only_where_it_is_trusted(place, capsys, monkeypatch):
    """A run directory on a shared disk; a built-in reference is no code of theirs."""
    run = str(place / "run")
    monkeypatch.setattr("os.geteuid", lambda: 12345)
    further = ["relax", "--from", run, "--T", "400", "--run-dir", str(place / "next"), "--quiet"]
    points = ["sweep", "--from", run, "--T", "400", "--run-dir", str(place / "next"), "--quiet"]
    for words in (further, points, ["compare", run, "--quiet"]):
        assert run_command(words) == 2
        sentence(capsys.readouterr().err, "another user", "faulty:scaled", "--trust")
    assert not (place / "next").exists()
    write_reference(place, 1.1)
    for words in (further, ["compare", run, "--quiet"]):
        assert run_command([*words, "--trust"]) == 2
        assert "another user" not in capsys.readouterr().err, "what comes next is refused: content"


def test_a_run_is_not_resumed_with_another_reference(place, capsys):
    (place / "run" / "result.json").unlink()
    write_reference(place, 1.1)
    assert run_command(again(place)) == 2
    sentence(capsys.readouterr().err, "1.0 -> 1.1")
    write_reference(place, 1.0)
    assert run_command(again(place)) == 0


@pytest.mark.parametrize("finished", [True, False])
def test_a_structure_file_that_was_replaced_is_refused(place, finished, capsys):
    if not finished:
        (place / "run" / "result.json").unlink()
    arguments = again(place)
    bulk("Cu", a=3.7).write(place / "copper.vasp", format="vasp")
    assert run_command(arguments) == 2
    sentence(capsys.readouterr().err, "copper.vasp", "another structure")
    bulk("Cu", a=3.6).write(place / "copper.vasp", format="vasp", direct=True)
    assert run_command(arguments) == 0


def test_a_run_of_an_earlier_version_is_believed(place):
    journal = place / "run" / "journal.jsonl"
    rows = [json.loads(line) for line in journal.read_text().splitlines()]
    for row in rows:
        for name in ("reference_identity", "structure_sha256", "structure_key"):
            row["payload"].pop(name, None)
    journal.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run_command(again(place)) == 0


def test_a_result_of_another_run_is_not_shown(place, capsys):
    stored = place / "run" / "run.toml"
    stored.write_text(stored.read_text().replace("temperature = 300.0", "temperature = 600.0"))
    with pytest.raises(SschaMlpError, match=r"temperature_K: 600\.0 and 300\.0"):
        FinishedRun.read(place / "run")
    assert run_command(["hessian", str(place / "run")]) == 2
    assert "different runs" in capsys.readouterr().err


def test_from_a_run_without_a_journal(place, capsys):
    (place / "run" / "journal.jsonl").unlink()
    arguments = ["relax", "--from", str(place / "run"), "--run-dir", str(place / "next")]
    assert run_command([*arguments, "--T", "400", "--quiet"]) == 2
    sentence(capsys.readouterr().err, "has no journal.jsonl")


# --- two runs at once -------------------------------------------------------------------------


def test_the_settings_are_written_by_who_has_the_lock(run_directory):
    first, second = RunSettings(temperature=300.0), RunSettings(temperature=600.0)
    place = RunDirectory(run_directory)
    with place.held(first) as in_force:
        assert in_force == first
        with pytest.raises(ConfigError, match=r"temperature: 300.0 -> 600.0"):
            place.check(second)
        with pytest.raises(SschaMlpError), place.held(second):
            pass
        assert read_toml(place.settings_file)["temperature"] == 300.0
    place.check(second)  # nothing has begun
    assert read_toml(place.settings_file)["temperature"] == 300.0


def test_of_two_commands_at_once_the_file_tells_of_the_one_that_goes_on(tmp_path):
    """Started together in one new directory with other settings, as two jobs of a queue are."""
    arguments = relax_arguments(tmp_path, "cheap:sleeping", explore_configs=0)
    processes = {
        temperature: subprocess.Popen(
            command([*arguments, "--T", f"{temperature:g}", "--quiet"]),
            env=environment(),
            stderr=subprocess.DEVNULL,
        )
        for temperature in (300.0, 600.0)
    }
    try:
        while all(one.poll() is None for one in processes.values()):
            time.sleep(0.05)
        (goes_on,) = [t for t, process in processes.items() if process.poll() is None]
        assert read_toml(tmp_path / "run" / "run.toml")["temperature"] == goes_on
    finally:
        for one in processes.values():
            one.kill()
            one.wait()


@pytest.mark.parametrize("by_command", [True, False])
def test_a_reference_is_made_once(by_command, tmp_path, monkeypatch):
    """Not again where the run begins: a factory may load a large model."""
    made = []

    def counted(spec):
        made.append(spec)
        return get_reference(spec)

    def ends(run_context):
        assert run_context.reference.name == "tersoff"
        raise SschaMlpError("far enough")

    for module in (input_checks, context):
        monkeypatch.setattr(module, "get_reference", counted)
    monkeypatch.setattr(loop, "make_start", ends)
    if by_command:
        arguments = ["relax", "--T", "300", "--run-dir", str(tmp_path / "run"), "--quiet"]
        assert run_command(arguments) == 1
    else:
        with pytest.raises(SschaMlpError, match="far enough"):
            sm.run(sm.RunSettings(temperature=300.0), tmp_path / "run")
    assert made == ["tersoff"]
