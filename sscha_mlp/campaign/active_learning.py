"""Choose the configurations of an ensemble that a model has most to learn from."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from ase import Atoms

from sscha_mlp.campaign.context import Context
from sscha_mlp.campaign.reachable import Reach, reachable_of
from sscha_mlp.data.labels import LabelledConfiguration
from sscha_mlp.ensemble.sampling import Ensemble
from sscha_mlp.potentials.active_set import select_add
from sscha_mlp.potentials.protocol import Potential
from sscha_mlp.potentials.selection import (
    HasDescriptors,
    HasGradingRows,
    HasSiteDescriptors,
    SelectionMethod,
    select,
)

_PER_CHOICE: Final = 10
"""Configurations that each one is chosen from, where looking at one is expensive."""


def has_limit(potential: Potential) -> bool:
    """Whether the model's uncertainty has a limit of its own."""
    return potential.uncertainty is not None and potential.uncertainty.limit is not None


class Chooser:
    """Chooses by what a potential offers: D-optimality where it has rows, else its uncertainty.

    A potential whose uncertainty has no limit is asked for its uncertainty, rows or not.

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
        Whether only configurations are chosen whose uncertainty makes them worth a label.
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
    def _worth(self) -> float:
        """The uncertainty above which a configuration is worth a label."""
        given, stated = self.context.settings.training.save_grade, self.potential.uncertainty
        known = () if stated is None else (stated.worth_a_label, stated.limit)
        return next((one for one in (given, *known) if one is not None), 0.0)

    def n_candidates(self, count: int) -> int:
        """Return how many configurations are looked at to choose `count`."""
        return max(
            self.context.settings.configs if has_limit(self.potential) else 0, _PER_CHOICE * count
        )

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
        known = [item.atoms for item in self.train]
        if self.strict:
            return self._worth_a_label(frames, count, known)
        rows = isinstance(self.potential, HasSiteDescriptors | HasDescriptors)
        if has_limit(self.potential) and rows:
            method = SelectionMethod.D_OPTIMAL
        elif self.potential.uncertainty is None:
            method = SelectionMethod.FPS
        else:
            method, known = SelectionMethod.VARIANCE, []
        return select(frames, count, method=method, potential=self.potential, rng=rng, known=known)

    def _worth_a_label(
        self, frames: Sequence[Atoms], count: int, known: Sequence[Atoms]
    ) -> Sequence[int]:
        """Return only what is worth a label; with rows, when those before it are learnt."""
        if isinstance(self.potential, HasGradingRows):
            rows, owners = self.potential.grading_rows([*frames, *known])
            new = owners < len(frames)
            return select_add(rows[~new], rows[new], owners[new], count, threshold=self._worth)
        values = self.potential.evaluate(frames, uncertainty=True).uncertainty
        if values is None:
            return ()
        order = [int(one) for one in np.argsort(-values, kind="stable")]
        return [one for one in order if values[one] > self._worth][:count]
