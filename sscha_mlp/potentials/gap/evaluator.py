"""Evaluate a GAP in one process: the function that the workers of a pool run."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from sscha_mlp.errors import ModelError
from sscha_mlp.potentials.gap.cluster import MASK, pack
from sscha_mlp.quippy_adapter import import_quippy, quippy_potential

FloatArray = NDArray[np.float64]

_VARIANCE: Final = "local_gap_variance"


Group = tuple[Atoms, ...]
"""Configurations that QUIP gets in one call."""


@dataclass(frozen=True)
class Chunk:
    """Configurations that travel to a worker together.

    Parameters
    ----------
    first
        Index of the first one in the whole batch, for messages.
    groups
        The configurations, bare of everything but the crystal.
    uncertainty
        Whether the local variances are wanted.
    """

    first: int
    groups: tuple[Group, ...]
    uncertainty: bool


@dataclass(frozen=True)
class Prediction:
    """Energy (eV), forces (eV/Å), stress (3, 3) (eV/Å³) and uncertainty (eV) of a configuration."""

    energy: float
    forces: FloatArray
    stress: FloatArray
    uncertainty: float | None


@dataclass(frozen=True)
class EvaluatorFactory:
    """Makes the function that a worker applies to each chunk; small enough to be sent to it."""

    model_file: Path

    def __call__(self) -> Callable[[Chunk], list[Prediction]]:
        """Read the model, once per worker."""
        return Evaluator(self.model_file)


class Evaluator:
    """A GAP read into this process.

    It calls QUIP with plain arrays, which spares ASE's comparison with the previous configuration
    and QUIP's dictionaries.  A group of one is computed as quippy does, bit for bit; a larger group
    by :mod:`sscha_mlp.potentials.gap.cluster`, which agrees to rounding (1e-11 of the energy).

    Raises
    ------
    ModelError
        If the model file cannot be read.
    """

    def __init__(self, model_file: Path) -> None:
        self._quippy = import_quippy()
        calculator: Any = quippy_potential("IP GAP", param_filename=model_file)
        self._potential = calculator._quip_potential
        self._cutoff = float(self._potential.cutoff())

    def __call__(self, chunk: Chunk) -> list[Prediction]:
        """Evaluate the configurations of a chunk, group by group.

        Raises
        ------
        ModelError
            If QUIP refuses a group, named by the indices in the batch.
        """
        predictions: list[Prediction] = []
        for group in chunk.groups:
            try:
                if len(group) == 1:
                    predictions.append(self._one(group[0], chunk.uncertainty))
                else:
                    predictions.extend(self._several(group, chunk.uncertainty))
            except RuntimeError as err:
                first = chunk.first + len(predictions)
                raise ModelError(
                    f"The GAP cannot evaluate configurations {first} to "
                    f"{first + len(group) - 1}: {' '.join(str(err).split())}."
                ) from err
        return predictions

    def _one(self, atoms: Atoms, uncertainty: bool) -> Prediction:
        quip_atoms = self._quippy.convert.ase_to_quip(atoms)
        energy = np.zeros(())
        force = np.zeros((3, len(atoms)), order="F")
        virial = np.zeros((3, 3), order="F")
        args = _VARIANCE if uncertainty else ""
        self._potential.calc(quip_atoms, args_str=args, energy=energy, force=force, virial=virial)
        return Prediction(
            energy=float(energy),
            forces=np.ascontiguousarray(force.T),
            stress=_stress(virial, atoms),
            uncertainty=_deviation(self._variances(quip_atoms).max()) if uncertainty else None,
        )

    def _several(self, group: Group, uncertainty: bool) -> list[Prediction]:
        box = pack(group, self._cutoff)
        n = len(box.atoms)
        quip_atoms = self._quippy.convert.ase_to_quip(box.atoms, add_arrays=[MASK])
        total, energy = np.zeros(()), np.zeros(n)
        force, virial = np.zeros((3, n), order="F"), np.zeros((9, n), order="F")
        self._potential.calc(
            quip_atoms,
            args_str=f"atom_mask_name={MASK} {_VARIANCE * uncertainty}",
            energy=total,
            force=force,
            local_energy=energy,
            local_virial=virial,
        )
        energies, forces = box.energies(energy), box.forces(force.T)
        virials = box.virials(virial.T)
        variances = box.largest(self._variances(quip_atoms)) if uncertainty else None
        return [
            Prediction(
                energy=float(energies[i]),
                forces=forces[i],
                stress=_stress(virials[i], atoms),
                uncertainty=None if variances is None else _deviation(variances[i]),
            )
            for i, atoms in enumerate(group)
        ]

    def _variances(self, quip_atoms: Any) -> FloatArray:
        """Return the variance of each local energy, eV²."""
        arrays = self._quippy.convert.get_dict_arrays(quip_atoms.properties)
        return np.array(arrays[_VARIANCE], dtype=np.float64)


def _stress(virial: FloatArray, atoms: Atoms) -> FloatArray:
    stress: FloatArray = -0.5 * (virial + virial.T) / atoms.get_volume()
    return stress


def _deviation(variance: float) -> float:
    """Return the root; at a training environment rounding can leave a variance below zero."""
    return float(np.sqrt(max(variance, 0.0)))
