"""The first labels of a run: drawn at the harmonic starting point, to train on and to test."""

from sscha_mlp.campaign.context import Context
from sscha_mlp.campaign.labelling import ask_together, begin_labels, label_batch
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.data.dataset import Dataset
from sscha_mlp.digits import duration
from sscha_mlp.run_files.records.labels import BatchRecord
from sscha_mlp.run_files.records.start import StartRecord
from sscha_mlp.run_files.settings import RunSettings
from sscha_mlp.run_files.stage_settings import LabelPolicy
from sscha_mlp.scha.cell import CellMode


def label_first(context: Context, state: DynamicalMatrix) -> tuple[Dataset, int]:
    """Label the first training and the test set, and return them with the labels they took.

    Labels of one cell do not say how the energy changes with the volume: by need, some of the
    first handful are in strained cells.

    Parameters
    ----------
    state
        The harmonic starting point.
    """
    settings, dataset, spent = context.settings, Dataset(), 0
    temperature, strained = settings.training_temperature, n_strained(settings)
    n_start, n_test = settings.counts.n_start, settings.counts.n_test
    wanted = {
        "train-start": n_start - strained,
        "train-strained": strained,
        "test-start": n_test,
    }
    strains = {"train-strained": settings.training.strain}
    batches = [(name, count) for name, count in wanted.items() if count]
    text = f"labels: {n_start} to train"
    text += f", {strained} of them in strained cells" if strained else ""
    text += f" and {n_test} to test" if n_test else ""
    by_need = settings.labels is LabelPolicy.NEED
    if by_need and not context.journal.has(BatchRecord, batches[0][0]):
        context.observer.note(_estimate(context))
    begin_labels(context, f"{text}, {temperature:g} K", batches)
    ask_together(context, state, batches, temperature=temperature, strains=strains)
    for name, count in batches:
        strain = strains.get(name, 0.0)
        batch = label_batch(context, state, name, count, temperature=temperature, strain=strain)
        spent += batch.n_spent
        add = dataset.with_test if name == "test-start" else dataset.with_train
        dataset = add(batch.configurations)
    return dataset, spent


def _estimate(context: Context) -> str:
    """Say how many labels the run will take, and how long, before the first one."""
    settings = context.settings
    calls = context.journal.get(StartRecord).n_calls
    least, most = settings.least_labels, settings.max_labels
    text = f"labels by need: {least} at least, {most} at most"
    if not calls:
        return text
    each = context.journal.seconds("start") / calls
    return (
        f"{text}; a call of the start took {duration(each)} with what is around it, which would "
        f"make {duration(least * each)} and {duration(most * each)}"
    )


def n_strained(settings: RunSettings) -> int:
    """Return how many of the first labels are in strained cells."""
    free = settings.cell is not CellMode.FIXED and settings.training.strain > 0
    by_need = settings.labels is LabelPolicy.NEED
    return settings.counts.n_start // 4 if free and by_need else 0
