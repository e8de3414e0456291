"""CyclicLR: the rate runs from a low bound to a high one and back, again and again (Smith 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

from etils import epy

from runner.config.expression import ScaleFn, scale_function
from runner.config.types import (
    AtMost,
    CycleMomentum,
    Decay,
    Positive,
    PositiveRates,
    Rates,
    RefusedValueError,
    Steps,
    Whole,
)
from runner.errors import INT32_MAX, ConfigError
from runner.registry import register_scheduler
from runner.schedules.base import Schedule
from runner.schedules.numerics import WHOLE_LIMIT, Power, Span, ratio, times_two_to

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import numpy as np


class _FirstPosition(Whole):
    """A position in the schedule; PyTorch's -1 is answered with the value to write instead."""

    def check(self, value: Any, context: Any = None) -> int:
        if value == -1 and not isinstance(value, bool):
            problem = "-1 is PyTorch's way to start at the beginning"
            raise RefusedValueError(problem, "write 0, the position of the first update")
        return Whole.check(self, value, context)


FirstPosition = Annotated[int, _FirstPosition(0)]


@register_scheduler("cyclic")
class CyclicLR(Schedule, static=("scale_fn", "scale_mode", "cycles_momentum")):
    """The cyclical learning rate, in integers first and one rounding at a time.

    Cycles are counted from 0, but from 1 where a ``scale_fn`` is given their number::

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

    The rate is within 5e-7 (relative) of exact rational arithmetic at every position to 2³¹ - 1
    and to the bit base_lr at r = 0 and, where the scale is one, max_lr at the peak. The
    textbook's float32 formula is off by 0.3% of the amplitude at 10⁶ steps and by 42% at 10⁸.

    All three modes are one formula, ``scale = 2 ** -(halvings * cycle) * gamma ** position``
    with other numbers, and every number is a leaf: a sweep over bounds, step sizes, gamma and
    mode compiles once. Only ``scale_fn``, its ``scale_mode`` and ``cycle_momentum`` are structure.

    Source: L. N. Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017
    (arXiv:1506.01186), section 3; arguments and defaults as in the documentation of braintools'
    CyclicLR; PyTorch's CyclicLR, in float64, is the oracle of the tests.

    Where they differ:

    * ``last_epoch`` is the position of the first update: 10 gives update 0 the rate of position
      10. PyTorch's starts at -1, and its ``last_epoch=10`` goes on at 11.
    * ``step_size_down`` holds in every cycle; braintools ignores it after the first peak.
    * ``scale_mode`` belongs to ``scale_fn`` alone; TF-Addons lets it change the built-in modes.
    * Step sizes below one and bounds in the wrong order are errors; PyTorch takes them.
    * Momentum is cycled only if asked for, and never made up where the optimizer has none.

    A ``scale_fn`` is computed in float32, as precise as what it is made of: ``0.9999 ** x`` there
    has the rounding of 0.9999 raised to x, where ``exp_range`` has none.

    A scale above one (``gamma > 1``) takes the rate above max_lr and the momentum below
    base_momentum, as the formula says.

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
          base_lr, max_lr: the rate at the joints of cycles and at their peaks; a list gives each
            group of parameters its own.
          step_size_up, step_size_down: updates from low to high and back; None: as long as up.
          mode: ``triangular``, ``triangular2`` or ``exp_range``; ignored if there is a scale_fn.
          gamma: the factor per update of ``exp_range``.
          scale_fn: a function written in jax.numpy of a float32 array, an expression in ``x``
            (``"1 / (1 + 0.0005 * x)"``) or the name of a registered function.
          scale_mode: what scale_fn is given: the 1-based ``cycle``, or the position
            (``iterations``).
          last_epoch: the position of update 0.
          cycle_momentum, base_momentum, max_momentum: whether momentum runs against the rate,
            and between which bounds.

        Raises:
          ConfigError: its key is the name of the argument at fault.
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
        """The counts of completed updates, from 1 to ``steps``, after which the rate is base_lr.

        Plain ints in rising order, as a ``range``: short cycles in a long run cost no memory.
        """
        total = int(self.step_size_up) + int(self.step_size_down)
        return range(total - int(self.last_epoch) % total, steps + 1, total)

    def _rate(self, steps: jax.Array) -> jax.Array:
        place = self._place(steps)
        scale = self._scale(place)
        return self.lr.at(ratio(place.covered, place.length) * scale.mantissa, scale.whole)

    def _momentum(self, steps: jax.Array) -> jax.Array:
        place = self._place(steps)
        scale = self._scale(place)
        # 1 - triangle * scale, taken apart so that nothing cancels near the peak.
        rest = ratio(place.length - place.covered, place.length)
        rest = rest + ratio(place.covered, place.length) * scale.shortfall
        # Two roundings may carry it past one, which only a negative scale really does.
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
            return _Scale(mantissa=scale, whole=None, shortfall=1 - scale)
        excess, doublings = self.gamma.split(place.position)
        cycles = jnp.minimum(place.cycle, np.uint32(WHOLE_LIMIT)).astype(jnp.int32)
        whole = doublings - cycles * self.halvings
        shortfall = jnp.where(whole == 0, -excess, 1 - times_two_to(1 + excess, whole))
        return _Scale(mantissa=1 + excess, whole=whole, shortfall=shortfall)


class _Place(NamedTuple):
    """Where a step is, uint32: ``covered`` of the ``length`` of its half lie between it and low."""

    position: jax.Array
    cycle: jax.Array
    covered: jax.Array
    length: jax.Array


class _Scale(NamedTuple):
    """``mantissa * 2 ** whole``, and how much it falls short of one."""

    mantissa: jax.Array
    whole: jax.Array | None
    shortfall: jax.Array
