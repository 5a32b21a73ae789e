"""Errors of a model against its reference: known numbers, SciPy as the second code, files."""

import json
import math

import numpy as np
import pytest
from ase import Atoms
from scipy import stats

from sscha_mlp import units
from sscha_mlp.data.labels import Label, LabelledConfiguration
from sscha_mlp.errors import InputError
from sscha_mlp.potentials.protocol import Predictions
from sscha_mlp.validation.metrics import ValidationSet, compare
from sscha_mlp.validation.statistics import error_statistics, root_mean_square

SIZES = (2, 4, 2, 4, 2, 4, 2, 4, 2, 4, 2, 4)


def make_configurations(rng, sizes=SIZES, symbols="SiC"):
    found = []
    for size in sizes:
        stress = rng.normal(size=(3, 3)) * units.GPA
        label = Label(
            energy=-5.0 * size + 0.1 * rng.normal(),
            forces=rng.normal(size=(size, 3)),
            stress=stress + stress.T,
        )
        atoms = Atoms(
            symbols * (size // 2), positions=rng.uniform(0, 5, (size, 3)), cell=[6.0] * 3, pbc=True
        )
        amplitude = float(rng.uniform(0.1, 0.4))
        found.append(LabelledConfiguration(atoms, label, 300.0, amplitude, "test"))
    return found


def predictions_for(configurations, energy=0.0, force=0.0, stress=0.0):
    """Labels less the given errors, one for all or one for each configuration."""
    n = len(configurations)
    energy, stress = np.broadcast_to(energy, n), np.broadcast_to(stress, n)
    sizes = np.array([len(one.atoms) for one in configurations])
    return Predictions(
        energies=np.array([one.label.energy for one in configurations]) - energy * sizes,
        forces=tuple(one.label.forces - force for one in configurations),
        stresses=np.array([one.label.stress for one in configurations])
        - stress[:, None, None] * np.eye(3),
    )


@pytest.fixture
def configurations(rng):
    return make_configurations(rng)


def noisy_set(configurations, rng):
    n = len(configurations)
    exact = predictions_for(configurations)
    noisy = Predictions(
        energies=exact.energies + 0.01 * rng.normal(size=n),
        forces=tuple(force + 0.05 * rng.normal(size=force.shape) for force in exact.forces),
        stresses=exact.stresses + 0.1 * units.GPA * rng.normal(size=n)[:, None, None],
        uncertainty=rng.uniform(size=n),
    )
    return compare("noisy", configurations, noisy, 300.0)


def test_a_perfect_model_has_no_errors(configurations):
    one = compare("perfect", configurations, predictions_for(configurations), 300.0)

    for numbers in (one.energy, one.force, one.stress):
        assert numbers.rmse == pytest.approx(0.0, abs=1e-12)
        assert numbers.r2 == pytest.approx(1.0)
        assert numbers.slope == pytest.approx(1.0)
        assert numbers.bias_p_value == 1.0


def test_an_offset_is_a_bias_of_reference_minus_model(configurations):
    given = predictions_for(configurations, energy=0.015, stress=0.7 * units.GPA)
    row = compare("offset", configurations, given, 2000.0).to_json()

    assert row["energy_rmse_meV_per_atom"] == pytest.approx(15.0)
    assert row["energy_bias_meV_per_atom"] == pytest.approx(15.0)
    assert row["details"]["stress"]["bias"] == pytest.approx(0.7)
    assert row["stress_rmse_GPa"] == pytest.approx(0.7 / math.sqrt(2.0))
    assert row["details"]["energy"]["bias_p_value"] == 0.0
    assert row["details"]["sign"] == "reference - model"


def test_statistics_of_known_errors():
    reference = np.array([0.0, 1.0, 2.0, 3.0])
    error = np.array([0.3, -0.1, 0.1, -0.3])
    numbers = error_statistics(reference, reference - error, np.arange(4))

    assert numbers.rmse == pytest.approx(math.sqrt(0.05))
    assert numbers.mae == pytest.approx(0.2)
    assert numbers.max_abs == pytest.approx(0.3)
    assert numbers.r2 == pytest.approx(1.0 - 0.2 / 5.0)
    assert numbers.bias == pytest.approx(0.0, abs=1e-15)
    assert numbers.slope == pytest.approx(np.polyfit(reference, reference - error, 1)[0])
    assert (numbers.normal_mean, numbers.normal_sigma) == pytest.approx(stats.norm.fit(error))


def test_the_bias_is_tested_over_configurations_not_components(rng):
    groups = np.repeat(np.arange(30), 24)
    error = np.repeat(rng.normal(0.1, 1.0, size=30), 24) + 1e-3 * rng.normal(size=720)
    reference = rng.normal(size=720)
    numbers = error_statistics(reference, reference - error, groups)

    means = error.reshape(30, 24).mean(axis=1)
    expected = stats.ttest_1samp(means, 0.0)
    assert numbers.bias_p_value == pytest.approx(expected.pvalue, rel=1e-9)
    assert numbers.bias_stderr == pytest.approx(stats.sem(means), rel=1e-9)
    assert stats.ttest_1samp(error, 0.0).pvalue < 0.2 * numbers.bias_p_value


def test_the_error_of_the_rmse_is_its_scatter(rng):
    """With 200 independent repeats the scatter of the rmse is known to 5 %."""
    groups = np.repeat(np.arange(50), 12)
    scale = np.repeat(rng.uniform(0.5, 1.5, (200, 50)), 12, axis=1)
    found = [root_mean_square(error, groups) for error in scale * rng.normal(size=(200, 600))]
    values, errors = np.array(found).T

    assert errors.mean() == pytest.approx(values.std(ddof=1), rel=0.15)


def test_the_error_of_the_slope_is_its_scatter(rng):
    groups = np.repeat(np.arange(40), 6)
    reference = rng.normal(size=240)
    found = []
    for _ in range(200):
        predicted = 0.9 * reference + 0.2 * rng.normal(size=240)
        numbers = error_statistics(reference, predicted, groups)
        found.append((numbers.slope, numbers.slope_stderr))
    values, errors = np.array(found).T

    assert values.mean() == pytest.approx(0.9, abs=0.004)
    assert errors.mean() == pytest.approx(values.std(ddof=1), rel=0.15)


def test_tails_of_a_normal_and_of_a_heavy_law(rng):
    zero, groups = np.zeros(20000), np.arange(20000)
    normal = error_statistics(zero, rng.normal(size=20000), groups)
    heavy = error_statistics(zero, rng.laplace(size=20000), groups)

    assert normal.excess_kurtosis == pytest.approx(0.0, abs=0.15)
    assert normal.q95_abs == pytest.approx(1.96, rel=0.03)
    assert heavy.excess_kurtosis == pytest.approx(3.0, abs=0.8)
    assert math.isnan(normal.r2), "a constant reference has no coefficient of determination"


def test_a_soft_model_shows_in_the_slope_of_the_forces(configurations):
    exact = predictions_for(configurations)
    soft = Predictions(exact.energies, tuple(0.9 * one for one in exact.forces), exact.stresses)

    assert compare("soft", configurations, soft).force.slope == pytest.approx(0.9)


def test_forces_by_element(configurations):
    exact = predictions_for(configurations)
    forces = tuple(
        force - np.where(one.atoms.numbers[:, None] == 6, 0.2, 0.1)
        for one, force in zip(configurations, exact.forces, strict=True)
    )
    one = compare("SiC", configurations, Predictions(exact.energies, forces, exact.stresses))

    assert [row.symbol for row in one.per_element] == ["C", "Si"]
    assert [row.rmse for row in one.per_element] == pytest.approx([0.2, 0.1])
    assert sum(row.n_atoms for row in one.per_element) == sum(SIZES)
    assert one.force.rmse == pytest.approx(math.sqrt(0.5 * (0.2**2 + 0.1**2)))


def test_bins_of_displacement_hold_every_configuration_once(configurations, rng):
    one = noisy_set(configurations, rng)
    bins = one.by_displacement(n_bins=8)

    assert len(bins) == 2, "twelve configurations make two bins of five or more"
    assert sum(row.n_configs for row in bins) == len(configurations)
    assert bins[0].high <= bins[1].low
    squares = one.force_rmse_per_config**2
    low = np.argsort(one.displacement_rms)[: bins[0].n_configs]
    sizes = np.array(SIZES)
    expected = math.sqrt(np.average(squares[low], weights=sizes[low]))
    assert bins[0].force_rmse == pytest.approx(expected)


def test_without_amplitudes_there_are_no_bins(configurations):
    bare = [LabelledConfiguration(one.atoms, one.label) for one in configurations]

    assert compare("bare", bare, predictions_for(bare)).by_displacement() == ()


def test_one_configuration_has_values_but_no_errors(configurations):
    one = compare("one", configurations[:1], predictions_for(configurations[:1], energy=0.01))
    row = json.loads(json.dumps(one.to_json(), allow_nan=False))

    assert row["energy_rmse_meV_per_atom"] == pytest.approx(10.0)
    assert row["details"]["energy"]["bias_stderr"] is None
    assert row["details"]["energy"]["bias_p_value"] is None


def test_the_row_of_result_json(configurations, rng):
    row = noisy_set(configurations, rng).to_json()

    assert list(row) == [
        "set",
        "temperature_K",
        "n_configs",
        "energy_rmse_meV_per_atom",
        "energy_bias_meV_per_atom",
        "force_rmse_meV_per_A",
        "stress_rmse_GPa",
        "details",
    ]
    assert row["force_rmse_meV_per_A"] == pytest.approx(50.0, rel=0.2)
    assert row["details"]["force"]["unit"] == "meV/Å"
    json.dumps(row, allow_nan=False)


def test_saved_and_loaded_sets_are_equal(configurations, rng, tmp_path):
    one = noisy_set(configurations, rng)
    one.save(tmp_path / "set.npz")
    first = (tmp_path / "set.npz").read_bytes()
    back = ValidationSet.load(tmp_path / "set.npz")
    back.save(tmp_path / "set.npz")

    assert back.to_json() == one.to_json()
    np.testing.assert_array_equal(back.forces_predicted, one.forces_predicted)
    np.testing.assert_array_equal(back.uncertainties, one.uncertainties)
    assert (tmp_path / "set.npz").read_bytes() == first


def test_what_is_unknown_stays_unknown_in_the_file(configurations, tmp_path):
    one = compare("bare", configurations, predictions_for(configurations))
    one.save(tmp_path / "set.npz")
    back = ValidationSet.load(tmp_path / "set.npz")

    assert back.temperature is None
    assert back.uncertainties is None


@pytest.mark.parametrize("content", [b"", b"nothing", b"PK\x03\x04broken"])
def test_a_damaged_file_is_named(content, tmp_path):
    path = tmp_path / "set.npz"
    path.write_bytes(content)

    with pytest.raises(InputError, match=r"set\.npz is not a .*validate the model again"):
        ValidationSet.load(path)


def test_a_file_of_something_else_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", x=np.arange(3))

    with pytest.raises(InputError, match="not a validation set of format"):
        ValidationSet.load(tmp_path / "other.npz")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.npz"):
        ValidationSet.load(tmp_path / "none.npz")


def test_inputs_stay_as_they_were(configurations):
    given = predictions_for(configurations, energy=0.01)
    energies = given.energies.copy()
    forces = [one.label.forces.copy() for one in configurations]
    one = compare("set", configurations, given)

    np.testing.assert_array_equal(given.energies, energies)
    for before, after in zip(forces, configurations, strict=True):
        np.testing.assert_array_equal(before, after.label.forces)
    with pytest.raises(ValueError, match="read-only"):
        one.energies_reference[0] = 0.0


def test_other_configurations_are_refused(configurations):
    with pytest.raises(InputError, match="12 labels and 11 predictions"):
        compare("set", configurations, predictions_for(configurations[:-1]))
    with pytest.raises(InputError, match="same configurations in the same order"):
        compare("set", configurations[:2], predictions_for(configurations[1::-1]))


def test_an_empty_set_is_refused():
    with pytest.raises(InputError, match="no configurations"):
        compare("empty", [], Predictions(np.empty(0), (), np.empty((0, 3, 3))))


def test_a_prediction_that_is_not_finite_is_refused(configurations):
    given = predictions_for(configurations)
    energies = given.energies.copy()
    energies[3] = np.nan

    with pytest.raises(InputError, match="energies_predicted holds a value that is not finite"):
        compare("set", configurations, Predictions(energies, given.forces, given.stresses))
