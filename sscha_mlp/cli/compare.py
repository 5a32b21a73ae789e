"""The verb ``compare``: the model of a finished run against its reference."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from sscha_mlp.cli import options

if TYPE_CHECKING:
    from sscha_mlp.studies.compare_values import Comparison, FrequencyComparison

_LEVEL_WIDTHS = (18, 8, 19, 12, 20)
_QUANTITY_WIDTHS = (32, 12, 12, 12, 12)


def compare(
    run_directory: options.RunDirectoryArgument,
    out: Annotated[
        Path | None,
        Option("--out", help="Directory for the files. \\[default: the run directory]"),
    ] = None,
    points: Annotated[
        int, Option("--points", help="Volumes of the equation of state, at least 5.")
    ] = 7,
    no_eos: Annotated[
        bool, Option("--no-eos", help="Leave the equation of state out: fewer labels.")
    ] = False,
    no_elastic: Annotated[
        bool, Option("--no-elastic", help="Leave the elastic constants out: fewer labels.")
    ] = False,
    workers: Annotated[
        int,
        Option("--workers", help="Processes for labels and for the model; as in the run when 0."),
    ] = 0,
    trust: options.Trust = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Compare the model of a finished run with its reference.

    Harmonic phonons (THz), equation of state and elastic constants (GPa) of the lattice at rest,
    and the SSCHA frequencies of the result. Writes compare.pdf, compare.json and compare-*.csv.
    Needs some labels of the reference, says how many, and keeps them in the label store of the run.
    """
    del debug  # read by the command line itself
    from sscha_mlp.cli.running import require_trust
    from sscha_mlp.cli.screen import make_observer
    from sscha_mlp.data.files import make_directory
    from sscha_mlp.report.compare.files import comparison_json, write_comparison
    from sscha_mlp.studies.compare import compare_run

    if out is not None:
        make_directory(out)
    require_trust(run_directory, trust=trust, quiet=quiet or as_json)
    with make_observer(quiet=quiet) as observer:
        found = compare_run(
            run_directory,
            eos=not no_eos,
            elastic=not no_elastic,
            n_points=points,
            n_workers=workers,
            observer=observer,
        )
    written = write_comparison(found, out or run_directory)
    if as_json:
        print(json.dumps(comparison_json(found), indent=2, ensure_ascii=False))
        return
    for line in _lines(found):
        print(line)
    for path in written:
        print(path)


def _lines(found: "Comparison") -> Iterator[str]:
    """The tables and the verdict, at most 80 columns wide."""
    import textwrap

    from sscha_mlp.report.compare.files import label_lines, quantity_cells

    yield f"Model against reference: {found.title}"
    yield ""
    yield from _levels("Harmonic, at rest (THz)", found.harmonic.frequencies)
    quantities = quantity_cells(found)
    if quantities:
        yield ""
        header = ["At rest", "reference", "model", "difference", "%"]
        for row in (header, *quantities):
            yield _line(row, _QUANTITY_WIDTHS)
    yield ""
    yield from _levels(f"SSCHA at {found.temperature:g} K (THz)", found.sscha)
    yield ""
    for sentence in (found.verdict, *found.notes):
        yield from textwrap.wrap(sentence, width=80)
    for line in label_lines(found):
        yield f"Reference, {line}"


def _levels(title: str, found: "FrequencyComparison") -> Iterator[str]:
    from sscha_mlp.report.compare.files import level_cells

    cells, _ = level_cells(found)
    yield title
    for row in (["q", "modes", "reference", "model", "model − reference"], *cells):
        yield _line(row, _LEVEL_WIDTHS)
    yield f"rms {found.rms:.3f} THz over all modes of the supercell"


def _line(cells: list[str], widths: tuple[int, ...]) -> str:
    first, *rest = cells
    columns = "".join(f"{cell:>{width}}" for cell, width in zip(rest, widths[1:], strict=True))
    return f"{first:<{widths[0]}}{columns}".rstrip()
