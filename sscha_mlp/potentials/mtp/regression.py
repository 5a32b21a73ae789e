"""From labelled configurations to the coefficients of an MTP whose radial functions are given."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sscha_mlp.data.labels import LabelledConfiguration
from sscha_mlp.potentials.mtp.engine import Design, Engine
from sscha_mlp.potentials.mtp.linear import LinearFit, ridge_regression
from sscha_mlp.potentials.mtp.parameters import Parameters
from sscha_mlp.potentials.mtp.settings import MtpSettings

FloatArray = NDArray[np.float64]

VOIGT: Final = [0, 4, 8, 5, 2, 1]
"""Places of xx, yy, zz, yz, xz, xy in a flattened tensor."""

_SPECIES_PRIOR: Final = 1.0e3
"""Energies of the species are all but free."""

_CHUNK: Final = 32


@dataclass(frozen=True, eq=False)
class Regression:
    """An MTP with its coefficients, and what the fit leaves behind.

    Parameters
    ----------
    parameters
        The potential.
    fit
        Regularisation and residuals.
    site_rows
        Basis functions of each training atom, shape (n, n_scalars).
    owners
        Configuration of each row, shape (n,).
    """

    parameters: Parameters
    fit: LinearFit
    site_rows: FloatArray
    owners: NDArray[np.int64]


def regress(
    parameters: Parameters,
    train: Sequence[LabelledConfiguration],
    settings: MtpSettings,
    *,
    weights: FloatArray,
    n_threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Regression:
    """Find the coefficients of species and moments for given radial functions.

    Parameters
    ----------
    parameters
        Template and radial functions; the coefficients that it holds do not matter.
    train
        What to learn.
    settings
        Weights of energies, forces and stresses, regularisation.
    weights
        Weight of each configuration, shape (n,): its squared residuals count this many times.
    n_threads
        Threads that compute basis functions.
    progress
        Called with the number of configurations done, and their total.
    """
    engine = Engine(parameters, n_threads=n_threads)
    offset = _offset(train)
    blocks: list[FloatArray] = []
    sites: list[FloatArray] = []
    for first in range(0, len(train), _CHUNK):
        part = train[first : first + _CHUNK]
        design = engine.design([item.atoms for item in part])
        sites.extend(design.basis)
        for place, item in enumerate(part):
            rows = _rows(item, design, place, parameters.species, offset)
            blocks.append(rows * _row_weights(len(item.atoms), settings, weights[first + place]))
        if progress is not None:
            progress(min(first + _CHUNK, len(train)), len(train))
    fit = ridge_regression(
        blocks,
        _prior(parameters, settings),
        ridge=settings.ridge,
        n_folds=settings.n_folds,
        scored=[not item.chosen for item in train],
    )
    n_species = len(parameters.species)
    found = replace(
        parameters,
        species_coeffs=offset + fit.coefficients[:n_species],
        moment_coeffs=fit.coefficients[n_species:],
    )
    owners = np.repeat(np.arange(len(train)), [len(rows) for rows in sites])
    return Regression(found, fit, np.concatenate(sites), owners)


def _offset(train: Sequence[LabelledConfiguration]) -> float:
    """Mean energy per atom, taken off first: the rest is of the size of the displacements."""
    return float(np.mean([item.label.energy / len(item.atoms) for item in train]))


def _rows(
    item: LabelledConfiguration,
    design: Design,
    place: int,
    species: Sequence[int],
    offset: float,
) -> FloatArray:
    """Rows of one configuration with the target last: energy per atom, forces, stress."""
    n = len(item.atoms)
    counts = np.array([np.count_nonzero(item.atoms.numbers == number) for number in species])
    rows = np.zeros((1 + 3 * n + 6, len(species) + design.energies.shape[1] + 1))
    columns = slice(len(species), -1)
    rows[0, : len(species)] = counts / n
    rows[0, columns] = design.energies[place] / n
    rows[1:-6, columns] = design.forces[place]
    rows[-6:, columns] = design.stresses[place]
    rows[0, -1] = item.label.energy / n - offset
    rows[1:-6, -1] = item.label.forces.ravel()
    rows[-6:, -1] = item.label.stress.ravel()[VOIGT]
    return rows


def _row_weights(n_atoms: int, settings: MtpSettings, weight: float) -> FloatArray:
    """Roots of the weights of the rows, shape (1 + 3 n_atoms + 6, 1)."""
    sigmas = (settings.energy_sigma, settings.force_sigma, settings.stress_sigma)
    each = np.repeat(1.0 / np.array(sigmas), (1, 3 * n_atoms, 6))
    return np.asarray(np.sqrt(weight) * each[:, None])


def _prior(parameters: Parameters, settings: MtpSettings) -> FloatArray:
    """Expected sizes of the scaled coefficients: smaller for higher levels."""
    n_neighbours, n_centres = settings.channels(len(parameters.species))
    levels = parameters.template.levels(settings.radial_weight, n_neighbours * n_centres)
    sizes = np.exp(-0.5 * settings.smoothness * (levels - levels.min()))
    return np.concatenate([np.full(len(parameters.species), _SPECIES_PRIOR), sizes])
