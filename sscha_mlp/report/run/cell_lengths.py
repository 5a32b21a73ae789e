"""Lengths of lattice vectors over a relaxation, as the curves that differ."""

from typing import Final

import numpy as np

from sscha_mlp.crystal.structure import FloatArray

_SAME_LENGTH: Final = 1.0e-6
"""Lengths that differ by less, relatively, at every population are one."""


def distinct_lengths(lengths: FloatArray) -> list[tuple[str, FloatArray]]:
    """Return the curves of lattice vectors, those that are equal throughout as one.

    Parameters
    ----------
    lengths
        Of the lattice vectors at the end of each population, shape (n_populations, 3), Å.

    Returns
    -------
    Names, such as ``|a| = |b|``, and values, shape (n_populations,).
    """
    found: list[tuple[str, FloatArray]] = []
    for index, name in enumerate("abc"):
        values = lengths[:, index]
        for place, (names, other) in enumerate(found):
            if np.allclose(values, other, rtol=_SAME_LENGTH, atol=0.0):
                found[place] = (f"{names} = |{name}|", other)
                break
        else:
            found.append((f"|{name}|", values))
    return found
