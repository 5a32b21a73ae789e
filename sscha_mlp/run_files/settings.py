"""All that decides a run, as nested values: from the command line, a TOML file, or Python."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, Final, get_args, get_origin, get_type_hints

import numpy as np

from sscha_mlp.crystal.structure import check_masses
from sscha_mlp.crystal.structure_files import check_symmetrise
from sscha_mlp.crystal.supercell import check_supercell_size
from sscha_mlp.crystal.symmetry import read_triplet
from sscha_mlp.ensemble.nuclei import Nuclei, as_nuclei, check_quantum, check_temperature
from sscha_mlp.errors import ConfigError, cause_of
from sscha_mlp.parallel import ExecutorSettings
from sscha_mlp.potentials.kind import LabelCounts
from sscha_mlp.potentials.names import DEFAULT, built_in_kinds
from sscha_mlp.potentials.registry import find_kind, installed_kinds
from sscha_mlp.run_files.stage_settings import (
    CertificateSettings,
    LabelPolicy,
    LoopSettings,
    StartSettings,
    TrainingSettings,
    usual_counts,
)
from sscha_mlp.scha.cell import CellMode
from sscha_mlp.scha.relaxation import RelaxationSettings
from sscha_mlp.tables import Shown, Table
from sscha_mlp.text_files import written_text
from sscha_mlp.validation.certificate import MIN_LABELS

EXECUTION: Final = (
    "workers",
    "label_time_limit",
    "label_store",
    "executor",
    "model_executor",
)
"""Settings that change how long a run takes but not its result: free to differ on resume."""

ENGINES: Final = ("native", "python-sscha")

_MAIN: Final = ("temperature", "pressure", "supercell", "reference", "model", "configs", "seed")
"""Settings that a table shows also where they are the defaults."""

_WRITTEN_BEFORE: Final = {"break_grade": 10.0, "save_grade": 2.0}
"""What earlier versions wrote where the settings of the training left the limit to the kind."""

AUTO: Final = "auto"
"""In place of a kind of potential: choose it by cross-validation."""


@dataclass(frozen=True)
class RunSettings(Shown):
    """All settings of a run.

    Parameters
    ----------
    temperature
        Temperature of the crystal, K; at least 0.
    pressure
        Target pressure, GPa.
    nuclei
        How the nuclei move: as quantum particles, as classical ones, or as quantum ones without
        zero-point motion.
    structure
        File that ASE reads; the bundled silicon when empty.
    dyn
        Prefix of Quantum ESPRESSO dyn files to start from, in place of a structure.
    origin
        Directory of a finished run to start from, in place of a structure: its final state, its
        model and its labels are taken over.
    supercell
        Repetitions of the primitive cell.
    reference
        Name, ``package.module:function`` or TOML file of the calculator taken for the truth.
    model
        Kind of potential that is fitted: its name, ``package.module:name`` for one of your own, or
        ``auto`` for the best of those that are installed, on held-out training labels.
    configs
        Configurations per population; even, at least 20.
    seed
        Decides everything random: the same seed gives the same numbers.
    labels
        What decides how many labels are taken: ``need``, in small batches until the answer is known
        well enough, or ``fixed``, the numbers of earlier versions.
    max_labels
        Budget: training, test and check together, failed ones included; the start and labels that
        were taken over are not counted.
    cell
        What of the cell is free: all of it, its shape at a fixed volume, or nothing.
    symmetry
        What is imposed: ``full`` for the space group of the structure, ``none``, or some of its
        operations in the coordinates of the primitive cell, ``x,y,z; -x,-y,-z``.
    symmetrise
        Distance within which atoms of the structure count as equivalent, Å: cell and positions are
        averaged over the space group that is found with it.  Not set: the structure as it is.
    engine
        Who minimises an ensemble: ``native`` or ``python-sscha``.
    workers
        Processes for labels and for the model; all cores when 0.
    label_time_limit
        Longest time for one label, s; 0 for none.
    label_store
        Label store to share with other runs; empty for ``labels.db`` in the run directory.
    start, training, certificate, relaxation
        Settings of the stages.
    executor, model_executor
        Where labels are computed, and where populations are evaluated with the model: on this
        machine by default, and each on its own terms.
    masses
        Mass of every atom of an element, amu, by chemical symbol; others keep those of the
        structure.
    potential
        Hyper-parameters by the name of a kind, in place of what is chosen on held-out labels.
    """

    temperature: float
    pressure: float = 0.0
    nuclei: Nuclei = Nuclei.QUANTUM
    structure: str = ""
    dyn: str = ""
    origin: str = ""
    supercell: tuple[int, int, int] = (2, 2, 2)
    reference: str = "tersoff"
    model: str = DEFAULT
    configs: int = 1000
    seed: int = 0
    labels: LabelPolicy = LabelPolicy.NEED
    max_labels: int = 300
    cell: CellMode = CellMode.VARIABLE
    symmetry: str = "full"
    symmetrise: float | None = None
    engine: str = "native"
    workers: int = 0
    label_time_limit: float = 0.0
    label_store: str = ""
    start: StartSettings = field(default_factory=StartSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    certificate: CertificateSettings = field(default_factory=CertificateSettings)
    relaxation: LoopSettings = field(default_factory=LoopSettings)
    executor: ExecutorSettings = field(default_factory=ExecutorSettings)
    model_executor: ExecutorSettings = field(default_factory=ExecutorSettings)
    masses: Mapping[str, float] = field(default_factory=dict)
    potential: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what can be checked before anything is computed."""
        self._check_nuclei()
        object.__setattr__(self, "supercell", check_supercell_size(self.supercell))
        if not np.isfinite(self.pressure):
            raise ConfigError(f"The pressure {self.pressure} GPa is not a number.")
        if self.configs < 20 or self.configs % 2:
            raise ConfigError(
                f"configs = {self.configs} must be an even number of at least 20: configurations "
                "come in pairs u, -u."
            )
        if self.seed < 0:
            raise ConfigError(f"seed = {self.seed} must not be negative.")
        if self.workers < 0 or self.label_time_limit < 0:
            raise ConfigError("workers and label_time_limit must not be negative.")
        self._check_symmetry()
        if not isinstance(self.reference, str):
            raise ConfigError(
                f"The reference of a run must be text, not {type(self.reference).__name__}: a "
                "name, a TOML file, or 'module:function', which the run finds again when it goes "
                "on."
            )
        if self.engine not in ENGINES:
            raise ConfigError(f"Unknown engine {self.engine!r}; known: {', '.join(ENGINES)}.")
        if sum(bool(one) for one in (self.structure, self.dyn, self.origin)) > 1:
            raise ConfigError(
                "A run starts from a structure, from dyn files, or from a finished run. Give one "
                "of --structure, --dyn and --from."
            )
        self._check_counts()

    def _check_counts(self) -> None:
        """Check the numbers of labels; what is fixed is spelled out, as earlier versions did."""
        counts, least = self.counts, self.least_labels
        if self.labels is LabelPolicy.FIXED:
            self._spell_out(counts)
            if counts.n_check < MIN_LABELS:
                raise ConfigError(
                    f"certificate.n_labels = {counts.n_check} is too few for labels = "
                    f'"fixed"; give at least {MIN_LABELS}.'
                )
        if self.max_labels < least:
            first = f"{counts.n_start} to train, {counts.n_test} to test and "
            raise ConfigError(
                f"max_labels = {self.max_labels} is less than the {least} that one round takes: "
                f"{'' if self.origin else first}{counts.n_check} to check. Raise the "
                "budget or lower these."
            )

    def _check_symmetry(self) -> None:
        """Check which operations are imposed, and how far atoms may move for the group."""
        if self.symmetry not in {"full", "none"}:
            for operation in self.symmetry.split(";"):
                read_triplet(operation)
        if self.symmetrise is not None:
            check_symmetrise(self.symmetrise)
            if self.dyn:
                raise ConfigError("symmetrise is for a structure; dyn files keep their group.")

    def _spell_out(self, counts: LabelCounts) -> None:
        """Write the numbers of labels into the settings of the stages."""
        names = ("n_start", "n_test", "n_extra", "max_lessons")
        training = replace(self.training, **{name: getattr(counts, name) for name in names})
        certificate = replace(
            self.certificate, n_labels=counts.n_check, max_rounds=counts.max_rounds
        )
        object.__setattr__(self, "training", training)
        object.__setattr__(self, "certificate", certificate)

    @property
    def counts(self) -> LabelCounts:
        """How many labels each stage takes: what is given, else by policy and kind."""
        return self.counts_for(self.model)

    def counts_for(self, kind: str) -> LabelCounts:
        """Return how many labels each stage takes with a kind of potential."""
        usual, training = usual_counts(self.labels, kind), self.training
        certificate = self.certificate

        def given(value: int | None, default: int) -> int:
            return default if value is None else value

        n_check = given(certificate.n_labels, usual.n_check)
        return LabelCounts(
            n_start=given(training.n_start, usual.n_start),
            n_test=given(training.n_test, usual.n_test),
            n_explored=given(training.n_explored, usual.n_explored),
            n_extra=given(training.n_extra, usual.n_extra),
            n_check=n_check,
            n_reserve=max(n_check, usual.n_reserve) if certificate.n_labels is None else n_check,
            max_rounds=given(certificate.max_rounds, usual.max_rounds),
            max_lessons=given(training.max_lessons, usual.max_lessons),
        )

    def _check_nuclei(self) -> None:
        """Check how the nuclei move, and their masses."""
        object.__setattr__(self, "nuclei", as_nuclei(self.nuclei))
        object.__setattr__(self, "masses", check_masses(self.masses))
        for temperature in (self.temperature, self.training_temperature):
            check_temperature(temperature, self.nuclei)
        if self.engine == "python-sscha":
            check_quantum(self.nuclei)

    @property
    def least_labels(self) -> int:
        """Labels without which no certificate is possible."""
        counts = self.counts
        return counts.n_check + (0 if self.origin else counts.n_start + counts.n_test)

    @property
    def training_temperature(self) -> float:
        """Temperature of the first ensemble, K."""
        given = self.training.temperature
        return self.temperature if given is None else given

    def hyper_parameters(self, kind: str) -> dict[str, Any]:
        """Return the settings that were given for a kind of potential."""
        return dict(self.potential.get(kind, {}))

    def relaxation_settings(self) -> RelaxationSettings:
        """Return the settings of the final relaxation."""
        loop = self.relaxation
        return RelaxationSettings(
            n_configs=self.configs,
            max_populations=loop.max_populations,
            cell=self.cell,
            tolerances=loop.tolerances,
            minimiser=loop.minimiser,
            sampler=loop.sampler,
            antithetic=loop.antithetic,
            minimum_distance_ratio=loop.minimum_distance_ratio,
            max_volume_change=loop.max_volume_change,
            reuse=loop.reuse,
        )

    def exploration_settings(self) -> RelaxationSettings:
        """Return the settings of the short relaxation that finds where to label."""
        return replace(
            self.relaxation_settings(),
            n_configs=min(self.configs, self.training.explore_configs),
            max_populations=self.training.explore_populations,
            looseness=5.0,
        )

    def table(self) -> Table:
        """Return what differs from the defaults, and the main settings that do not."""
        given, usual = flatten(self.to_mapping()), flatten(RunSettings(0.0).to_mapping())
        shown = [key for key in given if key in _MAIN or given[key] != usual.get(key)]
        rows = tuple((key, str(given[key])) for key in shown)
        return Table("Settings of a run", rows, note="Everything else has its default.")

    def to_mapping(self) -> dict[str, Any]:
        """Return plain values that TOML can hold."""
        plain: dict[str, Any] = _plain(
            {
                **asdict(self),
                "masses": dict(self.masses),
                "potential": {name: dict(one) for name, one in self.potential.items()},
            }
        )
        return plain

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "RunSettings":
        """Return settings from nested plain values.

        Raises
        ------
        ConfigError
            If a key is unknown, a value has the wrong type, or is out of range.
        """
        if "temperature" not in values:
            raise ConfigError("No temperature is given; write for example --T 300.")
        settings: RunSettings = _build(cls, as_now(values), "")
        return settings


def as_now(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of a run as they are written now.

    Earlier versions had the table of a kind of potential by itself, ``[KIND]`` in place of
    ``[potential.KIND]``, and wrote the limits of the uncertainty where none were given.

    Raises
    ------
    ConfigError
        If the settings of a kind are not a table.
    """
    now, tables = dict(values), dict(_table(values.get("potential", {}), "potential"))
    former = [kind for kind in built_in_kinds() if kind in now]
    for kind in former:
        tables[kind] = merge(_table(tables.get(kind, {}), kind), _table(now.pop(kind), kind))
    for kind, one in tables.items():
        _table(one, f"potential.{kind}")
    if former and isinstance(training := now.get("training"), Mapping):
        now["training"] = {
            key: value for key, value in training.items() if _WRITTEN_BEFORE.get(key) != value
        }
    return {**now, "potential": tables} if tables or "potential" in now else now


def _table(value: Any, where: str) -> Mapping[str, Any]:
    """Check that a value is a table of settings."""
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} must be a table of settings, not {value!r}.")
    return value


def _build(cls: type[Any], values: Mapping[str, Any], where: str) -> Any:
    """Make a settings dataclass from plain values, refusing unknown keys."""
    hints = get_type_hints(cls)
    known = [one.name for one in fields(cls)]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ConfigError(f"Unknown setting {where}{unknown[0]}; known here: {', '.join(known)}.")
    return cls(**{key: _convert(hints[key], value, where + key) for key, value in values.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Check and convert one plain value."""
    if is_dataclass(hint):
        return _build(hint, _table(value, where), where + ".")  # type: ignore[arg-type]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _choice(hint, value, where)
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where} = {value!r} must be a list.")
        return tuple(value)
    if get_origin(hint) is Mapping:
        return _table(value, where)
    allowed = tuple(one for one in (*get_args(hint), hint) if isinstance(one, type))
    if float in allowed and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, allowed) and (bool in allowed or not isinstance(value, bool)):
        return value
    names = " or ".join(one.__name__ for one in allowed)
    raise ConfigError(f"{where} = {value!r} must be {names}.")


def _choice(kind: type[Enum], value: Any, where: str) -> Enum:
    """Return the member of an enumeration that a value names."""
    choices = [member.value for member in kind]
    if value not in choices:
        raise ConfigError(f"{where} = {value!r} must be one of: {', '.join(choices)}.")
    return kind(value)


def _plain(value: Any) -> Any:
    """Turn enums, tuples and None away: what is left fits TOML and JSON."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items() if one is not None}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value.value if isinstance(value, Enum) else value


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read a settings file.

    Raises
    ------
    ConfigError
        If it is missing or is not TOML.
    """
    try:
        values: dict[str, Any] = tomllib.loads(written_text(path))
    except FileNotFoundError as err:
        raise ConfigError(f"There is no settings file {path}.") from err
    except (OSError, ValueError, RecursionError) as err:  # not TOML, or nested too deep
        raise ConfigError(f"The settings file {path} cannot be read: {cause_of(err)}.") from err
    return values


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the values of `over` on top, tables merged."""
    merged = dict(base)
    for key, value in over.items():
        mine = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(mine, Mapping)
        merged[key] = merge(mine, value) if both else value  # type: ignore[arg-type]
    return merged


def format_toml(values: Mapping[str, Any]) -> str:
    """Return nested plain values as TOML text."""
    lines: list[str] = []
    _format_table(values, "", lines)
    return "\n".join(lines) + "\n"


def _format_table(values: Mapping[str, Any], name: str, lines: list[str]) -> None:
    if name:
        lines += ["", f"[{name}]"]
    for key, value in values.items():
        if not isinstance(value, Mapping):
            lines.append(f"{key} = {_format_value(value)}")
    for key, value in values.items():
        if isinstance(value, Mapping):
            _format_table(value, f"{name}.{key}" if name else key, lines)


def _format_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)  # JSON's escapes are also TOML's
    if isinstance(value, list):
        return "[" + ", ".join(_format_value(one) for one in value) + "]"
    return repr(value)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return one line per setting that differs and decides the result."""
    before, after = flatten(old), flatten(new)
    devices = _devices(new)
    keys = [
        key
        for key in {**before, **after}
        if key.partition(".")[0] not in EXECUTION and key not in devices
    ]
    return [
        f"{key}: {before.get(key, 'not set')} -> {after.get(key, 'not set')}"
        for key in keys
        if before.get(key) != after.get(key)
    ]


def _devices(values: Mapping[str, Any]) -> set[str]:
    """Return the settings that say where the kind of potential computes."""
    model = values.get("model", DEFAULT)
    try:
        kinds = installed_kinds()[0] if model == AUTO else (find_kind(str(model)),)
    except ConfigError:
        return set()
    return {f"potential.{one.name}.{one.device.setting}" for one in kinds if one.device}
