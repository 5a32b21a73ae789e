"""Potentials that learn: the protocol, its registry, and one sub-package per kind."""
