"""The verb ``grade``: how far configurations are from what an MTP was trained on."""

from collections.abc import Sequence
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
    content = models.model_json(model, potential) | {
        "mode": potential.grade_mode,
        "active_set_from": potential.active_set_from,
        **_summary(grades, save, break_),
        **models.written_json(written),
        "grades": [found.place(i) | {"grade": float(one)} for i, one in enumerate(grades)],
    }
    if as_json:
        models.print_json(content)
    else:
        _print(content, found, sites, order[:n_worst])
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


def _summary(grades: "NDArray[Any]", save: float, break_: float) -> dict[str, Any]:
    import numpy as np

    return {
        "n_configs": len(grades),
        "min": float(grades.min()),
        "median": float(np.median(grades)),
        "max": float(grades.max()),
        "save": save,
        "n_above_save": int(np.count_nonzero(grades > save)),
        "break": break_,
        "n_above_break": int(np.count_nonzero(grades > break_)),
    }


def _print(
    content: dict[str, Any],
    inputs: "Inputs",
    sites: "Sequence[NDArray[Any]] | None",
    worst: "NDArray[Any]",
) -> None:
    from rich import box
    from rich.table import Table

    from sscha_mlp.cli.summary import output_console, print_trimmed
    from sscha_mlp.digits import configurations, significant

    console = output_console()
    low, middle, high = (significant(content[name]) for name in ("min", "median", "max"))
    of = "of configurations" if sites is None else "largest of the atoms"
    lines = [
        f"Grades of {configurations(content['n_configs'])} ({of})",
        f"Smallest {low}, median {middle}, largest {high}",
        f"Above {content['save']:g}, worth a label: {content['n_above_save']}",
        f"Above {content['break']:g}, not to be used: {content['n_above_break']}",
    ]
    if content["active_set_from"] not in {"model", "file"}:
        lines.append(f"Active set of {content['active_set_from']}, basis functions alone")
    console.print("\n".join(lines), highlight=False, markup=False)
    if not len(worst):
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Highest", overflow="fold")
    titles = ("Grade", "Atom", f"Atoms above {content['save']:g}")
    for title in titles[: 1 if sites is None else 3]:
        table.add_column(title, justify="right", no_wrap=True)
    for index in worst:
        row = [significant(content["grades"][index]["grade"])]
        if sites is not None:
            above = int((sites[index] > content["save"]).sum())
            row += [str(int(sites[index].argmax())), f"{above} of {len(sites[index])}"]
        table.add_row(inputs.name(index), *row)
    print_trimmed(console, table)
