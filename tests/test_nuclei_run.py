"""Runs with classical nuclei, without zero-point motion, and with other isotopes."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from cheap import DIARY, relax_arguments, write_copper, write_settings
from test_bad_input import sentence

from sscha_mlp import units
from sscha_mlp.calculators.registry import get_reference
from sscha_mlp.campaign.loop import run
from sscha_mlp.cli import run_command
from sscha_mlp.crystal.born_charges import BornCharges
from sscha_mlp.data.dyn_files import read_dyn, read_dyn_files, write_dyn
from sscha_mlp.data.states import load_state
from sscha_mlp.ensemble.nuclei import Nuclei, harmonic_free_energy
from sscha_mlp.reference.label import label
from sscha_mlp.reference.store import LabelStore
from sscha_mlp.report.phonons.data import run_phonons
from sscha_mlp.report.run.collect import report_data
from sscha_mlp.report.run.summary_page import summary_page
from sscha_mlp.run_files.last_ensemble import load_samples
from sscha_mlp.run_files.settings import RunSettings, read_toml
from sscha_mlp.studies.hessian import hessian_of_run


def run_copper(directory: Path, **settings) -> dict:
    """Run copper in ``directory / "run"`` with settings beside the tiny ones."""
    directory.mkdir(exist_ok=True)
    write_copper(directory)
    values = read_toml(write_settings(directory, model="mtp"))
    values |= {"structure": str(directory / "copper.vasp"), "reference": "emt", **settings}
    return run(RunSettings.from_mapping(values), directory / "run")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Directory and result of a run of each kind."""
    place = tmp_path_factory.mktemp("nuclei")
    return {
        kind: (place / kind / "run", run_copper(place / kind, nuclei=str(kind))) for kind in Nuclei
    }


def test_a_run_of_each_kind_has_the_free_energy_of_its_oscillators(runs):
    """EMT copper at 300 K is nearly harmonic: F differs by what the harmonic modes differ by."""
    energies, expected = {}, {}
    for kind, (directory, result) in runs.items():
        assert result["converged"] and result["nuclei"] == kind
        state = load_state(directory / "states" / "start.npz")
        harmonic = harmonic_free_energy(state.modes.frequencies, 300.0, kind)
        energies[kind] = result["free_energy_eV_per_atom"]["corrected"]
        expected[kind] = harmonic / state.supercell.n_atoms
    for kind in (Nuclei.CLASSICAL, Nuclei.NO_ZERO_POINT):
        difference = energies[Nuclei.QUANTUM] - energies[kind]
        assert difference == pytest.approx(expected[Nuclei.QUANTUM] - expected[kind], rel=0.25)
    assert energies[Nuclei.QUANTUM] > energies[Nuclei.CLASSICAL] > energies[Nuclei.NO_ZERO_POINT]


def test_what_a_run_leaves_behind_says_how_its_nuclei_move(runs, capsys):
    directory, _ = runs[Nuclei.CLASSICAL]
    assert read_toml(directory / "run.toml")["nuclei"] == "classical"
    drawn = sorted((directory / "states").glob("samples-*-drawn.npz"))
    assert drawn
    for path in drawn:
        stored = load_samples(path.with_name(path.name.replace("-drawn", "")))
        assert stored.ensemble.nuclei is Nuclei.CLASSICAL
    assert run_command(["status", str(directory)]) == 0
    assert "300 K (classical nuclei), 0 GPa" in capsys.readouterr().out.replace("\n", " ")
    page = summary_page(report_data(directory))
    texts = [text.get_text() for text in page.texts]
    assert any(text.endswith(" at 300 K (classical nuclei) and 0 GPa") for text in texts)
    quantum = summary_page(report_data(runs[Nuclei.QUANTUM][0]))
    assert any(text.get_text().endswith(" at 300 K and 0 GPa") for text in quantum.texts)


def test_phonons_of_a_classical_run_have_classical_sums(runs):
    directory, _ = runs[Nuclei.CLASSICAL]
    found = run_phonons(directory, mesh=(4, 4, 4))
    assert found.nuclei is Nuclei.CLASSICAL and "(classical nuclei)" in found.title
    for one in found.states:
        assert one.thermodynamics.zero_point == 0.0
        # Dulong and Petit, less the translations at q = 0
        expected = 3.0 - 3.0 / 64.0
        assert one.thermodynamics.heat_capacity[0] / units.KB == pytest.approx(expected)


def test_the_hessian_of_a_classical_run_is_classical(runs, monkeypatch):
    drawn = []
    import sscha_mlp.studies.hessian as module

    original = module.free_energy_hessian

    def noting(samples, group, *, trial, fourth):
        drawn.append((samples.ensemble.nuclei, trial.nuclei))
        return original(samples, group, trial=trial, fourth=fourth)

    monkeypatch.setattr(module, "free_energy_hessian", noting)
    content = hessian_of_run(runs[Nuclei.CLASSICAL][0], n_configs=40)
    assert drawn == [(Nuclei.CLASSICAL, Nuclei.CLASSICAL)]
    assert content["nuclei"] == "classical"
    assert "at 300 K (classical nuclei)" in content["statement"]


def test_other_nuclei_or_masses_in_a_run_directory_are_refused(runs, capsys):
    directory, _ = runs[Nuclei.QUANTUM]
    again = [*relax_arguments(directory.parent, "emt", model="mtp"), "--quiet"]
    assert run_command([*again, "--nuclei", "classical"]) == 2
    sentence(capsys.readouterr().err, "nuclei: quantum -> classical")
    assert run_command([*again, "--mass", "Cu=64.9278"]) == 2
    sentence(capsys.readouterr().err, "masses.Cu: not set -> 64.9278")


# --- isotopes ----------------------------------------------------------------------------------


def keys(diary: Path) -> list[str]:
    return diary.read_text().split()


def test_a_run_with_another_isotope_finds_the_labels_of_the_start_again(tmp_path, monkeypatch):
    """The relaxation and the finite displacements are the same positions: no call for them."""
    called = {}
    for name, masses in (("natural", {}), ("heavy", {"Cu": 70.0})):
        diary = tmp_path / f"diary-{name}"
        monkeypatch.setenv(DIARY, str(diary))
        run_copper(
            tmp_path / name,
            reference="cheap:diary",
            masses=masses,
            label_store=str(tmp_path / "labels.db"),
        )
        called[name] = keys(diary)
    results = [json.loads((tmp_path / name / "run" / "result.json").read_text()) for name in called]
    assert [one["masses_amu"] for one in results] == [[pytest.approx(63.546)], [70.0]]
    assert results[0]["labels"]["start"] > 2
    assert not set(called["heavy"]) & set(called["natural"])
    assert len(called["heavy"]) <= results[1]["labels"]["total"]  # none is left for the start
    assert len(called["natural"]) >= results[0]["labels"]["total"] + 2
    light, heavy = (load_state(tmp_path / name / "run/states/start.npz") for name in called)
    ratio = light.modes.frequencies / heavy.modes.frequencies
    np.testing.assert_allclose(ratio, np.sqrt(70.0 / 63.546), rtol=1e-6)


def test_labels_do_not_depend_on_masses(tmp_path):
    frame = bulk("Cu", cubic=True)
    frame.rattle(0.05, seed=1)
    heavy = frame.copy()
    heavy.set_masses([70.0, 63.5, 63.5, 62.9])
    with LabelStore(tmp_path / "labels.db") as store:
        reference = get_reference("emt")
        first = label([frame], reference, store=store, n_workers=1)
        again = label([heavy], reference, store=store, n_workers=1)
    assert (first.n_computed, again.n_computed) == (1, 0)
    np.testing.assert_array_equal(first.labels[0].forces, again.labels[0].forces)


def test_a_crystal_of_two_isotopes_runs_from_its_file_to_its_end(tmp_path):
    """Two isotopes of copper in a tetragonal order: the masses of the file decide the group."""
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True)
    atoms = atoms[[0, 1]]  # corner and one face centre: layers along one axis
    atoms.set_cell([[1.8, 1.8, 0], [-1.8, 1.8, 0], [0, 0, 3.6]])
    atoms.set_positions([[0, 0, 0], [0, 1.8, 1.8]])
    atoms.set_masses([62.9296, 64.9278])
    path = tmp_path / "layers.xyz"
    columns = ["symbols", "positions", "masses"]
    atoms.write(path, format="extxyz", columns=columns)
    result = run_copper(tmp_path / "two", structure=str(path))
    assert result["space_group"] == "P4/mmm"  # I4/mmm or fcc if the isotopes were the same
    assert result["masses_amu"] == pytest.approx([62.9296, 64.9278])
    text = (tmp_path / "two/run/dyn/final_dyn1").read_text()
    assert "'Cu1 '" in text and "'Cu2 '" in text


def test_a_run_that_starts_from_dyn_files_takes_masses_and_charges(tmp_path, runs):
    state = load_state(runs[Nuclei.QUANTUM][0] / "states" / "start.npz")
    born = BornCharges(np.zeros((1, 3, 3)), np.diag([5.0, 5.0, 5.0]))
    write_dyn(tmp_path / "start_dyn", state, born=born)
    assert read_dyn(tmp_path / "start_dyn").crystal.masses == pytest.approx([63.546])
    values = {"structure": "", "dyn": str(tmp_path / "start_dyn"), "masses": {"Cu": 70}}
    result = run_copper(tmp_path / "again", **values)
    assert result["masses_amu"] == [70.0]
    for name in ("start", "model", "final"):
        found = read_dyn_files(tmp_path / "again" / "run" / "dyn" / f"{name}_dyn")
        np.testing.assert_array_equal(found.born.dielectric, born.dielectric)
        np.testing.assert_array_equal(found.born.charges, born.charges)


# --- wrong input -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--mass", "Cu"], ["--mass Cu is not SYMBOL=AMU", "--mass Si=28.9765"]),
        (["--mass", "Cu=heavy"], ["--mass Cu=heavy is not SYMBOL=AMU"]),
        (["--mass", "Cu=63", "--mass", "Cu=65"], ["gives Cu twice"]),
        (["--mass", "Xx=63"], ["'Xx'", "no chemical symbol"]),
        (["--mass", "Cu=0"], ["0.0 of Cu is no positive number"]),
        (["--mass", "Cu=nan"], ["nan of Cu is no positive number"]),
        (["--mass", "Si=28.9765"], ["given for Si", "holds only Cu"]),
        (["--nuclei", "ghostly"], ["ghostly", "quantum, classical, no-zero-point"]),
        (["--nuclei", "classical", "--T", "0"], ["At 0 K classical nuclei do not move"]),
        (["--nuclei", "no-zero-point", "--T", "0"], ["At 0 K no-zero-point nuclei do not move"]),
        (
            ["--nuclei", "classical", "--engine", "python-sscha"],
            ["python-sscha has quantum nuclei alone"],
        ),
    ],
)
def test_wrong_nuclei_and_masses_are_one_sentence(arguments, words, tmp_path, capsys):
    assert run_command([*relax_arguments(tmp_path, "emt"), "--quiet", *arguments]) == 2
    sentence(capsys.readouterr().err, *words)
    assert not (tmp_path / "run").exists()


def test_masses_of_a_file_and_of_the_command_line_go_together(tmp_path):
    from sscha_mlp.cli.options import read_masses
    from sscha_mlp.cli.relax import resolve

    path = tmp_path / "study.toml"
    path.write_text("temperature = 300\n[masses]\nCu = 62.9296\nAu = 197\n")
    settings = resolve({"masses": read_masses(["Cu=64.9278"])}, path)
    assert settings.masses == {"Cu": 64.9278, "Au": 197.0}
    assert RunSettings.from_mapping(settings.to_mapping()) == settings


def test_masses_of_what_dyn_files_do_not_hold_are_refused_before_the_run(tmp_path, runs, capsys):
    write_dyn(tmp_path / "cu", load_state(runs[Nuclei.QUANTUM][0] / "states" / "start.npz"))
    arguments = ["relax", "--T", "300", "--dyn", str(tmp_path / "cu"), "--reference", "emt"]
    arguments += ["--run-dir", str(tmp_path / "run"), "--mass", "Si=28.0"]
    assert run_command(arguments) == 2
    sentence(capsys.readouterr().err, "given for Si", "holds only Cu")
    assert not (tmp_path / "run").exists()


def test_the_verb_ensemble_draws_each_kind(runs, tmp_path, capsys):
    state = runs[Nuclei.QUANTUM][0] / "states" / "start.npz"
    spreads = {}
    for kind in Nuclei:
        out = tmp_path / f"{kind}.xyz"
        arguments = ["ensemble", "--state", str(state), "--T", "60", "--n", "40"]
        assert run_command([*arguments, "--nuclei", kind, "--out", str(out)]) == 0
        said = capsys.readouterr().err
        assert ("nuclei" in said) == (kind is Nuclei.CLASSICAL)
        spreads[kind] = float(said.split("rms displacement ")[1].split(" Å")[0])
    assert spreads[Nuclei.QUANTUM] > spreads[Nuclei.CLASSICAL] > spreads[Nuclei.NO_ZERO_POINT]
