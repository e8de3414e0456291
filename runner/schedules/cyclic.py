"""CyclicLR: the rate cycles between a lower and an upper bound (Smith 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

from etils import epy

from runner.config.expression import ScaleFn, scale_function
from runner.config.markers import Whole
from runner.config.types import AtMost, CycleMomentum, Decay, Positive, PositiveRates, Rates, Steps
from runner.errors import INT32_MAX, ConfigError
from runner.registry import register_scheduler
from runner.schedules.base import Schedule
from runner.schedules.numerics import EXPONENT_LIMIT, Power, Span, ldexp, ratio

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import numpy as np


class _FirstPosition(Whole):
    """A position in the schedule; the error for PyTorch's -1 says what to write instead."""

    def check(self, value: Any, context: Any = None) -> int:
        if value == -1 and not isinstance(value, bool):
            problem = "-1 is PyTorch's value for starting at the beginning"
            raise ConfigError("", problem, "write 0, the position of the first update")
        return Whole.check(self, value, context)


FirstPosition = Annotated[int, _FirstPosition(0)]


@register_scheduler("cyclic")
class CyclicLR(Schedule, static=("scale_fn", "scale_mode", "cycles_momentum")):
    """The cyclical learning rate policy, computed in integers as far as possible.

    Cycles are counted from 0; a ``scale_fn`` gets the cycle counted from 1::

        position = step + last_epoch
        total    = step_size_up + step_size_down
        cycle    = position // total
        r        = position % total
        triangle = r / step_size_up              if r <= step_size_up
                   (total - r) / step_size_down  otherwise
        x        = cycle + 1                     if scale_mode == "cycle"
                   position                      otherwise
        scale    = scale_fn(x)                   if scale_fn
                   0.5 ** cycle                  if mode == "triangular2"
                   gamma ** position             if mode == "exp_range"
                   1                             otherwise
        rate     = base_lr + (max_lr - base_lr) * triangle * scale
        swing    = max_momentum - base_momentum
        momentum = max_momentum - swing * triangle * scale

    The relative error against exact rational arithmetic is at most 5e-7 at every position up to
    2³¹ - 1. The rate is exactly ``base_lr`` at r = 0 and, where the scale is one, exactly
    ``max_lr`` at the peak. The textbook formula in float32 is off by 0.3% of the amplitude at 10⁶
    steps and by 42% at 10⁸.

    All three modes share one formula, ``scale = 2 ** -(halvings * cycle) * gamma ** position``,
    and every number in it is a leaf: a sweep over bounds, step sizes, gamma and mode compiles
    once. Only ``scale_fn``, its ``scale_mode`` and ``cycle_momentum`` are static.

    Source: L. N. Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017
    (arXiv:1506.01186), section 3; arguments and defaults as in the documentation of braintools'
    CyclicLR; tested against PyTorch's CyclicLR in float64.

    Where they differ:

    * ``last_epoch`` is the position of the first update: 10 gives update 0 the rate of position
      10. PyTorch's starts at -1, and its ``last_epoch=10`` continues at 11.
    * ``step_size_down`` applies to every cycle; braintools ignores it after the first peak.
    * ``scale_mode`` affects only ``scale_fn``; in TF-Addons it also changes the built-in modes.
    * Step sizes below one and bounds in the wrong order are errors; PyTorch accepts them.
    * Momentum is cycled only with ``cycle_momentum``, and never added to an optimizer without it.

    A ``scale_fn`` is evaluated in float32: in ``0.9999 ** x`` the rounding error of 0.9999 grows
    with x, which ``exp_range`` avoids.

    A scale above one (``gamma > 1``) takes the rate above ``max_lr`` and the momentum below
    ``base_momentum``, as the formula says.

    >>> from runner.schedules import CyclicLR
    >>> schedule = CyclicLR(base_lr=0.25, max_lr=1.25, step_size_up=2, mode="triangular2")
    >>> [float(schedule(step)) for step in range(9)]
    [0.25, 0.75, 1.25, 0.75, 0.25, 0.5, 0.75, 0.5, 0.25]
    >>> list(schedule.cycle_ends(9))
    [4, 8]
    """

    def __init__(
        self,
        *,
        base_lr: Annotated[Rates, AtMost("max_lr")] = 1e-3,
        max_lr: PositiveRates = 1e-2,
        step_size_up: Steps = 2000,
        step_size_down: Steps | None = None,
        mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
        gamma: Positive = 1.0,
        scale_fn: ScaleFn | None = None,
        scale_mode: Literal["cycle", "iterations"] = "cycle",
        last_epoch: FirstPosition = 0,
        cycle_momentum: CycleMomentum = False,
        base_momentum: Annotated[Decay, AtMost("max_momentum")] = 0.8,
        max_momentum: Decay = 0.9,
    ) -> None:
        """Checks the arguments and keeps their numbers as numpy arrays; starts no jax backend.

        Args:
          base_lr, max_lr: the rates where cycles begin and where they peak; a list has one for
            each parameter group.
          step_size_up, step_size_down: updates from ``base_lr`` to ``max_lr`` and back; if
            ``step_size_down`` is None, it equals ``step_size_up``.
          mode: ``triangular``, ``triangular2`` or ``exp_range``; ignored if there is a scale_fn.
          gamma: the factor per update of ``exp_range``.
          scale_fn: a jax.numpy function of a float32 array, an expression in ``x``
            (``"1 / (1 + 0.0005 * x)"``) or the name of a registered function.
          scale_mode: the argument of scale_fn: the 1-based ``cycle``, or the position
            (``iterations``).
          last_epoch: the position of update 0.
          cycle_momentum, base_momentum, max_momentum: whether the momentum cycles inversely to
            the rate, and its bounds.

        Raises:
          ConfigError: its key is the name of the invalid argument.
        """
        step_size_down = step_size_up if step_size_down is None else step_size_down
        if step_size_up + step_size_down > INT32_MAX:
            total = step_size_up + step_size_down
            problem = f"a cycle of step_size_up + step_size_down = {total} steps is too long"
            remedy = f"write step sizes that add up to at most {INT32_MAX}"
            raise ConfigError("step_size_up", problem, remedy)
        decays = mode == "exp_range" and scale_fn is None
        halves = mode == "triangular2" and scale_fn is None
        self.lr = Span(base_lr, max_lr)
        self.step_size_up = np.asarray(step_size_up, np.uint32)
        self.step_size_down = np.asarray(step_size_down, np.uint32)
        self.last_epoch = np.asarray(last_epoch, np.uint32)
        self.halvings = np.asarray(halves, np.int32)
        self.gamma = Power(gamma if decays else 1.0)
        self.momenta = Span(base_momentum, max_momentum)
        self.scale_fn = None if scale_fn is None else scale_function(scale_fn)
        self.scale_mode = None if scale_fn is None else scale_mode
        self.cycles_momentum = cycle_momentum

    @property
    def base_rate(self) -> Any:
        """``base_lr``, the low bound."""
        return self.lr.low

    def cycle_ends(self, steps: int) -> Sequence[int]:
        """The steps, from 1 to ``steps``, at which the rate is back at ``base_lr``.

        A ``range``, so that short cycles in a long run take no memory.
        """
        total = int(self.step_size_up) + int(self.step_size_down)
        return range(total - int(self.last_epoch) % total, steps + 1, total)

    def phase_changes(self, steps: int) -> Sequence[Sequence[int]]:
        """The peaks, where the rate is at ``max_lr`` before scaling."""
        up, total = int(self.step_size_up), int(self.step_size_up) + int(self.step_size_down)
        return [range((up - int(self.last_epoch) - 1) % total + 1, steps + 1, total)]

    def _rate(self, steps: jax.Array) -> jax.Array:
        place = self._place(steps)
        scale = self._scale(place)
        return self.lr.at(ratio(place.covered, place.length) * scale.mantissa, scale.exponent)

    def _momentum(self, steps: jax.Array) -> jax.Array:
        place = self._place(steps)
        scale = self._scale(place)
        # 1 - triangle * scale, rearranged so that nothing cancels near the peak.
        rest = ratio(place.length - place.covered, place.length)
        rest = rest + ratio(place.covered, place.length) * scale.shortfall
        # Rounding may take it slightly above one; in exact arithmetic only a negative scale does.
        rest = jnp.where(scale.shortfall <= 1, jnp.minimum(rest, 1), rest)
        return self.momenta.at(rest)

    def _cycle(self, steps: jax.Array) -> jax.Array:
        return self._place(steps).cycle.astype(jnp.int32)

    def _place(self, steps: jax.Array) -> _Place:
        up, down = self.step_size_up, self.step_size_down
        total = up + down
        position = steps + self.last_epoch
        cycle = position // total
        r = position - cycle * total
        rising = r <= up
        return _Place(
            position=position,
            cycle=cycle,
            covered=jnp.where(rising, r, total - r),
            length=jnp.where(rising, up, down),
        )

    def _scale(self, place: _Place) -> _Scale:
        if self.scale_fn is not None:
            counted = place.cycle + 1 if self.scale_mode == "cycle" else place.position
            scale = jnp.asarray(self.scale_fn(counted.astype(jnp.float32)), jnp.float32)
            return _Scale(mantissa=scale, exponent=None, shortfall=1 - scale)
        excess, doublings = self.gamma.split(place.position)
        cycles = jnp.minimum(place.cycle, np.uint32(EXPONENT_LIMIT)).astype(jnp.int32)
        exponent = doublings - cycles * self.halvings
        shortfall = jnp.where(exponent == 0, -excess, 1 - ldexp(1 + excess, exponent))
        return _Scale(mantissa=1 + excess, exponent=exponent, shortfall=shortfall)


class _Place(NamedTuple):
    """The position of a step, uint32: ``covered`` steps from low in a half cycle of ``length``."""

    position: jax.Array
    cycle: jax.Array
    covered: jax.Array
    length: jax.Array


class _Scale(NamedTuple):
    """``mantissa * 2 ** exponent`` (None for 0), and ``shortfall``, one minus that."""

    mantissa: jax.Array
    exponent: jax.Array | None
    shortfall: jax.Array
