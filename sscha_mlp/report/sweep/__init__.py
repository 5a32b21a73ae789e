"""Sweeps and phases: fits, figures, files."""
