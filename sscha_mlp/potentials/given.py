"""Checks that the settings of every kind of potential share; errors name the kind."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from sscha_mlp.errors import ConfigError


def known_settings(
    settings: type[Any], values: Mapping[str, Any] | None, kind: str
) -> dict[str, Any]:
    """Return given values if they are all fields of a dataclass of settings.

    Raises
    ------
    ConfigError
        If a key is unknown.
    """
    values = dict(values or {})
    known = [field.name for field in fields(settings)]
    unknown = sorted(str(key) for key in values if key not in known)
    if unknown:
        raise ConfigError(
            f"Unknown {kind} setting {', '.join(unknown)}; the known ones are: {', '.join(known)}."
        )
    return values


def require_integer(kind: str, name: str, value: object, least: int) -> None:
    """Check that a setting is an integer of at least `least`.

    Raises
    ------
    ConfigError
        If it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(
            f"{kind} setting {name} = {value!r} must be an integer of at least {least}."
        )


def require_choice(kind: str, name: str, value: object, choices: tuple[str, ...]) -> None:
    """Check that a setting is one of some words.

    Raises
    ------
    ConfigError
        If it is not.
    """
    if value not in choices:
        raise ConfigError(
            f"{kind} setting {name} = {value!r} must be one of: {', '.join(choices)}."
        )
