r"""The certificate: what the reference says of the state that the model converged to.

With delta = reference - model on n configurations drawn from the converged (Phi, R, T), the SSCHA
estimators are linear in energies, forces and stresses, so that the shift of each observable is
the same estimator applied to delta:

- ``dF = < dE >``: exact at fixed (Phi, R); the corrected value is the reference's own variational
  free energy at this state, and its distance to the reference's minimum is of second order;
- ``dsigma = < dsigma + sym(df u) / Omega >``; ``dP`` is minus a third of its trace;
- the centroid force ``< df >``;
- ``dPhi = - < Upsilon u df >``, symmetrised, and from it the shift of each frequency.

``corrected = model(N) + delta(n)`` is a control variate: unbiased for the reference's free energy
at this state, with the variance ``Var(model)/N + Var(delta)/n``.  The shifts of curvature and
stress are those at the model's state; how the minimum itself follows is the subject of
:mod:`sscha_mlp.validation.correction`.  What is left out is of second order in delta, the finite
supercell, and the SSCHA itself.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from sscha_mlp import units
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.crystal.symmetry import SpaceGroup
from sscha_mlp.ensemble.averages import Estimate
from sscha_mlp.errors import ConfigError, InputError
from sscha_mlp.scha.convergence import CrystalScale, fitting_tolerance
from sscha_mlp.scha.estimators import Estimators, Samples, estimate_difference
from sscha_mlp.tables import Shown, Table, pm

MIN_LABELS: int = 8
"""Fewer labels than this have no usable standard error."""

_SUSPECT: float = 1.5
_FEW_MORE: float = 2.2
"""More labels are preferred to a refit when they need at most this times those there are."""

_UNITS = {"free energy": "meV/atom", "stress": "GPa", "frequency": "THz"}

_RARE: float = 0.4
"""A configuration with this part of all squared force errors decides the noise by itself: a refit
that learns it and its like shrinks the noise, more labels would only average it."""


@dataclass(frozen=True)
class AllowedShifts:
    """How far the reference may shift the result of the model, two standard errors included.

    Parameters
    ----------
    free_energy_mev
        Largest shift of the free energy, meV/atom.
    pressure_gpa
        Largest shift of the pressure and of each component of the stress, GPa.
    frequency_thz
        Largest shift of a frequency, THz; the larger of this and the next counts.
    frequency_relative
        Largest shift of a frequency, as a part of it.
    """

    free_energy_mev: float
    pressure_gpa: float
    frequency_thz: float
    frequency_relative: float


@dataclass(frozen=True)
class CertificateTolerances:
    """How far the reference may shift the result of the model, two standard errors included.

    A tolerance that is not set fits the crystal, and is at most that of a hard one: a pressure that
    changes the volume by a part of 500, a frequency by a part of 100 of the highest one, a free
    energy by a tenth of the mean energy of a mode (kT when hot, half a quantum when cold).

    Parameters
    ----------
    free_energy_mev
        Largest shift of the free energy, meV/atom; when not set 1/10 of the energy of a mode, at
        most 1.
    pressure_gpa
        Largest shift of the pressure and of each component of the stress, GPa; when not set 1/500
        of the bulk modulus, at most 0.1.
    frequency_thz
        Largest shift of a frequency, THz; the larger of this and the next counts.  When not set
        1/100 of the highest frequency, at most 0.05.
    frequency_relative
        Largest shift of a frequency, as a part of it.
    """

    free_energy_mev: float | None = None
    pressure_gpa: float | None = None
    frequency_thz: float | None = None
    frequency_relative: float = 0.01

    def __post_init__(self) -> None:
        """Check that every tolerance is positive."""
        for name, value in vars(self).items():
            if value is not None and not value > 0:
                raise ConfigError(f"The tolerance {name} = {value} is not above 0.")

    def for_crystal(self, scale: CrystalScale | None = None) -> AllowedShifts:
        """Return what is allowed in a crystal; in a hard one when it is not known."""
        energy, bulk, highest = np.inf, np.inf, np.inf
        if scale is not None:
            energy, bulk, highest = (
                scale.mode_energy_mev,
                scale.bulk_modulus_gpa,
                scale.highest_thz,
            )
        return AllowedShifts(
            fitting_tolerance(self.free_energy_mev, 1.0, energy / 10.0),
            fitting_tolerance(self.pressure_gpa, 0.1, bulk / 500.0),
            fitting_tolerance(self.frequency_thz, 0.05, highest / 100.0),
            self.frequency_relative,
        )


class Verdict(StrEnum):
    """What follows from a certificate."""

    PASSED = "passed"
    MORE_LABELS = "more labels"
    RETRAIN = "retrain"


@dataclass(frozen=True)
class Shift:
    """Shift of one observable, its error and what is allowed, in the unit it is shown in."""

    delta: float
    stderr: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether ``|delta| + 2 stderr`` is inside the tolerance."""
        return abs(self.delta) + 2 * self.stderr <= self.tolerance

    @property
    def biased(self) -> bool:
        """Whether the shift alone is outside, two standard errors granted."""
        return abs(self.delta) - 2 * self.stderr > self.tolerance

    @property
    def suspect(self) -> bool:
        """Whether it is outside and noise alone hardly explains it: a fit is the better buy."""
        return abs(self.delta) > max(self.tolerance, _SUSPECT * self.stderr)

    @property
    def noisy(self) -> bool:
        """Whether two standard errors alone exceed the tolerance: no fit could be judged."""
        return 2 * self.stderr > self.tolerance

    @property
    def labels_factor(self) -> float:
        """How many times the labels would bring the error inside, were the shift to stay."""
        room = self.tolerance - abs(self.delta)
        return float("inf") if room <= 0 else (2 * self.stderr / room) ** 2


@dataclass(frozen=True, eq=False)
class Certificate(Shown):
    """Shifts from the model to the reference at a state, with standard errors.

    Parameters
    ----------
    n_labels
        Labels that it rests on.
    free_energy
        eV per supercell.
    stress
        Shape (3, 3), eV/Å³, symmetrised.
    centroid_forces
        Shape (n_primitive, 3), eV/Å, symmetrised.
    force_constants
        dPhi, compact form, eV/Å², symmetrised.
    frequencies
        First-order shifts, shape (n_qpoints, n_bands), internal unit.
    n_atoms
        Atoms of the supercell.
    model_frequencies
        Frequencies of the state, shape (n_qpoints, n_bands), internal unit.
    scaled_positions
        Centroids of the state in units of its lattice vectors, shape (n_primitive, 3).
    largest_share
        Part of the sum of all squared force errors that the worst configuration has.
    tolerances
        What is allowed.
    differences
        What each label contributes to the shifts.
    """

    n_labels: int
    free_energy: Estimate
    stress: Estimate
    centroid_forces: Estimate
    force_constants: FloatArray
    frequencies: Estimate
    n_atoms: int
    model_frequencies: FloatArray
    scaled_positions: FloatArray
    largest_share: float
    tolerances: AllowedShifts
    differences: Estimators | None = None

    @property
    def free_energy_shift(self) -> Shift:
        """Shift of the free energy, meV/atom."""
        factor = 1.0e3 / self.n_atoms
        return Shift(
            factor * float(self.free_energy.value),
            factor * float(self.free_energy.stderr),
            self.tolerances.free_energy_mev,
        )

    @property
    def pressure(self) -> Estimate:
        """Shift of the pressure, eV/Å³; its error takes the diagonal as fully correlated."""
        value = -np.trace(self.stress.value) / 3
        return Estimate(np.asarray(value), np.asarray(np.trace(self.stress.stderr) / 3))

    @property
    def stress_shift(self) -> Shift:
        """Worst of the pressure and the components of the stress, GPa."""
        pressure = self.pressure
        values = np.append(np.abs(self.stress.value).ravel(), np.abs(pressure.value))
        errors = np.append(self.stress.stderr.ravel(), pressure.stderr)
        worst = int(np.argmax(values + 2 * errors))
        value = float(pressure.value) if worst == 9 else float(self.stress.value.ravel()[worst])
        return Shift(
            value / units.GPA, float(errors[worst]) / units.GPA, self.tolerances.pressure_gpa
        )

    @property
    def frequency_shift(self) -> Shift:
        """Shift of the mode that comes closest to, or goes farthest beyond, its tolerance, THz."""
        value = self.frequencies.value.ravel() / units.THZ
        error = self.frequencies.stderr.ravel() / units.THZ
        allowed = np.maximum(
            self.tolerances.frequency_thz,
            self.tolerances.frequency_relative * np.abs(self.model_frequencies.ravel()) / units.THZ,
        )
        worst = int(np.argmax((np.abs(value) + 2 * error) / allowed))
        return Shift(float(value[worst]), float(error[worst]), float(allowed[worst]))

    @property
    def shifts(self) -> dict[str, Shift]:
        """The three shifts that decide."""
        return {
            "free energy": self.free_energy_shift,
            "stress": self.stress_shift,
            "frequency": self.frequency_shift,
        }

    @property
    def verdict(self) -> Verdict:
        """Passed, or whether more labels or a refit would help."""
        shifts = self.shifts.values()
        if all(shift.passed for shift in shifts):
            return Verdict.PASSED
        if any(shift.biased or shift.suspect for shift in shifts):
            return Verdict.RETRAIN
        noisy = any(shift.noisy for shift in shifts) and self.largest_share < _RARE
        if noisy or self.labels_wanted <= _FEW_MORE * self.n_labels:
            return Verdict.MORE_LABELS
        return Verdict.RETRAIN

    @property
    def labels_wanted(self) -> float:
        """Labels with which it would pass, were the shifts to stay as they are."""
        return self.n_labels * max(shift.labels_factor for shift in self.shifts.values())

    @property
    def reason(self) -> str:
        """The verdict in words."""
        if self.verdict is Verdict.PASSED:
            return f"every shift is inside its tolerance on {self.n_labels} unseen labels"
        outside = [
            f"{name} {shift.delta:+.3f} ± {shift.stderr:.3f} {_UNITS[name]} "
            f"(allowed {shift.tolerance:.3g})"
            for name, shift in self.shifts.items()
            if not shift.passed
        ]
        tail = "the model is to be trained again"
        if self.verdict is Verdict.MORE_LABELS:
            tail = (
                f"the noise of {self.n_labels} labels alone decides: about "
                f"{self.labels_wanted:.0f} are needed, not a new fit"
            )
        return f"outside: {'; '.join(outside)}; {tail}"

    def table(self) -> Table:
        """Return the three shifts that decide, beside what is allowed."""
        rows = tuple(
            (
                f"{name} ({_UNITS[name]})",
                pm(shift.delta, shift.stderr, 3, sign=True),
                f"{shift.tolerance:.3g}",
                "yes" if shift.passed else "no",
            )
            for name, shift in self.shifts.items()
        )
        columns = ("Largest shift", "reference − model", "allowed", "inside")
        title = f"Certificate on {self.n_labels} labels: {self.verdict}"
        return Table(title, rows, columns, f"{self.reason[0].upper()}{self.reason[1:]}.")


def certify(
    reference: Samples,
    model: Samples,
    group: SpaceGroup,
    tolerances: CertificateTolerances | AllowedShifts | None = None,
) -> Certificate:
    """Compare reference and model on one ensemble of the converged state.

    Parameters
    ----------
    reference, model
        The same configurations, drawn from the state that is certified, with both potentials'
        values.  No fit may have seen them.
    group
        Space group of the state.
    tolerances
        What is allowed; what fits no crystal in particular is that of a hard one.

    Raises
    ------
    InputError
        If the two are not of the same ensemble, or there are fewer than eight configurations.
    """
    if reference.ensemble is not model.ensemble:
        raise InputError("Reference and model values must be of one and the same ensemble.")
    ensemble = reference.ensemble
    n_labels = ensemble.n_configs
    if n_labels < MIN_LABELS:
        raise InputError(
            f"A certificate on {n_labels} labels has no usable error; give at least {MIN_LABELS}."
        )
    delta = reference.minus(model)
    shifts = estimate_difference(delta, group)
    state = ensemble.dynamical_matrix
    return Certificate(
        n_labels=n_labels,
        free_energy=shifts.free_energy,
        stress=shifts.stress,
        centroid_forces=shifts.centroid_forces,
        force_constants=shifts.force_constant_change,
        frequencies=shifts.frequency_shifts,
        n_atoms=state.supercell.n_atoms,
        model_frequencies=state.frequencies_at_qpoints(),
        scaled_positions=state.crystal.scaled_positions,
        largest_share=_largest_share(delta),
        tolerances=_allowed(tolerances),
        differences=shifts,
    )


def _allowed(tolerances: CertificateTolerances | AllowedShifts | None) -> AllowedShifts:
    """Tolerances as they are, or those of a hard crystal."""
    if isinstance(tolerances, AllowedShifts):
        return tolerances
    return (tolerances or CertificateTolerances()).for_crystal()


def _largest_share(delta: Samples) -> float:
    """Part of the squared force errors that belongs to the worst configuration."""
    squares = (delta.forces**2).sum(axis=1)
    return float(squares.max() / squares.sum()) if squares.any() else 0.0
