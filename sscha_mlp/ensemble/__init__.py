"""Displacements drawn at (Φ, R, T), importance weights, and averages with their errors."""
