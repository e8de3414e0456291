"""A linear change from one share of a rate to another: a warm-up, or a decay."""

from __future__ import annotations

from etils import epy

from runner.config.types import Rates, Share, StepsFromZero
from runner.registry import register_scheduler
from runner.schedules.base import Schedule
from runner.schedules.numerics import Span, ratio

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import numpy as np


@register_scheduler("linear")
class Linear(Schedule):
    """A linear change from one share of ``base_lr`` to another: a warm-up, or a decay.

    ::

        share  = step / total_iters  if step < total_iters
                 1                   otherwise
        factor = start_factor + (end_factor - start_factor) * share
        rate   = base_lr * factor

    Both ends are exact.

    Source: PyTorch's LinearLR, in closed form; a ``start_factor`` of zero, which its recursion
    cannot handle, is allowed here.

    >>> from runner.schedules import Linear
    >>> schedule = Linear(base_lr=1.0, start_factor=0.5, end_factor=1.0, total_iters=2)
    >>> [float(schedule(step)) for step in range(4)]
    [0.5, 0.75, 1.0, 1.0]
    """

    def __init__(
        self,
        *,
        base_lr: Rates,
        start_factor: Share = 1 / 3,
        end_factor: Share = 1.0,
        total_iters: StepsFromZero = 5,
    ) -> None:
        """Checks the arguments and keeps their numbers as numpy arrays.

        Args:
          base_lr: the rate that the factors multiply.
          start_factor, end_factor: factors at step 0 and from step ``total_iters`` on.
          total_iters: updates from one to the other; 0 starts with ``end_factor``.

        Raises:
          ConfigError: its key is the name of the invalid argument.
        """
        base = np.asarray(base_lr, np.float64)
        low, high = sorted((start_factor, end_factor))
        self.base_lr = np.asarray(base_lr, np.float32)
        self.lr = Span(base * low, base * high)
        self.falls = np.asarray(end_factor < start_factor)
        self.total_iters = np.asarray(total_iters, np.uint32)

    @property
    def settled_at(self) -> int | None:
        """``total_iters``."""
        return int(self.total_iters)

    def _rate(self, steps: jax.Array) -> jax.Array:
        total = jnp.maximum(self.total_iters, 1)
        done = jnp.where(steps < self.total_iters, steps, total)
        # From the lower end, so that a rate close to zero is not a difference of larger numbers.
        covered = jnp.where(self.falls, total - done, done)
        return self.lr.at(ratio(covered, total))
