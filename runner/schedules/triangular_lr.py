"""The symmetric CyclicLR with one step size."""

from __future__ import annotations

from typing import Annotated

from runner.config.signature import checked
from runner.config.types import AtMost, CycleMomentum, Decay, HalfCycle, PositiveRates, Rates
from runner.registry import register_scheduler
from runner.schedules.cyclic import CyclicLR, FirstPosition


@register_scheduler("triangular_lr")
@checked
def triangular_lr(
    *,
    base_lr: Annotated[Rates, AtMost("max_lr")] = 1e-3,
    max_lr: PositiveRates = 1e-2,
    step_size: HalfCycle = 2000,
    last_epoch: FirstPosition = 0,
    cycle_momentum: CycleMomentum = False,
    base_momentum: Annotated[Decay, AtMost("max_momentum")] = 0.8,
    max_momentum: Decay = 0.9,
) -> CyclicLR:
    """A ``CyclicLR`` whose half cycles are both ``step_size`` updates long.

    ::

        r        = (step + last_epoch) % (2 * step_size)
        triangle = min(r, 2 * step_size - r) / step_size
        rate     = base_lr + (max_lr - base_lr) * triangle
        momentum = max_momentum - (max_momentum - base_momentum) * triangle

    Source: L. N. Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017
    (arXiv:1506.01186), section 3.1, where ``step_size`` is called stepsize.

    >>> from runner.schedules import triangular_lr
    >>> schedule = triangular_lr(base_lr=0.25, max_lr=1.25, step_size=2)
    >>> [float(schedule(step)) for step in range(5)]
    [0.25, 0.75, 1.25, 0.75, 0.25]

    Raises:
      ConfigError: its key is the name of the invalid argument.
    """
    return CyclicLR(
        base_lr=base_lr,
        max_lr=max_lr,
        step_size_up=step_size,
        last_epoch=last_epoch,
        cycle_momentum=cycle_momentum,
        base_momentum=base_momentum,
        max_momentum=max_momentum,
    )
