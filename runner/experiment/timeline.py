"""The schedule of an experiment over its whole run, computed before the run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np

from runner import registry
from runner.config import Choice
from runner.config.by_name import Parts
from runner.config.markers import Number, Text
from runner.config.signature import markers
from runner.errors import ConfigError
from runner.experiment.build import Experiment
from runner.optimizers import Groups
from runner.schedules import Schedule
from runner.training.rates import schedule_values
from runner.training.state import Hyperparams
from runner.training.tags import CYCLE, MOMENTUM, RATE, group_of, group_rate

# A longer run is sampled: computing and writing each of 2³¹ steps would take hours.
MOST_STEPS = 1_000_000
# The sample has this many steps without a gap at the beginning and at the end of a longer run.
_UNBROKEN = 4096
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
      sample: the values at every step, or at up to a million steps of a longer run.
      ranges: the lowest and the highest rate among them, by name.
    """

    experiment: Experiment
    sample: ScheduleValues
    ranges: Mapping[str, tuple[float, float]]


def compute_timeline(experiment: Experiment) -> Timeline:
    """Computes the schedule over the run, as ``sample_schedule`` does.

    Raises:
      ConfigError: a rate is not finite, or negative; the first such step is named.
    """
    sample = sample_schedule(experiment)
    ranges = {name: (float(r.min()), float(r.max())) for name, r in sample.rates.items()}
    return Timeline(experiment, sample, ranges)


def sample_schedule(experiment: Experiment) -> ScheduleValues:
    """Computes the schedule at every step of the run, or at up to a million steps of a longer one.

    Raises:
      ConfigError: one of these rates is not finite, or negative; the first such step is named.
    """
    total = experiment.lengths.steps
    if total <= MOST_STEPS:
        return _values_at(experiment, np.arange(total))
    return _values_at(experiment, sampled_steps(experiment.schedule, total))


def effect_of_length(experiment: Experiment, earlier_steps: int) -> str | None:
    """How the schedule differs from that of a run of ``earlier_steps``, in one line.

    Names the step, among those of both runs, where the rate differs most. None if it is the same
    at every step, or if no such run can be built.
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


def sampled_steps(schedule: Schedule, total: int) -> np.ndarray:
    """At most ``MOST_STEPS`` steps of a run of ``total``, in order.

    They are its first and last steps, its phase changes and cycle ends, and steps spread over the
    run. If phase changes and cycle ends would take more than half of the sample, only some of them
    are included, evenly spread.
    """
    kinds = [schedule.cycle_ends(total - 1), *schedule.phase_changes(total - 1)]
    fits = sum(map(len, kinds)) <= MOST_STEPS // 2
    most = MOST_STEPS // 2 // (1 if fits else len(kinds))
    unbroken = min(_UNBROKEN, MOST_STEPS // 8)
    chosen = [
        np.arange(unbroken),
        np.arange(total - unbroken, total),
        *(np.array(_thinned(places, most), np.int64) for places in kinds),
    ]
    others = MOST_STEPS - sum(map(len, chosen))
    spread = np.arange(others) * (total - 1) // (others - 1)
    return np.unique(np.concatenate([*chosen, spread]))


def _thinned(places: Sequence[int], most: int) -> Sequence[int]:
    return places[:: -(-len(places) // most)] if places else places


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
        _check_rates(experiment, steps, column, tag)
    columns = {tag.partition("/")[2]: column for tag, column in rates.items()}
    return ScheduleValues(steps, columns, values.get(MOMENTUM), values[CYCLE])


@partial(jax.jit, static_argnums=0)
def _block_values(
    groups: Groups, hyperparams: Hyperparams, steps: jax.Array
) -> dict[str, jax.Array]:
    return jax.vmap(partial(schedule_values, groups, hyperparams))(steps)


def _check_rates(experiment: Experiment, steps: np.ndarray, rates: np.ndarray, tag: str) -> None:
    of_group = "" if tag == RATE else f" of the group {group_of(tag)}"
    bad = ~(np.isfinite(rates) & (rates >= 0))
    if bad.any():
        first = bad.argmax()
        suspects = ", ".join([*_suspects(experiment.config.scheduler), "the bounds"])
        raise ConfigError(
            "scheduler",
            f"the rate{of_group} is {rates[first]:g} at step {steps[first]}",
            f"change {suspects} or the multiplier: rates must be finite and at least 0",
        )
    base = experiment.schedule.base_rate
    falls = rates[0] > 0 or (base is not None and np.all(np.asarray(base) > 0))
    if len(rates) > 2 and falls and not rates[1:].any():
        problem = f"the rate{of_group} is 0 at every step{' but the first' * bool(rates[0])}"
        suspects = _suspects(experiment.config.scheduler) or ["the lengths"]
        raise ConfigError("scheduler", problem, f"change {', '.join(suspects)} or the bounds")


def _suspects(scheduler: Choice, prefix: str = "") -> list[str]:
    """The settings that may take a rate out of bounds: a function, or factors above one."""
    factory, settings = registry.schedulers.get(scheduler.name), scheduler.settings
    functions = [name for name in markers(factory, Text) if getattr(settings, name) is not None]
    factors = [
        name
        for name, number in markers(factory, Number).items()
        if number.le is None and number.lt is None and getattr(settings, name) > 1
    ]
    found = [f"{prefix}{name}" for name in functions or factors]
    for name in markers(factory, Parts):
        for part, choice in getattr(settings, name).items():
            found += _suspects(choice, f"{prefix}{name}.{part}.")
    return found
