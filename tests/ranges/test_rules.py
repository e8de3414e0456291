"""Each rule reads the rate off a curve that its source defines, and none where nothing falls."""

import numpy as np
import pytest
from curves import curve_of, logistic, usual
from hypothesis import given
from hypothesis import strategies as st

from runner.ranges import RULES, Curve, table
from runner.ranges import test_rates as rates_of
from runner.ranges.rules import _longest_fall

STEP = 8 / 99  # decades between 100 points


def decades(rate: float | None) -> float:
    assert rate is not None
    return float(np.log10(rate))


@pytest.mark.parametrize("n", [50, 100, 200, 1000])
@pytest.mark.parametrize("width", [0.2, 0.3, 0.5])
@pytest.mark.parametrize("centre", [-5.0, -3.0, -1.0])
def test_a_logistic_fall_is_steepest_at_its_centre(n: int, width: float, centre: float) -> None:
    rates = rates_of(1e-7, 10, n, "exponential")
    found = RULES["steepest"](curve_of(logistic(rates, centre, width)))
    assert decades(found) == pytest.approx(centre, abs=8 / min(n - 1, 199))


@pytest.mark.parametrize("noise", [0.02, 0.1, 0.2])
@pytest.mark.parametrize("n", [100, 400])
def test_the_steepest_rate_of_noisy_curves_is_within_a_factor_of_two(noise: float, n: int) -> None:
    curves = (curve_of(usual(n, noise=noise, seed=seed)) for seed in range(40))
    misses = [abs(decades(RULES["steepest"](curve)) + 2) for curve in curves]
    assert np.median(misses) < np.log10(2)
    assert np.quantile(misses, 0.9) < np.log10(5)


def test_with_linear_spacing_the_slope_is_still_by_the_logarithm() -> None:
    rates = rates_of(0.001, 1, 400, "linear")
    found = RULES["steepest"](curve_of(logistic(rates, -0.7, 0.3), rates=rates))
    assert decades(found) == pytest.approx(-0.7, abs=0.15)


def test_a_tenth_of_the_minimum_of_a_parabola() -> None:
    rates = rates_of(1e-7, 10, 100, "exponential")
    found = RULES["minimum/10"](curve_of(1 + (np.log10(rates) + 2) ** 2 / 10))
    assert decades(found) == pytest.approx(-3, abs=STEP)


def test_a_tenth_of_the_minimum_must_be_in_the_range() -> None:
    rates = rates_of(1e-2, 10, 100, "exponential")
    curve = curve_of(1 + (np.log10(rates) + 1.2) ** 2, rates=rates)
    assert RULES["minimum/10"](curve) is None


def test_the_valley_of_a_straight_fall_is_its_middle() -> None:
    # The fall has 100 points and ends at point 99: thirds of 33, and half a third is 16.
    curve = curve_of(np.linspace(2, 1, 100))
    assert RULES["valley"](curve) == pytest.approx(curve.rates[33 + 16], rel=1e-9)


def test_the_window_does_not_slide_where_the_slope_is_constant() -> None:
    curve = curve_of(np.linspace(2, 1, 100))
    assert RULES["slide"](curve) == pytest.approx(curve.rates[99 - 15], rel=1e-9)


def test_the_window_slides_to_the_start_of_a_parabola() -> None:
    curve = curve_of(1 + np.linspace(-1, 1, 100) ** 2)
    assert RULES["slide"](curve) == pytest.approx(curve.rates[0], rel=1e-9)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "losses",
    [
        np.full(100, 2.3),
        np.zeros(100),
        np.linspace(1, 2, 100),
        2.3 + 0.1 * np.random.default_rng(0).normal(size=100),
        np.linspace(2, 1, 9),
        np.array([]),
    ],
    ids=["constant", "zero", "rising", "noise", "nine points", "empty"],
)
def test_without_a_fall_no_rule_has_a_rate(rule: str, losses: np.ndarray) -> None:
    assert RULES[rule](curve_of(losses)) is None


@pytest.mark.parametrize("n", [20, 100])
def test_noise_is_hardly_ever_taken_for_a_fall(n: int) -> None:
    random = np.random.default_rng(0)
    noisy = [curve_of(2.3 + 0.1 * random.normal(size=n)) for _ in range(300)]
    assert sum(RULES["steepest"](curve) is not None for curve in noisy) <= 9


def test_the_table_gives_the_median_and_the_spread_over_seeds() -> None:
    curves = [curve_of(usual(shift=shift), seed=i) for i, shift in enumerate([1.0, 0.0, -1.0])]
    row = next(row for row in table(curves) if row.rule == "steepest")
    expected = [-2.0, -3.0, -1.0]
    assert [decades(rate) for rate in (row.median, row.low, row.high)] == pytest.approx(
        expected, abs=STEP
    )


def test_the_table_leaves_out_seeds_without_a_rate() -> None:
    rows = table([curve_of(usual()), curve_of(np.full(100, 2.3))])
    assert [row.rule for row in rows] == list(RULES)
    assert all(row.low == row.median == row.high is not None for row in rows)
    rows = table([curve_of(np.full(100, 2.3))])
    assert all(row.median is row.low is row.high is None for row in rows)


@given(
    rule=st.sampled_from(sorted(RULES)),
    decades=st.floats(-2, 2),
    seed=st.integers(0, 99),
    n=st.integers(20, 300),
)
def test_a_factor_of_all_rates_is_one_of_the_answer(
    rule: str, decades: float, seed: int, n: int
) -> None:
    factor, curve = 10.0**decades, curve_of(usual(n, noise=0.05, seed=seed))
    scaled = Curve(seed, factor * curve.rates, curve.losses, curve.smoothed, curve.stopped)
    found, moved = RULES[rule](curve), RULES[rule](scaled)
    assert (found is None) == (moved is None)
    if found is not None:
        assert moved == pytest.approx(factor * found, rel=1e-9)


@given(
    rule=st.sampled_from(sorted(RULES)),
    factor=st.floats(0.01, 100),
    constant=st.floats(-10, 10),
    seed=st.integers(0, 99),
)
def test_the_scale_of_the_loss_moves_no_rule(
    rule: str, factor: float, constant: float, seed: int
) -> None:
    curve = curve_of(usual(noise=0.05, seed=seed))
    scaled = factor * (curve.losses + constant)
    changed = Curve(seed, curve.rates, scaled, curve.smoothed, curve.stopped)
    assert RULES[rule](changed) == RULES[rule](curve)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=40))
def test_the_longest_fall_is_that_of_the_published_loops(losses: list[int]) -> None:
    lengths = [1] * len(losses)
    for i, loss in enumerate(losses):
        lengths[i] += max((lengths[j] for j in range(i) if losses[j] > loss), default=0)
    longest = max(lengths)
    assert _longest_fall(np.array(losses, float)) == (lengths.index(longest), longest)
