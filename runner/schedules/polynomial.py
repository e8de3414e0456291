"""Polynomial decay."""

from __future__ import annotations

from typing import Annotated, Any

from etils import epy

from runner.config.types import AtMost, Positive, Rates, Steps
from runner.registry import register_scheduler
from runner.schedules.base import Schedule
from runner.schedules.numerics import Span, power_of_ratio

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import numpy as np


@register_scheduler("polynomial")
class Polynomial(Schedule):
    """From ``base_lr`` to ``eta_min`` along a power of the share of steps that are left.

    ::

        left = 1 - min(step, total_iters) / total_iters
        rate = eta_min + (base_lr - eta_min) * left ** power

    ``left`` is a quotient of integers, so nothing cancels near the end, and its rounding error is
    corrected.

    Source: PyTorch's PolynomialLR, in closed form, and optax's polynomial_schedule, whose
    ``end_value`` is ``eta_min``; in PyTorch, the rate ends at zero.

    >>> from runner.schedules import Polynomial
    >>> schedule = Polynomial(base_lr=1.0, total_iters=4, power=2.0)
    >>> [float(schedule(step)) for step in range(6)]
    [1.0, 0.5625, 0.25, 0.0625, 0.0, 0.0]
    """

    def __init__(
        self,
        *,
        base_lr: Rates,
        total_iters: Steps = 5,
        power: Positive = 1.0,
        eta_min: Annotated[Rates, AtMost("base_lr")] = 0.0,
    ) -> None:
        """Checks the arguments and keeps their numbers as numpy arrays.

        Args:
          base_lr, eta_min: the rates at step 0 and from step ``total_iters`` on.
          total_iters: updates from one to the other.
          power: the exponent; 1 is a straight line.

        Raises:
          ConfigError: its key is the name of the invalid argument.
        """
        self.lr = Span(eta_min, base_lr)
        self.total_iters = np.asarray(total_iters, np.uint32)
        self.power = np.asarray(power, np.float32)
        self.power_rest = np.asarray(power - float(np.float32(power)), np.float32)

    @property
    def base_rate(self) -> Any:
        """``base_lr``, the rate at step 0."""
        return self.lr.high

    @property
    def settled_at(self) -> int | None:
        """``total_iters``."""
        return int(self.total_iters)

    def _rate(self, steps: jax.Array) -> jax.Array:
        left = self.total_iters - jnp.minimum(steps, self.total_iters)
        return self.lr.at(*power_of_ratio(left, self.total_iters, self.power, self.power_rest))
