"""OneCycle by hand, against exact arithmetic, and where it departs from PyTorch's."""

import math
from fractions import Fraction
from itertools import pairwise
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_cases import Case, Drawn, against_pytorch, random_momenta, random_tops

from runner.errors import ConfigError
from runner.schedules import OneCycle

LAST = 2**31 - 1

ONE_CYCLE = {"max_lr": 0.7, "total_steps": 41, "final_div_factor": 3.0}


def draw_from_pytorch(random: np.random.Generator) -> Drawn:
    high, total = random_tops(random), int(random.integers(20, 1000))
    chosen = {
        "three_phase": bool(random.random() < 0.5),
        "total_steps": total,
        "pct_start": random.uniform(0.1, 0.45),
        "anneal_strategy": str(random.choice(["cos", "linear"])),
        "div_factor": random.uniform(1, 100),
        "final_div_factor": 10 ** random.uniform(0, 6),
        **random_momenta(random),
    }
    ours = OneCycle(max_lr=high, **chosen)
    return against_pytorch(ours, lambda s, o: s.OneCycleLR(o, max_lr=high, **chosen), high, total)


CASES = {
    "one_cycle": Case(
        OneCycle,
        {"max_lr": 0.5, "total_steps": 40},
        {
            "max_lr": 0.7,
            "total_steps": 31,
            "pct_start": 0.25,
            "anneal_strategy": "linear",
            "three_phase": True,
            "div_factor": 10.0,
            "final_div_factor": 100.0,
            "base_momentum": 0.1,
            "max_momentum": 0.2,
        },
        lists=("max_lr",),
        cyclic=True,
        formulas=(
            ONE_CYCLE,
            {**ONE_CYCLE, "three_phase": True},
            {**ONE_CYCLE, "three_phase": True, "anneal_strategy": "linear"},
        ),
        pytorch={"one_cycle": draw_from_pytorch},
    )
}

values = jax.jit(lambda schedule, steps: (schedule(steps), schedule.momentum(steps)))


def test_two_linear_phases() -> None:
    # peak = 0.3 * 10 - 1 = 2; initial 1 / 4, final 1 / 16.
    schedule = OneCycle(
        max_lr=1, total_steps=10, anneal_strategy="linear", div_factor=4, final_div_factor=4
    )
    falling = [1 - 15 / 16 * step / 7 for step in range(8)]
    np.testing.assert_allclose(schedule(np.arange(10)), [0.25, 0.625, *falling], rtol=1e-6)
    momenta = [0.95, 0.9, *(0.85 + 0.1 * step / 7 for step in range(8))]
    np.testing.assert_allclose(schedule.momentum(np.arange(10)), momenta, rtol=1e-6)


def test_its_base_rate_is_the_initial_one() -> None:
    assert float(OneCycle(max_lr=1, total_steps=10, div_factor=4).base_rate) == 0.25


def test_three_linear_phases() -> None:
    # peak 2, back at the initial rate at 4, then to the final one at 9.
    schedule = OneCycle(
        max_lr=1,
        total_steps=10,
        anneal_strategy="linear",
        three_phase=True,
        div_factor=5,
        final_div_factor=2,
    )
    expected = [0.2, 0.6, 1, 0.6, 0.2, 0.18, 0.16, 0.14, 0.12, 0.1]
    np.testing.assert_allclose(schedule(np.arange(10)), expected, rtol=1e-6)
    momenta = [0.95, 0.9, 0.85, 0.9, *[0.95] * 6]
    np.testing.assert_allclose(schedule.momentum(np.arange(10)), momenta, rtol=1e-6)


def test_cosine_phases() -> None:
    schedule = OneCycle(max_lr=1, total_steps=10, div_factor=2, final_div_factor=4)
    falling = [0.125 + 0.875 * (1 + math.cos(math.pi * step / 7)) / 2 for step in range(8)]
    np.testing.assert_allclose(schedule(np.arange(10)), [0.5, 0.75, *falling], rtol=1e-6)


def test_the_peak_and_the_ends_are_exact_where_the_peak_is_a_step() -> None:
    for three_phase in (False, True):
        for strategy in ("cos", "linear"):
            schedule = OneCycle(
                max_lr=0.7, total_steps=100, three_phase=three_phase, anneal_strategy=strategy
            )
            got = np.asarray(schedule(np.array([0, 29, 99])))
            expected = [0.7 / 25, 0.7, 0.7 / 25 / 1e4]
            np.testing.assert_array_equal(got, np.array(expected, np.float32))
            low, high = np.float32(0.85), np.float32(0.95)
            np.testing.assert_array_equal(
                schedule.momentum(np.array([0, 29, 99])), [high, low, high]
            )


def test_the_peak_is_one_step_before_pct_start_of_the_steps() -> None:
    # optax and braintools have it one step later.
    schedule = OneCycle(max_lr=1, total_steps=1000, pct_start=0.25)
    assert np.asarray(schedule(np.arange(1000))).argmax() == 249


def test_after_its_end_the_rate_stays_final() -> None:
    """PyTorch's linear form is below zero one step past the end, and raises after that."""
    schedule = OneCycle(max_lr=1, total_steps=10, anneal_strategy="linear")
    rates, momenta = values(schedule, np.array([9, 10, 11, 10**6, LAST]))
    np.testing.assert_array_equal(rates, np.full(5, 1 / 25 / 1e4, np.float32))
    np.testing.assert_array_equal(momenta, np.full(5, 0.95, np.float32))


@pytest.mark.oracle
def test_pytorch_is_below_zero_one_step_past_the_end(live: Any) -> None:
    rates, _ = live(
        lambda s, optimizer: s.OneCycleLR(
            optimizer, max_lr=1, total_steps=10, anneal_strategy="linear"
        ),
        [1.0],
        11,
    )
    assert rates[9, 0] > 0 > rates[10, 0]


def test_it_is_one_cycle_that_ends_with_its_steps() -> None:
    schedule = OneCycle(max_lr=1, total_steps=10)
    np.testing.assert_array_equal(schedule.cycle(np.arange(30)), np.zeros(30))
    assert list(schedule.cycle_ends(9)) == []
    assert list(schedule.cycle_ends(10)) == [10]
    assert list(schedule.cycle_ends(LAST)) == [10]


def test_momentum_is_cycled_only_on_request() -> None:
    schedule = OneCycle(max_lr=1, total_steps=10, cycle_momentum=False)
    assert not schedule.cycles_momentum
    with pytest.raises(ValueError, match="cycle_momentum=True"):
        schedule.momentum(0)


@pytest.mark.parametrize(
    ("change", "key", "words"),
    [
        ({"total_steps": 3}, "total_steps", ["3", "too short", "at least 4"]),
        ({"total_steps": 10, "pct_start": 0.1}, "total_steps", ["too short", "at least 11"]),
        ({"pct_start": 0.6, "three_phase": True}, "pct_start", ["0.6", "all of the 100 steps"]),
        ({"pct_start": 0.0}, "pct_start", ["above 0"]),
        ({"pct_start": 1.0}, "pct_start", ["below 1"]),
        ({"div_factor": 0.5}, "div_factor", ["0.5", "at least 1"]),
        ({"final_div_factor": 0.01}, "final_div_factor", ["0.01", "max_lr"]),
        ({"final_div_factor": 0.5, "three_phase": True}, "final_div_factor", ["0.5", "initial"]),
        ({"anneal_strategy": "cosine"}, "anneal_strategy", ["cos"]),
        ({"max_momentum": 0.5}, "base_momentum", ["0.85", "0.5"]),
        ({"max_lr": 0}, "max_lr", ["above 0"]),
        ({"total_steps": "100%"}, "total_steps", ["100%"]),
    ],
)
def test_invalid_cycles_are_refused(change: dict[str, Any], key: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        OneCycle(**{"max_lr": 1, "total_steps": 100} | change)
    assert caught.value.key == key
    for word in words:
        assert word in str(caught.value)


def test_the_shortest_cycles_have_all_their_phases() -> None:
    assert float(OneCycle(max_lr=1, total_steps=4)(0)) == np.float32(1 / 25)
    OneCycle(max_lr=1, total_steps=100, pct_start=0.5, three_phase=True)


@settings(max_examples=300, deadline=None)
@given(
    total=st.one_of(st.integers(3, 100), st.integers(3, 10**6), st.integers(3, LAST)),
    share=st.floats(0.001, 0.99),
    three=st.booleans(),
    divs=st.tuples(st.floats(1, 1e4), st.floats(1, 1e8)),
    places=st.lists(st.floats(0, 1.2), min_size=20, max_size=20),
)
def test_linear_phases_equal_exact_arithmetic(
    total: int, share: float, three: bool, divs: tuple[float, float], places: list[float]
) -> None:
    peak = share * total - 1
    if peak <= 0 or (2 * peak if three else peak) >= total - 1:
        return
    schedule = OneCycle(
        max_lr=0.7,
        total_steps=total,
        pct_start=share,
        anneal_strategy="linear",
        three_phase=three,
        div_factor=divs[0],
        final_div_factor=divs[1],
        base_momentum=0.0,
    )
    top, initial = Fraction(0.7), Fraction(0.7) / Fraction(divs[0])
    final, low, high = initial / Fraction(divs[1]), Fraction(0), Fraction(0.95)
    middle = (
        [(2 * Fraction(peak), initial, high)] if three else []
    )  # the joints: step, rate, momentum
    joints = [
        (Fraction(0), initial, high),
        (Fraction(peak), top, low),
        *middle,
        (Fraction(total - 1), final, high),
    ]
    near = [0, int(peak), int(peak) + 1, int(2 * peak), int(2 * peak) + 1, total - 2, total - 1]
    steps = np.clip([*near, *(int(place * total) for place in places)], 0, LAST)
    for step, rate, momentum in zip(
        steps.tolist(), *map(np.asarray, values(schedule, steps)), strict=True
    ):
        exact_rate, exact_momentum = on_lines(joints, min(Fraction(step), joints[-1][0]))
        assert abs(Fraction(float(rate)) / exact_rate - 1) <= Fraction(5, 10**7), step
        error = abs(Fraction(float(momentum)) - exact_momentum)
        assert error <= Fraction(5, 10**7) * exact_momentum, step


def on_lines(joints: list[tuple[Fraction, ...]], step: Fraction) -> tuple[Fraction, Fraction]:
    """Rate and momentum at ``step`` on the lines between joints (step, rate, momentum)."""
    for (start, *first), (end, *last) in pairwise(joints):
        if step <= end:
            share = (step - start) / (end - start)
            rate, momentum = (a + (b - a) * share for a, b in zip(first, last, strict=True))
            return rate, momentum
    raise AssertionError(step)
