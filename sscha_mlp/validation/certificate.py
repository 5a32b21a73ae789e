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
from functools import cached_property
from typing import Final

import numpy as np

from sscha_mlp import units
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.crystal.symmetry import SpaceGroup
from sscha_mlp.ensemble.averages import Estimate
from sscha_mlp.errors import ConfigError, InputError
from sscha_mlp.scha.convergence import CrystalScale, Rule
from sscha_mlp.scha.estimators import Estimators, Samples, estimate_difference
from sscha_mlp.tables import Shown, Table, pm
from sscha_mlp.validation.bounds import FIXED, LEAST, Bounds, bounds_at
from sscha_mlp.validation.next_labels import Look
from sscha_mlp.validation.shift import Shift

MIN_LABELS: int = 8
"""Fewer labels than this have no usable plain standard error."""

_FEW_MORE: float = 2.2
"""More labels are preferred to a refit when they need at most this times those there are ..."""

_FEW: int = 16
"""... or, where it is not known what the model has learnt, when so many are enough in all."""

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
        known = scale or CrystalScale(np.inf, np.inf, np.inf)
        parts = {name: one.tolerance(getattr(self, name), known) for name, one in RULES.items()}
        return AllowedShifts(**parts, frequency_relative=self.frequency_relative)


RULES: Final = {
    "free_energy_mev": Rule(1.0, "mode_energy_mev", 10.0),
    "pressure_gpa": Rule(0.1, "bulk_modulus_gpa", 500.0),
    "frequency_thz": Rule(0.05, "highest_thz", 100.0),
}
"""Rules of :class:`CertificateTolerances`."""


class Verdict(StrEnum):
    """What follows from a certificate."""

    PASSED = "passed"
    MORE_LABELS = "more labels"
    RETRAIN = "retrain"


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Size of what a first-order correction leaves out.

    Parameters
    ----------
    free_energy
        eV per supercell.
    stress
        Shape (3, 3), eV/Å³.
    frequencies
        Shape (n_qpoints, n_bands), internal unit.
    """

    free_energy: float
    stress: FloatArray
    frequencies: FloatArray


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
    bounds
        How well the shifts must be known.
    left_out
        What the correction leaves out; None where it is not asked for.
    n_learnt
        Labels that the model has learnt; 0 where that is not known.
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
    bounds: Bounds = FIXED
    left_out: LeftOut | None = None
    n_learnt: int = 0

    @property
    def free_energy_shift(self) -> Shift:
        """Shift of the free energy, meV/atom."""
        factor = 1.0e3 / self.n_atoms
        found, left_out = self.free_energy, self.left_out
        return self._shift(
            factor * float(found.value),
            factor * float(found.stderr),
            self.tolerances.free_energy_mev,
            0.0 if left_out is None else factor * left_out.free_energy,
        )

    @property
    def pressure(self) -> Estimate:
        """Shift of the pressure, eV/Å³; its error takes the diagonal as fully correlated."""
        value = -np.trace(self.stress.value) / 3
        return Estimate(np.asarray(value), np.asarray(np.trace(self.stress.stderr) / 3))

    @property
    def stress_shift(self) -> Shift:
        """Worst of the pressure and the components of the stress, GPa."""
        pressure, left_out = self.pressure, np.zeros((3, 3))
        if self.left_out is not None:
            left_out = self.left_out.stress
        values = np.append(self.stress.value.ravel(), pressure.value) / units.GPA
        errors = np.append(self.stress.stderr.ravel(), pressure.stderr) / units.GPA
        rests = np.append(left_out.ravel(), np.trace(left_out) / 3) / units.GPA
        return self._worst(values, errors, np.full(10, self.tolerances.pressure_gpa), rests)

    @property
    def frequency_shift(self) -> Shift:
        """Shift of the mode that comes closest to, or goes farthest beyond, its tolerance, THz."""
        value = self.frequencies.value.ravel() / units.THZ
        error = self.frequencies.stderr.ravel() / units.THZ
        allowed = np.maximum(
            self.tolerances.frequency_thz,
            self.tolerances.frequency_relative * np.abs(self.model_frequencies.ravel()) / units.THZ,
        )
        rest = np.zeros_like(value)
        if self.left_out is not None:
            rest = self.left_out.frequencies.ravel() / units.THZ
        return self._worst(value, error, allowed, rest)

    def _worst(
        self, values: FloatArray, errors: FloatArray, allowed: FloatArray, rests: FloatArray
    ) -> Shift:
        """Return the shift that is farthest out, or comes closest to it."""
        shift = (np.abs(values) + self.bounds.n_errors * errors) / (self.bounds.reach * allowed)
        answer = (2 * errors + rests) / allowed
        # By need, what is not known well enough comes first: it decides whether a look counts.
        unknown = self.bounds.by_need and answer.max() > 1.0
        worst = int(np.argmax(answer if unknown else np.maximum(shift, answer)))
        one = (float(each[worst]) for each in (values, errors, allowed, rests))
        return self._shift(*one)

    def _shift(self, delta: float, stderr: float, tolerance: float, left_out: float) -> Shift:
        """Return a shift under the bounds of this certificate."""
        bounds = self.bounds
        return Shift(delta, stderr, tolerance, left_out, bounds.n_errors, bounds.reach)

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
        if self.bounds.by_need:
            return self._by_need()
        if any(shift.biased or shift.suspect for shift in shifts):
            return Verdict.RETRAIN
        few = _FEW_MORE * self.n_labels
        noisy = any(shift.noisy for shift in shifts) and self.largest_share < _RARE
        return Verdict.MORE_LABELS if noisy or self.labels_wanted <= few else Verdict.RETRAIN

    def _by_need(self) -> Verdict:
        """What follows where labels are asked for by need, if it has not passed."""
        if not self.n_learnt:
            few = max(_FEW_MORE * self.n_labels, _FEW)
            return Verdict.MORE_LABELS if self.labels_wanted <= few else Verdict.RETRAIN
        if self.to_learn and self.n_labels >= self.share:
            return Verdict.RETRAIN
        return Verdict.MORE_LABELS

    @property
    def is_known(self) -> bool:
        """Whether the answer is inside its tolerances: a look that is not so cannot pass."""
        return all(shift.error <= shift.tolerance for shift in self.shifts.values())

    @property
    def next_look(self) -> int:
        """Which look the next one is; one that could not pass does not count."""
        return self.bounds.look + self.is_known

    @cached_property
    def to_learn(self) -> int:
        """Labels in all that a new fit should learn; 0 if the check had better go on."""
        return self._look.to_learn(self.n_learnt) if self.n_learnt else 0

    @property
    def share(self) -> int:
        """Labels of the check with which a fit begins: half of what it learns; 0 for no fit."""
        return (self.to_learn - self.n_learnt) // 2 if self.to_learn else 0

    @property
    def labels_wanted(self) -> float:
        """Labels with which it would pass, were the shifts to stay as they are."""
        if self.share:
            return float(self.share)
        if self.bounds.by_need:
            return self._look.wanted()
        return self.n_labels * max(shift.labels_factor for shift in self.shifts.values())

    @property
    def _look(self) -> Look:
        """What a look by need has shown."""
        return Look(tuple(self.shifts.values()), self.n_labels, self.next_look)

    @property
    def reason(self) -> str:
        """The verdict in words."""
        if self.verdict is Verdict.PASSED:
            if self.bounds.by_need:
                return f"{self.n_labels} unseen labels hold the corrected answer in its tolerances"
            return f"every shift is inside its tolerance on {self.n_labels} unseen labels"
        outside = [
            f"{name} {shift.delta:+.3f} ± {shift.stderr:.3f} {_UNITS[name]} "
            f"(allowed {shift.tolerance:.3g})"
            for name, shift in self.shifts.items()
            if not shift.passed
        ]
        return f"outside: {'; '.join(outside)}; {self._what_follows}"

    @property
    def _what_follows(self) -> str:
        """What is done where it has not passed."""
        if self.verdict is not Verdict.MORE_LABELS:
            return "the model is to be trained again"
        if self.share:
            return (
                f"a new fit would learn {self.to_learn} labels: at {self.share} of this check "
                "it is decided whether one is needed"
            )
        wanted = self.labels_wanted
        number = f"about {wanted:.0f}" if np.isfinite(wanted) else "more"
        return (
            f"the noise of {self.n_labels} labels alone decides: {number} are needed, not a new fit"
        )

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
    *,
    look: int = 0,
    n_learnt: int = 0,
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
    look
        Which look of a check by need this is, from 1 (:mod:`sscha_mlp.validation.bounds`); 0 for a
        check of a fixed number of labels.
    n_learnt
        Labels that the model has learnt, by which a check by need decides between more labels and
        a new fit (:mod:`sscha_mlp.validation.next_labels`); 0 where that is not known.

    Raises
    ------
    InputError
        If the two are not of the same ensemble, or there are fewer than eight configurations, three
        in a check by need.
    """
    if reference.ensemble is not model.ensemble:
        raise InputError("Reference and model values must be of one and the same ensemble.")
    ensemble = reference.ensemble
    n_labels = ensemble.n_configs
    least = LEAST if look else MIN_LABELS
    if n_labels < least:
        raise InputError(
            f"A certificate on {n_labels} labels has no usable error; give at least {least}."
        )
    delta = reference.minus(model)
    shifts = estimate_difference(delta, group)
    state = ensemble.dynamical_matrix
    bounds = bounds_at(look, n_labels) if look else FIXED
    return Certificate(
        n_labels=n_labels,
        free_energy=_widened(shifts.free_energy, bounds),
        stress=_widened(shifts.stress, bounds),
        centroid_forces=_widened(shifts.centroid_forces, bounds),
        force_constants=shifts.force_constant_change,
        frequencies=_widened(shifts.frequency_shifts, bounds),
        n_atoms=state.supercell.n_atoms,
        model_frequencies=state.frequencies_at_qpoints(),
        scaled_positions=state.crystal.scaled_positions,
        largest_share=_largest_share(delta),
        tolerances=_allowed(tolerances),
        differences=shifts,
        bounds=bounds,
        n_learnt=n_learnt,
    )


def _allowed(tolerances: CertificateTolerances | AllowedShifts | None) -> AllowedShifts:
    """Tolerances as they are, or those of a hard crystal."""
    if isinstance(tolerances, AllowedShifts):
        return tolerances
    return (tolerances or CertificateTolerances()).for_crystal()


def _widened(estimate: Estimate, bounds: Bounds) -> Estimate:
    """Return an estimate with its standard error as wide as few labels ask for."""
    return Estimate(estimate.value, np.asarray(bounds.widening * estimate.stderr))


def _largest_share(delta: Samples) -> float:
    """Part of the squared force errors that belongs to the worst configuration."""
    squares = (delta.forces**2).sum(axis=1)
    return float(squares.max() / squares.sum()) if squares.any() else 0.0
