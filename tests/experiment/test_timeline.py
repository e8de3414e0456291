"""The schedule of a run before the run: rates of zero, and what another length changes."""

import jax
import numpy as np
import pytest

from runner.cli.commands import configure
from runner.errors import ConfigError
from runner.experiment.build import build
from runner.experiment.timeline import compute_timeline, effect_of_length


@pytest.fixture(scope="module")
def short():
    return build(configure("model=linear", "training.steps=50"), jax.devices("cpu")[0])


def under(experiment, *overrides):
    return experiment.under(configure(*overrides).scheduler)


@pytest.mark.parametrize(
    "overrides",
    [
        ["scheduler=constant", "scheduler.base_lr=0"],
        ["scheduler.base_lr=0"],  # the first rate of every cycle
    ],
)
def test_a_rate_of_zero_that_was_asked_for_is_accepted(short, overrides):
    lowest, _ = compute_timeline(under(short, *overrides)).ranges["lr"]
    assert lowest == 0


def test_a_rate_that_falls_to_zero_at_once_is_refused_in_runs_of_more_than_two_steps(short):
    steep = under(short, "scheduler=polynomial", "scheduler.power=1e38")
    assert compute_timeline(steep.lasting(2)).ranges["lr"] == (0, pytest.approx(0.1))
    for steps in (3, 50):
        with pytest.raises(ConfigError, match="0 at every step but the first"):
            compute_timeline(steep.lasting(steps))


def test_the_ranges_are_those_of_every_step(short):
    found = compute_timeline(short)
    assert found.ranges["lr"] == pytest.approx((0.01, 0.2), abs=0.02)
    np.testing.assert_array_equal(found.sample.steps, np.arange(50))


def test_the_largest_effect_of_another_length_is_named(short):
    """Rates 0.1 (1 - t / 50) and 0.1 (1 - t / 40): they differ most at the last common step."""
    falling = ["scheduler=linear", "scheduler.start_factor=1", "scheduler.end_factor=0"]
    line = under(short, *falling, "scheduler.base_lr=0.1", "scheduler.total_iters=100%")
    assert effect_of_length(line, 40) == (
        "with 50 steps instead of 40 the schedule changes: at step 39 the rate is 0.022 instead "
        "of 0.0025"
    )
    fixed = under(short, "scheduler=constant")
    assert effect_of_length(fixed, 40) is None
