"""Free energy, entropy and heat capacity of harmonic modes.

What they mean for the SSCHA: its free energy is least with respect to the trial force constants,
so that ``S = -dF/dT`` at a fixed cell is the entropy of the trial modes at that temperature, and
the formula below gives it.  The harmonic free energy of the trial modes is not the SSCHA free
energy, which has ``<V - V_trial>`` as well; and the heat capacity of the trial modes leaves out
that their frequencies change with temperature.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sscha_mlp import units
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.ensemble.nuclei import Nuclei, as_nuclei, check_temperature
from sscha_mlp.errors import InputError
from sscha_mlp.properties.mesh import MeshFrequencies
from sscha_mlp.tables import Shown, Table, few

_ZERO_THZ = 1.0e-3
"""A mode between plus and minus this is no oscillator, THz."""


@dataclass(frozen=True, eq=False)
class Thermodynamics(Shown):
    """Harmonic thermodynamics of a primitive cell at fixed frequencies.

    Parameters
    ----------
    temperatures
        Shape (n_temperatures,), K.
    free_energy
        ``sum hbar w / 2 + k T log(1 - exp(-hbar w / k T))`` for quantum nuclei, the other formulas
        are in :mod:`sscha_mlp.ensemble.nuclei`; shape (n_temperatures,), eV.
    entropy
        Shape (n_temperatures,), eV/K.
    heat_capacity
        At fixed volume and frequencies, shape (n_temperatures,), eV/K.
    zero_point
        ``sum hbar w / 2``, eV; zero for nuclei that have none.
    left_out
        Modes of the primitive cell, averaged over wave vectors, that are unstable and in no sum.
        The translations at q = 0 are neither in the sums nor counted here.
    """

    temperatures: FloatArray
    free_energy: FloatArray
    entropy: FloatArray
    heat_capacity: FloatArray
    zero_point: float
    left_out: float = 0.0

    @property
    def energy(self) -> FloatArray:
        """Internal energy ``F + T S``, shape (n_temperatures,), eV."""
        return np.asarray(self.free_energy + self.temperatures * self.entropy)

    def table(self) -> Table:
        """Return free energy, entropy and heat capacity over temperature."""
        values = (self.temperatures, self.free_energy, self.entropy, self.heat_capacity)
        rows = [
            (f"{t:g}", f"{f:.5f}", f"{s / units.KB:.4f}", f"{c / units.KB:.4f}")
            for t, f, s, c in zip(*values, strict=True)
        ]
        note = f"Zero-point energy {self.zero_point:.5f} eV."
        if self.left_out:
            note += f" {self.left_out:.3g} unstable modes are left out."
        columns = ("T (K)", "F (eV)", "S (k)", "C_V (k)")
        return Table("Harmonic sums of a primitive cell", few(rows), columns, note)


def thermodynamics(
    frequencies: NDArray[np.float64] | MeshFrequencies,
    temperatures: ArrayLike,
    *,
    weights: NDArray[np.float64] | None = None,
    nuclei: Nuclei | str = Nuclei.QUANTUM,
) -> Thermodynamics:
    """Sum the harmonic thermodynamics over modes.

    Parameters
    ----------
    frequencies
        Angular frequencies, shape (n_qpoints, n_bands), ``sqrt(eV/(amu Å²))``, or those of a mesh.
        Modes below 0.001 THz are left out.
    temperatures
        In K, at least 0; above 0 for nuclei without zero-point motion.
    weights
        Of the wave vectors, shape (n_qpoints,), adding up to one; equal ones when left out, those
        of the mesh with a mesh.
    nuclei
        ``quantum``, ``classical`` or ``no-zero-point``.

    Raises
    ------
    InputError
        If a temperature cannot be that of these nuclei, or there are not as many weights as wave
        vectors.
    """
    if isinstance(frequencies, MeshFrequencies):
        weights = frequencies.weights if weights is None else weights
        frequencies = frequencies.frequencies
    values = np.atleast_2d(frequencies)
    parts = np.full(len(values), 1.0 / len(values)) if weights is None else np.asarray(weights)
    if parts.shape != (len(values),):
        raise InputError(f"{len(values)} wave vectors have weights of shape {parts.shape}.")
    kind = as_nuclei(nuclei)
    grid = np.atleast_1d(np.asarray(temperatures, dtype=np.float64))
    for one in grid:
        check_temperature(float(one), kind)
    shares = np.broadcast_to(parts[:, None], values.shape)
    moving = values > _ZERO_THZ * units.THZ
    quanta, shares_of_moving = units.HBAR * values[moving], shares[moving]
    rows = [_at(quanta, shares_of_moving, float(one), kind) for one in grid]
    free_energy, entropy, heat_capacity = np.array(rows).T
    return Thermodynamics(
        grid,
        free_energy,
        entropy,
        heat_capacity,
        _zero_point(quanta, shares_of_moving, kind),
        float(shares[values < -_ZERO_THZ * units.THZ].sum()),
    )


def _zero_point(quanta: FloatArray, weights: FloatArray, nuclei: Nuclei) -> float:
    """Zero-point energy, eV."""
    return float(0.5 * quanta @ weights) if nuclei is Nuclei.QUANTUM else 0.0


def _at(
    quanta: FloatArray, weights: FloatArray, temperature: float, nuclei: Nuclei
) -> tuple[float, float, float]:
    """Free energy (eV), entropy and heat capacity (eV/K) at one temperature."""
    zero_point = _zero_point(quanta, weights, nuclei)
    if temperature == 0.0:
        return zero_point, 0.0, 0.0
    thermal = units.KB * temperature
    x = quanta / thermal
    if nuclei is Nuclei.CLASSICAL:
        mean_log, count = float(weights @ np.log(x)), float(weights.sum())
        return thermal * mean_log, units.KB * (count - mean_log), units.KB * count
    decay = np.exp(-x)  # small where expm1(x) would overflow
    filled = -np.expm1(-x)
    logarithm = np.log(filled)
    free_energy = zero_point + thermal * float(weights @ logarithm)
    entropy = units.KB * float(weights @ (x * decay / filled - logarithm))
    heat_capacity = units.KB * float(weights @ (x**2 * decay / filled**2))
    return free_energy, entropy, heat_capacity
