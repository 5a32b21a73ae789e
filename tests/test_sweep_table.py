"""The table of a sweep: round trip, damaged files, and finished runs as points."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from sweeps import QuasiHarmonic, make_sweep

from sscha_mlp import units
from sscha_mlp.data.states import load_state
from sscha_mlp.errors import InputError, SschaMlpError
from sscha_mlp.properties.thermodynamics import thermodynamics
from sscha_mlp.run_files.json_fields import Value
from sscha_mlp.studies.sweep.point import PointResponse, SweepPoint
from sscha_mlp.studies.sweep.table import Sweep, load_sweep


@pytest.fixture
def sweep(rng):
    return make_sweep(QuasiHarmonic(), [0.0, 300.0, 600.0], [0.0, 5.0], rng)


def test_a_sweep_is_read_as_it_was_written(sweep, tmp_path):
    first, *others = sweep.points
    bare = replace(first, response=None, soft_mode=None)
    partial = replace(others[0], response=PointResponse(gruneisen=Value(1.0, 0.1)))
    written = replace(sweep, points=(bare, partial, *others[1:]))
    written.write(tmp_path / "sweep.json")
    assert Sweep.read(tmp_path / "sweep.json") == written
    assert load_sweep(tmp_path) == written


def test_points_are_in_order_along_isobars_and_isotherms(sweep):
    mixed = replace(sweep, points=tuple(reversed(sweep.points)))
    assert mixed == sweep
    assert mixed.pressures == (0.0, 5.0)
    assert mixed.temperatures == (0.0, 300.0, 600.0)
    assert [one.temperature_K for one in mixed.isobar(5.0)] == [0.0, 300.0, 600.0]
    assert [one.pressure_GPa for one in mixed.isotherm(300.0)] == [0.0, 5.0]
    assert mixed.isobar(2.0) == ()


def test_a_point_may_stand_only_once(sweep):
    with pytest.raises(InputError, match="two points at 0 K, 0 GPa"):
        replace(sweep, points=(sweep.points[0], *sweep.points))


def changed(content, path, value):
    """The content with one field changed, or left out."""
    whole = json.loads(json.dumps(content))
    place = whole
    for part in path[:-1]:
        place = place[part]
    if value is KeyError:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return whole


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (["schema"], "sscha-mlp/result/1", "has the schema"),
        (["points"], None, "'points' should be a list"),
        (["formula"], 3, "'formula' should be a text"),
        (["supercell"], [2, 2], "list of 3"),
        (["supercell"], [2, 2, 2.5], "whole number"),
        (["supercell"], [2, 2, 0], "above zero"),
        (["einstein_temperatures_K"], [0.0], "not above zero"),
        (["points", 0, "temperature_K"], "300", "point 1, 'temperature_K' should be a finite"),
        (["points", 0, "temperature_K"], -1.0, "temperature is negative"),
        (["points", 1, "volume_A3_per_atom"], KeyError, "point 2 has no 'volume_A3_per_atom'"),
        (["points", 1, "volume_A3_per_atom", "value"], 0.0, "volume is not above zero"),
        (["points", 1, "entropy_kB", "stderr"], -0.1, "is negative"),
        (["points", 1, "entropy_kB"], 2.0, "table of named values"),
        (["points", 1, "converged"], "yes", "true or false"),
        (["points", 1, "labels_new"], 1.5, "whole number"),
        (["points", 1, "labels_new"], -1, "labels or fits is negative"),
        (["points", 1, "cell_lengths_A"], [], "list of 3"),
        (["points", 1, "soft_mode"], {"q": [0, 0, 0]}, "squared_frequency_THz2"),
        (["points", 1, "response"], {"gruneisen": 1.0}, "gruneisen should be a table"),
        (["points", 1, "response"], 3, "table of named values"),
    ],
)
def test_damaged_fields_are_refused_with_their_place(sweep, tmp_path, path, value, words):
    file = tmp_path / "sweep.json"
    file.write_text(json.dumps(changed(sweep.to_json(), path, value)))
    with pytest.raises(InputError, match=words) as caught:
        Sweep.read(file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"schema": NaN}', "\x00"])
def test_what_is_no_table_is_refused(tmp_path, text):
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(InputError, match=r"sweep\.json"):
        load_sweep(tmp_path)


def test_a_finished_run_is_a_sweep_of_one_point(finished_run):
    found = load_sweep(finished_run)
    (point,) = found.points
    result = json.loads((finished_run / "result.json").read_text())
    assert point.temperature_K == result["temperature_K"]
    assert point.volume_A3_per_atom == Value(**result["volume_A3_per_atom"])
    energy = result["free_energy_eV_per_atom"]
    assert point.free_energy_eV_per_atom == Value(energy["corrected"], energy["stderr"])
    work = point.pressure_GPa * units.GPA * point.volume_A3_per_atom.value
    assert point.gibbs_eV_per_atom.value == pytest.approx(energy["corrected"] + work, abs=1e-12)
    assert found.labels_total == result["labels"]["total"]
    assert found.start_calls == point.start_calls == result["labels"]["start"] > 0
    assert SweepPoint.from_run(finished_run, directory=".") == point
    assert Sweep.from_json(found.to_json()) == found
    # Four atoms of a conventional fcc cell have four volumes.
    lengths = [one.value for one in point.cell_lengths_A]
    assert np.prod(lengths) == pytest.approx(4 * point.volume_A3_per_atom.value, rel=1e-6)


def test_the_entropy_of_a_run_is_that_of_its_trial_modes(finished_run):
    (point,) = load_sweep(finished_run).points
    state = load_state(finished_run / "states" / "final.npz")
    frequencies = state.frequencies_at_qpoints()
    sums = thermodynamics(frequencies, [point.temperature_K])
    per_atom = float(sums.entropy[0]) / units.KB / state.crystal.n_atoms
    assert point.entropy_kB.value == pytest.approx(per_atom, rel=1e-3)
    assert 0.0 < point.entropy_kB.stderr < 0.1 * per_atom


def test_a_run_without_a_gibbs_energy_is_refused(finished_run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(finished_run, copy)
    settings = (copy / "run.toml").read_text()
    (copy / "run.toml").write_text(settings.replace('cell = "variable"', 'cell = "fixed"'))
    with pytest.raises(InputError, match="a cell that is fixed"):
        load_sweep(copy)
    (copy / "run.toml").write_text(settings)
    result = json.loads((copy / "result.json").read_text())
    (copy / "result.json").write_text(json.dumps({**result, "volume_A3_per_atom": 3}))
    with pytest.raises(SschaMlpError, match=r"result\.json cannot be read .*volume_A3_per_atom"):
        load_sweep(copy)
    (copy / "result.json").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        load_sweep(copy)
