"""What every learned potential can do, whatever kind it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from numpy.typing import NDArray

from sscha_mlp import units
from sscha_mlp.errors import InputError
from sscha_mlp.potentials.kind import Uncertainty
from sscha_mlp.tables import Shown, Table, span

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Predictions(Shown):
    """What a potential says about a batch of configurations; the arrays are read-only.

    Parameters
    ----------
    energies
        Total energies, shape ``(n,)``, eV.
    forces
        One array of shape ``(n_atoms, 3)`` per configuration, eV/Å.
    stresses
        Shape ``(n, 3, 3)``, symmetric, eV/Å³, ASE's sign.
    uncertainty
        One number per configuration, shape ``(n,)``, whose meaning and unit the kind of potential
        defines (:attr:`Potential.uncertainty`).  None if not asked for.

    Raises
    ------
    InputError
        If the shapes do not belong together.
    """

    energies: FloatArray
    forces: tuple[FloatArray, ...]
    stresses: FloatArray
    uncertainty: FloatArray | None = None

    def __post_init__(self) -> None:
        n = len(self.forces)
        shapes = {"energies": (n,), "stresses": (n, 3, 3)}
        if self.uncertainty is not None:
            shapes["uncertainty"] = (n,)
        for name, shape in shapes.items():
            array = _read_only(getattr(self, name))
            if array.shape != shape:
                raise InputError(
                    f"Predictions: {name} has shape {array.shape}, but the forces of {n} "
                    f"configurations need {shape}."
                )
            object.__setattr__(self, name, array)
        object.__setattr__(self, "forces", tuple(_read_only(force) for force in self.forces))

    def __len__(self) -> int:
        return len(self.forces)

    def table(self) -> Table:
        """Return the range of what the potential says."""
        pressures = -np.trace(self.stresses, axis1=1, axis2=2) / 3.0 / units.GPA
        largest = [float(np.linalg.norm(one, axis=1).max()) for one in self.forces]
        rows = [
            ("configurations", str(len(self))),
            ("energy (eV)", span(self.energies.tolist(), 4)),
            ("largest force (eV/Å)", span(largest, 4)),
            ("pressure (GPa)", span(pressures.tolist(), 3)),
        ]
        if self.uncertainty is not None:
            rows.append(("uncertainty", span(self.uncertainty.tolist(), 4)))
        return Table("Predictions", tuple(rows))


@runtime_checkable
class Potential(Protocol):
    """A fitted potential on disk, ready to evaluate; use it as a context manager."""

    @property
    def kind(self) -> str:
        """Name under which :func:`sscha_mlp.potentials.registry.fit` makes it."""
        ...

    @property
    def path(self) -> Path:
        """Directory of the model."""
        ...

    @property
    def sha256(self) -> str:
        """Hash over every file that decides a prediction."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings of the fit, as plain values."""
        ...

    @property
    def uncertainty(self) -> Uncertainty | None:
        """What it states about its own predictions; None for nothing."""
        ...

    def evaluate(
        self, configurations: Sequence[Atoms], *, uncertainty: bool = False
    ) -> Predictions:
        """Return energies, forces and stresses, in the order of the configurations.

        Raises
        ------
        ModelError
            If a configuration holds an element the model was not trained on, or a prediction is
            not finite.
        """
        ...

    def calculator(self) -> Calculator:
        """Return an ASE calculator with energy, forces and stress."""
        ...

    def close(self) -> None:
        """End the worker processes; the potential cannot evaluate afterwards."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...


class PotentialCalculator(Calculator):
    """ASE calculator of any :class:`Potential`: one evaluation gives energy, forces and stress.

    Parameters
    ----------
    potential
        What evaluates; one with a single worker does so in this process.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012 -- ASE's

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        self.potential = potential

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Evaluate the potential and keep all of its results (eV, eV/Å, eV/Å³ in Voigt order)."""
        super().calculate(atoms, list(properties), list(system_changes))
        if self.atoms is None:
            raise InputError("The calculator has no atoms to evaluate: attach it to some.")
        predicted = self.potential.evaluate([self.atoms])
        energy = float(predicted.energies[0])
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": predicted.forces[0].copy(),
            "stress": predicted.stresses[0].flat[[0, 4, 8, 5, 2, 1]],
        }


def _read_only(values: object) -> FloatArray:
    array = np.array(values, dtype=np.float64)
    array.flags.writeable = False
    return array
