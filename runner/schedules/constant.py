"""The rate that never changes: the baseline of every comparison."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from runner.checks import check_constant
from runner.registry import register_scheduler
from runner.schedules.base import STRUCTURE, as_steps, fill, pytree


@register_scheduler("constant")
@pytree
@dataclass(frozen=True, init=False, eq=False)
class Constant:
    """``base_lr`` at every step: no cycles, no momentum of its own.

    >>> from runner.schedules import Constant
    >>> float(Constant(base_lr=0.5)(1000))
    0.5
    """

    base_lr: np.ndarray | jax.Array
    cycles_momentum: bool = field(metadata=STRUCTURE)

    def __init__(self, base_lr: float) -> None:
        """Raises ConfigError unless ``base_lr`` is a finite number of at least zero."""
        check_constant(base_lr=base_lr)
        fill(self, base_lr=np.asarray(base_lr, np.float32), cycles_momentum=False)

    def __call__(self, step: ArrayLike) -> jax.Array:
        return jnp.broadcast_to(jnp.asarray(self.base_lr), as_steps(step).shape)

    def momentum(self, step: ArrayLike) -> jax.Array:
        raise ValueError("a constant schedule sets no momentum")

    def cycle(self, step: ArrayLike) -> jax.Array:
        return jnp.zeros(as_steps(step).shape, jnp.int32)

    def cycle_ends(self, steps: int) -> Sequence[int]:
        return range(0)
