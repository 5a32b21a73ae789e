"""Figures and tables of a sweep: drawn for one point, an isobar and a grid."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from sweeps import QuasiHarmonic, make_sweep

from sscha_mlp.report.sweep.figures import length_pages, pressure_pages, temperature_pages
from sscha_mlp.report.sweep.files import sweep_csv, write_sweep_report
from sscha_mlp.report.sweep.fits import fit_sweep
from sscha_mlp.run_files.json_fields import Value

CRYSTAL = QuasiHarmonic()
TEMPERATURES = [0.0, 150.0, 300.0, 500.0, 800.0]

pytestmark = pytest.mark.filterwarnings("error:Glyph:UserWarning")


@pytest.mark.parametrize(
    ("temperatures", "pressures", "n_pages"),
    [([300.0], [0.0], (0, 0)), (TEMPERATURES, [0.0], (1, 0)), ([300.0], [0.0, 5.0, 9.0], (0, 1))],
)
def test_a_sweep_of_any_shape_is_drawn(temperatures, pressures, n_pages, tmp_path, rng):
    sweep = make_sweep(CRYSTAL, temperatures, pressures, rng)
    fits = fit_sweep(sweep)
    assert (len(temperature_pages(fits)), len(pressure_pages(fits))) == n_pages
    written = write_sweep_report(sweep, tmp_path / "out")
    assert written[0].read_bytes().startswith(b"%PDF")
    assert len(written) == 3
    rows = list(csv.DictReader(written[1].open()))
    assert len(rows) == len(sweep.points)


def test_a_grid_has_bands_points_and_symbols_of_the_model(rng):
    sweep = make_sweep(CRYSTAL, TEMPERATURES, [0.0, 5.0, 10.0], rng)
    fits = fit_sweep(sweep)
    (page,) = temperature_pages(fits)
    axes = {one.get_ylabel(): one for one in page.axes}
    assert set(axes) == {
        "Lattice parameter (Å)",
        "Expansion of the volume (ppm/K)",
        "Gibbs free energy (eV/atom)",
        "Entropy (k/atom)",
        "Heat capacity (k/atom)",
        "Bulk modulus (GPa)",
        "Softest squared frequency (THz²)",
        "Reference labels of the point",
    }
    for label in ("Lattice parameter (Å)", "Expansion of the volume (ppm/K)"):
        assert len(axes[label].containers) == 3  # points with errors
        bands = [one for one in axes[label].collections if "FillBetween" in type(one).__name__]
        assert len(bands) == 3
    (over_pressure,) = pressure_pages(fits)
    assert over_pressure.axes[0].get_xlabel() == "Pressure (GPa)"


def test_more_series_than_a_page_holds_go_on(rng):
    temperatures = [100.0 * n for n in range(1, 9)]
    fits = fit_sweep(make_sweep(CRYSTAL, temperatures, [0.0, 5.0, 10.0], rng))
    assert len(pressure_pages(fits)) == 2


def test_fits_and_model_agree_with_the_crystal_in_the_table(rng):
    fits = fit_sweep(make_sweep(CRYSTAL, TEMPERATURES, [0.0], rng))
    for row in csv.DictReader(io.StringIO(sweep_csv(fits))):
        t = float(row["temperature_K"])
        if t < 200.0:
            continue
        found, error = (float(row[f"expansion_fit_per_K{end}"]) for end in ("", "_stderr"))
        assert abs(found - CRYSTAL.expansion(t, 0.0)) < 4 * error
        found, error = (float(row[f"heat_capacity_p_fit_kB{end}"]) for end in ("", "_stderr"))
        assert abs(found - CRYSTAL.heat_capacity_p(t, 0.0)) < 4 * error


def test_points_that_are_not_converged_are_shown_and_not_fitted(rng):
    sweep = make_sweep(CRYSTAL, TEMPERATURES, [0.0], rng)
    wrong = replace(sweep.points[2], converged=False, volume_A3_per_atom=Value(30.0, 0.001))
    spoilt = replace(sweep, points=(*sweep.points[:2], wrong, *sweep.points[3:]))
    (isobar,) = fit_sweep(spoilt).isobars
    assert isobar.volume is not None
    assert len(isobar.volume.data.x) == 4
    assert float(isobar.volume.size([300.0]).value[0]) == pytest.approx(
        CRYSTAL.volume_at(300.0, 0.0), abs=0.05
    )
    (page,) = temperature_pages(fit_sweep(spoilt))
    crosses = [line for line in page.axes[0].lines if line.get_marker() == "x"]
    assert [list(line.get_xdata()) for line in crosses] == [[300.0]]


def test_a_crystal_that_is_not_cubic_has_its_lattice_parameters(tmp_path, rng):
    sweep = make_sweep(CRYSTAL, TEMPERATURES, [0.0], rng)
    points = []
    for one in sweep.points:
        a = one.cell_lengths_A[0]
        c = Value(1.6 * a.value * (1.0 + 1e-9 * one.temperature_K**2), 2 * a.stderr)
        points.append(replace(one, cell_lengths_A=(a, a, c), cell_angles_deg=(90.0, 90.0, 120.0)))
    hexagonal = replace(sweep, points=tuple(points))
    fits = fit_sweep(hexagonal)
    assert not fits.is_cubic
    assert [name for name, _ in fits.isobars[0].lengths] == ["a", "c"]
    slopes = [float(fit.coefficient([600.0]).value[0]) for _, fit in fits.isobars[0].lengths]
    assert slopes[1] > slopes[0]
    (page,) = length_pages(fits)
    assert len(page.axes) == 4
    write_sweep_report(hexagonal, tmp_path)


def test_points_without_errors_or_responses_are_drawn_without_fits(tmp_path, rng):
    sweep = make_sweep(CRYSTAL, TEMPERATURES, [0.0, 5.0], rng)
    points = tuple(
        replace(
            one,
            response=None,
            soft_mode=None,
            volume_A3_per_atom=Value(one.volume_A3_per_atom.value, 0.0),
        )
        for one in sweep.points
    )
    fits = fit_sweep(replace(sweep, points=points))
    assert all("nothing is fitted" in one.statements[0] for one in fits.isobars)
    assert all("nothing is fitted" in one.statement for one in fits.isotherms)
    assert write_sweep_report(fits.sweep, tmp_path)[0].is_file()


def test_the_classical_limit_leaves_out_the_translations(rng):
    fits = fit_sweep(make_sweep(CRYSTAL, [300.0], [0.0], rng))
    assert fits.classical_limit == pytest.approx(3.0 * 15 / 16)


def test_the_same_sweep_gives_the_same_bytes(tmp_path, rng):
    sweep = make_sweep(CRYSTAL, TEMPERATURES[:4], [0.0], rng)
    first, again = (write_sweep_report(sweep, tmp_path / name)[0] for name in ("a", "b"))
    assert first.read_bytes() == again.read_bytes()
    assert np.all([one.converged for one in sweep.points])
