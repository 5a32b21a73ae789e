"""A run by need: silicon, from the first handful of labels to the verdict."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toys import fcc

from sscha_mlp.campaign import loop
from sscha_mlp.campaign.loop import run
from sscha_mlp.campaign.model_domain import Alarm, Weight
from sscha_mlp.data.dataset import Dataset
from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.ensemble.sampling import sample
from sscha_mlp.run_files.journal import Journal
from sscha_mlp.run_files.records.certificate import CertificateRecord
from sscha_mlp.run_files.records.models import CrossFitRecord
from sscha_mlp.run_files.settings import RunSettings
from sscha_mlp.scha.estimators import Samples, estimate
from sscha_mlp.scha.influence import influence
from sscha_mlp.scha.relaxation import evaluate_ensemble
from sscha_mlp.validation.certificate import CertificateTolerances

LINEAR = {"cutoff": 3.1, "refine_steps": 0}


@pytest.fixture(scope="module")
def silicon(tmp_path_factory):
    """Silicon at 300 K with defaults, but for a linear fit, which takes a tenth of the time."""
    place = tmp_path_factory.mktemp("need") / "run"
    settings = RunSettings(300.0, configs=200, workers=1, potential={"mtp": LINEAR})
    return place, run(settings, place)


def test_a_dozen_labels_certify_an_easy_crystal(silicon):
    _, result = silicon
    assert result["converged"]
    assert result["labels"]["test"] == 0
    assert result["labels"]["check"] == 4
    assert result["labels"]["total"] <= 20


def test_the_answer_is_that_of_the_direct_run(silicon):
    """16 000 labels without a model: docs/results.md, silicon at 300 K."""
    _, result = silicon
    energy, volume = result["free_energy_eV_per_atom"], result["volume_A3_per_atom"]
    assert abs(energy["corrected"] - -4.58226) < 3 * np.hypot(energy["stderr"], 1e-5)
    lattice, error = (8 * volume["value"]) ** (1 / 3), volume["stderr"]
    assert abs(lattice - 5.4453) < 3 * np.hypot(5.4453 * error / 3 / volume["value"], 1e-4)


def test_cross_fitting_predicts_the_error_of_the_answer(silicon):
    """Six fair labels, each held out once; four fresh ones then say that the prediction held."""
    place, _ = silicon
    journal = Journal(place / "journal.jsonl", read_only=True)
    predicted, checked = journal.get(CrossFitRecord, 0), journal.all(CertificateRecord)[-1]
    assert predicted.n_labels == 6 and predicted.passed
    assert checked.n_looks == 1 and checked.passed and checked.holds
    for name in ("free_energy", "stress", "frequency"):
        shift = getattr(predicted, name)
        # The fits that predict have fewer labels than the one that is checked.
        assert 0 < getattr(checked, name).stderr < 3 * shift.stderr
        assert shift.error < shift.tolerance


def test_the_strained_labels_are_in_other_cells(silicon):
    place, _ = silicon
    train = Dataset.read(Path(place) / "dataset").train
    volumes = {one.origin: [] for one in train}
    for one in train:
        volumes[one.origin].append(one.atoms.get_volume())
    assert len(volumes["train-start"]) == 6 and np.ptp(volumes["train-start"]) < 1e-9
    assert len(volumes["train-strained"]) == 2 and np.ptp(volumes["train-strained"]) > 0.01


def test_two_sittings_end_as_one_does(silicon, tmp_path):
    """Cut off after the first population: nothing is labelled twice, and all is the same."""
    place, result = silicon
    again = tmp_path / "run"
    shutil.copytree(place, again)
    lines = (again / "journal.jsonl").read_text().splitlines(keepends=True)
    keys = [json.loads(line)["step"] for line in lines]
    kept = keys.index("population/round-1/1") + 1
    (again / "journal.jsonl").write_text("".join(lines[:kept]))
    (again / "result.json").unlink()
    settings = RunSettings(300.0, configs=200, workers=1, potential={"mtp": LINEAR})
    second = dict(run(settings, again))
    first = dict(result)
    for one in (first, second):
        del one["timings_s"], one["model"]
    assert second == first
    assert [json.loads(line)["step"] for line in (again / "journal.jsonl").open()] == keys


# --- whether an extrapolation matters -------------------------------------------------------


@pytest.fixture(scope="module")
def drawn():
    model = fcc(b=3.0)
    harmonic, group = model.harmonic()
    state = model.minimum(harmonic, group, 300.0)
    ensemble = sample(
        state, temperature=300.0, n_configs=100, rng=np.random.default_rng(1), antithetic=False
    )
    return evaluate_ensemble(ensemble, model), group


def test_the_influence_of_configurations_is_what_leaving_them_out_changes(drawn):
    samples, group = drawn
    which = np.zeros(100, dtype=bool)
    which[[3, 7]] = True
    found = influence(samples, which, group)
    quadratic = 0.5 * samples.ensemble.dynamical_matrix.harmonic_forces(
        samples.ensemble.displacements
    )
    harmonic = -(samples.ensemble.displacements * quadratic).sum(axis=1)
    anharmonic = samples.energies - harmonic
    change = anharmonic.mean() - anharmonic[~which].mean()
    assert found.free_energy_mev == pytest.approx(1e3 * abs(change) / group.supercell.n_atoms)
    assert found.stress_gpa > 0 and found.frequencies_thz.max() > 0


def test_a_model_is_stopped_only_where_its_answer_rests_on_what_it_does_not_know(drawn):
    samples, group = drawn
    grades = np.ones(100)
    grades[5] = 50.0
    known = Samples(
        samples.ensemble, samples.energies, samples.forces, samples.stresses, uncertainty=grades
    )
    wide = CertificateTolerances(100.0, 10.0, 10.0, 1.0)
    narrow = CertificateTolerances(1e-6, 1e-6, 1e-6, 1e-6)
    for weight, stopped in ((None, True), (wide, False), (narrow, True)):
        felt = None if weight is None else Weight(group, weight.for_crystal())
        alarm = Alarm(10.0, 0.001, "extrapolation grade", weight=felt)
        assert alarm.raised_by(45.0, known) is stopped
    wild = known.energies.copy()
    wild[5] += 100.0
    catastrophe = Samples(known.ensemble, wild, known.forces, known.stresses, uncertainty=grades)
    usual = Alarm(10.0, 0.001, "grade", weight=Weight(group, CertificateTolerances().for_crystal()))
    assert usual.raised_by(45.0, catastrophe)


def test_the_gradient_is_the_shift_by_the_change_of_the_force_constants(drawn):
    samples, group = drawn
    found = estimate(samples, group, trial=Gaussian(samples.ensemble.dynamical_matrix, 310.0))
    np.testing.assert_array_equal(found.gradient, found.shift_by(found.change_at_q))


def test_the_last_cell_steps_are_not_stopped_by_another_draw_of_what_was_checked():
    alarm = Alarm(10.0, 0.001, "grade")
    assert alarm.after_check(None) is alarm
    assert alarm.after_check(2.0).limit == 10.0
    assert alarm.after_check(8.0).limit == pytest.approx(24.0)
    assert Alarm(None, None, "").after_check(8.0).limit is None


@pytest.mark.slow
def test_a_model_that_leaves_its_domain_in_a_last_cell_step_learns_and_is_checked_again(
    monkeypatch, tmp_path
):
    """When the cell is first moved, the model is said to have met what it does not know."""
    phases = []

    def settle(*arguments, phase, **options):
        phases.append(phase)
        found = usual(*arguments, phase=phase, **options)
        if len(phases) > 1:
            return found
        return replace(found, relaxed=replace(found.relaxed, left_domain=True, reason="stopped"))

    usual = loop.settle
    monkeypatch.setattr(loop, "settle", settle)
    settings = RunSettings(300.0, configs=200, workers=1, potential={"mtp": LINEAR})
    result = run(settings, tmp_path / "run")
    assert result["converged"]
    assert phases == ["final", "final-2"]
    journal = Journal(tmp_path / "run" / "journal.jsonl", read_only=True)
    assert [one.passed for one in journal.all(CertificateRecord)] == [True, True]
    # The labels of the first check are learnt, those of the second are new.
    assert result["labels"]["train"] >= 8 + 4 and result["labels"]["check"] >= 4
