"""A straight climb to the peak, then half a cosine down: the usual schedule of large models."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from runner.checks.schedules import check_warmup_cosine
from runner.checks.values import resolved
from runner.registry import register_scheduler
from runner.schedules.base import Acyclic, Rates, as_steps, compiled, fill, pytree
from runner.schedules.share import half_cosine, ratio
from runner.schedules.span import Span


@register_scheduler("warmup_cosine")
@pytree
@dataclass(frozen=True, init=False, eq=False)
class WarmupCosine(Acyclic):
    """From ``base_lr`` up to ``max_lr`` along a line, then down to ``eta_min`` along a cosine.

    ::

        t       = min(step, total_steps)
        share   = (t - warmup_steps) / (total_steps - warmup_steps)
        climb   = base_lr + (max_lr - base_lr) * t / warmup_steps
        descent = eta_min + (max_lr - eta_min) * (1 + cos(π * share)) / 2
        rate    = climb    if t <= warmup_steps
                  descent  otherwise

    Source: optax's warmup_cosine_decay_schedule, whose init_value, peak_value, decay_steps and
    end_value are ``base_lr``, ``max_lr``, ``total_steps`` and ``eta_min`` here (``total_steps``
    counts the warm-up in, as ``decay_steps`` does there).

    >>> from runner.schedules import WarmupCosine
    >>> schedule = WarmupCosine(max_lr=1.0, warmup_steps=2, total_steps=4)
    >>> [float(schedule(step)) for step in range(6)]
    [0.0, 0.5, 1.0, 0.5, 0.0, 0.0]
    """

    climb: Span
    descent: Span
    warmup_steps: np.ndarray | jax.Array
    total_steps: np.ndarray | jax.Array

    def __init__(
        self,
        *,
        base_lr: Rates = 0.0,
        max_lr: Rates,
        warmup_steps: int,
        total_steps: int,
        eta_min: Rates = 0.0,
    ) -> None:
        """Checks the arguments and keeps their numbers as numpy arrays.

        Args:
          base_lr, max_lr, eta_min: the rates at step 0, at the peak and at the end.
          warmup_steps: updates of the climb.
          total_steps: updates of the climb and the descent together.

        Raises:
          ConfigError: its key is the name of the argument at fault.
        """
        check_warmup_cosine(
            base_lr=base_lr,
            max_lr=max_lr,
            warmup_steps=warmup_steps,
            total_steps=total_steps,
            eta_min=eta_min,
        )
        resolved(warmup_steps=warmup_steps, total_steps=total_steps)
        fill(
            self,
            climb=Span(base_lr, max_lr),
            descent=Span(eta_min, max_lr),
            warmup_steps=np.asarray(warmup_steps, np.uint32),
            total_steps=np.asarray(total_steps, np.uint32),
        )

    def __call__(self, step: ArrayLike) -> jax.Array:
        return _rate(self, as_steps(step))


@compiled
def _rate(schedule: WarmupCosine, steps: jax.Array) -> jax.Array:
    warmup, total = jnp.asarray(schedule.warmup_steps), jnp.asarray(schedule.total_steps)
    done = jnp.minimum(steps, total)
    climb = schedule.climb.at(ratio(jnp.minimum(done, warmup), warmup))
    left = jnp.minimum(total - done, total - warmup)
    descent = schedule.descent.at(half_cosine(ratio(left, total - warmup)))
    return jnp.where(done <= warmup, climb, descent)
