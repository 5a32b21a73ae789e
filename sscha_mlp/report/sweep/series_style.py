"""How isobars and isotherms are told apart: colours as in the style, markers and dashes here."""

from typing import Any, Final

from sscha_mlp.report.page.style import colour_of

MARKERS: Final = ("o", "s", "^", "D", "v", "P")

DASHES: Final[tuple[Any, ...]] = (
    "-",
    (0, (5, 2)),
    (0, (1.5, 1.5)),
    (0, (6, 2, 1.5, 2)),
    (0, (3, 1)),
    (0, (8, 2)),
)
"""Series are told apart without colours, too."""

MOST_SERIES: Final = len(MARKERS)
"""In one panel."""

WASH: Final = 0.16
"""Opacity of the band of an error."""


def marker(index: int) -> str:
    """Return the marker of a series."""
    return MARKERS[index % MOST_SERIES]


def line_style(index: int) -> dict[str, Any]:
    """Return colour, width and dashes of the line of a series."""
    return {
        "color": colour_of(index),
        "linewidth": 0.8,
        "linestyle": DASHES[index % MOST_SERIES],
    }
