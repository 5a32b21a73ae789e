"""Formulas as chemists write them."""

import pytest
from ase.build import bulk

import sscha_mlp as sm
from sscha_mlp.quantities import cations_first, reduced_formula


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        *(("Cl4Na4", "NaCl"), ("CSi", "SiC"), ("O3SrTi", "SrTiO3"), ("CsI3Pb", "CsPbI3")),
        *(("OZn", "ZnO"), ("NAl", "AlN"), ("AsGa", "GaAs"), ("Ge4Si4", "GeSi"), ("", "")),
        *(("O4Si2", "SiO2"), ("FLi", "LiF"), ("TeSn", "SnTe"), ("Cu6Au2", "AuCu3"), ("Ar4", "Ar")),
    ],
)
def test_the_cation_stands_first(given: str, shown: str):
    assert reduced_formula(given) == shown


def test_a_cell_is_counted_in_the_same_order():
    assert cations_first("Cl4Na4") == "Na4Cl4"
    crystal = sm.Crystal.from_ase(bulk("NaCl", "rocksalt", a=5.64))
    assert dict(crystal.table().rows)["formula"] == "NaCl"
    assert dict(sm.Supercell(crystal, (2, 2, 2)).table().rows)["primitive cell"] == "NaCl"
