"""Short runs at multiples of an answer's rates confirm it or move it."""

import math
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.ranges import MULTIPLES, Answer, Spread, revise, wanted_multiples

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


def factor_of(scores: Mapping[float, Sequence[float]], *, highest: bool = True) -> float:
    revised = revise(ANSWER, scores, highest=highest)
    factor = revised.max_lr / ANSWER.max_lr
    assert revised.base_lr == pytest.approx(factor * ANSWER.base_lr)
    assert revised.max_lr_spread.high == pytest.approx(factor * ANSWER.max_lr_spread.high)
    assert revised.base_lr_spread.low == pytest.approx(factor * ANSWER.base_lr_spread.low)
    assert revised.step_size_epochs == ANSWER.step_size_epochs
    assert revised.reasons[:-1] == ANSWER.reasons
    return factor


def test_an_answer_that_scores_best_stays() -> None:
    assert factor_of(scores_of(0.5, 0.7, 0.9, 0.8, 0.1)) == 1
    assert factor_of(scores_of(0.5, 0.3, 0.2, 0.4, 0.9), highest=False) == 1


def test_an_answer_that_is_as_good_as_the_best_within_noise_stays() -> None:
    # The variance of 0.90 ± 0.03 is 0.0018; the error of a difference of two means of two is 0.042.
    scores = scores_of(0.5, 0.7, 0.9, 0.93, 0.1, noise=0.03)
    assert factor_of(scores) == 1
    assert "2 times these rates score no better" in revise(ANSWER, scores, highest=True).reasons[-1]


def test_an_answer_that_is_worse_beyond_noise_moves_to_the_best() -> None:
    assert factor_of(scores_of(0.5, 0.7, 0.8, 0.9, 0.1, noise=0.03)) == 2
    assert factor_of(scores_of(0.5, 0.9, 0.7, 0.3, 0.1, noise=0.03)) == 0.5
    assert factor_of(scores_of(9, 8, 7, 5, 6), highest=False) == 2


def test_of_multiples_that_score_alike_the_lowest_is_chosen() -> None:
    assert factor_of(scores_of(0.1, 0.2, 0.3, 0.89, 0.9, noise=0.03)) == 2
    assert factor_of(scores_of(0.89, 0.9, 0.3, 0.2, 0.1, noise=0.03)) == 0.25


def test_the_reason_names_the_factor() -> None:
    scores = scores_of(0.1, 0.2, 0.3, 0.89, 0.9, noise=0.03)
    assert revise(ANSWER, scores, highest=True).reasons[-1] == (
        "short runs at 2 and 4 times these rates score better; the rates are multiplied by 2"
    )


def test_a_good_score_beyond_a_bad_one_does_not_count() -> None:
    scores = scores_of(0.9, 0.3, 0.4, 0.91, 0.2, noise=0.03)
    assert factor_of(scores) == 2


def test_a_multiple_with_a_run_that_diverged_is_never_chosen() -> None:
    scores = scores_of(0.5, 0.7, 0.8, 0.9, 0.1) | {2.0: [0.99, NAN], 4.0: [-math.inf, -math.inf]}
    assert factor_of(scores) == 1
    scores = scores_of(0.5, 0.7, 0.8, 0.9, 0.1) | {1.0: [0.99, -math.inf], 2.0: [NAN, NAN]}
    assert factor_of(scores | {4.0: [NAN, NAN]}) == 0.5


def test_a_loss_of_a_run_that_diverged_is_never_best() -> None:
    scores = scores_of(5, 4, 3, 2, 1) | {m: [math.inf, 0.0] for m in (2.0, 4.0)}
    assert factor_of(scores, highest=False) == 1


def test_if_all_runs_diverge_the_rates_are_the_lowest_tried() -> None:
    diverged = dict.fromkeys(MULTIPLES, (NAN, NAN))
    assert factor_of(diverged) == 0.25
    assert "all short runs diverged" in revise(ANSWER, diverged, highest=True).reasons[-1]


def test_a_single_seed_moves_to_the_best_score() -> None:
    assert factor_of({1.0: [0.8], 2.0: [0.81], 4.0: [0.7]}) == 2


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
    ],
)
def test_multiples_are_added_beyond_an_end_that_is_best(values: tuple, wanted: tuple) -> None:
    assert wanted_multiples(ANSWER, scores_of(*values), highest=True) == wanted


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
    factor = revise(ANSWER, scores, highest=highest).max_lr / ANSWER.max_lr
    assert min(scores) * 0.999 <= factor <= max(scores) * 1.001
