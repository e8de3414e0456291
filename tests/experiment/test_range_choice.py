"""Which settings of a scheduler a range test's answer goes to, and how cycles fit a run."""

from dataclasses import replace

import pytest

from runner.cli.commands import configure
from runner.experiment.lengths import Lengths
from runner.experiment.range_choice import (
    changes,
    group_factors,
    option_of,
    suggested_scheduler,
)
from runner.experiment.schedule import Clock, build_schedule
from runner.ranges import Answer, Spread

ANSWER = Answer(
    base_lr=0.0123456,
    max_lr=0.251999,
    step_size_epochs=5.0,
    base_lr_spread=Spread(0.01, 0.02),
    max_lr_spread=Spread(0.2, 0.3),
    reasons=(),
)
GROUPS = ("optimizer.groups={head: Dense_2/*, body: Dense_0/*}",)


def lengths(steps=880, steps_per_epoch=22):
    return Lengths(64, steps_per_epoch, steps, None, 1, None)


def suggested(*overrides, steps=880, steps_per_epoch=22, **changes):
    scheduler = configure(*overrides).scheduler
    answer = replace(ANSWER, **changes)
    return suggested_scheduler(scheduler, answer, lengths(steps, steps_per_epoch))


@pytest.mark.parametrize("option", ["triangular", "triangular2", "exp_range", "triangular_lr"])
def test_a_cycle_gets_both_bounds_and_the_step_size(option):
    settings = dict(suggested(f"scheduler={option}").settings)
    assert (settings["base_lr"], settings["max_lr"]) == (0.0123, 0.252)
    assert settings["step_size" if option == "triangular_lr" else "step_size_up"] == "5ep"
    assert settings.get("step_size_down") is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("one_cycle", "max_lr"),
        ("wsd", "base_lr"),
        ("cosine", "base_lr"),
        ("constant", "base_lr"),
        ("reduce_on_plateau", "base_lr"),
        ("inverse_sqrt", "base_lr"),
    ],
)
def test_a_scheduler_with_one_rate_gets_the_upper_bound_and_nothing_else_changes(option, name):
    before = dict(configure(f"scheduler={option}").scheduler.settings)
    after = dict(suggested(f"scheduler={option}").settings)
    assert after == before | {name: 0.252}


def test_other_rates_keep_their_ratio_to_the_one_that_is_found():
    settings = suggested("scheduler=cosine", "scheduler.base_lr=0.5", "scheduler.eta_min=0.05")
    assert settings.settings.eta_min == pytest.approx(0.0252)
    values = suggested("scheduler=piecewise", "scheduler.values=[0.1,0.4,0.2]").settings.values
    assert values == pytest.approx((0.063, 0.252, 0.126))


def test_the_highest_rate_of_a_sequence_is_the_upper_bound():
    own = "scheduler.parts.warmup.base_lr=0.2", "scheduler.parts.cycles.base_lr=0.8"
    parts = suggested("scheduler=sequence", *own).settings.parts
    assert [part.settings.base_lr for part in parts.values()] == pytest.approx([0.063, 0.252])


def test_the_parts_of_a_product_are_relative_and_stay():
    before = configure("scheduler=chained").scheduler.settings.parts
    settings = suggested("scheduler=chained").settings
    assert settings.base_lr == 0.252
    assert settings.parts == before


def test_groups_keep_their_ratios_and_no_lower_bound_is_above_its_upper_one():
    own = "scheduler.base_lr=[0.1,0.2,0.1]", "scheduler.max_lr=[0.4,0.2,1]"
    settings = suggested(*GROUPS, *own).settings
    assert settings.max_lr == pytest.approx((0.1008, 0.0504, 0.252))
    assert settings.base_lr == pytest.approx((0.00615, 0.0123, 0.00615))
    tight = suggested(*GROUPS, *own, base_lr=0.2).settings
    assert tight.base_lr == pytest.approx((0.1, 0.0504, 0.1))
    scheduler = configure(*GROUPS, *own).scheduler
    assert group_factors(scheduler) == pytest.approx((0.4, 0.2, 1))
    assert group_factors(configure().scheduler) == 1


def test_lower_bounds_of_zero_get_the_ratios_of_the_upper_ones():
    own = "scheduler.base_lr=0", "scheduler.max_lr=[0.4,0.2,0.8]"
    settings = suggested(*GROUPS, *own).settings
    assert settings.max_lr == pytest.approx((0.126, 0.063, 0.252))
    assert settings.base_lr == pytest.approx((0.00615, 0.003075, 0.0123))


def test_rates_of_zero_have_no_ratio_to_keep():
    settings = suggested("scheduler=cosine", "scheduler.base_lr=0", "scheduler.eta_min=0").settings
    assert (settings.base_lr, settings.eta_min) == (0.252, 0)
    none = configure(*GROUPS, "scheduler=constant", "scheduler.base_lr=[0,0,0]").scheduler
    assert group_factors(none) == 1


@pytest.mark.parametrize("steps", [2, 7, 40, 97, 880, 1000, 12345])
@pytest.mark.parametrize("epochs", [2.0, 5.5, 10.0])
def test_a_run_has_three_cycles_or_more_and_ends_near_a_cycle_end(steps, epochs):
    found = suggested(steps=steps, step_size_epochs=epochs)
    schedule = build_schedule(found, Clock(22, steps))
    up, down = int(schedule.step_size_up), int(schedule.step_size_down)
    assert abs(up - down) <= 1
    ends = schedule.cycle_ends(steps)
    assert steps - ends[-1] < len(ends)
    assert len(ends) >= 3 or steps == 2
    wanted = min(epochs * 22, steps / 8)
    if steps >= 40:
        assert wanted / 1.7 < up < wanted * 1.7


def test_a_descent_keeps_its_share_of_the_cycle():
    own = "scheduler.step_size_up=1ep", "scheduler.step_size_down=3ep"
    settings = suggested(*own).settings
    assert (settings.step_size_up, settings.step_size_down) == ("2.5ep", "7.5ep")


def test_settings_that_are_kept_stay():
    scheduler = configure("scheduler.step_size_up=3ep").scheduler
    found = suggested_scheduler(scheduler, ANSWER, lengths(), kept=["step_size_up"])
    assert found.settings.step_size_up == "3ep"
    assert found.settings.max_lr == 0.252


def test_an_option_has_all_settings_as_plain_values():
    option = option_of(configure("scheduler=sequence").scheduler)
    assert option["name"] == "sequence"
    assert option["lengths"] == {"warmup": "25%", "cycles": None}
    assert option["parts"]["cycles"]["name"] == "cosine_restarts"


def test_the_interval_of_a_step_decay_is_no_half_cycle():
    """StepLR's step_size is how long each rate lasts."""
    before = configure("scheduler=step").scheduler.settings
    assert suggested("scheduler=step").settings.step_size == before.step_size


@pytest.mark.parametrize("given", ["step_size_up=1ep", "step_size_down=1ep"])
def test_a_length_that_is_given_leaves_the_other_as_it_is(given):
    """132 steps would have an odd cycle of 33."""
    name, value = given.split("=")
    scheduler = configure("scheduler=triangular", f"scheduler.{given}").scheduler
    found = suggested_scheduler(scheduler, ANSWER, lengths(132), kept=(name,)).settings
    before = configure("scheduler=triangular").scheduler.settings
    other = {"step_size_up": "step_size_down", "step_size_down": "step_size_up"}[name]
    assert getattr(found, name) == value
    assert getattr(found, other) == getattr(before, other)
    assert found.max_lr == 0.252


@pytest.mark.parametrize("steps", [132, 880, 900, 1000])
def test_symmetric_cycles_fill_the_run(steps):
    """132 steps have no four even cycles, but three of 44 or six of 22."""
    scheduler = suggested("scheduler=triangular_lr", steps=steps)
    half = Clock(22, steps).to_steps(scheduler.settings.step_size, "step_size")
    assert steps % (2 * half) == 0
    assert 3 <= steps / (2 * half) <= 8


def test_the_factors_of_groups_are_those_of_their_highest_rates():
    two = "optimizer.groups={head: Dense_2/*}"
    values = "scheduler.values=[[0.1,0.2],[0.02,0.03]]"
    pieces = configure("scheduler=piecewise", two, "scheduler.boundaries=[50%]", values)
    assert group_factors(pieces.scheduler) == (0.5, 1.0)
    cycle = configure("scheduler=triangular", two, "scheduler.max_lr=[0.1,0.4]")
    assert group_factors(cycle.scheduler) == (0.25, 1.0)
    assert group_factors(configure("scheduler=triangular", two).scheduler) == 1.0


@pytest.mark.parametrize(
    "overrides",
    [
        ("scheduler=triangular",),
        ("scheduler=one_cycle", "scheduler.max_lr=0.3"),
        (
            "scheduler=triangular",
            "scheduler.max_lr=[0.1,0.2]",
            "optimizer.groups={head: Dense_2/*}",
        ),
        ("scheduler=sequence",),
    ],
)
def test_the_changes_of_a_scheduler_turn_it_into_the_other(overrides):
    before = configure(*overrides).scheduler
    after = suggested_scheduler(before, ANSWER, lengths())
    lines = changes(before, after)
    assert lines
    assert option_of(configure(*overrides, *lines).scheduler) == option_of(after)
