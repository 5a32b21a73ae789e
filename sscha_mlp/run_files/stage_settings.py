"""Settings of the stages of a run: start, training, relaxation, certificate."""

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from sscha_mlp.ensemble.nuclei import check_temperature
from sscha_mlp.ensemble.sampling import MINIMUM_DISTANCE_RATIO, Sampler
from sscha_mlp.errors import ConfigError
from sscha_mlp.potentials.kind import LabelCounts
from sscha_mlp.potentials.registry import schedule_of
from sscha_mlp.scha.convergence import Tolerances
from sscha_mlp.scha.minimiser import MinimiserSettings
from sscha_mlp.validation.bounds import LEAST
from sscha_mlp.validation.certificate import CertificateTolerances


class LabelPolicy(StrEnum):
    """What decides how many labels a run takes."""

    NEED = "need"
    FIXED = "fixed"


def usual_counts(policy: LabelPolicy, model: str) -> LabelCounts:
    """Return how many labels each stage takes where the settings do not say so."""
    schedule = schedule_of(model)
    return schedule.need if policy is LabelPolicy.NEED else schedule.fixed


@dataclass(frozen=True)
class StartSettings:
    """How the start is made.

    Parameters
    ----------
    relax
        Whether the structure is relaxed with the reference first.
    fmax
        Largest force left by that relaxation, eV/Å.
    displacement
        How far atoms are moved for the harmonic force constants, Å.
    smallest_frequency_thz
        Unstable and softer modes are lifted to at least this frequency, THz.
    primitive
        Whether the structure is reduced to its primitive cell; dyn files and earlier runs keep
        their cell.
    """

    relax: bool = True
    fmax: float = 1.0e-3
    displacement: float = 0.01
    smallest_frequency_thz: float = 0.5
    primitive: bool = True

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("fmax", "displacement", "smallest_frequency_thz"):
            if not 0 < getattr(self, name) < np.inf:
                raise ConfigError(f"start.{name} = {getattr(self, name)} is not a number above 0.")


@dataclass(frozen=True)
class TrainingSettings:
    """Where training configurations come from, and how many.

    Parameters
    ----------
    temperature
        Temperature of the first ensemble, K; that of the run when left out.
    n_start
        Training labels drawn at the start state; at least 4.  When one of these numbers is left
        out, ``labels`` of the run and the kind of potential decide it.
    n_test
        Test labels drawn at the start state, at least 4, or 0 for none; no fit ever sees them.
    n_explored
        Training labels drawn where a short relaxation with the first model leads; 0 leaves the
        exploration out.
    n_extra
        Labels chosen from the ensemble after a failed certificate, beside those of the check; also
        the most labels of one lesson.
    strain
        Largest strain of the cells of labels that are drawn where a relaxation broke down: those of
        one cell do not say how the energy changes with the volume.
    explore_configs
        Configurations per population of the short relaxation, even; 0 leaves it out.
    explore_populations
        Largest number of populations of the short relaxation.
    alarm_ratio
        Where the uncertainty of a kind of potential has no limit of its own, a model has left its
        domain when its median uncertainty exceeds that on the test set this many times.
    break_grade
        Where it has one, as an extrapolation grade has, a model has left its domain when its
        uncertainty exceeds this on more than ``break_fraction`` of a population; that limit when
        left out, which for an MTP is a grade of 10.
    break_fraction
        See ``break_grade``; at least 0, less than 1.
    save_grade
        In a lesson, configurations of a lower uncertainty are not labelled; when left out, what
        the kind says, which for an MTP is a grade of 2.
    max_lessons
        How often a relaxation may stop to learn before it counts as another round; 0 for never.
    """

    temperature: float | None = None
    n_start: int | None = None
    n_test: int | None = None
    n_explored: int | None = None
    n_extra: int | None = None
    strain: float = 0.015
    explore_configs: int = 200
    explore_populations: int = 5
    alarm_ratio: float = 3.0
    break_grade: float | None = None
    break_fraction: float = 0.001
    save_grade: float | None = None
    max_lessons: int | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.temperature is not None:
            check_temperature(self.temperature)
        for name, count in (("n_start", self.n_start), ("n_test", self.n_test or None)):
            if count is not None and count < 4:
                raise ConfigError(f"training.{name} = {count} is less than 4.")
        self._check_limits()
        counts = ("n_explored", "n_extra", "explore_configs", "explore_populations", "max_lessons")
        for name in counts:
            if (getattr(self, name) or 0) < 0:
                raise ConfigError(f"training.{name} = {getattr(self, name)} is negative.")
        if self.explore_configs % 2:
            raise ConfigError(f"training.explore_configs = {self.explore_configs} must be even.")
        if self.explore_configs and self.explore_populations < 1:
            raise ConfigError(
                "training.explore_populations must be at least 1; explore_configs = 0 leaves the "
                "exploration out."
            )

    def _check_limits(self) -> None:
        """Check when a model is stopped."""
        for name in ("alarm_ratio", "break_grade", "save_grade"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"training.{name} = {getattr(self, name)} is not above 0.")
        if not 0 <= self.strain < 0.1:
            raise ConfigError(f"training.strain = {self.strain} is not between 0 and 0.1.")
        if not 0 <= self.break_fraction < 1:
            raise ConfigError(
                f"training.break_fraction = {self.break_fraction} is not between 0 and 1."
            )


@dataclass(frozen=True)
class CertificateSettings:
    """How the converged state is checked.

    Parameters
    ----------
    n_labels
        Fresh labels of the first look, at least 3, and at least 8 where ``labels`` of the run is
        fixed; more follow until it is decided.  ``labels`` decides it when left out.
    max_rounds
        Rounds of training and relaxation before the run gives up; ``labels`` decides it when left
        out.
    tolerances
        What the reference may shift.
    """

    n_labels: int | None = None
    max_rounds: int | None = None
    tolerances: CertificateTolerances = field(default_factory=CertificateTolerances)

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.n_labels is not None and self.n_labels < LEAST:
            raise ConfigError(
                f"certificate.n_labels = {self.n_labels} is too few; give at least {LEAST}."
            )
        if self.max_rounds is not None and self.max_rounds < 1:
            raise ConfigError("certificate.max_rounds must be at least 1.")


@dataclass(frozen=True)
class LoopSettings:
    """How each relaxation is done; see :class:`sscha_mlp.scha.relaxation.RelaxationSettings`.

    Parameters
    ----------
    max_populations
        Largest number of populations of each relaxation.
    sampler
        What the configurations of a population are drawn with.
    antithetic
        Whether they come in pairs u, -u.
    minimum_distance_ratio
        A configuration with two atoms closer than this part of the shortest bond is replaced; 0
        keeps all.
    max_volume_change
        Relative change of the volume since the start that ends a relaxation.
    reuse
        Whether earlier populations of the same cell are used again by importance weights, so that
        fewer configurations are drawn.
    tolerances
        When a relaxation is converged.
    minimiser
        How each ensemble is minimised.
    """

    max_populations: int = 20
    sampler: Sampler = Sampler.SOBOL
    antithetic: bool = True
    minimum_distance_ratio: float = MINIMUM_DISTANCE_RATIO
    max_volume_change: float = 0.15
    reuse: bool = True
    tolerances: Tolerances = field(default_factory=Tolerances)
    minimiser: MinimiserSettings = field(default_factory=MinimiserSettings)

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.max_populations < 1:
            raise ConfigError("relaxation.max_populations must be at least 1.")
        if not self.max_volume_change > 0:
            raise ConfigError(
                f"relaxation.max_volume_change = {self.max_volume_change} is not above 0."
            )
        if not 0 <= self.minimum_distance_ratio < 1:
            raise ConfigError(
                f"relaxation.minimum_distance_ratio = {self.minimum_distance_ratio} is not between "
                "0 and 1."
            )
