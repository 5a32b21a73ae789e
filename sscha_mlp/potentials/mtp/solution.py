"""Solve for an MTP: linear fits, refinement, and which of them is kept."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from sscha_mlp.potentials.mtp.course import CourseFile
from sscha_mlp.potentials.mtp.initial import first_parameters
from sscha_mlp.potentials.mtp.linear import ridge_regression, score
from sscha_mlp.potentials.mtp.parameters import Parameters
from sscha_mlp.potentials.mtp.refine import Refinement, refine, split
from sscha_mlp.potentials.mtp.regression import Regression, Rows, regress

Progress = Callable[[int, int], None]

_LINEAR_PART: Final = 10
"""Per cent of the progress that a linear fit is when there is a refinement too."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """The linear fit in the basis of the defaults, and whether it is the one that is kept.

    Parameters
    ----------
    n_basis_functions
        Of the linear basis.
    held_out
        Weighted residual of the configurations that the refinement holds out, with coefficients
        from those that it learns from; the error by cross-validation if it holds none out.
    other
        The same of the refined basis, with its radial functions refined if that was accepted; None
        if the linear fit was good enough without it.
    """

    n_basis_functions: int
    held_out: float
    other: float | None

    @property
    def kept(self) -> bool:
        """Whether the linear fit predicts the held-out configurations better."""
        return self.other is None or self.held_out < self.other

    def as_dict(self) -> dict[str, Any]:
        """Return a summary of plain values."""
        return {
            "n_basis_functions": self.n_basis_functions,
            "held_out_residual": self.held_out,
            "held_out_residual_of_refined_basis": self.other,
            "kept": self.kept,
        }


@dataclass(frozen=True, eq=False)
class Solution:
    """The fit that is kept, and how it came about.

    Parameters
    ----------
    regression
        The potential, with its coefficients from all training data.
    refinement
        What the refinement did; None without one.
    comparison
        The linear fit beside it; None without one.
    """

    regression: Regression
    refinement: Refinement | None = None
    comparison: Comparison | None = None

    def details(self) -> dict[str, Any]:
        """Return what the record of the model says of it."""
        parts = {"refinement": self.refinement, "linear_basis": self.comparison}
        return {name: part.as_dict() for name, part in parts.items() if part is not None}


def solve(
    rows: Rows,
    *,
    start: Parameters | None = None,
    kept: CourseFile | None = None,
    progress: Progress | None = None,
) -> Solution:
    """Fit as the settings ask for.

    Without refinement that is one linear fit.  With ``compare_linear`` a refinement has to beat
    the linear fit in the basis of the defaults, which costs a tenth of the time: that is made
    first, and the refinement is spared where it is good enough.

    Parameters
    ----------
    rows
        Training data, weights and settings.
    start
        An earlier potential, see :func:`sscha_mlp.potentials.mtp.refine.refine`.
    kept
        Where the steps of the refinement are kept.
    progress
        Called with (per cent done, 100).
    """
    if rows.settings.refine_steps == 0:
        return Solution(_linear(rows, _part(progress, 0, 100)))
    if not rows.settings.compare_linear:
        return _refined(rows, start, kept, progress)
    plain = replace(rows, settings=rows.settings.linear())
    linear = _linear(plain, _part(progress, 0, _LINEAR_PART))
    held_out = _held_out(plain, linear)
    n_functions = linear.parameters.template.n_scalars
    if held_out is not None and held_out <= rows.settings.refine_until:
        _finish(progress)
        return Solution(linear, None, Comparison(n_functions, held_out, None))
    other = _refined(rows, start, kept, _part(progress, _LINEAR_PART, 100))
    comparison = Comparison(n_functions, *_errors(held_out, linear, other))
    best = linear if comparison.kept else other.regression
    return Solution(best, other.refinement, comparison)


def _linear(rows: Rows, progress: Progress | None) -> Regression:
    """Fit the moment coefficients alone."""
    return regress(first_parameters(rows.train, rows.settings), rows, progress=progress)


def _refined(
    rows: Rows, start: Parameters | None, kept: CourseFile | None, progress: Progress | None
) -> Solution:
    """Refine the radial functions, and solve again if that brought something."""
    linear = _linear(rows, _part(progress, 0, _LINEAR_PART))
    refinement = refine(
        linear.parameters,
        rows,
        ridge=linear.fit.ridge,
        start=start,
        kept=kept,
        progress=_part(progress, _LINEAR_PART, 100 - _LINEAR_PART),
    )
    if refinement.accepted:
        last = _part(progress, 100 - _LINEAR_PART, 100)
        return Solution(regress(refinement.parameters, rows, progress=last), refinement)
    _finish(progress)
    return Solution(linear, refinement)


def _held_out(rows: Rows, linear: Regression) -> float | None:
    """Error of a linear fit on what a refinement holds out, learnt from what it learns from."""
    learnt, held = split(rows)
    if not held:
        return None
    blocks = rows.blocks(linear.parameters, [*learnt, *held])
    prior = rows.prior(linear.parameters)
    fit = ridge_regression(blocks[: len(learnt)], prior, ridge=linear.fit.ridge)
    return score(blocks[len(learnt) :], fit.coefficients)


def _errors(held_out: float | None, linear: Regression, other: Solution) -> tuple[float, float]:
    """Errors of both fits on the same configurations."""
    if held_out is None or other.refinement is None or other.refinement.linear is None:
        return _cross_validated(linear), _cross_validated(other.regression)
    refinement = other.refinement
    accepted = min(refinement.held_out) if refinement.accepted else other.refinement.linear
    return held_out, accepted


def _cross_validated(fit: Regression) -> float:
    """Error by cross-validation, or of the training data where the strength was given."""
    return min(fit.fit.scores.values(), default=fit.fit.residual)


def _finish(progress: Progress | None) -> None:
    if progress is not None:
        progress(100, 100)


def _part(progress: Progress | None, first: int, last: int) -> Progress | None:
    """Return a progress callback whose whole is the part from `first` to `last` per cent."""
    if progress is None:
        return None
    return lambda done, total: progress(first + (last - first) * done // total, 100)
