"""Choose hyper-parameters by the error on training configurations held out."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sscha_mlp.data.labels import LabelledConfiguration
from sscha_mlp.errors import FitError
from sscha_mlp.potentials.protocol import Potential, Predictions
from sscha_mlp.potentials.registry import fit


@dataclass(frozen=True)
class Score:
    """Errors of one candidate on the configurations held out.

    The root mean square of forces at high temperature is that of a few configurations outside the
    model's domain; which candidate they hit is chance.  The choice rests on typical errors:
    geometric means over configurations.

    Parameters
    ----------
    energy_typical
        Of the energy without its mean, which no force or frequency depends on, eV/atom.
    force_typical, force_rmse
        eV/Å.
    stress_typical
        eV/Å³.
    """

    energy_typical: float
    force_typical: float
    stress_typical: float
    force_rmse: float

    @property
    def total(self) -> float:
        """Mean logarithm of the three typical errors: the smaller, the better."""
        values = [self.energy_typical, self.force_typical, self.stress_typical]
        return float(np.mean(np.log(np.maximum(values, 1.0e-12))))


@dataclass(frozen=True)
class Candidate:
    """A kind of potential and the settings of its fit."""

    kind: str
    settings: Mapping[str, Any]


def choose_settings(
    train: Sequence[LabelledConfiguration],
    candidates: Mapping[str, Candidate],
    *,
    directory: Path,
    n_folds: int = 2,
    seed: int = 0,
    n_workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[str, dict[str, Score]]:
    """Compare candidates by cross-validation: each configuration is held out once.

    Only training configurations are used: test and check sets stay unseen.  Folds are made of
    every ``n_folds``-th configuration, so that each draw is spread over all folds.  Those that
    were chosen for what they teach are in the fits, but are not judged: they are no fair sample.

    Parameters
    ----------
    train
        Training configurations.
    candidates
        Kinds of potential and settings by name.
    directory
        Where the trial fits go; removed at the end.
    n_folds
        Number of folds, and of fits per candidate.
    seed
        For the fits.
    n_workers
        Fits at a time.
    progress
        Called with the number of fits done, and their total.

    Returns
    -------
    Name of the best candidate, and the scores of those that could be fitted.

    Raises
    ------
    FitError
        If no candidate can be fitted.
    """
    trials = _Trials(train, directory, n_folds, seed)
    tasks = [(name, fold) for name in candidates for fold in range(n_folds)]
    errors: dict[str, list[_Errors]] = {name: [] for name in candidates}
    reasons: dict[str, str] = {}
    with ThreadPoolExecutor(max(1, n_workers)) as threads:
        fits = [threads.submit(trials.fit, name, candidates[name], fold) for name, fold in tasks]
        for done, ((name, fold), future) in enumerate(zip(tasks, fits, strict=True)):
            if progress is not None:
                progress(done, len(tasks))
            try:
                errors[name].append(trials.errors(future.result(), fold))
            except FitError as err:
                reasons[name] = f"{name}: {err}"
    shutil.rmtree(directory, ignore_errors=True)
    scores = {name: _score(found) for name, found in errors.items() if name not in reasons}
    if not scores:
        reason = "; ".join(reasons.values())
        raise FitError(f"None of the settings to choose from could be fitted: {reason}")
    return min(scores, key=lambda name: scores[name].total), scores


@dataclass(frozen=True)
class _Trials:
    """Fits without one fold, and their errors on it."""

    train: Sequence[LabelledConfiguration]
    directory: Path
    n_folds: int
    seed: int

    def fit(self, name: str, candidate: Candidate, fold: int) -> Potential:
        """Fit a candidate without a fold; gap_fit and its like run in processes of their own."""
        kept = [item for index, item in enumerate(self.train) if index % self.n_folds != fold]
        place = self.directory / f"{name}-{fold}"
        return fit(
            candidate.kind, kept, directory=place, settings=candidate.settings, seed=self.seed
        )

    def errors(self, model: Potential, fold: int) -> "_Errors":
        """Evaluate a fit on the fold that it has not seen."""
        every = self.train[fold :: self.n_folds]
        held = [item for item in every if not item.chosen] or every
        with model:
            return _errors(held, model.evaluate([item.atoms for item in held]))


@dataclass(frozen=True)
class _Errors:
    """Size of the errors of each configuration: per atom, per component, per component; (n,)."""

    energies: NDArray[np.float64]
    forces: NDArray[np.float64]
    stresses: NDArray[np.float64]


def _errors(held: Sequence[LabelledConfiguration], predicted: Predictions) -> _Errors:
    """Errors of predictions on the configurations held out."""
    sizes = np.array([len(item.atoms) for item in held])
    energies = (np.array([item.label.energy for item in held]) - predicted.energies) / sizes
    pairs = zip(held, predicted.forces, strict=True)
    forces = [np.sqrt(np.mean((item.label.forces - force) ** 2)) for item, force in pairs]
    stresses = np.array([item.label.stress for item in held]) - predicted.stresses
    return _Errors(
        np.abs(energies - np.median(energies)),
        np.array(forces),
        np.sqrt((stresses**2).mean(axis=(1, 2))),
    )


def _score(folds: Sequence[_Errors]) -> Score:
    """Typical errors over all folds."""

    def typical(name: str) -> float:
        values = np.concatenate([getattr(one, name) for one in folds])
        return float(np.exp(np.log(np.maximum(values, 1.0e-12)).mean()))

    forces = np.concatenate([one.forces for one in folds])
    return Score(
        typical("energies"),
        typical("forces"),
        typical("stresses"),
        float(np.sqrt((forces**2).mean())),
    )
