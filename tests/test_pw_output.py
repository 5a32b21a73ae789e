"""Outputs of pw.x: what is no label need not be there."""

import re
from pathlib import Path

import numpy as np
import pytest

import sscha_mlp as sm
from sscha_mlp.cli import run_command
from sscha_mlp.data.attached import attached_labels
from sscha_mlp.data.outputs import read_outputs

GOOD = Path(__file__).parent / "silicon.pwo"


def without_kpoints(text: str) -> str:
    lines = text.splitlines(keepends=True)
    return "".join(x for x in lines if not re.match(r"\s*(k\(\s*\d+\) = |number of k points)", x))


def without_bands(text: str) -> str:
    end = "End of self-consistent calculation"
    head, _, tail = text.partition(end)
    return head + end + "\n" + tail[re.search(r"\n *(highest|the Fermi|!)", tail).start() :]


def cut_bands(text: str) -> str:
    """One k-point of the bands is missing."""
    start = text.index("End of self-consistent calculation")
    second = [found.start() for found in re.finditer(r" *k =", text[start:])][1]
    end = re.search(r"\n *(highest|the Fermi|!)", text[start:]).start()
    return text[: start + second] + text[start + end :]


@pytest.mark.parametrize("change", [without_kpoints, without_bands, cut_bands])
def test_labels_need_neither_kpoints_nor_bands(tmp_path: Path, change):
    path = tmp_path / "si.pwo"
    path.write_text(change(GOOD.read_text()))
    assert path.read_text() != GOOD.read_text()
    (whole,), (output,) = read_outputs(GOOD), read_outputs(path)
    assert output.label.energy == whole.label.energy
    assert np.array_equal(output.label.forces, whole.label.forces)
    assert np.array_equal(output.label.stress, whole.label.stress)
    out = tmp_path / "z.xyz"
    assert run_command(["convert", str(path), "--from", "espresso-out", "--out", str(out)]) == 0
    assert sm.read_extxyz(out)[0].label.energy == whole.label.energy


@pytest.mark.parametrize("kinds", ["Si1 Si2", "Si Si_a", "Si-x Si"])
def test_kinds_of_one_element(tmp_path: Path, kinds: str):
    first, second = kinds.split()
    text = GOOD.read_text()
    text = text.replace("1           Si  tau", f"1           {first}  tau")
    text = text.replace("2           Si  tau", f"2           {second}  tau")
    (tmp_path / "si.pwo").write_text(text)
    (atoms,) = sm.read_any(tmp_path / "si.pwo", file_format="espresso-out")
    assert atoms.get_chemical_symbols() == ["Si", "Si"]


def test_deuterium(tmp_path: Path):
    text = GOOD.read_text().replace("2           Si  tau", "2           D   tau")
    (tmp_path / "d.pwo").write_text(text)
    (atoms,) = sm.read_any(tmp_path / "d.pwo", file_format="espresso-out")
    assert atoms.get_chemical_symbols() == ["Si", "H"]
    assert atoms.get_masses()[1] == pytest.approx(2.014102, abs=1e-6)
    assert set(attached_labels(atoms)) == {"energy", "forces", "stress"}


def test_a_format_that_cannot_take_d_says_what_to_write(tmp_path: Path):
    (tmp_path / "scf.in").write_text(
        "&control\n/\n&system\nibrav=0, nat=1, ntyp=1\n/\n&electrons\n/\nATOMIC_SPECIES\nD 2.014 "
        "D.upf\nCELL_PARAMETERS angstrom\n2 0 0\n0 2 0\n0 0 2\nATOMIC_POSITIONS crystal\nD 0 0 0\n"
    )
    with pytest.raises(sm.InputError, match=r"holds D: write H, and give --mass H=2\.0141"):
        sm.read_structure(tmp_path / "scf.in")
