"""Records as rows of JSON: each field is written and read by its annotation."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar, Final, Self, Union, get_args, get_origin, get_type_hints

import numpy as np

from sscha_mlp.errors import InputError
from sscha_mlp.run_files.records.older import OLD_NAMES, upgraded

Row = dict[str, Any]
"""A record as plain values of JSON."""

_SCHEMA: Final = "schema"


class Record:
    """A frozen dataclass that is one line of the journal.

    A row says its schema, for example ``sscha-mlp/population/2``.  Rows without one are of the
    first version; :mod:`.older` makes present ones of them.  Fields that a record does not know
    are left alone.
    """

    kind: ClassVar[str]
    """First part of the key in the journal."""

    version: ClassVar[int] = 2

    @property
    def name(self) -> str:
        """The rest of the key; empty where a run has one such record."""
        raise NotImplementedError

    @classmethod
    def key_of(cls, name: str | int = "") -> str:
        """Return the key of the record with a name."""
        return f"{cls.kind}/{name}" if name != "" else cls.kind

    @property
    def key(self) -> str:
        """Key in the journal."""
        return self.key_of(self.name)

    @classmethod
    def schema(cls) -> str:
        """Return what the row of a record says of its fields."""
        return f"sscha-mlp/{cls.kind}/{cls.version}"

    def to_row(self) -> Row:
        """Return the record as values of JSON, under the names of the first version as well."""
        values = fields_of(self)
        kept = {old: values[new] for old, new in OLD_NAMES.get(self.kind, {}).items()}
        return {_SCHEMA: self.schema(), **kept, **values}

    @classmethod
    def from_row(cls, row: Mapping[str, Any], name: str = "") -> Self:
        """Read a record.

        Parameters
        ----------
        row
            What :meth:`to_row` gave, of this version or an earlier one.
        name
            Of the record, which older rows do not hold.

        Raises
        ------
        InputError
            If a field is missing or of the wrong kind, or a later version wrote the row.
        """
        found = str(row.get(_SCHEMA, f"sscha-mlp/{cls.kind}/1"))
        if found != cls.schema():
            if found != f"sscha-mlp/{cls.kind}/1":
                raise InputError(
                    f"a record of the kind {cls.kind} is {found}, and this version of sscha-mlp "
                    f"knows {cls.schema()}; use the version that wrote it, or a later one"
                )
            row = upgraded(cls.kind, name, row)
        record: Self = read(cls, row)
        return record


class FileRecord:
    """A frozen dataclass that is the content of a JSON file which a verb writes."""

    verb: ClassVar[str]
    """What writes the file anew."""

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """Read the content of a file.

        Raises
        ------
        InputError
            If a field is missing or not what is written there.
        """
        found: Self = read(cls, content)
        return found

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file.

        Raises
        ------
        InputError
            If it cannot be read.
        """
        try:
            return cls.of(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, RecursionError, InputError) as err:
            raise InputError(
                f"{path} cannot be read ({err}); remove it and run sscha-mlp {cls.verb} again."
            ) from err

    def to_json(self) -> Row:
        """Return the content of the file."""
        return fields_of(self)


def fields_of(value: Any) -> Row:
    """Return the fields of a dataclass as JSON has them."""
    return {one.name: plain(getattr(value, one.name)) for one in fields(value)}


def plain(value: Any) -> Any:
    """Return a value as JSON has it; a number that is none becomes null."""
    if isinstance(value, Record):
        return value.to_row()
    if is_dataclass(value) and not isinstance(value, type):
        return fields_of(value)
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value


def read(kind: Any, value: Any) -> Any:
    """Return a value of JSON as one of an annotated type.

    Parameters
    ----------
    kind
        A dataclass, an array of floats, a tuple, a mapping, a plain type, or one of these or None.
    value
        What was stored.

    Raises
    ------
    InputError
        If the value is not of the type.
    """
    try:
        return _read(kind, value)
    except (TypeError, ValueError) as err:
        name = getattr(kind, "__name__", str(kind))
        raise InputError(f"{name} cannot be read ({err})") from err


def _read(kind: Any, value: Any) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        present = next(one for one in inner if one is not type(None))
        return None if value is None else _read(present, value)
    if is_dataclass(kind):
        return _read_fields(kind, value)
    reader = _READERS.get(origin or kind)
    return value if reader is None else reader(inner, value)


def _read_fields(kind: Any, row: Any) -> Any:
    if not isinstance(row, Mapping):
        raise TypeError(f"{kind.__name__} is {row!r}, no mapping")
    missing = [one.name for one in fields(kind) if one.name not in row and _is_required(one)]
    if missing:
        raise InputError(f"{kind.__name__} lacks {', '.join(missing)}")
    hints = _hints(kind)
    found = {}
    for one in fields(kind):
        if one.name in row:
            try:
                found[one.name] = _read(hints[one.name], row[one.name])
            except (TypeError, ValueError) as err:
                raise InputError(f"{kind.__name__}: {one.name} cannot be read ({err})") from err
    return kind(**found)


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


@cache
def _hints(kind: type) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _array(_: tuple[Any, ...], value: Any) -> Any:
    array = np.array(value, dtype=np.float64)
    array.setflags(write=False)
    return array


def _tuple(inner: tuple[Any, ...], value: Any) -> Any:
    if isinstance(value, str):
        raise TypeError(f"{value!r} is no list")
    if not inner or inner[-1] is Ellipsis:
        return tuple(_read(inner[0] if inner else Any, one) for one in value)
    return tuple(_read(one, part) for one, part in zip(inner, value, strict=True))


def _mapping(inner: tuple[Any, ...], value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise TypeError(f"{value!r} is no mapping")
    return {str(key): _read(inner[1] if inner else Any, one) for key, one in value.items()}


def _float(_: tuple[Any, ...], value: Any) -> Any:
    return math.nan if value is None else float(value)


def _exactly(kind: type) -> Callable[[tuple[Any, ...], Any], Any]:
    def reader(_: tuple[Any, ...], value: Any) -> Any:
        if not isinstance(value, kind):
            raise TypeError(f"{value!r} is not of the type {kind.__name__}")
        return value

    return reader


_READERS: Final[Mapping[Any, Callable[[tuple[Any, ...], Any], Any]]] = {
    np.ndarray: _array,
    tuple: _tuple,
    dict: _mapping,
    Mapping: _mapping,
    float: _float,
    int: _exactly(int),
    str: _exactly(str),
    bool: _exactly(bool),
}
