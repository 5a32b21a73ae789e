"""Certificates: what fresh labels say of the state that a relaxation converged to."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sscha_mlp import units
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.run_files.records.fields import Record
from sscha_mlp.validation.certificate import Certificate, Verdict
from sscha_mlp.validation.shift import Shift


@dataclass(frozen=True, eq=False)
class CertificateRecord(Record):
    """One check of a converged state against the reference.

    Parameters
    ----------
    number
        Of the check, from 1.
    n_labels
        Fresh labels that it rests on.
    free_energy
        Shift of the free energy, meV/atom.
    stress
        Worst shift among the pressure and the components of the stress, GPa.
    frequency
        Shift of the worst frequency, the one with the largest ``(|delta| + 2 stderr) /
        tolerance``, THz.
    passed, verdict, reason
        What follows, as a fact, in a word, and in a sentence.
    state
        Name of the state that its configurations were drawn from, below ``states/``; empty where
        an older version did not say.
    n_looks
        How often it was looked at while its labels came in.
    n_counted
        How many of these looks could have passed; None in a journal of an older version, where all
        of them count.
    delta_pressure_GPa, delta_pressure_stderr_GPa
        Shift of the pressure.
    delta_stress_GPa
        Shift of the stress in ASE's sign, shape (3, 3).
    centroid_force_eV_per_A, centroid_force_stderr_eV_per_A
        Shape (n_primitive, 3).
    frequency_shifts_THz, frequency_stderr_THz
        Of all modes, shape (n_qpoints, n_bands).
    """

    kind: ClassVar[str] = "certificate"

    number: int
    n_labels: int
    free_energy: Shift
    stress: Shift
    frequency: Shift
    passed: bool
    verdict: str = ""
    reason: str = ""
    state: str = ""
    n_looks: int = 1
    n_counted: int | None = None
    delta_pressure_GPa: float | None = None
    delta_pressure_stderr_GPa: float | None = None
    delta_stress_GPa: FloatArray | None = None
    centroid_force_eV_per_A: FloatArray | None = None
    centroid_force_stderr_eV_per_A: FloatArray | None = None
    frequency_shifts_THz: FloatArray | None = None
    frequency_stderr_THz: FloatArray | None = None

    @classmethod
    def of(
        cls,
        certificate: Certificate,
        *,
        number: int = 1,
        state: str = "",
        n_looks: int = 1,
        n_counted: int | None = None,
    ) -> "CertificateRecord":
        """Return the record of a certificate, in the units in which it is shown.

        Parameters
        ----------
        number
            Of the check.
        state
            Name of the state that was checked.
        n_looks, n_counted
            How often it was looked at, and how often it could have passed.
        """
        pressure, forces = certificate.pressure, certificate.centroid_forces
        return cls(
            number=number,
            n_labels=certificate.n_labels,
            free_energy=certificate.free_energy_shift,
            stress=certificate.stress_shift,
            frequency=certificate.frequency_shift,
            passed=certificate.verdict is Verdict.PASSED,
            verdict=certificate.verdict.value,
            reason=certificate.reason,
            state=state,
            n_looks=n_looks,
            n_counted=n_counted,
            delta_pressure_GPa=float(pressure.value) / units.GPA,
            delta_pressure_stderr_GPa=float(pressure.stderr) / units.GPA,
            delta_stress_GPa=np.asarray(certificate.stress.value / units.GPA),
            centroid_force_eV_per_A=forces.value,
            centroid_force_stderr_eV_per_A=forces.stderr,
            frequency_shifts_THz=np.asarray(certificate.frequencies.value / units.THZ),
            frequency_stderr_THz=np.asarray(certificate.frequencies.stderr / units.THZ),
        )

    @property
    def name(self) -> str:
        """Number of the check."""
        return str(self.number)

    @property
    def looks_spent(self) -> int:
        """How many looks the next check has to count."""
        return self.n_looks if self.n_counted is None else self.n_counted

    @property
    def holds(self) -> bool:
        """Whether it passed, and each shift shown is inside its tolerance."""
        return self.passed and all(
            shift.passed for shift in (self.free_energy, self.stress, self.frequency)
        )
