"""Plain functions of the step, optax's schedules among them, are schedules too."""

import jax
import numpy as np
import optax
import pytest

from runner.config import Choice
from runner.experiment.schedule import Clock, build_schedule
from runner.registry import register_scheduler
from runner.schedules import Constant, FunctionSchedule, Sequence
from runner.schedules.function import as_schedule

HALVED = optax.exponential_decay(0.5, transition_steps=2, decay_rate=0.5)


def test_the_rate_is_the_functions():
    schedule = FunctionSchedule(HALVED)
    steps = np.arange(9)
    np.testing.assert_allclose(schedule(steps), HALVED(steps), rtol=1e-6)
    assert schedule(3).dtype == np.float32
    assert not schedule.cycles_momentum
    assert list(schedule.cycle_ends(9)) == []
    assert schedule.settled_at is None
    assert [list(places) for places in schedule.phase_changes(9)] == [[]]


def test_a_function_without_a_step_in_it_keeps_the_shape_of_the_steps():
    schedule = FunctionSchedule(lambda step: 0.5)
    np.testing.assert_array_equal(schedule(np.arange(3)), np.full(3, 0.5, np.float32), strict=True)


def test_the_function_may_subtract_from_a_step():
    """Steps are unsigned within schedules, where 3 - 5 would be 4,294,967,294."""
    assert FunctionSchedule(lambda step: step - 5)(3) == -2
    assert FunctionSchedule(lambda step: step - 5)(np.uint32(3)) == -2


def test_it_is_a_pytree_without_leaves():
    assert jax.tree.leaves(FunctionSchedule(HALVED)) == []


def test_optaxs_schedules_are_parts_of_a_sequence():
    schedule = Sequence({"first": Constant(0.25), "then": HALVED}, {"first": 2, "then": None})
    np.testing.assert_allclose(schedule(np.array([0, 1, 2, 4, 6])), [0.25, 0.25, 0.5, 0.25, 0.125])


def test_optaxs_schedules_may_be_what_a_plugin_returns():
    register_scheduler("test_of_optax")(lambda: HALVED)
    schedule = build_schedule(Choice("own", "test_of_optax", {}), Clock(10, 100))
    np.testing.assert_allclose(schedule(2), 0.25)


def test_schedules_are_unchanged():
    schedule = Constant(0.5)
    assert as_schedule(schedule) is schedule


@pytest.mark.parametrize("value", [0.1, None, "0.1"])
def test_values_that_are_not_callable_are_unchanged(value):
    assert as_schedule(value) is value
