"""The rules by which one rate is read off a range test's curve."""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from runner.ranges.curve import Curve
from runner.ranges.trend import Trend, trend

_SLIDE_SHARE = 0.15  # fastai: 15 points of 100
_SLIDE_THRESHOLD = 0.005  # fastai: change of the loss per point, at 100 points and a fall of 1


@dataclass(frozen=True)
class RuleSpread:
    """The rate of a rule over the seeds; None if the rule finds no rate for any seed."""

    rule: str
    median: float | None
    low: float | None
    high: float | None


def steepest(curve: Curve) -> float | None:
    """The rate where the loss falls fastest in log(lr).

    As in fastai's ``steep``; Lightning takes the slope over the rate, torch-lr-finder over the
    points. Only slopes in the middle 80% of the fall count.
    """
    found = _falling(curve)
    return found and found.rate(found.steepest)


def valley(curve: Curve) -> float | None:
    """The middle of the longest fall: half its length before its end (fastai, ``valley``).

    The longest fall is the longest decreasing subsequence of the losses; its number of points is
    used as the width of the valley.
    """
    found = _falling(curve)
    if found is None:
        return None
    end, length = _longest_fall(found.losses)
    start = max(end - length, 0)
    section = (end - start) / 3
    return found.rate(start + int(section) + int(section / 2))


def minimum_over_10(curve: Curve) -> float | None:
    """A tenth of the rate of the lowest loss (fastai, ``minimum``), if it is in the range."""
    found = _falling(curve)
    if found is None:
        return None
    rate = found.rate(found.lowest) / 10
    return rate if rate >= curve.rates[0] else None


def slide(curve: Curve) -> float | None:
    """The lower end of a window that slides down from the highest rate (fastai, ``slide``).

    The window is 15% of the points wide and stops where the loss changes equally fast at both ends.
    fastai's threshold for equality, 0.005 per point, is scaled by the fall and to 100 points.
    """
    found = _falling(curve)
    if found is None:
        return None
    changes = np.gradient(found.losses)
    last, width = len(changes) - 1, round(_SLIDE_SHARE * len(changes))
    threshold = _SLIDE_THRESHOLD * found.fall * 100 / len(changes)
    left = last - width
    lower = left
    while left >= 0 and abs(changes[left + width] - changes[left]) > threshold:
        lower = left
        left -= 1
    return found.rate(lower)


RULES: Mapping[str, Callable[[Curve], float | None]] = {
    "steepest": steepest,
    "valley": valley,
    "minimum/10": minimum_over_10,
    "slide": slide,
}


def table(curves: Sequence[Curve]) -> tuple[RuleSpread, ...]:
    """The rate of every rule, as median, lowest and highest over the seeds that have one."""
    return tuple(_spread(name, [rule(curve) for curve in curves]) for name, rule in RULES.items())


def _spread(rule: str, rates: Sequence[float | None]) -> RuleSpread:
    found = [rate for rate in rates if rate is not None]
    if not found:
        return RuleSpread(rule, None, None, None)
    return RuleSpread(rule, float(np.median(found)), min(found), max(found))


def _falling(curve: Curve) -> Trend | None:
    """The trend of the curve if the loss falls beyond noise; otherwise, no rule finds a rate."""
    found = trend(curve)
    return found if found is not None and found.falls else None


def _longest_fall(losses: np.ndarray) -> tuple[int, int]:
    """Index of the end, and length, of the longest decreasing subsequence; the first of several.

    ``ends[k]`` is minus the highest loss at which a subsequence of length k + 1 may end.
    """
    ends: list[float] = []
    end, length = 0, 0
    for index, loss in enumerate(losses):
        place = bisect_left(ends, -loss)
        ends[place : place + 1] = [-loss]
        if place + 1 > length:
            end, length = index, place + 1
    return end, length
