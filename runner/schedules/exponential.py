"""Exponential decay, continuous or in stairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from etils import epy

from runner.config.types import AtMost, Positive, Rates, Steps
from runner.registry import register_scheduler
from runner.schedules.base import Schedule
from runner.schedules.numerics import Power, ldexp

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import numpy as np


@register_scheduler("exponential")
class Exponential(Schedule):
    """Exponential decay by ``gamma`` every ``decay_steps`` updates, down to ``eta_min``.

    ::

        power = step // decay_steps                    if staircase
                step / decay_steps                     otherwise
        rate  = max(base_lr * gamma ** power, eta_min)

    in float32 precision at every step up to 2³¹ - 1. A rate below 1.2e-38 may be zero.

    Source: PyTorch's ExponentialLR, in closed form, and optax's exponential_decay, whose
    ``transition_steps``, ``decay_rate`` and ``end_value`` are ``decay_steps``, ``gamma`` and
    ``eta_min``. There, ``end_value`` is the highest rate if ``decay_rate`` is above one; here
    ``eta_min`` is always the lowest.

    >>> from runner.schedules import Exponential
    >>> schedule = Exponential(base_lr=1.0, gamma=0.5, eta_min=0.2)
    >>> [float(schedule(step)) for step in range(3)]
    [1.0, 0.5, 0.25]
    >>> schedule = Exponential(base_lr=1.0, gamma=0.25, decay_steps=2)
    >>> [float(schedule(step)) for step in range(4)]
    [1.0, 0.5, 0.25, 0.125]
    """

    def __init__(
        self,
        *,
        base_lr: Rates,
        gamma: Positive,
        decay_steps: Steps = 1,
        staircase: bool = False,
        eta_min: Annotated[Rates, AtMost("base_lr")] = 0.0,
    ) -> None:
        """Checks the arguments and keeps their numbers as numpy arrays.

        Args:
          base_lr: the rate at step 0.
          gamma: the factor per ``decay_steps`` updates, above 0.
          decay_steps: updates in which the rate changes by that factor.
          staircase: whether the rate changes only every ``decay_steps`` updates.
          eta_min: the lowest rate.

        Raises:
          ConfigError: its key is the name of the invalid argument.
        """
        self.base_lr = np.asarray(base_lr, np.float32)
        self.eta_min = np.asarray(eta_min, np.float32)
        self.interval = np.asarray(decay_steps if staircase else 1, np.uint32)
        self.factor = Power(gamma, root=1 if staircase else decay_steps)

    def phase_changes(self, steps: int) -> Sequence[Sequence[int]]:
        """With ``staircase``, the steps at which the rate drops."""
        interval = int(self.interval)
        return [range(interval, steps + 1, interval)] if interval > 1 else []

    def _rate(self, steps: jax.Array) -> jax.Array:
        excess, exponent = self.factor.split(steps // self.interval)
        return jnp.maximum(ldexp(self.base_lr * (1 + excess), exponent), self.eta_min)
