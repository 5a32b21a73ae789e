"""Active sets of largest volume, and the extrapolation grades that follow from them."""

from itertools import combinations

import numpy as np
import pytest

from sscha_mlp.errors import InputError, ModelError
from sscha_mlp.potentials.active_set import (
    ARTIFICIAL,
    BREAK,
    RANK_TOLERANCE,
    SAVE,
    TOLERANCE,
    ActiveSet,
    _exchange,
    configuration_grades,
    maxvol,
    select_add,
)

ROUNDING = 1e-6
"""What whitening by RANK_TOLERANCE leaves of double precision."""


def heavy_tailed(rng, n, m):
    """Rows of very different sizes, so that the choice of the active ones matters."""
    return rng.normal(size=(n, m)) * np.exp(rng.normal(size=(n, 1)))


def ill_conditioned(rng, m, condition):
    left, _ = np.linalg.qr(rng.normal(size=(m, m)))
    right, _ = np.linalg.qr(rng.normal(size=(m, m)))
    return left @ np.diag(np.geomspace(1.0, 1.0 / condition, m)) @ right


def log_volume(rows):
    return np.linalg.slogdet(rows)[1]


def columns_of_unit_size(rows):
    return rows / np.sqrt(np.mean(rows**2, axis=0))


# ----------------------------------------------------------------------------------- maxvol


def test_maxvol_leaves_no_coefficient_above_the_tolerance(rng):
    pool = heavy_tailed(rng, 400, 12)
    start = np.arange(12)
    before = np.abs(np.linalg.solve(pool[start].T, pool.T)).max()
    members = maxvol(pool, start)
    after = np.abs(np.linalg.solve(pool[members].T, pool.T)).max()
    assert before > 5.0  # there was something to do
    assert after <= TOLERANCE + 1e-10
    assert len(set(members)) == 12
    assert list(start) == list(range(12))


def test_coefficients_follow_each_exchange(rng):
    pool = heavy_tailed(rng, 60, 7)
    start = np.arange(7)
    followed = np.linalg.solve(pool[start].T, pool.T).T
    members = _exchange(followed, np.arange(60), start, TOLERANCE)
    assert len(set(members) - set(start)) >= 3
    np.testing.assert_allclose(followed, np.linalg.solve(pool[members].T, pool.T).T, atol=1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_no_single_exchange_enlarges_the_volume_and_the_best_is_not_far(seed):
    pool = heavy_tailed(np.random.default_rng(seed), 11, 4)
    members = maxvol(pool, np.arange(4))
    found = abs(np.linalg.det(pool[members]))
    for place in range(4):
        for row in range(11):
            other = members.copy()
            other[place] = row
            assert abs(np.linalg.det(pool[other])) <= found * TOLERANCE * (1 + 1e-10)
    volumes = [abs(np.linalg.det(pool[list(rows)])) for rows in combinations(range(11), 4)]
    assert found >= max(volumes) / 4**2 / TOLERANCE**4  # Hadamard: n^(n/2)
    assert found >= np.quantile(volumes, 0.95)


def test_the_active_set_beats_every_random_subset(rng):
    rows = heavy_tailed(rng, 300, 8)
    found = log_volume(rows[list(ActiveSet.of(rows).rows)])
    random = [log_volume(rows[rng.choice(300, 8, replace=False)]) for _ in range(2000)]
    assert found > max(random) + 1.0


def test_a_dependent_start_is_refused(rng):
    pool = np.concatenate([np.eye(3), rng.normal(size=(10, 3))])
    with pytest.raises(InputError, match="linearly dependent"):
        maxvol(pool, np.array([1, 1, 5]))
    with pytest.raises(InputError, match="linearly dependent"):
        maxvol(np.concatenate([np.zeros((1, 3)), pool]), np.array([0, 1, 2]))


# ------------------------------------------------------------------------------------ grades


def test_training_rows_have_grades_of_at_most_one_and_active_rows_of_one(rng):
    rows = heavy_tailed(rng, 500, 15)
    active = ActiveSet.of(rows)
    grades = active.grade(rows)
    assert grades.max() <= TOLERANCE + ROUNDING
    assert len(active.rows) == active.rank == 15
    np.testing.assert_allclose(grades[list(active.rows)], 1.0, rtol=1e-10)
    assert np.median(grades) < 0.5


def test_the_grade_is_the_largest_coefficient_in_terms_of_the_active_rows(rng):
    rows = heavy_tailed(rng, 200, 9)
    new = heavy_tailed(rng, 50, 9) * 3.0
    active = ActiveSet.of(rows)
    coefficients = np.linalg.solve(rows[active.indices].T, new.T)
    np.testing.assert_allclose(active.grade(new), np.abs(coefficients).max(axis=0), rtol=1e-9)


@pytest.mark.parametrize("condition", [1.0, 1e3, 1e6])
def test_the_grade_does_not_depend_on_the_choice_of_basis(rng, condition):
    rows, new = heavy_tailed(rng, 400, 20), 2.0 * heavy_tailed(rng, 60, 20)
    change = ill_conditioned(rng, 20, condition)
    one, other = ActiveSet.of(rows), ActiveSet.of(rows @ change)
    assert one.rows == other.rows
    np.testing.assert_allclose(other.grade(new @ change), one.grade(new), rtol=1e-12 * condition)
    assert one.grade(new).max() > SAVE


def test_the_grade_does_not_depend_on_the_units_of_the_basis_functions(rng):
    rows, new = heavy_tailed(rng, 300, 12), heavy_tailed(rng, 40, 12)
    units = 10.0 ** rng.uniform(-12.0, 12.0, 12)
    one, other = ActiveSet.of(rows), ActiveSet.of(rows * units)
    assert one.rows == other.rows
    np.testing.assert_allclose(other.grade(new * units), one.grade(new), rtol=1e-9)


@pytest.mark.parametrize("rank", [3, 8])
def test_the_grade_grows_linearly_along_a_row(rng, rank):
    rows = rng.normal(size=(60, rank)) @ rng.normal(size=(rank, 8))
    new = rng.normal(size=8)
    active = ActiveSet.of(rows)
    factors = np.array([0.0, 0.5, -3.0, 100.0])
    expected = np.abs(factors) * active.grade([new])[0]
    np.testing.assert_allclose(active.grade(np.outer(factors, new)), expected, rtol=1e-12)


def test_a_basis_too_ill_conditioned_for_an_inverse_gives_grades_all_the_same(rng):
    """Rank-deficient in floating point, as rich moment-tensor bases are."""
    truth = heavy_tailed(rng, 600, 30)
    change = ill_conditioned(rng, 30, 1e17)
    rows, new = truth[:500] @ change, truth[500:] @ change
    active = ActiveSet.of(rows)
    singular = np.linalg.svd(columns_of_unit_size(rows), compute_uv=False)
    resolved = np.count_nonzero(singular >= RANK_TOLERANCE * singular[0])
    assert resolved < 30
    assert resolved <= active.rank < 30
    assert active.grade(rows).max() <= TOLERANCE + ROUNDING
    inside = active.grade(new)
    assert 0.1 < np.median(inside) < 1.5
    np.testing.assert_allclose(active.grade(7.0 * new), 7.0 * inside, rtol=ROUNDING)


def test_configurations_are_graded_by_their_worst_atom():
    grades = [0.5, 3.0, 0.1, 0.2, 12.0]
    np.testing.assert_array_equal(
        configuration_grades(grades, [2, 0, 2, 2, 0], 4), [12.0, 0.0, 0.5, 0.0]
    )
    for owners in ([0, 0, 0, 0, 4], [0, 0, 0, 0, -1]):
        with pytest.raises(InputError, match="between 0 and 3"):
            configuration_grades(grades, owners, 4)


# -------------------------------------------------------------------- directions never seen


def test_a_direction_that_no_training_row_has_is_extrapolation(rng):
    basis = np.linalg.qr(rng.normal(size=(10, 10)))[0]
    rows = rng.normal(size=(200, 6)) @ basis[:6]
    active = ActiveSet.of(rows)
    inside = rng.normal(size=(20, 6)) @ basis[:6]
    assert active.rank == 6
    assert active.grade(rows).max() <= TOLERANCE + ROUNDING
    assert active.grade(inside).max() < SAVE
    size = np.sqrt(np.mean(inside**2))
    for direction in basis[6:]:
        assert active.grade(inside + 1e-5 * size * direction).min() > BREAK
        np.testing.assert_allclose(
            active.grade(inside + 1e-13 * size * direction), active.grade(inside), atol=1e-3
        )


def test_a_column_of_zeros_in_training_is_a_direction_never_seen(rng):
    rows = heavy_tailed(rng, 100, 6)
    rows[:, 2] = 0.0
    active = ActiveSet.of(rows)
    assert active.rank == 5
    assert active.grade(rows).max() <= TOLERANCE + ROUNDING
    new = rows[:1].copy()
    new[0, 2] = 1e-4
    assert active.grade(new)[0] > BREAK
    new[0, 2] = 1e-16
    assert active.grade(new)[0] == pytest.approx(active.grade(rows[:1])[0], abs=1e-3)


def test_the_grade_of_an_unseen_direction_has_the_size_that_is_documented(rng):
    """One column that is seen, of unit mean square: s_max is the root of the number of rows."""
    rows = np.zeros((50, 2))
    rows[:, 0] = rng.normal(size=50)
    scale = np.sqrt(np.mean(rows[:, 0] ** 2))
    new = np.array([[0.0, 1e-3]])
    expected = 1e-3 / scale * np.sqrt(50) / (RANK_TOLERANCE * np.sqrt(50))
    assert ActiveSet.of(rows).grade(new)[0] == pytest.approx(expected, rel=1e-6)


def test_the_grade_is_continuous_where_a_direction_gets_lost(rng):
    rows = rng.normal(size=(400, 5))
    grades = []
    for amplitude in (1.3e-8, 1.03e-8, 0.97e-8, 0.7e-8):
        squeezed = rows.copy()
        squeezed[:, 4] = rows[:, 3] + amplitude * rows[:, 4]
        active = ActiveSet.of(squeezed)
        grades.append(active.grade([[0.0, 0.0, 0.0, 0.0, 1.0]])[0])
    assert grades[0] > 1e5
    assert np.ptp(np.log(grades)) < 1.0


def test_a_single_row_is_its_own_active_set(rng):
    row = rng.normal(size=7)
    active = ActiveSet.of([row])
    assert active.rank == 1
    assert active.rows == (0,)
    np.testing.assert_allclose(active.grade([row, -2.5 * row]), [1.0, 2.5], rtol=1e-6)
    assert active.grade([row + 1e-3 * rng.normal(size=7)])[0] > BREAK


def test_fewer_rows_than_columns_are_all_active(rng):
    rows = heavy_tailed(rng, 5, 12)
    active = ActiveSet.of(rows)
    assert active.rows == (0, 1, 2, 3, 4)
    assert np.count_nonzero(active.indices == ARTIFICIAL) == 7
    np.testing.assert_allclose(active.grade(rows), 1.0, rtol=1e-6)
    assert active.grade([[*rows[0][:-1], 1.1 * rows[0][-1]]])[0] > BREAK


def test_copies_of_a_row_are_active_once(rng):
    rows = np.repeat(rng.normal(size=(6, 4)), 10, axis=0)
    active = ActiveSet.of(rows)
    assert active.rank == 4
    assert len({index // 10 for index in active.rows}) == 4


# --------------------------------------------------------------------------------- updating


def test_an_update_takes_in_what_extrapolates_and_numbers_it_after_the_training_rows(rng):
    rows = heavy_tailed(rng, 200, 8)
    active = ActiveSet.of(rows)
    new = np.array([0.01 * rows[0], 50.0 * rng.normal(size=8), 0.02 * rows[1]])
    before = active.grade(new)
    larger = active.update(new)
    assert before[1] > BREAK
    assert set(larger.rows) - set(range(200)) == {201}
    assert larger.n_rows == 203
    assert larger.grade(new).max() <= TOLERANCE + ROUNDING
    everything = np.concatenate([rows, new])
    gain = log_volume(everything[larger.indices]) - log_volume(rows[active.indices])
    assert gain >= np.log(before[1]) - 1e-9
    assert active.n_rows == 200 and active.grade(new)[1] == before[1]


def test_an_update_with_known_rows_changes_nothing(rng):
    rows = heavy_tailed(rng, 200, 8)
    active = ActiveSet.of(rows)
    again = active.update(rows)
    np.testing.assert_array_equal(again.indices, active.indices)
    nothing = active.update(np.empty((0, 8)))
    np.testing.assert_array_equal(nothing.indices, active.indices)


def test_an_update_fills_directions_that_were_never_seen(rng):
    rows = rng.normal(size=(50, 3)) @ rng.normal(size=(3, 6))
    active = ActiveSet.of(rows)
    new = rng.normal(size=(30, 6))
    larger = active.update(new)
    assert active.rank == 3
    assert larger.rank == 6
    assert larger.grade(rows).max() < SAVE
    coefficients = np.linalg.solve(np.concatenate([rows, new])[larger.indices].T, new.T)
    np.testing.assert_allclose(larger.grade(new), np.abs(coefficients).max(axis=0), rtol=1e-5)


@pytest.mark.parametrize("size", [1e8, 1e20, 1e40])
def test_rows_of_absurd_size_are_taken_in_and_end_the_search(rng, size):
    active = ActiveSet.of(rng.normal(size=(100, 10)))
    new = size * rng.normal(size=(80, 10)) * 10.0 ** rng.uniform(-3, 3, (80, 1))
    assert active.update(new).grade(new).max() == pytest.approx(1.0, abs=0.1)


# ------------------------------------------------------------------------------- select_add


def test_exactly_the_configurations_with_new_directions_are_selected(rng):
    """Configurations 4 and 9 hold an atom in a new direction, 6 is a copy of 4, 2 a weak 9."""
    basis = np.linalg.qr(rng.normal(size=(7, 7)))[0]
    train = rng.normal(size=(200, 5)) @ basis[:5]
    candidates = 0.5 * rng.normal(size=(12 * 4, 5)) @ basis[:5]
    owners = np.repeat(np.arange(12), 4)
    candidates[4 * 4 + 1] += 2.0 * basis[5]
    candidates[4 * 6 : 4 * 7] = candidates[4 * 4 : 4 * 5]
    candidates[4 * 9 + 3] += 5.0 * basis[6]
    candidates[4 * 2] = 0.5 * candidates[4 * 9 + 3]
    assert set(select_add(train, candidates, owners, 12)) == {4, 9}
    shuffled = rng.permutation(len(owners))
    assert set(select_add(train, candidates[shuffled], owners[shuffled], 12)) <= {4, 6, 9}
    assert len(select_add(train, candidates[shuffled], owners[shuffled], 12)) == 2


def test_the_configuration_of_highest_grade_comes_first_and_the_cap_holds(rng):
    train = rng.normal(size=(100, 6))
    candidates = np.diag([30.0, 500.0, 90.0, 4000.0, 1e-3, 7.0])
    owners = np.array([40, 10, 30, 20, 50, 60])
    active = ActiveSet.of(train)
    everything = select_add(train, candidates, owners, 10)
    assert everything[0] == owners[np.argmax(active.grade(candidates))] == 20
    assert set(everything) == {20, 10, 30, 40, 60}
    for n_max in range(5):
        assert select_add(train, candidates, owners, n_max) == everything[:n_max]


def test_nothing_is_selected_inside_the_training_data(rng):
    train = rng.normal(size=(300, 6))
    candidates = 0.3 * train[:40] + 0.3 * train[40:80]
    assert select_add(train, candidates, np.arange(40), 40) == ()
    assert select_add(train, train, np.arange(300), 300) == ()
    beyond = 1.4 * train[list(ActiveSet.of(train).rows)]
    owners = np.arange(6)
    assert len(select_add(train, beyond, owners, 6)) == 6
    assert select_add(train, beyond, owners, 6, threshold=SAVE) == ()


def test_what_was_selected_leaves_nothing_to_extrapolate_to(rng):
    train = heavy_tailed(rng, 400, 10)
    candidates = 1.5 * heavy_tailed(rng, 600, 10)
    owners = np.repeat(np.arange(60), 10)
    chosen = select_add(train, candidates, owners, 60)
    assert 1 <= len(chosen) < 20
    assert len(set(chosen)) == len(chosen)
    assert ActiveSet.of(train).grade(candidates).max() > SAVE
    enlarged = np.concatenate([train, candidates[np.isin(owners, chosen)]])
    assert ActiveSet.of(enlarged).grade(candidates).max() < SAVE


def test_without_training_rows_the_candidates_span_their_space(rng):
    rows = np.repeat(rng.normal(size=(4, 6)), 5, axis=0)
    chosen = select_add(np.empty((0, 6)), rows, np.arange(20), 20)
    assert len(chosen) == 4
    assert np.linalg.matrix_rank(rows[list(chosen)]) == 4
    assert select_add(np.zeros((3, 6)), rows, np.arange(20), 20) == chosen
    assert select_add((), np.zeros((5, 6)), np.arange(5), 5) == ()


def test_a_configuration_whose_rows_are_all_displaced_is_not_needed():
    """Configuration 0 is taken first for its grade of 10; 2 does better beside 1."""
    candidates = np.array([[10.0, 9.0], [9.5, -9.5], [9.9, 9.9]])
    assert select_add(np.eye(2), candidates, [0, 1, 2], 3) == (1, 2)
    assert select_add(np.eye(2), candidates, [0, 1, 2], 2) == (0, 1)
    assert select_add(np.eye(2), candidates, [0, 1, 2], 1) == (0,)


# -------------------------------------------------------------------------- storage, errors


def test_an_active_set_survives_a_file(rng, tmp_path):
    rows = rng.normal(size=(40, 4)) @ rng.normal(size=(4, 6))
    active = ActiveSet.of(rows)
    np.savez(tmp_path / "active.npz", **active.to_arrays())
    with np.load(tmp_path / "active.npz") as arrays:
        back = ActiveSet.from_arrays(arrays)
    new = rng.normal(size=(9, 6))
    np.testing.assert_array_equal(back.grade(new), active.grade(new))
    np.testing.assert_array_equal(back.update(new).indices, active.update(new).indices)
    assert back.rows == active.rows and back.n_rows == 40


def test_damaged_arrays_are_refused(rng):
    arrays = ActiveSet.of(rng.normal(size=(40, 6))).to_arrays()
    with pytest.raises(ModelError, match="lacks indices, n_rows"):
        ActiveSet.from_arrays({name: arrays[name] for name in ("whitening", "members")})
    for change, message in [
        ({"members": arrays["members"][:5]}, "damaged"),
        ({"indices": arrays["indices"] + 40}, "beyond its 40 rows"),
        ({"indices": arrays["indices"] - 50}, "beyond its 40 rows"),
        ({"whitening": arrays["whitening"] * np.nan}, "not finite"),
        ({"members": np.array(["a"] * 6)}, "cannot be read"),
    ]:
        with pytest.raises(ModelError, match=message):
            ActiveSet.from_arrays(arrays | change)


def test_arrays_cannot_be_changed_and_inputs_are_not(rng):
    rows = rng.normal(size=(40, 6))
    copy = rows.copy()
    active = ActiveSet.of(rows)
    select_add(rows, 3.0 * rows, np.arange(40), 5)
    np.testing.assert_array_equal(rows, copy)
    with pytest.raises(ValueError, match="read-only"):
        active.members[0, 0] = 1.0


def test_the_same_rows_give_the_same_active_set(rng):
    rows = heavy_tailed(rng, 300, 10)
    one, other = ActiveSet.of(rows), ActiveSet.of(rows.copy())
    np.testing.assert_array_equal(one.indices, other.indices)
    np.testing.assert_array_equal(one.grade(rows), other.grade(rows))


def test_wrong_rows_are_refused(rng):
    active = ActiveSet.of(rng.normal(size=(20, 4)))
    with pytest.raises(InputError, match="not zero"):
        ActiveSet.of(np.zeros((5, 4)))
    with pytest.raises(InputError, match="not zero"):
        ActiveSet.of(np.empty((0, 4)))
    with pytest.raises(InputError, match=r"shape \(4,\)"):
        active.grade(np.ones(4))
    with pytest.raises(InputError, match=r"\(n, 4\) is needed"):
        active.update(np.ones((3, 5)))
    with pytest.raises(InputError, match="not finite"):
        active.grade([[1.0, 2.0, np.nan, 0.0]])
    with pytest.raises(InputError, match="3 integers"):
        select_add(np.eye(4), np.ones((3, 4)), [0, 1], 2)
    with pytest.raises(InputError, match="3 integers"):
        select_add(np.eye(4), np.ones((3, 4)), [0.0, 1.0, 2.0], 2)
    with pytest.raises(InputError, match=r"\(n, 5\) is needed"):
        select_add(np.eye(5), np.ones((3, 4)), [0, 1, 2], 2)
    with pytest.raises(InputError, match="n_max"):
        select_add(np.eye(4), np.ones((3, 4)), [0, 1, 2], -1)


def test_no_rows_have_no_grades(rng):
    active = ActiveSet.of(rng.normal(size=(20, 4)))
    assert active.grade(np.empty((0, 4))).shape == (0,)
    assert active.grade(np.zeros((2, 4))).tolist() == [0.0, 0.0]
