"""Potentials whose SSCHA is known in closed form, and crystals to put them on.

A :class:`Bonds` potential is a sum over bonds of polynomials in the bond's elongation along its
reference direction, ``v(d) = t d + k d²/2 + c d³ + b d⁴``.  It is invariant under translations and
has a stress, and all its Gaussian averages are polynomials in the mean and the variance of ``d``:
the free energy, force constants, centroid forces and stress that the estimators sample are known
exactly.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.neighborlist import neighbor_list

from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix, contract, symmetrise
from sscha_mlp.crystal.structure import Crystal
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import find_space_group
from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.ensemble.nuclei import Nuclei, mean_square_amplitudes


@dataclass(frozen=True)
class Values:
    """Energies, forces and stresses of a batch, as an evaluator returns them."""

    energies: np.ndarray
    forces: tuple[np.ndarray, ...]
    stresses: np.ndarray


class Bonds:
    """Polynomial bonds on the reference positions of a supercell.

    Parameters: reach of the bonds (Å); ``tension`` (eV/Å), stiffness ``k`` (eV/Å²), cubic ``c``
    (eV/Å³) and quartic ``b`` (eV/Å⁴) term of the first shell; farther bonds are harmonic with
    ``far`` times the stiffness.  ``offset`` (eV) is the energy at rest.  ``pairs`` gives some
    pairs of species, such as ``("O", "Ti")``, terms of their own in every shell: a mapping with
    any of k, c, b and tension, zero where left out.
    """

    def __init__(
        self, supercell, cutoff, *, k, c=0.0, b=0.0, far=1.0, offset=0.0, tension=0.0, pairs=None
    ):
        atoms = supercell.crystal.to_ase()
        i, j, vectors, shifts = neighbor_list("ijDS", atoms, cutoff)
        once = (i < j) | ((i == j) & _is_first(shifts))
        self.i, self.j, self.vectors, self.shifts = i[once], j[once], vectors[once], shifts[once]
        lengths = np.linalg.norm(self.vectors, axis=1)
        first = lengths < lengths.min() * 1.05
        self.directions = self.vectors / lengths[:, None]
        self.k = np.where(first, k, far * k)
        self.c = np.where(first, c, 0.0)
        self.b = np.where(first, b, 0.0)
        self.t = np.where(first, tension, 0.0)
        for species, terms in (pairs or {}).items():
            self._set_pair(atoms.symbols, species, **terms)
        self.offset = offset
        self.supercell = supercell

    def _set_pair(self, symbols, species, *, k=0.0, c=0.0, b=0.0, tension=0.0):
        first, second = (np.asarray(symbols)[index] for index in (self.i, self.j))
        straight = (first == species[0]) & (second == species[1])
        chosen = straight | ((first == species[1]) & (second == species[0]))
        self.k[chosen], self.c[chosen], self.b[chosen], self.t[chosen] = k, c, b, tension

    def elongations(self, positions, cell):
        """Of each bond, for positions (..., n_atoms, 3)."""
        spans = positions[..., self.j, :] - positions[..., self.i, :] + self.shifts @ cell
        return spans, ((spans - self.vectors) * self.directions).sum(axis=-1)

    def evaluate(self, configurations):
        results = [self.one(atoms.positions, atoms.cell.array) for atoms in configurations]
        energies, forces, stresses = zip(*results, strict=True)
        return Values(np.array(energies), forces, np.array(stresses))

    def one(self, positions, cell):
        spans, d = self.elongations(positions, cell)
        energy = (
            self.offset + (self.t * d + self.k * d**2 / 2 + self.c * d**3 + self.b * d**4).sum()
        )
        pull = self.t + self.k * d + 3 * self.c * d**2 + 4 * self.b * d**3
        forces = np.zeros_like(positions)
        np.add.at(forces, self.i, pull[:, None] * self.directions)
        np.add.at(forces, self.j, -pull[:, None] * self.directions)
        virial = np.einsum("n,na,nb->ab", pull, self.directions, spans)
        volume = abs(np.linalg.det(cell))
        return energy, forces, 0.5 * (virial + virial.T) / volume

    # --- exact averages over a Gaussian ---------------------------------------------------

    def moments(self, gaussian):
        """Mean elongation, its variance, and the spans of each bond in a Gaussian state."""
        crystal = gaussian.dynamical_matrix.supercell.crystal
        spans, mean = self.elongations(crystal.positions, crystal.cell)
        rows = self.projections
        return mean, np.einsum("ni,ij,nj->n", rows, gaussian.covariance, rows), spans

    @cached_property
    def projections(self):
        """Rows that turn displacements (3 n_atoms) into elongations, (n_bonds, 3 n_atoms)."""
        rows = np.zeros((len(self.i), self.supercell.n_atoms, 3))
        index = np.arange(len(self.i))
        rows[index, self.j] += self.directions
        rows[index, self.i] -= self.directions
        return rows.reshape(len(self.i), -1)

    def free_energy(self, gaussian):
        mean, var, _ = self.moments(gaussian)
        bonds = self.t * mean + self.k / 2 * (mean**2 + var)
        bonds += self.c * (mean**3 + 3 * mean * var)
        bonds += self.b * (mean**4 + 6 * mean**2 * var + 3 * var**2)
        harmonic = 0.5 * np.trace(gaussian.dynamical_matrix.matrix @ gaussian.covariance)
        return gaussian.free_energy + self.offset + bonds.sum() - harmonic

    def curvature(self, gaussian):
        """``< d²V/du² >`` of the supercell, (3 n_atoms, 3 n_atoms)."""
        mean, var, _ = self.moments(gaussian)
        second = self.k + 6 * self.c * mean + 12 * self.b * (mean**2 + var)
        return (self.projections.T * second) @ self.projections

    def hessian(self, gaussian, *, fourth=True):
        """The free-energy Hessian at the minimum ``gaussian``, (3 n_atoms, 3 n_atoms).

        Third and fourth derivatives live on the bonds, so that the linear equation of the formula
        is one between bonds.
        """
        mean, _, _ = self.moments(gaussian)
        third, quartic = 6 * self.c + 24 * self.b * mean, 24 * self.b * np.ones(len(mean))
        modes = gaussian.dynamical_matrix.modes
        bonds = self.projections @ (modes.vectors / np.sqrt(self.supercell.masses3)[:, None])
        half = half_response(modes.frequencies**2, gaussian.temperature, gaussian.nuclei)
        # Lambda between bonds n and m: sum over pairs of modes.
        between = np.empty((len(mean), len(mean)))
        for n, one in enumerate(bonds):
            weighted = (half * one) @ bonds.T  # modes, bonds
            between[n] = np.einsum("u,um,um->m", one, bonds.T, weighted)
        answer = between
        if fourth:
            answer = between @ np.linalg.inv(np.eye(len(mean)) - quartic[:, None] * between)
        inner = third[:, None] * answer * third[None, :]
        return self.curvature(gaussian) + self.projections.T @ inner @ self.projections

    def pulls(self, gaussian):
        """``< v'(d) >`` of each bond."""
        mean, var, _ = self.moments(gaussian)
        linear = self.t + self.k * mean + 3 * self.c * (mean**2 + var)
        return linear + 4 * self.b * (mean**3 + 3 * mean * var)

    def centroid_forces(self, gaussian):
        """Average force on each primitive atom, (n_primitive, 3)."""
        forces = -self.pulls(gaussian) @ self.projections
        shape = (self.supercell.n_cells, self.supercell.primitive.n_atoms, 3)
        return forces.reshape(shape).mean(axis=0)

    def stress(self, gaussian):
        """SSCHA stress, (3, 3)."""
        _, _, spans = self.moments(gaussian)
        virial = np.einsum("n,na,nb->ab", self.pulls(gaussian), self.directions, spans)
        volume = gaussian.dynamical_matrix.supercell.crystal.volume
        return 0.5 * (virial + virial.T) / volume

    def harmonic(self):
        """The dynamical matrix of the reference positions, symmetrised."""
        group = find_space_group(self.supercell)
        matrix = (self.projections.T * self.k) @ self.projections
        constants = symmetrise(group, contract(self.supercell, matrix))
        return DynamicalMatrix(self.supercell, constants), group

    def minimum(self, state, group, temperature, *, centroids=False, nuclei=Nuclei.QUANTUM):
        """Solve the SSCHA equations by damped exact iteration, with no sampling anywhere."""
        for _ in range(400):
            gaussian = Gaussian(state, temperature, nuclei)
            exact = symmetrise(group, contract(self.supercell, self.curvature(gaussian)))
            change = exact - state.force_constants
            step = np.zeros((self.supercell.primitive.n_atoms, 3))
            if centroids:
                forces = self.centroid_forces(gaussian)
                step = group.symmetrise_vectors(0.6 * _newton_step(state, forces))
            if np.abs(change).max() < 1e-12 and np.abs(step).max() < 1e-12:
                break
            state = state.with_force_constants(state.force_constants + 0.6 * change).moved(step)
        return state


def half_response(squares, temperature, nuclei=Nuclei.QUANTUM):
    """Half the change of each pair's covariance with the force constants, by finite differences.

    Parameters: squared frequencies of the modes, temperature, how the nuclei move.  Returns a
    matrix between modes.
    """

    def width(x):
        return mean_square_amplitudes(np.sqrt(x), temperature, nuclei)

    step = 1e-5 * squares
    slopes = (width(squares + step) - width(squares - step)) / (2 * step)
    gap = squares[:, None] - squares[None, :]
    same = np.abs(gap) < 1e-6 * squares.max()
    divided = (width(squares)[:, None] - width(squares)[None, :]) / np.where(same, 1, gap)
    return 0.5 * np.where(same, 0.5 * (slopes[:, None] + slopes[None, :]), divided)


class BondsCalculator(Calculator):
    """A :class:`Bonds` potential as an ASE calculator."""

    implemented_properties = ["energy", "forces", "stress"]

    def __init__(self, bonds):
        super().__init__()
        self.bonds = bonds

    def calculate(self, atoms=None, properties=None, system_changes=None):
        super().calculate(atoms, properties or ["energy"], system_changes or ["positions"])
        energy, forces, stress = self.bonds.one(self.atoms.positions, self.atoms.cell.array)
        self.results = {"energy": energy, "forces": forces, "stress": stress}


class CalculatorEvaluator:
    """Evaluate a batch with any ASE calculator."""

    def __init__(self, calculator):
        self.calculator = calculator

    def evaluate(self, configurations):
        energies, forces, stresses = [], [], []
        for atoms in configurations:
            copy = atoms.copy()
            copy.calc = self.calculator
            energies.append(copy.get_potential_energy())
            forces.append(copy.get_forces())
            stresses.append(copy.get_stress(voigt=False))
        return Values(np.array(energies), tuple(forces), np.array(stresses))


def _newton_step(state, forces):
    """Displacements (n_primitive, 3) that the force constants answer with minus these forces."""
    supercell, n = state.supercell, state.crystal.n_atoms
    blocks = state.force_constants.reshape(n, supercell.n_cells, n, 3, 3).sum(axis=1)
    matrix = blocks.transpose(0, 2, 1, 3).reshape(3 * n, 3 * n)
    return (np.linalg.pinv(matrix, rcond=1e-9, hermitian=True) @ forces.ravel()).reshape(n, 3)


def _is_first(shifts):
    """Half of the images of an atom with itself: those whose first non-zero shift is positive."""
    keys = shifts @ np.array([10_000, 100, 1])
    return keys > 0


def fcc(size=(2, 2, 2), **options):
    """Fcc crystal of mass 27 with polynomial bonds."""
    supercell = Supercell(Crystal.from_ase(bulk("Al", "fcc", a=4.05)), size)
    return Bonds(supercell, 3.2, **{"k": 1.2, **options})


def wurtzite(size=(2, 2, 1), **options):
    """Wurtzite with a free internal coordinate, bonds to the second shell."""
    atoms = bulk("ZnO", "wurtzite", a=3.25, c=5.2, u=0.38)
    supercell = Supercell(Crystal.from_ase(atoms), size)
    return Bonds(supercell, 3.5, **{"k": 8.0, "far": 0.15, **options})


def perovskite() -> Atoms:
    """SrTiO3, five atoms."""
    scaled = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
    return Atoms("SrTiO3", scaled_positions=scaled, cell=[3.9] * 3, pbc=True)
