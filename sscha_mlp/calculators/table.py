"""A reference as a TOML file: the table ``[reference]`` and what it may hold."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sscha_mlp.calculators.prepared import pseudopotential_table, sha256
from sscha_mlp.calculators.program import check_environment, resolve, split_command
from sscha_mlp.errors import ConfigError, InputError, cause_of
from sscha_mlp.resources import bundled_file
from sscha_mlp.text_files import written_text

_TABLES: Final = ("pseudopotentials", "kpoints")
"""Keys that decide a label and are named alike for all codes."""

_RUNNING: Final = ("command", "environment")
"""Keys that say how a code is run, and decide no label."""

_KEYS: Final = ("name", "factory", "parameters", *_TABLES, *_RUNNING)


@dataclass(frozen=True)
class ReferenceTable:
    """What a user says about a reference.

    Parameters
    ----------
    spec
        A built-in name, or ``package.module:factory``.
    place
        Directory to which relative paths refer: that of the file.
    parameters
        What decides a label.
    pseudopotentials
        Element -> name of a file; None where the table has none.
    kpoints
        Grid or spacing; None where the table has none.
    running
        Command and environment; they decide no label.
    """

    spec: str
    place: Path
    parameters: dict[str, Any] = field(default_factory=dict)
    pseudopotentials: Mapping[str, Any] | None = None
    kpoints: Mapping[str, Any] | None = None
    running: Mapping[str, Any] = field(default_factory=dict)

    def all_parameters(self) -> dict[str, Any]:
        """Return everything as keyword parameters of what makes the calculator."""
        tables = {name: getattr(self, name) for name in _TABLES}
        given = {name: dict(value) for name, value in tables.items() if value is not None}
        return {**self.parameters, **given, **self.running}


def find_table(spec: str | Path) -> Path:
    """Return the path of a reference file, or of the bundled one of that name."""
    path = Path(spec)
    if path.parent == Path() and not path.exists():
        try:
            return bundled_file(path.name)
        except InputError:
            return path
    return path


def read_table(path: Path) -> ReferenceTable:
    """Read a reference file.

    Raises
    ------
    ConfigError
        If it cannot be read, has unknown keys, or a key has a value of the wrong kind.
    """
    try:
        content = tomllib.loads(written_text(path))
    except FileNotFoundError as err:
        raise ConfigError(
            f"There is no reference file {path}; check its path. silicon-qe.toml, which comes with "
            "the package, is one to copy."
        ) from err
    except (OSError, ValueError, RecursionError) as err:  # not TOML, or nested too deep
        raise ConfigError(f"The reference file {path} cannot be read: {cause_of(err)}.") from err
    table = content.pop("reference", None)
    if not isinstance(table, dict):
        table = {}
    given = [table[key] for key in ("name", "factory") if key in table]
    if len(given) != 1 or not isinstance(given[0], str):
        raise ConfigError(
            f'{path} needs a table [reference] with either name = "...", a built-in name, or '
            "factory = \"...\", which may also be 'package.module:function'."
        )
    unknown = sorted([*content, *(f"reference.{key}" for key in table if key not in _KEYS)])
    if unknown:
        valid = ", ".join(f"reference.{key}" for key in _KEYS)
        raise ConfigError(f"{path} has the unknown key {', '.join(unknown)}; valid are {valid}.")
    return _checked(path, given[0], table)


def _checked(path: Path, spec: str, table: dict[str, Any]) -> ReferenceTable:
    for name in ("parameters", *_TABLES, "environment"):
        if not isinstance(table.get(name, {}), dict):
            raise ConfigError(f"{path}: reference.{name} must be a table.")
    parameters = table.get("parameters", {})
    twice = sorted(set(parameters) & set(table))
    if twice:
        raise ConfigError(
            f"{path}: {twice[0]} is in [reference] and in [reference.parameters]; give it once."
        )
    if "command" in table:
        split_command(table["command"])
    check_environment(table.get("environment", {}))
    return ReferenceTable(
        spec,
        path.resolve().parent,
        parameters,
        table.get("pseudopotentials"),
        table.get("kpoints"),
        {name: table[name] for name in _RUNNING if name in table},
    )


def pseudopotential_hashes(table: ReferenceTable) -> dict[str, str]:
    """Return element -> SHA-256 of the pseudopotential of a user's factory.

    Raises
    ------
    ConfigError
        If a file is not there; relative names refer to the directory of the reference file.
    """
    names = pseudopotential_table(table.spec, table.pseudopotentials)
    files = {element: resolve(name, table.place) for element, name in names.items()}
    for element, file in files.items():
        if not file.is_file():
            raise ConfigError(
                f"The pseudopotential of {element}, {file}, is not there; give its path, relative "
                "to the reference file."
            )
    return {element: sha256(file) for element, file in files.items()}
