"""A finished run, read from its directory: what later work on it needs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sscha_mlp.campaign.directory import RunDirectory
from sscha_mlp.campaign.journal import Journal, Payload
from sscha_mlp.campaign.settings import RunSettings
from sscha_mlp.errors import InputError


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
    result: Mapping[str, Any]

    @classmethod
    def read(cls, directory: str | Path) -> "FinishedRun":
        """Read settings and result of a finished run.

        Raises
        ------
        InputError
            If there is no run, it is not finished, or a file of it is damaged.
        """
        place = RunDirectory(Path(directory))
        settings = place.settings()
        if not place.result.is_file():
            raise InputError(
                f"The run in {place.path} is not finished: it has no result.json. Go on with it "
                "by the same sscha-mlp relax command first."
            )
        return cls(place, settings, place.read_result())

    @property
    def generation(self) -> int:
        """How many runs it stands on: 0 where it began with a structure."""
        return int(self.result.get("origin", {}).get("generation", 0))

    @property
    def model_directory(self) -> Path:
        """Where its last model is: in the run directory, be it moved since."""
        stored = Path(self.result["model"]["path"])
        moved = self.place.path / "models" / stored.name
        return moved if moved.is_dir() else stored

    def last(self, prefix: str) -> Payload:
        """Return the last row of the journal whose key begins so; empty if there is none."""
        rows = Journal(self.place.journal, read_only=True).steps(prefix)
        return dict(rows[-1][1]) if rows else {}
