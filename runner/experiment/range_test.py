"""The learning rate range test of an experiment (Smith 2017), and the check of its answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import jax
import numpy as np

from runner.config.lengths import Length, resolve_length
from runner.errors import ConfigError, shown
from runner.experiment.build import Experiment
from runner.experiment.range_choice import group_factors, suggested_scheduler
from runner.experiment.range_lanes import Losses, Score, ShortRun, ShortRuns, Start
from runner.ranges import (
    MULTIPLES,
    Answer,
    Curve,
    NoAnswer,
    choose,
    make_curve,
    revise,
    test_rates,
    wanted_multiples,
)

Spacing = Literal["exponential", "linear"]

# The test and the verification of its answer cost at most this many times the run's updates, a
# tenth of a grid search over 12 rates with 3 seeds, unless the run is too short for the fewest.
COST = 3.6
# Of these, the updates of the test itself, also in multiples of the run's updates.
TEST_COST = 1.2
FEWEST_POINTS = 10
DEFAULT_POINTS = 100
# The fewest points of a test whose length is not given, however short the run.
_SHORTEST = 40
# The most updates of a test, of its warm-up, or of a run that verifies a rate, so that a rate for
# each fits in memory.
_MOST_UPDATES = 1_000_000
# Seeds per verified rate, and the most rates that are tried beyond ``MULTIPLES``.
_VERIFIED_SEEDS = 2
_FURTHER_RATES = 3
# Lag of the moving average of the losses, as a share of the points.
_LAG = 0.04
# The fewest updates of a run that verifies a rate.
_FEWEST_UPDATES = 10


@dataclass(frozen=True)
class RangeTestSettings:
    """The settings of a range test.

    Attributes:
      steps: a length, or None for 100 steps or an epoch, whichever is longer, or fewer in a short
        run.
      smoothing: decay rate of the average of the losses, or None to choose it by the steps.
      warmup: a length; updates at ``start_lr`` before the first point.
      verify: whether rates around the answer are tried in short runs.
    """

    start_lr: float
    end_lr: float
    steps: Length | None
    spacing: Spacing
    seeds: int
    smoothing: float | None
    warmup: Length
    verify: bool

    def __post_init__(self) -> None:
        if self.start_lr >= self.end_lr:
            problem = f"{shown(self.start_lr)} is not below end_lr ({shown(self.end_lr)})"
            raise ConfigError("start_lr", problem, "write a rate below end_lr")


@dataclass(frozen=True, eq=False)
class RangeTest:
    """A range test and what it found.

    Attributes:
      curves: one for each seed.
      found: the answer of the curves alone.
      answer: the same after its verification.
      scores: multiple of the rates of ``found`` → the metric that ranks evaluations, for each seed;
        empty if the answer was not verified.
      updates: the number of updates of all runs together.
    """

    curves: tuple[Curve, ...]
    found: Answer | NoAnswer
    answer: Answer | NoAnswer
    scores: Mapping[float, Sequence[float]]
    updates: int


@dataclass(frozen=True)
class RangeTestLengths:
    """The lengths of a range test in steps.

    points: updates of the test of each seed, after ``warmup`` updates at the first rate.
    verification: updates of each run that verifies the answer.
    """

    points: int
    warmup: int
    verification: int

    @property
    def steps(self) -> int:
        return self.warmup + self.points


def run_range_test(
    experiment: Experiment,
    settings: RangeTestSettings,
    *,
    should_stop: Callable[[], bool],
    start: Start = Experiment.initial_state,
) -> RangeTest:
    """Trains a lane for each seed while the rate rises, chooses bounds and verifies them.

    Each lane starts as a run of that seed would and sees the same batches. The test split is never
    scored. If ``should_stop`` becomes true, lanes end early, and what is returned is incomplete.

    Raises:
      ConfigError: a length is wrong, such as one of fewer than ten points; its key is relative to
        the test's.
    """
    lengths = lengths_of_test(experiment, settings)
    table = max(lengths.steps, lengths.verification)
    with ShortRuns(experiment, table=table, start=start, should_stop=should_stop) as runs:
        curves, updates = measure(runs, settings, lengths)
        found = choose(curves)
        if isinstance(found, NoAnswer) or not settings.verify or not can_verify(experiment):
            return RangeTest(curves, found, found, {}, updates)
        scores: dict[float, tuple[float, ...]] = {}
        affordable = len(MULTIPLES) + _FURTHER_RATES
        while not should_stop() and len(scores) < affordable:
            wanted = wanted_multiples(found, scores, highest=experiment.config.ranking.highest)
            if not wanted:
                break
            wanted = wanted[: affordable - len(scores)]
            further, cost = _scores(runs, found, wanted, lengths, settings.seeds)
            scores |= further
            updates += cost
    answer = revise(found, scores, highest=experiment.config.ranking.highest)
    return RangeTest(curves, found, answer, scores, updates)


def can_verify(experiment: Experiment) -> bool:
    """Whether the data set has validation examples, on which rates are scored."""
    return experiment.dataset.validation is not None


def lengths_of_test(experiment: Experiment, settings: RangeTestSettings) -> RangeTestLengths:
    """The lengths of the test; those that are not given depend on the length of the run.

    Raises:
      ConfigError: a length is wrong; its key is relative to the test's.
    """
    steps_per_epoch, steps = experiment.lengths.steps_per_epoch, experiment.lengths.steps

    def in_steps(key: str, value: Length, at_least: int) -> int:
        length = resolve_length(
            value,
            key=key,
            steps_per_epoch=steps_per_epoch,
            total_steps=steps,
            at_least=at_least,
        )
        if length > _MOST_UPDATES:
            problem = f"{shown(value)} resolves to {length:,} steps"
            raise ConfigError(key, problem, f"write at most {_MOST_UPDATES:,} steps")
        return length

    warmup = in_steps("warmup", settings.warmup, 0)
    if settings.steps is None:
        affordable = int(TEST_COST * steps / settings.seeds)
        wanted = min(max(DEFAULT_POINTS, steps_per_epoch), _MOST_UPDATES)
        points = max(min(wanted, affordable), _SHORTEST)
    else:
        points = in_steps("steps", settings.steps, FEWEST_POINTS)
    rates = test_rates(settings.start_lr, settings.end_lr, points, settings.spacing)
    if np.any(np.diff(rates.astype(np.float32)) <= 0):
        problem = f"{shown(settings.end_lr)} is too close to start_lr for {points:,} rates"
        raise ConfigError("end_lr", problem, "raise it, or lower start_lr")
    # A test that was given more updates than its share leaves the verification its own.
    left = COST * steps - min(settings.seeds * (warmup + points), TEST_COST * steps)
    runs = (len(MULTIPLES) + _FURTHER_RATES) * _verified(settings.seeds)
    verification = min(max(int(left / runs), _FEWEST_UPDATES), steps, _MOST_UPDATES)
    return RangeTestLengths(points, warmup, verification)


def measure(
    runs: ShortRuns, settings: RangeTestSettings, lengths: RangeTestLengths
) -> tuple[tuple[Curve, ...], int]:
    """The curve of each seed, and the number of updates of all runs."""
    experiment, smoothing = runs.experiment, settings.smoothing
    if smoothing is None:
        smoothing = 1 - 1 / (1 + _LAG * lengths.points)
    rates = test_rates(settings.start_lr, settings.end_lr, lengths.points, settings.spacing)
    ramp = np.concatenate([np.full(lengths.warmup, settings.start_lr), rates])
    factors = np.asarray(group_factors(experiment.config.scheduler))
    by_group = ramp[:, None] * factors if factors.ndim else ramp
    kept = {
        seed: Losses(warmup=lengths.warmup, smoothing=smoothing)
        for seed in seeds_of(experiment, settings.seeds)
    }
    updates = runs.train([ShortRun(seed, by_group, each) for seed, each in kept.items()])
    curves = []
    for seed, each in kept.items():
        losses = each.losses[: lengths.points]
        curves.append(make_curve(seed, rates, losses, smoothing=smoothing))
    return tuple(curves), updates


def seeds_of(experiment: Experiment, count: int) -> range:
    """The seed of the experiment and those after it."""
    seed = experiment.config.seed
    return range(seed, seed + count)


def _scores(
    runs: ShortRuns,
    answer: Answer,
    multiples: Sequence[float],
    lengths: RangeTestLengths,
    seeds: int,
) -> tuple[dict[float, tuple[float, ...]], int]:
    """The scores of runs at multiples of the answer's rates, and their number of updates."""
    experiment, ranking = runs.experiment, runs.experiment.config.ranking
    chosen = seeds_of(experiment, _verified(seeds))
    worst = -ranking.sign * float("inf")
    observers, short = {}, []
    for multiple in multiples:
        rates, momenta = _compressed(experiment, answer, multiple, lengths.verification)
        for seed in chosen:
            score = Score(metric=ranking.metric, worst=worst)
            observers[multiple, seed] = score
            short.append(ShortRun(seed, rates, score, momenta))
    updates = runs.train(short)
    scores = {m: tuple(observers[m, seed].score for seed in chosen) for m in multiples}
    return scores, updates


def _compressed(
    experiment: Experiment, answer: Answer, multiple: float, steps: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """The rates of a whole run, and its momenta if they are cycled, sampled at ``steps`` steps.

    The run has a multiple of the answer's rates.
    """
    multiplied = replace(answer, base_lr=multiple * answer.base_lr, max_lr=multiple * answer.max_lr)
    lengths = experiment.lengths
    scheduler = suggested_scheduler(experiment.config.scheduler, multiplied, lengths)
    schedule = experiment.under(scheduler).schedule
    places = np.linspace(0, lengths.steps - 1, steps).round().astype(np.int32)
    rates = np.asarray(jax.vmap(schedule)(places))
    return rates, np.asarray(schedule.momentum(places)) if schedule.cycles_momentum else None


def _verified(seeds: int) -> int:
    return min(_VERIFIED_SEEDS, seeds)
