"""What can be found wrong before anything is written or computed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sscha_mlp.campaign.continuation import check_origin
from sscha_mlp.crystal.structure import Crystal, read_structure
from sscha_mlp.data.dyn_files import dyn_paths, read_dyn
from sscha_mlp.errors import ConfigError, InputError
from sscha_mlp.potentials.registry import KINDS
from sscha_mlp.reference.registry import Reference, get_reference
from sscha_mlp.resources import bundled_file
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.run_files.settings import AUTO, RunSettings
from sscha_mlp.scha.cell import CellMode

BUNDLED = "silicon.cif"

VACUUM: Final = 8.0
"""A layer without atoms that is thicker than this (Å) is taken for vacuum."""


def structure_file(settings: RunSettings) -> Path:
    """Return the file of the structure: the bundled silicon where none is named."""
    return Path(settings.structure) if settings.structure else bundled_file(BUNDLED)


def read_input(settings: RunSettings) -> Crystal:
    """Read the structure that the settings name, in the cell of its file, with their masses.

    Raises
    ------
    StructureError
        If it cannot be used, or a mass is given for an element that it lacks.
    """
    return read_structure(structure_file(settings)).with_masses(settings.masses)


@dataclass(frozen=True)
class PreparedRun:
    """A run whose input has been checked, and whose directory is made.

    Parameters
    ----------
    settings
        In force: a directory that an earlier version began keeps its cell.
    place
        Its directory.
    reference
        What labels.
    """

    settings: RunSettings
    place: RunDirectory
    reference: Reference


def prepare_run(settings: RunSettings, directory: str | Path) -> PreparedRun:
    """Check what is asked and make the directory, or check that it was made for this.

    Raises
    ------
    InputError
        If settings, structure or reference cannot be used, or the directory holds another run.
    """
    place = RunDirectory(Path(directory))
    begun = place.has_begun
    reference = get_reference(settings.reference) if begun else check_input(settings)
    return PreparedRun(place.prepare(settings), place, reference)


def check_input(settings: RunSettings) -> Reference:
    """Check that structure, reference, kind of model and engine exist and belong together.

    Returns
    -------
    The reference.

    Raises
    ------
    InputError
        If one of them cannot be used, or the engine is not installed.
    """
    if settings.engine == "python-sscha":
        from sscha_mlp.scha.python_sscha import upstream

        upstream()
    if settings.model not in (*KINDS, AUTO):
        raise ConfigError(
            f"There is no potential of the kind {settings.model!r}; the known kinds are: "
            f"{', '.join((*KINDS, AUTO))}."
        )
    reference = get_reference(settings.reference)
    if settings.origin:
        check_origin(settings)
        return reference
    if settings.dyn:
        dyn_paths(settings.dyn)
    if settings.dyn and settings.masses:
        _check_masses_of_dyn(settings)
    if not settings.dyn:
        crystal = read_input(settings)
        reference.check_elements(crystal.to_ase())
        _check_slab(settings, crystal)
    return reference


def _check_slab(settings: RunSettings, crystal: Crystal) -> None:
    """Refuse a slab in vacuum whose cell may change: nothing holds the thickness of the vacuum.

    A run that has begun is not asked again.
    """
    gaps = crystal.widest_gaps()
    along = int(gaps.argmax())
    if settings.cell is CellMode.FIXED or gaps[along] <= VACUUM:
        return
    size = ["N", "N", "N"]
    size[along] = "1"
    raise InputError(
        f"{structure_file(settings).name} has a layer of {gaps[along]:.1f} Å without atoms along "
        f"its lattice vector {along + 1}: a slab or a molecule in vacuum. Its pressure and volume "
        f"mean nothing, and a {settings.cell} cell would change the thickness of the vacuum. Relax "
        "the in-plane lattice with your own code, then run at that lattice: --cell fixed "
        f"--supercell {' '.join(size)}."
    )


def _check_masses_of_dyn(settings: RunSettings) -> None:
    read_dyn(settings.dyn).crystal.with_masses(settings.masses)
