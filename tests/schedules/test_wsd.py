"""WSD by hand, by the formulas of the papers, in cycles, and in exact arithmetic."""

import math
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from schedule_cases import LAST, Case, Drawn, at_steps, random_length, random_places, random_top

from runner.errors import ConfigError
from runner.schedules import WSD

DECIMAL = Context(prec=50)
TYPES = ["linear", "cosine", "sqrt", "exponential"]


def decayed(decay_type: str, left: int, length: int) -> Any:
    """The four curves at ``x = 1 - left / length``, all digits right where they are small too."""
    x = DECIMAL.divide(Decimal(length - left), Decimal(length))
    if decay_type == "linear":
        return Fraction(left, length)
    if decay_type == "cosine":
        return Fraction(math.sin(math.pi / 2 * (left / length)) ** 2)
    if decay_type == "sqrt":
        return Fraction(DECIMAL.subtract(Decimal(1), DECIMAL.sqrt(x)))
    half = DECIMAL.power(Decimal("0.5"), x)
    return Fraction(DECIMAL.subtract(DECIMAL.add(half, half), Decimal(1)))


def draw(random: np.random.Generator) -> Drawn:
    base, total = random_top(random), random_length(random)
    cycles = min(int(2 ** random.uniform(0, 8)) if random.random() < 0.5 else 1, total)
    size = total // cycles
    decay = random_length(random, size)
    warmup, again = (random_length(random) % (size - decay + 1) for _ in range(2))
    kind, factor = str(random.choice(TYPES)), float(random.choice([0, 1, random.uniform(0, 1)]))
    low = base * random.uniform(0, 1) * int(random.integers(0, 2))

    def exact(step: int) -> Fraction:
        cycle = min(step // size, cycles - 1)
        start, end = cycle * size, total if cycle == cycles - 1 else (cycle + 1) * size
        done, left = step - start + 1, end - min(step, end)
        peak, floor, f = Fraction(base), Fraction(low), Fraction(factor)
        if left <= decay:
            return floor + (peak - floor) * decayed(kind, left, decay + 1)
        if cycle == 0 and done < warmup:
            return peak * (f + (1 - f) * Fraction(done, warmup))
        if cycle > 0 and done < again:
            return floor + (peak - floor) * Fraction(done, again)
        return peak

    ours = WSD(
        base_lr=base,
        total_steps=total,
        warmup=warmup,
        warmup_start_factor=factor,
        decay=decay,
        decay_type=kind,
        eta_min=low,
        cycles=cycles,
        rewarmup=again,
    )
    seams = [warmup, size - decay, size, size + again, total - decay, total]
    return at_steps(ours, random_places(random, seams), exact)


SETTINGS = {"base_lr": 0.7, "total_steps": 50, "warmup": 7, "decay": 12}
CYCLES = {**SETTINGS, "decay": 5, "cycles": 3, "rewarmup": 4, "eta_min": 0.1}
CASES = {
    "wsd": Case(
        WSD,
        {"base_lr": 0.5, "total_steps": 40, "warmup": 5, "decay": 10},
        {
            "base_lr": 0.7,
            "total_steps": 55,
            "warmup": 3,
            "warmup_start_factor": 0.25,
            "decay": 4,
            "decay_type": "sqrt",
            "eta_min": 0.1,
            "cycles": 3,
            "rewarmup": 2,
        },
        lists=("base_lr", "eta_min"),
        cyclic=True,
        formulas=(
            *({**SETTINGS, "decay_type": decay_type} for decay_type in TYPES),
            {**SETTINGS, "warmup_start_factor": 0.3, "eta_min": 0.1},
            {**SETTINGS, "warmup": 0},
            *({**CYCLES, "decay_type": decay_type} for decay_type in TYPES),
        ),
        exact=draw,
    )
}


def test_the_first_update_is_above_zero_the_peak_is_reached_and_the_last_is_above_eta_min() -> None:
    schedule = WSD(base_lr=4, total_steps=10, warmup=4, decay=3)
    np.testing.assert_array_equal(schedule(np.arange(12)), [1, 2, 3, 4, 4, 4, 4, 3, 2, 1, 0, 0])
    assert float(schedule(LAST)) == 0


def test_the_warm_up_rises_from_its_start_factor() -> None:
    schedule = WSD(base_lr=4, total_steps=9, warmup=3, warmup_start_factor=0.25, decay=1)
    np.testing.assert_array_equal(schedule(np.arange(5)), [2, 3, 4, 4, 4])
    without = WSD(base_lr=4, total_steps=9, warmup=0, decay=1)
    assert float(without(0)) == 4


@pytest.mark.parametrize(
    ("decay_type", "curve"),
    [
        ("linear", lambda x: 1 - x),
        ("cosine", lambda x: (1 + np.cos(np.pi * x)) / 2),
        # arXiv 2405.18392, section 3: f(n) = 1 - sqrt((n - (N - N_decay)) / N_decay).
        ("sqrt", lambda x: 1 - np.sqrt(x)),
        # Megatron-LM: coeff = 2.0 * math.pow(0.5, wsd_decay_ratio) - 1.0.
        ("exponential", lambda x: 2.0 * 0.5**x - 1.0),
    ],
)
def test_the_decay_has_the_shape_of_its_source(decay_type: Any, curve: Any) -> None:
    decay = 99
    schedule = WSD(base_lr=3, total_steps=200, decay=decay, decay_type=decay_type, eta_min=1)
    x = np.arange(1, decay + 2) / (decay + 1)
    got = np.asarray(schedule(np.arange(200 - decay, 201)), np.float64)
    np.testing.assert_allclose(got, 1 + 2 * curve(x), rtol=5e-7)
    assert float(schedule(199 - decay)) == 3


def test_cycles_decay_and_warm_up_again_and_the_last_takes_the_rest() -> None:
    schedule = WSD(base_lr=4, total_steps=17, warmup=2, decay=1, cycles=3, rewarmup=2, eta_min=0)
    # Cycles of 5, 5 and 7 updates; a decay of one update is halfway down.
    expected = [2, 4, 4, 4, 2, 2, 4, 4, 4, 2, 2, 4, 4, 4, 4, 4, 2, 0, 0]
    np.testing.assert_array_equal(schedule(np.arange(19)), expected)
    cycles = [0] * 5 + [1] * 5 + [2] * 9
    np.testing.assert_array_equal(schedule.cycle(np.arange(19)), cycles)
    assert list(schedule.cycle_ends(19)) == [5, 10, 17]
    assert list(schedule.cycle_ends(16)) == [5, 10]
    assert list(schedule.cycle_ends(4)) == []


def test_equal_cycles_of_a_long_run_take_no_memory() -> None:
    schedule = WSD(base_lr=1, total_steps=2 * 10**9, decay=1, cycles=10**9)
    assert schedule.cycle_ends(LAST) == range(2, 2 * 10**9 + 1, 2)
    assert schedule.cycle_ends(9) == range(2, 10, 2)


@pytest.mark.parametrize(
    ("change", "key", "words"),
    [
        ({"decay": 0}, "decay", "0 is not"),
        ({"decay": 10}, "decay", "do not fit in a cycle of 9; write at most 9, or fewer"),
        (
            {"decay": 5, "cycles": 2},
            "decay",
            "do not fit in a cycle of 4; write at most 4, or fewer",
        ),
        ({"warmup": 8}, "warmup", "write at most 7"),
        ({"warmup": -1}, "warmup", "-1 is not"),
        ({"warmup": "5%"}, "warmup", "'5%'"),
        ({"cycles": 2, "rewarmup": 3}, "rewarmup", "write at most 2"),
        ({"cycles": 10}, "cycles", "more than total_steps"),
        ({"cycles": 0}, "cycles", "0 is not"),
        ({"warmup_start_factor": 1.5}, "warmup_start_factor", "1.5 is not"),
        ({"decay_type": "cos"}, "decay_type", "linear, cosine, sqrt, exponential"),
        ({"eta_min": 2}, "eta_min", "above base_lr"),
        ({"total_steps": "100%"}, "total_steps", "'100%'"),
    ],
)
def test_bad_arguments_are_refused_by_name(change: dict[str, Any], key: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        WSD(**{"base_lr": 1, "total_steps": 9, "decay": 2} | change)
    assert caught.value.key == key


def test_a_warm_up_and_a_decay_may_fill_the_whole_run() -> None:
    schedule = WSD(base_lr=1.0, total_steps=5, warmup=2, decay=3)
    assert [float(schedule(step)) for step in range(6)] == [0.5, 1.0, 0.75, 0.5, 0.25, 0.0]


def test_one_cycle_has_no_second_warm_up_that_must_fit() -> None:
    shorter = WSD(base_lr=1.0, total_steps=5, warmup=1, decay=3)
    schedule = WSD(base_lr=1.0, total_steps=5, warmup=1, decay=3, rewarmup=4)
    np.testing.assert_array_equal(schedule(np.arange(7)), shorter(np.arange(7)))
