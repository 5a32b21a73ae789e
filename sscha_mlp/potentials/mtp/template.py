r"""Which moments an MTP has, and how they are multiplied: the discrete part of the potential.

With the vectors :math:`r_j` from an atom to its neighbours, the basic moments are (Shapeev,
Multiscale Model. Simul. 14, 1153 (2016))

.. math:: M_{\mu,abc} = \sum_j f_\mu(r_j) \; \hat x_j^a \hat y_j^b \hat z_j^c ,

the Cartesian components of the tensor of rank a + b + c built with the radial function
:math:`f_\mu` and the unit vectors :math:`\hat r_j`.  All further moments are sums of products of
two earlier ones, and those that are scalars are the basis functions of the site energy.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sscha_mlp.errors import ModelError

IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Template:
    """The lists that a ``.mtp`` file calls ``alpha_index_basic``, ``_times`` and ``_mapping``.

    Parameters
    ----------
    basic
        Shape (n_basic, 4): radial function mu and powers a, b, c of moment 0, 1, ...
    products
        Shape (n_products, 4), rows (i, j, factor, k): moment k gets ``factor * M_i * M_j``.  In an
        order in which i and j are complete when they are used.
    scalars
        Shape (n_scalars,): the moments that are basis functions, in the order of their
        coefficients.
    n_moments
        Number of moments, the basic ones included.

    Raises
    ------
    ModelError
        If an index points nowhere, or to a moment that is not complete yet.
    """

    basic: IntArray
    products: IntArray
    scalars: IntArray
    n_moments: int

    def __post_init__(self) -> None:
        for name, shape in {"basic": (-1, 4), "products": (-1, 4), "scalars": (-1,)}.items():
            array = np.array(getattr(self, name), dtype=np.int64).reshape(shape)
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        self._check()

    def _check(self) -> None:
        basic, products, scalars = self.basic, self.products, self.scalars
        if len(basic) == 0 or basic.min() < 0:
            raise ModelError("An MTP needs basic moments, with indices of at least 0.")
        if self.n_moments < len(basic):
            raise ModelError(
                f"An MTP with {len(basic)} basic moments cannot have {self.n_moments} in all."
            )
        used = np.concatenate([products[:, [0, 1, 3]].ravel(), scalars])
        if len(used) and (used.min() < 0 or used.max() >= self.n_moments):
            raise ModelError(
                f"A product or scalar of the MTP names moment {used.max()} of {self.n_moments}."
            )
        last_written = np.full(self.n_moments, -1)
        last_written[products[:, 3]] = np.arange(len(products))
        order = np.arange(len(products))[:, None]
        if np.any(last_written[products[:, :2]] >= order) or np.any(products[:, 3] < len(basic)):
            raise ModelError("A product of the MTP uses a moment that is not complete by then.")

    @property
    def n_basic(self) -> int:
        """Number of basic moments."""
        return len(self.basic)

    @property
    def n_scalars(self) -> int:
        """Number of basis functions, each with one coefficient."""
        return len(self.scalars)

    @property
    def n_radial(self) -> int:
        """Number of radial functions per pair of species."""
        return int(self.basic[:, 0].max()) + 1

    def levels(self, radial_weight: int, n_channels: int = 1) -> IntArray:
        """Level of each basis function, shape (n_scalars,).

        Parameters
        ----------
        radial_weight
            What a step in the order of the radial function adds.
        n_channels
            Radial functions of the same order.
        """
        levels = np.zeros(self.n_moments, dtype=np.int64)
        orders = self.basic[:, 0] // n_channels
        levels[: self.n_basic] = 2 + radial_weight * orders + self.basic[:, 1:].sum(axis=1)
        for i, j, _, k in self.products.tolist():
            levels[k] = levels[i] + levels[j]
        return levels[self.scalars]
