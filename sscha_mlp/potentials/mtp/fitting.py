"""Fit an MTP: check the labels, make the radial functions, solve, and keep the result.

A directory holds one fit; see :mod:`sscha_mlp.potentials.record` for when it is complete.  The
potential is kept as a ``.mtp`` file, exact to the last digit, which MLIP and its relatives read.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sscha_mlp.data.labels import LabelledConfiguration
from sscha_mlp.errors import FitError, InputError
from sscha_mlp.potentials.active_set import ActiveSet
from sscha_mlp.potentials.mtp.course import COURSE_FILE, CourseFile
from sscha_mlp.potentials.mtp.files import write_mtp
from sscha_mlp.potentials.mtp.initial import n_polynomials
from sscha_mlp.potentials.mtp.model import ACTIVE_FILE, MODEL_FILE, MtpPotential, load
from sscha_mlp.potentials.mtp.parameters import Parameters
from sscha_mlp.potentials.mtp.regression import Regression, Rows
from sscha_mlp.potentials.mtp.settings import MtpSettings
from sscha_mlp.potentials.mtp.solution import Solution, solve
from sscha_mlp.potentials.record import ModelRecord, hash_files, is_finished, write_record
from sscha_mlp.potentials.registry import MARKER
from sscha_mlp.potentials.training import elements_of, fingerprint, require_labels, versions

FloatArray = NDArray[np.float64]

_PACKAGES: Final = ("numba", "numpy", "matscipy", "ase")


def fit(
    train: Sequence[LabelledConfiguration],
    *,
    directory: Path,
    settings: MtpSettings | Mapping[str, Any] | None = None,
    seed: int = 0,
    n_workers: int = 1,
    memory_limit: float | None = None,
    progress: Callable[[int, int], None] | None = None,
    weights: ArrayLike | None = None,
    start: Parameters | Path | None = None,
) -> MtpPotential:
    """Fit an MTP in `directory`, or find the same fit there.

    Parameters
    ----------
    train
        What to learn: energies (eV), forces (eV/Å) and stresses (eV/Å³, ASE's sign).
    directory
        The model's own directory; made if needed.
    settings
        Settings that differ from the defaults.
    seed
        Part of the fit's identity alone: nothing in it is random.
    n_workers
        Threads that compute basis functions, and with which the potential evaluates.
    memory_limit
        Bytes that the rows of the fit may take; no limit when None.
    progress
        Called with (per cent done, 100).
    weights
        How many times the squared residuals of each configuration count, shape (n,): for example
        the importance weights of an SSCHA ensemble.
    start
        An earlier model, or its directory: the refinement begins with its radial functions if they
        are of the same template, species and cutoff and serve better than those of the linear fit.
        Of no effect without refinement.

    Raises
    ------
    ConfigError
        If a setting is unknown or out of range.
    InputError
        If a label is missing or not finite, the data are empty, a weight is negative, or the
        directory holds a finished model of other data, settings, start or seed.
    ModelError
        If the directory of the earlier model holds none that is finished and whole.
    FitError
        If the data do not determine a potential, or need more memory than there is.
    """
    if not isinstance(settings, MtpSettings):
        settings = MtpSettings.from_mapping(settings)
    require_labels(train, "mtp")
    each = _weights(weights, len(train))
    earlier = _earlier(start, settings)
    decisive = {**settings.as_dict(), "weights": each.tolist(), **_named(earlier)}
    identity = fingerprint(train, decisive, seed)
    if not is_finished(directory, identity, "mtp"):
        begin = time.perf_counter()
        prepare(directory)
        _require_memory(train, settings, memory_limit)
        job = _Job(train, settings, identity, seed, begin)
        rows = Rows(train, settings, each, n_workers)
        kept = CourseFile(directory / COURSE_FILE, identity)
        _keep(directory, solve(rows, start=earlier, kept=kept, progress=progress), job)
        kept.path.unlink(missing_ok=True)
    return load(directory, n_workers=n_workers)


def _earlier(start: Parameters | Path | None, settings: MtpSettings) -> Parameters | None:
    """Return the earlier model where it has an effect."""
    if settings.refine_steps == 0 or start is None:
        return None
    return start if isinstance(start, Parameters) else load(start).parameters


def _named(earlier: Parameters | None) -> dict[str, str]:
    """Return what identifies an earlier model: the hash of all that the refinement reads of it."""
    if earlier is None:
        return {}
    digest = hashlib.sha256()
    template = earlier.template
    for part in (template.basic, template.products, template.scalars, earlier.radial_coeffs):
        digest.update(np.array(part.shape).tobytes() + part.tobytes())
    numbers = [*earlier.species, earlier.min_dist, earlier.max_dist, earlier.scaling]
    digest.update(np.array(numbers, dtype=np.float64).tobytes())
    return {"start": digest.hexdigest()}


@dataclass(frozen=True, eq=False)
class _Job:
    """What is fitted, what identifies it, and when it began."""

    train: Sequence[LabelledConfiguration]
    settings: MtpSettings
    identity: str
    seed: int
    start: float


def prepare(directory: Path) -> None:
    """Make the directory of a model, and remove what a killed fit left there."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in (MARKER, MODEL_FILE, ACTIVE_FILE):
        (directory / name).unlink(missing_ok=True)


def _keep(directory: Path, solution: Solution, job: _Job) -> None:
    """Write the potential, its active set, and the record, which makes the fit complete."""
    found = solution.regression
    if not np.isfinite(found.fit.coefficients).all():
        raise FitError("The MTP fit gave coefficients that are not finite: check the labels.")
    write_mtp(directory / MODEL_FILE, found.parameters)
    active = _active_set(found, job.settings)
    with (directory / ACTIVE_FILE).open("wb") as stream:
        np.savez(stream, allow_pickle=False, **active.to_arrays())
    files = (MODEL_FILE, ACTIVE_FILE)
    record = ModelRecord(
        kind="mtp",
        sha256=hash_files(directory, files, "mtp"),
        files=files,
        fingerprint=job.identity,
        settings=job.settings.as_dict(),
        elements=elements_of(job.train),
        details={**_details(found, active, job), **solution.details()},
    )
    write_record(directory, record)


def _active_set(found: Regression, settings: MtpSettings) -> ActiveSet:
    """Choose the active set among training atoms, or among whole configurations."""
    if settings.grade == "neighborhood":
        return ActiveSet.of(found.site_rows)
    sums = np.zeros((int(found.owners[-1]) + 1, found.site_rows.shape[1]))
    np.add.at(sums, found.owners, found.site_rows)
    return ActiveSet.of(sums / np.bincount(found.owners)[:, None])


def _details(found: Regression, active: ActiveSet, job: _Job) -> dict[str, Any]:
    template = found.parameters.template
    return {
        "seed": job.seed,
        "n_train": len(job.train),
        "n_train_atoms": len(found.site_rows),
        "n_basis_functions": template.n_scalars,
        "n_radial_functions": template.n_radial,
        "min_dist_A": found.parameters.min_dist,
        "ridge": found.fit.ridge,
        "weighted_residual": found.fit.residual,
        "active_set_rank": active.rank,
        "seconds": round(time.perf_counter() - job.start, 3),
        "versions": versions(_PACKAGES),
    }


def _weights(weights: ArrayLike | None, n: int) -> FloatArray:
    each = np.ones(n) if weights is None else np.array(weights, dtype=np.float64)
    if each.shape != (n,) or not np.isfinite(each).all() or np.any(each < 0) or not each.any():
        raise InputError(
            f"The weights of {n} training configurations must be {n} numbers of at least 0, not "
            "all zero."
        )
    return each


def _require_memory(
    train: Sequence[LabelledConfiguration], settings: MtpSettings, limit: float | None
) -> None:
    n_species = len(elements_of(train))
    template = settings.template(n_species)
    n_rows = sum(7 + 3 * len(item.atoms) for item in train)
    n_columns = template.n_scalars + 2
    if settings.refine_steps:  # the rows of two points, the derivatives
        n_free = template.n_radial * n_polynomials(template, settings, n_species)
        n_columns = 2 * (n_columns + n_free)
    if settings.compare_linear:
        n_columns = max(n_columns, settings.linear().template(n_species).n_scalars + 2)
    needed = 8.0 * n_rows * n_columns * 1.2
    if limit is not None and needed > limit:
        raise FitError(
            f"The MTP fit needs about {needed / 1e9:.2f} GB for {len(train)} configurations and "
            f"may take {limit / 1e9:.2f} GB: lower the MTP setting level, or train on fewer."
        )
