"""The verb ``export``: an MTP as a file for MLIP and LAMMPS."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from typer import Argument

from sscha_mlp.cli import options
from sscha_mlp.cli.models import ModelArgument, SpeciesOption, TrainOption

if TYPE_CHECKING:
    from sscha_mlp.potentials.mtp.almtp import ActiveSetBlock
    from sscha_mlp.potentials.mtp.model import MtpPotential

_MTP: Final = ".mtp"
_ALMTP: Final = ".almtp"
_WITH_GRADES: Final = """
# MLIP-3 with extrapolation grades, in place of the pair_style above
# pair_style mlip load_from={file} extrapolation_control=true &
#   extrapolation_control:threshold_save=2 extrapolation_control:threshold_break=10 &
#   extrapolation_control:save_extrapolative_to=preselected.cfg
"""


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
    from sscha_mlp.cli.models import load_mtp, refuse_to_replace
    from sscha_mlp.cli.screen import note
    from sscha_mlp.data.files import make_directory, write_atomic
    from sscha_mlp.errors import InputError
    from sscha_mlp.potentials.mtp.almtp import write_almtp
    from sscha_mlp.potentials.mtp.files import lammps_snippet, write_mtp

    if out.suffix not in {_MTP, _ALMTP}:
        raise InputError(f"{out} must end in {_MTP}, or {_ALMTP} with an active set.")
    refuse_to_replace(out, [model])
    potential = load_mtp(model, species, what="can be exported", train=train)
    parameters = potential.parameters
    snippet = lammps_snippet(out.name, parameters)
    beside = out.with_name(f"{out.name}.lammps")
    block = _block(potential, model) if out.suffix == _ALMTP else None
    make_directory(out.parent)
    if block is None:
        write_mtp(out, parameters)
    else:
        write_almtp(out, parameters, block)
        snippet += _WITH_GRADES.format(file=out.name)
    write_atomic(beside, snippet)
    note(_summary(potential, out))
    note(f"lines for a LAMMPS input: {beside}")
    for line in _left_out(potential, with_grades=block is not None):
        note(f"not in the file: {line}")


def _block(potential: "MtpPotential", model: Path) -> "ActiveSetBlock":
    from sscha_mlp.errors import InputError
    from sscha_mlp.potentials.mtp.almtp import SelectionMode, exported_active_set

    if potential.active_set is None:
        raise InputError(
            f"{model} has no active set, which an {_ALMTP} file is for: give its training data "
            f"with --train, or write an {_MTP} file."
        )
    mode = SelectionMode(potential.settings["grade"])
    return exported_active_set(potential.parameters, potential.active_set, mode=mode)


def _summary(potential: "MtpPotential", out: Path) -> str:
    parameters = potential.parameters
    types = ", ".join(f"{i} {symbol}" for i, symbol in enumerate(parameters.elements))
    active = f", grades by {potential.settings['grade']}" if out.suffix == _ALMTP else ""
    return (
        f"MTP of {parameters.template.n_scalars} basis functions, {parameters.min_dist:.3f} to "
        f"{parameters.max_dist:g} Å{active}; types {types}: {out}"
    )


def _left_out(potential: "MtpPotential", *, with_grades: bool) -> Iterator[str]:
    yield (
        f"the repulsion below {potential.parameters.min_dist:.3f} Å; MLIP and LAMMPS continue the "
        "polynomials there, which soon explode"
    )
    if with_grades:
        yield (
            "the configurations of the active set; select and train with sscha-mlp, not with mlp "
            "select_add and mlp train"
        )
    elif potential.active_set is not None:
        yield f"the active set for extrapolation grades; export to {_ALMTP} for that"
