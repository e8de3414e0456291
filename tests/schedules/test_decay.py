"""Exponential, Step and MultiStep by hand and against exact arithmetic."""

from decimal import Context, Decimal
from typing import Any

import jax
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_cases import (
    Case,
    Drawn,
    against_pytorch,
    at_steps,
    random_gamma,
    random_length,
    random_places,
    random_top,
    random_tops,
)

from runner.errors import ConfigError
from runner.schedules import Exponential, MultiStep, Step

LAST = 2**31 - 1


def draw_exactly(random: np.random.Generator) -> Drawn:
    base, factor, size = random_top(random), random_gamma(random), random_length(random)
    stairs, low = bool(random.random() < 0.5), base * random.uniform(0, 1e-3)

    def exact(step: int) -> Decimal:
        power = Decimal(step // size) if stairs else EXACT.divide(Decimal(step), Decimal(size))
        decayed = EXACT.multiply(Decimal(base), EXACT.power(Decimal(factor), power))
        return max(decayed, Decimal(low))

    ours = Exponential(base_lr=base, gamma=factor, decay_steps=size, staircase=stairs, eta_min=low)
    return at_steps(ours, random_places(random, [size, 2 * size, 20 * size]), exact)


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
        {"base_lr": 0.7, "gamma": 1.01, "decay_steps": 3, "staircase": True, "eta_min": 0.1},
        lists=("base_lr", "eta_min"),
        formulas=(
            {"base_lr": 0.7, "gamma": 0.93},
            {"base_lr": 0.7, "gamma": 0.3, "decay_steps": 11, "eta_min": 0.2},
            {"base_lr": 0.7, "gamma": 0.3, "decay_steps": 11, "staircase": True},
        ),
        exact=draw_exactly,
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


@pytest.mark.parametrize("staircase", [False, True])
def test_exponential_is_the_decay_of_optax(staircase: bool) -> None:
    chosen = {"decay_steps": 7, "staircase": staircase, "eta_min": 0.05}
    ours = Exponential(base_lr=0.8, gamma=0.6, **chosen)
    theirs = optax.exponential_decay(0.8, 7, 0.6, staircase=staircase, end_value=0.05)
    expected = [float(theirs(step)) for step in range(60)]
    np.testing.assert_allclose(ours(np.arange(60)), expected, rtol=1e-6)
    assert float(ours(59)) == np.float32(0.05)


def test_eta_min_is_the_lowest_rate_of_each_group() -> None:
    schedule = Exponential(base_lr=8, gamma=0.5, eta_min=[3, 0])
    np.testing.assert_array_equal(jax.vmap(schedule)(np.arange(3)), [[8, 8], [4, 4], [3, 2]])


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
        (Exponential, {"decay_steps": 0}, "decay_steps"),
        (Exponential, {"decay_steps": "10%"}, "decay_steps"),
        (Exponential, {"staircase": 1}, "staircase"),
        (Exponential, {"eta_min": 2}, "eta_min"),
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
