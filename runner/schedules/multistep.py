"""A factor on the rate at given steps."""

from __future__ import annotations

from etils import epy

from runner.config.types import Milestones, Positive, Rates
from runner.registry import register_scheduler
from runner.schedules.base import Schedule
from runner.schedules.numerics import Power, times_two_to

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import numpy as np


@register_scheduler("multistep")
class MultiStep(Schedule):
    """A factor on the rate at each of the milestones.

    ::

        passed = sum(step >= milestone for milestone in milestones)
        rate   = base_lr * gamma ** passed

    How many milestones there are is part of what is compiled, where they lie is not.

    Source: PyTorch's MultiStepLR, of which this is the closed form; a milestone that is given
    twice, which counts twice there, is an error here.

    >>> from runner.schedules import MultiStep
    >>> schedule = MultiStep(base_lr=1.0, milestones=[2, 3], gamma=0.5)
    >>> [float(schedule(step)) for step in range(5)]
    [1.0, 1.0, 0.5, 0.25, 0.25]
    """

    def __init__(self, *, base_lr: Rates, milestones: Milestones, gamma: Positive = 0.1) -> None:
        """Checks the arguments and keeps their numbers as numpy arrays.

        Args:
          base_lr: the rate before the first milestone.
          milestones: the first update of each new rate, rising.
          gamma: the factor at each of them, above 0.

        Raises:
          ConfigError: its key is the name of the argument at fault.
        """
        self.base_lr = np.asarray(base_lr, np.float32)
        self.milestones = np.asarray(milestones, np.uint32)
        self.gamma = Power(gamma)

    def _rate(self, steps: jax.Array) -> jax.Array:
        passed = steps[..., None] >= self.milestones
        excess, whole = self.gamma.split(passed.sum(-1, dtype=jnp.uint32))
        return times_two_to(self.base_lr * (1 + excess), whole)
