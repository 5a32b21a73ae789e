"""Pages as one PDF file that holds no date."""

import io
from collections.abc import Sequence
from typing import Final

from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from sscha_mlp.report.page.layout import stamp
from sscha_mlp.report.page.outline import with_outline

RESOLUTION: Final = 300
"""Of what is drawn as an image, dots per inch."""


def stamped_pdf(
    pages: Sequence[Figure],
    *,
    head: str,
    title: str,
    outline: Sequence[tuple[str, int]] = (),
) -> bytes:
    """Return pages as a PDF, each with a running head and its number.

    Parameters
    ----------
    pages
        In order, drawn in the style; call this in the style as well.
    head
        What stands at the top of each page.
    title
        Of the document.
    outline
        Titles of its parts, each with the number of its first page, from 0.
    """
    for number, page in enumerate(pages, start=1):
        stamp(page, head, number, len(pages))
    return with_outline(pdf_bytes(pages, title=title), outline)


def pdf_bytes(pages: Sequence[Figure], *, title: str) -> bytes:
    """Return the pages as a PDF that holds no date."""
    metadata = {"Title": title, "Creator": "sscha-mlp", "Producer": None, "CreationDate": None}
    buffer = io.BytesIO()
    with PdfPages(buffer, metadata=metadata) as pdf:
        for page in pages:
            pdf.savefig(page, dpi=RESOLUTION)
    return buffer.getvalue()
