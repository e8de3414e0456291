"""Where the formula of a schedule changes and where its rate settles, by hand and as laws."""

import numpy as np
import pytest
from schedule_cases import LAST, discovered

from runner.schedules import (
    WSD,
    Chained,
    Constant,
    Cosine,
    CosineRestarts,
    CyclicLR,
    Exponential,
    FlatCosine,
    InverseSqrt,
    Linear,
    MultiStep,
    OneCycle,
    Polynomial,
    Sequence,
    Step,
    WarmupCosine,
)

CASES = discovered()


def changes(schedule, steps):
    return sorted({place for places in schedule.phase_changes(steps) for place in places})


@pytest.mark.parametrize("name", CASES)
def test_the_rate_stays_the_same_from_the_step_at_which_it_settles(name):
    for schedule in CASES[name].schedules():
        settled = schedule.settled_at
        if settled is not None:
            after = np.asarray(schedule(np.array([settled, settled + 1, settled + 50, LAST])))
            assert (after == after[0]).all()
            assert settled == 0 or schedule(settled - 1).tolist() != after[0].tolist()


@pytest.mark.parametrize("name", CASES)
def test_phase_changes_lie_within_the_run_in_increasing_order(name):
    for schedule in CASES[name].schedules():
        for places in schedule.phase_changes(50):
            assert list(places) == sorted({int(place) for place in places})
            assert all(1 <= place <= 50 for place in places)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (CyclicLR(step_size_up=30, step_size_down=70), [30, 130, 230]),
        (CyclicLR(step_size_up=30, step_size_down=70, last_epoch=40), [90, 190, 290]),
        # It starts at a peak; the next one is a cycle later.
        (CyclicLR(step_size_up=30, step_size_down=70, last_epoch=30), [100, 200, 300]),
        (Linear(base_lr=1, total_iters=20), [20]),
        (Polynomial(base_lr=1, total_iters=20, power=2), [20]),
        (Cosine(base_lr=1, T_max=100), [100]),
        (Cosine(base_lr=1, T_max=100, periodic=True), [100, 200, 300]),
        (CosineRestarts(base_lr=1, T_0=100, warmup=10), [10, 110, 210]),
        (CosineRestarts(base_lr=1, T_0=50, T_mult=2, warmup=10), [10, 60, 160]),
        (CosineRestarts(base_lr=1, T_0=100), []),
        (FlatCosine(base_lr=1, total_steps=200, pct_start=0.75), [150, 200]),
        (OneCycle(max_lr=1, total_steps=200, pct_start=0.3), [60, 199]),
        (OneCycle(max_lr=1, total_steps=200, pct_start=0.3, three_phase=True), [60, 119, 199]),
        (WarmupCosine(max_lr=1, warmup_steps=20, total_steps=120), [20, 120]),
        (MultiStep(base_lr=1, milestones=[50, 250, 500]), [50, 250]),
        (MultiStep(base_lr=1, milestones=[1, 300, 301]), [1, 300]),
        (Step(base_lr=1, step_size=120), [120, 240]),
        (Exponential(base_lr=1, gamma=0.9), []),
        (Exponential(base_lr=1, gamma=0.9, decay_steps=120), []),
        (Exponential(base_lr=1, gamma=0.9, decay_steps=120, staircase=True), [120, 240]),
        (
            WSD(base_lr=1, total_steps=301, cycles=3, warmup=5, rewarmup=10, decay=20),
            [5, 80, 110, 180, 210, 281],
        ),
        # Cycles of 4, 4 and 6 steps.
        (
            WSD(base_lr=1, total_steps=14, cycles=3, warmup=1, rewarmup=1, decay=2),
            [1, 2, 5, 6, 9, 12, 14],
        ),
        # The decay begins after the step at which step + shift is the timescale.
        (InverseSqrt(base_lr=1, warmup=100), [99, 100]),
        (InverseSqrt(base_lr=1, warmup=20, timescale=150, shift=30), [20, 120]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_phase_changes_of_300_steps(schedule, expected):
    assert changes(schedule, 300) == expected


def test_a_sequence_and_a_product_change_where_their_parts_do():
    warmup, cycles = Linear(base_lr=1.0, total_iters=20), CyclicLR(step_size_up=30)
    parts = {"warmup": warmup, "cycles": cycles}
    assert changes(Sequence(parts, {"warmup": 40, "cycles": None}), 160) == [20, 40, 70, 130]
    assert changes(Chained(base_lr=1.0, parts=parts), 160) == [20, 30, 90, 150]


def test_a_sequence_settles_as_many_steps_into_its_last_part_as_that_part_alone():
    then = Constant(1.0, factor=0.5, total_iters=5)
    parts = {"warmup": Linear(base_lr=1.0, total_iters=10), "then": then}
    assert Sequence(parts, {"warmup": 10, "then": None}).settled_at == 15
    cycles = {**parts, "then": CyclicLR(step_size_up=30)}
    assert Sequence(cycles, {"warmup": 10, "then": None}).settled_at is None


def test_a_product_settles_with_the_last_of_its_parts():
    parts = {"one": Linear(base_lr=1.0, total_iters=20), "other": Cosine(base_lr=1.0, T_max=50)}
    assert Chained(base_lr=1.0, parts=parts).settled_at == 50
    flat = {"one": Constant(base_lr=1.0), "two": Constant(base_lr=1.0)}
    assert Chained(base_lr=1.0, parts=flat).settled_at == 0
