"""Linear and Polynomial by hand and against exact arithmetic."""

from decimal import Context, Decimal
from fractions import Fraction
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
    against_closed_form,
    at_steps,
    random_length,
    random_places,
    random_top,
    random_tops,
)

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


def draw_exactly(random: np.random.Generator) -> Drawn:
    base, total = random_top(random), random_length(random)
    power = float(random.choice([0.5, 1, 2, 10, random.uniform(0.1, 30)]))
    low = base * random.uniform(0, 1) * int(random.integers(0, 2))

    def exact(step: int) -> Fraction:
        left = EXACT.divide(Decimal(total - min(step, total)), Decimal(total))
        share = Fraction(EXACT.power(left, Decimal(power)))
        return Fraction(low) + (Fraction(base) - Fraction(low)) * share

    ours = Polynomial(base_lr=base, total_iters=total, power=power, eta_min=low)
    return at_steps(ours, random_places(random, [total, total // 2, total - 2]), exact)


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
            {"base_lr": 0.7, "total_iters": 0},
            {"base_lr": 0.7, "start_factor": 0.9, "end_factor": 0.2, "total_iters": 31},
        ),
        pytorch={"linear": draw_linear},
    ),
    "polynomial": Case(
        Polynomial,
        {"base_lr": 0.5, "total_iters": 30},
        {"base_lr": 0.7, "total_iters": 20, "power": 2.5, "eta_min": 0.1},
        lists=("base_lr", "eta_min"),
        formulas=(
            {"base_lr": 0.7, "total_iters": 41, "power": 1.7},
            {"base_lr": 0.7, "total_iters": 41, "power": 1.7, "eta_min": 0.2},
        ),
        exact=draw_exactly,
        pytorch={"polynomial": draw_polynomial},
    ),
}
BOUND = Fraction(5, 10**7)
EXACT = Context(prec=50, Emin=-(10**12), Emax=10**12)

rates = jax.jit(lambda schedule, steps: schedule(steps))
totals = st.one_of(st.integers(1, 100), st.integers(1, 10**6), st.integers(1, LAST))
shares = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(1e-6, 1))
places = st.lists(st.floats(0, 1.1), min_size=20, max_size=20)


def steps_of(total: int, places: list[float]) -> np.ndarray:
    wanted = [0, 1, total - 1, total, LAST, *(int(place * total) for place in places)]
    return np.clip(wanted, 0, LAST)


def test_a_linear_warm_up_and_a_linear_decay() -> None:
    up = Linear(base_lr=2, start_factor=0.25, total_iters=3)
    np.testing.assert_allclose(up(np.arange(6)), [0.5, 1, 1.5, 2, 2, 2], rtol=1e-6)
    down = Linear(base_lr=2, start_factor=1, end_factor=0, total_iters=4)
    np.testing.assert_allclose(down(np.arange(6)), [2, 1.5, 1, 0.5, 0, 0], rtol=1e-6)


def test_a_start_factor_of_zero_is_allowed() -> None:
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


@pytest.mark.parametrize(("start", "end"), [(0.25, 1), (1, 0.25), (0.5, 0.5)])
def test_a_line_of_length_zero_starts_at_its_end(start: float, end: float) -> None:
    schedule = Linear(base_lr=2, start_factor=start, end_factor=end, total_iters=0)
    np.testing.assert_array_equal(schedule(np.array([0, 1, LAST])), [2 * end] * 3)


def test_the_first_rate_is_the_product_before_it_is_rounded() -> None:
    """The product of 0.1 in float32 and 0.3 is another number of float32."""
    exact = np.float32(Fraction("0.03"))
    assert np.float32(np.float32(0.1) * 0.3) != exact
    assert Linear(base_lr=0.1, start_factor=0.3, total_iters=4)(0) == exact


def test_a_square_falls_to_zero() -> None:
    schedule = Polynomial(base_lr=16, total_iters=4, power=2)
    np.testing.assert_array_equal(schedule(np.arange(6)), [16, 9, 4, 1, 0, 0])


def test_a_power_below_the_range_of_float32_counts_if_the_rate_is_not() -> None:
    exact = Fraction(7.88) * Fraction(1, 7149) ** 10
    assert float(exact) == pytest.approx(2.261e-38, rel=1e-3)
    rate = float(Polynomial(base_lr=7.88, total_iters=7149, power=10)(7148))
    assert abs(Fraction(rate) - exact) <= BOUND * exact


def test_the_highest_powers_are_zero_after_the_first_step() -> None:
    for power in (1e9, 1e10, 1e20, 1e38):
        for total in (10, 1000):
            schedule = Polynomial(base_lr=2, total_iters=total, power=power)
            np.testing.assert_array_equal(schedule(np.arange(total + 1)), [2] + [0] * total)


def test_the_rounding_error_of_the_power_is_corrected() -> None:
    """To float32, the power is 30; the difference changes the rate by 2e-6 of it."""
    rate = float(Polynomial(base_lr=1.0, total_iters=10, power=30.0000009)(9))
    assert rate == pytest.approx(float(Decimal(10) ** Decimal("-30.0000009")), rel=5e-7, abs=0)


def test_it_is_the_polynomial_of_optax_down_to_its_end_value() -> None:
    theirs = optax.polynomial_schedule(0.9, 0.2, 1.7, 30)
    expected = [float(theirs(step)) for step in range(40)]
    schedule = Polynomial(base_lr=0.9, total_iters=30, power=1.7, eta_min=0.2)
    np.testing.assert_allclose(schedule(np.arange(40)), expected, rtol=1e-6)
    assert float(schedule(LAST)) == np.float32(0.2)


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
        (Linear, {"total_iters": -1}, "total_iters"),
        (Linear, {"total_iters": "4ep"}, "total_iters"),
        (Linear, {"base_lr": -1}, "base_lr"),
        (Polynomial, {"power": 0}, "power"),
        (Polynomial, {"eta_min": 2}, "eta_min"),
        (Polynomial, {"total_iters": 2.0}, "total_iters"),
        (Polynomial, {"base_lr": "x"}, "base_lr"),
    ],
)
def test_bad_arguments_are_refused_by_name(factory: Any, change: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        factory(**{"base_lr": 1, "total_iters": 9} | change)
    assert caught.value.key == key


@pytest.mark.parametrize("power", [2.7, 4.1, 5.3])
def test_a_power_that_float32_rounds_is_exact_to_the_last_step(power: float) -> None:
    """One step before the end of 10⁶, rounding 5.3 to float32 would be an error of 2.6e-6."""
    rate = float(Polynomial(base_lr=1.0, total_iters=10**6, power=power)(10**6 - 1))
    exact = EXACT.power(Decimal("1e-6"), Decimal(power))
    assert abs(Decimal(rate) / exact - 1) < Decimal("3e-7")
