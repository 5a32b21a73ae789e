"""Compare the model of a finished run with its reference: the lattice at rest, and the SSCHA.

All configurations are known before the first label, and labels are found again by content: what a
run has computed is not computed again, and a comparison that was killed goes on.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from ase import Atoms

from sscha_mlp import units
from sscha_mlp.campaign.context import Context, open_run
from sscha_mlp.campaign.start import relax_at_rest
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.finite_displacements import FiniteDisplacements
from sscha_mlp.crystal.special_points import SpecialPoints
from sscha_mlp.crystal.structure import Crystal, FloatArray
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import SpaceGroup, find_space_group, symmetrise_structure
from sscha_mlp.data.labels import Label
from sscha_mlp.data.states import load_state
from sscha_mlp.errors import InputError, ModelError, ReferenceFailedError
from sscha_mlp.potentials.protocol import Potential
from sscha_mlp.potentials.registry import load
from sscha_mlp.properties.dispersion import dispersion
from sscha_mlp.properties.elastic import ElasticStrains
from sscha_mlp.properties.equation_of_state import (
    LEAST_VOLUMES,
    EquationOfState,
    fit_equation_of_state,
)
from sscha_mlp.properties.modes import matched_frequencies
from sscha_mlp.properties.paths import standard_path
from sscha_mlp.quantities import cells_name, reduced_formula
from sscha_mlp.reference.index import State
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.run_files.finished_run import FinishedRun
from sscha_mlp.run_files.observer import Observer
from sscha_mlp.run_files.records.result import Result
from sscha_mlp.run_files.reference_identity import require_same_reference
from sscha_mlp.scha.cell import Evaluation
from sscha_mlp.studies.compare_values import (
    Comparison,
    ElasticComparison,
    Extrapolation,
    FrequencyComparison,
    FrequencyEntry,
    HarmonicComparison,
    LabelCount,
    VolumeComparison,
)

VOLUME_RANGE: Final = 0.06
"""Volumes of the equation of state go this far to either side, relative."""

MOST_VOLUMES: Final = 101

DISPLACED: Final = "finite displacements"
VOLUMES: Final = "equation of state"
STRAINED: Final = "elastic constants"

_OWN_FORCE: Final = 1.0e-4
"""Largest force (eV/Å) left where the model relaxes the crystal by itself."""


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is evaluated by both: configurations by part."""

    displaced: FiniteDisplacements
    strained: ElasticStrains
    volumes: FloatArray
    parts: Mapping[str, list[Atoms]]

    def slices(self) -> Iterator[tuple[str, slice]]:
        """Places of each part among all configurations."""
        first = 0
        for name, frames in self.parts.items():
            yield name, slice(first, first + len(frames))
            first += len(frames)


@dataclass(frozen=True, eq=False)
class _Both:
    """Values of both on the configurations of a plan, and what has to be said about them."""

    plan: _Plan
    reference: Mapping[str, "_Values"]
    model: Mapping[str, "_Values"]
    notes: list[str]


@dataclass(frozen=True, eq=False)
class _Values:
    """Values of one of the two for all configurations of a part; NaN where there is no label."""

    energies: FloatArray
    forces: list[FloatArray]
    stresses: FloatArray

    @property
    def is_whole(self) -> bool:
        """Whether no value is missing."""
        return bool(np.all(np.isfinite(self.energies)))


def compare_run(
    directory: str | Path,
    *,
    eos: bool = True,
    elastic: bool = True,
    n_points: int = 7,
    n_workers: int = 0,
    observer: Observer | None = None,
) -> Comparison:
    """Compare the model of a finished run with its reference.

    Harmonic phonons, equation of state and elastic constants are those of the lattice at rest, at
    the structure that the run started from, in the supercell of the run.  The SSCHA frequencies
    are those of the result.  Labels go through the run's label store.

    Parameters
    ----------
    directory
        A finished run.
    eos, elastic
        Whether these parts are made.
    n_points
        Volumes of the equation of state, within 6 % of that of the start.
    n_workers
        Processes; as the run has them when 0.
    observer
        Who watches.

    Raises
    ------
    InputError
        If this is no finished run, its model or reference cannot be used, or the number of volumes
        is out of range.
    ReferenceFailedError
        If the reference fails on a finite displacement.
    WaitingForLabelsError
        If labels are computed by hand and some are missing; the inputs of all are written.
    """
    if not LEAST_VOLUMES <= n_points <= MOST_VOLUMES:
        raise InputError(
            f"{n_points} volumes are no use for an equation of state; give {LEAST_VOLUMES} to "
            f"{MOST_VOLUMES}."
        )
    run = FinishedRun.read(directory)
    place, settings, result = run.place, run.settings, run.result
    if n_workers:
        settings = replace(settings, workers=n_workers)
    supercell = _structure(place)
    with place.locked(), open_run(settings, place, observer) as context:
        require_same_reference(place, context.reference)
        plan = _plan(context, supercell, n_points if eos else 0, elastic=elastic)
        with load(run.model_directory, n_workers=context.n_model_workers) as potential:
            counts, labelled = _label(context, plan)
            predicted, grades = _predict(context, plan, potential)
            notes = [*_left_domain(potential, grades), *_failed(counts)]
            both = _Both(plan, labelled, predicted, notes)
            harmonic = _harmonic(context, both, potential)
    with place.trusted():
        return Comparison(
            title=_title(result, supercell),
            temperature=settings.temperature,
            is_certified=result.converged,
            frequency_limit=(
                settings.certificate.tolerances.for_crystal().frequency_thz,
                settings.certificate.tolerances.frequency_relative,
            ),
            harmonic=harmonic,
            eos=_eos(both) if eos else None,
            elastic=_elastic(both, harmonic) if elastic else None,
            sscha=_sscha(result, plan.displaced.group),
            labels=counts,
            extrapolation=grades,
            notes=tuple(notes),
        )


def _structure(place: RunDirectory) -> Supercell:
    """The structure at rest that the run started from."""
    harmonic = place.state("harmonic")
    with place.trusted():
        return load_state(harmonic if harmonic.is_file() else place.state("start")).supercell


def _title(result: Result, supercell: Supercell) -> str:
    formula = reduced_formula(supercell.primitive.to_ase().get_chemical_formula())
    return f"{formula} {result.space_group or ''}, {cells_name(supercell.size)}"


# --- what is needed, and its values -----------------------------------------------------------


def _plan(context: Context, supercell: Supercell, n_points: int, *, elastic: bool) -> _Plan:
    """Make all configurations."""
    settings = context.settings
    group = find_space_group(supercell)
    displaced = FiniteDisplacements(
        group.restricted(settings.symmetry), settings.start.displacement
    )
    strained = ElasticStrains(group)
    scales = 1.0 + VOLUME_RANGE * np.linspace(-1.0, 1.0, n_points) if n_points else np.empty(0)
    parts = {DISPLACED: displaced.configurations()}
    if n_points:
        parts[VOLUMES] = [
            supercell.crystal.strained((np.cbrt(scale) - 1.0) * np.eye(3)).to_ase()
            for scale in scales
        ]
    if elastic:
        parts[STRAINED] = strained.configurations()
    per_atom = supercell.primitive.volume / supercell.primitive.n_atoms
    return _Plan(displaced, strained, scales * per_atom, parts)


def _label(context: Context, plan: _Plan) -> tuple[tuple[LabelCount, ...], dict[str, _Values]]:
    """Say what is needed, label it in one batch, and count."""
    frames = [frame for part in plan.parts.values() for frame in part]
    known = context.store.find(frames, context.reference.identity)
    missing = np.array([one is None or one.state is not State.LABEL for one in known])
    counts = [
        LabelCount(name, len(plan.parts[name]), int(missing[part].sum()))
        for name, part in plan.slices()
    ]
    context.observer.stage(needs(counts, len(frames[0])))
    done = context.label(frames, "labels to compare", step="compare", guard=False)
    context.coming.recorded()
    for failure in done.failures:
        context.observer.note(f"label {failure.index} failed: {failure.reason}")
    values = {}
    for place, (name, part) in enumerate(plan.slices()):
        values[name] = _of_labels(done.labels[part], len(frames[0]))
        failed = sum(one is None for one in done.labels[part])
        counts[place] = replace(counts[place], n_failed=failed)
        if name == DISPLACED and failed:
            raise ReferenceFailedError(
                f"The reference failed on a finite displacement: {done.failures[0].reason}"
            )
    return tuple(counts), values


def needs(counts: Sequence[LabelCount], n_atoms: int) -> str:
    """Say in a line how many labels are needed, and how many of them are new.

    Parameters
    ----------
    counts
        By part.
    n_atoms
        Of each configuration.
    """
    total, new = sum(one.n_needed for one in counts), sum(one.n_new for one in counts)
    parts = ", ".join(f"{one.n_needed} for {one.part} ({one.n_new} new)" for one in counts)
    return f"{total} labels of {n_atoms} atoms, {new} of them new: {parts}"


def _of_labels(labels: Sequence[Label | None], n_atoms: int) -> _Values:
    nothing = np.full((n_atoms, 3), np.nan)
    return _Values(
        np.array([np.nan if one is None else one.energy for one in labels]),
        [nothing if one is None else np.asarray(one.forces) for one in labels],
        np.array([np.full((3, 3), np.nan) if one is None else one.stress for one in labels]),
    )


def _predict(
    context: Context, plan: _Plan, potential: Potential
) -> tuple[dict[str, _Values], tuple[Extrapolation, ...]]:
    """Evaluate the model on the same configurations."""
    evaluator = context.evaluator(potential, "model")
    values, grades = {}, []
    for name, frames in plan.parts.items():
        found = evaluator.evaluate(frames)
        values[name] = _of_model(found)
        stated = potential.uncertainty
        if stated is not None and stated.limit is not None and found.uncertainty is not None:
            beyond = int((found.uncertainty > stated.limit).sum())
            grades.append(Extrapolation(name, float(found.uncertainty.max()), beyond, len(frames)))
    return values, tuple(grades)


def _of_model(found: Evaluation) -> _Values:
    return _Values(found.energies, [np.asarray(one) for one in found.forces], found.stresses)


def _left_domain(potential: Potential, grades: Sequence[Extrapolation]) -> list[str]:
    """Say where the model was asked beyond its limit."""
    stated = potential.uncertainty
    if stated is None:
        return []
    return [
        f"{one.n_beyond} of {one.n_configs} configurations for {one.part} are beyond the limit of "
        f"the model's {stated.text} (up to {one.largest:.3g}, limit "
        f"{stated.limit:g}): it was not trained on their like."
        for one in grades
        if one.n_beyond
    ]


def _failed(counts: Sequence[LabelCount]) -> list[str]:
    return [
        f"The reference failed on {one.n_failed} of {one.n_needed} configurations for {one.part}; "
        "the log has the reasons."
        for one in counts
        if one.n_failed
    ]


# --- what follows from them -------------------------------------------------------------------


def _harmonic(context: Context, both: _Both, potential: Potential) -> HarmonicComparison:
    """Harmonic phonons of both, and of the model where it relaxes to by itself."""
    plan = both.plan
    reference = plan.displaced.force_constants(both.reference[DISPLACED].forces)
    model = plan.displaced.force_constants(both.model[DISPLACED].forces)
    path = standard_path(reference.crystal)
    group = plan.displaced.group
    found = HarmonicComparison(
        group,
        reference,
        model,
        dispersion(reference, path),
        dispersion(model, path),
        _frequencies(reference, model, group),
    )
    own = _relaxed_by_model(context, potential, group.supercell, both.notes)
    if own is None:
        return found
    other = find_space_group(Supercell(own, group.supercell.size))
    displaced = FiniteDisplacements(
        other.restricted(context.settings.symmetry), plan.displaced.distance
    )
    forces = _of_model(potential.evaluate(displaced.configurations())).forces
    state = displaced.force_constants(forces)
    return replace(
        found,
        own=own,
        own_bands=dispersion(state, path),
        own_frequencies=_frequencies(reference, state, group),
    )


def _relaxed_by_model(
    context: Context, potential: Potential, supercell: Supercell, notes: list[str]
) -> Crystal | None:
    """The crystal that the model relaxes to, where the reference relaxed its own."""
    settings = context.settings
    if settings.dyn or not settings.start.relax:
        notes.append(
            "The reference did not relax the structure of the start, so that the model did not "
            "relax one of its own."
        )
        return None
    atoms = supercell.crystal.to_ase()
    atoms.calc = potential.calculator()
    try:
        reached = relax_at_rest(atoms, settings, fmax=min(_OWN_FORCE, settings.start.fmax))
    except ModelError:  # a prediction that is no number
        reached = False
    n = supercell.primitive.n_atoms
    if reached:
        cell = atoms.cell.array / np.array(supercell.size)[:, None]
        primitive = supercell.primitive
        own = Crystal(cell, atoms.positions[:n], primitive.numbers, primitive.masses)
        if np.abs(own.volume / primitive.volume - 1.0) < 2.0 * VOLUME_RANGE:
            return symmetrise_structure(own)
    notes.append(
        "The model does not relax to a lattice of its own near that of the reference: it has left "
        "its domain there."
    )
    return None


def _stars(group: SpaceGroup) -> tuple[list[int], tuple[int, ...]]:
    """One wave vector of each star, and how many wave vectors each star has."""
    first, counts = np.unique(group.equivalent_qpoints(), return_counts=True)
    return [int(one) for one in first], tuple(int(one) for one in counts)


def _frequencies(
    reference: DynamicalMatrix, model: DynamicalMatrix, group: SpaceGroup
) -> FrequencyComparison:
    """Frequencies at the wave vectors of the supercell, modes paired by their polarisation."""
    first = reference.frequencies_at_qpoints() / units.THZ
    second = matched_frequencies(reference, model) / units.THZ
    stars, weights = _stars(group)
    special = SpecialPoints.of(group.supercell.primitive)
    entries = tuple(
        FrequencyEntry(
            _q(group, q), first[q], second[q], np.zeros(len(first[q])), special.name(_q(group, q))
        )
        for q in stars
    )
    return FrequencyComparison(entries, weights)


def _q(group: SpaceGroup, index: int) -> tuple[float, float, float]:
    q1, q2, q3 = (float(one) for one in group.supercell.qpoints[index])
    return q1, q2, q3


def _sscha(result: Result, group: SpaceGroup) -> FrequencyComparison:
    """SSCHA frequencies of the result, the corrected ones for the reference."""
    stars, weights = _stars(group)
    by_q = {tuple(np.round(one.q, 8)): one for one in result.frequencies_THz}
    entries = []
    for q in stars:
        found = by_q[tuple(np.round(_q(group, q), 8))]
        reference, model, stderr = map(found.values, ("corrected", "model", "stderr"))
        entries.append(FrequencyEntry(_q(group, q), reference, model, stderr, found.name))
    return FrequencyComparison(tuple(entries), weights)


def _eos(both: _Both) -> VolumeComparison:
    """Energies at the volumes that the reference has labelled, and both fits."""
    plan, notes = both.plan, both.notes
    labelled, predicted = both.reference[VOLUMES], both.model[VOLUMES]
    n_atoms = plan.displaced.group.supercell.n_atoms
    kept = np.isfinite(labelled.energies)
    volumes = plan.volumes[kept]
    reference = labelled.energies[kept] / n_atoms
    model = predicted.energies[kept] / n_atoms
    return VolumeComparison(
        volumes,
        reference,
        model,
        _fit("reference", volumes, reference, notes),
        _fit("model", volumes, model, notes),
    )


def _fit(
    whose: str, volumes: FloatArray, energies: FloatArray, notes: list[str]
) -> EquationOfState | None:
    try:
        found = fit_equation_of_state(volumes, energies)
    except InputError as err:
        notes.append(f"No equation of state of the {whose}: {err}")
        return None
    if found.is_extrapolated:
        notes.append(
            f"The minimum of the {whose} is at {found.volume:.3f} Å³/atom, outside the volumes "
            "that were computed: V0 and B0 are extrapolated."
        )
    return found


def _elastic(both: _Both, harmonic: HarmonicComparison) -> ElasticComparison | None:
    """Elastic constants of both with their own force constants."""
    ours, theirs = both.reference[STRAINED], both.model[STRAINED]
    if not ours.is_whole:
        return None
    strained = both.plan.strained
    found = ElasticComparison(
        strained.constants(ours.stresses, ours.forces, harmonic.reference),
        strained.constants(theirs.stresses, theirs.forces, harmonic.model),
        tuple(strained.independent),
        len(strained.directions),
    )
    if not found.is_relaxed:
        both.notes.append(
            "A mode at q = 0 is unstable, so that atoms have no place of rest in a strained cell: "
            "the elastic constants are those of atoms that follow the cell."
        )
    return found
