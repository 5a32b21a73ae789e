"""Choose the configurations of an ensemble that a model has most to learn from."""

from collections.abc import Sequence
from typing import Final

from ase import Atoms

from sscha_mlp.campaign.context import Context
from sscha_mlp.campaign.reachable import Reach, reachable_of
from sscha_mlp.data.labels import LabelledConfiguration
from sscha_mlp.ensemble.sampling import Ensemble
from sscha_mlp.potentials.active_set import select_add
from sscha_mlp.potentials.protocol import Potential
from sscha_mlp.potentials.selection import HasGradingRows, SelectionMethod, select

_PER_CHOICE: Final = 10
"""Configurations that each one is chosen from, where looking at one is expensive."""


class Chooser:
    """Chooses by what a kind of potential offers: D-optimality, or else its uncertainty.

    Parameters
    ----------
    context
        Settings and random numbers.
    potential
        The model that is to learn.
    train
        What it has learnt from.
    name
        Of the batch; decides the random numbers.
    strict
        Whether only configurations beyond the grade that is worth a label are chosen.
    """

    def __init__(
        self,
        context: Context,
        potential: Potential,
        train: Sequence[LabelledConfiguration],
        name: str,
        *,
        strict: bool,
    ) -> None:
        self.context = context
        self.potential = potential
        self.train = train
        self.name = name
        self.strict = strict

    @property
    def graded(self) -> bool:
        """Whether the model's uncertainty is a grade with a limit of its own."""
        return self.potential.uncertainty_limit is not None

    def n_candidates(self, count: int) -> int:
        """Return how many configurations are looked at to choose `count`."""
        return max(self.context.settings.configs if self.graded else 0, _PER_CHOICE * count)

    def choose(self, ensemble: Ensemble, count: int) -> Sequence[int]:
        """Return the places of at most `count` configurations, the most instructive first."""
        frames, reach = ensemble.configurations(), self.reach(ensemble)
        chosen = list(self._choose_from(frames, count))
        within = reachable_of([frames[one] for one in chosen], self.potential, reach)
        if len(within) == len(chosen):
            return chosen
        # What a model knows least of may be what the crystal never does.
        places = reachable_of(frames, self.potential, reach)
        few = min(count, len(places))
        if few < 1:
            return ()
        return [places[one] for one in self._choose_from([frames[one] for one in places], few)]

    def reach(self, ensemble: Ensemble) -> Reach | None:
        """Return the energies that the crystal can reach, from what the model has learnt of it."""
        return Reach.of(
            [item for item in self.train if not item.chosen],
            ensemble.dynamical_matrix,
            ensemble.temperature,
            ensemble.nuclei,
        )

    def _choose_from(self, frames: Sequence[Atoms], count: int) -> Sequence[int]:
        """Choose from configurations within reach."""
        rng = self.context.rng("select", self.name)
        if not self.graded:
            return select(
                frames, count, method=SelectionMethod.VARIANCE, potential=self.potential, rng=rng
            )
        known = [item.atoms for item in self.train]
        if self.strict:
            return self._beyond_limit(frames, count, known)
        return select(
            frames,
            count,
            method=SelectionMethod.D_OPTIMAL,
            potential=self.potential,
            rng=rng,
            known=known,
        )

    def _beyond_limit(
        self, frames: Sequence[Atoms], count: int, known: Sequence[Atoms]
    ) -> Sequence[int]:
        """Return only what still is worth a label when those before it are learnt."""
        if not isinstance(self.potential, HasGradingRows):
            return ()
        rows, owners = self.potential.grading_rows([*frames, *known])
        new = owners < len(frames)
        limit = self.context.settings.training.save_grade
        return select_add(rows[~new], rows[new], owners[new], count, threshold=limit)
