"""Template and radial functions that a fit of an MTP begins with."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from ase.data import atomic_numbers
from matscipy.neighbours import neighbour_list
from numpy.typing import NDArray

from sscha_mlp.data.labels import LabelledConfiguration
from sscha_mlp.errors import FitError
from sscha_mlp.potentials.mtp.enumeration import channel
from sscha_mlp.potentials.mtp.parameters import Parameters
from sscha_mlp.potentials.mtp.settings import MtpSettings
from sscha_mlp.potentials.mtp.template import Template
from sscha_mlp.potentials.training import elements_of

FloatArray = NDArray[np.float64]

_NEAREST: Final = 0.5
"""Å: atoms nearer than this are on top of each other."""


def first_parameters(train: Sequence[LabelledConfiguration], settings: MtpSettings) -> Parameters:
    """Return template and radial functions for training data; the other coefficients are zero.

    Radial function number mu is Chebyshev polynomial number mu: the basis is not contracted, and
    nothing about it has to be found by a nonlinear fit.

    Raises
    ------
    FitError
        If the cutoff is not beyond the shortest distance, or atoms lie on top of each other.
    """
    species = sorted(atomic_numbers[symbol] for symbol in elements_of(train))
    n = len(species)
    template = settings.template(n)
    return Parameters(
        template=template,
        species=tuple(species),
        min_dist=settings.min_dist_ratio * shortest_distance(train, settings.cutoff),
        max_dist=settings.cutoff,
        radial_coeffs=_uncontracted(template, settings, n),
        species_coeffs=np.zeros(n),
        moment_coeffs=np.zeros(template.n_scalars),
    )


def _uncontracted(template: Template, settings: MtpSettings, n_species: int) -> FloatArray:
    """One polynomial per radial function, for the species that it belongs to."""
    n_neighbours, n_centres = settings.channels(n_species)
    shape = (
        n_species,
        n_species,
        template.n_radial,
        n_polynomials(template, settings, n_species),
    )
    radial = np.zeros(shape)
    for mu in range(template.n_radial):
        order, neighbour, centre = channel(mu, n_neighbours, n_centres)
        centres = slice(None) if n_centres == 1 else centre
        neighbours = slice(None) if n_neighbours == 1 else neighbour
        radial[centres, neighbours, mu, order] = 1.0
    return radial


def n_polynomials(template: Template, settings: MtpSettings, n_species: int) -> int:
    """Return the number of Chebyshev polynomials in each radial function."""
    n_neighbours, n_centres = settings.channels(n_species)
    return settings.polynomials(-(-template.n_radial // (n_neighbours * n_centres)))


def shortest_distance(train: Sequence[LabelledConfiguration], cutoff: float) -> float:
    """Shortest distance between two atoms of the training data, Å.

    Raises
    ------
    FitError
        If there is none within the cutoff, or atoms lie on top of each other.
    """
    found = [neighbour_list("d", item.atoms, cutoff).min(initial=np.inf) for item in train]
    shortest = float(min(found))
    if shortest == np.inf:
        raise FitError(
            f"No two atoms of the training data are within {cutoff:g} Å: raise the MTP setting "
            "cutoff."
        )
    if shortest < _NEAREST:
        raise FitError(
            f"Training configuration {int(np.argmin(found))} has two atoms {shortest:.3g} Å apart: "
            "leave it out."
        )
    return shortest
