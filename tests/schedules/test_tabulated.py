"""A schedule whose rates are given one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from runner.schedules.tabulated import Tabulated


def test_each_step_has_its_entry_and_the_last_one_holds():
    schedule = Tabulated(rates=[0.5, 2.0, 0.125])
    assert [float(schedule(step)) for step in (0, 1, 2, 3, 2**31 - 1)] == [
        0.5,
        2,
        0.125,
        0.125,
        0.125,
    ]


def test_groups_have_a_column_each_and_momenta_are_optional():
    rates = np.arange(8, dtype=np.float32).reshape(4, 2)
    schedule = Tabulated(rates=rates, momenta=[0.5, 0.25, 0.5, 0.75])
    np.testing.assert_array_equal(schedule(2), [4, 5])
    assert float(schedule.momentum(1)) == 0.25
    with pytest.raises(ValueError, match="does not set the momentum"):
        Tabulated(rates=rates).momentum(1)


def test_tables_of_one_length_share_a_program():
    traced = []

    @jax.jit
    def compute(schedule, step):
        traced.append(step)
        return schedule(step)

    assert float(compute(Tabulated(rates=[1, 2]), jnp.int32(1))) == 2
    assert float(compute(Tabulated(rates=[3, 4]), jnp.int32(1))) == 4
    assert len(traced) == 1
