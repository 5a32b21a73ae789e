"""Other machine-learned potentials through their own public Python interfaces, one class each.

Each class is made with its training configurations and evaluates a batch of ASE configurations;
the packages are optional and imported when a class is used (``make bench-peers`` installs them).

- :class:`Polymlp`: pypolymlp, linear regression on polynomials of rotational invariants;
- :class:`Motep`: motep, a moment tensor potential trained by motep's own trainer and evaluated
  by its own ASE calculator with the C engine.
"""

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray

from sscha_mlp.data.labels import LabelledConfiguration
from sscha_mlp.potentials.protocol import Predictions

MOST_FEATURES = 8000
_VOIGT = (0, 4, 8, 5, 2, 1)  # ASE's order in a flattened 3x3 matrix


class SkippedError(Exception):
    """A peer that is not run on some data, and why."""


class Polymlp:
    """A polynomial potential of pypolymlp.

    Parameters
    ----------
    train
        What to learn from.
    cutoff
        Å.
    n_gaussians
        Radial functions, besides the constant one that pypolymlp adds.
    model_type, max_p, max_l
        pypolymlp's model type, largest power, and largest angular numbers of the invariants of
        two and three bodies.
    use_cv
        Choose the ridge parameter by pypolymlp's cross-validation on all training configurations,
        rather than by the error on every tenth, which is then left out of the fit.
    """

    def __init__(
        self,
        train: Sequence[LabelledConfiguration],
        *,
        cutoff: float,
        n_gaussians: int,
        model_type: int,
        max_p: int,
        max_l: tuple[int, ...],
        use_cv: bool,
    ) -> None:
        from pypolymlp.calculator.properties import Properties
        from pypolymlp.mlp_dev.pypolymlp import Pypolymlp

        self.elements = tuple(dict.fromkeys(train[0].atoms.get_chemical_symbols()))
        self.offset = float(np.mean([one.label.energy / len(one.atoms) for one in train]))
        fit = Pypolymlp(verbose=False)
        fit.set_params(
            elements=self.elements,
            cutoff=cutoff,
            model_type=model_type,
            max_p=max_p,
            gtinv_order=len(max_l) + 1,
            gtinv_maxl=max_l,
            gaussian_params2=(0.0, cutoff - 1.0, n_gaussians),
            atomic_energy=(self.offset,) * len(self.elements),
        )
        self.n_features = int(fit.n_features)
        if self.n_features > MOST_FEATURES:
            raise SkippedError(f"not run: {self.n_features} features for these elements")
        held_out = train[9::10]
        used = train if use_cv else [one for k, one in enumerate(train) if k % 10 != 9]
        fit.set_datasets_structures(
            **self._data_set("train", used), **self._data_set("test", held_out)
        )
        with contextlib.redirect_stdout(io.StringIO()):
            fit.fit(use_cv=use_cv)
        self.properties = Properties(params=fit.parameters, coeffs=fit.coeffs)

    def evaluate(self, frames: Sequence[Atoms]) -> Predictions:
        """Energies, forces and stresses of a batch."""
        orders = [self._order(atoms) for atoms in frames]
        structures = [
            self._structure(atoms, order) for atoms, order in zip(frames, orders, strict=True)
        ]
        energies, forces, stresses = self.properties.eval_multiple(structures)
        back = [np.argsort(order) for order in orders]
        volumes = np.array([atoms.get_volume() for atoms in frames])
        xx, yy, zz, xy, yz, zx = -np.asarray(stresses).T / volumes
        full = np.array([[xx, xy, zx], [xy, yy, yz], [zx, yz, zz]])
        return Predictions(
            np.asarray(energies) + self.offset * np.array([len(atoms) for atoms in frames]),
            tuple(force.T[order] for force, order in zip(forces, back, strict=True)),
            full.transpose(2, 0, 1),
        )

    def _order(self, atoms: Atoms) -> NDArray[np.int64]:
        """Order of the atoms by element, as pypolymlp wants them."""
        types = [self.elements.index(symbol) for symbol in atoms.get_chemical_symbols()]
        return np.argsort(types, kind="stable")

    def _structure(self, atoms: Atoms, order: NDArray[np.int64]):
        from pypolymlp.core.data_format import PolymlpStructure

        symbols = [atoms.symbols[int(i)] for i in order]
        return PolymlpStructure(
            axis=atoms.cell.array.T,
            positions=atoms.get_scaled_positions()[order].T,
            n_atoms=[symbols.count(element) for element in self.elements],
            elements=symbols,
            types=[self.elements.index(symbol) for symbol in symbols],
        )

    def _data_set(self, name: str, labelled: Sequence[LabelledConfiguration]) -> dict:
        """Arguments of ``set_datasets_structures``; stresses in eV, positive if compressed."""
        orders = [self._order(one.atoms) for one in labelled]
        pairs = list(zip(labelled, orders, strict=True))
        return {
            f"{name}_structures": [self._structure(one.atoms, order) for one, order in pairs],
            f"{name}_energies": np.array([one.label.energy for one in labelled]),
            f"{name}_forces": [one.label.forces[order].T for one, order in pairs],
            f"{name}_stresses": np.array(
                [-one.label.stress * one.atoms.get_volume() for one in labelled]
            ),
        }


class Motep:
    """A moment tensor potential of motep: linear solve, BFGS on all parameters, linear solve.

    Parameters
    ----------
    train
        What to learn from.
    level
        Level of the moment tensors, as MLIP counts it.
    n_steps
        Most iterations of BFGS.
    cutoff
        Å.
    scratch
        Folder for the files that the trainer writes into the current one.
    """

    def __init__(
        self,
        train: Sequence[LabelledConfiguration],
        *,
        level: int,
        n_steps: int,
        cutoff: float,
        scratch: Path,
    ) -> None:
        from motep.calculator import MTP
        from motep.train.trainer import Trainer

        images = []
        for one in train:
            atoms = one.atoms.copy()
            atoms.calc = SinglePointCalculator(
                atoms,
                energy=one.label.energy,
                forces=one.label.forces,
                stress=one.label.stress.flat[list(_VOIGT)],
            )
            images.append(atoms)
        shortest = min(neighbor_list("d", one.atoms, cutoff).min() for one in train)
        self.data = self._untrained(images[0], level, cutoff, 0.75 * float(shortest))
        minimise = {"method": "BFGS", "options": {"maxiter": n_steps, "gtol": 1.0e-8}}
        steps = [{"method": "LLS"}, {"method": "minimize", "kwargs": minimise}, {"method": "LLS"}]
        with contextlib.chdir(scratch):
            Trainer(self.data, seed=1, engine="cext", steps=steps).train(images)
        self.n_features = sum(
            np.size(getattr(self.data, name))
            for name in ("moment_coeffs", "species_coeffs", "radial_coeffs")
        )
        self.calculator = MTP(self.data, engine="cext")

    def evaluate(self, frames: Sequence[Atoms]) -> Predictions:
        """Energies, forces and stresses of a batch, one call of the ASE calculator each."""
        results = []
        for frame in frames:
            self.calculator.calculate(frame)
            found = self.calculator.results
            results.append((found["energy"], found["forces"].copy(), found["stress"].copy()))
        xx, yy, zz, yz, xz, xy = np.array([stress for _, _, stress in results]).T
        full = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        return Predictions(
            np.array([energy for energy, _, _ in results]),
            tuple(forces for _, forces, _ in results),
            full.transpose(2, 0, 1),
        )

    @staticmethod
    def _untrained(atoms: Atoms, level: int, cutoff: float, min_dist: float):
        """MTP of a level without coefficients; the basis is MLIP's (motep's wheel has no files)."""
        from motep.potentials.mtp.data import BasisData, MTPData

        from sscha_mlp.potentials.mtp.enumeration import make_template

        template = make_template(level)
        data = MTPData(
            version="1.1.0",
            potential_name=f"level {level}",
            radial_basis=BasisData("RBChebyshev", np.float64(min_dist), np.float64(cutoff), 8),
            radial_funcs_count=template.n_radial,
            alpha_moments_count=template.n_moments,
            alpha_index_basic_count=template.n_basic,
            alpha_index_basic=template.basic.astype(np.int32),
            alpha_index_times_count=len(template.products),
            alpha_index_times=template.products.astype(np.int32),
            alpha_scalar_moments=template.n_scalars,
            alpha_moment_mapping=template.scalars.astype(np.int32),
        )
        data.species = np.unique(atoms.numbers)
        return data
