"""Crystals of short bonds, and the same in phonopy, for tests of phonons."""

import numpy as np
import pytest
from ase.build import bulk
from toys import Bonds, wurtzite

from sscha_mlp.crystal.born_charges import BornCharges
from sscha_mlp.crystal.structure import Crystal
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.properties.phonopy_files import write_phonopy

QPOINTS = np.random.default_rng(3).uniform(-1.0, 1.0, (24, 3))
BORN = BornCharges(np.array([np.eye(3), -np.eye(3)]) * 1.1, np.eye(3) * 2.4)


def bonded(atoms, size, cutoff, **options):
    supercell = Supercell(Crystal.from_ase(atoms), size)
    return Bonds(supercell, cutoff, k=3.0, far=0.15, **options).harmonic()[0]


CRYSTALS = {
    "diamond": lambda: bonded(bulk("Si", "diamond", a=5.43), (3, 3, 3), 4.0),
    "rock salt": lambda: bonded(bulk("NaCl", "rocksalt", a=5.64), (2, 2, 2), 4.1),
    "hcp": lambda: bonded(bulk("Mg", "hcp", a=3.2, c=5.2), (3, 2, 2), 4.6),
    "wurtzite": lambda: wurtzite(size=(3, 3, 2)).harmonic()[0],
}


def load_phonopy(directory, state, born=None):
    """What phonopy reads from the files that we write."""
    phonopy = pytest.importorskip("phonopy")
    files = write_phonopy(directory, state, born=born)
    return phonopy.load(
        files[0],
        force_constants_filename=files[1],
        is_nac=born is not None,
        symmetrize_fc=False,
        log_level=0,
    )
