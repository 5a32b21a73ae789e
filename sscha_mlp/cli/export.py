"""The verb ``export``: a potential as a file for other codes, such as MLIP and LAMMPS."""

from pathlib import Path
from typing import Annotated

from typer import Argument

from sscha_mlp.cli import options
from sscha_mlp.cli.models import ModelArgument, SpeciesOption, TrainOption


def export(
    model: ModelArgument,
    out: Annotated[
        Path,
        Argument(
            metavar="OUT",
            help="File to write: .mtp, or .almtp with the active set for extrapolation grades.",
            show_default=False,
        ),
    ],
    train: TrainOption = None,
    species: SpeciesOption = None,
    debug: options.Debug = False,
) -> None:
    """Write an MTP for MLIP and LAMMPS, and beside it the lines of a LAMMPS input, OUT.lammps.

    The other way needs no verb: efs, grade, select-add and export take .mtp and .almtp files.
    """
    del debug  # read by the command line itself
    from sscha_mlp.cli.models import load_graded, load_model, refuse_to_replace
    from sscha_mlp.cli.screen import note
    from sscha_mlp.data.files import make_directory
    from sscha_mlp.errors import InputError
    from sscha_mlp.potentials.registry import kind_of

    refuse_to_replace(out, [model])
    with (
        load_graded(model, species, train=train) if train else load_model(model, species)
    ) as potential:
        kind = kind_of(potential)
        if kind.export is None:
            raise InputError(f"{model} is a {kind.title}, which no file format is known for.")
        make_directory(out.parent)
        exported = kind.export(potential, out)
    note(exported.summary)
    for beside in exported.files[1:]:
        note(f"lines for a LAMMPS input: {beside}")
    for line in exported.left_out:
        note(f"not in the file: {line}")
