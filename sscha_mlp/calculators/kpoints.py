"""K-points of a cell: a grid that is given, or one that follows from a spacing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from sscha_mlp.errors import ConfigError

DEFAULT_SPACING: Final = 0.3
"""Largest distance of neighbouring k-points unless told otherwise, 1/Å, factor 2π included."""

_ROUNDING: Final = 1.0e-6
_MAX_POINTS: Final = 1000


@dataclass(frozen=True)
class KPoints:
    """A uniform grid of k-points, the same for each configuration of one cell.

    With a spacing the number of points along reciprocal vector i is |b_i| / spacing, rounded up,
    so that a supercell of twice the length gets half of them.  Grids contain Γ unless they are
    shifted: only then do they have the symmetry of every lattice without being symmetrised, which
    nobody does for a displaced supercell.

    Parameters
    ----------
    spacing
        Largest distance of neighbouring points, 1/Å, factor 2π included; None with a grid.
    grid
        Points along each reciprocal vector; None with a spacing.
    shift
        1 where the grid is moved by half a step, 0 where it contains Γ.

    Raises
    ------
    ConfigError
        If not exactly one of spacing and grid is given, or a number is out of range.
    """

    spacing: float | None = DEFAULT_SPACING
    grid: tuple[int, int, int] | None = None
    shift: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self) -> None:
        """Check the numbers."""
        if (self.spacing is None) == (self.grid is None):
            raise ConfigError("kpoints needs either spacing (1/Å) or grid, and not both.")
        if self.spacing is not None and not _is_positive(self.spacing):
            raise ConfigError(
                f"kpoints.spacing is {self.spacing!r}; it must be a positive number in 1/Å, "
                f"such as {DEFAULT_SPACING}."
            )
        if self.grid is not None and not _are_counts(self.grid, smallest=1, largest=_MAX_POINTS):
            raise ConfigError(
                f"kpoints.grid is {self.grid!r}; it must be three positive whole numbers."
            )
        if not _are_counts(self.shift, smallest=0, largest=1):
            raise ConfigError(
                f"kpoints.shift is {self.shift!r}; it must be three numbers, each 0 or 1."
            )

    @classmethod
    def from_given(cls, given: Any) -> "KPoints":
        """Make the grid that a table describes, or the default for None.

        Parameters
        ----------
        given
            A mapping with ``spacing`` or ``grid``, and perhaps ``shift``.

        Raises
        ------
        ConfigError
            If it is no such mapping.
        """
        if given is None:
            return cls()
        valid = ("spacing", "grid", "shift")
        if not isinstance(given, Mapping):
            raise ConfigError(f"kpoints is {given!r}; it must be a table with spacing or grid.")
        unknown = sorted(set(given) - set(valid))
        if unknown:
            raise ConfigError(
                f"kpoints has the unknown key {', '.join(unknown)}; valid are {', '.join(valid)}."
            )
        spacing = given.get("spacing")
        return cls(
            spacing=spacing,
            grid=_triple(given.get("grid")),
            shift=_triple(given.get("shift", (0, 0, 0))),
        )

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the points, as plain values."""
        key = "spacing" if self.grid is None else "grid"
        value = float(self.spacing) if self.spacing is not None else list(self.grid or ())
        return {key: value, "shift": list(self.shift)}

    def size(self, cell: ArrayLike) -> tuple[int, int, int]:
        """Return the number of points along each reciprocal vector.

        Parameters
        ----------
        cell
            Cell vectors as rows, Å, shape (3, 3).

        Raises
        ------
        ConfigError
            If the spacing asks for more than 1000 points along one vector.
        """
        if self.grid is not None:
            return self.grid
        counts = [max(1, int(np.ceil(x - _ROUNDING))) for x in self._exact(cell)]
        if max(counts) > _MAX_POINTS:
            raise ConfigError(
                f"kpoints.spacing {self.spacing:g} 1/Å asks for a grid of {counts} points; "
                "give a larger spacing."
            )
        return counts[0], counts[1], counts[2]

    def is_gamma(self, cell: ArrayLike) -> bool:
        """Whether the grid is Γ alone, for which codes have a faster way."""
        return self.size(cell) == (1, 1, 1) and self.shift == (0, 0, 0)

    def margin(self, cell: ArrayLike) -> tuple[float, float]:
        """Return by which fraction the cell may shrink and grow before the grid changes.

        The energy jumps there.  With a given grid both are infinite.

        Parameters
        ----------
        cell
            Cell vectors as rows, Å, shape (3, 3).
        """
        if self.grid is not None:
            return float("inf"), float("inf")
        exact, counts = self._exact(cell), self.size(cell)
        shrink = min(1.0 - x / n for x, n in zip(exact, counts, strict=True))
        grow = [x / (n - 1) - 1.0 for x, n in zip(exact, counts, strict=True) if n > 1]
        return max(0.0, shrink), min(grow, default=float("inf"))

    def _exact(self, cell: ArrayLike) -> list[float]:
        assert self.spacing is not None
        reciprocal = 2.0 * np.pi * np.linalg.inv(np.asarray(cell, dtype=np.float64)).T
        return [float(x) for x in np.linalg.norm(reciprocal, axis=1) / self.spacing]


def _is_positive(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0.0 < value < float("inf")


def _are_counts(values: Any, *, smallest: int, largest: int) -> bool:
    return (
        isinstance(values, tuple)
        and len(values) == 3
        and all(type(n) is int and smallest <= n <= largest for n in values)
    )


def _triple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
