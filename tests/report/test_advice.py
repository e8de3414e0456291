"""Warnings before a run, against cycle ends and epochs counted by hand."""

from types import SimpleNamespace

import pytest

from runner.registry import schedulers
from runner.report.advice import warnings
from runner.report.cycle_advice import nearest_cycle_ends
from runner.schedules import (
    Constant,
    Cosine,
    CosineRestarts,
    CyclicLR,
    Linear,
    MultiStep,
    OneCycle,
    Sequence,
    triangular_lr,
)


def advice(schedule, *, steps, steps_per_epoch=20, optimizer="sgd", factor=1.0, **arguments):
    config = SimpleNamespace(
        auto=None,
        scheduler=choice(schedule, **arguments),
        hparams={f"scheduler.{name}": value for name, value in arguments.items()},
        optimizer=SimpleNamespace(option=optimizer),
        wrappers=SimpleNamespace(lookahead=SimpleNamespace(sync_period=None)),
    )
    experiment = SimpleNamespace(
        config=config,
        schedule=schedule,
        lengths=SimpleNamespace(steps=steps, steps_per_epoch=steps_per_epoch),
        static=SimpleNamespace(optimizer=SimpleNamespace(name=optimizer)),
        hyperparams=SimpleNamespace(wrappers=SimpleNamespace(multiplier=factor)),
    )
    return warnings(experiment)


def choice(schedule, **settings):
    """What a configuration would have chosen to get ``schedule``, as far as advice reads it."""
    (name,) = (name for name, f in schedulers.built_in().items() if f is type(schedule))
    name = "triangular_lr" if "step_size" in settings else name
    unset = {"step_size_up": None, "step_size_down": None, "mode": "triangular", "gamma": 1.0}
    unset |= {"base_lr": 0.1}
    return SimpleNamespace(name=name, settings=SimpleNamespace(**unset | settings))


def cyclic(up, down=None, **arguments):
    bounds = {"base_lr": 0.01, "max_lr": 0.1}
    return CyclicLR(step_size_up=up, step_size_down=down, **bounds | arguments)


@pytest.mark.parametrize(
    ("steps", "nearest"),
    [(400, [300, 450]), (450, [450, 600]), (449, [300, 450]), (100, [150]), (150, [150, 300])],
)
def test_the_nearest_ends_of_cycles_of_150_steps(steps, nearest):
    assert nearest_cycle_ends(cyclic(100, 50), steps) == nearest


def test_cycles_started_halfway_end_earlier():
    assert nearest_cycle_ends(cyclic(100, 50, last_epoch=60), 400) == [390, 540]


def test_the_longest_possible_cycle_has_no_end_after_it():
    schedule = cyclic(2**30, 2**30 - 1)
    assert nearest_cycle_ends(schedule, 2**31 - 1) == [2**31 - 1]


def test_a_warning_about_an_unfinished_cycle_names_the_nearest_lengths():
    (warning,) = advice(cyclic(100, 50), steps=400)
    assert "training.steps=300 or training.steps=450" in warning
    assert advice(cyclic(100, 50), steps=450) == []


def test_a_constant_rate_gives_no_warning():
    assert advice(Constant(base_lr=0.1), steps=400) == []


def test_half_cycles_outside_2_to_10_epochs_are_named_with_their_length():
    (short,) = advice(cyclic(30, 100), steps=260, step_size_up=30, step_size_down=100)
    assert short.startswith("scheduler.step_size_up: 1.5 epochs")
    (long,) = advice(cyclic(100, 300), steps=400, step_size_up=100, step_size_down=300)
    assert long.startswith("scheduler.step_size_down: 15 epochs")
    assert advice(cyclic(40, 200), steps=240, step_size_up=40, step_size_down=200) == []


def test_bounds_more_than_a_hundredfold_apart_give_a_warning():
    (warning,) = advice(cyclic(100, base_lr=0.001, max_lr=0.11), steps=400)
    assert warning.startswith("scheduler.max_lr: 0.11 is 110 times base_lr 0.001")
    assert advice(cyclic(100, base_lr=0.001, max_lr=0.09), steps=400) == []


def test_equal_bounds_and_growing_amplitudes_give_a_warning():
    (equal,) = advice(cyclic(100, base_lr=0.1), steps=400)
    assert "equals base_lr" in equal
    (growing,) = advice(cyclic(100), steps=400, mode="exp_range", gamma=1.001)
    assert growing.startswith("scheduler.gamma: 1.001 is above 1")


def test_rates_for_sgd_give_a_warning_with_adam():
    (warning,) = advice(cyclic(100), steps=400, optimizer="adam")
    assert warning.startswith("scheduler.max_lr: 0.1 is high for adam")
    assert advice(cyclic(100, base_lr=1e-4, max_lr=0.006), steps=400, optimizer="adam") == []
    assert advice(cyclic(100), steps=400, optimizer="adam", factor=0.1) == []
    assert advice(cyclic(100), steps=400, optimizer="sgd") == []


def test_unknown_settings_give_no_warning():
    assert advice(cyclic(100, 1), steps=404, length="5ep") == []


def test_the_one_step_size_of_triangular_lr_is_named_once():
    schedule = triangular_lr(base_lr=0.01, max_lr=0.1, step_size=30)
    (warning,) = advice(schedule, steps=60, step_size=30)
    assert warning.startswith("scheduler.step_size: 1.5 epochs")


def test_the_bounds_of_every_group_are_checked():
    warnings = advice(cyclic(100, base_lr=[0.001, 0.1], max_lr=[0.2, 0.1]), steps=400)
    assert [warning.split(" is ")[0].split(" equals")[0] for warning in warnings] == [
        "scheduler.max_lr: 0.2",
        "scheduler.max_lr: 0.1",
    ]


def test_a_run_shorter_than_its_one_cycle_gives_a_warning_and_a_longer_one_does_not():
    (warning,) = advice(OneCycle(max_lr=1, total_steps=500), steps=400)
    assert "training.steps=500 ends with a cycle" in warning
    for steps in (500, 520):
        assert advice(OneCycle(max_lr=1, total_steps=500), steps=steps) == []


def test_a_run_that_ends_between_restarts_gives_a_warning_and_one_descent_does_not():
    (warning,) = advice(CosineRestarts(base_lr=1, T_0=100, T_mult=2), steps=400)
    assert "training.steps=300 or training.steps=700" in warning
    assert advice(CosineRestarts(base_lr=1, T_0=100), steps=400) == []
    assert advice(Cosine(base_lr=1, T_max=400), steps=400) == []


def test_warnings_about_cyclic_parts_of_a_sequence_have_the_keys_of_the_parts():
    parts = {"rest": Constant(0.1), "cycles": cyclic(30, 100)}
    schedule = Sequence(parts, {"rest": 40, "cycles": None})
    choices = {"rest": choice(parts["rest"]), "cycles": choice(parts["cycles"], step_size_up=30)}
    unfinished, jump, short = advice(schedule, steps=400, parts=choices)
    assert "jumps from 0.1 to 0.01 at step 40, where scheduler.parts.cycles begins" in jump
    assert "training.steps=300 or training.steps=430" in unfinished
    assert short.startswith("scheduler.parts.cycles.step_size_up: 1.5 epochs")


@pytest.mark.parametrize(
    ("steps", "share"),
    [
        (40, "50%"),  # no whole cycle of 200 steps
        (290, "50%"),  # one of 290 instead of 200
        (500, "25%"),  # two of 250
        (9_370, "1.163%"),  # 43 of 218, as 44 to 47 whole cycles would end 6 to 30 steps off
    ],
)
def test_a_warning_about_an_unfinished_cycle_offers_a_share_of_the_run(steps, share):
    (warning,) = advice(cyclic(100), steps=steps, step_size_up=100)
    offered = f"scheduler.step_size_up={share}"
    assert f"; {offered} ends with a cycle" in warning or f"; {offered} or training" in warning


def test_an_offered_share_keeps_the_proportion_of_two_halves():
    (warning,) = advice(cyclic(60, 180), steps=400, step_size_up=60, step_size_down=180)
    assert "scheduler.step_size_up=12.5% scheduler.step_size_down=37.5% or training" in warning


def test_a_far_longer_run_is_not_advised_where_a_share_fits():
    (warning,) = advice(cyclic(4685), steps=937, steps_per_epoch=937, step_size_up="5ep")
    assert "; scheduler.step_size_up=50% ends with a cycle" in warning
    assert "training.steps" not in warning


@pytest.mark.parametrize("steps", [879, 881, 4684, 4685])
def test_a_cycle_that_ends_a_rounding_error_away_from_the_run_gives_no_warning(steps):
    assert advice(cyclic(round(steps / 8)), steps=steps, step_size_up="12.5%") == []


def test_half_cycles_given_as_shares_of_the_run_may_have_any_length():
    for steps in (80, 8_000):
        assert advice(cyclic(steps // 4), steps=steps, step_size_up="25%") == []


def test_a_schedule_that_the_run_cuts_off_gives_a_warning():
    (warning,) = advice(Cosine(base_lr=0.1, T_max=800), steps=400, T_max=800)
    said = "scheduler.T_max: the schedule takes 800 steps, so the run of 400 steps cuts it off at a"
    assert warning.startswith(f"{said} rate of 0.05, not 0; scheduler.T_max=100% fits it")
    assert advice(Cosine(base_lr=0.1, T_max=410), steps=400, T_max=410) == []  # 0.00015, not 0


def test_a_schedule_that_rests_after_its_decay_gives_a_warning_and_a_warm_up_does_not():
    (warning,) = advice(OneCycle(max_lr=0.2, total_steps=500), steps=880, total_steps=500)
    assert warning.startswith("scheduler.total_steps: the rate stays at 8e-07 for the last 381 of")
    assert "880 steps of the run (43%); scheduler.total_steps=100% fits it" in warning
    assert advice(Linear(base_lr=0.1, total_iters=100), steps=880) == []
    assert advice(MultiStep(base_lr=0.1, milestones=[100]), steps=880) == []
    decay = Linear(base_lr=0.1, start_factor=1.0, end_factor=0.0, total_iters=100)
    (falls,) = advice(decay, steps=880)
    assert "stays at 0 for the last 780" in falls


def in_sequence(first, *, length, steps=880):
    parts = {"warmup": first, "rest": Constant(0.1)}
    schedule = Sequence(parts, {"warmup": length, "rest": None})
    choices = {name: choice(part) for name, part in parts.items()}
    return advice(schedule, steps=steps, parts=choices)


def test_a_ramp_that_its_part_cuts_off_gives_a_warning_and_so_does_the_jump():
    ramp = Linear(base_lr=0.1, start_factor=0.1, total_iters=220)
    jump, cut = in_sequence(ramp, length=44)
    at_seam = "scheduler: the rate jumps from 0.028 to 0.1 at step 44, where scheduler.parts.rest"
    assert jump.startswith(at_seam)
    takes = "scheduler.parts.warmup.total_iters: the schedule takes 220 steps, so the part of 44"
    assert cut.startswith(takes)
    assert in_sequence(ramp, length=220) == []
    assert in_sequence(ramp, length=0) == []


def test_a_ramp_that_rests_within_its_part_gives_a_warning():
    (rest,) = in_sequence(Linear(base_lr=0.1, start_factor=0.1, total_iters=20), length=44)
    assert rest.startswith("scheduler.parts.warmup.total_iters: the rate stays at 0.1 for the last")


@pytest.mark.parametrize(
    ("first", "key", "says"),
    [
        (
            OneCycle(max_lr=0.1, total_steps=220),
            "total_steps",
            "the schedule takes 219 steps, so the part of 44 steps cuts it off",
        ),
        (
            # The last of its 20 steps, number 19, has the rate 0.1 / 25 / 10,000.
            OneCycle(max_lr=0.1, total_steps=20),
            "total_steps",
            "the rate stays at 4e-07 for the last 25 of 44 steps of the part (57%)",
        ),
        (
            # 0.05 * (1 + cos(π / 5)) = 0.0905
            Cosine(base_lr=0.1, T_max=220),
            "T_max",
            "the schedule takes 220 steps, so the part of 44 steps cuts it off at a rate of "
            "0.0905, not 0",
        ),
        (
            Cosine(base_lr=0.1, T_max=20),
            "T_max",
            "the rate stays at 0 for the last 24 of 44 steps of the part (55%)",
        ),
    ],
    ids=["one_cycle cut off", "one_cycle at rest", "cosine cut off", "cosine at rest"],
)
def test_a_decay_that_its_part_cuts_off_or_outlasts_gives_a_warning(first, key, says):
    found = in_sequence(first, length=44)
    (warning,) = (line for line in found if "jumps" not in line)
    assert warning.startswith(f"scheduler.parts.warmup.{key}: {says}")


def test_equal_bounds_of_a_decay_give_a_warning():
    (warning,) = advice(Cosine(base_lr=0.1, T_max=400, eta_min=0.1), steps=400, eta_min=0.1)
    assert warning == (
        "scheduler.eta_min: 0.1 equals base_lr, so the rate does not change between them"
    )
