"""Points as vector graphics, whatever their number."""

from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from sscha_mlp.crystal.structure import FloatArray

MANY: Final = 1500
"""From this many points on they are drawn smaller and paler."""

_FINE: Final = 600
"""Points closer than the range of the data over this number look like one."""


def draw_dots(
    axes: Axes,
    x: FloatArray,
    y: FloatArray,
    *,
    colour: str,
    marker: str = "o",
    size: float = 2.2,
    **more: Any,
) -> None:
    """Draw points; many are drawn smaller and paler.

    Parameters
    ----------
    axes
        Axes to draw into.
    x, y
        Shape (n_points,).
    colour
        Of the set.
    marker
        Shape of a point.
    size
        Its diameter where there are few of them, points.
    **more
        Passed on to matplotlib, such as ``zorder`` and ``label``.
    """
    many = x.size > MANY
    axes.plot(
        x,
        y,
        linestyle="none",
        marker=marker,
        markersize=0.6 * size if many else size,
        markeredgewidth=0.0,
        color=(*to_rgb(colour), 0.4 if many else 0.65),
        **more,
    )


def told_apart(x: FloatArray, y: FloatArray) -> NDArray[np.intp]:
    """Return the indices of points that linear axes show apart, in ascending order.

    A figure of very many points stays small without the others.

    Parameters
    ----------
    x, y
        Shape (n_points,), finite.
    """
    cells = np.column_stack([_cells(values) for values in (x, y)])
    first = np.unique(cells, axis=0, return_index=True)[1]
    return np.sort(first)


def _cells(values: FloatArray) -> NDArray[np.intp]:
    """Return the number of the interval that each value lies in."""
    width = float(np.ptp(values)) / _FINE or 1.0
    return np.asarray((values - values.min()) / width, dtype=np.intp)
