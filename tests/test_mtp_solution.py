"""What a fit keeps: a linear or a refined potential, and the steps of one that was killed."""

import json
from dataclasses import replace

import numpy as np
import pytest
from mtp_models import random_mtp, rattled

from sscha_mlp.data.labels import Label, LabelledConfiguration
from sscha_mlp.potentials.mtp.course import COURSE_FILE, Course, CourseFile, Point
from sscha_mlp.potentials.mtp.engine import Engine
from sscha_mlp.potentials.mtp.fitting import fit
from sscha_mlp.potentials.mtp.initial import first_parameters
from sscha_mlp.potentials.mtp.regression import Rows
from sscha_mlp.potentials.mtp.settings import MtpSettings
from sscha_mlp.potentials.mtp.solution import solve

SETTINGS = MtpSettings(
    level=8,
    radial_weight=4,
    max_tensors=4,
    cutoff=4.8,
    n_polynomials=6,
    refine_steps=6,
    refine_until=0.0,
    compare_linear=True,
)
TARGET = random_mtp(8, n_polynomials=6, min_dist=1.0, seed=1)
"""Its radial functions are those of no linear basis."""


class KilledError(Exception):
    """Stands for the signal that ends a process."""


def labelled(parameters, n=25):
    frames = [rattled(seed=seed, size=0.2) for seed in range(n)]
    found = Engine(parameters).evaluate(frames)
    return [
        LabelledConfiguration(
            atoms, Label(found.energies[k], found.forces[k], found.stresses[k] + 1.0e-9 * k)
        )
        for k, atoms in enumerate(frames)
    ]


def in_linear_basis():
    """Labels of an MTP whose radial functions are those that a linear fit has."""
    first = first_parameters(labelled(TARGET), replace(SETTINGS.linear(), level=8))
    rng = np.random.default_rng(3)
    coefficients = rng.normal(0.0, 1.0e-4, first.template.n_scalars)
    return labelled(replace(first, moment_coeffs=coefficients))


def rows_of(train, settings=SETTINGS):
    return Rows(train, settings, np.ones(len(train)))


def details_of(directory):
    return json.loads((directory / "model.json").read_text())


# --- the better one is kept ------------------------------------------------------------------


def test_a_linear_fit_that_is_good_enough_is_not_refined():
    found = solve(rows_of(in_linear_basis(), replace(SETTINGS, refine_until=0.5)))
    assert found.refinement is None
    assert found.comparison.kept and found.comparison.held_out < 0.5
    plain = SETTINGS.linear().template(1)
    assert found.regression.parameters.template.n_scalars == plain.n_scalars


def test_a_refinement_that_predicts_held_out_labels_worse_is_not_kept():
    found = solve(rows_of(in_linear_basis()))
    assert found.refinement is not None
    assert found.comparison.kept
    assert found.comparison.held_out < found.comparison.other <= found.refinement.linear
    assert found.regression.parameters.template.n_scalars == found.comparison.n_basis_functions


def test_a_refinement_that_predicts_them_better_is_kept():
    settings = replace(SETTINGS, refine_steps=12)
    found = solve(rows_of(labelled(TARGET), settings))
    assert not found.comparison.kept
    assert found.comparison.other == min(found.refinement.held_out) < found.comparison.held_out
    assert found.regression.parameters.template.n_scalars == settings.template(1).n_scalars


def test_with_too_few_to_hold_out_cross_validation_decides():
    found = solve(rows_of(in_linear_basis()[:4]))
    other = solve(rows_of(in_linear_basis()[:4], replace(SETTINGS, compare_linear=False)))
    errors = min(other.regression.fit.scores.values()), found.comparison.held_out
    assert found.comparison.other == errors[0]
    assert found.comparison.kept == (errors[1] < errors[0])


def test_the_record_says_which_was_kept(tmp_path):
    fit(in_linear_basis(), directory=tmp_path, settings=SETTINGS)
    details = details_of(tmp_path)["linear_basis"]
    assert details["kept"]
    assert details["held_out_residual"] < details["held_out_residual_of_refined_basis"]
    assert details_of(tmp_path)["n_basis_functions"] == details["n_basis_functions"]


# --- a killed fit goes on ---------------------------------------------------------------------


def test_a_killed_refinement_goes_on_from_its_last_step(tmp_path):
    """The result is that of a fit that nobody killed, to the last digit."""
    train, settings = labelled(TARGET), replace(SETTINGS, compare_linear=False)
    whole = fit(train, directory=tmp_path / "whole", settings=settings)

    def killed(done, total):
        if done > 55:
            raise KilledError

    with pytest.raises(KilledError):
        fit(train, directory=tmp_path / "killed", settings=settings, progress=killed)
    kept = tmp_path / "killed" / COURSE_FILE
    assert kept.is_file()
    seen = []
    again = fit(
        train,
        directory=tmp_path / "killed",
        settings=settings,
        progress=lambda done, total: seen.append(done),
    )
    assert again.sha256 == whole.sha256
    assert not kept.exists()
    steps = [details_of(tmp_path / name)["refinement"]["n_steps"] for name in ("whole", "killed")]
    assert steps[0] == steps[1] == 6
    assert len([done for done in seen if 10 < done <= 90]) == 2  # the fifth step and the sixth


def test_the_steps_of_another_fit_are_not_taken_up(tmp_path):
    point = Point(TARGET, np.ones(3), 2.0, 1.0)
    file = CourseFile(tmp_path / COURSE_FILE, "this")
    assert file.read(point) is None
    file.write(Course.begin(point))
    assert file.read(point).n_steps == 0
    assert replace(file, identity="other").read(point) is None


def test_a_course_comes_back_as_it_was(tmp_path):
    first = Point(TARGET, np.linspace(0.1, 1.0, 3), 2.0, 1.0)
    better = replace(first, residual=1.5, held_out=0.5, damping=1.0e-3)
    worse = replace(first, residual=1.4, held_out=0.7, damping=1.0e-4)
    course = Course.begin(first).then(better).then(worse)
    assert course.best is better and course.current is worse and course.n_steps == 2
    file = CourseFile(tmp_path / COURSE_FILE, "this")
    file.write(course)
    found = file.read(first)
    assert found.residuals == (2.0, 1.5, 1.4) and found.held_out == (1.0, 0.5, 0.7)
    assert found.current.damping == 1.0e-4 and found.best.held_out == 0.5
    assert np.array_equal(found.best.parameters.radial_coeffs, TARGET.radial_coeffs)
    assert np.array_equal(found.current.penalty, first.penalty)
