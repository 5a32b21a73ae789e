"""Numbers with errors, and the reading of plain values from JSON with a sentence when it fails."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sscha_mlp.errors import InputError


@dataclass(frozen=True)
class Value:
    """A number with its standard error.

    Parameters
    ----------
    value
        The number, finite.
    stderr
        One standard error in the same unit, at least 0.
    """

    value: float
    stderr: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no number with an error.

        Raises
        ------
        InputError
            If one of the two is not finite, or the error is negative.
        """
        if not (math.isfinite(self.value) and math.isfinite(self.stderr) and self.stderr >= 0.0):
            raise InputError(
                f"{self.value} ± {self.stderr} is not a finite number with an error of at least 0."
            )

    def to_json(self) -> dict[str, float]:
        """Return plain values."""
        return {"value": float(self.value), "stderr": float(self.stderr)}


@dataclass(frozen=True)
class Fields:
    """Plain values of a file, read by name.

    Parameters
    ----------
    content
        What the file holds.
    where
        What it is, for the sentence when a field is not what it should be.
    """

    content: Mapping[str, Any]
    where: str

    @classmethod
    def of(cls, content: Any, where: str) -> "Fields":
        """Return the fields of a mapping.

        Raises
        ------
        InputError
            If it is none.
        """
        if not isinstance(content, Mapping):
            raise InputError(f"{where} should be a table of named values, not {_short(content)}.")
        return cls(content, where)

    def has(self, name: str) -> bool:
        """Return whether a field is there and not null."""
        return self.content.get(name) is not None

    def inner(self, name: str) -> "Fields":
        """Return the fields of a field."""
        return Fields.of(self._get(name), f"{self.where}, {name}")

    def number(self, name: str) -> float:
        """Return a finite number."""
        return self._number(self._get(name), name)

    def numbers(self, name: str, count: int | None = None) -> tuple[float, ...]:
        """Return finite numbers, as many as `count` says where it is given."""
        return tuple(self._number(one, name) for one in self.items(name, count))

    def integer(self, name: str) -> int:
        """Return a whole number."""
        found = self._get(name)
        if isinstance(found, bool) or not isinstance(found, int):
            raise self._wrong(name, found, "a whole number")
        return found

    def integers(self, name: str, count: int) -> tuple[int, ...]:
        """Return that many whole numbers."""
        found = self.items(name, count)
        if any(isinstance(one, bool) or not isinstance(one, int) for one in found):
            raise self._wrong(name, found, f"{count} whole numbers")
        return tuple(found)

    def text(self, name: str) -> str:
        """Return a text."""
        found = self._get(name)
        if not isinstance(found, str):
            raise self._wrong(name, found, "a text")
        return found

    def flag(self, name: str) -> bool:
        """Return true or false."""
        found = self._get(name)
        if not isinstance(found, bool):
            raise self._wrong(name, found, "true or false")
        return found

    def value(self, name: str) -> Value:
        """Return a number with its error."""
        return value_of(self._get(name), f"{self.where}, {name}")

    def optional_value(self, name: str) -> Value | None:
        """Return a number with its error, or None where there is none."""
        return self.value(name) if self.has(name) else None

    def items(self, name: str, count: int | None = None) -> list[Any]:
        """Return a list, of that length where `count` is given."""
        found = self._get(name)
        if not isinstance(found, list) or count not in {None, len(found)}:
            raise self._wrong(name, found, "a list" if count is None else f"a list of {count}")
        return found

    def _get(self, name: str) -> Any:
        if name not in self.content:
            raise InputError(f"{self.where} has no {name!r}.")
        return self.content[name]

    def _number(self, found: Any, name: str) -> float:
        is_number = isinstance(found, int | float) and not isinstance(found, bool)
        if not is_number or not math.isfinite(found):
            raise self._wrong(name, found, "a finite number")
        return float(found)

    def _wrong(self, name: str, found: Any, wanted: str) -> InputError:
        return InputError(f"{self.where}, {name!r} should be {wanted}, not {_short(found)}.")


def value_of(content: Any, where: str) -> Value:
    """Return a number with its error from plain values.

    Raises
    ------
    InputError
        If it is none.
    """
    fields = Fields.of(content, where)
    number, stderr = fields.number("value"), fields.number("stderr")
    if stderr < 0.0:
        raise InputError(f"{where}: the standard error {stderr:g} is negative.")
    return Value(number, stderr)


def _short(found: Any) -> str:
    text = repr(found)
    return text if len(text) <= 40 else f"{text[:37]}..."
