"""An ASE calculator whose every result is a label: durable, and found again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import make_supercell
from ase.calculators.calculator import Calculator, all_changes

from sscha_mlp.calculators.registry import Reference
from sscha_mlp.errors import InputError, ReferenceFailedError
from sscha_mlp.parallel import Machines
from sscha_mlp.reference.label import label
from sscha_mlp.reference.store import LabelStore


class LabelCalculator(Calculator):
    """Energy, forces and stress of a cell from labels of its supercell.

    Optimisers that ask twice, or are started again after a crash, find what was computed.  The
    supercell is that of the study, so that settings which belong to it (k-points) stay the same.

    Parameters
    ----------
    reference
        Who labels.
    store
        Where labels are kept.
    size
        Repetitions of the cell along its lattice vectors.
    time_limit
        Longest time for one label, s.
    machines
        Where to compute; in this process by default, and in one of its own with a time limit.
    offline_directory
        Where inputs are written for a reference that labels by hand.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012 -- ASE's

    def __init__(
        self,
        reference: Reference,
        store: LabelStore | None = None,
        *,
        size: tuple[int, int, int] = (1, 1, 1),
        time_limit: float | None = None,
        machines: Machines | None = None,
        offline_directory: Path | None = None,
    ) -> None:
        super().__init__()
        self.reference = reference
        self.store = store
        self.size = size
        self.time_limit = time_limit
        self.machines = machines
        self.offline_directory = offline_directory
        self.n_calls = 0

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Label the supercell and fold its forces back onto the cell."""
        super().calculate(atoms, list(properties), list(system_changes))
        if self.atoms is None:
            raise InputError("The calculator has no atoms to evaluate: attach it to some.")
        bare = Atoms(self.atoms.numbers, self.atoms.positions, cell=self.atoms.cell, pbc=True)
        large = make_supercell(bare, np.diag(self.size), order="cell-major")
        done = label(
            [large],
            self.reference,
            store=self.store,
            time_limit=self.time_limit,
            machines=self.machines,
            offline_directory=self.offline_directory,
        )
        self.n_calls += 1
        value = done.labels[0]
        if value is None:
            raise ReferenceFailedError(f"The reference failed: {done.failures[0].reason}")
        n_cells = int(np.prod(self.size))
        forces = value.forces.reshape(n_cells, len(bare), 3).mean(axis=0)
        stress: Any = value.stress.flat[[0, 4, 8, 5, 2, 1]]
        energy = value.energy / n_cells
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": forces,
            "stress": stress,
        }
