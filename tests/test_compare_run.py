"""The verb ``compare``: a run whose model is the reference, or is known to differ from it."""

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ase.calculators.emt import EMT
from cheap import DIARY
from toys import CalculatorEvaluator

import sscha_mlp as sm
from sscha_mlp.calculators.registry import get_reference
from sscha_mlp.cli import run_command
from sscha_mlp.potentials.kind import Statistic, Uncertainty
from sscha_mlp.potentials.protocol import PotentialCalculator, Predictions
from sscha_mlp.reference.store import LabelStore
from sscha_mlp.report.compare.figures import LINES, comparison_figure, volume_figure
from sscha_mlp.report.compare.files import comparison_json, write_comparison
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.studies import compare as comparing
from sscha_mlp.studies.compare import DISPLACED, STRAINED, VOLUMES, compare_run

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

FILES = {
    "compare.pdf",
    "compare.json",
    "compare-bands.csv",
    "compare-modes.csv",
    "compare-eos.csv",
    "compare-elastic.csv",
}


class Scaled:
    """A potential that is EMT times a number; beyond its domain where the cell is large."""

    def __init__(self, factor=1.0, limit=None):
        self.factor = factor
        statistic = Statistic.MEDIAN if limit is None else Statistic.QUANTILE
        self.uncertainty = Uncertainty("extrapolation grade", "", statistic, limit)

    def evaluate(self, configurations, *, uncertainty=False):
        found = CalculatorEvaluator(EMT()).evaluate(configurations)
        grades = [one.get_volume() / len(one) for one in configurations]
        return Predictions(
            self.factor * found.energies,
            tuple(self.factor * one for one in found.forces),
            self.factor * found.stresses,
            np.array(grades) if uncertainty else None,
        )

    def calculator(self):
        return PotentialCalculator(self)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass


@pytest.fixture
def copied(finished_run, tmp_path, monkeypatch):
    """A copy of the finished run, its reference ready to note each call."""
    (tmp_path / "diary").touch()
    monkeypatch.setenv(DIARY, str(tmp_path / "diary"))
    return shutil.copytree(finished_run, tmp_path / "run")


@pytest.fixture(scope="module")
def labelled_run(finished_run, tmp_path_factory):
    """The finished run with all labels of a comparison in its store: not to be changed."""
    place = tmp_path_factory.mktemp("labelled")
    run = shutil.copytree(finished_run, place / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(DIARY, str(place / "diary"))
        compare_run(run)
    return run


@pytest.fixture
def complete(labelled_run, tmp_path, monkeypatch):
    """A copy of it that a test may change; what it computes is noted."""
    (tmp_path / "diary").touch()
    monkeypatch.setenv(DIARY, str(tmp_path / "diary"))
    return shutil.copytree(labelled_run, tmp_path / "run")


@pytest.fixture
def model(monkeypatch):
    """Put a potential in the place of the one that the run has fitted."""

    def put(potential):
        monkeypatch.setattr(comparing, "load", lambda directory, n_workers: potential)

    put(Scaled())
    return put


def calls(run):
    return len((run.parent / "diary").read_text().splitlines())


def with_reference(run, name):
    """Give a run another reference, as if it had been labelled with that one."""
    journal = run / "journal.jsonl"
    lines = [json.loads(one) for one in journal.read_text().splitlines()]
    for one in lines:
        if one["step"] == "start":
            one["payload"]["reference_identity"] = get_reference(name).identity
    journal.write_text("".join(f"{json.dumps(one)}\n" for one in lines))
    name_reference(run, name)


def name_reference(run, name):
    """Write another reference into the settings of a run."""
    text = (run / "run.toml").read_text()
    (run / "run.toml").write_text(
        text.replace('reference = "cheap:diary"', f'reference = "{name}"')
    )


def counts(found):
    return {one.part: (one.n_needed, one.n_new, one.n_failed) for one in found.labels}


def compare(*arguments):
    return run_command(["compare", *map(str, arguments)])


# --- differences that are known ---------------------------------------------------------------


def test_a_model_that_is_the_reference_has_no_differences(complete, model):
    found = compare_run(complete)
    assert found.harmonic.frequencies.rms < 1e-6
    assert abs(found.harmonic.frequencies.largest.difference) < 1e-6
    np.testing.assert_allclose(found.eos.model, found.eos.reference, atol=1e-9)
    assert found.eos.model_fit.volume == pytest.approx(found.eos.reference_fit.volume, rel=1e-9)
    np.testing.assert_allclose(found.elastic.model.best, found.elastic.reference.best, atol=1e-9)
    assert not any(one.departs for one in found.departures[:-1])
    assert "At rest the model agrees with the reference" in found.verdict
    # The reference left forces of start.fmax, the model smaller ones.
    own, theirs = found.harmonic.own, found.harmonic.reference.crystal
    assert own.volume == pytest.approx(theirs.volume, rel=1e-2)
    assert own.volume / own.n_atoms == pytest.approx(found.eos.reference_fit.volume, rel=1e-4)


def test_a_model_of_known_difference_shows_it(complete, model):
    model(Scaled(1.1))
    found = compare_run(complete)
    for row in found.harmonic.frequencies.rows:
        assert row.model == pytest.approx(np.sqrt(1.1) * row.reference, rel=1e-6)
    first, second = found.eos.reference_fit, found.eos.model_fit
    assert second.volume == pytest.approx(first.volume, rel=1e-7)
    assert second.bulk_modulus == pytest.approx(1.1 * first.bulk_modulus, rel=1e-6)
    np.testing.assert_allclose(found.elastic.model.best, 1.1 * found.elastic.reference.best)
    assert not found.departures[0].departs, "the run tolerates 3 THz"
    found = replace(found, frequency_limit=(0.05, 0.01))
    beyond = {one.name for one in found.departures if one.departs}
    assert {"harmonic frequencies", "B0", "C11", "C12", "C44"} <= beyond
    assert "V0" not in beyond
    assert "the model departs from the reference in harmonic frequencies" in found.verdict
    assert "B0" in found.verdict and "+10 %" in found.verdict
    shown = {row[0]: row[1:] for row in found.table().rows}
    assert float(shown["B0"][1].removesuffix(" %")) == pytest.approx(10.0, abs=0.1)
    assert shown["B0"][2] == "yes" and shown["V0"][2] == "no"
    assert found.table().note == found.verdict


def test_bulk_moduli_of_strains_and_of_volumes_agree(complete, model):
    found = compare_run(complete)
    fit = found.eos.reference_fit
    assert found.elastic.reference.bulk_modulus == pytest.approx(fit.bulk_modulus, rel=0.03)


def test_frequencies_of_the_sscha_are_those_of_the_result(complete, model):
    found = compare_run(complete, eos=False, elastic=False)
    result = json.loads((complete / "result.json").read_text())
    by_q = {tuple(one["q"]): one for one in result["frequencies_THz"]}
    assert len(found.sscha.entries) == len(by_q)
    for row in found.sscha.rows:
        modes = slice(row.band - 1, row.band - 1 + row.degeneracy)
        entry = by_q[row.q]
        assert row.reference == pytest.approx(np.mean(entry["corrected"][modes]))
        assert row.model == pytest.approx(np.mean(entry["model"][modes]))
        assert row.stderr == pytest.approx(np.max(entry["stderr"][modes]))
    assert sum(found.sscha.weights) == 8


def test_harmonic_frequencies_of_the_reference_are_those_of_the_start(complete, model):
    found = compare_run(complete, eos=False, elastic=False)
    harmonic = sm.load_state(complete / "states" / "harmonic.npz")
    np.testing.assert_allclose(
        found.harmonic.reference.force_constants, harmonic.force_constants, atol=1e-10
    )


# --- labels -----------------------------------------------------------------------------------


def test_what_is_labelled_is_counted_and_never_labelled_twice(copied, model):
    first = compare_run(copied)
    assert counts(first)[DISPLACED] == (6, 0, 0)
    new = sum(one.n_new for one in first.labels)
    assert calls(copied) == new > 0
    again = compare_run(copied)
    assert calls(copied) == new
    assert all(one.n_new == 0 and one.n_stored == one.n_needed for one in again.labels)
    assert comparison_json(again)["harmonic"] == comparison_json(first)["harmonic"]
    assert comparison_json(again)["elastic"] == comparison_json(first)["elastic"]


def test_a_comparison_goes_on_with_the_parts_that_are_missing(copied, model):
    assert counts(compare_run(copied, eos=False, elastic=False)) == {DISPLACED: (6, 0, 0)}
    assert calls(copied) == 0
    part = compare_run(copied, elastic=False, n_points=5)
    assert part.elastic is None and list(counts(part)) == [DISPLACED, VOLUMES]
    before = calls(copied)
    whole = counts(compare_run(copied, n_points=5))
    assert whole[VOLUMES] == (5, 0, 0)
    assert calls(copied) - before == whole[STRAINED][1] == 3


def test_needs_are_said_before_they_are_computed(copied, model):
    said = []
    observer = SimpleNamespace(
        stage=lambda text: said.append((text, calls(copied))),
        progress=lambda *_: None,
        note=lambda text: None,
        population=lambda row: None,
    )
    found = compare_run(copied, observer=observer)
    (text, before), *_ = said
    assert before == 0
    total, new = (sum(getattr(one, key) for one in found.labels) for key in ("n_needed", "n_new"))
    assert text.startswith(f"{total} labels of 8 atoms, {new} of them new: 6 for finite")


def test_volumes_that_the_reference_cannot_label_are_left_out(copied, model):
    with_reference(copied, "cheap:narrow")
    found = compare_run(copied, elastic=False)
    assert counts(found)[VOLUMES] == (7, 7, 2)
    assert len(found.eos.volumes) == 5 and found.eos.volumes.max() < 11.9
    assert found.eos.reference_fit is not None
    assert any(
        "failed on 2 of 7 configurations for equation of state" in one for one in found.notes
    )
    few = compare_run(copied, elastic=False, n_points=5)
    assert few.eos.reference_fit is None
    assert any("No equation of state of the reference" in one for one in few.notes)
    write_comparison(few, copied)  # without fits


def test_labels_by_hand_are_asked_for_in_one_batch(copied, model, capsys):
    with_reference(copied, "files")
    assert compare(copied, "--quiet") == 3
    assert "waiting for 16 labels" in capsys.readouterr().err
    (request,) = (copied / "offline").iterdir()
    manifest = json.loads((request / "manifest.json").read_text())
    assert len(manifest["configurations"]) == 16
    reference = get_reference("files")
    with LabelStore(copied / "labels.db") as store:
        for frame in sm.read_any(request / "configurations.xyz"):
            label = sm.label([frame], get_reference("emt")).labels[0]
            store.put(frame, reference.identity, label)
    assert compare(copied, "--quiet") == 0
    assert (copied / "compare.json").exists()


# --- what has to be said ----------------------------------------------------------------------


def test_a_model_beyond_its_limit_is_named(complete, model):
    model(Scaled(limit=12.1))  # its grade is the volume per atom
    found = compare_run(complete, elastic=False)
    by_part = {one.part: one for one in found.extrapolation}
    assert by_part[DISPLACED].n_beyond == 0
    assert by_part[VOLUMES].n_beyond == 1
    assert any("beyond the limit of the model's extrapolation grade" in one for one in found.notes)


def test_a_run_without_certificate_says_so(complete, model):
    result = json.loads((complete / "result.json").read_text())
    result["converged"] = False
    (complete / "result.json").write_text(json.dumps(result))
    assert "without its certificate" in compare_run(complete, eos=False, elastic=False).verdict


def test_a_structure_that_the_reference_did_not_relax_has_no_own_cell(complete, model):
    text = (complete / "run.toml").read_text()
    (complete / "run.toml").write_text(text.replace("relax = true", "relax = false"))
    found = compare_run(complete, eos=False, elastic=False)
    assert found.harmonic.own is None and found.harmonic.own_bands is None
    assert any("did not relax" in one for one in found.notes)


# --- files and figures ------------------------------------------------------------------------


def test_the_verb_writes_its_files_and_a_table(complete, tmp_path, capsys):
    """With the potential that the run has fitted."""
    out = tmp_path / "out"
    assert compare(complete, "--out", out, "--quiet") == 0
    captured = capsys.readouterr().out
    assert {one.name for one in out.iterdir()} == FILES
    lines = captured.splitlines()
    assert max(len(line) for line in lines if str(out) not in line) <= 80
    stored = json.loads((out / "compare.json").read_text())
    assert stored["schema"] == "sscha-mlp/compare/1"
    assert stored["verdict"] in " ".join(lines)
    for row in stored["harmonic"]["modes"]:
        assert row["difference_THz"] == pytest.approx(row["model_THz"] - row["reference_THz"])
    with (out / "compare-modes.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    kinds = [row["kind"] for row in rows]
    assert kinds.count("harmonic") == len(stored["harmonic"]["modes"])
    assert kinds.count("sscha") == len(stored["sscha"]["modes"])
    with (out / "compare-elastic.csv").open() as stream:
        by_name = {row["constant"]: row for row in csv.DictReader(stream)}
    expected = stored["elastic"]["reference"]["relaxed_GPa"][0][0]
    assert float(by_name["C11"]["reference_relaxed_GPa"]) == pytest.approx(expected, abs=1e-3)
    assert compare(complete, "--out", out, "--quiet", "--json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads((out / "compare.json").read_text())


def test_parts_that_are_left_out_have_no_files(complete, model, tmp_path, capsys):
    out = tmp_path / "out"
    assert compare(complete, "--out", out, "--no-eos", "--no-elastic", "--quiet") == 0
    capsys.readouterr()
    assert {one.name for one in out.iterdir()} == FILES - {"compare-eos.csv", "compare-elastic.csv"}
    stored = json.loads((out / "compare.json").read_text())
    assert stored["equation_of_state"] is None and stored["elastic"] is None


def test_figures_name_their_axes_and_all_curves(complete, model):
    found = compare_run(complete)
    bands, changes = comparison_figure(found).axes
    names = [text.get_text() for text in bands.get_legend().get_texts()]
    assert names == ["reference", "model", "model, own cell"]
    dashes = {str(one["linestyle"]) for one in LINES.values()}
    assert len(dashes) == len(LINES), "told apart without colours"
    assert bands.get_ylabel() == "Frequency (THz)"
    assert changes.get_ylabel() == "Model − reference (THz)"
    energies, differences = volume_figure(found.eos).axes
    assert energies.get_ylabel().endswith("(meV/atom)")
    assert differences.get_xlabel() == "Volume (Å³/atom)"


def test_the_example_of_the_document_runs(complete, model, tmp_path, monkeypatch, capsys):
    text = (Path(__file__).parents[1] / "docs" / "compare.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    shutil.copytree(complete, tmp_path / "runs" / "si-2000K")
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "compare.md", "exec"), {})
    assert (tmp_path / "out" / "compare.pdf").is_file()
    assert "THz" in capsys.readouterr().out


# --- what is refused --------------------------------------------------------------------------


def refusal(capsys, *arguments):
    assert compare(*arguments, "--quiet") == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("sscha-mlp: ") and "\n" not in error
    return error


def test_wrong_input_gets_a_sentence_and_changes_nothing(copied, tmp_path, capsys):
    before = {one: one.stat().st_mtime_ns for one in copied.rglob("*.json")}
    assert "not a run directory" in refusal(capsys, tmp_path)
    assert "give 5 to 101" in refusal(capsys, copied, "--points", 4)
    (tmp_path / "file").touch()
    assert "cannot be made" in refusal(capsys, copied, "--out", tmp_path / "file")
    name_reference(copied, "cheap:nothing")
    assert "nothing" in refusal(capsys, copied)
    assert {one: one.stat().st_mtime_ns for one in copied.rglob("*.json")} == before
    (copied / "result.json").unlink()
    assert "is not finished" in refusal(capsys, copied)


def test_a_run_without_its_model_is_refused(copied, capsys):
    shutil.rmtree(copied / "models")
    result = json.loads((copied / "result.json").read_text())
    result["model"]["path"] = "nowhere/003"
    (copied / "result.json").write_text(json.dumps(result))
    assert "holds no finished model" in refusal(capsys, copied)
    assert calls(copied) == 0


def test_a_directory_that_is_in_use_is_left_alone(copied, model, capsys):
    with RunDirectory(copied).locked():
        assert compare(copied, "--quiet") == 1
    assert "Another run is working" in capsys.readouterr().err
    assert calls(copied) == 0


def test_a_reference_that_fails_on_a_displacement_ends_it(copied, model, capsys):
    with_reference(copied, "cheap:raising")
    assert compare(copied, "--quiet") == 1
    assert "no licence for this code" in capsys.readouterr().err


def test_a_damaged_result_gets_a_sentence(copied, model, capsys):
    result = json.loads((copied / "result.json").read_text())
    del result["frequencies_THz"][0]
    (copied / "result.json").write_text(json.dumps(result))
    assert compare(copied, "--no-eos", "--no-elastic", "--quiet") == 1
    assert "do not hold what a run writes" in capsys.readouterr().err
