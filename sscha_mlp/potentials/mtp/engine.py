"""Evaluate an MTP: batches of configurations, in threads of this process."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from sscha_mlp.potentials.mtp.layout import (
    make_functions,
    make_plan,
    make_programs,
    make_reach,
)
from sscha_mlp.potentials.mtp.neighbours import Batch, batches
from sscha_mlp.potentials.mtp.parameters import Parameters

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What an MTP says of a batch of configurations.

    Parameters
    ----------
    site_energies
        One array (n_atoms,) per configuration, eV.
    forces
        One array (n_atoms, 3) per configuration, eV/Å.
    stresses
        Shape (n, 3, 3), eV/Å³, ASE's sign.
    basis
        One array (n_atoms, n_scalars) per configuration, basis functions of each site; empty if
        not asked for.
    """

    site_energies: tuple[FloatArray, ...]
    forces: tuple[FloatArray, ...]
    stresses: FloatArray
    basis: tuple[FloatArray, ...]

    @property
    def energies(self) -> FloatArray:
        """Total energies, shape (n,), eV."""
        return np.array([one.sum() for one in self.site_energies])


@dataclass(frozen=True, eq=False)
class Design:
    """Derivatives of what an MTP says with respect to n of its coefficients.

    Parameters
    ----------
    energies
        Shape (n_configs, n): for moment coefficients the sums of the basis functions over the
        atoms.
    forces
        One array (3 n_atoms, n) per configuration, 1/Å.
    stresses
        Shape (n_configs, 6, n), Voigt order xx yy zz yz xz xy, 1/Å³.
    basis
        One array (n_atoms, n_scalars) per configuration, basis functions of each site; without
        columns for radial coefficients.
    """

    energies: FloatArray
    forces: tuple[FloatArray, ...]
    stresses: FloatArray
    basis: tuple[FloatArray, ...]


@dataclass(frozen=True, eq=False)
class Prepared:
    """Configurations with their neighbour lists.

    Parameters
    ----------
    n_configs
        How many they are.
    batches
        Those that share a list, together.
    """

    n_configs: int
    batches: tuple[Batch, ...]

    def __len__(self) -> int:
        return self.n_configs


class Engine:
    """An MTP ready to evaluate; the first call in a process loads the compiled loops.

    Parameters
    ----------
    parameters
        The potential.
    n_threads
        Threads among which a batch is divided; results do not depend on it.
    """

    def __init__(self, parameters: Parameters, *, n_threads: int = 1) -> None:
        self.parameters = parameters
        self.n_threads = max(1, n_threads)

    def prepare(self, configurations: Sequence[Atoms]) -> "Prepared":
        """Return configurations with their neighbour lists, to be evaluated more than once.

        They serve any potential of the same species and cutoff.
        """
        parameters = self.parameters
        found = batches(configurations, parameters.species, parameters.max_dist)
        return Prepared(len(configurations), tuple(found))

    def evaluate(
        self, configurations: "Sequence[Atoms] | Prepared", *, basis: bool = False
    ) -> Evaluation:
        """Return site energies, forces and stresses, in the order of the configurations.

        Parameters
        ----------
        configurations
            Of the species of the potential, in any cell; or what :meth:`prepare` made of them.
        basis
            Whether the basis functions of each site are wanted too.

        Raises
        ------
        ModelError
            If a configuration holds an element that the potential does not know.
        """
        columns = self.parameters.template.n_scalars if basis else 0
        found: list[Any] = [None] * len(configurations)
        for batch, result in self._map(configurations, lambda one: self._evaluate(one, columns)):
            for place, index in enumerate(batch.indices):
                found[index] = [array[place] for array in result]
        return Evaluation(
            tuple(one[0] for one in found),
            tuple(one[1] for one in found),
            np.array([one[2] for one in found]).reshape(-1, 3, 3),
            tuple(one[3] for one in found) if basis else (),
        )

    def design(self, configurations: "Sequence[Atoms] | Prepared") -> Design:
        """Return the derivatives with respect to the moment coefficients.

        They depend on the template and on the radial functions, not on the coefficients.
        """
        return self._design(configurations, self._differentiate)

    def radial_design(
        self, configurations: "Sequence[Atoms] | Prepared", entries: tuple[IntArray, ...]
    ) -> Design:
        """Return the derivatives with respect to radial coefficients, at fixed others.

        Parameters
        ----------
        configurations
            As in :meth:`evaluate`.
        entries
            Indices of the coefficients wanted, as ``numpy.nonzero`` returns them: one array for
            each axis of the radial coefficients.  The columns are in their order.
        """
        columns = np.full(self.parameters.radial_coeffs.shape, -1)
        columns[entries] = np.arange(len(entries[0]))
        return self._design(
            configurations, lambda batch: self._differentiate_radial(batch, columns)
        )

    def _design(self, configurations: "Sequence[Atoms] | Prepared", function: Any) -> Design:
        """Put the derivatives of all configurations together, one column per coefficient."""
        found: list[Any] = [None] * len(configurations)
        for batch, result in self._map(configurations, function):
            for place, index in enumerate(batch.indices):
                found[index] = [array[place] for array in result]
        return Design(
            np.array([one[0] for one in found]),
            tuple(one[1].reshape(len(one[1]), -1).T for one in found),
            np.array([one[2] for one in found]),
            tuple(one[3] for one in found),
        )

    def _map(
        self, configurations: "Sequence[Atoms] | Prepared", function: Any
    ) -> Iterator[tuple[Batch, Any]]:
        """Apply a function to each batch, in threads."""
        work: Iterable[Batch]
        if isinstance(configurations, Prepared):
            work = configurations.batches
        else:
            parameters = self.parameters
            work = batches(configurations, parameters.species, parameters.max_dist)
        if self.n_threads == 1:
            for batch in work:
                yield batch, function(batch)
            return
        everything = list(work)
        with ThreadPoolExecutor(self.n_threads) as threads:
            yield from zip(everything, threads.map(function, everything), strict=True)

    def _evaluate(self, batch: Batch, columns: int) -> tuple[FloatArray, ...]:
        from sscha_mlp.potentials.mtp import kernels

        n_configs, n_atoms = batch.positions.shape[:2]
        energies, forces = np.zeros((n_configs, n_atoms)), np.zeros((n_configs, n_atoms, 3))
        virials, basis = np.zeros((n_configs, 3, 3)), np.zeros((n_configs, n_atoms, columns))
        kernels.evaluate(
            batch.positions,
            batch.types,
            batch.pairs,
            batch.capacity,
            self._plan,
            self._functions,
            energies,
            forces,
            virials,
            basis,
        )
        stresses = 0.5 * (virials + virials.transpose(0, 2, 1)) / batch.volumes[:, None, None]
        return energies, forces, stresses, basis

    def _differentiate(self, batch: Batch) -> tuple[FloatArray, ...]:
        from sscha_mlp.potentials.mtp import derivatives

        n_configs, n_atoms = batch.positions.shape[:2]
        n = self.parameters.template.n_scalars
        basis, forces = np.zeros((n_configs, n_atoms, n)), np.zeros((n_configs, n, n_atoms, 3))
        virials = np.zeros((n_configs, n, 3, 3))
        derivatives.differentiate(
            batch.positions,
            batch.types,
            batch.pairs,
            batch.capacity,
            self._plan,
            self._functions,
            make_programs(self.parameters.template),
            basis,
            forces,
            virials,
        )
        return basis.sum(axis=1), forces, _voigt(virials, batch.volumes), basis

    def _differentiate_radial(self, batch: Batch, columns: IntArray) -> tuple[FloatArray, ...]:
        from sscha_mlp.potentials.mtp import derivatives

        n_configs, n_atoms = batch.positions.shape[:2]
        n = int(columns.max(initial=-1)) + 1
        energies, forces = np.zeros((n_configs, n)), np.zeros((n_configs, n, n_atoms, 3))
        virials = np.zeros((n_configs, n, 3, 3))
        derivatives.differentiate_radial(
            batch.positions,
            batch.types,
            batch.pairs,
            batch.capacity,
            self._plan,
            self._functions,
            make_reach(self.parameters.template),
            columns,
            energies,
            forces,
            virials,
        )
        scaling = self.parameters.scaling  # the loops derive by its product with a coefficient
        return (
            scaling * energies,
            scaling * forces,
            _voigt(scaling * virials, batch.volumes),
            np.zeros((n_configs, n_atoms, 0)),
        )

    @cached_property
    def _plan(self) -> Any:
        return make_plan(self.parameters.template)

    @cached_property
    def _functions(self) -> Any:
        return make_functions(self.parameters)


def _voigt(virials: FloatArray, volumes: FloatArray) -> FloatArray:
    """Stresses (n_configs, 6, n) of the columns of dE/dstrain, shape (n_configs, n, 3, 3)."""
    stresses = virials / volumes[:, None, None, None]
    return stresses.reshape(*virials.shape[:2], 9)[:, :, [0, 4, 8, 5, 2, 1]].transpose(0, 2, 1)
