"""Everything that decides what an MTP predicts."""

from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from sscha_mlp.errors import ModelError
from sscha_mlp.potentials.mtp.template import Template
from sscha_mlp.tables import Shown, Table

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Parameters(Shown):
    r"""An MTP: template, radial functions and coefficients.

    With the Chebyshev polynomials :math:`T_n`, the radial functions between an atom of species s
    and a neighbour of species t are

    .. math:: f_\mu^{st}(r) = c \, (r_\max - r)^2 \sum_n C^{st}_{\mu n} \,
              T_n\!\left(\frac{2 r - r_\min - r_\max}{r_\max - r_\min}\right)

    and zero beyond :math:`r_\max`.  The energy of an atom is that of its species plus
    :math:`\sum_\alpha \xi_\alpha B_\alpha` over the basis functions of the template.

    Parameters
    ----------
    template
        Which moments there are.
    species
        Atomic numbers; an atom's type is its place here.
    min_dist, max_dist
        Range of the radial functions, Å; nearer neighbours are treated as the engine says.
    radial_coeffs
        :math:`C`, shape (n_species, n_species, n_radial, n_polynomials).
    species_coeffs
        Energy of an isolated atom, shape (n_species,), eV.
    moment_coeffs
        :math:`\xi`, shape (n_scalars,), eV.
    scaling
        c, which the file format calls scaling.

    Raises
    ------
    ModelError
        If shapes do not fit, or a number is not finite.
    """

    template: Template
    species: tuple[int, ...]
    min_dist: float
    max_dist: float
    radial_coeffs: FloatArray
    species_coeffs: FloatArray
    moment_coeffs: FloatArray
    scaling: float = 1.0

    def __post_init__(self) -> None:
        n = len(self.species)
        object.__setattr__(self, "species", tuple(int(number) for number in self.species))
        if n == 0 or len(set(self.species)) != n or min(self.species) < 0:
            raise ModelError(f"The species of an MTP must be different elements: {self.species}.")
        shapes = {
            "radial_coeffs": (n, n, self.template.n_radial, -1),
            "species_coeffs": (n,),
            "moment_coeffs": (self.template.n_scalars,),
        }
        for name, shape in shapes.items():
            array = np.array(getattr(self, name), dtype=np.float64)
            fits = array.ndim == len(shape) and all(
                want in (-1, have) for want, have in zip(shape, array.shape, strict=True)
            )
            if not fits or not np.isfinite(array).all():
                raise ModelError(
                    f"{name} of an MTP of {n} species has shape {array.shape} or is not finite; "
                    f"expected {shape}."
                )
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        if not 0.0 <= self.min_dist < self.max_dist < np.inf:
            raise ModelError(
                f"An MTP cannot reach from {self.min_dist} to {self.max_dist} Å: the first must be "
                "the smaller one and not negative."
            )

    @property
    def n_polynomials(self) -> int:
        """Chebyshev polynomials in each radial function."""
        return int(self.radial_coeffs.shape[3])

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols, by type."""
        return tuple(chemical_symbols[number] for number in self.species)

    def table(self) -> Table:
        """Return the elements, the range and the number of coefficients."""
        rows = (
            ("elements", ", ".join(chemical_symbols[one] for one in self.species)),
            ("basis functions", str(self.moment_coeffs.size)),
            ("radial coefficients", str(self.radial_coeffs.size)),
            ("range (Å)", f"{self.min_dist:.3f} to {self.max_dist:.3f}"),
        )
        return Table("Moment tensor potential", rows)
