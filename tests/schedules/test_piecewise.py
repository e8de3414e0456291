"""Piecewise by hand, against optax, and with rates by group."""

from typing import Any

import numpy as np
import optax
import pytest
from schedule_cases import LAST, Case, Drawn, at_steps, random_places, random_top

from runner.errors import ConfigError
from runner.schedules import Piecewise


def draw(random: np.random.Generator) -> Drawn:
    count = 3  # one number of boundaries, so that all share a program
    boundaries = sorted({*(2 ** random.uniform(0, 31, 9)).astype(int).tolist()} - {0})[-count:]
    values = [random_top(random) for _ in range(count + 1)]

    def exact(step: int) -> float:
        return values[sum(boundary <= step for boundary in boundaries)]

    ours = Piecewise(boundaries=boundaries, values=values)
    return at_steps(ours, random_places(random, boundaries), exact)


CASES = {
    "piecewise": Case(
        Piecewise,
        {"boundaries": [5, 9], "values": [0.5, 0.1, 0.2]},
        {"boundaries": [1, 30], "values": [0.7, 0.0, 0.3]},
        formulas=({"boundaries": (7, 8, 30), "values": (0.7, 0.1, 0.0, 0.3)},),
        exact=draw,
    )
}


def test_each_rate_begins_at_its_boundary() -> None:
    schedule = Piecewise(boundaries=[1, 4], values=[8, 0, 2])
    np.testing.assert_array_equal(schedule(np.arange(6)), [8, 0, 0, 0, 2, 2])
    last = Piecewise(boundaries=[LAST], values=[1, 2])
    np.testing.assert_array_equal(last(np.array([LAST - 1, LAST])), [1, 2])


def test_it_is_that_of_optax() -> None:
    boundaries, values = [3, 10, 11], [0.4, 0.1, 0.8, 0.2]
    ratios = {3: 0.25, 10: 8.0, 11: 0.25}
    theirs = optax.piecewise_constant_schedule(values[0], ratios)
    expected = [float(theirs(step)) for step in range(20)]
    ours = Piecewise(boundaries=boundaries, values=values)
    np.testing.assert_allclose(ours(np.arange(20)), expected, rtol=5e-7)


def test_a_value_may_be_a_list_with_one_for_each_group() -> None:
    schedule = Piecewise(boundaries=[2], values=[0.5, [0.1, 0.2]])
    np.testing.assert_array_equal(schedule(1), np.float32([0.5, 0.5]))
    np.testing.assert_array_equal(schedule(2), np.float32([0.1, 0.2]))
    np.testing.assert_array_equal(schedule.base_rate, np.float32([0.5, 0.5]))


@pytest.mark.parametrize(
    ("change", "key", "words"),
    [
        ({"values": [1, 2]}, "values", "2 rates for 2 boundaries; write 3"),
        ({"values": [1, 2, 3, 4]}, "values", "4 rates for 2 boundaries; write 3"),
        ({"values": []}, "values", "list of rates"),
        ({"values": [1, -2, 3]}, "values[1]", "-2 is not"),
        ({"values": [[1, 2], 3, [4, -5]]}, "values[2][1]", "-5 is not"),
        ({"values": [1, [1, 2], [1, 2, 3]]}, "values[2]", r"3 rates, but values\[1\] has 2"),
        ({"boundaries": [4, 2]}, "boundaries", "2 is not greater than 4"),
        ({"boundaries": [0, 2]}, "boundaries[0]", "0 is not"),
        ({"boundaries": [1, "50%"]}, "boundaries[1]", "'50%'"),
    ],
)
def test_bad_arguments_are_refused_by_name(change: dict[str, Any], key: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        Piecewise(**{"boundaries": [2, 4], "values": [1, 2, 3]} | change)
    assert caught.value.key == key
