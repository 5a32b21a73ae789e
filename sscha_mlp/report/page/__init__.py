"""Pages of any report: layout, style, bookmarks, the PDF file."""
