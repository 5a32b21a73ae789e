"""Third derivatives in real space: closed forms, sum rules, symmetry, noise, the Hessian's own."""

from dataclasses import replace

import crystals
import numpy as np
import pytest
from toys import fcc, half_response, wurtzite

from sscha_mlp.ensemble.gaussian import Gaussian
from sscha_mlp.errors import InputError
from sscha_mlp.scha.estimators import estimate
from sscha_mlp.scha.hessian import free_energy_hessian
from sscha_mlp.scha.third_order import ThirdOrder, third_order, third_order_bytes


def exact(bonds, gaussian) -> np.ndarray:
    """``< d³V >`` of bonds, (n_primitive, n_atoms, n_atoms, 3, 3, 3)."""
    mean, _, _ = bonds.moments(gaussian)
    third = 6 * bonds.c + 24 * bonds.b * mean
    rows = bonds.projections.reshape(len(mean), -1, 3)
    own = rows[:, : bonds.supercell.primitive.n_atoms]
    return np.einsum("n,nai,nbj,nck->abcijk", third, own, rows, rows, optimize=True)


def sampled(case, n_configs=400, n_blocks=10, seed=3) -> ThirdOrder:
    return third_order(estimate(case.draw(n_configs, seed=seed), case.group), n_blocks=n_blocks)


@pytest.mark.parametrize("name", ["silicon", "rock salt", "wurtzite", "triclinic"])
def test_they_are_the_exact_ones_within_their_errors(name):
    case = crystals.CASES[name]()
    found = sampled(case)
    truth = exact(case.bonds, Gaussian(case.state, case.temperature))
    known = found.stderr > 1e-9 * found.stderr.max()
    deviation = (found.value - truth)[known] / found.stderr[known]
    assert 0.7 < np.sqrt((deviation**2).mean()) < 1.6  # ten blocks: Student's law, heavy tails
    assert np.abs((found.value - truth)[~known]).max(initial=0) < 1e-6 * np.abs(truth).max()
    assert np.abs(truth).max() > 10 * np.median(found.stderr)


def test_a_complex_grid_has_the_same_third_derivatives():
    bonds = fcc((3, 1, 2), c=-3.0, b=4.0)
    case = crystals.Case(bonds, bonds.harmonic()[0], 300.0, 2000)
    found, truth = sampled(case, 2000), exact(bonds, Gaussian(case.state, 300.0))
    known = found.stderr > 1e-9 * found.stderr.max()
    deviation = (found.value - truth)[known] / found.stderr[known]
    assert 0.7 < np.sqrt((deviation**2).mean()) < 1.6


@pytest.mark.parametrize("name", ["silicon", "wurtzite"])
def test_sum_rules_permutations_and_symmetry_hold_for_each_block(name):
    case = crystals.CASES[name]()
    tensor = sampled(case, 60, 3).blocks[1]
    scale = 1e-9 * np.abs(tensor).max()
    for axis in (1, 2):
        assert np.abs(tensor.sum(axis=axis)).max() < scale
    assert np.abs(tensor - tensor.transpose(0, 2, 1, 3, 5, 4)).max() < scale
    n = case.state.supercell.primitive.n_atoms
    among = tensor[:, :n, :]  # the first two indices in the cell at the origin
    assert np.abs(among - among.transpose(1, 0, 2, 4, 3, 5)).max() < scale
    group = case.group
    for rotation, image in zip(group.cartesian_rotations, group.permutations, strict=True):
        inside = image[:n] < n  # the first atom stays in the cell at the origin
        turned = np.einsum("ai,bj,ck,xyzijk->xyzabc", *[rotation] * 3, tensor, optimize=True)
        moved = tensor[image[:n][inside]][:, image][:, :, image]
        assert np.abs(moved - turned[inside]).max() < scale


def test_they_are_finite_differences_of_the_forces_of_a_cubic_potential():
    """Without quartic terms the average is the derivative at rest, at any temperature."""
    bonds = wurtzite((1, 1, 1), c=-8.0, b=0.0)
    case = crystals.Case(bonds, bonds.harmonic()[0], 300.0, 400)
    crystal, step, found = case.state.supercell.crystal, 1e-3, sampled(case)
    a, b, _, i, j, _ = np.unravel_index(np.abs(found.value).argmax(), found.value.shape)

    def forces(first, second):
        moved = crystal.positions.copy()
        moved[a, i] += first
        moved[b, j] += second
        return bonds.one(moved, crystal.cell)[1]

    signs = [(one, other) for one in (1, -1) for other in (1, -1)]
    mixed = -sum(x * y * forces(x * step, y * step) for x, y in signs) / (4 * step**2)
    assert np.abs(mixed).max() > 10
    error = 6 * found.stderr[a, b, :, i, j] + 1e-6
    assert np.all(np.abs(found.value[a, b, :, i, j] - mixed) < error)


def test_they_are_what_the_hessian_takes():
    """The bubble from the real-space tensor is the correction in ``Hessian.plain``."""
    case = crystals.rock_salt()
    samples = case.draw(100, seed=1)
    estimators = estimate(samples, case.group)
    value = third_order(estimators, n_blocks=2).value
    supercell = case.state.supercell
    plain = free_energy_hessian(samples, case.group).plain
    modes = case.state.modes
    vectors = modes.vectors / np.sqrt(supercell.masses3)[:, None]
    n, n_atoms = supercell.primitive.n_atoms, supercell.n_atoms
    flat = value.transpose(0, 3, 1, 4, 2, 5).reshape(3 * n, 3 * n_atoms, 3 * n_atoms)
    projected = np.einsum("ijk,ju,kv->iuv", flat, vectors, vectors, optimize=True)
    everywhere = _all_rows(value, supercell)
    full = np.einsum("ijk,ju,kv->iuv", everywhere, vectors, vectors, optimize=True)
    half = half_response(modes.frequencies**2, case.temperature)
    bubble = np.einsum("iuv,uv,juv->ij", projected, half, full, optimize=True)
    correction = plain.force_constants - case.state.force_constants
    correction = correction - estimators.force_constant_change
    ours = bubble.reshape(n, 3, n_atoms, 3).transpose(0, 2, 1, 3)
    assert np.abs(ours - correction).max() < 1e-8 * np.abs(correction).max()


def _all_rows(value, supercell):
    """The tensor with all atoms in its first index."""
    n, n_cells = supercell.primitive.n_atoms, supercell.n_cells
    blocks = value.reshape(n, n_cells, n, n_cells, n, 3, 3, 3)
    shift = supercell.difference_index
    rows = [blocks[:, shift[c]][:, :, :, shift[c]] for c in range(n_cells)]
    full = np.array(rows).reshape(n_cells * n, n_cells * n, n_cells * n, 3, 3, 3)
    size = 3 * supercell.n_atoms
    return full.transpose(0, 3, 1, 4, 2, 5).reshape(size, size, size)


def test_leaving_out_blocks_takes_the_noise_out_of_a_square():
    """What |Phi3|² loses is the scatter of Phi3 over ensembles, and what is left is exact."""
    bonds = wurtzite((1, 1, 1), c=-1.0, b=0.0)
    case = crystals.Case(bonds, bonds.harmonic()[0], 900.0, 40)
    truth = (exact(bonds, Gaussian(case.state, 900.0)) ** 2).sum()
    values, plain, better = [], [], []
    for seed in range(25):
        found = sampled(case, 40, 5, seed)
        squares = [(found.without(k) ** 2).sum() for k in range(5)]
        values.append(found.value)
        plain.append((found.value**2).sum())
        better.append(5 * plain[-1] - 4 * np.mean(squares))
    assert abs(np.mean(better) - truth) < 3 * np.std(better) / 5
    noise = np.var(values, axis=0, ddof=1).sum()
    assert noise > 0.1 * truth
    assert np.mean(plain) - np.mean(better) == pytest.approx(noise, rel=0.3)


def test_what_cannot_be_divided_or_does_not_fit_is_refused():
    case = crystals.silicon()
    estimators = estimate(case.draw(8), case.group)
    with pytest.raises(InputError, match="cannot be divided into 5 blocks"):
        third_order(estimators, n_blocks=5)
    found = third_order(estimators, n_blocks=2)
    with pytest.raises(InputError, match="have shape"):
        replace(found, blocks=found.blocks[:, :1])
    one = ThirdOrder(found.supercell, found.value[None], np.ones(1))
    assert np.isnan(one.stderr).all()
    assert third_order_bytes(found.supercell, 2) > found.blocks.nbytes
