"""Draw configurations from the Gaussian ensemble of a dynamical matrix."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy import special

from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.reciprocal import ComplexArray
from sscha_mlp.crystal.structure import FloatArray, read_only
from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.ensemble.nuclei import Nuclei, as_nuclei, check_moving
from sscha_mlp.errors import InputError, RelaxationError
from sscha_mlp.parallel.memory import require_memory
from sscha_mlp.tables import Shown, Table, span

MINIMUM_DISTANCE_RATIO: float = 0.5
"""A configuration is unphysical when two atoms are closer than this part of the shortest bond."""

_COPIES: Final = 4
"""Arrays as large as the displacements that live at one time."""

_MAX_REJECTED_PART: float = 0.5

_BLOCK: int = 200_000
"""Pairs of atoms whose distances are computed at a time."""


class Sampler(StrEnum):
    """How the normal numbers of an ensemble are drawn."""

    RANDOM = "random"
    SOBOL = "sobol"


@dataclass(frozen=True, eq=False)
class Ensemble(Shown):
    """Configurations drawn at (Phi, R, T).

    Parameters
    ----------
    gaussian
        The distribution they were drawn from.
    displacements
        From the centroids, shape (n_configs, 3 n_atoms), Å.  When ``antithetic``, configuration
        ``2 k + 1`` is the mirror image of configuration ``2 k``.
    antithetic
        Whether configurations come in pairs u, -u.
    rejected
        How many configurations were drawn and thrown away as unphysical.
    log_proposal
        Log density, shape (n_configs,), of what the configurations were drawn from where that is
        not ``gaussian`` alone: a pool of several ensembles, see :mod:`sscha_mlp.ensemble.pool`.
    """

    gaussian: Gaussian
    displacements: FloatArray
    antithetic: bool
    rejected: int = 0
    log_proposal: FloatArray | None = None

    def __post_init__(self) -> None:
        """Make the array read-only."""
        object.__setattr__(self, "displacements", read_only(self.displacements))

    @property
    def is_pooled(self) -> bool:
        """Whether the configurations come from several distributions."""
        return self.log_proposal is not None

    @cached_property
    def at_q(self) -> ComplexArray:
        """Displacements on the half grid, shape (n_half, 3 n_primitive, n_configs), Å."""
        return self.dynamical_matrix.supercell.to_reciprocal(self.displacements)

    @cached_property
    def log_density(self) -> FloatArray:
        """Log density of what each configuration was drawn from, shape (n_configs,)."""
        if self.log_proposal is not None:
            return self.log_proposal
        return self.gaussian.log_density_of(self.gaussian.amplitudes(self.at_q))

    @property
    def n_configs(self) -> int:
        """Number of configurations."""
        return len(self.displacements)

    @property
    def dynamical_matrix(self) -> DynamicalMatrix:
        """Force constants and centroids of the distribution."""
        return self.gaussian.dynamical_matrix

    @property
    def temperature(self) -> float:
        """Temperature of the distribution, K."""
        return self.gaussian.temperature

    @property
    def nuclei(self) -> Nuclei:
        """How the nuclei of the distribution move."""
        return self.gaussian.nuclei

    @property
    def displacement_rms(self) -> FloatArray:
        """Root mean square displacement of each configuration, shape (n_configs,), Å."""
        return np.asarray(np.sqrt((self.displacements**2).mean(axis=1) * 3))

    def table(self) -> Table:
        """Return what was drawn, and from what."""
        state = self.dynamical_matrix
        rows = (
            ("configurations", f"{self.n_configs}{' in pairs u, -u' if self.antithetic else ''}"),
            ("atoms in each", str(state.supercell.n_atoms)),
            ("temperature", f"{self.temperature:g} K"),
            ("rms displacement of an atom", f"{span(self.displacement_rms.tolist(), 3)} Å"),
            ("thrown away as unphysical", str(self.rejected)),
        )
        return Table("Ensemble", rows)

    def configurations(self) -> list[Atoms]:
        """Return the displaced supercells as ASE objects."""
        return [self.configuration(index) for index in range(self.n_configs)]

    def configuration(self, index: int) -> Atoms:
        """Return one displaced supercell as an ASE object."""
        atoms = self.dynamical_matrix.supercell.crystal.to_ase()
        atoms.positions += self.displacements[index].reshape(-1, 3)
        return atoms

    def subset(self, n_configs: int) -> "Ensemble":
        """Return the first ``n_configs`` configurations as an ensemble of their own."""
        return self.chosen(slice(n_configs))

    def chosen(self, which: slice | NDArray[np.bool_]) -> "Ensemble":
        """Return some configurations as an ensemble of their own; pairs u, -u stay together."""
        proposal = self.log_proposal
        return Ensemble(
            self.gaussian,
            self.displacements[which],
            self.antithetic,
            log_proposal=None if proposal is None else proposal[which],
        )


def sample(
    dynamical_matrix: DynamicalMatrix,
    *,
    temperature: float,
    n_configs: int,
    rng: np.random.Generator,
    nuclei: Nuclei | str = Nuclei.QUANTUM,
    antithetic: bool = True,
    sampler: Sampler | str = Sampler.RANDOM,
    minimum_distance_ratio: float = MINIMUM_DISTANCE_RATIO,
    frame: DynamicalMatrix | None = None,
) -> Ensemble:
    """Draw an ensemble of displaced supercells.

    Parameters
    ----------
    dynamical_matrix
        Positive-definite force constants and centroids.
    temperature
        In K, at least 0.
    n_configs
        Number of configurations; even when ``antithetic``.
    rng
        Generator that all randomness comes from.
    nuclei
        ``quantum``, with zero-point motion; ``classical``; or ``no-zero-point``.  The last two
        need a temperature above 0.
    antithetic
        Draw pairs u, -u: averages of odd functions vanish exactly.
    sampler
        Independent normal numbers, or a scrambled Sobol sequence.
    minimum_distance_ratio
        Configurations in which two atoms come closer than this part of the shortest bond of the
        centroids are unphysical: they are replaced by others and counted.  0 keeps everything.
    frame
        State whose modes the normal numbers belong to: with one frame the same numbers give near
        displacements in states that are near each other.  This state when left out.

    Raises
    ------
    InputError
        If temperature, kind of nuclei or number of configurations cannot be used, or a
        mode is frozen.
    RelaxationError
        If a mode is unstable, or most configurations are unphysical.
    """
    n_atoms = dynamical_matrix.supercell.n_atoms
    require_memory(
        _COPIES * 8.0 * 3.0 * n_atoms * n_configs,
        f"{n_configs} configurations of {n_atoms} atoms",
        "draw fewer, or take a smaller supercell",
    )
    if n_atoms < 2:
        raise InputError(
            "A supercell of one atom has no vibrations: its three modes move the whole crystal. "
            "Take a larger supercell."
        )
    gaussian = Gaussian(dynamical_matrix, temperature, as_nuclei(nuclei))
    check_moving(float(dynamical_matrix.modes.frequencies.max()), temperature, gaussian.nuclei)
    step = 2 if antithetic else 1
    require_drawable(n_configs, antithetic=antithetic)
    n_draws = n_configs // step
    limit = minimum_distance_ratio * dynamical_matrix.crystal.shortest_distance()
    kept: list[FloatArray] = []
    n_kept = rejected = 0
    for normal in _normal_numbers(Sampler(sampler), gaussian.n_modes, n_draws, rng):
        drawn = gaussian.displacements(normal, None if frame is None else frame.modes)
        good = are_physical(dynamical_matrix, drawn, limit, mirrored=antithetic)
        drawn, tried = _take(drawn, good, n_draws - n_kept)
        rejected += step * (tried - len(drawn))
        n_kept += len(drawn)
        kept.append(drawn)
        if n_kept == n_draws:
            break
        if rejected > _MAX_REJECTED_PART * n_configs + 100:
            raise RelaxationError(
                f"{rejected} of {rejected + step * n_kept} configurations at "
                f"{temperature:g} K have atoms closer than {limit:.2f} Å: the harmonic state "
                "is not that of a crystal at this temperature. Start from a lower temperature."
            )
    displacements = np.concatenate(kept)
    if antithetic:
        pairs = np.stack([displacements, -displacements], axis=1)
        displacements = pairs.reshape(n_configs, -1)
    return Ensemble(gaussian, displacements, antithetic, rejected)


def require_drawable(n_configs: int, *, antithetic: bool) -> None:
    """Refuse a number of configurations that no ensemble has.

    Parameters
    ----------
    n_configs
        Number of configurations.
    antithetic
        Whether they come in pairs.

    Raises
    ------
    InputError
        If there is none, or one has no partner.
    """
    if n_configs < 1 or (antithetic and n_configs % 2):
        raise InputError(
            f"{n_configs} configurations cannot be drawn"
            + (" in antithetic pairs; give an even number." if antithetic else "; give at least 1.")
        )


def _take(drawn: FloatArray, good: NDArray[np.bool_], n_wanted: int) -> tuple[FloatArray, int]:
    """First good draws, as many as are wanted, and how many were tried for them."""
    places = np.flatnonzero(good)[:n_wanted]
    tried = len(good) if len(places) < n_wanted else int(places[-1]) + 1
    return drawn[places], tried


def _normal_numbers(
    sampler: Sampler, n_modes: int, n_draws: int, rng: np.random.Generator
) -> Iterator[FloatArray]:
    """Yield blocks of standard normal vectors without end, shape (n, n_modes) each."""
    if sampler is Sampler.RANDOM:
        while True:
            yield rng.standard_normal((n_draws, n_modes))
    from scipy.stats import qmc  # takes half a second, and workers never draw

    if n_modes > qmc.Sobol.MAXDIM:
        raise InputError(
            f"A Sobol sequence has at most {qmc.Sobol.MAXDIM} dimensions, and the supercell has "
            f"{n_modes} modes; draw random numbers instead."
        )
    engine = qmc.Sobol(n_modes, scramble=True, rng=rng)
    power = max(1, int(np.ceil(np.log2(n_draws))))
    block = engine.random_base2(power)  # the balanced beginning of the sequence
    while True:
        yield special.ndtri(np.clip(block, 1.0e-12, 1 - 1.0e-12))
        block = engine.random(2**power)


def are_physical(
    dynamical_matrix: DynamicalMatrix,
    displacements: NDArray[np.float64],
    limit: float,
    *,
    mirrored: bool,
) -> NDArray[np.bool_]:
    """Whether no two atoms are closer than a limit, for each configuration.

    Only pairs that the largest displacement could bring so close are looked at.

    Parameters
    ----------
    dynamical_matrix
        Centroids.
    displacements
        Shape (n_configs, 3 n_atoms), Å.
    limit
        Å; 0 allows everything.
    mirrored
        Whether the configuration with opposite displacements counts as well.
    """
    from matscipy.neighbours import neighbour_list

    moved = displacements.reshape(len(displacements), -1, 3)
    good = np.ones(len(moved), dtype=bool)
    if limit <= 0:
        return good
    reach = limit + 2 * float(np.sqrt((moved**2).sum(axis=2).max()))
    atoms = dynamical_matrix.supercell.crystal.to_ase()
    first, second, vectors = neighbour_list("ijD", atoms, reach)
    once = first < second
    first, second, vectors = first[once], second[once], vectors[once]
    if len(first) == 0:
        return good
    size = max(1, _BLOCK // len(first))
    for start in range(0, len(moved), size):
        block = moved[start : start + size]
        change = block[:, second] - block[:, first]
        squares = ((vectors + change) ** 2).sum(axis=2).min(axis=1)
        if mirrored:
            squares = np.minimum(squares, ((vectors - change) ** 2).sum(axis=2).min(axis=1))
        good[start : start + size] = squares >= limit**2
    return good
