"""One temperature and pressure of a sweep, and how the model answers to small changes there."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from sscha_mlp.digits import DASH, concise, with_error
from sscha_mlp.errors import InputError
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.run_files.json_fields import Fields, Value, value_of
from sscha_mlp.run_files.mode_levels import Level
from sscha_mlp.run_files.run_values import RunValues, run_values
from sscha_mlp.tables import Shown, Table

POINT_COLUMNS: Final = (
    "T (K)",
    "P (GPa)",
    "V (Å³/atom)",
    "F (eV/atom)",
    "S (k/atom)",
    "α (ppm/K)",
    "C_P (k/atom)",
    "B (GPa)",
    "labels",
    "certified",
)
"""What :meth:`SweepPoint.cells` says."""

LAST_DIGITS: Final = "Numbers in parentheses are the standard errors of the last digits."

_RESPONSES: Final = (
    ("bulk modulus B (GPa)", "bulk_modulus_GPa", 1.0),
    ("volumetric expansion α (ppm/K)", "expansion_per_K", 1.0e6),
    ("Grüneisen parameter", "gruneisen", 1.0),
    ("heat capacity C_V (k/atom)", "heat_capacity_v_kB", 1.0),
    ("heat capacity C_P (k/atom)", "heat_capacity_p_kB", 1.0),
)


@dataclass(frozen=True)
class PointResponse(Shown):
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
        return {one.name: plain(getattr(self, one.name)) for one in fields(self)}

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

    def table(self) -> Table:
        """Return what is known, with standard errors."""
        rows = tuple(
            (name, _with_error(getattr(self, field_name), scale))
            for name, field_name, scale in _RESPONSES
        )
        note = "Of the model, by small changes of temperature and pressure."
        return Table("Response", rows, note=note)


@dataclass(frozen=True)
class SweepPoint(Shown):
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
        Reference labels that this point has cost, without the calls for the start.
    start_calls
        Reference calls for the start, at the first point.
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
    start_calls: int = 0
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
        if min(self.labels_new, self.start_calls, self.retrains) < 0:
            raise InputError(f"{self.name}: a number of labels or fits is negative.")

    @property
    def name(self) -> str:
        """The point in words."""
        return f"{self.temperature_K:g} K, {self.pressure_GPa:g} GPa"

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        names = [one.name for one in fields(self) if one.name not in {"response", "levels"}]
        return {
            **{name: plain(getattr(self, name)) for name in names},
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
            start_calls=given.integer("start_calls") if given.has("start_calls") else 0,
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
            return point_of(run_values(place), directory)

    def table(self) -> Table:
        """Return the point with its response."""
        rows = tuple(zip(POINT_COLUMNS, self.cells(), strict=True))
        return Table(
            f"Point of a sweep: {self.name}", rows, note=f"{self.stop_reason}. {LAST_DIGITS}"
        )

    def cells(self) -> tuple[str, ...]:
        """Return the point as one line of a table, below :data:`POINT_COLUMNS`."""
        response = self.response or PointResponse()
        return (
            f"{self.temperature_K:g}",
            f"{self.pressure_GPa:g}",
            _concise(self.volume_A3_per_atom),
            _concise(self.free_energy_eV_per_atom),
            _concise(self.entropy_kB),
            _concise(response.expansion_per_K, 1.0e6),
            _concise(response.heat_capacity_p_kB),
            _concise(response.bulk_modulus_GPa),
            str(self.labels_new),
            "yes" if self.converged else "no",
        )


def point_of(values: RunValues, directory: str) -> SweepPoint:
    """Return the point of a finished run that is called ``directory`` in the sweep."""
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
        start_calls=values.start_calls,
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
        name = row.text("name") if row.has("name") else ""
        yield Level((q1, q2, q3), row.number("value"), row.number("stderr"), row.integer("n"), name)


def plain(value: Any) -> Any:
    """Return values, tuples and mappings as JSON has them."""
    if isinstance(value, Value):
        return value.to_json()
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    return dict(value) if isinstance(value, Mapping) else value


def _with_error(value: Value | None, scale: float = 1.0) -> str:
    return DASH if value is None else with_error(scale * value.value, scale * value.stderr)


def _concise(value: Value | None, scale: float = 1.0) -> str:
    return DASH if value is None else concise(scale * value.value, scale * value.stderr)
