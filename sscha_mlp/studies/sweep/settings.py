"""All that decides a sweep."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sscha_mlp.errors import ConfigError
from sscha_mlp.run_files.settings import RunSettings, merge
from sscha_mlp.run_files.stage_settings import LabelPolicy
from sscha_mlp.studies.sweep.plan import first_point
from sscha_mlp.tables import Shown, Table

_FOR_THE_FIRST: Final = 250
_FOR_EACH: Final = 30
"""Budget of a sweep where none is given: for its first point, and for each other one."""

_BY_NEED: Final = 4
_FIXED: Final = 12
"""Labels of the first look of a certificate, by the policy of the runs."""


_OF_A_POINT: Final = ("temperature", "pressure", "max_labels")
"""Settings that each point has of its own."""


@dataclass(frozen=True)
class SweepSettings(Shown):
    """All settings of a sweep.

    Parameters
    ----------
    temperatures, pressures
        K, GPa; every pair is a point.
    run
        Settings that all points share, as :class:`RunSettings` has them, without temperature and
        pressure.
    max_labels
        Budget of all points together, without the reference calls of the start; 0 for 250 and 30
        for each point after the first.
    check_labels
        Labels of the first look of each certificate after that of the first point; 0 for 4 by need,
        and 12 where ``labels`` of the runs is fixed.
    response_configs
        Configurations for the response of each point (:mod:`sscha_mlp.studies.response`); 0 leaves
        it out.
    hessian_configs
        Configurations for the free-energy Hessian of each point; 0 leaves it out.
    fourth
        Whether the Hessian includes the fourth order.

    Raises
    ------
    ConfigError
        If a number is out of range, or the budget does not suffice for a check of each point.
    """

    temperatures: tuple[float, ...]
    pressures: tuple[float, ...] = (0.0,)
    run: Mapping[str, Any] = field(default_factory=dict)
    max_labels: int = 0
    check_labels: int = 0
    response_configs: int = 4000
    hessian_configs: int = 0
    fourth: bool = False

    def __post_init__(self) -> None:
        """Check the ranges, and that each point would be a run."""
        for name in ("temperatures", "pressures"):
            values = tuple(float(one) for one in getattr(self, name))
            object.__setattr__(self, name, values)
        if not self.temperatures or not self.pressures:
            raise ConfigError("A sweep needs at least one temperature and one pressure.")
        if (
            self.response_configs < 0
            or self.hessian_configs < 0
            or min(self.max_labels, self.check_labels) < 0
        ):
            raise ConfigError("Numbers of configurations and labels must not be negative.")
        if self.hessian_configs % 2:
            raise ConfigError("The configurations of a Hessian come in pairs: give an even number.")
        resolved = self.shared(*self.first).to_mapping()
        kept = {key: value for key, value in resolved.items() if key not in _OF_A_POINT}
        object.__setattr__(self, "run", kept)
        for temperature in self.temperatures:
            self.shared(temperature, self.pressures[0])
        others = self.n_points - 1
        needed = self.shared(*self.first).least_labels + self.first_look * others
        if self.budget < needed:
            raise ConfigError(
                f"max_labels = {self.budget} is less than the {needed} that {self.n_points} points "
                "take at least; raise it, or ask for fewer points."
            )

    @property
    def first_look(self) -> int:
        """Labels of the first look of a certificate after that of the first point."""
        by_need = self.run.get("labels", LabelPolicy.NEED) == LabelPolicy.NEED
        return self.check_labels or (_BY_NEED if by_need else _FIXED)

    @property
    def n_points(self) -> int:
        """Number of points."""
        return len(set(self.temperatures)) * len(set(self.pressures))

    @property
    def first(self) -> tuple[float, float]:
        """Temperature (K) and pressure (GPa) of the first point."""
        return first_point(self.temperatures, self.pressures)

    @property
    def budget(self) -> int:
        """Labels for all points together."""
        return self.max_labels or _FOR_THE_FIRST + _FOR_EACH * (self.n_points - 1)

    def shared(self, temperature: float, pressure: float, **changes: Any) -> RunSettings:
        """Return the settings of a run at a point, with these changes (nested mappings)."""
        given = {"max_labels": self.budget, **changes}
        place = {"temperature": temperature, "pressure": pressure}
        return RunSettings.from_mapping(merge({**self.run, **place}, given))

    def to_mapping(self) -> dict[str, Any]:
        """Return plain values that TOML can hold."""
        return {
            "temperatures": list(self.temperatures),
            "pressures": list(self.pressures),
            "max_labels": self.max_labels,
            "check_labels": self.check_labels,
            "response_configs": self.response_configs,
            "hessian_configs": self.hessian_configs,
            "fourth": self.fourth,
            "run": dict(self.run),
        }

    def table(self) -> Table:
        """Return the points, what they may cost, and what the runs do not have by default."""
        shared = [
            (f"run.{name}", value)
            for name, value in self.shared(*self.first).table().rows
            if name not in _OF_A_POINT
        ]
        rows = (
            ("temperatures (K)", ", ".join(f"{one:g}" for one in self.temperatures)),
            ("pressures (GPa)", ", ".join(f"{one:g}" for one in self.pressures)),
            ("points", str(self.n_points)),
            ("first point", "{:g} K, {:g} GPa".format(*self.first)),
            ("labels at most", str(self.budget)),
            ("labels of a check", str(self.first_look)),
            ("configurations for the response", str(self.response_configs)),
            ("configurations for the Hessian", str(self.hessian_configs)),
            *shared,
        )
        return Table("Settings of a sweep", rows, note="Everything else has its default.")
