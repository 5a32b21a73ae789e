"""Five crystals with polynomial bonds, from diamond to one without any symmetry.

Their SSCHA is known exactly (:class:`toys.Bonds`).  Each function returns a :class:`Case`.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from ase import Atoms
from ase.build import bulk
from toys import Bonds, perovskite, wurtzite

from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix, make_positive
from sscha_mlp.crystal.structure import Crystal
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import SpaceGroup, find_space_group
from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.ensemble.nuclei import Nuclei
from sscha_mlp.ensemble.sampling import sample
from sscha_mlp.scha.estimators import Samples
from sscha_mlp.scha.relaxation import evaluate_ensemble


@dataclass(frozen=True)
class Case:
    """A potential, the state that ensembles are drawn from, and their size.

    ``free`` says whether centroids move: whether symmetry leaves an internal coordinate.
    """

    bonds: Bonds
    state: DynamicalMatrix
    temperature: float
    n_configs: int
    free: bool = False
    nuclei: Nuclei = Nuclei.QUANTUM

    @property
    def group(self) -> SpaceGroup:
        return find_space_group(self.state.supercell)

    def draw(self, n_configs: int | None = None, seed: int = 0) -> Samples:
        """Draw and evaluate an ensemble; nothing is thrown away, so averages stay exact."""
        ensemble = sample(
            self.state,
            temperature=self.temperature,
            n_configs=n_configs or self.n_configs,
            rng=np.random.default_rng(seed),
            nuclei=self.nuclei,
            minimum_distance_ratio=0.0,
        )
        return evaluate_ensemble(ensemble, self.bonds)

    def minimum(self) -> DynamicalMatrix:
        """The exact SSCHA solution."""
        return self.bonds.minimum(
            self.state, self.group, self.temperature, centroids=self.free, nuclei=self.nuclei
        )

    def another(self) -> Gaussian:
        """A state near the drawn one: stiffer along the first shell, centroids moved."""
        group, supercell = self.group, self.state.supercell
        constants = self.state.force_constants * 1.03
        constants = constants + 0.01 * self.bonds.harmonic()[0].force_constants
        shape = (supercell.primitive.n_atoms, 3)
        shift = 0.005 * np.random.default_rng(7).standard_normal(shape)
        shift = group.symmetrise_vectors(shift - shift.mean(axis=0))
        state = self.state.with_force_constants(constants).moved(shift)
        return Gaussian(state, self.temperature, self.nuclei)


def _supercell(atoms, size):
    return Supercell(Crystal.from_ase(atoms), size)


@cache
def silicon() -> Case:
    """Diamond, two atoms on fixed places, half of the operations non-symmorphic."""
    supercell = _supercell(bulk("Si", "diamond", a=5.43), (2, 2, 2))
    bonds = Bonds(supercell, 4.0, k=8.0, far=0.1, c=-6.0, b=12.0)
    return Case(bonds, bonds.harmonic()[0], 300.0, 60)


@cache
def rock_salt() -> Case:
    """Two species on inversion centres."""
    supercell = _supercell(bulk("NaCl", "rocksalt", a=5.64), (2, 2, 2))
    bonds = Bonds(supercell, 4.1, k=1.5, far=0.2, c=-2.0, b=4.0)
    return Case(bonds, bonds.harmonic()[0], 300.0, 60)


@cache
def soft_perovskite() -> Case:
    """Cubic SrTiO3 whose Ti-O bonds are unstable at rest and quartic.

    Drawn a tenth of the stiffness away from the exact solution.
    """
    pairs = {
        ("Ti", "O"): {"k": -1.0, "b": 20.0},
        ("O", "O"): {"k": 1.5},
        ("Sr", "O"): {"k": 1.0, "c": -1.0},
        ("Sr", "Ti"): {"k": 0.5},
    }
    bonds = Bonds(_supercell(perovskite(), (2, 2, 2)), 3.5, k=1.0, pairs=pairs)
    state, group = bonds.harmonic()
    solution = bonds.minimum(make_positive(state, smallest_thz=2.0)[0], group, 300.0)
    stiffer = solution.force_constants + 0.1 * (solution.force_constants - state.force_constants)
    return Case(bonds, solution.with_force_constants(stiffer), 300.0, 60)


@cache
def free_wurtzite() -> Case:
    """A free internal coordinate, pulled by the tension and the cubic term of the bonds."""
    bonds = wurtzite(c=-8.0, b=10.0, tension=0.3)
    return Case(bonds, bonds.harmonic()[0], 300.0, 80, free=True)


@cache
def triclinic() -> Case:
    """No symmetry at all: four atoms of three species in a sheared cell."""
    scaled = [(0.03, 0.02, 0.01), (0.52, 0.47, 0.07), (0.48, 0.05, 0.56), (0.06, 0.51, 0.46)]
    cell = [[4.0, 0.0, 0.0], [0.3, 4.3, 0.0], [-0.2, 0.4, 4.6]]
    atoms = Atoms("LiClNaCl", scaled_positions=scaled, cell=cell, pbc=True)
    pairs = {
        ("Li", "Cl"): {"k": 3.0, "c": -3.0, "b": 4.0},
        ("Na", "Cl"): {"k": 2.0, "c": -1.5, "b": 2.0, "tension": 0.02},
    }
    bonds = Bonds(_supercell(atoms, (2, 1, 1)), 4.5, k=1.5, pairs=pairs)
    return Case(bonds, bonds.harmonic()[0], 300.0, 100, free=True)


CASES = {
    "silicon": silicon,
    "rock salt": rock_salt,
    "soft perovskite": soft_perovskite,
    "wurtzite": free_wurtzite,
    "triclinic": triclinic,
}
