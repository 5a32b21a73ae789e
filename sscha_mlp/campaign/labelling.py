"""Labels for training, tests and checks: drawn, labelled, and put into the data set."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from sscha_mlp.campaign.context import Context
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.data.labels import LabelledConfiguration
from sscha_mlp.ensemble.sampling import Ensemble, sample
from sscha_mlp.reference.offline import is_offline
from sscha_mlp.run_files.records.labels import BatchName, BatchRecord, FailedLabel
from sscha_mlp.scha.cell import CellMode
from sscha_mlp.scha.estimators import Samples


@dataclass(frozen=True, eq=False)
class Batch:
    """Configurations of one draw that the reference has labelled.

    Parameters
    ----------
    name
        Purpose, for example ``train-0`` or ``check-1-0``.
    ensemble
        Those that have a label.
    configurations
        The same with their labels.
    record
        Counts and failures.
    """

    name: str
    ensemble: Ensemble
    configurations: tuple[LabelledConfiguration, ...]
    record: BatchRecord

    @property
    def n_spent(self) -> int:
        """Labels that were asked for, failed ones included."""
        return len(self.configurations) + len(self.record.failures)

    @property
    def samples(self) -> Samples:
        """The ensemble with the reference's values."""
        labels = [one.label for one in self.configurations]
        return Samples(
            self.ensemble,
            np.array([one.energy for one in labels]),
            np.array([one.forces.ravel() for one in labels]),
            np.array([one.stress for one in labels]),
        )


def begin_labels(context: Context, text: str, batches: Sequence[tuple[str, int]]) -> None:
    """Begin a stage of labels, unless all of them are there.

    Parameters
    ----------
    text
        What the stage is.
    batches
        Name and number of configurations of each.
    """
    if not all(context.journal.has(BatchRecord, name) for name, _ in batches):
        context.observer.stage(text)
        context.coming.stage(sum(count for _, count in batches))


def label_batch(
    context: Context,
    state: DynamicalMatrix,
    name: str,
    n_configs: int,
    *,
    temperature: float | None = None,
    choose: Callable[[Ensemble], Sequence[int]] | None = None,
    n_candidates: int = 0,
    strain: float = 0.0,
) -> Batch:
    """Draw configurations of a state and label them.

    The draw depends on the seed and the name alone, and labels are found again by content: a
    resumed run repeats this call and computes nothing twice.

    Parameters
    ----------
    state
        What they are drawn from.
    name
        Purpose; decides the random numbers.
    n_configs
        How many are labelled.
    temperature
        K; that of the run when left out.
    choose, n_candidates
        Choose the ones to label from this many candidates; all are labelled when left out.
        Chosen configurations are no fair sample: they are for training alone.
    strain
        Largest strain of the cell of each configuration: those of one cell alone do not teach how
        the energy changes with the volume.  For training alone.
    """
    n_drawn = n_candidates if choose else n_configs
    ensemble = _draw(context, state, name, n_drawn, temperature=temperature)
    if choose is not None:
        picked = np.asarray(choose(ensemble), dtype=np.int64)
        ensemble = Ensemble(ensemble.gaussian, ensemble.displacements[picked], False)
    finished = context.journal.has(BatchRecord, name)
    frames = _frames(context, ensemble, name, strain)
    step = "" if finished else BatchRecord.key_of(name)
    done = context.label(frames, "labels", step=step, retry_failures=not finished)
    kept = [index for index, one in enumerate(done.labels) if one is not None]
    labelled = Ensemble(ensemble.gaussian, ensemble.displacements[kept], False, ensemble.rejected)
    record = context.journal.make(
        BatchRecord,
        name,
        lambda: BatchRecord(
            batch=BatchName.of(name),
            n_labels=len(kept),
            rejected=ensemble.rejected,
            failures=tuple(FailedLabel(one.index, one.reason) for one in done.failures),
            seconds=done.seconds,
        ),
    )
    context.coming.recorded()
    for failure in done.failures:
        context.observer.note(f"label {failure.index} of {name} failed: {failure.reason}")
    configurations = tuple(
        LabelledConfiguration(
            frames[index],
            one,
            temperature=ensemble.temperature,
            displacement_rms=float(ensemble.displacement_rms[index]),
            origin=name,
            chosen=choose is not None,
        )
        for index, one in enumerate(done.labels)
        if one is not None
    )
    return Batch(name, labelled, configurations, record)


def ask_together(
    context: Context,
    state: DynamicalMatrix,
    batches: Sequence[tuple[str, int]],
    *,
    temperature: float | None = None,
    strains: Mapping[str, float] | None = None,
) -> None:
    """Ask for the labels of several batches at once, where somebody computes them by hand.

    Parameters
    ----------
    state, temperature
        As :func:`label_batch` takes them.
    batches
        Name and number of configurations of each.
    strains
        Strain of the batches that have one, by name.

    Raises
    ------
    WaitingForLabelsError
        If a label is missing; the inputs of all of them are written.
    """
    if not is_offline(context.reference):
        return
    frames: list[Atoms] = []
    for name, count in batches:
        if not context.journal.has(BatchRecord, name):
            ensemble = _draw(context, state, name, count, temperature=temperature)
            frames += _frames(context, ensemble, name, (strains or {}).get(name, 0.0))
    if frames:
        context.label(frames, "labels by hand")


def _draw(
    context: Context,
    state: DynamicalMatrix,
    name: str,
    n_configs: int,
    *,
    temperature: float | None,
) -> Ensemble:
    """Draw the configurations of a batch; they depend on the seed and the name alone."""
    return sample(
        state,
        temperature=context.settings.temperature if temperature is None else temperature,
        n_configs=n_configs,
        nuclei=context.settings.nuclei,
        rng=context.rng("label", name),
        antithetic=False,
        minimum_distance_ratio=context.settings.relaxation.minimum_distance_ratio,
    )


def _frames(context: Context, ensemble: Ensemble, name: str, strain: float) -> list[Atoms]:
    """Configurations of an ensemble, each in a cell with a random strain that symmetry allows.

    Centroids follow the strain, displacements do not.
    """
    frames = ensemble.configurations()
    free = context.settings.cell
    if strain == 0 or free is CellMode.FIXED:
        return frames
    rng = context.rng("strain", name)
    centroids = ensemble.dynamical_matrix.supercell.crystal
    for frame in frames:
        volume, shape = rng.uniform(-1, 1), rng.uniform(-0.5, 0.5, (3, 3))
        shape -= np.trace(shape) / 3 * np.eye(3)
        if free is CellMode.FIXED_VOLUME:
            volume = 0.0
        change = strain * context.group.symmetrise_tensor(volume * np.eye(3) + shape)
        frame.positions += centroids.positions @ change
        frame.set_cell(centroids.cell @ (np.eye(3) + change), scale_atoms=False)
    return frames
