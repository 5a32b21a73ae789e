"""The verb ``grade``: how far configurations are from what an MTP was trained on."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Exit, Option

from sscha_mlp.cli import options
from sscha_mlp.cli.models import InputsArgument, ModelArgument, SpeciesOption, TrainOption

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from sscha_mlp.cli.models import Inputs
    from sscha_mlp.potentials.selection import Graded


def grade(
    model: ModelArgument,
    inputs: InputsArgument,
    out: Annotated[
        Path | None,
        Option(
            "--out",
            help="File to write: the configurations with MV_grade, and nbh_grades of their atoms.",
        ),
    ] = None,
    save: Annotated[
        float, Option("--save", help="Grade above which a configuration is worth a label.")
    ] = 2.0,
    break_: Annotated[
        float, Option("--break", help="Grade above which a prediction is not to be used.")
    ] = 10.0,
    train: TrainOption = None,
    n_worst: Annotated[
        int, Option("--worst", help="Configurations in the table, those of highest grade.")
    ] = 10,
    fail_above: Annotated[
        float | None,
        Option("--fail-above", help="End with status 1 if a grade is above this.", metavar="GRADE"),
    ] = None,
    species: SpeciesOption = None,
    workers: options.Workers = 0,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Grade how far configurations are from what an MTP was trained on: up to 1 they are inside.

    As calculate_grade of MLIP.  The grade of a configuration is the largest of its atoms, or its
    own for an MTP fitted with grade = "configuration".
    """
    del debug  # read by the command line itself
    from sscha_mlp.cli import models
    from sscha_mlp.cli.failures import FAILED, say
    from sscha_mlp.cli.screen import note

    _check(save, break_, n_worst)
    potential = models.load_graded(
        model, species, train=train, n_workers=options.count_workers(workers)
    )
    found = models.read_inputs(inputs, potential, species)
    sites, grades = graded(potential, found.frames)
    written = None
    if out is not None:
        frames = with_grades(found.frames, sites, grades)
        written = models.write_outputs(out, frames, potential, species)
    order = (-grades).argsort(kind="stable")
    summary = _Summary.of(grades, save, break_)
    content = models.model_json(model, potential) | {
        "mode": potential.grade_mode,
        "active_set_from": potential.active_set_from,
        **summary.to_json(),
        **models.written_json(written),
        "grades": [found.place(i) | {"grade": float(one)} for i, one in enumerate(grades)],
    }
    if as_json:
        models.print_json(content)
    else:
        _print(summary, potential.active_set_from, found, sites, grades, order[:n_worst])
        if written is not None:
            note(f"grades written: {models.describe(written)}")
    if fail_above is not None and grades[order[0]] > fail_above:
        say(
            f"configuration {found.name(order[0])} has the grade {grades[order[0]]:.3g}, above "
            f"--fail-above {fail_above:g}.",
            kind="extrapolation",
        )
        raise Exit(FAILED)


def graded(
    potential: "Graded", configurations: "Sequence[Atoms]"
) -> "tuple[tuple[NDArray[Any], ...] | None, NDArray[Any]]":
    """Return the grades of the atoms, None where it has none, and those of configurations."""
    import numpy as np

    if potential.grade_mode == "configuration":
        grades = potential.evaluate(configurations, uncertainty=True).uncertainty
        if grades is not None:
            return None, grades
    sites = potential.site_grades(configurations)
    return sites, np.array([one.max() for one in sites])


def with_grades(
    configurations: "Sequence[Atoms]",
    sites: "Sequence[NDArray[Any]] | None",
    grades: "NDArray[Any]",
) -> "list[Atoms]":
    """Return copies with ``MV_grade`` in ``info`` and ``nbh_grades`` of the atoms, as in MLIP."""
    from sscha_mlp.data.attached import as_atoms

    frames = [as_atoms(atoms) for atoms in configurations]
    for index, atoms in enumerate(frames):
        atoms.info["MV_grade"] = float(grades[index])
        atoms.arrays.pop("nbh_grades", None)
        if sites is not None:
            atoms.set_array("nbh_grades", sites[index])
    return frames


def _check(save: float, break_: float, n_worst: int) -> None:
    from sscha_mlp.errors import InputError

    if not 0.0 < save <= break_:
        raise InputError(
            f"--save {save:g} and --break {break_:g} must be above 0, and the first not above the "
            "second."
        )
    if n_worst < 0:
        raise InputError(f"--worst {n_worst} is negative; give 0 for no table.")


@dataclass(frozen=True)
class _Summary:
    """Grades of all configurations in a few numbers, and how many are above two limits."""

    n_configs: int
    min: float
    median: float
    max: float
    save: float
    n_above_save: int
    break_: float
    n_above_break: int

    @classmethod
    def of(cls, grades: "NDArray[Any]", save: float, break_: float) -> "_Summary":
        """Count them."""
        import numpy as np

        above = [int(np.count_nonzero(grades > limit)) for limit in (save, break_)]
        low, middle, high = (float(one(grades)) for one in (np.min, np.median, np.max))
        return cls(len(grades), low, middle, high, save, above[0], break_, above[1])

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values; ``break`` is no name in Python."""
        return {key.rstrip("_"): value for key, value in asdict(self).items()}


def _print(
    summary: _Summary,
    active_set_from: str,
    inputs: "Inputs",
    sites: "Sequence[NDArray[Any]] | None",
    grades: "NDArray[Any]",
    worst: "NDArray[Any]",
) -> None:
    from rich import box
    from rich.table import Table

    from sscha_mlp.cli.summary import output_console, print_trimmed
    from sscha_mlp.digits import configurations, significant

    console = output_console()
    low, middle, high = (significant(one) for one in (summary.min, summary.median, summary.max))
    of = "of configurations" if sites is None else "largest of the atoms"
    lines = [
        f"Grades of {configurations(summary.n_configs)} ({of})",
        f"Smallest {low}, median {middle}, largest {high}",
        f"Above {summary.save:g}, worth a label: {summary.n_above_save}",
        f"Above {summary.break_:g}, not to be used: {summary.n_above_break}",
    ]
    if active_set_from not in {"model", "file"}:
        lines.append(f"Active set of {active_set_from}, basis functions alone")
    console.print("\n".join(lines), highlight=False, markup=False)
    if not len(worst):
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Highest", overflow="fold")
    titles = ("Grade", "Atom", f"Atoms above {summary.save:g}")
    for title in titles[: 1 if sites is None else 3]:
        table.add_column(title, justify="right", no_wrap=True)
    for index in worst:
        row = [significant(float(grades[index]))]
        if sites is not None:
            above = int((sites[index] > summary.save).sum())
            row += [str(int(sites[index].argmax())), f"{above} of {len(sites[index])}"]
        table.add_row(inputs.name(index), *row)
    print_trimmed(console, table)
