"""FlatCosine by hand, by fastai's formula and against float64 computed from the end."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from schedule_cases import LAST, Case, Drawn, at_steps, random_length, random_places, random_top

from runner.errors import ConfigError
from runner.schedules import FlatCosine


def draw(random: np.random.Generator) -> Drawn:
    base, total, flat = random_top(random), random_length(random), random.uniform(0, 0.999)
    low = base * random.uniform(0, 1) * int(random.integers(0, 2))

    def exact(step: int) -> float:
        left = Fraction(total - min(step, total)) / (total * (1 - Fraction(flat)))
        # (1 + cos(π x)) / 2 as a sine squared of the share that is left, all digits of it right.
        return low + (base - low) * math.sin(math.pi / 2 * float(min(left, 1))) ** 2

    seam = int(flat * total)
    ours = FlatCosine(base_lr=base, total_steps=total, pct_start=flat, eta_min=low)
    return at_steps(ours, random_places(random, [seam, seam + 1, total - 1]), exact)


CASES = {
    "flat_cosine": Case(
        FlatCosine,
        {"base_lr": 0.5, "total_steps": 40},
        {"base_lr": 0.7, "total_steps": 31, "pct_start": 0.3, "eta_min": 0.1},
        lists=("base_lr", "eta_min"),
        formulas=(
            {"base_lr": 0.7, "total_steps": 41, "pct_start": 0.3, "eta_min": 0.1},
            {"base_lr": 0.7, "total_steps": 50},
        ),
        exact=draw,
    )
}


def test_it_is_flat_and_then_falls() -> None:
    schedule = FlatCosine(base_lr=2, total_steps=8, pct_start=0.5, eta_min=1)
    half, eighth = math.sqrt(0.5), 0.5
    falling = [1.5 + half * eighth, 1.5, 1.5 - half * eighth]
    expected = [2, 2, 2, 2, 2, *falling, 1, 1]
    np.testing.assert_allclose(schedule(np.arange(10)), expected, rtol=2e-7)
    assert float(schedule(LAST)) == 1


def test_it_is_the_formula_of_fastai() -> None:
    """fastai's combine_scheds([pct, 1 - pct], [SchedCos(lr, lr), SchedCos(lr, lr / div)])."""

    def sched_cos(start: float, end: float, place: float) -> float:
        return start + (1 + math.cos(math.pi * (1 - place))) * (end - start) / 2

    lr, total, flat, div_final = 0.3, 100, 0.72, 1e5
    expected = [
        sched_cos(lr, lr / div_final, (step / total - flat) / (1 - flat))
        if step / total >= flat
        else lr
        for step in range(total + 1)
    ]
    schedule = FlatCosine(base_lr=lr, total_steps=total, pct_start=flat, eta_min=lr / div_final)
    np.testing.assert_allclose(schedule(np.arange(total + 1)), expected, rtol=5e-7)


def test_a_descent_of_the_whole_run_is_half_a_cosine() -> None:
    schedule = FlatCosine(base_lr=1, total_steps=3, pct_start=0)
    np.testing.assert_allclose(schedule(np.arange(4)), [1, 0.75, 0.25, 0], rtol=2e-7)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"total_steps": 0}, "total_steps"),
        ({"pct_start": 1}, "pct_start"),
        ({"pct_start": -0.1}, "pct_start"),
        ({"pct_start": 1 - 1e-12}, "pct_start"),
        ({"eta_min": 2}, "eta_min"),
        ({"base_lr": "x"}, "base_lr"),
    ],
)
def test_bad_arguments_are_refused_by_name(change: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        FlatCosine(**{"base_lr": 1, "total_steps": 9} | change)
    assert caught.value.key == key
