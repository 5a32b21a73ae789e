"""Settings of an MTP fit."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Self

from sscha_mlp.errors import ConfigError
from sscha_mlp.potentials.given import known_settings, require_choice, require_integer
from sscha_mlp.potentials.mtp.enumeration import check_size, make_template
from sscha_mlp.potentials.mtp.template import Template

_POSITIVE: Final = ("cutoff", "energy_sigma", "force_sigma", "stress_sigma")
_NOT_NEGATIVE: Final = ("smoothness", "refine_until", "refine_seconds")
_USUAL_LEVELS: Final = {1: 14, 2: 10}
_LEAST_LEVEL: Final = 8
_REFINED_POLYNOMIALS: Final = 8
_GRADES: Final = ("neighborhood", "configuration")
_SPECIES: Final = ("both", "centre", "neighbour", "shared")


@dataclass(frozen=True, kw_only=True)
class MtpSettings:
    """What an MTP is made of, and how its coefficients are found.

    Parameters
    ----------
    level
        Largest level of a basis function, from 2 to 28; 0 for one by the number of species: 14 for
        one, 10 for two, 8 for more.
    radial_weight
        What a step in the index of the radial function adds to the level: 4 for the basis of MLIP,
        1 for one with many more radial functions at the same level.
    max_tensors
        Most moment tensors in one basis function, one less than its body order; 4 in MLIP.
    cutoff
        Radius of an atomic environment, Å.
    min_dist_ratio
        The radial functions begin at this part of the shortest distance in the training data.
    species
        What radial functions distinguish in a crystal of several species: ``both`` the central
        atom and its neighbour, ``centre`` only the former, ``neighbour`` only the latter.  With
        ``shared`` all pairs have radial functions for the same coefficients, as in MLIP; only
        refinement then makes them differ.
    n_polynomials
        Chebyshev polynomials in each radial function, at least as many as there are functions:
        a fit without refinement uses no more.  0 for that number, with refinement for 8 or more.
    energy_sigma
        Error that weighs the energies, eV/atom.
    force_sigma
        Error that weighs the forces, eV/Å.
    stress_sigma
        Error that weighs the stresses, eV/Å³.
    smoothness
        The coefficient of a basis function of level l is taken to be of the size exp(-s l / 2).
    ridge
        Strength of the regularisation, relative to the largest singular value squared; chosen by
        cross-validation when not set.
    n_folds
        Folds of that cross-validation, of whole configurations; at least 2.
    refine_steps
        Steps by which the radial functions are refined after the linear fit; 0 for none.
    refine_until
        Residual of the configurations held out, in units of the three errors above, that needs no
        further step; 0 for no such end.
    refine_seconds
        Time that these steps may take: none is begun that would not end in time, and the result
        depends on the speed of the machine.  0 for no limit.
    compare_linear
        With refinement: also fit the linear basis of the defaults with the same cutoff, and keep
        it where it predicts the configurations held out better.
    grade
        Rows of the extrapolation grade: ``neighborhood`` (atoms) or ``configuration`` (their sum).

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    level: int = 0
    radial_weight: int = 1
    max_tensors: int = 3
    cutoff: float = 5.0
    species: str = "both"
    min_dist_ratio: float = 0.95
    n_polynomials: int = 0
    energy_sigma: float = 0.001
    force_sigma: float = 0.03
    stress_sigma: float = 0.002
    smoothness: float = 0.3
    ridge: float | None = None
    n_folds: int = 5
    refine_steps: int = 0
    refine_until: float = 0.1
    refine_seconds: float = 0.0
    compare_linear: bool = False
    grade: str = "neighborhood"

    def __post_init__(self) -> None:
        """Check types and ranges."""
        for name, least in {"n_polynomials": 0, "n_folds": 2, "refine_steps": 0}.items():
            require_integer("MTP", name, getattr(self, name), least)
        for name, least in {"level": 0, "radial_weight": 1, "max_tensors": 1}.items():
            require_integer("MTP", name, getattr(self, name), least)
        check_size(self.level or 2, self.radial_weight, self.max_tensors)
        for name in _POSITIVE:
            _require_number(name, getattr(self, name), 0.0, exclusive=True)
        for name in _NOT_NEGATIVE:
            _require_number(name, getattr(self, name), 0.0)
        _require_number("min_dist_ratio", self.min_dist_ratio, 0.0, exclusive=True)
        if self.min_dist_ratio > 1.0:
            raise ConfigError(
                f"MTP setting min_dist_ratio = {self.min_dist_ratio} must not be above 1: the "
                "radial functions would not cover the training data."
            )
        if self.ridge is not None:
            _require_number("ridge", self.ridge, 0.0)
        if not isinstance(self.compare_linear, bool):
            raise ConfigError(
                f"MTP setting compare_linear = {self.compare_linear!r} must be true or false."
            )
        for name, choices in {"grade": _GRADES, "species": _SPECIES}.items():
            require_choice("MTP", name, getattr(self, name), choices)

    def linear(self) -> Self:
        """Return the settings of a linear fit in the basis of the defaults, else the same."""
        plain = type(self)()
        basis = ("level", "radial_weight", "max_tensors", "species", "n_polynomials")
        return replace(
            self,
            refine_steps=0,
            compare_linear=False,
            **{name: getattr(plain, name) for name in basis},
        )

    def channels(self, n_species: int) -> tuple[int, int]:
        """Return the kinds of neighbours and of centres that radial functions distinguish."""
        return (
            n_species if self.species in {"both", "neighbour"} else 1,
            n_species if self.species in {"both", "centre"} else 1,
        )

    def polynomials(self, n_orders: int) -> int:
        """Return the number of polynomials in each of so many radial functions."""
        usual = _REFINED_POLYNOMIALS if self.refine_steps else 0
        return max(self.n_polynomials or usual, n_orders)

    def template(self, n_species: int) -> Template:
        """Return the template for a crystal of so many species."""
        n_neighbours, n_centres = self.channels(n_species)
        return make_template(
            self.level or _USUAL_LEVELS.get(n_species, _LEAST_LEVEL),
            radial_weight=self.radial_weight,
            max_tensors=self.max_tensors,
            n_neighbours=n_neighbours,
            n_centres=n_centres,
        )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any] | None) -> Self:
        """Return the defaults changed by `values`.

        Raises
        ------
        ConfigError
            If a key is unknown or a value out of range.
        """
        return cls(**known_settings(cls, values, "MTP"))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, as they go into JSON."""
        return asdict(self)


def _require_number(name: str, value: object, least: float, *, exclusive: bool = False) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < least or (exclusive and value == least):  # type: ignore[arg-type, operator]
        bound = "above" if exclusive else "at least"
        raise ConfigError(f"MTP setting {name} = {value!r} must be a number {bound} {least:g}.")
