"""Bulk modulus, expansion and heat capacities of a state against closed forms."""

import numpy as np
import pytest
from toys import fcc

from sscha_mlp import units
from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.properties.thermodynamics import thermodynamics
from sscha_mlp.run_files.settings import RunSettings
from sscha_mlp.scha.cell import CellMode
from sscha_mlp.studies.response import TEMPERATURE_STEP, VOLUME_STEP, respond
from sscha_mlp.studies.sweep.point import PointResponse

QUARTIC = {"k": 1.4, "c": -0.8, "b": 1.5}
T = 400.0


def exact(potential, state, group, *, volume=0.0, temperature=0.0):
    """Pressure, entropy and free energy of the exact minimum, per primitive cell."""
    strained = state.strained(((1 + volume) ** (1 / 3) - 1) * np.eye(3))
    kelvin = T * (1 + temperature)
    minimum = potential.minimum(strained, group, kelvin)
    gaussian = Gaussian(minimum, kelvin)
    pressure = -np.trace(potential.stress(gaussian)) / 3
    entropy = thermodynamics(minimum.frequencies_at_qpoints(), kelvin).entropy[0]
    return pressure, entropy, potential.free_energy(gaussian) / minimum.supercell.n_cells


@pytest.fixture(scope="module")
def quartic():
    potential = fcc(**QUARTIC)
    start, group = potential.harmonic()
    return potential, potential.minimum(start, group, T), group


def settings(temperature=T):
    return RunSettings(temperature=temperature, cell=CellMode.FIXED, seed=3)


def test_entropy_and_pressure_are_derivatives_of_the_exact_free_energy(quartic):
    """What the response rests on: the SSCHA free energy is least in its trial state."""
    potential, state, group = quartic
    h = 1e-3
    pressure, entropy, _ = exact(potential, state, group)
    hot, cold = (exact(potential, state, group, temperature=s * h)[2] for s in (1, -1))
    assert entropy == pytest.approx(-(hot - cold) / (2 * h * T), rel=1e-5)
    wide, narrow = (exact(potential, state, group, volume=s * h)[2] for s in (1, -1))
    slope = (wide - narrow) / (2 * h * state.crystal.volume)
    assert pressure == pytest.approx(-slope, abs=1e-5 * 0.5)


def test_the_response_is_that_of_the_closed_form(quartic):
    potential, state, group = quartic
    found = respond(state, potential, settings(), group, n_configs=1600)
    crystal = state.crystal
    wide, narrow = (exact(potential, state, group, volume=s * VOLUME_STEP) for s in (1, -1))
    hot, cold = (exact(potential, state, group, temperature=s * TEMPERATURE_STEP) for s in (1, -1))
    bulk = -(wide[0] - narrow[0]) / (2 * VOLUME_STEP)
    alpha = (wide[1] - narrow[1]) / (2 * VOLUME_STEP * crystal.volume) / bulk
    fixed = (hot[1] - cold[1]) / (2 * TEMPERATURE_STEP)
    expected = {
        "bulk_modulus": bulk,
        "expansion": alpha,
        "gruneisen": crystal.volume * alpha * bulk / fixed,
        "heat_capacity_v": fixed / units.KB,
        "heat_capacity_p": (fixed + T * crystal.volume * alpha**2 * bulk) / units.KB,
    }
    for name, value in expected.items():
        mean, error = getattr(found, name)
        assert abs(mean - value) < 4 * error + 1e-3 * abs(value), name
        assert error < 0.1 * abs(value), name
    value, error = found.maxwell
    assert abs(value - alpha * bulk) < 4 * error + 0.02 * abs(value)


def test_a_harmonic_crystal_does_not_expand():
    potential = fcc(far=0.4)
    state, group = potential.harmonic()
    found = respond(state, potential, settings(), group, n_configs=160)
    assert found.expansion[0] == pytest.approx(0.0, abs=1e-12)
    modes = thermodynamics(state.frequencies_at_qpoints(), T)
    assert found.heat_capacity_v[0] == pytest.approx(modes.heat_capacity[0] / units.KB, rel=1e-3)
    assert found.heat_capacity_p[0] == pytest.approx(found.heat_capacity_v[0])


def test_at_zero_kelvin_there_is_a_bulk_modulus_alone():
    potential = fcc(**QUARTIC)
    state, group = potential.harmonic()
    state = potential.minimum(state, group, 0.0)
    shown = respond(state, potential, settings(0.0), group, n_configs=160).shown()
    assert shown.bulk_modulus_GPa.value > 0
    assert shown == PointResponse(bulk_modulus_GPa=shown.bulk_modulus_GPa)
