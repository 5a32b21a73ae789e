"""A potential whose batches are evaluated by an executor: by more machines than this one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from sscha_mlp.errors import ModelError
from sscha_mlp.parallel import Executor, Failed, Machines
from sscha_mlp.potentials.kind import Uncertainty
from sscha_mlp.potentials.protocol import Potential, Predictions
from sscha_mlp.potentials.registry import load

_CHUNK: Final = 32
"""Configurations in one task; fixed, since a GAP's last digits depend on what is in a batch."""


@dataclass(frozen=True)
class Batch:
    """Configurations of one task, and whether their uncertainty is wanted."""

    configurations: tuple[Atoms, ...]
    uncertainty: bool


@dataclass(frozen=True)
class ModelFunction:
    """Makes the function of a worker: loads the model once, evaluates one batch after another.

    Parameters
    ----------
    directory
        Of the model, as the workers see it.
    sha256
        Hash over its files.
    """

    directory: str
    sha256: str

    def __call__(self) -> Callable[[Batch], Predictions]:
        """Load the model.

        Raises
        ------
        ModelError
            If it is missing here, or another one lies there.
        """
        potential = load(self.directory)
        if potential.sha256 != self.sha256:
            raise ModelError(
                f"{self.directory} holds another model on the worker than on the client: both "
                "must see the same file system."
            )
        return lambda batch: potential.evaluate(batch.configurations, uncertainty=batch.uncertainty)


class SpreadPotential:
    """A potential of any kind whose batches go to an executor; the rest is as it was.

    Parameters
    ----------
    potential
        The potential; it is closed with this one.
    machines
        Where its batches are evaluated.
    n_workers
        Number of workers where the machines give none.
    """

    def __init__(self, potential: Potential, machines: Machines, n_workers: int = 1) -> None:
        self.potential = potential
        self._executor: Executor[Batch, Predictions] = machines.executor(
            ModelFunction(str(potential.path), potential.sha256), n_workers=n_workers
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def kind(self) -> str:
        """Kind of the potential."""
        return self.potential.kind

    @property
    def path(self) -> Path:
        """Directory of the model."""
        return self.potential.path

    @property
    def sha256(self) -> str:
        """Hash over every file that decides a prediction."""
        return self.potential.sha256

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings of the fit."""
        return MappingProxyType(dict(self.potential.settings))

    @property
    def uncertainty(self) -> Uncertainty | None:
        """What it states about its own predictions."""
        return self.potential.uncertainty

    def evaluate(
        self, configurations: Sequence[Atoms], *, uncertainty: bool = False
    ) -> Predictions:
        """Return energies, forces and stresses, in the order of the configurations.

        Raises
        ------
        ModelError
            If a batch cannot be evaluated; the message is that of the worker.
        WorkerStartError, ExecutorLostError
            If the workers cannot load the model, or go away.
        """
        if not configurations:
            return self.potential.evaluate(configurations, uncertainty=uncertainty)
        found: dict[int, Predictions] = {}
        for index, outcome in self._executor.run(_batches(configurations, uncertainty)):
            if isinstance(outcome, Failed):
                raise ModelError(f"The {self.kind.upper()} in {self.path} failed: {outcome.reason}")
            found[index] = outcome.value
        return _joined([found[index] for index in sorted(found)])

    def calculator(self) -> Calculator:
        """Return an ASE calculator that evaluates in this process."""
        return self.potential.calculator()

    def release(self) -> None:
        """End what evaluates elsewhere; the potential itself stays open."""
        self._executor.close()

    def close(self) -> None:
        """End the processes that evaluate."""
        self.release()
        self.potential.close()


def spread(potential: Potential, machines: Machines, n_workers: int = 1) -> Potential:
    """Return a potential that is evaluated on given machines.

    On this machine a potential has processes or threads of its own, and is returned as it is.

    Parameters
    ----------
    potential
        The potential; it is closed with the one that is returned.
    machines
        Where its batches are evaluated.
    n_workers
        Number of workers where the machines give none.

    Raises
    ------
    ModelError
        If the model is a single file: workers load a directory.
    ConfigError, InputError
        If the cluster cannot be started or reached.
    """
    if not machines.settings.on_dask:
        return potential
    if not potential.path.is_dir():
        raise ModelError(
            f"{potential.path} is a single file; on a cluster a model is loaded from the "
            "directory of a fit. Leave the executor out for this one."
        )
    return SpreadPotential(potential, machines, n_workers)


def _batches(configurations: Sequence[Atoms], uncertainty: bool) -> Iterator[Batch]:
    for first in range(0, len(configurations), _CHUNK):
        some = configurations[first : first + _CHUNK]
        yield Batch(tuple(_bare(atoms) for atoms in some), uncertainty)


def _bare(atoms: Atoms) -> Atoms:
    return Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def _joined(parts: Sequence[Predictions]) -> Predictions:
    uncertainties = [part.uncertainty for part in parts if part.uncertainty is not None]
    return Predictions(
        np.concatenate([part.energies for part in parts]),
        tuple(force for part in parts for force in part.forces),
        np.concatenate([part.stresses for part in parts]),
        np.concatenate(uncertainties) if len(uncertainties) == len(parts) else None,
    )
