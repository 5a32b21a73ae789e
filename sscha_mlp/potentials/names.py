"""Names of the kinds of potential, found without importing any of them."""

import pkgutil
from typing import Final

from sscha_mlp import potentials

DEFAULT: Final = "mtp"
"""The kind where none is asked for."""

GROUP: Final = "sscha_mlp.potentials"
"""Entry points of this group are kinds of potential of other packages."""


def built_in_kinds() -> tuple[str, ...]:
    """Return the names of the kinds of this package, the default first."""
    found = [one.name for one in pkgutil.iter_modules(potentials.__path__) if one.ispkg]
    return tuple(sorted(found, key=lambda name: (name != DEFAULT, name)))


def kind_names() -> tuple[str, ...]:
    """Return the names of all kinds: of this package, then of other packages."""
    from importlib.metadata import entry_points

    own = built_in_kinds()
    return (*own, *sorted({one.name for one in entry_points(group=GROUP)} - set(own)))
