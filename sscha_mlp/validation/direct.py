"""The reference in the place of a model: what a relaxation without learning would do."""

from collections.abc import Callable, Sequence

import numpy as np
from ase import Atoms

from sscha_mlp.calculators.registry import Reference
from sscha_mlp.errors import ReferenceFailedError
from sscha_mlp.potentials.protocol import Predictions
from sscha_mlp.reference.label import label
from sscha_mlp.reference.store import LabelStore


class DirectEvaluator:
    """Evaluates configurations with the reference itself; each one is a label.

    Labels are taken as the reference gives them: the checks of :func:`sscha_mlp.label`, which put
    what looks odd aside, would bias the averages.

    Give it to :func:`sscha_mlp.evaluate_ensemble` for the labels of a certificate, or to
    :func:`sscha_mlp.relax` for a relaxation that needs no model.

    Parameters
    ----------
    reference
        The calculator.
    n_workers
        Processes.
    store
        Where labels are found and kept.
    progress
        Called after each configuration of a batch with the number finished and the total.
    """

    def __init__(
        self,
        reference: Reference,
        *,
        n_workers: int = 1,
        store: LabelStore | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.n_labels = 0
        self._reference = reference
        self._n_workers = n_workers
        self._store = store
        self._progress = progress

    def evaluate(self, configurations: Sequence[Atoms]) -> Predictions:
        """Return energies, forces and stresses, in the order of the configurations.

        Raises
        ------
        ReferenceFailedError
            If a configuration could not be labelled, or its label in the store is in quarantine:
            an average without it would be biased.
        """
        report = label(
            configurations,
            self._reference,
            n_workers=self._n_workers,
            store=self._store,
            guard=False,
            progress=self._progress,
        )
        self.n_labels += len(report.labels)
        if report.failures:
            first = report.failures[0]
            raise ReferenceFailedError(
                f"The reference has no label for {len(report.failures)} of {len(report.labels)} "
                f"configurations, and averages without them would be biased; number {first.index}: "
                f"{first.reason}"
            )
        labels = [one for one in report.labels if one is not None]
        return Predictions(
            np.array([one.energy for one in labels]),
            tuple(one.forces for one in labels),
            np.array([one.stress for one in labels]),
        )
