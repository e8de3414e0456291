"""Warm-up, stable, decay: a constant rate that can be ended at any time; once or in cycles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple, get_args

from etils import epy

from runner.config.types import AtMost, Count, Rates, Share, Steps, StepsFromZero
from runner.errors import ConfigError
from runner.pytree import Leaf
from runner.registry import register_scheduler
from runner.schedules.base import Schedule, within
from runner.schedules.numerics import Span, exp2m1, half_cosine, ratio

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import numpy as np

DecayType = Literal["linear", "cosine", "sqrt", "exponential"]


@register_scheduler("wsd")
class WSD(Schedule):
    """A warm-up to ``base_lr``, a stable phase, and a decay to ``eta_min``; once, or in cycles.

    Cycles have the same length, except that the last one also takes the remainder::

        size  = total_steps // cycles
        cycle = min(step // size, cycles - 1)
        end   = total_steps           if cycle == cycles - 1
                (cycle + 1) * size    otherwise
        done  = step - cycle * size + 1
        left  = max(end - step, 0)
        f     = warmup_start_factor
        x     = max(1 - left / (decay + 1), 0)
        d     = 1 - x                 if decay_type == "linear"
                (1 + cos(π * x)) / 2  if decay_type == "cosine"
                1 - x ** 0.5          if decay_type == "sqrt"
                2 * 0.5 ** x - 1      otherwise
        rate  = eta_min + (base_lr - eta_min) * d        if left <= decay
                base_lr * (f + (1 - f) * done / warmup)  if cycle == 0 and done < warmup
                base_lr                                  if cycle == 0 or done >= rewarmup
                eta_min + (base_lr - eta_min) * done / rewarmup  otherwise

    No update has a rate of zero: the first one of a warm-up is one step above its start, and the
    last one of a decay is one step above ``eta_min``, the rate from ``total_steps`` on. All numbers
    and ``decay_type`` are leaves.

    Source: S. Hu et al., "MiniCPM" (arXiv:2404.06395), section 4; A. Hägele et al., "Scaling Laws
    and Compute-Optimal Training Beyond Fixed Training Durations" (arXiv:2405.18392), whose decay
    is ``sqrt``; ``exponential`` is Megatron-LM's; the cycles are WSD-S of K. Wen et al.
    (arXiv:2410.05192).

    >>> from runner.schedules import WSD
    >>> schedule = WSD(base_lr=1.0, total_steps=8, warmup=2, decay=3)
    >>> [float(schedule(step)) for step in range(9)]
    [0.5, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    >>> list(WSD(base_lr=1.0, total_steps=8, decay=1, cycles=2).cycle_ends(10))
    [4, 8]
    """

    def __init__(
        self,
        *,
        base_lr: Rates,
        total_steps: Steps,
        warmup: StepsFromZero = 0,
        warmup_start_factor: Share = 0.0,
        decay: Steps,
        decay_type: DecayType = "linear",
        eta_min: Annotated[Rates, AtMost("base_lr")] = 0.0,
        cycles: Count = 1,
        rewarmup: StepsFromZero = 0,
    ) -> None:
        """Checks the arguments and keeps their numbers as numpy arrays.

        Args:
          base_lr: the rate of the stable phase.
          total_steps: updates of all phases and cycles together.
          warmup: updates of the warm-up, the last of which has ``base_lr``; 0 for none.
          warmup_start_factor: the share of ``base_lr`` that the warm-up rises from.
          decay: updates of the decay in each cycle.
          decay_type: ``linear``, ``cosine``, ``sqrt`` or ``exponential``.
          eta_min: the rate one step after the decay.
          cycles: the number of times that a stable phase and a decay follow each other.
          rewarmup: updates of the warm-up, from ``eta_min``, in each cycle after the first.

        Raises:
          ConfigError: its key is the name of the invalid argument.
        """
        if cycles > total_steps:
            problem = f"{cycles} are more than total_steps ({total_steps})"
            raise ConfigError("cycles", problem, "write fewer cycles")
        size = total_steps // cycles
        _check_fit("warmup", warmup, decay, size)
        _check_fit("rewarmup", rewarmup if cycles > 1 else 0, decay, size)
        base = np.asarray(base_lr, np.float64)
        self.lr = Span(eta_min, base_lr)
        self.climb = Span(base * warmup_start_factor, base)
        self.total_steps = np.asarray(total_steps, np.uint32)
        self.cycles = np.asarray(cycles, np.uint32)
        self.warmup = np.asarray(warmup, np.uint32)
        self.rewarmup = np.asarray(rewarmup, np.uint32)
        self.decay = np.asarray(decay, np.uint32)
        self.decay_type = np.asarray(get_args(DecayType).index(decay_type), np.int32)

    @property
    def base_rate(self) -> Any:
        """``base_lr``, the rate of the stable phase."""
        return self.lr.high

    def cycle_ends(self, steps: int) -> Sequence[int]:
        """The steps at which the decays end; the last is ``total_steps``."""
        size, rest = divmod(int(self.total_steps), int(self.cycles))
        ends = range(size, min(steps, int(self.total_steps) - rest) + 1, size)
        if not rest:
            return ends
        last = [int(self.total_steps)] if self.total_steps <= steps else []
        return [*ends[: int(self.cycles) - 1], *last]

    @property
    def settled_at(self) -> int | None:
        """``total_steps``."""
        return int(self.total_steps)

    def phase_changes(self, steps: int) -> Sequence[Sequence[int]]:
        """The ends of the warm-ups, the starts of the decays, and ``total_steps``."""
        total, cycles, decay = int(self.total_steps), int(self.cycles), int(self.decay)
        size, stop, rewarmup = total // cycles, min(steps, total) + 1, int(self.rewarmup)
        rises = range(size + rewarmup, stop if rewarmup else 0, size)[: cycles - 1]
        falls = range(2 * size - decay, stop, size)[: max(cycles - 2, 0)]
        return [rises, falls, within([self.warmup, size - decay, total - decay, total], steps)]

    def _rate(self, steps: jax.Array) -> jax.Array:
        place = self._place(steps)
        first = place.cycle == 0
        climb = self.climb.at(_share(place.done, self.warmup))
        again = self.lr.at(_share(place.done, self.rewarmup))
        decay = self.lr.at(self._decayed(place.left))
        risen = jnp.where(first, climb, again)
        return jnp.where(place.left <= self.decay, decay, risen)

    def _cycle(self, steps: jax.Array) -> jax.Array:
        """The number of decays that have ended; from ``total_steps`` on, that of the last cycle."""
        return self._place(steps).cycle.astype(jnp.int32)

    def _place(self, steps: jax.Array) -> _Place:
        last = self.cycles - 1
        size = self.total_steps // self.cycles
        cycle = jnp.minimum(steps // size, last)
        end = jnp.where(cycle == last, self.total_steps, (cycle + 1) * size)
        return _Place(
            cycle=cycle, done=steps - cycle * size + 1, left=end - jnp.minimum(steps, end)
        )

    def _decayed(self, left: jax.Array) -> jax.Array:
        """The height above the end of the decay, from 0 to 1; differences are of integers."""
        length = self.decay + 1
        left = jnp.minimum(left, length)
        share = ratio(left, length)
        half = exp2m1(share / 2)
        curves = (
            share,
            half_cosine(share),
            share / (1 + jnp.sqrt(ratio(length - left, length))),  # 1 - √x without cancellation
            half * (half + 2),  # 2 ** share - 1
        )
        return jnp.select([self.decay_type == i for i in range(len(curves))], curves)


class _Place(NamedTuple):
    """The position of a step, uint32: its cycle, and the updates of it up to and from the step."""

    cycle: jax.Array
    done: jax.Array
    left: jax.Array


def _share(done: jax.Array, length: Leaf) -> jax.Array:
    """The share of a warm-up that is done; 1 if its length is 0."""
    longest = jnp.maximum(length, 1)
    return ratio(jnp.minimum(done, longest), longest)


def _check_fit(key: str, warmup: int, decay: int, cycle: int) -> None:
    if decay > cycle:
        problem = f"{decay} steps do not fit in a cycle of {cycle}"
        raise ConfigError("decay", problem, f"write at most {cycle}, or fewer cycles")
    if warmup + decay > cycle:
        problem = f"{warmup} steps and a decay of {decay} do not fit in a cycle of {cycle}"
        raise ConfigError(key, problem, f"write at most {cycle - decay}, or a shorter decay")
