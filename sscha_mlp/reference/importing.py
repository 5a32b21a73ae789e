"""Labels that people have computed: outputs matched to what was asked for, checked, and stored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from sscha_mlp.data.labels import Label
from sscha_mlp.data.matching import Fingerprint, fingerprint, match
from sscha_mlp.data.outputs import Output, find_outputs, read_outputs
from sscha_mlp.errors import InputError
from sscha_mlp.reference.consistency import UnitCheck, check_units
from sscha_mlp.reference.guard import QUARANTINED, check_batch, check_label
from sscha_mlp.reference.index import State
from sscha_mlp.reference.offline import CONFIGURATIONS, MANIFEST, Request
from sscha_mlp.reference.store import LabelStore
from sscha_mlp.tables import Shown, Table

TOLERANCE: Final = 1.0e-4
"""Positions and lattice vectors in an output may be rounded by this much, Å."""

_KNOWN: Final = 60
_SAME_ENERGY: Final = 2.0e-3
_INPUTS: Final = frozenset(
    {CONFIGURATIONS, MANIFEST, "inputs.xyz", "inputs.cfg", "POSCAR", "pw.in"}
)

StressOf = Callable[[Sequence[Atoms]], NDArray[np.float64] | None]
"""Returns stresses of configurations from a model, shape (n, 3, 3), eV/Å³, or None."""


@dataclass(frozen=True, eq=False)
class ImportReport(Shown):
    """What came of an import.

    Parameters
    ----------
    n_labels
        Labels stored now that are believed.
    n_known
        Configurations that had their label already.
    failures
        Configuration and reason of those that failed or are in quarantine.
    n_waiting
        Labels that are still missing.
    notes
        Outputs that were left out, and why.
    units
        What could be checked of units and signs, and what not.
    """

    n_labels: int
    n_known: int
    failures: tuple[str, ...]
    n_waiting: int
    notes: tuple[str, ...]
    units: UnitCheck

    def table(self) -> Table:
        """Return the counts, and what was left out or failed."""
        rows = (
            ("stored", str(self.n_labels)),
            ("known before", str(self.n_known)),
            ("failed or in quarantine", str(len(self.failures))),
            ("still missing", str(self.n_waiting)),
        )
        return Table("Labels imported", rows, note="; ".join([*self.failures, *self.notes]))


@dataclass(eq=False)
class _Asked:
    """One configuration that a label was asked for."""

    name: str
    atoms: Atoms
    known: bool
    fingerprint: Fingerprint | None
    found: list[Output] = field(default_factory=list)


def import_labels(
    directory: str | Path,
    requests: Sequence[Request],
    store: LabelStore,
    *,
    model_stress: StressOf | None = None,
) -> ImportReport:
    """Read outputs, match them to what was asked for by content, check, and store them.

    Nothing is stored unless all that is read is consistent.

    Parameters
    ----------
    directory
        Where the outputs are, with all below it.
    requests
        What was asked for; of one reference.
    store
        Where the labels go.
    model_stress
        Stresses from a model to compare with, where there is one.

    Raises
    ------
    InputError
        If there is no output that belongs to a request, an output lacks something, two outputs of
        one configuration disagree, or units or signs are inconsistent.
    SschaMlpError
        If the store cannot be written.
    """
    identity = _identity(requests)
    asked = _asked(requests, store, identity)
    notes = _match(Path(directory), asked)
    done = [one for one in asked if one.found and not one.known]
    chosen = [_choose(one) for one in done]
    good = [(one, output.label) for one, output in zip(done, chosen, strict=True) if output.label]
    frames = [one.atoms for one, _ in good]
    labels = [label for _, label in good]
    check = UnitCheck()
    if labels:
        stress = None if model_stress is None else model_stress(frames)
        known = store.latest(identity, _KNOWN)
        check = check_units(frames, labels, known=known, expected_stress=stress)
    failures = _store(store, identity, done, chosen)
    n_labels = len(done) - len(failures)
    return ImportReport(
        n_labels=n_labels,
        n_known=sum(one.known for one in asked),
        failures=tuple(failures),
        n_waiting=sum(not one.known and not one.found for one in asked),
        notes=tuple(notes),
        units=check,
    )


def _identity(requests: Sequence[Request]) -> str:
    identities = {request.identity for request in requests}
    if len(identities) != 1:
        raise InputError(
            "The requests belong to several references; import one directory, such as "
            "RUN/offline/000, at a time."
        )
    return identities.pop()


def _asked(requests: Sequence[Request], store: LabelStore, identity: str) -> list[_Asked]:
    asked: dict[str, _Asked] = {}
    for request in requests:
        frames = request.configurations()
        known = store.find(frames, identity)
        for i, (key, atoms, found) in enumerate(zip(request.keys, frames, known, strict=True)):
            asked[key] = _Asked(
                f"{request.directory.name}/{i}",
                atoms,
                found is not None and found.state is not State.FAILED,
                fingerprint(atoms, TOLERANCE),
            )
    return list(asked.values())


def _match(directory: Path, asked: Sequence[_Asked]) -> list[str]:
    """Give each output to the configuration that it is of, and name those left out."""
    if not directory.is_dir():
        raise InputError(f"{directory} is not a directory; give the one with the outputs.")
    paths = find_outputs(directory, leave_out=_INPUTS)
    if not paths:
        raise InputError(
            f"{directory} holds no output: no pw.x output (*.out, *.pwo, *.log), OUTCAR, "
            "vasprun.xml, .xyz or .cfg. Put the outputs there and import again."
        )
    notes: list[str] = []
    n_matched = 0
    for path in paths:
        for output in _read(path, notes):
            one = next((one for one in asked if _belongs(output.atoms, one)), None)
            if one is None:
                notes.append(f"{output.name} is of no configuration that was asked for")
                continue
            n_matched += 1
            one.found.append(_ordered(output, one.atoms))
    if not n_matched:
        reason = notes[0] if notes else "they are empty"
        raise InputError(
            f"None of the {len(paths)} outputs in {directory} can be used: {reason}. Positions and "
            f"cell (Å) must be those of the inputs, to {TOLERANCE:g} Å, in any order of the atoms."
        )
    return notes


def _read(path: Path, notes: list[str]) -> list[Output]:
    """Read an output; one that has not ended is named, and waited for."""
    try:
        return list(read_outputs(path))
    except InputError as err:
        if "has not ended" not in str(err):
            raise
        notes.append(str(err).rstrip("."))
        return []


def _belongs(atoms: Atoms, asked: _Asked) -> bool:
    here, there = fingerprint(atoms, TOLERANCE), asked.fingerprint
    if here is None or there is None or here.formula != there.formula:
        return False
    near = abs(here.volume - there.volume) <= there.volume_range
    waves = np.abs(np.subtract(here.waves, there.waves)) <= np.array(there.waves_range)
    return near and bool(waves.all()) and match(atoms, asked.atoms, TOLERANCE) is not None


def _ordered(output: Output, wanted: Atoms) -> Output:
    """Put the forces into the order of the configuration that was asked for."""
    order = match(output.atoms, wanted, TOLERANCE)
    if output.label is None or order is None:
        return output
    label = Label(output.label.energy, output.label.forces[order], output.label.stress)
    return Output(output.name, wanted, label)


def _choose(asked: _Asked) -> Output:
    """Return the output of a configuration; of several, which must agree, the first that worked."""
    worked = [one for one in asked.found if one.label is not None]
    if not worked:
        return asked.found[0]
    first = worked[0]
    for other in worked[1:]:
        assert first.label is not None and other.label is not None  # noqa: PT018 -- for mypy
        if abs(first.label.energy - other.label.energy) > _SAME_ENERGY:
            raise InputError(
                f"{first.name} and {other.name} are of the same configuration, and their energies "
                f"differ by {other.label.energy - first.label.energy:+.4g} eV; keep the right one."
            )
    return first


def _store(
    store: LabelStore, identity: str, done: Sequence[_Asked], chosen: Sequence[Output]
) -> list[str]:
    """Store labels and failures; returns the configurations without a label, and why."""
    worked = [(one.atoms, out.label) for one, out in zip(done, chosen, strict=True) if out.label]
    doubts = check_batch([atoms for atoms, _ in worked], [label for _, label in worked])
    good = iter(range(len(worked)))
    failures = []
    for one, output in zip(done, chosen, strict=True):
        if output.label is None:
            store.put_failure(one.atoms, identity, f"{output.failure} ({output.name})")
            failures.append(f"{one.name}: {output.failure}")
            continue
        doubt = doubts.get(next(good), "") or check_label(one.atoms, output.label)
        store.put(one.atoms, identity, output.label, quarantine=doubt)
        if doubt:
            failures.append(f"{one.name}: {QUARANTINED}{doubt}")
    return failures
