"""A fitted GAP, ready to evaluate batches of configurations."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from ase import Atoms

from sscha_mlp.errors import ModelError
from sscha_mlp.parallel import Failed, WorkerPool
from sscha_mlp.potentials.domain import require_finite, require_usable
from sscha_mlp.potentials.gap import KIND
from sscha_mlp.potentials.gap.command import MODEL_FILE
from sscha_mlp.potentials.gap.evaluator import Chunk, EvaluatorFactory, Group, Prediction
from sscha_mlp.potentials.protocol import PotentialCalculator, Predictions
from sscha_mlp.potentials.record import ModelRecord, RecordedModel, read_record, verify

_GROUP_ATOMS: Final = 128
"""Atoms in one call of QUIP; from here on the cost of the call itself no longer counts."""

_MAX_CHUNK: Final = 4
_CHUNKS_PER_WORKER: Final = 4


def load(directory: Path | str, *, n_workers: int = 1) -> "GapPotential":
    """Load a finished GAP after comparing its files with the hash taken when it was fitted.

    Raises
    ------
    ModelError
        If the directory holds no finished GAP, or a file is missing or has changed.
    """
    directory = Path(directory)
    record = read_record(directory, "gap")
    verify(directory, record)
    return GapPotential(directory, record, n_workers=n_workers)


class GapPotential(RecordedModel):
    """A GAP on disk and the processes that evaluate it.

    The processes start at the first evaluation and stay; with one worker, this process does the
    work.  Predictions do not depend on the number of workers.  In the last digits they depend on
    what else is in the batch, because small configurations are evaluated several at a time.  Use
    it as a context manager, or call :meth:`close`.

    Parameters
    ----------
    path
        Directory of the model.
    record
        What its ``model.json`` says.
    n_workers
        Number of processes.
    """

    kind: Final = KIND.name
    uncertainty: Final = KIND.uncertainty

    def __init__(self, path: Path, record: ModelRecord, *, n_workers: int = 1) -> None:
        super().__init__(path, record, n_workers)
        self._pool: WorkerPool[Chunk, list[Prediction]] = WorkerPool(
            EvaluatorFactory(self.path / MODEL_FILE), n_workers
        )

    def evaluate(
        self, configurations: Sequence[Atoms], *, uncertainty: bool = False
    ) -> Predictions:
        """Return energies, forces and stresses, in the order of the configurations.

        Parameters
        ----------
        configurations
            Crystals or molecules with a cell; they are not changed.
        uncertainty
            Whether to return, per configuration, the largest standard deviation of a local
            energy, ``max_i sqrt(local_gap_variance_i)``, in eV.  It is not calibrated: an alarm
            for configurations unlike the training data.  Costs about a fifth more time.

        Raises
        ------
        InputError
            If a configuration has positions or a cell that are not finite, or no volume.
        ModelError
            If a configuration holds an element the model was not trained on, a prediction is not
            finite, or a worker dies.
        """
        require_usable(configurations, self.elements, self.kind, self.path)
        found: dict[int, list[Prediction]] = {}
        for index, outcome in self._pool.run(self._chunks(configurations, uncertainty)):
            if isinstance(outcome, Failed):
                raise ModelError(f"The GAP in {self.path} failed: {outcome.reason}")
            found[index] = outcome.value
        return _collect([item for index in sorted(found) for item in found[index]], uncertainty)

    def calculator(self) -> PotentialCalculator:
        """Return an ASE calculator that evaluates in this process."""
        return PotentialCalculator(GapPotential(self.path, self.record, n_workers=1))

    def close(self) -> None:
        """End the worker processes; the potential cannot evaluate afterwards."""
        self._pool.close()

    def _chunks(self, configurations: Sequence[Atoms], uncertainty: bool) -> Iterator[Chunk]:
        groups = _grouped(configurations)
        share = len(groups) // (_CHUNKS_PER_WORKER * self.n_workers)
        size = max(1, min(_MAX_CHUNK, share))
        first = 0
        for start in range(0, len(groups), size):
            batch = tuple(groups[start : start + size])
            yield Chunk(first, batch, uncertainty)
            first += sum(len(group) for group in batch)


def _grouped(configurations: Sequence[Atoms]) -> list[Group]:
    """Divide a batch, in its order, into groups of a bounded number of atoms.

    The division must depend on nothing but the batch, or the last digits would depend on the
    number of workers.
    """
    groups: list[list[Atoms]] = []
    n_atoms = _GROUP_ATOMS
    for atoms in configurations:
        if n_atoms + len(atoms) > _GROUP_ATOMS:
            groups.append([])
            n_atoms = 0
        groups[-1].append(_bare(atoms))
        n_atoms += len(atoms)
    return [tuple(group) for group in groups]


def _bare(atoms: Atoms) -> Atoms:
    return Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def _collect(predictions: Sequence[Prediction], uncertainty: bool) -> Predictions:
    for index, item in enumerate(predictions):
        require_finite(index, "gap", item.energy, item.uncertainty or 0.0, item.forces, item.stress)
    return Predictions(
        energies=np.array([item.energy for item in predictions], dtype=np.float64),
        forces=tuple(item.forces for item in predictions),
        stresses=np.array([item.stress for item in predictions]).reshape(-1, 3, 3),
        uncertainty=np.array([item.uncertainty for item in predictions], dtype=np.float64)
        if uncertainty
        else None,
    )
