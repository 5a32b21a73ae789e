"""Choose which configurations to label next."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol, runtime_checkable

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from numpy.typing import NDArray

from sscha_mlp.errors import InputError
from sscha_mlp.potentials.active_set import ActiveSet, configuration_grades, select_add
from sscha_mlp.potentials.designs import cur
from sscha_mlp.potentials.protocol import Potential

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Features = Callable[[Sequence[Atoms]], FloatArray]


class SelectionMethod(StrEnum):
    """How :func:`select` chooses."""

    VARIANCE = "variance"
    FPS = "fps"
    RANDOM = "random"
    CUR = "cur"
    D_OPTIMAL = "d-optimal"


@runtime_checkable
class HasDescriptors(Protocol):
    """A potential that describes a configuration by numbers, whatever atoms it holds."""

    def descriptors(self, configurations: Sequence[Atoms]) -> FloatArray:
        """Return the features of each configuration, shape (n_configs, n_features)."""
        ...


@runtime_checkable
class HasSiteDescriptors(Protocol):
    """A potential that describes each atom by numbers."""

    def site_descriptors(self, configurations: Sequence[Atoms]) -> tuple[FloatArray, IntArray]:
        """Return the features of each atom, and the place of the configuration it belongs to.

        Returns
        -------
        Shapes (n_atoms_in_all, n_features) and (n_atoms_in_all,).
        """
        ...


@runtime_checkable
class HasGradingRows(Protocol):
    """A potential with an extrapolation grade, which judges such rows."""

    def grading_rows(self, configurations: Sequence[Atoms]) -> tuple[FloatArray, IntArray]:
        """Return the rows that are graded, and the place of the configuration of each.

        Returns
        -------
        Shapes (n_rows, n_features) and (n_rows,).
        """
        ...


@runtime_checkable
class Graded(HasGradingRows, Potential, Protocol):
    """A potential that says how far a configuration is from what it was trained on."""

    @property
    def grade_mode(self) -> str:
        """Whether it grades atoms, ``neighborhood``, or a ``configuration`` as a whole."""
        ...

    @property
    def active_set_from(self) -> str:
        """Where the configurations come from to which the grades refer."""
        ...

    def site_grades(self, configurations: Sequence[Atoms]) -> tuple[FloatArray, ...]:
        """Return the grade of each atom, one array (n_atoms,) per configuration."""
        ...

    def with_active_set(self, train: Sequence[Atoms]) -> "Graded":
        """Return the same potential with grades that refer to these training configurations."""
        ...


def select(
    candidates: Sequence[Atoms],
    n: int,
    *,
    method: SelectionMethod | str = SelectionMethod.FPS,
    potential: Potential | None = None,
    rng: np.random.Generator,
    known: Sequence[Atoms] = (),
    features: Features | None = None,
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
      by the spread over all candidates, so that a stiff and a soft potential choose alike.  With
      `features`, or where the atoms differ and the potential has descriptors, those are the
      coordinates, each divided by its own spread.
    - ``cur``: those that span the features of all (:func:`sscha_mlp.potentials.designs.cur`).  The
      features are `features`, the descriptors of the potential, or the coordinates of ``fps``,
      each less its mean and divided by its spread over the candidates.
    - ``d-optimal``: those that enlarge the active set of what is `known`, the most needed first
      (:func:`sscha_mlp.potentials.active_set.select_add`); if fewer than `n` do, then those
      of highest extrapolation grade.  The rows are `features`, the site descriptors of the
      potential, or its descriptors.

    Parameters
    ----------
    candidates
        Configurations to choose from; for ``fps`` and ``cur`` without features or descriptors, all
        with the same atoms in the same order.
    n
        How many; at most as many as there are candidates.
    method
        One of :class:`SelectionMethod`.
    potential
        Needed for ``variance``, used by ``fps``, ``cur`` and ``d-optimal`` if given.
    rng
        Decides in ``random``, and where ``fps`` starts when nothing is `known`.
    known
        Configurations that are labelled already; used by ``fps``, ``cur`` and ``d-optimal``.
    features
        Describes configurations, shape (n_configs, n_features); takes precedence over what the
        potential offers.

    Raises
    ------
    InputError
        If the method is unknown, `n` is out of range, the potential or the features are missing,
        or configurations that are compared atom by atom do not hold the same atoms.
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
    task = _Task(candidates, n, potential, rng, known, features)
    chosen = _METHODS[SelectionMethod(method)](task)
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


@dataclass(frozen=True, eq=False)
class _Task:
    """What :func:`select` was asked for."""

    candidates: Sequence[Atoms]
    n: int
    potential: Potential | None
    rng: np.random.Generator
    known: Sequence[Atoms]
    features: Features | None

    @property
    def everything(self) -> list[Atoms]:
        """The candidates, then what is known."""
        return [*self.candidates, *self.known]

    @property
    def descriptors(self) -> Features | None:
        """What describes whole configurations of any atoms, if there is such a thing."""
        return _descriptors_of(self.potential) if self.features is None else self.features


def _descriptors_of(potential: object) -> Features | None:
    return potential.descriptors if isinstance(potential, HasDescriptors) else None


def _site_rows(
    potential: object, configurations: Sequence[Atoms]
) -> tuple[FloatArray, IntArray] | None:
    if not isinstance(potential, HasSiteDescriptors):
        return None
    return potential.site_descriptors(configurations)


def _random(task: _Task) -> Sequence[int]:
    return list(task.rng.choice(len(task.candidates), size=task.n, replace=False))


def _variance(task: _Task) -> Sequence[int]:
    if task.potential is None:
        raise InputError("Selection by variance needs a potential; give one, or use fps or random.")
    uncertainty = task.potential.evaluate(task.candidates, uncertainty=True).uncertainty
    if uncertainty is None:
        raise InputError(
            f"Potentials of the kind {task.potential.kind!r} state no uncertainty: use fps or "
            "random."
        )
    return list(np.argsort(-uncertainty, kind="stable")[: task.n])


def _fps(task: _Task) -> Sequence[int]:
    n = len(task.candidates)
    differ = not _same_atoms(task.everything)
    if task.features is not None or (differ and task.descriptors is not None):
        features = _standardised(task)
    else:
        features = _by_atom(task)
        features = features / (float(np.std(features[:n])) or 1.0)
    return farthest_points(features[:n], task.n, known=features[n:], rng=task.rng)


def _cur(task: _Task) -> Sequence[int]:
    features = _standardised(task)
    n = len(task.candidates)
    return cur(features[:n], task.n, known=features[n:])


def _d_optimal(task: _Task) -> Sequence[int]:
    n = len(task.candidates)
    rows, owners = _rows(task)
    new = owners < n
    old, candidates, owner_of = rows[~new], rows[new], owners[new]
    chosen = list(select_add(old, candidates, owner_of, task.n))
    if len(chosen) < task.n:
        basis = rows[~new | np.isin(owners, chosen)]
        grades = np.zeros(n)
        if basis.any():
            grades = configuration_grades(ActiveSet.of(basis).grade(candidates), owner_of, n)
        grades[chosen] = -1.0
        chosen += list(np.argsort(-grades, kind="stable")[: task.n - len(chosen)])
    return chosen


def _rows(task: _Task) -> tuple[FloatArray, IntArray]:
    """Return the rows of candidates and known ones, and whose each is."""
    everything = task.everything
    sites = _site_rows(task.potential, everything) if task.features is None else None
    if sites is not None:
        return sites
    if task.descriptors is None:
        raise InputError(
            "D-optimal selection needs features, or a potential with descriptors: give one, or use "
            "fps, cur or random."
        )
    return _described(task.descriptors, everything), np.arange(len(everything))


def _standardised(task: _Task) -> FloatArray:
    """Return features with zero mean and unit spread over the candidates.

    A feature that varies by no more than rounding errors is zero.
    """
    everything = task.everything
    describe = task.descriptors
    features = _by_atom(task) if describe is None else _described(describe, everything)
    candidates = features[: len(task.candidates)]
    spread = np.std(candidates, axis=0)
    constant = spread <= 1.0e-10 * np.abs(candidates).max(axis=0)
    shifted = features - candidates.mean(axis=0)
    return np.where(constant, 0.0, shifted / np.where(constant, 1.0, spread))


def _described(describe: Features, configurations: Sequence[Atoms]) -> FloatArray:
    features = np.asarray(describe(configurations), dtype=float)
    if features.ndim != 2 or len(features) != len(configurations):
        raise InputError(
            f"The features of {len(configurations)} configurations have shape {features.shape}: "
            "one row is needed for each."
        )
    if not np.isfinite(features).all():
        raise InputError("A feature of a configuration is not finite.")
    return features


def _by_atom(task: _Task) -> FloatArray:
    """Return forces, or displacements without a potential, shape (n, 3 n_atoms)."""
    everything = task.everything
    _require_same_atoms(everything)
    if task.potential is None:
        return _displacements(everything, len(task.candidates))
    return np.array([force.ravel() for force in task.potential.evaluate(everything).forces])


def _same_atoms(configurations: Sequence[Atoms]) -> bool:
    first = configurations[0].numbers
    return all(np.array_equal(atoms.numbers, first) for atoms in configurations)


def _require_same_atoms(configurations: Sequence[Atoms]) -> None:
    first = configurations[0].numbers
    for index, atoms in enumerate(configurations):
        if not np.array_equal(atoms.numbers, first):
            raise InputError(
                f"Selection compares atom by atom, but configuration {index} holds other atoms "
                f"({atoms.symbols}) than configuration 0 ({configurations[0].symbols}): select "
                "from each supercell by itself, or give features."
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


_METHODS: Final[Mapping[SelectionMethod, Callable[[_Task], Sequence[int]]]] = {
    SelectionMethod.RANDOM: _random,
    SelectionMethod.VARIANCE: _variance,
    SelectionMethod.FPS: _fps,
    SelectionMethod.CUR: _cur,
    SelectionMethod.D_OPTIMAL: _d_optimal,
}
