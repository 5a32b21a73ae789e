"""A fitted MTP, ready to evaluate batches of configurations."""

import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from sscha_mlp.errors import InputError, ModelError
from sscha_mlp.potentials.active_set import ActiveSet, configuration_grades
from sscha_mlp.potentials.domain import require_finite, require_usable
from sscha_mlp.potentials.mtp import KIND
from sscha_mlp.potentials.mtp.almtp import SelectionMode
from sscha_mlp.potentials.mtp.engine import Engine
from sscha_mlp.potentials.mtp.files import read_mtp
from sscha_mlp.potentials.mtp.parameters import Parameters
from sscha_mlp.potentials.protocol import PotentialCalculator, Predictions
from sscha_mlp.potentials.record import ModelRecord, RecordedModel, read_record, verify

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MODEL_FILE: Final = "potential.mtp"
ACTIVE_FILE: Final = "active_set.npz"


def load(directory: Path | str, *, n_workers: int = 1) -> "MtpPotential":
    """Load a finished MTP after comparing its files with the hash taken when it was fitted.

    Raises
    ------
    ModelError
        If the directory holds no finished MTP, or a file is missing, damaged or has changed.
    """
    directory = Path(directory)
    record = read_record(directory, "mtp")
    verify(directory, record)
    parameters = read_mtp(directory / MODEL_FILE)
    try:
        with np.load(directory / ACTIVE_FILE, allow_pickle=False) as arrays:
            active = ActiveSet.from_arrays(dict(arrays))
    except (OSError, ValueError, zipfile.BadZipFile) as err:
        raise ModelError(
            f"{directory / ACTIVE_FILE} cannot be read ({err}): fit the model again."
        ) from err
    return MtpPotential(directory, record, parameters, active, n_workers=n_workers)


class MtpPotential(RecordedModel):
    """An MTP and its active set.

    Predictions do not depend on the number of threads.

    Parameters
    ----------
    path
        Directory of the model.
    record
        What its ``model.json`` says.
    parameters
        Template and coefficients.
    active_set
        Of the training data, for the extrapolation grade; None where it is not known.
    n_workers
        Threads among which a batch is divided.
    """

    kind: Final = KIND.name
    uncertainty: Final = KIND.uncertainty

    def __init__(
        self,
        path: Path,
        record: ModelRecord,
        parameters: Parameters,
        active_set: ActiveSet | None,
        *,
        n_workers: int = 1,
    ) -> None:
        super().__init__(path, record, n_workers)
        self.parameters = parameters
        self.active_set = active_set
        self._engine = Engine(parameters, n_threads=n_workers)

    def evaluate(
        self, configurations: Sequence[Atoms], *, uncertainty: bool = False
    ) -> Predictions:
        """Return energies, forces and stresses, in the order of the configurations.

        Parameters
        ----------
        configurations
            Crystals with a cell; they are not changed.
        uncertainty
            Whether to return the extrapolation grade of each configuration, dimensionless: in
            neighbourhood mode the largest among its atoms.  Above 2 a configuration is worth a
            label, above 10 its prediction should not be used
            (:mod:`sscha_mlp.potentials.active_set`).  None comes back without an active set.

        Raises
        ------
        InputError
            If a configuration has positions or a cell that are not finite, or no volume.
        ModelError
            If a configuration holds an element that the model was not trained on, or a prediction
            is not finite.
        """
        self._require_usable(configurations)
        found = self._engine.evaluate(configurations, basis=uncertainty)
        for index, energies in enumerate(found.site_energies):
            require_finite(index, self.kind, energies, found.forces[index], found.stresses[index])
        grades = self._grades(found.basis) if uncertainty and self.active_set is not None else None
        return Predictions(found.energies, found.forces, found.stresses, grades)

    def site_energies(self, configurations: Sequence[Atoms]) -> tuple[FloatArray, ...]:
        """Return the energy of each atom, one array (n_atoms,) per configuration, eV."""
        self._require_usable(configurations)
        return self._engine.evaluate(configurations).site_energies

    def site_grades(self, configurations: Sequence[Atoms]) -> tuple[FloatArray, ...]:
        """Return the extrapolation grade of each atom, one array (n_atoms,) per configuration.

        Raises
        ------
        InputError
            If the model was fitted with grades of whole configurations, or has no active set.
        """
        active = self._active()
        if self.settings.get("grade") == "configuration":
            raise InputError(
                "This MTP grades whole configurations; fit one with grade = 'neighborhood' for "
                "grades of atoms."
            )
        return tuple(active.grade(rows) for rows in self._basis(configurations))

    @property
    def grade_mode(self) -> str:
        """Whether it grades atoms, ``neighborhood``, or a ``configuration`` as a whole."""
        return str(self.settings.get("grade"))

    @property
    def active_set_from(self) -> str:
        """Where its active set comes from: ``model``, ``file``, or what was given later."""
        return str(self.record.details.get("active_set_from", "model"))

    def with_active_set(
        self, train: Sequence[Atoms], *, mode: SelectionMode | str | None = None
    ) -> "MtpPotential":
        """Return the same potential with the active set of training configurations.

        Parameters
        ----------
        train
            The configurations that it was trained on; labels are not needed.
        mode
            Whether atoms are graded, or whole configurations; by default as before.

        Raises
        ------
        InputError
            If there are no configurations, or the mode is unknown.
        ModelError
            If a configuration holds an element that the potential does not know.
        """
        mode = self.settings.get("grade", "neighborhood") if mode is None else mode
        if mode not in list(SelectionMode):
            raise InputError(
                f"The grade mode {str(mode)!r} is not known; choose {', '.join(SelectionMode)}."
            )
        if not train:
            raise InputError("An active set needs training configurations; there are none.")
        if mode == SelectionMode.CONFIGURATION:
            rows = self.descriptors(train)
        else:
            rows, _ = self.site_descriptors(train)
        return self.graded_by(ActiveSet.of(rows), SelectionMode(mode), "training data")

    def graded_by(
        self, active: ActiveSet | None, mode: SelectionMode, source: str
    ) -> "MtpPotential":
        """Return the same potential with another active set.

        Parameters
        ----------
        active
            The active set.
        mode
            Whether atoms are graded, or whole configurations.
        source
            Where it comes from, in words.
        """
        record = replace(
            self.record,
            settings={**self.record.settings, "grade": str(mode)},
            details={**self.record.details, "active_set_from": source},
        )
        return MtpPotential(self.path, record, self.parameters, active, n_workers=self.n_workers)

    def site_descriptors(self, configurations: Sequence[Atoms]) -> tuple[FloatArray, IntArray]:
        """Return the basis functions of each atom and the configuration it belongs to.

        Returns
        -------
        Shapes (n, n_basis) and (n,) over all atoms of all configurations.
        """
        return _by_site(self._basis(configurations))

    def descriptors(self, configurations: Sequence[Atoms]) -> FloatArray:
        """Return the basis functions of each configuration per atom, shape (n, n_basis)."""
        return _by_configuration(self._basis(configurations))

    def grading_rows(self, configurations: Sequence[Atoms]) -> tuple[FloatArray, IntArray]:
        """Return the rows that the extrapolation grade judges, and whose each is.

        Those of atoms in neighbourhood mode, those of configurations in configuration mode.
        """
        return self._rows(self._basis(configurations))

    def calculator(self) -> PotentialCalculator:
        """Return an ASE calculator that evaluates in this process."""
        single = MtpPotential(self.path, self.record, self.parameters, self.active_set)
        return PotentialCalculator(single)

    def _basis(self, configurations: Sequence[Atoms]) -> tuple[FloatArray, ...]:
        """Return the basis functions of each site, one array per configuration."""
        self._require_usable(configurations)
        return self._engine.evaluate(configurations, basis=True).basis

    def _rows(self, basis: Sequence[FloatArray]) -> tuple[FloatArray, IntArray]:
        if self.settings.get("grade") == "configuration":
            return _by_configuration(basis), np.arange(len(basis))
        return _by_site(basis)

    def _grades(self, basis: Sequence[FloatArray]) -> FloatArray:
        active = self._active()
        if not basis:
            return np.zeros(0)
        rows, owners = self._rows(basis)
        return configuration_grades(active.grade(rows), owners, len(basis))

    def _active(self) -> ActiveSet:
        if self.active_set is None:
            raise InputError(
                f"The MTP in {self.path} has no active set, so nothing tells how far a "
                "configuration is from its training data: give the data that it was trained on "
                "(--train, or with_active_set)."
            )
        return self.active_set

    def _require_usable(self, configurations: Sequence[Atoms]) -> None:
        require_usable(configurations, self.elements, self.kind, self.path)


def _by_site(basis: Sequence[FloatArray]) -> tuple[FloatArray, IntArray]:
    """Rows of all atoms, and the configuration of each."""
    return np.concatenate(basis), np.repeat(np.arange(len(basis)), [len(rows) for rows in basis])


def _by_configuration(basis: Sequence[FloatArray]) -> FloatArray:
    """Mean rows of configurations, shape (n_configs, n_basis)."""
    return np.array([rows.mean(axis=0) for rows in basis])
