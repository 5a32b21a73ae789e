"""Objects of Python that a user names: ``package.module:name``."""

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sscha_mlp.errors import ConfigError
from sscha_mlp.parallel.outcome import describe_exception


def import_object(spec: str, *, what: str, places: Sequence[Path] = ()) -> Any:
    """Import ``module:name``, where the name may have dots.

    Parameters
    ----------
    spec
        What the user wrote.
    what
        What it is asked for, for the error: "The reference", for example.
    places
        Directories in which the module may lie as well; they go to the front of the search path
        and stay there.

    Raises
    ------
    ConfigError
        If there is no such module or name, or the module fails when it is imported.
    """
    module_name, _, attribute = spec.partition(":")
    for place in reversed(places):
        if str(place) not in sys.path:
            sys.path.insert(0, str(place))
    importlib.invalidate_caches()
    try:
        value: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            value = getattr(value, part)
    except AttributeError as err:
        raise ConfigError(f"{what} {spec!r}: {err}.") from err
    except Exception as err:
        looked = f"{places[0]} and the Python path" if places else "the Python path"
        raise ConfigError(
            f"{what} {spec!r}: the module {module_name!r} cannot be imported "
            f"({describe_exception(err)}); looked in {looked}."
        ) from err
    return value


def later(spec: str) -> Callable[..., Any]:
    """Return a function that imports ``module:name`` when it is called, and calls that.

    Whoever names a function so does not import what the module needs.
    """
    module_name, _, attribute = spec.partition(":")

    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module(module_name), attribute)(*args, **kwargs)

    call.__qualname__ = call.__name__ = attribute
    call.__doc__ = f"See ``{spec}``."
    return call
