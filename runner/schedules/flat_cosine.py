"""A constant rate, then cosine annealing: fastai's flat-cosine schedule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from etils import epy

from runner.config.markers import Number
from runner.config.types import AtMost, Rates, Steps
from runner.registry import register_scheduler
from runner.schedules.base import Schedule, within
from runner.schedules.numerics import Span, half_cosine, ratio

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import numpy as np


@register_scheduler("flat_cosine")
class FlatCosine(Schedule):
    """``base_lr`` for a share of the run, then down to ``eta_min`` along half a cosine.

    ::

        z    = min(step, total_steps) / total_steps
        x    = max(z - pct_start, 0) / (1 - pct_start)
        rate = eta_min + (base_lr - eta_min) * (1 + cos(π * x)) / 2

    computed from the end, where the rate is small, so that nothing cancels there.

    Source: fastai's fit_flat_cos, whose ``div_final`` is ``base_lr / eta_min`` (1e5 there).

    >>> from runner.schedules import FlatCosine
    >>> schedule = FlatCosine(base_lr=1.0, total_steps=4, pct_start=0.5)
    >>> [float(schedule(step)) for step in range(6)]
    [1.0, 1.0, 1.0, 0.5, 0.0, 0.0]
    """

    def __init__(
        self,
        *,
        base_lr: Rates,
        total_steps: Steps,
        pct_start: Annotated[float, Number(ge=0, lt=1)] = 0.75,
        eta_min: Annotated[Rates, AtMost("base_lr")] = 0.0,
    ) -> None:
        """Checks the arguments and keeps their numbers as numpy arrays.

        Args:
          base_lr: the rate until the descent.
          total_steps: updates until the rate is ``eta_min``.
          pct_start: the share of ``total_steps`` before the descent, from 0 to below 1.
          eta_min: the rate from step ``total_steps`` on.

        Raises:
          ConfigError: its key is the name of the invalid argument.
        """
        self.lr = Span(eta_min, base_lr)
        self.total_steps = np.asarray(total_steps, np.uint32)
        self.descent = np.asarray(total_steps * (1 - pct_start), np.float32)

    @property
    def base_rate(self) -> Any:
        """``base_lr``, the highest rate."""
        return self.lr.high

    @property
    def settled_at(self) -> int | None:
        """``total_steps``."""
        return int(self.total_steps)

    def phase_changes(self, steps: int) -> Sequence[Sequence[int]]:
        """The start and the end of the descent."""
        total = int(self.total_steps)
        return [within([total - int(self.descent), total], steps)]

    def _rate(self, steps: jax.Array) -> jax.Array:
        left = self.total_steps - jnp.minimum(steps, self.total_steps)
        return self.lr.at(half_cosine(jnp.minimum(ratio(left, self.descent), 1)))
