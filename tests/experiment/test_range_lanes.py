"""The range test of an experiment: its lanes, its lengths and its cost."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from runner.cli.commands import configure
from runner.data.feed import Feed
from runner.errors import ConfigError
from runner.experiment import range_test
from runner.experiment.build import build
from runner.experiment.range_lanes import Losses, Score, ShortRun, ShortRunListener, ShortRuns
from runner.experiment.range_test import (
    COST,
    RangeTestSettings,
    lengths_of_test,
    run_range_test,
)
from runner.experiment.range_values import curves_by_value
from runner.ranges import MULTIPLES, Answer, NoAnswer, Spread
from runner.training.loop import train

SETTINGS = RangeTestSettings(
    start_lr=1e-5,
    end_lr=10.0,
    steps=None,
    spacing="exponential",
    seeds=2,
    smoothing=None,
    warmup=0,
    verify=True,
)
never = lambda: False  # noqa: E731


def experiment(*overrides, epochs=8):
    config = configure("model=linear", f"training.epochs={epochs}", *overrides)
    return build(config, jax.devices("cpu")[0])


@pytest.fixture(scope="module")
def found():
    return run_range_test(experiment(), SETTINGS, should_stop=never)


def test_the_losses_are_those_of_a_run_of_the_seed_under_an_exponential_rate(found):
    n, curve = len(found.curves[1].rates), found.curves[1]
    factor = (10.0 / 1e-5) ** (1 / 99)
    policy = configure(
        "scheduler=exponential", "scheduler.base_lr=1e-5", f"scheduler.gamma={factor}"
    ).scheduler
    solo = experiment("seed=1").under(policy)
    kept = Losses(warmup=0, smoothing=0.9)
    listener = ShortRunListener(kept, 100)
    for _ in train(
        solo.static,
        solo.initial_state(),
        solo.hyperparams,
        solo.feed(),
        plan=replace(solo.plan, steps=100, eval_every=None),
        listener=listener,
        should_stop=never,
    ):
        pass
    listener.catch_up()
    assert curve.seed == 1
    assert len(longest(found)) == n
    np.testing.assert_allclose(curve.losses[: n - 5], kept.losses[: n - 5], rtol=2e-4)


def test_rates_have_equal_factors_from_start_to_end(found):
    rates = longest(found)
    assert rates[0] == 1e-5
    np.testing.assert_allclose(rates[1:] / rates[:-1], 10 ** (6 / 99), rtol=1e-9)


def test_the_answer_is_verified_and_within_the_range(found):
    assert isinstance(found.answer, Answer)
    assert set(MULTIPLES) <= set(found.scores)
    assert all(len(scores) == 2 for scores in found.scores.values())
    assert 1e-5 <= found.answer.base_lr < found.answer.max_lr <= 10
    # A softmax regression of the digits learns well at rates from about 0.05 to 1.
    assert 0.02 <= found.answer.max_lr <= 2


def test_no_other_split_than_those_of_training_and_validation_is_used(monkeypatch):
    used, source = set(), Feed.source

    def noted(self, name):
        used.add(name)
        return source(self, name)

    monkeypatch.setattr(Feed, "source", noted)
    run_range_test(experiment(epochs=4), replace(SETTINGS, seeds=1), should_stop=never)
    assert used == {"train", "validation"}


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [6, 10, 40, 400])
@pytest.mark.parametrize("seeds", [1, 3, 8])
def test_the_whole_test_costs_at_most_a_tenth_of_a_grid(epochs, seeds):
    built = experiment(epochs=epochs)
    lengths = lengths_of_test(built, replace(SETTINGS, seeds=seeds))
    verified = (len(MULTIPLES) + 3) * min(seeds, 2) * lengths.verification
    if lengths.points == 40:  # a shorter test would tell nothing
        assert seeds * 40 >= COST / 3 * 22 * epochs
        return
    cost = seeds * lengths.steps + verified
    assert 0.9 * COST * 22 * epochs < cost <= COST * 22 * epochs
    if epochs == 400:
        assert lengths.points == 100


def test_lengths_that_are_given_are_kept():
    built = experiment()
    given = replace(SETTINGS, steps="3ep", warmup="1ep")
    assert (lengths_of_test(built, given).points, lengths_of_test(built, given).warmup) == (66, 22)
    with pytest.raises(ConfigError, match=r"^steps: '0.1ep' resolves to 2 steps"):
        lengths_of_test(built, replace(SETTINGS, steps="0.1ep"))


@pytest.mark.parametrize("key", ["steps", "warmup"])
def test_a_length_whose_rates_would_not_fit_in_memory_is_refused(key):
    built = experiment()
    longest = lengths_of_test(built, replace(SETTINGS, **{key: 1_000_000}))
    assert (longest.points if key == "steps" else longest.warmup) == 1_000_000
    for length in (1_000_001, 2**31 - 1, "1000001%"):
        with pytest.raises(ConfigError, match="write at most 1,000,000 steps") as caught:
            lengths_of_test(built, replace(SETTINGS, **{key: length}))
        assert caught.value.key == key


def test_the_lengths_of_a_test_of_the_longest_run_fit_in_memory():
    config = configure("model=linear", "training.steps=2147483647")
    lengths = lengths_of_test(build(config, jax.devices("cpu")[0]), SETTINGS)
    assert (lengths.steps, lengths.verification) == (100, 1_000_000)


def test_warm_up_updates_are_at_the_first_rate_and_leave_no_points(monkeypatch):
    tables = []

    def noted(self, runs):
        tables.extend(run.rates for run in runs)
        for run in runs:
            run.observer.look(0, np.arange(30.0))
        return 0

    monkeypatch.setattr(ShortRuns, "train", noted)
    given = replace(SETTINGS, seeds=1, steps=20, warmup=10, verify=False)
    test = run_range_test(experiment(), given, should_stop=never)
    np.testing.assert_array_equal(tables[0][:11], [1e-5] * 11)
    assert tables[0][-1] == 10
    assert test.curves[0].losses[0] == 10


@pytest.mark.parametrize("warmup", [0, 5, 8, 10])
def test_the_losses_of_all_chunks_after_the_warm_up_are_kept(warmup):
    kept, losses = Losses(warmup=warmup, smoothing=0.0), np.arange(40.0, 64.0)
    listener = ShortRunListener(kept, 24)
    for start in (0, 8, 16):
        listener.chunk(start, 8, {"train/loss": losses[start : start + 8]})
    listener.catch_up()
    assert kept.losses == losses[warmup:].tolist()


@pytest.mark.parametrize("warmup", [0, 5])
def test_a_test_costs_its_points_and_its_warm_up(warmup):
    calm = replace(SETTINGS, end_lr=1e-3, steps=50 - warmup, warmup=warmup, seeds=1, verify=False)
    test = run_range_test(experiment("training.patience=1"), calm, should_stop=never)
    assert test.updates == 50  # which chunks of 3 do not divide
    assert len(test.curves[0].losses) == 50 - warmup


def test_a_run_that_is_scored_ends_with_its_evaluation():
    observer = Score(metric="eval/accuracy", worst=-np.inf)
    with ShortRuns(experiment(), table=50, should_stop=never) as runs:
        assert runs.train([ShortRun(0, np.full(50, 0.1), observer)]) == 50
    assert 0.5 < observer.score <= 1


def test_a_run_that_verifies_has_the_rates_of_the_whole_run_times_a_multiple():
    """Four cycles of 44 steps, seen at every third step."""
    momenta = "scheduler.cycle_momentum=true", "scheduler.base_momentum=0.5"
    built = experiment(*momenta, "optimizer.momentum=0.9")
    rates, momenta = range_test._compressed(built, ANSWER, 0.5, 59)
    places = np.arange(59) * 175 / 58
    share = 1 - np.abs(np.round(places) % 44 / 22 - 1)
    np.testing.assert_allclose(rates, 0.5 * (0.02 + 0.18 * share), rtol=1e-5)
    np.testing.assert_allclose(momenta, 0.9 - 0.4 * share, rtol=1e-5)
    constant = experiment("scheduler=constant")
    rates, momenta = range_test._compressed(constant, ANSWER, 2, 5)
    np.testing.assert_allclose(rates, [0.4] * 5, rtol=1e-6)
    assert momenta is None


ANSWER = Answer(
    base_lr=0.02,
    max_lr=0.2,
    step_size_epochs=1.0,
    base_lr_spread=Spread(0.01, 0.02),
    max_lr_spread=Spread(0.2, 0.3),
    reasons=(),
)


@pytest.mark.parametrize(
    ("losses", "found", "score"),
    [
        ([1.0, 0.5], {"eval/loss": 0.25, "eval/accuracy": 0.75}, 0.75),
        ([1.0, np.nan], {"eval/loss": 0.25, "eval/accuracy": 0.75}, -np.inf),
        ([np.inf, 1.0], {"eval/loss": 0.25, "eval/accuracy": 0.75}, -np.inf),
        ([1.0, 0.5], {"eval/loss": np.nan, "eval/accuracy": 0.1}, -np.inf),
        ([1.0, 0.5], None, -np.inf),
    ],
)
def test_the_score_of_a_run_is_its_evaluation_or_the_worst(losses, found, score):
    observer = Score(metric="eval/accuracy", worst=-np.inf)
    listener = ShortRunListener(observer, 9)
    for start, loss in enumerate(losses):
        listener.chunk(start, 1, {"train/loss": np.array([loss, np.nan])})  # room for two
    listener.catch_up()
    assert listener.ended == (not np.isfinite(losses).all())
    if found is not None:
        listener.evaluation(2, found)
    assert observer.score == score


def test_without_an_answer_nothing_is_verified():
    high = replace(SETTINGS, start_lr=1e3, end_lr=1e6)
    test = run_range_test(experiment(), high, should_stop=never)
    assert isinstance(test.answer, NoAnswer)
    assert test.scores == {}


def test_without_validation_examples_nothing_is_verified():
    built = experiment()
    splitless = replace(built, dataset=replace(built.dataset, validation=None))
    test = run_range_test(splitless, replace(SETTINGS, seeds=1), should_stop=never)
    assert test.scores == {}
    assert isinstance(test.answer, Answer)


def test_a_test_that_is_stopped_ends_at_once():
    test = run_range_test(experiment(), SETTINGS, should_stop=lambda: True)
    assert test.updates == 0


def test_a_first_rate_above_the_last_is_refused():
    for end in (1e-5, 1e-6):
        with pytest.raises(ConfigError, match=r"^start_lr: 1e-05 is not below end_lr"):
            replace(SETTINGS, end_lr=end)


@pytest.mark.slow
def test_a_value_gives_the_curves_of_an_experiment_with_that_setting():
    short = replace(SETTINGS, steps=20, seeds=1)
    built = experiment()
    curves = curves_by_value(built, short, over="momentum", values=[0.0, 0.9])
    for momentum, (curve,) in curves.items():
        alone = experiment(f"optimizer.momentum={momentum}")
        test = run_range_test(alone, replace(short, verify=False), should_stop=never)
        np.testing.assert_array_equal(curve.losses, test.curves[0].losses)


@pytest.mark.parametrize(
    ("over", "values", "said"),
    [
        (
            "momentums",
            [0.9],
            r"over: 'momentums' is not a numeric setting of the optimizer sgd; did you",
        ),
        ("nesterov", [1.0], r"over: 'nesterov' is not a numeric setting"),
        ("momentum", [], r"values: there are no values"),
        ("momentum", [0.9, 0.9], r"values\[1\]: 0.9 is given twice"),
        ("momentum", [1.5], r"values 1.5: optimizer.momentum: 1.5 is not"),
        ("batch_size", [0.5], r"values 0.5: batch_size: 0.5 is not a whole number"),
        ("batch_size", [5000.0], r"values 5000: training.batch_size: 5000 is more than"),
    ],
)
def test_a_wrong_value_is_named(over, values, said):
    with pytest.raises(ConfigError, match=said):
        curves_by_value(experiment(), SETTINGS, over=over, values=values)


def test_rates_of_groups_keep_their_ratios(monkeypatch):
    tables = []
    monkeypatch.setattr(ShortRuns, "train", lambda _, runs: tables.extend(runs) or 0)
    groups = "model=mlp", "optimizer.groups={head: Dense_2/*}"
    built = experiment(*groups, "scheduler.max_lr={head: 0.4, default: 0.1}")
    run_range_test(built, replace(SETTINGS, steps=10, seeds=1), should_stop=never)
    rates = tables[0].rates
    assert rates.shape == (10, 2)
    np.testing.assert_allclose(rates[:, 0] / rates[:, 1], 4)
    assert rates[-1, 0] == 10


def longest(found):
    return max((curve.rates for curve in found.curves), key=len)


@pytest.fixture
def scored_by_rate(monkeypatch):
    """Scores each run that verifies by the distance of its first rate from 0.03, in octaves.

    The curves support a ``base_lr`` that the tests set. Nothing is trained.
    """

    def patch(base_lr, metric, sign):
        def train(_, runs):
            for run in runs:
                if isinstance(run.observer, Score):
                    octaves = np.log2(run.rates[0] / 0.03)
                    found = {"eval/loss": 1.0, metric: 1 - sign * 0.01 * octaves**2}
                    run.observer.evaluation(found)
            return len(runs)

        answer = replace(ANSWER, base_lr=base_lr, max_lr=10 * base_lr)
        monkeypatch.setattr(range_test, "choose", lambda _: answer)
        monkeypatch.setattr(ShortRuns, "train", train)

    return patch


@pytest.mark.parametrize(("metric", "sign"), [("eval/accuracy", 1), ("eval/loss", -1)])
def test_the_answer_moves_to_the_best_of_the_scores(scored_by_rate, metric, sign):
    scored_by_rate(0.015, metric, sign)
    test = run_range_test(experiment(f"metric={metric}"), SETTINGS, should_stop=never)
    assert test.found.base_lr == 0.015
    octaves = {0.25: -3, 0.5: -2, 1.0: -1, 2.0: 0, 4.0: 1}
    assert test.scores.keys() == octaves.keys()
    for multiple, scores in test.scores.items():
        expected = 1 - sign * 0.01 * octaves[multiple] ** 2
        np.testing.assert_allclose(scores, [expected] * 2, atol=1e-6)  # of both seeds
    # The scores are a parabola whose vertex is at twice the rates.
    assert (test.answer.base_lr, test.answer.max_lr) == (0.03, pytest.approx(0.3))
    assert test.answer.max_lr_spread == Spread(0.4, 0.6)
    assert test.updates == 2 + 5 * 2


@pytest.mark.parametrize(
    ("base_lr", "further", "best"),
    [
        (0.03 / 8, [8, 16], 0.03),
        (0.03 / 64, [8, 16, 32], 0.015),  # three at most
        (0.03 * 16, [1 / 8, 1 / 16, 1 / 32], 0.03),
    ],
)
def test_up_to_three_further_multiples_are_tried_towards_better_scores(
    scored_by_rate, base_lr, further, best
):
    scored_by_rate(base_lr, "eval/accuracy", 1)
    test = run_range_test(experiment(), replace(SETTINGS, seeds=1), should_stop=never)
    assert test.scores.keys() == {*MULTIPLES, *further}
    assert test.updates == 1 + 5 + len(further)
    assert test.answer.base_lr == pytest.approx(best, rel=0.05)


def test_each_lane_of_a_linear_test_has_rates_with_equal_distances(monkeypatch):
    tables = []
    monkeypatch.setattr(ShortRuns, "train", lambda _, runs: tables.extend(runs) or 0)
    linear = replace(SETTINGS, spacing="linear", start_lr=0.1, end_lr=2.0, steps=20, warmup=3)
    run_range_test(experiment(), linear, should_stop=never)
    expected = [0.1, 0.1, 0.1, *(np.arange(1, 21) / 10)]
    assert [run.seed for run in tables] == [0, 1]
    for run in tables:
        np.testing.assert_allclose(run.rates, expected)


@pytest.mark.parametrize(("steps", "chunk"), [(160, 10), (1600, 64)])
def test_a_lane_ends_one_chunk_after_that_in_which_its_loss_rose_too_far(steps, chunk):
    wide = replace(SETTINGS, end_lr=1e9, steps=steps, seeds=1, verify=False)
    test = run_range_test(experiment(), wide, should_stop=never)
    (curve,) = test.curves
    assert curve.stopped
    assert np.isfinite(curve.losses).all()
    assert test.updates <= chunk * (np.ceil(len(curve.losses) / chunk) + 1) < steps


@pytest.mark.parametrize("last", [40.0, np.nan])
def test_losses_that_rise_too_far_end_a_run_before_they_overflow(last):
    """Without smoothing, the limit is four times the lowest loss."""
    kept = Losses(warmup=0, smoothing=0.0)
    listener = ShortRunListener(kept, 100)
    for start, losses in ((0, [10.0, 9.9]), (2, [10.0, 39.5])):
        listener.chunk(start, 2, {"train/loss": np.array(losses)})
    listener.catch_up()
    assert not listener.ended
    listener.chunk(4, 1, {"train/loss": np.array([last])})
    assert not listener.ended  # its losses have not been looked at
    listener.chunk(5, 1, {"train/loss": np.array([1.0])})
    assert listener.ended
