"""Exponential, Step and MultiStep by hand and against exact arithmetic."""

from decimal import Context, Decimal
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_cases import Case, Drawn, against_pytorch, random_gamma, random_tops

from runner.errors import ConfigError
from runner.schedules import Exponential, MultiStep, Step

LAST = 2**31 - 1


def draw_exponential(random: np.random.Generator) -> Drawn:
    high, factor = random_tops(random), random_gamma(random)
    ours = Exponential(base_lr=high, gamma=factor)
    return against_pytorch(ours, lambda s, o: s.ExponentialLR(o, factor), high, 500)


def draw_step(random: np.random.Generator) -> Drawn:
    high, size, factor = random_tops(random), int(random.integers(1, 100)), random_gamma(random)
    ours = Step(base_lr=high, step_size=size, gamma=factor)
    return against_pytorch(ours, lambda s, o: s.StepLR(o, size, factor), high, 500)


def draw_multistep(random: np.random.Generator) -> Drawn:
    high, milestones = random_tops(random), sorted({int(n) for n in random.integers(1, 300, 5)})
    factor = random_gamma(random)
    ours = MultiStep(base_lr=high, milestones=milestones, gamma=factor)
    return against_pytorch(ours, lambda s, o: s.MultiStepLR(o, milestones, factor), high, 301)


CASES = {
    "exponential": Case(
        Exponential,
        {"base_lr": 0.5, "gamma": 0.9},
        {"base_lr": 0.7, "gamma": 1.01},
        lists=("base_lr",),
        formulas=({"base_lr": 0.7, "gamma": 0.93},),
        pytorch={"exponential": draw_exponential},
    ),
    "step": Case(
        Step,
        {"base_lr": 0.5, "step_size": 10},
        {"base_lr": 0.7, "step_size": 7, "gamma": 0.5},
        lists=("base_lr",),
        formulas=({"base_lr": 0.7, "step_size": 11, "gamma": 0.3},),
        pytorch={"step": draw_step},
    ),
    "multistep": Case(
        MultiStep,
        {"base_lr": 0.5, "milestones": [5, 9]},
        {"base_lr": 0.7, "milestones": [1, 30], "gamma": 0.5},
        lists=("base_lr",),
        formulas=({"base_lr": 0.7, "milestones": (7, 8, 30), "gamma": 0.3},),
        pytorch={"multistep": draw_multistep},
    ),
}
TINY, HUGE = Decimal(2) ** -126, Decimal(2) ** 120
EXACT = Context(prec=60, Emin=-(10**12), Emax=10**12)

rates = jax.jit(lambda schedule, steps: schedule(steps))
gammas = st.one_of(
    st.floats(0.01, 1),
    st.floats(-15, -0.3).map(lambda power: 1 - 10**power),
    st.floats(-15, -3).map(lambda power: 1 + 10**power),
)
places = st.lists(
    st.one_of(st.integers(0, LAST), st.floats(0, 31).map(lambda bits: int(2**bits) - 1)),
    min_size=20,
    max_size=20,
)


def check(schedule: Any, steps: list[int], base: float, gamma: float, times: list[int]) -> None:
    for rate, count in zip(np.asarray(rates(schedule, np.array(steps))), times, strict=True):
        exact = EXACT.multiply(Decimal(base), EXACT.power(Decimal(gamma), count))
        if exact < TINY:
            assert rate <= float(TINY)
        elif exact < HUGE:
            ratio = EXACT.divide(Decimal(float(rate)), exact)
            assert abs(ratio - 1) <= Decimal("5e-7")


def test_by_hand() -> None:
    np.testing.assert_array_equal(Exponential(base_lr=8, gamma=0.5)(np.arange(4)), [8, 4, 2, 1])
    stepped = Step(base_lr=8, step_size=3, gamma=0.25)
    np.testing.assert_array_equal(stepped(np.arange(8)), [8, 8, 8, 2, 2, 2, 0.5, 0.5])
    multistepped = MultiStep(base_lr=8, milestones=[1, 4], gamma=0.25)
    np.testing.assert_array_equal(multistepped(np.arange(6)), [8, 2, 2, 2, 0.5, 0.5])


@settings(max_examples=200, deadline=None)
@given(base=st.floats(1e-6, 10), gamma=gammas, steps=places)
def test_exponential_equals_exact_arithmetic(base: float, gamma: float, steps: list[int]) -> None:
    check(Exponential(base_lr=base, gamma=gamma), steps, base, gamma, steps)


@settings(max_examples=200, deadline=None)
@given(
    base=st.floats(1e-6, 10),
    gamma=gammas,
    size=st.one_of(st.integers(1, 1000), st.integers(1, LAST)),
    steps=places,
)
def test_step_equals_exact_arithmetic(
    base: float, gamma: float, size: int, steps: list[int]
) -> None:
    schedule = Step(base_lr=base, step_size=size, gamma=gamma)
    check(schedule, steps, base, gamma, [step // size for step in steps])


@settings(max_examples=200, deadline=None)
@given(
    base=st.floats(1e-6, 10),
    gamma=gammas,
    milestones=st.sets(st.integers(1, LAST), min_size=3, max_size=3).map(sorted),
    steps=places,
)
def test_multistep_equals_exact_arithmetic(
    base: float, gamma: float, milestones: list[int], steps: list[int]
) -> None:
    steps = [*steps, *milestones, *(milestone - 1 for milestone in milestones)]
    times = [sum(milestone <= step for milestone in milestones) for step in steps]
    schedule = MultiStep(base_lr=base, milestones=milestones, gamma=gamma)
    check(schedule, steps, base, gamma, times)


@pytest.mark.parametrize(
    ("factory", "change", "key"),
    [
        (Exponential, {"gamma": 0}, "gamma"),
        (Exponential, {"base_lr": -1}, "base_lr"),
        (Step, {"step_size": 0}, "step_size"),
        (Step, {"step_size": "15ep"}, "step_size"),
        (Step, {"step_size": 1, "gamma": -0.1}, "gamma"),
        (MultiStep, {"milestones": []}, "milestones"),
        (MultiStep, {"milestones": 5}, "milestones"),
        (MultiStep, {"milestones": [5, 5]}, "milestones"),
        (MultiStep, {"milestones": [5, 4]}, "milestones"),
        (MultiStep, {"milestones": [0, 4]}, "milestones[0]"),
        (MultiStep, {"milestones": [1, "50%"]}, "milestones[1]"),
    ],
)
def test_bad_arguments_are_refused_by_name(factory: Any, change: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        factory(**{"base_lr": 1, "gamma": 0.5} | change)
    assert caught.value.key == key
