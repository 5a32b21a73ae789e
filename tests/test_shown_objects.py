"""What public functions return shows itself: a table with the numbers that it holds."""

import inspect
import json
import shutil
import typing

import numpy as np
import pytest
from mtp_models import random_mtp
from phonon_crystals import CRYSTALS
from sweeps import QuasiHarmonic, make_phase, make_sweep
from toys import wurtzite

import sscha_mlp as sm
from sscha_mlp import units
from sscha_mlp.properties.elastic import ElasticConstants, ElasticStrains
from sscha_mlp.report.sweep.phase_report import Phases
from sscha_mlp.run_files.result_table import RunResult
from sscha_mlp.studies.supercell_convergence import SizeRows, size_rows
from sscha_mlp.tables import Table, few

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

TEMPERATURE = 300.0
TEMPERATURES = [100.0, 300.0, 500.0, 700.0, 900.0, 1100.0]

NOT_SHOWN = {
    "DirectEvaluator",  # evaluates
    "InputError",
    "LabelStore",  # a file
    "NotebookObserver",  # shows by itself what it watches
    "SschaMlpError",
    "WaitingForLabelsError",
    "fit",  # returns a protocol; the kinds are tried below
    "load",
    "report_data",  # what a report is drawn from
}


def cells(shown):
    """First column -> the rest of its row; the object also has HTML."""
    table = shown.table()
    assert table.title.split("<")[0][:20] in shown._repr_html_()
    return {row[0]: row[1:] for row in table.rows}


def number(text):
    """The value of a cell such as ``−1.25 ± 0.02`` or ``−1.25(2)``."""
    return float(text.partition(" ±")[0].partition("(")[0].replace("\N{MINUS SIGN}", "-"))


def of_the_package(name):
    """Classes of the package that a public name is, or that it returns alone."""
    value = getattr(sm, name)
    found = value if inspect.isclass(value) else typing.get_type_hints(value).get("return")
    if inspect.isclass(found) and found.__module__.startswith("sscha_mlp"):
        yield found


# --- all of them ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted({*sm.__all__} - NOT_SHOWN - {"__version__"}))
def test_what_is_public_shows_itself(name):
    for found in of_the_package(name):
        assert hasattr(found, "_repr_html_"), f"{found.__name__} does not say what its table is"


def test_the_list_of_what_is_not_shown_has_no_stale_names():
    assert set(sm.__all__) >= NOT_SHOWN


# --- the table itself ----------------------------------------------------------------------------


def test_of_many_rows_the_first_and_the_last_are_kept():
    rows = [(str(n), "x") for n in range(30)]
    found = few(rows, 10)
    assert [row[0] for row in found] == [*"01234", "…", *map(str, range(25, 30))]
    assert few(rows[:10], 10) == tuple(rows[:10])


def test_numbers_stay_on_one_line_and_sentences_break():
    sentence = "a sentence that is longer than what anybody wants to see on a single line"
    rows = (("name", "1.25 ± 0.02", sentence), ("other", "3", "short"))
    html = Table("", rows, ("a", "b", "c"))._repr_html_()
    head, first, second = (row.split("<t")[1:] for row in html.split("<tr>")[1:])
    for row in (head, first, second):
        aligned = [cell.partition("text-align:")[2].partition(";")[0] for cell in row]
        assert aligned[:3] == ["left", "right", "left"]
    assert "nowrap" in first[1] and "nowrap" not in first[2]
    wide = Table("", (("1.25 ± 0.02",) * 12,))._repr_html_()
    assert "nowrap" not in wide, "a row that is too wide would be cut off"


# --- crystals and samples ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bonds():
    return wurtzite(c=-8.0, b=10.0)


@pytest.fixture(scope="module")
def samples(bonds):
    state = bonds.harmonic()[0]
    ensemble = sm.sample(
        state,
        temperature=TEMPERATURE,
        n_configs=64,
        rng=np.random.default_rng(3),
        minimum_distance_ratio=0.0,
    )
    return sm.evaluate_ensemble(ensemble, bonds)


def test_a_crystal_its_supercell_and_its_group():
    crystal = sm.read_structure(sm.bundled_file("silicon.cif"))
    supercell = sm.Supercell(crystal, (2, 2, 3))
    assert cells(crystal)["formula"] == ("Si2",)
    assert cells(supercell)["repetitions"] == ("2×2×3",)
    assert cells(supercell)["wave vectors"] == ("12",)
    cubic = cells(sm.find_space_group(sm.Supercell(crystal, (2, 2, 2))))
    assert cubic["symbol"] == ("Fd-3m (227)",)
    assert cubic["operations"] == ("48",)
    assert cubic["wave vectors"] == ("8, of which 3 are irreducible",)


def test_a_reference_says_what_it_is_for():
    found = cells(sm.get_reference("tersoff"))
    assert "Tersoff" in found["description"][0] and "Si" in found["elements"][0]


def test_samples_and_their_averages(samples, bonds):
    group = bonds.harmonic()[1]
    found = cells(samples)
    low, high = map(float, found["energy"][0].removesuffix(" eV/atom").split(" to "))
    n_atoms = bonds.supercell.n_atoms
    assert low == pytest.approx(samples.energies.min() / n_atoms, abs=1e-4)
    assert high == pytest.approx(samples.energies.max() / n_atoms, abs=1e-4)
    averages = sm.estimate(samples, group)
    shown = cells(averages)
    energy = averages.free_energy
    assert number(shown["free energy (eV/atom)"][0]) == pytest.approx(
        energy.value / n_atoms, abs=energy.stderr / n_atoms
    )
    assert shown["effective sample size"] == ("64",)
    largest = np.abs(averages.frequency_shifts.value).max() / units.THZ
    assert abs(number(shown["largest shift of a mode (THz)"][0])) == pytest.approx(
        largest, rel=0.05
    )


def test_a_hessian_has_its_softest_mode_first(samples, bonds):
    found = sm.free_energy_hessian(samples, bonds.harmonic()[1])
    squares = found.squares_thz2
    table = found.table()
    first = [number(row[2]) for row in table.rows if row[0] != "…"]
    assert first == sorted(first)
    place = np.unravel_index(
        np.where(found.moving, squares.value, np.inf).argmin(), found.moving.shape
    )
    assert first[0] == pytest.approx(squares.value[place], abs=squares.stderr[place])
    assert "without the fourth order" in table.note


def test_settings_of_a_relaxation_have_all_fields():
    found = cells(sm.RelaxationSettings(n_configs=123, cell="fixed"))
    assert found["n_configs"] == ("123",) and found["cell"] == ("fixed",)
    assert "minimiser.max_steps" in found and "tolerances.frequency_thz" in found


# --- labels and potentials -----------------------------------------------------------------------


def test_a_label_and_its_configuration(tmp_path):
    crystal = sm.read_structure(sm.bundled_file("silicon.cif"))
    atoms = sm.Supercell(crystal, (1, 1, 1)).crystal.to_ase()
    stress = -2.0 * units.GPA * np.eye(3)
    label = sm.Label(-9.25, [[0.0, 0.0, 0.5], [0.0, 0.0, -0.5]], stress)
    one = sm.LabelledConfiguration(atoms, label, temperature=300.0, origin="here", chosen=True)
    found = cells(one)
    assert found["origin"] == ("here, chosen",) and found["temperature"] == ("300 K",)
    assert found["energy (eV)"] == ("-9.25000",)
    assert float(found["pressure (GPa)"][0]) == pytest.approx(2.0)
    assert found["largest force (eV/Å)"] == ("0.5000",)
    written = sm.write_any(tmp_path / "one.xyz", [one])
    assert str(tmp_path / "one.xyz") in cells(written)


def test_predictions_have_their_ranges():
    forces = (np.zeros((2, 3)), np.array([[3.0, 4.0, 0.0], [0.0, 0.0, 0.0]]))
    found = cells(sm.Predictions([-1.0, 2.0], forces, np.zeros((2, 3, 3)), [0.5, 7.0]))
    assert found["energy (eV)"] == ("-1.0000 to 2.0000",)
    assert found["largest force (eV/Å)"] == ("0.0000 to 5.0000",)
    assert found["uncertainty"] == ("0.5000 to 7.0000",)


def test_parameters_of_an_mtp():
    parameters = random_mtp()
    found = cells(parameters)
    assert found["basis functions"] == (str(parameters.moment_coeffs.size),)


def test_a_fitted_potential_has_its_settings(samples, bonds, tmp_path):
    labelled = [
        sm.LabelledConfiguration(
            atoms,
            sm.Label(energy, forces.reshape(-1, 3), stress),
            temperature=TEMPERATURE,
        )
        for atoms, energy, forces, stress in zip(
            samples.ensemble.configurations()[:12],
            samples.energies,
            samples.forces,
            samples.stresses,
            strict=False,
        )
    ]
    settings = {"level": 6, "cutoff": 3.0}
    with sm.fit("mtp", labelled, directory=tmp_path / "model", settings=settings) as model:
        found = cells(model)
    assert found["level"] == ("6",) and found["training configurations"] == ("12",)


# --- phonons -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def diamond():
    return CRYSTALS["diamond"]()


def test_phonons_of_a_state(diamond):
    found = sm.dispersion(sm.interpolate(diamond))
    assert cells(sm.interpolate(diamond))["dipoles"] == ("no",)
    segments = found.path.segments
    assert [row[0] for row in found.path.table().rows] == [" – ".join(s.labels) for s in segments]
    highest = max(float(row[2]) for row in found.table().rows)
    assert highest == pytest.approx(found.frequencies_thz.max(), abs=1e-3)
    mesh = sm.mesh_frequencies(diamond, (6, 6, 6))
    assert cells(mesh)["mesh"] == ("6×6×6",)
    assert float(cells(mesh)["highest (THz)"][0]) == pytest.approx(
        mesh.frequencies_thz.max(), abs=1e-3
    )
    density = cells(sm.density_of_states(mesh))
    assert float(density["modes"][0]) == pytest.approx(6.0, abs=1e-3)
    mean = float(mesh.weights @ mesh.frequencies_thz.mean(axis=1))
    assert float(density["mean frequency (THz)"][0]) == pytest.approx(mean, abs=0.05)


def test_harmonic_sums_are_in_boltzmann_constants(diamond):
    sums = sm.thermodynamics(sm.mesh_frequencies(diamond, (4, 4, 4)), [0.0, 1.0e5])
    rows = sums.table().rows
    assert rows[0] == ("0", f"{sums.zero_point:.5f}", "0.0000", "0.0000")
    translations = 3.0 / 64.0
    assert float(rows[1][3]) == pytest.approx(6.0 - translations, abs=1e-3)


def test_born_charges_have_their_isotropic_parts():
    charges = np.array([2.0 * np.eye(3), -2.0 * np.eye(3)])
    found = cells(sm.BornCharges(charges, 5.5 * np.eye(3)))
    assert found["Z* of atom 1"] == ("+2.0000", "0.0000")
    assert found["ε∞"] == ("+5.5000", "0.0000")


# --- fits ----------------------------------------------------------------------------------------


def test_a_soft_mode_beside_its_line():
    temperatures = [100.0, 200.0, 300.0]
    fit = sm.fit_soft_mode(temperatures, [-1.0, 0.0, 1.0], [0.1, 0.1, 0.1])
    table = fit.table()
    assert [row[0] for row in table.rows] == ["100", "200", "300"]
    assert [number(row[2]) for row in table.rows] == pytest.approx([-1.0, 0.0, 1.0])
    assert fit.statement in table.note


def test_equations_of_state_have_their_parameters(rng):
    crystal = QuasiHarmonic()
    pressures = [0.0, 2.0, 4.0, 6.0]
    volumes = [crystal.volume_at(300.0, one) for one in pressures]
    found = sm.fit_isotherm(pressures, volumes, [1e-3] * 4)
    shown = cells(found)
    assert number(shown["V0 (Å³)"][0]) == pytest.approx(volumes[0], abs=2e-3)
    assert number(shown["B at zero pressure (GPa)"][0]) == pytest.approx(
        crystal.bulk_modulus_at(300.0, 0.0), rel=0.02
    )
    few_points = sm.fit_isotherm(pressures[:2], volumes[:2], [1e-3] * 2)
    assert [row[0] for row in few_points.table().rows] == ["0", "2"]
    assert few_points.table().note == few_points.statement
    grid = np.linspace(18.0, 22.0, 9)
    at_rest = sm.fit_equation_of_state(grid, 0.5 * (90.0 * units.GPA / 20.0) * (grid - 20.0) ** 2)
    assert float(cells(at_rest)["V0 (Å³/atom)"][0]) == pytest.approx(20.0, abs=0.01)
    assert float(cells(at_rest)["B0 (GPa)"][0]) == pytest.approx(90.0, rel=0.02)


def test_curves_over_temperature_stand_beside_their_points(rng):
    crystal = QuasiHarmonic()
    sweep = make_sweep(crystal, TEMPERATURES, [0.0], rng)
    volumes = [one.volume_A3_per_atom for one in sweep.points]
    thetas = sweep.einstein_temperatures_K
    fit = sm.fit_expansion(
        TEMPERATURES,
        [one.value for one in volumes],
        [one.stderr for one in volumes],
        einstein_temperatures=thetas,
    )
    table = fit.table()
    assert table.columns == ("T (K)", "size (Å³ or Å)", "fit", "α (ppm/K)")
    for row, exact in zip(table.rows, volumes, strict=True):
        assert number(row[1]) == pytest.approx(exact.value, abs=exact.stderr)
        assert number(row[2]) == pytest.approx(exact.value, abs=4.0 * exact.stderr)
    nothing = sm.fit_expansion([1.0, 2.0], [1.0, 2.0], [0.1, 0.1], einstein_temperatures=thetas)
    assert nothing.table().columns == ("T (K)", "size (Å³ or Å)")
    gibbs = [one.gibbs_eV_per_atom for one in sweep.points]
    entropies = [one.entropy_kB for one in sweep.points]
    isobar = sm.fit_isobar(
        TEMPERATURES,
        [one.value for one in gibbs],
        [one.stderr for one in gibbs],
        [one.value for one in entropies],
        [one.stderr for one in entropies],
        einstein_temperatures=thetas,
    )
    for row, exact in zip(isobar.table().rows, entropies, strict=True):
        assert number(row[3]) == pytest.approx(exact.value, abs=5.0 * exact.stderr)
    assert isobar.statement in isobar.table().note


def test_elastic_constants_are_in_gpa():
    stiffness = np.diag([100.0, 100.0, 100.0, 50.0, 50.0, 50.0]) * units.GPA
    found = ElasticConstants(stiffness, None).table()
    assert found.rows[0][1:3] == ("100.0", "0.0") and found.rows[3][4] == "50.0"
    assert "clamped" in found.title and "33.3 GPa" in found.note
    crystal = sm.read_structure(sm.bundled_file("silicon.cif"))
    strains = ElasticStrains(sm.find_space_group(sm.Supercell(crystal, (1, 1, 1))))
    assert cells(strains)["independent constants"] == ("C11, C12, C44",)


def test_two_phases_and_what_is_said_of_them(rng):
    a, b = (
        make_phase(QuasiHarmonic(energy=energy), TEMPERATURES, [0.0], rng, name=name)
        for energy, name in ((0.0, "A"), (0.05, "B"))
    )
    compared = sm.compare_phases(a, b)
    table = compared.table()
    assert table.title == "B less A"
    assert [number(row[2]) for row in table.rows] == pytest.approx([50.0] * 6, abs=5.0)
    assert compared.statements[0] in table.note
    assert [row[0] for row in a.table().rows] == [f"{t:g}" for t in TEMPERATURES]
    with_notes = Phases(compared, ("Something to know.",)).table()
    assert with_notes.rows == table.rows and with_notes.note.endswith("Something to know.")


# --- sweeps and runs -----------------------------------------------------------------------------


def test_a_sweep_its_points_and_its_settings(rng):
    sweep = make_sweep(QuasiHarmonic(), [100.0, 300.0], [0.0, 2.0], rng)
    table = sweep.table()
    assert table.rows == sm.sweep_table(sweep).rows
    assert [row[:2] for row in table.rows] == [
        (f"{one.temperature_K:g}", f"{one.pressure_GPa:g}") for one in sweep.points
    ]
    point = sweep.points[1]
    alpha = point.response.expansion_per_K
    assert number(table.rows[1][5]) == pytest.approx(1e6 * alpha.value, abs=1e6 * alpha.stderr)
    assert dict(point.table().rows)["B (GPa)"] == table.rows[1][7]
    response = cells(point.response)
    assert number(response["volumetric expansion α (ppm/K)"][0]) == number(table.rows[1][5])
    settings = sm.SweepSettings((100.0, 300.0), run={"seed": 7, "configs": 124})
    shown = cells(settings)
    assert shown["temperatures (K)"] == ("100, 300",) and shown["run.configs"] == ("124",)
    assert shown["labels at most"] == (str(settings.budget),)
    assert "run.temperature" not in shown


def test_a_run_and_its_phonons(finished_run):
    result = RunResult(json.loads((finished_run / "result.json").read_text()))
    assert result.table() == sm.result_table(result)
    phonons = sm.run_phonons(finished_run, mesh=(4, 4, 4))
    rows = phonons.table().rows
    assert len(rows) == len(phonons.rows)
    assert float(rows[0][3]) == pytest.approx(phonons.rows[0].harmonic, abs=1e-3)
    sizes = size_rows(finished_run)
    assert isinstance(sizes, tuple) and isinstance(sizes, SizeRows)
    (row,) = sizes.table().rows
    assert row[0] == sizes[0].cells and row[6] == str(sizes[0].labels)
    assert sizes[0].table().rows == (row,)


def test_the_hessian_of_a_run_shows_its_verdict(finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run")
    found = sm.hessian_of_run(run, n_configs=60)
    table = found.table()
    assert table.note == found["statement"]
    softest = min(number(row[3]) for row in table.rows)
    assert softest == pytest.approx(
        found["softest"]["squared_frequency_THz2"], abs=found["softest"]["stderr_THz2"]
    )
