"""The lattice of a result as people quote it: the conventional cell, with its error."""

import numpy as np
import spglib

from sscha_mlp.digits import fixed, with_error
from sscha_mlp.run_files.records.result import Result


def conventional_lattice(result: Result) -> list[tuple[str, str]]:
    """Return the lattice parameters of the conventional cell, each as a name and a text.

    The error of the volume decides that of the one parameter of a cubic lattice; other lattices
    are given without errors.

    Parameters
    ----------
    result
        Nothing is returned if the structure is not in it.

    Raises
    ------
    ValueError, TypeError
        If the structure in it is none.
    """
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
