"""The last ensemble of a relaxation on disk: its correction needs no new evaluation."""

import zipfile
from pathlib import Path

import numpy as np

from sscha_mlp.data.files import write_npz_atomic
from sscha_mlp.data.states import load_state, save_state
from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.ensemble.nuclei import Nuclei
from sscha_mlp.ensemble.sampling import Ensemble
from sscha_mlp.errors import InputError
from sscha_mlp.scha.estimators import Samples

_ARRAYS = ("displacements", "energies", "forces", "stresses")


def save_samples(path: Path, samples: Samples) -> None:
    """Write the values of an ensemble, and beside them the state it was drawn from."""
    ensemble = samples.ensemble
    save_state(_state_file(path), ensemble.dynamical_matrix)
    arrays = {
        "displacements": ensemble.displacements,
        "energies": samples.energies,
        "forces": samples.forces,
        "stresses": samples.stresses,
        "antithetic": np.array(ensemble.antithetic),
        "temperature": np.array(ensemble.temperature),
        "nuclei": np.array(str(ensemble.nuclei)),
    }
    if ensemble.log_proposal is not None:
        arrays["log_proposal"] = ensemble.log_proposal
    write_npz_atomic(path, **arrays)


def load_samples(path: Path) -> Samples:
    """Read what :func:`save_samples` wrote.

    Raises
    ------
    InputError
        If a file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            values = {key: stored[key] for key in _ARRAYS}
            antithetic, temperature = bool(stored["antithetic"]), float(stored["temperature"])
            proposal = stored.get("log_proposal")
            nuclei = Nuclei(str(stored.get("nuclei", Nuclei.QUANTUM)))  # older files have none
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as err:
        raise InputError(f"The samples {path} cannot be read ({err}); start the run anew.") from err
    gaussian = Gaussian(load_state(_state_file(path)), temperature, nuclei)
    ensemble = Ensemble(gaussian, values["displacements"], antithetic, log_proposal=proposal)
    return Samples(ensemble, values["energies"], values["forces"], values["stresses"])


def _state_file(path: Path) -> Path:
    return path.with_name(f"{path.stem}-drawn.npz")
