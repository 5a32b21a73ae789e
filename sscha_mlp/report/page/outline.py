"""The parts of a document: where they begin, on its first page and as bookmarks of the PDF."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from matplotlib.figure import Figure

from sscha_mlp.errors import InputError

_KIDS: Final = re.compile(rb"/Kids \[([^\]]*)\]")
_ROOT: Final = re.compile(rb"/Root (\d+) 0 R")
_SIZE: Final = re.compile(rb"/Size (\d+)")
_TABLE: Final = re.compile(rb"startxref\s+(\d+)\s+%%EOF\s*$")


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
    """Append bookmarks to a PDF that matplotlib has written.

    They are added as an update behind its end, as the format has it (ISO 32000-1, 7.5.6 and
    12.3.3): what is there already stays as it is.

    Parameters
    ----------
    content
        The PDF, with a plain table of its objects.
    outline
        Titles, each with the number of its page, from 0; none leave the PDF alone.

    Raises
    ------
    InputError
        If this is not such a PDF.
    """
    if not outline:
        return content
    found = [pattern.search(content) for pattern in (_KIDS, _ROOT, _SIZE, _TABLE)]
    kids, root, size, table = (None if one is None else one[1] for one in found)
    if kids is None or root is None or size is None or table is None:
        raise InputError("bookmarks need a PDF with a plain table of objects; write it again")
    pages = [int(one) for one in re.findall(rb"(\d+) 0 R", kids)]
    objects = _objects(outline, pages, root=int(root), first=int(size), content=content)
    return _updated(content, objects, root=int(root), table=int(table))


def _objects(
    outline: Sequence[tuple[str, int]],
    pages: Sequence[int],
    *,
    root: int,
    first: int,
    content: bytes,
) -> dict[int, bytes]:
    """Return the new objects by their number: the catalogue, the outline, and its entries."""
    catalogue = re.search(rb"(?m)^%d 0 obj\s*<<(.*?)>>\s*endobj" % root, content, re.DOTALL)
    if catalogue is None:
        raise InputError("bookmarks need a PDF with a catalogue; write it again")
    numbers = [first + 1 + place for place in range(len(outline))]
    added = b" /Outlines %d 0 R /PageMode /UseOutlines " % first
    objects = {
        root: b"<<" + catalogue[1].rstrip() + added + b">>",
        first: b"<< /Type /Outlines /First %d 0 R /Last %d 0 R /Count %d >>"
        % (numbers[0], numbers[-1], len(numbers)),
    }
    for place, (number, (title, page)) in enumerate(zip(numbers, outline, strict=True)):
        text = (b"\xfe\xff" + title.encode("utf-16-be")).hex().upper().encode()
        links = b""
        if place > 0:
            links += b" /Prev %d 0 R" % numbers[place - 1]
        if place < len(numbers) - 1:
            links += b" /Next %d 0 R" % numbers[place + 1]
        objects[number] = b"<< /Title <%s> /Parent %d 0 R /Dest [ %d 0 R /Fit ]%s >>" % (
            text,
            first,
            pages[page],
            links,
        )
    return objects


def _updated(content: bytes, objects: dict[int, bytes], *, root: int, table: int) -> bytes:
    """Append objects, their table, and a trailer that names the older table."""
    parts = [content if content.endswith(b"\n") else content + b"\n"]
    position = len(parts[0])
    entries = b"xref\n"
    for number, body in sorted(objects.items()):
        parts.append(b"%d 0 obj\n%s\nendobj\n" % (number, body))
        entries += b"%d 1\n%010d 00000 n \n" % (number, position)
        position += len(parts[-1])
    info = re.search(rb"/Info \d+ 0 R", content)
    trailer = b"trailer\n<< /Size %d /Root %d 0 R /Prev %d %s >>\nstartxref\n%d\n%%%%EOF\n" % (
        max(objects) + 1,
        root,
        table,
        b"" if info is None else info[0],
        position,
    )
    return b"".join([*parts, entries, trailer])
