"""Cosine annealing with warm restarts (SGDR)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from etils import epy

from runner.config.types import AtMost, Count, PositiveShare, Rates, Steps, StepsFromZero
from runner.errors import ConfigError
from runner.registry import register_scheduler
from runner.schedules.base import Schedule, within
from runner.schedules.numerics import Power, Span, half_cosine, ldexp, ratio

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import numpy as np

# Cycles that at least double in length begin at most this often within 2³¹ - 1 steps.
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

    The cosine starts with the cycle, not after its warm-up: when the warm-up ends, the rate
    continues on the cosine, a little below the peak.

    ``cycle`` counts the restarts, exactly at every step up to 2³¹ - 1: it is looked up in a table
    of integers (PyTorch's closed form takes a logarithm, which near a restart may round to the
    wrong cycle). The lowest rate is that of the last update of a cycle, one step before
    ``eta_min``.

    Source: I. Loshchilov, F. Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts",
    ICLR 2017 (arXiv:1608.03983), equation 5; PyTorch's CosineAnnealingWarmRestarts;
    ``cycle_decay`` and ``warmup`` as in timm's CosineLRScheduler with ``warmup_prefix`` off, which
    warms up in the first cycle only.

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

        For cycles that grow, ``starts`` are their first steps, ``lengths`` their lengths and
        ``sizes`` the same as integers modulo 2³².

        Args:
          base_lr, eta_min: the rates at the start and at the end of the first cosine.
          T_0: updates of the first cycle.
          T_mult: each cycle is this many times as long as the previous one; an integer.
          cycle_decay: each cycle's peak is this many times as high as the previous one.
          warmup: updates of the linear warm-up from ``eta_min`` at the start of each cycle, fewer
            than ``T_0``; 0 for none.

        Raises:
          ConfigError: its key is the name of the invalid argument.
        """
        if warmup >= T_0:
            problem = f"{warmup} leaves no steps of T_0 ({T_0}) for the cosine"
            raise ConfigError("warmup", problem, "write warmup below T_0")
        sizes = [T_0 * T_mult**i for i in range(MOST_CYCLES)]
        # Cycles that do not grow are counted by division and use only the first row.
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

    def phase_changes(self, steps: int) -> Sequence[Sequence[int]]:
        """The ends of the warm-ups."""
        warmup = int(self.warmup)
        if not warmup:
            return []
        if self.repeats:
            return [range(warmup, steps + 1, int(self.T_0))]
        return [within([start + warmup for start in np.asarray(self.starts).tolist()], steps)]

    def _rate(self, steps: jax.Array) -> jax.Array:
        place = self._place(steps)
        length = self.lengths[place.row]
        done = ratio(place.done, length)
        # In the second half of a cycle its length is below 2³², so this difference is exact.
        left = ratio(self.sizes[place.row] - place.done, length)
        cosine = half_cosine(jnp.where(done <= 0.5, 1 - done, left))
        climb = ratio(place.done, jnp.maximum(self.warmup, 1))
        return self._between(place.cycle, jnp.where(place.done < self.warmup, climb, cosine))

    def _between(self, cycle: jax.Array, share: jax.Array) -> jax.Array:
        """The rate at ``share`` of the way from ``eta_min`` to the peak of ``cycle``."""
        excess, exponent = self.decay.split(cycle)
        low = self.lr.low
        peak = jnp.maximum(ldexp(self.lr.high * (1 + excess), exponent), low)
        decayed = jnp.minimum(low + (peak - low) * share, peak)
        return jnp.where((excess == 0) & (exponent == 0), self.lr.at(share), decayed)

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
    """The position of a step: its cycle, the steps done in it, and its row in the tables."""

    cycle: jax.Array
    done: jax.Array
    row: jax.Array
