"""The verb ``report``: the PDF of a run, finished or not."""

from sscha_mlp.cli import options


def report(
    run_directory: options.RunDirectoryArgument,
    debug: options.Debug = False,
) -> None:
    """Write report.pdf and validation.pdf, .png and .json of a run, from its files alone.

    A run that is not finished gives what there is so far.
    """
    del debug  # read by the command line itself
    from sscha_mlp.report.from_run import write_run_report

    for path in write_run_report(run_directory):
        print(path)
