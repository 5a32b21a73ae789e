"""The plan of a sweep: its points, their order, and what each one starts from."""

import pytest

from sscha_mlp.errors import ConfigError
from sscha_mlp.studies.sweep.plan import first_point, plan_points, read_values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0:2000:500", (0.0, 500.0, 1000.0, 1500.0, 2000.0)),
        ("0:1:0.1", tuple(round(0.1 * n, 10) for n in range(11))),
        ("0:10:3", (0.0, 3.0, 6.0, 9.0)),
        ("600, 300,300", (300.0, 600.0)),
        ("-5:5:5", (-5.0, 0.0, 5.0)),
        ("300", (300.0,)),
        ("300:300:50", (300.0,)),
    ],
)
def test_ranges_and_values(text, values):
    assert read_values(text, "--T") == values


@pytest.mark.parametrize(
    "text",
    ["", "hot", "0:100", "0:100:0", "0:100:-5", "100:0:10", "1,,2", "nan", "inf", "0:1e9:1"],
)
def test_what_is_no_range_is_refused(text):
    with pytest.raises(ConfigError, match="--T"):
        read_values(text, "--T")


def test_a_sweep_begins_hot_and_without_pressure():
    assert first_point([0.0, 300.0, 900.0], [-2.0, 0.0, 5.0]) == (900.0, 0.0)
    assert first_point([300.0], [5.0, 10.0]) == (300.0, 5.0)


def test_each_point_starts_from_a_neighbour_that_comes_before():
    temperatures, pressures = [0.0, 100.0, 200.0, 300.0], [0.0, 5.0, 10.0]
    points = plan_points(temperatures, pressures, (200.0, 5.0))
    assert len(points) == 12 and len({one.name for one in points}) == 12
    seen = set()
    for one in points:
        if one.parent is None:
            assert (one.temperature, one.pressure, one.generation) == (200.0, 5.0, 0)
        else:
            assert one.parent.name in seen and one.generation == one.parent.generation + 1
            steps = (
                abs(
                    temperatures.index(one.temperature) - temperatures.index(one.parent.temperature)
                ),
                abs(pressures.index(one.pressure) - pressures.index(one.parent.pressure)),
            )
            assert sorted(steps) == [0, 1]
        seen.add(one.name)
        assert [*one.ancestors()][-1:] in ([], [points[0]])


def test_points_of_one_generation_do_not_stand_on_each_other():
    points = plan_points([0.0, 100.0, 200.0], [0.0, 5.0], (200.0, 0.0))
    for one in points:
        assert all(other.generation < one.generation for other in one.ancestors())
