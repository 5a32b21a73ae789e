"""What the table of a command-line code is turned into before anything runs."""

import difflib
import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase.data import atomic_numbers

from sscha_mlp.errors import ConfigError, cause_of


@dataclass(frozen=True)
class Prepared:
    """A calculator of a command-line code, all of it checked.

    Parameters
    ----------
    factory
        Makes the calculator from ``parameters``; picklable.
    parameters
        Keyword arguments of the factory.
    settings
        All that decides a label, as plain values.
    elements
        Those that there is a pseudopotential for.
    """

    factory: Callable[..., Any]
    parameters: Mapping[str, Any]
    settings: Mapping[str, Any]
    elements: tuple[str, ...]


def refuse_unknown(code: str, given: Mapping[str, Any], valid: Collection[str]) -> None:
    """Refuse a table with keys that a code does not have.

    Raises
    ------
    ConfigError
        If there are any.
    """
    unknown = sorted(set(given) - set(valid))
    if unknown:
        raise ConfigError(
            f"The reference {code!r} has no parameter {', '.join(unknown)}."
            f"{suggestion(unknown[0], valid)} "
            f"Valid parameters: {', '.join(valid)}."
        )


def suggestion(word: str, valid: Collection[str]) -> str:
    """Return a sentence with the word that was probably meant, or nothing."""
    close = difflib.get_close_matches(word, valid, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def positive(name: str, value: Any, unit: str) -> float:
    """Return a positive number.

    Raises
    ------
    ConfigError
        If it is none.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0.0 < value < float("inf"):
        raise ConfigError(f"{name} is {value!r}; it must be a positive number, in {unit}.")
    return float(value)


def text(name: str, value: Any) -> str:
    """Return a text that is not empty.

    Raises
    ------
    ConfigError
        If it is none.
    """
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{name} is {value!r}; it must be a text.")
    return value


def plain_table(name: str, value: Any) -> dict[str, Any]:
    """Return a table of texts, numbers and truth values, as input files of codes have them.

    Raises
    ------
    ConfigError
        If it is no table, or a value could end the line that it stands in.
    """
    if not isinstance(value, Mapping):
        raise ConfigError(f"{name} is {value!r}; it must be a table.")
    for key, one in value.items():
        parts = one if isinstance(one, list) else [one]
        if not all(isinstance(part, str | int | float) for part in parts):
            raise ConfigError(f"{name}.{key} is {one!r}; it must be a text, a number or a list.")
        if any(set(f"{part}") & set("\n\r\0'\"") for part in parts):
            raise ConfigError(f"{name}.{key} has a quotation mark or a line break in it: {one!r}.")
    return dict(value)


def pseudopotential_table(code: str, value: Any) -> dict[str, str]:
    """Return element -> what names its pseudopotential, sorted by symbol.

    Raises
    ------
    ConfigError
        If it is missing, empty, or has a key that is no element.
    """
    if not isinstance(value, Mapping) or not value:
        raise ConfigError(
            f"The reference {code!r} needs a table pseudopotentials with an entry for each "
            "element; docs/references.md has an example."
        )
    for element, name in value.items():
        if atomic_numbers.get(element, 0) < 1:
            raise ConfigError(f"pseudopotentials.{element}: there is no element {element!r}.")
        text(f"pseudopotentials.{element}", name)
    return dict(sorted(value.items()))


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file's content.

    Raises
    ------
    ConfigError
        If it cannot be read.
    """
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as err:
        raise ConfigError(f"The file {file} cannot be read: {cause_of(err)}.") from err
