"""InverseSqrt by hand, by the formulas of the paper and of Hugging Face, in exact arithmetic."""

from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from schedule_cases import LAST, Case, Drawn, at_steps, random_length, random_places, random_top

from runner.errors import ConfigError
from runner.schedules import InverseSqrt

DECIMAL = Context(prec=50)


def draw(random: np.random.Generator) -> Drawn:
    base, timescale = random_top(random), random_length(random)
    warmup, shift = (random_length(random) * int(random.integers(0, 2)) for _ in range(2))

    def exact(step: int) -> Decimal:
        climb = Fraction(min(step + 1, warmup), warmup) if warmup else Fraction(1)
        decay = Fraction(timescale, max(step + shift, timescale))
        square = (Fraction(base) * climb) ** 2 * decay
        return DECIMAL.sqrt(DECIMAL.divide(Decimal(square.numerator), Decimal(square.denominator)))

    ours = InverseSqrt(base_lr=base, warmup=warmup, timescale=timescale, shift=shift)
    return at_steps(ours, random_places(random, [warmup, timescale, timescale - shift]), exact)


CASES = {
    "inverse_sqrt": Case(
        InverseSqrt,
        {"base_lr": 0.5, "warmup": 10},
        {"base_lr": 0.7, "warmup": 0, "timescale": 7, "shift": 5},
        lists=("base_lr",),
        formulas=(
            {"base_lr": 0.7, "warmup": 12, "timescale": 12},
            {"base_lr": 0.7, "warmup": 12, "timescale": 5, "shift": 3},
            {"base_lr": 0.7, "warmup": 0, "timescale": 20, "shift": 0},
        ),
        exact=draw,
    )
}


def test_it_is_the_formula_of_the_paper() -> None:
    """lrate = d_model**-0.5 * min(step_num**-0.5, step_num * warmup_steps**-1.5), from 1 on."""
    d_model, warmup = 512, 40
    step_num = np.arange(1, 400)
    expected = d_model**-0.5 * np.minimum(step_num**-0.5, step_num * warmup**-1.5)
    schedule = InverseSqrt(base_lr=(d_model * warmup) ** -0.5, warmup=warmup)
    np.testing.assert_allclose(schedule(step_num - 1), expected, rtol=5e-7)


def test_after_the_warm_up_it_is_that_of_hugging_face() -> None:
    warmup, timescale = 10, 50
    steps = np.arange(warmup, 300)
    expected = 1 / np.sqrt((steps + timescale - warmup) / timescale)
    schedule = InverseSqrt(base_lr=1, warmup=warmup, timescale=timescale, shift=timescale - warmup)
    np.testing.assert_allclose(schedule(steps), expected, rtol=5e-7)


def test_without_a_warm_up_it_begins_at_base_lr() -> None:
    schedule = InverseSqrt(base_lr=2, warmup=0, timescale=1, shift=1)
    np.testing.assert_allclose(schedule(np.array([0, 3, 8])), [2, 1, 2 / 3], rtol=2e-7)
    assert float(schedule(LAST)) == pytest.approx(2 * 2**-15.5, rel=2e-7)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"warmup": 0}, "timescale"),
        ({"warmup": -1}, "warmup"),
        ({"warmup": "10%"}, "warmup"),
        ({"timescale": 0}, "timescale"),
        ({"shift": -1}, "shift"),
        ({"shift": 1.0}, "shift"),
        ({"base_lr": -1}, "base_lr"),
    ],
)
def test_bad_arguments_are_refused_by_name(change: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        InverseSqrt(**{"base_lr": 1, "warmup": 9} | change)
    assert caught.value.key == key
