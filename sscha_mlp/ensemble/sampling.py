"""Draw configurations from the Gaussian ensemble of a dynamical matrix."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from ase import Atoms
from scipy import special
from scipy.stats import qmc

from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.structure import FloatArray, read_only
from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.errors import InputError, RelaxationError

MINIMUM_DISTANCE_RATIO: float = 0.5
"""A configuration is unphysical when two atoms are closer than this part of the shortest bond."""

_MAX_REJECTED_PART: float = 0.5


class Sampler(StrEnum):
    """How the normal numbers of an ensemble are drawn."""

    RANDOM = "random"
    SOBOL = "sobol"


@dataclass(frozen=True, eq=False)
class Ensemble:
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
    """

    gaussian: Gaussian
    displacements: FloatArray
    antithetic: bool
    rejected: int = 0

    def __post_init__(self) -> None:
        """Make the array read-only."""
        object.__setattr__(self, "displacements", read_only(self.displacements))

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
    def displacement_rms(self) -> FloatArray:
        """Root mean square displacement of each configuration, shape (n_configs,), Å."""
        return np.asarray(np.sqrt((self.displacements**2).mean(axis=1) * 3))

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
        return Ensemble(self.gaussian, self.displacements[:n_configs], self.antithetic)


def sample(
    dynamical_matrix: DynamicalMatrix,
    *,
    temperature: float,
    n_configs: int,
    rng: np.random.Generator,
    antithetic: bool = True,
    sampler: Sampler | str = Sampler.RANDOM,
    minimum_distance_ratio: float = MINIMUM_DISTANCE_RATIO,
) -> Ensemble:
    """Draw an ensemble of displaced supercells, zero-point motion included.

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
    antithetic
        Draw pairs u, -u: averages of odd functions vanish exactly.
    sampler
        Independent normal numbers, or a scrambled Sobol sequence.
    minimum_distance_ratio
        Configurations in which two atoms come closer than this part of the shortest bond of the
        centroids are unphysical: they are replaced by others and counted.  0 keeps everything.

    Raises
    ------
    InputError
        If the temperature or the number of configurations cannot be used.
    RelaxationError
        If a mode is unstable, or most configurations are unphysical.
    """
    gaussian = Gaussian(dynamical_matrix, temperature)
    step = 2 if antithetic else 1
    if n_configs < 1 or n_configs % step:
        raise InputError(
            f"{n_configs} configurations cannot be drawn"
            + (" in antithetic pairs; give an even number." if antithetic else "; give at least 1.")
        )
    n_draws = n_configs // step
    limit = minimum_distance_ratio * dynamical_matrix.crystal.shortest_distance()
    kept: list[FloatArray] = []
    rejected = 0
    for normal in _normal_numbers(Sampler(sampler), gaussian.n_modes, n_draws, rng):
        displacement = gaussian.displacements(normal[None, :])
        group = np.concatenate([displacement, -displacement]) if antithetic else displacement
        if limit > 0 and not _is_physical(dynamical_matrix, group, limit):
            rejected += step
            if rejected > _MAX_REJECTED_PART * n_configs + 100:
                raise RelaxationError(
                    f"{rejected} of {rejected + step * len(kept)} configurations at "
                    f"{temperature:g} K have atoms closer than {limit:.2f} Å: the harmonic state "
                    "is not that of a crystal at this temperature. Start from a lower temperature."
                )
            continue
        kept.append(group)
        if len(kept) == n_draws:
            break
    return Ensemble(gaussian, np.concatenate(kept), antithetic, rejected)


def _normal_numbers(
    sampler: Sampler, n_modes: int, n_draws: int, rng: np.random.Generator
) -> Iterator[FloatArray]:
    """Yield standard normal vectors without end."""
    if sampler is Sampler.RANDOM:
        while True:
            yield from rng.standard_normal((n_draws, n_modes))
    engine = qmc.Sobol(n_modes, scramble=True, rng=rng)
    while True:
        uniform = engine.random_base2(max(1, int(np.ceil(np.log2(n_draws)))))
        yield from special.ndtri(np.clip(uniform, 1.0e-12, 1 - 1.0e-12))


def _is_physical(dynamical_matrix: DynamicalMatrix, group: FloatArray, limit: float) -> bool:
    """Whether no two atoms are closer than the limit in any configuration of the group."""
    crystal = dynamical_matrix.supercell.crystal
    inverse = np.linalg.inv(crystal.cell)
    for displacement in group:
        positions = crystal.positions + displacement.reshape(-1, 3)
        scaled = positions @ inverse
        i, j = np.triu_indices(len(positions), 1)
        difference = scaled[j] - scaled[i]
        difference -= np.rint(difference)
        if len(i) and np.linalg.norm(difference @ crystal.cell, axis=1).min() < limit:
            return False
    return True
