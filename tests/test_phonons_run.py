"""The verb ``phonons``: what it reads from a run, what it writes, what it refuses."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.io import read
from crystals import soft_perovskite
from toys import Bonds, wurtzite

from sscha_mlp import units
from sscha_mlp.cli import run_command
from sscha_mlp.crystal.born_charges import BornCharges
from sscha_mlp.crystal.structure import Crystal
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import find_space_group
from sscha_mlp.data.dyn_files import read_dyn, write_dyn
from sscha_mlp.data.states import load_state, save_state
from sscha_mlp.digits import with_error
from sscha_mlp.properties.interpolation import interpolate
from sscha_mlp.report.phonons.data import run_phonons
from sscha_mlp.report.phonons.figures import NAMES, phonon_figure
from sscha_mlp.report.phonons.files import phonons_json, write_phonons
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.run_files.settings import RunSettings, format_toml

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

FILES = ["phonons.pdf", "phonons.json", "phonons.csv", "phonons-dos.csv"]
BORN = """default
2.4 0 0 0 2.4 0 0 0 2.4
1.1 0 0 0 1.1 0 0 0 1.1
-1.1 0 0 0 -1.1 0 0 0 -1.1
"""
MESH = ("--mesh", "4", "4", "4")


def made_run(directory, harmonic, model, corrected, *, stderr=0.02):
    """A run directory with given states, as a finished run leaves them."""
    place = RunDirectory(directory)
    directory.mkdir()
    settings = RunSettings(temperature=300.0, supercell=model.supercell.size)
    place.settings_file.write_text(format_toml(settings.to_mapping()))
    states = {"harmonic": harmonic, "start": harmonic, "model": model, "final": corrected}
    for name, state in states.items():
        save_state(place.state(name), state)
    at_q = [one.frequencies_at_qpoints() / units.THZ for one in (model, corrected)]
    stars = np.unique(find_space_group(model.supercell).equivalent_qpoints())
    entries = [
        {
            "q": model.supercell.qpoints[q].tolist(),
            "model": at_q[0][q].tolist(),
            "corrected": at_q[1][q].tolist(),
            "stderr": np.where(at_q[1][q] == 0.0, 0.0, stderr).tolist(),
        }
        for q in stars
    ]
    result = {"frequencies_THz": entries, "pressure_target_GPa": 0.0, "space_group": "?"}
    result["converged"] = True
    place.result.write_text(json.dumps(result))
    return directory


def scaled(state, factor):
    return state.with_force_constants(state.force_constants * factor)


@pytest.fixture(scope="module")
def salt_run(tmp_path_factory):
    supercell = Supercell(Crystal.from_ase(bulk("NaCl", "rocksalt", a=5.64)), (2, 2, 2))
    state = Bonds(supercell, 4.1, k=3.0, far=0.15).harmonic()[0]
    directory = tmp_path_factory.mktemp("salt") / "run"
    return made_run(directory, state, scaled(state, 0.9), scaled(state, 0.81))


@pytest.fixture
def copied(finished_run, tmp_path):
    """A copy of the finished run that a test may change."""
    return shutil.copytree(finished_run, tmp_path / "run")


def phonons(*arguments):
    return run_command(["phonons", *map(str, arguments)])


# --- a whole run --------------------------------------------------------------------------


def test_the_verb_writes_its_files_and_a_table(finished_run, tmp_path, capsys):
    assert phonons(finished_run, "--out", tmp_path, *MESH) == 0
    output = capsys.readouterr().out
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted(FILES)
    table = output[: output.index("Frequencies in THz")].splitlines()
    assert max(map(len, table)) <= 80
    result = json.loads((finished_run / "result.json").read_text())
    entry = result["frequencies_THz"][1]
    highest = with_error(max(entry["corrected"]), entry["stderr"][-1])
    assert any(highest in line for line in table)
    assert "known" not in table[1]


def test_known_frequencies_have_a_column(finished_run, tmp_path, capsys):
    known = finished_run / "result.json"
    assert phonons(finished_run, "--out", tmp_path, "--known", known, *MESH) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "known" in lines[1]
    assert max(map(len, lines[: lines.index("Frequencies in THz, with one standard error.")])) <= 80
    stored = json.loads((tmp_path / "phonons.json").read_text())
    assert all(row["known_THz"] == pytest.approx(row["corrected_THz"]) for row in stored["modes"])


def test_the_numbers_are_those_of_the_run(finished_run, tmp_path, capsys):
    assert phonons(finished_run, "--out", tmp_path, "--json", *MESH) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "phonons.json").read_text())
    result = json.loads((finished_run / "result.json").read_text())
    by_q = {tuple(one["q"]): one for one in result["frequencies_THz"]}
    journal = [json.loads(one) for one in (finished_run / "journal.jsonl").read_text().splitlines()]
    harmonic = next(one["payload"]["frequencies_THz"] for one in journal if one["step"] == "start")
    for row in printed["modes"]:
        entry = by_q[tuple(row["q"])]
        modes = slice(row["band"] - 1, row["band"] - 1 + row["degeneracy"])
        assert row["corrected_THz"] == pytest.approx(np.mean(entry["corrected"][modes]))
        assert row["stderr_THz"] == pytest.approx(np.max(entry["stderr"][modes]))
        assert np.abs(np.array(harmonic) - row["harmonic_THz"]).min() < 1e-3
        assert row["change_THz"] == pytest.approx(row["corrected_THz"] - row["harmonic_THz"])


def test_tables_hold_what_python_gives(finished_run, tmp_path):
    found = run_phonons(finished_run, mesh=(4, 4, 4))
    write_phonons(found, tmp_path)
    with (tmp_path / "phonons.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    corrected = found.states[-1]
    column = [float(row["corrected_3_THz"]) for row in rows]
    assert np.allclose(column, corrected.dispersion.frequencies_thz[:, 2], atol=1e-6)
    assert {row["label"] for row in rows} >= {"Γ", "X", "L", ""}
    with (tmp_path / "phonons-dos.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    width = float(rows[1]["frequency_THz"]) - float(rows[0]["frequency_THz"])
    for one in found.states:
        integral = width * sum(float(row[f"{one.name}_per_THz"]) for row in rows)
        assert integral == pytest.approx(3.0, abs=1e-3)


def test_errors_stand_where_the_curves_pass(finished_run):
    """At the wave vectors of the supercell the corrected curve goes through the points."""
    found = run_phonons(finished_run, mesh=(2, 2, 2))
    assert [one.name for one in found.states] == ["harmonic", "model", "corrected"]
    corrected = found.states[-1].dispersion
    for point in found.points:
        nearest = np.argmin(np.abs(corrected.path.distances - point.distance))
        curve = corrected.frequencies_thz[nearest]
        moving = np.isfinite(point.corrected)
        assert np.allclose(curve[moving], point.corrected[moving], atol=0.02)
    assert len(found.points) >= 4


def test_a_second_call_writes_the_same_bytes(finished_run, tmp_path):
    found = run_phonons(finished_run, mesh=(3, 3, 3))
    first = {path.name: path.read_bytes() for path in write_phonons(found, tmp_path)}
    again = {path.name: path.read_bytes() for path in write_phonons(found, tmp_path)}
    assert first == again


def test_the_run_keeps_its_harmonic_force_constants(finished_run):
    place = RunDirectory(finished_run)
    harmonic, start = load_state(place.state("harmonic")), load_state(place.state("start"))
    assert np.array_equal(harmonic.force_constants, start.force_constants)  # stable: not lifted


def test_exports_are_read_back(finished_run, tmp_path, capsys):
    import phonopy

    formats = ["--export", "phonopy", "--export", "qe", "--export", "extxyz"]
    assert phonons(finished_run, "--out", tmp_path, *MESH, *formats) == 0
    assert "exports" in capsys.readouterr().out
    final = load_state(finished_run / "states" / "final.npz")
    q = [[0.1, 0.2, 0.35]]
    expected = interpolate(final).frequencies_thz(q)
    place = tmp_path / "phonopy" / "corrected"
    other = phonopy.load(
        place / "phonopy.yaml",
        force_constants_filename=place / "FORCE_CONSTANTS",
        symmetrize_fc=False,
        log_level=0,
    )
    other.run_qpoints(q)
    assert np.abs(other.qpoints.frequencies - expected).max() < 1e-5
    by_qe = read_dyn(tmp_path / "qe" / "corrected_dyn")
    assert np.abs(interpolate(by_qe).frequencies_thz(q) - expected).max() < 1e-4
    atoms = read(tmp_path / "corrected.xyz")
    assert np.allclose(atoms.cell.array, final.crystal.cell, atol=1e-6)
    assert atoms.info["temperature_K"] == 300.0
    assert "temperature_K" not in read(tmp_path / "harmonic.xyz").info


# --- what may be missing ------------------------------------------------------------------


def test_a_run_without_result_gives_its_harmonic_start(copied, tmp_path, capsys):
    (copied / "result.json").unlink()
    assert phonons(copied, "--out", tmp_path / "out", *MESH) == 0
    captured = capsys.readouterr()
    assert "harmonic modes from" in captured.out
    assert "not finished" in captured.err
    stored = json.loads((tmp_path / "out" / "phonons.json").read_text())
    assert list(stored["states"]) == ["harmonic"] and stored["modes"] == []


def test_a_run_of_an_earlier_version_says_what_was_lifted(copied):
    (copied / "states" / "harmonic.npz").unlink()
    assert run_phonons(copied, mesh=(2, 2, 2)).notes == ()
    text = (copied / "journal.jsonl").read_text()
    assert '"modes_changed": 0' in text
    (copied / "journal.jsonl").write_text(text.replace('"modes_changed": 0', '"modes_changed": 3'))
    assert "3 modes of the harmonic start" in run_phonons(copied, mesh=(2, 2, 2)).notes[0]


def test_a_correction_without_a_state_is_points_alone(copied):
    result = json.loads((copied / "result.json").read_text())
    for entry in result["frequencies_THz"]:
        entry["corrected"] = [value + 0.3 for value in entry["corrected"]]
    (copied / "result.json").write_text(json.dumps(result))
    found = run_phonons(copied, mesh=(2, 2, 2))
    assert [one.name for one in found.states] == ["harmonic", "model"]
    assert "points" in found.notes[0]


def test_unstable_harmonic_modes_are_shown_as_they_are(tmp_path):
    case = soft_perovskite()
    harmonic, stable = case.bonds.harmonic()[0], case.state
    directory = made_run(tmp_path / "run", harmonic, stable, stable)
    found = run_phonons(directory, mesh=(2, 2, 2))
    assert found.states[0].dispersion.frequencies_thz.min() < -0.5
    assert found.states[0].density.edges_thz[0] < -0.5
    assert found.states[-1].thermodynamics.left_out == 0.0
    assert any("harmonic state are unstable" in note for note in found.notes)
    assert found.states[0].density.n_modes == pytest.approx(15.0, abs=1e-3)


def test_levels_of_a_scaled_crystal_change_by_its_scale(salt_run):
    found = run_phonons(salt_run, mesh=(2, 2, 2))
    assert found.rows
    for row in found.rows:
        assert row.corrected == pytest.approx(0.9 * row.harmonic, abs=1e-4)
        assert row.model == pytest.approx(np.sqrt(0.9) * row.harmonic, abs=1e-4)


def test_sums_over_the_supercell_stand_beside_those_of_the_mesh(salt_run):
    found = run_phonons(salt_run, mesh=(2, 2, 2))
    sums = phonons_json(found)["states"]["corrected"]["sums_over_modes"]
    # On the mesh of the supercell both are the same.
    for key in ("entropy_kB_per_atom", "trial_free_energy_eV_per_atom"):
        assert sums["mesh"][key] == pytest.approx(sums["supercell"][key], rel=1e-6)


def test_born_charges_split_lo_and_to(salt_run, tmp_path, capsys):
    (tmp_path / "BORN").write_text(BORN)
    arguments = ["--born", tmp_path / "BORN", "--export", "phonopy", *MESH]
    assert phonons(salt_run, "--out", tmp_path / "out", *arguments) == 0
    told = capsys.readouterr()
    assert "field of the dipoles" in told.err
    stored = json.loads((tmp_path / "out" / "phonons.json").read_text())
    transverse, longitudinal = stored["polar_modes"]
    assert (transverse["character"], longitudinal["character"]) == ("TO", "LO")
    assert longitudinal["frequency_THz"] > transverse["frequency_THz"] + 1.0
    lines = [line.split() for line in told.out.splitlines()]
    assert f"{longitudinal['frequency_THz']:.2f}" in " ".join(
        word for line in lines if "LO" in line for word in line
    )
    at_gamma = np.array(
        json.loads((tmp_path / "out" / "phonons.json").read_text())["states"]["model"][
            "dispersion_THz"
        ][0]
    )
    assert at_gamma[5] - at_gamma[4] > 1.0
    assert (
        "dielectric_constant"
        in (tmp_path / "out" / "phonopy" / "model" / "phonopy.yaml").read_text()
    )


def test_charges_of_the_dyn_files_of_the_start_are_used(salt_run, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(salt_run, run)
    start = load_state(run / "states" / "start.npz")
    assert phonons(run, *MESH) == 0
    assert "dyn files" not in capsys.readouterr().err
    charge = 1.1 * np.eye(3)
    for net, note in ((0.0, "are those of the dyn files"), (0.4, "add up to 0.40 e")):
        charges = BornCharges(np.array([charge, net * np.eye(3) - charge]), 2.4 * np.eye(3))
        write_dyn(run / "dyn" / "start_dyn", start, born=charges)
        assert phonons(run, "--export", "qe", *MESH) == 0
        assert note in " ".join(capsys.readouterr().err.split())
        stored = json.loads((run / "phonons.json").read_text())["states"]["model"]
        at_gamma = np.array(stored["dispersion_THz"][0])
        assert (at_gamma[5] - at_gamma[4] > 1.0) == (net == 0.0)
        assert ("Dielectric" in (run / "qe" / "model_dyn1").read_text()) == (net == 0.0)


def test_an_ionic_crystal_without_charges_gets_a_hint(salt_run, finished_run):
    assert any("--born" in note for note in run_phonons(salt_run, mesh=(2, 2, 2)).notes)
    copper = run_phonons(finished_run, mesh=(2, 2, 2))
    assert not any("--born" in note for note in copper.notes) and not copper.polar


def test_the_example_of_the_document_runs(salt_run, tmp_path, monkeypatch, capsys):
    text = (Path(__file__).parents[1] / "docs" / "phonons.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    shutil.copytree(salt_run, tmp_path / "runs" / "si-2000K")
    (tmp_path / "BORN").write_text(BORN)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "phonons.md", "exec"), {})
    assert (tmp_path / "out" / "phonopy" / "mine" / "phonopy.yaml").is_file()
    assert (tmp_path / "phonons.png").stat().st_size > 10_000
    assert capsys.readouterr().out.startswith("[[")


# --- the figure ---------------------------------------------------------------------------


def test_the_figure_shows_every_state_and_names_its_axes(finished_run):
    found = run_phonons(finished_run, mesh=(2, 2, 2), known=finished_run / "result.json")
    bands, density, changes = phonon_figure(found).axes
    legend = [text.get_text() for text in bands.get_legend().get_texts()]
    assert legend == [*NAMES.values(), "corrected ± 2σ", "known (result)"]
    assert bands.get_ylabel() == "Frequency (THz)"
    assert density.get_xlabel() == "Density of states (1/THz)"
    assert changes.get_ylabel() == "Change (THz)"
    ticks = [text.get_text() for text in changes.get_xticklabels()]
    assert ticks[:2] == ["Γ", "X"] and "U | K" in ticks
    assert len(density.lines) == 3


def test_the_path_of_a_hexagonal_crystal_has_greek_and_latin_points(tmp_path):
    state = wurtzite(size=(2, 2, 1)).harmonic()[0]
    directory = made_run(tmp_path / "run", state, scaled(state, 0.9), scaled(state, 0.9))
    found = run_phonons(directory, mesh=(2, 2, 2))
    names = "".join(name for _, name in found.path.ticks())
    assert {"Γ", "M", "K", "A", "L", "H"} <= set(names)


# --- what is refused ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--export", "word"], "no export 'word'"),
        (["--mesh", "0", "1", "1"], "mesh"),
        (["--smearing", "fog"], "no smearing 'fog'"),
        (["--born", "nowhere"], "cannot be read"),
        (["--known", "nowhere.json"], "no frequencies that can be read"),
    ],
)
def test_wrong_input_gets_a_sentence(finished_run, tmp_path, arguments, message, capsys):
    assert phonons(finished_run, "--out", tmp_path / "out", *arguments) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("sscha-mlp: ") and message in error and "\n" not in error
    assert not (tmp_path / "out").exists()


def test_a_directory_that_is_no_run_is_refused(tmp_path, capsys):
    assert phonons(tmp_path) == 2
    assert "not a run directory" in capsys.readouterr().err


def test_a_run_that_has_hardly_begun_is_refused(copied, capsys):
    for name in ("harmonic", "start"):
        (copied / "states" / f"{name}.npz").unlink()
    (copied / "result.json").unlink()
    assert phonons(copied) == 2
    assert "no harmonic start yet" in capsys.readouterr().err
