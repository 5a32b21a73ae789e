"""What can be found wrong before anything is written or computed."""

import math
from pathlib import Path
from typing import Final

from sscha_mlp.calculators.registry import Reference, get_reference
from sscha_mlp.campaign.continuation import check_origin
from sscha_mlp.crystal.primitive import count_primitive_cells
from sscha_mlp.crystal.structure import Crystal
from sscha_mlp.crystal.structure_files import read_structure
from sscha_mlp.data.dyn_files import dyn_paths, read_dyn
from sscha_mlp.errors import ConfigError, InputError
from sscha_mlp.parallel.memory import require_memory
from sscha_mlp.potentials.names import kind_names
from sscha_mlp.potentials.registry import find_kind, installed_kinds
from sscha_mlp.resources import bundled_file
from sscha_mlp.run_files.settings import AUTO, RunSettings
from sscha_mlp.scha.cell import CellMode

BUNDLED = "silicon.cif"

_ENSEMBLES: Final = 8
"""Arrays as large as the displacements of a population: forces, both in reciprocal space, copies.
"""

_CONSTANTS: Final = 10
"""Arrays as large as the force constants that live at one time."""

_OPERATIONS: Final = 96
"""Integers for each atom: the permutations of the space group, and a copy."""

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
    crystal = read_structure(structure_file(settings), symmetrise=settings.symmetrise)
    return crystal.with_masses(settings.masses)


def check_input(settings: RunSettings) -> Reference:
    """Check that structure, reference, kind of model and engine exist and belong together.

    Returns
    -------
    The reference, which need not be made again.

    Raises
    ------
    InputError
        If one of them cannot be used, or the engine is not installed.
    """
    if settings.engine == "python-sscha":
        from sscha_mlp.scha.python_sscha import upstream

        upstream()
    check_model(settings)
    reference = get_reference(settings.reference)
    if settings.origin:
        check_origin(settings, reference)
        return reference
    if settings.dyn:
        dyn_paths(settings.dyn)
    if settings.dyn and settings.masses:
        _check_masses_of_dyn(settings)
    if not settings.dyn:
        crystal = read_input(settings)
        reference.check_elements(crystal.to_ase())
        check_size(settings, _n_atoms(settings, crystal))
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


def check_model(settings: RunSettings) -> None:
    """Check that the kind of potential exists, is installed, and can take its settings.

    Raises
    ------
    InputError
        If not, or if settings are given for a kind that there is not.
    """
    if settings.model == AUTO:
        kinds, _ = installed_kinds()
    else:
        kinds = (find_kind(settings.model),)
    for kind in kinds:
        kind.require_ready(settings.hyper_parameters(kind.name))
    known = {kind.name for kind in kinds} | set(kind_names())
    for name in settings.potential:
        if name not in known:
            raise ConfigError(
                f"Unknown setting potential.{name}; the known kinds of potential are: "
                f"{', '.join(sorted(known))}."
            )


def check_size(settings: RunSettings, n_primitive: int) -> None:
    """Refuse a supercell or an ensemble that does not fit into memory, and one without modes.

    Parameters
    ----------
    settings
        Of the run.
    n_primitive
        Atoms of the cell that is repeated.

    Raises
    ------
    ConfigError
        If the supercell has one atom.
    InputError
        If there is not enough memory.
    """
    n_atoms = n_primitive * math.prod(settings.supercell)
    if n_atoms < 2:
        raise ConfigError(
            "A supercell of one atom has no vibrations: its three modes move the whole crystal. "
            "Take a larger one, such as --supercell 2 2 2."
        )
    require_memory(
        _ENSEMBLES * 8.0 * 3.0 * n_atoms * settings.configs
        + _CONSTANTS * 8.0 * 9.0 * n_primitive * n_atoms
        + _OPERATIONS * 8.0 * n_atoms,
        f"{settings.configs} configurations of {n_atoms} atoms",
        "take a smaller --supercell, or fewer --configs",
    )


def _n_atoms(settings: RunSettings, crystal: Crystal) -> int:
    """Return the atoms of the cell that a run repeats."""
    if not settings.start.primitive:
        return crystal.n_atoms
    return crystal.n_atoms // count_primitive_cells(crystal)


def _check_masses_of_dyn(settings: RunSettings) -> None:
    read_dyn(settings.dyn).crystal.with_masses(settings.masses)
