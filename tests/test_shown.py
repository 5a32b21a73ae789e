"""Tables and figures of results: they show the numbers, in the right units."""

import json
from dataclasses import replace

import numpy as np
import pytest
from test_report import make_set
from toys import wurtzite

import sscha_mlp as sm
from sscha_mlp import units
from sscha_mlp.errors import ConfigError, InputError, ReferenceFailedError
from sscha_mlp.reference.label import LabelFailure, LabelReport
from sscha_mlp.report.page.style import GREY
from sscha_mlp.report.validation.grade_figure import grade_figure
from sscha_mlp.run_files.json_fields import Value
from sscha_mlp.run_files.result_table import RunResult
from sscha_mlp.studies.sweep.point import PointResponse, SweepPoint
from sscha_mlp.studies.sweep.table import Sweep
from sscha_mlp.tables import Shown, Table, pm, span

TEMPERATURE = 300.0


@pytest.fixture(scope="module")
def bonds():
    return wurtzite(c=-8.0, b=10.0)


@pytest.fixture(scope="module")
def group(bonds):
    return bonds.harmonic()[1]


@pytest.fixture(scope="module")
def populations(bonds, group):
    """A short relaxation at a fixed cell."""
    settings = sm.RelaxationSettings(
        n_configs=60, max_populations=3, cell="fixed", minimum_distance_ratio=0.0
    )
    return list(
        sm.relax(
            bonds.harmonic()[0],
            bonds,
            temperature=TEMPERATURE,
            rng=np.random.default_rng(1),
            group=group,
            settings=settings,
        )
    )


def drawn(populations, n_configs=24):
    return sm.sample(
        populations[-1].state,
        temperature=TEMPERATURE,
        n_configs=n_configs,
        rng=np.random.default_rng(2),
        antithetic=False,
        minimum_distance_ratio=0.0,
    )


# --- tables ------------------------------------------------------------------------------------


def test_a_table_escapes_its_text_and_fills_short_rows():
    table = Table("A < B", (("x", 1), ("longer",)), ("name", "value & unit"), "note > here")
    assert table.rows == (("x", "1"), ("longer", ""))
    html = table._repr_html_()
    for text in ("A &lt; B", "value &amp; unit", "note &gt; here"):
        assert text in html
    assert html.count("<tr>") == 3 and html.count("<td") == 4 and html.count("<th") == 2


def test_a_printed_table_is_aligned():
    text = str(Table("Title", (("a", "1.5"), ("longer", "10.25")), note="note"))
    assert text.splitlines() == ["Title", "a         1.5", "longer  10.25", "note"]


def test_a_table_without_rows_is_its_title():
    assert str(Table("Nothing", ())) == "Nothing"


def test_a_class_that_does_not_say_what_it_shows_is_named():
    class Silent(Shown):
        """Shows nothing."""

    with pytest.raises(NotImplementedError, match="Silent"):
        Silent()._repr_html_()


def test_numbers_have_the_decimals_of_their_errors():
    assert pm(1.23456, 0.05, 2, sign=True) == "+1.23 ± 0.05"
    assert span([3.0, 1.0], 1) == "1.0 to 3.0" and span([2.0], 0) == "2" and span([], 0) == "–"


# --- objects -----------------------------------------------------------------------------------


def test_labels_of_an_ensemble_carry_where_they_come_from(group):
    crystal = sm.read_structure(sm.bundled_file("silicon.cif"))
    supercell = sm.Supercell(crystal, (1, 1, 1))
    reference = sm.get_reference("tersoff")
    state = sm.harmonic(supercell, reference)
    ensemble = sm.sample(state, temperature=TEMPERATURE, n_configs=4, rng=np.random.default_rng(0))
    labelled = sm.label_ensemble(ensemble, reference, origin="here")
    assert [one.temperature for one in labelled] == [TEMPERATURE] * 4
    amplitudes = [one.displacement_rms for one in labelled]
    assert amplitudes == pytest.approx(ensemble.displacement_rms)
    table = sm.Dataset(train=labelled[:3], test=labelled[3:]).table()
    low, high = min(amplitudes[:3]), max(amplitudes[:3])
    between = f"{low:.3f}" if f"{low:.3f}" == f"{high:.3f}" else f"{low:.3f} to {high:.3f}"
    assert table.rows[0] == ("train", "3", "0", "300", between, "here")
    assert table.rows[2] == ("check", "0", "0", "–", "–", "–")
    assert "4 in pairs u, -u" in ensemble._repr_html_()
    assert "Si2" in state._repr_html_()


def test_a_report_of_labels_shows_why_the_first_failures_failed():
    failures = tuple(LabelFailure(n, f"reason {n}") for n in range(9))
    html = LabelReport((None,) * 9, failures, 0, 0, 1.25)._repr_html_()
    assert "reason 4" in html and "reason 5" not in html and "1.2 s" in html


def test_errors_of_a_validation_set_are_in_shown_units(rng):
    found = make_set(rng)
    energy, force, stress = found.table().rows
    assert float(energy[1]) == pytest.approx(1e3 * found.energy.rmse, rel=0.01)
    assert float(force[1]) == pytest.approx(1e3 * found.force.rmse, rel=0.01)
    assert float(stress[1]) == pytest.approx(found.stress.rmse / units.GPA, rel=0.01)
    assert "2000 K" in found._repr_html_()


def test_settings_show_what_was_changed():
    shown = dict(sm.RunSettings(TEMPERATURE, seed=3).table().rows)
    assert shown["seed"] == "3" and shown["temperature"] == "300.0" and shown["model"] == "mtp"
    assert "workers" not in shown
    changed = sm.RunSettings.from_mapping({"temperature": 10.0, "training": {"n_start": 31}})
    assert dict(changed.table().rows)["training.n_start"] == "31"


def test_a_population_and_its_minimisation_show_their_numbers(populations):
    last = populations[-1]
    step = last.minimisation.steps[-1]
    assert f"{step.free_energy:.5f}" in last._repr_html_()
    assert last.table().note == last.reason
    shown = last.minimisation.table()
    assert f"{step.free_energy:.5f}" in shown.rows[1][1]
    assert str(last.minimisation.reason.value) in shown.note


# --- the answer of a certificate ---------------------------------------------------------------


class Offset:
    """A potential and a constant."""

    def __init__(self, inner, energy):
        self.inner, self.energy = inner, energy

    def evaluate(self, configurations):
        values = self.inner.evaluate(configurations)
        return replace(values, energies=values.energies + self.energy)


def test_a_constant_goes_into_the_corrected_free_energy_alone(bonds, group, populations):
    per_atom = 0.003
    n_atoms = bonds.supercell.n_atoms
    ensemble = drawn(populations)
    truth = sm.evaluate_ensemble(ensemble, Offset(bonds, per_atom * n_atoms))
    certificate = sm.certify(truth, sm.evaluate_ensemble(ensemble, bonds), group)
    answer = sm.corrected_answer(populations[-1], certificate, group)
    shift = answer.free_energy.corrected - answer.free_energy.model
    assert shift == pytest.approx(per_atom, abs=1e-9)
    assert answer.pressure.corrected == pytest.approx(answer.pressure.model, abs=1e-3)
    assert answer.n_labels == 24
    table = certificate.table()
    assert table.rows[0][1] == "+3.000 ± 0.000" and table.rows[0][3] == "no"
    assert f"{answer.free_energy.corrected:.5f}" in answer._repr_html_()


def test_frequencies_are_those_of_the_irreducible_wave_vectors(group, populations):
    state = populations[-1].state
    rows = sm.frequencies(state, group)
    assert len(rows) == len(np.unique(group.equivalent_qpoints()))
    every = state.frequencies_at_qpoints() / units.THZ
    assert max(map(max, rows)) == pytest.approx(every.max())
    assert min(map(min, rows)) == pytest.approx(every.min(), abs=1e-9)


# --- the reference in the place of a model -----------------------------------------------------


def test_the_reference_evaluates_an_ensemble_as_its_labels_say():
    crystal = sm.read_structure(sm.bundled_file("silicon.cif"))
    reference = sm.get_reference("tersoff")
    state = sm.harmonic(sm.Supercell(crystal, (1, 1, 1)), reference)
    ensemble = sm.sample(state, temperature=TEMPERATURE, n_configs=4, rng=np.random.default_rng(0))
    direct = sm.DirectEvaluator(reference)
    samples = sm.evaluate_ensemble(ensemble, direct)
    labels = sm.label(ensemble.configurations(), reference).labels
    assert samples.energies == pytest.approx([one.energy for one in labels])
    assert direct.n_labels == 4


def test_an_evaluation_with_a_missing_label_is_refused(monkeypatch):
    failed = LabelReport((None,), (LabelFailure(0, "no convergence"),), 0, 0, 0.0)
    monkeypatch.setattr("sscha_mlp.validation.direct.label", lambda *_, **__: failed)
    direct = sm.DirectEvaluator(sm.get_reference("tersoff"))
    with pytest.raises(ReferenceFailedError, match=r"1 of 1.*biased.*no convergence"):
        direct.evaluate([object()])


# --- harmonic force constants ------------------------------------------------------------------


def test_symmetry_changes_the_number_of_displacements_and_not_the_force_constants():
    crystal = sm.read_structure(sm.bundled_file("silicon.cif"))
    supercell = sm.Supercell(crystal, (2, 2, 2))
    reference = sm.get_reference("tersoff")
    group = sm.find_space_group(supercell)
    symmetric = sm.harmonic(supercell, reference, group=group)
    plain = sm.harmonic(supercell, reference, group=group.restricted("none"))
    scale = np.abs(symmetric.force_constants).max()
    assert np.abs(symmetric.force_constants - plain.force_constants).max() < 2e-3 * scale
    assert symmetric.force_constants.sum(axis=1) == pytest.approx(0.0, abs=1e-9 * scale)


def test_a_distance_of_zero_is_refused():
    supercell = sm.Supercell(sm.read_structure(sm.bundled_file("silicon.cif")), (1, 1, 1))
    with pytest.raises(ConfigError, match="above 0"):
        sm.harmonic(supercell, sm.get_reference("tersoff"), distance=0.0)


# --- figures -----------------------------------------------------------------------------------


def test_the_figure_of_an_ensemble_has_its_amplitude_on_the_curve(populations):
    ensemble = drawn(populations, 400)
    left, right = sm.ensemble_figure(ensemble).axes
    assert left.get_xlabel().startswith("Displacement")
    curve, dot = right.lines
    expected = np.interp(TEMPERATURE, *curve.get_data())
    assert dot.get_ydata()[0] == pytest.approx(expected, rel=0.05)


def test_the_figure_and_the_table_of_a_relaxation_have_its_populations(populations):
    figure = sm.relaxation_figure(populations, pressure=0.0)
    assert len(figure.axes) == 8
    sizes = next(one for one in figure.axes if one.get_ylabel() == "Effective sample size")
    ceilings = [line.get_ydata()[0] for line in sizes.lines if line.get_color() == GREY]
    assert ceilings == [one.samples.ensemble.n_configs for one in populations]
    assert ceilings[-1] > populations[-1].ensemble.n_configs, "earlier ones are used again"
    reached = [one.minimisation.steps[-1].effective_sample_size for one in populations]
    assert all(size <= most for size, most in zip(reached, ceilings, strict=True))
    table = sm.relaxation_table(populations)
    assert [row[0] for row in table.rows] == [str(one.index) for one in populations]
    with pytest.raises(InputError, match="at least one population"):
        sm.relaxation_figure([])


def test_a_cell_mode_may_be_given_by_its_name(populations):
    assert populations[-1].state.crystal.volume == populations[0].state.crystal.volume
    with pytest.raises(ConfigError, match=r"cell = 'loose' must be one of: variable"):
        sm.RelaxationSettings(cell="loose")


def test_checks_in_a_figure_have_their_names(bonds, group, populations):
    ensemble = drawn(populations)
    samples = sm.evaluate_ensemble(ensemble, bonds)
    check = sm.certify(samples, samples, group)
    figure = sm.certificate_figure([check, check], names=("first", "second"))
    for axes in figure.axes:
        assert [one.get_text() for one in axes.get_xticklabels()] == ["first", "second"]
    with pytest.raises(InputError, match="2 checks cannot have 1 names"):
        sm.certificate_figure([check, check], names=("only",))
    with pytest.raises(InputError, match="at least one check"):
        sm.certificate_figure([])


def test_grades_are_drawn_as_parts_below_and_the_limit_as_a_line(rng):
    graded = replace(
        make_set(rng),
        uncertainties=rng.uniform(0.5, 20.0, 12),
        uncertainty_name="extrapolation grade",
        uncertainty_limit=10.0,
    )
    left, right = grade_figure([graded]).axes
    steps, limit = left.lines
    assert steps.get_ydata()[-1] == 1.0 and limit.get_xdata()[0] == 10.0
    assert right.lines[0].get_ydata() == pytest.approx(1e3 * graded.force_rmse_per_config)
    for wrong in ([], [make_set(rng)]):
        with pytest.raises(InputError, match="uncertainty"):
            grade_figure(wrong)


# --- runs and sweeps ---------------------------------------------------------------------------


def test_the_table_of_a_run_has_the_corrected_answer(finished_run):
    result = json.loads((finished_run / "result.json").read_text())
    table = sm.result_table(result)
    text = str(table)
    assert result["formula"] in table.title and "certified" in table.title
    corrected = result["free_energy_eV_per_atom"]["corrected"]
    assert f"{abs(corrected):.2f}"[:4] in text
    assert f"{result['labels']['total']} (" in text


def point(temperature, response=None):
    length = Value(5.0, 0.001)
    return SweepPoint(
        temperature_K=temperature,
        pressure_GPa=0.0,
        directory="points/x",
        converged=True,
        stop_reason="certified",
        volume_A3_per_atom=Value(20.0, 0.01),
        cell_lengths_A=(length, length, length),
        cell_angles_deg=(90.0, 90.0, 90.0),
        free_energy_eV_per_atom=Value(-4.6, 0.0001),
        gibbs_eV_per_atom=Value(-4.6, 0.0001),
        entropy_kB=Value(2.0, 0.01),
        labels_new=7,
        response=response,
    )


def test_the_table_of_a_sweep_shows_expansion_in_ppm_and_a_dash_where_it_is_unknown():
    response = PointResponse(expansion_per_K=Value(12.0e-6, 1.0e-6))
    sweep = Sweep(
        formula="Si2",
        space_group="Fd-3m",
        n_atoms=2,
        supercell=(2, 2, 2),
        reference="tersoff",
        model="mtp",
        nuclei="quantum",
        seed=0,
        labels_total=14,
        einstein_temperatures_K=(300.0,),
        points=(point(300.0), point(600.0, response)),
    )
    first, second = sm.sweep_table(sweep).rows
    assert first[0] == "300" and first[5] == "—"
    assert second[5].startswith("12") and second[-1] == "yes"


def test_values_are_one_line_and_their_tables_are_printed(bonds, group):
    state = bonds.harmonic()[0]
    assert repr(state).startswith("DynamicalMatrix(supercell=Supercell(")
    assert "force_constants=array(4, " in repr(state)
    for shown in (state, state.supercell, state.crystal, group, sm.RunSettings(300.0)):
        assert "\n" not in repr(shown)
        assert len(repr(shown)) < 250
        assert str(shown) == str(shown.table())
    assert len(str(state).splitlines()) < 12


def test_a_repr_holds_what_differs_from_the_defaults():
    settings = sm.RunSettings(300.0, structure="x.cif", masses={"Si": 28.0}, configs=1000)
    assert (
        repr(settings) == "RunSettings(temperature=300.0, structure='x.cif', masses={'Si': 28.0})"
    )


def test_content_that_is_a_dictionary_stays_one():
    content = RunResult({"a": 1})
    assert repr(content) == "{'a': 1}"
