"""Choose which configurations to label next."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Final

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from numpy.typing import NDArray

from sscha_mlp.errors import InputError
from sscha_mlp.potentials.protocol import Potential

FloatArray = NDArray[np.float64]


class SelectionMethod(StrEnum):
    """How :func:`select` chooses."""

    VARIANCE = "variance"
    FPS = "fps"
    RANDOM = "random"


def select(
    candidates: Sequence[Atoms],
    n: int,
    *,
    method: SelectionMethod | str = SelectionMethod.FPS,
    potential: Potential | None = None,
    rng: np.random.Generator,
    known: Sequence[Atoms] = (),
) -> tuple[int, ...]:
    """Return the indices of `n` candidates, in the order in which they were chosen.

    - ``random``: without replacement.  The only choice after which averages over the chosen
      configurations are unbiased: use it for everything that is a test or a check.
    - ``variance``: those of which the potential is least certain.  Right for finding what lies
      outside the model's domain in a mixed list; inside one ensemble it ranks no better than
      the size of the displacements does.
    - ``fps``: farthest-point sampling (Eldar et al., IEEE Trans. Image Process. 6, 1305 (1997)).
      Each choice maximises the distance to the nearest configuration that is already chosen or
      `known`.  A configuration's coordinates are the forces that the potential predicts, or, if
      none is given, its displacements from the average candidate (minimum image); both are divided
      by the spread over all candidates, so that a stiff and a soft potential choose alike.

    Parameters
    ----------
    candidates
        Configurations to choose from; for ``fps``, all with the same atoms in the same order.
    n
        How many; at most as many as there are candidates.
    method
        One of :class:`SelectionMethod`.
    potential
        Needed for ``variance``, used by ``fps`` if given.
    rng
        Decides in ``random``, and where ``fps`` starts when nothing is `known`.
    known
        Configurations that are labelled already; used by ``fps``.

    Raises
    ------
    InputError
        If the method is unknown, `n` is out of range, the potential is missing, or the
        configurations of ``fps`` do not hold the same atoms.
    ModelError
        If the potential cannot evaluate a configuration.
    """
    if method not in list(SelectionMethod):
        names = ", ".join(SelectionMethod)
        raise InputError(f"Unknown selection method {str(method)!r}; the known ones are: {names}.")
    if not 0 <= n <= len(candidates):
        raise InputError(
            f"{n} configurations cannot be selected from {len(candidates)}: ask for fewer."
        )
    if n == 0:
        return ()
    chosen = _METHODS[SelectionMethod(method)](candidates, n, potential, rng, known)
    return tuple(int(index) for index in chosen)


def farthest_points(
    features: FloatArray, n: int, *, known: FloatArray, rng: np.random.Generator
) -> list[int]:
    """Return the indices of `n` rows, each farthest from those chosen before and from `known`.

    Parameters
    ----------
    features
        Shape (n_candidates, n_features).
    n
        At most n_candidates.
    known
        Shape (n_known, n_features); if empty, `rng` draws the first row.
    """
    if len(known):
        distance = np.min([np.sum((features - row) ** 2, axis=1) for row in known], axis=0)
        chosen = []
    else:
        chosen = [int(rng.integers(len(features)))]
        distance = np.sum((features - features[chosen[0]]) ** 2, axis=1)
        distance[chosen[0]] = -1.0
    while len(chosen) < n:
        best = int(np.argmax(distance))
        chosen.append(best)
        distance = np.minimum(distance, np.sum((features - features[best]) ** 2, axis=1))
        distance[chosen] = -1.0
    return chosen


def _random(
    candidates: Sequence[Atoms],
    n: int,
    _potential: Potential | None,
    rng: np.random.Generator,
    _known: Sequence[Atoms],
) -> Sequence[int]:
    return list(rng.choice(len(candidates), size=n, replace=False))


def _variance(
    candidates: Sequence[Atoms],
    n: int,
    potential: Potential | None,
    _rng: np.random.Generator,
    _known: Sequence[Atoms],
) -> Sequence[int]:
    if potential is None:
        raise InputError("Selection by variance needs a potential; give one, or use fps or random.")
    uncertainty = potential.evaluate(candidates, uncertainty=True).uncertainty
    if uncertainty is None:
        raise InputError(
            f"Potentials of the kind {potential.kind!r} state no uncertainty: use fps or random."
        )
    return list(np.argsort(-uncertainty, kind="stable")[:n])


def _fps(
    candidates: Sequence[Atoms],
    n: int,
    potential: Potential | None,
    rng: np.random.Generator,
    known: Sequence[Atoms],
) -> Sequence[int]:
    everything = [*candidates, *known]
    _require_same_atoms(everything)
    if potential is None:
        features = _displacements(everything, len(candidates))
    else:
        features = np.array([force.ravel() for force in potential.evaluate(everything).forces])
    spread = float(np.std(features[: len(candidates)])) or 1.0
    features = features / spread
    return farthest_points(
        features[: len(candidates)], n, known=features[len(candidates) :], rng=rng
    )


def _require_same_atoms(configurations: Sequence[Atoms]) -> None:
    first = configurations[0].numbers
    for index, atoms in enumerate(configurations):
        if not np.array_equal(atoms.numbers, first):
            raise InputError(
                f"Farthest-point sampling compares atom by atom, but configuration {index} holds "
                f"other atoms ({atoms.symbols}) than configuration 0 "
                f"({configurations[0].symbols}): select from each supercell by itself."
            )


def _displacements(configurations: Sequence[Atoms], n_candidates: int) -> FloatArray:
    """Return displacements (Å) from the average candidate, shape (n, 3 n_atoms).

    They are taken in the strain-free cell of the first configuration, to its nearest image.
    """
    cell, pbc = configurations[0].cell, configurations[0].pbc
    origin = configurations[0].get_scaled_positions(wrap=False)
    scaled = np.array([a.get_scaled_positions(wrap=False) - origin for a in configurations])
    moved, _ = find_mic(scaled.reshape(-1, 3) @ cell.array, cell, pbc)
    moved = moved.reshape(len(configurations), -1)
    shifts: FloatArray = moved - moved[:n_candidates].mean(axis=0)
    return shifts


_Method = Callable[
    [Sequence[Atoms], int, Potential | None, np.random.Generator, Sequence[Atoms]], Sequence[int]
]
_METHODS: Final[Mapping[SelectionMethod, _Method]] = {
    SelectionMethod.RANDOM: _random,
    SelectionMethod.VARIANCE: _variance,
    SelectionMethod.FPS: _fps,
}
