"""A run that starts from a finished one: its state, its model and its labels are taken over.

Everything is copied into the new run directory first, which from then on stands by itself.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from sscha_mlp.calculators.registry import Reference
from sscha_mlp.campaign.bulk_modulus_check import Compression, compression_of
from sscha_mlp.campaign.context import Context
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix, symmetrise
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import find_space_group
from sscha_mlp.data.dataset import Dataset
from sscha_mlp.data.states import load_state
from sscha_mlp.errors import ConfigError, InputError
from sscha_mlp.potentials.registry import find_kind
from sscha_mlp.properties.interpolation import interpolate
from sscha_mlp.run_files.finished_run import FinishedRun
from sscha_mlp.run_files.records.models import ChoiceRecord, FitRecord
from sscha_mlp.run_files.records.start import OriginRecord, StartRecord
from sscha_mlp.run_files.reference_identity import require_same_reference
from sscha_mlp.run_files.settings import AUTO, RunSettings

_OWN: Final = (
    "origin",
    "structure",
    "symmetrise",
    "dyn",
    "label_store",
    "workers",
    "executor",
    "model_executor",
)
"""Settings that a new run does not take over: where the old one began, and where it was computed.
"""


def settings_from(directory: str | Path) -> dict[str, Any]:
    """Return the settings that a run from a finished one takes over where it gives none itself.

    Raises
    ------
    InputError
        If there is no finished run.
    """
    run = FinishedRun.read(directory)
    kept = {key: value for key, value in run.settings.to_mapping().items() if key not in _OWN}
    kept["training"].pop("temperature", None)
    return {**kept, "origin": str(run.place.path.resolve())}


def check_origin(settings: RunSettings, reference: Reference) -> None:
    """Check that labels and states of the run that settings start from serve them.

    Parameters
    ----------
    settings
        Of the new run.
    reference
        Of the new run.

    Raises
    ------
    InputError
        If there is no finished run.
    ConfigError
        If the references differ.
    """
    run = FinishedRun.read(settings.origin)
    if settings.reference != run.settings.reference:
        raise ConfigError(
            f"The run in {run.place.shown} has the reference {run.settings.reference!r}, not "
            f"{settings.reference!r}: its labels would be mixed with others. Use its reference."
        )
    require_same_reference(run.place, reference)


@dataclass(frozen=True, eq=False)
class Inheritance:
    """What a run has taken over.

    Parameters
    ----------
    dataset
        Labels: those of the last check have joined the ones to fit on.
    has_model
        Whether a model came with them.
    """

    dataset: Dataset
    has_model: bool


def take_over(context: Context) -> Inheritance:
    """Copy data set and model of the run that the settings start from, or find them copied.

    Raises
    ------
    InputError
        If a file of that run is missing or damaged.
    """
    found = context.journal.make(OriginRecord, "", lambda: _copy(context))
    context.generation = found.generation
    dataset = Dataset.read(context.directory.inherited).promote_check()
    if found.fit is not None and not context.journal.has(FitRecord, 0):
        _record_fit(context, found.fit, found.choice)
    return Inheritance(dataset, found.fit is not None)


def _copy(context: Context) -> OriginRecord:
    origin = FinishedRun.read(context.settings.origin)
    dataset = Dataset.read(origin.place.dataset)
    dataset.write(context.directory.inherited)
    found = OriginRecord(
        path=str(origin.place.path.resolve()),
        generation=origin.generation + 1,
        train=len(dataset.train),
        test=len(dataset.test),
        check=len(dataset.check),
    )
    kind = origin.result.model.kind or ""
    asked = context.settings.model
    alike = asked == AUTO or find_kind(asked).name == kind
    if alike and _same_settings(context.settings, origin, kind):
        _copy_directory(origin.model_directory, context.directory.model(0))
        fit, choice = origin.last(FitRecord), origin.last(ChoiceRecord)
        sha256 = origin.result.model.sha256 or ""
        found = replace(
            found,
            fit=None if fit is None else replace(fit, number=0, sha256=sha256),
            choice=None if choice is None else replace(choice, number=0),
        )
    return found


def _same_settings(settings: RunSettings, origin: FinishedRun, kind: str) -> bool:
    """Whether the hyper-parameters that are given, if any, are those of the earlier model."""
    given = settings.hyper_parameters(kind)
    return not given or given == origin.settings.hyper_parameters(kind)


def _copy_directory(source: Path, target: Path) -> None:
    if not source.is_dir():
        raise InputError(f"The model of the run to start from is missing: there is no {source}.")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


def _record_fit(context: Context, fit: FitRecord, choice: ChoiceRecord | None) -> None:
    """Enter the model that was taken over as the first fit, and how it was chosen."""
    if choice is not None and not context.journal.has(ChoiceRecord, 0):
        context.journal.write(choice)
    context.journal.write(fit)


class StartingStates(NamedTuple):
    """What the start of a run takes over, in the supercell of its settings.

    Parameters
    ----------
    state
        To relax from.
    harmonic
        Of the reference at rest.
    energy
        Of the lattice at rest, eV per atom; None where that run does not know it.
    compression
        What the reference says of a change of the volume; None where that run has not asked it, or
        at another pressure, where it says something else.
    """

    state: DynamicalMatrix
    harmonic: DynamicalMatrix
    energy: float | None
    compression: Compression | None


def starting_states(context: Context) -> StartingStates:
    """Return what the start takes over from the run that the settings name.

    Raises
    ------
    InputError
        If a file of that run is missing or damaged.
    """
    settings = context.settings
    origin = FinishedRun.read(settings.origin)
    start = origin.last(StartRecord)
    same_pressure = origin.settings.pressure == settings.pressure
    return StartingStates(
        _state(origin, "model", settings.supercell, settings.masses),
        _state(origin, "harmonic", settings.supercell, settings.masses),
        None if start is None else start.energy_eV_per_atom,
        compression_of(start) if same_pressure else None,
    )


def _state(
    run: FinishedRun, name: str, size: tuple[int, int, int], masses: Mapping[str, float]
) -> DynamicalMatrix:
    """Return a state of a run with these masses in a supercell of a size, interpolated if need be.

    Force constants do not depend on masses.
    """
    found = load_state(run.place.state(name))
    supercell = Supercell(found.crystal.with_masses(masses), found.supercell.size)
    state = DynamicalMatrix(supercell, found.force_constants)
    if state.supercell.size == size:
        return state
    wanted = interpolate(state).in_supercell(size)
    group = find_space_group(wanted.supercell).restricted(run.settings.symmetry)
    return wanted.with_force_constants(symmetrise(group, wanted.force_constants))
