"""The free-energy Hessian: closed forms, finite differences, python-sscha, symmetry, noise."""

import json
import shutil
from dataclasses import replace

import crystals
import numpy as np
import pytest
from cheap import sscha_mlp
from crystals import Case
from toys import Bonds, fcc, perovskite, wurtzite

from sscha_mlp import units
from sscha_mlp.crystal.dynamical_matrix import (
    DynamicalMatrix,
    contract,
    expand,
    make_positive,
    project,
    symmetrise,
)
from sscha_mlp.crystal.representation import Representation
from sscha_mlp.crystal.structure import Crystal
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.errors import InputError
from sscha_mlp.properties.soft_mode import fit_soft_mode
from sscha_mlp.scha.estimators import Samples, estimate_difference
from sscha_mlp.scha.hessian import free_energy_hessian
from sscha_mlp.scha.minimiser import MinimiserSettings, minimise
from sscha_mlp.scha.relaxation import evaluate_ensemble

TIGHT = MinimiserSettings(meaningful_factor=1e-7, max_steps=300, min_sample_ratio=0.01)


def solved(case: Case) -> Case:
    """The case drawn at its exact minimum."""
    return replace(case, state=case.minimum())


def exact(case: Case, *, fourth: bool) -> DynamicalMatrix:
    """The closed form of the Hessian at the state of a case, its minimum."""
    matrix = case.bonds.hessian(Gaussian(case.state, case.temperature), fourth=fourth)
    constants = symmetrise(case.group, contract(case.state.supercell, matrix))
    return case.state.with_force_constants(constants)


def squares(state: DynamicalMatrix) -> np.ndarray:
    frequencies = np.sort(state.supercell.grid.full(state.modes.at_q), axis=1)
    return np.sign(frequencies) * frequencies**2


@pytest.mark.parametrize("axis", ["one atom", "all"])
def test_the_closed_form_is_the_second_derivative_of_the_minimal_free_energy(axis):
    """Finite differences of F, minimised over Phi with the centroids displaced by hand."""
    bonds = wurtzite((1, 1, 1), c=-16.0, b=40.0)
    state, group = bonds.harmonic()
    state = bonds.minimum(state, group, 900.0, centroids=True)
    identity = group.restricted("none")
    direction = np.zeros((4, 3))
    if axis == "one atom":
        direction[0] = (0.6, 0.0, 0.8)
    else:
        direction[:] = np.random.default_rng(0).standard_normal((4, 3))
    step = 2e-3

    def minimal(amount):
        moved = state.moved(amount * direction)
        return bonds.free_energy(Gaussian(bonds.minimum(moved, identity, 900.0), 900.0))

    found = (minimal(step) + minimal(-step) - 2 * minimal(0.0)) / step**2
    gaussian = Gaussian(state, 900.0)
    flat = direction.ravel()
    assert found == pytest.approx(flat @ bonds.hessian(gaussian) @ flat, rel=5e-4)
    bubble = flat @ bonds.hessian(gaussian, fourth=False) @ flat
    assert abs(bubble - found) > 10 * 5e-4 * found


@pytest.mark.parametrize("fourth", [False, True])
@pytest.mark.parametrize("name", ["silicon", "rock salt", "wurtzite", "triclinic"])
def test_the_sampled_hessian_is_the_exact_one_within_its_errors(name, fourth):
    case = solved(crystals.CASES[name]())
    found = free_energy_hessian(case.draw(2000, seed=3), case.group, fourth=fourth)
    truth = squares(exact(case, fourth=fourth))
    moving = found.moving
    deviation = (found.squares.value - truth)[moving] / found.squares.stderr[moving]
    assert np.abs(deviation).max() < 4
    assert 0.3 < np.sqrt((deviation**2).mean()) < 1.7
    away = np.abs(truth - squares(case.state))[moving]
    assert np.any(away > 5 * found.squares.stderr[moving])  # Phi alone would not pass


def test_a_complex_grid_has_the_same_hessian():
    """Three cells along an axis: amplitudes that are complex, waves and their opposites."""
    bonds = fcc((3, 1, 1), c=-3.0, b=4.0)
    state, group = bonds.harmonic()
    case = Case(bonds, bonds.minimum(state, group, 300.0), 300.0, 2000)
    for fourth in (False, True):
        found = free_energy_hessian(case.draw(seed=1), group, fourth=fourth)
        truth, moving = squares(exact(case, fourth=fourth)), found.moving
        deviation = (found.squares.value - truth)[moving] / found.squares.stderr[moving]
        assert np.abs(deviation).max() < 4


@pytest.mark.parametrize(
    ("name", "fourth"), [("rock salt", False), ("wurtzite", False), ("triclinic", True)]
)
def test_python_sscha_has_the_same_hessian(name, fourth, capfd):
    """At the minimum of one ensemble, reweighted: what is left is its temperature constant."""
    pytest.importorskip("sscha", reason="python-sscha is not installed")
    from sscha_mlp.scha import python_sscha

    case = crystals.CASES[name]()
    samples = case.draw(100)
    minimum = minimise(samples, case.group, replace(TIGHT, relax_centroids=case.free))
    trial = minimum.estimators.trial
    state = trial.dynamical_matrix
    ours = free_energy_hessian(samples, case.group, trial=trial, fourth=fourth)
    with python_sscha.quiet():
        ensemble, _ = python_sscha.to_ensemble(samples, group=case.group)
        kelvin = ensemble.current_T
        ensemble.update_weights(python_sscha.matched_phonons(state, case.group), kelvin)
        # Its widths take another Boltzmann constant than its weights.
        factor = python_sscha._RYDBERG_PER_KELVIN / python_sscha.upstream().units.kelvin
        ensemble.current_T = kelvin * factor
        phonons = ensemble.get_free_energy_hessian(include_v4=fourth)
    theirs = python_sscha.from_phonons(phonons, state.supercell).force_constants
    correction = np.abs(theirs - state.force_constants).max()
    assert correction > 0.1
    np.testing.assert_allclose(ours.plain.force_constants, theirs, rtol=0, atol=1e-5 * correction)


@pytest.mark.parametrize("fourth", [False, True])
def test_a_harmonic_crystal_is_its_own_hessian(fourth):
    bonds = fcc()
    state, group = bonds.harmonic()
    found = free_energy_hessian(Case(bonds, state, 300.0, 100).draw(), group, fourth=fourth)
    np.testing.assert_allclose(
        found.dynamical_matrix.force_constants, state.force_constants, rtol=0, atol=1e-12
    )
    assert found.squares.stderr.max() < 1e-12
    assert found.effective_sample_size == pytest.approx(100)


def test_the_hessian_has_the_symmetry_of_the_crystal_and_the_sum_rule():
    case = solved(crystals.silicon())
    found = free_energy_hessian(case.draw(200), case.group, fourth=True)
    constants = found.dynamical_matrix.force_constants
    np.testing.assert_allclose(symmetrise(case.group, constants), constants, rtol=0, atol=1e-10)
    assert np.abs(constants.sum(axis=1)).max() < 1e-10
    matrix = expand(case.state.supercell, constants)
    np.testing.assert_allclose(matrix, matrix.T, rtol=0, atol=1e-12)
    assert np.count_nonzero(~found.moving) == 3
    assert np.all(found.trial_frequencies_thz[~found.moving] == 0)


@pytest.mark.parametrize("name", ["silicon", "wurtzite", "triclinic"])
def test_the_representation_turns_matrices_as_the_stars_do(name):
    """Applied to D(q) on both sides it leaves a symmetric crystal as it is."""
    case = crystals.CASES[name]()
    group = case.group
    matrices = project(group, case.state.half_grid)
    basis = np.broadcast_to(np.eye(matrices.shape[1]), matrices.shape)
    turns = Representation(group, basis)
    full = group.supercell.grid.full(matrices)
    for image, turn in zip(turns.image, turns.matrices, strict=True):
        moved = turn @ full @ turn.conj().transpose(0, 2, 1)
        np.testing.assert_allclose(moved, full[image], rtol=0, atol=1e-10)


def test_errors_fall_with_the_root_of_the_ensemble_and_the_bias_is_taken_out():
    """Twelve small ensembles: their mean is right only without the bias of the square."""
    case = solved(crystals.triclinic())
    truth = squares(exact(case, fourth=False))
    plain, better, errors = [], [], []
    for seed in range(12):
        found = free_energy_hessian(case.draw(200, seed=seed), case.group)
        plain.append(squares(found.plain))
        better.append(found.squares.value)
        errors.append(found.squares.stderr)
    moving = found.moving
    scatter = np.std(better, axis=0, ddof=1)[moving]
    mean_error = np.mean(errors, axis=0)[moving]
    assert 0.7 < np.sqrt((scatter**2).mean() / (mean_error**2).mean()) < 1.6
    large = free_energy_hessian(case.draw(3200), case.group)
    ratio = np.median(mean_error / large.squares.stderr[moving])
    assert 3 < ratio < 5.5  # 4 expected
    trace_of = [float((np.mean(one, axis=0) - truth)[moving].sum()) for one in (plain, better)]
    spread = float(np.std(np.sum(better, axis=(1, 2)), ddof=1) / np.sqrt(12))
    assert abs(trace_of[1]) < 3.5 * spread
    assert trace_of[0] < trace_of[1] - spread


def test_a_difference_of_potentials_shifts_the_hessian_to_first_order():
    """Model plus shift is the Hessian of the reference on the same ensemble, to second order."""
    case = solved(crystals.silicon())
    group, samples = case.group, case.draw(1000)
    other = Bonds(case.state.supercell, 4.0, k=8.08, far=0.1, c=-6.1, b=12.1)
    reference = evaluate_ensemble(samples.ensemble, other)
    for fourth in (False, True):
        model = free_energy_hessian(samples, group, fourth=fourth)
        shift = model.shift(estimate_difference(reference.minus(samples), group))
        direct = free_energy_hessian(reference, group, fourth=fourth)
        wanted = (squares(direct.plain) - squares(model.plain))[model.moving]
        assert np.abs(wanted).max() > 0.005
        np.testing.assert_allclose(
            shift.value[model.moving], wanted, rtol=0, atol=0.05 * np.abs(wanted).max()
        )


def test_inputs_are_left_alone_and_few_configurations_are_refused():
    case = crystals.rock_salt()
    samples = case.draw(16)
    before = samples.forces.copy()
    free_energy_hessian(samples, case.group)
    np.testing.assert_array_equal(samples.forces, before)
    with pytest.raises(InputError, match="at least 8 configurations, not 6"):
        free_energy_hessian(_first(samples, 6), case.group)


def _first(samples, n_configs):
    return Samples(
        samples.ensemble.subset(n_configs),
        samples.energies[:n_configs],
        samples.forces[:n_configs],
        samples.stresses[:n_configs],
    )


# --- a transition ------------------------------------------------------------------------------


class OffCentre:
    """Cubic SrTiO3 with Ti-O bonds unstable at rest, cubic and quartic: a transition on cooling.

    The bonds pull harder when they are short: the breathing of the cage softens the polar and
    rotational modes, more so in the cold.
    """

    def __init__(self):
        pairs = {
            ("Ti", "O"): {"k": -1.0, "c": -10.0, "b": 20.0},
            ("O", "O"): {"k": 1.5},
            ("Sr", "O"): {"k": 1.0},
            ("Sr", "Ti"): {"k": 0.5},
        }
        supercell = Supercell(Crystal.from_ase(perovskite()), (2, 1, 1))
        self.bonds = Bonds(supercell, 3.5, k=1.0, pairs=pairs)
        state, self.group = self.bonds.harmonic()
        self.start = make_positive(state, smallest_thz=2.0)[0]

    def case(self, temperature):
        state = self.bonds.minimum(self.start, self.group, temperature)
        return Case(self.bonds, state, temperature, 100)

    def exact_square(self, temperature):
        """Lowest squared frequency of the exact Hessian, THz²."""
        lowest = exact(self.case(temperature), fourth=True).modes.frequencies_thz[0]
        return np.sign(lowest) * lowest**2

    def sampled(self, temperature, n_configs, seed):
        """The same with its error, by sampling."""
        case = self.case(temperature)
        found = free_energy_hessian(case.draw(n_configs, seed=seed), self.group, fourth=True)
        values = np.where(found.moving, found.squares.value, np.inf)
        place = np.unravel_index(values.argmin(), values.shape)
        return values[place] / units.THZ**2, found.squares.stderr[place] / units.THZ**2


def test_the_crystal_with_a_transition_has_no_negative_sscha_frequency_but_a_negative_hessian():
    crystal = OffCentre()
    assert crystal.case(400.0).state.is_positive
    assert crystal.exact_square(400.0) < -2 < 2 < crystal.exact_square(600.0)


@pytest.mark.slow
def test_the_sampled_soft_mode_finds_the_exact_transition():
    crystal = OffCentre()
    truth = 471.98  # the root of exact_square
    assert abs(crystal.exact_square(truth)) < 5e-3
    temperatures = truth + np.array([-80.0, -30.0, 30.0, 80.0])
    points = [crystal.sampled(t, 16000, seed) for seed, t in enumerate(temperatures)]
    fit = fit_soft_mode(temperatures, *zip(*points, strict=True))
    assert fit.critical_temperature is not None
    assert fit.critical_stderr < 40
    assert abs(fit.critical_temperature - truth) < 3 * fit.critical_stderr, fit.statement


# --- the verb ----------------------------------------------------------------------------------


def test_the_verb_judges_a_finished_run(finished_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    done = sscha_mlp(["hessian", str(run), "--configs", "60", "--quiet"])
    assert done.returncode == 0, done.stderr
    content = json.loads((run / "hessian.json").read_text())
    assert content["schema"] == "sscha-mlp/hessian/1"
    assert content["check_labels"] == 8
    assert (run / "dyn" / "hessian_dyn1").is_file()
    assert (run / "states" / "hessian.npz").is_file()
    assert max(len(line) for line in done.stdout.splitlines() if str(run) not in line) <= 80
    assert done.stdout.count("< softest") == 1
    assert content["verdict"] in {"stable", "unstable", "undecided"}
    for mode in content["modes"]:
        squared = mode["squared_THz2"]
        np.testing.assert_allclose(
            np.add(squared["model"], squared["correction"]), squared["corrected"], atol=1e-12
        )
        moving = ~np.array(mode["is_translation"])
        assert np.all(np.array(squared["stderr"])[moving] > 0)
    again = sscha_mlp(["hessian", str(run), "--configs", "60", "--quiet", "--json"])
    assert json.loads(again.stdout) == content


def test_the_verb_refuses_what_is_no_finished_run(finished_run, tmp_path):
    done = sscha_mlp(["hessian", str(tmp_path)])
    assert done.returncode == 2
    assert "is not a run directory" in done.stderr
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    done = sscha_mlp(["hessian", str(run), "--configs", "61", "--quiet"])
    assert done.returncode == 2
    assert "even number" in done.stderr
    (run / "result.json").unlink()
    done = sscha_mlp(["hessian", str(run)])
    assert done.returncode == 2
    assert "is not finished" in done.stderr
    assert not (run / "hessian.json").exists()
