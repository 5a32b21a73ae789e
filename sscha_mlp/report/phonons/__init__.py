"""Phonons of a finished run: data, figures, files."""
