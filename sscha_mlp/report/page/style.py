"""One look for every figure and page: fonts, colours and sizes.

Figures are drawn with :class:`matplotlib.figure.Figure` alone, never with pyplot's global state,
inside ``with style():``.  Both typefaces come with matplotlib, so that a page looks the same on
every machine.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

import matplotlib

MM: Final = 1.0 / 25.4
"""One millimetre in inches."""

A4: Final = (210.0, 297.0)
"""Width and height of a page, mm."""

MARGIN: Final = 18.0
"""Left and right margin of a page, mm."""

TEXT_WIDTH: Final = A4[0] - 2.0 * MARGIN
"""Width of the text block, mm."""

BLUE: Final = "#0072B2"
VERMILION: Final = "#D55E00"
GREEN: Final = "#00815F"
PURPLE: Final = "#AA4499"
ORANGE: Final = "#E69F00"
SKY: Final = "#56B4E9"
INK: Final = "#1A1A1A"
GREY: Final = "#6B6B6B"
PALE: Final = "#C9CDD2"
WASH: Final = "#F1F3F5"

PASS_COLOUR: Final = GREEN
FAIL_COLOUR: Final = VERMILION
BAND_COLOUR: Final = "#CFE8DD"

CYCLE: Final = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
"""Colours of data sets, told apart with any colour vision (after M. Okabe and K. Ito, 2008)."""

RC: Final[dict[str, Any]] = {
    "font.family": "STIXGeneral",
    "mathtext.fontset": "stix",
    "font.size": 8.0,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.labelsize": 8.5,
    "axes.titlesize": 8.5,
    "axes.linewidth": 0.6,
    "axes.labelpad": 2.5,
    "axes.unicode_minus": True,
    "axes.formatter.useoffset": False,
    "axes.formatter.limits": (-5, 6),
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.top": True,
    "ytick.right": True,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "xtick.minor.size": 1.6,
    "ytick.minor.size": 1.6,
    "lines.linewidth": 1.0,
    "lines.markersize": 3.0,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "legend.handlelength": 1.4,
    "legend.handletextpad": 0.5,
    "figure.dpi": 100.0,
    "savefig.dpi": 300.0,
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,
    "pdf.compression": 6,
    "svg.hashsalt": "sscha-mlp",
}
"""Settings of matplotlib for figures and pages."""


@contextmanager
def style() -> Iterator[None]:
    """Draw and save in the look of the package, and restore matplotlib's settings afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(cast("Any", RC))
        yield


def colour_of(index: int) -> str:
    """Return the colour of the data set with this index."""
    return CYCLE[index % len(CYCLE)]
