"""The constant schedule keeps to the protocol of all schedules."""

import jax
import numpy as np
import pytest
from schedule_cases import Case

from runner.errors import ConfigError
from runner.registry import schedulers
from runner.schedules import Constant

CASES = {
    "constant": Case(
        Constant,
        {"base_lr": 0.1},
        {"base_lr": 0.2},
        lists=("base_lr",),
        formulas=({"base_lr": 0.7},),
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
    with pytest.raises(ValueError, match="no momentum"):
        schedule.momentum(0)


def test_its_rate_is_a_leaf() -> None:
    schedules = jax.tree.map(lambda *leaves: np.stack(leaves), Constant(0.25), Constant(0.5))
    values = jax.vmap(lambda schedule: schedule(7))(schedules)
    np.testing.assert_array_equal(values, [0.25, 0.5])


def test_a_negative_rate_is_refused() -> None:
    with pytest.raises(ConfigError, match="base_lr"):
        Constant(-0.1)
