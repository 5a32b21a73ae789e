"""The phonons of a run, from the files of its directory."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from sscha_mlp import units
from sscha_mlp.crystal.born_charges import BornCharges
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.structure import Crystal, FloatArray
from sscha_mlp.crystal.symmetry import SpaceGroup, find_space_group
from sscha_mlp.data.dyn_files import born_of_file
from sscha_mlp.data.states import load_state
from sscha_mlp.digits import fixed, with_error
from sscha_mlp.ensemble.nuclei import Nuclei
from sscha_mlp.errors import InputError
from sscha_mlp.properties.born_files import fitted, read_born
from sscha_mlp.properties.density_of_states import DensityOfStates, Smearing, density_of_states
from sscha_mlp.properties.dispersion import Dispersion, dispersion
from sscha_mlp.properties.interpolation import interpolate
from sscha_mlp.properties.mesh import MeshFrequencies, mesh_for, mesh_frequencies
from sscha_mlp.properties.modes import TRANSLATION_THZ, levels, matched_frequencies
from sscha_mlp.properties.paths import BandPath, standard_path
from sscha_mlp.properties.polar_modes import PolarLevel, is_ionic, polar_levels
from sscha_mlp.properties.thermodynamics import Thermodynamics, thermodynamics
from sscha_mlp.quantities import AtWaveVector, cells_name, reduced_formula
from sscha_mlp.report.phonons.known_frequencies import known_frequencies
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.run_files.journal import Journal
from sscha_mlp.run_files.records.result import Frequencies, Result
from sscha_mlp.run_files.records.start import StartRecord
from sscha_mlp.run_files.settings import RunSettings
from sscha_mlp.tables import Shown, Table, few

SAME_THZ: Final = 2.0e-3
"""The corrected state counts as that of the result when no frequency differs by more, THz."""

_N_BINS: Final = 300
_POLAR: Final = (
    "The curves have the electric field of the dipoles near q = 0; the frequencies of the "
    "supercell at q = 0 are without it, and stand in the table alone."
)
_IONIC: Final = (
    "The crystal is ionic, and no Born charges were given: LO and TO modes do not part near Γ, and "
    "the curves between Γ and the next wave vector of the supercell are not to be trusted. "
    "--born FILE takes the charges and the dielectric tensor."
)


@dataclass(frozen=True, eq=False)
class PhononState:
    """One state of a run: its frequencies along the path, on the mesh, and what follows.

    Parameters
    ----------
    name
        ``harmonic``, ``model`` or ``corrected``.
    state
        Its force constants.
    dispersion
        Along the path of the run's last state.
    mesh
        Frequencies on the mesh.
    density
        Density of states.
    thermodynamics
        Harmonic sums on the mesh at the temperature of the run.
    on_grid
        The same sums on the wave vectors of the supercell.
    """

    name: str
    state: DynamicalMatrix
    dispersion: Dispersion
    mesh: MeshFrequencies
    density: DensityOfStates
    thermodynamics: Thermodynamics
    on_grid: Thermodynamics


@dataclass(frozen=True)
class ModeRow(AtWaveVector):
    """A level at an irreducible wave vector of the supercell, frequencies in THz.

    Parameters
    ----------
    q
        In reciprocal-lattice units.
    band
        Index of its first mode, from 1 in rising order.
    degeneracy
        How many modes.
    harmonic
        Harmonic frequency of the modes with the most similar polarisation.
    model
        SSCHA frequency of the model.
    corrected, stderr
        SSCHA frequency of the reference with its standard error.
    known
        Frequency known from elsewhere, if any.
    name
        Of the special point; empty where it has none.
    """

    q: tuple[float, float, float]
    band: int
    degeneracy: int
    harmonic: float
    model: float
    corrected: float
    stderr: float
    known: float | None = None
    name: str = ""

    @property
    def change(self) -> float:
        """From harmonic to corrected, THz: temperature, thermal expansion, zero-point motion."""
        return self.corrected - self.harmonic


@dataclass(frozen=True, eq=False)
class PathPoint:
    """Frequencies at a wave vector of the supercell that lies on the path, THz.

    Parameters
    ----------
    distance
        Along the path, 1/Å.
    corrected, stderr
        Frequencies with their standard errors, shape (n_bands,); NaN for translations.
    harmonic
        Harmonic frequencies of the modes with the most similar polarisation, shape (n_bands,).
    known
        Known from elsewhere, shape (n_bands,), or None.
    """

    distance: float
    corrected: FloatArray
    harmonic: FloatArray
    stderr: FloatArray
    known: FloatArray | None = None


@dataclass(frozen=True, eq=False)
class Phonons(Shown):
    """What is known of the phonons of a run.

    Parameters
    ----------
    title
        What the run is of.
    temperature, nuclei
        Of the run, K, and how its nuclei move.
    states
        The harmonic start first; then the SSCHA, where the run is finished.
    rows
        Table of modes; empty while the run is not finished.
    points
        Errors along the path.
    notes
        What a reader has to know about these numbers, in sentences.
    known_label
        Where the known frequencies come from.
    born
        Born charges of a polar crystal, where they are known.
    polar
        Optical modes of the last state at q → 0, with the electric field; empty without charges.
    """

    title: str
    temperature: float
    states: tuple[PhononState, ...]
    rows: tuple[ModeRow, ...] = ()
    points: tuple[PathPoint, ...] = ()
    notes: tuple[str, ...] = ()
    known_label: str = "known"
    nuclei: Nuclei = Nuclei.QUANTUM
    born: BornCharges | None = None
    polar: tuple[PolarLevel, ...] = ()

    @property
    def path(self) -> BandPath:
        """The path of all states."""
        return self.states[0].dispersion.path

    def table(self) -> Table:
        """Return the modes of the supercell's wave vectors, harmonic and at temperature."""
        rows = [
            (
                one.shown_q,
                str(one.band),
                str(one.degeneracy),
                fixed(one.harmonic, 3),
                fixed(one.model, 3),
                with_error(one.corrected, one.stderr),
                fixed(one.change, 3, sign=True),
            )
            for one in self.rows
        ]
        columns = ("q", "band", "modes", "harmonic (THz)", "model", "corrected", "change")
        return Table(f"Phonons: {self.title}", few(rows, 24), columns, " ".join(self.notes))


def run_phonons(
    run_directory: str | Path,
    *,
    mesh: tuple[int, int, int] | None = None,
    smearing: Smearing | str = Smearing.TETRAHEDRON,
    born: str | Path | None = None,
    known: str | Path | None = None,
) -> Phonons:
    """Collect the phonons of a run: its harmonic start, and the SSCHA where it is finished.

    Parameters
    ----------
    run_directory
        The run.
    mesh
        Wave vectors of the density of states; about those of a supercell of 60 Å when left out.
    smearing
        ``tetrahedron`` or ``gaussian``.
    born
        File with Born charges, see :func:`sscha_mlp.properties.born_files.read_born`; by default
        those that came with the dyn files that the run started from.
    known
        JSON with frequencies known from elsewhere, as for the report.

    Raises
    ------
    InputError
        If this is not a run directory, or has no harmonic start yet, or a file cannot be read.
    """
    place = RunDirectory(Path(run_directory))
    settings = place.settings()
    result = place.read_result() if place.result.is_file() else None
    states, notes = _states(place, result)
    last = list(states.values())[-1]
    charges = _charges(place, born, last.crystal, notes)
    path = standard_path(last.crystal)
    size = mesh_for(last.crystal) if mesh is None else mesh
    entries: list[_Entry] = []
    points: list[PathPoint] = []
    if result is not None:
        table = None if known is None else known_frequencies(Path(known), result)
        entries = _entries(states, result.frequencies_THz, table)
        group = find_space_group(last.supercell).restricted(settings.symmetry)
        points = _points(path, group, entries, polar=charges is not None)
    found = _evaluate(states, path, size, smearing=smearing, born=charges, settings=settings)
    notes += _unstable(found)
    if charges is not None:
        notes.append(_POLAR)
    elif is_ionic(last.crystal):
        notes.append(_IONIC)
    return Phonons(
        title=_title(result, last, settings),
        temperature=settings.temperature,
        states=found,
        rows=tuple(row for entry in entries for row in _rows(entry)),
        points=tuple(points),
        notes=tuple(notes),
        nuclei=settings.nuclei,
        born=charges,
        polar=tuple(polar_levels(interpolate(last, born=charges), _errors_at_gamma(entries))),
        known_label="known" if known is None else f"known ({Path(known).stem})",
    )


def _charges(
    place: RunDirectory, path: str | Path | None, crystal: Crystal, notes: list[str]
) -> BornCharges | None:
    """Born charges of a file, or else those that the run has, made to fit its crystal."""
    if path is not None:
        return read_born(path, crystal)
    found = born_of_file(place.dyn / "start_dyn1")
    if found is None:
        return None
    try:
        charges = fitted(found, crystal, str(place.dyn))
    except InputError as err:
        notes.append(f"Not used, so that LO and TO modes are not split: {err}")
        return None
    notes.append("Born charges and dielectric tensor are those of the dyn files of the start.")
    return charges


def _errors_at_gamma(entries: Sequence["_Entry"]) -> FloatArray | None:
    """Standard errors of the result at Γ, THz; None while there is none."""
    return next((one.stderr for one in entries if not any(one.q)), None)


def _title(result: Result | None, state: DynamicalMatrix, settings: RunSettings) -> str:
    formula = reduced_formula(state.crystal.to_ase().get_chemical_formula())
    cells = cells_name(state.supercell.size)
    if result is None:
        return f"{formula}, {cells}, harmonic start"
    return (
        f"{formula} {result.space_group or ''}, {cells}, "
        f"{settings.temperature:g} K{settings.nuclei.remark}, {result.pressure_target_GPa:g} GPa"
    )


def _states(
    place: RunDirectory, result: Result | None
) -> tuple[dict[str, DynamicalMatrix], list[str]]:
    """The states that there are, by name, and what has to be said about them."""
    notes: list[str] = []
    states = {"harmonic": _harmonic(place, notes)}
    if result is None:
        notes.append("The run is not finished: this is its harmonic start alone.")
        return states, notes
    states["model"] = load_state(place.state("model"))
    final = load_state(place.state("final"))
    if _is_of_result(final, result.frequencies_THz):
        states["corrected"] = final
    else:
        notes.append(
            "The corrected frequencies were found to first order, without a state of their own: "
            "they are points, and the curve is that of the model."
        )
    return states, notes


def _harmonic(place: RunDirectory, notes: list[str]) -> DynamicalMatrix:
    """The harmonic force constants, before unstable modes were lifted where they were kept."""
    if place.state("harmonic").is_file():
        return load_state(place.state("harmonic"))
    lifted = place.state("start")
    if not lifted.is_file():
        raise InputError(
            f"{place.shown} has no harmonic start yet; wait until sscha-mlp status shows one."
        )
    start = Journal(place.journal, read_only=True).find(StartRecord)
    if start is not None and start.modes_changed:
        notes.append(
            f"{start.modes_changed} modes of the harmonic start were unstable or very soft "
            "and have been lifted; runs of earlier versions did not keep what they were."
        )
    return load_state(lifted)


def _is_of_result(state: DynamicalMatrix, entries: Sequence[Frequencies]) -> bool:
    """Whether the frequencies of a state are the corrected ones of the result."""
    found = state.frequencies_at_qpoints() / units.THZ
    return all(
        np.abs(found[_place(state, entry.q)] - entry.values("corrected")).max() < SAME_THZ
        for entry in entries
    )


def _evaluate(
    states: Mapping[str, DynamicalMatrix],
    path: BandPath,
    mesh: tuple[int, int, int],
    *,
    smearing: Smearing | str,
    born: BornCharges | None,
    settings: RunSettings,
) -> tuple[PhononState, ...]:
    """Interpolate all states on the same path, mesh and bins."""
    series = {name: interpolate(state, born=born) for name, state in states.items()}
    meshes = {name: mesh_frequencies(one, mesh) for name, one in series.items()}
    values = np.array([(one.frequencies.min(), one.frequencies.max()) for one in meshes.values()])
    low, high = values[:, 0].min() / units.THZ, values[:, 1].max() / units.THZ
    at, nuclei = [settings.temperature], settings.nuclei
    edges = np.linspace(low - 0.5 if low < -1.0e-3 else 0.0, 1.03 * high, _N_BINS + 1)
    return tuple(
        PhononState(
            name=name,
            state=state,
            dispersion=dispersion(series[name], path),
            mesh=meshes[name],
            density=density_of_states(meshes[name], smearing=smearing, edges_thz=edges),
            thermodynamics=thermodynamics(meshes[name], at, nuclei=nuclei),
            on_grid=thermodynamics(state.frequencies_at_qpoints(), at, nuclei=nuclei),
        )
        for name, state in states.items()
    )


def _unstable(states: Sequence[PhononState]) -> list[str]:
    """Sentences on interpolated modes that are unstable."""
    notes = []
    for one in states:
        lowest = float(one.mesh.frequencies_thz.min())
        if one.thermodynamics.left_out > 0.0:
            notes.append(
                f"{one.thermodynamics.left_out:.3f} modes per cell of the {one.name} state are "
                f"unstable on the mesh (lowest {fixed(lowest, 2)} THz) and in no sum."
            )
    return notes


@dataclass(frozen=True, eq=False)
class _Entry:
    """Frequencies of one irreducible wave vector, THz, each of shape (n_bands,)."""

    q: tuple[float, float, float]
    harmonic: FloatArray
    model: FloatArray
    corrected: FloatArray
    stderr: FloatArray
    known: FloatArray | None
    name: str


def _entries(
    states: Mapping[str, DynamicalMatrix],
    found: Sequence[Frequencies],
    known: Sequence[Sequence[float]] | None,
) -> list[_Entry]:
    """Frequencies of the result, the harmonic ones of the same polarisation beside them."""
    last = list(states.values())[-1]
    harmonic = matched_frequencies(last, states["harmonic"]) / units.THZ
    entries = []
    for number, entry in enumerate(found):
        entries.append(
            _Entry(
                q=entry.q,
                harmonic=harmonic[_place(last, entry.q)],
                model=entry.values("model"),
                corrected=entry.values("corrected"),
                stderr=entry.values("stderr"),
                known=None if known is None else np.array(known[number]),
                name=entry.name,
            )
        )
    return entries


def _place(state: DynamicalMatrix, q: Sequence[float]) -> int:
    """Index of a wave vector of the supercell."""
    cell = np.rint(np.array(q) * state.supercell.size).astype(np.int64)
    return int(state.supercell.cell_index(cell))


def _rows(entry: _Entry) -> Iterator[ModeRow]:
    """Levels of one wave vector; translations are left out."""
    for level in levels(entry.corrected):
        part = level.modes
        if np.abs(entry.corrected[part]).max() < TRANSLATION_THZ:
            continue
        yield ModeRow(
            q=entry.q,
            band=level.first + 1,
            degeneracy=level.degeneracy,
            harmonic=float(entry.harmonic[part].mean()),
            model=float(entry.model[part].mean()),
            corrected=float(entry.corrected[part].mean()),
            stderr=float(entry.stderr[part].max()),
            known=None if entry.known is None else float(entry.known[part].mean()),
            name=entry.name,
        )


def _points(
    path: BandPath, group: SpaceGroup, entries: Sequence[_Entry], *, polar: bool
) -> list[PathPoint]:
    """Frequencies with errors where the path meets wave vectors of the supercell.

    In a polar crystal q = 0 is left out.
    """
    supercell, size = group.supercell, np.array(group.supercell.size)
    stars = group.equivalent_qpoints()

    def star(q: Sequence[float] | FloatArray) -> int:
        cell = np.rint(np.asarray(q) * size).astype(np.int64)
        return int(stars[int(supercell.cell_index(cell))])

    by_star = {star(entry.q): entry for entry in entries}
    points: dict[float, PathPoint] = {}
    for distance, q in path.commensurate(supercell.size):
        entry = by_star.get(star(q))
        if entry is None or (polar and not any(entry.q)):
            continue
        moving = np.where(np.abs(entry.corrected) < TRANSLATION_THZ, np.nan, entry.corrected)
        points[round(distance, 8)] = PathPoint(
            distance, moving, entry.harmonic, entry.stderr, entry.known
        )
    return list(points.values())
