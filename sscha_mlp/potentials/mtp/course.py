"""The points that a refinement has reached, and how they outlive a killed process."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from sscha_mlp.potentials.mtp.parameters import Parameters

FloatArray = NDArray[np.float64]

COURSE_FILE: Final = "refinement.npz"
"""Name of the file in the directory of a fit; removed when the fit is complete."""

_FIRST_DAMPING: Final = 1.0e-2
_COEFFICIENTS: Final = ("radial_coeffs", "species_coeffs", "moment_coeffs")


@dataclass(frozen=True, eq=False)
class Point:
    """Radial functions with the linear coefficients that suit them best.

    Parameters
    ----------
    parameters
        Radial functions and coefficients.
    penalty
        Roots of the diagonal of the regularisation D, shape (p,).
    residual
        Root of the projected residual F.
    held_out
        Weighted residual of the configurations held out.
    damping
        That of the next step, relative to the largest singular value squared of the projected
        Jacobian.
    """

    parameters: Parameters
    penalty: FloatArray
    residual: float
    held_out: float
    damping: float = _FIRST_DAMPING


@dataclass(frozen=True, eq=False)
class Course:
    """Where a refinement stands, which is all that the next step depends on.

    Parameters
    ----------
    current, best
        The last point, and that which predicts the held-out configurations best.
    residuals, held_out
        Of all points, the first one included.
    """

    current: Point
    best: Point
    residuals: tuple[float, ...]
    held_out: tuple[float, ...]

    @classmethod
    def begin(cls, first: Point) -> Self:
        """Return the course that has made no step."""
        return cls(first, first, (first.residual,), (first.held_out,))

    @property
    def n_steps(self) -> int:
        """Steps made."""
        return len(self.residuals) - 1

    def then(self, point: Point) -> "Course":
        """Return the course after one more step."""
        best = point if point.held_out < self.best.held_out else self.best
        return Course(
            point,
            best,
            (*self.residuals, point.residual),
            (*self.held_out, point.held_out),
        )


@dataclass(frozen=True)
class CourseFile:
    """A course on the disk.

    Parameters
    ----------
    path
        The file.
    identity
        Of the fit: data, settings and start.  A course of another fit is not read.
    """

    path: Path
    identity: str

    def write(self, course: Course) -> None:
        """Keep a course; a process that is killed meanwhile leaves the one before."""
        arrays = {
            "identity": np.array(self.identity),
            "residuals": np.array(course.residuals),
            "held_out": np.array(course.held_out),
        }
        for name, point in (("current", course.current), ("best", course.best)):
            arrays[f"{name}_penalty"] = point.penalty
            arrays[f"{name}_numbers"] = np.array([point.residual, point.held_out, point.damping])
            for key in _COEFFICIENTS:
                arrays[f"{name}_{key}"] = getattr(point.parameters, key)
        part = self.path.with_suffix(".part")
        with part.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)
        part.replace(self.path)

    def read(self, first: Point) -> Course | None:
        """Return the course that was kept, if it is one of this fit.

        Parameters
        ----------
        first
            Where it began: what no step changes is taken from there.
        """
        if not self.path.is_file():
            return None
        with np.load(self.path, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
        if str(arrays["identity"]) != self.identity:
            return None
        current, best = (_point(arrays, name, first.parameters) for name in ("current", "best"))
        return Course(
            current,
            best,
            tuple(arrays["residuals"].tolist()),
            tuple(arrays["held_out"].tolist()),
        )


def _point(arrays: dict[str, FloatArray], name: str, first: Parameters) -> Point:
    """Return a point from its arrays."""
    coefficients: dict[str, Any] = {key: arrays[f"{name}_{key}"] for key in _COEFFICIENTS}
    residual, held_out, damping = arrays[f"{name}_numbers"].tolist()
    parameters = replace(first, **coefficients)
    return Point(parameters, arrays[f"{name}_penalty"], residual, held_out, damping)
