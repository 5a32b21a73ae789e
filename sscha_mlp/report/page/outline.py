"""The parts of a document: where they begin, on its first page and as bookmarks of the PDF."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure


@dataclass(frozen=True)
class Section:
    """A part of a document.

    Parameters
    ----------
    title
        Its name.
    pages
        Its pages in order.
    """

    title: str
    pages: list[Figure]


def outline_of(sections: Sequence[Section], *, first: int = 0) -> list[tuple[str, int]]:
    """Return the titles of sections, each with the number of its first page.

    Parameters
    ----------
    sections
        In order.
    first
        Number of the first page of the first one.
    """
    found = []
    for section in sections:
        found.append((section.title, first))
        first += len(section.pages)
    return found


def contents_line(sections: Sequence[Section]) -> str:
    """Return where the sections after the first page are, in one sentence."""
    starts = [start for _, start in outline_of(sections, first=2)]
    parts = [
        f"{_short(one.title)} ({_range(start, len(one.pages))})"
        for one, start in zip(sections, starts, strict=True)
    ]
    return f"Pages: {', '.join(parts)}." if parts else ""


def _short(title: str) -> str:
    """Return a title inside a sentence: without what follows a comma, but for lists of things."""
    name = title if " and " in title else title.partition(",")[0]
    return f"{name[0].lower()}{name[1:]}"


def _range(start: int, count: int) -> str:
    return str(start) if count == 1 else f"{start}–{start + count - 1}"


def with_outline(content: bytes, outline: Sequence[tuple[str, int]]) -> bytes:
    """Return a PDF with bookmarks; the same PDF and titles give the same bytes.

    Parameters
    ----------
    content
        The PDF.
    outline
        Titles, each with the number of its page, from 0; none leave the PDF alone.
    """
    from pypdf import PdfWriter

    if not outline:
        return content
    writer = PdfWriter(clone_from=io.BytesIO(content))
    for title, page in outline:
        writer.add_outline_item(title=title, page_number=page)
    writer.page_mode = "/UseOutlines"
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()
