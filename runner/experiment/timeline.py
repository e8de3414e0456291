"""The schedule of an experiment over its whole run, computed before the run."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np

from runner.errors import ConfigError
from runner.experiment.build import Experiment
from runner.optimizers import Groups
from runner.training.state import Hyperparams
from runner.training.step import schedule_values
from runner.training.tags import CYCLE, MOMENTUM, RATE, group_of, group_rate

# Steps held in memory at a time; a plot cannot show more.
MOST_STEPS = 2**20
# Steps computed at a time, so that runs of all lengths share one compilation.
_BLOCK = 4096


@dataclass(frozen=True, eq=False)
class ScheduleValues:
    """The values of a schedule at some steps.

    Attributes:
      steps: int [n], rising.
      rates: name → values [n]: ``lr``, or one ``lr/<group>`` per parameter group.
      momentum: values [n], or None if it is not cycled.
      cycles: int [n].
    """

    steps: np.ndarray
    rates: Mapping[str, np.ndarray]
    momentum: np.ndarray | None
    cycles: np.ndarray

    def columns(self) -> dict[str, np.ndarray | None]:
        """The columns of the schedule's table, in order; None is an empty one."""
        return {"step": self.steps, **self.rates, "momentum": self.momentum, "cycle": self.cycles}


@dataclass(frozen=True, eq=False)
class Timeline:
    """The schedule of an experiment over its run.

    Attributes:
      sample: the values at every step, or at a million steps spread over a longer run.
      ranges: the lowest and the highest rate of the whole run, by name.
    """

    experiment: Experiment
    sample: ScheduleValues
    ranges: Mapping[str, tuple[float, float]]

    def blocks(self) -> Iterable[ScheduleValues]:
        """The values at every step, at most a million steps at a time."""
        is_complete = len(self.sample.steps) == self.experiment.lengths.steps
        return [self.sample] if is_complete else schedule_blocks(self.experiment)


def compute_timeline(experiment: Experiment) -> Timeline:
    """Computes the schedule at every step of the run.

    Raises:
      ConfigError: a rate is not finite, or negative; the first such step is named.
    """
    ranges: dict[str, tuple[float, float]] = {}
    for block in schedule_blocks(experiment):
        for name, rates in block.rates.items():
            low, high = ranges.get(name, (np.inf, -np.inf))
            ranges[name] = min(low, float(rates.min())), max(high, float(rates.max()))
    return Timeline(experiment, sample_schedule(experiment), ranges)


def sample_schedule(experiment: Experiment) -> ScheduleValues:
    """Computes the schedule at every step of the run, or at a million steps of a longer one.

    Raises:
      ConfigError: one of these rates is not finite, or negative; the first such step is named.
    """
    total = experiment.lengths.steps
    if total <= MOST_STEPS:
        steps = np.arange(total)
    else:
        steps = np.linspace(0, total - 1, MOST_STEPS).round()
    return _values_at(experiment, steps)


def effect_of_length(experiment: Experiment, earlier_steps: int) -> str | None:
    """What a schedule does differently than in a run of ``earlier_steps``, in one line.

    Names the step, of those that both runs have, where the rate differs most. None if it differs
    nowhere, or if no such run can be built.
    """
    try:
        earlier = sample_schedule(experiment.lasting(earlier_steps))
        now = sample_schedule(experiment)
    except ConfigError:
        return None
    common, in_earlier, in_now = np.intersect1d(earlier.steps, now.steps, return_indices=True)
    for name, rates in now.rates.items():
        before, after = earlier.rates[name][in_earlier], rates[in_now]
        differs = np.abs(after - before)
        if differs.any():
            most = differs.argmax()
            of_group = "" if name == "lr" else f" of {name.partition('/')[2]}"
            return (
                f"with {experiment.lengths.steps:,} steps instead of {earlier_steps:,} the "
                f"schedule changes: at step {common[most]:,} the rate{of_group} is "
                f"{after[most]:.4g} instead of {before[most]:.4g}"
            )
    return None


def schedule_blocks(experiment: Experiment) -> Iterator[ScheduleValues]:
    """Computes the schedule at every step of the run, a million steps at a time.

    Raises:
      ConfigError: a rate is not finite, or negative; the first such step is named.
    """
    total = experiment.lengths.steps
    for start in range(0, total, MOST_STEPS):
        yield _values_at(experiment, np.arange(start, min(start + MOST_STEPS, total)))


def _values_at(experiment: Experiment, steps: np.ndarray) -> ScheduleValues:
    steps = steps.astype(np.int32)
    groups, hyperparams = experiment.static.groups, experiment.hyperparams
    padded = np.pad(steps, (0, -len(steps) % _BLOCK), mode="edge")
    blocks = [_block_values(groups, hyperparams, block) for block in padded.reshape(-1, _BLOCK)]
    values = {
        tag: np.concatenate([block[tag] for block in blocks])[: len(steps)] for tag in blocks[0]
    }
    # Sorted by tag, as jit returns dicts.
    tags = [RATE, *map(group_rate, groups.trained_names)]
    rates = {tag: values[tag] for tag in tags if tag in values}
    for tag, column in rates.items():
        _check_rates(steps, column, tag)
    columns = {tag.partition("/")[2]: column for tag, column in rates.items()}
    return ScheduleValues(steps, columns, values.get(MOMENTUM), values[CYCLE])


@partial(jax.jit, static_argnums=0)
def _block_values(
    groups: Groups, hyperparams: Hyperparams, steps: jax.Array
) -> dict[str, jax.Array]:
    return jax.vmap(partial(schedule_values, groups, hyperparams))(steps)


def _check_rates(steps: np.ndarray, rates: np.ndarray, tag: str) -> None:
    bad = ~(np.isfinite(rates) & (rates >= 0))
    if bad.any():
        first = bad.argmax()
        of_group = "" if tag == RATE else f" of the group {group_of(tag)}"
        raise ConfigError(
            "scheduler",
            f"the rate{of_group} is {rates[first]:g} at step {steps[first]}",
            "change scale_fn, the bounds or the multiplier: rates must be finite and at least 0",
        )
