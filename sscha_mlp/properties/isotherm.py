"""Equation of state of an isotherm: bulk modulus, its pressure derivative and V0 with errors."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import least_squares
from scipy.special import gammaincc

from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.digits import with_error
from sscha_mlp.ensemble.averages import Estimate
from sscha_mlp.errors import InputError
from sscha_mlp.properties.averaged_fit import IMPROBABLE, Observed
from sscha_mlp.properties.expansion import LEAST, ascending, too_few
from sscha_mlp.tables import Shown, Table, few

USUAL_DERIVATIVE, USUAL_SPREAD = 4.0, 1.0
"""B' of solids, and how much it differs between them: what is taken for known with few points."""

_STEP: Final = 1.0e-4
"""Relative step of numerical derivatives."""

_SMALLEST, _LARGEST = 0.3, 1.5
"""Volumes, over that at zero pressure, between which an equation is inverted."""

_WORST_CONDITION: Final = 1.0e12
_NEGLIGIBLE: Final = 1.0e-6


class EquationForm(StrEnum):
    """Pressure as a function of volume."""

    BIRCH_MURNAGHAN = "birch-murnaghan"
    VINET = "vinet"
    MURNAGHAN = "murnaghan"


def _birch_murnaghan(x: FloatArray, bulk: float, derivative: float) -> FloatArray:
    power = x ** (-2.0 / 3.0)
    shape = 1.0 + 0.75 * (derivative - 4.0) * (power - 1.0)
    return np.asarray(1.5 * bulk * (power**3.5 - power**2.5) * shape)


def _vinet(x: FloatArray, bulk: float, derivative: float) -> FloatArray:
    y = np.cbrt(x)
    return np.asarray(3.0 * bulk * (1.0 - y) / y**2 * np.exp(1.5 * (derivative - 1.0) * (1.0 - y)))


def _murnaghan(x: FloatArray, bulk: float, derivative: float) -> FloatArray:
    if abs(derivative) < _STEP:
        return np.asarray(-bulk * np.log(x))
    return np.asarray(bulk / derivative * (x**-derivative - 1.0))


_PRESSURES: Final[dict[EquationForm, Callable[[FloatArray, float, float], FloatArray]]] = {
    EquationForm.BIRCH_MURNAGHAN: _birch_murnaghan,
    EquationForm.VINET: _vinet,
    EquationForm.MURNAGHAN: _murnaghan,
}
"""From V/V0, B0 and B' to the pressure in the unit of B0."""


@dataclass(frozen=True, eq=False)
class _Fitted:
    """One form: V0 (Å³), B0 (GPa) and B', their covariance, and its share in the average."""

    form: EquationForm
    parameters: FloatArray
    covariance: FloatArray
    chi_squared: float
    weight: float = 1.0


_Function = Callable[[EquationForm, FloatArray], FloatArray]
"""From a form and its parameters to an array."""


@dataclass(frozen=True, eq=False)
class EquationOfState(Shown):
    """An isotherm.

    Parameters
    ----------
    data
        The points, ascending in pressure: GPa, and volumes in Å³ with errors.
    forms
        Fits of each form; empty where it cannot be said.
    assumed_derivative
        Whether B' is taken to be 4 ± 1 to begin with.
    chi_squared, degrees_of_freedom
        Of the form that counts most: sum of the squared deviations over their errors, and number
        of data less three.
    statement
        The result in a sentence.
    """

    data: Observed
    forms: tuple[_Fitted, ...]
    assumed_derivative: bool
    chi_squared: float
    degrees_of_freedom: int
    statement: str

    @property
    def is_known(self) -> bool:
        """Whether there is a fit."""
        return bool(self.forms)

    @property
    def volume_at_zero(self) -> Estimate:
        """V0, Å³."""
        return _parameter(self._known(), 0)

    @property
    def bulk_modulus_at_zero(self) -> Estimate:
        """B at zero pressure, GPa."""
        return _parameter(self._known(), 1)

    @property
    def derivative(self) -> Estimate:
        """B' at zero pressure."""
        return _parameter(self._known(), 2)

    def volume(self, pressures: ArrayLike) -> Estimate:
        """Return V(P) with errors, shape (n,), Å³.

        Raises
        ------
        InputError
            If there is no fit, or it has no volume at a pressure.
        """
        p = np.atleast_1d(np.asarray(pressures, dtype=np.float64))
        return _average(self._known(), lambda form, given: _volumes(form, p, given))

    def bulk_modulus(self, pressures: ArrayLike) -> Estimate:
        """Return ``B = -V dP/dV`` at pressures with errors, shape (n,), GPa.

        Raises
        ------
        InputError
            If there is no fit, or it has no volume at a pressure.
        """
        p = np.atleast_1d(np.asarray(pressures, dtype=np.float64))
        return _average(
            self._known(), lambda form, given: _bulk(form, _volumes(form, p, given), given)
        )

    def _known(self) -> tuple[_Fitted, ...]:
        if not self.forms:
            raise InputError(self.statement)
        return self.forms

    def table(self) -> Table:
        """Return the parameters; the points where there is no fit."""
        if not self.is_known:
            data = self.data
            points = zip(data.x, data.y, data.stderr, strict=True)
            rows = [(f"{p:g}", with_error(v, s)) for p, v, s in points]
            return Table("Isotherm", few(rows), ("P (GPa)", "V (Å³)"), self.statement)
        found = {
            "V0 (Å³)": self.volume_at_zero,
            "B at zero pressure (GPa)": self.bulk_modulus_at_zero,
            "B'": self.derivative,
        }
        named = tuple(
            (name, with_error(float(one.value), float(one.stderr))) for name, one in found.items()
        )
        return Table("Equation of state of an isotherm", named, note=self.statement)


def fit_isotherm(
    pressures: ArrayLike,
    volumes: ArrayLike,
    stderr: ArrayLike,
    *,
    form: EquationForm | str | None = None,
) -> EquationOfState:
    """Fit volumes at one temperature over pressure.

    The deviations are in pressure, over ``B dV / V``.  Forms are averaged with the weights
    ``exp(-chi² / 2)``, and how far they are apart is part of the errors.  With three pressures,
    ``B' = 4 ± 1`` is a further datum; a straight line through two is not an equation of state.

    Parameters
    ----------
    pressures
        GPa, in any order.
    volumes, stderr
        Å³, with errors above zero.
    form
        ``birch-murnaghan``, ``vinet`` or ``murnaghan`` alone; all three when left out.

    Returns
    -------
    The fit; without forms where there are fewer than three pressures.

    Raises
    ------
    InputError
        If the shapes differ, a number is not finite, an error or a volume is not above zero, or
        the form is unknown.
    """
    kinds = _kinds(form)
    data = ascending(pressures, volumes, stderr)
    if np.any(data.y <= 0.0):
        raise InputError("A volume of an equation of state is not above zero.")
    n = len(np.unique(data.x))
    if n < LEAST:
        return _without(data, too_few(n, "pressure"))
    start = _start(data)
    if start is None:
        return _without(data, "The volumes do not fall with pressure: there is no fit.")
    assumed = n == LEAST
    found = [_fit(data, kind, start, assumed=assumed) for kind in kinds]
    known = [one for one in found if one is not None]
    if not known:
        return _without(data, "The volumes determine no equation of state.")
    return _make(data, known, assumed=assumed)


def _kinds(form: EquationForm | str | None) -> list[EquationForm]:
    if form is None:
        return list(EquationForm)
    try:
        return [EquationForm(form)]
    except ValueError as err:
        known = ", ".join(one.value for one in EquationForm)
        raise InputError(f"There is no equation of state {form!r}; choose from {known}.") from err


def _without(data: Observed, statement: str) -> EquationOfState:
    return EquationOfState(data, (), False, 0.0, 0, statement)


def _start(data: Observed) -> FloatArray | None:
    """V0, B0 and B' from a straight line through log V."""
    slope, constant = np.polyfit(data.x, np.log(data.y), 1)
    if slope >= 0.0:
        return None
    middle = -1.0 / float(slope) - USUAL_DERIVATIVE * float(data.x.mean())
    bulk = max(middle, -0.2 / float(slope))
    return np.array([float(np.exp(constant)), bulk, USUAL_DERIVATIVE])


def _fit(data: Observed, form: EquationForm, start: FloatArray, *, assumed: bool) -> _Fitted | None:
    def deviations(given: FloatArray) -> FloatArray:
        now = given * start
        bulk = np.abs(_bulk(form, data.y, now))
        found = (data.x - _pressure(form, data.y, now)) * data.y / (bulk * data.stderr)
        return np.append(found, (now[2] - USUAL_DERIVATIVE) / USUAL_SPREAD) if assumed else found

    found = least_squares(deviations, np.ones(3), x_scale=0.01)
    best = found.x * start
    slopes = found.jac / start
    information = slopes.T @ slopes
    scales = np.sqrt(np.diag(information))
    if not found.success or best[1] <= 0.0 or not _is_regular(information, scales):
        return None
    covariance = np.linalg.inv(information / np.outer(scales, scales)) / np.outer(scales, scales)
    return _Fitted(form, best, covariance, 2.0 * float(found.cost))


def _is_regular(information: FloatArray, scales: FloatArray) -> bool:
    if not np.all(scales > 0.0):
        return False
    return bool(np.linalg.cond(information / np.outer(scales, scales)) < _WORST_CONDITION)


def _make(data: Observed, known: list[_Fitted], *, assumed: bool) -> EquationOfState:
    """Weigh the forms, and enlarge their errors where the best does not describe the points."""
    least = min(one.chi_squared for one in known)
    weights = np.exp([-0.5 * (one.chi_squared - least) for one in known])
    weights = weights / weights.sum()
    freedom = len(data.x) + int(assumed) - 3
    probability = float(gammaincc(0.5 * freedom, 0.5 * least))
    inflation = least / freedom if probability < IMPROBABLE else 1.0
    forms = tuple(
        replace(one, covariance=one.covariance * inflation, weight=float(weight))
        for one, weight in zip(known, weights, strict=True)
        if weight > _NEGLIGIBLE
    )
    statement = _sentence(data, forms, least, freedom, assumed=assumed, enlarged=inflation > 1.0)
    return EquationOfState(data, forms, assumed, least, freedom, statement)


def _parameter(forms: tuple[_Fitted, ...], index: int) -> Estimate:
    found = _average(forms, lambda _, given: given[index : index + 1])
    return Estimate(found.value[0], found.stderr[0])


def _average(forms: tuple[_Fitted, ...], function: _Function) -> Estimate:
    """A function of the parameters: errors to first order, and how far the forms are apart."""
    values = np.array([function(one.form, one.parameters) for one in forms])
    weights = np.array([one.weight for one in forms])
    mean = weights @ values
    inner = np.array([_variance(one, function) for one in forms])
    variance = weights @ (inner + (values - mean) ** 2)
    return Estimate(mean, np.sqrt(variance))


def _variance(one: _Fitted, function: _Function) -> FloatArray:
    rows = []
    for index, value in enumerate(one.parameters):
        step = np.zeros(3)
        step[index] = _STEP * max(abs(float(value)), 1.0)
        upper = function(one.form, one.parameters + step)
        rows.append((upper - function(one.form, one.parameters - step)) / (2.0 * step[index]))
    slopes = np.array(rows)
    variance = np.einsum("ix,ij,jx->x", slopes, one.covariance, slopes)
    return np.asarray(np.maximum(variance, 0.0))


def _volumes(form: EquationForm, pressures: FloatArray, parameters: FloatArray) -> FloatArray:
    """Invert P(V) by bisection where it falls with V."""
    v0 = float(parameters[0])
    low = np.full(len(pressures), _SMALLEST * v0)
    high = np.full(len(pressures), _LARGEST * v0)
    for _ in range(60):
        middle = 0.5 * (low + high)
        is_dense = _pressure(form, middle, parameters) > pressures
        low, high = np.where(is_dense, middle, low), np.where(is_dense, high, middle)
    found: FloatArray = 0.5 * (low + high)
    reached = np.abs(_pressure(form, found, parameters) - pressures)
    if np.any(reached > 1.0e-6 * (1.0 + np.abs(pressures))):
        raise InputError("The equation of state has no volume at that pressure.")
    return found


def _pressure(form: EquationForm, volumes: FloatArray, parameters: FloatArray) -> FloatArray:
    """Pressure in GPa."""
    v0, bulk, derivative = (float(one) for one in parameters)
    return _PRESSURES[form](volumes / v0, bulk, derivative)


def _bulk(form: EquationForm, volumes: FloatArray, parameters: FloatArray) -> FloatArray:
    """``-V dP/dV`` in GPa."""
    step = _STEP * volumes
    change = _pressure(form, volumes + step, parameters) - _pressure(
        form, volumes - step, parameters
    )
    return np.asarray(-volumes * change / (2.0 * step))


def _sentence(
    data: Observed,
    forms: tuple[_Fitted, ...],
    chi_squared: float,
    freedom: int,
    *,
    assumed: bool,
    enlarged: bool,
) -> str:
    v0, bulk, derivative = (_parameter(forms, index) for index in range(3))
    text = f"B = {bulk.value:.2f} ± {bulk.stderr:.2f} GPa"
    text += f", B' = {derivative.value:.2f} ± {derivative.stderr:.2f}"
    text += f" ({USUAL_DERIVATIVE:g} ± {USUAL_SPREAD:g} assumed)" if assumed else ""
    text += f", V0 = {v0.value:.4f} ± {v0.stderr:.4f} Å³"
    if not data.x[0] <= 0.0 <= data.x[-1]:
        text += ", extrapolated to zero pressure"
    text += f"; χ² = {chi_squared:.1f} with {freedom} degree{'' if freedom == 1 else 's'}"
    text += " of freedom"
    if enlarged:
        text += ": the form does not describe the points, and the errors are enlarged by it"
    return f"{text}."
