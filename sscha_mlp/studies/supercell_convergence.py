"""A relaxed crystal in a larger supercell, and how results change with the size."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sscha_mlp.campaign.continuation import settings_from
from sscha_mlp.digits import fixed, with_error
from sscha_mlp.errors import InputError
from sscha_mlp.run_files.finished_run import FinishedRun
from sscha_mlp.run_files.mode_levels import Level, levels_of
from sscha_mlp.run_files.settings import RunSettings, merge
from sscha_mlp.run_files.stage_settings import LabelPolicy
from sscha_mlp.tables import Shown, Table

CHECK_LABELS: Final = 14
"""Labels of the first look at a larger cell: each holds as much as several of a small one."""

MAX_LABELS: Final = 60

_COLUMNS: Final = (
    "Supercell",
    "atoms",
    "V (Å³/atom)",
    "F (eV/atom)",
    "softest (THz)",
    "hardest (THz)",
    "labels",
    "certified",
)


def enlarged_settings(
    directory: str | Path, size: tuple[int, int, int], given: Mapping[str, Any] | None = None
) -> RunSettings:
    """Return the settings of a finished run in another supercell, started from that run.

    Parameters
    ----------
    directory
        The finished run.
    size
        Repetitions of the primitive cell.
    given
        Settings to change, as :class:`RunSettings` has them.  Without others the budget is 60
        labels, 14 of them for the first look of the certificate where their numbers are fixed.

    Raises
    ------
    InputError
        If there is no finished run, or it has this supercell.
    """
    base = settings_from(directory)
    if tuple(base["supercell"]) == tuple(size):
        raise InputError(
            f"The run in {directory} has this supercell of {'×'.join(map(str, size))} cells "
            "already; ask for another one."
        )
    few: dict[str, Any] = {"max_labels": MAX_LABELS}
    policy = (given or {}).get("labels", base["labels"])
    if policy == LabelPolicy.FIXED:
        few["certificate"] = {"n_labels": CHECK_LABELS}
    asked = merge(merge(base, few), given or {})
    return RunSettings.from_mapping({**asked, "supercell": list(size)})


@dataclass(frozen=True)
class SizeRow(Shown):
    """The result of one run, for comparison with others of the same crystal.

    Parameters
    ----------
    directory
        Of the run.
    supercell
        Repetitions of the primitive cell.
    n_atoms
        Of the supercell.
    temperature, pressure
        K, GPa.
    converged
        Whether it is converged and certified.
    volume, free_energy
        Per atom with standard errors, Å³ and eV.
    labels
        Labels that it took, those taken over not counted.
    seconds
        Wall time of its finished steps.
    levels
        Its frequencies.
    """

    directory: str
    supercell: tuple[int, int, int]
    n_atoms: int
    temperature: float
    pressure: float
    converged: bool
    volume: tuple[float, float]
    free_energy: tuple[float, float]
    labels: int
    seconds: float
    levels: tuple[Level, ...]

    @classmethod
    def of(cls, run: FinishedRun) -> "SizeRow":
        """Return the row of a finished run."""
        result = run.result
        volume, energy = result.volume, result.free_energy
        return cls(
            str(run.place.path),
            run.settings.supercell,
            result.n_atoms_of_supercell,
            result.temperature_K,
            result.pressure_target_GPa,
            result.converged,
            (volume.value, volume.stderr),
            (energy.corrected, energy.stderr),
            result.labels.n_new,
            result.timings_s.get("total", 0.0),
            levels_of(result),
        )

    @property
    def cells(self) -> str:
        """The supercell in words."""
        return "×".join(str(n) for n in self.supercell)

    def at(self, q: tuple[float, float, float]) -> list[Level]:
        """Levels at a wave vector, ascending; none where the supercell does not have it."""
        return [one for one in self.levels if one.is_at(q)]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "directory": self.directory,
            "supercell": list(self.supercell),
            "n_atoms": self.n_atoms,
            "temperature_K": self.temperature,
            "pressure_GPa": self.pressure,
            "converged": self.converged,
            "volume_A3_per_atom": dict(zip(("value", "stderr"), self.volume, strict=True)),
            "free_energy_eV_per_atom": dict(
                zip(("value", "stderr"), self.free_energy, strict=True)
            ),
            "labels": self.labels,
            "seconds": self.seconds,
            "frequencies_THz": [one.to_json() for one in self.levels],
        }

    def table(self) -> Table:
        """Return the line of this run."""
        return SizeRows((self,)).table()

    def cells_of_table(self) -> tuple[str, ...]:
        """Return the run as one line of a table."""
        found = sorted(one.frequency for one in self.levels if one.frequency != 0.0)
        return (
            self.cells,
            str(self.n_atoms),
            with_error(*self.volume),
            with_error(*self.free_energy),
            fixed(found[0] if found else None, 3),
            fixed(found[-1] if found else None, 3),
            str(self.labels),
            "yes" if self.converged else "no",
        )


class SizeRows(tuple[SizeRow, ...], Shown):
    """The same crystal in several supercells, by number of atoms."""

    def table(self) -> Table:
        """Return one line for each supercell."""
        where = f" at {self[0].temperature:g} K, {self[0].pressure:g} GPa" if self else ""
        rows = tuple(one.cells_of_table() for one in self)
        return Table(f"Supercells{where}", rows, _COLUMNS)


def size_rows(directory: str | Path) -> SizeRows:
    """Collect a run and those that it continues from, at the same temperature and pressure.

    Parameters
    ----------
    directory
        A finished run that was started from another one.

    Returns
    -------
    By number of atoms, ascending; one run, the latest, for each supercell.

    Raises
    ------
    InputError
        If there is no finished run.
    """
    run: FinishedRun | None = FinishedRun.read(directory)
    found: dict[tuple[int, int, int], SizeRow] = {}
    while run is not None:
        row = SizeRow.of(run)
        last = next(iter(found.values()), row)
        if (row.temperature, row.pressure) != (last.temperature, last.pressure):
            break
        found.setdefault(row.supercell, row)
        run = _before(run)
    return SizeRows(sorted(found.values(), key=lambda one: one.n_atoms))


def _before(run: FinishedRun) -> FinishedRun | None:
    """Return the run that a run started from, where it can still be read."""
    if run.result.origin is None:
        return None
    try:
        return FinishedRun.read(run.result.origin.path)
    except InputError:
        return None
