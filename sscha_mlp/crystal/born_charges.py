"""Born effective charges and the dielectric tensor: how a crystal answers an electric field."""

from dataclasses import dataclass

import numpy as np

from sscha_mlp.crystal.structure import Crystal, FloatArray, read_only
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import find_space_group
from sscha_mlp.digits import fixed
from sscha_mlp.errors import InputError
from sscha_mlp.tables import Shown, Table, few


@dataclass(frozen=True, eq=False)
class BornCharges(Shown):
    """Born effective charges and the electronic dielectric tensor of a crystal.

    Parameters
    ----------
    charges
        ``Z[a, i, j] = dP_i / du_aj V / e``, shape (n_primitive, 3, 3), in units of e.
    dielectric
        Tensor without the part of the ions (eps_infinity), shape (3, 3).

    Raises
    ------
    InputError
        If the shapes are wrong, a value is not finite, or the tensor is not positive.
    """

    charges: FloatArray
    dielectric: FloatArray

    def __post_init__(self) -> None:
        """Make the arrays read-only and check them."""
        object.__setattr__(self, "charges", read_only(self.charges))
        object.__setattr__(self, "dielectric", read_only(self.dielectric))
        if self.charges.ndim != 3 or self.charges.shape[1:] != (3, 3):
            raise InputError(
                f"Born charges have shape {self.charges.shape}; each atom of the primitive cell "
                "needs three rows of three numbers."
            )
        if self.dielectric.shape != (3, 3):
            raise InputError("The dielectric tensor needs three rows of three numbers.")
        if not (np.all(np.isfinite(self.charges)) and np.all(np.isfinite(self.dielectric))):
            raise InputError("A Born charge or the dielectric tensor is not a finite number.")
        symmetric = 0.5 * (self.dielectric + self.dielectric.T)
        if np.linalg.eigvalsh(symmetric).min() < 0.5:
            raise InputError(
                "The dielectric tensor is not positive; give eps_infinity, which is at least 1."
            )

    def symmetrised(self, crystal: Crystal) -> "BornCharges":
        """Return the charges averaged over the space group and made neutral.

        Raises
        ------
        InputError
            If they are not of as many atoms as the crystal has.
        """
        self.check_count(crystal)
        group = find_space_group(Supercell(crystal, (1, 1, 1)))
        charges = np.zeros_like(self.charges)
        for rotation, images in zip(group.cartesian_rotations, group.permutations, strict=True):
            charges[images] += rotation @ self.charges @ rotation.T
        charges /= group.n_operations
        charges -= charges.mean(axis=0)
        return BornCharges(charges, group.symmetrise_tensor(self.dielectric))

    def table(self) -> Table:
        """Return a third of the trace of each tensor, and its largest part off the diagonal."""
        named = [(f"Z* of atom {n}", one) for n, one in enumerate(self.charges, start=1)]
        named.append(("ε∞", self.dielectric))
        rows = [
            (
                name,
                fixed(np.trace(one) / 3.0, 4, sign=True),
                fixed(np.abs(one - np.diag(np.diag(one))).max(), 4),
            )
            for name, one in named
        ]
        columns = ("", "trace / 3", "largest off the diagonal")
        return Table("Born charges and dielectric tensor", few(rows, 20), columns)

    def check_count(self, crystal: Crystal) -> None:
        """Check that the charges are of as many atoms as a crystal has.

        Raises
        ------
        InputError
            If they are not.
        """
        if len(self.charges) != crystal.n_atoms:
            raise InputError(
                f"There are Born charges of {len(self.charges)} atoms, but the primitive cell has "
                f"{crystal.n_atoms}; give one tensor for each, in its order."
            )
