"""Choose hyper-parameters by the error on training configurations held out."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from sscha_mlp.data.labels import LabelledConfiguration
from sscha_mlp.errors import ConfigError, FitError
from sscha_mlp.potentials.protocol import Predictions
from sscha_mlp.potentials.registry import fit


@dataclass(frozen=True)
class Score:
    """Errors of one candidate on the configurations held out.

    Parameters
    ----------
    energy_rmse
        Without its mean, which no SSCHA force or frequency depends on, eV/atom.
    force_rmse
        eV/Å.
    stress_rmse
        eV/Å³.
    """

    energy_rmse: float
    force_rmse: float
    stress_rmse: float

    @property
    def total(self) -> float:
        """Mean logarithm of the three errors: the smaller, the better."""
        values = [self.energy_rmse, self.force_rmse, self.stress_rmse]
        return float(np.mean(np.log(np.maximum(values, 1.0e-12))))


def presets(kind: str, atoms: Atoms) -> dict[str, dict[str, Any]]:
    """Return the named settings that a kind of potential offers for a crystal."""
    if kind == "gap":
        from sscha_mlp.potentials.gap import presets as gap  # noqa: PLC0415 - lazy, as the kinds are

        return gap.presets(atoms)
    raise ConfigError(f"There are no presets for potentials of the kind {kind!r}.")


def choose_settings(
    kind: str,
    train: Sequence[LabelledConfiguration],
    candidates: Mapping[str, Mapping[str, Any]],
    *,
    directory: Path,
    every: int = 4,
    seed: int = 0,
    n_workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[str, dict[str, Score]]:
    """Fit each candidate without every fourth configuration and compare on those.

    Only training configurations are used: test and check sets stay unseen.

    Parameters
    ----------
    kind
        Kind of potential.
    train
        Training configurations.
    candidates
        Settings by name.
    directory
        Where the trial fits go; removed at the end.
    every
        One configuration in so many is held out.
    seed
        For the fits.
    n_workers
        Processes for the evaluation.
    progress
        Called with the number of candidates done, and their total.

    Returns
    -------
    Name of the best candidate, and the scores of those that could be fitted.

    Raises
    ------
    FitError
        If no candidate can be fitted.
    """
    held = list(train[::every])
    kept = [item for index, item in enumerate(train) if index % every]
    scores: dict[str, Score] = {}
    reasons: list[str] = []
    for done, (name, settings) in enumerate(candidates.items()):
        if progress is not None:
            progress(done, len(candidates))
        try:
            model = fit(
                kind,
                kept,
                directory=directory / name,
                settings=settings,
                seed=seed,
                n_workers=n_workers,
            )
        except FitError as err:
            reasons.append(f"{name}: {err}")
            continue
        with model:
            scores[name] = _score(held, model.evaluate([item.atoms for item in held]))
    shutil.rmtree(directory, ignore_errors=True)
    if not scores:
        raise FitError(f"None of the settings to choose from could be fitted: {'; '.join(reasons)}")
    return min(scores, key=lambda name: scores[name].total), scores


def _score(held: Sequence[LabelledConfiguration], predicted: Predictions) -> Score:
    """Errors of predictions on the configurations held out."""
    sizes = np.array([len(item.atoms) for item in held])
    energies = (np.array([item.label.energy for item in held]) - predicted.energies) / sizes
    forces = np.concatenate(
        [
            (item.label.forces - force).ravel()
            for item, force in zip(held, predicted.forces, strict=True)
        ]
    )
    stresses = np.array([item.label.stress for item in held]) - predicted.stresses
    return Score(
        energy_rmse=float(energies.std()),
        force_rmse=float(np.sqrt((forces**2).mean())),
        stress_rmse=float(np.sqrt((stresses**2).mean())),
    )
