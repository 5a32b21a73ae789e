"""The one module that imports python-sscha and CellConstructor.

It turns our values into theirs and back: units (Ry, bohr, and the opposite sign of the stress),
and the order of supercell atoms.  It offers their minimiser as an engine of the population loop,
with our space group in place of their default detection, which finds 24 of diamond's 48 operations;
theirs can be chosen for comparison.  No run needs the two packages otherwise.

Their constants are not ours, nor one set: in :func:`to_ensemble` masses and temperature are handed
over such that ``hbar omega`` and ``k T`` of the ensemble are ours to the last digit.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator
from enum import StrEnum
from functools import lru_cache
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sscha_mlp import units
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix, contract, symmetrise
from sscha_mlp.crystal.structure import Crystal, FloatArray
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import SpaceGroup, find_space_group
from sscha_mlp.ensemble.nuclei import check_quantum
from sscha_mlp.errors import InputError, RelaxationError
from sscha_mlp.parallel.signals import signals_held
from sscha_mlp.scha.estimators import Samples, estimate
from sscha_mlp.scha.minimiser import (
    Minimisation,
    MinimisationStep,
    MinimiserSettings,
    MinimiserStop,
    record_step,
)

_RYDBERG_PER_KELVIN = 6.336857346553283e-6
"""Boltzmann's constant as ``GetUpsilonMatrix`` and their Fortran gradient have it, 5.1e-4 too
large; their free energy has another one, right to 3.3e-7."""


class TheirSymmetry(StrEnum):
    """Which of their symmetrisations is used."""

    QE = "qe"
    """Operations by Quantum ESPRESSO's search, star by star in reciprocal space: their default."""
    SPGLIB = "spglib"
    """Operations by spglib, in the supercell."""


@lru_cache(maxsize=1)
def upstream() -> SimpleNamespace:
    """Import both packages once, quietly, and return them as ``cc`` and ``sscha`` with ``units``.

    Their ComplexWarnings are noise.  They try imports with a bare ``except``.

    Raises
    ------
    InputError
        If one of them is not installed, or cannot be loaded.
    """
    try:
        return _imported()
    except ImportError as err:
        raise InputError(
            f"The engine python-sscha is not installed here ({err}): run pip install "
            "'sscha-mlp[python-sscha]', which needs a Fortran compiler, BLAS and LAPACK, or take "
            "--engine native."
        ) from err


def _imported() -> SimpleNamespace:
    with quiet(), signals_held():
        import cellconstructor
        import cellconstructor.Methods
        import cellconstructor.Phonons
        import cellconstructor.Structure
        import cellconstructor.symmetries
        import cellconstructor.Units
        import sscha
        import sscha.Ensemble
        import sscha.SchaMinimizer
    return SimpleNamespace(cc=cellconstructor, sscha=sscha, units=_units(cellconstructor.Units))


def _units(module: ModuleType) -> SimpleNamespace:
    """Their own constants, so that values survive the way there and back."""
    bohr = float(module.BOHR_TO_ANGSTROM)
    return SimpleNamespace(
        bohr=bohr,
        rydberg=float(module.RY_TO_EV),
        force_constants=float(module.RY_TO_EV) / bohr**2,
        stress=float(module.RY_TO_EV) / bohr**3,
        mass=float(module.MASS_RY_TO_UMA),
        kelvin=float(module.K_B) / float(module.RY_TO_EV),
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep their prints and warnings to themselves, and their files out of the way."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(),
        np.errstate(all="ignore"),
    ):
        warnings.simplefilter("ignore")
        yield


def _write_nothing(minimizer: Any) -> None:
    """Keep a minimiser from writing ``error_dyn`` where the program stands when it gives up.

    Its matrix is a new object in each run, and the same one throughout its steps.
    """
    minimizer.dyn.save_qe = lambda *_, **__: None


# --- values ------------------------------------------------------------------------------------


def to_structure(crystal: Crystal) -> Any:
    """Return a CellConstructor structure of a crystal."""
    up = upstream()
    structure = up.cc.Structure.Structure(crystal.n_atoms)
    structure.atoms = crystal.labels
    structure.coords = crystal.positions.copy()
    structure.unit_cell = crystal.cell.copy()
    structure.has_unit_cell = True
    structure.masses = {
        label: mass / up.units.mass
        for label, mass in zip(structure.atoms, crystal.masses, strict=True)
    }
    return structure


def from_structure(structure: Any) -> Crystal:
    """Return the crystal of a CellConstructor structure."""
    from ase.data import atomic_numbers

    up = upstream()
    try:
        numbers = [atomic_numbers[label.strip().rstrip("0123456789")] for label in structure.atoms]
    except KeyError as err:
        raise InputError(
            f"The dynamical matrix names the species {err}, which is no element."
        ) from err
    masses = [structure.masses[label] * up.units.mass for label in structure.atoms]
    return Crystal(structure.unit_cell, structure.coords, np.array(numbers), np.array(masses))


def _supercell_order(supercell: Supercell, theirs: Any) -> NDArray[np.int64]:
    """For each of their supercell atoms, the index of ours at the same place."""
    scaled = theirs.coords @ np.linalg.inv(supercell.primitive.cell)
    order = np.empty(supercell.n_atoms, dtype=np.int64)
    for b in range(supercell.primitive.n_atoms):
        offset = scaled - supercell.primitive.scaled_positions[b]
        cells = np.rint(offset)
        here = np.linalg.norm((offset - cells) @ supercell.primitive.cell, axis=1) < 1.0e-4
        index = supercell.cell_index(cells.astype(np.int64)) * supercell.primitive.n_atoms + b
        order[here] = index[here]
    return order


def _coordinates(order: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.asarray((3 * order[:, None] + np.arange(3)).ravel())


def to_phonons(dynamical_matrix: DynamicalMatrix, *, group: SpaceGroup | None = None) -> Any:
    """Return CellConstructor phonons with the same force constants.

    Parameters
    ----------
    dynamical_matrix
        Crystal and force constants.
    group
        Operations that join wave vectors to stars; by default those of the crystal.
    """
    up = upstream()
    supercell = dynamical_matrix.supercell
    with quiet():
        structure = to_structure(dynamical_matrix.crystal)
        large = structure.generate_supercell(supercell.size)
        index = _coordinates(_supercell_order(supercell, large))
        matrix = dynamical_matrix.matrix[np.ix_(index, index)] / up.units.force_constants
        grid = up.cc.symmetries.GetQGrid(structure.unit_cell, supercell.size)
        phonons = up.cc.Phonons.Phonons(structure, nqirr=supercell.n_cells)
        at_q = up.cc.Phonons.GetDynQFromFCSupercell(matrix, np.array(grid), structure, large)
    stars = _stars(group or find_space_group(supercell), np.array(grid))
    phonons.dynmats = [at_q[k] for star in stars for k in star]
    phonons.q_tot = [grid[k] for star in stars for k in star]
    phonons.q_stars = [[grid[k] for k in star] for star in stars]
    phonons.nqirr = len(stars)
    return phonons


def _stars(group: SpaceGroup, grid: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """Indices of the wave vectors of each star, that of zero first.

    By a group of ours: their ``AdjustQStar`` fails on grids with less symmetry than the crystal,
    such as 2x2x1 of a cubic one.
    """
    supercell = group.supercell
    scaled = np.rint(grid @ supercell.primitive.cell.T * supercell.size)
    index = supercell.cell_index(scaled.astype(np.int64))
    labels = group.equivalent_qpoints()[index]
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def from_phonons(phonons: Any, supercell: Supercell) -> DynamicalMatrix:
    """Return the force constants of CellConstructor phonons on a supercell of ours."""
    up = upstream()
    with quiet():
        large = phonons.GenerateSupercellDyn(supercell.size)
    index = _coordinates(_supercell_order(supercell, large.structure))
    matrix = np.empty((len(index), len(index)))
    matrix[np.ix_(index, index)] = np.real(large.dynmats[0]) * up.units.force_constants
    return DynamicalMatrix(supercell, contract(supercell, matrix))


# --- ensembles ---------------------------------------------------------------------------------


def matched_phonons(state: DynamicalMatrix, group: SpaceGroup | None = None) -> Any:
    """Return phonons whose masses make their ``hbar omega`` (Ry) ours, see :func:`to_ensemble`."""
    up = upstream()
    phonons = to_phonons(state, group=group)
    unit = units.HBAR**2 / (up.units.bohr**2 * up.units.rydberg)
    masses = phonons.structure.masses
    phonons.structure.masses = {
        label: mass * up.units.mass / unit for label, mass in masses.items()
    }
    return phonons


def their_free_energy(ensemble: Any) -> float:
    """Free energy of an ensemble of :func:`to_ensemble` by their code, eV per supercell.

    Their routine has its own Boltzmann constant, so it is given its own temperature.
    """
    up = upstream()
    kept = ensemble.current_T
    ensemble.current_T = kept * _RYDBERG_PER_KELVIN / up.units.kelvin
    value = float(np.real(ensemble.get_free_energy()))
    ensemble.current_T = kept
    return value * float(up.units.rydberg)


def to_ensemble(
    samples: Samples, *, group: SpaceGroup | None = None
) -> tuple[Any, NDArray[np.int64]]:
    """Return a python-sscha ensemble with our configurations and values, and the atom order.

    Force constants, forces and energies are turned with CellConstructor's Rydberg and bohr.  The
    masses are then in the unit ``hbar² / (Ry bohr²)`` with our hbar (1.0e-7 off their own), and the
    temperature is divided by the Boltzmann constant of their weights and gradient, so that
    ``hbar omega`` and ``k T`` are the same energies in both codes.  What is left is rounding.

    Parameters
    ----------
    samples
        Configurations with energies, forces and stresses.
    group
        Operations that join wave vectors to stars; by default those of the crystal.

    Raises
    ------
    InputError
        If the nuclei of the ensemble are not quantum.
    """
    ours = samples.ensemble
    check_quantum(ours.nuclei)
    up = upstream()
    supercell = ours.dynamical_matrix.supercell
    n_configs = ours.n_configs
    phonons = matched_phonons(ours.dynamical_matrix, group)
    kelvin = units.KB * ours.temperature / up.units.rydberg / _RYDBERG_PER_KELVIN
    ensemble = up.sscha.Ensemble.Ensemble(phonons, T0=kelvin, supercell=np.array(supercell.size))
    large = phonons.structure.generate_supercell(supercell.size)
    order = _supercell_order(supercell, large)
    coordinates = _coordinates(order)
    ensemble.N = n_configs
    displacements = ours.displacements[:, coordinates].reshape(n_configs, -1, 3)
    ensemble.structures = []
    for displacement in displacements:
        structure = large.copy()
        structure.coords += displacement
        ensemble.structures.append(structure)
    ensemble.xats = np.array([s.coords for s in ensemble.structures])
    ensemble.energies = samples.energies / up.units.rydberg
    forces = samples.forces[:, coordinates].reshape(n_configs, -1, 3)
    ensemble.forces = forces / up.units.rydberg
    ensemble.stresses = -samples.stresses / up.units.stress
    ensemble.has_stress = True
    ensemble.stress_computed = np.ones(n_configs, dtype=bool)
    ensemble.force_computed = np.ones(n_configs, dtype=bool)
    ensemble.sscha_energies = np.zeros(n_configs)
    ensemble.sscha_forces = np.zeros_like(forces)
    ensemble.rho = np.ones(n_configs)
    ensemble.init()
    return ensemble, order


# --- the minimiser ------------------------------------------------------------------------------


def minimise(
    samples: Samples,
    group: SpaceGroup,
    settings: MinimiserSettings,
    *,
    symmetry: TheirSymmetry | None = None,
) -> Minimisation:
    """Minimise the free energy of an ensemble with python-sscha's minimiser.

    The result is read back and judged by our estimators.

    Parameters
    ----------
    samples
        Ensemble with energies, forces and stresses of one potential.
    group
        Space group imposed on force constants and centroids.
    settings
        Step length and stopping rules.
    symmetry
        By default the gradient is symmetrised with our space group in real space, and their own
        symmetrisation is switched off.  Otherwise theirs runs; ``group`` must be the operations
        that it finds (``their_space_group`` in ``python_sscha_averages.py``).

    Raises
    ------
    RelaxationError
        If their minimiser gives up.
    """
    supercell = samples.ensemble.dynamical_matrix.supercell
    steps: list[MinimisationStep] = []
    with quiet():
        ensemble, _ = to_ensemble(samples, group=group)
        minimizer = upstream().sscha.SchaMinimizer.SSCHA_Minimizer(ensemble)
        minimizer.neglect_symmetries = symmetry is None
        minimizer.use_spglib = symmetry is TheirSymmetry.SPGLIB
        minimizer.min_step_dyn = 0.5 * settings.step
        minimizer.min_step_struc = 0.5 * settings.step
        minimizer.minim_struct = settings.relax_centroids
        minimizer.kong_liu_ratio = settings.min_sample_ratio
        minimizer.meaningful_factor = settings.meaningful_factor
        minimizer.max_ka = settings.max_steps
        symmetriser = None if symmetry else GradientSymmetriser(group, minimizer.dyn)

        def note(_minimizer: Any) -> None:
            state = from_phonons(_minimizer.dyn, _current_supercell(_minimizer.dyn, supercell))
            trial = samples.ensemble.gaussian.at(state)
            steps.append(record_step(estimate(samples, group, trial=trial)))

        steps.append(record_step(estimate(samples, group)))
        try:
            minimizer.init()
            minimizer.run(
                verbose=0,
                custom_function_pre=_write_nothing,
                custom_function_gradient=symmetriser,
                custom_function_post=note,
            )
        except (ValueError, AssertionError, np.linalg.LinAlgError) as err:
            raise RelaxationError(f"python-sscha's minimiser gave up: {err}") from err
        final = from_phonons(minimizer.dyn, _current_supercell(minimizer.dyn, supercell))
    final = final.with_force_constants(symmetrise(group, final.force_constants))
    estimators = estimate(samples, group, trial=samples.ensemble.gaussian.at(final))
    ratio = estimators.effective_sample_size / samples.ensemble.n_configs
    reason = MinimiserStop.CONVERGED
    if ratio < settings.min_sample_ratio:
        reason = MinimiserStop.SAMPLE_USED_UP
    elif len(steps) > settings.max_steps:
        reason = MinimiserStop.MAX_STEPS
    return Minimisation(final, estimators, tuple(steps), reason, final)


def _current_supercell(phonons: Any, supercell: Supercell) -> Supercell:
    """Our supercell with the centroids that their minimiser has reached."""
    shift = phonons.structure.coords - supercell.primitive.positions
    return Supercell(supercell.primitive.moved(shift), supercell.size)


class GradientSymmetriser:
    """Symmetrise their gradient in place with the full space group.

    Parameters
    ----------
    group
        Operations of the supercell.
    phonons
        Their dynamical matrix, for the order of its wave vectors.
    """

    def __init__(self, group: SpaceGroup, phonons: Any) -> None:
        supercell = group.supercell
        self.group = group
        qpoints = np.array(phonons.q_tot) @ supercell.primitive.cell.T
        self.phases = np.exp(2j * np.pi * qpoints @ supercell.translations.T)

    def __call__(
        self, gradient: NDArray[np.complex128], structure_gradient: NDArray[np.float64]
    ) -> None:
        """Change both gradients in place: (n_q, 3n, 3n) and (n, 3)."""
        supercell = self.group.supercell
        n_cells, n_primitive = supercell.n_cells, supercell.primitive.n_atoms
        compact = symmetrise(self.group, self.to_compact(gradient))
        blocks = compact.reshape(n_primitive, n_cells, n_primitive, 3, 3)
        back = np.einsum("qT,aTbij->qaibj", self.phases, blocks)
        gradient[...] = back.reshape(gradient.shape)
        structure_gradient[...] = self.group.symmetrise_vectors(structure_gradient)

    def to_compact(self, at_q: NDArray[np.complex128]) -> FloatArray:
        """Return matrices at their wave vectors as compact force constants, same unit."""
        supercell = self.group.supercell
        n_cells, n_primitive = supercell.n_cells, supercell.primitive.n_atoms
        blocks = at_q.reshape(n_cells, n_primitive, 3, n_primitive, 3)
        cells = np.einsum("qT,qaibj->aTbij", self.phases.conj(), blocks).real / n_cells
        return np.asarray(cells.reshape(n_primitive, supercell.n_atoms, 3, 3))
