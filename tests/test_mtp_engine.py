"""The MTP engine: derivatives, symmetry, a second code, and what happens at the edges."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from mtp_models import GERMANIUM, SILICON, in_motep, random_mtp, rattled
from scipy.spatial.transform import Rotation

from sscha_mlp.errors import ModelError
from sscha_mlp.potentials.mtp import derivatives, kernels
from sscha_mlp.potentials.mtp.engine import Engine

STEP = 1.0e-4


def test_what_is_compiled_from_two_files_is_compiled_again_when_either_changes():
    """Numba looks at the file of the outermost function alone."""
    text = Path(kernels.__file__).read_bytes()
    assert hashlib.sha256(text).hexdigest().startswith(derivatives.KERNELS)


def energy(engine: Engine, atoms: Atoms) -> float:
    return float(engine.evaluate([atoms]).energies[0])


def derivative(function) -> float:
    """Five-point formula: its error is of the order of STEP⁴."""
    outer, inner = function(2 * STEP) - function(-2 * STEP), function(STEP) - function(-STEP)
    return (8.0 * inner - outer) / (12.0 * STEP)


def moved(atoms: Atoms, atom: int, axis: int, step: float) -> Atoms:
    other = atoms.copy()
    other.positions[atom, axis] += step
    return other


def strained(atoms: Atoms, i: int, j: int, step: float) -> Atoms:
    strain = np.eye(3)
    strain[i, j] += 0.5 * step
    strain[j, i] += 0.5 * step
    other = atoms.copy()
    other.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    return other


@pytest.mark.parametrize("level", [2, 8, 16, 20])
@pytest.mark.parametrize("mixed", [False, True])
def test_forces_are_the_derivative_of_the_energy(level, mixed):
    species = (SILICON, GERMANIUM) if mixed else (SILICON,)
    engine, atoms = Engine(random_mtp(level, species=species)), rattled(mixed=mixed)
    forces = engine.evaluate([atoms]).forces[0]
    for atom in (0, 3):
        for axis in range(3):
            numeric = -derivative(
                lambda step, a=atom, k=axis: energy(engine, moved(atoms, a, k, step))
            )
            assert forces[atom, axis] == pytest.approx(numeric, abs=1.0e-7, rel=1e-10)


@pytest.mark.parametrize("level", [8, 16])
def test_stress_is_the_derivative_of_the_energy(level):
    engine, atoms = Engine(random_mtp(level)), rattled()
    stress = engine.evaluate([atoms]).stresses[0]
    for i, j in [(0, 0), (1, 1), (0, 1), (1, 2)]:
        numeric = derivative(lambda step, i=i, j=j: energy(engine, strained(atoms, i, j, step)))
        assert stress[i, j] == pytest.approx(numeric / atoms.get_volume(), abs=1.0e-8)


@pytest.mark.parametrize("level", [8, 12, 16, 20])
def test_motep_gives_the_same(level):
    pytest.importorskip("motep")
    parameters = random_mtp(level, species=(SILICON, GERMANIUM))
    atoms = rattled(mixed=True)
    ours = Engine(parameters).evaluate([atoms])
    theirs = atoms.copy()
    # Its numpy engine takes minutes at level 20; its C engine is another implementation too.
    theirs.calc = in_motep(parameters, "numpy")
    scale = np.abs(ours.forces[0]).max()
    assert ours.energies[0] == pytest.approx(theirs.get_potential_energy(), rel=1e-10, abs=1e-10)
    assert np.abs(ours.site_energies[0] - theirs.get_potential_energies()).max() < 1e-10 * max(
        1.0, np.abs(ours.site_energies[0]).max()
    )
    assert np.abs(ours.forces[0] - theirs.get_forces()).max() < 1e-10 * max(1.0, scale)
    assert np.abs(ours.stresses[0] - theirs.get_stress(voigt=False)).max() < 1e-10 * max(
        1.0, np.abs(ours.stresses[0]).max()
    )


@pytest.mark.parametrize("mixed", [False, True])
def test_the_design_is_the_derivative_with_respect_to_the_coefficients(mixed):
    """The potential is linear in them: a difference of two potentials is exact."""
    species = (SILICON, GERMANIUM) if mixed else (SILICON,)
    parameters, atoms = random_mtp(12, species=species), rattled(mixed=mixed)
    design = Engine(parameters).design([atoms])
    base = Engine(parameters).evaluate([atoms])
    for a in range(0, parameters.template.n_scalars, 5):
        coefficients = np.array(parameters.moment_coeffs)
        coefficients[a] += 1.0
        shifted = Engine(_with_moments(parameters, coefficients)).evaluate([atoms])
        assert design.energies[0, a] == pytest.approx(shifted.energies[0] - base.energies[0])
        change = (shifted.forces[0] - base.forces[0]).ravel()
        assert np.allclose(design.forces[0][:, a], change, atol=1e-9 * (1 + np.abs(change).max()))
        change = (shifted.stresses[0] - base.stresses[0]).ravel()[[0, 4, 8, 5, 2, 1]]
        assert np.allclose(design.stresses[0, :, a], change, atol=1e-10)


def test_the_basis_of_a_site_gives_its_energy():
    parameters, atoms = random_mtp(12), rattled()
    engine = Engine(parameters)
    found = engine.evaluate([atoms], basis=True)
    sites = found.basis[0] @ parameters.moment_coeffs + parameters.species_coeffs[0]
    assert np.allclose(sites, found.site_energies[0], atol=1e-11)
    assert np.array_equal(found.basis[0], engine.design([atoms]).basis[0])


def test_rotation_translation_permutation_and_supercell():
    engine, atoms = Engine(random_mtp(12, species=(SILICON, GERMANIUM))), rattled(mixed=True)
    base = engine.evaluate([atoms])
    turn = Rotation.from_rotvec([0.3, -0.7, 1.1]).as_matrix()
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ turn.T)
    turned.positions = atoms.positions @ turn.T
    shifted = atoms.copy()
    shifted.positions += [0.7, -1.3, 2.9]
    order = np.random.default_rng(1).permutation(len(atoms))
    wrapped = atoms.copy()
    wrapped.wrap()
    double = make_supercell(atoms, np.array([[2, 1, 0], [0, 1, 0], [0, 0, 1]]))
    rotated, moved_, permuted, folded, large = (
        engine.evaluate([one]) for one in (turned, shifted, atoms[order], wrapped, double)
    )
    scale = np.abs(base.forces[0]).max()
    for other in (rotated, moved_, permuted, folded):
        assert other.energies[0] == pytest.approx(base.energies[0], rel=1e-12)
    assert np.allclose(rotated.forces[0], base.forces[0] @ turn.T, atol=1e-11 * scale)
    assert np.allclose(rotated.stresses[0], turn @ base.stresses[0] @ turn.T, atol=1e-11 * scale)
    assert np.allclose(permuted.forces[0], base.forces[0][order], atol=1e-11 * scale)
    assert large.energies[0] == pytest.approx(2 * base.energies[0], rel=1e-12)
    assert np.allclose(large.stresses[0], base.stresses[0], atol=1e-12 * scale)
    assert np.abs(base.forces[0].sum(axis=0)).max() < 1e-11 * scale


def test_smooth_at_the_cutoff():
    """Energy and force of a pair go to zero at the cutoff, from either side."""
    engine = Engine(random_mtp(8, max_dist=4.0))
    alone = energy(engine, _pair(9.0))
    for gap in (1e-3, 1e-5):
        near = engine.evaluate([_pair(4.0 - gap)])
        assert abs(near.energies[0] - alone) < 100.0 * gap**2
        assert np.abs(near.forces[0]).max() < 100.0 * gap
    assert energy(engine, _pair(4.0 + 1e-6)) == alone


def test_short_bonds_are_finite_and_repulsive():
    """Polynomials of high order explode below their range; this potential does not."""
    engine = Engine(random_mtp(16, min_dist=2.0, n_polynomials=10))
    distances = np.linspace(0.3, 1.2, 30)
    pulls = [engine.evaluate([_pair(one)]).forces[0][1, 0] for one in distances]
    energies = [energy(engine, _pair(one)) for one in distances]
    assert np.all(np.diff(energies) < 0) and np.all(np.array(pulls) > 0)
    assert max(energies) < 1.0e5  # without bending the argument: 1e9
    edge = [energy(engine, _pair(2.0 + step)) for step in (-1e-7, 0.0, 1e-7)]
    assert np.ptp(np.diff(edge)) < 1e-11 * max(1.0, abs(edge[1]) * 100)


def test_derivatives_hold_below_the_shortest_distance_too():
    engine, atoms = Engine(random_mtp(8, min_dist=2.3)), rattled()
    assert atoms.get_all_distances(mic=True)[np.triu_indices(8, 1)].min() < 2.25
    forces = engine.evaluate([atoms]).forces[0]
    for axis in range(3):
        numeric = -derivative(lambda step, k=axis: energy(engine, moved(atoms, 0, k, step)))
        assert forces[0, axis] == pytest.approx(numeric, abs=1.0e-7, rel=1e-9)


def test_a_batch_gives_what_single_configurations_give_in_any_number_of_threads():
    parameters = random_mtp(8, species=(SILICON, GERMANIUM))
    mixed = [rattled(mixed=True, seed=seed) for seed in range(3)]
    crystal = bulk("Si", "diamond", 5.43, cubic=True) * (2, 1, 1)
    ensemble = []
    for seed in range(12):
        ensemble.append(crystal.copy())
        ensemble[-1].rattle(0.2, seed=seed)
    ensemble[5].wrap()  # the same configuration, listed otherwise
    frames = [*mixed, *ensemble, mixed[0]]
    whole = Engine(parameters).evaluate(frames, basis=True)
    threads = Engine(parameters, n_threads=3).evaluate(frames, basis=True)
    for index, atoms in enumerate(frames):
        single = Engine(parameters).evaluate([atoms], basis=True)
        assert whole.energies[index] == pytest.approx(single.energies[0], rel=1e-13)
        assert np.allclose(whole.forces[index], single.forces[0], atol=1e-11)
        assert np.allclose(whole.stresses[index], single.stresses[0], atol=1e-12)
        assert np.allclose(whole.basis[index], single.basis[0], atol=1e-12)
        assert np.array_equal(threads.forces[index], whole.forces[index])
        assert np.array_equal(threads.basis[index], whole.basis[index])


def test_an_isolated_atom_has_the_energy_of_its_species():
    parameters = random_mtp(8)
    atom = Atoms("Si", positions=[[5, 5, 5]], cell=[20, 20, 20], pbc=True)
    found = Engine(parameters).evaluate([atom])
    assert found.energies[0] == parameters.species_coeffs[0]
    assert np.all(found.forces[0] == 0.0)


def test_an_unknown_element_is_named():
    with pytest.raises(ModelError, match="Configuration 1 holds Ge"):
        Engine(random_mtp(4)).evaluate([rattled(), rattled(mixed=True)])


def _pair(distance: float) -> Atoms:
    return Atoms("Si2", positions=[[5, 5, 5], [5 + distance, 5, 5]], cell=[20, 20, 20], pbc=True)


def _with_moments(parameters, coefficients):
    from dataclasses import replace

    return replace(parameters, moment_coeffs=coefficients)
