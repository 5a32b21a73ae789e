"""The run directory: where each file of a run lies, and who may write there."""

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sscha_mlp.data.files import open_own, write_atomic
from sscha_mlp.errors import ConfigError, InputError, SschaMlpError
from sscha_mlp.run_files.records.result import Result
from sscha_mlp.run_files.settings import RunSettings, differences, format_toml, read_toml
from sscha_mlp.run_files.stage_settings import LabelPolicy


@dataclass(frozen=True)
class RunDirectory:
    """Names of the files of a run.

    Parameters
    ----------
    path
        The directory.
    shown
        The directory as it was given, for what a person reads.
    """

    path: Path
    shown: Path = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Make the path absolute: a calculator may change the working directory."""
        object.__setattr__(self, "shown", self.path)
        object.__setattr__(self, "path", self.path.absolute())

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
    def labelling(self) -> Path:
        """How many labels of an unfinished step there are."""
        return self.path / "labelling.json"

    @property
    def offline(self) -> Path:
        """Inputs for labels that are computed by hand."""
        return self.path / "offline"

    @property
    def dataset(self) -> Path:
        """Directory of train, test and check sets."""
        return self.path / "dataset"

    @property
    def inherited(self) -> Path:
        """Data set of the run that this one starts from."""
        return self.path / "dataset" / "inherited"

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

    def samples(self, phase: str) -> Path:
        """Last ensemble of a relaxation with the model's values."""
        return self.path / "states" / f"samples-{phase}.npz"

    def validation(self, name: str) -> Path:
        """Stored validation set."""
        return self.path / "validation" / f"{name}.npz"

    @property
    def result(self) -> Path:
        """The result."""
        return self.path / "result.json"

    @property
    def hessian(self) -> Path:
        """The free-energy Hessian."""
        return self.path / "hessian.json"

    @property
    def conductivity(self) -> Path:
        """Sampled force constants, and what a thermal conductivity has computed so far."""
        return self.path / "conductivity"

    @property
    def conductivity_record(self) -> Path:
        """The thermal conductivity."""
        return self.path / "conductivity.json"

    @property
    def response(self) -> Path:
        """How the model answers to small changes of volume and temperature."""
        return self.path / "response.json"

    @property
    def report(self) -> Path:
        """The report."""
        return self.path / "report.pdf"

    @property
    def log(self) -> Path:
        """What was said while it ran."""
        return self.path / "log.txt"

    def read_result(self) -> Result:
        """Read the result of a finished run.

        Raises
        ------
        InputError
            If there is none, or it is damaged.
        """
        return Result.read(self.result)

    @contextmanager
    def trusted(self) -> Iterator[None]:
        """Turn what values of the wrong kind in journal, result or states lead to into a sentence.

        Raises
        ------
        SschaMlpError
            If the files of the run do not hold what a run writes.
        """
        try:
            yield
        except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as err:
            raise SschaMlpError(
                f"The files of {self.shown} do not hold what a run writes "
                f"({type(err).__name__}: {err}): one of journal.jsonl, result.json and states/ is "
                "damaged, or from another version. Take copies that are whole, or run again in "
                "another directory (--label-store finds its labels)."
            ) from err

    def settings(self) -> RunSettings:
        """Read the settings of an existing run.

        Raises
        ------
        InputError
            If this is not a run directory.
        """
        stored = self._stored()
        return _as_begun(stored, RunSettings.from_mapping(stored))

    def _stored(self) -> dict[str, Any]:
        """Read the settings file as it is."""
        if not self.settings_file.is_file():
            raise InputError(
                f"{self.shown} is not a run directory: it has no run.toml. Start one with "
                "sscha-mlp relax --run-dir."
            )
        return read_toml(self.settings_file)

    @property
    def has_begun(self) -> bool:
        """Whether a step is finished; before that other settings lose nothing."""
        return self.journal.is_file() and self.journal.stat().st_size > 0

    def check(self, settings: RunSettings) -> RunSettings:
        """Make the directory, and check that it is free or was begun with these settings.

        Returns
        -------
        The settings in force: in a directory that an earlier version began, the structure keeps
        the cell that it had there.

        Raises
        ------
        ConfigError
            If it holds a run with other settings; the message lists the differences.
        InputError
            If it cannot be made.
        """
        try:
            for place in (self.path, self.dyn, self.path / "validation", self.path / "models"):
                place.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise InputError(
                f"The run directory {self.shown} cannot be made ({err.strerror}); choose another "
                "with --run-dir."
            ) from err
        if not self.settings_file.exists() or not (self.has_begun or self.is_locked()):
            return settings
        return self._compared(settings)

    @contextmanager
    def held(self, settings: RunSettings) -> Iterator[RunSettings]:
        """Hold the directory for a run with these settings, and write them where it begins.

        The settings are written by who has the lock: of two runs that begin at once in one
        directory, the one that goes on is the one that the file tells of.

        Yields
        ------
        The settings in force, see :meth:`check`.

        Raises
        ------
        ConfigError
            If the directory holds a run with other settings.
        InputError
            If it cannot be made.
        SschaMlpError
            If another run holds it.
        """
        self.check(settings)
        with self.locked():
            if self.has_begun:
                if not self.settings_file.exists():
                    raise ConfigError(
                        f"{self.shown} holds a journal without run.toml; use another one."
                    )
                settings = self._compared(settings)
            else:
                write_atomic(self.settings_file, format_toml(settings.to_mapping()))
            yield settings

    def prepare(self, settings: RunSettings) -> RunSettings:
        """Make the directory for these settings, or check that it was made for them.

        Returns
        -------
        The settings in force, see :meth:`check`.

        Raises
        ------
        ConfigError
            If it holds a run with other settings.
        InputError
            If it cannot be made.
        SschaMlpError
            If another run holds it.
        """
        with self.held(settings) as in_force:
            return in_force

    def _compared(self, settings: RunSettings) -> RunSettings:
        """Return settings with the cell of the run that is here, if they are its settings."""
        # An earlier version may have written fewer settings: those are at their defaults.
        stored = self._stored()
        settings = _as_begun(stored, settings)
        before = _as_begun(stored, RunSettings.from_mapping(stored))
        changed = differences(before.to_mapping(), settings.to_mapping())
        if changed:
            raise ConfigError(
                f"{self.shown} holds a run with other settings ({'; '.join(changed)}). "
                f"{self._ways_on(settings)}"
            )
        return settings

    def require_own_result(self, settings: RunSettings, result: Result) -> None:
        """Refuse a result that is not of these settings: a file was exchanged, or two runs met.

        Parameters
        ----------
        settings
            What ``run.toml`` holds.
        result
            What ``result.json`` holds.

        Raises
        ------
        InputError
            If they are of two runs.
        """
        pairs = {
            "temperature_K": (settings.temperature, result.temperature_K),
            "pressure_target_GPa": (settings.pressure, result.pressure_target_GPa),
            "supercell": (settings.supercell, result.supercell),
            "seed": (settings.seed, result.seed),
        }
        other = [
            f"{name}: {asked} and {found}"
            for name, (asked, found) in pairs.items()
            if found is not None and found == found and found != asked  # noqa: PLR0124 - not NaN
        ]
        if other:
            raise InputError(
                f"run.toml and result.json of {self.shown} belong to different runs "
                f"({'; '.join(other)}); take the files of one, or run again in another directory."
            )

    def _ways_on(self, settings: RunSettings) -> str:
        """Say how a run with other settings begins from what there is.

        Also the budget decides what a run does: which labels it takes, and when it ends.
        """
        store = settings.label_store or self.labels
        if self.result.is_file():
            return (
                "Use the same settings to see its result; relax "
                f"--from {self.shown} takes over its state, model and labels in another --run-dir."
            )
        return (
            "Use the same settings to go on, or another --run-dir, where "
            f"--label-store {store} finds the labels that are paid for."
        )

    def is_locked(self) -> bool:
        """Whether a run is working in the directory."""
        if not (self.path / ".lock").is_file():
            return False
        try:
            with (self.path / ".lock").open("r") as stream:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory against a second run; the lock ends with the process.

        Raises
        ------
        SschaMlpError
            If another run holds it.
        """
        with open_own(self.path / ".lock") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as err:
                raise SschaMlpError(
                    f"Another run is working in {self.shown}; wait for it or use another --run-dir."
                ) from err
            yield


def _as_begun(stored: Mapping[str, Any], settings: RunSettings) -> RunSettings:
    """Return settings that keep what a run did which a version without these choices began.

    Those versions took every cell as it was, and fixed numbers of labels.

    Parameters
    ----------
    stored
        What the settings file of the run holds.
    settings
        For that run.
    """
    if "labels" not in stored:
        settings = replace(settings, labels=LabelPolicy.FIXED)
    if "primitive" in stored.get("start", {}):
        return settings
    return replace(settings, start=replace(settings.start, primitive=False))
