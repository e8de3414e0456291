"""One cycle: up to a high rate, down again, and far below where it began (Smith 2018)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from runner.checks.cycles import check_one_cycle
from runner.checks.values import resolved
from runner.registry import register_scheduler
from runner.schedules.base import STRUCTURE, Rates, as_steps, compiled, fill, pytree
from runner.schedules.share import half_cosine, ratio
from runner.schedules.span import Span


@pytree
@dataclass(frozen=True, init=False, eq=False)
class Joint:
    """A place between two steps where phases meet; distances to it do not cancel.

    ``before`` is the last step that is not past it, which lies ``short`` steps before it, and the
    step after that one lies ``past`` steps behind it.
    """

    before: np.ndarray | jax.Array
    short: np.ndarray | jax.Array
    past: np.ndarray | jax.Array

    def __init__(self, place: float) -> None:
        before = int(place)
        fill(
            self,
            before=np.asarray(before, np.uint32),
            short=np.asarray(place - before, np.float32),
            past=np.asarray(before + 1 - place, np.float32),
        )

    def until(self, steps: jax.Array) -> jax.Array:
        """The distance of steps that are not past the joint to it, float32."""
        return (jnp.asarray(self.before) - steps).astype(jnp.float32) + jnp.asarray(self.short)

    def since(self, steps: jax.Array) -> jax.Array:
        """The distance of steps past the joint from it, float32."""
        beyond = (steps - jnp.asarray(self.before) - 1).astype(jnp.float32)
        return beyond + jnp.asarray(self.past)


@register_scheduler("one_cycle")
@pytree
@dataclass(frozen=True, init=False, eq=False)
class OneCycle:
    """The 1cycle policy, in two phases or three, as PyTorch's OneCycleLR computes it.

    With ``path(a, b, i, k)`` the way from a at step i to b at step k, and ``peak`` and ``foot``
    steps, not necessarily whole ones::

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

    All numbers are leaves, and so are phases and strategy; only ``cycle_momentum`` is structure.

    Source: L. N. Smith, N. Topin, "Super-Convergence: Very Fast Training of Neural Networks
    Using Large Learning Rates" (arXiv:1708.07120); PyTorch's OneCycleLR.

    Where they differ:

    * From ``total_steps - 1`` on the rate is ``final``. PyTorch's goes on along its formula for
      one step, below zero where it is linear, and raises after that.
    * The peak must lie after step 0, and no phase may be empty; PyTorch skips a climb that ends
      before step 0, and divides by zero where it ends there.
    * ``div_factor`` below one, or a final rate above the highest one, is an error.
    * optax's cosine_onecycle_schedule and braintools have the peak one step later and other ends.

    Every phase is computed from its lower end, so that no small rate is a difference of large ones.

    >>> from runner.schedules import OneCycle
    >>> schedule = OneCycle(max_lr=1.0, total_steps=10, div_factor=2, final_div_factor=4)
    >>> [float(schedule(step)) for step in (0, 1, 2, 9, 100)]
    [0.5, 0.75, 1.0, 0.125, 0.125]
    >>> list(schedule.cycle_ends(20))
    [10]
    """

    climb: Span
    descent: Span
    ending: Span
    peak: Joint
    descended: Joint
    total_steps: np.ndarray | jax.Array
    lengths: np.ndarray | jax.Array
    cosine: np.ndarray | jax.Array
    momenta: Span
    cycles_momentum: bool = field(metadata=STRUCTURE)

    def __init__(
        self,
        *,
        max_lr: Rates,
        total_steps: int,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        three_phase: bool = False,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
    ) -> None:
        """Checks the arguments and keeps their numbers as numpy arrays.

        Args:
          max_lr: the rate at the peak.
          total_steps: updates of the cycle; the last of them has the final rate.
          pct_start: the share of them that the climb takes, above 0 and below 1.
          anneal_strategy: ``cos`` or ``linear``.
          three_phase: whether the descent is as long as the climb and a third phase follows.
          div_factor: how many times lower than ``max_lr`` the first rate is.
          final_div_factor: how many times lower than the first rate the last one is.
          cycle_momentum, base_momentum, max_momentum: whether momentum runs against the rate,
            and between which bounds.

        Raises:
          ConfigError: its key is the name of the argument at fault.
        """
        check_one_cycle(
            max_lr=max_lr,
            total_steps=total_steps,
            pct_start=pct_start,
            anneal_strategy=anneal_strategy,
            three_phase=three_phase,
            div_factor=div_factor,
            final_div_factor=final_div_factor,
            cycle_momentum=cycle_momentum,
            base_momentum=base_momentum,
            max_momentum=max_momentum,
        )
        resolved(total_steps=total_steps)
        top = np.asarray(max_lr, np.float64)
        initial = top / div_factor
        final = initial / final_div_factor
        last = int(total_steps) - 1
        peak = float(pct_start) * int(total_steps) - 1
        descended = 2 * peak if three_phase else last
        fill(
            self,
            climb=Span(initial, top),
            descent=Span(initial if three_phase else final, top),
            ending=Span(final, initial if three_phase else final),
            peak=Joint(peak),
            descended=Joint(descended),
            total_steps=np.asarray(total_steps, np.uint32),
            lengths=np.array([peak, descended - peak, max(last - descended, 1)], np.float32),
            cosine=np.asarray(anneal_strategy == "cos"),
            momenta=Span(base_momentum, max_momentum),
            cycles_momentum=cycle_momentum,
        )

    def __call__(self, step: ArrayLike) -> jax.Array:
        """The rate of update ``step``, float32 of ``step``'s shape (of a list's, see Schedule)."""
        return _rate(self, as_steps(step))

    def momentum(self, step: ArrayLike) -> jax.Array:
        """The momentum of update ``step``, float32; ValueError unless ``cycles_momentum``."""
        if not self.cycles_momentum:
            raise ValueError("this OneCycle sets no momentum; make it with cycle_momentum=True")
        return _momentum(self, as_steps(step))

    def cycle(self, step: ArrayLike) -> jax.Array:
        """0: there is one cycle."""
        return jnp.zeros(as_steps(step).shape, jnp.int32)

    def cycle_ends(self, steps: int) -> Sequence[int]:
        """``total_steps`` alone, if the run is that long."""
        return range(int(self.total_steps), steps + 1)[:1]


@compiled
def _rate(schedule: OneCycle, steps: jax.Array) -> jax.Array:
    last = jnp.asarray(schedule.total_steps) - 1
    done = jnp.minimum(steps, last)
    climb, descent, ending = jnp.unstack(jnp.asarray(schedule.lengths))
    up = schedule.climb.at(_curve(schedule, done.astype(jnp.float32), climb))
    down = schedule.descent.at(_curve(schedule, schedule.descended.until(done), descent))
    out = schedule.ending.at(_curve(schedule, (last - done).astype(jnp.float32), ending))
    return _by_phase(schedule, done, up, down, out)


@compiled
def _momentum(schedule: OneCycle, steps: jax.Array) -> jax.Array:
    climb, descent, _ = jnp.unstack(jnp.asarray(schedule.lengths))
    down = schedule.momenta.at(_curve(schedule, schedule.peak.until(steps), climb))
    up = schedule.momenta.at(_curve(schedule, schedule.peak.since(steps), descent))
    return _by_phase(schedule, steps, down, up, jnp.asarray(schedule.momenta.high))


def _by_phase(schedule: OneCycle, steps: jax.Array, *values: jax.Array) -> jax.Array:
    """Of the values in the climb, the descent and the last phase the one that holds."""
    climb, descent, ending = values
    later = jnp.where(steps <= jnp.asarray(schedule.descended.before), descent, ending)
    return jnp.where(steps <= jnp.asarray(schedule.peak.before), climb, later)


def _curve(schedule: OneCycle, covered: jax.Array, length: jax.Array) -> jax.Array:
    """How far from the lower end of a phase; what lies outside of the phase is never selected."""
    share = jnp.minimum(ratio(covered, length), 1)
    return jnp.where(jnp.asarray(schedule.cosine), half_cosine(share), share)
