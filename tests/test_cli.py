"""The command line as a user meets it: help, screens, settings, verbs on files, exit statuses."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from cheap import (
    command,
    environment,
    relax_arguments,
    sscha_mlp,
    write_copper,
    write_settings,
)
from rich.console import Console

from sscha_mlp.cli import run_command
from sscha_mlp.cli.arguments import split_sizes
from sscha_mlp.cli.running import default_run_directory, resolve
from sscha_mlp.cli.screen import BarObserver, LineObserver
from sscha_mlp.data.extxyz import read_configurations, read_extxyz, write_extxyz
from sscha_mlp.run_files.records.population import PopulationRecord
from sscha_mlp.run_files.settings import RunSettings

VERBS = (
    *("relax", "status", "report", "phonons", "ensemble", "label", "fit", "validate"),
    *("convert", "efs", "grade", "select-add", "export"),
)

POPULATION = PopulationRecord(
    phase="round-1",
    population=2,
    free_energy=-5.3149,
    free_energy_stderr=0.0003,
    pressure_GPa=-0.02,
    pressure_stderr_GPa=0.03,
    volume=20.66,
    gradient_THz=0.05,
    gradient_stderr_THz=0.02,
    effective_sample_size=988.0,
    n_drawn=1000,
    frequencies_THz=np.array([3.0, 15.0]),
    reason="gradient, stress and free energy converged",
)


def one_sentence(capsys, text):
    """Check that standard error is one line that begins as it should and holds `text`."""
    error = capsys.readouterr().err.strip()
    assert error.startswith("sscha-mlp: ")
    assert "\n" not in error
    assert text in error
    return error


# --- help ---------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["import sscha_mlp", "import sscha_mlp.cli.app"])
def test_an_import_loads_nothing_heavy(code):
    loaded = modules_after(code)
    assert {"numpy", "ase", "scipy", "matplotlib", "spglib", "numba", "tomllib"}.isdisjoint(loaded)


def test_the_package_itself_loads_nothing_but_itself():
    """Its public names come when they are used: nothing from another package, no room."""
    loaded = modules_after("import sscha_mlp")
    assert [name for name in loaded if name.startswith("sscha_mlp.")] == []
    assert {"typer", "rich"}.isdisjoint(loaded)


def test_help_loads_the_command_line_and_no_room():
    """A help text is there at once because nothing is loaded for it that computes.

    It names the kinds of potential, and loads the list of their names alone.
    """
    code = "from sscha_mlp.cli import run_command; run_command(['relax', '--help'])"
    loaded = modules_after(code)
    own = {name for name in loaded if name.startswith("sscha_mlp.")}
    own -= {"sscha_mlp.potentials", "sscha_mlp.potentials.names"}
    assert {name.split(".")[1] for name in own} <= {"cli", "errors"}
    assert {"numpy", "ase", "scipy", "matplotlib"}.isdisjoint(loaded)


def modules_after(code):
    """Names of the modules that a process has loaded after running some code."""
    more = f"{code}\nimport sys\nprint('loaded:', *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", more], env=environment(), capture_output=True, text=True, check=True
    )
    return done.stdout.rpartition("loaded:")[2].split()


def test_help_names_every_verb(capsys):
    assert run_command([]) == 0
    text = capsys.readouterr().out
    assert all(verb in text for verb in VERBS)


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("relax", ["in K", "in GPa", "[default: 2 2 2]", "run.toml", "status 0"]),
        ("ensemble", ["in K", "(Å)", "Sobol"]),
        ("label", ["in s", "(eV/Å)", "package.module:function"]),
        ("fit", ["[potential.mtp]", "(Å)"]),
        ("validate", ["reference - model"]),
        ("convert", ["(eV)", "(eV/Å)"]),
        ("efs", ["(eV)", "(eV/Å)", "reference - model", "check_errors"]),
        ("grade", ["nbh_grades", "MV_grade", "status 1"]),
        ("select-add", ["d-optimal", "--n"]),
        ("export", [".almtp", "LAMMPS"]),
        ("status", ["RUN_DIR"]),
        ("report", ["report.pdf"]),
        ("phonons", ["phonons.pdf", "(THz)", "(e)", "Å", "BORN"]),
    ],
)
def test_help_of_a_verb_gives_units(verb, words, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    assert run_command([verb, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for word in words:
        assert word in text


def test_the_version_is_shown(capsys):
    assert run_command(["--version"]) == 0
    assert capsys.readouterr().out.startswith("sscha-mlp 0.")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["relax", "--T", "300", "--supercell", "2", "2"], "has 2 of 3 numbers"),
        (["relax", "--supercell", "3", "3"], "write for example --supercell 3 3 3"),
        (["relax", "--supercell", "3", "3", "--T", "3"], "--supercell 3 3 3"),
        (["supercell", "run", "4", "4"], "write for example sscha-mlp supercell RUN_DIR 4 4 4"),
        (["relax", "--T", "warm"], "Invalid value for '--T'"),
        (["relax", "--tee", "300"], "No such option: --tee"),
        (["melt"], "No such command 'melt'"),
        (["relx"], "Did you mean 'relax'? See"),
        (["relax", "--T", "300K"], "'--T': it must be a number, without a unit. See"),
        (["relax", "--seed", "1.5"], "'--seed': it must be a whole number. See"),
        (["fit", "a.xyz"], "Missing option '--out'"),
    ],
)
def test_a_wrong_command_line_is_one_sentence_and_status_2(arguments, text, capsys):
    assert run_command(arguments) == 2
    assert "--help" in one_sentence(capsys, text)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("relax --supercell 3x3x3 --T 300", "relax --supercell 3 3 3 --T 300"),
        ("sweep --T 300,600,900 --supercell 3,3,2", "sweep --T 300,600,900 --supercell 3 3 2"),
        ("relax --supercell=2×2×2", "relax --supercell 2 2 2"),
        ("supercell runs/a 4x4x4 --quiet", "supercell runs/a 4 4 4 --quiet"),
        ("supercell 4x4x4 6 6 6 --run-dir 6x6x6", "supercell 4x4x4 6 6 6 --run-dir 6x6x6"),
        ("relax --supercell 3 3 3 --run-dir 3x3x3", "relax --supercell 3 3 3 --run-dir 3x3x3"),
        ("relax --supercell 3x3", "relax --supercell 3x3"),
    ],
)
def test_a_supercell_may_be_one_word(given, read):
    assert split_sizes(given.split()) == read.split()


# --- settings -----------------------------------------------------------------------------


def test_the_command_line_goes_before_the_file_and_the_file_before_defaults(tmp_path):
    config = write_settings(tmp_path)
    settings = resolve({"configs": 60, "pressure": 2.0}, config)
    assert (settings.configs, settings.pressure) == (60, 2.0)
    assert (settings.temperature, settings.training.n_start) == (300.0, 10)
    assert settings.seed == 0


def test_paths_in_a_settings_file_are_relative_to_it(tmp_path):
    config = tmp_path / "a.toml"
    config.write_text('temperature = 1\nstructure = "c.cif"\nreference = "r.toml"\n')
    settings = resolve({}, config)
    assert settings.structure == str(tmp_path / "c.cif")
    assert settings.reference == str(tmp_path / "r.toml")


def test_a_supercell_of_three_numbers_reaches_the_settings(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run_command(["relax", "--T", "10", "--supercell", "2", "0", "3"])
    one_sentence(capsys, "(2, 0, 3)")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"temperature": 2000.0}, "sscha-run-T2000"),
        ({"temperature": 300.0, "pressure": 5.0}, "sscha-run-T300-P5"),
        ({"temperature": 0.0, "structure": "/a/copper.vasp"}, "sscha-run-copper-T0"),
    ],
)
def test_the_run_directory_is_named_after_what_is_asked(given, name):
    assert default_run_directory(resolve(given, None)) == name


# --- a whole run --------------------------------------------------------------------------


def test_json_mode_prints_the_result_and_nothing_else(finished_run):
    printed = (finished_run.parent / "stdout").read_text()
    assert json.loads(printed) == json.loads((finished_run / "result.json").read_text())


def test_a_run_leaves_everything_of_the_contract(finished_run):
    names = ["run.toml", "journal.jsonl", "labels.db", "report.pdf", "result.json", "log.txt"]
    names += [f"dataset/{name}.xyz" for name in ("train", "test", "check")]
    names += ["models/000/model.json", "dyn/final_dyn1", "validation.png"]
    assert [name for name in names if not (finished_run / name).is_file()] == []


def test_lines_tell_what_happens(finished_run):
    text = (finished_run.parent / "stderr").read_text()
    for words in (
        "copper.vasp at 300 K and 0 GPa, 2×2×2 cells, 8 atoms",
        "fit 0: gap on",
        "check 1",
        "round-1   1  F ",
    ):
        assert words in text
    assert "\x1b" not in text


@pytest.fixture
def copied_run(finished_run, tmp_path):
    shutil.copytree(finished_run, tmp_path / "run")
    shutil.copy(finished_run.parent / "tiny.toml", tmp_path)
    write_copper(tmp_path)
    return tmp_path / "run"


@pytest.fixture
def again(finished_run):
    """The same command line as that of the finished run."""
    return relax_arguments(finished_run.parent, "cheap:diary")


def test_a_finished_run_shows_its_result_at_once(again, capsys):
    start = time.perf_counter()
    assert run_command(again) == 0
    assert time.perf_counter() - start < 5.0
    text = capsys.readouterr().out
    for words in (
        "Cu Fm-3m, 2×2×2 cells, 8 atoms, 300 K",
        "CERTIFIED",
        "Free energy (eV/atom)",
        "Lattice parameter a (Å)",
        "report.pdf",
    ):
        assert words in text
    assert text.count("±") >= 8


def test_other_settings_in_the_same_directory_are_refused(again, capsys):
    assert run_command([*again, "--seed", "7"]) == 2
    one_sentence(capsys, "seed: 0 -> 7")


def test_a_result_that_did_not_converge_is_status_1(copied_run, finished_run, capsys):
    result = json.loads((copied_run / "result.json").read_text())
    result |= {"converged": False, "stop_reason": "not converged: a mode still shifts"}
    (copied_run / "result.json").write_text(json.dumps(result))
    again = relax_arguments(finished_run.parent, "cheap:diary")
    again[again.index("--run-dir") + 1] = str(copied_run)

    assert run_command(again) == 1
    captured = capsys.readouterr()
    assert "NOT CERTIFIED" in captured.out
    assert "a mode still shifts" in captured.err


def test_status_of_a_finished_run(finished_run, capsys):
    assert run_command(["status", str(finished_run)]) == 0
    assert "FINISHED, CERTIFIED" in capsys.readouterr().out


def test_status_reads_a_run_that_was_cut_off_and_leaves_it_alone(copied_run, capsys):
    (copied_run / "result.json").unlink()
    journal = copied_run / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    before = journal.read_bytes()

    assert run_command(["status", str(copied_run), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["state"] == "stopped"
    assert summary["labels"] > 0
    assert journal.read_bytes() == before


def test_report_writes_the_files_of_a_run(copied_run, capsys):
    (copied_run / "report.pdf").unlink()
    assert run_command(["report", str(copied_run)]) == 0
    assert (copied_run / "report.pdf").stat().st_size > 10_000
    assert str(copied_run / "report.pdf") in capsys.readouterr().out


def test_a_directory_without_a_run_is_wrong_input(tmp_path, capsys):
    for verb in ("status", "report"):
        assert run_command([verb, str(tmp_path)]) == 2
        one_sentence(capsys, "is not a run directory")


@pytest.mark.parametrize(
    ("number", "status", "words", "logged"),
    [
        (signal.SIGINT, 130, "interrupted", "interrupted"),
        (signal.SIGTERM, 143, "ended by SIGTERM", "ended by SIGTERM"),
    ],
)
def test_a_signal_ends_a_run_with_a_sentence(tmp_path, number, status, words, logged):
    with subprocess.Popen(
        command(relax_arguments(tmp_path)),
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        # What a shell starts in the background ignores Ctrl-C, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    ) as process:
        wait_for(tmp_path / "run" / "journal.jsonl", process)
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
    assert process.returncode == status
    assert error.splitlines()[-1].startswith(f"sscha-mlp: {words}: What is finished is kept")
    assert "Traceback" not in error
    assert (tmp_path / "run" / "log.txt").read_text().splitlines()[-1].endswith(f" {logged}")


def wait_for(path: Path, process: subprocess.Popen) -> None:
    while process.poll() is None and not path.exists():
        time.sleep(0.02)


def test_an_unexpected_error_is_named_and_kept_in_the_log(tmp_path, monkeypatch, capsys):
    def broken(*args, **kwargs):
        raise KeyError("what nobody thought of")

    monkeypatch.setattr("sscha_mlp.campaign.loop.go_on", broken)
    (tmp_path / "run").mkdir()
    arguments = [*relax_arguments(tmp_path), "--quiet"]

    assert run_command(arguments) == 1
    assert "--debug" in one_sentence(capsys, "KeyError: 'what nobody thought of'")
    assert "Traceback" in (tmp_path / "run" / "log.txt").read_text()
    assert run_command([*arguments, "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


# --- the stages on files ------------------------------------------------------------------


def test_the_stages_work_on_files_alone(finished_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    dyn, state = finished_run / "dyn" / "final_dyn", finished_run / "states" / "start.npz"
    draw = ["ensemble", "--T", "300", "--n", "12"]

    assert run_command([*draw, "--dyn", str(dyn), "--out", "a.xyz"]) == 0
    assert run_command([*draw, "--state", str(state), "--seed", "1", "--sobol"]) == 0
    assert run_command(["label", "a.xyz", "--reference", "emt", "--out", "train.xyz"]) == 0
    assert run_command(["label", "ensemble.xyz", "--reference", "emt", "--out", "test.xyz"]) == 0
    assert run_command(["label", "a.xyz", "--reference", "emt", "--out", "again.xyz"]) == 0
    assert "0 computed, 12 found" in capsys.readouterr().err
    config = str(finished_run / "run.toml")
    assert (
        run_command(["fit", "train.xyz", "--out", "model", "--model", "gap", "--config", config])
        == 0
    )
    assert run_command(["validate", "model", "train.xyz", "test.xyz", "--out", "page"]) == 0

    text = capsys.readouterr().out
    assert "Root mean square errors" in text and "train" in text and "test" in text
    assert max(len(line) for line in text.splitlines() if "(meV" in line) <= 80
    assert read_extxyz("test.xyz")[0].temperature == 300.0
    rows = json.loads(Path("page/validation.json").read_text())
    assert [row["n_configs"] for row in rows] == [12, 12]
    assert [row["calibration"]["n_configs"] for row in rows] == [12, 12]
    assert "On these 12 configurations the standard deviation of a local energy" in " ".join(
        text.split()
    )
    assert sorted(path.suffix for path in Path("page").iterdir()) == [".json", ".pdf", ".png"]


def test_an_ensemble_is_decided_by_its_seed(finished_run, tmp_path):
    state = str(finished_run / "states" / "start.npz")
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        out = str(tmp_path / f"{name}.xyz")
        arguments = ["ensemble", "--state", state, "--T", "0", "--n", "3", "--no-pairs"]
        assert run_command([*arguments, "--seed", seed, "--out", out]) == 0
    frames = [read_configurations(tmp_path / f"{name}.xyz") for name in "abc"]
    assert frames[0] == frames[1]
    assert frames[0] != frames[2]


def test_fit_takes_what_a_run_has_chosen(finished_run, tmp_path, capsys):
    """The same labels and hyper-parameters give the same model; the defaults give another one."""
    train = str(finished_run / "dataset" / "train.xyz")
    out = {name: str(tmp_path / name) for name in ("run", "model", "usual")}
    last = max((finished_run / "models").glob("[0-9]*"))
    assert run_command(["fit", train, "--out", out["run"], "--like", str(finished_run)]) == 0
    shown = capsys.readouterr().err
    assert "hyper-parameters: cutoff 3.6 Å" in shown and "20 sparse" in shown
    assert "defaults" not in shown
    assert run_command(["fit", train, "--out", out["model"], "--like", str(last)]) == 0
    capsys.readouterr()
    assert run_command(["fit", train, "--out", out["usual"], "--model", "mtp"]) == 0
    assert "these are the defaults; --like RUN_DIR" in " ".join(capsys.readouterr().err.split())
    records = {
        name: json.loads((Path(path) / "model.json").read_text()) for name, path in out.items()
    }
    chosen = json.loads((last / "model.json").read_text())
    assert records["run"]["settings"] == chosen["settings"]
    assert records["run"]["kind"] == "gap" and records["usual"]["kind"] == "mtp"
    assert records["run"]["fingerprint"] == records["model"]["fingerprint"]


def test_a_file_of_settings_goes_on_top_of_an_earlier_model(finished_run, tmp_path):
    (tmp_path / "gap.toml").write_text("[gap]\ncutoff = 3.4\n")
    train = str(finished_run / "dataset" / "train.xyz")
    given = ["--like", str(finished_run), "--config", str(tmp_path / "gap.toml")]
    assert run_command(["fit", train, "--out", str(tmp_path / "model"), *given]) == 0
    settings = json.loads((tmp_path / "model" / "model.json").read_text())["settings"]
    assert (settings["cutoff"], settings["n_sparse"]) == (3.4, 20)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [(["--model", "mtp"], "is a gap, not a mtp"), (["--like", "nowhere"], "has no fitted model")],
)
def test_fit_refuses_an_earlier_model_that_does_not_serve(
    finished_run, tmp_path, capsys, arguments, text
):
    train = str(finished_run / "dataset" / "train.xyz")
    like = ["--like", str(finished_run), *arguments]
    assert run_command(["fit", train, "--out", str(tmp_path / "model"), *like]) == 2
    one_sentence(capsys, text)
    assert not (tmp_path / "model").exists()


def test_a_sweep_without_temperatures_says_how_to_give_them(capsys):
    assert run_command(["sweep"]) == 2
    one_sentence(capsys, "write for example --T 300,600")


def test_fit_refuses_an_unknown_setting(tmp_path, capsys):
    (tmp_path / "a.toml").write_text("cutof = 3\n")
    write_extxyz(tmp_path / "a.xyz", [])
    arguments = ["fit", str(tmp_path / "a.xyz"), "--out", str(tmp_path / "model")]
    assert run_command([*arguments, "--config", str(tmp_path / "a.toml")]) == 2
    one_sentence(capsys, "cutof")


def test_label_refuses_an_empty_file(tmp_path, capsys):
    (tmp_path / "a.xyz").write_text("")
    assert run_command(["label", str(tmp_path / "a.xyz"), "--reference", "emt"]) == 2
    one_sentence(capsys, "holds no configuration")


def test_ensemble_wants_one_source(capsys):
    assert run_command(["ensemble", "--T", "300"]) == 2
    one_sentence(capsys, "either --dyn PREFIX or --state")


def test_label_writes_beside_its_store(tmp_path, capsys):
    write_extxyz(tmp_path / "in.xyz", [bulk("Cu", cubic=True)])
    out = tmp_path / "sub" / "out.xyz"
    assert (
        run_command(["label", str(tmp_path / "in.xyz"), "--reference", "emt", "--out", str(out)])
        == 0
    )
    assert (tmp_path / "sub" / "labels.db").is_file()


# --- screens ------------------------------------------------------------------------------


def test_a_quiet_run_prints_nothing_but_the_answer(finished_run, tmp_path):
    arguments = relax_arguments(finished_run.parent, "cheap:diary")
    done = sscha_mlp([*arguments, "--quiet"], cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "CERTIFIED" in done.stdout
    assert not any(line.endswith(" ") for line in done.stdout.splitlines())


def test_bars_show_what_is_left_on_a_terminal():
    screen = StringIO()
    console = Console(file=screen, force_terminal=True, width=120)
    with BarObserver(console) as observer:
        observer.stage("fit 0: gap on 40 labels")
        for done in range(4):
            observer.progress("labels", done, 4)
            observer.bars.refresh()
        observer.population(POPULATION)
        observer.progress("labels", 4, 4)
    text = screen.getvalue()
    for words in ("fit 0: gap on 40 labels", "3/4", "left", "-5.31490 ± 0.00030", "988/1000"):
        assert words in text


def test_a_long_line_goes_on_below_its_first_word_on_a_terminal_alone():
    text = (
        "validation on converged, 2000 K, model 3 (36 unseen labels): energy 0.65 meV/atom, 4 GPa"
    )
    printed = []
    for terminal in (True, False):
        screen = StringIO()
        console = Console(file=screen, force_terminal=terminal, width=80, color_system=None)
        LineObserver(console).note(text)
        printed.append([line.rstrip() for line in screen.getvalue().splitlines()])

    wrapped, whole = printed
    assert len(wrapped) == 2
    assert all(len(line) <= 80 and line[:2] == "  " and line[2] != " " for line in wrapped)
    assert whole == [f"  {text}"]


def test_a_run_from_another_one_is_not_called_silicon(tmp_path):
    screen = StringIO()
    settings = RunSettings(temperature=300.0, origin="/somewhere/copper")
    LineObserver(Console(file=screen, width=120)).begin(settings, tmp_path, 1)
    assert screen.getvalue().startswith("from copper at 300 K")


def test_lines_do_not_take_brackets_for_markup():
    screen = StringIO()
    LineObserver(Console(file=screen, width=120)).note("the table [gap] and [/nonsense]")
    assert "the table [gap] and [/nonsense]" in screen.getvalue()


def test_the_shell_completes_verbs_and_options(tmp_path):
    """What `sscha-mlp --install-completion` puts into the shell calls this."""
    found = {}
    for typed in ("sscha-mlp re", "sscha-mlp relax --press"):
        asked = {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
        done = subprocess.run(
            [sys.executable, "-m", "sscha_mlp"],
            env={**os.environ, **asked, "_SSCHA_MLP_COMPLETE": "complete_bash"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        found[typed] = done.stdout.split()
    assert {"relax", "report", "reference"} <= set(found["sscha-mlp re"])
    assert "--pressure" in found["sscha-mlp relax --press"]
