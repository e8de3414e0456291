"""The bounds chosen from curves, and the curves that support none."""

import math
from dataclasses import replace

import numpy as np
import pytest
from curves import FALL, blow_up, curve_of, logistic, usual
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from runner.ranges import Answer, Curve, NoAnswer, choose
from runner.ranges import test_rates as rates_of
from runner.ranges.choice import (
    _begins_to_fall,
    _early_stops,
    _falls_at_end,
    _levels_off,
    _step_size,
)
from runner.ranges.trend import Trend

FINE = np.logspace(-7, 1, 100_000)
STEP = 10 ** (8 / 99)  # factor between 100 points


def answer_of(*losses: np.ndarray) -> Answer:
    found = choose([curve_of(values, seed=seed) for seed, values in enumerate(losses)])
    assert isinstance(found, Answer)
    return found


def refusal_of(*losses: np.ndarray) -> NoAnswer:
    found = choose([curve_of(values, seed=seed) for seed, values in enumerate(losses)])
    assert isinstance(found, NoAnswer)
    return found


def minimum_of(losses: np.ndarray) -> float:
    """The rate of the lowest loss on the fine grid."""
    return float(FINE[np.argmin(losses)])


MINIMUM = minimum_of(logistic(FINE, -2, 0.3) + blow_up(FINE, -0.5))


def test_max_lr_is_a_third_of_the_rate_where_the_loss_is_lowest() -> None:
    assert answer_of(usual()).max_lr == pytest.approx(MINIMUM / 3, rel=STEP - 1)


def test_base_lr_is_where_a_tenth_of_the_fall_is_reached() -> None:
    # A logistic of width 0.3 has fallen by a tenth 0.3 ln 9 below its centre.
    expected = 10 ** (-2 - 0.3 * math.log(9))
    assert answer_of(usual()).base_lr == pytest.approx(expected, rel=1.5 * (STEP - 1))


@pytest.mark.parametrize("shift", [-3.0, -1.0, 0.5])
def test_a_longer_flat_start_moves_nothing_else(shift: float) -> None:
    moved, found = answer_of(usual(shift=shift)), answer_of(usual())
    assert moved.max_lr == pytest.approx(10**shift * found.max_lr, rel=0.25)
    assert moved.base_lr == pytest.approx(10**shift * found.base_lr, rel=0.25)


@pytest.mark.parametrize(
    ("n", "noise"), [(20, 0.02), (20, 0.1), *((n, e) for n in (50, 100, 200) for e in (0.1, 0.2))]
)
def test_noise_moves_the_bounds_by_less_than_a_factor_of_five(n: int, noise: float) -> None:
    for seed in range(0, 60, 3):
        found = answer_of(*(usual(n, noise=noise, seed=seed + k) for k in range(3)))
        assert MINIMUM / 15 < found.max_lr < MINIMUM / 3 * 5
        assert found.max_lr / 25.01 <= found.base_lr <= found.max_lr / 3.99


def test_twenty_points_under_much_noise_have_a_good_answer_or_none() -> None:
    for seed in range(0, 60, 3):
        found = choose([curve_of(usual(20, noise=0.2, seed=seed + k)) for k in range(3)])
        assert isinstance(found, NoAnswer) or MINIMUM / 15 < found.max_lr < MINIMUM / 3 * 5


def test_a_loss_that_rises_at_once_has_no_answer() -> None:
    rates = rates_of(1e-7, 10, 100, "exponential")
    refusal = refusal_of(2.3 + blow_up(rates, -5))
    assert refusal.reason == "the loss rises without having fallen"
    assert "lower start_lr" in refusal.remedy


def test_a_loss_that_rises_slowly_has_no_answer() -> None:
    assert "rises without having fallen" in refusal_of(np.linspace(1, 2, 100)).reason


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_a_loss_that_never_falls_has_no_answer(noise: float) -> None:
    random = np.random.default_rng(3)
    refusal = refusal_of(*(2.3 + noise * random.normal(size=100) for _ in range(3)))
    assert refusal.reason.startswith("no learning rate in the range lowers the loss")


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_a_loss_that_still_falls_at_the_end_asks_for_a_higher_end(noise: float) -> None:
    rates = rates_of(1e-7, 10, 100, "exponential")
    random = np.random.default_rng(1)
    losses = logistic(rates, 1.0, 0.4) + noise * FALL * random.normal(size=100)
    assert refusal_of(losses).remedy == "raise end_lr"


def test_a_loss_that_levels_off_has_its_bound_where_it_does() -> None:
    rates = rates_of(1e-7, 10, 100, "exponential")
    found = answer_of(logistic(rates, -3, 0.3))
    # A logistic of width 0.3 is within 5% of its fall 0.3 ln 19 above its centre.
    expected = 10 ** (-3 + 0.3 * math.log(19)) / 3
    assert found.max_lr == pytest.approx(expected, rel=1.5 * (STEP - 1))
    assert "stops falling" in found.reasons[0]


@pytest.mark.parametrize("place", [5, 40, 60, 68])
def test_a_spike_moves_nothing(place: int) -> None:
    spiked = usual()
    spiked[place] *= 3
    found, plain = answer_of(spiked), answer_of(usual())
    assert found.max_lr == pytest.approx(plain.max_lr, rel=0.25)
    assert found.base_lr == pytest.approx(plain.base_lr, rel=0.25)


def test_a_nan_after_the_rise_moves_nothing() -> None:
    losses = usual()
    losses[-8:] = math.nan
    assert answer_of(losses).max_lr == answer_of(usual()).max_lr


def test_a_nan_during_the_fall_bounds_the_range() -> None:
    rates = rates_of(1e-7, 10, 100, "exponential")
    losses = logistic(rates, -2, 0.4)
    losses[65:] = math.nan
    assert answer_of(losses).max_lr == pytest.approx(rates[64] / 3, rel=1e-9)


@pytest.mark.parametrize("kept", [0, 1, 2, 3, 9])
def test_a_curve_cut_after_few_points_has_no_answer(kept: int) -> None:
    losses = usual()
    losses[kept:] = math.nan
    refusal = refusal_of(losses)
    assert "fewer than 10 points" in refusal.reason
    assert str(refusal) == f"{refusal.reason}; {refusal.remedy}"


def test_a_seed_that_diverges_at_once_is_left_out_and_named() -> None:
    diverged = usual()
    diverged[4:] = math.nan
    found = answer_of(usual(noise=0.02), diverged, usual(noise=0.02, seed=2))
    without = answer_of(usual(noise=0.02), usual(noise=0.02, seed=2))
    assert (found.base_lr, found.max_lr) == (without.base_lr, without.max_lr)
    assert any(reason.startswith("seed 1 is left out") for reason in found.reasons)


def test_a_seed_that_diverges_below_max_lr_is_named() -> None:
    early = usual(noise=0.02, shift=-2.0)
    found = answer_of(usual(noise=0.02, seed=1), early, usual(noise=0.02, seed=2))
    assert any("seed 1 diverges at" in reason for reason in found.reasons)
    assert found.max_lr_spread.low == pytest.approx(MINIMUM / 300, rel=0.5)


def test_a_seed_that_stops_at_max_lr_does_not_stop_below_it() -> None:
    rates = np.array([0.01, 0.1])
    stopped = Curve(7, rates, rates, rates, stopped=True)
    assert _early_stops([stopped], 0.1) == ()
    (warning,) = _early_stops([stopped], 0.11)
    assert warning == "the loss of seed 7 diverges at 0.1, below max_lr"
    assert _early_stops([replace(stopped, stopped=False)], 0.11) == ()
    assert _early_stops([replace(stopped, rates=rates[:0])], 0.11) == ()


def test_without_bounds_for_most_seeds_the_commonest_reason_is_given() -> None:
    flat, cut = np.full(100, 2.3), np.full(100, math.nan)
    assert "fewer than 10 points" in refusal_of(usual(), cut, flat, cut).reason
    assert "fewer than 10 points" in refusal_of(usual(), cut, cut).reason


def test_bounds_for_half_of_the_seeds_suffice() -> None:
    found, alone = answer_of(usual(), np.full(100, 2.3)), answer_of(usual())
    assert (found.base_lr, found.max_lr) == (alone.base_lr, alone.max_lr)


def test_the_answer_is_the_median_over_seeds_with_its_spread() -> None:
    shifts = [1.0, -1.0, 0.0]
    alone = [answer_of(usual(shift=shift)) for shift in shifts]
    found = answer_of(*(usual(shift=shift) for shift in shifts))
    assert found.max_lr == pytest.approx(alone[2].max_lr)
    assert found.base_lr == pytest.approx(alone[2].base_lr)
    for key in ("max_lr", "base_lr"):
        spread = getattr(found, f"{key}_spread")
        assert spread.low == pytest.approx(getattr(alone[1], key))
        assert spread.high == pytest.approx(getattr(alone[0], key))


def test_the_step_size_grows_with_the_range() -> None:
    rates = rates_of(1e-7, 10, 200, "exponential")
    narrow, wide = (
        answer_of(logistic(rates, -3, width) + blow_up(rates, -3 + 4 * width))
        for width in (0.1, 0.6)
    )
    # Two epochs for each decade, in halves, and at least two.
    assert narrow.step_size_epochs == max(
        2, round(4 * math.log10(narrow.max_lr / narrow.base_lr)) / 2
    )
    assert 2 <= narrow.step_size_epochs < wide.step_size_epochs <= 10


def trend_of(losses: list[float], errors: list[float] | None = None) -> Trend:
    """A trend that starts at 11 and falls to 1."""
    values, zeros = np.array(losses), np.zeros(len(losses))
    found = zeros if errors is None else np.array(errors)
    return Trend(zeros, values, zeros, 11.0, 1, 0.0, found, int(np.argmin(values)), 0)


def test_the_loss_levels_off_where_the_last_twentieth_of_the_fall_begins() -> None:
    # A twentieth is 0.5; the dip at the third point is left again.
    assert _levels_off(trend_of([11, 6, 1.2, 2, 1.6, 1.5, 1.4, 1, 5])) == 5
    assert _levels_off(trend_of([1, 5])) == 0


@pytest.mark.parametrize(
    ("losses", "errors", "expected"),
    [
        # A tenth of the fall is 1; the dip at the second point is left again.
        ([11, 9, 10.1, 10, 9, 1, 20], None, 3),
        # Two standard errors of the fifth point are 3, those of the sixth 1.9.
        ([11, 9, 10.1, 10, 9, 9, 1], [0, 0, 0, 0, 1.5, 0.95, 0], 5),
        ([11, 9, 10.1, 10, 9, 9, 1], [0, 0, 0, 0, 0.9, 0, 0], 3),
        # At the latest, at the lowest point.
        ([11, 10.5, 1, 12], [0, 0, 9, 9], 2),
        ([9, 5, 1], None, 0),
    ],
)
def test_the_loss_begins_to_fall_where_it_stays_a_tenth_or_two_errors_below(
    losses: list[float], errors: list[float] | None, expected: int
) -> None:
    assert _begins_to_fall(trend_of(losses, errors)) == expected


@pytest.mark.parametrize(
    ("end", "errors", "expected"),
    [
        # Of 40 points, the last tenth goes from the fourth last to the last.
        ([9.0, 1.6, 1.1, 1.1, 1.0], (0.0, 0.0), True),
        ([9.0, 1.4, 1.1, 1.1, 1.0], (0.0, 0.0), False),
        # Two standard errors of the difference: 2 * 5 * 0.055, and 2 * 5 * 0.065.
        ([9.0, 1.6, 1.1, 1.1, 1.0], (0.165, 0.22), True),
        ([9.0, 1.6, 1.1, 1.1, 1.0], (0.195, 0.26), False),
        # It has risen again.
        ([9.0, 1.0, 1.6, 1.6, 1.6], (0.0, 0.0), False),
    ],
)
def test_the_loss_still_falls_if_it_does_over_the_last_tenth(
    end: list[float], errors: tuple[float, float], expected: bool
) -> None:
    spread = [9.0] * 36 + [errors[0], 9.0, 9.0, errors[1]]
    assert _falls_at_end(trend_of([11.0] * 35 + end, spread)) == expected


def test_the_last_tenth_has_at_least_two_points() -> None:
    assert _falls_at_end(trend_of([11.0] * 10 + [2.0, 1.0]))
    assert not _falls_at_end(trend_of([11.0] * 10 + [1.4, 1.0]))


@pytest.mark.parametrize(("start", "is_answered"), [(0.015, True), (0.025, False), (0.1, False)])
def test_no_bound_lies_below_the_range(start: float, is_answered: bool) -> None:
    """The loss is lowest near 0.23: a third of that is max_lr, and a twelfth, 0.019, base_lr."""
    rates = rates_of(start, 10, 100, "exponential")
    losses = logistic(rates, -0.75, 0.02) + blow_up(rates, -0.5)
    found = choose([curve_of(losses, rates=rates)])
    if is_answered:
        assert isinstance(found, Answer)
        lowest = rates[np.argmin(losses)]
        assert found.base_lr == pytest.approx(lowest / 12, rel=0.1)
        assert found.max_lr == pytest.approx(4 * found.base_lr)
    else:
        assert isinstance(found, NoAnswer)
        assert "within a factor of 12 of the lowest rate; lower start_lr" in str(found)


def test_a_rise_that_does_not_stop_the_test_bounds_the_range() -> None:
    """From 0.5 up to 1.2, below the fourfold of the lowest loss."""
    rates = rates_of(1e-7, 10, 100, "exponential")
    losses = logistic(rates, -3, 0.3) + np.clip(np.log10(rates) + 1, 0, 1) * 0.7
    curve = curve_of(losses)
    assert not curve.stopped
    found = answer_of(losses)
    assert found.max_lr == pytest.approx(0.1 / 3, rel=3 * (STEP - 1))
    assert "is lowest" in found.reasons[0]


def test_the_step_size_is_rounded_to_half_an_epoch() -> None:
    # 2 log10(18) = 2.51 and 2 log10(25) = 2.80 epochs.
    assert [_step_size(0.01, max_lr) for max_lr in (0.18, 0.25)] == [2.5, 3.0]


def test_a_choice_needs_a_curve() -> None:
    with pytest.raises(ValueError, match="at least one curve"):
        choose([])


@given(decades=st.floats(-2, 2), seed=st.integers(0, 99), n=st.integers(20, 250))
def test_a_factor_of_all_rates_is_one_of_the_bounds(decades: float, seed: int, n: int) -> None:
    factor = 10.0**decades
    curve = curve_of(usual(n, noise=0.05, seed=seed))
    scaled = Curve(seed, factor * curve.rates, curve.losses, curve.smoothed, curve.stopped)
    found, moved = choose([curve]), choose([scaled])
    assert type(found) is type(moved)
    if isinstance(found, Answer) and isinstance(moved, Answer):
        assert moved.max_lr == pytest.approx(factor * found.max_lr, rel=1e-9)
        assert moved.base_lr == pytest.approx(factor * found.base_lr, rel=1e-9)


@given(factor=st.floats(0.01, 100), constant=st.floats(-10, 10), seed=st.integers(0, 99))
def test_the_scale_of_the_loss_moves_no_bound(factor: float, constant: float, seed: int) -> None:
    curve = curve_of(usual(noise=0.05, seed=seed))
    scaled = factor * (curve.losses + constant)
    changed = Curve(seed, curve.rates, scaled, curve.smoothed, curve.stopped)
    assert choose([changed]) == choose([curve])


@given(
    seeds=st.lists(
        arrays.arrays(np.float64, st.integers(0, 60), elements=st.floats()), min_size=1, max_size=4
    )
)
def test_any_losses_have_bounds_in_the_range_or_none(seeds: list[np.ndarray]) -> None:
    rates = rates_of(1e-4, 10, 60, "exponential")
    curves = [curve_of(losses, seed=i, rates=rates) for i, losses in enumerate(seeds)]
    found = choose(curves)
    if isinstance(found, Answer):
        assert 1e-4 <= found.base_lr < 1.0001 * found.max_lr / 4
        assert found.max_lr <= 10
        assert 2 <= found.step_size_epochs <= 10
        assert found.reasons
    else:
        assert found.reason
        assert found.remedy


@given(
    losses=arrays.arrays(
        np.float64, st.integers(10, 60), elements=st.floats(-1e300, 1e300, allow_nan=False)
    )
)
def test_finite_curves_that_were_never_cut_do_not_fail(losses: np.ndarray) -> None:
    rates = rates_of(1e-4, 10, len(losses), "exponential")
    choose([Curve(0, rates, losses, losses, stopped=False)])
