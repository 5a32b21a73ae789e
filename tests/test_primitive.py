"""The primitive cell of a structure, where a run takes it, and what the run says of it."""

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, fcc111, graphene
from ase.calculators.emt import EMT
from rich.console import Console
from scipy.spatial.transform import Rotation

from sscha_mlp.campaign.context import open_run
from sscha_mlp.campaign.input_checks import check_input
from sscha_mlp.campaign.start import cell_size, make_start
from sscha_mlp.cli.screen import LineObserver
from sscha_mlp.crystal.primitive import count_primitive_cells, primitive_cell
from sscha_mlp.crystal.structure import Crystal
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import find_space_group
from sscha_mlp.errors import ConfigError, InputError
from sscha_mlp.quantities import cells_name, reduced_formula
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.run_files.journal import Journal
from sscha_mlp.run_files.settings import RunSettings


def rotated(atoms, angles=(20.0, 35.0, -50.0)) -> Crystal:
    """The same crystal in an orientation that no convention has."""
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    return Crystal(
        atoms.cell.array @ turn.T, atoms.positions @ turn.T, atoms.numbers, atoms.get_masses()
    )


def is_the_same_crystal(small: Crystal, large: Crystal) -> bool:
    """Whether every atom of one is on a lattice point of the other, with its element and mass."""
    multiples = large.cell @ np.linalg.inv(small.cell)
    if not np.allclose(multiples, np.rint(multiples), atol=1e-8):
        return False
    for position, number, mass in zip(large.positions, large.numbers, large.masses, strict=True):
        offset = (small.positions - position) @ np.linalg.inv(small.cell)
        here = np.all(np.abs(offset - np.rint(offset)) < 1e-8, axis=1)
        here &= (small.numbers == number) & (small.masses == mass)
        if here.sum() != 1:
            return False
    return True


ORTHORHOMBIC_C = bulk("Ga", "fcc", a=4.0, cubic=True)[[0, 1]]
ORTHORHOMBIC_C.set_cell([4.0, 5.0, 6.5])
ORTHORHOMBIC_C.set_scaled_positions([[0, 0, 0], [0.5, 0.5, 0]])

CELLS = {
    "fcc": (bulk("Cu", cubic=True), 4),
    "bcc": (bulk("Fe", cubic=True), 2),
    "diamond": (bulk("Si", cubic=True), 4),
    "two conventional cells": (bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (1, 1, 2), 8),
    "hexagonal in rectangles": (bulk("Mg", orthorhombic=True), 2),
    "hexagonal, repeated": (bulk("Mg") * (2, 1, 3), 6),
    "centred on one face": (ORTHORHOMBIC_C, 2),
}


@pytest.mark.parametrize("name", CELLS)
def test_the_primitive_cell_is_the_same_crystal_in_the_same_orientation(name):
    atoms, n_cells = CELLS[name]
    large = rotated(atoms)
    small = primitive_cell(large)

    assert count_primitive_cells(large) == n_cells
    assert small.n_atoms * n_cells == large.n_atoms
    assert small.volume * n_cells == pytest.approx(large.volume, rel=1e-12)
    assert np.linalg.det(small.cell) > 0
    assert is_the_same_crystal(small, large)
    assert primitive_cell(small) is small
    whole, part = (find_space_group(Supercell(one, (1, 1, 1))) for one in (large, small))
    assert part.number == whole.number
    assert part.n_operations * n_cells >= whole.n_operations


def test_a_primitive_cell_has_the_energy_of_the_conventional_one():
    conventional = bulk("Cu", cubic=True, a=3.7)
    primitive = primitive_cell(Crystal.from_ase(conventional)).to_ase()
    conventional.calc, primitive.calc = EMT(), EMT()
    energies = [one.get_potential_energy() / len(one) for one in (conventional, primitive)]
    assert energies[0] == pytest.approx(energies[1], abs=1e-10)
    assert np.allclose(conventional.get_stress(), primitive.get_stress(), atol=1e-10)


def test_a_repeated_cell_is_divided_along_its_own_lattice_vectors():
    cell = np.array([[3.0, 0.1, 0.2], [0.4, 4.0, -0.3], [-1.0, 0.7, 2.5]])
    one = Crystal(cell, [[0.1, 0.2, 0.3], [1.0, 1.5, 1.1]], [29, 47], [63.5, 107.9])
    small = primitive_cell(Supercell(one, (2, 1, 3)).crystal)
    assert np.allclose(small.cell, cell, atol=1e-12)
    assert np.allclose(small.positions, one.positions, atol=1e-12)


def test_lattice_vectors_that_stay_keep_their_place():
    """A slab with vacuum along x, centred in its plane: a standard setting has it elsewhere."""
    numbers, heights = [29, 29, 47, 47], [0.0, 0.0, 1.5, 1.5]
    scaled = [[0, 0, 0], [0, 0.5, 0.5], [0, 0.0, 0.3], [0, 0.5, 0.8]]
    cell = np.diag([20.0, 3.0, 5.0])
    positions = np.array(scaled) @ cell + np.outer(heights, [1.0, 0.0, 0.0])
    for turn in range(3):
        order = np.roll(np.arange(3), turn)
        slab = Crystal(
            np.roll(cell[:, order], turn, axis=0), positions[:, order], numbers, [60] * 4
        )
        small = primitive_cell(slab)
        axis = int(slab.widest_gaps().argmax())
        assert small.n_atoms == 2
        assert small.widest_gaps().argmax() == axis
        assert np.allclose(np.abs(small.cell[axis]), np.abs(slab.cell[axis]))
        assert is_the_same_crystal(small, slab)


def test_isotopes_are_not_copies():
    silicon = Crystal.from_ase(bulk("Si", cubic=True))
    masses = silicon.masses.copy()
    second = is_second_sublattice(silicon)
    masses[second] = 29.97
    ordered = primitive_cell(replace(silicon, masses=masses))
    assert sorted(ordered.masses) == pytest.approx([masses[~second][0], 29.97])

    masses[0] = 30.5
    one_of_them = replace(silicon, masses=masses)
    assert primitive_cell(one_of_them) is one_of_them


def is_second_sublattice(silicon: Crystal) -> np.ndarray:
    return np.abs((4 * silicon.scaled_positions).sum(axis=1) % 4 - 3) < 0.1


def test_what_is_distorted_is_kept_and_rounding_is_averaged():
    exact = Crystal.from_ase(bulk("Cu", cubic=True))
    shift = np.zeros((4, 3))
    shift[2, 0] = 0.01
    distorted = exact.moved(shift)
    assert primitive_cell(distorted) is distorted

    rounded = exact.moved(0.001 * shift)
    small = primitive_cell(rounded)
    assert small.n_atoms == 1
    assert small.positions[0, 0] == pytest.approx(0.25e-5, abs=1e-12)


def test_gaps_are_measured_between_lattice_planes():
    sheet = graphene(vacuum=7.0)
    sheet.pbc = True
    gaps = Crystal.from_ase(sheet).widest_gaps()
    assert gaps[2] == pytest.approx(14.0)
    assert gaps[:2].max() < 3.0
    copper = Crystal.from_ase(bulk("Cu", a=3.6))
    assert copper.widest_gaps() == pytest.approx(3.6 / np.sqrt(3.0))


# --- in a run --------------------------------------------------------------------------------


class Notes:
    """An observer that keeps what is noted."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)

    def stage(self, text: str) -> None:
        pass

    def progress(self, what: str, done: int, total: int) -> None:
        pass

    def population(self, row) -> None:
        pass


@pytest.fixture
def conventional(tmp_path) -> Path:
    bulk("Cu", cubic=True, a=3.6).write(tmp_path / "cu.cif")
    return tmp_path / "cu.cif"


def settings(structure: Path, **changes) -> RunSettings:
    given = {"temperature": 300.0, "reference": "emt", "workers": 1, "structure": str(structure)}
    return RunSettings.from_mapping({**given, "supercell": [2, 2, 1], **changes})


@contextmanager
def opened(asked: RunSettings, place: RunDirectory):
    """Begin or take up a run, and what it notes."""
    notes = Notes()
    asked = place.prepare(asked)
    with place.locked(), open_run(asked, place, notes) as context:
        yield context, notes


def started(asked: RunSettings, directory: Path):
    """The start of a run in this directory, and what it notes."""
    with opened(asked, RunDirectory(directory)) as (context, notes):
        return make_start(context), "\n".join(notes.texts)


def test_a_run_takes_the_primitive_cell_and_says_so(conventional, tmp_path):
    asked = settings(conventional)
    assert cell_size(asked, RunDirectory(tmp_path / "run")) == 1
    start, notes = started(asked, tmp_path / "run")
    assert start.dynamical_matrix.supercell.n_atoms == 4
    assert (
        "cu.cif holds 4 primitive cells; the primitive cell of 1 atom is taken "
        "(start.primitive = false keeps the cell as it is)"
    ) in notes


def test_a_run_keeps_the_cell_where_it_is_told_to(conventional, tmp_path):
    asked = settings(conventional, start={"primitive": False}, supercell=[1, 1, 1])
    start, notes = started(asked, tmp_path / "run")
    assert start.dynamical_matrix.crystal.n_atoms == 4
    assert "cu.cif holds 4 primitive cells and is kept as it is: the bands are folded" in notes


def test_a_primitive_structure_is_not_spoken_of(tmp_path):
    bulk("Cu", a=3.6).write(tmp_path / "cu.vasp", format="vasp")
    for primitive in (True, False):
        asked = settings(tmp_path / "cu.vasp", start={"primitive": primitive})
        start, notes = started(asked, tmp_path / f"{primitive}")
        assert start.dynamical_matrix.crystal.n_atoms == 1
        assert "primitive" not in notes and "layer" not in notes


def as_an_earlier_version_wrote_it(place: RunDirectory) -> None:
    lines = place.settings_file.read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith("primitive =")]
    assert len(kept) == len(lines) - 1
    place.settings_file.write_text("".join(kept))


def test_a_directory_of_an_earlier_version_keeps_its_cell(conventional, tmp_path):
    """Killed within its start, it goes on with the cell of the file, without being told to."""
    place = RunDirectory(tmp_path / "run")
    asked = settings(conventional, supercell=[1, 1, 1])
    place.prepare(asked)
    as_an_earlier_version_wrote_it(place)
    Journal(place.journal).record("labels/relaxing", {})

    assert place.settings().start.primitive is False
    taken_up = place.prepare(asked)
    assert taken_up == replace(asked, start=replace(asked.start, primitive=False))
    assert cell_size(taken_up, place) == 4
    start, _ = started(asked, place.path)
    assert start.dynamical_matrix.crystal.n_atoms == 4
    with pytest.raises(ConfigError, match=r"temperature: 300\.0 -> 400\.0"):
        place.prepare(replace(asked, temperature=400.0))


def test_another_choice_of_the_cell_is_another_run(conventional, tmp_path):
    place = RunDirectory(tmp_path / "run")
    place.prepare(settings(conventional))
    Journal(place.journal).record("start", {})
    with pytest.raises(ConfigError, match=r"start\.primitive: True -> False"):
        place.prepare(settings(conventional, start={"primitive": False}))


def test_the_cell_of_a_run_that_has_begun_is_read_from_its_state(conventional, tmp_path):
    asked = settings(conventional)
    started(asked, tmp_path / "run")
    conventional.unlink()
    assert cell_size(asked, RunDirectory(tmp_path / "run")) == 1


def test_a_slab_whose_cell_may_change_is_refused_with_the_way_out(tmp_path):
    slab = fcc111("Cu", (1, 1, 2), a=3.6, vacuum=5.0)
    slab.pbc = True
    slab.write(tmp_path / "slab.vasp", format="vasp")
    for cell in ("variable", "fixed-volume"):
        asked = settings(tmp_path / "slab.vasp", supercell=[2, 2, 1], cell=cell, reference="emt")
        with pytest.raises(InputError, match=r"layer of 10\.0 Å.*--cell fixed --supercell N N 1"):
            check_input(asked)
    check_input(settings(tmp_path / "slab.vasp", supercell=[2, 2, 1], cell="fixed"))


# --- what is shown ---------------------------------------------------------------------------


def test_the_first_line_has_the_atoms_of_the_supercell(conventional, tmp_path, capsys):
    screen = LineObserver(Console(width=400))
    screen.begin(settings(conventional), tmp_path, 1)
    assert (
        "cu.cif at 300 K and 0 GPa, 2×2×1 cells, 4 atoms, reference emt" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (((2, 2, 2), 2), "2×2×2 cells, 16 atoms"),
        (((1, 1, 1), 1), "1×1×1 cells, 1 atom"),
        (((3, 3, 2), None), "3×3×2 cells"),
    ],
)
def test_a_supercell_in_words(arguments, text):
    assert cells_name(*arguments) == text


def test_cells_are_named_with_their_atoms():
    assert cells_name((3, 3, 3), 1, each=True) == "3×3×3 cells of 1 atom, 27 atoms"
    assert cells_name((3, 3, 3), 4, each=True) == "3×3×3 cells of 4 atoms, 108 atoms"
    assert cells_name((3, 3, 3), None, each=True) == "3×3×3 cells"


def test_a_formula_is_reduced():
    names = {"Si2": "Si", "Cu4": "Cu", "Ge4Si4": "GeSi", "Al4O6": "Al2O3", "Cu": "Cu", "": ""}
    assert {one: reduced_formula(one) for one in names} == names
