"""A finished run, read from its directory: what later work on it needs."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.symmetry import SpaceGroup, find_space_group
from sscha_mlp.data.states import load_state
from sscha_mlp.errors import InputError
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.run_files.journal import Journal
from sscha_mlp.run_files.records.fields import Record
from sscha_mlp.run_files.records.result import Result
from sscha_mlp.run_files.settings import RunSettings

_R = TypeVar("_R", bound=Record)


@dataclass(frozen=True)
class FinishedRun:
    """Settings, result and files of a run that has come to its end.

    Parameters
    ----------
    place
        Its directory.
    settings
        Its settings.
    result
        Its ``result.json``.
    """

    place: RunDirectory
    settings: RunSettings
    result: Result

    @classmethod
    def read(cls, directory: str | Path) -> "FinishedRun":
        """Read settings and result of a finished run.

        Raises
        ------
        InputError
            If there is no run, it is not finished, or a file of it is missing, damaged, or of
            another run.
        """
        place = RunDirectory(Path(directory))
        settings = place.settings()
        if not place.result.is_file():
            raise InputError(
                f"The run in {place.shown} is not finished: it has no result.json. Go on with it "
                "by the same sscha-mlp relax command first."
            )
        if not place.journal.is_file():
            raise InputError(
                f"The run in {place.shown} has no journal.jsonl, which tells how it came to its "
                "result; take a copy of the whole directory."
            )
        result = place.read_result()
        place.require_own_result(settings, result)
        return cls(place, settings, result)

    @property
    def generation(self) -> int:
        """How many runs it continues from: 0 where it began with a structure."""
        return self.result.generation

    @property
    def model_directory(self) -> Path:
        """Where its last model is: in the run directory, be it moved since."""
        stored = Path(self.result.model.path or "")
        moved = self.place.path / "models" / stored.name
        return moved if moved.is_dir() else stored

    def minimum(self) -> tuple[DynamicalMatrix, SpaceGroup]:
        """Return the minimum of the model at the final cell, and the space group kept there.

        Raises
        ------
        InputError
            If the state cannot be read.
        """
        state = load_state(self.place.state("model"))
        return state, find_space_group(state.supercell).restricted(self.settings.symmetry)

    def last(self, kind: type[_R]) -> _R | None:
        """Return the last record of a kind; None if there is none."""
        found = Journal(self.place.journal, read_only=True).all(kind)
        return found[-1] if found else None
