"""The table of a sweep: what is known at each temperature and pressure, as ``sweep.json``."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from sscha_mlp.data.files import write_json_atomic
from sscha_mlp.errors import InputError
from sscha_mlp.quantities import reduced_formula
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.run_files.json_fields import Fields
from sscha_mlp.run_files.run_values import run_values
from sscha_mlp.studies.sweep.point import LAST_DIGITS, POINT_COLUMNS, SweepPoint, plain, point_of
from sscha_mlp.tables import Shown, Table

SCHEMA: Final = "sscha-mlp/sweep/1"

FILE: Final = "sweep.json"
"""Name of the table in the directory of a sweep."""

_SAME_PRESSURE: Final = 1.0e-6
"""Pressures that differ by less are one, GPa."""

_SAME_TEMPERATURE: Final = 1.0e-6
"""Temperatures that differ by less are one, K."""


@dataclass(frozen=True)
class Sweep(Shown):
    """The points of a sweep over temperature and pressure.

    Parameters
    ----------
    formula
        Of the primitive cell, as in ``result.json``.
    space_group
        International symbol.
    n_atoms
        Of the primitive cell.
    supercell
        Repetitions of the primitive cell.
    reference, model
        Calculator that is taken for the truth, and kind of the potential.
    nuclei
        ``quantum``, ``classical`` or ``no-zero-point``.
    seed
        Of the sweep.
    labels_total
        Reference labels of all points together, without the calls for the start.
    einstein_temperatures_K
        Some that span the frequencies of the modes, for the fits over temperature, ascending.
    points
        By pressure, then temperature, each ascending.
    """

    formula: str
    space_group: str
    n_atoms: int
    supercell: tuple[int, int, int]
    reference: str
    model: str
    nuclei: str
    seed: int
    labels_total: int
    einstein_temperatures_K: tuple[float, ...]
    points: tuple[SweepPoint, ...]

    def __post_init__(self) -> None:
        """Sort the points, and refuse two at one temperature and pressure.

        Raises
        ------
        InputError
            If two points are one, or a number that has to be above zero is not.
        """
        if min(self.n_atoms, *self.supercell) < 1:
            raise InputError("The sweep has no atoms: n_atoms and supercell should be above zero.")
        if any(theta <= 0.0 for theta in self.einstein_temperatures_K):
            raise InputError("An Einstein temperature of the sweep is not above zero.")
        ranked = sorted(self.points, key=lambda one: (one.pressure_GPa, one.temperature_K))
        object.__setattr__(self, "points", tuple(ranked))
        for number, one in enumerate(self.points):
            if any(_is_same(one, other) for other in self.points[:number]):
                raise InputError(f"The sweep has two points at {one.name}; keep one of them.")

    @property
    def pressures(self) -> tuple[float, ...]:
        """Pressures that occur, ascending, GPa."""
        return _distinct([one.pressure_GPa for one in self.points], _SAME_PRESSURE)

    @property
    def temperatures(self) -> tuple[float, ...]:
        """Temperatures that occur, ascending, K."""
        return _distinct([one.temperature_K for one in self.points], _SAME_TEMPERATURE)

    @property
    def start_calls(self) -> int:
        """Reference calls for the start."""
        return sum(one.start_calls for one in self.points)

    @property
    def labels_in_words(self) -> str:
        """Labels of all points, and the calls for the start, which are counted apart."""
        return f"{self.labels_total} labels{and_start(self.start_calls)}"

    def isobar(self, pressure: float) -> tuple[SweepPoint, ...]:
        """Return the points at a pressure in GPa, ascending in temperature."""
        found = [one for one in self.points if abs(one.pressure_GPa - pressure) < _SAME_PRESSURE]
        return tuple(sorted(found, key=lambda one: one.temperature_K))

    def isotherm(self, temperature: float) -> tuple[SweepPoint, ...]:
        """Return the points at a temperature in K, ascending in pressure."""
        near = _SAME_TEMPERATURE
        found = [one for one in self.points if abs(one.temperature_K - temperature) < near]
        return tuple(sorted(found, key=lambda one: one.pressure_GPa))

    def to_json(self) -> dict[str, Any]:
        """Return plain values, with the schema."""
        found = {one.name: plain(getattr(self, one.name)) for one in fields(self)}
        return {"schema": SCHEMA, **found, "points": [one.to_json() for one in self.points]}

    @classmethod
    def from_json(cls, content: Any, where: str = "The sweep") -> "Sweep":
        """Return the sweep that plain values describe.

        Raises
        ------
        InputError
            If the schema is another, or a field is missing or not what it should be.
        """
        given = Fields.of(content, where)
        if given.content.get("schema") != SCHEMA:
            raise InputError(
                f"{where} has the schema {given.content.get('schema')!r}, not {SCHEMA!r}; give "
                "the sweep.json of a sweep."
            )
        n1, n2, n3 = given.integers("supercell", 3)
        points = enumerate(given.items("points"), start=1)
        return cls(
            formula=given.text("formula"),
            space_group=given.text("space_group"),
            n_atoms=given.integer("n_atoms"),
            supercell=(n1, n2, n3),
            reference=given.text("reference"),
            model=given.text("model"),
            nuclei=given.text("nuclei"),
            seed=given.integer("seed"),
            labels_total=given.integer("labels_total"),
            einstein_temperatures_K=given.numbers("einstein_temperatures_K"),
            points=tuple(SweepPoint.from_json(one, f"{where}, point {n}") for n, one in points),
        )

    def write(self, path: str | Path) -> None:
        """Write the table as JSON, atomically.

        Raises
        ------
        SschaMlpError
            If the file cannot be written.
        """
        write_json_atomic(path, self.to_json())

    @classmethod
    def read(cls, path: str | Path) -> "Sweep":
        """Read the table of a sweep.

        Parameters
        ----------
        path
            ``sweep.json``, or the directory that holds it.

        Raises
        ------
        InputError
            If it cannot be read, or is damaged.
        """
        file = Path(path) / FILE if Path(path).is_dir() else Path(path)
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as err:
            raise InputError(
                f"{file} cannot be read ({err}); run the sweep again, which writes it anew from "
                "its finished points."
            ) from err
        try:
            return cls.from_json(content)
        except InputError as err:
            raise InputError(
                f"{file} does not hold what a sweep writes: {err} Take a copy that is whole, or "
                "run the sweep again, which writes it anew."
            ) from err

    @classmethod
    def from_run(cls, run_directory: str | Path) -> "Sweep":
        """Return a finished run as a sweep of one point.

        Raises
        ------
        InputError
            If it is no finished run with a relaxed cell.
        """
        place = RunDirectory(Path(run_directory))
        with place.trusted():
            values = run_values(place)
            labels = values.labels_new
            return cls(
                formula=values.formula,
                space_group=values.space_group,
                n_atoms=values.n_atoms,
                supercell=values.supercell,
                reference=values.reference,
                model=values.model,
                nuclei=values.nuclei,
                seed=values.seed,
                labels_total=labels,
                einstein_temperatures_K=values.einstein_temperatures,
                points=(point_of(values, "."),),
            )

    def table(self) -> Table:
        """Return one line for each point; responses are those of the model."""
        rows = tuple(one.cells() for one in self.points)
        title = f"{reduced_formula(self.formula)}: {len(rows)} points, {self.labels_in_words}"
        return Table(title, rows, POINT_COLUMNS, LAST_DIGITS)


def load_sweep(path: str | Path) -> Sweep:
    """Read a sweep, or a finished run as a sweep of one point.

    Parameters
    ----------
    path
        ``sweep.json``, the directory of a sweep, or that of a run.

    Raises
    ------
    InputError
        If it is neither, or is damaged.
    """
    place = Path(path)
    if not place.exists():
        raise InputError(f"There is no {place}; give the directory of a sweep or of a run.")
    if place.is_dir() and not (place / FILE).is_file():
        if not (place / "run.toml").is_file():
            raise InputError(
                f"{place} holds neither a sweep ({FILE}) nor a run (run.toml); give the directory "
                "of one of them."
            )
        return Sweep.from_run(place)
    return Sweep.read(place)


def and_start(calls: int) -> str:
    """Return what follows a number of labels where there were calls for the start."""
    return f", and {calls} calls for the start" if calls else ""


def _is_same(one: SweepPoint, other: SweepPoint) -> bool:
    return (
        abs(one.temperature_K - other.temperature_K) < _SAME_TEMPERATURE
        and abs(one.pressure_GPa - other.pressure_GPa) < _SAME_PRESSURE
    )


def _distinct(values: list[float], tolerance: float) -> tuple[float, ...]:
    found: list[float] = []
    for one in sorted(values):
        if not found or one - found[-1] >= tolerance:
            found.append(one)
    return tuple(found)


def sweep_table(sweep: Sweep) -> Table:
    """Return one line for each point of a sweep; responses are those of the model."""
    return sweep.table()
