"""What can be found wrong before anything is written or computed."""

from pathlib import Path

from sscha_mlp.campaign.continuation import check_origin
from sscha_mlp.crystal.structure import Crystal
from sscha_mlp.crystal.structure_files import read_structure
from sscha_mlp.data.dyn_files import dyn_paths, read_dyn
from sscha_mlp.errors import ConfigError
from sscha_mlp.potentials.registry import KINDS
from sscha_mlp.reference.registry import get_reference
from sscha_mlp.resources import bundled_file
from sscha_mlp.run_files.settings import AUTO, RunSettings

BUNDLED = "silicon.cif"


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
    crystal = read_structure(structure_file(settings), symmetrise=settings.symmetrise)
    return crystal.with_masses(settings.masses)


def check_input(settings: RunSettings) -> None:
    """Check that structure, reference, kind of model and engine exist and belong together.

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
        return
    if settings.dyn:
        dyn_paths(settings.dyn)
    if settings.dyn and settings.masses:
        _check_masses_of_dyn(settings)
    if not settings.dyn:
        reference.check_elements(read_input(settings).to_ase())


def _check_masses_of_dyn(settings: RunSettings) -> None:
    read_dyn(settings.dyn).crystal.with_masses(settings.masses)
