"""The verb ``supercell``: a finished run in a larger cell, and what the size changes."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from sscha_mlp.cli import options
from sscha_mlp.cli.running import as_settings, end, run_to_result

if TYPE_CHECKING:
    from sscha_mlp.studies.supercell_convergence import SizeRow


def supercell(
    run_directory: options.RunDirectoryArgument,
    size: Annotated[
        tuple[int, int, int],
        Argument(metavar="N N N", help="Repetitions of the primitive cell.", show_default=False),
    ],
    max_labels: Annotated[
        int | None, Option("--max-labels", help="Budget of new labels. \\[default: 60]")
    ] = None,
    configs: options.Configurations = None,
    seed: options.RunSeed = None,
    workers: options.RunWorkers = None,
    executor: options.RunExecutor = None,
    model_executor: options.ModelExecutor = None,
    run_dir: Annotated[
        Path | None,
        Option("--run-dir", help="Directory of the new run. \\[default: RUN_DIR-N-N-N]"),
    ] = None,
    trust: options.Trust = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Relax a finished run again in a larger supercell, and show what the size changes.

    Carries its force constants to the larger cell, relaxes there with its model, and certifies the
    result with a few labels of the larger cell; the model learns from them where it must. Writes
    sizes.json and sizes.pdf beside the files of a run.
    """
    from sscha_mlp.report.compare.supercell_convergence import write_sizes
    from sscha_mlp.studies.supercell_convergence import enlarged_settings, size_rows

    given = {
        "max_labels": max_labels,
        "configs": configs,
        "seed": seed,
        "workers": workers,
        "executor": executor,
        "model_executor": model_executor,
    }
    settings = enlarged_settings(run_directory, size, as_settings(given))
    named = f"{run_directory.resolve().name}-{'-'.join(str(n) for n in size)}"
    directory = run_dir or run_directory.resolve().parent / named
    result = run_to_result(settings, directory, quiet=quiet, debug=debug, trust=trust)
    rows = size_rows(directory)
    write_sizes(rows, directory)
    end(directory, result, as_json=as_json)
    if not as_json:
        for line in _table(rows):
            print(line)
        print(f"Sizes       {directory / 'sizes.pdf'}")


def _table(rows: Sequence["SizeRow"]) -> Iterator[str]:
    """What changes with the size, at most 80 columns wide."""
    from sscha_mlp.digits import with_error

    yield ""
    yield (
        f"{'Cells':<10}{'atoms':>6}{'labels':>8}{'Volume (Å³/atom)':>22}"
        f"{'Free energy (eV/atom)':>30}"
    )
    for row in rows:
        yield (
            f"{row.cells:<10}{row.n_atoms:>6}{row.labels:>8}{with_error(*row.volume):>22}"
            f"{with_error(*row.free_energy):>30}"
        )
    yield ""
    yield f"{'Frequency (THz) at q':<24}" + "".join(f"{row.cells:>22}" for row in rows[-2:])
    for level in rows[0].levels:
        place = rows[0].at(level.q).index(level)
        cells = [row.at(level.q)[place : place + 1] for row in rows[-2:]]
        equal = f" ×{level.count}" if level.count > 1 else ""
        yield f"{level.shown_q + equal:<24}" + "".join(
            f"{with_error(one[0].frequency, one[0].stderr) if one else '—':>22}" for one in cells
        )
