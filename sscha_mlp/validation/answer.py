"""What a relaxation and its certificate say together: numbers of the model, and corrected ones."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sscha_mlp import units
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.special_points import SpecialPoints
from sscha_mlp.crystal.structure import FloatArray
from sscha_mlp.crystal.symmetry import SpaceGroup
from sscha_mlp.scha.minimiser import MinimiserSettings
from sscha_mlp.scha.relaxation import Population, pressure_of
from sscha_mlp.tables import Shown, Table, pm
from sscha_mlp.validation.certificate import Certificate
from sscha_mlp.validation.correction import correct


@dataclass(frozen=True)
class CorrectedValue:
    """A number of the model, its shift to the reference, and their sum.

    Parameters
    ----------
    model, model_stderr
        What the model says, and its sampling error.
    corrected, stderr
        With the shift that the certificate measured; the error has both parts.
    """

    model: float
    model_stderr: float
    corrected: float
    stderr: float

    @classmethod
    def of(
        cls, model: float, model_stderr: float, corrected: float, shift_stderr: float
    ) -> "CorrectedValue":
        """Return the value with the errors of model and shift added in quadrature."""
        return cls(model, model_stderr, corrected, float(np.hypot(model_stderr, shift_stderr)))


@dataclass(frozen=True, eq=False)
class Answer(Shown):
    """The corrected answer of one population at its cell.

    Parameters
    ----------
    free_energy
        eV/atom.
    pressure
        GPa.
    frequencies
        For each irreducible wave vector a mapping of ``q`` (in reciprocal-lattice units), and of
        ``model``, ``corrected`` and ``stderr`` (lists, THz).
    dynamical_matrix
        Corrected force constants and centroids.
    n_labels
        Labels of the certificate.
    """

    free_energy: CorrectedValue
    pressure: CorrectedValue
    frequencies: list[dict[str, Any]]
    dynamical_matrix: DynamicalMatrix
    n_labels: int

    def table(self) -> Table:
        """Return free energy and pressure, the lowest and the highest optical mode."""
        modes = sorted(
            mode
            for one in self.frequencies
            for mode in zip(one["model"], one["corrected"], one["stderr"], strict=True)
            if mode[0] != 0.0
        )
        rows = [
            _row("free energy (eV/atom)", self.free_energy, 5),
            _row("pressure (GPa)", self.pressure, 3),
            ("softest mode (THz)", f"{modes[0][0]:.3f}", pm(modes[0][1], modes[0][2], 3)),
            ("hardest mode (THz)", f"{modes[-1][0]:.3f}", pm(modes[-1][1], modes[-1][2], 3)),
        ]
        columns = ("", "model", f"corrected by {self.n_labels} labels")
        return Table("Model and reference", tuple(rows), columns)


def corrected_answer(population: Population, certificate: Certificate, group: SpaceGroup) -> Answer:
    """Correct the last population of a relaxation by the certificate of its state.

    Parameters
    ----------
    population
        The last one: its state is what was certified.
    certificate
        Differences between reference and model at that state.
    group
        Space group.

    Raises
    ------
    RelaxationError
        If the corrected force constants are not positive.
    """
    minimum = population.minimisation
    corrected = correct(population.samples, certificate, group, MinimiserSettings())
    last, shift = minimum.steps[-1], certificate.free_energy_shift
    stress = minimum.estimators.stress
    sampling = minimum.estimators.frequency_shifts.stderr
    return Answer(
        free_energy=CorrectedValue.of(
            last.free_energy,
            last.free_energy_stderr,
            last.free_energy + 1e-3 * shift.delta,
            1e-3 * shift.stderr,
        ),
        pressure=CorrectedValue.of(
            pressure_of(stress.value) / units.GPA,
            float(np.trace(stress.stderr)) / 3 / units.GPA,
            pressure_of(corrected.stress.value) / units.GPA,
            float(certificate.pressure.stderr) / units.GPA,
        ),
        frequencies=frequency_entries(
            group,
            population.state,
            corrected.dynamical_matrix,
            np.hypot(sampling, certificate.frequencies.stderr) / units.THZ,
        ),
        dynamical_matrix=corrected.dynamical_matrix,
        n_labels=certificate.n_labels,
    )


def frequency_entries(
    group: SpaceGroup,
    model: DynamicalMatrix,
    corrected: DynamicalMatrix,
    stderr: FloatArray,
) -> list[dict[str, Any]]:
    """Return model and corrected frequencies of each irreducible wave vector, THz.

    Parameters
    ----------
    group
        Space group.
    model, corrected
        The two states, on one grid.
    stderr
        Of the corrected frequencies, shape (n_qpoints, n_bands), THz.
    """
    irreducible = np.unique(group.equivalent_qpoints())
    before, after = frequencies(model, group), frequencies(corrected, group)
    special, qpoints = SpecialPoints.of(model.crystal), model.supercell.qpoints
    return [
        {
            "q": [float(v) for v in qpoints[q]],
            "name": special.name(qpoints[q]),
            "model": one,
            "corrected": other,
            "stderr": stderr[q].tolist(),
        }
        for q, one, other in zip(irreducible, before, after, strict=True)
    ]


def frequencies(state: DynamicalMatrix, group: SpaceGroup) -> list[list[float]]:
    """Return the frequencies of each irreducible wave vector, THz; translations are zero.

    Parameters
    ----------
    state
        Force constants.
    group
        Space group: decides which wave vectors are irreducible, and their order.
    """
    values = state.frequencies_at_qpoints() / units.THZ
    return [values[q].tolist() for q in np.unique(group.equivalent_qpoints())]


def _row(name: str, value: CorrectedValue, decimals: int) -> tuple[str, str, str]:
    return (
        name,
        pm(value.model, value.model_stderr, decimals),
        pm(value.corrected, value.stderr, decimals),
    )
