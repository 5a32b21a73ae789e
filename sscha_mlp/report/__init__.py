"""Figures of a run, its validation and its certificate, and the PDF report that holds them."""
