"""The 1cycle policy: up to a high rate, then down far below the initial one (Smith 2018)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from etils import epy

from runner.config.markers import Number
from runner.config.types import AtMost, CycleMomentum, Decay, Positive, PositiveRates, Steps
from runner.errors import ConfigError, shown
from runner.pytree import Leaf, Pytree
from runner.registry import register_scheduler
from runner.schedules.base import Schedule, within
from runner.schedules.numerics import Span, half_cosine, ratio

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import numpy as np


class Boundary(Pytree):
    """The boundary of two phases, possibly between two steps; distances to it do not cancel.

    ``before`` is the last step up to the boundary, ``short`` steps before it; the next step is
    ``past`` steps after it.
    """

    def __init__(self, place: float) -> None:
        before = int(place)
        self.before: Leaf = np.asarray(before, np.uint32)
        self.short: Leaf = np.asarray(place - before, np.float32)
        self.past: Leaf = np.asarray(before + 1 - place, np.float32)

    def until(self, steps: jax.Array) -> jax.Array:
        """The distance from ``steps``, which are not past the boundary, to it; float32."""
        return (self.before - steps).astype(jnp.float32) + self.short

    def since(self, steps: jax.Array) -> jax.Array:
        """The distance from the boundary to ``steps``, which are past it; float32."""
        return (steps - self.before - 1).astype(jnp.float32) + self.past


@register_scheduler("one_cycle")
class OneCycle(Schedule, static=("cycles_momentum",)):
    """The 1cycle policy, in two phases or three, as PyTorch's OneCycleLR computes it.

    ``path(a, b, i, k)`` goes from a at step i to b at step k; ``peak`` and ``foot`` may lie between
    two steps::

        last     = total_steps - 1
        peak     = pct_start * total_steps - 1
        foot     = 2 * peak              if three_phase
                   last                  otherwise
        initial  = max_lr / div_factor
        final    = initial / final_div_factor
        low      = initial               if three_phase
                   final                 otherwise
        t        = min(step, last)
        curve(x) = (1 - cos(π * x)) / 2  if anneal_strategy == "cos"
                   x                     otherwise
        path(a, b, i, k) = a + (b - a) * curve((t - i) / (k - i))
        rate     = path(initial, max_lr, 0, peak)                 if t <= peak
                   path(max_lr, low, peak, foot)                  if t <= foot
                   path(low, final, foot, last)                   otherwise
        momentum = path(max_momentum, base_momentum, 0, peak)     if t <= peak
                   path(base_momentum, max_momentum, peak, foot)  if t <= foot
                   max_momentum                                   otherwise

    All numbers, the phases and the strategy are leaves; only ``cycle_momentum`` is static.

    Source: L. N. Smith, N. Topin, "Super-Convergence: Very Fast Training of Neural Networks
    Using Large Learning Rates" (arXiv:1708.07120); PyTorch's OneCycleLR.

    Where they differ:

    * From ``total_steps - 1`` on the rate is ``final``. PyTorch's follows its formula for one more
      step, to below zero if it is linear, and raises after that.
    * The peak must be after step 0, and no phase may be empty; PyTorch skips a first phase that
      ends before step 0, and divides by zero if it ends at step 0.
    * ``div_factor`` below one, or a final rate above the highest one, is an error.
    * optax's cosine_onecycle_schedule and braintools peak one step later and end differently.

    Each phase is computed from its lower end, so that a small rate is not a difference of large
    ones.

    >>> from runner.schedules import OneCycle
    >>> schedule = OneCycle(max_lr=1.0, total_steps=10, div_factor=2, final_div_factor=4)
    >>> [float(schedule(step)) for step in (0, 1, 2, 9, 100)]
    [0.5, 0.75, 1.0, 0.125, 0.125]
    >>> list(schedule.cycle_ends(20))
    [10]
    """

    def __init__(
        self,
        *,
        max_lr: PositiveRates,
        total_steps: Steps,
        pct_start: Annotated[float, Number(gt=0, lt=1)] = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        three_phase: bool = False,
        div_factor: Annotated[float, Number(ge=1)] = 25.0,
        final_div_factor: Positive = 1e4,
        cycle_momentum: CycleMomentum = True,
        base_momentum: Annotated[Decay, AtMost("max_momentum")] = 0.85,
        max_momentum: Decay = 0.95,
    ) -> None:
        """Checks the arguments and keeps their numbers as numpy arrays.

        Args:
          max_lr: the rate at the peak.
          total_steps: updates of the cycle; the last one has the final rate.
          pct_start: the share of ``total_steps`` in which the rate rises, above 0 and below 1.
          anneal_strategy: ``cos`` or ``linear``.
          three_phase: whether the descent is as long as the rise, before a third phase.
          div_factor: ``max_lr`` divided by the initial rate.
          final_div_factor: the initial rate divided by the final rate.
          cycle_momentum, base_momentum, max_momentum: whether the momentum cycles inversely to
            the rate, and its bounds.

        Raises:
          ConfigError: its key is the name of the invalid argument.
        """
        _check_final(final_div_factor, 1 if three_phase else div_factor, three_phase)
        _check_phases(total_steps, pct_start, three_phase)
        top = np.asarray(max_lr, np.float64)
        initial = top / div_factor
        final = initial / final_div_factor
        last = total_steps - 1
        peak = pct_start * total_steps - 1
        descended = 2 * peak if three_phase else last
        self.climb = Span(initial, top)
        self.descent = Span(initial if three_phase else final, top)
        self.ending = Span(final, initial if three_phase else final)
        self.peak = Boundary(peak)
        self.descended = Boundary(descended)
        self.total_steps = np.asarray(total_steps, np.uint32)
        self.lengths = np.array([peak, descended - peak, max(last - descended, 1)], np.float32)
        self.cosine = np.asarray(anneal_strategy == "cos")
        self.momenta = Span(base_momentum, max_momentum)
        self.cycles_momentum = cycle_momentum

    @property
    def base_rate(self) -> Any:
        """The initial rate."""
        return self.climb.low

    @property
    def settled_at(self) -> int | None:
        """The last step of the cycle."""
        return int(self.total_steps) - 1

    def cycle_ends(self, steps: int) -> Sequence[int]:
        """``total_steps`` alone, if the run is that long."""
        return range(int(self.total_steps), steps + 1)[:1]

    def phase_changes(self, steps: int) -> Sequence[Sequence[int]]:
        """The first step after each phase."""
        last = int(self.total_steps) - 1
        ends = [int(boundary.before) + 1 for boundary in (self.peak, self.descended)]
        return [within([*ends, last], min(steps, last))]

    def _rate(self, steps: jax.Array) -> jax.Array:
        last = self.total_steps - 1
        done = jnp.minimum(steps, last)
        climb, descent, ending = jnp.unstack(self.lengths)
        up = self.climb.at(self._curve(done.astype(jnp.float32), climb))
        down = self.descent.at(self._curve(self.descended.until(done), descent))
        out = self.ending.at(self._curve((last - done).astype(jnp.float32), ending))
        return self._by_phase(done, up, down, out)

    def _momentum(self, steps: jax.Array) -> jax.Array:
        climb, descent, _ = jnp.unstack(self.lengths)
        down = self.momenta.at(self._curve(self.peak.until(steps), climb))
        up = self.momenta.at(self._curve(self.peak.since(steps), descent))
        return self._by_phase(steps, down, up, self.momenta.high)

    def _by_phase(
        self, steps: jax.Array, climb: jax.Array, descent: jax.Array, ending: Leaf
    ) -> jax.Array:
        """The value of the phase that each step is in."""
        later = jnp.where(steps <= self.descended.before, descent, ending)
        return jnp.where(steps <= self.peak.before, climb, later)

    def _curve(self, covered: Leaf, length: Leaf) -> jax.Array:
        """The share of a phase's height, from its lower end; unused outside the phase."""
        share = jnp.minimum(ratio(covered, length), 1)
        return jnp.where(self.cosine, half_cosine(share), share)


def _check_final(final_div_factor: float, div_factor: float, three_phase: bool) -> None:
    if final_div_factor * div_factor < 1:
        start = "the initial rate, where the last phase starts" if three_phase else "max_lr"
        problem = f"{shown(final_div_factor)} makes the final rate higher than {start}"
        raise ConfigError("final_div_factor", problem, "write a larger one")


def _check_phases(total_steps: int, pct_start: float, three_phase: bool) -> None:
    """Every phase must have at least one step."""
    peak, last = pct_start * total_steps - 1, total_steps - 1
    if peak <= 0:
        problem = f"{total_steps} is too short: the peak would be at step {peak:.3g}"
        least = math.floor(1 / pct_start) + 1
        higher = f", or pct_start above {1 / total_steps:.3g}" if total_steps > 1 else ""
        raise ConfigError("total_steps", problem, f"write at least {least}{higher}")
    if (2 * peak if three_phase else peak) >= last:
        phases = "the first two phases take" if three_phase else "the first phase takes"
        problem = f"{pct_start} is too large: {phases} all of the {total_steps} steps"
        raise ConfigError("pct_start", problem, "write a smaller share")
