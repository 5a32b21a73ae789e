"""From labelled configurations to the coefficients of an MTP whose radial functions are given."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sscha_mlp.data.labels import LabelledConfiguration
from sscha_mlp.potentials.mtp.engine import Design, Engine, Prepared
from sscha_mlp.potentials.mtp.linear import LinearFit, ridge_regression
from sscha_mlp.potentials.mtp.parameters import Parameters
from sscha_mlp.potentials.mtp.settings import MtpSettings

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

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


@dataclass(frozen=True, eq=False)
class Rows:
    """Makes the weighted rows of training data for given radial functions.

    The rows of a configuration are those of its energy per atom, its forces and its stress.

    Parameters
    ----------
    train
        What to learn.
    settings
        Weights of energies, forces and stresses; prior sizes of the coefficients.
    weights
        Weight of each configuration, shape (n,): its squared residuals count this many times.
    n_threads
        Threads that compute basis functions.
    """

    train: Sequence[LabelledConfiguration]
    settings: MtpSettings
    weights: FloatArray
    n_threads: int = 1

    @cached_property
    def offset(self) -> float:
        """Mean energy per atom, taken off first: the rest is of the size of the displacements."""
        return float(np.mean([item.label.energy / len(item.atoms) for item in self.train]))

    def blocks(
        self,
        parameters: Parameters,
        places: Sequence[int] | None = None,
        *,
        prepared: Prepared | None = None,
        sites: list[FloatArray] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[FloatArray]:
        """Return the rows of each configuration, with the target in the last column.

        The columns are those of the species and of the moment coefficients.

        Parameters
        ----------
        parameters
            Template and radial functions; the coefficients that it holds do not matter.
        places
            Which configurations; all when None.
        prepared
            These with their neighbour lists, if they are at hand.
        sites
            Gets the basis functions of each site, one array per configuration.
        progress
            Called with the number of configurations done, and their total.
        """
        engine = Engine(parameters, n_threads=self.n_threads)
        places = range(len(self.train)) if places is None else places
        found: list[FloatArray] = []
        chunk = _CHUNK if prepared is None else len(places)
        for first in range(0, len(places), chunk):
            part = places[first : first + chunk]
            design = engine.design(prepared or [self.train[index].atoms for index in part])
            for place, index in enumerate(part):
                rows = self._rows(index, design, place, parameters.species)
                found.append(rows * self._roots(index)[:, None])
            if sites is not None:
                sites.extend(design.basis)
            if progress is not None:
                progress(len(found), len(places))
        return found

    def prepared(self, parameters: Parameters, places: Sequence[int]) -> Prepared:
        """Return configurations with their neighbour lists, for many predictions."""
        engine = Engine(parameters, n_threads=self.n_threads)
        return engine.prepare([self.train[index].atoms for index in places])

    def radial_blocks(
        self,
        parameters: Parameters,
        entries: tuple[IntArray, ...],
        places: Sequence[int],
        prepared: Prepared,
    ) -> list[FloatArray]:
        """Return the derivatives of the weighted predictions with respect to radial coefficients.

        Parameters
        ----------
        parameters
            Template, radial functions and moment coefficients.
        entries
            Indices of the coefficients, one array for each axis of the radial coefficients.
        places, prepared
            Which configurations, and these with their neighbour lists.
        """
        design = Engine(parameters, n_threads=self.n_threads).radial_design(prepared, entries)
        return [
            np.concatenate(
                [
                    design.energies[place, None] / len(self.train[index].atoms),
                    design.forces[place],
                    design.stresses[place],
                ]
            )
            * self._roots(index)[:, None]
            for place, index in enumerate(places)
        ]

    def predictions(
        self, parameters: Parameters, places: Sequence[int], prepared: Prepared | None = None
    ) -> FloatArray:
        """Return what a potential says of the same rows, weighted, one after the other."""
        engine = Engine(parameters, n_threads=self.n_threads)
        if prepared is None:
            prepared = self.prepared(parameters, places)
        found = engine.evaluate(prepared)
        energies = found.energies
        parts = []
        for place, index in enumerate(places):
            energy = energies[place] / len(self.train[index].atoms)
            stress = found.stresses[place].ravel()[VOIGT]
            row = np.concatenate([[energy], found.forces[place].ravel(), stress])
            parts.append(row * self._roots(index))
        return np.concatenate(parts)

    def targets(self, index: int) -> FloatArray:
        """Return what :meth:`predictions` should say of one configuration."""
        return self._labels(index) * self._roots(index)

    def prior(self, parameters: Parameters) -> FloatArray:
        """Return the expected sizes of the scaled coefficients: smaller for higher levels."""
        settings, n_species = self.settings, len(parameters.species)
        n_neighbours, n_centres = settings.channels(n_species)
        levels = parameters.template.levels(settings.radial_weight, n_neighbours * n_centres)
        sizes = np.exp(-0.5 * settings.smoothness * (levels - levels.min()))
        return np.concatenate([np.full(n_species, _SPECIES_PRIOR), sizes])

    def _rows(self, index: int, design: Design, place: int, species: Sequence[int]) -> FloatArray:
        """Rows of one configuration with the target last: energy per atom, forces, stress."""
        item = self.train[index]
        n = len(item.atoms)
        counts = np.array([np.count_nonzero(item.atoms.numbers == number) for number in species])
        rows = np.zeros((1 + 3 * n + 6, len(species) + design.energies.shape[1] + 1))
        columns = slice(len(species), -1)
        rows[0, : len(species)] = counts / n
        rows[0, columns] = design.energies[place] / n
        rows[1:-6, columns] = design.forces[place]
        rows[-6:, columns] = design.stresses[place]
        rows[:, -1] = self._labels(index)
        rows[0, -1] -= self.offset
        return rows

    def _labels(self, index: int) -> FloatArray:
        """Energy per atom, forces and stress of one configuration, shape (1 + 3 n_atoms + 6,)."""
        item = self.train[index]
        energy = item.label.energy / len(item.atoms)
        stress = item.label.stress.ravel()[VOIGT]
        return np.concatenate([[energy], item.label.forces.ravel(), stress])

    def _roots(self, index: int) -> FloatArray:
        """Roots of the weights of the rows of one configuration, shape (1 + 3 n_atoms + 6,)."""
        settings, n_atoms = self.settings, len(self.train[index].atoms)
        sigmas = (settings.energy_sigma, settings.force_sigma, settings.stress_sigma)
        each = np.repeat(1.0 / np.array(sigmas), (1, 3 * n_atoms, 6))
        return np.asarray(np.sqrt(self.weights[index]) * each)


def regress(
    parameters: Parameters, rows: Rows, *, progress: Callable[[int, int], None] | None = None
) -> Regression:
    """Find the coefficients of species and moments for given radial functions.

    Parameters
    ----------
    parameters
        Template and radial functions; the coefficients that it holds do not matter.
    rows
        What to learn, and with which weights.
    progress
        Called with the number of configurations done, and their total.
    """
    sites: list[FloatArray] = []
    blocks = rows.blocks(parameters, sites=sites, progress=progress)
    fit = ridge_regression(
        blocks,
        rows.prior(parameters),
        ridge=rows.settings.ridge,
        n_folds=rows.settings.n_folds,
        scored=[not item.chosen for item in rows.train],
    )
    n_species = len(parameters.species)
    found = replace(
        parameters,
        species_coeffs=rows.offset + fit.coefficients[:n_species],
        moment_coeffs=fit.coefficients[n_species:],
    )
    owners = np.repeat(np.arange(len(rows.train)), [len(one) for one in sites])
    return Regression(found, fit, np.concatenate(sites), owners)
