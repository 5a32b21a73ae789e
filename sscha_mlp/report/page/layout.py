"""A page as a person lays it out: millimetres from the top left corner, text that wraps, tables."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch
from matplotlib.textpath import text_to_path

from sscha_mlp.report.page.style import A4, GREY, INK, MARGIN, MM, PALE, TEXT_WIDTH

TOP: Final = 24.0
"""Where the text block begins, mm from the top edge."""

BOTTOM: Final = A4[1] - 20.0
"""Where the text block ends, mm from the top edge."""

_POINT: Final = 25.4 / 72.0
_LEADING: Final = 1.28
_GAP: Final = 0.75

Align = Literal["left", "right", "center"]


@lru_cache(maxsize=8192)
def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Return the width of one line of text in the style's typeface, mm."""
    font = FontProperties(family="STIXGeneral", size=size, weight=weight)
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) * _POINT


def wrap(text: str, width: float, size: float, weight: str = "normal") -> list[str]:
    """Break text into lines no wider than ``width`` mm; a word that is too long is cut."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in filter(None, paragraph.split(" ")):
            candidate = f"{line} {word}" if line else word
            if text_width(candidate, size, weight) <= width:
                line = candidate
                continue
            if line:
                lines.append(line)
            *full, line = _cut(word, width, size, weight)
            lines.extend(full)
        lines.append(line)
    return lines


def shorten(text: str, width: float, size: float, *, n_lines: int) -> str:
    """Return text that takes no more than that many lines, with an ellipsis where it is cut."""
    lines = wrap(text, width, size)
    if len(lines) <= n_lines:
        return text
    return " ".join(lines[:n_lines]).rsplit(" ", 1)[0] + " …"


def _cut(word: str, width: float, size: float, weight: str) -> list[str]:
    """Cut a word into pieces that fit, best after a separator."""
    pieces: list[str] = []
    while text_width(word, size, weight) > width and len(word) > 1:
        end = len(word) - 1
        while end > 1 and text_width(word[:end], size, weight) > width:
            end -= 1
        soft = max(word.rfind(mark, 0, end) for mark in "/_-,.:") + 1
        end = soft if soft > end // 2 else end
        pieces.append(word[:end])
        word = word[end:]
    return [*pieces, word]


def new_page() -> Figure:
    """Return an empty A4 page."""
    return Figure(figsize=(A4[0] * MM, A4[1] * MM))


def add_axes_mm(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Add axes whose frame begins ``left``, ``top`` mm from the figure's top left corner."""
    full_width, full_height = (side / MM for side in figure.get_size_inches())
    return figure.add_axes(
        (
            left / full_width,
            1.0 - (top + height) / full_height,
            width / full_width,
            height / full_height,
        )
    )


def set_labels(axes: Axes, x: str, y: str) -> None:
    """Label both axes; the labels of neighbours stand on one line whatever their letters."""
    axes.set_xlabel(x, labelpad=9.5, va="baseline")
    axes.set_ylabel(y)


def legend_above(axes: Axes, *, rank: Callable[[str], int] = lambda _name: 0) -> None:
    """Write the legend above axes in one line, each name once.

    Parameters
    ----------
    axes
        A curve of many bands is one entry.
    rank
        Place of a name; those of one place stay in the order in which they were drawn.
    """
    handles, labels = axes.get_legend_handles_labels()
    found = dict(sorted(zip(labels, handles, strict=True), key=lambda one: rank(one[0])))
    axes.legend(
        list(found.values()),
        list(found),
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=len(found),
        borderaxespad=0.3,
        columnspacing=1.2,
        handlelength=2.4,
    )


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Parameters
    ----------
    title
        What stands above it.
    width
        Its width, mm.
    align
        To which side its cells are set.
    """

    title: str
    width: float
    align: Align = "right"


@dataclass
class Flow:
    """A pen that moves down a figure as it writes; ``top`` is where it stands, in mm."""

    figure: Figure
    top: float = TOP
    left: float = MARGIN
    width: float = TEXT_WIDTH
    bottom: float = BOTTOM
    _height: float = field(init=False)
    _full_width: float = field(init=False)

    def __post_init__(self) -> None:
        """Measure the figure."""
        self._full_width, self._height = (side / MM for side in self.figure.get_size_inches())

    @property
    def room(self) -> float:
        """Height that is left, mm."""
        return self.bottom - self.top

    def skip(self, height: float) -> None:
        """Leave that many millimetres free."""
        self.top += height

    def write(
        self,
        text: str,
        left: float,
        top: float,
        *,
        size: float = 9.0,
        weight: str = "normal",
        colour: str = INK,
        align: Align = "left",
        italic: bool = False,
    ) -> None:
        """Write one line with its baseline ``size`` points below ``top`` mm, without moving."""
        self.figure.text(
            left / self._full_width,
            1.0 - (top + size * _POINT) / self._height,
            text,
            fontsize=size,
            fontweight=weight,
            fontstyle="italic" if italic else "normal",
            color=colour,
            ha=align,
            va="baseline",
            parse_math=False,
        )

    def rule(self, *, colour: str = INK, weight: float = 0.6, top: float | None = None) -> None:
        """Draw a line across the text block."""
        level = 1.0 - (self.top if top is None else top) / self._height
        ends = (self.left / self._full_width, (self.left + self.width) / self._full_width)
        self.figure.add_artist(Line2D(ends, (level, level), color=colour, linewidth=weight))

    def heading(self, text: str, *, size: float = 11.0) -> None:
        """Write the title of a section."""
        self.write(text, self.left, self.top, size=size, weight="bold")
        self.top += size * _POINT * 1.45 + 1.0

    def paragraph(
        self,
        text: str,
        *,
        size: float = 9.0,
        colour: str = INK,
        weight: str = "normal",
        italic: bool = False,
        indent: float = 0.0,
    ) -> None:
        """Write text over as many lines as it takes."""
        for line in wrap(text, self.width - indent, size, weight):
            self.write(
                line,
                self.left + indent,
                self.top,
                size=size,
                colour=colour,
                weight=weight,
                italic=italic,
            )
            self.top += size * _POINT * _LEADING

    def pairs(
        self, rows: Sequence[tuple[str, str]], *, size: float = 9.0, label_width: float = 46.0
    ) -> None:
        """Write labels and values side by side; long values wrap."""
        step = size * _POINT * _LEADING
        for label, value in rows:
            lines = wrap(value, self.width - label_width, size)
            self.write(label, self.left, self.top, size=size, colour=GREY)
            for line in lines:
                self.write(line, self.left + label_width, self.top, size=size)
                self.top += step
            self.top += 0.25

    def box(
        self,
        height: float,
        colour: str,
        *,
        face: str = "none",
        left: float | None = None,
        width: float | None = None,
    ) -> None:
        """Draw a rounded box of that height at the pen, without moving."""
        left = self.left if left is None else left
        width = self.width if width is None else width
        self.figure.add_artist(
            FancyBboxPatch(
                (left / self._full_width, 1.0 - (self.top + height) / self._height),
                width / self._full_width,
                height / self._height,
                boxstyle="round,pad=0,rounding_size=0.006",
                mutation_aspect=self._full_width / self._height,
                edgecolor=colour,
                facecolor=face,
                linewidth=0.9,
                transform=self.figure.transFigure,
                zorder=-5,
            )
        )

    def table(
        self,
        columns: Sequence[Column],
        rows: Sequence[Sequence[str]],
        *,
        size: float = 8.5,
        breaks: Sequence[int] = (),
    ) -> int:
        """Write a table with rules above, below the titles, and at the end.

        Rows for which the page has no room are left out; their number is the difference to the
        number returned.

        Parameters
        ----------
        columns
            Titles, widths and alignment.
        rows
            Cells, as text; a cell that is too long wraps.
        size
            Size of the type, points.
        breaks
            Rows before which a thin rule is drawn.

        Returns
        -------
        int
            Number of rows written.
        """
        self.rule(weight=0.9)
        self.skip(1.0)
        self._table_row(columns, [column.title for column in columns], size, "bold")
        self.rule(weight=0.5)
        self.skip(1.0)
        written = 0
        for index, row in enumerate(rows):
            if self.top + _row_height(columns, row, size) > self.bottom:
                break
            if index in breaks:
                self.rule(colour=PALE, weight=0.5)
                self.skip(0.8)
            self._table_row(columns, row, size, "normal")
            written += 1
        self.rule(weight=0.9)
        self.skip(2.0)
        return written

    def _table_row(
        self, columns: Sequence[Column], cells: Sequence[str], size: float, weight: str
    ) -> None:
        left, deepest = self.left, 1
        pads = _paddings(columns)
        step = size * _POINT * _LEADING
        for column, cell, pad in zip(columns, cells, pads, strict=True):
            lines = wrap(cell, column.width - pad - _GAP, size, weight)
            deepest = max(deepest, len(lines))
            anchor = {"left": 0.0, "center": 0.5, "right": 1.0}[column.align] * column.width
            shift = {"left": pad, "center": 0.0, "right": -_GAP}[column.align]
            for number, line in enumerate(lines):
                self.write(
                    line,
                    left + anchor + shift,
                    self.top + number * step,
                    size=size,
                    weight=weight,
                    align=column.align,
                )
            left += column.width
        self.top += deepest * step + 0.5


def _paddings(columns: Sequence[Column]) -> list[float]:
    """Return the space before each cell; text that follows numbers stands clear of them."""
    before: list[Align] = ["left", *(column.align for column in columns[:-1])]
    return [
        4.0 * _GAP if column.align == "left" and previous == "right" else _GAP
        for column, previous in zip(columns, before, strict=True)
    ]


def table_height(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], *, size: float = 8.5
) -> float:
    """Return the height that :meth:`Flow.table` needs for all rows, mm."""
    titles = _row_height(columns, [column.title for column in columns], size)
    return titles + sum(_row_height(columns, row, size) + 0.8 for row in rows) + 6.0


def _row_height(columns: Sequence[Column], cells: Sequence[str], size: float) -> float:
    """Return the height of a row of a table whose cells wrap, mm."""
    lines = max(
        len(wrap(cell, column.width - pad - _GAP, size))
        for column, cell, pad in zip(columns, cells, _paddings(columns), strict=True)
    )
    return lines * size * _POINT * _LEADING + 0.5


_HEADING: Final = 9.0
"""Room that a heading takes, mm."""


def table_pages(
    title: str,
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    size: float = 8.5,
    breaks: Sequence[int] = (),
    first: Flow | None = None,
) -> tuple[list[Figure], Flow]:
    """Write a table over as many pages as it takes.

    Parameters
    ----------
    title
        Heading, repeated with "continued" on each page after the first.
    columns, rows, size, breaks
        As for :meth:`Flow.table`.
    first
        A page that is already begun, on which the table starts if it has room for some rows.

    Returns
    -------
    pages : list of Figure
        The new pages.
    flow : Flow
        The pen, below the table.
    """
    pages: list[Figure] = []
    start, flow = 0, first
    if flow is not None and flow.room < _HEADING + table_height(columns, rows[:2], size=size):
        flow = None
    while True:
        if flow is None:
            pages.append(new_page())
            flow = Flow(pages[-1])
        flow.heading(title if start == 0 else f"{title}, continued")
        here = [index - start for index in breaks if index > start]
        rest = [_named_again(rows, start), *rows[start + 1 :]] if breaks else rows[start:]
        start += max(1, flow.table(columns, rest, size=size, breaks=here))
        if start >= len(rows):
            return pages, flow
        flow = None


def _named_again(rows: Sequence[Sequence[str]], start: int) -> Sequence[str]:
    """Return the first row of a page, with the name of its group if that began before."""
    name = next((row[0] for row in reversed(rows[: start + 1]) if row[0]), "")
    return [name, *rows[start][1:]] if rows else []


def stamp(figure: Figure, name: str, page: int, n_pages: int) -> None:
    """Write the running head and the page number."""
    flow = Flow(figure, top=10.0)
    flow.write(name, MARGIN, 9.5, size=8.0, colour=GREY)
    flow.write("sscha-mlp", A4[0] - MARGIN, 9.5, size=8.0, colour=GREY, align="right")
    flow.rule(colour=PALE, top=14.5)
    flow.write(
        f"{page} / {n_pages}", A4[0] / 2, A4[1] - 13.0, size=8.0, colour=GREY, align="center"
    )
