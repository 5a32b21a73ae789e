"""Dynamical matrices on disk are exact to the last bit, and damage is told."""

import numpy as np
import pytest
from toys import wurtzite

from sscha_mlp.data.states import load_state, save_state
from sscha_mlp.errors import InputError


@pytest.fixture
def state(rng):
    one, _ = wurtzite().harmonic()
    noise = rng.standard_normal(one.force_constants.shape) * 10.0 ** rng.integers(-300, 3)
    return one.with_force_constants(one.force_constants + noise).moved(
        rng.standard_normal((4, 3)) / 3
    )


def test_a_state_is_the_same_to_the_last_bit(state, tmp_path):
    path = tmp_path / "states" / "one.npz"
    save_state(path, state)
    again = load_state(path)
    assert again.supercell.size == state.supercell.size
    for name in ("cell", "positions", "numbers", "masses"):
        mine, theirs = getattr(again.crystal, name), getattr(state.crystal, name)
        assert mine.dtype == theirs.dtype and mine.tobytes() == theirs.tobytes()
    assert again.force_constants.tobytes() == state.force_constants.tobytes()
    assert [one.name for one in path.parent.iterdir()] == ["one.npz"]  # no temporary file is left


def test_the_same_state_is_the_same_file(state, tmp_path):
    """A resumed run writes what it wrote: nothing of the time or the place is in it."""
    for name in ("a", "b"):
        save_state(tmp_path / name, state)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def damaged(content, how):
    match how:
        case "empty":
            return b""
        case "text":
            return b"these are no arrays"
        case "cut":
            return content[: len(content) // 2]
        case "flipped":
            middle = len(content) // 2
            return content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
    raise ValueError(how)


@pytest.mark.parametrize("how", ["empty", "text", "cut", "flipped"])
def test_a_damaged_state_is_refused_with_its_name(state, tmp_path, how):
    path = tmp_path / "one.npz"
    save_state(path, state)
    path.write_bytes(damaged(path.read_bytes(), how))
    with pytest.raises(InputError, match=r"one\.npz cannot be read .*remove it"):
        load_state(path)


def test_a_missing_state_or_another_array_is_refused(tmp_path):
    with pytest.raises(InputError, match="There is no state"):
        load_state(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(InputError, match="cannot be read"):
        load_state(tmp_path / "other.npz")
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(InputError, match="cannot be read"):
        load_state(tmp_path / "array.npy")
