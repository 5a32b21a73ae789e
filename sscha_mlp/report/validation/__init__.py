"""Errors of a model on labels that it has not seen: pages and figures."""
