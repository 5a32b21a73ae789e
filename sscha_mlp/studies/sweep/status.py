"""Where each point of a sweep stands, from the files of its directory alone."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sscha_mlp.errors import InputError, SschaMlpError
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.run_files.settings import read_toml
from sscha_mlp.run_files.status import LogTail, Standing, State
from sscha_mlp.studies.sweep.plan import PlannedPoint, plan_points

_Value = tuple[float, float] | None


@dataclass(frozen=True)
class PointStanding:
    """Where a point of a sweep stands.

    Parameters
    ----------
    temperature_K, pressure_GPa
        The point.
    state
        What its run is doing.
    labels_new
        Labels of its own so far.
    start_calls
        Reference calls for the start.
    volume_A3_per_atom, free_energy_eV_per_atom
        The answer as value and standard error; None before there is one.
    reason
        Why it failed, waits or is not certified; empty otherwise.
    stage
        What is done there now, and since when; empty where nobody works.
    """

    temperature_K: float
    pressure_GPa: float
    state: State
    labels_new: int = 0
    start_calls: int = 0
    volume_A3_per_atom: _Value = None
    free_energy_eV_per_atom: _Value = None
    reason: str = ""
    stage: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "state": str(self.state)}


def is_sweep(directory: str | Path) -> bool:
    """Whether a directory is that of a sweep."""
    return (Path(directory) / "sweep.toml").is_file()


def sweep_at(directory: str | Path) -> str:
    """Return what is done in a sweep between its runs, such as a report; empty if nothing is."""
    place = RunDirectory(Path(directory))
    return LogTail.read(place.log).at(working=True) if place.is_locked() else ""


def sweep_standing(directory: str | Path) -> tuple[PointStanding, ...]:
    """Return where each point of a sweep stands, by temperature and pressure.

    Raises
    ------
    InputError
        If ``sweep.toml`` is damaged, or a file of a point is.
    """
    path = Path(directory)
    stored = read_toml(path / "sweep.toml")
    try:
        first = (float(stored["first"][0]), float(stored["first"][1]))
        points = plan_points(stored["temperatures"], stored["pressures"], first)
    except (LookupError, ValueError, TypeError) as err:
        raise InputError(
            f"{path / 'sweep.toml'} does not say which points there are ({err!r}); run the same "
            "sscha-mlp sweep command again, which writes it anew."
        ) from err
    ordered = sorted(points, key=lambda one: (one.temperature, one.pressure))
    return tuple(_point(path, one) for one in ordered)


def _point(path: Path, point: PlannedPoint) -> PointStanding:
    """Return where one point stands; one with damaged files has failed."""
    directory = path / "points" / point.name
    where = (point.temperature, point.pressure)
    if not (directory / "run.toml").is_file():
        return PointStanding(*where, State.TO_COME)
    try:
        found = Standing.read(directory)
        with found.place.trusted():
            volume, energy = _answer(found)
        return PointStanding(
            *where,
            found.state,
            found.labels,
            found.start_calls or 0,
            volume,
            energy,
            _why(found),
            found.now_at if found.state is State.WORKING else "",
        )
    except SschaMlpError as err:
        return PointStanding(*where, State.FAILED, reason=str(err))


def _why(found: Standing) -> str:
    return "" if found.state in (State.CERTIFIED, State.WORKING) else found.reason


def _answer(found: Standing) -> tuple[_Value, _Value]:
    """Return volume and free energy with their errors."""
    if not found.place.result.is_file():
        return None, None
    result = found.place.read_result()
    volume, energy = result.volume_A3_per_atom, result.free_energy_eV_per_atom
    return (
        None if volume is None else (volume.value, volume.stderr),
        None if energy is None else (energy.corrected, energy.stderr),
    )
