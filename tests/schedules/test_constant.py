"""Constant, with and without a reduced rate at the beginning."""

from fractions import Fraction
from typing import Any

import jax
import numpy as np
import pytest
from schedule_cases import (
    Case,
    Drawn,
    against_closed_form,
    at_steps,
    random_length,
    random_places,
    random_top,
    random_tops,
)

from runner.errors import ConfigError
from runner.registry import schedulers
from runner.schedules import Constant


def draw(random: np.random.Generator) -> Drawn:
    base, factor, total = random_top(random), random.uniform(0, 1), random_length(random)

    def exact(step: int) -> Fraction:
        return Fraction(base) * (Fraction(factor) if step < total else 1)

    ours = Constant(base_lr=base, factor=factor, total_iters=total)
    return at_steps(ours, random_places(random, [total]), exact)


def draw_from_pytorch(random: np.random.Generator) -> Drawn:
    base, factor, total = random_tops(random), random.uniform(0.01, 1), int(random.integers(0, 300))
    ours = Constant(base_lr=base, factor=factor, total_iters=total)
    return against_closed_form(ours, lambda s, o: s.ConstantLR(o, factor, total), base, total + 10)


CASES = {
    "constant": Case(
        Constant,
        {"base_lr": 0.1},
        {"base_lr": 0.2, "factor": 0.3, "total_iters": 7},
        lists=("base_lr",),
        formulas=({"base_lr": 0.7}, {"base_lr": 0.7, "factor": 0.3, "total_iters": 9}),
        exact=draw,
        pytorch={"constant": draw_from_pytorch},
    )
}


def test_it_is_base_lr_at_every_step() -> None:
    schedule = Constant(0.1)
    values = jax.jit(lambda schedule, step: schedule(step))(schedule, np.arange(5))
    np.testing.assert_array_equal(values, np.full(5, 0.1, np.float32))
    assert float(schedule(2**31 - 1)) == np.float32(0.1)


def test_it_has_no_cycles_and_no_momentum() -> None:
    schedule = schedulers.build("constant", {"base_lr": 0.1})
    np.testing.assert_array_equal(schedule.cycle(np.arange(3)), [0, 0, 0])
    assert list(schedule.cycle_ends(10**9)) == []
    assert not schedule.cycles_momentum
    with pytest.raises(ValueError, match="does not set the momentum"):
        schedule.momentum(0)


def test_its_rate_is_a_leaf() -> None:
    schedules = jax.tree.map(lambda *leaves: np.stack(leaves), Constant(0.25), Constant(0.5))
    values = jax.vmap(lambda schedule: schedule(7))(schedules)
    np.testing.assert_array_equal(values, [0.25, 0.5])


def test_the_rate_is_reduced_for_the_first_steps() -> None:
    schedule = Constant(base_lr=[4, 8], factor=0.25, total_iters=2)
    expected = [[1, 2], [1, 2], [4, 8], [4, 8]]
    np.testing.assert_array_equal(jax.vmap(schedule)(np.arange(4)), expected)
    np.testing.assert_array_equal(schedule.base_rate, [4, 8])


@pytest.mark.oracle
def test_it_is_that_of_pytorch(live: Any) -> None:
    expected, _ = live(lambda s, optimizer: s.ConstantLR(optimizer), [0.1, 0.3], 9)
    schedule = Constant(base_lr=[0.1, 0.3], factor=1 / 3, total_iters=5)
    np.testing.assert_allclose(jax.vmap(schedule)(np.arange(9)), expected, rtol=5e-7)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"base_lr": -0.1}, "base_lr"),
        ({"factor": 1.1}, "factor"),
        ({"factor": -0.1}, "factor"),
        ({"total_iters": -1}, "total_iters"),
        ({"total_iters": "25%"}, "total_iters"),
    ],
)
def test_bad_arguments_are_refused_by_name(change: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Constant(**{"base_lr": 1} | change)
    assert caught.value.key == key
