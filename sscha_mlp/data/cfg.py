"""Configurations in the ``.cfg`` files of MLIP-2 and MLIP-3, exact to the last digit.

A file holds atoms as types 0, 1, ...; the elements themselves are not part of the format.  This
writer adds ``Feature species Si,Ge`` (elements in the order of the types) to each configuration;
a file of another code needs ``species=`` from the caller.  ``PlusStress`` is ``-V * stress`` in eV
with ASE's sign of the stress; ``Virial`` is divided by the volume first, as MLIP does, and
``Stress``, which MLIP refuses because its sign was ambiguous, is refused here too.

``temperature`` (K), ``displacement_rms`` (Å) and ``config_type`` (the origin) are Features, under
the names that extended XYZ has.  No number is written with an exponent: some readers take none.
"""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Context, Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray

from sscha_mlp.data.attached import as_atoms, attached_labels, labelled
from sscha_mlp.data.cfg_text import (
    CARTESIAN,
    DIRECT,
    ESCAPES,
    FORCES,
    SCALARS,
    VECTORS,
    VOIGT,
    Frame,
    read_frames,
)
from sscha_mlp.data.files import write_atomic
from sscha_mlp.data.labels import LabelledConfiguration
from sscha_mlp.data.lines import Text
from sscha_mlp.errors import InputError, StructureError
from sscha_mlp.text_files import check_file

SPECIES: Final = "species"
"""Key of the Feature, and of ``atoms.info``, that lists the elements in the order of the types."""

_FULL_CELL: Final = "full_cell"  # Feature with the vectors of directions that are not periodic
_PLUS_STRESS: Final = "PlusStress"  # where it stays if there is no volume
_ESCAPED: Final = dict(ESCAPES)
_DIGITS: Final = Context(prec=21)  # more than a double has


def read_cfg(path: str | Path, *, species: Sequence[str] | None = None) -> tuple[Atoms, ...]:
    """Read configurations, labelled or not.

    Energy, forces and stress stay attached as ASE attaches them.  Columns such as ``site_en``,
    ``charge`` and ``nbh_grades`` are in ``atoms.arrays``, Features in ``atoms.info``.  Atoms are
    in the order of their ids.  ``PlusStress`` without three cell vectors cannot be a stress and
    stays in ``atoms.info`` as text.

    Parameters
    ----------
    path
        The file.
    species
        Elements in the order of the types, for files that do not say it themselves.

    Raises
    ------
    StructureError
        If the file does not exist, is damaged, or has a field that MLIP does not know.
    InputError
        If nothing says which element a type is.
    """
    given = None if species is None else check_species(species)
    path = Path(path)
    check_file(path)
    try:
        with path.open(encoding="utf-8") as stream:
            text = Text(path, stream)
            return tuple(_atoms(frame, text, given) for frame in read_frames(text))
    except UnicodeDecodeError as err:
        raise StructureError(
            f"{path} is not text; a binary .cfg must be written as text by MLIP first."
        ) from err
    except OSError as err:
        raise StructureError(f"{path} cannot be read ({err.strerror}).") from err


def read_labelled_cfg(
    path: str | Path, *, species: Sequence[str] | None = None
) -> tuple[LabelledConfiguration, ...]:
    """Read labelled configurations; see :func:`read_cfg`.

    Raises
    ------
    StructureError
        If the file cannot be read.
    InputError
        If a configuration lacks its energy, forces or stress.
    """
    frames = read_cfg(path, species=species)
    return tuple(labelled(atoms, f"Configuration {i} of {path}") for i, atoms in enumerate(frames))


def write_cfg(
    path: str | Path,
    configurations: Sequence[LabelledConfiguration | Atoms],
    *,
    species: Sequence[str] | None = None,
) -> None:
    """Write configurations, labelled or not, atomically.

    Scalars in ``atoms.info`` become Features.  The energy is the one whose derivative the forces
    are (``free_energy`` of ASE, where there is one).

    Parameters
    ----------
    path
        The file to write.
    configurations
        What to write.
    species
        Elements in the order of the types; by default :func:`species_order`.

    Raises
    ------
    InputError
        If a configuration holds an element that is not in `species`, NaN or infinity, or is
        periodic along a vector that is zero.
    SschaMlpError
        If the file cannot be written.
    """
    order = species_order(configurations) if species is None else check_species(species)
    frames = []
    for index, configuration in enumerate(configurations):
        try:
            frames.append("\n".join(_lines(as_atoms(configuration), order)) + "\n\n")
        except InputError as err:
            raise InputError(f"Configuration {index} for {path}: {err}") from err
    write_atomic(path, "".join(frames))


def species_order(configurations: Iterable[LabelledConfiguration | Atoms]) -> tuple[str, ...]:
    """Return the elements in the order of their types.

    That is the order which the files gave that the configurations were read from
    (``atoms.info["species"]``), then the order in which elements first appear, as in MLIP.
    """
    every = [as_atoms(one) for one in configurations]
    told = [symbol for one in every for symbol in _listed(one.info.get(SPECIES)) or ()]
    found = [symbol for one in every for symbol in one.get_chemical_symbols()]
    return tuple(dict.fromkeys([*told, *found]))


def check_species(species: Sequence[str]) -> tuple[str, ...]:
    """Return the elements in the order of the types.

    Raises
    ------
    InputError
        If one is not a chemical symbol or appears twice.
    """
    order = tuple(species)
    unknown = [one for one in order if one not in atomic_numbers]
    if unknown or not order or len(set(order)) != len(order):
        wrong = f"{unknown[0]!r} is no chemical symbol" if unknown else "empty or with repetitions"
        raise InputError(
            f"The species are {','.join(order)!r}: {wrong}; list each element once, in the order "
            "of the types 0, 1, ..., such as Si,Ge."
        )
    return order


# --- reading ------------------------------------------------------------------------------


def _atoms(frame: Frame, text: Text, given: Sequence[str] | None) -> Atoms:
    """Give a configuration of the file its meaning."""
    columns = frame.columns
    ids = columns.get("id", np.arange(len(frame.rows)))
    order = np.argsort(ids, kind="stable")
    if len(np.unique(ids)) != len(ids):
        twice = int(np.argmax(np.bincount(np.unique(ids, return_inverse=True)[1])))
        text.fail(f"the id {np.unique(ids)[twice]} appears twice in AtomData", frame.rows[0])
    info = {key: _meaning(value) for key, value in frame.features.items()}
    types = columns.get("type", np.zeros(len(ids), dtype=np.int64))
    species = _species(frame, text, types, given)
    cell, pbc = _cell(frame, info)
    atoms = Atoms(
        [species[one] for one in types[order]],
        positions=_positions(frame, text, cell, pbc)[order],
        cell=cell,
        pbc=pbc,
        info=info | {SPECIES: ",".join(species)},
    )
    for name in (*SCALARS, "ghost"):
        if name in columns:
            atoms.set_array(name, columns[name][order])
    for name, group in VECTORS.items():
        if group[0] in columns:
            atoms.set_array(name, _collinear(_joined(columns, group)[order], name))
    _attach(atoms, frame, text, order)
    return atoms


def _meaning(value: str) -> str | int | float | bool:
    """Return the number that a Feature is, or its text."""
    value = value.strip()
    if value in {"True", "False"}:
        return value == "True"
    for kind in (int, float):
        try:
            number = kind(value)
        except ValueError:
            continue
        if str(number) == value or (kind is float and "." in value and np.isfinite(number)):
            return number
    return value


def _species(
    frame: Frame, text: Text, types: NDArray[np.int64], given: Sequence[str] | None
) -> Sequence[str]:
    told = frame.features.get(SPECIES)
    listed = _listed(told)
    if told is not None and not listed:
        text.fail(f"the Feature species is {told!r}; it must list elements, such as Si,Ge")
    species = listed or given
    n_types = int(types.max()) + 1
    if species is None:
        raise InputError(
            f"{text.path}, line {frame.start}: the configuration has atoms of type "
            f"{', '.join(map(str, np.unique(types)))} and nothing says which elements these are; "
            "give the species in the order of the types, such as Si,Ge."
        )
    if n_types > len(species):
        raise InputError(
            f"{text.path}, line {frame.start}: the configuration has atoms of type {n_types - 1}, "
            f"but the species {','.join(species)} end at type {len(species) - 1}; list all of them."
        )
    return species


def _listed(value: Any) -> tuple[str, ...] | None:
    """Return the elements of a comma-separated list, or None if it is none."""
    species = tuple(one.strip() for one in value.split(",")) if isinstance(value, str) else ()
    known = species and all(one in atomic_numbers for one in species)
    return species if known and len(set(species)) == len(species) else None


def _cell(frame: Frame, info: dict[str, Any]) -> tuple[NDArray[np.float64], list[bool]]:
    """Return the cell and which of its directions are periodic: those in the Supercell."""
    cell = np.zeros((3, 3))
    cell[: len(frame.cell)] = np.reshape(frame.cell, (-1, 3))
    pbc = [bool(vector.any()) for vector in cell]
    words = str(info.get(_FULL_CELL, "")).split(",")
    if len(words) == 9:
        try:
            full = np.array(words, dtype=np.float64).reshape(3, 3)
        except ValueError:
            return cell, pbc
        if np.array_equal(full[pbc], cell[pbc]) and np.isfinite(full).all():
            del info[_FULL_CELL]
            return full, pbc
    return cell, pbc


def _positions(
    frame: Frame, text: Text, cell: NDArray[np.float64], pbc: Sequence[bool]
) -> NDArray[np.float64]:
    if CARTESIAN[0] in frame.columns:
        return _joined(frame.columns, CARTESIAN)
    if not all(pbc):
        text.fail("direct coordinates need a Supercell of three vectors", frame.start)
    return _joined(frame.columns, DIRECT) @ cell


def _joined(columns: dict[str, NDArray[Any]], names: Sequence[str]) -> NDArray[Any]:
    return np.stack([columns[name] for name in names], axis=1)


def _collinear(vectors: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """Return magnetic moments along z as ASE has them, one number for each atom."""
    if name == "initial_magmoms" and not vectors[:, :2].any():
        return vectors[:, 2].copy()
    return vectors


def _attach(atoms: Atoms, frame: Frame, text: Text, order: NDArray[np.int64]) -> None:
    results: dict[str, Any] = {}
    if frame.energy is not None:
        results["energy"] = frame.energy
    if FORCES[0] in frame.columns:
        results["forces"] = _joined(frame.columns, FORCES)[order]
    if frame.plus_stress and _volume(atoms) > 0:
        results["stress"] = _stress(frame, _volume(atoms))
    elif frame.plus_stress:
        if all(atoms.pbc) or frame.is_virial:
            text.fail("the cell has no volume, so a stress cannot be read", frame.start)
        atoms.info[_PLUS_STRESS] = " ".join(str(frame.plus_stress[name]) for name in VOIGT)
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)


def _stress(frame: Frame, volume: Fraction) -> NDArray[np.float64]:
    """Return the stress of ASE, -PlusStress / V, where PlusStress = Virial / V."""
    divisor = volume**2 if frame.is_virial else volume
    return np.array([-float(Fraction(frame.plus_stress[name]) / divisor) for name in VOIGT])


def _volume(atoms: Atoms) -> Fraction:
    """Return the volume without rounding, so that a stress comes back as it was."""
    a, b, c = ([Fraction(one) for one in vector] for vector in atoms.cell.array.tolist())
    cross = [b[i - 2] * c[i - 1] - b[i - 1] * c[i - 2] for i in range(3)]
    return abs(sum((x * y for x, y in zip(a, cross, strict=True)), Fraction()))


# --- writing ------------------------------------------------------------------------------


def _lines(atoms: Atoms, species: Sequence[str]) -> Iterator[str]:
    labels = attached_labels(atoms)
    cell = _finite("cell", atoms.cell.array)
    if not cell[atoms.pbc].any(axis=1).all():
        raise InputError("it is periodic along a cell vector that is zero; set the cell.")
    yield "BEGIN_CFG"
    yield " Size"
    yield f"    {len(atoms)}"
    yield from _supercell_lines(atoms)
    yield from _atom_lines(atoms, species, labels.get("forces"))
    if "energy" in labels:
        yield " Energy"
        yield f"    {_written(_finite('energy', labels['energy']))}"
    if "stress" in labels and _volume(atoms) > 0:
        yield f" PlusStress:  {'  '.join(VOIGT)}"
        yield f"    {_plus_stress(_finite('stress', labels['stress']), _volume(atoms))}"
    yield from _feature_lines(atoms, species)
    yield "END_CFG"


def _supercell_lines(atoms: Atoms) -> Iterator[str]:
    if atoms.pbc.any():
        yield " Supercell"
        for vector, periodic in zip(atoms.cell.array, atoms.pbc, strict=True):
            yield "    " + " ".join(_written(one) if periodic else "0.0" for one in vector)


def _atom_lines(
    atoms: Atoms, species: Sequence[str], forces: NDArray[np.float64] | None
) -> Iterator[str]:
    symbols = atoms.get_chemical_symbols()
    missing = sorted(set(symbols).difference(species))
    if missing:
        raise InputError(
            f"it holds {', '.join(missing)}, which the species {','.join(species)} do not list; "
            "add them at the end."
        )
    columns = list(_columns(atoms, forces))
    yield f" AtomData:  id type  {'  '.join(name for names, _ in columns for name in names)}"
    table = np.column_stack([values for _, values in columns])
    for i, (symbol, row) in enumerate(zip(symbols, table.tolist(), strict=True)):
        numbers = " ".join(_written(one) for one in row)
        yield f"    {i + 1} {species.index(symbol)} {numbers}"


def _columns(
    atoms: Atoms, forces: NDArray[np.float64] | None
) -> Iterator[tuple[Sequence[str], NDArray[np.float64]]]:
    """Yield names and numbers of the columns, in MLIP's order."""
    yield CARTESIAN, _finite("positions", atoms.positions)
    for name in ("site_en", "forces", "charge", *VECTORS, "nbh_grades"):
        values = forces if name == "forces" else atoms.arrays.get(name)
        names = FORCES if name == "forces" else VECTORS.get(name, (name,))
        if values is None:
            continue
        values = _finite(name, values)
        if name == "initial_magmoms" and values.ndim == 1:
            values = np.outer(values, [0.0, 0.0, 1.0])
        if values.size == len(atoms) * len(names):
            yield names, values


def _finite(name: str, values: Any) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise InputError(f"the {name} holds NaN or infinity, which MLIP does not read.")
    return array


def _written(value: Any) -> str:
    """Return a number with all its digits and without an exponent."""
    text = repr(float(value))
    return np.format_float_positional(float(value), trim="0") if "e" in text else text


def _plus_stress(stress: NDArray[np.float64], volume: Fraction) -> str:
    voigt = full_3x3_to_voigt_6_stress(stress).tolist()
    exact = [-Fraction(one) * volume for one in voigt]
    decimals = [_DIGITS.divide(Decimal(one.numerator), Decimal(one.denominator)) for one in exact]
    return " ".join(f"{one:f}" for one in decimals)


def _feature_lines(atoms: Atoms, species: Sequence[str]) -> Iterator[str]:
    features = {SPECIES: ",".join(species)}
    if not atoms.pbc.all() and atoms.cell.array[~atoms.pbc].any():
        features[_FULL_CELL] = ",".join(map(_written, atoms.cell.array.ravel()))
    for key, value in atoms.info.items():
        text = _feature(value)
        if text is not None and str(key) and str(key) not in features:
            features[str(key)] = text
    for key, text in features.items():
        escaped = "".join(_ESCAPED.get(character, character) for character in key)
        for line in text.split("\n"):
            yield f" Feature   {escaped}\t{line}"


def _feature(value: Any) -> str | None:
    """Return a scalar as text, or None for what a Feature cannot hold."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, bool | int):
        return str(value)
    if isinstance(value, float):
        return _written(value) if np.isfinite(value) else str(value)
    return value if isinstance(value, str) and value.strip() and "\r" not in value else None
