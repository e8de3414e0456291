"""Rex by hand, by the paper's formula and in exact arithmetic."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from schedule_cases import LAST, Case, Drawn, at_steps, random_length, random_places, random_top

from runner.errors import ConfigError
from runner.schedules import Rex


def draw(random: np.random.Generator) -> Drawn:
    base, total = random_top(random), random_length(random)
    low = base * random.uniform(0, 1) * int(random.integers(0, 2))

    def exact(step: int) -> Fraction:
        z = Fraction(min(step, total), total)
        return Fraction(low) + (Fraction(base) - Fraction(low)) * (1 - z) / (1 - z / 2)

    seams = [total, total // 2, total - 1]
    return at_steps(
        Rex(base_lr=base, total_steps=total, eta_min=low), random_places(random, seams), exact
    )


CASES = {
    "rex": Case(
        Rex,
        {"base_lr": 0.5, "total_steps": 30},
        {"base_lr": 0.7, "total_steps": 45, "eta_min": 0.1},
        lists=("base_lr", "eta_min"),
        formulas=(
            {"base_lr": 0.7, "total_steps": 41},
            {"base_lr": 0.7, "total_steps": 41, "eta_min": 0.1},
        ),
        exact=draw,
    )
}


def test_it_falls_ever_faster_to_the_end_and_stays_there() -> None:
    # (1 - z) / (1 - z / 2) at z = 0, 1/4, 1/2, 3/4, 1.
    expected = [1, 6 / 7, 2 / 3, 2 / 5, 0, 0]
    np.testing.assert_allclose(Rex(base_lr=1, total_steps=4)(np.arange(6)), expected, rtol=2e-7)
    assert float(Rex(base_lr=1, total_steps=4)(LAST)) == 0


def test_it_is_the_formula_of_the_paper() -> None:
    """In the paper's notation: η_t = η_0 (1 - t/T) / (1/2 + 1/2 (1 - t/T))."""
    t = np.arange(90)
    expected = 0.3 * (1 - t / 90) / (0.5 + 0.5 * (1 - t / 90))
    np.testing.assert_allclose(Rex(base_lr=0.3, total_steps=90)(t), expected, rtol=5e-7)


def test_the_longest_run_has_its_last_update_above_zero() -> None:
    rate = float(Rex(base_lr=1, total_steps=LAST)(LAST - 1))
    assert rate == pytest.approx(float(Fraction(2, LAST + 1)), rel=2e-7)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"total_steps": 0}, "total_steps"),
        ({"total_steps": "100%"}, "total_steps"),
        ({"eta_min": 2}, "eta_min"),
        ({"base_lr": -1}, "base_lr"),
    ],
)
def test_bad_arguments_are_refused_by_name(change: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Rex(**{"base_lr": 1, "total_steps": 9} | change)
    assert caught.value.key == key
