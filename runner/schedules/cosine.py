"""Rates along a cosine: down once, up and down, or down and restarted (SGDR)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from runner.checks.schedules import check_cosine, check_cosine_restarts
from runner.checks.values import resolved
from runner.registry import register_scheduler
from runner.schedules.base import Acyclic, Rates, as_steps, compiled, fill, pytree
from runner.schedules.share import half_cosine, ratio
from runner.schedules.span import Span

# Cycles that double at least, from one step on, begin this often within 2³¹ - 1 steps.
MOST_CYCLES = 32


@register_scheduler("cosine")
@pytree
@dataclass(frozen=True, init=False, eq=False)
class Cosine(Acyclic):
    """From ``base_lr`` to ``eta_min`` along half a cosine, where it stays.

    ::

        t    = step              if periodic
               min(step, T_max)  otherwise
        rate = eta_min + (base_lr - eta_min) * (1 + cos(π * t / T_max)) / 2

    computed from the low point, as half a sine squared, so that nothing cancels where the rate is
    small. With ``periodic`` the cosine goes on: up again until ``2 * T_max``, and so forth, a
    cycle ending at every low point.

    Source: PyTorch's CosineAnnealingLR in its closed form, which always is periodic: a run longer
    than ``T_max`` there ends at a high rate.

    >>> from runner.schedules import Cosine
    >>> [float(Cosine(base_lr=1.0, T_max=2)(step)) for step in range(5)]
    [1.0, 0.5, 0.0, 0.0, 0.0]
    >>> [float(Cosine(base_lr=1.0, T_max=2, periodic=True)(step)) for step in range(5)]
    [1.0, 0.5, 0.0, 0.5, 1.0]
    """

    lr: Span
    T_max: np.ndarray | jax.Array
    periodic: np.ndarray | jax.Array

    def __init__(
        self, *, base_lr: Rates, T_max: int, eta_min: Rates = 0.0, periodic: bool = False
    ) -> None:
        """Checks the arguments and keeps their numbers as numpy arrays.

        Args:
          base_lr, eta_min: the rates at step 0 and at step ``T_max``.
          T_max: updates from the one to the other.
          periodic: whether the rate rises again.

        Raises:
          ConfigError: its key is the name of the argument at fault.
        """
        check_cosine(base_lr=base_lr, T_max=T_max, eta_min=eta_min, periodic=periodic)
        resolved(T_max=T_max)
        fill(
            self,
            lr=Span(eta_min, base_lr),
            T_max=np.asarray(T_max, np.uint32),
            periodic=np.asarray(periodic),
        )

    def __call__(self, step: ArrayLike) -> jax.Array:
        return _rate(self, as_steps(step))

    def cycle(self, step: ArrayLike) -> jax.Array:
        """The number of low points up to ``step`` if the schedule is periodic, else 0; int32."""
        return _cycle(self, as_steps(step))

    def cycle_ends(self, steps: int) -> Sequence[int]:
        """Where a periodic schedule is at ``eta_min``; empty for any other."""
        T_max = int(self.T_max)
        return range(T_max, steps + 1 if self.periodic else 0, 2 * T_max)


@register_scheduler("cosine_restarts")
@pytree
@dataclass(frozen=True, init=False, eq=False)
class CosineRestarts(Acyclic):
    """Half a cosine from ``base_lr`` towards ``eta_min``, begun anew after each cycle (SGDR).

    With ``share`` of the cycle done::

        length(i) = T_0 * T_mult ** i
        start(i)  = sum(length(j) for j in range(i))
        cycle     = max(i for i in range(step + 1) if start(i) <= step)
        share     = (step - start(cycle)) / length(cycle)
        rate      = eta_min + (base_lr - eta_min) * (1 + cos(π * share)) / 2

    ``cycle`` is the count of restarts, exact at every step to 2³¹ - 1: the first steps of the
    cycles come from a table of integers (PyTorch's closed form takes a logarithm, which at the
    joints may round to the wrong side). The lowest rate is that of the last update of a cycle,
    one step short of ``eta_min``.

    Source: I. Loshchilov, F. Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts",
    ICLR 2017 (arXiv:1608.03983), equation 5; PyTorch's CosineAnnealingWarmRestarts.

    >>> from runner.schedules import CosineRestarts
    >>> schedule = CosineRestarts(base_lr=1.0, T_0=2, T_mult=2)
    >>> [float(schedule(step)) for step in (0, 1, 2, 4, 6)]
    [1.0, 0.5, 1.0, 0.5, 1.0]
    >>> schedule.cycle_ends(20)
    [2, 6, 14]
    """

    lr: Span
    T_0: np.ndarray | jax.Array
    repeats: np.ndarray | jax.Array
    starts: np.ndarray | jax.Array
    lengths: np.ndarray | jax.Array
    sizes: np.ndarray | jax.Array

    def __init__(self, *, base_lr: Rates, T_0: int, T_mult: int = 1, eta_min: Rates = 0.0) -> None:
        """Checks the arguments and keeps their numbers as numpy arrays.

        ``starts`` are the first steps of the cycles that grow, ``lengths`` their lengths and
        ``sizes`` the same as integers modulo 2³².

        Args:
          base_lr, eta_min: the rates between which the cosine goes.
          T_0: updates of the first cycle.
          T_mult: how many times as long as the one before each further cycle is; an integer.

        Raises:
          ConfigError: its key is the name of the argument at fault.
        """
        check_cosine_restarts(base_lr=base_lr, T_0=T_0, T_mult=T_mult, eta_min=eta_min)
        resolved(T_0=T_0)
        sizes = [int(T_0) * int(T_mult) ** i for i in range(MOST_CYCLES)]
        # Cycles that do not grow are counted by division; they have one row, the rest is never met.
        grows = T_mult > 1
        starts = [sum(sizes[:i]) if grows or i == 0 else 2**32 for i in range(MOST_CYCLES)]
        fill(
            self,
            lr=Span(eta_min, base_lr),
            T_0=np.asarray(T_0, np.uint32),
            repeats=np.asarray(not grows),
            starts=np.array([min(start, 2**32 - 1) for start in starts], np.uint32),
            lengths=np.array([min(size, 2**100) for size in sizes], np.float32),
            sizes=np.array([size % 2**32 for size in sizes], np.uint32),
        )

    def __call__(self, step: ArrayLike) -> jax.Array:
        return _restarted(self, as_steps(step))

    def cycle(self, step: ArrayLike) -> jax.Array:
        """The count of restarts up to ``step``, int32."""
        return _place(self, as_steps(step)).cycle.astype(jnp.int32)

    def cycle_ends(self, steps: int) -> Sequence[int]:
        """The counts of updates after which the schedule restarts."""
        if self.repeats:
            return range(int(self.T_0), steps + 1, int(self.T_0))
        return [start for start in np.asarray(self.starts).tolist()[1:] if start <= steps]


@compiled
def _rate(schedule: Cosine, steps: jax.Array) -> jax.Array:
    T_max = jnp.asarray(schedule.T_max)
    periodic = jnp.asarray(schedule.periodic)
    position = jnp.where(periodic, steps % (2 * T_max), jnp.minimum(steps, T_max))
    from_low = jnp.where(position <= T_max, T_max - position, position - T_max)
    return schedule.lr.at(half_cosine(ratio(from_low, T_max)))


@compiled
def _cycle(schedule: Cosine, steps: jax.Array) -> jax.Array:
    T_max = jnp.asarray(schedule.T_max)
    lows = (steps + T_max) // (2 * T_max)
    return jnp.where(jnp.asarray(schedule.periodic), lows, 0).astype(jnp.int32)


class _Place(NamedTuple):
    """Where a step is: its cycle, the steps of it that are done, and its row in the tables."""

    cycle: jax.Array
    done: jax.Array
    row: jax.Array


@compiled
def _place(schedule: CosineRestarts, steps: jax.Array) -> _Place:
    T_0, starts = jnp.asarray(schedule.T_0), jnp.asarray(schedule.starts)
    row = (steps[..., None] >= starts).sum(-1, dtype=jnp.uint32) - 1
    repeats = jnp.asarray(schedule.repeats)
    return _Place(
        cycle=jnp.where(repeats, steps // T_0, row),
        done=jnp.where(repeats, steps % T_0, steps - starts[row]),
        row=row,
    )


@compiled
def _restarted(schedule: CosineRestarts, steps: jax.Array) -> jax.Array:
    place = _place(schedule, steps)
    length = jnp.asarray(schedule.lengths)[place.row]
    done = ratio(place.done, length)
    # In a cycle's second half its length is below 2³², and so the difference is right.
    left = ratio(jnp.asarray(schedule.sizes)[place.row] - place.done, length)
    return schedule.lr.at(half_cosine(jnp.where(done <= 0.5, 1 - done, left)))
