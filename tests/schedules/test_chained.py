"""Chained by hand, against PyTorch's ChainedScheduler and in exact arithmetic."""

from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import optax
import pytest
from schedule_cases import (
    BOUND,
    LAST,
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
from runner.schedules import (
    Chained,
    Constant,
    CosineRestarts,
    CyclicLR,
    Exponential,
    Linear,
    OneCycle,
    Schedule,
    Step,
    WarmupCosine,
)

DECIMAL = Context(prec=50, Emin=-(10**12), Emax=10**12)


def chained(base_lr: Any, **parts: Any) -> Chained:
    return Chained(base_lr=base_lr, parts=parts)


def draw(random: np.random.Generator) -> Drawn:
    base, total, size = random_top(random), random_length(random), random_length(random)
    start, factor = random.uniform(0.01, 1), random_gamma(random)
    ours = chained(
        base,
        warmup=Linear(base_lr=random_top(random), start_factor=start, total_iters=total),
        steps=Step(base_lr=random_top(random), step_size=size, gamma=factor),
    )

    def exact(step: int) -> Decimal:
        share = Fraction(min(step, total), total)
        line = Fraction(base) * (Fraction(start) + (1 - Fraction(start)) * share)
        quotient = DECIMAL.divide(Decimal(line.numerator), Decimal(line.denominator))
        return DECIMAL.multiply(quotient, DECIMAL.power(Decimal(factor), step // size))

    # A part's own rate has no digits below 1.2e-38, and so the product has none 1e-30 down.
    steps = [
        step
        for step in random_places(random, [total, size, 2 * size])
        if exact(step) > Decimal(base) * Decimal("1e-30")
    ]
    steps += [0] * (64 - len(steps))
    return at_steps(ours, steps, exact, bound=2 * BOUND)


def draw_from_pytorch(random: np.random.Generator) -> Drawn:
    high, factor = random_tops(random), random_gamma(random)
    warmup, size = (int(n) for n in random.integers(1, 100, 2))

    def theirs(s: Any, o: Any) -> Any:
        parts = [
            s.LinearLR(o, 0.1, 1.0, warmup),
            s.ExponentialLR(o, 0.999),
            s.StepLR(o, size, factor),
        ]
        return s.ChainedScheduler(parts, optimizer=o)

    ours = chained(
        high,
        warmup=Linear(base_lr=0.3, start_factor=0.1, total_iters=warmup),
        decay=Exponential(base_lr=1, gamma=0.999),
        steps=Step(base_lr=high, step_size=size, gamma=factor),
    )
    return against_pytorch(ours, theirs, high, 300)


CASES = {
    "chained": Case(
        chained,
        {
            "base_lr": 0.5,
            "warmup": Linear(base_lr=0.1),
            "cycles": CosineRestarts(base_lr=0.2, T_0=10),
        },
        {
            "base_lr": 0.7,
            "warmup": Linear(base_lr=0.2, total_iters=9),
            "cycles": CosineRestarts(base_lr=0.3, T_0=3, T_mult=2, eta_min=0.1),
        },
        lists=("base_lr",),
        cyclic=True,
        formulas=(
            {
                "base_lr": 0.7,
                "parts": {
                    "warmup": Linear(base_lr=0.1, total_iters=9),
                    "cycles": CyclicLR(base_lr=0.1, max_lr=0.7, step_size_up=5),
                },
            },
        ),
        exact=draw,
        pytorch={"chained": draw_from_pytorch},
    )
}


def test_factors_multiply_whatever_the_scale_of_the_parts() -> None:
    line = Linear(base_lr=8, start_factor=0.5, total_iters=2)
    schedule = chained(16, line=line, steps=Step(base_lr=0.25, step_size=3, gamma=0.5))
    np.testing.assert_array_equal(schedule(np.arange(7)), [8, 12, 16, 8, 8, 8, 4])
    assert float(schedule.base_rate) == 16


@pytest.mark.slow
@pytest.mark.oracle
def test_it_is_that_of_pytorch(live: Any) -> None:
    def make(s: Any, o: Any) -> Any:
        parts = [s.ConstantLR(o, 0.25, 7), s.ExponentialLR(o, 0.9), s.LinearLR(o, 0.5, 1.0, 20)]
        return s.ChainedScheduler(parts, optimizer=o)

    expected, _ = live(make, [0.4], 60)
    schedule = chained(
        0.4,
        quarter=Constant(base_lr=2, factor=0.25, total_iters=7),
        decay=Exponential(base_lr=3, gamma=0.9),
        line=Linear(base_lr=5, start_factor=0.5, total_iters=20),
    )
    np.testing.assert_allclose(schedule(np.arange(60)), expected[:, 0], rtol=1.5e-6)


def test_each_part_has_the_base_rate_of_its_own_groups() -> None:
    part = Exponential(base_lr=[1, 4], gamma=0.5)
    np.testing.assert_array_equal(chained([3, 5], part=part)(1), [1.5, 2.5])
    np.testing.assert_array_equal(chained(3, part=part)(1), [1.5, 1.5])
    with pytest.raises(ConfigError, match=r"^base_lr: 3 rates, but parts\.part has 2"):
        chained([1, 2, 3], part=part)
    with pytest.raises(ConfigError, match=r"^parts\.b: 3 rates, but parts\.a has 2"):
        chained(1, a=part, b=Constant([1, 2, 3]))


def test_cycles_are_those_of_the_first_part_with_any() -> None:
    schedule = chained(
        1,
        decay=Exponential(base_lr=1, gamma=0.9),
        cycles=CosineRestarts(base_lr=1, T_0=4),
        others=CyclicLR(step_size_up=3),
    )
    np.testing.assert_array_equal(schedule.cycle(np.arange(10)), [0, 0, 0, 0, 1, 1, 1, 1, 2, 2])
    assert list(schedule.cycle_ends(10)) == [4, 8]
    without = chained(1, decay=Exponential(base_lr=1, gamma=0.9), rest=Constant(1))
    assert list(without.cycle_ends(LAST)) == []
    np.testing.assert_array_equal(without.cycle(np.arange(3)), [0, 0, 0])


def test_momentum_is_that_of_the_last_part_that_sets_one() -> None:
    one = CyclicLR(step_size_up=2, cycle_momentum=True, base_momentum=0.1, max_momentum=0.2)
    other = CyclicLR(step_size_up=2, cycle_momentum=True, base_momentum=0.5, max_momentum=0.9)
    schedule = chained(1, one=one, other=other, rest=Constant(1))
    np.testing.assert_allclose(schedule.momentum(np.arange(4)), [0.9, 0.7, 0.5, 0.7], rtol=1e-6)
    schedule = chained(1, one=other, other=one, third=one, rest=Constant(1))
    np.testing.assert_allclose(schedule.momentum(np.arange(3)), [0.2, 0.15, 0.1], rtol=1e-6)
    schedule = chained(1, rest=Constant(1), one=one)
    np.testing.assert_allclose(schedule.momentum(np.arange(3)), [0.2, 0.15, 0.1], rtol=1e-6)
    with pytest.raises(ValueError, match="no part"):
        chained(1, rest=Constant(1)).momentum(0)


def test_chained_schedules_nest() -> None:
    inner = chained(2, a=Exponential(base_lr=1, gamma=0.5), b=Exponential(base_lr=1, gamma=0.5))
    outer = chained(8, inner=inner, cycle=OneCycle(max_lr=1, total_steps=10, cycle_momentum=False))
    assert float(outer(0)) == 8
    assert float(outer(2)) == pytest.approx(8 * 0.0625 * 25, rel=1e-6)


class Bare(Schedule):
    """A plugin's schedule without a base rate."""

    def _rate(self, steps: Any) -> Any:
        return steps * np.float32(1)


@pytest.mark.parametrize(
    ("parts", "key", "words"),
    [
        ({}, "parts", "mapping"),
        ({"a": Constant(0)}, "parts.a", "base rate is 0"),
        ({"a": Constant([1, 0])}, "parts.a", "base rate is 0"),
        ({"a": WarmupCosine(max_lr=1, warmup_steps=2, total_steps=9)}, "parts.a", "is 0"),
        ({"a": Constant(8.01e37)}, "parts.a", "too high"),
        ({"a": Constant([1, 3e38])}, "parts.a", "too high"),
        ({"a": Bare()}, "parts.a", "a Bare has no base rate"),
        ({"a": optax.constant_schedule(1.0)}, "parts.a", "a FunctionSchedule has no base rate"),
    ],
)
def test_parts_without_a_base_rate_are_refused_by_name(
    parts: dict[str, Any], key: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        Chained(base_lr=1, parts=parts)
    assert caught.value.key == key


def test_a_base_rate_may_have_the_smallest_normal_reciprocal() -> None:
    """1 / 8e37 is 1.25e-38, and float32 has all its digits from 1.18e-38 on."""
    assert float(chained(2, a=Constant(8e37))(0)) == pytest.approx(2, rel=3e-7)


def test_a_bad_base_lr_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^base_lr: -1 is not"):
        chained(-1, a=Constant(1))
