"""Thermal conductivity by phono3py: its own force constants, files, refusals, a whole run."""

import sys
from contextlib import contextmanager
from pathlib import Path

import crystals
import numpy as np
import pytest
from crystals import Case
from test_third_order import exact
from toys import Bonds, fcc

from sscha_mlp.cli import run_command
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.ensemble.sampling import sample
from sscha_mlp.errors import InputError
from sscha_mlp.properties import phono3py_adapter as adapter
from sscha_mlp.properties.phono3py_adapter import Lattice, scattering
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.run_files.finished_run import FinishedRun
from sscha_mlp.run_files.observer import watched_by
from sscha_mlp.run_files.records.conductivity import ConductivityRecord
from sscha_mlp.run_files.settings import RunSettings
from sscha_mlp.scha.relaxation import evaluate_ensemble
from sscha_mlp.studies.conductivity import driver
from sscha_mlp.studies.opened import OpenedRun

phono3py = pytest.importorskip(
    "phono3py", reason="phono3py is not installed: pip install 'sscha-mlp[conductivity]'"
)
MESH = (5, 5, 5)
"""Odd: at the zone boundary modes are degenerate, and rounding decides on their tetrahedra."""


def lattice(name: str) -> tuple[crystals.Case, Lattice]:
    case = crystals.CASES[name]()
    third = exact(case.bonds, Gaussian(case.state, 1.0e-3))
    return case, Lattice(case.bonds.harmonic()[0], third)


def finite_displacements(case):
    """phono3py with the forces of the bonds: it orders atoms and derives as it likes."""
    from phonopy.structure.atoms import PhonopyAtoms

    crystal, supercell = case.state.crystal, case.state.supercell.crystal
    cell = PhonopyAtoms(
        numbers=crystal.numbers,
        masses=crystal.masses,
        cell=crystal.cell,
        scaled_positions=crystal.scaled_positions,
    )
    size = case.state.supercell.size
    theirs = phono3py.Phono3py(cell, supercell_matrix=size, primitive_matrix="P", symprec=1e-4)
    theirs.generate_displacements(distance=1e-3)
    # Our place of each of their atoms, by distance alone.
    moved = theirs.supercell.positions[:, None] - supercell.positions[None]
    scaled = moved @ np.linalg.inv(supercell.cell)
    nearest = np.linalg.norm((scaled - np.rint(scaled)) @ supercell.cell, axis=2).argmin(axis=1)
    forces = []
    for one in theirs.supercells_with_displacements:
        shift = one.positions - theirs.supercell.positions
        positions = supercell.positions.copy()
        positions[nearest] += shift
        forces.append(case.bonds.one(positions, supercell.cell)[1][nearest])
    theirs.forces = forces
    theirs.produce_fc3(is_compact_fc=True)
    theirs.produce_fc2(is_compact_fc=True)
    theirs.mesh_numbers = MESH
    theirs.init_phph_interaction()
    theirs.run_thermal_conductivity(temperatures=[300.0])
    return np.array(theirs.thermal_conductivity.kappa[0])


@pytest.mark.parametrize("name", ["rock salt", "wurtzite"])
def test_kappa_is_that_of_finite_displacements_by_phono3py(name):
    """The order of the atoms, units and rows of our arrays, against forces alone."""
    case, own = lattice(name)
    found = scattering(own, MESH, [300.0]).conductivity()
    theirs = finite_displacements(case)
    assert found[0, :3] == pytest.approx(theirs[0, :3], rel=5e-3)
    assert found[0, 0] > 0.1


def test_direct_solution_isotopes_and_bands_are_there_where_asked_for():
    _, own = lattice("rock salt")
    plain = scattering(own, MESH, [300.0])
    assert plain.direct is None
    assert plain.interband is None
    assert plain.multiplicities.sum() == np.prod(MESH)
    full = scattering(own, MESH, [300.0], isotopes=True, direct=True, interband=True)
    assert np.all(full.isotope_widths >= 0) and full.isotope_widths.max() > 0
    assert full.conductivity()[0, 0] < plain.conductivity()[0, 0]
    assert full.direct[0, 0] > 0
    assert 0 <= full.interband[0, 0] < plain.conductivity()[0, 0]
    np.testing.assert_allclose(full.widths, plain.widths, rtol=1e-6, atol=1e-12)


def test_a_square_of_third_derivatives_scales_as_one():
    _, own = lattice("rock salt")
    twice = Lattice(own.state, 2 * own.third)
    one, other = (scattering(each, MESH, [300.0]).widths for each in (own, twice))
    np.testing.assert_allclose(other, 4 * one, rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize("name", ["rock salt", "wurtzite"])
def test_files_of_phono3py_come_back_and_phono3py_has_the_same_kappa(name, tmp_path):
    _, own = lattice(name)
    paths = adapter.write_phono3py(tmp_path, own)
    assert [path.name for path in paths] == ["fc2.hdf5", "fc3.hdf5", "phono3py.yaml"]
    back = adapter.read_phono3py(paths[0], paths[1], own.state.supercell)
    np.testing.assert_array_equal(back.third, own.third)
    np.testing.assert_array_equal(back.state.force_constants, own.state.force_constants)
    theirs = phono3py.load(
        paths[2], fc2_filename=paths[0], fc3_filename=paths[1], symmetrize_fc=False, log_level=0
    )
    made = adapter._made(own)
    np.testing.assert_array_equal(theirs.fc2, made.fc2)
    np.testing.assert_array_equal(theirs.fc3, made.fc3)
    theirs.mesh_numbers = MESH
    theirs.init_phph_interaction()
    theirs.run_thermal_conductivity(temperatures=[300.0])
    ours = scattering(own, MESH, [300.0]).conductivity()
    # The text of the cell has fewer digits, which decides on tetrahedra of degenerate modes.
    kappa = np.array(theirs.thermal_conductivity.kappa[0])
    assert kappa[0, :3] == pytest.approx(ours[0, :3], rel=3e-2)


def test_files_of_another_supercell_are_refused(tmp_path):
    _, own = lattice("rock salt")
    paths = adapter.write_phono3py(tmp_path, own)
    other = Supercell(own.state.crystal, (3, 2, 2))
    with pytest.raises(InputError, match="holds an array of shape"):
        adapter.read_phono3py(paths[0], paths[1], other)
    paths[0].write_text("no file of HDF5")
    with pytest.raises(InputError, match="cannot be read"):
        adapter.read_phono3py(paths[0], paths[1], own.state.supercell)


def test_imaginary_modes_are_refused_and_named():
    _, own = lattice("rock salt")
    unstable = own.state.with_force_constants(-own.state.force_constants)
    with pytest.raises(InputError, match=r"imaginary: -\d+\.\d\d THz at q = \("):
        scattering(Lattice(unstable, own.third), MESH, [300.0])


def test_a_mesh_on_which_nothing_scatters_is_refused():
    _, own = lattice("silicon")  # bonds alone: no three modes conserve energy
    found = scattering(own, MESH, [300.0])
    with pytest.raises(InputError, match=r"\d+ % of the modes meet no others"):
        driver._require_scattering(MESH, found)
    assert found.conductivity()[0, 0] < 1e9


def test_a_missing_phono3py_is_one_sentence(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "phono3py", None)
    with pytest.raises(InputError, match=r"pip install 'sscha-mlp\[conductivity\]'"):
        adapter.require_phono3py()


C_OF_MODEL, C_OF_REFERENCE = -2.0, -2.1
"""Cubic term of the bonds of rock salt: the reference scatters more."""


def bonds_of(cubic: float) -> Bonds:
    return Bonds(crystals.rock_salt().state.supercell, 4.1, k=1.5, far=0.2, c=cubic)


@pytest.fixture
def salt(tmp_path, monkeypatch):
    """A finished run of rock salt whose model and reference are bonds: what both say is exact."""
    place = RunDirectory(tmp_path / "run")
    place.path.mkdir()
    place.result.write_text("{}")
    model, case = bonds_of(C_OF_MODEL), crystals.rock_salt()
    settings = RunSettings(temperature=300.0)

    @contextmanager
    def opened(directory, what, **options):
        assert Path(directory) == place.path
        run = FinishedRun(place, settings, None)
        yield OpenedRun(run, model.harmonic()[0], case.group, None, model, watched_by(None))

    def difference(study):
        given = {"temperature": 300.0, "n_configs": 6, "minimum_distance_ratio": 0.0}
        ensemble = sample(study.state, rng=np.random.default_rng(8), antithetic=False, **given)
        model_says = evaluate_ensemble(ensemble, model)
        return evaluate_ensemble(ensemble, bonds_of(C_OF_REFERENCE)).minus(model_says)

    monkeypatch.setattr("sscha_mlp.studies.conductivity.driver.opened_run", opened)
    monkeypatch.setattr("sscha_mlp.studies.conductivity.driver.check_difference", difference)
    return place.path


def truth(cubic: float, temperature: float) -> float:
    case = Case(bonds_of(cubic), crystals.rock_salt().state, 300.0, 2)
    third = exact(case.bonds, Gaussian(case.state, 300.0))
    state = case.bonds.harmonic()[0]  # no quartic term: the SSCHA of these bonds is harmonic
    return scattering(Lattice(state, third), MESH, [temperature]).conductivity()[0, 0]


@pytest.mark.slow
def test_a_run_has_the_exact_conductivity_within_errors_and_goes_on_where_it_stopped(
    salt, monkeypatch, capsys
):
    arguments = ["conductivity", str(salt), "--mesh", *"555", "--coarse-mesh", *"555"]
    arguments += ["--configs", "4000", "--T", "200", "--T", "300", "--export", "--json", "--quiet"]
    calls = []

    def counted(*given, **options):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return scattering(*given, **options)

    monkeypatch.setattr("sscha_mlp.studies.conductivity.driver.scattering", counted)
    assert run_command(arguments) == 130
    assert not (salt / "conductivity.json").exists()
    assert run_command(arguments) == 0
    capsys.readouterr()
    whole, blocks, halves, groups = (
        1,
        10,
        8,
        6,
    )  # one mesh, so that the whole ensemble is taken once
    assert len(calls) - 1 == whole + blocks + halves + 2 * groups
    found = ConductivityRecord.read(salt / "conductivity.json")
    assert found.check_labels == 6
    for one in found.temperatures:
        model = truth(C_OF_MODEL, one.temperature_K)
        reference = truth(C_OF_REFERENCE, one.temperature_K)
        assert abs(one.sampled[0] - model) < 3 * one.sampled_stderr[0] + 0.02 * model
        assert abs(one.kappa[0] - reference) < 3 * one.stderr[0] + 0.02 * model
        assert one.plain[0] < one.sampled[0]  # the square of the noise scatters
        assert one.sampled_stderr[0] < 0.3 * model
        assert one.cumulative[-1] == pytest.approx(sum(one.kappa[:3]) / 3, rel=1e-6)
    assert found.temperatures[0].kappa[0] > found.temperatures[1].kappa[0]
    assert sum(one.multiplicity for one in found.modes) == np.prod(MESH)
    for name in ("conductivity.pdf", "conductivity-modes.csv"):
        assert (salt / name).stat().st_size > 1000
    files = [salt / "conductivity" / "phono3py" / name for name in ("fc2.hdf5", "fc3.hdf5")]
    own = adapter.read_phono3py(*files, crystals.rock_salt().state.supercell)
    kappa = scattering(own, MESH, [300.0]).conductivity()
    assert kappa[0, 0] == pytest.approx(found.temperatures[1].plain[0], rel=1e-6)
    assert run_command(arguments[:-2]) == 0
    shown = capsys.readouterr().out
    assert "shift: to the reference, by 6 labels" in " ".join(shown.split())


def test_a_supercell_without_third_derivatives_is_refused(salt, capsys, monkeypatch):
    bonds = fcc((2, 2, 2), c=-3.0)
    state, group = bonds.harmonic()

    @contextmanager
    def opened(directory, what, **options):
        run = FinishedRun(RunDirectory(salt), RunSettings(temperature=300.0), None)
        yield OpenedRun(run, state, group, None, bonds, watched_by(None))

    monkeypatch.setattr("sscha_mlp.studies.conductivity.driver.opened_run", opened)
    (salt / "result.json").write_text("another")
    arguments = ["conductivity", str(salt), "--mesh", *"555", "--configs", "40", "--quiet"]
    assert run_command(arguments) == 2
    assert "vanish by symmetry in the 2×2×2 supercell" in capsys.readouterr().err


def test_what_is_no_finished_run_is_refused(tmp_path, capsys):
    assert run_command(["conductivity", str(tmp_path), "--quiet"]) == 2
    assert str(tmp_path) in capsys.readouterr().err
