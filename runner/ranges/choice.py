"""The choice of a cycle's bounds and step size from the curves of a range test."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from runner.ranges.answer import LONGEST, SHORTEST, Answer, NoAnswer, Spread
from runner.ranges.curve import Curve
from runner.ranges.trend import FEWEST_POINTS, Trend, trend

# max_lr is this many times below the rate where the loss is lowest or training breaks down.
_SAFETY = 3.0
# In shares of the whole fall: the loss has stopped falling once it is this close to its lowest
# value, and has begun to fall once it is this far below its start.
_FLAT_SHARE = 0.05
_BEGUN_SHARE = 0.1
# The limits of max_lr / base_lr.
_NARROWEST, _WIDEST = 4.0, 25.0
# Half a cycle takes this many epochs for each factor of ten between the bounds.
_EPOCHS_PER_DECADE = 2.0

_TOO_FEW = NoAnswer(
    f"the curve has fewer than {FEWEST_POINTS} points",
    "lower start_lr, raise the steps of the range test, or lower end_lr if spacing is linear",
)
_RISES = NoAnswer(
    "the loss rises without having fallen",
    "lower start_lr, raise the steps of the range test, lower end_lr if spacing is linear, or "
    "check the data and the model",
)
_NEVER_FALLS = NoAnswer(
    "no learning rate in the range lowers the loss beyond its noise",
    "widen the range, raise the steps of the range test, or check the data and the model",
)
_FALLS_EARLIER = NoAnswer(
    f"the loss is lowest within a factor of {_SAFETY * _NARROWEST:.0f} of the lowest rate",
    "lower start_lr",
)
_STILL_FALLS = NoAnswer(
    "the loss still falls at the highest rate, so the range does not reach the upper bound",
    "raise end_lr",
)


@dataclass(frozen=True)
class _Bounds:
    """The bounds that one curve supports.

    edge: the rate where the loss is lowest or stops falling, or where the test stopped earlier.
    begins: the rate where the loss begins to fall.
    rises: whether the loss rises at the end, or the test stopped because of that.
    """

    base_lr: float
    max_lr: float
    edge: float
    begins: float
    rises: bool


def choose(curves: Sequence[Curve]) -> Answer | NoAnswer:
    """Chooses ``base_lr``, ``max_lr`` and a step size from range test curves, one per seed.

    Smith (2017, section 3.3) takes ``base_lr`` where the accuracy begins to increase and
    ``max_lr`` where it slows down, becomes ragged or falls. Here, for each seed:

    1. The losses are smoothed over log(lr), with standard errors (``trend``). An exponential
       average would lag behind, and slopes over lr instead of log(lr) would favour the lowest
       rates.
    2. The trend must fall by more than four standard errors. Otherwise there is no answer: the
       loss rises without having fallen, or no rate lowers it.
    3. The edge is the rate of the trend's lowest point; higher rates do more harm than good. If the
       loss never rises, the edge is where the last 5% of the fall begins. If the loss still falls
       at the end of the range, there is no answer. If the test stopped while the trend fell, the
       edge is the last rate.
    4. ``max_lr`` is a third of the edge. A range test passes each rate once, so the loss also falls
       because training proceeds, and a rate that is too high does harm only after some updates:
       both shift the lowest loss to higher rates.
    5. ``base_lr`` is where a tenth of the fall has passed and the fall exceeds the noise, limited
       to at least ``max_lr / 25``, the start of a one-cycle policy (Smith and Topin 2018), and at
       most ``max_lr / 4``, the narrowest range that Smith (2017) recommends. If that is below the
       first rate, there is no answer.

    Each bound is the median over the seeds, in log(lr); its spread is their lowest and highest
    value. Seeds without bounds are left out and named; if fewer than half of the seeds have bounds,
    there is no answer, for the most common reason. Half a cycle takes two epochs for each factor of
    ten between the bounds, at least 2 and at most 10; results depend little on its length (Smith
    2017).

    Raises:
      ValueError: without curves.
    """
    if not curves:
        raise ValueError("a range test needs at least one curve")
    results = [(curve, _bounds(curve)) for curve in curves]
    found = [result for _, result in results if isinstance(result, _Bounds)]
    missing = [(c.seed, result) for c, result in results if isinstance(result, NoAnswer)]
    if 2 * len(found) < len(results):
        (commonest, _), *_ = Counter(result for _, result in missing).most_common(1)
        return commonest
    base_lr = _median([bounds.base_lr for bounds in found])
    max_lr = _median([bounds.max_lr for bounds in found])
    return Answer(
        base_lr=base_lr,
        max_lr=max_lr,
        step_size_epochs=_step_size(base_lr, max_lr),
        base_lr_spread=_spread([bounds.base_lr for bounds in found]),
        max_lr_spread=_spread([bounds.max_lr for bounds in found]),
        reasons=(*_reasons(found), *_left_out(missing), *_early_stops(curves, max_lr)),
    )


def _bounds(curve: Curve) -> _Bounds | NoAnswer:
    found = trend(curve)
    if found is None:
        return _TOO_FEW
    if not found.falls:
        rises = curve.stopped or found.rises_from_start
        return _RISES if rises else _NEVER_FALLS
    rises = curve.stopped or found.rises
    if not rises and _falls_at_end(found):
        return _STILL_FALLS
    edge = found.rate(found.lowest if rises else _levels_off(found))
    max_lr = edge / _SAFETY
    if max_lr / _NARROWEST < curve.rates[0]:
        return _FALLS_EARLIER
    begins = found.rate(_begins_to_fall(found))
    base_lr = min(max(begins, max_lr / _WIDEST), max_lr / _NARROWEST)
    return _Bounds(base_lr, max_lr, edge, begins, rises)


def _falls_at_end(found: Trend) -> bool:
    """Whether the loss falls beyond noise over the last tenth of the curve."""
    m = len(found.losses)
    first = m - max(m // 10, 2)
    fall = float(found.losses[first] - found.losses[-1])
    noise = float(np.hypot(found.errors[first], found.errors[-1]))
    return fall > max(_FLAT_SHARE * found.fall, 2 * noise)


def _levels_off(found: Trend) -> int:
    """The first point from which the loss stays close to its lowest value."""
    level = found.losses[found.lowest] + _FLAT_SHARE * found.fall
    above = np.flatnonzero(found.losses[: found.lowest + 1] > level)
    return int(above[-1]) + 1 if len(above) else 0


def _begins_to_fall(found: Trend) -> int:
    """The first point from which the loss stays below its start, up to the lowest point."""
    fallen = np.maximum(_BEGUN_SHARE * found.fall, 2 * found.errors)
    above = np.flatnonzero((found.losses > found.start - fallen)[: found.lowest + 1])
    return min(int(above[-1]) + 1, found.lowest) if len(above) else 0


def _step_size(base_lr: float, max_lr: float) -> float:
    """Epochs of half a cycle, rounded to a half."""
    epochs = _EPOCHS_PER_DECADE * math.log10(max_lr / base_lr)
    return min(max(round(2 * epochs) / 2, SHORTEST), LONGEST)


def _reasons(found: Sequence[_Bounds]) -> tuple[str, ...]:
    edge, begins = (_median([getattr(b, name) for b in found]) for name in ("edge", "begins"))
    rising = 2 * sum(bounds.rises for bounds in found) >= len(found)
    event = "is lowest" if rising else "stops falling"
    return (
        f"the loss begins to fall at {begins:.2g} and {event} at {edge:.2g}",
        f"max_lr is a third of {edge:.2g}; base_lr is between max_lr / {_WIDEST:.0f} and max_lr / "
        f"{_NARROWEST:.0f}, as close as possible to where the loss begins to fall",
    )


def _left_out(missing: Sequence[tuple[int, NoAnswer]]) -> tuple[str, ...]:
    return tuple(f"seed {seed} is left out: {result.reason}" for seed, result in missing)


def _early_stops(curves: Sequence[Curve], max_lr: float) -> tuple[str, ...]:
    """A warning for each seed whose test stopped below ``max_lr``."""
    return tuple(
        f"the loss of seed {curve.seed} diverges at {curve.rates[-1]:.2g}, below max_lr"
        for curve in curves
        if curve.stopped and len(curve.rates) and curve.rates[-1] < max_lr
    )


def _median(values: Sequence[float]) -> float:
    """The median in log(lr); of two middle values, their geometric mean."""
    return float(np.exp(np.median(np.log(values))))


def _spread(values: Sequence[float]) -> Spread:
    return Spread(min(values), max(values))
