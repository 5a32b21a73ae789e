"""An uncertainty against true errors: relations that are known, and what is said of them."""

import json
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats
from test_report import make_set

from sscha_mlp.errors import InputError
from sscha_mlp.potentials.active_set import BREAK, SAVE
from sscha_mlp.potentials.gap.model import GapPotential
from sscha_mlp.potentials.mtp.model import MtpPotential
from sscha_mlp.report.run.data import ReportData, ValidationStage
from sscha_mlp.report.run.pdf import report_pages, write_validation
from sscha_mlp.report.validation.calibration_page import (
    calibration_figure,
    calibration_groups,
    calibration_pages,
    calibration_rows,
)
from sscha_mlp.run_files.records.result import Result
from sscha_mlp.validation.calibration import (
    FEWEST,
    WITHIN,
    Calibration,
    Threshold,
    calibrate,
)
from sscha_mlp.validation.metrics import ValidationSet
from sscha_mlp.validation.ranking import spearman

GRADE = MtpPotential.uncertainty.text
GRADES = (Threshold(SAVE, "worth a label"), Threshold(BREAK, "not to be used"))


def made_of(uncertainties, errors, thresholds=GRADES, name=GRADE):
    """A calibration of these uncertainties and force errors (eV/Å)."""
    errors = np.asarray(errors, dtype=float)
    return Calibration("made", name, thresholds, np.asarray(uncertainties, float), errors, errors)


def known_relation(rng, n=300, *, power=1.0, scatter=0.3):
    """Errors 20 meV/Å · grade^power, with a lognormal scatter."""
    grades = np.exp(rng.normal(0.7, 1.0, n))
    return grades, 0.02 * grades**power * np.exp(scatter * rng.normal(size=n))


def graded_set(rng, name="Test", *, n=40, uncertainty_name=GRADE, limit=BREAK, worth=SAVE):
    """A validation set whose force errors are proportional to the grade."""
    grades = np.exp(rng.normal(0.7, 1.0, n))
    one = make_set(rng, name, n=n, n_atoms=4, force=0.0)
    errors = 0.02 * np.repeat(grades, 4)[:, None] * rng.normal(size=(4 * n, 3))
    return replace(
        one,
        forces_predicted=one.forces_reference - errors,
        uncertainties=grades,
        uncertainty_name=uncertainty_name,
        uncertainty_limit=limit,
        uncertainty_worth=worth,
    )


# --- the statistics ---------------------------------------------------------------------------


def test_the_rank_correlation_is_that_of_scipy(rng):
    x, y = known_relation(rng)
    found = spearman(x, y)

    assert found.value == pytest.approx(stats.spearmanr(x, y).statistic)
    assert found.low < found.value < found.high
    assert spearman(np.log(x), y**3) == found, "it depends on the order alone"
    assert spearman(x, -y).high == pytest.approx(-found.low)


@pytest.mark.parametrize("slope", [0.0, 0.6, 2.0])
def test_the_interval_of_the_rank_correlation_holds_the_truth(rng, slope):
    """In 95 of 100 repeats; with 400 of them the share is known to 1.1 %."""
    r = slope / math.sqrt(1.0 + slope**2)
    truth = 6.0 / math.pi * math.asin(0.5 * r)  # of a bivariate normal law
    x = rng.normal(size=(400, 40))
    y = slope * x + rng.normal(size=x.shape)
    inside = [one.low < truth < one.high for one in map(spearman, np.exp(x), np.exp(y))]

    assert np.mean(inside) == pytest.approx(0.95, abs=0.035)


def test_a_perfect_order_is_one():
    grades = np.arange(1.0, 21.0)
    perfect, few = spearman(grades, grades**2), spearman(grades[:4], grades[:4])

    assert (perfect.value, perfect.high) == (1.0, 1.0)
    assert spearman(grades, 1.0 / grades).low == -1.0
    assert few.low < 0.0 < perfect.low < 1.0, "four in order may be chance, twenty are not"


def test_classes_part_at_the_thresholds(rng):
    grades, errors = known_relation(rng)
    found = made_of(grades, errors)
    below, middle, above = found.classes

    assert [row.meaning for row in found.classes] == [WITHIN, "worth a label", "not to be used"]
    assert below.n_configs == np.sum(grades <= SAVE)
    assert above.n_configs == np.sum(grades > BREAK)
    assert below.n_configs + middle.n_configs + above.n_configs == 300
    assert below.typical == pytest.approx(stats.gmean(errors[grades <= SAVE]))
    assert below.rmse == pytest.approx(math.sqrt(np.mean(errors[grades <= SAVE] ** 2)))
    logs = np.log(errors[grades > BREAK])
    assert above.typical_stderr == pytest.approx(above.typical * stats.sem(logs))


def test_a_grade_on_a_threshold_is_below_it():
    found = made_of([2.0] * 6 + [2.1] * 6, np.linspace(0.1, 0.2, 12))
    assert [row.n_configs for row in found.classes] == [6, 6, 0]
    assert (found.excess.n_below, found.excess.n_above) == (6, 6)


def test_bins_hold_every_configuration_once(rng):
    found = made_of(*known_relation(rng))
    bins = found.bins(n_bins=6)

    assert [row.n_configs for row in bins] == [50] * 6
    assert all(a.high <= b.low for a, b in pairwise(bins))
    assert [row.typical for row in bins] == sorted(row.typical for row in bins)
    assert len(made_of(np.arange(1.0, 13.0), np.ones(12)).bins()) == 2, "five in each, or more"


def test_the_excess_above_save_is_the_ratio_that_was_put_in(rng):
    """Two lognormal laws a factor of three apart; the interval is Welch's."""
    grades = np.repeat([1.0, 5.0], (60, 25))
    inside = []
    for _ in range(300):
        sigma = np.repeat([0.3, 0.8], (60, 25))
        errors = 0.02 * np.repeat([1.0, 3.0], (60, 25)) * np.exp(sigma * rng.normal(size=85))
        ratio = made_of(grades, errors).excess.ratio
        inside.append(ratio.low < 3.0 < ratio.high)
    welch = stats.ttest_ind(np.log(errors[60:]), np.log(errors[:60]), equal_var=False)

    assert np.mean(inside) == pytest.approx(0.95, abs=0.04)
    assert math.log(ratio.low) == pytest.approx(welch.confidence_interval().low)


def test_without_thresholds_the_upper_quarter_is_compared(rng):
    grades, errors = known_relation(rng, 80)
    found = made_of(grades, errors, (), GapPotential.uncertainty.text)

    assert found.classes == ()
    assert (found.excess.n_below, found.excess.n_above) == (60, 20)
    assert not found.excess.absolute
    assert "in the quarter where it is largest the typical force error is" in found.statement
    assert "standard deviation of a local energy ranks" in found.statement


def test_the_running_mean_follows_a_power_law(rng):
    grades, errors = known_relation(rng, 600, power=0.5)
    found = made_of(grades, errors).running
    truth = 0.02 * found.uncertainty**0.5

    assert np.all(np.diff(found.uncertainty) > 0.0)
    assert np.mean((found.low < truth) & (truth < found.high)) > 0.8
    assert found.uncertainty[-1] > 10.0, "it reaches into the tail"


# --- what is said -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("power", "scatter", "words"),
    [
        (1.0, 0.3, "extrapolation grade ranks the force errors (Spearman's ρ = 0.9"),
        (0.2, 1.0, "extrapolation grade ranks the force errors weakly"),
        (0.0, 0.3, "does not tell large force errors from small ones"),
        (-1.0, 0.3, "the wrong way round (Spearman's ρ = −0.9"),
    ],
)
def test_the_statement_says_how_well_errors_are_ranked(rng, power, scatter, words):
    found = made_of(*known_relation(rng, power=power, scatter=scatter))

    assert words in found.statement
    assert found.statement.startswith("On these 300 configurations")
    assert f"above 2 ({found.excess.n_above} of them)" in found.statement
    assert found.statement.endswith(").")


def test_what_cannot_be_said_is_not_said(rng):
    grades, errors = known_relation(rng)
    few = made_of(grades[: FEWEST - 1], errors[: FEWEST - 1])
    equal = made_of(np.ones(50), errors[:50])
    perfect = made_of(grades, np.zeros(300))
    low = made_of(grades / grades.max(), errors)

    assert few.statement == (
        "9 configurations are too few to say whether the extrapolation grade ranks the errors."
    )
    assert made_of([1.0], [0.1]).statement.startswith("One configuration is too few")
    assert "nothing can be said about ranking" in equal.statement
    assert "nothing can be said about ranking" in perfect.statement
    assert "none of them lies above 2, so the set says nothing of that side" in low.statement
    for one in (few, equal, perfect, low, made_of([1.0], [0.1]), made_of(errors, errors, ())):
        json.dumps(one.to_json(), allow_nan=False)


# --- sets -------------------------------------------------------------------------------------


def test_a_set_is_calibrated_by_its_configurations(rng):
    one = graded_set(rng)
    found = calibrate(one)
    energies = one.energies_reference - one.energies_predicted

    assert found.n_configs == 40
    assert found.thresholds == GRADES
    assert found.force_rank.value > 0.8
    np.testing.assert_allclose(found.force_errors, one.force_rmse_per_config)
    np.testing.assert_allclose(found.energy_errors, np.abs(energies - energies.mean()))


def test_sets_are_taken_together(rng):
    one, other, bare = graded_set(rng, "One"), graded_set(rng, "Other", n=20), make_set(rng)
    found = calibrate([one, bare, other])

    assert (found.name, found.n_configs) == ("One and Other", 60)
    assert calibrate([one, other], name="all").name == "all"
    assert calibrate(bare) is None
    assert calibrate([]) is None


def test_an_uncertainty_that_is_not_finite_is_left_out(rng):
    one = graded_set(rng)
    grades = one.uncertainties.copy()
    grades[3] = np.nan

    assert calibrate(replace(one, uncertainties=grades)).n_configs == 39
    assert calibrate(replace(one, uncertainties=np.full(40, np.nan))) is None


def test_different_uncertainties_are_not_mixed(rng):
    one = graded_set(rng)
    other = graded_set(rng, uncertainty_name=GapPotential.uncertainty.text, limit=None, worth=None)

    with pytest.raises(InputError, match=r"different uncertainties .*extrapolation grade"):
        calibrate([one, other])
    assert calibration_groups([one, make_set(rng), other]) == [[one], [other]]


def test_a_limit_of_an_unknown_kind_is_its_only_threshold(rng):
    one = graded_set(rng, uncertainty_name="committee spread (eV/Å)", limit=0.5, worth=None)
    assert calibrate(one).thresholds == (Threshold(0.5, "not to be used"),)


def test_name_and_limit_are_kept_in_the_file(rng, tmp_path):
    graded_set(rng).save(tmp_path / "set.npz")
    back = ValidationSet.load(tmp_path / "set.npz")

    assert (back.uncertainty_name, back.uncertainty_limit) == (GRADE, BREAK)


def test_a_file_from_before_they_were_kept_is_read(rng, tmp_path):
    graded_set(rng).save(tmp_path / "set.npz")
    with np.load(tmp_path / "set.npz") as stored:
        older = {key: stored[key] for key in stored if key not in NEW}
    np.savez(tmp_path / "older.npz", **older)
    back = ValidationSet.load(tmp_path / "older.npz")

    assert (back.uncertainty_name, back.uncertainty_limit) == (None, None)
    assert calibrate(back).uncertainty_name == "uncertainty"
    assert calibrate(back).classes == ()


NEW = ("uncertainty_name", "uncertainty_limit", "uncertainty_worth", "uncertainty_statistic")


def test_a_file_from_before_more_was_kept_has_what_the_kind_says(rng, tmp_path):
    graded_set(rng).save(tmp_path / "set.npz")
    with np.load(tmp_path / "set.npz") as stored:
        older = {key: stored[key] for key in stored if key not in NEW[2:]}
    np.savez(tmp_path / "older.npz", **older)
    back = ValidationSet.load(tmp_path / "older.npz")

    assert (back.uncertainty_worth, back.uncertainty_statistic) == (SAVE, "quantile")
    assert [one.low for one in calibrate(back).classes] == [-math.inf, SAVE, BREAK]


# --- pages ------------------------------------------------------------------------------------


def words_of(figure):
    texts = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    return " ".join(text.get_text() for text in texts)


def test_the_figure_has_its_axes_thresholds_and_sets(rng):
    figure = calibration_figure([graded_set(rng, "Test"), graded_set(rng, "Check")])
    main, above, _ = figure.axes

    assert (main.get_xscale(), main.get_yscale()) == ("log", "log")
    assert main.get_xlabel() == "Extrapolation grade"
    assert main.get_ylabel() == "Force error of a configuration, rms (meV/Å)"
    assert "above 2: worth a label" in words_of(figure)
    names = [text.get_text() for text in above.get_legend().get_texts()]
    assert names == [
        "Test, 2000 K, 40 configurations",
        "Check, 2000 K, 40 configurations",
        "running geometric mean",
    ]
    markers = [line.get_marker() for line in main.lines[:2]]
    assert len(set(markers)) == 2, "sets are told apart without colour"
    assert "Each point is one configuration" in words_of(figure)


def test_the_counts_are_those_of_all_configurations(rng):
    figure = calibration_figure(graded_set(rng))
    for axes in figure.axes[1:]:
        assert axes.patches[0].get_data().values.sum() == 40


def test_the_table_has_a_row_for_each_set_and_one_for_all(rng):
    sets = [graded_set(rng, "Test"), graded_set(rng, "Check", n=FEWEST)]
    rows = calibration_rows(calibrate(sets, name="all"), sets)

    assert [row[:2] for row in rows] == [["Test", "40"], ["Check", "10"], ["all", "50"]]
    assert " to " in rows[0][2]


def test_no_page_without_an_uncertainty(rng):
    assert calibration_pages("Title", [make_set(rng)]) == []
    with pytest.raises(InputError, match="no validation set carries an uncertainty"):
        calibration_figure(make_set(rng))


@pytest.mark.parametrize("n", [1, 3, FEWEST])
def test_few_configurations_have_a_page(rng, n):
    (page,) = calibration_pages("Title", [graded_set(rng, n=n)])
    assert ("too few" in words_of(page)) is (n < FEWEST)


def test_uncertainties_of_zero_are_counted_but_not_drawn(rng):
    one = graded_set(rng)
    grades = one.uncertainties.copy()
    grades[:3] = 0.0
    (page,) = calibration_pages("Title", [replace(one, uncertainties=grades)])

    assert "3 with an uncertainty of zero have no place on the scale" in words_of(page)
    assert calibration_pages("Title", [replace(one, uncertainties=np.zeros(40))])


def test_each_page_keeps_inside_its_margins(rng):
    sets = [graded_set(rng, f"Set {number}", n=30) for number in range(6)]
    (page,) = calibration_pages("Title", sets)
    assert min(text.get_position()[1] for text in page.texts) > 0.06


def test_the_report_shows_the_last_model(rng):
    first, last = (graded_set(rng, name) for name in ("First", "Last"))
    stages = (ValidationStage("model 0", (first,)), ValidationStage("model 1", (last,)))
    pages = report_pages(ReportData(name="run", result=Result(), validation=stages))
    titles = [page.texts[0].get_text() for page in pages]

    assert sum("uncertainty against" in title for title in titles) == 1
    assert "Validation: model 1, uncertainty against true error" in titles
    bare = ValidationStage("model 0", (make_set(rng),))
    assert len(report_pages(ReportData(name="run", result=Result(), validation=(bare,)))) == 5


def test_the_summary_is_in_the_json_of_a_validation(rng, tmp_path):
    one = graded_set(rng)
    *_, path = write_validation([one, make_set(rng, "Bare")], tmp_path)
    with_grade, without = json.loads(path.read_text(encoding="utf-8"))
    found = with_grade["calibration"]

    assert found["uncertainty"] == "extrapolation grade"
    assert found["spearman_force"]["value"] == pytest.approx(calibrate(one).force_rank.value)
    assert [row["class"] for row in found["classes"]] == [row.meaning for row in GRADES_AND_BELOW]
    assert found["excess"]["threshold"] == SAVE
    assert "calibration" not in without
    assert "calibration" not in one.to_json(), "what goes into result.json stays as it was"


GRADES_AND_BELOW = (Threshold(-math.inf, WITHIN), *GRADES)
