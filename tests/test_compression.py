"""The reference's own answer to a change of the volume, and what a run makes of it."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from cheap import write_copper, write_settings
from test_relaxing import BONDS, GROUP, SETTINGS, STATE, relax_in

from sscha_mlp import units
from sscha_mlp.campaign.bulk_modulus_check import (
    Compression,
    compressed,
    compression,
    compression_of,
)
from sscha_mlp.campaign.loop import run
from sscha_mlp.campaign.model_domain import Alarm
from sscha_mlp.crystal.structure import Crystal
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.data.extxyz import read_extxyz
from sscha_mlp.data.labels import Label
from sscha_mlp.run_files.journal import Journal
from sscha_mlp.run_files.records.population import PopulationRecord
from sscha_mlp.run_files.records.start import StartRecord
from sscha_mlp.run_files.settings import RunSettings, read_toml
from sscha_mlp.scha.cell_response import cell_response
from sscha_mlp.scha.convergence import Tolerances

SUPERCELL = Supercell(Crystal.from_ase(bulk("Al", "fcc", a=4.05)), (2, 2, 2))
V0 = SUPERCELL.crystal.volume
B0, SLOPE = 80.0 * units.GPA, 4.5


def murnaghan(volume, *, too_much=0.0):
    """A label with Murnaghan's energy and pressure; the stress may say too much pressure."""
    pressure = B0 / SLOPE * ((V0 / volume) ** SLOPE - 1.0)
    energy = B0 * volume / SLOPE * ((V0 / volume) ** SLOPE / (SLOPE - 1.0) + 1.0)
    return Label(energy, np.zeros((8, 3)), -(pressure + too_much) * np.eye(3))


def asked(volume_of_rest=V0, *, too_much=0.0):
    rest = -murnaghan(volume_of_rest, too_much=too_much).stress[0, 0]
    labels = [murnaghan(atoms.get_volume(), too_much=too_much) for atoms in compressed(SUPERCELL)]
    return compression(rest, labels, SUPERCELL.crystal.volume)


def test_modulus_and_agreement_of_a_closed_equation_of_state():
    found = asked()
    assert found.bulk_modulus == pytest.approx(80.0, rel=2e-3)
    assert abs(found.stress_error) < 1e-4


@pytest.mark.parametrize("error", [0.7, -0.2])
def test_a_stress_that_is_no_derivative_of_the_energy_is_measured(error):
    found = asked(too_much=error * units.GPA)
    assert found.stress_error == pytest.approx(error, abs=1e-4)
    assert found.bulk_modulus == pytest.approx(80.0, rel=2e-3)


def test_the_modulus_is_that_of_the_elastic_stiffness():
    crystal = STATE.supercell.crystal
    values = BONDS.evaluate([crystal.to_ase(), *compressed(STATE.supercell)])
    labels = [
        Label(values.energies[i], np.array(values.forces[i]), values.stresses[i]) for i in (1, 2)
    ]
    rest = -float(np.trace(values.stresses[0])) / 3.0
    found = compression(rest, labels, crystal.volume)
    expected = cell_response(BONDS, STATE, GROUP).clamped_bulk_modulus / units.GPA
    assert found.bulk_modulus == pytest.approx(expected, rel=0.02)
    assert abs(found.stress_error) < 0.01


@pytest.mark.parametrize(
    ("model", "volume", "may"),
    [
        *((80, 16.0, True), (160, 16.0, True), (170, 16.0, False), (41, 16.0, False)),
        *((1702, 16.0, False), (-5, 16.0, False)),
        # Expanded by 8 %, it may be softer, and compressed by 8 % harder, but not the reverse.
        *((25, 17.28, True), (15, 17.28, False), (170, 17.28, False)),
        *((300, 14.72, True), (400, 14.72, False), (41, 14.72, False)),
    ],
)
def test_which_moduli_are_believed(model, volume, may):
    known = Compression(83.0, 0.0, 16.0)
    assert known.allows(model, volume) is may
    assert (Alarm(None, None, "none", known).wrong_modulus(model, volume) == "") is may
    start = StartRecord(0, 16.0, "Fm-3m", 48, np.zeros(3), 0, compression=known.record)
    assert compression_of(start) == known


def test_without_a_modulus_of_the_reference_any_is_believed():
    assert Alarm(None, None, "none").wrong_modulus(1702.0, 16.0) == ""
    assert Compression(-3.0, 0.0, 16.0).allows(50.0, 16.0)
    assert compression_of(None) is None
    assert compression_of(StartRecord(0, 16.0, "Fm-3m", 48, np.zeros(3), 0)) is None


def test_a_relaxation_with_a_wrong_modulus_ends_and_says_so_again(tmp_path):
    loose = replace(SETTINGS, max_populations=2, tolerances=Tolerances())
    alarm = Alarm(None, None, "none", Compression(5000.0, 0.0, 16.6))
    first = relax_in(tmp_path, settings=loose, alarm=alarm)
    again = relax_in(tmp_path, settings=loose, alarm=alarm)
    for ended in (first, again):
        assert ended.broke_down and ended.left_domain and not ended.converged
        assert "that of the reference at rest 5000 GPa" in ended.reason
    assert first.last.population == 1


def test_a_model_that_does_not_know_the_volume_learns_in_strained_cells(tmp_path):
    """Copper in eight atoms, whose modes at the zone boundary say nothing of the volume.

    The cell stays where its check has failed.
    """
    settings = read_toml(write_settings(tmp_path, model="mtp", explore_configs=0))
    settings |= {"structure": str(write_copper(tmp_path)), "reference": "emt", "labels": "fixed"}
    settings["mtp"] = {"cutoff": 5.5, "level": 8}
    settings["certificate"] |= {"max_rounds": 1, "tolerances": {"pressure_gpa": 1.0e-3}}
    place = tmp_path / "run"
    result = run(RunSettings.from_mapping(settings), place)
    volumes = [item.atoms.get_volume() for item in read_extxyz(place / "dataset" / "train.xyz")]
    log = (place / "log.txt").read_text()
    assert "bulk modulus of the reference at rest 134." in log
    assert "labels: 4 to train, in strained cells" in log
    assert np.ptp(volumes) / np.mean(volumes) > 0.005
    assert result["bulk_modulus_GPa"] == pytest.approx(134.6, rel=0.5)

    last = Journal(place / "journal.jsonl").all(PopulationRecord)[-1]
    volume, pressure = result["volume_A3_per_atom"], result["pressure_GPa"]
    assert not result["converged"]
    assert volume["value"] == pytest.approx(last.volume, rel=1e-12)
    assert pressure["model"] == pytest.approx(last.pressure_GPa, abs=1e-9)
    assert pressure["corrected"] > 1.0
    off = volume["value"] * pressure["corrected"] / result["bulk_modulus_GPa"]
    assert 0.999 * off < volume["stderr"] < 3 * off


def test_by_need_the_first_labels_teach_the_volume(tmp_path):
    """The same crystal: two of the first ten labels are in strained cells, and that is enough."""
    settings = read_toml(write_settings(tmp_path, model="mtp", explore_configs=0))
    settings |= {"structure": str(write_copper(tmp_path)), "reference": "emt"}
    settings["mtp"] = {"cutoff": 5.5, "level": 8}
    place = tmp_path / "run"
    result = run(RunSettings.from_mapping(settings), place)
    log = (place / "log.txt").read_text()
    assert "labels: 10 to train, 2 of them in strained cells and 4 to test" in log
    assert "does not know the volume" not in log
    rows = Journal(place / "journal.jsonl").steps("labels/")
    assert rows[1][0] == "labels/train-strained" and rows[1][1]["n_labels"] == 2
    assert result["bulk_modulus_GPa"] == pytest.approx(134.6, rel=0.5)
