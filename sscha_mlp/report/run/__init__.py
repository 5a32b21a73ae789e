"""The report of a run: data, figures, pages."""
