"""The rate that never changes: the baseline of every comparison."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from runner.checks.schedules import check_constant
from runner.registry import register_scheduler
from runner.schedules.base import Acyclic, Rates, as_steps, fill, pytree


@register_scheduler("constant")
@pytree
@dataclass(frozen=True, init=False, eq=False)
class Constant(Acyclic):
    """The same rate at every step: no cycles, no momentum of its own.

    ::

        rate = base_lr

    Source: optax's constant_schedule.

    >>> from runner.schedules import Constant
    >>> float(Constant(base_lr=0.5)(1000))
    0.5
    """

    base_lr: np.ndarray | jax.Array

    def __init__(self, base_lr: Rates) -> None:
        """Raises ConfigError unless ``base_lr`` is a finite number of at least zero, or a list."""
        check_constant(base_lr=base_lr)
        fill(self, base_lr=np.asarray(base_lr, np.float32))

    def __call__(self, step: ArrayLike) -> jax.Array:
        rate = jnp.asarray(self.base_lr)
        return jnp.broadcast_to(rate, jnp.broadcast_shapes(rate.shape, as_steps(step).shape))
