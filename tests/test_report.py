"""The report: its pages and words, the axes of its figures, and what it does with little data."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from itertools import chain

import matplotlib
import numpy as np
import pytest

from sscha_mlp import digits, units
from sscha_mlp.errors import InputError
from sscha_mlp.report.page.layout import new_page
from sscha_mlp.report.run import frequency_figures
from sscha_mlp.report.run.certificate_figures import certificate_figure
from sscha_mlp.report.run.data import (
    CertificateRow,
    LabelRow,
    PopulationRow,
    ReportData,
    UncertaintyRow,
    ValidationStage,
)
from sscha_mlp.report.run.pdf import report_pages, write_report, write_validation
from sscha_mlp.report.run.provenance_pages import flatten
from sscha_mlp.report.run.relaxation_figures import run_figure
from sscha_mlp.report.run.summary_page import summary_page, verdict_of
from sscha_mlp.report.validation.error_details import details_figure
from sscha_mlp.report.validation.parity_page import draw_parity, split_sets, validation_figure
from sscha_mlp.run_files.records.certificate import CertificateRecord
from sscha_mlp.run_files.records.fields import read
from sscha_mlp.run_files.records.population import PopulationRecord
from sscha_mlp.run_files.records.result import Frequencies, Result
from sscha_mlp.validation.metrics import ValidationSet
from sscha_mlp.validation.shift import Shift

needs_poppler = pytest.mark.skipif(
    not (shutil.which("pdftotext") and shutil.which("pdfinfo")),
    reason="pdftotext and pdfinfo (poppler-utils) are not installed",
)

FREQUENCIES = {
    (0.0, 0.0, 0.0): [0.0, 0.0, 0.0, 14.9, 14.9, 14.9],
    (0.5, 0.0, 0.0): [4.26, 4.26, 11.3, 11.9, 14.1, 14.1],
    (0.5, 0.5, 0.0): [5.1, 5.1, 11.0, 11.0, 14.6, 14.6],
}


def make_set(rng, name="Target ensemble", *, n=12, n_atoms=16, force=0.2, temperature=2000.0):
    reference = rng.normal(0.0, 3.0, (n * n_atoms, 3))
    stress = rng.normal(-2.0, 2.0, (n, 6)) * units.GPA
    energy = rng.normal(-4.6, 0.05, n)
    return ValidationSet(
        name=name,
        energies_reference=energy,
        energies_predicted=energy + rng.normal(0.003, 0.004, n),
        forces_reference=reference,
        forces_predicted=reference - force * rng.standard_t(3, reference.shape),
        stresses_reference=stress,
        stresses_predicted=stress + 0.3 * units.GPA * rng.normal(size=stress.shape),
        numbers=np.tile([14, 6], n * n_atoms // 2),
        config_of_atom=np.repeat(np.arange(n), n_atoms),
        displacement_rms=rng.uniform(0.2, 0.4, n),
        temperature=temperature,
    )


def make_population(rng, number, refits=0, *, n_steps=5):
    steps = np.arange(n_steps)
    gradient = 0.5 * np.exp(-steps - number)
    trace = {
        "free_energy": -5.3 + 0.01 * gradient,
        "free_energy_stderr": np.full(n_steps, 3e-4),
        "gradient_THz": gradient,
        "gradient_stderr_THz": 0.1 * gradient,
        "effective_sample_size": 1000.0 - 20.0 * steps,
    }
    row = {
        "phase": "round-1",
        "population": number,
        "n_drawn": 1000,
        "free_energy": -5.3149 + 0.01 / number,
        "free_energy_stderr": 3e-4,
        "gradient_THz": 0.03,
        "gradient_stderr_THz": 0.01,
        "effective_sample_size": 900.0,
        "frequencies_THz": sorted(chain.from_iterable(FREQUENCIES.values())),
        "volume": 20.6 + 0.1 / number,
        "pressure_GPa": rng.normal(0.0, 0.1),
        "pressure_stderr_GPa": 0.04,
        "stress_GPa": (0.05 * rng.normal(size=(3, 3))).tolist(),
        "rejected": 1,
        "reason": "gradient within its error",
        "cell_lengths_A": [3.88, 3.88, 3.88],
        "trace": trace if n_steps else None,
    }
    return PopulationRow(number, refits, read(PopulationRecord, row))


def make_check(delta, *, passed, reason):
    row = {
        "number": 1,
        "n_labels": 40,
        "free_energy": {"delta": delta, "stderr": 0.2, "tolerance": 1.0},
        "stress": {"delta": 0.02, "stderr": 0.03, "tolerance": 0.1},
        "frequency": {"delta": -0.01, "stderr": 0.02, "tolerance": 0.05},
        "passed": passed,
        "reason": reason,
    }
    return CertificateRow(0, read(CertificateRecord, row))


def make_result(**changes):
    entries = [
        {
            "q": list(q),
            "model": values,
            "corrected": [value + 0.01 * (value > 0.0) for value in values],
            "stderr": [0.02 * (value > 0.0) for value in values],
        }
        for q, values in FREQUENCIES.items()
    ]
    result = {
        "schema": "sscha-mlp/result/1",
        "converged": True,
        "stop_reason": "gradient, stress and free energy within tolerance",
        "temperature_K": 2000.0,
        "pressure_target_GPa": 0.0,
        "supercell": [2, 2, 2],
        "n_atoms": 2,
        "cell_A": (0.5 * 5.4877 * (np.ones((3, 3)) - np.eye(3))).tolist(),
        "volume_A3_per_atom": {"value": 20.658, "stderr": 0.012},
        "free_energy_eV_per_atom": {
            "model": -5.3147,
            "correction": -0.0002,
            "corrected": -5.3149,
            "stderr": 0.00031,
        },
        "pressure_GPa": {"model": 0.01, "correction": 0.02, "corrected": 0.03, "stderr": 0.034},
        "frequencies_THz": entries,
        "labels": {"train": 130, "test": 40, "check": 40, "total": 210},
        "retrains": 1,
        "populations": 3,
        "model": {"kind": "gap", "path": "models/001", "sha256": "9f86d0", "settings": {"zeta": 4}},
        "timings_s": {"label": 63.0, "fit": 41.0, "evaluate": 305.0, "total": 420.0},
        "versions": {"sscha-mlp": "0.1.0", "python-sscha": "1.6.2"},
        "seed": 7,
    }
    return Result.of({**result, **changes})


@pytest.fixture
def data(rng):
    sets = (make_set(rng, "Training ensemble", force=0.03, temperature=0.0), make_set(rng))
    return ReportData(
        name="silicon, seed 7",
        result=make_result(),
        settings={"temperature": 2000.0, "relax": {"configs": 1000}},
        asked=(("Reference", "Tersoff 1989"),),
        populations=tuple(make_population(rng, number, number // 3) for number in (1, 2, 3)),
        certificates=(
            make_check(-69.2, passed=False, reason="the model is biased"),
            make_check(0.1, passed=True, reason="all within tolerance"),
        ),
        validation=(ValidationStage("before", sets[1:]), ValidationStage("after", sets)),
        labels=(LabelRow("start", train=80, test=40), LabelRow("check 1", train=50)),
        notes=("2 configurations were not labelled",),
        uncertainties=(
            UncertaintyRow("target", 9, 9.1, 17.0, "meV"),
            UncertaintyRow("graded", 9, np.nan, 3.2, level=0.99),
        ),
        reference_frequencies_THz=list(FREQUENCIES.values()),
        reference_label="direct SSCHA",
        date="2025-01-01",
    )


def text_of(path):
    done = subprocess.run(
        ["pdftotext", "-layout", str(path), "-"], capture_output=True, check=True, text=True
    )
    return done.stdout


def n_pages_of(path):
    done = subprocess.run(["pdfinfo", str(path)], capture_output=True, check=True, text=True)
    return int(re.search(r"Pages:\s+(\d+)", done.stdout)[1])


def labels_of(figure):
    return {label for axes in figure.axes for label in (axes.get_xlabel(), axes.get_ylabel())}


@needs_poppler
def test_the_report_has_its_pages_and_says_what_it_must(data, tmp_path):
    written = write_report(data, tmp_path / "report.pdf")
    text = text_of(tmp_path / "report.pdf")

    assert n_pages_of(tmp_path / "report.pdf") == len(report_pages(data)) == 12
    assert [path.name for path in written] == [
        "report.pdf",
        "validation.pdf",
        "validation.png",
        "validation.json",
    ]
    for words in (
        "Phonons at 2000 K and 0 GPa",
        "CERTIFIED",
        "−5.31490 ± 0.00031",
        "210 (130 train, 40 test, 40 check)",
        "What are the volume, the free energy and the phonon frequencies of the crystal at 2000 K",
        "as the reference Tersoff",
        "What is left out",
        "the model is biased",
        "Validation: before",
        "Validation: after, where the errors are",
        "Training ensemble",
        "gradient within its error",
        "Frequency (THz)",
        "(1/2 1/2 0)",
        "direct SSCHA",
        "2 configurations were not labelled",
        "17.0 meV (95 %)",
        "3.20 (99 %)",
        "python-sscha",
        "relax.configs",
        "model.zeta",
        "12 / 12",
        "silicon, seed 7",
        "2025-01-01",
    ):
        assert words in text, words


def test_the_same_data_give_the_same_bytes(data, tmp_path):
    one = replace(data, validation=data.validation[:1])
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_report(one, tmp_path / name / "report.pdf")

    for ending in ("report.pdf", "validation.pdf", "validation.png", "validation.json"):
        assert (tmp_path / "a" / ending).read_bytes() == (tmp_path / "b" / ending).read_bytes()


def test_a_report_of_nothing_says_so(tmp_path):
    data = ReportData(name="killed early", result=Result())
    written = write_report(data, tmp_path / "report.pdf")

    assert written == (tmp_path / "report.pdf",)
    assert len(report_pages(data)) == 3
    assert verdict_of(data).title == "NOT FINISHED"


def test_a_run_without_a_certificate_is_drawn(data, rng):
    entries = [
        {"q": entry.q, "model": entry.model, "corrected": None, "stderr": None}
        for entry in data.result.frequencies_THz
    ]
    nothing = {"model": -5.3, "correction": None, "corrected": None, "stderr": None}
    result = make_result(frequencies_THz=entries, free_energy_eV_per_atom=nothing)
    rows = tuple(make_population(rng, number, n_steps=0) for number in (1, 2))
    bare = ReportData(name="bare", result=result, populations=rows)

    assert verdict_of(bare).title == "NOT CHECKED"
    assert len(report_pages(bare)) == 6


def test_a_large_crystal_takes_more_pages(data, rng):
    entries = [
        {"q": [0.1 * i, 0.0, 0.0], "model": modes, "corrected": modes, "stderr": [0.01] * 60}
        for i, modes in enumerate(np.sort(rng.uniform(1, 20, (4, 60))).tolist())
    ]
    many = replace(data, result=make_result(frequencies_THz=entries), validation=())

    assert len(report_pages(many)) > len(report_pages(replace(data, validation=()))) + 2


@pytest.mark.parametrize(
    ("delta", "passed", "title"),
    [(0.1, True, "CERTIFIED"), (5.0, False, "NOT CERTIFIED"), (5.0, True, "NOT CERTIFIED")],
)
def test_the_verdict_is_that_of_the_last_check(data, delta, passed, title):
    check = make_check(delta, passed=passed, reason="so it is")
    verdict = verdict_of(replace(data, certificates=(check,)))

    assert verdict.title == title
    assert verdict.good == (title == "CERTIFIED")


def test_a_run_that_did_not_converge_is_never_certified(data):
    stopped = replace(data, result=make_result(converged=False, stop_reason="the cell collapsed."))

    assert verdict_of(stopped).sentence == "The relaxation stopped: the cell collapsed."


@pytest.mark.parametrize(
    ("delta", "stderr", "passed"),
    [(0.5, 0.2, True), (0.7, 0.2, False), (-0.7, 0.2, False), (0.0, float("nan"), False)],
)
def test_a_shift_passes_with_two_errors_to_spare(delta, stderr, passed):
    assert Shift(delta, stderr, 1.0).passed is passed


def test_the_validation_page_of_one_set_is_two_by_three(rng):
    figure = validation_figure([make_set(rng)])

    assert len(figure.axes) == 6
    assert labels_of(figure) >= {
        "Reference energy (eV/atom)",
        "Model energy (eV/atom)",
        "Reference force (eV/Å)",
        "Reference stress (GPa)",
        "Energy error (meV/atom)",
        "Force error (meV/Å)",
        "Stress error (GPa)",
    }


def test_parity_has_equal_scales_and_says_the_errors(rng):
    one = make_set(rng)
    axes = validation_figure([one]).axes[2]  # energy, its histogram, then force

    assert axes.get_xlim() == axes.get_ylim()
    words = " ".join(text.get_text() for text in axes.texts)
    assert f"RMSE {1e3 * one.force.rmse:.0f} meV/Å" in words
    assert "R² 0." in words


def test_sets_side_by_side_get_a_row_each(rng):
    figure = validation_figure([make_set(rng, name) for name in ("One", "Two", "Three")])

    assert len(figure.axes) == 3 * (1 + 3)


def test_graphics_are_vectors_whatever_the_number_of_points(rng, tmp_path):
    path, *_ = write_validation([make_set(rng, n=60)], tmp_path)

    assert b"/Subtype /Image" not in path.read_bytes()


def test_errors_are_written_into_the_corner_without_points(rng):
    figure, places = new_page(), []
    for sign in (-1.0, 1.0):
        one = make_set(rng, n=12)
        x = np.linspace(-1.0, 1.0, one.energies_reference.size)
        y = x.copy()
        y[: x.size // 3] += 0.9 * sign + 0.9
        y[-x.size // 3 :] += 0.9 * sign - 0.9
        axes = figure.add_subplot()
        draw_parity(axes, [replace(one, energies_reference=x, energies_predicted=y)], "energy")
        places.append(axes.texts[0].get_position()[0])

    assert places == [0.05, 0.95]


def test_what_is_not_certified_is_not_called_the_answer(data):
    stopped = make_result(
        converged=False, stop_reason="not converged: stopped: the cell collapsed."
    )
    bad = replace(data, result=stopped)
    titles = [
        [text.get_text() for text in summary_page(one).texts if text.get_weight() == "bold"]
        for one in (data, bad)
    ]

    assert "The answer" in titles[0]
    assert "The answer" not in titles[1]
    assert "Numbers that are not certified" in titles[1]
    assert verdict_of(bad).sentence == "The relaxation stopped: the cell collapsed."


def test_the_band_of_the_frequencies_is_that_of_the_settings(data):
    asked = {"certificate": {"tolerances": {"frequency_thz": 2.0, "frequency_relative": 0.01}}}
    page = next(
        one
        for one in report_pages(replace(data, settings=asked))
        if any(axes.get_ylabel() == "Shift from the model (THz)" for axes in one.axes)
    )
    shifts = next(one for one in page.axes if one.get_ylabel() == "Shift from the model (THz)")
    assert min(bar.get_height() for bar in shifts.patches) == pytest.approx(4.0)


def test_six_sets_take_two_pages_of_three():
    assert [len(part) for part in split_sets(range(6))] == [3, 3]
    assert [len(part) for part in split_sets(range(4))] == [2, 2]


def test_the_histogram_is_a_density(rng):
    axes = validation_figure([make_set(rng, n=60)]).axes[1]
    stairs = axes.patches[0].get_data()

    assert np.sum(stairs.values * np.diff(stairs.edges)) == pytest.approx(1.0, abs=1e-3)


def test_details_are_by_amplitude_force_and_element(rng):
    figure = details_figure([make_set(rng), make_set(rng, "Other")])

    assert labels_of(figure) >= {
        "Rms displacement (Å)",
        "Force RMSE (meV/Å)",
        "Energy error (meV/atom)",
        "Size of the reference force (eV/Å)",
        "Element",
    }
    assert [tick.get_text() for tick in figure.axes[3].get_xticklabels()] == ["C", "Si"]


@pytest.mark.parametrize(("n_steps", "label"), [(5, "Minimisation step"), (0, "Population")])
def test_the_run_is_drawn_by_step_where_steps_were_kept(rng, n_steps, label):
    rows = [make_population(rng, number, number // 3, n_steps=n_steps) for number in (1, 2, 3)]
    figure = run_figure(rows, pressure_target_GPa=0.0)

    assert len(figure.axes) == 8
    assert labels_of(figure) == {
        label,
        "Free energy (eV/atom)",
        "Gradient as frequency shift (THz)",
        "Effective sample size",
        "Frequency (THz)",
        "Volume (Å³/atom)",
        "Lattice vectors (Å)",
        "Pressure (GPa)",
        "Stress (GPa)",
    }
    assert all("refit 1" in {text.get_text() for text in axes.texts} for axes in figure.axes)


def test_the_certificate_is_drawn_over_its_tolerance(data):
    figure = certificate_figure([one.record for one in data.certificates])

    assert {"ΔF (meV/atom)", "Δσ, worst (GPa)", "Δω, worst (THz)"} <= labels_of(figure)
    assert figure.axes[0].get_yscale() == "symlog", "69 meV/atom and 1 meV/atom are both seen"


def test_the_frequency_table_compares_with_what_is_known():
    entries = make_result().frequencies_THz
    rows, breaks = frequency_figures.frequency_rows(entries, list(FREQUENCIES.values()))

    assert breaks == [2, 6]
    assert rows[2] == ["(1/2 0 0)", "1–2", "4.260", "+0.010", "4.270 ± 0.020", "4.260", "−0.5"]
    assert [row[1] for row in rows[2:6]] == ["1–2", "3", "4", "5–6"], "degenerate modes share one"
    assert rows[0][-1] == digits.DASH, "a translation has no error to compare with"


def test_the_figure_of_frequencies_shows_model_corrected_and_known():
    entries = [
        {
            "q": list(q),
            "model": values,
            "corrected": [one + 0.1 for one in values],
            "stderr": [0.02] * 6,
        }
        for q, values in FREQUENCIES.items()
    ]
    known = [[one + 0.05 for one in values] for values in FREQUENCIES.values()]
    figure = frequency_figures.frequency_figure(entries, known=known, known_label="by hand")
    levels, shifts = figure.axes
    model = np.concatenate(list(FREQUENCIES.values()))
    drawn = {line.get_label(): line.get_ydata() for line in levels.lines}
    assert np.allclose(drawn["by hand"], model + 0.05)
    markers = {line.get_marker(): line.get_ydata() for line in shifts.lines}
    assert np.allclose(markers["o"], 0.1) and np.allclose(markers["D"], 0.05)
    band = np.array([bar.get_height() for bar in shifts.patches]) / 2.0
    assert np.allclose(band, np.maximum(0.05, 0.01 * model))


def many_entries(n_points, n_modes):
    """Frequencies of many wave vectors, no two the same."""
    modes = np.arange(1.0, n_modes + 1.0)
    return [
        Frequencies(
            q=(0.0, 0.0, place / n_points),
            model=tuple(modes + place / 100.0),
            corrected=tuple(modes + place / 100.0),
            stderr=(0.01,) * n_modes,
        )
        for place in range(n_points)
    ]


def test_many_wave_vectors_are_numbered_and_spread_over_figures(data):
    entries = many_entries(30, 12)
    parts = frequency_figures.split_entries(entries)
    assert [start for start, _ in parts[1:]] == [stop for _, stop in parts[:-1]]
    assert all((stop - start) * 12 <= 96 for start, stop in parts)

    many = ReportData(name="many", result=replace(make_result(), frequencies_THz=tuple(entries)))
    shown = [
        tick.get_text()
        for page in report_pages(many)
        for axes in page.axes
        if axes.get_xlabel().startswith("Irreducible q")
        for tick in axes.get_xticklabels()
    ]
    rows, breaks = frequency_figures.frequency_rows(entries)
    named = [rows[place][0] for place in (0, *breaks)]
    assert shown == [name.split()[0] for name in named], "a number leads from figure to table"
    assert shown == ["Γ", *(str(number) for number in range(2, 31))]


def test_a_single_wave_vector_of_many_modes_has_a_figure():
    assert frequency_figures.split_entries(many_entries(2, 200)) == [(0, 1), (1, 2)]


def test_write_validation_gives_three_files(rng, tmp_path):
    paths = write_validation([make_set(rng)], tmp_path, stem="before")
    stored = json.loads((tmp_path / "before.json").read_text(encoding="utf-8"))

    assert [path.name for path in paths] == ["before.pdf", "before.png", "before.json"]
    assert paths[0].read_bytes().startswith(b"%PDF")
    assert paths[1].read_bytes().startswith(b"\x89PNG")
    assert stored[0]["set"] == "Target ensemble"


def test_figures_leave_matplotlib_as_it_was(rng):
    before = dict(matplotlib.rcParams)
    validation_figure([make_set(rng)])

    assert dict(matplotlib.rcParams) == before


def test_a_stage_without_sets_is_refused():
    with pytest.raises(InputError, match="has 0 sets"):
        ValidationStage("empty", ())


def test_nothing_is_written_below_the_page(data):
    for page in report_pages(data):
        lowest = min(text.get_position()[1] for text in page.texts)
        assert lowest > 0.05


def test_settings_are_flattened_to_dotted_names():
    nested = {"a": 1, "b": {"c": None, "d": {"e": [1, 2]}}}

    assert flatten(nested) == [("a", "1"), ("b.c", "—"), ("b.d.e", "[1, 2]")]
