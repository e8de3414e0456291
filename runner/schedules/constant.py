"""The rate that never changes: the baseline of every comparison."""

from __future__ import annotations

from etils import epy

from runner.config.types import Rates
from runner.registry import register_scheduler
from runner.schedules.base import Schedule

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import numpy as np


@register_scheduler("constant")
class Constant(Schedule):
    """The same rate at every step: no cycles, no momentum of its own.

    ::

        rate = base_lr

    Source: optax's constant_schedule.

    >>> from runner.schedules import Constant
    >>> float(Constant(base_lr=0.5)(1000))
    0.5
    """

    def __init__(self, base_lr: Rates) -> None:
        """Raises ConfigError unless ``base_lr`` is a finite number of at least zero, or a list."""
        self.base_lr = np.asarray(base_lr, np.float32)

    def _rate(self, steps: jax.Array) -> jax.Array:
        return jnp.broadcast_to(self.base_lr, jnp.broadcast_shapes(self.base_lr.shape, steps.shape))
