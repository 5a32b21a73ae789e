"""The verb ``hessian``: whether the state of a run is stable at its temperature."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from typer import Option

from sscha_mlp.cli import options

if TYPE_CHECKING:
    from sscha_mlp.run_files.observer import Observer
    from sscha_mlp.run_files.records.hessian import HessianModes, HessianRecord, SoftestMode
    from sscha_mlp.studies.follow import FollowResult

_TRIAL: Final = (
    "SSCHA: trial force constants of the model at the minimum of this ensemble, not corrected. "
    "The summary of the run shows those of other ensembles, and their errors: differences within "
    "these are noise."
)
"""What the column of that name holds, and why it is not what the run has shown."""


def hessian(
    run_directory: options.RunDirectoryArgument,
    n_configs: Annotated[
        int, Option("--configs", help="Configurations of the ensemble, an even number.")
    ] = 5000,
    fourth: Annotated[
        bool, Option("--fourth", help="Include the fourth order; takes several times as long.")
    ] = False,
    follow: Annotated[
        bool,
        Option(
            "--follow",
            help="Where a mode is unstable: write the distorted structures, relax the deepest one "
            "with the settings of the run (this takes labels), and compare the free energies.",
        ),
    ] = False,
    workers: options.Workers = 0,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Say whether the state of a finished run is stable: the free-energy Hessian.

    Evaluates an ensemble of the final state with the run's model, corrects the result by the
    labels of its last check, and writes hessian.json and dyn/hessian_dyn*.
    """
    del debug  # read by the command line itself
    from sscha_mlp.cli.screen import make_observer
    from sscha_mlp.studies.hessian import hessian_of_run

    with make_observer(quiet=quiet) as observer:
        content = hessian_of_run(
            run_directory,
            n_configs=n_configs,
            fourth=fourth,
            n_workers=options.count_workers(workers),
            observer=observer,
        )
        followed = _follow(run_directory, content, workers, observer) if follow else None
    if as_json:
        whole = {**content, **({} if followed is None else {"follow": followed})}
        print(json.dumps(whole, indent=2, ensure_ascii=False))
        return
    from sscha_mlp.run_files.records.hessian import HessianRecord

    for line in _lines(HessianRecord.of(content), run_directory):
        print(line)
    if followed is not None:
        print(f"\n{followed.table()}")


def _follow(
    run_directory: Path, content: Mapping[str, Any], workers: int, observer: "Observer"
) -> "FollowResult | None":
    """Follow the softest mode where it is unstable; say so where it is not."""
    from sscha_mlp.cli.screen import note
    from sscha_mlp.run_files.records.hessian import HessianRecord
    from sscha_mlp.studies.follow import follow_hessian

    if HessianRecord.of(content).verdict != "unstable":
        note("No mode is unstable beyond two standard errors: there is nothing to follow.")
        return None
    return follow_hessian(
        run_directory, n_workers=options.count_workers(workers), observer=observer
    )


def _lines(found: "HessianRecord", directory: Path) -> Iterator[str]:
    import textwrap

    from sscha_mlp.ensemble.nuclei import Nuclei

    nuclei = Nuclei(found.nuclei).remark
    order = "third and fourth order" if found.fourth_order else "third order"
    yield (
        f"Free-energy Hessian at {found.temperature_K:g} K{nuclei}, {order}, "
        f"{found.n_configs} configurations"
    )
    yield f"{'q':<16}{'SSCHA':>8}{'Hessian':>9}{'Hessian squared':>21}{'correction':>12}"
    yield f"{'':<16}{'(THz)':>8}{'(THz)':>9}{'(THz²)':>21}{'(THz²)':>12}"
    for entry in found.modes:
        yield from _rows(entry, found.softest)
    yield from textwrap.wrap(found.statement, width=80)
    yield from textwrap.wrap(_TRIAL, width=80)
    if found.check_labels:
        yield f"Corrected by {found.check_labels} labels of the check."
    yield from textwrap.wrap(f"Not in the errors: {found.left_out}.", width=80)
    yield f"Files: {directory / 'hessian.json'}"
    yield f"       {directory / 'dyn' / 'hessian_dyn*'}"


_EQUAL: Final = 1.0e-6
"""Squared frequencies that are nearer than this, THz², are those of one level."""


def _rows(entry: "HessianModes", softest: "SoftestMode") -> Iterator[str]:
    """One line for each set of equal modes of a wave vector, the softest of all marked."""
    from sscha_mlp.digits import error_decimals, fixed, with_error

    squared = entry.squared_THz2
    name = entry.shown_q
    last = None
    columns = zip(
        entry.is_translation,
        entry.sscha_THz,
        entry.hessian_THz,
        squared.corrected,
        squared.stderr,
        squared.correction,
        strict=True,
    )
    for is_translation, trial, frequency, value, error, correction in columns:
        if is_translation or (last is not None and abs(value - last) < _EQUAL):
            continue
        last = value
        is_softest = abs(value - softest.squared_frequency_THz2) < _EQUAL
        mark = "  < softest" if is_softest and entry.q == softest.q else ""
        change = fixed(correction, error_decimals(error), sign=True)
        yield (
            f"{name:<16}{fixed(trial, 3):>8}{fixed(frequency, 3):>9}"
            f"{with_error(value, error):>21}{change:>12}{mark}"
        )
