"""Names of wave vectors."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal as make_crystal

from sscha_mlp.crystal.primitive import primitive_cell
from sscha_mlp.crystal.special_points import SpecialPoints
from sscha_mlp.crystal.structure import Crystal
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.quantities import q_name

RHOMBOHEDRAL = make_crystal(
    ["Al", "O"],
    [(0, 0, 0.352), (0.306, 0, 0.25)],
    spacegroup=167,
    cellpar=[4.83, 4.83, 13.2, 90, 90, 120],
)
RUTILE = make_crystal(
    ["Ti", "O"],
    [(0, 0, 0), (0.305, 0.305, 0)],
    spacegroup=136,
    cellpar=[4.6, 4.6, 2.96, 90, 90, 90],
)


@pytest.mark.parametrize(
    ("atoms", "counts"),
    [
        # How many of the wave vectors of 2x2x2 cells have each name: C. J. Bradley and A. P.
        # Cracknell, The Mathematical Theory of Symmetry in Solids (1972), table 3.6.
        (bulk("Si", a=5.43), {"Γ": 1, "X": 3, "L": 4}),
        (bulk("Fe", a=2.87), {"Γ": 1, "N": 6, "H": 1}),
        (bulk("Po", "sc", a=3.35), {"Γ": 1, "X": 3, "M": 3, "R": 1}),
        (bulk("Cu", "hcp", a=2.55, c=4.17), {"Γ": 1, "A": 1, "M": 3, "L": 3}),
        (RHOMBOHEDRAL, {"Γ": 1, "L": 3, "F": 3, "T": 1}),
        (RUTILE, {"Γ": 1, "X": 2, "M": 1, "Z": 1, "R": 2, "A": 1}),
    ],
)
def test_the_names_are_those_of_the_tables_in_any_cell(atoms, counts, rng):
    for basis in (np.eye(3), [[1, 1, 0], [0, 1, 0], [0, -1, 1]]):
        turned = Atoms(
            atoms.symbols, positions=atoms.positions, cell=basis @ atoms.cell.array, pbc=True
        )
        turned.rotate(float(rng.uniform(0, 360)), rng.normal(size=3), rotate_cell=True)
        crystal = primitive_cell(Crystal.from_ase(turned))
        special = SpecialPoints.of(crystal)
        qpoints = Supercell(crystal, (2, 2, 2)).qpoints
        names = [special.name(q) for q in qpoints]
        assert {one: names.count(one) for one in names} == counts
        shifted = qpoints + rng.integers(-2, 3, size=qpoints.shape)
        assert [special.name(q) for q in shifted] == names
        assert special.name((0.21, 0.13, 0.37)) == ""


def test_a_name_stands_before_the_coordinates():
    assert q_name((0.0, 0.5, 0.5), "X") == "X (0 1/2 1/2)"
    assert q_name((0.0, 0.0, 0.0), "Γ") == "Γ"
    assert q_name((0.0, 0.25, 0.0)) == "(0 1/4 0)"
