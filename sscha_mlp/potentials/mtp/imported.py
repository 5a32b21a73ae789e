"""MTPs in single files: those of this package or another code as potentials, and the way back."""

import hashlib
import tempfile
from pathlib import Path
from typing import Final

from ase import Atoms

from sscha_mlp.data.cfg import read_cfg
from sscha_mlp.data.files import write_atomic
from sscha_mlp.errors import InputError, SschaMlpError
from sscha_mlp.potentials.kind import Exported
from sscha_mlp.potentials.mtp.almtp import (
    ActiveSetBlock,
    SelectionMode,
    exported_active_set,
    imported_active_set,
    read_almtp,
    write_almtp,
)
from sscha_mlp.potentials.mtp.files import Species, lammps_snippet, read_bytes, write_mtp
from sscha_mlp.potentials.mtp.model import MtpPotential
from sscha_mlp.potentials.mtp.parameters import Parameters
from sscha_mlp.potentials.record import ModelRecord

_MTP: Final = ".mtp"
_ALMTP: Final = ".almtp"
_WITH_GRADES: Final = """
# MLIP-3 with extrapolation grades, in place of the pair_style above
# pair_style mlip load_from={file} extrapolation_control=true &
#   extrapolation_control:threshold_save=2 extrapolation_control:threshold_break=10 &
#   extrapolation_control:save_extrapolative_to=preselected.cfg
"""


def from_file(
    path: Path | str, species: Species | None = None, *, n_workers: int = 1
) -> MtpPotential:
    """Load a ``.mtp`` or ``.almtp`` file as a potential.

    The active set of an ``.almtp`` file that this package wrote is taken as it is.  That of MLIP-3
    also counts the radial coefficients, which the grades here do not: it is built again, for the
    basis functions alone, from the configurations that the file holds.  Without either, the
    potential has no grades; its ``with_active_set`` gives it some.

    Parameters
    ----------
    path
        The file.
    species
        Chemical symbols or atomic numbers by type, for a file that does not say them.
    n_workers
        Threads among which a batch is divided.

    Raises
    ------
    ModelError
        If the file is missing, damaged, not fitted or of another kind of MTP, or if the species
        are unknown or contradict the file.
    """
    path = Path(path)
    parameters, block = read_almtp(path, species)
    potential = MtpPotential(path, _record(path, parameters), parameters, None, n_workers=n_workers)
    return potential if block is None else _with_block(potential, block)


def _record(path: Path, parameters: Parameters) -> ModelRecord:
    return ModelRecord(
        kind="mtp",
        sha256=hashlib.sha256(read_bytes(path)).hexdigest(),
        files=(path.name,),
        fingerprint="",
        settings={"cutoff": parameters.max_dist, "grade": str(SelectionMode.NEIGHBORHOOD)},
        elements=parameters.elements,
        details={"n_basis_functions": parameters.template.n_scalars},
    )


def _with_block(potential: MtpPotential, block: ActiveSetBlock) -> MtpPotential:
    mode = block.mode or SelectionMode.NEIGHBORHOOD
    active = imported_active_set(potential.parameters, block)
    if active is not None:
        return potential.graded_by(active, mode, "file")
    selected = _configurations(block, potential.parameters)
    if not selected:
        return potential
    built = potential.with_active_set(selected, mode=mode)
    source = f"{len(selected)} configurations in the file"
    return built.graded_by(built.active_set, mode, source)


def _configurations(block: ActiveSetBlock, parameters: Parameters) -> tuple[Atoms, ...]:
    """Return the configurations behind an active set, or none where they cannot be used."""
    if not block.configurations.strip():
        return ()
    with tempfile.TemporaryDirectory() as directory:
        draft = Path(directory) / "selected.cfg"
        draft.write_text(block.configurations, encoding="utf-8")
        try:
            frames = read_cfg(draft, species=parameters.elements)
        except SschaMlpError:
            return ()
    return tuple(
        one
        for one in frames
        if set(one.symbols) <= set(parameters.elements) and one.cell.volume > 0.0
    )


def export(potential: MtpPotential, path: Path) -> Exported:
    """Write a ``.mtp`` file, or an ``.almtp`` file with the active set, and the lines for LAMMPS.

    Parameters
    ----------
    potential
        What to write.
    path
        The file; the lines of a LAMMPS input lie beside it, as ``FILE.lammps``.

    Raises
    ------
    InputError
        If the ending is another one, or an active set is wanted and there is none.
    """
    if path.suffix not in {_MTP, _ALMTP}:
        raise InputError(f"{path} must end in {_MTP}, or {_ALMTP} with an active set.")
    parameters, with_grades = potential.parameters, path.suffix == _ALMTP
    snippet = lammps_snippet(path.name, parameters)
    if with_grades:
        write_almtp(path, parameters, _block_of(potential))
        snippet += _WITH_GRADES.format(file=path.name)
    else:
        write_mtp(path, parameters)
    beside = path.with_name(f"{path.name}.lammps")
    write_atomic(beside, snippet)
    summary = _summary(potential, path)
    return Exported(summary, (path, beside), _left_out(potential, with_grades=with_grades))


def _block_of(potential: MtpPotential) -> ActiveSetBlock:
    if potential.active_set is None:
        raise InputError(
            f"{potential.path} has no active set, which an {_ALMTP} file is for: give its training "
            f"data with --train, or write an {_MTP} file."
        )
    mode = SelectionMode(potential.grade_mode)
    return exported_active_set(potential.parameters, potential.active_set, mode=mode)


def _summary(potential: MtpPotential, path: Path) -> str:
    parameters = potential.parameters
    types = ", ".join(f"{i} {symbol}" for i, symbol in enumerate(parameters.elements))
    active = f", grades by {potential.grade_mode}" if path.suffix == _ALMTP else ""
    return (
        f"MTP of {parameters.template.n_scalars} basis functions, {parameters.min_dist:.3f} to "
        f"{parameters.max_dist:g} Å{active}; types {types}: {path}"
    )


def _left_out(potential: MtpPotential, *, with_grades: bool) -> tuple[str, ...]:
    repulsion = (
        f"the repulsion below {potential.parameters.min_dist:.3f} Å; MLIP and LAMMPS continue the "
        "polynomials there, which soon explode"
    )
    if with_grades:
        return (
            repulsion,
            "the configurations of the active set; select and train with sscha-mlp, not with mlp "
            "select_add and mlp train",
        )
    if potential.active_set is None:
        return (repulsion,)
    return (repulsion, f"the active set for extrapolation grades; export to {_ALMTP} for that")
