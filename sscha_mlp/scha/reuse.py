"""Earlier populations that still say something of the present state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.ensemble.averages import effective_sample_size, importance_weights
from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.ensemble.nuclei import Nuclei
from sscha_mlp.ensemble.pool import pool
from sscha_mlp.scha.estimators import Samples

_USABLE: float = 0.3
"""Part of its configurations that an earlier population must be worth at the present state."""

_FRESH: float = 0.5
"""Part of a population that is always drawn anew: the state is judged by it alone."""


@dataclass(frozen=True, eq=False)
class Reusable:
    """Earlier populations and what they are worth at a state.

    Parameters
    ----------
    samples
        Those that are worth something, by their number.
    worth
        Sum of their effective sample sizes.
    """

    samples: Mapping[int, Samples] = field(default_factory=dict)
    worth: float = 0.0

    def n_fresh(self, n_configs: int) -> int:
        """Even number of configurations to draw for a population worth ``n_configs``."""
        missing = max(n_configs - self.worth, _FRESH * n_configs)
        return min(n_configs, 2 * int(np.ceil(missing / 2)))


def reusable(
    earlier: Mapping[int, Samples],
    state: DynamicalMatrix,
    temperature: float,
    nuclei: Nuclei = Nuclei.QUANTUM,
) -> Reusable:
    """Return the earlier populations whose weights at a state are not used up.

    Parameters
    ----------
    earlier
        Populations as they were drawn, by their number.  Those of another cell are of no use:
        their configurations have other energies.
    state
        Where averages are wanted.
    temperature, nuclei
        In K, and how the nuclei move there.
    """
    here = Gaussian(state, temperature, nuclei)
    kept: dict[int, Samples] = {}
    worth = 0.0
    for index, samples in earlier.items():
        ensemble = samples.ensemble
        if not np.array_equal(ensemble.dynamical_matrix.crystal.cell, state.crystal.cell):
            continue
        size = effective_sample_size(importance_weights(ensemble, here))
        if size >= _USABLE * ensemble.n_configs:
            kept[index] = samples
            worth += size
    return Reusable(kept, worth)


def pool_samples(samples: Sequence[Samples]) -> Samples:
    """Return several populations as one, seen from the state of the last."""
    if len(samples) == 1:
        return samples[0]
    ensembles = [one.ensemble for one in samples]
    return Samples(
        pool(ensembles, ensembles[-1].gaussian),
        np.concatenate([one.energies for one in samples]),
        np.concatenate([one.forces for one in samples]),
        np.concatenate([one.stresses for one in samples]),
    )
