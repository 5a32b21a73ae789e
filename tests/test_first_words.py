"""What a new user types first: other names of an option work, and near misses get a hint."""

from pathlib import Path

import pytest
from ase.build import bulk

from sscha_mlp.cli import run_command
from sscha_mlp.run_files.settings import read_toml

RELAX = ("relax", "--reference", "files", "--structure", "POSCAR", "--run-dir", "run")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    bulk("Cu").write("POSCAR", format="vasp")
    return tmp_path


@pytest.mark.parametrize("temperature", ["--T", "-T", "--temperature"])
@pytest.mark.parametrize("pressure", ["--pressure", "--P", "-P"])
def test_names_of_temperature_and_pressure(temperature: str, pressure: str):
    assert run_command([*RELAX, temperature, "321", pressure, "1.5"]) == 3  # labels by hand
    settings = read_toml("run/run.toml")
    assert (settings["temperature"], settings["pressure"]) == (321.0, 1.5)


@pytest.mark.parametrize("temperature", ["--T", "-T", "--temperature"])
@pytest.mark.parametrize("pressure", ["--pressure", "--P", "-P"])
def test_the_same_names_in_sweep_and_ensemble(capsys, temperature: str, pressure: str):
    words = ["sweep", temperature, "300,200", pressure, "abc", "--run-dir", "run"]
    assert run_command(words) == 2
    assert "'abc' cannot be read" in capsys.readouterr().err
    assert run_command(["ensemble", temperature, "300", "--state", "none.npz"]) == 2
    assert "none.npz" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("relax", "--supercell", "2", "--T", "300"), "write for example --supercell 2 2 2"),
        (("relax", "--T", "300", "--supercell", "2"), "write for example --supercell 2 2 2"),
        (("relax", "--T", "300", "--supercell", "3", "2"), "write for example --supercell 3 2 2"),
        (("relax", "--supercell=2", "--T", "300"), "--supercell 2 2 2"),
        (("sweep", "--T", "1000:300:100"), "write it upwards: --T 300:1000:100"),
        (("sweep", "--T", "1000:300:-100"), "write it upwards: --T 300:1000:100"),
        (("sweep", "--T", "300", "--P", "5:0:1"), "write it upwards: --P 0:5:1"),
        ((*RELAX, "--T", "9", "--reference", "silicon-qe"), "write silicon-qe.toml"),
        (("reference", "check", "--reference", "silicon-qe"), "write silicon-qe.toml"),
        ((*RELAX, "--T", "9", "--reference", "own"), "write own.toml"),
    ],
)
def test_near_misses(place: Path, capsys, words, hint: str):
    (place / "own.toml").write_text('[reference]\nfactory = "own:calculator"\n')
    assert run_command(words) == 2
    said = capsys.readouterr().err
    assert hint in said
    assert said.count("\n") == 1
