r"""Refine the radial functions of an MTP by variable projection.

For given radial coefficients C the best linear coefficients follow from one linear solve, and what
remains of the weighted residuals is a function of C alone, the projected residual
(Golub and Pereyra, SIAM J. Numer. Anal. 10, 413 (1973))

.. math:: F(C) = \min_\theta |A(C) \theta - y|^2 + \theta^T D \, \theta ,

with the regularisation D of the linear fit.  It is minimised by the method of Levenberg and
Marquardt, with the Jacobian of Kaufman (BIT 15, 49 (1975)): the derivatives of the predictions with
respect to C at fixed :math:`\theta`, less their projections on the columns of A.  The QR
triangle of the stacked rows [A, J, y] holds both problems: its first rows solve for
:math:`\theta`, and its last block is the projected problem for C.

The scale of a radial function is no freedom, since the linear coefficients make up for it: each is
normalised.  Nor is the addition of one radial function to another of a higher level; the damping
keeps such directions from growing.

Part of the data is held out.  It says when to stop and whether to refine at all: the refined radial
functions are accepted only if they predict it better than those of the linear fit do.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from sscha_mlp.potentials.mtp.course import Course, CourseFile, Point
from sscha_mlp.potentials.mtp.engine import Prepared
from sscha_mlp.potentials.mtp.linear import least_squares, ridge_regression, triangle
from sscha_mlp.potentials.mtp.parameters import Parameters
from sscha_mlp.potentials.mtp.regression import Rows

FloatArray = NDArray[np.float64]

_EVERY: Final = 5
"""One in so many of the configurations drawn fairly is held out."""

_MOST: Final = 64
"""Configurations that radial functions are refined on; the few numbers in them need no more."""

_PATIENCE: Final = 8
"""Steps without a gain on the held-out data after which there is no further one.  Few are held out,
and several such steps in a row happen on the way to a far better point."""

_GAIN: Final = 1.0e-3
"""A smaller part of the residual of the held-out data is no gain."""

_CONVERGED: Final = 1.0e-4
"""A step that promises to take less than this part off the square of the residual is not made."""

_LEAST_DAMPING: Final = 1.0e-10


class Stop(StrEnum):
    """Why the refinement ended."""

    STEPS = "all steps are done"
    TIME = "there is no time for another step"
    VALIDATION = "the held-out configurations gain no more"
    CONVERGED = "the residual falls no further"
    ENOUGH = "the held-out configurations are predicted well enough"
    FEW = "too few configurations to hold any out"


@dataclass(frozen=True, eq=False)
class Refinement:
    """Radial functions and how they were found.

    Parameters
    ----------
    parameters
        The refined potential if it is accepted, or that of the linear fit.  The coefficients of a
        refined one are fitted to the configurations that were not held out.
    accepted
        Whether it is the refined one.
    warm
        Whether it began with the radial functions of an earlier potential.
    residuals
        Projected residual at the start and after each step.
    held_out
        Weighted residual of the held-out configurations at the same points.
    linear
        Weighted residual of the held-out configurations with the radial functions of the linear
        fit; None if nothing was held out.
    seconds
        Time taken.
    reason
        Why it ended.
    """

    parameters: Parameters
    accepted: bool
    warm: bool
    residuals: tuple[float, ...]
    held_out: tuple[float, ...]
    linear: float | None
    seconds: float
    reason: Stop

    @property
    def n_steps(self) -> int:
        """Steps made, the last ones, which brought nothing, included."""
        return max(0, len(self.residuals) - 1)

    def as_dict(self) -> dict[str, Any]:
        """Return a summary of plain values."""
        return {
            "n_steps": self.n_steps,
            "accepted": self.accepted,
            "warm_start": self.warm,
            "held_out_residual_before": self.linear,
            "held_out_residual_after": min(self.held_out) if self.held_out else None,
            "seconds": round(self.seconds, 3),
            "reason": str(self.reason),
        }


def refine(
    linear: Parameters,
    rows: Rows,
    *,
    ridge: float,
    start: Parameters | None = None,
    kept: CourseFile | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Refinement:
    """Look for better radial functions than those of a linear fit.

    Nothing is random; but with a limit of time the result depends on the speed of the machine.

    Parameters
    ----------
    linear
        The linear fit: where a cold start begins, and what the result is compared with.
    rows
        Training data, weights, and the settings ``refine_steps`` and ``refine_seconds``.
    ridge
        Strength of the regularisation of that fit.
    start
        An earlier potential.  The refinement begins with its radial functions if they are of the
        same template, species and cutoff, and predict the held-out data better than those of the
        linear fit do.
    kept
        Where each step is kept: a refinement that was killed goes on from the last one.
    progress
        Called with the number of steps done, and their limit.
    """
    begin = time.perf_counter()
    learnt, held = split(rows)
    if not held:
        return Refinement(linear, False, False, (), (), None, 0.0, Stop.FEW)
    projection = _Projection(rows, learnt, held, ridge)
    cold = first = projection.first(linear)
    earlier = None if start is None else carried_over(start, linear)
    if earlier is not None:
        warm = projection.first(earlier)
        first = min(cold, warm, key=lambda point: point.held_out)
    course, reason = _walk(projection, first, begin, kept, progress)
    accepted = course.best.held_out < cold.held_out
    return Refinement(
        course.best.parameters if accepted else linear,
        accepted,
        first is not cold,
        course.residuals,
        course.held_out,
        cold.held_out,
        time.perf_counter() - begin,
        reason,
    )


def split(rows: Rows) -> tuple[list[int], list[int]]:
    """Return the places of the configurations to learn from, and of those to hold out.

    Held out is every fifth of those that were drawn fairly and have a weight.  Of more than
    :data:`_MOST` others, that many are taken, evenly spread.
    """
    fair = [
        place
        for place, item in enumerate(rows.train)
        if not item.chosen and rows.weights[place] > 0.0
    ]
    held = fair[_EVERY - 1 :: _EVERY]
    learnt = [place for place in range(len(rows.train)) if place not in held]
    spread = np.linspace(0, len(learnt) - 1, min(_MOST, len(learnt)))
    return [learnt[int(index)] for index in spread], held


def carried_over(start: Parameters, linear: Parameters) -> Parameters | None:
    """Return an earlier potential's radial functions in another's range; None if unlike.

    The shortest distance changes with the data, and the argument of the Chebyshev polynomials with
    it; the functions stay the same.
    """
    old, new = start.template, linear.template
    alike = (
        start.species == linear.species
        and start.max_dist == linear.max_dist
        and start.n_polynomials <= linear.n_polynomials
        and np.array_equal(old.basic, new.basic)
        and np.array_equal(old.products, new.products)
        and np.array_equal(old.scalars, new.scalars)
        and np.array_equal(_present(start), _present(linear))
    )
    if not alike:
        return None
    n = linear.n_polynomials
    nodes = chebyshev.chebpts1(n)
    distances = 0.5 * ((1.0 - nodes) * linear.min_dist + (1.0 + nodes) * linear.max_dist)
    arguments = (2.0 * distances - start.min_dist - start.max_dist) / (
        start.max_dist - start.min_dist
    )
    there = chebyshev.chebvander(arguments, start.n_polynomials - 1)
    change = np.linalg.solve(chebyshev.chebvander(nodes, n - 1), there)
    return _with_radial(linear, start.scaling * start.radial_coeffs @ change.T)


def free_entries(parameters: Parameters) -> tuple[NDArray[np.int64], ...]:
    """Return the indices of the radial coefficients that are free.

    They belong to the radial functions that are there: in a crystal of several species most are
    for one pair of species alone.
    """
    present = np.broadcast_to(_present(parameters)[..., None], parameters.radial_coeffs.shape)
    return tuple(np.nonzero(present))


def jacobian(parameters: Parameters, rows: Rows, places: Sequence[int]) -> FloatArray:
    """Derivatives of the weighted predictions with respect to the free radial coefficients.

    Returns
    -------
    Shape (n_rows, n_free), at fixed coefficients of the moments.
    """
    prepared = rows.prepared(parameters, places)
    return np.concatenate(
        rows.radial_blocks(parameters, free_entries(parameters), places, prepared)
    )


@dataclass(frozen=True, eq=False)
class _Model:
    """The projected problem near a point, in the singular vectors of its Jacobian."""

    values: FloatArray
    right: FloatArray
    along: FloatArray

    def step(self, damping: float) -> FloatArray:
        """Return the step of the free coefficients, shape (n_free,)."""
        return np.asarray(self.right.T @ (self._factors(damping) * self.along))

    def promise(self, damping: float) -> float:
        """Return by how much the square of the residual should fall with that step."""
        carried = 1.0 - self.values * self._factors(damping)
        return float(np.sum(self.along**2 * (1.0 - carried**2)))

    def _factors(self, damping: float) -> FloatArray:
        damped = self.values**2 + damping * self.values[0] ** 2
        factors: FloatArray = np.zeros_like(damped)
        np.divide(self.values, damped, out=factors, where=damped > 0.0)
        return factors


class _Projection:
    """The projected problem.

    Parameters
    ----------
    rows
        Training data.
    learnt, held
        Places of the configurations to learn from and to judge by.
    ridge
        Strength of the regularisation.
    """

    def __init__(
        self, rows: Rows, learnt: Sequence[int], held: Sequence[int], ridge: float
    ) -> None:
        self.settings = rows.settings
        self._rows, self._learnt, self._held = rows, learnt, held
        self._ridge = ridge
        self._neighbours: dict[tuple[int, ...], Prepared] = {}

    def first(self, parameters: Parameters) -> Point:
        """Return the point to begin at; the regularisation of those that follow is the same."""
        blocks = self._blocks(parameters, self._learnt)
        fit = ridge_regression(blocks, self._rows.prior(parameters), ridge=self._ridge)
        penalty = np.sqrt(fit.penalty)
        solved, residual = self._solve(parameters, blocks, penalty)
        return self._point(solved, penalty, residual)

    def steps(self, point: Point) -> Iterator[Point]:
        """Yield one point after the other, as long as the projected residual falls."""
        damping = point.damping
        blocks = self._blocks(point.parameters, self._learnt)
        while True:
            model = self._linearise(point, blocks)
            found, least = None, _CONVERGED * point.residual**2
            while found is None and model.promise(damping) > least:
                found, trial = self._try(point, model.step(damping))
                blocks = blocks if found is None else trial
                kept = 0.0 if found is None else point.residual**2 - found.residual**2
                damping *= _change(kept / model.promise(damping))
            if found is None:
                return
            damping = max(damping, _LEAST_DAMPING)
            point = replace(found, damping=damping)
            yield point

    def expected_seconds(self, point: Point) -> float:
        """Return what a step takes, as far as one can say before the first."""
        self._radial_blocks(point.parameters, self._learnt[:1])  # loads the compiled loops
        loaded = time.perf_counter()
        self._radial_blocks(point.parameters, self._learnt)
        self._blocks(point.parameters, self._learnt)
        return 2.0 * (time.perf_counter() - loaded)

    def _blocks(self, parameters: Parameters, places: Sequence[int]) -> list[FloatArray]:
        """Return the rows of configurations, whose neighbour lists are kept."""
        return self._rows.blocks(parameters, places, prepared=self._prepared(parameters, places))

    def _radial_blocks(self, parameters: Parameters, places: Sequence[int]) -> list[FloatArray]:
        """Return the derivatives of the predictions with respect to the free coefficients."""
        return self._rows.radial_blocks(
            parameters, free_entries(parameters), places, self._prepared(parameters, places)
        )

    def _prepared(self, parameters: Parameters, places: Sequence[int]) -> Prepared:
        """Return configurations with their neighbour lists, which depend on the cutoff alone."""
        key = tuple(places)
        if key not in self._neighbours:
            self._neighbours[key] = self._rows.prepared(parameters, places)
        return self._neighbours[key]

    def _try(self, point: Point, step: FloatArray) -> tuple[Point | None, list[FloatArray]]:
        """Return the point after a step, if the residual is smaller there, and its rows."""
        radial = np.array(point.parameters.radial_coeffs)
        radial[free_entries(point.parameters)] += step
        parameters = _with_radial(point.parameters, radial)
        blocks = self._blocks(parameters, self._learnt)
        solved, residual = self._solve(parameters, blocks, point.penalty)
        if residual >= point.residual:
            return None, blocks
        return self._point(solved, point.penalty, residual), blocks

    def _solve(
        self, parameters: Parameters, blocks: list[FloatArray], penalty: FloatArray
    ) -> tuple[Parameters, float]:
        """Return the potential with its linear coefficients solved for, and the root of F."""
        n_species = len(parameters.species)
        ridge_rows = np.pad(np.diag(penalty), ((0, 0), (0, 1)))
        reduced = triangle([*blocks, ridge_rows])
        theta = least_squares(reduced)
        solved = replace(
            parameters,
            species_coeffs=self._rows.offset + theta[:n_species],
            moment_coeffs=theta[n_species:],
        )
        return solved, float(np.linalg.norm(reduced[:, :-1] @ theta - reduced[:, -1]))

    def _point(self, solved: Parameters, penalty: FloatArray, residual: float) -> Point:
        """Return a point, judged by the configurations held out."""
        prepared = self._prepared(solved, self._held)
        predicted = self._rows.predictions(solved, self._held, prepared)
        errors = predicted - np.concatenate([self._rows.targets(place) for place in self._held])
        sizes = [1 + 3 * len(self._rows.train[place].atoms) + 6 for place in self._held]
        parts = np.split(errors, np.cumsum(sizes)[:-1])
        held_out = float(np.mean([np.sqrt(np.mean(part**2)) for part in parts]))
        return Point(solved, penalty, residual, held_out)

    def _linearise(self, point: Point, blocks: Sequence[FloatArray]) -> _Model:
        """Return the projected problem near a point."""
        slopes = self._radial_blocks(point.parameters, self._learnt)
        n_free, n_linear = slopes[0].shape[1], len(point.penalty)
        stacked = (
            np.column_stack([block[:, :-1], part, block[:, -1]])
            for block, part in zip(blocks, slopes, strict=True)
        )
        ridge_rows = np.pad(np.diag(point.penalty), ((0, 0), (0, n_free + 1)))
        projected = triangle([*stacked, ridge_rows])[n_linear:, n_linear:]
        left, values, right = np.linalg.svd(projected[:, :-1], full_matrices=False)
        return _Model(values, right, left.T @ projected[:, -1])


def _change(kept: float) -> float:
    """Return the factor of the damping after a step that kept this part of its promise."""
    if kept > 0.5:
        return 0.1
    return 1.0 if kept > 0.25 else 4.0


def _walk(
    projection: _Projection,
    first: Point,
    begin: float,
    kept: CourseFile | None,
    progress: Callable[[int, int], None] | None,
) -> tuple[Course, Stop]:
    """Make steps until there is a reason to stop."""
    limits = projection.settings
    course = (None if kept is None else kept.read(first)) or Course.begin(first)
    steps = projection.steps(course.current)
    expected = projection.expected_seconds(first) if limits.refine_seconds else 0.0
    while course.n_steps < limits.refine_steps:
        if _no_gain(course.held_out):
            return course, Stop.VALIDATION
        if course.held_out[-1] <= limits.refine_until:
            return course, Stop.ENOUGH
        started = time.perf_counter()
        if limits.refine_seconds and started - begin + expected > limits.refine_seconds:
            return course, Stop.TIME
        point = next(steps, None)
        if point is None:
            return course, Stop.CONVERGED
        course = course.then(point)
        if kept is not None:
            kept.write(course)
        expected = max(expected if course.n_steps > 1 else 0.0, time.perf_counter() - started)
        if progress is not None:
            progress(course.n_steps, limits.refine_steps)
    return course, Stop.VALIDATION if _no_gain(course.held_out) else Stop.STEPS


def _no_gain(scores: Sequence[float]) -> bool:
    """Whether the last steps brought nothing on the held-out data."""
    if len(scores) <= _PATIENCE:
        return False
    return min(scores[-_PATIENCE:]) >= (1.0 - _GAIN) * min(scores[:-_PATIENCE])


def _present(parameters: Parameters) -> NDArray[np.bool_]:
    """Which radial functions are there, shape (n_species, n_species, n_radial)."""
    return np.asarray(np.any(parameters.radial_coeffs != 0.0, axis=3))


def _with_radial(parameters: Parameters, radial: FloatArray) -> Parameters:
    """Return a potential with other radial functions, each normalised over its species.

    The root mean square of the norms of its coefficients is 1.
    """
    there = np.any(radial != 0.0, axis=3).sum(axis=(0, 1))
    sizes = np.sqrt(np.sum(radial**2, axis=(0, 1, 3)) / np.maximum(there, 1))
    sizes[sizes == 0.0] = 1.0
    return replace(parameters, radial_coeffs=radial / sizes[:, None])
