"""Errors broken down: by element, and by how far the atoms are from their sites."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from ase.data import chemical_symbols

from sscha_mlp.validation.statistics import FloatArray, IntArray, finite_or_none, root_mean_square

_MEV: Final = 1.0e3
_FEWEST: Final = 5
"""Configurations that a bin should hold at least."""


@dataclass(frozen=True)
class ElementErrors:
    """Force errors on the atoms of one element.

    Parameters
    ----------
    symbol
        Chemical symbol.
    n_atoms
        Number of atoms of the element in all configurations.
    rmse, rmse_stderr, mae, max_abs
        Of the force components, eV/Å; the standard error is over configurations.
    """

    symbol: str
    n_atoms: int
    rmse: float
    rmse_stderr: float
    mae: float
    max_abs: float

    def to_json(self) -> dict[str, Any]:
        """Return the errors as plain values, in meV/Å."""
        return {
            "element": self.symbol,
            "n_atoms": self.n_atoms,
            "rmse_meV_per_A": self.rmse * _MEV,
            "rmse_stderr_meV_per_A": finite_or_none(self.rmse_stderr * _MEV),
            "mae_meV_per_A": self.mae * _MEV,
            "max_abs_meV_per_A": self.max_abs * _MEV,
        }


@dataclass(frozen=True)
class DisplacementBin:
    """Errors of the configurations whose displacement amplitude lies in one interval.

    Parameters
    ----------
    low, high, mean
        Edges of the interval and the mean amplitude inside it, Å.
    n_configs
        Number of configurations.
    force_rmse, force_rmse_stderr
        Of the force components, eV/Å.
    energy_rmse, energy_rmse_stderr
        Of the energies, eV/atom.
    """

    low: float
    high: float
    mean: float
    n_configs: int
    force_rmse: float
    force_rmse_stderr: float
    energy_rmse: float
    energy_rmse_stderr: float

    def to_json(self) -> dict[str, Any]:
        """Return the errors as plain values, in Å, meV/Å and meV/atom."""
        return {
            "low_A": self.low,
            "high_A": self.high,
            "mean_A": self.mean,
            "n_configs": self.n_configs,
            "force_rmse_meV_per_A": self.force_rmse * _MEV,
            "force_rmse_stderr_meV_per_A": finite_or_none(self.force_rmse_stderr * _MEV),
            "energy_rmse_meV_per_atom": self.energy_rmse * _MEV,
            "energy_rmse_stderr_meV_per_atom": finite_or_none(self.energy_rmse_stderr * _MEV),
        }


def by_element(
    force_errors: FloatArray, config_of_atom: IntArray, numbers: IntArray
) -> tuple[ElementErrors, ...]:
    """Return the force errors of each element, by atomic number.

    Parameters
    ----------
    force_errors
        Reference minus predicted forces, eV/Å, shape (n_atoms_total, 3).
    config_of_atom, numbers
        Configuration and atomic number of each atom, shape (n_atoms_total,).
    """
    rows = []
    for number in np.unique(numbers):
        mine = numbers == number
        error = force_errors[mine].ravel()
        rmse, stderr = root_mean_square(error, np.repeat(config_of_atom[mine], 3))
        rows.append(
            ElementErrors(
                symbol=chemical_symbols[int(number)],
                n_atoms=int(mine.sum()),
                rmse=rmse,
                rmse_stderr=stderr,
                mae=float(np.abs(error).mean()),
                max_abs=float(np.abs(error).max()),
            )
        )
    return tuple(rows)


def by_amplitude(
    displacement_rms: FloatArray,
    energy_errors: FloatArray,
    force_errors: FloatArray,
    config_of_atom: IntArray,
    *,
    n_bins: int,
) -> tuple[DisplacementBin, ...]:
    """Return the errors in bins of displacement amplitude of equal population.

    Parameters
    ----------
    displacement_rms
        Amplitude of each configuration, Å, NaN where unknown, shape (n_configs,).
    energy_errors
        Errors of the energies, eV/atom, shape (n_configs,).
    force_errors
        Errors of the forces, eV/Å, shape (n_atoms_total, 3).
    config_of_atom
        Configuration of each atom, shape (n_atoms_total,).
    n_bins
        Largest number of bins.
    """
    known = np.flatnonzero(np.isfinite(displacement_rms))
    if known.size == 0:
        return ()
    order = known[np.argsort(displacement_rms[known], kind="stable")]
    parts = np.array_split(order, max(1, min(n_bins, order.size // _FEWEST)))
    return tuple(
        _bin(part, displacement_rms, energy_errors, force_errors, config_of_atom) for part in parts
    )


def _bin(
    members: IntArray,
    displacement_rms: FloatArray,
    energy_errors: FloatArray,
    force_errors: FloatArray,
    config_of_atom: IntArray,
) -> DisplacementBin:
    amplitude = displacement_rms[members]
    mine = np.isin(config_of_atom, members)
    force = root_mean_square(force_errors[mine].ravel(), np.repeat(config_of_atom[mine], 3))
    energy = root_mean_square(energy_errors[members], np.arange(members.size))
    return DisplacementBin(
        low=float(amplitude.min()),
        high=float(amplitude.max()),
        mean=float(amplitude.mean()),
        n_configs=int(members.size),
        force_rmse=force[0],
        force_rmse_stderr=force[1],
        energy_rmse=energy[0],
        energy_rmse_stderr=energy[1],
    )
