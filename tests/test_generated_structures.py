"""Damaged structures and outputs by the hundred: a finite crystal, or one sentence."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bad_inputs import CANARY, mutate_text

import sscha_mlp as sm
from sscha_mlp.data.outputs import read_outputs

CELL = "_cell_length_a {0}\n_cell_length_b {0}\n_cell_length_c {1}\n_cell_angle_alpha 90\n"
CELL += "_cell_angle_beta 90\n_cell_angle_gamma {2}\n"
SITES = "loop_\n_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n"
SITES += "_atom_site_fract_z\n_atom_site_occupancy\n"

GOOD = {
    "symbol.cif": "data_a\n"
    + CELL.format(5.64, 5.64, 90)
    + "_symmetry_space_group_name_H-M 'F m -3 m'\n_symmetry_Int_Tables_number 225\n"
    "_chemical_formula_sum 'Na Cl'\n_cell_formula_units_Z 4\n_exptl_crystal_density_diffrn 2.16\n"
    + SITES
    + "Na1 Na1+ 0 0 0 1.0\nCl1 Cl1- 0.5 0.5 0.5 1.0\n",
    "operations.cif": "data_a\n"
    + CELL.format(2.55, 4.16, 120)
    + "loop_\n_symmetry_equiv_pos_as_xyz\n'x, y, z'\n'-x, -y, -z'\n'x-y, x, z+1/2'\n"
    "'-x+y, -x, -z+1/2'\n'-y, x-y, z'\n'y, -x+y, -z'\n'-x, -y, z+1/2'\n'x, y, -z+1/2'\n"
    "'-x+y, -x, z'\n'x-y, x, -z'\n'y, -x+y, z+1/2'\n'-y, x-y, -z+1/2'\n"
    + SITES
    + "Mg Mg 0.3333 0.6667 0.25 1\n",
    "hall.cif": "data_a\n"
    + CELL.format(5.2, 7.3, 90).replace("_cell_length_b 5.2", "_cell_length_b 6.1")
    + "_space_group_name_Hall '-P 2yn'\n"
    + SITES
    + "Na1 Na 0.1 0.2 0.3 1\nD1 D 0.3 0.4 0.1 1\n",
    "POSCAR": "LiD\n1.0\n0 2 2\n2 0 2\n2 2 0\nLi D\n1 1\nDirect\n0 0 0\n0.5 0.5 0.5\n",
    "a.xyz": '2\nLattice="0 2 2 2 0 2 2 2 0" Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.5 '
    'free_energy=-1.6 stress="0.01 0 0 0 0.01 0 0 0 0.01" virial="-.16 0 0 0 -.16 0 0 0 -.16" '
    'pbc="T T T"\nLi 0 0 0 0 0 0.1\nD 2 2 2 0 0 -0.1\n',
    "si.pwo": (Path(__file__).parent / "silicon.pwo").read_text(),
}
N_EACH = {"si.pwo": 60}


def readers(name: str) -> list[Callable[[Path], object]]:
    if name == "si.pwo":
        return [lambda path: [one.label for one in read_outputs(path)]]
    found: list[Callable[[Path], object]] = [sm.read_structure, sm.read_any]
    return [*found, sm.read_extxyz] if name == "a.xyz" else found


def numbers(found: object) -> list[np.ndarray]:
    if isinstance(found, sm.Crystal):
        return [found.cell, found.positions, found.masses]
    kept = []
    for one in found:
        if one is None:
            continue
        if hasattr(one, "forces"):
            kept += [one.forces, one.stress, np.array(one.energy)]
        else:
            atoms = getattr(one, "atoms", one)
            kept += [atoms.positions, atoms.cell.array, atoms.get_masses()]
    return kept


@pytest.mark.parametrize("name", GOOD)
def test_the_good_file_is_read(tmp_path: Path, name: str):
    (tmp_path / name).write_text(GOOD[name])
    for read in readers(name):
        assert numbers(read(tmp_path / name))


@pytest.mark.parametrize("name", GOOD)
def test_damaged_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng([7, *name.encode()])
    path, n_refused = tmp_path / name, 0
    for _ in range(N_EACH.get(name, 90)):
        text, change = mutate_text(GOOD[name], rng)
        path.write_text(text, encoding="utf-8", errors="replace")
        for read in readers(name):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    found = read(path)
                except sm.InputError as err:
                    n_refused += 1
                    assert name in str(err) or "number" in str(err), (change, err)  # noqa: PT017
                    continue
            assert all(np.isfinite(one).all() for one in numbers(found)), change
    assert n_refused > 5
    assert not (tmp_path / CANARY).exists()
