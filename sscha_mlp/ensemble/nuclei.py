r"""How nuclei move: as quantum or classical oscillators, or as quantum ones without zero point.

Each kind is a mean square amplitude a² and a free energy F of an oscillator of frequency omega,
with ``x = hbar omega / k T``:

================== ================================== ==============================
kind               a²                                 F
================== ================================== ==============================
``quantum``        ``hbar / (2 omega) coth(x / 2)``   ``k T log(2 sinh(x / 2))``
``classical``      ``k T / omega²``                   ``k T log(x)``
``no-zero-point``  ``hbar / omega / (exp(x) - 1)``    ``k T log(1 - exp(-x))``
================== ================================== ==============================

In each ``dF / d(omega²) = a² / 2``, so that the derivative of the SSCHA free energy by the force
constants has the same form, and its minimum is where the force constants are the average curvature.
``classical`` is the exact classical partition function of the oscillator, and the high-temperature
limit of ``quantum``.  ``no-zero-point`` keeps the Bose occupation and drops ``hbar omega / 2``.
"""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from sscha_mlp import units
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.errors import InputError

_MOST_QUANTA: float = 20.0
"""``hbar omega / k T`` above which a mode without zero-point motion counts as frozen.  Away from
the minimum the noise of its force constant goes as the inverse of its amplitude, which falls as
``exp(-x / 2)``."""

_LARGEST: float = 600.0
"""``hbar omega / k T`` that is still computed with: ``exp`` of it is a number."""


class Nuclei(StrEnum):
    """How the nuclei of an ensemble move."""

    QUANTUM = "quantum"
    CLASSICAL = "classical"
    NO_ZERO_POINT = "no-zero-point"

    @property
    def remark(self) -> str:
        """What to write behind a temperature: nothing for quantum nuclei."""
        return _REMARKS[self]


_REMARKS = {
    Nuclei.QUANTUM: "",
    Nuclei.CLASSICAL: " (classical nuclei)",
    Nuclei.NO_ZERO_POINT: " (no zero-point motion)",
}


def as_nuclei(value: Nuclei | str) -> Nuclei:
    """Return the kind that a name stands for.

    Raises
    ------
    InputError
        If there is none of this name.
    """
    try:
        return Nuclei(value)
    except ValueError as err:
        raise InputError(
            f"There are no {value!r} nuclei; the known kinds are: {', '.join(Nuclei)}."
        ) from err


def check_temperature(temperature: float, nuclei: Nuclei = Nuclei.QUANTUM) -> float:
    """Return the temperature of nuclei that can have it.

    Parameters
    ----------
    temperature
        In K, at least 0; above 0 unless the nuclei have zero-point motion.
    nuclei
        How they move.

    Raises
    ------
    InputError
        If it is not such a number.
    """
    if not np.isfinite(temperature) or temperature < 0:
        raise InputError(
            f"The temperature {temperature} K is not a number of at least 0; write for example "
            "--T 300."
        )
    if temperature == 0 and nuclei is not Nuclei.QUANTUM:
        raise InputError(
            f"At 0 K {nuclei} nuclei do not move: the answer is the static lattice, which needs "
            "no SSCHA. Take a temperature above 0 K, or quantum nuclei."
        )
    return float(temperature)


def check_quantum(nuclei: Nuclei) -> None:
    """Check that python-sscha can do what is asked of it.

    Raises
    ------
    InputError
        If the nuclei are not quantum.
    """
    if nuclei is not Nuclei.QUANTUM:
        raise InputError(
            f"python-sscha has quantum nuclei alone; take the native engine for {nuclei} nuclei."
        )


def check_moving(highest: float, temperature: float, nuclei: Nuclei) -> None:
    """Check that no mode without zero-point motion is frozen.

    Parameters
    ----------
    highest
        Highest angular frequency, ``sqrt(eV/(amu Å²))``.
    temperature
        In K, above 0 where the nuclei have no zero-point motion.
    nuclei
        How they move.

    Raises
    ------
    InputError
        If the mean square amplitude of that mode is too small for averages.
    """
    if nuclei is not Nuclei.NO_ZERO_POINT:
        return
    quanta = units.HBAR * highest / (units.KB * temperature)
    if quanta > _MOST_QUANTA:
        raise InputError(
            f"Without zero-point motion a mode of {highest / units.THZ:.2f} THz is frozen at "
            f"{temperature:g} K. Take at least "
            f"{np.ceil(temperature * quanta / _MOST_QUANTA):.0f} K, or quantum nuclei."
        )


def mean_square_amplitudes(
    frequencies: NDArray[np.float64], temperature: float, nuclei: Nuclei = Nuclei.QUANTUM
) -> FloatArray:
    """Mean square mass-weighted amplitude of oscillators.

    Parameters
    ----------
    frequencies
        Positive angular frequencies, shape (n_modes,), ``sqrt(eV/(amu Å²))``.
    temperature
        In K; 0 gives the zero-point amplitude of quantum nuclei.
    nuclei
        How they move.

    Returns
    -------
    Shape (n_modes,), amu Å².
    """
    thermal = units.KB * temperature
    if nuclei is Nuclei.CLASSICAL:
        return np.asarray(thermal / frequencies**2)
    if nuclei is Nuclei.NO_ZERO_POINT:
        ratio = np.minimum(units.HBAR * frequencies / thermal, _LARGEST)
        return np.asarray(units.HBAR / frequencies / np.expm1(ratio))
    zero_point = units.HBAR / (2 * frequencies)
    if temperature == 0:
        return np.asarray(zero_point)
    return np.asarray(zero_point / np.tanh(units.HBAR * frequencies / (2 * thermal)))


def mean_square_slopes(
    frequencies: NDArray[np.float64], temperature: float, nuclei: Nuclei = Nuclei.QUANTUM
) -> FloatArray:
    """Derivative of the mean square amplitude by the squared frequency.

    Parameters
    ----------
    frequencies, temperature, nuclei
        As :func:`mean_square_amplitudes` takes them.

    Returns
    -------
    Shape (n_modes,), amu² Å⁴/eV, negative.
    """
    widths = mean_square_amplitudes(frequencies, temperature, nuclei)
    slopes = -widths / frequencies - _spread(frequencies, temperature, nuclei)
    return np.asarray(slopes / (2 * frequencies))


def _spread(frequencies: NDArray[np.float64], temperature: float, nuclei: Nuclei) -> FloatArray:
    """``-d(omega a²) / d(omega) / omega``: what the occupation adds to the slope of a²."""
    if temperature == 0:
        return np.zeros_like(frequencies)
    thermal = units.KB * temperature
    if nuclei is Nuclei.CLASSICAL:
        return np.asarray(thermal / frequencies**3)
    half = units.HBAR / (2 * thermal)
    ratio = np.minimum(half * frequencies, 0.5 * _LARGEST)
    return np.asarray(units.HBAR / (2 * frequencies) * half / np.sinh(ratio) ** 2)


def harmonic_free_energy(
    frequencies: NDArray[np.float64], temperature: float, nuclei: Nuclei = Nuclei.QUANTUM
) -> float:
    """Helmholtz free energy of oscillators, eV; the formulas are at the head of the module.

    Parameters
    ----------
    frequencies, temperature, nuclei
        As :func:`mean_square_amplitudes` takes them.
    """
    quanta = units.HBAR * frequencies
    zero_point = 0.5 * quanta.sum() if nuclei is Nuclei.QUANTUM else 0.0
    if temperature == 0:
        return float(zero_point)
    thermal = units.KB * temperature
    if nuclei is Nuclei.CLASSICAL:
        return float(thermal * np.log(quanta / thermal).sum())
    return float(zero_point + thermal * np.log(-np.expm1(-quanta / thermal)).sum())
