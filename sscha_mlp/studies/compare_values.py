"""Model against reference: what was compared, and which observables depart."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from sscha_mlp import units
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.structure import Crystal, FloatArray
from sscha_mlp.crystal.symmetry import SpaceGroup
from sscha_mlp.digits import DASH, significant
from sscha_mlp.properties.dispersion import Dispersion
from sscha_mlp.properties.elastic import ElasticConstants
from sscha_mlp.properties.equation_of_state import EquationOfState
from sscha_mlp.properties.modes import TRANSLATION_THZ, levels
from sscha_mlp.quantities import AtWaveVector
from sscha_mlp.tables import Shown, Table

VOLUME_LIMIT: Final = 0.005
"""Relative difference of the volume at rest that counts as a departure."""

MODULUS_LIMIT: Final = 0.05
"""Relative difference of a bulk modulus or an elastic constant that counts as a departure."""


@dataclass(frozen=True)
class LabelCount:
    """Reference labels of one part of a comparison.

    Parameters
    ----------
    part
        What they are for.
    n_needed
        How many configurations.
    n_new
        Those that the store did not have.
    n_failed
        Those without a label now.
    """

    part: str
    n_needed: int
    n_new: int
    n_failed: int = 0

    @property
    def n_stored(self) -> int:
        """Labels found in the store."""
        return self.n_needed - self.n_new


@dataclass(frozen=True)
class Extrapolation:
    """How far a part leads the model out of its training data.

    Parameters
    ----------
    part
        Which configurations.
    largest
        Largest uncertainty of the model on them.
    n_beyond
        Configurations beyond the limit.
    n_configs
        All of them.
    """

    part: str
    largest: float
    n_beyond: int
    n_configs: int


@dataclass(frozen=True)
class LevelRow(AtWaveVector):
    """Modes of one frequency at a wave vector of the supercell, THz.

    Parameters
    ----------
    q
        In reciprocal-lattice units.
    band
        Index of the first mode, from 1 in rising order.
    degeneracy
        How many modes.
    reference, model
        Of the two; for the SSCHA the corrected frequency stands for the reference.
    stderr
        Standard error of ``reference``; 0 for harmonic frequencies.
    name
        Of the special point; empty where it has none.
    """

    q: tuple[float, float, float]
    band: int
    degeneracy: int
    reference: float
    model: float
    stderr: float = 0.0
    name: str = ""

    @property
    def difference(self) -> float:
        """Model less reference, THz."""
        return self.model - self.reference


@dataclass(frozen=True, eq=False)
class FrequencyEntry:
    """Frequencies of model and reference at one irreducible wave vector, THz.

    Parameters
    ----------
    q
        In reciprocal-lattice units.
    reference, model
        Shape (n_bands,); mode beside mode.
    stderr
        Standard errors of ``reference``, shape (n_bands,).
    name
        Of the special point; empty where it has none.
    """

    q: tuple[float, float, float]
    reference: FloatArray
    model: FloatArray
    stderr: FloatArray
    name: str = ""

    @property
    def moving(self) -> np.ndarray:
        """False for translations, shape (n_bands,)."""
        return np.asarray(np.abs(self.reference) > TRANSLATION_THZ)

    def rows(self) -> list[LevelRow]:
        """Levels of the reference; translations are left out."""
        found = []
        for level in levels(np.sort(self.reference)):
            part = np.argsort(self.reference, kind="stable")[level.modes]
            if not self.moving[part].any():
                continue
            found.append(
                LevelRow(
                    self.q,
                    level.first + 1,
                    level.degeneracy,
                    float(self.reference[part].mean()),
                    float(self.model[part].mean()),
                    float(self.stderr[part].max()),
                    self.name,
                )
            )
        return found


@dataclass(frozen=True, eq=False)
class FrequencyComparison:
    """Frequencies of model and reference on the wave vectors of the supercell.

    Parameters
    ----------
    entries
        One for each irreducible wave vector.
    weights
        How many wave vectors each stands for.
    """

    entries: tuple[FrequencyEntry, ...]
    weights: tuple[int, ...]

    @cached_property
    def rows(self) -> tuple[LevelRow, ...]:
        """All levels."""
        return tuple(row for entry in self.entries for row in entry.rows())

    @property
    def rms(self) -> float:
        """Root mean square difference over all modes of the supercell, THz."""
        squares = [
            weight * np.sum((entry.model - entry.reference)[entry.moving] ** 2)
            for entry, weight in zip(self.entries, self.weights, strict=True)
        ]
        counts = [
            weight * entry.moving.sum()
            for entry, weight in zip(self.entries, self.weights, strict=True)
        ]
        return float(np.sqrt(np.sum(squares) / np.sum(counts)))

    @property
    def largest(self) -> LevelRow:
        """The level with the largest difference."""
        return max(self.rows, key=lambda row: abs(row.difference))


@dataclass(frozen=True, eq=False)
class HarmonicComparison:
    """Harmonic phonons of both on the same displaced cells.

    Parameters
    ----------
    group
        Operations that the run imposes on that structure.
    reference, model
        Force constants at the structure of the start.
    reference_bands, model_bands
        Along the standard path of that structure.
    frequencies
        On the wave vectors of the supercell.
    own
        Crystal that the model itself relaxes to; None where it was not relaxed.
    own_bands
        The model's bands there, along the same path in reciprocal-lattice units.
    own_frequencies
        Those of the model there beside those of the reference at the structure of the start.
    """

    group: SpaceGroup
    reference: DynamicalMatrix
    model: DynamicalMatrix
    reference_bands: Dispersion
    model_bands: Dispersion
    frequencies: FrequencyComparison
    own: Crystal | None = None
    own_bands: Dispersion | None = None
    own_frequencies: FrequencyComparison | None = None


@dataclass(frozen=True, eq=False)
class VolumeComparison:
    """Energies of the lattice at rest at several volumes, shape and scaled positions kept.

    Parameters
    ----------
    volumes
        Shape (n,), Å³/atom.
    reference, model
        Energies, shape (n,), eV/atom.
    reference_fit, model_fit
        Equations of state; None where there is no minimum to fit.
    """

    volumes: FloatArray
    reference: FloatArray
    model: FloatArray
    reference_fit: EquationOfState | None
    model_fit: EquationOfState | None


@dataclass(frozen=True, eq=False)
class ElasticComparison:
    """Elastic constants of the lattice at rest.

    Parameters
    ----------
    reference, model
        The constants.
    places
        Rows and columns of the independent ones, from 0.
    n_strains
        Directions of strain that they were taken from.
    """

    reference: ElasticConstants
    model: ElasticConstants
    places: tuple[tuple[int, int], ...]
    n_strains: int

    @property
    def is_relaxed(self) -> bool:
        """Whether both have constants with relaxed atoms."""
        return self.reference.relaxed is not None and self.model.relaxed is not None

    def pair(self) -> tuple[FloatArray, FloatArray]:
        """Reference and model, relaxed where both are, GPa, shape (6, 6) each."""
        both = self.reference, self.model
        if self.is_relaxed:
            first, second = (np.asarray(one.relaxed) for one in both)
        else:
            first, second = (one.clamped for one in both)
        return first / units.GPA, second / units.GPA


@dataclass(frozen=True)
class Departure:
    """The difference of one observable between model and reference.

    Parameters
    ----------
    name
        What it is.
    difference
        Model less reference.
    unit
        Its unit.
    relative
        Divided by the reference; None where that is zero.
    departs
        Whether it is beyond its limit.
    where
        Which of several values it is the largest of, in words.
    """

    name: str
    difference: float
    unit: str
    relative: float | None
    departs: bool
    where: str = ""

    def __str__(self) -> str:
        """Name and difference, with a true minus sign."""
        parts = [self.where] if self.where else []
        parts.append(f"{self.difference:+.3g} {self.unit}")
        if self.relative is not None:
            parts.append(f"{100 * self.relative:+.2g} %")
        return f"{self.name} ({', '.join(parts)})".replace("-", "−")


@dataclass(frozen=True, eq=False)
class Comparison(Shown):
    """Model against reference of a finished run.

    Parameters
    ----------
    title
        What the run is of.
    temperature
        Of the run, K.
    is_certified
        Whether the run ended with its certificate.
    frequency_limit
        Differences of frequencies that count as departures: THz, and relative; the larger holds.
    harmonic, eos, elastic
        Of the lattice at rest; None where a part was left out or failed.
    sscha
        Frequencies at the temperature of the run, the corrected ones for the reference.
    labels
        Reference labels by part.
    extrapolation
        By part; empty where the model states no uncertainty with a limit.
    notes
        What a reader has to know about these numbers, in sentences.
    """

    title: str
    temperature: float
    is_certified: bool
    frequency_limit: tuple[float, float]
    harmonic: HarmonicComparison
    eos: VolumeComparison | None
    elastic: ElasticComparison | None
    sscha: FrequencyComparison
    labels: tuple[LabelCount, ...]
    extrapolation: tuple[Extrapolation, ...] = ()
    notes: tuple[str, ...] = ()

    @cached_property
    def departures(self) -> tuple[Departure, ...]:
        """Each observable of the lattice at rest, and the SSCHA frequencies last."""
        found = [self._frequencies("harmonic frequencies", self.harmonic.frequencies)]
        if self.eos is not None:
            found += _of_volumes(self.eos)
        if self.elastic is not None:
            reference, model = self.elastic.pair()
            found += [
                _modulus(constant_name(place), float(reference[place]), float(model[place]))
                for place in self.elastic.places
            ]
        return (*found, self._frequencies("SSCHA frequencies", self.sscha))

    def _frequencies(self, name: str, found: FrequencyComparison) -> Departure:
        """The level that is farthest beyond its limit, or nearest to it."""
        row = max(found.rows, key=lambda one: abs(one.difference) / self.allowed(one.reference))
        relative = row.difference / abs(row.reference) if row.reference else None
        departs = bool(abs(row.difference) > self.allowed(row.reference))
        worst = f"worst against its limit {row.reference:.2f} THz at q = {row.shown_q}"
        where = f"rms {found.rms:.3f} THz; {worst}"
        return Departure(name, row.difference, "THz", relative, departs, where)

    def allowed(self, frequency: float) -> float:
        """Difference of a frequency (THz) that is no departure, THz."""
        absolute, relative = self.frequency_limit
        return max(absolute, relative * abs(frequency))

    @property
    def verdict(self) -> str:
        """Which observables depart, and which numbers are the ones to use."""
        *at_rest, sscha = self.departures
        use = (
            "The corrected values of the run are the ones to use."
            if self.is_certified
            else "The run ended without its certificate: its corrected values hold at the cell "
            "where they were checked, and its volume is not to be used."
        )
        return " ".join(
            [
                _named("At rest", at_rest),
                _named(f"At {self.temperature:g} K", [sscha]),
                use,
                f"The certificate is about the state at {self.temperature:g} K: a model that "
                "learned that state need not be right for the lattice at rest.",
            ]
        )

    def table(self) -> Table:
        """Return each observable with its difference, and the verdict."""
        rows = [
            (
                one.name,
                f"{significant(one.difference)} {one.unit}",
                DASH if one.relative is None else f"{significant(100.0 * one.relative, 2)} %",
                "yes" if one.departs else "no",
            )
            for one in self.departures
        ]
        columns = ("Observable", "model − reference", "relative", "departs")
        return Table(f"Model against reference: {self.title}", tuple(rows), columns, self.verdict)


def constant_name(place: tuple[int, int]) -> str:
    """Name of an elastic constant by its row and column from 0, such as ``C11``."""
    return f"C{place[0] + 1}{place[1] + 1}"


def _of_volumes(eos: VolumeComparison) -> list[Departure]:
    """Volume and bulk modulus of the two fits."""
    first, second = eos.reference_fit, eos.model_fit
    if first is None or second is None:
        return []
    change = second.volume - first.volume
    relative = change / first.volume
    return [
        Departure("V0", change, "Å³/atom", relative, abs(relative) > VOLUME_LIMIT),
        _modulus("B0", first.bulk_modulus / units.GPA, second.bulk_modulus / units.GPA),
    ]


def _modulus(name: str, reference: float, model: float) -> Departure:
    relative = (model - reference) / abs(reference) if reference else None
    departs = relative is None or abs(relative) > MODULUS_LIMIT
    return Departure(name, model - reference, "GPa", relative, departs)


def _named(when: str, found: Sequence[Departure]) -> str:
    """Sentence on the departures among these, and on what agrees."""
    beyond = [str(one) for one in found if one.departs]
    within = [str(one) for one in found if not one.departs]
    if not beyond:
        return f"{when} the model agrees with the reference: {', '.join(within)}."
    agree = f"; within their limits are {', '.join(within)}" if within else ""
    return f"{when} the model departs from the reference in {', '.join(beyond)}{agree}."
