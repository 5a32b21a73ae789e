r"""How a state answers to small changes of volume and temperature, from the model alone.

The SSCHA is minimised at the cell of a state strained to the volumes V (1 ± h), and at the
temperatures T (1 ± h), each time with the same random numbers, so that the sampling errors cancel
in the differences.  Because the SSCHA free energy is least with respect to its trial state, its
entropy at a fixed cell is that of the trial modes, and the relations of Maxwell hold:

- ``B_T = - V (dP/dV)_T``;
- ``alpha = (dS/dV)_T / B_T``, volumetric;
- ``C_V = T (dS/dT)_V`` and ``C_P = C_V + T V alpha² B_T``;
- ``gamma = V alpha B_T / C_V``.

Atoms relax in each cell; its shape stays.  Each quantity is a mean over batches of configurations,
with the standard error of that mean.
"""

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from sscha_mlp import units
from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix
from sscha_mlp.crystal.symmetry import SpaceGroup
from sscha_mlp.data.files import write_json_atomic
from sscha_mlp.errors import InputError
from sscha_mlp.properties.thermodynamics import thermodynamics
from sscha_mlp.run_files.json_fields import Value
from sscha_mlp.run_files.observer import Observer
from sscha_mlp.run_files.settings import RunSettings
from sscha_mlp.scha import minimiser
from sscha_mlp.scha.cell import Evaluator
from sscha_mlp.scha.minimiser import Minimisation
from sscha_mlp.scha.relaxation import draw_samples, pressure_of
from sscha_mlp.studies.opened import opened_run
from sscha_mlp.studies.sweep.point import PointResponse

VOLUME_STEP: Final = 0.01
TEMPERATURE_STEP: Final = 0.02
N_BATCHES: Final = 8
_POPULATIONS: Final = 2


@dataclass(frozen=True)
class Response:
    """Second derivatives of the free energy at one volume and temperature.

    Each is a pair of value and standard error; those that need a temperature above 0 K are None
    there.

    Parameters
    ----------
    bulk_modulus
        Isothermal, eV/Å³.
    expansion
        Volumetric, 1/K.
    gruneisen
        No unit.
    heat_capacity_v, heat_capacity_p
        Per atom, in Boltzmann constants.
    maxwell
        ``(dP/dT)_V``, eV/(Å³ K): the same as ``(dS/dV)_T`` where all has converged.
    """

    bulk_modulus: tuple[float, float]
    expansion: tuple[float, float] | None = None
    gruneisen: tuple[float, float] | None = None
    heat_capacity_v: tuple[float, float] | None = None
    heat_capacity_p: tuple[float, float] | None = None
    maxwell: tuple[float, float] | None = None

    def shown(self) -> PointResponse:
        """Return the response in the units of tables."""

        def value(pair: tuple[float, float] | None, unit: float = 1.0) -> Value | None:
            return None if pair is None else Value(pair[0] / unit, pair[1] / unit)

        return PointResponse(
            value(self.bulk_modulus, units.GPA),
            value(self.expansion),
            value(self.gruneisen),
            value(self.heat_capacity_v),
            value(self.heat_capacity_p),
        )


@dataclass(frozen=True)
class _Minimum:
    """Pressure (eV/Å³) and entropy (eV/K of the primitive cell) of one minimum."""

    pressure: float
    entropy: float


def respond(
    state: DynamicalMatrix,
    evaluator: Evaluator,
    settings: RunSettings,
    group: SpaceGroup,
    *,
    n_configs: int = 4000,
) -> Response:
    """Compute the response of a relaxed state.

    Parameters
    ----------
    state
        The model's minimum.
    evaluator
        The model.
    settings
        Temperature, seed, and how configurations are drawn and minimised.
    group
        Space group.
    n_configs
        Configurations of each minimum, all batches together.

    Raises
    ------
    RelaxationError
        If a state cannot be drawn from or minimised.
    """
    size = max(2 * (n_configs // (2 * N_BATCHES)), 20)
    rows = [
        _batch(_Batch(state, evaluator, settings, group, size, number))
        for number in range(N_BATCHES)
    ]
    table = np.array(rows)
    means, errors = table.mean(axis=0), table.std(axis=0, ddof=1) / np.sqrt(N_BATCHES)
    found = [(float(value), float(error)) for value, error in zip(means, errors, strict=True)]
    return Response(*found)


def response_of_run(
    directory: str | Path,
    *,
    n_configs: int = 4000,
    n_workers: int = 1,
    observer: Observer | None = None,
) -> PointResponse:
    """Compute the response of a finished run with its model; writes ``response.json``.

    Parameters
    ----------
    directory
        A finished run.
    n_configs
        Configurations of each minimum.
    n_workers
        Processes or threads of the model.
    observer
        Who watches.

    Raises
    ------
    InputError
        If this is no finished run, or its model or state cannot be read.
    RelaxationError
        If a state cannot be drawn from or minimised.
    """
    with opened_run(
        directory, "model for the response", n_workers=n_workers, observer=observer
    ) as one:
        response = respond(one.state, one.evaluator, one.settings, one.group, n_configs=n_configs)
    found = response.shown()
    write_json_atomic(one.place.response, found.to_json())
    return found


def read_response(path: Path) -> PointResponse:
    """Read what :func:`response_of_run` wrote.

    Raises
    ------
    InputError
        If the file cannot be read, or does not hold a response.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as err:
        raise InputError(
            f"{path} cannot be read ({err}); remove it, and the same command makes it anew."
        ) from err
    return PointResponse.from_json(content, str(path))


@dataclass(frozen=True, eq=False)
class _Batch:
    """What one batch of configurations is minimised with."""

    state: DynamicalMatrix
    evaluator: Evaluator
    settings: RunSettings
    group: SpaceGroup
    n_configs: int
    number: int

    def minimum(self, *, volume: float = 0.0, temperature: float = 0.0) -> _Minimum:
        """Minimise with the volume and the temperature changed by these parts of themselves."""
        state = self.state.strained(((1 + volume) ** (1 / 3) - 1) * np.eye(3))
        kelvin = self.settings.temperature * (1 + temperature)
        found = self.minimised(state, kelvin, 0)
        for population in range(1, _POPULATIONS):
            found = self.minimised(found.dynamical_matrix, kelvin, population)
        state = found.dynamical_matrix
        modes = thermodynamics(state.frequencies_at_qpoints(), kelvin, nuclei=self.settings.nuclei)
        return _Minimum(pressure_of(found.estimators.stress.value), float(modes.entropy[0]))

    def minimised(self, state: DynamicalMatrix, kelvin: float, population: int) -> Minimisation:
        """Draw, evaluate and minimise once; the random numbers are those of the batch."""
        seed = [self.settings.seed, zlib.crc32(b"response"), self.number, population]
        samples = draw_samples(
            state,
            self.evaluator,
            temperature=kelvin,
            nuclei=self.settings.nuclei,
            settings=self.settings.relaxation_settings(),
            rng=np.random.default_rng(seed),
            n_configs=self.n_configs,
        )
        return minimiser.minimise(samples, self.group, self.settings.relaxation.minimiser)


def _batch(batch: _Batch) -> list[float]:
    """All responses of one batch, in the order of :class:`Response`."""
    return list(_responses(batch))


def _responses(batch: _Batch) -> Iterator[float]:
    crystal, kelvin = batch.state.crystal, batch.settings.temperature
    up, down = batch.minimum(volume=VOLUME_STEP), batch.minimum(volume=-VOLUME_STEP)
    change = 2 * VOLUME_STEP * crystal.volume
    bulk = -crystal.volume * (up.pressure - down.pressure) / change
    yield bulk
    if kelvin == 0:
        return
    expansion = (up.entropy - down.entropy) / change / bulk
    hot, cold = (
        batch.minimum(temperature=TEMPERATURE_STEP),
        batch.minimum(temperature=-TEMPERATURE_STEP),
    )
    fixed = (hot.entropy - cold.entropy) / (2 * TEMPERATURE_STEP)
    free = fixed + kelvin * crystal.volume * expansion**2 * bulk
    per_atom = units.KB * crystal.n_atoms
    yield expansion
    yield crystal.volume * expansion * bulk / fixed
    yield fixed / per_atom
    yield free / per_atom
    yield (hot.pressure - cold.pressure) / (2 * TEMPERATURE_STEP * kelvin)
