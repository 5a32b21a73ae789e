"""MTPs from single files, of this package or of another code, as potentials like any other."""

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ase import Atoms

from sscha_mlp.data.cfg import read_cfg
from sscha_mlp.errors import InputError, SschaMlpError
from sscha_mlp.potentials.active_set import ActiveSet
from sscha_mlp.potentials.mtp.almtp import (
    ActiveSetBlock,
    SelectionMode,
    imported_active_set,
    read_almtp,
)
from sscha_mlp.potentials.mtp.files import Species, read_bytes
from sscha_mlp.potentials.mtp.model import MtpPotential
from sscha_mlp.potentials.mtp.parameters import Parameters
from sscha_mlp.potentials.record import ModelRecord


def from_file(
    path: Path | str, species: Species | None = None, *, n_workers: int = 1
) -> MtpPotential:
    """Load a ``.mtp`` or ``.almtp`` file as a potential.

    The active set of an ``.almtp`` file that this package wrote is taken as it is.  That of MLIP-3
    also counts the radial coefficients, which the grades here do not: it is built again, for the
    basis functions alone, from the configurations that the file holds.  Without either, the
    potential has no grades; :func:`with_active_set` gives it some.

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


def with_active_set(
    potential: MtpPotential,
    train: Sequence[Atoms],
    *,
    mode: SelectionMode | str | None = None,
) -> MtpPotential:
    """Return the same potential with the active set of training configurations.

    Parameters
    ----------
    potential
        An MTP, with or without an active set.
    train
        The configurations that it was trained on; labels are not needed.
    mode
        Whether atoms are graded, or whole configurations; by default as before.

    Raises
    ------
    InputError
        If there are no configurations, or the mode is unknown.
    ModelError
        If a configuration holds an element that the potential does not know.
    """
    mode = potential.settings.get("grade", "neighborhood") if mode is None else mode
    if mode not in list(SelectionMode):
        raise InputError(
            f"The grade mode {str(mode)!r} is not known; choose {', '.join(SelectionMode)}."
        )
    if not train:
        raise InputError("An active set needs training configurations; there are none.")
    if mode == SelectionMode.CONFIGURATION:
        rows = potential.descriptors(train)
    else:
        rows, _ = potential.site_descriptors(train)
    return _with(potential, ActiveSet.of(rows), SelectionMode(mode), "training data")


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
        return _with(potential, active, mode, "file")
    selected = _configurations(block, potential.parameters)
    if not selected:
        return potential
    built = with_active_set(potential, selected, mode=mode)
    source = f"{len(selected)} configurations in the file"
    return _with(built, built.active_set, mode, source)


def _with(
    potential: MtpPotential, active: ActiveSet | None, mode: SelectionMode, source: str
) -> MtpPotential:
    record = replace(
        potential.record,
        settings={**potential.record.settings, "grade": str(mode)},
        details={**potential.record.details, "active_set_from": source},
    )
    return MtpPotential(
        potential.path, record, potential.parameters, active, n_workers=potential.n_workers
    )


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
