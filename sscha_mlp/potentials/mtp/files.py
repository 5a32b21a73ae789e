"""MTPs in the text format of MLIP, which LAMMPS, MLIP-2, MLIP-3 and motep read.

The format (``.mtp``, and the first part of ``.almtp``) is a line ``MTP``, then in a fixed order
lines ``name = value``, and between them the radial coefficients, one line per radial function under
a heading ``s-t`` per pair of types.  It has no place for the elements.  They are written as
``potential_tag = species:Si,Ge``, a single word in a field that MLIP skips and that the others take
as any text.  MLIP itself empties the tag when it saves: then the caller must say the species.

MLIP-3, motep 0.2 and LAMMPS (pair style ``mtp`` of ML-MTP) read what is written here, with one and
two species, and give the same energies to 1e-12 eV.  That pair style sizes its buffer for lines
after the number of products: it takes no level below 6, and not more than 40 polynomials.

The file holds the formula alone.  Nearer than ``min_dist`` other codes continue the polynomials,
which soon explode; what the engine here does instead, they do not.

:mod:`sscha_mlp.potentials.mtp.almtp` adds the active set.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
from ase.data import atomic_masses, atomic_numbers, chemical_symbols
from numpy.typing import NDArray

from sscha_mlp.data.files import write_atomic
from sscha_mlp.errors import InputError, ModelError
from sscha_mlp.potentials.mtp.parameters import FloatArray, Parameters
from sscha_mlp.potentials.mtp.template import Template

VERSION: Final = "1.1.0"
RADIAL_BASIS: Final = "RBChebyshev"
SELECTION_MARK: Final = b"#MVS"

Species = Sequence[str | int]
"""Chemical symbols or atomic numbers, by type."""

_NAME: Final = "sscha-mlp"
_TAG: Final = "species:"
_SECTION: Final = "radial_basis_type"

# Names of the same field: of MLIP-3 for other bases, and of motep 0.2.
_ALIASES: Final = {
    "min_val": "min_dist",
    "min": "min_dist",
    "max_val": "max_dist",
    "max": "max_dist",
    "basis_size": "radial_basis_size",
    "size": "radial_basis_size",
}
_LABEL: Final = re.compile(r"(\d+)-(\d+)")
_LIST: Final = re.compile(r"\{[^A-DF-Za-df-z_#=]*\}")


def read_mtp(path: str | Path, species: Species | None = None) -> Parameters:
    """Read a fitted MTP from a ``.mtp`` file, or the potential of an ``.almtp`` file.

    Parameters
    ----------
    path
        The file.
    species
        Chemical symbols or atomic numbers by type, for a file that does not say them.

    Raises
    ------
    ModelError
        If the file is missing, damaged, not fitted or of another kind of MTP, or if the species
        are unknown or contradict the file.
    """
    raw = _read_raw(Path(path))
    template = _template(raw)
    fitted = ("species_count", "species_coeffs", "moment_coeffs")
    if not raw.pairs or any(name not in raw.fields for name in fitted):
        raise raw.problem("it has no coefficients: it is a template that was not fitted yet")
    numbers = _species(raw, species)
    scaling = 1.0
    for name in ("scaling", "basis_scaling"):  # MLIP multiplies them
        scaling *= raw.number(name) if name in raw.fields else 1.0
    if not 0.0 < scaling < np.inf:
        raise raw.problem(f"scaling is {scaling}, not a positive number")
    try:
        return Parameters(
            template=template,
            species=numbers,
            min_dist=raw.number("min_dist"),
            max_dist=raw.number("max_dist"),
            radial_coeffs=_radial_coeffs(raw, template),
            species_coeffs=raw.numbers("species_coeffs", len(numbers)),
            moment_coeffs=raw.numbers("moment_coeffs", template.n_scalars),
            scaling=scaling,
        )
    except ModelError as err:
        raise _in_file(raw.path, err) from err


def read_template(path: str | Path) -> Template:
    """Read only the list of moments, from a fitted file or one that is not fitted.

    Raises
    ------
    ModelError
        If the file is missing, damaged, or of another kind of MTP.
    """
    return _template(_read_raw(Path(path)))


def write_mtp(path: str | Path, parameters: Parameters) -> None:
    """Write an MTP as a ``.mtp`` file, in one step; every number is exact.

    Raises
    ------
    SschaMlpError
        If the file cannot be written.
    """
    write_atomic(path, format_mtp(parameters))


def format_mtp(parameters: Parameters) -> str:
    """Return an MTP as the text of a ``.mtp`` file."""
    template = parameters.template
    lines = [
        "MTP",
        f"version = {VERSION}",
        f"potential_name = {_NAME}",
        f"scaling = {_format(parameters.scaling)}",
        f"species_count = {len(parameters.species)}",
        f"potential_tag = {_TAG}{','.join(parameters.elements)}",
        f"{_SECTION} = {RADIAL_BASIS}",
        f"\tmin_dist = {_format(parameters.min_dist)}",
        f"\tmax_dist = {_format(parameters.max_dist)}",
        f"\tradial_basis_size = {parameters.n_polynomials}",
        f"\tradial_funcs_count = {template.n_radial}",
        "\tradial_coeffs",
        *_format_radial(parameters.radial_coeffs),
        f"alpha_moments_count = {template.n_moments}",
        f"alpha_index_basic_count = {template.n_basic}",
        f"alpha_index_basic = {_format(template.basic)}",
        f"alpha_index_times_count = {len(template.products)}",
        f"alpha_index_times = {_format(template.products)}",
        f"alpha_scalar_moments = {template.n_scalars}",
        f"alpha_moment_mapping = {_format(template.scalars)}",
        f"species_coeffs = {_format(parameters.species_coeffs)}",
        f"moment_coeffs = {_format(parameters.moment_coeffs)}",
    ]
    return "\n".join(lines) + "\n"


def lammps_snippet(path: str | Path, parameters: Parameters) -> str:
    """Return the lines of a LAMMPS input that use an MTP file.

    LAMMPS has no MTP of its own.  The lines in use are those of the interface of MLIP-3; those of
    the package ML-MTP, whose syntax changed, follow as comments.  In all three, LAMMPS type i is
    the i-th species of the file, and ``newton on`` is needed.

    Parameters
    ----------
    path
        The ``.mtp`` or ``.almtp`` file, as LAMMPS is to find it.
    parameters
        What is in it.

    Raises
    ------
    InputError
        If the path has a character that means something else in a LAMMPS input.
    """
    file = str(path)
    if re.search(r"""[\s#$&"'=]""", file):
        raise InputError(
            f"LAMMPS would misread the path {file!r}: use one without blanks, quotes, "
            "#, $, & and =."
        )
    types = list(enumerate(zip(parameters.species, parameters.elements, strict=True), start=1))
    lines = [
        "units metal",
        "atom_style atomic",
        "newton on",
        "",
        f"# here the box: read_data or create_box, with {len(types)} atom types",
        "# atom types: " + ", ".join(f"{i} = {symbol}" for i, (_, symbol) in types),
        *(f"mass {i} {float(atomic_masses[number])!r}" for i, (number, _) in types),
        "",
        f"# for distances from {parameters.min_dist:.3f} Angstrom on: nearer, LAMMPS continues",
        "# the polynomials, without the repulsion that sscha-mlp adds",
        "",
        "# MLIP-3 (interface-lammps-mlip-3)",
        f"pair_style mlip load_from={file}",
        "pair_coeff * *",
        "",
        "# ML-MTP (lammps-mtp-kokkos)",
        f"# pair_style mtp {file}",
        "# pair_coeff * *",
        "# ML-MTP, newer versions, where the types of the MTP count from 0",
        "# pair_style mtp",
        f"# pair_coeff * * {file} " + " ".join(str(i - 1) for i, _ in types),
    ]
    return "\n".join(lines) + "\n"


# ------------------------------------------------------------------------------------ writing


def _format(value: Any) -> str:
    """Return a number, or nested braces of numbers; 17 digits make a float exact."""
    array = np.asarray(value)
    if array.ndim:
        return "{" + ", ".join(_format(one) for one in array) + "}"
    return f"{float(array):.16e}" if array.dtype.kind == "f" else f"{int(array)}"


def _format_radial(coefficients: FloatArray) -> Iterable[str]:
    n_species = len(coefficients)
    for s, t in product(range(n_species), repeat=2):
        yield f"\t\t{s}-{t}"
        for row in coefficients[s, t]:
            yield f"\t\t\t{_format(row)}"


# ------------------------------------------------------------------------------------ reading


@dataclass(frozen=True)
class _Raw:
    """A file taken apart: values and radial coefficients as they stand there."""

    path: Path
    fields: Mapping[str, str]
    pairs: Mapping[str, Sequence[str]]  # "s-t" to one line per radial function

    def problem(self, what: str) -> ModelError:
        return problem(self.path, what)

    def text(self, name: str) -> str:
        if name not in self.fields:
            raise self.problem(f"{name} is missing, so the file is incomplete")
        return self.fields[name]

    def number(self, name: str) -> float:
        text = self.text(name)
        try:
            return float(text)
        except ValueError as err:
            raise self.problem(f"{name} is {_short(text)}, not a number") from err

    def count(self, name: str, least: int = 0) -> int:
        text = self.text(name)
        if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < least:
            raise self.problem(f"{name} is {_short(text)}, not a count of at least {least}")
        return int(text)

    def numbers(self, name: str, n: int) -> FloatArray:
        return np.array(self.values(name, self.text(name), float, n), dtype=np.float64)

    def integers(self, name: str, n: int) -> NDArray[np.int64]:
        return np.array(self.values(name, self.text(name), int, n), dtype=np.int64)

    def values(self, name: str, text: str, kind: type[int | float], n: int) -> list[Any]:
        """Return the n numbers in braces."""
        if not _LIST.fullmatch(text):
            raise self.problem(f"{name} is {_short(text)}, not a list of numbers in braces")
        words = re.sub(r"[{},]", " ", text).split()
        if len(words) != n:
            raise self.problem(f"{name} has {len(words)} numbers where {n} belong")
        try:
            found = [kind(word) for word in words]
        except ValueError as err:
            raise self.problem(f"{name} holds what is not a number: {_short(text)}") from err
        if any(abs(value) > np.iinfo(np.int32).max for value in found if kind is int):
            raise self.problem(f"{name} holds an index that is too large")
        return found


def problem(path: Path, what: str) -> ModelError:
    """Return the error about a file that cannot be used as an MTP."""
    return ModelError(f"{path} cannot be used as an MTP: {what}. Give another file.")


def read_bytes(path: Path) -> bytes:
    """Return the content of a file.

    Raises
    ------
    ModelError
        If it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as err:
        raise problem(path, f"it cannot be read ({err.strerror or err})") from err


def _read_raw(path: Path) -> _Raw:
    text = read_bytes(path).split(SELECTION_MARK, maxsplit=1)[0]
    try:
        lines = text.decode("ascii").split("\n")
        while len(lines) > 1 and lines[0].startswith("#"):  # as in the library of LAMMPS
            del lines[0]
    except UnicodeDecodeError as err:
        raise problem(path, "it is not a text file") from err
    if lines[0].strip() != "MTP":
        raise problem(path, f"its first line is {_short(lines[0])}, not 'MTP'")
    raw = _take_apart(path, lines)
    if raw.text("version") != VERSION:
        raise raw.problem(f"version {_short(raw.fields['version'])} is unknown, not {VERSION}")
    if raw.text(_SECTION) != RADIAL_BASIS:
        raise raw.problem(
            f"its radial basis is {_short(raw.fields[_SECTION])}; only {RADIAL_BASIS} is supported"
        )
    return raw


def _take_apart(path: Path, lines: Sequence[str]) -> _Raw:
    fields: dict[str, str] = {}
    pairs: dict[str, list[str]] = {}
    rows: list[str] | None = None
    for line in (full.strip() for full in lines[1:]):
        name, equals, value = (part.strip() for part in line.partition("="))
        if equals:
            name = _field_name(path, name, fields)
            fields[name] = value
        elif _LABEL.fullmatch(line):
            if line in pairs:
                raise problem(path, f"the radial coefficients {line} stand there twice")
            rows = pairs[line] = []
        elif line.startswith("{") and rows is not None:
            rows.append(line)
        elif line not in {"", "radial_coeffs"}:
            raise problem(path, f"the line {_short(line)} is not understood")
    return _Raw(path, fields, pairs)


def _field_name(path: Path, name: str, fields: Mapping[str, str]) -> str:
    """Return the name of a field that has several, after a look at what may not be."""
    if name.startswith("magnetic_basis"):
        raise problem(path, "it is a magnetic MTP, which is not supported")
    name = _ALIASES.get(name, name)
    if name == "scaling" and _SECTION in fields:
        name = "basis_scaling"
    if name in fields:
        raise problem(path, f"{_short(name)} stands there twice")
    return name


def _template(raw: _Raw) -> Template:
    n_basic = raw.count("alpha_index_basic_count", least=1)
    n_products = raw.count("alpha_index_times_count")
    n_moments = raw.count("alpha_moments_count", least=1)
    if n_moments > n_basic + n_products:
        raise raw.problem(
            f"alpha_moments_count is {n_moments}, more than {n_basic} basic moments and "
            f"{n_products} products can make"
        )
    n_scalars = raw.count("alpha_scalar_moments", least=1)
    try:
        template = Template(
            basic=raw.integers("alpha_index_basic", 4 * n_basic),
            products=raw.integers("alpha_index_times", 4 * n_products),
            scalars=raw.integers("alpha_moment_mapping", n_scalars),
            n_moments=n_moments,
        )
    except ModelError as err:
        raise _in_file(raw.path, err) from err
    if raw.count("radial_funcs_count") != template.n_radial:
        raise raw.problem(
            f"radial_funcs_count is {raw.fields['radial_funcs_count']}, but alpha_index_basic "
            f"names {template.n_radial} radial functions"
        )
    return template


def _radial_coeffs(raw: _Raw, template: Template) -> FloatArray:
    """Return the coefficients; the headings must run through all pairs of types in order."""
    n_species = raw.count("species_count", least=1)
    n_radial, size = template.n_radial, raw.count("radial_basis_size", least=1)
    types = _types(raw)
    expected = [f"{s}-{t}" for s, t in product(types, repeat=2)]
    if len(types) != n_species or list(raw.pairs) != expected:
        raise raw.problem(
            f"its radial coefficients are for the pairs {_short(' '.join(raw.pairs))}, which are "
            f"not all pairs of {n_species} types in order"
        )
    numbers: list[float] = []
    for pair, rows in raw.pairs.items():
        if len(rows) != n_radial:
            raise raw.problem(
                f"the pair {pair} has {len(rows)} lines of radial coefficients where "
                f"{n_radial} belong"
            )
        for row in rows:
            numbers += raw.values(f"the radial coefficients of {pair}", row, float, size)
    return np.array(numbers).reshape(n_species, n_species, n_radial, size)


def _types(raw: _Raw) -> list[str]:
    """Return the labels of the types in the order in which they first appear."""
    return list(dict.fromkeys(label for pair in raw.pairs for label in pair.split("-")))


# ------------------------------------------------------------------------------------ species


def _species(raw: _Raw, given: Species | None) -> tuple[int, ...]:
    """Return the atomic numbers, from the caller or from the file."""
    n_species = raw.count("species_count", least=1)
    tag = raw.fields.get("potential_tag", "")
    written = tag.removeprefix(_TAG).split(",") if tag.startswith(_TAG) else None
    if given is None and written is None:
        raise raw.problem(
            f"it does not say which elements its {n_species} types "
            f"({_short(', '.join(_types(raw)))}) are; pass species= in order (--species Si,Ge)"
        )
    inside = None if written is None else _atomic_numbers(raw, written)
    numbers = inside if given is None else _atomic_numbers(raw, given)
    assert numbers is not None
    if len(numbers) != n_species:
        raise raw.problem(f"it has {n_species} types, but {len(numbers)} species are named")
    if inside is not None and inside != numbers:
        raise raw.problem(f"it is for {_symbols(inside)}, not for {_symbols(numbers)}")
    return numbers


def _atomic_numbers(raw: _Raw, species: Species) -> tuple[int, ...]:
    names = [species] if isinstance(species, str) else species
    numbers = []
    for name in names:
        number = atomic_numbers.get(name) if isinstance(name, str) else int(name)
        if number is None or not 0 <= number < len(chemical_symbols):
            raise raw.problem(f"its species {_short(str(name))} is not an element")
        numbers.append(number)
    return tuple(numbers)


def _symbols(numbers: Iterable[int]) -> str:
    return ", ".join(chemical_symbols[number] for number in numbers)


def _in_file(path: Path, err: ModelError) -> ModelError:
    """Say in which file it was; errors that say so already stay as they are."""
    message = str(err)
    return err if message.startswith(str(path)) else problem(path, message.rstrip("."))


def _short(text: str) -> str:
    """Return a text in quotes, cut to what fits into a sentence."""
    quoted = repr(text)
    return quoted if len(quoted) <= 42 else quoted[:38] + "...'"
