"""Small tables: HTML where a notebook shows them, aligned text where they are printed."""

from collections.abc import Iterable, Sequence, Sized
from dataclasses import MISSING, Field, dataclass, is_dataclass
from html import escape
from typing import Any, Final

_GAP: Final = "  "
_CELL: Final = "text-align:{align};padding:0.15em 0.9em 0.15em 0{wrap}"
_SENTENCE: Final = 40
"""Characters from which a cell is text to be read, on several lines if need be."""

_WIDEST: Final = 110
"""Characters of a row that fit beside each other; in a wider one numbers may break as well."""

_MOST_ROWS: Final = 12
_BRIEF: Final = 60
"""Characters of the value of a field in ``repr``."""


@dataclass(frozen=True)
class Table:
    """Rows of text under a title.

    Parameters
    ----------
    title
        What it is.
    rows
        Cells, turned into text; rows that are shorter than the longest are filled up.
    columns
        Names of the columns; none for pairs of name and value.
    note
        A sentence below; none when empty.
    """

    title: str
    rows: tuple[tuple[str, ...], ...]
    columns: tuple[str, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        """Make every cell text and every row as long as the longest."""
        rows = [tuple(str(cell) for cell in row) for row in self.rows]
        width = max([len(self.columns), *map(len, rows)], default=0)
        object.__setattr__(self, "rows", tuple(_filled(row, width) for row in rows))
        if self.columns:
            object.__setattr__(self, "columns", _filled(self.columns, width))

    def __str__(self) -> str:
        """Return aligned text: the first column to the left, the others to the right."""
        lines = [*([self.columns] if self.columns else []), *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        body = [_line(line, widths) for line in lines]
        return "\n".join([self.title, *body, *([self.note] if self.note else [])])

    def _repr_html_(self) -> str:
        """Return the table as a notebook shows it."""
        styles = _styles([*([self.columns] if self.columns else []), *self.rows])
        head = _html_row(self.columns, "th", styles) if self.columns else ""
        body = "".join(_html_row(row, "td", styles) for row in self.rows)
        note = f'<div style="max-width:48em">{escape(self.note)}</div>' if self.note else ""
        return f"<div><b>{escape(self.title)}</b><table>{head}{body}</table>{note}</div>"


class Shown:
    """Base of values that a notebook, and ``print``, show as their table.

    ``repr`` is one line: fields that differ from their defaults, arrays by their shapes.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        """Keep the inherited short ``repr``, in whose place a dataclass would put a long one."""
        super().__init_subclass__(**options)
        if "__repr__" not in vars(cls) and not issubclass(cls, dict | tuple):
            cls.__repr__ = cls.__repr__  # type: ignore[method-assign]

    def __repr__(self) -> str:
        """Return the class and its fields, on one line."""
        known: tuple[Field[Any], ...] = tuple(getattr(self, "__dataclass_fields__", {}).values())
        shown = [
            f"{one.name}={_brief(getattr(self, one.name))}"
            for one in known
            if one.repr and not _is_default(getattr(self, one.name), one)
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __str__(self) -> str:
        """Return the table as aligned text."""
        return str(self.table())

    def table(self) -> Table:
        """Return what is shown.

        Raises
        ------
        NotImplementedError
            If the class does not say what.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what its table is.")

    def _repr_html_(self) -> str:
        """Return the table as a notebook shows it."""
        return self.table()._repr_html_()


def _is_default(value: Any, field: Field[Any]) -> bool:
    """Whether a field has the value that it has when it is not given."""
    if field.default_factory is not MISSING:
        usual: Any = field.default_factory()
    else:
        usual = field.default
    is_array = hasattr(value, "shape")
    return type(value) is type(usual) and not is_array and bool(value == usual)


def _brief(value: Any) -> str:
    """Return a value in a few characters: arrays by their shapes, and long ones by their length."""
    if getattr(value, "shape", ()):
        return f"array{value.shape}"
    if is_dataclass(value) and not isinstance(value, type) and not isinstance(value, Shown):
        return f"{type(value).__name__}(…)"
    text = repr(value)
    if len(text) <= _BRIEF:
        return text
    if isinstance(value, Sized) and not isinstance(value, str | Shown):
        return f"<{len(value)} in a {type(value).__name__}>"
    return f"{type(value).__name__}(…)" if isinstance(value, Shown) else f"{text[: _BRIEF - 1]}…"


class ShownContent(dict[str, Any], Shown):
    """Base of the content of a file that a notebook shows as a table."""


def few(rows: Sequence[Sequence[str]], most: int = _MOST_ROWS) -> tuple[tuple[str, ...], ...]:
    """Return the rows; of too many the first and the last ones, and dots between them."""
    found = tuple(tuple(row) for row in rows)
    if len(found) <= most:
        return found
    half = most // 2
    return (*found[:half], ("…",) * len(found[0]), *found[-half:])


def pm(value: float, stderr: float, decimals: int, *, sign: bool = False) -> str:
    """Return a number and its standard error with as many decimals."""
    return f"{value:{'+' if sign else ''}.{decimals}f} ± {stderr:.{decimals}f}"


def span(values: Iterable[float], decimals: int) -> str:
    """Return the least and the largest of some numbers; a dash where there is none."""
    found = sorted(values)
    if not found:
        return "–"
    low, high = f"{found[0]:.{decimals}f}", f"{found[-1]:.{decimals}f}"
    return low if low == high else f"{low} to {high}"


def _filled(row: Sequence[str], width: int) -> tuple[str, ...]:
    return (*row, *([""] * (width - len(row))))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (
        cell.rjust(width) if number else cell.ljust(width)
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return _GAP.join([first, *others]).rstrip()


def _styles(lines: Sequence[Sequence[str]]) -> list[str]:
    """Return the style of each column: numbers to the right on one line, sentences to the left."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    is_text = [width >= _SENTENCE for width in widths]
    is_wide = sum(w for w, text in zip(widths, is_text, strict=True) if not text) > _WIDEST
    return [
        _CELL.format(
            align="left" if text or number == 0 else "right",
            wrap="" if text or is_wide else ";white-space:nowrap",
        )
        for number, text in enumerate(is_text)
    ]


def _html_row(cells: Sequence[str], tag: str, styles: Sequence[str]) -> str:
    parts = [
        f'<{tag} style="{style}">{escape(cell)}</{tag}>'
        for cell, style in zip(cells, styles, strict=True)
    ]
    return f"<tr>{''.join(parts)}</tr>"
