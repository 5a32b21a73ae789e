"""The start: structure, harmonic force constants and space group, from the reference."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from sscha_mlp import units
from sscha_mlp.campaign.bulk_modulus_check import STEP, Compression, compressed, compression
from sscha_mlp.campaign.context import Context
from sscha_mlp.campaign.continuation import starting_states
from sscha_mlp.campaign.harmonic_forces import forces_of
from sscha_mlp.campaign.input_checks import read_input, structure_file
from sscha_mlp.campaign.input_identity import input_row
from sscha_mlp.crystal.born_charges import BornCharges
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix, make_positive, symmetrise
from sscha_mlp.crystal.finite_displacements import FiniteDisplacements
from sscha_mlp.crystal.primitive import count_primitive_cells, primitive_cell
from sscha_mlp.crystal.structure import Crystal
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import (
    SpaceGroup,
    find_space_group,
    hidden_symmetry,
    symmetrise_structure,
)
from sscha_mlp.data.dyn_files import born_of_file, read_dyn, read_dyn_files, write_dyn
from sscha_mlp.data.states import load_state, save_state
from sscha_mlp.errors import InputError, ReferenceFailedError, StructureError
from sscha_mlp.quantities import atoms_name
from sscha_mlp.reference.calculator import LabelCalculator
from sscha_mlp.reference.derivatives import SecondDifferences, second_differences
from sscha_mlp.reference.offline import is_offline
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.run_files.finished_run import FinishedRun
from sscha_mlp.run_files.records.start import StartRecord
from sscha_mlp.run_files.settings import RunSettings
from sscha_mlp.scha.cell import CellMode
from sscha_mlp.scha.convergence import CrystalScale
from sscha_mlp.scha.relaxation import pressure_of

_MAX_STEPS = 200

_MOVED = 1.0e-3
"""Atoms that symmetry moves by less, Å, keep the energy of the relaxed crystal."""


@dataclass(frozen=True, eq=False)
class Start:
    """Where the relaxation begins.

    Parameters
    ----------
    dynamical_matrix
        Positive-definite force constants of the relaxed structure.
    record
        Energies, calls, space group, modes changed.
    """

    dynamical_matrix: DynamicalMatrix
    record: StartRecord


def make_start(context: Context) -> Start:
    """Make the start or find it finished; sets the space group of the context.

    Raises
    ------
    StructureError
        If the structure cannot be used.
    ReferenceFailedError
        If the reference fails on the structure or its displacements.
    """
    state_file = context.directory.state("start")
    record = context.journal.make(StartRecord, "", lambda: _compute(context, state_file))
    context.coming.recorded()
    dynamical_matrix = load_state(state_file)
    context.group = _group(context, dynamical_matrix.supercell)
    return Start(dynamical_matrix, record)


def _group(context: Context, supercell: Supercell) -> SpaceGroup:
    """Find the space group, or the part of it that the settings ask for."""
    return find_space_group(supercell).restricted(context.settings.symmetry)


def cell_size(settings: RunSettings, place: RunDirectory) -> int:
    """Return the number of atoms of the cell that a run repeats.

    Parameters
    ----------
    settings
        Of the run.
    place
        Its directory; where the start is finished there, its state says it.

    Raises
    ------
    InputError
        If what the run starts from cannot be read.
    """
    if place.state("start").is_file():
        return load_state(place.state("start")).crystal.n_atoms
    if settings.origin:
        origin = FinishedRun.read(settings.origin)
        return load_state(origin.place.state("model")).crystal.n_atoms
    if settings.dyn:
        return read_dyn(settings.dyn).crystal.n_atoms
    return _in_cell_of_run(settings, read_input(settings)).n_atoms


def _in_cell_of_run(settings: RunSettings, crystal: Crystal) -> Crystal:
    """Return the cell of a crystal that the settings ask for."""
    return primitive_cell(crystal) if settings.start.primitive else crystal


@dataclass(frozen=True, eq=False)
class _Found:
    """What a start is made of.

    Parameters
    ----------
    state
        Where the relaxation is to begin; its modes need not be positive.
    harmonic
        Force constants of the reference at its own minimum.
    group
        Space group.
    energy
        Of the static lattice, eV/atom; None where it was not computed.
    calls
        Reference calls.
    compression
        What the reference says of a change of the volume; None where it was not asked.
    born
        Born charges that came with the dyn files; the run hands them on in its own.
    """

    state: DynamicalMatrix
    harmonic: DynamicalMatrix
    group: SpaceGroup
    energy: float | None = None
    calls: int = 0
    compression: Compression | None = None
    born: BornCharges | None = None


def _compute(context: Context, state_file: Path) -> StartRecord:
    settings = context.settings
    if settings.origin:
        context.observer.stage(f"start: the state of {settings.origin}")
        found = _from_origin(context)
    else:
        context.observer.stage("start: structure and harmonic force constants from the reference")
        found = _from_dyn(context) if settings.dyn else _from_structure(context)
    group, harmonic = found.group, found.harmonic.modes.frequencies_thz
    save_state(context.directory.state("harmonic"), found.harmonic)
    lowest = found.state.modes.frequencies_thz.min()
    state, changed = make_positive(found.state, smallest_thz=settings.start.smallest_frequency_thz)
    if changed:
        state = state.with_force_constants(symmetrise(group, state.force_constants))
        context.observer.note(
            f"{changed} of {len(harmonic)} modes were unstable or softer than "
            f"{settings.start.smallest_frequency_thz:g} THz (lowest {lowest:.3f} THz); "
            "they were made positive as a start for the SSCHA"
        )
    context.observer.note(
        f"{group.international} with {group.n_operations} operations, "
        f"{state.crystal.volume / state.crystal.n_atoms:.4f} Å³/atom, modes {harmonic.min():.3f} "
        f"to {harmonic.max():.3f} THz, {found.calls} reference calls"
    )
    if found.compression is not None and not settings.origin:
        _tell_compression(context, found.compression)
    save_state(state_file, state)
    write_dyn(context.directory.dyn / "start_dyn", state, born=found.born)
    return StartRecord(
        n_calls=found.calls,
        energy_eV_per_atom=found.energy,
        compression=None if found.compression is None else found.compression.record,
        volume_A3_per_atom=state.crystal.volume / state.crystal.n_atoms,
        space_group=group.international,
        n_operations=group.n_operations,
        formula=state.crystal.to_ase().get_chemical_formula(),
        frequencies_THz=harmonic,
        modes_changed=changed,
        **input_row(settings, context.reference),
    )


def _from_structure(context: Context) -> _Found:
    """Relax a structure with the reference and displace its atoms."""
    settings = context.settings
    rest = _relaxed(context) if settings.start.relax else _as_given(context)
    supercell = Supercell(rest.crystal, settings.supercell)
    group = _group(context, supercell)
    displaced = FiniteDisplacements(group, settings.start.displacement)
    moved, volumes = displaced.configurations(), _volumes(settings, supercell)
    still = [] if settings.start.relax else [supercell.crystal.to_ase()]
    done = context.label(
        [*moved, *still, *volumes], "finite displacements", step="start", guard=False
    )
    state = displaced.force_constants(forces_of(done)[: len(moved)])
    every = [one for one in done.labels if one is not None]
    labels = every[len(moved) :]
    if still:
        at_rest = labels.pop(0)
        rest = replace(
            rest,
            energy=at_rest.energy / supercell.n_atoms,
            pressure=pressure_of(at_rest.stress),
        )
    found = compression(rest.pressure, labels, supercell.crystal.volume) if volumes else None
    differences = second_differences(
        rest.energy * supercell.n_atoms if rest.is_symmetric else float("nan"),
        every[: len(moved)],
        [one.positions - supercell.crystal.positions for one in moved[::2]],
        labels,
        STEP * supercell.crystal.volume,
    )
    differences.require(context.reference.name, supercell.n_atoms)
    _tell_differences(context, differences)
    return _Found(state, state, group, rest.energy, rest.calls + len(done.labels), found)


def _tell_differences(context: Context, found: SecondDifferences) -> None:
    """Say how second differences of the energy agree with forces and stress."""
    parts = [
        f"{ratio:.3f} of what its {name}"
        for ratio, name in ((found.forces, "forces say"), (found.stress, "stress says"))
        if ratio is not None
    ]
    if parts:
        warning = "warning: " if found.doubtful else ""
        context.observer.note(
            f"{warning}second differences of the reference's energy are {' and '.join(parts)}"
        )


def _volumes(settings: RunSettings, supercell: Supercell) -> list[Atoms]:
    """The crystal at two other volumes, where the cell is free."""
    return compressed(supercell) if settings.cell is CellMode.VARIABLE else []


def _from_origin(context: Context) -> _Found:
    """Take the states of a finished run; in another supercell they are interpolated."""
    state, harmonic, energy, known = starting_states(context)
    group = _group(context, state.supercell)
    born = born_of_file(FinishedRun.read(context.settings.origin).place.dyn / "start_dyn1")
    return _Found(state, harmonic, group, energy, compression=known, born=born)


def _from_dyn(context: Context) -> _Found:
    """Read dyn files; the supercell is theirs."""
    given = read_dyn_files(context.settings.dyn)
    state = given.state
    if state.supercell.size != context.settings.supercell:
        raise InputError(
            f"The dyn files {context.settings.dyn} belong to a {state.supercell.size} supercell, "
            f"but --supercell asks for {context.settings.supercell}; give theirs."
        )
    crystal = symmetrise_structure(state.crystal.with_masses(context.settings.masses))
    context.reference.check_elements(crystal.to_ase())
    supercell = Supercell(crystal, state.supercell.size)
    group = _group(context, supercell)
    symmetric = symmetrise(group, state.force_constants)
    found = DynamicalMatrix(supercell, symmetric)
    return _Found(found, found, group, born=given.born)


@dataclass(frozen=True, eq=False)
class _Rest:
    """The crystal at rest: energy in eV/atom, pressure in eV/Å³, and what they have cost."""

    crystal: Crystal
    energy: float = float("nan")
    pressure: float = float("nan")
    calls: int = 0
    is_symmetric: bool = True
    """Whether the energy is that of this crystal, and not of one that symmetry has moved."""


def _as_given(context: Context) -> _Rest:
    """Take the structure as it is; its energy is labelled with the displacements."""
    settings = context.settings
    given = read_input(settings)
    taken = _in_cell_of_run(settings, given)
    name = structure_file(settings).name
    for remark in (hidden_symmetry(name, given), _about_cell(name, given, taken)):
        if remark:
            context.observer.note(remark)
    crystal = symmetrise_structure(taken)
    context.reference.check_elements(crystal.to_ase())
    return _Rest(crystal)


def _about_cell(name: str, given: Crystal, taken: Crystal) -> str:
    """Say where the cell of a file is not primitive, and what was made of it."""
    n_cells = count_primitive_cells(given)
    if n_cells == 1:
        return ""
    holds = f"{name} holds {n_cells} primitive cells"
    if taken.n_atoms == given.n_atoms:
        return (
            f"{holds} and is kept as it is: the bands are folded, {n_cells} wave vectors of the "
            "primitive cell into each (start.primitive = true takes the primitive cell)"
        )
    return (
        f"{holds}; the primitive cell of {atoms_name(taken.n_atoms)} is taken "
        "(start.primitive = false keeps the cell as it is)"
    )


def _relaxed(context: Context) -> _Rest:
    """Relax the structure with the reference."""
    settings = context.settings
    crystal = _as_given(context).crystal
    if is_offline(context.reference):
        context.observer.note(
            "each step of relaxing the structure asks for one label by hand; give a relaxed "
            "structure and start.relax = false to have the whole start in one batch"
        )
    calculator = LabelCalculator(
        context.reference,
        context.store,
        size=settings.supercell,
        time_limit=settings.label_time_limit or None,
        machines=context.machines,
        offline_directory=context.directory.offline,
    )
    atoms = crystal.to_ase()
    atoms.calc = calculator
    tell = context.coming.batch("start", "relaxing the structure", 0)
    reached = relax_at_rest(
        atoms,
        settings,
        fmax=settings.start.fmax,
        progress=lambda: tell(calculator.n_calls, 0),
    )
    if not reached:
        raise ReferenceFailedError(
            f"The structure was not relaxed to {settings.start.fmax} eV/Å in {_MAX_STEPS} "
            "steps; give a better structure, or start.relax = false to use it as it is."
        )
    energy = float(atoms.get_potential_energy()) / len(atoms)
    relaxed = Crystal(atoms.cell.array, atoms.positions, crystal.numbers, crystal.masses)
    change = relaxed.volume / crystal.volume
    if not 0.5 < change < 2.0:
        raise StructureError(
            f"The reference changed the volume of the structure by a factor of {change:.2f}; it is "
            "not near a minimum. Check that structure and reference belong together."
        )
    pressure = pressure_of(atoms.get_stress(voigt=False))
    rest = symmetrise_structure(relaxed)
    moved = np.abs(rest.positions - relaxed.positions).max()
    stretched = np.abs(rest.cell - relaxed.cell).max()
    return _Rest(rest, energy, pressure, calculator.n_calls, max(moved, stretched) < _MOVED)


def relax_at_rest(
    atoms: Atoms,
    settings: RunSettings,
    *,
    fmax: float,
    progress: Callable[[], object] = lambda: None,
) -> bool:
    """Relax atoms, and the cell where the settings leave it free, without vibrations.

    Parameters
    ----------
    atoms
        With a calculator; they are moved.
    settings
        What of the cell is free, and the pressure.
    fmax
        Largest force left, eV/Å.
    progress
        Called after each step.

    Returns
    -------
    Whether that force was reached.
    """
    mask = None if settings.cell is CellMode.VARIABLE else [False] * 6
    target = FrechetCellFilter(
        atoms, mask=mask, scalar_pressure=settings.pressure * units.GPA if mask is None else 0.0
    )
    optimiser = BFGS(target, logfile=None)
    optimiser.attach(progress)
    return bool(optimiser.run(fmax=fmax, steps=_MAX_STEPS))


def _tell_compression(context: Context, found: Compression) -> None:
    """Say what the reference's bulk modulus is, and whether its stress can be believed."""
    error = found.stress_error
    allowed = context.settings.certificate.tolerances.for_crystal(
        CrystalScale(found.bulk_modulus, np.inf, np.inf)
    ).pressure_gpa
    context.observer.note(
        f"bulk modulus of the reference at rest {found.bulk_modulus:.1f} GPa; its stress agrees "
        f"with the derivative of its energy within {abs(error):.2g} GPa"
    )
    if abs(error) > allowed:
        context.observer.note(
            f"warning: the reference's stress is {error:+.2f} GPa off the derivative of its "
            f"energy, and the certificate allows {allowed:g} GPa. No potential can follow both: "
            "expect wrong volumes. Give the reference a higher cutoff or denser k-points (see "
            "sscha-mlp reference check), or keep the cell, --cell fixed"
        )
