"""The text of MLIP's ``.cfg`` files as it stands there: fields, columns and numbers, checked.

The meaning, such as elements and stress, is in :mod:`sscha_mlp.data.cfg`.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sscha_mlp.data.lines import Text

VOIGT: Final = ("xx", "yy", "zz", "yz", "xz", "xy")
CARTESIAN: Final = ("cartes_x", "cartes_y", "cartes_z")
DIRECT: Final = ("direct_x", "direct_y", "direct_z")
FORCES: Final = ("fx", "fy", "fz")
VECTORS: Final = {
    "initial_magmoms": ("magmom_x", "magmom_y", "magmom_z"),
    "en_der_m": ("en_der_mx", "en_der_my", "en_der_mz"),
}
SCALARS: Final = ("site_en", "charge", "nbh_grades")
_GROUPS: Final = (CARTESIAN, DIRECT, FORCES, *VECTORS.values())
_COLUMNS: Final = ("id", "type", *(one for group in _GROUPS for one in group), *SCALARS, "ghost")
_LARGEST: Final = 2**53  # beyond it, doubles are no exact whole numbers
ESCAPES: Final = ((" ", r"\_"), ("\t", r"\t"), ("\n", r"\n"), ("\r", r"\r"))


@dataclass
class Frame:
    """One configuration as it stands in the file."""

    start: int
    size: int | None = None
    cell: list[list[float]] = field(default_factory=list)
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)
    rows: list[int] = field(default_factory=list)
    energy: float | None = None
    plus_stress: dict[str, Decimal] = field(default_factory=dict)
    is_virial: bool = False
    features: dict[str, str] = field(default_factory=dict)


def read_frames(text: Text) -> Iterator[Frame]:
    """Read one configuration after the other.

    Raises
    ------
    StructureError
        If the text is damaged; the error names file and line.
    """
    while (line := text.line_or_none()) is not None:
        if line.split()[0] != "BEGIN_CFG":
            text.fail(
                f"{line.split()[0][:40]!r} where BEGIN_CFG should be; this is no text .cfg of MLIP"
            )
        frame = Frame(start=text.number)
        while (words := (line := text.line("END_CFG")).split())[0] != "END_CFG":
            if words[0] == "BEGIN_CFG":
                text.fail(f"the configuration from line {frame.start} has no END_CFG; add it")
            read = _FIELDS.get(words[0])
            if read is None:
                text.fail(f"unknown field {words[0][:40]!r}; correct it, or the Size above it")
            read(frame, text, line)
        if not frame.columns:
            text.fail("the configuration that ends here has no AtomData")
        yield frame


def _read_size(frame: Frame, text: Text, line: str) -> None:
    word = _value_of(text, line)
    if not word.isdecimal() or int(word) < 1:
        text.fail(f"Size is {word[:40]!r}; it must be the number of atoms, at least 1")
    frame.size = int(word)


def _read_energy(frame: Frame, text: Text, line: str) -> None:
    frame.energy = _number(text, "Energy", _value_of(text, line))


def _value_of(text: Text, line: str) -> str:
    """Return the one value of a field, which stands on its line or on the next."""
    words = line.split()
    return words[1] if len(words) > 1 else text.line(f"the value of {words[0]}").split()[0]


def _read_supercell(frame: Frame, text: Text, line: str) -> None:
    while len(frame.cell) < 3:
        line = text.line("a cell vector or AtomData")
        words = line.split()
        if words[0][0].isalpha() and words[0].lower() not in {"nan", "inf"}:
            text.put_back(line)
            return
        if len(words) != 3:
            text.fail(f"a vector of the Supercell has {len(words)} numbers; it needs 3")
        frame.cell.append([_number(text, "the Supercell", word) for word in words])


def _read_atoms(frame: Frame, text: Text, line: str) -> None:
    if frame.size is None:
        text.fail("AtomData comes before Size; put Size first")
    names = line.split()[1:]
    _check_columns(text, names)
    rows: list[list[str]] = []
    while len(rows) < frame.size:
        wanted = f"atom {len(rows) + 1} of {frame.size}"
        words = text.line(wanted).split()
        if len(words) != len(names):
            text.fail(
                f"{len(words)} values where {wanted} should have {len(names)}, one for each of "
                f"{', '.join(names)}; correct the line or the Size"
            )
        rows.append(words)
        frame.rows.append(text.number)
    for name, words in zip(names, map(list, zip(*rows, strict=True)), strict=True):
        frame.columns[name] = _column(text, name, words, frame.rows)


def _check_columns(text: Text, names: list[str]) -> None:
    unknown = [name for name in names if name not in _COLUMNS]
    if unknown:
        text.fail(f"unknown column {unknown[0]!r} in AtomData; MLIP has {', '.join(_COLUMNS)}")
    if len(set(names)) != len(names):
        text.fail("a column appears twice in AtomData")
    for group in _GROUPS:
        missing = [name for name in group if name not in names]
        if 0 < len(missing) < 3:
            text.fail(f"AtomData has no column {missing[0]} beside its two companions")
    if ("cartes_x" in names) == ("direct_x" in names):
        text.fail("AtomData needs positions, either cartes_x, _y, _z or direct_x, _y, _z")


def _column(text: Text, name: str, words: list[str], lines: list[int]) -> NDArray[Any]:
    if name == "ghost":
        return np.array([word == "true" for word in words])
    try:
        values = np.array(words, dtype=np.float64)
    except ValueError:
        values = np.array([_parsed(word) for word in words])
    bad = ~np.isfinite(values)
    if name in {"id", "type"}:
        bad |= (values != np.rint(values)) | (values < 0) | (values > _LARGEST)
    if bad.any():
        first = int(np.argmax(bad))
        kind = "a whole number, at least 0" if name in {"id", "type"} else "a finite number"
        text.fail(f"{name} is {words[first][:40]!r}; it must be {kind}", lines[first])
    return values.astype(np.int64) if name in {"id", "type"} else values


def _parsed(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return float("nan")


def _number(text: Text, name: str, word: str) -> float:
    value = _parsed(word)
    if not np.isfinite(value):
        text.fail(f"{name} is {word[:40]!r}; it must be a finite number")
    return value


def _read_stress(frame: Frame, text: Text, line: str) -> None:
    kind, *names = line.split()
    if kind == "Stress:":
        text.fail(
            "MLIP refuses 'Stress:' because its sign is ambiguous; write PlusStress, which is "
            "-V * stress in eV with a stress positive under tension"
        )
    if sorted(names) != sorted(VOIGT):
        text.fail(f"{kind} names {' '.join(names)}; it must name {' '.join(VOIGT)} once each")
    words = text.line(f"the six numbers of {kind}").split()
    if len(words) != 6:
        text.fail(f"{kind} has {len(words)} numbers; it needs 6")
    for name, word in zip(names, words, strict=True):
        value = _number(text, f"{kind} {name}", word)
        frame.plus_stress[name] = Decimal(word) if value else Decimal(0)
    frame.is_virial = kind == "Virial:"


def _read_feature(frame: Frame, text: Text, line: str) -> None:
    words = line.split(maxsplit=1)
    if len(words) < 2:
        text.fail("a Feature has no key; it needs a key and a value")
    key, value, *_ = [*re.split(r"\s", words[1], maxsplit=1), ""]
    for character, escaped in ESCAPES:
        key = key.replace(escaped, character)
    before = frame.features.get(key)
    frame.features[key] = value if before is None else f"{before}\n{value}"


def _read_features(frame: Frame, text: Text, line: str) -> None:
    keys = line.split()[1:]
    values = text.line("the values of Features").split()
    if len(keys) != len(values):
        text.fail(f"{len(values)} values for {len(keys)} Features; give one for each")
    frame.features.update(zip(keys, values, strict=True))


_FIELDS: Final[dict[str, Callable[[Frame, Text, str], None]]] = {
    "Size": _read_size,
    "Supercell": _read_supercell,
    "SuperCell": _read_supercell,
    "AtomData:": _read_atoms,
    "Atomic_data:": _read_atoms,
    "Energy": _read_energy,
    "PlusStress:": _read_stress,
    "Virial:": _read_stress,
    "Stress:": _read_stress,
    "Feature": _read_feature,
    "Features:": _read_features,
}
