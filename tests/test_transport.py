"""Sums over scattered modes: closed forms, rates that add, noise taken out, requests refused."""

from dataclasses import replace

import numpy as np
import pytest

from sscha_mlp.errors import InputError
from sscha_mlp.properties.transport import (
    SampledScattering,
    Scattering,
    cumulative,
    mean_shift,
)
from sscha_mlp.studies.conductivity.request import TransportRequest, transport_bytes
from sscha_mlp.studies.conductivity.sampled import balanced_halves
from sscha_mlp.studies.conductivity.steps import Steps


def modes(widths, **more) -> Scattering:
    """Three modes at one wave vector that stands for all eight of a mesh."""
    carried = np.zeros((1, 1, 3, 6))
    carried[..., :3] = np.array([1.0, 2.0, 4.0])[None, None, :, None]
    given = {
        "mesh": (2, 2, 2),
        "temperatures": np.array([300.0]),
        "qpoints": np.zeros((1, 3)),
        "multiplicities": np.array([8.0]),
        "frequencies": np.array([[1.0, 2.0, 3.0]]),
        "velocities": np.array([[[10.0, 0, 0], [0, 20.0, 0], [0, 0, 40.0]]]),
        "carried": carried,
        "widths": np.array(widths, dtype=float).reshape(1, 1, 3),
        "isotope_widths": np.zeros((1, 3)),
    }
    return Scattering(**{**given, **more})


def test_rates_add_and_a_mode_that_nothing_scatters_carries_nothing():
    found = modes([0.1, 0.2, 0.0])
    assert found.conductivity()[0, 0] == pytest.approx((1 / 0.1 + 2 / 0.2) / 8)
    assert found.conductivity()[0, 3:] == pytest.approx(0.0)
    both = modes([0.1, 0.2, 0.4], isotope_widths=np.array([[0.1, 0.0, 0.4]]))
    assert both.conductivity()[0, 0] == pytest.approx((1 / 0.2 + 2 / 0.2 + 4 / 0.8) / 8)


def test_a_boundary_alone_gives_a_mean_free_path_of_its_distance():
    """tau = 1/(4 pi Gamma), and so |v| tau = L where Gamma = |v| / (4 pi L)."""
    found = modes([0.0, 0.0, 0.0])
    assert found.mean_free_paths(boundary=0.3)[0, 0] == pytest.approx([300.0] * 3)
    assert found.mean_free_paths()[0, 0] == pytest.approx([0.0] * 3)
    assert modes([1.0, 1, 1]).lifetimes()[0, 0, 0] == pytest.approx(1 / (4 * np.pi))


def test_modes_add_up_by_mean_free_path():
    found = cumulative(modes([0.1, 0.2, 0.4]))
    assert np.all(np.diff(found.lengths) >= 0)
    assert found.conductivity[-1] == pytest.approx(30 / 8)


def test_widths_that_are_squares_of_noisy_numbers_lose_the_square_of_the_noise():
    """Averaged over many draws; the claimed error is the scatter of the draws."""
    rng = np.random.default_rng(3)
    truth, n_blocks = np.array([1.0, 1.5, 2.0]), 10
    plain, better, claimed = [], [], []
    for _ in range(2000):
        blocks = truth + rng.standard_normal((n_blocks, 3))
        without = (blocks.sum(axis=0) - blocks) / (n_blocks - 1)
        whole = modes(blocks.mean(axis=0) ** 2)
        found = SampledScattering(whole, tuple(modes(one**2) for one in without))
        plain.append(whole.widths[0, 0])
        better.append(found.best.widths[0, 0])
        claimed.append(found.width_stderr[0, 0])
    error = np.std(better, axis=0) / np.sqrt(2000)
    assert np.all(np.abs(np.mean(better, axis=0) - truth**2) < 4 * error)
    assert np.mean(plain, axis=0) - np.mean(better, axis=0) == pytest.approx([0.1] * 3, rel=0.1)
    assert np.sqrt(np.mean(np.square(claimed), axis=0)) == pytest.approx(
        np.std(better, axis=0), rel=0.15
    )


def test_the_error_of_a_conductivity_is_its_scatter_and_pure_noise_is_named():
    rng = np.random.default_rng(4)
    values, errors = [], []
    for _ in range(300):
        blocks = np.array([1.0, 1.5, 2.0]) + 0.2 * rng.standard_normal((10, 3))
        without = (blocks.sum(axis=0) - blocks) / 9
        parts = tuple(modes(one**2) for one in without)
        found = SampledScattering(modes(blocks.mean(axis=0) ** 2), parts).conductivity()
        values.append(found.value[0, 0])
        errors.append(found.stderr[0, 0])
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(values), rel=0.15)
    noise = rng.standard_normal((10, 3))
    noise -= noise.mean(axis=0)  # the average is nothing, each part is something
    noise += 0.01
    parts = tuple(modes(((noise.sum(axis=0) - one) / 9) ** 2) for one in noise)
    lost = SampledScattering(modes(noise.mean(axis=0) ** 2), parts)
    assert lost.uncertain_share()[0] == pytest.approx(1.0)
    assert np.all(lost.best.widths > 0)
    with pytest.raises(InputError, match="at least two"):
        SampledScattering(modes([1, 1, 1]), (modes([1, 1, 1]),))


def test_a_shift_is_the_mean_slope_of_the_groups():
    up, down = [np.array([1.1]), np.array([1.3])], [np.array([0.9]), np.array([0.7])]
    found = mean_shift(up, down, 0.5)
    assert found.value == pytest.approx([0.4])
    assert found.stderr == pytest.approx([0.2])


@pytest.mark.parametrize("n_blocks", [4, 6, 10])
def test_halves_are_balanced_and_tell_the_variance_of_a_mean_exactly(n_blocks):
    """Of a linear quantity the mean square of the changes is a sum over pairs of blocks."""
    halves = balanced_halves(n_blocks)
    assert np.all(halves.sum(axis=1) == n_blocks // 2)
    values = np.random.default_rng(1).standard_normal(n_blocks)
    changes = [values[half].mean() - values.mean() for half in halves]
    pairs = values.reshape(-1, 2)
    assert np.mean(np.square(changes)) == pytest.approx(
        (np.diff(pairs, axis=1) ** 2).sum() / n_blocks**2
    )


def test_the_noise_of_the_second_order_adds_to_the_error():
    parts = tuple(modes([1.0, 1.0, 1.0]) for _ in range(4))
    found = SampledScattering(parts[0], parts, (modes([0.5, 1, 1]), modes([1, 1, 1])))
    assert found.conductivity().stderr[0, 0] == pytest.approx((1 / 8) / np.sqrt(2))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"mesh": (11, 1, 11)}, "is too coarse"),
        ({"coarse_mesh": (1, 3, 3)}, "is too coarse"),
        ({"temperatures": (300.0, 0.0)}, "not all above zero"),
        ({"temperatures": (float("nan"),)}, "not all above zero"),
        ({"boundary": -1.0}, "not at a positive distance"),
        ({"n_configs": 10}, "no usable error"),
        ({"n_blocks": 2}, "no usable error"),
        ({"n_blocks": 7}, "an even number"),
    ],
)
def test_requests_that_cannot_be_met_are_refused(given, sentence):
    with pytest.raises(InputError, match=sentence):
        TransportRequest(**given)


def test_a_run_at_zero_kelvin_needs_a_temperature():
    with pytest.raises(InputError, match="nothing carries heat"):
        TransportRequest().kelvin(0.0)
    assert TransportRequest(temperatures=(5.0,)).kelvin(0.0) == (5.0,)
    assert TransportRequest(mesh=(19, 10, 2)).coarse == (10, 5, 2)


def test_the_direct_solution_is_what_takes_memory():
    with_matrix = transport_bytes((19, 19, 19), 2, 48, True)
    assert with_matrix > 2 * transport_bytes((19, 19, 19), 2, 48, False)


def test_steps_are_computed_once_and_forgotten_with_other_inputs(tmp_path):
    calls = []

    def compute() -> Scattering:
        calls.append(1)
        return modes([0.1, 0.2, 0.4], direct=np.ones((1, 6)))

    steps = Steps(tmp_path / "steps", {"seed": 1})
    first = steps.scattering("whole", {"mesh": [2, 2, 2]}, compute)
    again = Steps(tmp_path / "steps", {"seed": 1}).scattering("whole", {"mesh": [2, 2, 2]}, compute)
    assert len(calls) == 1
    for name in vars(first):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert again.mesh == (2, 2, 2)
    steps.scattering("whole", {"mesh": [3, 3, 3]}, compute)
    assert len(calls) == 2
    next((tmp_path / "steps").glob("whole-*.npz")).write_bytes(b"torn")
    for mesh in ([2, 2, 2], [3, 3, 3]):
        steps.scattering("whole", {"mesh": mesh}, compute)
    assert len(calls) == 3
    Steps(tmp_path / "steps", {"seed": 2})
    assert not list((tmp_path / "steps").glob("*.npz"))
    assert replace(first, direct=None).direct is None
