"""Fit a GAP: check the labels, run gap_fit, check what it read, and keep the result.

A directory holds one fit.  It is complete when ``model.json`` is there, which is written last;
what a killed fit left behind is removed and the fit done again.  A complete fit of the same data,
settings and seed is found again instead of repeated; one of anything else is never overwritten.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ase import Atoms

from sscha_mlp.data.extxyz import write_extxyz
from sscha_mlp.data.labels import LabelledConfiguration
from sscha_mlp.errors import FitError, InputError
from sscha_mlp.parallel.memory import available
from sscha_mlp.potentials.gap import memory, store
from sscha_mlp.potentials.gap.command import (
    LOG_FILE,
    TRAIN_FILE,
    FitRecord,
    gap_fit_arguments,
    run_gap_fit,
)
from sscha_mlp.potentials.gap.model import GapPotential, load
from sscha_mlp.potentials.gap.settings import GapSettings
from sscha_mlp.potentials.record import ModelRecord, hash_files, is_finished, write_record
from sscha_mlp.potentials.training import elements_of, fingerprint, require_labels, versions

_PACKAGES: Final = ("quippy-ase", "ase", "numpy")


@dataclass(frozen=True)
class _Job:
    """What is fitted, and how."""

    train: Sequence[LabelledConfiguration]
    settings: GapSettings
    seed: int
    memory_limit: float | None

    @property
    def n_sparse(self) -> int:
        """Clipped to the environments of the commonest species; gap_fit clips the rarer ones."""
        counts = Counter(symbol for item in self.train for symbol in item.atoms.symbols)
        return min(self.settings.n_sparse, max(counts.values()))


def fit(
    train: Sequence[LabelledConfiguration],
    *,
    directory: Path,
    settings: GapSettings | Mapping[str, Any] | None = None,
    seed: int = 0,
    n_workers: int = 1,
    memory_limit: float | None = None,
    progress: Callable[[int, int], None] | None = None,
    start: Path | None = None,
) -> GapPotential:
    """Fit a GAP in `directory`, or find the same fit there.

    The same configurations in the same order, with the same settings and seed, give the same
    files, byte for byte, on the same machine and version of quippy.

    Parameters
    ----------
    train
        What to learn: energies (eV), forces (eV/Å) and stresses (eV/Å³, ASE's sign).
    directory
        The model's own directory; made if needed.
    settings
        Hyper-parameters that differ from the defaults.
    seed
        For gap_fit's random numbers, at least 0.
    n_workers
        Processes with which the potential evaluates; gap_fit itself is serial.
    memory_limit
        Bytes that gap_fit may take; by default nine tenths of what is available.
    progress
        Called with (per cent done, 100).
    start
        Of no effect: the weights of a GAP are the solution of a linear problem.

    Raises
    ------
    ConfigError
        If a setting is unknown or out of range.
    InputError
        If a label is missing or not finite, the data are empty, or the directory holds a
        finished model of other data, settings or seed.
    FitError
        If the fit needs more memory than there is, fails, or did not read all labels.
    """
    del start
    if not isinstance(settings, GapSettings):
        settings = GapSettings.from_mapping(settings)
    if seed < 0:
        raise InputError(f"The seed of a GAP fit is {seed}; it must be at least 0.")
    require_labels(train, "gap")
    identity = fingerprint(train, settings.as_dict(), seed)
    if not is_finished(directory, identity, "gap"):
        limit = _default_limit() if memory_limit is None else memory_limit
        _fit_in(directory, _Job(train, settings, seed, limit), identity, progress)
    return load(directory, n_workers=n_workers)


def _fit_in(
    directory: Path,
    job: _Job,
    identity: str,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Run gap_fit in a scratch directory, so that a stray process can never meet a later fit."""
    start = time.perf_counter()
    directory.mkdir(parents=True, exist_ok=True)
    store.clean(directory)
    with tempfile.TemporaryDirectory(prefix=store.SCRATCH_PREFIX, dir=directory) as name:
        scratch = Path(name).resolve()
        if progress is not None:  # a quick gap_fit ends before it says how far it is
            progress(0, 100)
        write_extxyz(scratch / TRAIN_FILE, [_only_labels(item) for item in job.train])
        said = run_gap_fit(
            gap_fit_arguments(job.settings, n_sparse=job.n_sparse, seed=job.seed),
            directory=scratch,
            log_file=directory / LOG_FILE,
            check_memory=lambda peak: _require_memory(peak, job.memory_limit, len(job.train)),
            progress=progress,
        )
        _require_targets(said, job.train, directory / LOG_FILE)
        files = store.adopt(scratch, directory, name=f"GAP_{identity[:16]}")
    record = ModelRecord(
        kind="gap",
        sha256=hash_files(directory, files, "gap"),
        files=files,
        fingerprint=identity,
        settings=job.settings.as_dict(),
        elements=elements_of(job.train),
        details=_details(job, said, time.perf_counter() - start),
    )
    write_record(directory, record)


def _details(job: _Job, said: FitRecord, seconds: float) -> dict[str, Any]:
    return {
        "seed": job.seed,
        "n_train": len(job.train),
        "n_train_atoms": sum(len(item.atoms) for item in job.train),
        "labels": said.targets,
        "n_sparse_used": job.n_sparse,
        "memory_announced_bytes": said.peak,
        "seconds": round(seconds, 3),
        "versions": versions(_PACKAGES),
    }


def _only_labels(item: LabelledConfiguration) -> LabelledConfiguration:
    """Return the configuration without extras that gap_fit would take for labels or weights."""
    atoms = item.atoms
    bare = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    return LabelledConfiguration(
        atoms=bare, label=item.label, temperature=None, displacement_rms=None, origin="train"
    )


def _default_limit() -> float | None:
    left = available()
    return None if left is None else 0.9 * left


def _require_memory(peak: float, limit: float | None, n_train: int) -> None:
    needed = memory.resident(peak)
    if limit is None or needed <= limit:
        return
    fits = int(n_train * max(0.0, limit - memory.resident(0.0)) / (needed - memory.resident(0.0)))
    advice = (
        f"train on at most {fits} of them (sscha_mlp.potentials.selection.select chooses them)"
        if fits
        else "free some memory"
    )
    raise FitError(
        f"gap_fit needs about {needed / 1e9:.2f} GB for {n_train} configurations and may take "
        f"{limit / 1e9:.2f} GB: {advice}, or lower n_max, l_max, cutoff or n_sparse."
    )


def _require_targets(
    said: FitRecord, train: Sequence[LabelledConfiguration], log_file: Path
) -> None:
    """Compare what gap_fit found with what it was given; it ignores labels it does not see."""
    expected = {
        "energies": len(train),
        "forces": 3 * sum(len(item.atoms) for item in train),
        "virials": 6 * len(train),
    }
    found = {name: said.targets.get(name, 0) for name in expected}
    if found != expected:
        wrong = "; ".join(
            f"{found[name]} of {expected[name]} {name}"
            for name in expected
            if found[name] != expected[name]
        )
        raise FitError(
            f"gap_fit did not read the training data as they are: it found {wrong}. The names of "
            f"the labels in {TRAIN_FILE} may be wrong; its output is in {log_file}."
        )
