"""A factor on the rate at every step."""

from __future__ import annotations

from etils import epy

from runner.config.types import Positive, Rates
from runner.registry import register_scheduler
from runner.schedules.base import Schedule
from runner.schedules.numerics import Power, times_two_to

with epy.lazy_imports():
    import jax
    import numpy as np


@register_scheduler("exponential")
class Exponential(Schedule):
    """A factor on the rate at every step, to float32's precision at every step to 2³¹ - 1.

    ::

        rate = base_lr * gamma ** step

    A rate below 1.2e-38 may be zero.

    Source: PyTorch's ExponentialLR, of which this is the closed form.

    >>> from runner.schedules import Exponential
    >>> schedule = Exponential(base_lr=1.0, gamma=0.5)
    >>> [float(schedule(step)) for step in range(4)]
    [1.0, 0.5, 0.25, 0.125]
    """

    def __init__(self, *, base_lr: Rates, gamma: Positive) -> None:
        """Checks the arguments and keeps their numbers as numpy arrays.

        Args:
          base_lr: the rate at step 0.
          gamma: the factor per update, above 0.

        Raises:
          ConfigError: its key is the name of the argument at fault.
        """
        self.base_lr = np.asarray(base_lr, np.float32)
        self.gamma = Power(gamma)

    def _rate(self, steps: jax.Array) -> jax.Array:
        excess, whole = self.gamma.split(steps)
        return times_two_to(self.base_lr * (1 + excess), whole)
