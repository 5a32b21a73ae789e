"""Isotropy subgroups of unstable modes, and where an unstable crystal goes."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toys import perovskite

from sscha_mlp import units
from sscha_mlp.cli import run_command
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix, contract
from sscha_mlp.crystal.structure import Crystal
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import find_space_group
from sscha_mlp.data.states import save_state
from sscha_mlp.errors import InputError
from sscha_mlp.properties.distortions import distortions, isotropy_directions
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.run_files.finished_run import FinishedRun
from sscha_mlp.run_files.records.result import Result
from sscha_mlp.run_files.settings import RunSettings
from sscha_mlp.studies.follow import find_candidates, following_settings, statement

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def cells():
    return Supercell(Crystal.from_ase(perovskite()), (2, 2, 2))


def tilts(supercell, phase):
    """Octahedra turned about z, with a sign for each cell."""
    crystal = supercell.crystal
    a = supercell.primitive.cell[0, 0]
    titanium = np.flatnonzero(np.array(crystal.symbols) == "Ti")
    oxygen = np.flatnonzero(np.array(crystal.symbols) == "O")
    moved = np.zeros((crystal.n_atoms, 3))
    for atom in titanium:
        cell = np.rint((crystal.positions[atom] - crystal.positions[titanium[0]]) / a).astype(int)
        spans = crystal.positions[oxygen] - crystal.positions[atom]
        spans -= np.rint(spans / (2 * a)) * 2 * a
        near = np.abs(np.linalg.norm(spans, axis=1) - a / 2) < 1e-3
        moved[oxygen[near]] += phase(cell) * np.cross([0, 0, 1], spans[near])
    return moved


def polar(supercell):
    """Ti and O against each other along z, the centre of mass at rest."""
    symbols = np.array(supercell.crystal.symbols)
    moved = np.zeros((supercell.n_atoms, 3))
    moved[symbols == "Ti", 2], moved[symbols == "O", 2] = 1.0, -0.3
    masses = supercell.crystal.masses[:, None]
    return moved - (moved * masses).sum(axis=0) / masses.sum()


def unstable_along(supercell, pattern):
    """Einstein oscillators of 5 THz, but one level, that of a pattern, at -4 THz."""
    root = np.sqrt(np.repeat(supercell.crystal.masses, 3))
    vector = (pattern.ravel() * root) / np.linalg.norm(pattern.ravel() * root)
    group, n = find_space_group(supercell), supercell.n_atoms
    part = np.zeros((3 * n, 3 * n))
    t = supercell.translations
    for shift in t:
        cells = supercell.cell_index(t + shift)
        atoms = (cells[:, None] * supercell.primitive.n_atoms).repeat(5, axis=1) + np.arange(5)
        moved = np.empty((n, 3))
        moved[atoms.ravel()] = vector.reshape(n, 3)
        part += np.outer(moved.ravel(), moved.ravel()) / len(t)
    averaged = DynamicalMatrix(
        supercell, group.symmetrise_force_constants(contract(supercell, part))
    ).matrix
    values, vectors = np.linalg.eigh(averaged)  # a multiple of the projector on the level
    level = vectors[:, values > 0.5 * values[-1]]
    squares = 25.0 * np.eye(3 * n) - 41.0 * level @ level.T
    matrix = units.THZ**2 * squares * root[:, None] * root
    return DynamicalMatrix(supercell, contract(supercell, matrix)), group


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # C. J. Howard and H. T. Stokes, Acta Cryst. B 54, 782 (1998), and the polar groups of 3m.
        ("R4+ tilts", {"R-3c", "I4/mcm", "Imma"}),
        ("M3+ tilts", {"Im-3", "I4/mmm", "P4/mbm"}),
        ("polar", {"P4mm", "Amm2", "R3m"}),
    ],
)
def test_the_maximal_subgroups_of_a_perovskite_are_those_of_the_tables(cells, name, expected):
    pattern = {
        "R4+ tilts": lambda: tilts(cells, lambda cell: (-1) ** cell.sum()),
        "M3+ tilts": lambda: tilts(cells, lambda cell: (-1) ** (cell[0] + cell[1])),
        "polar": lambda: polar(cells),
    }[name]()
    hessian, group = unstable_along(cells, pattern)
    found = distortions(hessian, group)
    assert {one.international for one in found} == expected
    assert len(found) == len(expected)
    for one in found:
        assert one.dimension == 3
        assert one.frequency_thz == pytest.approx(-4.0, abs=1e-6)
        distorted = one.primitive(0.1)
        assert find_space_group(Supercell(distorted, (1, 1, 1))).number == one.number
        n_cells = cells.n_atoms / distorted.n_atoms
        volume = cells.crystal.volume
        assert n_cells * distorted.volume == pytest.approx(volume)


def test_a_stable_crystal_has_no_distortion(cells):
    hessian, group = unstable_along(cells, polar(cells))
    stable = hessian.with_force_constants(np.abs(hessian.force_constants))
    assert distortions(replace(stable), group) == []


def test_directions_of_a_square_are_its_axes_and_diagonals():
    quarter = np.array([[0.0, -1.0], [1.0, 0.0]])
    mirror = np.diag([1.0, -1.0])
    turns = [np.linalg.matrix_power(quarter, k) for k in range(4)]
    group = np.array([one @ other for one in turns for other in (np.eye(2), mirror)])
    found = {tuple(np.round(np.sort(np.abs(one)), 6)) for one in isotropy_directions(group)}
    assert found == {(0.0, 1.0), tuple(np.round([0.5**0.5, 0.5**0.5], 6))}


def test_without_operations_any_direction_will_do():
    (only,) = isotropy_directions(np.eye(1)[None])
    assert np.abs(only) == pytest.approx([1.0])
    assert len(isotropy_directions(np.eye(2)[None])) == 1


# --- a run ------------------------------------------------------------------------------------


class Well:
    """A double well along a pattern, ``-x² + 10 x⁴`` per atom, and ``2 y²`` across it."""

    def __init__(self, supercell, pattern):
        self.rest = supercell.crystal.positions
        self.pattern = pattern / np.linalg.norm(pattern)
        self.length = np.linalg.norm(pattern)

    def evaluate(self, configurations):
        moved = [one.positions - self.rest for one in configurations]
        x = np.array([(one * self.pattern).sum() / self.length for one in moved])
        y2 = np.array([(one**2).sum() / self.length**2 for one in moved]) - x**2
        return type("Values", (), {"energies": len(self.rest) * (-(x**2) + 10 * x**4 + 2 * y2)})


@pytest.fixture
def unstable_run(cells, tmp_path):
    """A finished run whose Hessian is unstable along a polar mode."""
    place = RunDirectory(tmp_path / "run")
    place.path.mkdir()
    hessian, _ = unstable_along(cells, polar(cells))
    save_state(place.state("hessian"), hessian)
    settings = RunSettings(temperature=300.0, supercell=(2, 2, 2), seed=7)
    return FinishedRun(place, settings, Result(space_group="Pm-3m"))


def test_the_energy_of_the_model_decides_which_distortion_is_deepest(cells, unstable_run):
    pattern = polar(cells)
    scaled = pattern / np.linalg.norm(pattern, axis=1).max()
    found = find_candidates(unstable_run, Well(cells, scaled))
    best = found[0]
    assert best.distortion.international == "P4mm"
    assert best.amplitude == pytest.approx(0.2, abs=0.05)  # the minimum is at sqrt(1/20)
    assert best.depth == pytest.approx(-0.025, rel=0.1)
    assert [one.depth for one in found] == sorted(one.depth for one in found)


def test_a_distorted_structure_is_run_in_the_supercell_of_the_run(cells, unstable_run, tmp_path):
    found = find_candidates(unstable_run, Well(cells, polar(cells)))
    settings = following_settings(unstable_run, found[0], tmp_path / "P4mm.vasp")
    assert settings.supercell == (2, 2, 2) and settings.seed == 7
    assert Path(settings.structure).is_absolute() and settings.symmetry == "full"


def test_there_is_nothing_to_follow_without_an_unstable_hessian(cells, unstable_run):
    stored = unstable_run.place.state("hessian")
    hessian, _ = unstable_along(cells, polar(cells))
    save_state(stored, hessian.with_force_constants(np.abs(hessian.force_constants)))
    with pytest.raises(InputError, match="nothing to follow"):
        find_candidates(unstable_run, Well(cells, polar(cells)))
    stored.unlink()
    with pytest.raises(InputError, match="has no Hessian yet"):
        find_candidates(unstable_run, Well(cells, polar(cells)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "the crystal leaves Pm-3m for P4mm"),
        ({"difference": 0.01}, "Pm-3m stays lower"),
        ({"difference": 1e-5}, "neither structure is lower"),
        ({"back": True}, "went back to"),
        ({"certified": False}, "is not certified"),
        ({"same_modes": False}, "The supercells differ"),
    ],
)
def test_the_statement_says_what_the_energies_allow(changes, words):
    values = {"difference": -0.01, "stderr": 1e-4, "back": False, "certified": True}
    values |= {"same_modes": True, "temperature": 300.0, **changes}
    assert words in statement("Pm-3m", "P4mm", **values)


@pytest.mark.slow
def test_an_unstable_crystal_is_followed_to_its_end(tmp_path, monkeypatch, capsys):
    """Atoms in cages, unstable at rest: cubic to polar and tetragonal, by learned potentials."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setenv("PYTHONPATH", f"{BENCHMARKS}:{BENCHMARKS.parent}")
    cage = sys.modules.get("cage") or __import__("cage")
    cage.structure().write(tmp_path / "cage.vasp", format="vasp")
    (tmp_path / "few.toml").write_text(
        "configs = 200\nmax_labels = 90\n[training]\nn_start = 16\nn_test = 6\nn_explored = 8\n"
        "n_extra = 8\n[certificate]\nn_labels = 12\n[mtp]\nlevel = 10\ncutoff = 5.0\n"
        "refine_steps = 0\n"
    )
    monkeypatch.chdir(tmp_path)
    relax = ["relax", "--T", "50", "--config", "few.toml", "--structure", "cage.vasp"]
    relax += ["--reference", "cage:deep", "--supercell", "2", "2", "2", "--run-dir", "high"]
    run_command([*relax, "--workers", "1", "--quiet"])
    assert run_command(["hessian", "high", "--configs", "2000", "--follow", "--quiet"]) == 0
    assert "the crystal leaves Pm-3m for P4mm" in capsys.readouterr().out
    found = json.loads((tmp_path / "high" / "follow.json").read_text())
    assert [one["space_group"] for one in found["candidates"]] == ["P4mm", "Amm2", "R3m"]
    difference = found["gibbs_difference_eV_per_atom"]
    assert difference["value"] < -5.0 * difference["stderr"] and not found["returned"]
