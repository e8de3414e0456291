"""What a schedule does over a whole run, known before the run: its values at all steps at once."""

from collections.abc import Iterable, Iterator
from functools import partial

import jax
import numpy as np

from runner.errors import ConfigError
from runner.experiment.build import Job
from runner.optimizers import Groups
from runner.report.plots import ScheduleValues
from runner.training.state import Hyper
from runner.training.step import schedule_values
from runner.training.tags import CYCLE, MOMENTUM, RATE, group_of, group_rate

# As many steps are held in memory at a time; a picture of more could not show them.
MOST_STEPS = 2**20
# As many are computed at a time, so that runs of all lengths share one compilation.
_AT_ONCE = 4096


@partial(jax.jit, static_argnums=0)
def _values_at(groups: Groups, hyper: Hyper, steps: jax.Array) -> dict[str, jax.Array]:
    return jax.vmap(partial(schedule_values, groups, hyper))(steps)


def outline(job: Job) -> ScheduleValues:
    """The schedule at every step of the run, or of a long one at a million spread over it.

    Raises:
      ConfigError: a rate is not finite, or below zero; the first such step is named.
    """
    total = job.plan.steps
    if total <= MOST_STEPS:
        return _values(job, np.arange(total))
    return _values(job, np.linspace(0, total - 1, MOST_STEPS).round())


def blocks(job: Job) -> Iterator[ScheduleValues]:
    """The schedule at every step of the run, a million at a time.

    Raises:
      ConfigError: as ``outline``.
    """
    for start in range(0, job.plan.steps, MOST_STEPS):
        yield _values(job, np.arange(start, min(start + MOST_STEPS, job.plan.steps)))


def rate_ranges(blocks: Iterable[ScheduleValues]) -> dict[str, tuple[float, float]]:
    """The lowest and the highest rate of a run, by name."""
    ranges: dict[str, tuple[float, float]] = {}
    for block in blocks:
        for name, rates in block.rates.items():
            low, high = ranges.get(name, (np.inf, -np.inf))
            ranges[name] = min(low, float(rates.min())), max(high, float(rates.max()))
    return ranges


def _values(job: Job, steps: np.ndarray) -> ScheduleValues:
    steps = steps.astype(np.int32)
    padded = np.pad(steps, (0, -len(steps) % _AT_ONCE), mode="edge")
    parts = [
        _values_at(job.structure.groups, job.hyper, some) for some in padded.reshape(-1, _AT_ONCE)
    ]
    values = {tag: np.concatenate([part[tag] for part in parts])[: len(steps)] for tag in parts[0]}
    # The compiled function has sorted them by tag.
    tags = [RATE, *map(group_rate, job.structure.groups.trained_names)]
    rates = {tag: values[tag] for tag in tags if tag in values}
    for tag, column in rates.items():
        _check_rates(steps, column, tag)
    columns = {tag.partition("/")[2]: column for tag, column in rates.items()}
    return ScheduleValues(steps, columns, values.get(MOMENTUM), values[CYCLE])


def _check_rates(steps: np.ndarray, rates: np.ndarray, tag: str) -> None:
    bad = ~(np.isfinite(rates) & (rates >= 0))
    if bad.any():
        first = bad.argmax()
        to_group = "" if tag == RATE else f" to the group {group_of(tag)}"
        raise ConfigError(
            "scheduler",
            f"gives{to_group} the rate {rates[first]:g} at step {steps[first]}",
            "change scale_fn, the bounds or the multiplier: rates are finite and not negative",
        )
