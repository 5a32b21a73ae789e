"""The start: structure, harmonic force constants and space group, from the reference."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from sscha_mlp import units
from sscha_mlp.campaign.context import Context
from sscha_mlp.campaign.harmonic import forces_of
from sscha_mlp.campaign.journal import Payload
from sscha_mlp.campaign.origin import starting_states
from sscha_mlp.campaign.preflight import structure_file
from sscha_mlp.campaign.settings import RunSettings
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix, make_positive, symmetrise
from sscha_mlp.crystal.finite_displacements import FiniteDisplacements
from sscha_mlp.crystal.structure import Crystal, read_structure
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import SpaceGroup, find_space_group, symmetrise_structure
from sscha_mlp.data.states import load_state, save_state
from sscha_mlp.errors import InputError, ReferenceFailedError, StructureError
from sscha_mlp.reference.calculator import LabelCalculator
from sscha_mlp.reference.offline import is_offline
from sscha_mlp.scha.cell import CellMode

_MAX_STEPS = 200


@dataclass(frozen=True, eq=False)
class Start:
    """Where the relaxation begins.

    Parameters
    ----------
    dynamical_matrix
        Positive-definite force constants of the relaxed structure.
    payload
        What the journal keeps: energies, calls, space group, modes changed.
    """

    dynamical_matrix: DynamicalMatrix
    payload: Payload


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
    payload = context.journal.once("start", lambda: _compute(context, state_file))
    context.coming.recorded()
    dynamical_matrix = load_state(state_file)
    context.group = _group(context, dynamical_matrix.supercell)
    return Start(dynamical_matrix, payload)


def _group(context: Context, supercell: Supercell) -> SpaceGroup:
    """Find the space group, or the part of it that the settings ask for."""
    return find_space_group(supercell).restricted(context.settings.symmetry)


def read_input(context: Context) -> Crystal:
    """Read the structure that the settings name; the primitive cell of what they hold."""
    settings = context.settings
    return read_structure(structure_file(settings)).with_masses(settings.masses)


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
    """

    state: DynamicalMatrix
    harmonic: DynamicalMatrix
    group: SpaceGroup
    energy: float | None = None
    calls: int = 0


def _compute(context: Context, state_file: Path) -> Payload:
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
    save_state(state_file, state)
    _export(context, state)
    return {
        "n_calls": found.calls,
        "energy_eV_per_atom": found.energy,
        "volume_A3_per_atom": state.crystal.volume / state.crystal.n_atoms,
        "space_group": group.international,
        "n_operations": group.n_operations,
        "formula": state.crystal.to_ase().get_chemical_formula(),
        "frequencies_THz": [float(v) for v in harmonic],
        "modes_changed": changed,
    }


def _from_structure(context: Context) -> _Found:
    """Relax a structure with the reference and displace its atoms."""
    settings = context.settings
    crystal, energy, calls = _relaxed(context) if settings.start.relax else _as_given(context)
    supercell = Supercell(crystal, settings.supercell)
    group = _group(context, supercell)
    state, at_rest, displaced = _finite_displacements(context, supercell, group)
    return _Found(state, state, group, at_rest if energy is None else energy, calls + displaced)


def _from_origin(context: Context) -> _Found:
    """Take the states of a finished run; in another supercell they are interpolated."""
    state, harmonic, energy = starting_states(context)
    return _Found(state, harmonic, _group(context, state.supercell), energy)


def _export(context: Context, state: DynamicalMatrix) -> None:
    from sscha_mlp.scha.python_sscha import write_dyn

    write_dyn(context.directory.dyn / "start_dyn", state)


def _from_dyn(context: Context) -> _Found:
    """Read dyn files; the supercell is theirs."""
    from sscha_mlp.scha.python_sscha import read_dyn

    state = read_dyn(context.settings.dyn)
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
    return _Found(found, found, group)


def _as_given(context: Context) -> tuple[Crystal, float | None, int]:
    """Take the structure as it is; its energy is labelled with the displacements."""
    crystal = symmetrise_structure(read_input(context))
    context.reference.check_elements(crystal.to_ase())
    return crystal, None, 0


def _relaxed(context: Context) -> tuple[Crystal, float | None, int]:
    """Relax the structure with the reference; returns energy per atom and reference calls."""
    settings = context.settings
    crystal, _, _ = _as_given(context)
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
    return symmetrise_structure(relaxed), energy, calculator.n_calls


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


def _finite_displacements(
    context: Context, supercell: Supercell, group: SpaceGroup
) -> tuple[DynamicalMatrix, float | None, int]:
    """Harmonic force constants by central differences of one atom of each orbit.

    Returns them with the energy per atom of the undisplaced crystal, which is computed where the
    structure was not relaxed, and the number of reference calls.
    """
    displaced = FiniteDisplacements(group, context.settings.start.displacement)
    frames = displaced.configurations()
    n_displaced = len(frames)
    if not context.settings.start.relax:
        frames.append(supercell.crystal.to_ase())
    done = context.label(frames, "finite displacements", step="start", guard=False)
    forces = forces_of(done)
    at_rest = done.labels[-1] if len(frames) > n_displaced else None
    energy = None if at_rest is None else at_rest.energy / supercell.n_atoms
    return displaced.force_constants(forces[:n_displaced]), energy, len(frames)
