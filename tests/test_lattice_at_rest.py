"""Equation of state, elastic constants and finite displacements of the lattice at rest."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.eos import EquationOfState as AseEquationOfState
from ase.units import GPa
from scipy.spatial.transform import Rotation
from toys import Bonds, CalculatorEvaluator, wurtzite

from sscha_mlp.calculators.registry import get_reference
from sscha_mlp.crystal.finite_displacements import FiniteDisplacements
from sscha_mlp.crystal.structure import Crystal
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import find_space_group, standard_axes
from sscha_mlp.errors import InputError
from sscha_mlp.properties.elastic import ElasticStrains
from sscha_mlp.properties.equation_of_state import EquationOfState, fit_equation_of_state

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
COPPER = 3.58995  # Å, where EMT has no stress


# --- equation of state ------------------------------------------------------------------------


@pytest.mark.parametrize("middle", [0.97, 1.0, 1.08])
def test_a_fit_recovers_the_equation_that_it_was_given(middle):
    known = EquationOfState(-4.63, 20.04, 0.61, 4.3, 0.0, (0.0, 0.0))
    volumes = 20.04 * middle * np.linspace(0.94, 1.06, 7)
    found = fit_equation_of_state(volumes, known.energies(volumes))
    assert found.energy == pytest.approx(known.energy, abs=1e-10)
    assert found.volume == pytest.approx(known.volume, rel=1e-7)
    assert found.bulk_modulus == pytest.approx(known.bulk_modulus, rel=1e-6)
    assert found.derivative == pytest.approx(known.derivative, rel=1e-5)
    assert found.residual < 1e-10
    assert found.is_extrapolated == (middle == 1.08)


def test_the_equation_has_the_bulk_modulus_and_derivative_that_it_names():
    """B = V d²E/dV² and B' = dB/dP by finite differences of the energy."""
    known = EquationOfState(-1.0, 12.0, 0.9, 5.2, 0.0, (0.0, 0.0))

    def pressure(v, h=1e-3):
        return -(known.energies(v + h) - known.energies(v - h)) / (2 * h)

    def modulus(v, h=1e-3):
        return -v * (pressure(v + h) - pressure(v - h)) / (2 * h)

    assert pressure(12.0) == pytest.approx(0.0, abs=1e-7)
    assert modulus(12.0) == pytest.approx(0.9, rel=1e-5)
    slope = (modulus(12.05) - modulus(11.95)) / (pressure(12.05) - pressure(11.95))
    assert slope == pytest.approx(5.2, rel=1e-3)


def test_ase_finds_the_same_equation_of_state_of_copper():
    volumes, energies = [], []
    for scale in np.linspace(0.94, 1.06, 7):
        atoms = bulk("Cu", a=COPPER * np.cbrt(scale))
        atoms.calc = EMT()
        volumes.append(atoms.get_volume())
        energies.append(atoms.get_potential_energy())
    found = fit_equation_of_state(volumes, energies)
    v0, e0, b0 = AseEquationOfState(volumes, energies, eos="birchmurnaghan").fit()
    assert found.volume == pytest.approx(v0, rel=1e-5)
    assert found.energy == pytest.approx(e0, abs=1e-6)
    assert found.bulk_modulus == pytest.approx(b0, rel=1e-3)


@pytest.mark.parametrize(
    ("volumes", "energies", "message"),
    [
        ([10.0, 11.0, 12.0, 13.0], [1.0, 0.0, 0.0, 1.0], "at least 5"),
        ([10.0, 10.0, 10.0, 11.0, 12.0], [0.0] * 5, "at least 5"),
        ([10.0, 11.0, 12.0, 13.0, 14.0], [0.0, 3.0, 4.0, 3.0, 0.0], "no minimum"),
        ([10.0, 11.0, 12.0, 13.0, 14.0], np.arange(10.0, 15.0) ** (-2 / 3), "no minimum"),
    ],
)
def test_energies_without_an_equation_are_refused(volumes, energies, message):
    with pytest.raises(InputError, match=message):
        fit_equation_of_state(volumes, energies)


# --- elastic constants ------------------------------------------------------------------------


def turned(atoms, seed=3):
    """The same crystal with its lattice turned in space."""
    rotation = Rotation.random(random_state=seed).as_matrix()
    atoms.set_cell(atoms.cell.array @ rotation.T)
    atoms.positions = atoms.positions @ rotation.T
    return atoms


def constants(supercell, evaluator, **options):
    group = find_space_group(supercell)
    displaced = FiniteDisplacements(group, 0.01)
    state = displaced.force_constants(evaluator.evaluate(displaced.configurations()).forces)
    strains = ElasticStrains(group, **options)
    found = evaluator.evaluate(strains.configurations())
    return strains, strains.constants(found.stresses, found.forces, state), state


def curvature(energy, tensor, volume, size=2e-3):
    """Second difference of an energy along a strain, per volume."""
    parts = energy(size * tensor) - 2 * energy(0 * tensor) + energy(-size * tensor)
    return parts / size**2 / volume


def voigt(tensor):
    return np.array([tensor[i, j] * (1 if i == j else 2) for i, j in VOIGT])


@pytest.mark.parametrize("turn", [False, True])
def test_constants_of_copper_are_second_differences_of_its_energy(turn):
    atoms = bulk("Cu", a=COPPER)
    supercell = Supercell(Crystal.from_ase(turned(atoms) if turn else atoms), (2, 2, 2))
    evaluator = CalculatorEvaluator(EMT())
    strains, found, _ = constants(supercell, evaluator)
    assert len(strains.configurations()) == 3  # both signs of e1, one of e4
    assert strains.independent == [(0, 0), (0, 1), (3, 3)]
    np.testing.assert_allclose(found.relaxed, found.clamped, atol=1e-9)  # no atom is free
    c11, c12, c44 = (found.clamped[place] for place in strains.independent)
    pattern = np.diag([c11 - c12] * 3 + [c44] * 3)
    pattern[:3, :3] += c12
    np.testing.assert_allclose(found.clamped, pattern, atol=1e-6)

    crystal, axes = supercell.crystal, standard_axes(supercell.primitive)

    def energy(strain):
        frame = crystal.strained(axes.T @ strain @ axes).to_ase()
        return evaluator.evaluate([frame]).energies[0]

    shear = np.zeros((3, 3))
    shear[0, 1] = shear[1, 0] = 1.0
    for tensor in (np.diag([1.0, 0.0, 0.0]), np.diag([1.0, -1.0, 0.0]), shear):
        expected = voigt(tensor) @ found.clamped @ voigt(tensor)
        assert curvature(energy, tensor, crystal.volume) == pytest.approx(expected, rel=2e-3)


def test_atoms_that_follow_a_strain_soften_wurtzite():
    """Against energies whose atoms were brought to rest in each strained cell."""
    bonds = wurtzite(k=2.0, far=0.2)
    supercell = bonds.supercell
    strains, found, state = constants(supercell, bonds)
    assert len(strains.configurations()) == 5
    assert set(strains.independent) == {(0, 0), (2, 2), (3, 3), (5, 5), (0, 1), (0, 2)}
    inverse = np.linalg.pinv(state.matrix, rcond=1e-9, hermitian=True)
    crystal, axes = supercell.crystal, standard_axes(supercell.primitive)

    def energy(strain):
        strained = crystal.strained(axes.T @ strain @ axes)
        _, forces, _ = bonds.one(strained.positions, strained.cell)
        rest = strained.positions + (inverse @ forces.ravel()).reshape(-1, 3)
        value, left, _ = bonds.one(rest, strained.cell)
        assert np.abs(left).max() < 1e-9
        return value

    rng = np.random.default_rng(5)
    for _ in range(4):
        tensor = rng.normal(size=(3, 3))
        tensor = 0.5 * (tensor + tensor.T)
        expected = voigt(tensor) @ found.relaxed @ voigt(tensor)
        assert curvature(energy, tensor, crystal.volume) == pytest.approx(expected, rel=1e-4)
    softer = np.linalg.eigvalsh(found.clamped - found.relaxed)
    assert softer.min() > -1e-9 and softer.max() > 0.01


def test_tersoff_silicon_has_the_constants_that_another_code_finds():
    """143, 75, 69 and, clamped, 119 GPa: matscipy's tests, for Tersoff's Si of PRB 39, 5566."""
    supercell = Supercell(Crystal.from_ase(bulk("Si", a=5.432)), (2, 2, 2))
    evaluator = CalculatorEvaluator(get_reference("tersoff").make_calculator())
    strains, found, _ = constants(supercell, evaluator)
    values = [found.relaxed[place] / GPa for place in strains.independent]
    assert values == pytest.approx([143, 75, 69], abs=0.6)
    assert found.clamped[3, 3] / GPa == pytest.approx(119, abs=0.6)
    assert found.bulk_modulus / GPa == pytest.approx(98, abs=0.6)


def test_without_symmetry_all_six_strains_are_needed():
    atoms = bulk("Cu", a=COPPER)
    atoms.set_cell(atoms.cell.array @ [[1, 0.03, 0.01], [0, 1.02, 0.05], [0, 0, 1.04]])
    atoms.positions = [[0, 0, 0]]
    crystal = Crystal.from_ase(atoms)
    strains = ElasticStrains(find_space_group(Supercell(crystal, (1, 1, 1))))
    assert len(strains.configurations()) == 12
    assert len(strains.independent) == 21


def test_an_unstable_mode_leaves_no_relaxed_constants():
    bonds = Bonds(Supercell(Crystal.from_ase(bulk("Si", a=5.43)), (2, 2, 2)), 2.6, k=1.0)
    strains, _, state = constants(bonds.supercell, bonds)
    forces = bonds.evaluate(strains.configurations())
    upside_down = state.with_force_constants(-state.force_constants)
    found = strains.constants(forces.stresses, forces.forces, upside_down)
    assert found.relaxed is None
    np.testing.assert_array_equal(found.best, found.clamped)


def test_values_of_other_cells_are_refused():
    bonds = wurtzite(k=2.0)
    strains, _, state = constants(bonds.supercell, bonds)
    with pytest.raises(InputError, match="do not belong"):
        strains.constants([np.eye(3)], [np.zeros((16, 3))], state)
    displaced = FiniteDisplacements(strains.group, 0.01)
    with pytest.raises(InputError, match="do not belong"):
        displaced.force_constants([np.zeros((16, 3))])


# --- finite displacements ---------------------------------------------------------------------


def test_finite_displacements_find_the_force_constants_of_bonds():
    bonds = wurtzite(k=2.0, far=0.2)
    exact, group = bonds.harmonic()
    displaced = FiniteDisplacements(group, 0.02)
    assert len(displaced.atoms) == 2 and len(displaced.configurations()) == 12
    state = displaced.force_constants(bonds.evaluate(displaced.configurations()).forces)
    np.testing.assert_allclose(state.force_constants, exact.force_constants, atol=1e-9)
