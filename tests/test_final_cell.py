"""The answer of a run belongs to its final cell, and everything in it has an error."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write
from cheap import write_settings

from sscha_mlp.campaign import finalisation
from sscha_mlp.campaign.loop import run
from sscha_mlp.data.states import load_state
from sscha_mlp.run_files.conventional_cell import conventional_lattice, state_values
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.run_files.journal import Journal
from sscha_mlp.run_files.records.result import Result
from sscha_mlp.run_files.settings import RunSettings, read_toml
from sscha_mlp.scha.cell import CellMode


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Hcp copper by EMT, checked with so few labels that the cell moves after the check."""
    folder = tmp_path_factory.mktemp("hcp")
    write(folder / "hcp.vasp", bulk("Cu", "hcp", a=2.55, c=4.17))
    settings = read_toml(write_settings(folder, model="mtp", break_grade=1e6, explore_configs=0))
    settings |= {"structure": str(folder / "hcp.vasp"), "reference": "emt", "supercell": [2, 2, 1]}
    settings["mtp"] = {"cutoff": 5.0, "level": 8}
    place = folder / "run"
    return run(RunSettings.from_mapping(settings), place), RunDirectory(place)


def test_the_last_population_is_in_the_cell_of_the_result(finished):
    result, place = finished
    assert result["converged"], result["stop_reason"]
    rows = [row for _, row in Journal(place.journal, read_only=True).steps("population/")]
    assert rows[-1]["phase"].startswith("final")
    np.testing.assert_allclose(rows[-1]["cell_A"], result["cell_A"], atol=1e-12)
    checked = [row for row in rows if not row["phase"].startswith("final")][-1]
    assert np.abs(np.array(checked["cell_A"]) - result["cell_A"]).max() > 1e-6
    for name in ("final", "model"):
        state = load_state(place.state(name))
        np.testing.assert_allclose(state.crystal.cell, result["cell_A"], atol=1e-12)
    assert result["free_energy_eV_per_atom"]["model"] == rows[-1]["free_energy"]
    assert result["pressure_GPa"]["model"] == pytest.approx(rows[-1]["pressure_GPa"], abs=1e-12)


def test_the_corrected_stress_is_on_its_target(finished):
    """Left over is a small part of the error, so that the error of the volume is that of noise."""
    result, _ = finished
    pressure, volume = result["pressure_GPa"], result["volume_A3_per_atom"]
    assert abs(pressure["corrected"]) < 0.5 * pressure["stderr"]
    rough = volume["value"] * pressure["stderr"] / result["bulk_modulus_GPa"]
    assert 0.3 * rough < volume["stderr"] < 3 * rough


def test_what_is_free_has_an_error(finished):
    result, _ = finished
    lattice = result["lattice"]
    assert list(lattice) == ["a", "c"] and result["coordinates"] == {}
    cell = np.array(result["cell_A"])
    assert lattice["a"]["value"] == pytest.approx(np.linalg.norm(cell[0]), rel=1e-9)
    relative = {name: one["stderr"] / one["value"] for name, one in lattice.items()}
    volume = result["volume_A3_per_atom"]
    assert 0 < volume["stderr"] / volume["value"] < 2 * relative["a"] + relative["c"] + 1e-9
    rows = dict(conventional_lattice(Result.of(result)))
    assert set(rows) == {"Lattice parameter a (Å)", "Lattice parameter c (Å)"}
    assert all("±" in text for text in rows.values())


def test_sums_over_the_modes_of_the_state(finished):
    """Copper at 300 K, EMT: near the classical limit of 3 k, entropy of some k."""
    result, _ = finished
    capacity, entropy = result["heat_capacity_kB_per_atom"], result["entropy_kB_per_atom"]
    n_modes = 3 * (1 - 1 / 8)  # translations of eight atoms are no modes
    assert 0.85 * n_modes < capacity["value"] < n_modes
    assert 2.0 < entropy["value"] < 6.0
    assert 0 < entropy["stderr"] < 0.5
    assert 0 < result["zero_point_energy_eV_per_atom"]["value"] < 0.05
    assert len(state_values(Result.of(result))) == 3


def test_the_result_says_which_tolerances_it_had(finished):
    result, place = finished
    assert result["tolerances"]["certificate"]["pressure_gpa"] == 5.0
    assert result["tolerances"]["relaxation"]["frequency_thz"] == 2.0
    assert json.loads(place.result.read_text())["tolerances"] == result["tolerances"]


def test_where_the_cell_does_not_settle_the_closest_one_is_taken(monkeypatch):
    """Stress off by these parts of its error, cell after cell: the third step comes closest."""
    parts = iter([3.0, -0.8, 0.7, -0.3, 0.45])
    crystal = SimpleNamespace(cell=np.eye(3))

    def corrected(*_):
        off = np.full((3, 3), 0.0) + next(parts) * np.eye(3)
        stress = SimpleNamespace(value=off, stderr=np.ones((3, 3)))
        return SimpleNamespace(stress=stress, dynamical_matrix=SimpleNamespace(crystal=crystal))

    for name, fake in {
        "corrected_minimum": corrected,
        "cell_response": lambda *_: None,
        "cell_strain": lambda *_, **__: 0.01 * np.eye(3),
        "strained_state": lambda state, *_: state,
    }.items():
        monkeypatch.setattr(finalisation, name, fake)
    settings = SimpleNamespace(pressure=0.0, cell=CellMode.VARIABLE)
    context = SimpleNamespace(settings=settings, group=None)
    first = SimpleNamespace(state=None, converged=True, phase="round-1")
    settled = finalisation.settle(
        context,
        None,
        first,
        None,
        lambda _, phase, __: SimpleNamespace(state=None, converged=True, phase=phase),
    )
    assert settled.relaxed.phase == "final.3"
    assert settled.corrected.stress.value[0, 0] == -0.3
    assert settled.on_target
