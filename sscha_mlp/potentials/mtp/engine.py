"""Evaluate an MTP: batches of configurations, in threads of this process."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from sscha_mlp.potentials.mtp.layout import make_functions, make_plan, make_programs
from sscha_mlp.potentials.mtp.neighbours import Batch, batches
from sscha_mlp.potentials.mtp.parameters import Parameters

FloatArray = NDArray[np.float64]


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
    """Derivatives of what an MTP says with respect to its moment coefficients.

    Parameters
    ----------
    energies
        Shape (n, n_scalars): sums of the basis functions over the atoms.
    forces
        One array (3 n_atoms, n_scalars) per configuration, 1/Å.
    stresses
        Shape (n, 6, n_scalars), Voigt order xx yy zz yz xz xy, 1/Å³.
    basis
        One array (n_atoms, n_scalars) per configuration, basis functions of each site.
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
        found: list[Any] = [None] * len(configurations)
        for batch, result in self._map(configurations, self._differentiate):
            for place, index in enumerate(batch.indices):
                found[index] = [array[place] for array in result]
        n = self.parameters.template.n_scalars
        return Design(
            np.array([one[0].sum(axis=0) for one in found]).reshape(-1, n),
            tuple(one[1].reshape(n, -1).T for one in found),
            np.array([one[2] for one in found]).reshape(-1, 6, n),
            tuple(one[0] for one in found),
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
        from sscha_mlp.potentials.mtp import kernels

        n_configs, n_atoms = batch.positions.shape[:2]
        n = self.parameters.template.n_scalars
        basis, forces = np.zeros((n_configs, n_atoms, n)), np.zeros((n_configs, n, n_atoms, 3))
        virials = np.zeros((n_configs, n, 3, 3))
        kernels.differentiate(
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
        stresses = 0.5 * (virials + virials.transpose(0, 1, 3, 2))
        stresses /= batch.volumes[:, None, None, None]
        voigt = stresses.reshape(n_configs, n, 9)[:, :, [0, 4, 8, 5, 2, 1]]
        return basis, forces, voigt.transpose(0, 2, 1)

    @cached_property
    def _plan(self) -> Any:
        return make_plan(self.parameters.template)

    @cached_property
    def _functions(self) -> Any:
        return make_functions(self.parameters)
