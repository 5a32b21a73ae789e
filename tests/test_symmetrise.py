"""Coordinates with few digits: what a looser tolerance finds is said, and restored when asked."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

import sscha_mlp as sm
from sscha_mlp.cli import run_command
from sscha_mlp.crystal.structure import Crystal
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import hidden_symmetry, looser_symmetry
from sscha_mlp.errors import ConfigError, InputError
from sscha_mlp.run_files.settings import RunSettings, read_toml


def rounded(crystal: str, digits: int) -> Crystal:
    """A crystal whose scaled positions have few digits."""
    made = {
        "hcp": lambda: bulk("Mg", "hcp", a=3.21, c=5.21),
        "wurtzite": lambda: bulk("ZnO", "wurtzite", a=3.25, c=5.2, u=0.38),
        "graphite": lambda: Atoms(
            "C4",
            scaled_positions=[
                [0, 0, 0.25],
                [0, 0, 0.75],
                [1 / 3, 2 / 3, 0.25],
                [2 / 3, 1 / 3, 0.75],
            ],
            cell=[[2.46, 0, 0], [-1.23, 2.46 * np.sqrt(0.75), 0], [0, 0, 6.7]],
        ),
        "hcp 2x2x1": lambda: bulk("Mg", "hcp", a=3.21, c=5.21).repeat((2, 2, 1)),
    }[crystal]()
    made.set_scaled_positions(np.round(made.get_scaled_positions(), digits))
    made.rotate(33, (1, 2, 3), rotate_cell=True)
    return Crystal.from_ase(made)


def group(crystal: Crystal):
    return sm.find_space_group(Supercell(crystal, (1, 1, 1)))


@pytest.mark.parametrize(
    ("name", "number", "n_operations"),
    [("hcp", 194, 24), ("wurtzite", 186, 12), ("graphite", 194, 24), ("hcp 2x2x1", 194, 96)],
)
@pytest.mark.parametrize("digits", [3, 4])
def test_rounded_hexagonal_crystals(tmp_path: Path, name, number, n_operations, digits):
    given = rounded(name, digits)
    assert group(given).n_operations < n_operations
    found = looser_symmetry(given)
    assert f"with {n_operations} operations within 0.01 Å" in found
    given.to_ase().write(tmp_path / "POSCAR", format="vasp")
    restored = sm.read_structure(tmp_path / "POSCAR", symmetrise=1e-2)
    assert (group(restored).number, group(restored).n_operations) == (number, n_operations)
    assert looser_symmetry(restored) == ""
    moved = restored.positions - given.positions
    assert np.linalg.norm(moved - moved.mean(axis=0), axis=1).max() < 0.01
    assert np.array_equal(restored.numbers, given.numbers)


def test_a_crystal_with_all_digits_is_said_nothing_of():
    for atoms in (bulk("Cu"), bulk("Mg", "hcp"), bulk("Si").repeat((2, 1, 1))):
        assert looser_symmetry(Crystal.from_ase(atoms)) == ""


def test_what_the_run_says():
    said = hidden_symmetry("POSCAR", rounded("hcp", 4))
    assert said.startswith("POSCAR is P6_3/mmc with 24 operations within 0.01 Å, but Cmcm with 8")
    assert said.endswith("P6_3/mmc is right, and --symmetrise 0.01 (symmetrise = 0.01) restores it")


def test_the_settings_keep_it():
    settings = RunSettings(300.0, symmetrise=0.01)
    assert settings.to_mapping()["symmetrise"] == 0.01
    assert "symmetrise" not in RunSettings(300.0).to_mapping()
    with pytest.raises(ConfigError, match="dyn files keep their group"):
        RunSettings(300.0, dyn="x", symmetrise=0.01)


@pytest.mark.parametrize("wrong", [0.0, -0.01, 0.6, float("nan"), float("inf")])
def test_distances_that_are_none(wrong: float):
    with pytest.raises(InputError, match=r"a distance between 0 and 0\.5 Å"):
        RunSettings(300.0, symmetrise=wrong)


def test_an_option_that_goes_into_run_toml(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rounded("hcp", 4).to_ase().write(tmp_path / "POSCAR", format="vasp")
    words = ["relax", "--T", "100", "--structure", str(tmp_path / "POSCAR"), "--reference", "files"]
    words += ["--symmetrise", "0.01", "--supercell", "2", "2", "1"]
    words += ["--run-dir", str(tmp_path / "run")]
    assert run_command(words) == 3  # labels by hand
    assert read_toml(tmp_path / "run" / "run.toml")["symmetrise"] == 0.01
    assert "Cmcm" not in capsys.readouterr().err
