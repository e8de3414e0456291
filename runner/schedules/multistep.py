"""Step decay at given steps."""

from __future__ import annotations

from collections.abc import Sequence

from etils import epy

from runner.config.types import Milestones, Positive, Rates
from runner.registry import register_scheduler
from runner.schedules.base import Schedule, within
from runner.schedules.numerics import Power, ldexp

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import numpy as np


@register_scheduler("multistep")
class MultiStep(Schedule):
    """The rate is multiplied by ``gamma`` at each milestone.

    ::

        passed = sum(step >= milestone for milestone in milestones)
        rate   = base_lr * gamma ** passed

    The number of milestones is static; their values are not.

    Source: PyTorch's MultiStepLR, in closed form; a repeated milestone, which counts twice there,
    is an error here.

    >>> from runner.schedules import MultiStep
    >>> schedule = MultiStep(base_lr=1.0, milestones=[2, 3], gamma=0.5)
    >>> [float(schedule(step)) for step in range(5)]
    [1.0, 1.0, 0.5, 0.25, 0.25]
    """

    staged = True

    def __init__(self, *, base_lr: Rates, milestones: Milestones, gamma: Positive = 0.1) -> None:
        """Checks the arguments and keeps their numbers as numpy arrays.

        Args:
          base_lr: the rate before the first milestone.
          milestones: the first update of each new rate, in increasing order.
          gamma: the factor at each of them, above 0.

        Raises:
          ConfigError: its key is the name of the invalid argument.
        """
        self.base_lr = np.asarray(base_lr, np.float32)
        self.milestones = np.asarray(milestones, np.uint32)
        self.gamma = Power(gamma)

    @property
    def settled_at(self) -> int | None:
        """The last milestone."""
        return int(self.milestones[-1])

    def phase_changes(self, steps: int) -> Sequence[Sequence[int]]:
        """The milestones."""
        return [within(self.milestones, steps)]

    def _rate(self, steps: jax.Array) -> jax.Array:
        passed = steps[..., None] >= self.milestones
        excess, exponent = self.gamma.split(passed.sum(-1, dtype=jnp.uint32))
        return ldexp(self.base_lr * (1 + excess), exponent)
