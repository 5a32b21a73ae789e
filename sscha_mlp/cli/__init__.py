"""The command ``sscha-mlp``: one file per verb, and the one place that prints.

Exit statuses: 0 when what was asked for is there (for ``relax``: converged and certified), 1 when
a run failed or ended without a certificate, 2 for wrong input, 130 after Ctrl-C, 143
after SIGTERM.
"""

import os
import sys
from collections.abc import Sequence

from sscha_mlp.cli.arguments import split_sizes
from sscha_mlp.cli.failures import INTERRUPTED, Terminated, explain, signals_interrupt
from sscha_mlp.cli.streams import fitting_streams

__all__ = ["main", "run_command"]


def main() -> None:
    """Run the command line of this process and end with its exit status."""
    # One thread per process: the numbers then do not depend on the number of cores, and the
    # worker processes have the cores for themselves.  NumPy reads this when it is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: Sequence[str]) -> int:
    """Run one command line; what goes wrong becomes one sentence on standard error.

    Parameters
    ----------
    arguments
        Without the name of the program.

    Returns
    -------
    The exit status.
    """
    with fitting_streams(as_json="--json" in arguments):
        return _run(arguments)


def _run(arguments: Sequence[str]) -> int:
    debug = "--debug" in arguments
    try:
        words = split_sizes(arguments) or ["--help"]
        with signals_interrupt():
            from sscha_mlp.cli.app import app

            outcome = app(words, prog_name="sscha-mlp", standalone_mode=False)
        status = outcome if isinstance(outcome, int) else 0
    except (Exception, KeyboardInterrupt, Terminated) as err:  # noqa: BLE001 - the one place that ends a run
        return explain(err, debug=debug, verb=next(iter(arguments), ""))
    if status == INTERRUPTED:
        return explain(KeyboardInterrupt(), debug=False, verb=next(iter(arguments), ""))
    return status
