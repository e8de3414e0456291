"""What a schedule does over a whole run, known before the run: its values at all steps at once."""

from dataclasses import dataclass

import jax
import numpy as np

from runner.errors import ConfigError
from runner.tags import CYCLE, MOMENTUM, RATE
from runner.tasks.job import Job
from runner.training.step import schedule_values

# More steps than this are drawn and checked at places spread over the run.
MOST_STEPS = 2**20

_values_at = jax.jit(jax.vmap(schedule_values, in_axes=(None, 0)))


@dataclass(frozen=True)
class Timeline:
    """Values at the updates numbered ``steps`` [n]; ``momentum`` is None where it is not cycled."""

    steps: np.ndarray
    rates: np.ndarray
    momentum: np.ndarray | None
    cycles: np.ndarray


def timeline(job: Job, *, most: int | None = None) -> Timeline:
    """The schedule at every step of the run, or at ``most`` of them spread over it.

    Raises:
      ConfigError: a rate is not finite, or below zero; the first such step is named.
    """
    total = job.plan.steps
    if most is None or total <= most:
        steps = np.arange(total, dtype=np.int32)
    else:
        steps = np.linspace(0, total - 1, most).round().astype(np.int32)
    values = {tag: np.asarray(value) for tag, value in _values_at(job.hyper, steps).items()}
    _check_rates(steps, values[RATE])
    return Timeline(steps, values[RATE], values.get(MOMENTUM), values[CYCLE])


def _check_rates(steps: np.ndarray, rates: np.ndarray) -> None:
    bad = ~(np.isfinite(rates) & (rates >= 0))
    if bad.any():
        first = bad.argmax()
        raise ConfigError(
            "scheduler",
            f"gives the rate {rates[first]:g} at step {steps[first]}",
            "change scale_fn or the bounds so that every rate is finite and none is negative",
        )
