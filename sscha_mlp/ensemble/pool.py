"""Several ensembles of one cell as one: every configuration counts wherever it was drawn.

With n_k configurations from the density rho_k, averages over another density use the weights
``rho / sum_k (n_k / n) rho_k`` (the balance heuristic of Veach and Guibas, SIGGRAPH 1995): the
mixture is what the pool was drawn from.  No configuration gets a large weight as long as one of
the densities covers the target there.
"""

from collections.abc import Sequence

import numpy as np
from scipy import special

from sscha_mlp.ensemble.averages import displacements_at_q
from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.ensemble.sampling import Ensemble
from sscha_mlp.errors import InputError


def pool(ensembles: Sequence[Ensemble], gaussian: Gaussian) -> Ensemble:
    """Return ensembles of one cell as one ensemble.

    Parameters
    ----------
    ensembles
        Not pooled themselves; the cell and the supercell must be the same, force constants,
        centroids, temperature and kind of nuclei may differ: each density is taken as it is.
    gaussian
        The state whose centroids the displacements are measured from.

    Raises
    ------
    InputError
        If there is none, one is a pool already, or the cells differ.
    """
    if not ensembles or any(one.is_pooled for one in ensembles):
        raise InputError("A pool is made of one or more ensembles that are no pools themselves.")
    supercell = gaussian.dynamical_matrix.supercell
    for one in ensembles:
        other = one.dynamical_matrix.supercell
        if other.size != supercell.size or not np.array_equal(
            other.primitive.cell, supercell.primitive.cell
        ):
            raise InputError("Ensembles of different cells cannot be pooled.")
    home = supercell.crystal.positions
    parts = [
        one.displacements + (one.dynamical_matrix.supercell.crystal.positions - home).ravel()
        for one in ensembles
    ]
    together = Ensemble(
        gaussian,
        np.concatenate(parts),
        all(one.antithetic for one in ensembles),
        sum(one.rejected for one in ensembles),
    )
    counts = np.array([one.n_configs for one in ensembles])
    logs = np.array(
        [
            one.gaussian.log_density_of(
                one.gaussian.amplitudes(displacements_at_q(together, one.gaussian))
            )
            for one in ensembles
        ]
    )
    mixture = special.logsumexp(logs, axis=0, b=(counts / counts.sum())[:, None])
    return Ensemble(
        gaussian, together.displacements, together.antithetic, together.rejected, mixture
    )
