"""GAP: fit, store, evaluate, select.  Reference: Tersoff, Phys. Rev. B 39, 5566 (1989), silicon."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from sscha_mlp.data import extxyz
from sscha_mlp.data.labels import Label, LabelledConfiguration
from sscha_mlp.errors import ConfigError, FitError, InputError, ModelError
from sscha_mlp.parallel.memory import available
from sscha_mlp.potentials import registry
from sscha_mlp.potentials.gap import GapSettings, memory
from sscha_mlp.potentials.gap import command as gap_command
from sscha_mlp.potentials.gap import model as gap_model
from sscha_mlp.potentials.gap.evaluator import Prediction
from sscha_mlp.potentials.gap.fitting import fit as gap_fit_function
from sscha_mlp.potentials.gap.model import GapPotential
from sscha_mlp.potentials.protocol import Potential, Predictions
from sscha_mlp.potentials.selection import farthest_points, select
from sscha_mlp.quippy_adapter import quippy_potential

TERSOFF = """<Tersoff_params n_types="1" label="PRB_39">
<per_type_data type="1" atomic_num="14" A="1830.8" B="471.18" lambda="2.4799" mu="1.7322"
 beta="0.0000011" n="0.78734" c="100390" d="16.217" h="-0.59825" R="2.7" S="3.0" />
<per_pair_data type1="1" type2="1" chi="1.0" /></Tersoff_params>"""
SETTINGS = {"n_sparse": 80}
GPA = 1.0 / 160.21766208


def silicon(rng, amplitude):
    atoms = bulk("Si", a=5.432) * (2, 2, 2)
    strain = np.eye(3) + 0.005 * rng.normal(size=(3, 3))
    atoms.set_cell(atoms.cell.array @ (strain + strain.T) / 2, scale_atoms=True)
    atoms.positions += rng.normal(0.0, amplitude, atoms.positions.shape)
    return atoms


def labelled(atoms, calculator, origin="start"):
    copy = atoms.copy()
    copy.calc = calculator
    label = Label(
        energy=copy.get_potential_energy(),
        forces=copy.get_forces(),
        stress=copy.get_stress(voigt=False),
    )
    return LabelledConfiguration(atoms=atoms, label=label, origin=origin)


def sample(n, seed, amplitude=0.06):
    rng = np.random.default_rng(seed)
    tersoff = quippy_potential("IP Tersoff", param_str=TERSOFF)
    return [labelled(silicon(rng, amplitude), tersoff) for _ in range(n)]


@pytest.fixture(scope="module")
def train():
    return sample(18, seed=1)


@pytest.fixture(scope="module")
def test_set():
    return sample(13, seed=2)


@pytest.fixture(scope="module")
def fitted(train, tmp_path_factory):
    directory = tmp_path_factory.mktemp("models") / "000"
    return registry.fit("gap", train, directory=directory, settings=SETTINGS, seed=3)


@pytest.fixture
def copied(fitted, tmp_path):
    for path in fitted.path.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


@pytest.fixture
def no_gap_fit(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("gap_fit was run")

    monkeypatch.setattr("sscha_mlp.potentials.gap.fitting.run_gap_fit", refuse)


# ---------------------------------------------------------------------------------- the fit


def test_fit_is_accurate_on_configurations_it_has_not_seen(fitted, test_set):
    atoms = [item.atoms for item in test_set]
    predicted = fitted.evaluate(atoms)
    energies = np.array([item.label.energy for item in test_set])
    forces = np.array([item.label.forces for item in test_set])
    stresses = np.array([item.label.stress for item in test_set])
    assert np.sqrt(np.mean((predicted.energies - energies) ** 2)) / 16 < 2e-3
    assert np.sqrt(np.mean((np.array(predicted.forces) - forces) ** 2)) < 0.1
    assert np.sqrt(np.mean((predicted.stresses - stresses) ** 2)) < 0.3 * GPA
    assert np.std(forces) > 1.0


def test_fit_satisfies_the_protocol_and_records_what_it_did(fitted, train):
    assert isinstance(fitted, Potential)
    assert fitted.kind == "gap"
    assert dict(fitted.settings) == GapSettings.from_mapping(SETTINGS).as_dict()
    record = json.loads((fitted.path / "model.json").read_text())
    assert record["labels"]["forces"] == 18 * 48
    assert record["n_train"] == len(train)
    assert record["elements"] == ["Si"]
    assert record["seed"] == 3
    assert record["memory_announced_bytes"] > 1e6
    assert record["versions"]["quippy-ase"]
    assert not list(fitted.path.glob(".fit-*"))


def test_same_data_give_the_same_bytes(fitted, train, tmp_path):
    again = registry.fit("gap", train, directory=tmp_path / "b", settings=SETTINGS, seed=3)
    assert again.sha256 == fitted.sha256
    for name in again.record.files:
        assert (again.path / name).read_bytes() == (fitted.path / name).read_bytes()


def test_inputs_are_not_changed(fitted, test_set):
    atoms = [item.atoms.copy() for item in test_set[:3]]
    before = pickle.dumps([(a.positions, a.cell.array, a.numbers) for a in atoms])
    fitted.evaluate(atoms, uncertainty=True)
    assert pickle.dumps([(a.positions, a.cell.array, a.numbers) for a in atoms]) == before
    assert all(a.calc is None for a in atoms)


@pytest.mark.usefixtures("no_gap_fit")
def test_finished_fit_is_found_again(train, copied, fitted):
    again = registry.fit("gap", train, directory=copied, settings=SETTINGS, seed=3)
    assert again.sha256 == fitted.sha256


@pytest.mark.usefixtures("no_gap_fit")
@pytest.mark.parametrize("change", ["data", "settings", "seed"])
def test_finished_fit_of_something_else_is_not_overwritten(train, copied, change):
    data = train[:-1] if change == "data" else train
    settings = {"n_sparse": 79} if change == "settings" else SETTINGS
    with pytest.raises(InputError, match="holds a finished GAP of other"):
        registry.fit("gap", data, directory=copied, settings=settings, seed=3 + (change == "seed"))


@pytest.mark.usefixtures("no_gap_fit")
def test_model_of_another_kind_is_not_overwritten(train, tmp_path):
    (tmp_path / "model.json").write_text('{"schema": "other/1", "kind": "other"}')
    with pytest.raises(InputError, match="other/1"):
        registry.fit("gap", train, directory=tmp_path, settings=SETTINGS)


def test_unfinished_or_damaged_fit_is_done_again(train, copied, fitted):
    (copied / "notes.txt").write_text("keep me")
    sparse = next(copied.glob("GAP.xml.sparseX.*"))
    sparse.write_bytes(sparse.read_bytes()[:-100])
    (copied / "GAP.xml.sparseX.GAP_old1").write_text("left behind")
    again = registry.fit("gap", train, directory=copied, settings=SETTINGS, seed=3)
    assert again.sha256 == fitted.sha256
    assert (copied / "notes.txt").read_text() == "keep me"
    assert not (copied / "GAP.xml.sparseX.GAP_old1").exists()


def test_killed_fit_leaves_no_process_and_is_done_again(tmp_path):
    data = sample(60, seed=5)
    (tmp_path / "data.pickle").write_bytes(pickle.dumps(data))
    script = (
        "import pickle, pathlib; from sscha_mlp.potentials import registry\n"
        f"base = pathlib.Path({str(tmp_path)!r})\n"
        "data = pickle.loads((base / 'data.pickle').read_bytes())\n"
        "registry.fit('gap', data, directory=base / 'model')\n"
    )
    with subprocess.Popen([sys.executable, "-c", script]) as parent:
        until = time.monotonic() + 30
        while not (child := children(parent.pid)) and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(parent.pid, signal.SIGKILL)
    until = time.monotonic() + 5
    while Path(f"/proc/{child[0]}").exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert not Path(f"/proc/{child[0]}").exists()
    with pytest.raises(ModelError, match=r"no finished model"):
        registry.load(tmp_path / "model")
    model = registry.fit("gap", data[:8], directory=tmp_path / "model", settings=SETTINGS)
    assert not list(model.path.glob(".fit-*"))


def children(pid):
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []


@pytest.mark.parametrize("key", ["energy", "forces", "stress"])
def test_labels_that_gap_fit_does_not_see_are_an_error(train, tmp_path, monkeypatch, key):
    def misnamed(path, configurations):
        extxyz.write_extxyz(path, configurations)
        marks = {"energy": " energy=", "forces": ":forces:", "stress": " stress="}
        text = path.read_text().replace(marks[key], marks[key].replace(key, f"dft_{key}"))
        path.write_text(text)

    monkeypatch.setattr("sscha_mlp.potentials.gap.fitting.write_extxyz", misnamed)
    with pytest.raises(FitError, match="found 0 of"):
        registry.fit("gap", train[:3], directory=tmp_path / "m", settings={"n_sparse": 5})
    assert not (tmp_path / "m" / "model.json").exists()
    assert (tmp_path / "m" / "gap_fit.log").stat().st_size > 1000


def test_extra_arrays_do_not_reach_gap_fit(train, tmp_path):
    atoms = train[0].atoms.copy()
    atoms.set_array("force_mask", np.ones(16, dtype=int))
    atoms.set_array("force_atom_sigma", np.full(16, 1e3))
    odd = [replace(train[0], atoms=atoms), *train[1:4]]
    settings = {"n_sparse": 5}
    plain = registry.fit("gap", train[:4], directory=tmp_path / "a", settings=settings)
    assert registry.fit("gap", odd, directory=tmp_path / "b", settings=settings).sha256 == (
        plain.sha256
    )


def test_gap_fit_that_fails_with_status_zero_is_caught(train, tmp_path, monkeypatch):
    fake = tmp_path / "gap_fit"
    fake.write_text("#!/bin/sh\necho out of luck\n")
    fake.chmod(0o755)
    monkeypatch.setattr(gap_command, "find_gap_fit", lambda: str(fake))
    with pytest.raises(FitError, match=r"ended without writing GAP\.xml.*out of luck"):
        registry.fit("gap", train[:3], directory=tmp_path / "m")


def test_missing_and_non_finite_labels_are_refused(train, tmp_path):
    class Unlabelled:
        atoms = train[0].atoms
        label = None

    class Broken:
        atoms = train[0].atoms

        class label:  # noqa: N801
            energy = float("nan")
            forces = train[0].label.forces
            stress = train[0].label.stress

    for wrong in (Unlabelled, Broken):
        with pytest.raises(InputError, match=r"configuration 1 .* has no finite energy"):
            registry.fit("gap", [train[0], wrong], directory=tmp_path)
    with pytest.raises(InputError, match="at least one"):
        registry.fit("gap", [], directory=tmp_path)


def test_too_much_memory_is_refused_before_it_is_taken(train, tmp_path):
    start = time.monotonic()
    with pytest.raises(FitError, match=r"may take 0\.09 GB: train on at most 6 of them"):
        registry.fit("gap", train, directory=tmp_path, memory_limit=8.6e7)
    assert time.monotonic() - start < 5.0
    assert not (tmp_path / "model.json").exists()
    assert "Number of target" not in (tmp_path / "gap_fit.log").read_text()


def test_memory_of_the_machine_and_of_its_control_group(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 99 kB\nMemAvailable:    2000000 kB\n")
    group = tmp_path / "cgroup"
    group.mkdir()
    assert available(tmp_path, group) == 2.048e9
    (group / "memory.max").write_text("1000000000\n")
    (group / "memory.current").write_text("700000000\n")
    (group / "memory.stat").write_text("active_file 5\ninactive_file 100000000\n")
    assert available(tmp_path, group) == 4.0e8
    (group / "memory.max").write_text("max\n")
    assert available(tmp_path, group) == 2.048e9
    assert available(tmp_path / "none", tmp_path / "none") is None
    assert memory.parse_peak("PEAK  73 MB") == 7.3e7
    assert memory.parse_peak("Peak1 73 MB") is None


def test_fewer_environments_than_sparse_points(train, tmp_path):
    model = registry.fit("gap", train[:2], directory=tmp_path)
    assert model.record.details["n_sparse_used"] == 32
    assert np.isfinite(model.evaluate([train[3].atoms]).energies).all()


def test_two_species(tmp_path):
    rng = np.random.default_rng(8)

    def alloy():
        atoms = bulk("Cu", a=3.95, cubic=True) * (1, 1, 2)
        atoms.symbols[::2] = "Au"
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
        return labelled(atoms, EMT())

    data = [alloy() for _ in range(14)]
    model = registry.fit("gap", data[:10], directory=tmp_path, settings={"n_sparse": 60})
    assert model.elements == ("Au", "Cu")
    assert len(model.record.files) == 3
    predicted = model.evaluate([item.atoms for item in data[10:]])
    errors = predicted.energies - [item.label.energy for item in data[10:]]
    assert np.abs(errors).max() / 8 < 0.02
    text = (tmp_path / "GAP.xml").read_text()
    mean = np.mean([item.label.energy / 8 for item in data[:10]])
    for number in (29, 79):  # e0: the mean energy per atom, for either species
        value = text.split(f'<e0 Z="{number}" value="')[1].split('"')[0]
        assert float(value) == pytest.approx(mean, rel=1e-10)


# ------------------------------------------------------------------------------ evaluation


def test_forces_and_stress_are_derivatives_of_the_energy(fitted, test_set):
    atoms, h = test_set[0].atoms.copy(), 1e-4
    predicted = fitted.evaluate([atoms])
    moved = []
    for atom, axis in ((0, 0), (7, 2), (12, 1)):
        for sign in (1, -1):
            other = atoms.copy()
            other.positions[atom, axis] += sign * h
            moved.append(other)
    for i, j in ((0, 0), (1, 1), (0, 1), (1, 2)):
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += sign * h / 2
            strain[j, i] += sign * h / 2
            other = atoms.copy()
            other.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            moved.append(other)
    energies = fitted.evaluate(moved).energies
    slopes = (energies[::2] - energies[1::2]) / (2 * h)
    forces = predicted.forces[0]
    np.testing.assert_allclose(-slopes[:3], [forces[0, 0], forces[7, 2], forces[12, 1]], atol=1e-5)
    stress = predicted.stresses[0]
    expected = [stress[0, 0], stress[1, 1], stress[0, 1], stress[1, 2]]
    np.testing.assert_allclose(slopes[3:] / atoms.get_volume(), expected, atol=1e-7)
    np.testing.assert_allclose(forces.sum(axis=0), 0.0, atol=1e-9)


def test_predictions_do_not_depend_on_workers_or_batches(fitted, test_set):
    atoms = [item.atoms for item in test_set]
    alone = [fitted.evaluate([one], uncertainty=True) for one in atoms]
    here = fitted.evaluate(atoms, uncertainty=True)
    with registry.load(fitted.path, n_workers=2) as pool:
        there = pool.evaluate(atoms, uncertainty=True)
        plain = pool.evaluate(atoms)
    assert plain.uncertainty is None
    for other in (there, plain):
        np.testing.assert_array_equal(here.energies, other.energies)
        np.testing.assert_array_equal(np.array(here.forces), np.array(other.forces))
        np.testing.assert_array_equal(here.stresses, other.stresses)
    np.testing.assert_array_equal(here.uncertainty, there.uncertainty)
    one_by_one = [float(one.energies[0]) for one in alone]
    np.testing.assert_allclose(here.energies, one_by_one, atol=1e-8, rtol=0)
    np.testing.assert_allclose(here.forces, [one.forces[0] for one in alone], atol=1e-8)
    np.testing.assert_allclose(here.stresses, [one.stresses[0] for one in alone], atol=1e-10)
    np.testing.assert_allclose(here.uncertainty, [one.uncertainty[0] for one in alone], rtol=1e-5)
    assert not here.energies.flags.writeable


def test_batches_of_odd_crystals_agree_with_one_at_a_time(fitted):
    rng = np.random.default_rng(6)
    sheared = bulk("Si", a=5.4)
    sheared.set_cell(sheared.cell.array @ [[1, 0, 0], [1.0, 1, 0], [0, 0.5, 1]], scale_atoms=False)
    slab = bulk("Si", a=5.4, cubic=True)
    slab.pbc = (True, False, True)
    scattered = silicon(rng, 0.05)
    scattered.positions += rng.integers(-3, 4, (16, 3)) @ scattered.cell.array
    big = bulk("Si", a=5.4, cubic=True) * (2, 2, 2)
    crystals = [bulk("Si", a=5.4), sheared, slab, scattered, big, silicon(rng, 0.05)]
    for atoms in crystals:
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
    together = fitted.evaluate(crystals, uncertainty=True)
    for index, atoms in enumerate(crystals):
        alone = fitted.evaluate([atoms], uncertainty=True)
        assert together.energies[index] == pytest.approx(alone.energies[0], abs=1e-8)
        np.testing.assert_allclose(together.forces[index], alone.forces[0], atol=1e-8)
        np.testing.assert_allclose(together.stresses[index], alone.stresses[0], atol=1e-10)
        assert together.uncertainty[index] == pytest.approx(alone.uncertainty[0], rel=1e-5)


def test_same_numbers_as_quippy_by_hand(fitted, test_set):
    atoms = test_set[0].atoms.copy()
    predicted = fitted.evaluate([atoms], uncertainty=True)
    atoms.calc = quippy_potential(
        "IP GAP", param_filename=fitted.path / "GAP.xml", calc_args="local_gap_variance"
    )
    assert atoms.get_potential_energy() == predicted.energies[0]
    np.testing.assert_array_equal(atoms.get_forces(), predicted.forces[0])
    np.testing.assert_allclose(atoms.get_stress(voigt=False), predicted.stresses[0], atol=1e-14)
    variance = atoms.calc.extra_results["atoms"]["local_gap_variance"]
    assert np.sqrt(variance.max()) == pytest.approx(predicted.uncertainty[0], rel=1e-12)


def test_uncertainty_grows_with_the_distance_from_the_training_data(fitted):
    rng = np.random.default_rng(4)
    near = [silicon(rng, 0.06) for _ in range(4)]
    far = [silicon(rng, 0.25) for _ in range(4)]
    uncertainty = fitted.evaluate(near + far, uncertainty=True).uncertainty
    assert uncertainty[4:].min() > uncertainty[:4].max()


def test_calculator_gives_the_same_as_evaluate(fitted, test_set):
    atoms = test_set[1].atoms.copy()
    predicted = fitted.evaluate([atoms])
    atoms.calc = fitted.calculator()
    assert atoms.get_potential_energy() == predicted.energies[0]
    np.testing.assert_array_equal(atoms.get_forces(), predicted.forces[0])
    np.testing.assert_allclose(atoms.get_stress(voigt=False), predicted.stresses[0], atol=1e-15)


def test_empty_batch(fitted):
    predicted = fitted.evaluate([], uncertainty=True)
    assert len(predicted) == 0
    assert predicted.stresses.shape == (0, 3, 3)


def test_what_cannot_be_evaluated_is_named(fitted, test_set, monkeypatch):
    good = test_set[0].atoms
    with pytest.raises(ModelError, match=r"Configuration 1 holds Ge, .* trained on Si only"):
        fitted.evaluate([good, bulk("Ge")])
    nowhere = good.copy()
    nowhere.positions[3, 1] = np.nan
    with pytest.raises(InputError, match="Configuration 1 has positions"):
        fitted.evaluate([good, nowhere])
    with pytest.raises(InputError, match="Configuration 0 has a cell without volume"):
        fitted.evaluate([Atoms("Si")])
    with pytest.raises(InputError, match="Configuration 0 has no atoms"):
        fitted.evaluate([Atoms(cell=np.eye(3))])
    nan = [Prediction(0.0, np.zeros((1, 3)), np.zeros((3, 3)), None)] * 2
    nan.append(replace(nan[0], energy=float("nan")))
    with pytest.raises(ModelError, match="configuration 2"):
        gap_model._collect(nan, uncertainty=False)


def test_predictions_of_wrong_shape_are_refused():
    with pytest.raises(InputError, match=r"stresses has shape \(1, 6\)"):
        Predictions(energies=np.zeros(1), forces=(np.zeros((2, 3)),), stresses=np.zeros((1, 6)))


# ---------------------------------------------------------------------------------- loading


def test_damaged_and_missing_files_are_one_sentence(copied, fitted):
    sparse = next(copied.glob("GAP.xml.sparseX.*"))
    content = sparse.read_bytes()
    sparse.write_bytes(content.replace(b"1", b"2", 1))
    with pytest.raises(ModelError, match="is damaged") as damaged:
        registry.load(copied)
    assert "\n" not in str(damaged.value)
    sparse.unlink()
    with pytest.raises(ModelError, match=f"incomplete, {sparse.name} is missing"):
        registry.load(copied)
    sparse.write_bytes(content)
    assert registry.load(copied).sha256 == fitted.sha256
    (copied / "model.json").write_text("{")
    with pytest.raises(ModelError, match="damaged or unreadable"):
        registry.load(copied)
    (copied / "model.json").unlink()
    with pytest.raises(ModelError, match="holds no finished model"):
        registry.load(copied)


def test_model_can_be_moved(copied, test_set, fitted):
    moved = copied.rename(copied.with_name("moved"))
    atoms = [test_set[0].atoms]
    np.testing.assert_array_equal(
        registry.load(moved).evaluate(atoms).energies, fitted.evaluate(atoms).energies
    )


# --------------------------------------------------------------------- settings and registry


def test_defaults_are_those_of_the_tutorial():
    arguments = " ".join(gap_command.gap_fit_arguments(GapSettings(), n_sparse=200, seed=0))
    for expected in (
        "default_sigma={0.001 0.03 0.03 0.0}",
        "e0_method=average",
        "sparse_jitter=1e-08",
        "rnd_seed=1 ",
        "soap cutoff=4.2 n_sparse=200 covariance_type=dot_product sparse_method=cur_points "
        "delta=0.205 zeta=4 l_max=4 n_max=8 atom_sigma=0.5 cutoff_transition_width=0.8",
    ):
        assert expected in arguments


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"cutof": 4.0}, "Unknown GAP setting cutof"),
        ({"cutoff": -1.0}, "must be positive"),
        ({"cutoff": 0.5}, "must be smaller than cutoff"),
        ({"cutoff": float("nan")}, "must be positive and finite"),
        ({"n_sparse": 0}, "integer of at least 1"),
        ({"zeta": 2.5}, "integer"),
        ({"delta": "0.1"}, "must be a number"),
        ({"default_sigma": [0.1, 0.1]}, "four numbers"),
        ({"default_sigma": [0.0, 0.1, 0.1, 0.0]}, "must be positive"),
        ({"e0_method": "isolated"}, "must be one of: average"),
        ({"sparse_method": "magic; rm -rf"}, "must be one of"),
    ],
)
def test_wrong_settings_are_refused(wrong, match):
    with pytest.raises(ConfigError, match=match):
        GapSettings.from_mapping(wrong)


def test_settings_survive_json():
    settings = GapSettings(n_sparse=7, default_sigma=(1, 2, 3, 0))
    assert GapSettings.from_mapping(json.loads(json.dumps(settings.as_dict()))) == settings


def test_unknown_kind_names_the_known_ones(train, tmp_path):
    with pytest.raises(ConfigError, match=r"kind 'magic'; the known kinds are: mtp, gap"):
        registry.fit("magic", train, directory=tmp_path)
    (tmp_path / "model.json").write_text('{"kind": "magic"}')
    with pytest.raises(ConfigError, match="magic"):
        registry.load(tmp_path)


def test_importing_the_registry_does_not_import_quippy():
    code = (
        "import sys, sscha_mlp.potentials.registry, sscha_mlp.potentials.gap; "
        "assert 'quippy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_negative_seed_is_refused(train, tmp_path):
    with pytest.raises(InputError, match="seed"):
        gap_fit_function(train, directory=tmp_path, seed=-1)


# -------------------------------------------------------------------------------- selection


def test_selection_is_reproducible_and_without_repetition(fitted, test_set):
    atoms = [item.atoms for item in test_set]
    for method in ("random", "fps", "variance"):
        picks = [
            select(atoms, 6, method=method, potential=fitted, rng=np.random.default_rng(1))
            for _ in range(2)
        ]
        assert picks[0] == picks[1]
        assert len(set(picks[0])) == 6
    everything = select(atoms, len(atoms), rng=np.random.default_rng(1))
    assert sorted(everything) == list(range(len(atoms)))


def test_selection_by_variance_finds_the_stranger(fitted, test_set):
    atoms = [item.atoms for item in test_set]
    atoms[5] = silicon(np.random.default_rng(9), 0.25)
    rng = np.random.default_rng(0)
    assert select(atoms, 1, method="variance", potential=fitted, rng=rng) == (5,)


def test_farthest_points_spread_and_avoid_what_is_known():
    features = np.array([[0.0], [0.1], [5.0], [10.0], [10.1]])
    rng = np.random.default_rng(0)
    assert farthest_points(features, 2, known=np.array([[0.0]]), rng=rng) == [4, 2]
    assert sorted(farthest_points(np.zeros((4, 2)), 4, known=np.empty((0, 2)), rng=rng)) == [
        0,
        1,
        2,
        3,
    ]


def test_fps_by_displacement_does_not_mind_the_periodic_image():
    rng = np.random.default_rng(3)
    atoms = [silicon(rng, 0.05) for _ in range(8)]
    shifted = [a.copy() for a in atoms]
    for one in shifted[::2]:
        one.positions[3] += one.cell[0]
    known = [silicon(rng, 0.05)]
    assert select(atoms, 4, rng=rng, known=known) == select(shifted, 4, rng=rng, known=known)


def test_wrong_selections_are_refused(fitted, test_set):
    atoms = [item.atoms for item in test_set]
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="random"):
        select(atoms, 2, method="best", rng=rng)
    with pytest.raises(InputError, match="99 configurations cannot"):
        select(atoms, 99, rng=rng)
    with pytest.raises(InputError, match="needs a potential"):
        select(atoms, 2, method="variance", rng=rng)
    with pytest.raises(InputError, match="configuration 13 holds other atoms"):
        select([*atoms, bulk("Si")], 2, rng=rng)
    assert select(atoms, 0, rng=rng) == ()


def test_repr_names_the_model(fitted):
    assert isinstance(fitted, GapPotential)
    assert str(fitted.path) in repr(fitted)
