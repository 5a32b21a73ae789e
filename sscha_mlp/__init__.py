"""Phonons of real crystals at temperature: the SSCHA on machine-learned potentials, certified.

The public functions are attributes of this package and are imported when they are first used::

    import sscha_mlp as sm

    model = sm.fit("gap", dataset.train, directory="models/000")
"""

from importlib import import_module
from typing import Any, Final

__version__ = "0.1.0"

_PUBLIC: Final[dict[str, str]] = {
    "get_reference": "sscha_mlp.reference.registry",
    "label": "sscha_mlp.reference.label",
}
"""Public name -> module that defines it.  No name may be that of a room."""

__all__ = ["__version__", *_PUBLIC]  # noqa: PLE0604 - the keys are strings


def __getattr__(name: str) -> Any:
    """Import a public name at its first use (PEP 562): ``import sscha_mlp`` stays quick."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names beside those already loaded."""
    return sorted({*globals(), *_PUBLIC})
