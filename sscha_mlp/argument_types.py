"""Arguments of the public functions: a value of a wrong type is named before anything is done.

:func:`checked` puts the check around a function.  It compares arguments with the annotations that
the function has anyway, and lets pass what it cannot decide.
"""

import collections.abc
import enum
import errno
import inspect
import os
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from functools import cache, wraps
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar, get_args, get_origin

from sscha_mlp.errors import InputError

_NUMBERS: Final[dict[Any, str]] = {float: "iuf", int: "iu", complex: "iufc"}
_WRONG_PLACES: Final = frozenset(
    {errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP}
)
_MADE_BY: Final = {
    "a Reference": "sm.get_reference('emt')",
    "a Supercell": "sm.Supercell(crystal, (2, 2, 2))",
    "a Crystal": "sm.read_structure('POSCAR')",
    "a DynamicalMatrix": "sm.load_state or sm.read_dyn",
    "a SpaceGroup": "sm.find_space_group(supercell)",
    "a Potential": "sm.fit or sm.load",
}
"""Public functions that make what others take."""

_FEW: Final = 20
"""Elements of a sequence that are looked at."""


P = ParamSpec("P")
R = TypeVar("R")


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Return a function that refuses arguments of a wrong type.

    Raises
    ------
    InputError
        From the function that is returned: if an argument is missing, unknown, or of another type
        than its annotation says, or if a path cannot be a file or directory of this kind.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for sentence in complaints(function, args, kwargs):
            raise InputError(sentence)
        try:
            return function(*args, **kwargs)
        except OSError as err:
            if err.errno not in _WRONG_PLACES or not isinstance(err.filename, str | bytes | Path):
                raise
            name = os.fsdecode(err.filename)
            raise InputError(f"{name}: {err.strerror}; give another path.") from err
        except (LookupError, ValueError) as err:
            for sentence in shortages(err, function, args, kwargs):
                raise InputError(sentence) from err
            raise

    return call


def explained(function: Callable[P, R]) -> Callable[P, R]:
    """Return an ``__init__`` that says, where it fails, of which type an argument must be.

    Raises
    ------
    InputError
        From the function that is returned: in place of a TypeError, ValueError or AttributeError
        that an argument of a wrong type led to.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except (TypeError, ValueError, AttributeError, LookupError) as err:
            for found in (
                complaints(function, args, kwargs),
                shortages(err, function, args, kwargs),
            ):
                for sentence in found:
                    raise InputError(sentence) from err
            raise

    return call


def shortages(
    err: Exception, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Iterator[str]:
    """Yield a sentence where an argument lacks the key that was looked up, or is empty."""
    try:
        given = _declared(function)[0].bind(*args, **kwargs).arguments
    except TypeError:
        return
    called = function.__qualname__.removesuffix(".__init__")
    for name, value in given.items():
        parts = value if isinstance(value, list | tuple) else [value]
        lacking = [x for x in parts if isinstance(x, Mapping) and x.keys().isdisjoint(err.args)]
        if isinstance(err, KeyError) and lacking:
            yield (
                f"sm.{called}: {name} has no {err.args[0]!r}; give the whole content of the file "
                "or of what returns it."
            )
        elif not isinstance(err, KeyError) and getattr(value, "__len__", lambda: 1)() == 0:
            yield f"sm.{called}: {name} is empty; give at least one."


def complaints(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Iterator[str]:
    """Yield a sentence for each argument that a function, or an ``__init__``, cannot take.

    A call with too many or too few arguments is left to Python, which names them.
    """
    signature, hints = _declared(function)
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError:
        return
    called = function.__qualname__.removesuffix(".__init__")
    for name, value in bound.arguments.items():
        kind = signature.parameters[name].kind
        if kind in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL):
            continue
        if name in hints and not fits(value, hints[name]):
            yield (
                f"sm.{called}: {name} must be {in_words(hints[name])}, not "
                f"{_shown(value)}{_way_out(hints[name])}."
            )


def _way_out(hint: Any) -> str:
    """Say what makes a value of a type."""
    wanted = in_words(hint).split(" or ")
    return next((f"; {way} makes one" for name, way in _MADE_BY.items() if name in wanted), "")


@cache
def _declared(function: Callable[..., Any]) -> tuple[inspect.Signature, dict[str, Any]]:
    signature = inspect.signature(function)
    try:
        return signature, typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):  # names that only type checkers import
        plain = {k: p.annotation for k, p in signature.parameters.items()}
        return signature, {k: hint for k, hint in plain.items() if isinstance(hint, type)}


def _shown(value: object) -> str:
    """Return a value with its type, on one short line."""
    if isinstance(value, type | types.FunctionType | types.ModuleType):
        return f"the {type(value).__name__} {value.__name__}"
    text = " ".join(repr(value).split())
    return f"the {type(value).__name__} {text if len(text) <= 40 else text[:39] + '…'}"


def fits(value: Any, hint: Any) -> bool:
    """Whether a value may have a type; what cannot be decided fits."""
    origin = get_origin(hint)
    if _is_array_like(hint):
        return _holds_numbers(value)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, one) for one in get_args(hint))
    if origin is typing.Literal:
        return value in get_args(hint)
    if hint is None or hint is type(None):
        return value is None
    if _is_array(hint):
        return _holds_numbers(value)
    if origin is not None:
        return _fits_container(value, origin, get_args(hint))
    return _fits_class(value, hint) if isinstance(hint, type) else True


def _is_array(hint: Any) -> bool:
    return getattr(get_origin(hint) or hint, "__name__", "") == "ndarray"


def _is_array_like(hint: Any) -> bool:
    from numpy.typing import ArrayLike

    return bool(hint == ArrayLike)


def _holds_numbers(value: Any) -> bool:
    import numpy as np

    try:
        return np.asarray(value).dtype.kind in "biufc"
    except (TypeError, ValueError):
        return False


def _fits_container(value: Any, origin: Any, arguments: tuple[Any, ...]) -> bool:
    if origin is collections.abc.Callable:
        return callable(value)
    if not isinstance(origin, type):
        return True
    if isinstance(value, str | bytes) and arguments[:1] != (str,):
        return False
    if origin is tuple and isinstance(value, list):  # what TOML and JSON have for a tuple
        value = tuple(value)
    if _is_listed(origin) and getattr(value, "ndim", 0) == 1:
        return all(fits(one, arguments[0]) for one in value[:_FEW])
    if not isinstance(value, origin):
        return False
    listed = issubclass(origin, collections.abc.Sequence) and len(arguments) >= 1
    if not listed or (origin is tuple and arguments[-1:] != (Ellipsis,)):
        return True
    return all(fits(one, arguments[0]) for one in list(value)[:_FEW])


def _is_listed(origin: type) -> bool:
    return issubclass(origin, collections.abc.Iterable) and not issubclass(
        origin, collections.abc.Mapping
    )


def _fits_class(value: Any, hint: type) -> bool:
    if hint in _NUMBERS:
        kind = getattr(getattr(value, "dtype", None), "kind", "")
        is_number = isinstance(value, (int, hint)) and not isinstance(value, bool)
        return is_number or (getattr(value, "ndim", 1) == 0 and kind in (*_NUMBERS[hint],))
    if hint is bool:
        return isinstance(value, bool) or type(value).__name__ in ("bool", "bool_")
    if issubclass(hint, enum.StrEnum):
        return isinstance(value, str)
    if getattr(hint, "_is_protocol", False):
        wanted = [name for name in vars(hint) if not name.startswith("_")]
        return isinstance(value, type) is False and all(hasattr(value, name) for name in wanted)
    return hint is object or isinstance(value, hint)


def in_words(hint: Any) -> str:
    """Return a type in words."""
    origin, arguments = get_origin(hint), get_args(hint)
    if _is_array_like(hint):
        return "an array of numbers"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(in_words(one) for one in arguments))
    if hint is None or hint is type(None):
        return "None"
    if _is_array(hint):
        return "an array of numbers"
    if origin is typing.Literal:
        return " or ".join(map(repr, arguments))
    if origin is collections.abc.Callable:
        return "a function"
    if origin is not None:
        name = getattr(origin, "__name__", str(origin)).lower()
        inside = [in_words(one) for one in arguments if one is not Ellipsis]
        return f"a {name} of {inside[0]}" if inside and name != "generator" else f"a {name}"
    words = {float: "a number", int: "a whole number", str: "text", Path: "a path", bool: "a bool"}
    return words.get(hint, f"a {getattr(hint, '__name__', hint)}")
