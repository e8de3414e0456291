"""Linear warm-up, then cosine annealing: the usual schedule of large models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from etils import epy

from runner.config.types import AtMost, PositiveRates, Rates, Steps, StepsFromZero
from runner.errors import ConfigError
from runner.registry import register_scheduler
from runner.schedules.base import Schedule, within
from runner.schedules.numerics import Span, half_cosine, ratio

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import numpy as np


@register_scheduler("warmup_cosine")
class WarmupCosine(Schedule):
    """A linear warm-up from ``base_lr`` to ``max_lr``, then half a cosine down to ``eta_min``.

    ::

        t     = min(step, total_steps)
        share = (t - warmup_steps) / (total_steps - warmup_steps)
        rate  = base_lr + (max_lr - base_lr) * t / warmup_steps          if t < warmup_steps
                eta_min + (max_lr - eta_min) * (1 + cos(π * share)) / 2  otherwise

    Source: optax's warmup_cosine_decay_schedule, whose init_value, peak_value, decay_steps and
    end_value are ``base_lr``, ``max_lr``, ``total_steps`` and ``eta_min`` here (``total_steps``
    includes the warm-up, as ``decay_steps`` does there).

    >>> from runner.schedules import WarmupCosine
    >>> schedule = WarmupCosine(max_lr=1.0, warmup_steps=2, total_steps=4)
    >>> [float(schedule(step)) for step in range(6)]
    [0.0, 0.5, 1.0, 0.5, 0.0, 0.0]
    """

    def __init__(
        self,
        *,
        base_lr: Annotated[Rates, AtMost("max_lr")] = 0.0,
        max_lr: PositiveRates,
        warmup_steps: StepsFromZero,
        total_steps: Steps,
        eta_min: Annotated[Rates, AtMost("max_lr")] = 0.0,
    ) -> None:
        """Checks the arguments and keeps their numbers as numpy arrays.

        Args:
          base_lr, max_lr, eta_min: the rates at step 0, at the peak and at the end.
          warmup_steps: updates of the warm-up; 0 for none.
          total_steps: updates of the warm-up and the descent together.

        Raises:
          ConfigError: its key is the name of the invalid argument.
        """
        if warmup_steps >= total_steps:
            problem = (
                f"{warmup_steps} leaves no steps of total_steps ({total_steps}) for the descent"
            )
            raise ConfigError("warmup_steps", problem, "write warmup_steps below total_steps")
        self.climb = Span(base_lr, max_lr)
        self.descent = Span(eta_min, max_lr)
        self.warmup_steps = np.asarray(warmup_steps, np.uint32)
        self.total_steps = np.asarray(total_steps, np.uint32)

    @property
    def base_rate(self) -> Any:
        """``base_lr``, the rate at step 0."""
        return self.climb.low

    @property
    def settled_at(self) -> int | None:
        """``total_steps``."""
        return int(self.total_steps)

    def phase_changes(self, steps: int) -> Sequence[Sequence[int]]:
        """The ends of the warm-up and of the descent."""
        return [within([self.warmup_steps, self.total_steps], steps)]

    def _rate(self, steps: jax.Array) -> jax.Array:
        warmup, total = self.warmup_steps, self.total_steps
        done = jnp.minimum(steps, total)
        climb = self.climb.at(ratio(jnp.minimum(done, warmup), jnp.maximum(warmup, 1)))
        left = jnp.minimum(total - done, total - warmup)
        descent = self.descent.at(half_cosine(ratio(left, total - warmup)))
        return jnp.where(done < warmup, climb, descent)
