"""Structures, supercells, symmetry and dynamical matrices: values and pure operations."""
