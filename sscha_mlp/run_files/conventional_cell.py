"""The lattice of a result as people quote it: the conventional cell, with its error."""

from typing import Final

import numpy as np
import spglib

from sscha_mlp.digits import fixed, with_error
from sscha_mlp.run_files.records.result import Result

MOST_COORDINATES: Final = 9
"""More coordinates than these are in the file alone."""

_LATTICE: Final = {
    **{name: f"Lattice parameter {name} (Å)" for name in "abc"},
    **{name: f"Angle {name} (°)" for name in ("alpha", "beta", "gamma")},
}


def conventional_lattice(result: Result) -> list[tuple[str, str]]:
    """Return the lattice parameters of the conventional cell, each as a name and a text.

    Those that symmetry leaves free, with their errors, and then the free coordinates of the atoms.
    Results of an earlier version have neither: the error of the volume decides that of the one
    parameter of a cubic lattice there, and other lattices are given without errors.

    Parameters
    ----------
    result
        Nothing is returned if the structure is not in it.

    Raises
    ------
    ValueError, TypeError
        If the structure in it is none.
    """
    if result.lattice:
        return _named(result)
    symbols = result.symbols
    if symbols is None or result.cell_A is None or result.scaled_positions is None:
        return []
    kinds = {symbol: number for number, symbol in enumerate(dict.fromkeys(symbols), start=1)}
    cell = np.asarray(result.cell_A, dtype=np.float64).reshape(3, 3)
    positions = np.asarray(result.scaled_positions, dtype=np.float64)
    crystal = (cell, positions, [kinds[one] for one in symbols])
    dataset = spglib.get_symmetry_dataset(crystal, symprec=1.0e-4)
    if dataset is None:
        return []
    lengths = np.linalg.norm(dataset.std_lattice, axis=1)
    if dataset.number >= 195:
        volume = result.volume_A3_per_atom
        stderr = None
        if volume is not None:
            stderr = float(lengths[0]) * volume.stderr / volume.value / 3.0
        return [("Lattice parameter a (Å)", with_error(float(lengths[0]), stderr, fallback=4))]
    text = ", ".join(fixed(float(length), 4) for length in lengths)
    return [("Lattice parameters a, b, c (Å)", text)]


def _named(result: Result) -> list[tuple[str, str]]:
    """Rows of the parameters that a result has by their names."""
    lattice, coordinates = result.lattice or {}, result.coordinates or {}
    rows = [
        (_LATTICE[name], with_error(one.value, one.stderr, fallback=4))
        for name, one in lattice.items()
    ]
    rows += [
        (f"Coordinate {name}", with_error(one.value, one.stderr, fallback=4))
        for name, one in list(coordinates.items())[:MOST_COORDINATES]
    ]
    more = len(coordinates) - MOST_COORDINATES
    return [*rows, (f"{more} coordinates more", "in result.json")] if more > 0 else rows


def state_values(result: Result) -> list[tuple[str, str]]:
    """Return entropy, heat capacity and zero-point energy, each as a name and a text.

    Parameters
    ----------
    result
        Nothing is returned where an earlier version wrote none.
    """
    found = {
        "Entropy (k/atom)": result.entropy_kB_per_atom,
        "Heat capacity of the modes (k/atom)": result.heat_capacity_kB_per_atom,
        "Zero-point energy (eV/atom)": result.zero_point_energy_eV_per_atom,
    }
    return [
        (name, with_error(one.value, one.stderr)) for name, one in found.items() if one is not None
    ]
