"""Where a run stands, as the command line tells it: states, widths, boxes, logs."""

import fcntl
import json
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import termios

import pytest
from cheap import command, environment, finish, relax_arguments, write_copper

from sscha_mlp.cli import run_command
from sscha_mlp.cli.failures import split_way_out
from sscha_mlp.errors import InputError, SschaMlpError
from sscha_mlp.run_files.status import LogTail, Standing, State
from sscha_mlp.studies.sweep.status import sweep_standing

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_a_terminal(arguments, directory, **more):
    """Run a command on a pseudo-terminal of 80 columns; return its status and what it shows."""
    main, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    values = {**environment(), "TERM": "xterm-256color", **more}
    del values["COLUMNS"]
    with subprocess.Popen(
        command(arguments), cwd=directory, env=values, stdin=child, stdout=child, stderr=child
    ) as process:
        os.close(child)
        text = b""
        while select.select([main], [], [], 120.0)[0]:
            try:
                piece = os.read(main, 65536)
            except OSError:  # the terminal is closed on the other side
                break
            if not piece:
                break
            text += piece
        status = process.wait(timeout=60)
    os.close(main)
    return status, text.decode().replace("\r\n", "\n")


def widest(text):
    return max(len(ESCAPE.sub("", line)) for line in text.splitlines())


@pytest.fixture
def stopped(finished_run, tmp_path):
    """A run that was killed after its first population."""
    shutil.copytree(finished_run, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    for name, last in (("journal.jsonl", '"population/'), ("log.txt", " explore   1 ")):
        lines = (tmp_path / "run" / name).read_text().splitlines(keepends=True)
        end = next(i for i, line in enumerate(lines) if last in line)
        (tmp_path / "run" / name).write_text("".join(lines[: end + 1]))
    return tmp_path / "run"


def told(directory, capsys):
    assert run_command(["status", str(directory)]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    return text


# --- states ---------------------------------------------------------------------------------


def test_a_finished_run(finished_run, capsys):
    text = told(finished_run, capsys)
    result = json.loads((finished_run / "result.json").read_text())
    assert "FINISHED, CERTIFIED" in text
    assert f"{result['labels']['total']} of at most 60" in text
    assert f"{result['labels']['start']} calls for the start" in text
    assert "Go on" not in text


def test_a_stopped_run_says_where_it_was_and_how_it_goes_on(stopped, capsys):
    text = told(stopped, capsys)
    assert "STOPPED" in text
    assert "explore: relaxation with 20 configurations" in text
    assert "the same relax command goes on" in text
    assert "explore 1 " in text
    assert "1 model, 1 population, 0 checks" in text


def test_a_run_at_work_says_at_what_and_how_long(stopped, capsys):
    with (stopped / ".lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        text = told(stopped, capsys)
    assert "WORKING" in text
    assert re.search(r"explore: relaxation with 20\s+configurations, for \d", text)
    assert "Go on" not in text


def test_a_run_that_waits_says_for_what_and_where(tmp_path, capsys):
    write_copper(tmp_path)
    arguments = relax_arguments(tmp_path, "files")
    assert run_command([*arguments, "--quiet"]) == 3
    capsys.readouterr()

    text = told(tmp_path / "run", capsys)
    joined = "".join(text.split())
    assert "WAITING FOR LABELS" in text
    assert re.search(r"Waits for +1 label; the inputs are in", text)
    assert str(tmp_path / "run" / "offline" / "000") in joined
    assert Standing.read(tmp_path / "run").state is State.WAITING
    assert run_command(["status", str(tmp_path / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "waiting"


def test_a_run_that_failed_says_why_and_keeps_it_in_its_log(tmp_path, monkeypatch, capsys):
    relax_arguments(tmp_path)

    def broken(*args, **kwargs):
        raise SschaMlpError("The disk of node 7 is full; free some space.")

    monkeypatch.setattr("sscha_mlp.campaign.loop.make_start", broken)
    with pytest.raises(SschaMlpError):
        finish(tmp_path)
    assert "failed: The disk of node 7 is full" in (tmp_path / "run" / "log.txt").read_text()
    text = told(tmp_path / "run", capsys)
    assert "FAILED" in text
    assert "Because       The disk of node 7 is full" in text


def test_ctrl_c_is_no_failure(tmp_path, monkeypatch):
    relax_arguments(tmp_path)

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("sscha_mlp.campaign.loop.make_start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        finish(tmp_path)
    found = Standing.read(tmp_path / "run")
    assert found.state is State.STOPPED
    assert found.log.last == "interrupted"


def test_a_traceback_at_the_end_of_a_log_is_a_failure(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("2026-01-01 10:00:00,123 == fit 0\nTraceback\nKeyError: 'lost'\n")
    found = LogTail.read(log)
    assert found.ending == (State.FAILED, "KeyError: 'lost'")
    assert (found.stage, found.since) == ("fit 0", "2026-01-01 10:00:00")
    assert LogTail.read(tmp_path / "none").ending == (State.STOPPED, "")


# --- sweeps ---------------------------------------------------------------------------------


@pytest.fixture
def sweep(finished_run, stopped, tmp_path):
    """A sweep with one point finished, one stopped, one damaged and one to come."""
    path = tmp_path / "sweep"
    (path / "points").mkdir(parents=True)
    temperatures = [100.0, 200.0, 300.0, 400.0]
    (path / "sweep.toml").write_text(
        f"first = [300.0, 0.0]\ntemperatures = {temperatures}\npressures = [0.0]\n"
    )
    shutil.copytree(finished_run, path / "points" / "T300-P0")
    shutil.copytree(stopped, path / "points" / "T200-P0")
    shutil.copytree(stopped, path / "points" / "T400-P0")
    (path / "points" / "T400-P0" / "journal.jsonl").write_text("{\n{\n")
    return path


def test_a_sweep_has_a_line_for_each_point(sweep, capsys):
    states = {one.temperature_K: one.state for one in sweep_standing(sweep)}
    assert states == {
        100.0: State.TO_COME,
        200.0: State.STOPPED,
        300.0: State.CERTIFIED,
        400.0: State.FAILED,
    }
    text = told(sweep, capsys)
    rows = [line.split()[:3] for line in text.splitlines() if re.match(r" +\d00 ", line)]
    assert [(row[0], row[2]) for row in rows] == [
        ("100", "to"),
        ("200", "stopped"),
        ("300", "certified"),
        ("400", "failed"),
    ]
    assert "1 of 4 points certified" in text
    assert "is damaged at byte 0" in " ".join(text.split())

    assert run_command(["status", str(sweep), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["points"]) == 4


def test_a_sweep_at_work_between_its_runs_says_at_what(sweep, capsys):
    (sweep / "log.txt").write_text("2026-01-01 10:00:00,123 == response of 300 K, 0 GPa\n")
    assert "response of" not in told(sweep, capsys)
    with (sweep / ".lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        text = told(sweep, capsys)
    assert "certified: WORKING" in text
    assert re.search(r"At +response of 300 K, 0 GPa, for \d+ h", text)


def test_a_sweep_shows_what_its_point_is_at_and_counts_as_a_run_does(sweep, capsys):
    result = json.loads((sweep / "points" / "T300-P0" / "result.json").read_text())["labels"]
    with (sweep / "points" / "T200-P0" / ".lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        text = " ".join(told(sweep, capsys).split())
    assert "At 200 K, 0 GPa: explore: relaxation with 20 configurations, for" in text
    stopped = sum(one.labels_new for one in sweep_standing(sweep) if one.state is State.STOPPED)
    assert (
        f"Labels {result['total'] + stopped}, and {2 * result['start']} calls for the start" in text
    )


def test_a_damaged_plan_is_named(tmp_path):
    (tmp_path / "sweep.toml").write_text("temperatures = 300\n")
    with pytest.raises(InputError, match=r"sweep\.toml does not say which points"):
        sweep_standing(tmp_path)


# --- screens --------------------------------------------------------------------------------


def test_no_screen_is_wider_than_a_terminal(finished_run, sweep, stopped):
    """Given by short names: a path is never broken."""
    shutil.copytree(finished_run, stopped.parent / "done")
    again = ["relax", "--config", "done/run.toml", "--run-dir", "done"]
    for arguments in (["status", "done"], ["status", "run"], ["status", "sweep"], again, ["-h"]):
        status, text = on_a_terminal(arguments, stopped.parent)
        assert status == 0, text
        paths = [line for line in text.splitlines() if "/" in line and " " not in line.strip()]
        lines = "\n".join(line for line in text.splitlines() if line not in paths)
        assert widest(lines) <= 80, text


def test_an_error_on_a_terminal_stands_in_a_box_with_the_way_out(tmp_path):
    status, text = on_a_terminal(["status", "nowhere"], tmp_path)
    plain = ESCAPE.sub("", text)
    assert status == 2
    assert "\x1b[" in text
    assert widest(text) <= 80
    assert plain.splitlines()[0].startswith("╭─ sscha-mlp: error ─")
    assert re.search(r"│ nowhere is not a run directory: it has no run\.toml\. +│", plain)
    assert re.search(r"│ Way out: Start one with sscha-mlp relax --run-dir\. +│", plain)


def test_no_color_means_none(tmp_path):
    status, text = on_a_terminal(["status", "nowhere"], tmp_path, NO_COLOR="1")
    assert status == 2
    assert not re.search(r"\x1b\[(3|4|9)\d", text)


def test_an_error_in_a_file_is_one_line(tmp_path, capsys):
    assert run_command(["status", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("sscha-mlp: error: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "what", "way_out"),
    [
        ("a.vasp is empty; give another file.", "a.vasp is empty.", "Give another file."),
        ("It is 2. 5 is allowed. Give 5.", "It is 2. 5 is allowed.", "Give 5."),
        ("Twice (first; then. So) wrong", "Twice (first; then. So) wrong", ""),
        ("No 'a; b' in x.toml. Add it.", "No 'a; b' in x.toml.", "Add it."),
        ("Nothing to do.", "Nothing to do.", ""),
    ],
)
def test_the_way_out_is_the_last_part_of_a_sentence(text, what, way_out):
    assert split_way_out(text) == (what, way_out)
