"""A kind of potential as one object: all that the rest of the package knows of it."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sscha_mlp.errors import ConfigError, InputError
from sscha_mlp.potentials.given import known_settings

if TYPE_CHECKING:
    from ase import Atoms

HERE: Final = "cpu"
"""The device that every machine has."""

Presets = Mapping[str, Mapping[str, Any]]


class Statistic(StrEnum):
    """Which number of a population of configurations is compared with a limit."""

    QUANTILE = "quantile"
    """The uncertainty that all but a small part of the configurations stay below."""

    MEDIAN = "median"
    """The median of some configurations."""


@dataclass(frozen=True)
class Uncertainty:
    """What a kind of potential states about its own predictions.

    Parameters
    ----------
    name
        What it is.  Values under the same name and unit are compared with each other.
    unit
        Empty for a number without dimension.
    statistic
        Which number of a population decides whether the model may be used on it.  A quantile needs
        a limit.
    limit
        Value beyond which a prediction must not be used, in the unit; None where the numbers mean
        nothing by themselves, and are compared with those of the test set.
    worth_a_label
        Value beyond which a configuration is worth a label, not above the limit; None where there
        is no such value.

    Raises
    ------
    ConfigError
        If these do not belong together.
    """

    name: str
    unit: str = ""
    statistic: Statistic = Statistic.MEDIAN
    limit: float | None = None
    worth_a_label: float | None = None

    def __post_init__(self) -> None:
        """Check that the numbers belong together."""
        if self.limit is None and self.statistic is Statistic.QUANTILE:
            raise ConfigError(f"The uncertainty {self.name!r}: a quantile needs a limit.")
        given = [one for one in (self.worth_a_label, self.limit) if one is not None]
        if given != sorted(given) or not all(one > 0 and math.isfinite(one) for one in given):
            raise ConfigError(
                f"The uncertainty {self.name!r}: worth_a_label and limit must be above 0, and the "
                "first not above the second."
            )

    @property
    def text(self) -> str:
        """The name, with the unit in parentheses where there is one."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


@dataclass(frozen=True)
class LabelCounts:
    """How many labels each stage takes.

    Parameters
    ----------
    n_start, n_test, n_explored
        To train on at the start, to test on, and to train on where an exploration leads.
    n_extra
        Chosen ones after a failed check, and the most of an active-learning step.
    n_check
        Of the first look of a check.
    n_reserve
        Kept back for a check.
    max_rounds, max_lessons
        Rounds of a run, and active-learning steps of a relaxation.
    """

    n_start: int
    n_test: int
    n_explored: int
    n_extra: int
    n_check: int
    n_reserve: int
    max_rounds: int
    max_lessons: int


@dataclass(frozen=True)
class Schedule:
    """How a kind is trained in a run whose settings do not say it.

    The defaults are for kinds whose uncertainty has no limit of its own: a test set gives it its
    scale, and the exploration is where most is learnt.

    Parameters
    ----------
    need
        Labels where a run takes as many as it turns out to need.
    fixed
        Labels where their number is fixed in advance.
    n_folds
        Parts of the training set of which each is held out once where settings are compared.
    n_folds_few
        The same for at most ``few`` training configurations.
    few
        See ``n_folds_few``.
    warm_from
        A fit begins with the earlier model if that has learnt from at least so many labels; None
        for kinds that always begin anew.
    warm_part
        And if these are at least this part of the labels that are there now.
    """

    need: LabelCounts = field(default_factory=lambda: LabelCounts(16, 6, 24, 8, 4, 12, 12, 4))
    fixed: LabelCounts = field(default_factory=lambda: LabelCounts(24, 12, 48, 16, 36, 36, 5, 4))
    n_folds: int = 2
    n_folds_few: int = 2
    few: int = 0
    warm_from: int | None = None
    warm_part: float = 0.6

    def folds(self, n_train: int) -> int:
        """Return the number of folds for a training set."""
        return self.n_folds_few if n_train <= self.few else self.n_folds

    def begins_warm(self, n_before: int, n_train: int) -> bool:
        """Whether a fit to `n_train` labels begins with a model that has learnt `n_before`."""
        if self.warm_from is None:
            return False
        return n_before >= max(self.warm_from, self.warm_part * n_train)


@dataclass(frozen=True)
class Need:
    """A package that a kind needs, and that need not be installed.

    Parameters
    ----------
    module
        What is imported.
    distribution
        What the package is called where it is installed from; as the module when empty.
    install
        Command that installs it; ``pip install DISTRIBUTION`` when empty.
    """

    module: str
    distribution: str = ""
    install: str = ""

    @property
    def name(self) -> str:
        """Name of the distribution."""
        return self.distribution or self.module

    @property
    def command(self) -> str:
        """Command that installs it."""
        return self.install or f"pip install {self.name}"

    @property
    def installed(self) -> bool:
        """Whether there is such a package; it is not imported."""
        try:
            return find_spec(self.module) is not None
        except (ImportError, ValueError):
            return False


@dataclass(frozen=True)
class Device:
    """Where a kind computes: a setting that changes how long a fit takes and not what it learns.

    Parameters
    ----------
    setting
        Name of the setting.
    available
        Returns the devices of this machine, ``cpu`` among them.
    """

    setting: str
    available: Callable[[], Sequence[str]]


def _as_given(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    return settings


def _only_defaults(atoms: "Atoms") -> Presets:
    del atoms
    return {"default": {}}


@dataclass(frozen=True, kw_only=True, eq=False)
class Kind:
    """A kind of potential.

    Nothing else knows a kind by its name: what differs between kinds is a field here, or a method
    that a potential has or has not (:mod:`sscha_mlp.potentials.selection`).  A kind is found as
    ``KIND`` of a sub-package of :mod:`sscha_mlp.potentials`, by an entry point of the group
    ``sscha_mlp.potentials``, or as ``package.module:name``.

    Parameters
    ----------
    name
        What ``--model`` takes and ``model.json`` says: small letters, digits and hyphens.
    title
        What it is called in a sentence; the name in capitals when empty.
    settings
        Frozen dataclass of its hyper-parameters, which raises :class:`ConfigError` for a value that
        cannot be; each field has a default.
    fit
        ``fit(train, *, directory, settings, seed, n_workers, memory_limit, progress, start)``
        returns a :class:`~sscha_mlp.potentials.protocol.Potential`; see
        :func:`sscha_mlp.potentials.registry.fit`.
    load
        ``load(directory, *, n_workers)`` returns what a fit has left there.
    presets
        Returns named settings for a crystal, to choose from by cross-validation; by default only
        the defaults.
    trial_settings
        Returns settings that stand for given ones in that comparison and are quicker to fit; by
        default the given ones.
    uncertainty
        What its potentials state about their predictions; None for nothing.
    schedule
        How it is trained in a run whose settings do not say it.
    needs
        What must be installed beside this package.
    device
        The setting that says where it computes; None for a kind that needs no such setting.
    start
        Name of the setting that holds a file to begin with, such as a foundation model; empty
        where there is none.  What counts is the content of that file, not its place.
    reproducible
        Whether the same data, settings and seed give the same files, byte for byte.
    files
        Endings of single files that are such potentials, as ``.ending``.
    open_file
        ``open_file(path, species, *, n_workers)`` returns the potential of such a file.
    export
        ``export(potential, path)`` writes such a file and returns what can be said of it,
        :class:`Exported`.

    Raises
    ------
    ConfigError
        If a field cannot be.
    """

    name: str
    settings: type[Any]
    fit: Callable[..., Any]
    load: Callable[..., Any]
    title: str = ""
    presets: Callable[["Atoms"], Presets] = _only_defaults
    trial_settings: Callable[[Mapping[str, Any]], Mapping[str, Any]] = _as_given
    uncertainty: Uncertainty | None = None
    schedule: Schedule = field(default_factory=Schedule)
    needs: tuple[Need, ...] = ()
    device: Device | None = None
    start: str = ""
    reproducible: bool = True
    files: tuple[str, ...] = ()
    open_file: Callable[..., Any] | None = None
    export: Callable[..., "Exported"] | None = None

    def __post_init__(self) -> None:
        """Check name and settings."""
        if not self.name or self.name != self.name.lower() or set(" .:/[]") & set(self.name):
            raise ConfigError(
                f"The name of a kind of potential, {self.name!r}, must be in small letters, "
                "digits and hyphens."
            )
        if not self.title:
            object.__setattr__(self, "title", self.name.upper())
        known = {one.name for one in fields(self.settings)}
        for name in filter(None, (self.start, self.device and self.device.setting)):
            if name not in known:
                raise ConfigError(f"The kind {self.name!r} has no setting {name!r}.")

    def read(self, values: Mapping[str, Any] | None) -> Any:
        """Return the settings object of plain values; what is left out has its default.

        Raises
        ------
        ConfigError
            If a key is unknown, or a value cannot be.
        """
        try:
            return self.settings(**known_settings(self.settings, values, self.title))
        except (TypeError, ValueError) as err:
            raise ConfigError(f"The settings of the {self.title}: {err}.") from err

    def identity(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return what of plain settings decides a model: no device, no place of a file.

        Raises
        ------
        InputError
            If the starting file cannot be read.
        """
        kept = dict(values)
        if self.device is not None:
            kept.pop(self.device.setting, None)
        if self.start and kept.get(self.start):
            kept[self.start] = f"sha256:{hash_content(Path(kept[self.start]), self.title)}"
        return kept

    def start_hash(self, values: Mapping[str, Any]) -> str | None:
        """Return the sha256 of the file that a fit with these settings begins with, if any.

        None as well where that file is not there any more.
        """
        if not self.start or not values.get(self.start):
            return None
        try:
            return hash_content(Path(values[self.start]), self.title)
        except InputError:
            return None

    @property
    def missing(self) -> tuple[Need, ...]:
        """What it needs and is not installed."""
        return tuple(one for one in self.needs if not one.installed)

    def require_installed(self) -> None:
        """Check that what it needs is installed.

        Raises
        ------
        ConfigError
            If a package is missing; the message has the command that installs it.
        """
        for need in self.missing:
            raise ConfigError(
                f"The kind of potential {self.name!r} needs the package {need.name}, which is not "
                f"installed: {need.command}"
            )

    def device_of(self, values: Mapping[str, Any]) -> str:
        """Return where these settings compute."""
        if self.device is None:
            return HERE
        default = next(one for one in fields(self.settings) if one.name == self.device.setting)
        usual = HERE if default.default is MISSING else default.default
        return str(values.get(self.device.setting, usual))

    def require_ready(self, values: Mapping[str, Any]) -> None:
        """Check all that can be found wrong before anything is computed.

        Raises
        ------
        ConfigError
            If a package is missing, a setting cannot be, or the device is not there.
        InputError
            If the starting file is missing.
        """
        self.require_installed()
        self.read(values)
        self.identity(values)
        where = self.device_of(values)
        if self.device is None:
            return
        there = tuple(self.device.available())
        if where not in there:
            raise ConfigError(
                f"The {self.title} setting {self.device.setting} = {where!r} is not a device of "
                f"this machine; it has: {', '.join(there)}."
            )


@dataclass(frozen=True)
class Exported:
    """What was written of a potential for another code.

    Parameters
    ----------
    summary
        What is in the file, in a line.
    files
        The file, and those beside it.
    left_out
        What of the potential the format cannot hold.
    """

    summary: str
    files: tuple[Path, ...]
    left_out: tuple[str, ...] = ()


def hash_content(path: Path, title: str) -> str:
    """Return the sha256 of a file, or of all files of a directory with their names.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        if path.is_dir():
            for one in sorted(path.rglob("*")):
                if one.is_file():
                    content = hashlib.sha256(one.read_bytes()).hexdigest()
                    digest.update(f"{one.relative_to(path)}\0{content}\n".encode())
        else:
            digest.update(path.read_bytes())
    except OSError as err:
        raise InputError(
            f"The file {path} that a {title} is to begin with cannot be read ({err.strerror})."
        ) from err
    return digest.hexdigest()
