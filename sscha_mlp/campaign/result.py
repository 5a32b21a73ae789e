"""The result of a run, in the schema ``sscha-mlp/result/1``."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from sscha_mlp import units
from sscha_mlp.campaign.bulk_modulus_check import compression_of
from sscha_mlp.campaign.context import Context
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.free_parameters import free_parameters
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.data.dataset import Dataset
from sscha_mlp.potentials.protocol import Potential
from sscha_mlp.potentials.registry import kind_of
from sscha_mlp.properties.thermodynamics import thermodynamics
from sscha_mlp.run_files.provenance import timings, versions
from sscha_mlp.run_files.records.labels import BatchRecord
from sscha_mlp.run_files.records.models import ChoiceRecord, ValidationRecord
from sscha_mlp.run_files.records.population import PopulationRecord
from sscha_mlp.run_files.records.result import (
    Corrected,
    Frequencies,
    LabelCounts,
    Measured,
    ModelUsed,
    Result,
    StartedFrom,
)
from sscha_mlp.run_files.records.start import OriginRecord, StartRecord
from sscha_mlp.scha.cell import CellMode
from sscha_mlp.scha.estimators import DegenerateModes
from sscha_mlp.scha.relaxation import pressure_of
from sscha_mlp.validation import correction
from sscha_mlp.validation.answer import frequency_entries
from sscha_mlp.validation.cell_errors import FinalErrors, combined
from sscha_mlp.validation.certificate import Certificate

LEFT_OUT: Final = (
    "second order in the difference between reference and model; sizes beyond this supercell; what "
    "the Gaussian trial states of the SSCHA cannot describe"
)


@dataclass(frozen=True, eq=False)
class Ending:
    """Where a run ended.

    Parameters
    ----------
    state
        Minimum of the model at the cell of the last population.
    corrected
        Minimum with the certificate's differences added; None where it could not be had, and the
        differences are then added without the response of the minimum.
    last
        The population that it was found on.
    certificate
        Shifts from the model to the reference.
    errors
        What model and check do not know of it; None where there is no ensemble.
    certified
        Whether the last check has passed: the cell is then where the corrected stress is on target.
    """

    state: DynamicalMatrix
    corrected: correction.Corrected | None
    last: PopulationRecord
    certificate: Certificate
    errors: FinalErrors | None = None
    certified: bool = True

    @property
    def best(self) -> DynamicalMatrix:
        """The corrected state; the model's where there is none."""
        return self.state if self.corrected is None else self.corrected.dynamical_matrix


def make_result(
    context: Context,
    final: Ending,
    *,
    dataset: Dataset,
    potential: Potential,
    converged: bool,
    stop_reason: str,
    fits: int,
) -> Result:
    """Assemble the result.

    Parameters
    ----------
    final
        State, last population and certificate.
    converged
        Whether relaxation and certificate both hold.
    stop_reason
        In words.
    fits
        Number of fits so far.
    """
    settings, journal = context.settings, context.journal
    crystal, origin = final.best.crystal, journal.find(OriginRecord)
    kind = kind_of(potential)
    return Result(
        converged=converged,
        stop_reason=stop_reason,
        temperature_K=settings.temperature,
        nuclei=str(settings.nuclei),
        pressure_target_GPa=settings.pressure,
        supercell=settings.supercell,
        n_atoms=crystal.n_atoms,
        formula=crystal.to_ase().get_chemical_formula(),
        space_group=context.group.international,
        cell_A=crystal.cell.tolist(),
        scaled_positions=crystal.scaled_positions.tolist(),
        symbols=tuple(crystal.symbols),
        masses_amu=crystal.masses.tolist(),
        frequencies_THz=_frequencies(context, final),
        validation=tuple(one.errors for one in journal.all(ValidationRecord)),
        labels=_labels(context, dataset),
        retrains=max(fits - 1, 0),
        populations=len(journal.all(PopulationRecord)),
        model=ModelUsed(
            kind=potential.kind,
            path=str(potential.path),
            sha256=potential.sha256,
            settings=dict(potential.settings),
            choice=_choice(context),
            start_sha256=kind.start_hash(potential.settings),
            reproducible=kind.reproducible,
        ),
        timings_s=timings(journal),
        versions=versions(),
        seed=settings.seed,
        left_out=LEFT_OUT,
        origin=None if origin is None else StartedFrom(origin.path, origin.generation),
        **_thermodynamics(context, final),
        **_parameters(context, final),
    )


def _labels(context: Context, dataset: Dataset) -> LabelCounts:
    """Labels in use, and those that a run that began with another one asked for itself."""
    journal = context.journal
    taken_over = journal.has(OriginRecord)
    new = sum(one.n_spent for one in journal.all(BatchRecord)) if taken_over else None
    return LabelCounts(**dataset.counts, start=journal.get(StartRecord).n_calls, new=new)


def _thermodynamics(context: Context, final: Ending) -> dict[str, Any]:
    """Volume, free energy, pressure, and what follows from the frequencies."""
    last, shift = final.last, final.certificate.free_energy_shift
    energy_error, pressure_error = last.free_energy_stderr, last.pressure_stderr_GPa
    if final.errors is not None:
        energy_error = final.errors.free_energy / context.group.supercell.n_atoms
        pressure_error = final.errors.pressure / units.GPA
    pressure = _with_correction(
        last.pressure_GPa,
        pressure_error,
        _pressure_shift(final),
        float(final.certificate.pressure.stderr) / units.GPA,
    )
    crystal = final.best.crystal
    volume = crystal.volume / crystal.n_atoms
    return {
        "volume_A3_per_atom": Measured(volume, _volume_error(context, final, volume, pressure)),
        "free_energy_eV_per_atom": _with_correction(
            last.free_energy,
            energy_error,
            1.0e-3 * shift.delta,
            1.0e-3 * shift.stderr,
        ),
        "pressure_GPa": pressure,
        "bulk_modulus_GPa": last.bulk_modulus_GPa,
        "tolerances": {
            "relaxation": None if last.tolerances is None else asdict(last.tolerances),
            "certificate": asdict(final.certificate.tolerances),
        },
        **_of_modes(context, final),
    }


def _of_modes(context: Context, final: Ending) -> dict[str, Any]:
    """Entropy, zero-point energy and heat capacity of the corrected state, per atom.

    The entropy is that of the SSCHA, since its free energy is stationary; the heat capacity leaves
    out how the frequencies change with temperature.  A mode that is off by ``s`` makes them off by
    its derivative times ``s``; modes of one level are off together.
    """
    settings, best = context.settings, final.best
    n_atoms, stderr = best.crystal.n_atoms, _frequency_stderr(final) * units.THZ
    frequencies = best.frequencies_at_qpoints()

    def sums(values: FloatArray) -> FloatArray:
        found = thermodynamics(values, [settings.temperature], nuclei=settings.nuclei)
        numbers = [found.entropy[0] / units.KB, found.heat_capacity[0] / units.KB, found.zero_point]
        return np.array(numbers) / n_atoms

    middle = sums(frequencies)
    labels = DegenerateModes.of(best, context.group).labels
    parts = [
        0.5 * (sums(frequencies + moved) - sums(frequencies - moved))
        for moved in (np.where(labels == one, stderr, 0.0) for one in np.unique(labels))
    ]
    error = np.sqrt(np.square(parts).sum(axis=0))
    names = ("entropy_kB_per_atom", "heat_capacity_kB_per_atom", "zero_point_energy_eV_per_atom")
    return {
        name: Measured(float(value), float(one))
        for name, value, one in zip(names, middle, error, strict=True)
    }


def _parameters(context: Context, final: Ending) -> dict[str, Any]:
    """Lattice parameters and coordinates that symmetry leaves free, with their errors."""
    found: dict[str, dict[str, Measured]] = {"lattice": {}, "coordinates": {}}
    for one in free_parameters(final.best.crystal, context.group):
        kind = "coordinates" if one.is_coordinate else "lattice"
        stderr = math.nan
        if final.errors is not None and final.certified:
            stderr = combined([shifts.stderr(one) for shifts in final.errors.shifts])
        found[kind][one.name] = Measured(one.value, stderr)
    return found


def _volume_error(context: Context, final: Ending, volume: float, pressure: Corrected) -> float:
    """Of the volume at the target pressure.

    What the pressure is off its target counts as an error: next to nothing, unless the check has
    failed and the cell stayed where it was checked.
    """
    if context.settings.cell is not CellMode.VARIABLE:
        return 0.0
    bulk = final.last.bulk_modulus_GPa
    error = pressure.stderr / bulk
    if final.errors is not None:
        error = combined([shifts.volume_stderr for shifts in final.errors.shifts])
    missing = pressure.corrected - context.settings.pressure
    error = float(np.hypot(error, missing / bulk))
    return float(volume * error * _distrust(context, final.last, volume))


def _distrust(context: Context, last: PopulationRecord, volume: float) -> float:
    """How many times the error of a strain grows since the model is harder than the reference.

    Both with clamped atoms; one where the model may have its modulus.
    """
    known, clamped = compression_of(context.journal.get(StartRecord)), last.clamped_bulk_modulus_GPa
    if known is None or clamped is None or known.allows(clamped, volume):
        return 1.0
    return float(clamped / known.bulk_modulus)


def _pressure_shift(final: Ending) -> float:
    """From the model's pressure to the corrected one at the same cell, GPa."""
    shift = float(final.certificate.pressure.value) / units.GPA
    if final.corrected is not None:
        shift = pressure_of(final.corrected.stress.value) / units.GPA - final.last.pressure_GPa
    return float(shift)


def _choice(context: Context) -> str:
    """Name of the hyper-parameters in use."""
    rows = context.journal.all(ChoiceRecord)
    return rows[-1].choice if rows else "given"


def _with_correction(
    value: float, stderr: float, correction: float, correction_stderr: float
) -> Corrected:
    """Model value, shift to the reference, their sum, and the standard error of the sum."""
    return Corrected(
        model=value,
        model_stderr=stderr,
        correction=correction,
        correction_stderr=correction_stderr,
        corrected=value + correction,
        stderr=float(np.hypot(stderr, correction_stderr)),
    )


def _frequencies(context: Context, final: Ending) -> tuple[Frequencies, ...]:
    """Model and corrected frequencies of each irreducible wave vector with their errors, THz."""
    state, best, shifts = final.state, final.best, final.certificate
    if final.corrected is None:
        best = state.with_force_constants(state.force_constants + shifts.force_constants)
    entries = frequency_entries(context.group, state, best, _frequency_stderr(final))
    return tuple(map(Frequencies.of, entries))


def _frequency_stderr(final: Ending) -> FloatArray:
    """Standard errors of the corrected frequencies, shape (n_qpoints, n_bands), THz."""
    sampling = np.asarray(final.last.frequency_stderr_THz, dtype=np.float64)
    return np.asarray(np.hypot(sampling, final.certificate.frequencies.stderr / units.THZ))
