"""Linear and Polynomial by hand and against exact arithmetic."""

from fractions import Fraction
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_cases import Case, Drawn, against_closed_form, random_tops

from runner.errors import ConfigError
from runner.schedules import Linear, Polynomial

LAST = 2**31 - 1


def draw_linear(random: np.random.Generator) -> Drawn:
    high, total = random_tops(random), int(random.integers(1, 300))
    chosen = {
        "start_factor": random.uniform(0.001, 1),
        "end_factor": random.uniform(0, 1),
        "total_iters": total,
    }
    ours = Linear(base_lr=high, **chosen)
    return against_closed_form(
        ours, lambda s, o: s.LinearLR(o, **chosen), high, total + 10, noise=1e-9
    )


def draw_polynomial(random: np.random.Generator) -> Drawn:
    high, total = random_tops(random), int(random.integers(1, 300))
    chosen = {"total_iters": total, "power": random.uniform(0.1, 10)}
    ours = Polynomial(base_lr=high, **chosen)
    return against_closed_form(ours, lambda s, o: s.PolynomialLR(o, **chosen), high, total + 10)


CASES = {
    "linear": Case(
        Linear,
        {"base_lr": 0.5},
        {"base_lr": 0.7, "start_factor": 1.0, "end_factor": 0.0, "total_iters": 20},
        lists=("base_lr",),
        formulas=(
            {"base_lr": 0.7, "total_iters": 31},
            {"base_lr": 0.7, "start_factor": 0.9, "end_factor": 0.2, "total_iters": 31},
        ),
        pytorch={"linear": draw_linear},
    ),
    "polynomial": Case(
        Polynomial,
        {"base_lr": 0.5, "total_iters": 30},
        {"base_lr": 0.7, "total_iters": 20, "power": 2.5},
        lists=("base_lr",),
        formulas=({"base_lr": 0.7, "total_iters": 41, "power": 1.7},),
        pytorch={"polynomial": draw_polynomial},
    ),
}
BOUND = Fraction(5, 10**7)

rates = jax.jit(lambda schedule, steps: schedule(steps))
totals = st.one_of(st.integers(1, 100), st.integers(1, 10**6), st.integers(1, LAST))
shares = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(1e-6, 1))
places = st.lists(st.floats(0, 1.1), min_size=20, max_size=20)


def steps_of(total: int, places: list[float]) -> np.ndarray:
    wanted = [0, 1, total - 1, total, LAST, *(int(place * total) for place in places)]
    return np.clip(wanted, 0, LAST)


def test_a_warm_up_and_a_decay_along_a_line() -> None:
    up = Linear(base_lr=2, start_factor=0.25, total_iters=3)
    np.testing.assert_allclose(up(np.arange(6)), [0.5, 1, 1.5, 2, 2, 2], rtol=1e-6)
    down = Linear(base_lr=2, start_factor=1, end_factor=0, total_iters=4)
    np.testing.assert_allclose(down(np.arange(6)), [2, 1.5, 1, 0.5, 0, 0], rtol=1e-6)


def test_a_start_at_zero_is_fine() -> None:
    """PyTorch's LinearLR divides by its start_factor and refuses zero."""
    schedule = Linear(base_lr=1, start_factor=0, total_iters=4)
    np.testing.assert_array_equal(schedule(np.arange(5)), [0, 0.25, 0.5, 0.75, 1])


@settings(max_examples=300, deadline=None)
@given(base=st.floats(1e-6, 10), start=shares, end=shares, total=totals, places=places)
def test_a_line_equals_exact_arithmetic(
    base: float, start: float, end: float, total: int, places: list[float]
) -> None:
    steps = steps_of(total, places)
    schedule = Linear(base_lr=base, start_factor=start, end_factor=end, total_iters=total)
    for step, rate in zip(steps.tolist(), np.asarray(rates(schedule, steps)), strict=True):
        share = Fraction(min(step, total), total)
        exact = Fraction(base) * (Fraction(start) + (Fraction(end) - Fraction(start)) * share)
        assert abs(Fraction(float(rate)) - exact) <= BOUND * exact, step


def test_a_square_falls_to_zero() -> None:
    schedule = Polynomial(base_lr=16, total_iters=4, power=2)
    np.testing.assert_array_equal(schedule(np.arange(6)), [16, 9, 4, 1, 0, 0])


@settings(max_examples=300, deadline=None)
@given(base=st.floats(1e-6, 10), power=st.integers(1, 20), total=totals, places=places)
def test_a_power_equals_exact_arithmetic(
    base: float, power: int, total: int, places: list[float]
) -> None:
    steps = steps_of(total, places)
    schedule = Polynomial(base_lr=base, total_iters=total, power=power)
    for step, rate in zip(steps.tolist(), np.asarray(rates(schedule, steps)), strict=True):
        exact = Fraction(base) * Fraction(total - min(step, total), total) ** power
        if exact < Fraction(2) ** -100:
            assert rate <= 2.0**-100
        else:
            assert abs(Fraction(float(rate)) - exact) <= BOUND * exact, step


@pytest.mark.parametrize(
    ("factory", "change", "key"),
    [
        (Linear, {"start_factor": -0.1}, "start_factor"),
        (Linear, {"end_factor": 1.1}, "end_factor"),
        (Linear, {"total_iters": 0}, "total_iters"),
        (Linear, {"total_iters": "4ep"}, "total_iters"),
        (Linear, {"base_lr": -1}, "base_lr"),
        (Polynomial, {"power": 0}, "power"),
        (Polynomial, {"total_iters": 2.0}, "total_iters"),
        (Polynomial, {"base_lr": "x"}, "base_lr"),
    ],
)
def test_bad_arguments_are_refused_by_name(factory: Any, change: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        factory(**{"base_lr": 1, "total_iters": 9} | change)
    assert caught.value.key == key
