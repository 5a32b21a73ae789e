"""The verb ``validate``: a model against labels that its fit has not seen."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from sscha_mlp.cli import options

if TYPE_CHECKING:
    from sscha_mlp.validation.metrics import ValidationSet


def validate(
    model: Annotated[
        Path, Argument(metavar="MODEL_DIR", help="Directory of a fitted model.", show_default=False)
    ],
    labelled: Annotated[
        list[Path],
        Argument(
            metavar="LABELLED.xyz...",
            help="Labelled extended XYZ files, one set each, shown side by side.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, Option("--out", help="Directory for validation.pdf, .png and .json.")
    ] = Path(),
    workers: options.Workers = 0,
    executor: options.Executor = "processes",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Compare a model with labels: a page of figures, their numbers, and a table.

    Errors are reference - model.  Use configurations that the fit has not seen.  Where the model
    states an uncertainty, a second page compares it with its errors.
    """
    del debug  # read by the command line itself
    from sscha_mlp.cli.screen import make_observer
    from sscha_mlp.data.extxyz import read_extxyz
    from sscha_mlp.data.files import make_directory
    from sscha_mlp.parallel import Machines
    from sscha_mlp.potentials.registry import load
    from sscha_mlp.potentials.spread import spread
    from sscha_mlp.report.run.pdf import write_validation
    from sscha_mlp.validation.metrics import validate as compare

    names = _names(labelled)
    data = [read_extxyz(path) for path in labelled]
    make_directory(out)
    sets = []
    n_workers = options.count_workers(workers)
    with (
        Machines(executor) as machines,
        spread(
            load(model, n_workers=machines.local_workers(n_workers)), machines, n_workers
        ) as potential,
        make_observer(quiet=quiet) as observer,
    ):
        for number, (name, configurations) in enumerate(zip(names, data, strict=True)):
            observer.progress("sets", number, len(data))
            sets.append(compare(potential, configurations, name=name))
    files = write_validation(sets, out)
    if as_json:
        print(files[-1].read_text(encoding="utf-8"), end="")
        return
    _print(sets, files)


def _names(paths: Sequence[Path]) -> list[str]:
    """Return a name for each set: the stem of its file, or the path where stems repeat."""
    stems = [path.stem for path in paths]
    return [
        stem if stems.count(stem) == 1 else str(path)
        for stem, path in zip(stems, paths, strict=True)
    ]


def _print(sets: "Sequence[ValidationSet]", files: Sequence[Path]) -> None:
    from rich import box
    from rich.table import Table

    from sscha_mlp import units
    from sscha_mlp.cli.summary import output_console, print_trimmed
    from sscha_mlp.digits import significant, with_error
    from sscha_mlp.validation.calibration import calibrate

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Set")
    for title in (
        "T\n(K)",
        "N",
        "Energy\n(meV/atom)",
        "its bias\n(meV/atom)",
        "Force\n(meV/Å)",
        "Stress\n(GPa)",
    ):
        table.add_column(title, justify="right")
    for one in sets:
        energy, force, stress = one.energy, one.force, one.stress
        table.add_row(
            one.name,
            "—" if one.temperature is None else f"{one.temperature:g}",
            str(one.n_configs),
            significant(1.0e3 * energy.rmse),
            with_error(1.0e3 * energy.bias, 1.0e3 * energy.bias_stderr),
            significant(1.0e3 * force.rmse),
            significant(stress.rmse / units.GPA),
        )
    console = output_console()
    print_trimmed(console, table)
    console.print("Root mean square errors on N configurations.", highlight=False)
    for one in sets:
        r2 = ", ".join(f"{value.r2:.4f}" for value in (one.energy, one.force, one.stress))
        text = f"{one.name}: R² {r2} of energy, force, stress"
        console.print(text, highlight=False, markup=False)
        found = calibrate(one)
        if found is not None:
            console.print(f"{one.name}: {found.statement}", highlight=False, markup=False)
    console.print("Files  " + "  ".join(str(path) for path in files), highlight=False)
