"""Short runs at multiples of an answer's rates confirm it or move it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.ranges import MULTIPLES, Answer, NoAnswer, Spread, revise, wanted_multiples
from runner.ranges.verification import _standard_error

ANSWER = Answer(
    base_lr=0.01,
    max_lr=0.1,
    step_size_epochs=4,
    base_lr_spread=Spread(0.005, 0.02),
    max_lr_spread=Spread(0.08, 0.2),
    reasons=("the curve",),
)
NAN = math.nan


def scores_of(*values: float, noise: float = 0.0, multiples=MULTIPLES) -> dict[float, list[float]]:
    """Two seeds about each value."""
    return {m: [value - noise, value + noise] for m, value in zip(multiples, values, strict=True)}


def reason_of(scores: Mapping[float, Sequence[float]]) -> str:
    revised = revise(ANSWER, scores, highest=True)
    assert isinstance(revised, Answer)
    return revised.reasons[-1]


def factor_of(scores: Mapping[float, Sequence[float]], *, highest: bool = True) -> float:
    revised = revise(ANSWER, scores, highest=highest)
    assert isinstance(revised, Answer)
    factor = revised.max_lr / ANSWER.max_lr
    assert revised.base_lr == pytest.approx(factor * ANSWER.base_lr)
    assert revised.max_lr_spread.high == pytest.approx(factor * ANSWER.max_lr_spread.high)
    assert revised.base_lr_spread.low == pytest.approx(factor * ANSWER.base_lr_spread.low)
    assert revised.step_size_epochs == ANSWER.step_size_epochs
    assert revised.reasons[:-1] == ANSWER.reasons
    return factor


def parabola(best: float, multiples: Sequence[float] = MULTIPLES) -> dict[float, list[float]]:
    """Scores that fall by 0.01 times the squared distance from ``best``, in factors of two."""
    return {m: [0.9 - 0.01 * math.log2(m / best) ** 2] * 2 for m in multiples}


def test_an_answer_that_scores_best_stays() -> None:
    assert factor_of(parabola(1)) == 1
    assert factor_of(scores_of(0.4, 0.2, 0.1, 0.2, 0.4), highest=False) == 1
    assert factor_of(scores_of(0.9, 0.9, 0.9, 0.9, 0.9)) == 1
    assert reason_of(parabola(1)) == ("short runs score these rates best")


@pytest.mark.parametrize("best", [0.35, 0.71, 1.4, 1.9, 2.8])
def test_the_answer_moves_to_where_a_parabola_through_the_scores_is_best(best: float) -> None:
    assert factor_of(parabola(best)) == pytest.approx(best)
    losses = {m: [-value for value in values] for m, values in parabola(best).items()}
    assert factor_of(losses, highest=False) == pytest.approx(best)


def test_the_answer_moves_no_farther_than_the_multiples_tried() -> None:
    assert factor_of(parabola(16)) == 4
    assert factor_of(parabola(0.01)) == 0.25
    assert factor_of(parabola(6, (*MULTIPLES, 8, 16))) == pytest.approx(6)


def test_the_noise_of_one_run_moves_the_answer_little() -> None:
    scores = parabola(1) | {4.0: [0.86, 0.91]}  # 4 times these rates score nearly as high as 2
    assert 1 < factor_of(scores) < 2


def test_only_scores_within_a_factor_of_four_of_the_best_are_fitted() -> None:
    scores = parabola(8, (*MULTIPLES, 8, 16))
    assert factor_of(scores | {0.25: [0.89, 0.89], 0.5: [0.88, 0.88]}) == 8


def test_a_run_that_collapses_does_not_bend_the_parabola() -> None:
    # The distances from the best are 0.03, 0.01, 0, 0.02 and 0.80, of which the last counts as four
    # times their median, 0.1. The least-squares parabola has slope 0.015 and curvature 0.23 / 14.
    scores = scores_of(0.87, 0.89, 0.90, 0.88, 0.10)
    assert factor_of(scores) == pytest.approx(2 ** (-0.015 / (2 * 0.23 / 14)), abs=0.005)


def test_without_a_best_point_within_the_parabola_the_answer_moves_to_the_best_multiple() -> None:
    assert factor_of(scores_of(0.9, 0.3, 0.2, 0.3, 0.91)) == 4
    assert factor_of({0.5: [0.8, 0.8], 2.0: [0.9, 0.9]}) == 2


def test_the_reason_names_the_multiples_and_the_factor() -> None:
    assert revise(ANSWER, parabola(1.9), highest=True).reasons[-1] == (
        "short runs at 0.25, 0.5, 1, 2 and 4 times these rates score best at about 1.9 times; the "
        "rates are multiplied by 1.9"
    )


def test_a_multiple_with_a_run_that_diverged_is_never_chosen() -> None:
    scores = scores_of(0.5, 0.7, 0.8, 0.9, 0.1) | {2.0: [0.99, NAN], 4.0: [-math.inf, -math.inf]}
    assert factor_of(scores) == 1
    scores = scores_of(0.5, 0.7, 0.8, 0.9, 0.1) | {1.0: [0.99, -math.inf], 2.0: [NAN, NAN]}
    assert factor_of(scores | {4.0: [NAN, NAN]}) == 0.5


def test_multiples_above_one_that_diverged_are_not_trusted() -> None:
    scores = scores_of(0.7, 0.8, 0.82, NAN, 0.95)
    # The parabola through the distances 0.12, 0.02 and 0 at -2, -1 and 0 is lowest at -1/4.
    assert factor_of(scores) == 0.84
    assert wanted_multiples(ANSWER, scores, highest=True) == ()
    assert reason_of(scores) == (
        "short runs at 0.25, 0.5, 1, 2 and 4 times these rates score best at about 0.84 times, and "
        "are unstable from 2 times; the rates are multiplied by 0.84"
    )


def test_multiples_above_one_that_collapsed_are_not_trusted() -> None:
    """The scores of an mlp on the shuttle data under wsd; a run at 0.552 ended at 0.787."""
    scores = {
        0.25: [0.98319, 0.98534],
        0.5: [0.99181, 0.98922],
        1.0: [0.99181, 0.99224],
        2.0: [0.99332, 0.78664],
        4.0: [0.99181, 0.99483],
    }
    assert wanted_multiples(ANSWER, scores, highest=True) == ()
    assert 0.5 < factor_of(scores) <= 1
    reason = reason_of(scores)
    assert "unstable from 2 times" in reason
    losses = {m: [1 - value for value in values] for m, values in scores.items()}
    assert factor_of(losses, highest=False) == factor_of(scores)


def test_a_dip_within_noise_or_of_unknown_noise_is_no_collapse() -> None:
    dip = (0.90, 0.93, 0.90, 0.94, 0.95)
    assert factor_of(scores_of(*dip, noise=0.01)) > 1
    assert factor_of({m: [value] for m, value in zip(MULTIPLES, dip, strict=True)}) > 1


def test_a_loss_of_a_run_that_diverged_is_never_best() -> None:
    scores = scores_of(5, 4, 3, 2, 1) | {m: [math.inf, 0.0] for m in (2.0, 4.0)}
    assert factor_of(scores, highest=False) == 1


def test_if_runs_diverge_at_the_lowest_multiple_there_is_no_answer() -> None:
    diverged = dict.fromkeys(MULTIPLES, (NAN, NAN))
    for scores in (diverged, diverged | {1.0: (0.9, 0.9)}):
        found = revise(ANSWER, scores, highest=True)
        assert isinstance(found, NoAnswer)
        assert "diverge even at 0.25 times the rates" in found.reason


def test_a_single_seed_suffices() -> None:
    # The parabola through the distances 0.01, 0 and 0.11 at 0, 1 and 2 is lowest at 0.07 / 0.12.
    scores = {1.0: [0.8], 2.0: [0.81], 4.0: [0.7]}
    assert factor_of(scores) == pytest.approx(2 ** (0.07 / 0.12), abs=0.05)


def test_without_scores_the_answer_stays_and_the_multiples_are_wanted() -> None:
    assert revise(ANSWER, {}, highest=True) == ANSWER
    assert wanted_multiples(ANSWER, {}, highest=True) == MULTIPLES


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ((0.5, 0.7, 0.9, 0.8, 0.1), ()),
        ((0.5, 0.7, 0.8, 0.9, 0.1), ()),
        ((0.5, 0.6, 0.7, 0.8, 0.9), (8, 16)),
        ((0.9, 0.8, 0.7, 0.6, 0.5), (1 / 8, 1 / 16)),
        ((NAN, NAN, NAN, NAN, NAN), (1 / 8, 1 / 16)),
        ((0.9, NAN, NAN, NAN, NAN), (1 / 8, 1 / 16)),
        ((0.9, 0.9, 0.9, 0.9, 0.9), ()),
        ((0.5, 0.6, 0.7, 0.9, 0.9), (8, 16)),
    ],
)
def test_multiples_are_added_beyond_an_end_that_is_best(values: tuple, wanted: tuple) -> None:
    assert wanted_multiples(ANSWER, scores_of(*values), highest=True) == wanted


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ((0.80, 0.90, 0.5, 0.3, 0.1), (1 / 8, 1 / 16)),
        ((0.79, 0.90, 0.5, 0.3, 0.1), ()),
        ((0.1, 0.3, 0.5, 0.90, 0.80), (8, 16)),
        ((0.1, 0.3, 0.5, 0.90, 0.79), ()),
        ((0.1, 0.3, 0.80, 0.85, 0.90), ()),
        ((0.1, 0.3, 0.79, 0.85, 0.90), (8, 16)),
        # 0.5 is as good, but not 1, which lies between it and the best.
        ((0.1, 0.85, 0.79, 0.85, 0.90), (8, 16)),
    ],
)
def test_scores_within_one_and_a_half_standard_errors_are_equal(values: Any, wanted: Any) -> None:
    """Two scores at a distance of 0.1: an error of 0.05 * 2 ** 0.5, of which 1.5 are 0.106."""
    scores = scores_of(*values, noise=0.05)
    assert wanted_multiples(ANSWER, scores, highest=True) == wanted


def test_further_multiples_reach_64_and_a_64th() -> None:
    tried = (1 / 16, 1 / 8, *MULTIPLES, 8, 16)
    rising, falling = range(len(tried)), range(len(tried), 0, -1)
    for values, wanted in ((rising, (32, 64)), (falling, (1 / 32, 1 / 64))):
        assert wanted_multiples(ANSWER, scores_of(*values, multiples=tried), highest=True) == wanted
    tried = (1 / 64, 1 / 32, *tried, 32, 64)
    for values in (range(len(tried)), range(len(tried), 0, -1)):
        assert wanted_multiples(ANSWER, scores_of(*values, multiples=tried), highest=True) == ()


def test_equal_scores_beyond_a_worse_one_do_not_count() -> None:
    scores = scores_of(
        0.1, 0.2, 0.3, 0.9, 0.85, 0.5, 0.88, noise=0.05, multiples=(*MULTIPLES, 8, 16)
    )
    assert wanted_multiples(ANSWER, scores, highest=True) == ()


def test_the_standard_error_is_pooled_over_all_degrees_of_freedom() -> None:
    # Squares of 2 and 6 over 1 + 2 degrees; of the means, the one of two values counts.
    assert _standard_error([[1, 3], [2, 2, 5]]) == pytest.approx((2 * 8 / 3 / 2) ** 0.5)
    assert _standard_error([[1], [5]]) == 0


def test_a_reason_may_name_one_multiple() -> None:
    reason = revise(ANSWER, {2.0: [0.5]}, highest=True).reasons[-1]
    assert reason.startswith("short runs at 2 times these rates")


def test_a_lower_loss_is_better_when_more_multiples_are_asked_for() -> None:
    scores = scores_of(0.9, 0.8, 0.7, 0.6, 0.5)
    assert wanted_multiples(ANSWER, scores, highest=False) == (8, 16)


@given(
    data=st.data(),
    seeds=st.integers(1, 3),
    highest=st.booleans(),
)
def test_asking_for_multiples_ends(data: st.DataObject, seeds: int, highest: bool) -> None:
    values = st.lists(st.floats(-1e6, 1e6) | st.just(NAN), min_size=seeds, max_size=seeds)
    scores: dict[float, list[float]] = {}
    while wanted := wanted_multiples(ANSWER, scores, highest=highest):
        assert not set(wanted) & set(scores)
        scores |= {multiple: data.draw(values) for multiple in wanted}
    assert min(scores) >= 1 / 64
    assert max(scores) <= 64
    # The factor is rounded to two digits, 1/16 to 0.062.
    rounded = [float(f"{multiple:.2g}") * ANSWER.max_lr for multiple in scores]
    revised = revise(ANSWER, scores, highest=highest)
    assert isinstance(revised, NoAnswer) or min(rounded) <= revised.max_lr <= max(rounded)
