"""The table of a sweep: what is known at each temperature and pressure, as ``sweep.json``."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from sscha_mlp.campaign.directory import RunDirectory
from sscha_mlp.campaign.levels import Level
from sscha_mlp.campaign.run_values import RunValues, run_values
from sscha_mlp.campaign.sweep_values import Fields, Value, value_of
from sscha_mlp.data.files import write_json_atomic
from sscha_mlp.errors import InputError

SCHEMA: Final = "sscha-mlp/sweep/1"

FILE: Final = "sweep.json"
"""Name of the table in the directory of a sweep."""

_SAME_PRESSURE: Final = 1.0e-6
"""Pressures that differ by less are one, GPa."""

_SAME_TEMPERATURE: Final = 1.0e-6
"""Temperatures that differ by less are one, K."""


@dataclass(frozen=True)
class PointResponse:
    """How the model answers to small changes of temperature and pressure at a point.

    Each is a finite difference with common random numbers, or None where it is missing.

    Parameters
    ----------
    bulk_modulus_GPa
        Isothermal.
    expansion_per_K
        Volumetric, ``(dV/dT)_P / V``.
    gruneisen
        ``alpha B_T V / C_V``, no unit.
    heat_capacity_v_kB, heat_capacity_p_kB
        Per atom, at fixed volume and at fixed pressure, in Boltzmann constants.
    """

    bulk_modulus_GPa: Value | None = None
    expansion_per_K: Value | None = None
    gruneisen: Value | None = None
    heat_capacity_v_kB: Value | None = None
    heat_capacity_p_kB: Value | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values; null where there is none."""
        return {one.name: _plain(getattr(self, one.name)) for one in fields(self)}

    @classmethod
    def from_json(cls, content: Any, where: str = "A response") -> "PointResponse":
        """Return the response that plain values describe.

        Raises
        ------
        InputError
            If a field is not what it should be.
        """
        given = Fields.of(content, where)
        return cls(**{one.name: given.optional_value(one.name) for one in fields(cls)})


@dataclass(frozen=True)
class SweepPoint:
    """One temperature and pressure; extensive quantities are per atom.

    Parameters
    ----------
    temperature_K, pressure_GPa
        Where.
    directory
        Of its run, relative to the sweep.
    converged, stop_reason
        Whether it is converged and certified, and why it ended.
    volume_A3_per_atom
        Volume.
    cell_lengths_A, cell_angles_deg
        a, b, c and alpha, beta, gamma of the conventional cell.
    free_energy_eV_per_atom
        Helmholtz free energy at that volume.
    gibbs_eV_per_atom
        ``F + P V``.
    entropy_kB
        In Boltzmann constants.
    labels_new
        Reference labels that this point has cost.
    retrains
        Fits after its first potential.
    response
        From the model at this point, or None.
    levels
        Corrected frequencies, degenerate modes once; ``frequencies_THz`` in the file.
    soft_mode
        ``squared_frequency_THz2``, ``stderr_THz2`` and ``q`` of the softest mode of the
        free-energy Hessian, or None.
    """

    temperature_K: float
    pressure_GPa: float
    directory: str
    converged: bool
    stop_reason: str
    volume_A3_per_atom: Value
    cell_lengths_A: tuple[Value, Value, Value]
    cell_angles_deg: tuple[float, float, float]
    free_energy_eV_per_atom: Value
    gibbs_eV_per_atom: Value
    entropy_kB: Value
    labels_new: int = 0
    retrains: int = 0
    response: PointResponse | None = None
    soft_mode: Mapping[str, Any] | None = None
    levels: tuple[Level, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a point that cannot be one.

        Raises
        ------
        InputError
            If the temperature or a number of labels is negative, or the volume not above zero.
        """
        if self.temperature_K < 0.0:
            raise InputError(f"{self.name}: the temperature is negative.")
        if self.volume_A3_per_atom.value <= 0.0:
            raise InputError(f"{self.name}: the volume is not above zero.")
        if self.labels_new < 0 or self.retrains < 0:
            raise InputError(f"{self.name}: a number of labels or fits is negative.")

    @property
    def name(self) -> str:
        """The point in words."""
        return f"{self.temperature_K:g} K, {self.pressure_GPa:g} GPa"

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        names = [one.name for one in fields(self) if one.name not in {"response", "levels"}]
        return {
            **{name: _plain(getattr(self, name)) for name in names},
            "response": None if self.response is None else self.response.to_json(),
            "frequencies_THz": [one.to_json() for one in self.levels],
        }

    @classmethod
    def from_json(cls, content: Any, where: str = "A point") -> "SweepPoint":
        """Return the point that plain values describe.

        Raises
        ------
        InputError
            If a field is missing or not what it should be.
        """
        given = Fields.of(content, where)
        a, b, c = given.items("cell_lengths_A", 3)
        alpha, beta, gamma = given.numbers("cell_angles_deg", 3)
        response = given.content.get("response")
        lengths = f"{where}, cell_lengths_A"
        return cls(
            temperature_K=given.number("temperature_K"),
            pressure_GPa=given.number("pressure_GPa"),
            directory=given.text("directory"),
            converged=given.flag("converged"),
            stop_reason=given.text("stop_reason"),
            volume_A3_per_atom=given.value("volume_A3_per_atom"),
            cell_lengths_A=(value_of(a, lengths), value_of(b, lengths), value_of(c, lengths)),
            cell_angles_deg=(alpha, beta, gamma),
            free_energy_eV_per_atom=given.value("free_energy_eV_per_atom"),
            gibbs_eV_per_atom=given.value("gibbs_eV_per_atom"),
            entropy_kB=given.value("entropy_kB"),
            labels_new=given.integer("labels_new"),
            retrains=given.integer("retrains"),
            response=None if response is None else PointResponse.from_json(response, where),
            soft_mode=_soft_mode(given) if given.has("soft_mode") else None,
            levels=tuple(_frequencies(given)) if given.has("frequencies_THz") else (),
        )

    @classmethod
    def from_run(cls, run_directory: str | Path, *, directory: str = ".") -> "SweepPoint":
        """Return the point that a finished run is; it has no response.

        Parameters
        ----------
        run_directory
            The run.
        directory
            What the point calls it.

        Raises
        ------
        InputError
            If it is no finished run with a relaxed cell.
        """
        place = RunDirectory(Path(run_directory))
        with place.trusted():
            return _point(run_values(place), directory)


@dataclass(frozen=True)
class Sweep:
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
        Reference labels of all points together, those of the start included.
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
        found = {one.name: _plain(getattr(self, one.name)) for one in fields(self)}
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
                points=(_point(values, "."),),
            )


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


def _point(values: RunValues, directory: str) -> SweepPoint:
    return SweepPoint(
        temperature_K=values.temperature,
        pressure_GPa=values.pressure,
        directory=directory,
        converged=values.converged,
        stop_reason=values.stop_reason,
        volume_A3_per_atom=values.volume,
        cell_lengths_A=values.cell_lengths,
        cell_angles_deg=values.cell_angles,
        free_energy_eV_per_atom=values.free_energy,
        gibbs_eV_per_atom=values.gibbs,
        entropy_kB=values.entropy,
        labels_new=values.labels_new,
        retrains=values.retrains,
        soft_mode=values.soft_mode,
        levels=values.levels,
    )


def _soft_mode(given: Fields) -> dict[str, Any]:
    inner = given.inner("soft_mode")
    names = ("squared_frequency_THz2", "stderr_THz2")
    return {**{name: inner.number(name) for name in names}, "q": list(inner.numbers("q", 3))}


def _frequencies(given: Fields) -> Iterator[Level]:
    for number, item in enumerate(given.items("frequencies_THz"), start=1):
        row = Fields.of(item, f"{given.where}, frequency {number}")
        q1, q2, q3 = row.numbers("q", 3)
        yield Level((q1, q2, q3), row.number("value"), row.number("stderr"), row.integer("n"))


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


def _plain(value: Any) -> Any:
    """Values, tuples and mappings as JSON has them."""
    if isinstance(value, Value):
        return value.to_json()
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return dict(value) if isinstance(value, Mapping) else value
