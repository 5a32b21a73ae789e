"""The journal: what is written stays, what was cut off is dropped, a step is done once."""

import json
import os
import resource
import signal
import subprocess
import sys

import pytest

from sscha_mlp.errors import SschaMlpError
from sscha_mlp.run_files.journal import Journal


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.jsonl"


@pytest.fixture
def journal(path):
    one = Journal(path)
    one.record("start", {"n": 1}, 1.5)
    one.record("fit/0", {"x": [1.0, 2.5]}, 2.0)
    one.record("fit/1", {"word": "Ångström\n"}, 0.25)
    return one


def test_what_is_recorded_is_read_back_in_order(journal, path):
    again = Journal(path)
    assert [key for key, _ in again.steps()] == ["start", "fit/0", "fit/1"]
    assert again.steps("fit/") == [("fit/0", {"x": [1.0, 2.5]}), ("fit/1", {"word": "Ångström\n"})]
    assert "start" in again and "stop" not in again
    assert again["start"] == {"n": 1}
    assert again.seconds("fit/") == 2.25 and again.seconds() == 3.75
    assert Journal(path.with_name("none")).steps() == []


def test_a_step_is_done_once(journal, path):
    calls = []

    def step():
        calls.append(1)
        return {"value": (1, 2)}

    first = journal.once("fit/2", step)
    # What this run goes on with is what a resumed one would read: lists, not tuples.
    assert first == {"value": [1, 2]} == journal.once("fit/2", step)
    assert Journal(path).once("fit/2", step) == first
    assert len(calls) == 1


def test_a_step_that_fails_is_not_recorded(journal, path):
    def broken():
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        journal.once("fit/2", broken)
    assert "fit/2" not in journal and "fit/2" not in Journal(path)


def test_a_last_line_that_was_cut_off_anywhere_is_dropped_and_written_anew(journal, path):
    whole = path.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    for n_kept in range(1, len(last)):
        path.write_bytes(whole[: len(whole) - len(last) + n_kept])
        again = Journal(path)
        assert [key for key, _ in again.steps()] == ["start", "fit/0"], n_kept
        again.record("fit/1", {"word": "new"})
        assert Journal(path)["fit/1"] == {"word": "new"}
        assert len(path.read_bytes().splitlines()) == 3


@pytest.mark.parametrize(
    "line", [b"{not json}\n", b"\n", b"[1, 2]\n", b'"text"\n', b'{"step": "a"}\n', b"\xff\xfe\n"]
)
def test_a_damaged_line_in_the_middle_is_refused_with_its_place(journal, path, line):
    lines = path.read_bytes().splitlines(keepends=True)
    before = b"".join([lines[0], line, lines[2]])
    path.write_bytes(before)
    with pytest.raises(SschaMlpError, match=f"damaged at byte {len(lines[0])}; restore it"):
        Journal(path)
    assert path.read_bytes() == before  # evidence is not destroyed


def test_a_journal_opened_for_reading_is_left_as_it_is(journal, path):
    with path.open("ab") as stream:
        stream.write(b'{"step": "half')
    before = path.read_bytes()
    assert len(Journal(path, read_only=True).steps()) == 3
    assert path.read_bytes() == before


def test_a_journal_that_cannot_be_written_says_so(journal, path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, limits[1]))
    try:
        with pytest.raises(SschaMlpError, match=r"cannot be written .* free some space"):
            journal.record("fit/2", {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert "fit/2" not in journal


def test_what_was_recorded_survives_a_kill(path):
    """The process is killed right after record returns: the line is there, whole."""
    code = (
        "import os, signal, sys\n"
        "from sscha_mlp.run_files.journal import Journal\n"
        "journal = Journal(sys.argv[1])\n"
        "journal.record('a', {'n': 1})\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code, str(path)], env=environment, check=False)
    assert done.returncode == -9
    assert json.loads(path.read_text())["payload"] == {"n": 1}
    assert Journal(path)["a"] == {"n": 1}
