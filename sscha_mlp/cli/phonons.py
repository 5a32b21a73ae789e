"""The verb ``phonons``: dispersion, density of states and mode table of a run."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from sscha_mlp.cli import options

if TYPE_CHECKING:
    from sscha_mlp.report.phonons.data import Phonons

_WIDTHS = (18, 7, 10, 17, 17, 9)


def phonons(
    run_directory: options.RunDirectoryArgument,
    out: Annotated[
        Path | None,
        Option("--out", help="Directory for the files. \\[default: the run directory]"),
    ] = None,
    known: Annotated[
        Path | None,
        Option(
            "--known",
            help="JSON with frequencies (THz) known directly, shown beside those of the run: "
            "another result.json, or the output of benchmarks/direct.py.",
        ),
    ] = None,
    born: Annotated[
        Path | None,
        Option(
            "--born",
            help="Born charges (e) and dielectric tensor of a polar crystal, for the splitting of "
            "LO and TO modes: phonopy's BORN, a .toml file, or the dyn file of q = 0. "
            "\\[default: of the dyn files that the run started from]",
        ),
    ] = None,
    mesh: Annotated[
        tuple[int, int, int] | None,
        Option(
            "--mesh",
            metavar="N N N",
            help="Wave vectors of the density of states. \\[default: as of a supercell of 60 Å]",
        ),
    ] = None,
    smearing: Annotated[
        str, Option("--smearing", help="Density of states by tetrahedron or gaussian (0.1 THz).")
    ] = "tetrahedron",
    export: Annotated[
        list[str] | None,
        Option(
            "--export",
            metavar="FORMAT",
            help="Also write each state for other codes: phonopy, qe or extxyz; may be repeated.",
        ),
    ] = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Write phonons.pdf, phonons.json, phonons.csv and phonons-dos.csv of a run.

    Shows the harmonic start, the SSCHA with the model, and the SSCHA corrected to the reference,
    with errors at the wave vectors of the supercell (THz). The path is the standard one of the
    lattice. A run that is not finished gives its harmonic start.
    """
    del debug  # read by the command line itself
    import json

    from sscha_mlp.cli.screen import note
    from sscha_mlp.report.phonons.data import run_phonons
    from sscha_mlp.report.phonons.files import as_export, phonons_json, write_phonons

    exports = [as_export(name) for name in export or ()]
    found = run_phonons(run_directory, mesh=mesh, smearing=smearing, born=born, known=known)
    written = write_phonons(found, out or run_directory, exports=exports)
    if as_json:
        print(json.dumps(phonons_json(found), indent=2, ensure_ascii=False))
        return
    for line in _table(found):
        print(line)
    for sentence in found.notes:
        note(sentence)
    for path in written[:4]:
        print(path)
    if written[4:]:
        print(f"{len(written) - 4} files of exports in {out or run_directory}")


def _table(found: "Phonons") -> Iterator[str]:
    """The table of modes, at most 80 columns wide."""
    from sscha_mlp.report.phonons.files import mode_cells

    yield found.title
    if not found.rows:
        lowest = float(found.states[0].mesh.frequencies_thz.min())
        highest = float(found.states[0].mesh.frequencies_thz.max())
        yield f"harmonic modes from {lowest:.3f} to {highest:.3f} THz on the mesh"
        return
    cells, breaks = mode_cells(found.rows)
    header = ["q", "modes", "harmonic", "SSCHA", "change", "known"]
    n_columns = len(header) if any(row.known is not None for row in found.rows) else -1
    yield _line(header[:n_columns] if n_columns < 0 else header)
    for number, row in enumerate(cells):
        if number in breaks:
            yield ""
        yield _line(row[:n_columns] if n_columns < 0 else row)
    yield "Frequencies in THz, with one standard error."
    if found.polar:
        yield from _polar(found)


def _polar(found: "Phonons") -> Iterator[str]:
    """The modes at q → 0 with the electric field of their dipoles."""
    import textwrap

    from sscha_mlp.report.phonons.files import POLAR, polar_cells

    yield ""
    yield f"{'q → 0 along':<16}{'modes':>6}{'character':>12}{'SSCHA':>18}"
    for direction, count, character, frequency in polar_cells(found.polar):
        yield f"{direction:<16}{count:>6}{character:>12}{frequency:>18}"
    yield from textwrap.wrap(POLAR, width=80)


def _line(cells: list[str]) -> str:
    first, *rest = cells
    return f"{first:<{_WIDTHS[0]}}" + "".join(
        f"{cell:>{width}}" for cell, width in zip(rest, _WIDTHS[1:], strict=False)
    )
