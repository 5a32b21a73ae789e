"""Quantum nuclei, classical ones, and quantum ones without zero-point motion; isotopes."""

from dataclasses import replace

import crystals
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from crystals import Case
from toys import Bonds, fcc, half_response, wurtzite

from sscha_mlp import units
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix, contract, symmetrise
from sscha_mlp.crystal.structure import Crystal
from sscha_mlp.crystal.structure_files import read_structure
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import find_space_group
from sscha_mlp.ensemble.averages import average, importance_weights
from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.ensemble.nuclei import (
    Nuclei,
    harmonic_free_energy,
    mean_square_amplitudes,
    mean_square_slopes,
)
from sscha_mlp.ensemble.pool import pool
from sscha_mlp.ensemble.sampling import sample
from sscha_mlp.errors import InputError, StructureError
from sscha_mlp.properties.thermodynamics import thermodynamics
from sscha_mlp.run_files.last_ensemble import load_samples, save_samples
from sscha_mlp.run_files.settings import RunSettings
from sscha_mlp.scha import python_sscha
from sscha_mlp.scha.cell import CellMode
from sscha_mlp.scha.estimators import estimate
from sscha_mlp.scha.hessian import free_energy_hessian
from sscha_mlp.scha.minimiser import MinimiserSettings
from sscha_mlp.scha.mode_fields import response
from sscha_mlp.scha.relaxation import RelaxationSettings, evaluate_ensemble, relax

KINDS = list(Nuclei)
OTHERS = [Nuclei.CLASSICAL, Nuclei.NO_ZERO_POINT]
FREQUENCIES = np.array([0.7, 2.0, 5.0, 15.6]) * units.THZ
EXACT = 1e-9
every_kind = pytest.mark.parametrize("nuclei", KINDS, ids=str)


# --- one oscillator ----------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("temperature", [40.0, 300.0, 3000.0])
def test_half_the_mean_square_is_the_derivative_of_the_free_energy(nuclei, temperature):
    """Without it the minimum of F would not be where Phi is the average curvature."""
    for omega in FREQUENCIES:
        step = 1e-5 * omega**2
        low, high = (
            harmonic_free_energy(np.sqrt(omega**2 + change), temperature, nuclei)
            for change in (-step, step)
        )
        width = mean_square_amplitudes(np.array([omega]), temperature, nuclei)[0]
        assert (high - low) / (2 * step) == pytest.approx(width / 2, rel=1e-6)


@every_kind
@pytest.mark.parametrize("temperature", [40.0, 300.0, 3000.0])
def test_the_slope_of_the_mean_square_is_its_derivative(nuclei, temperature):
    squares = FREQUENCIES**2
    low, high = (
        mean_square_amplitudes(np.sqrt(factor * squares), temperature, nuclei)
        for factor in (1 - 1e-5, 1 + 1e-5)
    )
    found = mean_square_slopes(FREQUENCIES, temperature, nuclei)
    np.testing.assert_allclose(found, (high - low) / (2e-5 * squares), rtol=1e-6)
    assert np.all(found < 0)


def test_quantum_nuclei_become_classical_as_the_square_of_the_quantum():
    """F = F_classical + k T x² / 24 per mode, a² = a²_classical (1 + x² / 12)."""
    for temperature in (2000.0, 8000.0):
        x = units.HBAR * FREQUENCIES / (units.KB * temperature)
        for omega, one in zip(FREQUENCIES, x, strict=True):
            quantum, classical = (
                harmonic_free_energy(np.array([omega]), temperature, kind)
                for kind in (Nuclei.QUANTUM, Nuclei.CLASSICAL)
            )
            difference = (quantum - classical) / (units.KB * temperature)
            assert difference == pytest.approx(one**2 / 24, rel=one**2 / 100 + 1e-6)
        ratio = mean_square_amplitudes(FREQUENCIES, temperature) / mean_square_amplitudes(
            FREQUENCIES, temperature, Nuclei.CLASSICAL
        )
        np.testing.assert_allclose(ratio, 1 + x**2 / 12, atol=2e-3 * x.max() ** 4)


@pytest.mark.parametrize("temperature", [40.0, 300.0])
def test_without_zero_point_the_zero_point_parts_are_missing(temperature):
    full, without = (
        harmonic_free_energy(FREQUENCIES, temperature, kind)
        for kind in (Nuclei.QUANTUM, Nuclei.NO_ZERO_POINT)
    )
    assert full - without == pytest.approx(0.5 * units.HBAR * FREQUENCIES.sum(), rel=1e-12)
    wide, narrow = (
        mean_square_amplitudes(FREQUENCIES, temperature, kind)
        for kind in (Nuclei.QUANTUM, Nuclei.NO_ZERO_POINT)
    )
    np.testing.assert_allclose(wide - narrow, units.HBAR / (2 * FREQUENCIES), rtol=1e-12)


@every_kind
def test_entropy_and_heat_capacity_are_derivatives(nuclei):
    values = FREQUENCIES.reshape(2, 2)
    low, here, high = (thermodynamics(values, [t], nuclei=nuclei) for t in (299.9, 300.0, 300.1))
    slope, rise = (high.free_energy - low.free_energy) / 0.2, (high.entropy - low.entropy) / 0.2
    assert here.free_energy[0] == pytest.approx(
        harmonic_free_energy(FREQUENCIES, 300.0, nuclei) / 2, rel=1e-12
    )
    assert here.entropy[0] == pytest.approx(-slope[0], rel=1e-6)
    assert here.heat_capacity[0] == pytest.approx(300.0 * rise[0], rel=1e-6)
    assert (here.zero_point > 0) == (nuclei is Nuclei.QUANTUM)


def test_classical_heat_capacity_is_that_of_dulong_and_petit():
    found = thermodynamics(FREQUENCIES.reshape(1, 4), [10.0, 300.0], nuclei="classical")
    np.testing.assert_allclose(found.heat_capacity, 4 * units.KB, rtol=1e-12)


# --- the SSCHA ---------------------------------------------------------------------------------


@every_kind
def test_a_harmonic_crystal_is_its_own_sscha(nuclei, rng):
    bonds = wurtzite()
    state, group = bonds.harmonic()
    ensemble = sample(state, temperature=300.0, n_configs=20, rng=rng, nuclei=nuclei)
    result = estimate(evaluate_ensemble(ensemble, bonds), group)
    exact = harmonic_free_energy(state.modes.frequencies, 300.0, nuclei)
    assert result.free_energy.value == pytest.approx(exact, abs=EXACT)
    assert result.free_energy.stderr < EXACT
    assert np.abs(result.force_constant_change).max() < EXACT
    assert np.abs(result.centroid_forces.value).max() < EXACT


@every_kind
def test_the_free_energy_is_least_and_flat_where_force_constants_are_the_curvature(nuclei):
    """Finite differences of the closed form along random symmetric directions of Phi and R."""
    bonds = wurtzite((1, 1, 1), c=-8.0, b=10.0, tension=0.1)
    state, group = bonds.harmonic()
    state = bonds.minimum(state, group, 600.0, centroids=True, nuclei=nuclei)
    lowest = bonds.free_energy(Gaussian(state, 600.0, nuclei))
    rng = np.random.default_rng(1)
    for direction in range(4):
        shape = state.force_constants.shape
        change = symmetrise(group, 0.3 * rng.standard_normal(shape))
        shift = group.symmetrise_vectors(0.1 * rng.standard_normal((4, 3)))
        shift -= shift.mean(axis=0)
        if direction == 0:
            change = 0.1 * state.force_constants

        def along(step, change=change, shift=shift):
            moved = state.with_force_constants(state.force_constants + step * change)
            return bonds.free_energy(Gaussian(moved.moved(step * shift), 600.0, nuclei))

        step = 0.05
        low, high = along(-step), along(step)
        curvature = high + low - 2 * lowest
        assert curvature > 0 and low > lowest and high > lowest
        # Odd orders from the third on remain: they fall with the cube of the step.
        half = along(step / 2) - along(-step / 2)
        assert abs(half) < 0.2 * abs(high - low) + 1e-9
    stress = bonds.stress(Gaussian(state, 600.0, nuclei))
    strain = np.diag([1.0, 1.0, 0.5])
    works = [
        bonds.free_energy(Gaussian(state.strained(sign * 1e-4 * strain), 600.0, nuclei))
        for sign in (-1, 1)
    ]
    volume = state.supercell.crystal.volume
    found = (works[1] - works[0]) / 2e-4 / volume
    assert found == pytest.approx((stress * strain).sum(), rel=1e-4, abs=1e-7)


@every_kind
def test_a_relaxation_finds_the_exact_minimum_of_its_kind(nuclei):
    """Frequencies and free energy of a quartic crystal; those of the other kinds are far off."""
    bonds = fcc(b=6.0, tension=0.02)
    state, group = bonds.harmonic()
    settings = RelaxationSettings(
        n_configs=400,
        cell=CellMode.FIXED,
        max_populations=5,
        minimiser=MinimiserSettings(meaningful_factor=1e-3),
    )
    steps = relax(
        state,
        bonds,
        temperature=150.0,
        rng=lambda index: np.random.default_rng([5, index]),
        settings=settings,
        group=group,
        nuclei=str(nuclei),
    )
    for last in steps:
        assert last.ensemble.nuclei is nuclei
    exact = {kind: bonds.minimum(state, group, 150.0, nuclei=kind) for kind in KINDS}
    energies = {kind: bonds.free_energy(Gaussian(exact[kind], 150.0, kind)) for kind in KINDS}
    found = last.minimisation.estimators.free_energy
    assert abs(found.value - energies[nuclei]) < 4 * found.stderr + 1e-6
    for kind in set(KINDS) - {nuclei}:
        assert abs(found.value - energies[kind]) > 20 * found.stderr
    errors = last.minimisation.estimators.frequency_shifts.stderr
    away = last.state.frequencies_at_qpoints() - exact[nuclei].frequencies_at_qpoints()
    assert np.abs(away).max() < 5 * errors.max()


@every_kind
def test_the_response_of_the_covariance_is_that_of_the_kind(nuclei):
    case = crystals.rock_salt()
    trial = Gaussian(case.state, 300.0, nuclei)
    grid = case.state.supercell.grid
    frequencies = grid.full(case.state.modes.at_q).ravel()
    moving = grid.full(case.state.modes.moving).ravel()
    found = response(trial).reshape(len(frequencies), -1)[np.ix_(moving, moving)]
    expected = half_response(frequencies[moving] ** 2, 300.0, nuclei)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("nuclei", OTHERS, ids=str)
@pytest.mark.parametrize("name", ["rock salt", "wurtzite"])
def test_the_sampled_hessian_is_the_exact_one_of_its_kind(name, nuclei):
    case: Case = replace(crystals.CASES[name](), nuclei=nuclei)
    case = replace(case, state=case.minimum())
    found = free_energy_hessian(case.draw(2000, seed=3), case.group, fourth=True)
    matrix = case.bonds.hessian(Gaussian(case.state, case.temperature, nuclei))
    constants = symmetrise(case.group, contract(case.state.supercell, matrix))
    frequencies = case.state.with_force_constants(constants).frequencies_at_qpoints()
    truth = np.sort(np.sign(frequencies) * frequencies**2, axis=1)
    moving = found.moving
    deviation = (found.squares.value - truth)[moving] / found.squares.stderr[moving]
    assert np.abs(deviation).max() < 4
    assert np.sqrt((deviation**2).mean()) < 1.7


def test_a_pool_takes_each_density_as_it_is(rng):
    """Classical and quantum configurations together give the covariance of either kind."""
    state, _ = fcc(size=(2, 2, 1)).harmonic()
    drawn = [
        sample(
            state,
            temperature=200.0,
            n_configs=3000,
            rng=rng,
            nuclei=kind,
            minimum_distance_ratio=0.0,
        )
        for kind in (Nuclei.QUANTUM, Nuclei.CLASSICAL)
    ]
    together = pool(drawn, drawn[0].gaussian)
    means = []
    for kind in (Nuclei.QUANTUM, Nuclei.CLASSICAL):
        target = Gaussian(state, 200.0, kind)
        weights = importance_weights(together, target)
        assert weights.max() < 2.5  # no weight exceeds n / n_k, but for the sampling of the mean
        squares = average((together.displacements**2).mean(axis=1), weights, antithetic=True)
        exact = np.trace(target.covariance) / len(target.covariance)
        assert abs(squares.value - exact) < 4 * squares.stderr
        means.append(exact)
    assert abs(means[0] - means[1]) > 10 * squares.stderr


@pytest.mark.parametrize("nuclei", KINDS, ids=str)
def test_samples_on_disk_keep_their_kind(nuclei, tmp_path, rng):
    bonds = fcc(size=(2, 1, 1))
    state, _ = bonds.harmonic()
    ensemble = sample(state, temperature=300.0, n_configs=4, rng=rng, nuclei=nuclei)
    save_samples(tmp_path / "samples.npz", evaluate_ensemble(ensemble, bonds))
    found = load_samples(tmp_path / "samples.npz").ensemble
    assert found.nuclei is nuclei
    np.testing.assert_array_equal(found.log_density, ensemble.log_density)
    assert ensemble.subset(2).nuclei is nuclei


def test_samples_of_earlier_versions_are_quantum(tmp_path, rng):
    bonds = fcc(size=(2, 1, 1))
    ensemble = sample(bonds.harmonic()[0], temperature=300.0, n_configs=4, rng=rng)
    path = tmp_path / "samples.npz"
    save_samples(path, evaluate_ensemble(ensemble, bonds))
    with np.load(path) as stored:
        values = {key: stored[key] for key in stored.files if key != "nuclei"}
    np.savez(path, **values)
    assert load_samples(path).ensemble.nuclei is Nuclei.QUANTUM


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("nuclei", OTHERS, ids=str)
def test_nuclei_that_do_not_move_are_refused(nuclei, rng):
    state, _ = fcc(size=(2, 1, 1)).harmonic()
    sentence = f"At 0 K {nuclei} nuclei do not move"
    with pytest.raises(InputError, match=sentence):
        sample(state, temperature=0.0, n_configs=4, rng=rng, nuclei=nuclei)
    with pytest.raises(InputError, match=sentence):
        thermodynamics(FREQUENCIES, [0.0], nuclei=nuclei)
    with pytest.raises(InputError, match=sentence):
        RunSettings(temperature=0.0, nuclei=nuclei)
    cold = {"temperature": 300, "nuclei": str(nuclei), "training": {"temperature": 0.0}}
    with pytest.raises(InputError, match=sentence):
        RunSettings.from_mapping(cold)
    with pytest.raises(InputError, match=f"python-sscha has quantum nuclei alone.*{nuclei}"):
        RunSettings(temperature=300.0, nuclei=nuclei, engine="python-sscha")
    bonds = fcc()
    state, group = bonds.harmonic()
    ensemble = sample(state, temperature=300.0, n_configs=4, rng=rng, nuclei=nuclei)
    samples = evaluate_ensemble(ensemble, bonds)
    with pytest.raises(InputError, match="python-sscha has quantum nuclei alone"):
        python_sscha.minimise(samples, group, MinimiserSettings())


def test_a_frozen_mode_is_refused_with_the_temperature_that_thaws_it(rng):
    state, _ = fcc(size=(2, 1, 1)).harmonic()
    with pytest.raises(InputError, match=r"frozen at 1 K\. Take at least") as caught:
        sample(state, temperature=1.0, n_configs=4, rng=rng, nuclei="no-zero-point")
    warmer = float(str(caught.value).split("at least ")[1].split(" K")[0])
    sample(state, temperature=warmer, n_configs=4, rng=rng, nuclei="no-zero-point")
    sample(state, temperature=1.0, n_configs=4, rng=rng, nuclei="classical")
    frozen = Gaussian(state, 0.1, Nuclei.NO_ZERO_POINT)  # where a step may lead, never drawn from
    assert np.isfinite(frozen.log_determinant) and np.all(np.isfinite(frozen.upsilon_at_q))


def test_an_unknown_kind_is_refused():
    with pytest.raises(InputError, match="no 'ghostly' nuclei; the known kinds are: quantum, cl"):
        Gaussian(fcc(size=(2, 1, 1)).harmonic()[0], 300.0, "ghostly")
    with pytest.raises(InputError, match="nuclei = 'ghostly' must be one of: quantum"):
        RunSettings.from_mapping({"temperature": 300, "nuclei": "ghostly"})


# --- isotopes ----------------------------------------------------------------------------------


def with_mass(state: DynamicalMatrix, **masses: float) -> DynamicalMatrix:
    """The same force constants with other masses."""
    crystal = state.crystal.with_masses(masses)
    return DynamicalMatrix(Supercell(crystal, state.supercell.size), state.force_constants)


def test_frequencies_of_an_isotope_go_as_the_root_of_the_mass():
    state, _ = fcc().harmonic()
    light, heavy = with_mass(state, Al=20.0), with_mass(state, Al=45.0)
    ratio = light.modes.frequencies / heavy.modes.frequencies
    np.testing.assert_allclose(ratio, 1.5, rtol=1e-12)
    cold = [Gaussian(one, 0.0).free_energy for one in (light, heavy)]
    assert cold[0] / cold[1] == pytest.approx(1.5, rel=1e-12)
    np.testing.assert_allclose(
        Gaussian(light, 0.0).covariance, 1.5 * Gaussian(heavy, 0.0).covariance, atol=1e-15
    )


def test_classical_nuclei_feel_the_mass_in_the_momenta_alone():
    """The displacements are the same, F falls by 3/2 kT log M for each moving atom."""
    state, _ = wurtzite().harmonic()
    changed = with_mass(state, Zn=130.0, O=8.0)
    first, second = (Gaussian(one, 300.0, Nuclei.CLASSICAL) for one in (state, changed))
    old, new = state.crystal.masses, changed.crystal.masses
    # At q = 0 the translations are left out: their part is that of the total mass.
    logs = 3 * state.supercell.n_cells * np.log(new / old).sum() - 3 * np.log(new.sum() / old.sum())
    expected = -0.5 * units.KB * 300.0 * logs
    assert second.free_energy - first.free_energy == pytest.approx(expected, rel=1e-10)
    rows = wurtzite().projections  # elongations of bonds: no translation is in them

    def relative(gaussian: Gaussian) -> np.ndarray:
        return rows @ gaussian.covariance @ rows.T

    np.testing.assert_allclose(relative(second), relative(first), atol=1e-12)
    quantum = [relative(Gaussian(one, 300.0)) for one in (state, changed)]
    assert np.abs(quantum[0] - quantum[1]).max() > 1e-5


def two_isotopes() -> Crystal:
    atoms = bulk("Si", "diamond", a=5.43)
    atoms.set_masses([27.9769, 29.9738])
    return Crystal.from_ase(atoms)


def test_isotopes_are_not_made_equivalent():
    """Diamond with two isotopes is zincblende: 24 operations of 48."""
    one = Supercell(Crystal.from_ase(bulk("Si", "diamond", a=5.43)), (2, 2, 2))
    two = Supercell(two_isotopes(), (2, 2, 2))
    assert find_space_group(one).international == "Fd-3m"
    group = find_space_group(two)
    assert (group.international, group.n_operations) == ("F-43m", 24)
    places = two.primitive_index[group.permutations[:, :2]]
    assert np.all(places == [0, 1])
    assert two.primitive.labels == ["Si1", "Si2"] and one.primitive.labels == ["Si", "Si"]
    nearly = np.array([27.9769, 27.9769 * (1 + 1e-9)])
    assert replace(two.primitive, masses=nearly).species.tolist() == [0, 0]


def test_the_modes_of_two_isotopes_split_where_diamond_has_one():
    """At X the longitudinal branches of diamond meet; different masses part them."""
    gaps = []
    for crystal in (Crystal.from_ase(bulk("Si", "diamond", a=5.43)), two_isotopes()):
        state, _ = Bonds(Supercell(crystal, (2, 2, 2)), 4.0, k=8.0, far=0.1).harmonic()
        at_x = np.flatnonzero((np.abs(state.supercell.qpoints) == 0.5).sum(axis=1) == 2)[0]
        bands = np.sort(state.frequencies_at_qpoints()[at_x]) / units.THZ
        gaps.append(np.diff(bands).round(6))
    assert np.count_nonzero(gaps[0] > 1e-4) == 2  # three pairs
    assert np.count_nonzero(gaps[1] > 1e-4) == 3  # the longitudinal pair has parted


def test_masses_in_a_file_are_kept_and_others_replaced(tmp_path):
    atoms = Atoms("Si2", cell=bulk("Si").cell, scaled_positions=[[0] * 3, [0.25] * 3], pbc=True)
    atoms.set_masses([27.9769, 29.9738])
    atoms.write(
        tmp_path / "isotopes.xyz", format="extxyz", columns=["symbols", "positions", "masses"]
    )
    crystal = read_structure(tmp_path / "isotopes.xyz")
    np.testing.assert_allclose(crystal.masses, [27.9769, 29.9738], rtol=1e-7)
    assert crystal.with_masses({"Si": 28.5}).masses.tolist() == [28.5, 28.5]
    with pytest.raises(StructureError, match="for Ge, but the structure holds only Si;"):
        crystal.with_masses({"Ge": 70.0})


@pytest.mark.parametrize(
    ("masses", "message"),
    [
        ({"Xx": 1.0}, "'Xx', which is no chemical symbol"),
        ({"X": 1.0}, "'X', which is no chemical symbol"),
        ({"Si": 0.0}, "mass 0.0 of Si is no positive number"),
        ({"Si": -28.0}, "mass -28.0 of Si"),
        ({"Si": float("nan")}, "mass nan of Si"),
        ({"Si": "heavy"}, "mass 'heavy' of Si"),
        ({"Si": True}, "mass True of Si"),
    ],
)
def test_masses_that_cannot_be_are_refused(masses, message):
    with pytest.raises(InputError, match=message):
        RunSettings.from_mapping({"temperature": 300, "masses": masses})
