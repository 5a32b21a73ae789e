"""How far a model is from its reference on configurations that no fit has seen.

:func:`compare` pairs labels with predictions; the :class:`ValidationSet` that it returns keeps
the numbers themselves, so that every figure and table can be drawn again from a file.
"""

import io
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from sscha_mlp import units
from sscha_mlp.data.files import write_atomic
from sscha_mlp.data.labels import LabelledConfiguration
from sscha_mlp.errors import InputError
from sscha_mlp.potentials.kind import Uncertainty
from sscha_mlp.potentials.protocol import Potential, Predictions
from sscha_mlp.potentials.registry import uncertainty_called
from sscha_mlp.tables import Shown, Table, pm
from sscha_mlp.validation.breakdown import (
    DisplacementBin,
    ElementErrors,
    by_amplitude,
    by_element,
)
from sscha_mlp.validation.statistics import (
    ErrorStatistics,
    FloatArray,
    IntArray,
    error_statistics,
)

FORMAT: Final = "sscha-mlp/validation/1"
"""What a saved set says it is."""

_MEV: Final = 1.0e3
_VOIGT: Final = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))
"""Rows and columns of xx, yy, zz, yz, xz, xy."""

_OF_UNCERTAINTY: Final = (
    "uncertainty_name",
    "uncertainty_limit",
    "uncertainty_statistic",
    "uncertainty_worth",
)
_OPTIONAL: Final = ("temperature", "uncertainties", *_OF_UNCERTAINTY)
_NUMBERS: Final = ("temperature", "uncertainty_limit", "uncertainty_worth")


@dataclass(frozen=True, eq=False)
class ValidationSet(Shown):
    """Reference and predicted values of one set of configurations.

    The arrays are read-only copies.  An error is reference minus model.

    Parameters
    ----------
    name
        What the set is called in tables and legends.
    energies_reference, energies_predicted
        Energies, eV/atom, shape (n_configs,).
    forces_reference, forces_predicted
        Forces of all atoms of all configurations, eV/Å, shape (n_atoms_total, 3).
    stresses_reference, stresses_predicted
        Stresses in the order xx, yy, zz, yz, xz, xy, eV/Å³, shape (n_configs, 6).
    numbers
        Atomic number of each atom, shape (n_atoms_total,).
    config_of_atom
        Index of the configuration of each atom, ascending, shape (n_atoms_total,).
    displacement_rms
        Rms displacement of each configuration, Å, NaN where unknown, shape (n_configs,).
    temperature
        Temperature of the ensemble, K.
    uncertainties
        The model's own uncertainty of each configuration, shape (n_configs,), in the model's
        unit.
    uncertainty_name, uncertainty_limit, uncertainty_statistic, uncertainty_worth
        What it is, beyond which value a prediction must not be used, which number of a population
        is compared with that, and beyond which value a configuration is worth a label, as
        :class:`~sscha_mlp.potentials.kind.Uncertainty` says; None where unknown.

    Raises
    ------
    InputError
        If shapes do not fit together or a value is not finite.
    """

    name: str
    energies_reference: FloatArray
    energies_predicted: FloatArray
    forces_reference: FloatArray
    forces_predicted: FloatArray
    stresses_reference: FloatArray
    stresses_predicted: FloatArray
    numbers: IntArray
    config_of_atom: IntArray
    displacement_rms: FloatArray
    temperature: float | None = None
    uncertainties: FloatArray | None = None
    uncertainty_name: str | None = None
    uncertainty_limit: float | None = None
    uncertainty_statistic: str | None = None
    uncertainty_worth: float | None = None

    def __post_init__(self) -> None:
        """Freeze the arrays and check that they fit together."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                copy = value.copy()
                copy.setflags(write=False)
                object.__setattr__(self, field.name, copy)
        self._check_shapes()
        self._check_finite()

    def _check_shapes(self) -> None:
        n, m = self.n_configs, self.numbers.size
        if n == 0:
            raise InputError(
                f"validation set '{self.name}' has no configurations; give it at least one"
            )
        expected = {
            "energies_predicted": (n,),
            "forces_reference": (m, 3),
            "forces_predicted": (m, 3),
            "stresses_reference": (n, 6),
            "stresses_predicted": (n, 6),
            "config_of_atom": (m,),
            "displacement_rms": (n,),
        }
        if self.uncertainties is not None:
            expected["uncertainties"] = (n,)
        for key, shape in expected.items():
            got = getattr(self, key).shape
            if got != shape:
                raise InputError(
                    f"validation set '{self.name}': {key} has shape {got}, expected {shape}; "
                    "labels and predictions must be of the same configurations in the same order"
                )
        if not np.array_equal(np.unique(self.config_of_atom), np.arange(n)):
            raise InputError(
                f"validation set '{self.name}': config_of_atom does not name each of the {n} "
                "configurations; each needs at least one atom"
            )

    def _check_finite(self) -> None:
        for key in (
            "energies_reference",
            "energies_predicted",
            "forces_reference",
            "forces_predicted",
            "stresses_reference",
            "stresses_predicted",
        ):
            if not np.isfinite(getattr(self, key)).all():
                raise InputError(
                    f"validation set '{self.name}': {key} holds a value that is not finite; "
                    "leave that configuration out and look at what the model or the reference "
                    "says about it"
                )

    @property
    def n_configs(self) -> int:
        """Number of configurations."""
        return int(self.energies_reference.size)

    @cached_property
    def energy(self) -> ErrorStatistics:
        """Statistics of the energies, eV/atom."""
        return error_statistics(
            self.energies_reference, self.energies_predicted, np.arange(self.n_configs)
        )

    @cached_property
    def force(self) -> ErrorStatistics:
        """Statistics of the force components, eV/Å.

        Their bias says little, because the forces of a configuration add up to zero in the model
        and in the reference; a force field that is too soft or too hard shows in ``slope``.
        """
        return error_statistics(
            self.forces_reference.ravel(),
            self.forces_predicted.ravel(),
            np.repeat(self.config_of_atom, 3),
        )

    @cached_property
    def stress(self) -> ErrorStatistics:
        """Statistics of the six stress components, eV/Å³; the bias is that of their trace / 3."""
        groups = np.repeat(np.arange(self.n_configs), 6)
        normal = np.tile(np.arange(6) < 3, self.n_configs)
        return error_statistics(
            self.stresses_reference.ravel(),
            self.stresses_predicted.ravel(),
            groups,
            biased=normal,
        )

    @cached_property
    def per_element(self) -> tuple[ElementErrors, ...]:
        """Force errors of each element, by atomic number."""
        return by_element(self.force_errors, self.config_of_atom, self.numbers)

    @property
    def force_errors(self) -> FloatArray:
        """Reference minus predicted forces, eV/Å, shape (n_atoms_total, 3)."""
        return self.forces_reference - self.forces_predicted

    @cached_property
    def force_rmse_per_config(self) -> FloatArray:
        """Root mean square force error of each configuration, eV/Å, shape (n_configs,)."""
        squares = np.mean(self.force_errors**2, axis=1)
        means = np.bincount(self.config_of_atom, weights=squares) / np.bincount(self.config_of_atom)
        return np.asarray(np.sqrt(means), dtype=np.float64)

    def by_displacement(self, *, n_bins: int = 8) -> tuple[DisplacementBin, ...]:
        """Return the errors against displacement amplitude, in bins of equal population.

        Parameters
        ----------
        n_bins
            Largest number of bins; each holds five configurations or more where possible.

        Returns
        -------
        tuple of DisplacementBin
            Empty if no configuration knows its amplitude.
        """
        return by_amplitude(
            self.displacement_rms,
            self.energies_reference - self.energies_predicted,
            self.force_errors,
            self.config_of_atom,
            n_bins=n_bins,
        )

    def table(self) -> Table:
        """Return the errors of energies, forces and stresses."""
        named = (
            ("energy (meV/atom)", self.energy, _MEV),
            ("force (meV/Å)", self.force, _MEV),
            ("stress (GPa)", self.stress, 1.0 / units.GPA),
        )
        rows = tuple(_error_row(name, one, factor) for name, one, factor in named)
        where = "" if self.temperature is None else f", {self.temperature:g} K"
        columns = ("Error: reference − model", "rms", "bias", "largest", "slope", "R²")
        return Table(f"{self.name}{where}: {self.n_configs} configurations", rows, columns)

    def to_json(self) -> dict[str, Any]:
        """Return a row of ``validation`` in result.json, with everything else in ``details``."""
        return {
            "set": self.name,
            "temperature_K": self.temperature,
            "n_configs": self.n_configs,
            "energy_rmse_meV_per_atom": self.energy.rmse * _MEV,
            "energy_bias_meV_per_atom": self.energy.bias * _MEV,
            "force_rmse_meV_per_A": self.force.rmse * _MEV,
            "stress_rmse_GPa": self.stress.rmse / units.GPA,
            "details": {
                "sign": "reference - model",
                "energy": self.energy.to_json(factor=_MEV, unit="meV/atom"),
                "force": self.force.to_json(factor=_MEV, unit="meV/Å"),
                "stress": self.stress.to_json(factor=1.0 / units.GPA, unit="GPa"),
                "force_per_element": [row.to_json() for row in self.per_element],
                "by_displacement": [row.to_json() for row in self.by_displacement()],
            },
        }

    def save(self, path: str | Path) -> None:
        """Write the set to a NumPy archive without pickled objects."""
        arrays: dict[str, Any] = {
            field.name: np.asarray(getattr(self, field.name))
            for field in fields(self)
            if getattr(self, field.name) is not None
        }
        buffer = io.BytesIO()
        np.savez_compressed(buffer, format=np.asarray(FORMAT), **arrays)
        write_atomic(Path(path), buffer.getvalue())

    @classmethod
    def load(cls, path: str | Path) -> "ValidationSet":
        """Read a set that :meth:`save` wrote.

        Raises
        ------
        InputError
            If the file is missing, damaged, or something else.
        """
        try:
            with np.load(Path(path), allow_pickle=False) as archive:
                stored = {key: archive[key] for key in archive.files}
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as err:
            raise InputError(
                f"{path} is not a readable validation set ({err}); validate the model again"
            ) from err
        return cls._from_arrays(stored, path)

    @classmethod
    def _from_arrays(cls, stored: Mapping[str, Any], path: str | Path) -> "ValidationSet":
        if str(stored.get("format")) != FORMAT:
            raise InputError(
                f"{path} is not a validation set of format {FORMAT}; validate the model again"
            )
        wanted = {field.name for field in fields(cls)}
        missing = sorted(wanted - stored.keys() - set(_OPTIONAL))
        if missing:
            raise InputError(
                f"{path} lacks {', '.join(missing)}; it is damaged, validate the model again"
            )
        values = {key: stored[key] for key in wanted if key in stored}
        values["name"] = str(values["name"])
        for key in ("uncertainty_name", "uncertainty_statistic"):
            if key in values:
                values[key] = str(values[key])
        for key in _NUMBERS:
            if key in values:
                values[key] = float(values[key])
        if "uncertainty_name" in values and "uncertainty_statistic" not in values:
            # An earlier version did not write what a kind of potential knows of its uncertainty.
            values = _of(uncertainty_called(values["uncertainty_name"])) | values
        return cls(**values)


def compare(
    name: str,
    configurations: Sequence[LabelledConfiguration],
    predictions: Predictions,
    temperature: float | None = None,
    *,
    uncertainty: Uncertainty | None = None,
) -> ValidationSet:
    """Pair the labels of configurations with a model's predictions for them.

    Parameters
    ----------
    name
        What the set is called in tables and legends.
    configurations
        Labelled configurations that the model was not fitted to.
    predictions
        The model's answer to the same configurations in the same order.
    temperature
        Temperature of the ensemble that the configurations come from, K.
    uncertainty
        What the model's uncertainty is.

    Raises
    ------
    InputError
        If there is nothing to compare, the two do not belong together, or a value is not finite.
    """
    n_configs, n_predicted = len(configurations), len(predictions.energies)
    if n_configs != n_predicted or n_configs != len(predictions.forces):
        raise InputError(
            f"validation set '{name}' has {n_configs} labels and {n_predicted} predictions; "
            "evaluate the model on exactly these configurations"
        )
    if n_configs == 0:
        raise InputError(f"validation set '{name}' has no configurations; give it at least one")
    sizes = np.array([len(one.atoms) for one in configurations])
    for index, (size, force) in enumerate(zip(sizes, predictions.forces, strict=True)):
        if len(force) != size:
            raise InputError(
                f"validation set '{name}': configuration {index} has {size} atoms and predicted "
                f"forces on {len(force)}; labels and predictions must be of the same "
                "configurations in the same order"
            )
    return ValidationSet(
        name=name,
        energies_reference=np.array([one.label.energy for one in configurations]) / sizes,
        energies_predicted=np.asarray(predictions.energies, dtype=np.float64) / sizes,
        forces_reference=np.concatenate([one.label.forces for one in configurations]),
        forces_predicted=np.concatenate([np.asarray(one) for one in predictions.forces]),
        stresses_reference=_voigt(np.array([one.label.stress for one in configurations])),
        stresses_predicted=_voigt(np.asarray(predictions.stresses)),
        numbers=np.concatenate([one.atoms.numbers for one in configurations]).astype(np.int64),
        config_of_atom=np.repeat(np.arange(n_configs), sizes),
        displacement_rms=np.array([_amplitude(one) for one in configurations]),
        temperature=None if temperature is None else float(temperature),
        uncertainties=_optional_array(predictions.uncertainty),
        **_of(uncertainty),
    )


def validate(
    model: Potential,
    configurations: Sequence[LabelledConfiguration],
    *,
    name: str = "test",
    temperature: float | None = None,
) -> ValidationSet:
    """Evaluate a model on labelled configurations and compare.

    Parameters
    ----------
    model
        A fitted potential.
    configurations
        Labelled configurations that the model was not fitted to.
    name
        What the set is called in tables and legends.
    temperature
        Of their ensemble, K; by default that which all of them carry.

    Raises
    ------
    InputError
        If there is no configuration, or the model does not know one of its elements.
    """
    if not configurations:
        raise InputError(f"validation set '{name}' has no configurations; give it at least one")
    known = {one.temperature for one in configurations}
    if temperature is None and len(known) == 1:
        temperature = known.pop()
    predictions = model.evaluate([one.atoms for one in configurations], uncertainty=True)
    return compare(
        name,
        configurations,
        predictions,
        temperature,
        uncertainty=model.uncertainty,
    )


def _of(uncertainty: Uncertainty | None) -> dict[str, Any]:
    """Return what an uncertainty is, as fields of a set."""
    if uncertainty is None:
        return {}
    limit, worth = uncertainty.limit, uncertainty.worth_a_label
    return {
        "uncertainty_name": uncertainty.text,
        "uncertainty_limit": None if limit is None else float(limit),
        "uncertainty_statistic": str(uncertainty.statistic),
        "uncertainty_worth": None if worth is None else float(worth),
    }


def _error_row(name: str, errors: ErrorStatistics, factor: float) -> tuple[str, ...]:
    """One line of the table of a validation set."""
    rms, bias, error = (factor * one for one in (errors.rmse, errors.bias, errors.bias_stderr))
    decimals = max(0, 2 - math.floor(math.log10(rms))) if rms > 0 else 2
    return (
        name,
        f"{rms:.{decimals}f}",
        pm(bias, error, decimals, sign=True),
        f"{factor * errors.max_abs:.{decimals}f}",
        f"{errors.slope:.4f}",
        f"{errors.r2:.5f}",
    )


def _voigt(stresses: FloatArray) -> FloatArray:
    """Turn (n, 3, 3) into the symmetric part's xx, yy, zz, yz, xz, xy, shape (n, 6)."""
    if stresses.ndim != 3 or stresses.shape[1:] != (3, 3):
        raise InputError(
            f"stresses have shape {stresses.shape}, expected (n_configs, 3, 3); give full tensors"
        )
    symmetric = 0.5 * (stresses + stresses.transpose(0, 2, 1))
    return np.asarray(symmetric[:, _VOIGT[0], _VOIGT[1]], dtype=np.float64)


def _amplitude(configuration: LabelledConfiguration) -> float:
    amplitude = configuration.displacement_rms
    return math.nan if amplitude is None else float(amplitude)


def _optional_array(values: Any) -> FloatArray | None:
    return None if values is None else np.asarray(values, dtype=np.float64)
