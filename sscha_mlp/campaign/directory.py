"""The run directory: where each file of a run lies, and who may write there."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sscha_mlp.campaign.settings import RunSettings, differences, format_toml, read_toml
from sscha_mlp.data.files import write_atomic
from sscha_mlp.errors import ConfigError, InputError, SschaMlpError


@dataclass(frozen=True)
class RunDirectory:
    """Names of the files of a run.

    Parameters
    ----------
    path
        The directory.
    """

    path: Path

    @property
    def settings_file(self) -> Path:
        """Resolved settings."""
        return self.path / "run.toml"

    @property
    def journal(self) -> Path:
        """Finished steps."""
        return self.path / "journal.jsonl"

    @property
    def labels(self) -> Path:
        """Label store."""
        return self.path / "labels.db"

    @property
    def dataset(self) -> Path:
        """Directory of train, test and check sets."""
        return self.path / "dataset"

    def model(self, number: int) -> Path:
        """Directory of one fit."""
        return self.path / "models" / f"{number:03d}"

    def trial_model(self, name: str) -> Path:
        """Directory of a fit that only chooses hyper-parameters."""
        return self.path / "models" / "choice" / name

    @property
    def dyn(self) -> Path:
        """Directory of dynamical matrices in Quantum ESPRESSO format."""
        return self.path / "dyn"

    def state(self, name: str) -> Path:
        """Exact state of a finished step."""
        return self.path / "states" / f"{name}.npz"

    def validation(self, name: str) -> Path:
        """Stored validation set."""
        return self.path / "validation" / f"{name}.npz"

    @property
    def result(self) -> Path:
        """The result."""
        return self.path / "result.json"

    @property
    def report(self) -> Path:
        """The report."""
        return self.path / "report.pdf"

    @property
    def log(self) -> Path:
        """What was said while it ran."""
        return self.path / "log.txt"

    def settings(self) -> RunSettings:
        """Read the settings of an existing run.

        Raises
        ------
        InputError
            If this is not a run directory.
        """
        if not self.settings_file.is_file():
            raise InputError(
                f"{self.path} is not a run directory: it has no run.toml. Start one with "
                "sscha-mlp relax --run-dir."
            )
        return RunSettings.from_mapping(read_toml(self.settings_file))

    def prepare(self, settings: RunSettings) -> None:
        """Make the directory for these settings, or check that it was made for them.

        Raises
        ------
        ConfigError
            If it holds a run with other settings; the message lists the differences.
        """
        try:
            for place in (self.path, self.dyn, self.path / "validation", self.path / "models"):
                place.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise InputError(
                f"The run directory {self.path} cannot be made ({err.strerror}); choose another "
                "with --run-dir."
            ) from err
        if not self.settings_file.exists():
            if self.journal.exists():
                raise ConfigError(f"{self.path} holds a journal without run.toml; use another one.")
            write_atomic(self.settings_file, format_toml(settings.to_mapping()))
            return
        changed = differences(read_toml(self.settings_file), settings.to_mapping())
        if changed:
            raise ConfigError(
                f"{self.path} holds a run with other settings ({'; '.join(changed)}). Use the same "
                "settings to go on, or another --run-dir."
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory against a second run; the lock ends with the process.

        Raises
        ------
        SschaMlpError
            If another run holds it.
        """
        with (self.path / ".lock").open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as err:
                raise SschaMlpError(
                    f"Another run is working in {self.path}; wait for it or use another --run-dir."
                ) from err
            yield
