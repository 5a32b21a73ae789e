"""What surrounds the program: terminals, signals, files in its way, and calculators beside it."""

import contextlib
import importlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import faulty
import pytest
from cheap import TESTS, environment, relax_arguments, sscha_mlp
from test_bad_input import sentence
from test_store import copper

from sscha_mlp.cli import run_command
from sscha_mlp.cli.failures import Terminated, explain, signals_interrupt
from sscha_mlp.data.extxyz import write_extxyz
from sscha_mlp.data.labels import Label, LabelledConfiguration
from sscha_mlp.errors import message_of, one_line, printable
from sscha_mlp.parallel.signals import signals_held
from sscha_mlp.reference import LabelStore, Reference, label

PACKAGE = TESTS.parent / "sscha_mlp"


def python(code: str, *paths: Path, **more: object) -> subprocess.CompletedProcess:
    """Run a few lines in a process of their own, with these places to import from first."""
    surroundings = environment(**more)
    places = [str(one) for one in paths]
    surroundings["PYTHONPATH"] = os.pathsep.join([*places, surroundings["PYTHONPATH"]])
    return subprocess.run(
        [sys.executable, "-c", code],
        env=surroundings,
        cwd=paths[0] if paths else None,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# --- files in the way -------------------------------------------------------------------------


@pytest.mark.parametrize("name", [".lock", "log.txt", "journal.jsonl"])
def test_a_symbolic_link_is_not_written_through(name, tmp_path, capsys):
    """A run directory from somebody else may point to any file of ours."""
    precious = tmp_path / "precious"
    precious.write_text("" if name == "journal.jsonl" else "three years of work\n")
    before = precious.read_bytes()
    arguments = [*relax_arguments(tmp_path), "--quiet"]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(precious)
    assert run_command(arguments) == 2
    sentence(capsys.readouterr().err, name, "symbolic link", "remove it")
    assert precious.read_bytes() == before


@pytest.mark.parametrize("name", [".lock", "log.txt"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_pipe_or_directory_in_the_way_is_named(name, make, tmp_path, capsys):
    arguments = [*relax_arguments(tmp_path), "--quiet"]
    (tmp_path / "run").mkdir()
    make(tmp_path / "run" / name)
    assert run_command(arguments) == 2
    sentence(capsys.readouterr().err, name, "no plain file")


# --- signals ----------------------------------------------------------------------------------


@pytest.fixture
def interruptible():
    """Ctrl-C raises, also where the shell that started the tests has switched it off."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_signals_come_at_the_end_of_a_block_that_would_swallow_them(interruptible):
    went_on = []

    def swallow(number: int) -> None:
        with signals_held():
            with contextlib.suppress(BaseException):  # as libraries do
                os.kill(os.getpid(), number)
            went_on.append(number)

    with signals_interrupt():
        with pytest.raises(KeyboardInterrupt):
            swallow(signal.SIGINT)
        with pytest.raises(Terminated):
            swallow(signal.SIGTERM)
    assert went_on == [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_while_python_sscha_is_imported_is_not_lost(name, tmp_path):
    """They try optional packages with a bare except; this one is asked to end at that moment."""
    pytest.importorskip("sscha", reason="python-sscha is not installed")
    (tmp_path / "mpi4py").mkdir()
    (tmp_path / "mpi4py" / "__init__.py").write_text(
        f"import os, signal, time\nos.kill(os.getpid(), signal.{name})\ntime.sleep(0.1)\n"
        "raise ImportError('no MPI here')\n"
    )
    done = python(
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from sscha_mlp.cli.failures import signals_interrupt\n"
        "from sscha_mlp.scha.python_sscha import upstream\n"
        "with signals_interrupt():\n    upstream()\nprint('went on')",
        tmp_path,
    )
    assert "went on" not in done.stdout
    assert done.returncode in (130, 143, -signal.SIGINT), done.stderr


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_while_the_command_imports_is_not_lost(name, tmp_path):
    """NumPy makes an ImportError of what is raised while its parts are imported."""
    (tmp_path / "spglib.py").write_text(
        f"import os, signal\ntry:\n    os.kill(os.getpid(), signal.{name})\nexcept BaseException:\n"
        "    raise ImportError('broken') from None\n"
    )
    done = python(
        "import signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from sscha_mlp.cli import run_command\n"
        "sys.exit(run_command(['relax', '--T', '300']))",
        tmp_path,
    )
    assert done.returncode in (130, 143), done.stderr
    assert "broken" not in done.stderr


def test_a_signal_of_an_import_comes_where_the_command_ends_at_once(
    interruptible, monkeypatch, tmp_path
):
    """What the package makes of it is an error, and the command ends before the signal is back."""
    (tmp_path / "swallows_signals.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nraise ImportError('broken')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyboardInterrupt), signals_interrupt():
        importlib.import_module("swallows_signals")


# --- terminals --------------------------------------------------------------------------------


def test_texts_are_printable():
    assert printable("a\x1b[31mb\x9b0m\r\n \u2009Å\u202e") == (
        "a\\x1b[31mb\\x9b0m\\r\\n \u2009Å\\u202e"
    )
    assert one_line(" a\n  b\tc ") == "a b c"
    assert printable("\udcff") == "\\udcff"


def test_no_escape_sequence_of_a_file_reaches_the_terminal(tmp_path, capsys):
    evil = "\x1b]0;mine\x07\x1b[2J"
    assert run_command(["relax", "--T", "300", "--structure", f"{tmp_path}/{evil}.vasp"]) == 2
    frames = copper(3)
    frames[0].set_tags(9)
    with LabelStore(tmp_path / "labels.db") as store:
        report = label(frames, Reference.from_factory(faulty.faulty), store=store)
        store.put_failure(frames[1], f"reference {evil}", f"failed {evil}")
    assert "all is well" in report.failures[0].reason
    for action in ("list", "counts", "verify"):
        run_command(["labels", str(tmp_path / "labels.db"), action])
    seen = capsys.readouterr()
    assert "all is well" in seen.out
    assert "\\x1b[2J" in seen.err
    for text in (seen.out, seen.err, report.failures[0].reason):
        assert not set(text) & {"\x1b", "\x07", "\x9b"}


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_result_is_shown_on_any_terminal(encoding, finished_run, monkeypatch):
    """A character that does not fit once made a whole run look damaged."""
    arguments = relax_arguments(finished_run.parent, "cheap:diary")
    shown = {}
    for words in ((), ("--json",)):
        for name in ("utf-8", encoding):
            out = io.TextIOWrapper(io.BytesIO(), encoding=name)
            monkeypatch.setattr(sys, "stdout", out)
            assert run_command([*arguments, *words]) == 0
            out.flush()
            shown[words, name] = out.buffer.getvalue().decode(name)
    assert "2x2x2" in shown[(), encoding].replace("×", "x")
    assert len(shown[(), encoding].splitlines()) == len(shown[(), "utf-8"].splitlines())
    result = json.loads((finished_run / "result.json").read_text())
    assert json.loads(shown[("--json",), encoding]) == result


# --- calculators ------------------------------------------------------------------------------


def test_an_exception_without_a_text_is_a_failure_like_any_other(tmp_path, capsys):
    frames = copper(2)
    frames[1].set_tags(8)
    report = label(frames, Reference.from_factory(faulty.faulty), n_workers=2)
    assert report.labels[0] is not None
    assert "MuteError" in report.failures[0].reason
    assert "AttributeError" in message_of(faulty.MuteError())
    assert explain(faulty.MuteError(), debug=False) == 1
    sentence(capsys.readouterr().err, "unexpected MuteError", "--debug")


def test_a_calculator_that_ends_its_process_does_not_end_ours(tmp_path):
    """With status 0 and no output that would look like a success."""
    frames = copper(3)
    made = [
        LabelledConfiguration(one, Label(0.0, 0 * one.positions, 0 * one.cell)) for one in frames
    ]
    write_extxyz(tmp_path / "in.xyz", made)
    arguments = ["label", str(tmp_path / "in.xyz"), "--reference", "faulty:leaving"]
    arguments += ["--executor", "here", "--out", str(tmp_path / "out.xyz"), "--quiet"]
    done = sscha_mlp(arguments, cwd=tmp_path)
    assert done.returncode == 1
    sentence(done.stderr, "os._exit(0)", "3 configurations")


def test_compiled_loops_do_not_need_a_place_for_their_cache(tmp_path):
    """On read-only file systems numba would refuse to compile at all."""
    shutil.copytree(PACKAGE, tmp_path / "sscha_mlp", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "sscha_mlp" / "potentials" / "mtp" / "__pycache__").write_text("in the way")
    code = "from sscha_mlp.potentials.mtp import kernels; print(kernels.__file__)"
    done = python(code, tmp_path, HOME="/proc/none", XDG_CACHE_HOME="/proc/none")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().startswith(str(tmp_path))
