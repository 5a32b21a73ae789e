"""What a finished run says about its temperature and pressure, per atom and with errors."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import spglib
from ase.geometry import cell_to_cellpar

from sscha_mlp import units
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.crystal.symmetry import find_space_group
from sscha_mlp.data.states import load_state
from sscha_mlp.errors import InputError
from sscha_mlp.properties.einstein import einstein_temperatures
from sscha_mlp.properties.modes import levels
from sscha_mlp.properties.thermodynamics import thermodynamics
from sscha_mlp.run_files.directory import RunDirectory
from sscha_mlp.run_files.json_fields import Value
from sscha_mlp.run_files.mode_levels import SAME_THZ, Level, levels_of
from sscha_mlp.run_files.records.fields import fields_of
from sscha_mlp.run_files.records.hessian import HessianRecord
from sscha_mlp.run_files.records.result import Result
from sscha_mlp.run_files.settings import RunSettings
from sscha_mlp.scha.cell import CellMode

_ZERO_THZ: Final = 1.0e-3
"""A mode below this is no oscillator, THz."""

_SYMMETRY: Final = 1.0e-4
"""Distance within which the conventional cell is looked for, Å."""


@dataclass(frozen=True)
class RunValues:
    """Numbers of a finished run.

    Parameters
    ----------
    temperature, pressure
        K, GPa.
    converged, stop_reason
        As in ``result.json``.
    volume, free_energy, gibbs
        Per atom: Å³, eV, eV.
    entropy
        Per atom, of the trial modes, in Boltzmann constants.
    cell_lengths, cell_angles
        Of the conventional cell, Å and degrees.  Where a result of an earlier version has no errors
        of the lengths, they are those of a change of volume that keeps the shape.
    labels_new
        Labels of its own, without the calls for the start and without those taken over.
    start_calls
        Reference calls for the start.
    retrains
        Fits after the first.
    soft_mode
        From ``hessian.json``, or None.
    levels
        Corrected frequencies.
    formula, space_group, n_atoms, supercell, reference, model, nuclei, seed
        What was run.
    einstein_temperatures
        That span its modes, K.
    """

    temperature: float
    pressure: float
    converged: bool
    stop_reason: str
    volume: Value
    free_energy: Value
    gibbs: Value
    entropy: Value
    cell_lengths: tuple[Value, Value, Value]
    cell_angles: tuple[float, float, float]
    labels_new: int
    start_calls: int
    retrains: int
    soft_mode: dict[str, Any] | None
    levels: tuple[Level, ...]
    formula: str
    space_group: str
    n_atoms: int
    supercell: tuple[int, int, int]
    reference: str
    model: str
    nuclei: str
    seed: int
    einstein_temperatures: tuple[float, ...]


def run_values(place: RunDirectory) -> RunValues:
    """Read a finished run.

    Parameters
    ----------
    place
        The run.

    Raises
    ------
    InputError
        If it is no finished run, or its cell was not relaxed to its pressure.
    """
    settings, result = place.settings(), place.read_result()
    if settings.cell is not CellMode.VARIABLE:
        raise InputError(
            f"{place.shown} was run with a cell that is {settings.cell}: a Gibbs free energy at a "
            "pressure needs one that is relaxed to it. Run it again without --cell."
        )
    temperature, pressure = result.temperature_K, result.pressure_target_GPa
    volume = Value(result.volume.value, result.volume.stderr)
    free_energy = Value(result.free_energy.corrected, result.free_energy.stderr)
    work = pressure * units.GPA * volume.value
    modes = _Modes.of(place, settings, result)
    lengths, angles = _conventional_cell(result, volume)
    return RunValues(
        temperature=temperature,
        pressure=pressure,
        converged=result.converged,
        stop_reason=result.stop_reason,
        volume=volume,
        free_energy=free_energy,
        # The volume is where G is least: its error changes G in second order.
        gibbs=Value(free_energy.value + work, free_energy.stderr),
        entropy=modes.entropy(temperature),
        cell_lengths=lengths,
        cell_angles=angles,
        labels_new=result.labels.n_new,
        start_calls=result.labels.start or 0,
        retrains=result.retrains or 0,
        soft_mode=_soft_mode(place),
        levels=levels_of(result),
        formula=result.formula or "",
        space_group=result.space_group or "",
        n_atoms=result.n_atoms or 0,
        supercell=settings.supercell,
        reference=settings.reference,
        model=result.model.kind or "",
        nuclei=modes.nuclei,
        seed=settings.seed,
        einstein_temperatures=einstein_temperatures(modes.frequencies, weights=modes.weights),
    )


@dataclass(frozen=True, eq=False)
class _Modes:
    """Corrected frequencies of the irreducible wave vectors, shape (n_q, n_bands), THz."""

    frequencies: FloatArray
    stderr: FloatArray
    weights: FloatArray  # number of wave vectors of each star, shape (n_q,)
    n_atoms: int
    nuclei: str

    @classmethod
    def of(cls, place: RunDirectory, settings: RunSettings, result: Result) -> "_Modes":
        state: DynamicalMatrix = load_state(place.state("final"))
        group = find_space_group(state.supercell).restricted(settings.symmetry)
        _, counts = np.unique(group.equivalent_qpoints(), return_counts=True)
        entries = result.frequencies_THz
        if len(entries) != len(counts):
            raise ValueError(f"{len(entries)} wave vectors, not {len(counts)}")
        return cls(
            np.array([one.values("corrected") for one in entries]),
            np.array([one.values("stderr") for one in entries]),
            counts.astype(np.float64),
            state.crystal.n_atoms,
            result.nuclei,
        )

    def entropy(self, temperature: float) -> Value:
        """Entropy per atom; the errors of modes of one level add up, those of levels do not."""
        if temperature == 0.0:
            return Value(0.0, 0.0)
        total = variance = 0.0
        for frequencies, stderr, weight in zip(
            self.frequencies, self.stderr, self.weights, strict=True
        ):
            moving = frequencies > _ZERO_THZ
            rows = [self._of_mode(float(one), temperature) for one in frequencies[moving]]
            changes = np.array([slope for _, slope in rows]) * stderr[moving] * weight
            total += weight * sum(entropy for entropy, _ in rows)
            variance += _by_levels(frequencies[moving], changes)
        scale = float(self.weights.sum()) * self.n_atoms
        return Value(float(total / scale), float(np.sqrt(variance) / scale))

    def _of_mode(self, frequency: float, temperature: float) -> tuple[float, float]:
        """Entropy (k), and how fast it falls with the frequency: ``C / nu``, k/THz."""
        found = thermodynamics(np.array([frequency * units.THZ]), temperature, nuclei=self.nuclei)
        entropy, capacity = float(found.entropy[0]), float(found.heat_capacity[0])
        return entropy / units.KB, capacity / units.KB / frequency


def _by_levels(frequencies: FloatArray, changes: FloatArray) -> float:
    """Sum over levels of the squared sum of changes within each."""
    order = np.argsort(frequencies, kind="stable")
    parts = [changes[order][one.modes].sum() for one in levels(frequencies[order], SAME_THZ)]
    return float(np.square(parts).sum())


def _conventional_cell(
    result: Result, volume: Value
) -> tuple[tuple[Value, Value, Value], tuple[float, float, float]]:
    """Lengths and angles of the conventional cell; the cell itself where there is none."""
    cell, symbols = np.asarray(result.cell_A, dtype=np.float64), result.symbols or ()
    kinds = {symbol: number for number, symbol in enumerate(dict.fromkeys(symbols), 1)}
    numbers = [kinds[symbol] for symbol in symbols]
    found = spglib.get_symmetry_dataset(
        (cell, np.asarray(result.scaled_positions), numbers), symprec=_SYMMETRY
    )
    parameters = cell_to_cellpar(cell if found is None else found.std_lattice)
    share = volume.stderr / volume.value / 3.0
    known = _lattice_errors(result)
    a, b, c = (
        Value(float(length), known.get(name, float(length) * share))
        for name, length in zip("abc", parameters[:3], strict=True)
    )
    alpha, beta, gamma = (float(angle) for angle in parameters[3:])
    return (a, b, c), (alpha, beta, gamma)


def _lattice_errors(result: Result) -> dict[str, float]:
    """Errors of a, b and c by the names of a result; b is a where symmetry makes it so."""
    errors = {
        name: one.stderr
        for name, one in (result.lattice or {}).items()
        if name in "abc" and np.isfinite(one.stderr)
    }
    return {"b": errors["a"], "c": errors["a"], **errors} if "a" in errors else errors


def _soft_mode(place: RunDirectory) -> dict[str, Any] | None:
    """Softest mode of the free-energy Hessian, where it was computed for this run."""
    if not place.hessian.is_file():
        return None
    return fields_of(HessianRecord.read(place.hessian).softest)
