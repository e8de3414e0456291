"""A constant rate, optionally reduced for the first steps."""

from __future__ import annotations

from etils import epy

from runner.config.types import Rates, Share, StepsFromZero
from runner.registry import register_scheduler
from runner.schedules.base import Schedule

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import numpy as np


@register_scheduler("constant")
class Constant(Schedule):
    """A constant rate, reduced by a factor for the first ``total_iters`` steps.

    ::

        rate = base_lr * factor  if step < total_iters
               base_lr           otherwise

    Source: PyTorch's ConstantLR, whose ``factor`` and ``total_iters`` are 1/3 and 5 by default;
    without them, optax's constant_schedule.

    >>> from runner.schedules import Constant
    >>> float(Constant(base_lr=0.5)(1000))
    0.5
    >>> [float(Constant(base_lr=0.5, factor=0.5, total_iters=2)(step)) for step in range(4)]
    [0.25, 0.25, 0.5, 0.5]
    """

    staged = True

    def __init__(
        self, base_lr: Rates, *, factor: Share = 1.0, total_iters: StepsFromZero = 0
    ) -> None:
        """Checks the arguments and keeps their numbers as numpy arrays.

        Args:
          base_lr: the rate.
          factor: the factor of the rate for the first steps.
          total_iters: the number of these steps.

        Raises:
          ConfigError: its key is the name of the invalid argument.
        """
        self.base_lr = np.asarray(base_lr, np.float32)
        self.reduced = np.asarray(np.asarray(base_lr, np.float64) * factor, np.float32)
        self.total_iters = np.asarray(total_iters, np.uint32)

    @property
    def settled_at(self) -> int | None:
        """``total_iters``."""
        return int(self.total_iters)

    def _rate(self, steps: jax.Array) -> jax.Array:
        return jnp.where(steps < self.total_iters, self.reduced, self.base_lr)
