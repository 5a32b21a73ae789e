"""What a reference says about one configuration."""

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from sscha_mlp import units
from sscha_mlp.errors import InputError
from sscha_mlp.quantities import cations_first
from sscha_mlp.tables import Shown, Table

KEY_RESOLUTION: Final = 1.0e-8
"""Positions and cells closer than this, in Å, belong to the same configuration."""

_LARGEST: Final = 1.0e12
"""Energies (eV), forces (eV/Å) and stresses (eV/Å³) above this are no results of a calculation."""

_ORIGIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_NOT_WORDS: Final = frozenset({"t", "f", "true", "false", "nan", "inf", "infinity"})
_ASYMMETRY: Final = 1.0e-8


@dataclass(frozen=True, eq=False)
class Label(Shown):
    """Energy, forces and stress of one configuration.

    Parameters
    ----------
    energy
        Total energy of the configuration, in eV: the one of which the forces are the derivative.
    forces
        Forces on the atoms, shape (n_atoms, 3), in eV/Å.
    stress
        Stress tensor, shape (3, 3), symmetric, in eV/Å³, positive under tension.

    Raises
    ------
    InputError
        If a value is not finite or above 10¹², has the wrong shape, or the stress is not symmetric.
    """

    energy: float
    forces: NDArray[np.float64]
    stress: NDArray[np.float64]

    def __post_init__(self) -> None:
        forces = _number("forces", self.forces)
        if forces.ndim != 2 or forces.shape[1] != 3:
            raise InputError(f"The forces have shape {forces.shape}; expected (n_atoms, 3).")
        stress = _number("stress", self.stress)
        if stress.shape != (3, 3):
            raise InputError(f"The stress has shape {stress.shape}; expected (3, 3).")
        if np.abs(stress - stress.T).max() > _ASYMMETRY * (1.0 + np.abs(stress).max()):
            raise InputError("The stress is not symmetric.")
        stress = 0.5 * (stress + stress.T)
        stress.flags.writeable = False
        object.__setattr__(self, "energy", float(_number("energy", self.energy)))
        object.__setattr__(self, "forces", forces)
        object.__setattr__(self, "stress", stress)

    def table(self) -> Table:
        """Return energy, forces and pressure."""
        largest = float(np.linalg.norm(self.forces, axis=1).max())
        rows = (
            ("energy (eV)", f"{self.energy:.5f}"),
            ("atoms", str(len(self.forces))),
            ("largest force (eV/Å)", f"{largest:.4f}"),
            ("pressure (GPa)", f"{-np.trace(self.stress) / 3.0 / units.GPA:.3f}"),
        )
        return Table("Label", rows)


@dataclass(frozen=True, eq=False)
class LabelledConfiguration(Shown):
    """A configuration with its label and where it comes from.

    Parameters
    ----------
    atoms
        The configuration; a copy is kept, without calculator and constraints, with read-only
        positions and cell.
    label
        What the reference says about it.
    temperature
        Temperature of the ensemble that it was drawn from, in K; None if it was not drawn.
    displacement_rms
        Root mean square over the atoms of the distance from the ensemble's centroid, in Å.
    origin
        Where it comes from, one word: ``"start"``, ``"round-1"``, ``"check-2"``.
    chosen
        Whether it was chosen for what it teaches: no fair draw, and nothing to average over.

    Raises
    ------
    InputError
        If the label has another number of atoms, a number is negative or not finite, or the
        origin is not a word.
    """

    atoms: Atoms
    label: Label
    temperature: float | None = None
    displacement_rms: float | None = None
    origin: str = "unknown"
    chosen: bool = False

    def __post_init__(self) -> None:
        if len(self.atoms) != len(self.label.forces):
            raise InputError(
                f"A configuration of {len(self.atoms)} atoms has a label with forces "
                f"on {len(self.label.forces)}."
            )
        for name in ("temperature", "displacement_rms"):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value >= 0.0):
                raise InputError(f"The {name} of a configuration is {value}; it must be >= 0.")
        if not _ORIGIN.fullmatch(self.origin) or self.origin.lower() in _NOT_WORDS:
            raise InputError(
                f"The origin of a configuration is {self.origin!r}; it must be one word of "
                "letters, digits, '-', '_' and '.', such as 'round-1'."
            )
        object.__setattr__(self, "atoms", _frozen_copy(self.atoms))

    @cached_property
    def key(self) -> str:
        """Content of the configuration as a hash, see :func:`configuration_key`."""
        return configuration_key(self.atoms)

    def table(self) -> Table:
        """Return the configuration, where it comes from, and its label."""
        drawn = (
            ("formula", cations_first(self.atoms.get_chemical_formula())),
            ("origin", f"{self.origin}, chosen" if self.chosen else self.origin),
            ("temperature", "–" if self.temperature is None else f"{self.temperature:g} K"),
        )
        return Table("Labelled configuration", (*drawn, *self.label.table().rows))


def was_chosen(atoms: Atoms) -> bool:
    """Whether ``atoms.info`` says that a configuration was chosen for what it teaches."""
    return str(atoms.info.get("chosen", False)).lower() in {"true", "t", "1"}


def configuration_key(atoms: Atoms) -> str:
    """Return the SHA-256 of what a reference sees of a configuration.

    That is the chemical elements, the cell and the positions (rounded to
    :data:`KEY_RESOLUTION`), the periodic directions, and the initial magnetic moments and
    charges where there are any.  Two configurations with the same key have the same label.

    Raises
    ------
    InputError
        If a position or the cell is not finite.
    """
    digest = hashlib.sha256(b"sscha-mlp/configuration/1")
    digest.update(np.asarray(atoms.numbers, dtype="<i8").tobytes())
    digest.update(np.asarray(atoms.pbc, dtype="u1").tobytes())
    digest.update(_rounded("cell", atoms.cell.array))
    digest.update(_rounded("positions", atoms.positions))
    for name in ("initial_magmoms", "initial_charges"):
        if atoms.has(name) and np.any(atoms.get_array(name)):
            digest.update(name.encode())
            digest.update(_rounded(name, atoms.get_array(name)))
    return digest.hexdigest()


def _rounded(name: str, values: ArrayLike) -> bytes:
    return np.rint(_finite(name, values) / KEY_RESOLUTION).astype("<i8").tobytes()


def _number(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """Return finite numbers of a size that a calculation can give."""
    array = _finite(name, values)
    if np.any(np.abs(array) > _LARGEST):
        raise InputError(
            f"The {name} holds {np.abs(array).max():.3g}; numbers above {_LARGEST:g} are no result "
            "of a calculation."
        )
    return array


def _finite(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """Return a read-only copy in double precision."""
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as err:
        raise InputError(f"The {name} cannot be read as numbers: {err}.") from err
    if not np.isfinite(array).all():
        n_bad = int(np.count_nonzero(~np.isfinite(array)))
        raise InputError(f"The {name} holds NaN or infinity in {n_bad} of {array.size} numbers.")
    array.flags.writeable = False
    return array


def _frozen_copy(atoms: Atoms) -> Atoms:
    copy = atoms.copy()
    copy.set_constraint()
    copy.info = {}
    for array in (*copy.arrays.values(), copy.cell.array):
        array.flags.writeable = False
    return copy
