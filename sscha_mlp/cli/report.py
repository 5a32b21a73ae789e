"""The verb ``report``: the PDF of a run, finished or not."""

from pathlib import Path
from typing import Annotated

import typer

from sscha_mlp.cli import options


def report(
    run_directory: options.RunDirectoryArgument,
    known: Annotated[
        Path | None,
        typer.Option(
            "--known",
            help="JSON with frequencies (THz) known directly, shown beside those of the run: "
            "another result.json, or the output of benchmarks/direct.py.",
        ),
    ] = None,
    debug: options.Debug = False,
) -> None:
    """Write report.pdf and validation.pdf, .png and .json of a run, from its files alone.

    A run that is not finished gives what there is so far.
    """
    del debug  # read by the command line itself
    from sscha_mlp.report.run.collect import write_run_report
    from sscha_mlp.run_files.directory import RunDirectory

    with RunDirectory(run_directory).trusted():
        written = write_run_report(run_directory, known=known)
    for path in written:
        print(path)
