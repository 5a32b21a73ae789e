"""What a first user meets after the first run: tables on the screen, files for other programs."""

from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
from phonon_crystals import CRYSTALS
from sweeps import QuasiHarmonic, make_sweep
from test_report import make_set

import sscha_mlp as sm
from sscha_mlp.cli.sweep import _lines, _thermal_lines
from sscha_mlp.properties.interpolation import interpolate
from sscha_mlp.report.run.cell_lengths import distinct_lengths
from sscha_mlp.report.run.certificate_figures import worst_mode
from sscha_mlp.report.run.tolerance_pages import tolerance_rows
from sscha_mlp.report.validation.error_details import details_figure
from sscha_mlp.run_files.records.result import Frequencies
from sscha_mlp.scha.convergence import CrystalScale
from sscha_mlp.validation.certificate import RULES, CertificateTolerances

TEMPERATURES = [100.0, 300.0, 500.0, 700.0, 900.0]
CRYSTAL = QuasiHarmonic()


def number(cell: str) -> tuple[float, float]:
    """A number such as 17.09(53) with its standard error."""
    text, _, last = cell.rstrip("*").rstrip(")").partition("(")
    decimals = len(text.partition(".")[2])
    return float(text.replace("\N{MINUS SIGN}", "-")), float(last) * 10.0**-decimals


@pytest.mark.parametrize("name", CRYSTALS)
def test_phonopy_loads_what_was_exported_from_any_directory(tmp_path, monkeypatch, name):
    phonopy = pytest.importorskip("phonopy")
    state = CRYSTALS[name]()
    sm.write_phonopy(tmp_path / "out", state)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    loaded = phonopy.load(tmp_path / "out" / "phonopy.yaml", symmetrize_fc=False, log_level=0)
    q = [[0.1, 0.2, 0.35], [0.0, 0.0, 0.0]]
    loaded.run_qpoints(q)
    ours = interpolate(state).frequencies_thz(q)
    assert np.abs(loaded.qpoints.frequencies - ours).max() < 1e-4
    assert loaded.force_constants.shape[0] == state.crystal.n_atoms


def test_expansion_heat_capacity_and_bulk_modulus_stand_under_the_table(rng):
    sweep = make_sweep(CRYSTAL, TEMPERATURES, [0.0], rng)
    lines = list(_thermal_lines(sweep))
    assert max(map(len, [*lines, *_lines(sweep)])) <= 80
    rows = [line.split() for line in lines if line.strip()[:1].isdigit()]
    assert [float(row[0]) for row in rows] == TEMPERATURES
    for temperature, _, *cells in rows:
        t = float(temperature)
        expected = (1e6 * CRYSTAL.expansion(t, 0.0), CRYSTAL.bulk_modulus_at(t, 0.0))
        for cell, right in zip((cells[0], cells[2]), expected, strict=True):
            value, stderr = number(cell)
            assert abs(value - right) < 6.0 * stderr


def test_a_sweep_of_one_point_shows_what_the_model_says(rng):
    sweep = make_sweep(CRYSTAL, [300.0], [0.0], rng)
    lines = list(_thermal_lines(sweep))
    (row,) = [line.split() for line in lines if line.strip()[:1].isdigit()]
    assert row[2].endswith("*")
    assert lines[-1].startswith("*: of the model's own response")


def test_without_response_and_fit_there_is_no_table(rng):
    sweep = make_sweep(CRYSTAL, [300.0], [0.0], rng)
    bare = replace(sweep, points=tuple(replace(one, response=None) for one in sweep.points))
    assert list(_thermal_lines(bare)) == []


def test_equal_lattice_vectors_are_one_curve():
    steps = np.linspace(1.0, 1.1, 4)[:, None]
    for lengths, names in (
        ([3.8, 3.8, 3.8], ["|a| = |b| = |c|"]),
        ([3.2, 3.2, 5.2], ["|a| = |b|", "|c|"]),
        ([3.2, 4.2, 3.2], ["|a| = |c|", "|b|"]),
        ([1.0, 2.0, 3.0], ["|a|", "|b|", "|c|"]),
    ):
        found = distinct_lengths(np.array(lengths) * steps)
        assert [name for name, _ in found] == names


@pytest.mark.parametrize(("n_elements", "n_panels"), [(1, 3), (2, 4)])
def test_there_is_no_chart_of_one_bar(rng, n_elements, n_panels):
    one = make_set(rng)
    numbers = one.numbers if n_elements == 2 else np.full_like(one.numbers, 14)
    assert len(details_figure([replace(one, numbers=numbers)]).axes) == n_panels


def test_the_worst_mode_is_named():
    entries = [
        {"q": [0.0, 0.0, 0.0], "model": [0.0, 0.0, 0.0, 15.0], "corrected": [0.0, 0.0, 0.0, 15.06]},
        {"q": [0.0, 0.0, 0.5], "model": [4.0, 12.0], "corrected": [3.97, 12.01]},
    ]
    tolerances = {"frequency_thz": 0.05, "frequency_relative": 0.01}
    data = SimpleNamespace(
        certificate_tolerances=tolerances,
        result=SimpleNamespace(frequencies_THz=[Frequencies.of(one) for one in entries]),
    )
    said = worst_mode(data)
    assert "mode 1 at q = (0 0 1/2), 4.000 THz" in said
    assert "−0.0300 THz, where 0.050 THz" in said
    assert worst_mode(SimpleNamespace(certificate_tolerances={}, result=None)) == ""


def test_a_report_says_why_its_tolerances_are_what_they_are():
    scale = CrystalScale(bulk_modulus_gpa=2.9, highest_thz=2.0, mode_energy_mev=60.0)
    asked, energy = CertificateTolerances(frequency_thz=0.03), "mean energy of a mode"
    had, given = asdict(asked.for_crystal(scale)), {"frequency_thz": 0.03}
    names = {one: one for one in had}
    rows = tolerance_rows(had, given, names, RULES)
    assert rows == [
        ["free_energy_mev", "1.0", f"that of a hard crystal (1/10 of the {energy} at most)"],
        ["pressure_gpa", "0.0058", "1/500 of the bulk modulus, 2.90 GPa"],
        ["frequency_thz", "0.030", "given in the settings"],
        ["frequency_relative", "0.010", "the larger of this and the line above counts"],
    ]
