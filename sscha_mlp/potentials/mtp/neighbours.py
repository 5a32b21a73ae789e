"""Neighbour lists of batches of configurations."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray

from sscha_mlp.errors import ModelError

FloatArray = NDArray[np.float64]

_LARGEST_SHIFT: Final = 1.0
"""Å: configurations whose atoms are farther from the first one's do not share its list."""

_BATCH_ATOMS: Final = 1024
_BATCHES: Final = 8
"""At least so many batches, where there are as many configurations: threads share them."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Configurations of the same atoms in the same cell, with one list of pairs for all.

    Parameters
    ----------
    indices
        Places of the configurations in the whole list.
    positions
        Shape (n_configs, n_atoms, 3), Å.
    types
        Shape (n_atoms,): places of their elements among the species of the potential.
    pairs
        First pair of each atom (n_atoms + 1,), neighbour (n_pairs,), lattice shift (n_pairs, 3) in
        Å.  It holds every pair within the cutoff in any of the configurations, and others.
    capacity
        Most pairs of one atom.
    volumes
        Shape (n_configs,), Å³.
    """

    indices: tuple[int, ...]
    positions: FloatArray
    types: NDArray[np.int64]
    pairs: tuple[Any, Any, Any]
    capacity: int
    volumes: FloatArray


def batches(
    configurations: Sequence[Atoms], species: Sequence[int], cutoff: float
) -> Iterator[Batch]:
    """Divide configurations into batches that share a list of pairs.

    One list serves all configurations of a supercell whose atoms stay near their places, as in an
    SSCHA ensemble: it reaches so far beyond the cutoff as two atoms can come nearer.  The division
    depends on the configurations alone, or the last digits would depend on the number of threads.

    Parameters
    ----------
    configurations
        What is evaluated.
    species
        Atomic numbers by type.
    cutoff
        Å.

    Raises
    ------
    ModelError
        If a configuration holds an element that is not among the species.
    """
    types = {number: place for place, number in enumerate(species)}
    limit = min(_BATCH_ATOMS, sum(map(len, configurations)) // _BATCHES)
    group: list[int] = []
    for index, atoms in enumerate(configurations):
        strange = set(atoms.numbers.tolist()) - types.keys()
        unknown = [chemical_symbols[number] for number in sorted(strange)]
        if unknown:
            raise ModelError(
                f"Configuration {index} holds {', '.join(unknown)}, which the potential does not "
                "know: fit one on data with it."
            )
        full = (len(group) + 1) * len(atoms) > limit
        if group and (full or not _together(configurations[group[0]], atoms)):
            yield _batch(configurations, group, types, cutoff)
            group = []
        group.append(index)
    if group:
        yield _batch(configurations, group, types, cutoff)


def _together(first: Atoms, other: Atoms) -> bool:
    """Whether two configurations can share a list of pairs."""
    return bool(
        len(first) == len(other)
        and np.array_equal(first.numbers, other.numbers)
        and np.array_equal(first.pbc, other.pbc)
        and np.array_equal(first.cell.array, other.cell.array)
        and np.abs(first.positions - other.positions).max(initial=0.0) < _LARGEST_SHIFT
    )


def _batch(
    configurations: Sequence[Atoms], group: Sequence[int], types: dict[int, int], cutoff: float
) -> Batch:
    from matscipy.neighbours import neighbour_list

    first = configurations[group[0]]
    positions = np.array([configurations[index].positions for index in group])
    middle = 0.5 * (positions.min(axis=0) + positions.max(axis=0))
    moved = np.linalg.norm(positions - middle, axis=2).max(initial=0.0)
    centre = first.copy()
    centre.positions = middle
    atoms, others, shifts = neighbour_list("ijS", centre, float(cutoff + 2.0 * moved + 1.0e-9))
    order = np.argsort(atoms, kind="stable")
    starts = np.searchsorted(atoms[order], np.arange(len(first) + 1))
    counts = np.diff(starts)
    return Batch(
        tuple(group),
        positions,
        np.array([types[number] for number in first.numbers.tolist()], dtype=np.int64),
        (
            starts.astype(np.int64),
            others[order].astype(np.int64),
            np.ascontiguousarray(shifts[order] @ first.cell.array),
        ),
        int(counts.max(initial=0)) + 1,
        np.full(len(group), first.get_volume() if first.cell.rank == 3 else np.inf),
    )
