"""The result of a run, in the schema ``sscha-mlp/result/1``."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from sscha_mlp import units
from sscha_mlp.campaign.bulk_modulus_check import compression_of
from sscha_mlp.campaign.context import Context
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.data.dataset import Dataset
from sscha_mlp.potentials.protocol import Potential
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
from sscha_mlp.scha.relaxation import pressure_of
from sscha_mlp.validation import correction
from sscha_mlp.validation.answer import frequency_entries
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
    strain
        Last step of the cell, shape (3, 3), taken by linear response: it brings the corrected
        stress of the last population on target.
    last
        The population that it was found on.
    certificate
        Shifts from the model to the reference.
    """

    state: DynamicalMatrix
    corrected: correction.Corrected | None
    strain: FloatArray
    last: PopulationRecord
    certificate: Certificate

    @property
    def best(self) -> DynamicalMatrix:
        """The corrected state at the final cell; the model's where there is none."""
        found = self.state if self.corrected is None else self.corrected.dynamical_matrix
        return found.strained(self.strain)

    @property
    def model(self) -> DynamicalMatrix:
        """The model's minimum at the final cell."""
        return self.state.strained(self.strain)


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
        ),
        timings_s=timings(journal),
        versions=versions(),
        seed=settings.seed,
        left_out=LEFT_OUT,
        origin=None if origin is None else StartedFrom(origin.path, origin.generation),
        **_thermodynamics(context, final),
    )


def _labels(context: Context, dataset: Dataset) -> LabelCounts:
    """Labels in use, and those that a run that began with another one asked for itself."""
    journal = context.journal
    taken_over = journal.has(OriginRecord)
    new = sum(one.n_spent for one in journal.all(BatchRecord)) if taken_over else None
    return LabelCounts(**dataset.counts, start=journal.get(StartRecord).n_calls, new=new)


def _thermodynamics(context: Context, final: Ending) -> dict[str, Any]:
    """Volume, free energy and pressure, moved with the cell along its last step."""
    last, shift = final.last, final.certificate.free_energy_shift
    bulk = last.bulk_modulus_GPa
    step = -bulk * float(np.trace(final.strain))
    pressure = _with_correction(
        last.pressure_GPa + step,
        last.pressure_stderr_GPa,
        _pressure_shift(final),
        float(final.certificate.pressure.stderr) / units.GPA,
    )
    n_atoms = final.state.crystal.n_atoms
    volume = final.model.crystal.volume / n_atoms
    change = volume - final.state.crystal.volume / n_atoms
    work = (pressure.corrected - 0.5 * step) * units.GPA * change
    return {
        "volume_A3_per_atom": Measured(volume, _volume_error(context, volume, pressure, bulk)),
        "free_energy_eV_per_atom": _with_correction(
            last.free_energy - work,
            last.free_energy_stderr,
            1.0e-3 * shift.delta,
            1.0e-3 * shift.stderr,
        ),
        "pressure_GPa": pressure,
        "bulk_modulus_GPa": bulk,
    }


def _volume_error(context: Context, volume: float, pressure: Corrected, bulk: float) -> float:
    """Of the volume at the target pressure: errors of the pressure, and what it is off by."""
    if context.settings.cell is not CellMode.VARIABLE:
        return 0.0
    known = compression_of(context.journal.get(StartRecord))
    modulus = bulk if known is None or known.allows(bulk, volume) else known.bulk_modulus
    missing = pressure.corrected - context.settings.pressure
    return float(volume * np.hypot(pressure.stderr, missing) / modulus)


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
    state, best, shifts = final.model, final.best, final.certificate
    if final.corrected is None:
        best = state.with_force_constants(state.force_constants + shifts.force_constants)
    sampling = np.asarray(final.last.frequency_stderr_THz, dtype=np.float64)
    stderr = np.hypot(sampling, shifts.frequencies.stderr / units.THZ)
    return tuple(map(Frequencies.of, frequency_entries(context.group, state, best, stderr)))
