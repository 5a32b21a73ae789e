"""Hyper-parameters of a GAP/SOAP fit."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from sscha_mlp.errors import ConfigError
from sscha_mlp.potentials.given import known_settings, require_choice, require_integer

_SPARSE_METHODS: Final = ("cur_points", "random", "uniform")
_E0_METHODS: Final = ("average",)
_COUNTS: Final = {"n_sparse": 1, "zeta": 1, "l_max": 0, "n_max": 1, "pair_n_sparse": 0}
_POSITIVE: Final = (
    "cutoff",
    "atom_sigma",
    "delta",
    "cutoff_transition_width",
    "sparse_jitter",
    "pair_cutoff",
    "pair_delta",
    "pair_theta",
)


@dataclass(frozen=True, kw_only=True)
class GapSettings:
    """Hyper-parameters of gap_fit; the defaults are those of the SSCHA tutorial for silicon.

    Parameters
    ----------
    cutoff
        Radius of an atomic environment, Å.
    n_sparse
        Representative environments per species; fewer are used if the data have fewer.
    zeta
        Power of the dot-product kernel.
    l_max
        Angular size of the SOAP basis.
    n_max
        Radial size of the SOAP basis.
    atom_sigma
        Width of the Gaussian put on each neighbour, Å.
    delta
        Standard deviation of the local energy that the Gaussian process assumes, eV.
    cutoff_transition_width
        Distance over which the cutoff function falls to zero, Å.
    sparse_jitter
        Added to the diagonal of the covariance of the sparse points.
    default_sigma
        Assumed errors of the energies (eV/atom), force components (eV/Å), virials (eV/atom) and
        Hessian eigenvalues (there are none, so 0 is allowed there).
    e0_method
        ``average``: the mean energy per atom of the data is taken off every atom, whatever its
        species.  At fixed composition this is all that can be known.
    sparse_method
        How gap_fit chooses the representative environments: cur_points, random or uniform.
    pair_n_sparse
        Representative distances of a pair term added to SOAP; 0, the tutorial's choice, for none.
    pair_cutoff
        Radius of the pair term, Å.
    pair_delta
        Standard deviation of the pair energy that the Gaussian process assumes, eV.
    pair_theta
        Length over which the pair energy is smooth, Å.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    cutoff: float = 4.2
    n_sparse: int = 200
    zeta: int = 4
    l_max: int = 4
    n_max: int = 8
    atom_sigma: float = 0.5
    delta: float = 0.205
    cutoff_transition_width: float = 0.8
    sparse_jitter: float = 1.0e-8
    default_sigma: tuple[float, float, float, float] = (0.001, 0.03, 0.03, 0.0)
    e0_method: str = "average"
    sparse_method: str = "cur_points"
    pair_n_sparse: int = 0
    pair_cutoff: float = 4.2
    pair_delta: float = 1.0
    pair_theta: float = 0.3

    def __post_init__(self) -> None:
        for name, lowest in _COUNTS.items():
            require_integer("GAP", name, getattr(self, name), lowest)
        for name in _POSITIVE:
            object.__setattr__(self, name, _positive(name, getattr(self, name)))
        object.__setattr__(self, "default_sigma", _sigmas(self.default_sigma))
        require_choice("GAP", "e0_method", self.e0_method, _E0_METHODS)
        require_choice("GAP", "sparse_method", self.sparse_method, _SPARSE_METHODS)
        if self.cutoff_transition_width >= self.cutoff:
            raise ConfigError(
                f"GAP setting cutoff_transition_width = {self.cutoff_transition_width:g} Å must be "
                f"smaller than cutoff = {self.cutoff:g} Å."
            )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any] | None) -> Self:
        """Return the defaults changed by `values`.

        Raises
        ------
        ConfigError
            If a key is unknown or a value out of range.
        """
        return cls(**known_settings(cls, values, "GAP"))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, as they go into JSON."""
        return {**asdict(self), "default_sigma": list(self.default_sigma)}


def _positive(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"GAP setting {name} = {value!r} must be a number.")
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(f"GAP setting {name} = {value!r} must be positive and finite.")
    return float(value)


def _sigmas(values: object) -> tuple[float, ...]:
    if not isinstance(values, list | tuple) or len(values) != 4:
        raise ConfigError(
            f"GAP setting default_sigma = {values!r} must hold four numbers: the errors of "
            "energies (eV/atom), forces (eV/Å), virials (eV/atom) and Hessians."
        )
    hessian = 0.0 if values[3] == 0 else _positive("default_sigma (Hessian)", values[3])
    return (*(_positive("default_sigma", value) for value in values[:3]), hessian)
