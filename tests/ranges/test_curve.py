"""Curves hold the losses of a range test up to the point where it stops."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.ranges import Smoother, make_curve
from runner.ranges import test_rates as rates_of

LOSSES = st.lists(st.floats(allow_subnormal=False), min_size=1, max_size=40)


def curve(losses: list[float], *, smoothing: float = 0.0, stop_factor: float = 4.0):
    rates = 10.0 ** np.arange(len(losses))
    return make_curve(7, rates, losses, smoothing=smoothing, stop_factor=stop_factor)


def test_exponential_rates_have_a_constant_ratio_and_both_ends() -> None:
    rates = rates_of(1e-7, 10, 9, "exponential")
    np.testing.assert_allclose(rates, [10.0**k for k in range(-7, 2)], rtol=1e-14)
    assert (rates[0], rates[-1], rates.dtype) == (1e-7, 10, np.float64)


def test_linear_rates_have_a_constant_difference_and_both_ends() -> None:
    rates = rates_of(1, 3, 5, "linear")
    assert rates.tolist() == [1, 1.5, 2, 2.5, 3]


@pytest.mark.parametrize(
    ("start", "end", "n"), [(0, 1, 10), (-1, 1, 10), (1, 1, 10), (2, 1, 10), (1, math.inf, 10)]
)
def test_rates_that_do_not_rise_are_refused(start: float, end: float, n: int) -> None:
    with pytest.raises(ValueError, match="0 < start < end"):
        rates_of(start, end, n, "exponential")


def test_a_single_point_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 points"):
        rates_of(1, 2, 1, "linear")


def test_the_average_is_bias_corrected() -> None:
    losses, smoothing = [3, 1, 4, 1, 5, 9, 2, 6], Fraction(9, 10)
    weights = [smoothing**k for k in range(len(losses))]
    exact = [
        sum(w * loss for w, loss in zip(weights, reversed(losses[:n]), strict=False))
        / sum(weights[:n])
        for n in range(1, len(losses) + 1)
    ]
    found = curve([float(loss) for loss in losses], smoothing=0.9).smoothed
    np.testing.assert_allclose(found, [float(value) for value in exact], rtol=1e-14)


def test_without_smoothing_the_average_is_the_loss() -> None:
    assert curve([3.0, 1.0, 2.0]).smoothed.tolist() == [3.0, 1.0, 2.0]


def test_the_curve_ends_with_the_loss_above_four_times_the_lowest() -> None:
    found = curve([1.0, 4.0, 2.0, 4.1, 1.0])
    assert (found.losses.tolist(), found.stopped) == ([1.0, 4.0, 2.0, 4.1], True)
    assert found.rates.tolist() == [1.0, 10.0, 100.0, 1000.0]


def test_the_smoothed_loss_decides_where_the_curve_ends() -> None:
    # The average of 1, 1 and 5 with smoothing ½ is (1 + 2 + 20) / 7 = 3.3.
    assert not curve([1.0, 1.0, 5.0], smoothing=0.5).stopped
    assert curve([1.0, 1.0, 5.0]).stopped


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_ends_the_curve_and_is_not_kept(bad: float) -> None:
    found = curve([2.0, 1.0, bad, 1.0])
    assert (found.losses.tolist(), found.stopped) == ([2.0, 1.0], True)


def test_a_curve_may_be_empty() -> None:
    assert len(curve([math.nan, 1.0]).losses) == 0


def test_a_curve_with_fewer_losses_than_rates_has_stopped() -> None:
    assert make_curve(0, [1, 2, 3], [1.0, 1.0], smoothing=0.9).stopped
    assert not make_curve(0, [1, 2], [1.0, 1.0], smoothing=0.9).stopped


def test_losses_below_zero_may_rise_by_three_times_their_fall() -> None:
    # From 1 the loss falls by 2 to -1, so it may rise to -1 + 3 * 2 = 5.
    assert curve([1.0, -1.0, 5.0, 5.1, 0.0]).losses.tolist() == [1.0, -1.0, 5.0, 5.1]


def test_losses_that_reach_zero_may_rise_by_three_times_their_fall() -> None:
    assert curve([1.0, 0.0, 3.0, 3.1, 0.0]).losses.tolist() == [1.0, 0.0, 3.0, 3.1]


@pytest.mark.parametrize("rates", [[1, 1], [2, 1], [0, 1], [-1, 1]])
def test_rates_of_a_curve_must_rise(rates: list[float]) -> None:
    with pytest.raises(ValueError, match="positive and rising"):
        make_curve(0, rates, [1.0, 1.0], smoothing=0.9)


def test_more_losses_than_rates_are_refused() -> None:
    with pytest.raises(ValueError, match="3 losses were given for 2 rates"):
        make_curve(0, [1, 2], [1.0, 1.0, 1.0], smoothing=0.9)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, math.nan])
def test_a_smoothing_outside_its_range_is_refused(smoothing: float) -> None:
    with pytest.raises(ValueError, match="smoothing must be"):
        Smoother(smoothing)


def test_a_stop_factor_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="stop_factor must be greater than 1"):
        Smoother(0.9, 1.0)


@given(losses=LOSSES, smoothing=st.floats(0, 0.99))
def test_the_smoother_keeps_the_losses_of_the_curve(losses: list[float], smoothing: float) -> None:
    smoother = Smoother(smoothing)
    kept = [loss for loss in losses if smoother.add(loss)]
    found = curve(losses, smoothing=smoothing)
    assert found.losses.tolist() == kept
    assert found.smoothed.tolist() == smoother.smoothed
    assert np.all(np.isfinite(found.smoothed))
