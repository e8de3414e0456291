"""The REX decay: slow at first, fast towards the end."""

from __future__ import annotations

from typing import Annotated, Any

from etils import epy

from runner.config.types import AtMost, Rates, Steps
from runner.registry import register_scheduler
from runner.schedules.base import Schedule
from runner.schedules.numerics import Span, ratio

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import numpy as np


@register_scheduler("rex")
class Rex(Schedule):
    """From ``base_lr`` to ``eta_min``, slowly at first and faster towards the end.

    ::

        z    = min(step, total_steps) / total_steps
        rate = eta_min + (base_lr - eta_min) * (1 - z) / (1 - z / 2)

    computed as a quotient of integers, so that nothing cancels near the end.

    Source: J. Chen, C. Wolfe, A. Kyrillidis, "REX: Revisiting Budgeted Training with an Improved
    Schedule", MLSys 2022 (arXiv:2107.04197), section 3, where ``eta_min`` is zero.

    >>> from runner.schedules import Rex
    >>> [float(Rex(base_lr=3.0, total_steps=2)(step)) for step in range(4)]
    [3.0, 2.0, 0.0, 0.0]
    """

    def __init__(
        self,
        *,
        base_lr: Rates,
        total_steps: Steps,
        eta_min: Annotated[Rates, AtMost("base_lr")] = 0.0,
    ) -> None:
        """Checks the arguments and keeps their numbers as numpy arrays.

        Args:
          base_lr, eta_min: the rates at step 0 and from step ``total_steps`` on.
          total_steps: updates from one to the other.

        Raises:
          ConfigError: its key is the name of the invalid argument.
        """
        self.lr = Span(eta_min, base_lr)
        self.total_steps = np.asarray(total_steps, np.uint32)

    @property
    def base_rate(self) -> Any:
        """``base_lr``, the rate at step 0."""
        return self.lr.high

    @property
    def settled_at(self) -> int | None:
        """``total_steps``."""
        return int(self.total_steps)

    def _rate(self, steps: jax.Array) -> jax.Array:
        left = self.total_steps - jnp.minimum(steps, self.total_steps)
        return self.lr.at(ratio(2 * left, self.total_steps + left))
