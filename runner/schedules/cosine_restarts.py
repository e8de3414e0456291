"""Cosine annealing with warm restarts (SGDR)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from etils import epy

from runner.config.types import AtMost, Count, PositiveShare, Rates, Steps, StepsFromZero
from runner.errors import ConfigError
from runner.registry import register_scheduler
from runner.schedules.base import Schedule
from runner.schedules.numerics import Power, Span, half_cosine, ratio, times_two_to

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import numpy as np

# Cycles that at least double, from one step on, begin this often within 2³¹ - 1 steps.
MOST_CYCLES = 32


@register_scheduler("cosine_restarts")
class CosineRestarts(Schedule):
    """Half a cosine towards ``eta_min``, restarted after each cycle (SGDR).

    ::

        length(i) = T_0 * T_mult ** i
        start(i)  = sum(length(j) for j in range(i))
        cycle     = max(i for i in range(step + 1) if start(i) <= step)
        done      = step - start(cycle)
        peak      = max(base_lr * cycle_decay ** cycle, eta_min)
        share     = done / warmup                                 if done < warmup
                    (1 + cos(π * done / length(cycle))) / 2       otherwise
        rate      = eta_min + (peak - eta_min) * share

    The cosine begins with the cycle and not after its warm-up: where the climb would reach the
    peak, the rate is on the cosine already, a little below.

    ``cycle`` is the count of restarts, exact at every step to 2³¹ - 1: the first steps of the
    cycles come from a table of integers (PyTorch's closed form takes a logarithm, which at the
    joints may round to the wrong side). The lowest rate is that of the last update of a cycle,
    one step short of ``eta_min``.

    Source: I. Loshchilov, F. Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts",
    ICLR 2017 (arXiv:1608.03983), equation 5; PyTorch's CosineAnnealingWarmRestarts;
    ``cycle_decay`` and ``warmup`` as in timm's CosineLRScheduler with ``warmup_prefix`` off, which
    warms up in the first cycle alone.

    >>> from runner.schedules import CosineRestarts
    >>> schedule = CosineRestarts(base_lr=1.0, T_0=2, T_mult=2)
    >>> [float(schedule(step)) for step in (0, 1, 2, 4, 6)]
    [1.0, 0.5, 1.0, 0.5, 1.0]
    >>> schedule.cycle_ends(20)
    [2, 6, 14]
    """

    def __init__(
        self,
        *,
        base_lr: Rates,
        T_0: Steps,
        T_mult: Count = 1,
        eta_min: Annotated[Rates, AtMost("base_lr")] = 0.0,
        cycle_decay: PositiveShare = 1.0,
        warmup: StepsFromZero = 0,
    ) -> None:
        """Checks the arguments and keeps their numbers as numpy arrays.

        ``starts`` are the first steps of the cycles that grow, ``lengths`` their lengths and
        ``sizes`` the same as integers modulo 2³².

        Args:
          base_lr, eta_min: the rates between which the first cosine goes.
          T_0: updates of the first cycle.
          T_mult: each cycle is this many times as long as the previous one; an integer.
          cycle_decay: each cycle's peak is this many times as high as the previous one.
          warmup: updates of the climb from ``eta_min`` that each cycle begins with, fewer than
            ``T_0``; 0 for none.

        Raises:
          ConfigError: its key is the name of the argument at fault.
        """
        if warmup >= T_0:
            problem = f"{warmup} leaves nothing of T_0 ({T_0}) for the cosine"
            raise ConfigError("warmup", problem, "write warmup below T_0")
        sizes = [T_0 * T_mult**i for i in range(MOST_CYCLES)]
        # Cycles that do not grow are counted by division; they use the first row alone.
        grows = T_mult > 1
        starts = [sum(sizes[:i]) if grows or i == 0 else 2**32 for i in range(MOST_CYCLES)]
        self.lr = Span(eta_min, base_lr)
        self.decay = Power(cycle_decay)
        self.warmup = np.asarray(warmup, np.uint32)
        self.T_0 = np.asarray(T_0, np.uint32)
        self.repeats = np.asarray(not grows)
        self.starts = np.array([min(start, 2**32 - 1) for start in starts], np.uint32)
        self.lengths = np.array([min(size, 2**100) for size in sizes], np.float32)
        self.sizes = np.array([size % 2**32 for size in sizes], np.uint32)

    @property
    def base_rate(self) -> Any:
        """``base_lr``, the rate that cycles begin with."""
        return self.lr.high

    def cycle_ends(self, steps: int) -> Sequence[int]:
        """The counts of updates after which the schedule restarts."""
        if self.repeats:
            return range(int(self.T_0), steps + 1, int(self.T_0))
        return [start for start in np.asarray(self.starts).tolist()[1:] if start <= steps]

    def _rate(self, steps: jax.Array) -> jax.Array:
        place = self._place(steps)
        length = self.lengths[place.row]
        done = ratio(place.done, length)
        # In a cycle's second half its length is below 2³², and so the difference is right.
        left = ratio(self.sizes[place.row] - place.done, length)
        cosine = half_cosine(jnp.where(done <= 0.5, 1 - done, left))
        climb = ratio(place.done, jnp.maximum(self.warmup, 1))
        return self._between(place.cycle, jnp.where(place.done < self.warmup, climb, cosine))

    def _between(self, cycle: jax.Array, share: jax.Array) -> jax.Array:
        """The rate at ``share`` of the way from ``eta_min`` to the peak of ``cycle``."""
        excess, whole = self.decay.split(cycle)
        low = self.lr.low
        peak = jnp.maximum(times_two_to(self.lr.high * (1 + excess), whole), low)
        decayed = jnp.minimum(low + (peak - low) * share, peak)
        return jnp.where((excess == 0) & (whole == 0), self.lr.at(share), decayed)

    def _cycle(self, steps: jax.Array) -> jax.Array:
        """The count of restarts up to ``steps``."""
        return self._place(steps).cycle.astype(jnp.int32)

    def _place(self, steps: jax.Array) -> _Place:
        row = (steps[..., None] >= self.starts).sum(-1, dtype=jnp.uint32) - 1
        return _Place(
            cycle=jnp.where(self.repeats, steps // self.T_0, row),
            done=jnp.where(self.repeats, steps % self.T_0, steps - self.starts[row]),
            row=row,
        )


class _Place(NamedTuple):
    """Where a step is: its cycle, the steps of it that are done, and its row in the tables."""

    cycle: jax.Array
    done: jax.Array
    row: jax.Array
