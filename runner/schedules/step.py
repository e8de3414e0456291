"""Step decay at regular intervals."""

from __future__ import annotations

from collections.abc import Sequence

from etils import epy

from runner.config.types import Positive, Rates, Steps
from runner.registry import register_scheduler
from runner.schedules.base import Schedule
from runner.schedules.numerics import Power, ldexp

with epy.lazy_imports():
    import jax
    import numpy as np


@register_scheduler("step")
class Step(Schedule):
    """The rate is multiplied by ``gamma`` after every ``step_size`` updates.

    ::

        rate = base_lr * gamma ** (step // step_size)

    Source: PyTorch's StepLR, in closed form.

    >>> from runner.schedules import Step
    >>> schedule = Step(base_lr=1.0, step_size=2, gamma=0.5)
    >>> [float(schedule(step)) for step in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    def __init__(self, *, base_lr: Rates, step_size: Steps, gamma: Positive = 0.1) -> None:
        """Checks the arguments and keeps their numbers as numpy arrays.

        Args:
          base_lr: the rate of the first ``step_size`` updates.
          step_size: updates between two changes.
          gamma: the factor of each change, above 0.

        Raises:
          ConfigError: its key is the name of the invalid argument.
        """
        self.base_lr = np.asarray(base_lr, np.float32)
        self.step_size = np.asarray(step_size, np.uint32)
        self.gamma = Power(gamma)

    def phase_changes(self, steps: int) -> Sequence[Sequence[int]]:
        """The steps at which the rate drops."""
        return [range(int(self.step_size), steps + 1, int(self.step_size))]

    def _rate(self, steps: jax.Array) -> jax.Array:
        excess, exponent = self.gamma.split(steps // self.step_size)
        return ldexp(self.base_lr * (1 + excess), exponent)
