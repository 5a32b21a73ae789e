"""The verb ``convert``: configurations from one format into another."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from sscha_mlp.cli import options

if TYPE_CHECKING:
    from ase import Atoms

    from sscha_mlp.data.formats import Written

FORMATS = "cfg (MLIP), extxyz, poscar, outcar, vasprun, lammps-data, or as ASE names it"


def convert(
    inputs: Annotated[
        list[Path],
        Argument(metavar="IN...", help="Files of configurations.", show_default=False),
    ],
    out: Annotated[
        Path,
        Option(
            "--out",
            help="File to write; with {} in its name, as in POSCAR-{}, one numbered file for each "
            "configuration.",
        ),
    ],
    from_format: Annotated[
        str | None,
        Option(
            "--from",
            metavar="FMT",
            help=f"Format of the inputs: {FORMATS}. \\[default: from each name]",
        ),
    ] = None,
    to_format: Annotated[
        str | None,
        Option(
            "--to", metavar="FMT", help=f"Format of --out: {FORMATS}. \\[default: from its name]"
        ),
    ] = None,
    species: Annotated[
        str | None,
        Option(
            "--species",
            metavar="Si,Ge",
            help="Elements in the order of the types 0, 1, ...: for inputs that do not say it, "
            "and for --out. \\[default: as in the inputs, then by appearance]",
        ),
    ] = None,
    index: Annotated[
        str,
        Option(
            "--index",
            help="Which configurations of each input: -1 the last, ::10 every 10th. "
            "\\[default: all]",
            show_default=False,
        ),
    ] = ":",
    debug: options.Debug = False,
) -> None:
    """Convert configurations between the formats of MLIP, extended XYZ, VASP, LAMMPS and ASE.

    Energies (eV), forces (eV/Å) and stresses go along where the format can hold them; what it
    cannot hold is named.
    """
    del debug  # read by the command line itself
    from sscha_mlp.cli.screen import note
    from sscha_mlp.data.formats import read_any, write_any

    order = [one.strip() for one in species.split(",")] if species is not None else None
    frames = [
        one
        for path in inputs
        for one in read_any(path, file_format=from_format, index=index, species=order)
    ]
    written = write_any(out, frames, file_format=to_format, species=order)
    note(_summary(frames, written))


def _summary(frames: Sequence["Atoms"], written: "Written") -> str:
    sizes = sorted({len(atoms) for atoms in frames})
    atoms = f"{sizes[0]} atoms" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]} atoms"
    count = f"{len(frames)} configuration{'s' if len(frames) > 1 else ''} of {atoms}"
    types = ", ".join(f"{i} {symbol}" for i, symbol in enumerate(written.species))
    parts = [
        f"{count}, {_labels(frames)}: {_place(written)}",
        f"types {types}" if types else "",
        f"left out: {', '.join(written.left_out)}" if written.left_out else "",
    ]
    return "; ".join(part for part in parts if part)


def _labels(frames: Sequence["Atoms"]) -> str:
    from sscha_mlp.data.attached import attached_labels

    names = ("energy", "forces", "stress")
    counts = dict.fromkeys(names, 0)
    for atoms in frames:
        for name in attached_labels(atoms):
            counts[name] += 1
    if not any(counts.values()):
        return "not labelled"
    every = [name for name in names if counts[name] == len(frames)]
    some = [f"{name} in {counts[name]}" for name in names if 0 < counts[name] < len(frames)]
    return f"labelled with {', '.join([*every, *some])}"


def _place(written: "Written") -> str:
    first, last = written.paths[0], written.paths[-1]
    return str(first) if first == last else f"{first} to {last}"
