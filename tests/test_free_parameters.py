"""Names of lattice parameters and coordinates, and that their derivatives are derivatives."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal as spacegroup_crystal

from sscha_mlp.crystal.free_parameters import free_parameters
from sscha_mlp.crystal.primitive import primitive_cell
from sscha_mlp.crystal.structure import Crystal
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import find_space_group, symmetrise_structure


def quartz():
    sites = [(0.4697, 0.0, 2 / 3), (0.4133, 0.2672, 0.7858)]
    cell = [4.913, 4.913, 5.405, 90, 90, 120]
    return spacegroup_crystal(["Si", "O"], sites, spacegroup=154, cellpar=cell)


def rutile():
    sites = [(0, 0, 0), (0.305, 0.305, 0)]
    cell = [4.59, 4.59, 2.96, 90, 90, 90]
    return spacegroup_crystal(["Ti", "O"], sites, spacegroup=136, cellpar=cell)


def corundum():
    sites = [(0, 0, 0.352), (0.306, 0, 0.25)]
    cell = [4.76, 4.76, 12.99, 90, 90, 120]
    return spacegroup_crystal(["Al", "O"], sites, spacegroup=167, cellpar=cell)


def monoclinic():
    """ZrO2-like, P2_1/c."""
    sites = [(0.27, 0.04, 0.21), (0.07, 0.33, 0.34), (0.45, 0.76, 0.48)]
    cell = [5.15, 5.2, 5.32, 90, 99.2, 90]
    return spacegroup_crystal(["Zr", "O", "O"], sites, spacegroup=14, cellpar=cell)


def triclinic():
    cell = np.array([[4.6, 0.4, 0.6], [0.6, 4.4, 0.1], [0.9, -0.3, 5.4]])
    scaled = [(0, 0, 0), (0.51, 0.47, 0.44), (0.2, 0.7, 0.6)]
    return Atoms("NiAlCu", scaled_positions=scaled, cell=cell, pbc=True)


def known(atoms):
    crystal = symmetrise_structure(primitive_cell(Crystal.from_ase(atoms)))
    group = find_space_group(Supercell(crystal, (1, 1, 1)))
    return crystal, group, free_parameters(crystal, group)


OXYGEN = ("x(O 6c)", "y(O 6c)", "z(O 6c)")
ZIRCONIA = [f"{axis}({site} 4e)" for site in ("Zr", "O1", "O2") for axis in "xyz"]
NAMES = {
    "diamond": (lambda: bulk("Si", a=5.43), ["a"]),
    "hcp": (lambda: bulk("Cu", "hcp", a=2.55, c=4.17), ["a", "c"]),
    "quartz": (quartz, ["a", "c", "x(Si 3a)", *OXYGEN]),
    "rutile": (rutile, ["a", "c", "x(O 4f)"]),
    "wurtzite": (lambda: bulk("ZnO", "wurtzite", a=3.3, c=5.1, u=0.39), ["a", "c", "z(O 2b)"]),
    "zirconia": (monoclinic, ["a", "b", "c", "beta", *ZIRCONIA]),
}


@pytest.mark.parametrize("name", NAMES)
def test_parameters_have_the_names_of_the_international_tables(name):
    make, names = NAMES[name]
    _, _, found = known(make())
    assert sorted(one.name for one in found) == sorted(names)
    assert [one.name for one in found if not one.is_coordinate] == [
        one for one in names if "(" not in one
    ]


def test_values_are_those_of_the_conventional_cell():
    by_name = {one.name: one.value for one in known(rutile())[2]}
    assert by_name == pytest.approx({"a": 4.59, "c": 2.96, "x(O 4f)": 0.305}, abs=1e-9)
    by_name = {one.name: one.value for one in known(corundum())[2]}
    assert by_name["a"] == pytest.approx(4.76, abs=1e-9)
    assert by_name["c"] == pytest.approx(12.99, abs=1e-9)
    assert len(by_name) == 4  # z of Al and one coordinate of O, in a rhombohedral cell of ten atoms
    by_name = {one.name: one.value for one in known(monoclinic())[2]}
    assert by_name["beta"] == pytest.approx(99.2, abs=1e-6)


def test_without_symmetry_everything_but_the_origin_is_free():
    _, group, found = known(triclinic())
    assert group.n_operations == 1
    assert len(found) == 6 + 3 * 3 - 3
    assert not any("(Ni" in one.name for one in found)  # the first atom is the origin


@pytest.mark.parametrize("make", [quartz, rutile, corundum, monoclinic, triclinic])
def test_the_derivatives_are_derivatives(make):
    """Of a strain and of a motion that the group allows."""
    crystal, group, before = known(make())
    rng = np.random.default_rng(0)
    components = 1e-5 * rng.standard_normal(len(group.invariant_strains))
    strain = np.tensordot(components, group.invariant_strains, axes=1)
    after = free_parameters(crystal.strained(strain), group)
    for one, two in zip(before, after, strict=True):
        assert two.value - one.value == pytest.approx(one.by_strain @ components, abs=1e-8)
    motion = 1e-4 * group.symmetrise_vectors(rng.standard_normal((crystal.n_atoms, 3)))
    after = free_parameters(crystal.moved(motion), group)
    changes = [two.value - one.value for one, two in zip(before, after, strict=True)]
    expected = [float((one.by_position * motion).sum()) for one in before]
    np.testing.assert_allclose(changes, expected, atol=1e-9)
    assert np.abs(expected).max() > 1e-7


def test_the_origin_along_a_polar_axis_means_nothing():
    """Moving all atoms of wurtzite along c changes no coordinate."""
    crystal, group, before = known(bulk("ZnO", "wurtzite", a=3.3, c=5.1, u=0.39))
    after = free_parameters(crystal.moved([0.0, 0.0, 0.3]), group)
    for one, two in zip(before, after, strict=True):
        assert two.value == pytest.approx(one.value, abs=1e-9)
        np.testing.assert_allclose(one.by_position.sum(axis=0), 0.0, atol=1e-12)
