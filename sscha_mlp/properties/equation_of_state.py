r"""The equation of state of a lattice: energies at several volumes and a fit.

With ``z = (V0/V)^(2/3)``, the third-order form of F. Birch (Phys. Rev. 71, 809 (1947)) is

.. math::

    E = E_0 + \frac{9 V_0 B_0}{16} \left[ 2 (z - 1)^2 + (B_0' - 4) (z - 1)^3 \right],

a polynomial of third degree in ``V^(-2/3)``: the fit is linear least squares.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from sscha_mlp import units
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.errors import InputError
from sscha_mlp.tables import Shown, Table

LEAST_VOLUMES: Final = 5
"""Volumes that a fit of four parameters needs: one more than these."""

_FARTHEST: Final = 4.0
"""How far a minimum may be from the middle of the volumes, in half their range."""


@dataclass(frozen=True)
class EquationOfState(Shown):
    """Parameters of the third-order Birch-Murnaghan equation.

    Parameters
    ----------
    energy
        At the minimum, eV/atom.
    volume
        Of the minimum, Å³/atom.
    bulk_modulus
        At the minimum, eV/Å³.
    derivative
        Of the bulk modulus with respect to pressure, dimensionless.
    residual
        Root mean square deviation of the energies from the fit, eV/atom.
    sampled
        Smallest and largest volume of the fit, Å³/atom.
    """

    energy: float
    volume: float
    bulk_modulus: float
    derivative: float
    residual: float
    sampled: tuple[float, float]

    @property
    def is_extrapolated(self) -> bool:
        """Whether the minimum lies outside the volumes of the fit."""
        return not self.sampled[0] <= self.volume <= self.sampled[1]

    def energies(self, volumes: ArrayLike) -> FloatArray:
        """Energies (eV/atom) at these volumes (Å³/atom), same shape."""
        strain = np.cbrt(self.volume / np.asarray(volumes, dtype=np.float64)) ** 2 - 1.0
        stiffness = 9.0 * self.volume * self.bulk_modulus / 16.0
        cubic = (self.derivative - 4.0) * strain**3
        return np.asarray(self.energy + stiffness * (2.0 * strain**2 + cubic))

    def table(self) -> Table:
        """Return the parameters."""
        low, high = self.sampled
        rows = (
            ("V0 (Å³/atom)", f"{self.volume:.4f}"),
            ("E0 (eV/atom)", f"{self.energy:.5f}"),
            ("B0 (GPa)", f"{self.bulk_modulus / units.GPA:.2f}"),
            ("B'", f"{self.derivative:.2f}"),
            ("rms deviation (meV/atom)", f"{1e3 * self.residual:.4f}"),
            ("volumes (Å³/atom)", f"{low:.3f} to {high:.3f}"),
        )
        note = "The minimum lies outside the volumes." if self.is_extrapolated else ""
        return Table("Equation of state at rest, Birch-Murnaghan", rows, note=note)


def fit_equation_of_state(volumes: ArrayLike, energies: ArrayLike) -> EquationOfState:
    """Fit the third-order Birch-Murnaghan equation by least squares.

    Parameters
    ----------
    volumes
        Shape (n,), Å³/atom.
    energies
        Shape (n,), eV/atom.

    Raises
    ------
    InputError
        If there are fewer than five different volumes, or the energies have no minimum near them.
    """
    v, e = (np.asarray(one, dtype=np.float64) for one in (volumes, energies))
    if v.shape != e.shape or len(np.unique(v)) < LEAST_VOLUMES or not np.all(v > 0):
        raise InputError(
            f"An equation of state needs the energies of at least {LEAST_VOLUMES} different "
            f"volumes above zero; {len(np.unique(v))} are there."
        )
    middle = float(np.mean(v))
    y = np.cbrt(middle / v) ** 2 - 1.0
    shift, width = float(e.mean()), float(np.abs(y).max())
    design = (y / width)[:, None] ** np.arange(4)
    scaled, *_ = np.linalg.lstsq(design, e - shift, rcond=None)
    c0, c1, c2, c3 = (float(one) for one in scaled / width ** np.arange(4))
    square = c2**2 - 3.0 * c1 * c3
    slope = c2 + float(np.sqrt(max(square, 0.0)))
    # Near what was sampled: a polynomial of third degree may well have a minimum far away.
    if not (square > 0 and slope > 0 and abs(c1) < _FARTHEST * width * slope):
        raise InputError(
            f"The energies at volumes from {v.min():.3f} to {v.max():.3f} Å³/atom have no minimum "
            "near them that a Birch-Murnaghan equation describes; choose volumes around it."
        )
    y0 = -c1 / slope
    z = 1.0 + y0
    volume = middle / z**1.5
    curvature = 2.0 * float(np.sqrt(square))  # second derivative by y at the minimum
    modulus = 4.0 / 9.0 * curvature * z**2 / volume
    return EquationOfState(
        energy=shift + c0 + c1 * y0 + c2 * y0**2 + c3 * y0**3,
        volume=volume,
        bulk_modulus=modulus,
        derivative=4.0 + 16.0 * c3 * z**3 / (9.0 * volume * modulus),
        residual=float(np.sqrt(np.mean((design @ scaled + shift - e) ** 2))),
        sampled=(float(v.min()), float(v.max())),
    )
