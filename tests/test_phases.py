"""Two structures by Gibbs free energy: crossings, their errors, and what is not said."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import brentq
from sweeps import Noise, QuasiHarmonic, make_phase, make_sweep

from sscha_mlp import units
from sscha_mlp.cli import run_command
from sscha_mlp.errors import InputError
from sscha_mlp.properties.phase_tables import Axis
from sscha_mlp.properties.phases import compare_phases

A = QuasiHarmonic(gammas=(1.0,) * 6)
B = QuasiHarmonic(
    energy=0.02, volume=19.0, thetas=(150.0, 280.0, 430.0, 520.0, 600.0, 680.0), gammas=(1.1,) * 6
)
TEMPERATURES = [100.0, 300.0, 500.0, 700.0, 900.0, 1100.0]
EXACT = Noise(volume=1e-6, gibbs=1e-7, entropy=1e-5)


def crossing_at(pressure):
    return brentq(lambda t: B.gibbs(t, pressure) - A.gibbs(t, pressure), 50.0, 1200.0)


def pair(rng, pressures=(0.0,), temperatures=TEMPERATURES, **noise):
    return [
        make_phase(one, list(temperatures), list(pressures), rng, name=name, **noise)
        for one, name in ((A, "A"), (B, "B"))
    ]


def test_two_precise_phases_cross_where_they_do(rng):
    comparison = compare_phases(*pair(rng, (0.0, 1.0, 2.0), noise=EXACT))
    isobars = [one for one in comparison.crossings if one.axis is Axis.TEMPERATURE]
    assert [one.pressure for one in isobars] == [0.0, 1.0, 2.0]
    for one in isobars:
        assert one.temperature == pytest.approx(crossing_at(one.pressure), abs=0.5)
    for one in comparison.crossings:
        if one.axis is Axis.PRESSURE:
            exact = brentq(lambda p, t=one.temperature: B.gibbs(t, p) - A.gibbs(t, p), -0.5, 2.5)
            assert one.pressure == pytest.approx(exact, abs=2e-3)
    assert "A is stable below" in comparison.statements[0]


def test_the_line_of_coexistence_has_the_slope_of_clausius_and_clapeyron(rng):
    (found,) = compare_phases(*pair(rng, noise=EXACT)).crossings
    step = 0.02
    line = 2 * step / (crossing_at(step) - crossing_at(-step))
    assert found.slope == pytest.approx(line, rel=2e-3)
    t = crossing_at(0.0)
    change = B.entropy(t, 0.0) - A.entropy(t, 0.0), B.volume_at(t, 0.0) - A.volume_at(t, 0.0)
    assert found.slope == pytest.approx(change[0] / change[1] * units.KB / units.GPA, rel=2e-3)


def test_the_error_of_a_crossing_covers_it(rng):
    exact = crossing_at(0.0)
    step = 0.02
    line = 2 * step / (crossing_at(step) - crossing_at(-step))
    z, slopes = [], []
    for _ in range(120):
        (found,) = compare_phases(*pair(rng)).crossings
        z.append((found.temperature - exact) / found.stderr)
        slopes.append((found.slope - line) / found.slope_stderr)
    assert 0.92 <= np.mean(np.abs(z) < 2) <= 0.985
    assert np.std(z) == pytest.approx(1.0, abs=0.12)
    assert np.mean(np.abs(slopes) < 2) >= 0.92


def test_differences_stand_within_both_and_never_beyond(rng):
    a = make_phase(A, [100.0, 300.0, 500.0, 700.0], [0.0], rng)
    b = make_phase(B, [300.0, 450.0, 900.0], [0.0], rng, name="B")
    comparison = compare_phases(a, b)
    assert [one.temperature for one in comparison.differences] == [300.0, 450.0, 500.0, 700.0]
    assert [one.interpolated for one in comparison.differences] == [False, True, True, True]
    for one in comparison.differences:
        exact = B.gibbs(one.temperature, 0.0) - A.gibbs(one.temperature, 0.0)
        assert abs(one.gibbs - exact) < 4 * one.gibbs_stderr
    (line,) = comparison.lines
    assert (line.x[0], line.x[-1]) == (300.0, 700.0)


def test_single_points_are_compared_as_they_are(rng):
    comparison = compare_phases(*pair(rng, temperatures=[300.0]))
    assert comparison.lines == ()
    assert comparison.crossings == ()
    (sentence,) = comparison.statements
    assert "At 300 K and 0 GPa A is stable by" in sentence
    near = replace(A, energy=1e-5)
    one, other = (make_phase(c, [300.0], [0.0], rng, name=n) for c, n in ((A, "A"), (near, "B")))
    assert "do not say" in compare_phases(one, other).statements[0]


def test_no_crossing_is_said_and_not_invented(rng):
    far = make_phase(replace(B, energy=0.2), TEMPERATURES, [0.0], rng, name="B")
    near = make_phase(replace(A, energy=1e-6), TEMPERATURES, [0.0], rng, name="B")
    a = make_phase(A, TEMPERATURES, [0.0], rng)
    assert "A is stable from 100 to 1100 K" in compare_phases(a, far).statements[0]
    comparison = compare_phases(a, near)
    # Of an equal structure at most a part of the line is away from zero, and nothing crosses.
    assert comparison.crossings == ()
    assert "do not say" in comparison.statements[0] or "not certain" in comparison.statements[0]


def test_what_cannot_be_compared_is_refused(rng):
    a = make_phase(A, TEMPERATURES, [0.0], rng)
    with pytest.raises(InputError, match=r"Si and B is GeSi: .* different compositions"):
        compare_phases(a, make_phase(B, TEMPERATURES, [0.0], rng, name="B", formula="SiGe"))
    with pytest.raises(
        InputError, match=r"A \(100 to 1100 K, 0 GPa\).*no temperature and pressure"
    ):
        compare_phases(a, make_phase(B, TEMPERATURES, [5.0], rng, name="B"))
    with pytest.raises(InputError, match="no temperature and pressure in common"):
        compare_phases(a, make_phase(B, [1200.0, 1300.0], [0.0], rng, name="B"))
    with pytest.raises(InputError, match="no chemical formula"):
        compare_phases(a, make_phase(B, TEMPERATURES, [0.0], rng, name="B", formula="x?"))
    with pytest.raises(InputError, match="one number for each point"):
        replace(a, gibbs=np.zeros(2))
    with pytest.raises(InputError, match="errors at least 0"):
        replace(a, gibbs_stderr=np.full(6, -1.0))


def test_formula_units_of_any_number_are_one_composition(rng):
    a = make_phase(A, TEMPERATURES, [0.0], rng, formula="Ge4Si4")
    b = make_phase(B, TEMPERATURES, [0.0], rng, name="B", formula="SiGe")
    assert compare_phases(a, b).a.composition == "GeSi"


@pytest.fixture
def two_sweeps(tmp_path, rng):
    """Directories of two sweeps."""
    for name, crystal, group in (("diamond", A, "Fd-3m"), ("dense", B, "Im-3m")):
        (tmp_path / name).mkdir()
        sweep = make_sweep(crystal, TEMPERATURES, [0.0, 1.0, 2.0], rng)
        replace(sweep, space_group=group).write(tmp_path / name / "sweep.json")
    return tmp_path / "diamond", tmp_path / "dense"


def test_the_verb_writes_its_files_and_a_narrow_table(two_sweeps, tmp_path, capsys):
    out = tmp_path / "out"
    assert run_command(["phases", *map(str, two_sweeps), "--out", str(out)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in shown if not line.startswith("/"))
    assert "A = Fd-3m, B = Im-3m" in shown[0]
    assert any("Fd-3m is stable below" in line for line in shown)
    assert (out / "phases.pdf").read_bytes().startswith(b"%PDF")
    content = json.loads((out / "phases.json").read_text())
    assert content["schema"] == "sscha-mlp/phases/1"
    first = content["crossings"][0]
    assert abs(first["temperature_K"] - crossing_at(0.0)) < 4 * first["stderr_K"]
    rows = list(csv.DictReader((out / "phases.csv").read_text().splitlines()))
    assert len(rows) == len(content["differences"]) == 18
    assert float(rows[0]["gibbs_eV_per_atom"]) == pytest.approx(
        content["differences"][0]["gibbs_eV_per_atom"]["value"], rel=1e-6
    )


def test_json_is_all_that_is_printed_when_asked_for(two_sweeps, tmp_path, capsys):
    arguments = ["phases", *map(str, two_sweeps), "--out", str(tmp_path / "out"), "--json"]
    assert run_command(arguments) == 0
    assert json.loads(capsys.readouterr().out)["composition"] == "Si"


def test_wrong_input_ends_with_a_sentence(two_sweeps, tmp_path, capsys):
    diamond, dense = two_sweeps

    def refused(*arguments):
        assert run_command(["phases", *map(str, arguments), "--out", str(tmp_path / "out")]) == 2
        return " ".join(capsys.readouterr().err.split())

    (tmp_path / "empty").mkdir()
    assert "holds neither a sweep" in refused(diamond, tmp_path / "empty")
    assert "There is no" in refused(diamond, tmp_path / "nowhere")
    content = json.loads((dense / "sweep.json").read_text())
    (dense / "sweep.json").write_text(json.dumps({**content, "nuclei": "classical"}))
    assert "classical" in refused(diamond, dense)
    (dense / "sweep.json").write_text(json.dumps({**content, "formula": "Ge2"}))
    assert "different compositions" in refused(diamond, dense)
    points = [{**one, "converged": False} for one in content["points"]]
    (dense / "sweep.json").write_text(json.dumps({**content, "points": points}))
    assert "no converged point" in refused(diamond, dense)
    (dense / "sweep.json").write_text("{")
    assert "cannot be read" in refused(diamond, dense)
    assert not (tmp_path / "out").exists()


def test_there_is_no_verdict_where_the_modes_that_are_counted_differ(two_sweeps, tmp_path, capsys):
    """Of 24 modes 3 are missing, of 48 modes 3: per atom that is most of a small difference."""
    diamond, dense = two_sweeps
    content = json.loads((dense / "sweep.json").read_text())
    (dense / "sweep.json").write_text(json.dumps({**content, "supercell": [3, 3, 3]}))
    out = tmp_path / "out"
    assert run_command(["phases", str(diamond), str(dense), "--out", str(out)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "No verdict: the supercells have 16 and 54 atoms" in shown
    assert "3 of 48 and 3 of 162 modes" in shown
    assert "is stable" not in shown
    written = json.loads((out / "phases.json").read_text())
    assert written["crossings"] == []
    assert len(written["differences"]) == 18
    assert written["statements"][0].startswith("No verdict")


def test_differences_of_settings_are_noted(two_sweeps, tmp_path, capsys):
    diamond, dense = two_sweeps
    content = json.loads((dense / "sweep.json").read_text())
    content["points"][3]["converged"] = False
    changed = {**content, "reference": "emt"}
    (dense / "sweep.json").write_text(json.dumps(changed))
    assert run_command(["phases", str(diamond), str(dense), "--out", str(tmp_path / "out")]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "(tersoff, emt)" in said
    assert "1 of 18 points of Im-3m are not converged" in said
