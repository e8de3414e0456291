"""Cosine annealing, once or periodic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from etils import epy

from runner.config.types import AtMost, Rates, Steps
from runner.registry import register_scheduler
from runner.schedules.base import Schedule
from runner.schedules.numerics import Span, half_cosine, ratio

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import numpy as np


@register_scheduler("cosine")
class Cosine(Schedule):
    """From ``base_lr`` down to ``eta_min`` along half a cosine; constant from there on.

    ::

        t    = step              if periodic
               min(step, T_max)  otherwise
        rate = eta_min + (base_lr - eta_min) * (1 + cos(π * t / T_max)) / 2

    computed from the low point, as a sine squared, so that nothing cancels where the rate is
    small. With ``periodic`` the cosine continues: up again until ``2 * T_max``, and so on; a cycle
    ends at every low point.

    Source: PyTorch's CosineAnnealingLR in its closed form.

    Where they differ:

    * From ``T_max`` on the rate is ``eta_min``. PyTorch's is always periodic, so a run that is
      longer than ``T_max`` may end at a high rate.
    * ``eta_min`` above ``base_lr`` is an error; PyTorch's rate then rises towards it.

    >>> from runner.schedules import Cosine
    >>> [float(Cosine(base_lr=1.0, T_max=2)(step)) for step in range(5)]
    [1.0, 0.5, 0.0, 0.0, 0.0]
    >>> [float(Cosine(base_lr=1.0, T_max=2, periodic=True)(step)) for step in range(5)]
    [1.0, 0.5, 0.0, 0.5, 1.0]
    """

    def __init__(
        self,
        *,
        base_lr: Rates,
        T_max: Steps,
        eta_min: Annotated[Rates, AtMost("base_lr")] = 0.0,
        periodic: bool = False,
    ) -> None:
        """Checks the arguments and keeps their numbers as numpy arrays.

        Args:
          base_lr, eta_min: the rates at step 0 and at step ``T_max``.
          T_max: updates from one to the other.
          periodic: whether the rate rises again.

        Raises:
          ConfigError: its key is the name of the invalid argument.
        """
        self.lr = Span(eta_min, base_lr)
        self.T_max = np.asarray(T_max, np.uint32)
        self.periodic = np.asarray(periodic)

    @property
    def base_rate(self) -> Any:
        """``base_lr``, the highest rate."""
        return self.lr.high

    @property
    def settled_at(self) -> int | None:
        """``T_max``; None if the schedule is periodic."""
        return None if self.periodic else int(self.T_max)

    def cycle_ends(self, steps: int) -> Sequence[int]:
        """The steps at which a periodic schedule is at ``eta_min``; empty for any other."""
        T_max = int(self.T_max)
        return range(T_max, steps + 1 if self.periodic else 0, 2 * T_max)

    def phase_changes(self, steps: int) -> Sequence[Sequence[int]]:
        """``T_max``; if the schedule is periodic, every multiple of it."""
        every = range(int(self.T_max), steps + 1, int(self.T_max))
        return [every if self.periodic else every[:1]]

    def _rate(self, steps: jax.Array) -> jax.Array:
        T_max = self.T_max
        position = jnp.where(self.periodic, steps % (2 * T_max), jnp.minimum(steps, T_max))
        from_low = jnp.where(position <= T_max, T_max - position, position - T_max)
        return self.lr.at(half_cosine(ratio(from_low, T_max)))

    def _cycle(self, steps: jax.Array) -> jax.Array:
        """The number of low points up to ``steps`` if the schedule is periodic, else 0."""
        lows = (steps + self.T_max) // (2 * self.T_max)
        return jnp.where(self.periodic, lows, 0).astype(jnp.int32)
