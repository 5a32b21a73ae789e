"""Which configurations the crystal can reach at its temperature, and which only a wrong model can.

A harmonic mode of mean energy e has e/2 of potential energy, an atom 3/2 e, and the mean over a
crystal varies little.  A configuration with ten times that lies where no ensemble of this
temperature goes.  It gets there where a mode without resistance, or a model that knows too little,
makes displacements large.  Its label would teach a potential of few parameters the walls between
atoms at the price of the crystal.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from sscha_mlp import units
from sscha_mlp.campaign.context import Context
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.data.labels import LabelledConfiguration
from sscha_mlp.ensemble.nuclei import Nuclei, mean_square_amplitudes
from sscha_mlp.ensemble.sampling import sample
from sscha_mlp.errors import RelaxationError
from sscha_mlp.potentials.protocol import Potential

FACTOR: Final = 10.0
"""Times the expected potential energy beyond which a configuration is out of reach."""

_N_LOOKED_AT: Final = 64
"""Configurations that show whether an ensemble is within reach."""

_LEAST: Final = 8
"""Configurations within reach that are enough to learn from."""


@dataclass(frozen=True)
class Reach:
    """Energies that the crystal can reach.

    Parameters
    ----------
    rest
        Energy of the crystal at rest, eV/atom.
    expected
        Mean potential energy above it that modes of this temperature have, eV/atom.
    """

    rest: float
    expected: float

    @classmethod
    def of(
        cls,
        train: Sequence[LabelledConfiguration],
        state: DynamicalMatrix,
        temperature: float,
        nuclei: Nuclei = Nuclei.QUANTUM,
    ) -> "Reach | None":
        """Return the reach of a crystal; None where there are no labels.

        Rest is the lowest energy of the labels less what they are expected to have, and what is
        expected is at least what their better half has: states that are softer than the harmonic
        crystal reach further.
        """
        if not train:
            return None
        frequencies = state.modes.frequencies
        amplitudes = mean_square_amplitudes(frequencies, temperature, nuclei)
        energy = 0.5 * float((frequencies**2 * amplitudes).sum()) / state.supercell.n_atoms
        known = np.array([one.label.energy / len(one.atoms) for one in train])
        rest = float(known.min()) - energy
        return cls(rest, max(energy, float(np.median(known)) - rest))

    @property
    def limit(self) -> float:
        """Highest energy within reach, eV/atom."""
        return self.rest + FACTOR * self.expected

    def holds(self, energies_per_atom: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether each energy, eV/atom, is within reach."""
        return np.asarray(energies_per_atom <= self.limit)


def within_reach(
    train: Sequence[LabelledConfiguration], reach: Reach | None
) -> list[LabelledConfiguration]:
    """Return the labels that a fit is to learn from: those within reach, by their own energies.

    All are kept where few would be left: then it is not the labels that are wrong.
    """
    if reach is None:
        return list(train)
    kept = [one for one in train if one.label.energy / len(one.atoms) <= reach.limit]
    return kept if len(kept) >= max(_LEAST, len(train) // 2) else list(train)


def reachable_of(
    configurations: Sequence[Atoms], potential: Potential, reach: Reach | None
) -> list[int]:
    """Return the places of the configurations that a model believes to be within reach.

    Parameters
    ----------
    configurations
        Candidates for labels.
    potential
        The model.
    reach
        Of the crystal; None for no limit.
    """
    if reach is None or not configurations:
        return list(range(len(configurations)))
    energies = np.asarray(potential.evaluate(configurations).energies)
    n_atoms = np.array([len(one) for one in configurations])
    return [int(one) for one in np.flatnonzero(reach.holds(energies / n_atoms))]


def check_reach(
    context: Context,
    potential: Potential,
    state: DynamicalMatrix,
    start: DynamicalMatrix,
    train: Sequence[LabelledConfiguration],
    *,
    name: str,
) -> None:
    """Stop a run where most of an ensemble lies beyond what the crystal can reach.

    Parameters
    ----------
    state
        Of the ensemble.
    start
        Harmonic crystal, whose modes say what can be reached.
    train
        Labels so far.
    name
        Decides the random numbers.

    Raises
    ------
    RelaxationError
        If it does; its labels would teach nothing of the crystal.
    """
    settings = context.settings
    ensemble = sample(
        state,
        temperature=settings.temperature,
        n_configs=_N_LOOKED_AT,
        rng=context.rng("reach", name),
        nuclei=settings.nuclei,
        minimum_distance_ratio=settings.relaxation.minimum_distance_ratio,
    )
    known = [one for one in train if not one.chosen]
    reach = Reach.of(known, start, settings.temperature, settings.nuclei)
    n_within = len(reachable_of(ensemble.configurations(), potential, reach))
    if n_within < _N_LOOKED_AT // 2:
        raise RelaxationError(runs_off(state, settings.temperature, n_within, _N_LOOKED_AT))


def softest_in_words(state: DynamicalMatrix) -> str:
    """Name the softest mode of a state, for those who ask where a structure runs off to."""
    modes = state.frequencies_at_qpoints() / units.THZ
    moving = np.where(np.abs(modes) > 1.0e-3, modes, np.inf)
    q, _ = np.unravel_index(int(np.argmin(moving)), moving.shape)
    place = " ".join(f"{float(value):.3g}" for value in state.supercell.qpoints[q])
    return f"the mode of {moving.min():.2f} THz at q = ({place})"


def runs_off(state: DynamicalMatrix, temperature: float, n_within: int, n_looked_at: int) -> str:
    """Say that a structure runs off along its softest mode, and the way out."""
    return (
        f"The structure runs off along {softest_in_words(state)}: {n_looked_at - n_within} of "
        f"{n_looked_at} configurations of its ensemble lie far above what the crystal reaches at "
        f"{temperature:g} K, and are not labelled. It may be unstable at this temperature and "
        "pressure: look with sscha-mlp compare or hessian for the mode, start from the structure "
        "distorted along it, or from a lower temperature."
    )
