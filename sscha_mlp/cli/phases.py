"""The verb ``phases``: which of two structures is stable at a temperature and pressure."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from sscha_mlp.cli import options

if TYPE_CHECKING:
    from sscha_mlp.report.sweep.phase_report import Phases

_WIDTHS = (9, 9, 19, 19, 19)
_CROSSING_WIDTHS = (15, 15, 17, 17, 16)


def phases(
    a: Annotated[
        Path, Argument(metavar="A", help="Directory of a sweep or a run.", show_default=False)
    ],
    b: Annotated[
        Path, Argument(metavar="B", help="The other one, of one composition.", show_default=False)
    ],
    out: Annotated[Path, Option("--out", help="Directory for the files; made if needed.")] = Path(
        "sscha-phases"
    ),
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Compare two structures by Gibbs free energy: phases.pdf, phases.json and phases.csv.

    A and B are sweeps or finished runs of one composition. Differences (B less A, per atom) stand
    where both are known, or between points of a sweep, never beyond them. Crossings have their
    error, and the slope of the line of coexistence.
    """
    del debug  # read by the command line itself
    import json

    from sscha_mlp.cli.screen import note
    from sscha_mlp.report.sweep.phase_report import phases as compare
    from sscha_mlp.report.sweep.phase_report import phases_json, write_phases

    found = compare(a, b)
    written = write_phases(found, out)
    if as_json:
        print(json.dumps(phases_json(found), indent=2, ensure_ascii=False))
        return
    for line in _lines(found):
        print(line)
    for sentence in found.notes:
        note(sentence)
    for path in written:
        print(path)


def _lines(found: "Phases") -> Iterator[str]:
    """The tables, at most 80 columns wide."""
    import textwrap

    from sscha_mlp.report.sweep.phase_report import crossing_cells, difference_cells

    comparison = found.comparison
    a, b = comparison.a, comparison.b
    yield f"{a.composition}: A = {a.name}, B = {b.name}; B less A, per atom"
    yield _row(["T (K)", "P (GPa)", "G (meV)", "S (k)", "V (Å³)"], _WIDTHS)
    for one in comparison.differences:
        *cells, _ = difference_cells(one)
        yield _row(cells, _WIDTHS) + (" *" if one.interpolated else "")
    if any(one.interpolated for one in comparison.differences):
        yield "* one of the two is interpolated"
    if comparison.crossings:
        yield ""
        yield _row(["T (K)", "P (GPa)", "S (k)", "V (Å³)", "dP/dT (MPa/K)"], _CROSSING_WIDTHS)
    for crossing in comparison.crossings:
        yield _row(crossing_cells(crossing), _CROSSING_WIDTHS)
    yield ""
    for sentence in comparison.statements:
        yield from textwrap.wrap(sentence, width=80)


def _row(cells: list[str], widths: tuple[int, ...]) -> str:
    return "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
