"""A part of the symmetry, or none: which operations are accepted, and what they forbid."""

import numpy as np
import pytest
from ase.build import bulk
from toys import fcc, wurtzite

from sscha_mlp.crystal.dynamical_matrix import symmetrise
from sscha_mlp.crystal.structure import Crystal
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import SpaceGroup, find_space_group, read_triplet
from sscha_mlp.ensemble.sampling import sample
from sscha_mlp.errors import InputError
from sscha_mlp.scha.estimators import estimate
from sscha_mlp.scha.minimiser import MinimiserSettings, minimise
from sscha_mlp.scha.relaxation import evaluate_ensemble

IDENTITY = "x,y,z"


@pytest.fixture(scope="module")
def diamond():
    """Silicon: 48 operations, half of them with a quarter of the diagonal as translation."""
    return find_space_group(Supercell(Crystal.from_ase(bulk("Si", "diamond", a=5.43)), (2, 2, 2)))


def triplet(rotation, shift):
    """Write an operation as text."""
    parts = []
    for row, part in zip(rotation, shift, strict=True):
        terms = [f"{n:+d}"[0] + axis for n, axis in zip(row, "xyz", strict=True) if n]
        parts.append("".join(terms) + f"{part:+.6f}")
    return ",".join(parts)


# --- reading -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rotation", "shift"),
    [
        ("x,y,z", np.eye(3), [0, 0, 0]),
        (" -X , x - y , Z+1/2 ", [[-1, 0, 0], [1, -1, 0], [0, 0, 1]], [0, 0, 0.5]),
        ("1/4-y,-1/3+x,z-0.125", [[0, -1, 0], [1, 0, 0], [0, 0, 1]], [0.25, -1 / 3, -0.125]),
        ("y+1,x,-z", [[0, 1, 0], [1, 0, 0], [0, 0, -1]], [1, 0, 0]),
    ],
)
def test_triplets_are_read(text, rotation, shift):
    found, translation = read_triplet(text)
    np.testing.assert_array_equal(found, rotation)
    np.testing.assert_allclose(translation, shift, atol=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        *("", "x,y", "x,y,z,x", "x,,z", "a,b,c", "x,y,z+1/0", "x,y,z*2", "x;y;z", "x,y,z+"),
        *("--x,y,z", "2x,y,z", "xy,y,z", "x1/2,y,z"),
    ],
)
def test_what_is_no_operation_is_refused_and_shown(text):
    with pytest.raises(InputError, match="is no symmetry operation; write for example") as caught:
        read_triplet(text)
    assert repr(text) in str(caught.value)


# --- choosing ----------------------------------------------------------------------------------


def test_full_is_everything_and_none_the_identity_alone(diamond):
    assert diamond.restricted("full") is diamond
    none = diamond.restricted("none")
    assert (none.n_operations, none.number, none.international) == (1, 1, "P1")
    np.testing.assert_array_equal(none.rotations[0], np.eye(3))
    np.testing.assert_allclose(none.translations[0], 0, atol=1e-12)
    assert none.supercell is diamond.supercell


def test_none_on_a_conventional_cell_leaves_its_centrings_out():
    crystal = Crystal.from_ase(bulk("NaCl", "rocksalt", a=5.64, cubic=True))
    none = find_space_group(Supercell(crystal, (1, 1, 1))).restricted("none")
    assert none.n_operations == 1
    np.testing.assert_allclose(none.translations[0], 0, atol=1e-12)


def test_operations_of_the_crystal_are_found_by_their_triplets(diamond):
    """The inversion of diamond is between two atoms, not on one."""
    inversion = np.flatnonzero(np.all(diamond.rotations == -np.eye(3), axis=(1, 2)))[0]
    text = triplet(diamond.rotations[inversion], diamond.translations[inversion])
    chosen = diamond.restricted(f"{IDENTITY}; {text}")
    assert (chosen.n_operations, chosen.number) == (2, 2)
    assert chosen.international == "P-1"
    again = diamond.restricted(f"{text};{IDENTITY};{text}")
    np.testing.assert_array_equal(again.rotations, chosen.rotations)
    whole = ";".join(map(triplet, diamond.rotations, diamond.translations))
    assert diamond.restricted(whole).number == 227


def test_an_operation_that_the_crystal_lacks_is_refused(diamond):
    with pytest.raises(InputError, match="is none of the 48 of Fd-3m"):
        diamond.restricted(f"{IDENTITY}; x+1/3,y,z")
    wurtz = find_space_group(wurtzite().supercell)
    with pytest.raises(InputError, match="is none of the 12 of P6_3mc"):
        wurtz.restricted(f"{IDENTITY}; -x,-y,-z")


def test_operations_that_are_no_group_are_refused(diamond):
    """Fourfold rotations without their squares; anything without the identity."""
    powers = [np.linalg.matrix_power(one, 2) for one in diamond.rotations]
    fourfold = next(
        g
        for g, (one, two) in enumerate(zip(diamond.rotations, powers, strict=True))
        if not np.array_equal(two, np.eye(3)) and np.array_equal(two @ two, np.eye(3))
    )
    for operations in ([0, fourfold], [fourfold]):
        with pytest.raises(InputError, match="are not a group: the product of two of them"):
            diamond.subgroup(operations)
    text = triplet(diamond.rotations[fourfold], diamond.translations[fourfold])
    with pytest.raises(InputError, match="are not a group"):
        diamond.restricted(f"{IDENTITY};{text}")


def test_a_subgroup_by_mask_is_that_by_indices(diamond):
    mask = np.linalg.det(diamond.rotations) > 0
    proper = diamond.subgroup(mask)
    assert isinstance(proper, SpaceGroup)
    assert proper.n_operations == 24
    np.testing.assert_array_equal(
        proper.rotations, diamond.subgroup(np.flatnonzero(mask)).rotations
    )


def test_averages_over_a_group_are_averages_over_its_subgroup_first(diamond, rng):
    """The projection of a group absorbs those of its subgroups."""
    shape = (2, diamond.supercell.n_atoms, 3, 3)
    constants = rng.standard_normal(shape)
    proper = diamond.subgroup(np.linalg.det(diamond.rotations) > 0)
    part = symmetrise(proper, constants)
    whole = symmetrise(diamond, constants)
    np.testing.assert_allclose(symmetrise(diamond, part), whole, atol=1e-10)
    np.testing.assert_allclose(symmetrise(proper, whole), whole, atol=1e-10)
    assert np.abs(part - whole).max() > 1e-2


# --- what it means for a minimisation ----------------------------------------------------------


def test_without_symmetry_the_noise_breaks_what_the_group_keeps():
    """Degenerate modes split by the noise of the sample, by about their standard errors."""
    bonds = fcc(b=3.0)
    state, full = bonds.harmonic()
    ensemble = sample(
        state,
        temperature=300.0,
        n_configs=200,
        rng=np.random.default_rng(3),
        minimum_distance_ratio=0.0,
    )
    samples = evaluate_ensemble(ensemble, bonds)
    spread, errors = {}, {}
    stars = full.equivalent_qpoints()
    star = np.bincount(stars).argmax()
    for name in ("full", "none"):
        result = minimise(samples, full.restricted(name), MinimiserSettings())
        found = result.dynamical_matrix.frequencies_at_qpoints()
        spread[name] = np.ptp(found[stars == star], axis=0).max()
        errors[name] = estimate(samples, full.restricted(name)).frequency_shifts.stderr
    assert spread["full"] < 1e-8
    error = errors["none"][stars == star].max()
    assert 0.2 * error < spread["none"] < 10 * error
    # Averages over operations have less noise.
    assert errors["none"].max() > 1.2 * errors["full"].max()
