"""CUR and D-optimal selection: on feature matrices, and of configurations."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from sscha_mlp.errors import InputError
from sscha_mlp.potentials.active_set import ActiveSet
from sscha_mlp.potentials.designs import cur
from sscha_mlp.potentials.protocol import Predictions
from sscha_mlp.potentials.selection import (
    HasDescriptors,
    HasSiteDescriptors,
    SelectionMethod,
    farthest_points,
    select,
)


def best_rank(matrix, n):
    """Frobenius error of the best approximation of rank n (Eckart, Young)."""
    return np.sqrt(np.sum(np.linalg.svd(matrix, compute_uv=False)[n:] ** 2))


def left_by(matrix, rows):
    """Frobenius error of the projection on the span of some rows."""
    basis = np.linalg.qr(matrix[list(rows)].T)[0]
    return np.linalg.norm(matrix - (matrix @ basis) @ basis.T)


# -------------------------------------------------------------------------------------- CUR


def test_the_first_row_is_that_of_largest_leverage(rng):
    features = rng.normal(size=(50, 8)) * 0.5 ** np.arange(8)
    left = np.linalg.svd(features, full_matrices=False)[0]
    leverages = [np.sum(left[:, :k] ** 2, axis=1) for k in range(1, 9)]
    best = [int(np.argmax(leverage)) for leverage in leverages]
    assert [cur(features, 1, n_vectors=k)[0] for k in range(1, 9)] == best
    assert len(set(best)) >= 2


def test_the_second_row_is_that_of_largest_leverage_beside_the_first(rng):
    features = rng.normal(size=(50, 8))
    first, second = cur(features, 2)
    row = features[first] / np.linalg.norm(features[first])
    left = np.linalg.svd(features - np.outer(features @ row, row))[0]
    assert second == np.argmax(np.abs(left[:, 0]))


def test_the_chosen_rows_approximate_the_matrix_nearly_as_well_as_any(rng):
    features = rng.normal(size=(200, 30)) * 0.7 ** np.arange(30)
    for n in (2, 5, 10):
        chosen = cur(features, n)
        assert left_by(features, chosen) < 2.0 * best_rank(features, n)
        random = [left_by(features, rng.choice(200, n, replace=False)) for _ in range(200)]
        assert left_by(features, chosen) < np.quantile(random, 0.02)


def test_rows_of_each_direction_are_chosen_before_any_copy(rng):
    different = rng.normal(size=(5, 9))
    features = np.repeat(different, 7, axis=0)
    chosen = cur(features, 35)
    assert sorted(chosen) == list(range(35))
    for layer in np.reshape(chosen, (7, 5)):
        assert len({row // 7 for row in layer}) == 5


@pytest.mark.parametrize("shape", [(30, 5), (30, 30), (12, 400), (1, 3)])
def test_any_number_of_rows_can_be_chosen_and_fewer_are_the_first_of_more(rng, shape):
    features = rng.normal(size=shape)
    everything = cur(features, shape[0])
    assert sorted(everything) == list(range(shape[0]))
    for n in range(shape[0]):
        assert cur(features, n) == everything[:n]


def test_a_rotation_of_the_features_does_not_change_the_choice(rng):
    features = rng.normal(size=(40, 10))
    turned = np.linalg.qr(rng.normal(size=(14, 14)))[0][:10]
    assert cur(features @ turned, 9) == cur(features, 9)
    assert cur(1e-9 * features, 9) == cur(features, 9)


def test_known_rows_are_not_chosen_again(rng):
    """Rows 0 to 2 are combinations of the known ones and of nothing else."""
    known = rng.normal(size=(3, 8))
    features = np.concatenate([10.0 * known, rng.normal(size=(4, 8))])
    assert min(cur(features, 4, known=known)) >= 3
    assert min(cur(features, 4)) < 3
    assert cur(features, 7, known=rng.normal(size=(20, 8))) == cur(features, 7)


def test_rows_of_zeros_come_last():
    features = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 2.0]])
    assert cur(features, 4)[:2] == (3, 1)
    assert sorted(cur(features, 4)) == [0, 1, 2, 3]
    assert sorted(cur(np.zeros((3, 2)), 3)) == [0, 1, 2]


def test_wrong_matrices_are_refused():
    with pytest.raises(InputError, match="4 rows cannot"):
        cur(np.eye(3), 4)
    with pytest.raises(InputError, match="matrix of finite numbers"):
        cur(np.ones(3), 1)
    with pytest.raises(InputError, match="matrix of finite numbers"):
        cur([[np.nan, 1.0]], 1)
    with pytest.raises(InputError, match="at least one"):
        cur(np.eye(3), 1, n_vectors=0)
    with pytest.raises(InputError, match="2 features, the others 3"):
        cur(np.eye(3), 1, known=np.eye(2))


# ------------------------------------------------------------------------------ configurations


def atom_rows(configurations):
    """Two numbers per atom: the distance to its cell's corner, cubed and not."""
    lengths = [np.linalg.norm(atoms.positions, axis=1) for atoms in configurations]
    rows = np.concatenate([np.stack([x, x**3], axis=1) for x in lengths])
    return rows, np.repeat(np.arange(len(lengths)), [len(x) for x in lengths])


class Plain:
    """As much of a potential as selection uses."""

    kind = "plain"

    def evaluate(self, configurations, *, uncertainty=False):
        forces = tuple(-atoms.positions for atoms in configurations)
        n = len(configurations)
        return Predictions(np.zeros(n), forces, np.zeros((n, 3, 3)))


class Describing(Plain):
    def descriptors(self, configurations):
        rows, owners = atom_rows(configurations)
        return np.array([rows[owners == i].sum(axis=0) for i in range(len(configurations))])


class Sites(Describing):
    site_descriptors = staticmethod(atom_rows)


def atoms_at(*radii):
    positions = [[radius, 0.0, 0.0] for radius in radii]
    return Atoms("H" * len(radii), positions=positions, cell=[20.0] * 3, pbc=True)


def shaken(rng, n, repeat=2):
    atoms = [bulk("Si", cubic=True) * (repeat, 1, 1) for _ in range(n)]
    for one in atoms:
        one.positions += rng.normal(0.0, 0.1, one.positions.shape)
    return atoms


def test_the_protocols_recognise_what_a_potential_offers():
    assert not isinstance(Plain(), HasDescriptors | HasSiteDescriptors)
    assert isinstance(Describing(), HasDescriptors)
    assert not isinstance(Describing(), HasSiteDescriptors)
    assert isinstance(Sites(), HasSiteDescriptors)


@pytest.mark.parametrize("method", SelectionMethod)
def test_every_method_chooses_as_many_as_asked_each_once(rng, method):
    class Unsure(Sites):
        def evaluate(self, configurations, *, uncertainty=False):
            n = len(configurations)
            unsure = np.arange(n, dtype=float)
            plain = super().evaluate(configurations)
            return Predictions(plain.energies, plain.forces, plain.stresses, unsure)

    atoms = shaken(rng, 9)
    for n in (0, 1, 5, 9):
        chosen = select(atoms, n, method=method, potential=Unsure(), rng=np.random.default_rng(1))
        assert len(chosen) == len(set(chosen)) == n
        assert all(type(index) is int and 0 <= index < 9 for index in chosen)


def test_d_optimal_takes_the_configuration_whose_atom_is_outside(rng):
    known = [atoms_at(1.0, 2.0, 3.0), atoms_at(1.5, 2.5, 2.0)]
    candidates = [atoms_at(1.2, 2.2, 2.9), atoms_at(1.0, 4.0), atoms_at(2.0, 2.0, 2.0, 2.0)]
    options = {"method": "d-optimal", "rng": rng, "known": known}
    assert select(candidates, 1, potential=Sites(), **options) == (1,)
    # 2 has a large sum, though each of its atoms is known: only whole configurations show it
    sums = [atoms_at(2.0, 2.0), atoms_at(2.0), atoms_at(*[2.0] * 9)]
    grades = ActiveSet.of(Describing().descriptors(known)).grade(Describing().descriptors(sums))
    assert np.argmax(grades) == 2
    assert select(sums, 1, potential=Describing(), **options) == (2,)


def test_d_optimal_fills_up_with_those_of_highest_grade(rng):
    known = [atoms_at(3.0), atoms_at(1.8)]
    candidates = [atoms_at(x) for x in (1.0, 2.9, 2.5, 1.4)]
    rows, _ = atom_rows(candidates)
    grades = ActiveSet.of(atom_rows(known)[0]).grade(rows)
    assert grades.max() < 1.0
    chosen = select(candidates, 4, method="d-optimal", potential=Sites(), rng=rng, known=known)
    assert chosen == tuple(np.argsort(-grades))


def test_d_optimal_grades_the_rest_with_what_it_has_chosen(rng):
    """To what is known alone, 1 would have a grade of 5; beside 0 it has 0.54, and 2 has 0.9."""
    own = np.array([[9.0, 9.0], [5.0, 4.9], [0.0, 0.9], [0.1, 0.1], [1.0, 0.0], [0.0, 1.0]])
    atoms = shaken(rng, 4)
    options = {"method": "d-optimal", "rng": rng, "known": shaken(rng, 2)}
    chosen = select(atoms, 4, features=lambda _: own, **options)
    assert chosen == (0, 2, 1, 3)
    assert select(atoms, 4, features=lambda _: own, potential=Sites(), **options) == chosen


def test_d_optimal_without_known_configurations_spans_the_features(rng):
    features = np.repeat(np.eye(4) + 0.1, 3, axis=0)
    atoms = [Atoms("H", positions=[[i, 0.0, 0.0]]) for i in range(12)]

    def of(configurations):
        return features[[int(a.positions[0, 0]) for a in configurations]]

    chosen = select(atoms, 6, method="d-optimal", features=of, rng=rng)
    assert {index // 3 for index in chosen[:4]} == {0, 1, 2, 3}
    assert len(set(chosen)) == 6
    flat = select(atoms, 3, method="d-optimal", features=lambda c: np.zeros((len(c), 2)), rng=rng)
    assert flat == (0, 1, 2)


def test_cur_uses_features_then_descriptors_then_forces_or_displacements(rng):
    atoms = shaken(rng, 12)

    def by_hand(rows):
        return cur((rows - rows.mean(axis=0)) / rows.std(axis=0), 5)

    own = rng.normal(size=(12, 6))
    positions = np.array([a.positions.ravel() for a in atoms])
    select_cur = {"method": "cur", "rng": rng}
    given = select(atoms, 5, potential=Describing(), features=lambda _: own, **select_cur)
    assert given == by_hand(own)
    described = select(atoms, 5, potential=Describing(), **select_cur)
    assert described == by_hand(Describing().descriptors(atoms))
    forces = select(atoms, 5, potential=Plain(), **select_cur)
    assert forces == select(atoms, 5, **select_cur) == by_hand(positions)
    assert len({given, described, forces}) == 3


def test_cur_does_not_mind_units_nor_features_that_hardly_vary(rng):
    atoms = shaken(rng, 15)
    own = rng.normal(size=(15, 4))
    scaled = own * [1.0, 1e5, 1e-7, 3.0] + [0.0, 1e3, 5.0, -2.0]
    noise = 7.0 + 1e-15 * rng.normal(size=(15, 6))
    noisy = np.concatenate([scaled, noise], axis=1)
    chosen = [
        select(atoms, 4, method="cur", features=lambda _, f=f: f, rng=rng) for f in (own, noisy)
    ]
    assert chosen[0] == chosen[1]


def test_fps_describes_only_configurations_whose_atoms_differ(rng):
    atoms = shaken(rng, 8)
    known = shaken(rng, 1)

    def fps(candidates, potential, **options):
        return select(candidates, 4, potential=potential, known=known, rng=rng, **options)

    assert fps(atoms, Describing()) == fps(atoms, Plain())
    mixed = [*atoms, *shaken(rng, 2, repeat=1)]
    with pytest.raises(InputError, match="configuration 8 holds other atoms"):
        fps(mixed, Plain())
    rows = Describing().descriptors([*mixed, *known])
    rows = rows / rows[:10].std(axis=0)
    assert fps(mixed, Describing()) == tuple(
        farthest_points(rows[:10], 4, known=rows[10:], rng=rng)
    )
    own = rng.normal(size=(9, 3))
    rows = own / own[:8].std(axis=0)
    assert fps(atoms, Plain(), features=lambda _: own) == tuple(
        farthest_points(rows[:8], 4, known=rows[8:], rng=rng)
    )


def test_missing_and_wrong_features_are_refused(rng):
    atoms = shaken(rng, 4)
    for potential in (None, Plain()):
        with pytest.raises(InputError, match="needs features"):
            select(atoms, 2, method="d-optimal", potential=potential, rng=rng)
    for method in ("cur", "fps", "d-optimal"):
        with pytest.raises(InputError, match=r"4 configurations have shape \(3, 2\)"):
            select(atoms, 2, method=method, features=lambda _: np.ones((3, 2)), rng=rng)
        with pytest.raises(InputError, match="not finite"):
            select(atoms, 2, method=method, features=lambda _: np.full((4, 2), np.inf), rng=rng)
    with pytest.raises(InputError, match="configuration 4 holds other atoms"):
        select([*atoms, bulk("Si")], 2, method="cur", rng=rng)
