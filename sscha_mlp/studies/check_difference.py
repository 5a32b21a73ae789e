"""Reference minus model on the labels of the last check of a finished run."""

import numpy as np

from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.data.dataset import Dataset
from sscha_mlp.data.labels import LabelledConfiguration
from sscha_mlp.data.states import load_state
from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.ensemble.sampling import Ensemble
from sscha_mlp.run_files.journal import Journal
from sscha_mlp.run_files.records.certificate import CertificateRecord
from sscha_mlp.run_files.records.population import PopulationRecord
from sscha_mlp.scha.estimators import Samples
from sscha_mlp.scha.relaxation import evaluate_ensemble
from sscha_mlp.studies.opened import OpenedRun
from sscha_mlp.validation.bounds import LEAST

_SAME_CELL = 1.0e-4
"""Å within which the cell of a label is that of a state: labels are stored with fewer digits."""


def check_difference(study: OpenedRun) -> Samples | None:
    """Return what the reference has beyond the model on the configurations of the last check.

    They are an ensemble of the converged state, before the last step of the cell.

    Parameters
    ----------
    study
        A finished run.

    Returns
    -------
    Differences of energies, forces and stresses; None where there are too few labels, or the state
    of the check is not known.
    """
    configurations = Dataset.read(study.place.dataset).check
    state = _checked_state(study, configurations)
    if state is None or len(configurations) < LEAST:
        return None
    gaussian = Gaussian(state, study.settings.temperature, study.settings.nuclei)
    ensemble = Ensemble(gaussian, _displacements(state, configurations), False)
    labels = [one.label for one in configurations]
    reference = Samples(
        ensemble,
        np.array([one.energy for one in labels]),
        np.array([one.forces.ravel() for one in labels]),
        np.array([one.stress for one in labels]),
    )
    return reference.minus(evaluate_ensemble(ensemble, study.evaluator))


def _checked_state(
    study: OpenedRun, configurations: tuple[LabelledConfiguration, ...]
) -> DynamicalMatrix | None:
    """State that the check was drawn from.

    Certificates of an earlier version do not name it: there it is the last one that a relaxation
    led to with this cell.
    """
    if not configurations:
        return None
    journal = Journal(study.place.journal, read_only=True)
    checks = journal.all(CertificateRecord)
    if checks and checks[-1].state:
        return load_state(study.place.state(checks[-1].state))
    cell = configurations[0].atoms.cell.array
    for row in reversed(journal.all(PopulationRecord)):
        if row.phase.startswith("final"):
            continue
        state = load_state(study.place.state(row.state))
        if np.abs(state.supercell.crystal.cell - cell).max() < _SAME_CELL:
            return state
    return None


def _displacements(
    state: DynamicalMatrix, configurations: tuple[LabelledConfiguration, ...]
) -> FloatArray:
    """Displacements from the centroids, shape (n_configs, 3 n_atoms), Å."""
    crystal = state.supercell.crystal
    moved = np.array([one.atoms.positions for one in configurations]) - crystal.positions
    cells = np.rint(moved @ np.linalg.inv(crystal.cell))
    return np.asarray((moved - cells @ crystal.cell).reshape(len(moved), -1))
