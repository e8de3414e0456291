"""The check of a range test's answer by short runs at multiples of its rates."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from runner.ranges.answer import Answer, NoAnswer, Spread

MULTIPLES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""The multiples of the answer's rates that are tried first."""

# Further multiples lie within this factor of 1; they are added two at a time.
_FARTHEST = 64.0
# Scores within this many standard errors (of a difference) of the best one count as equal to it.
_EQUAL = 1.5
# Scores within this factor of the best multiple are fitted.
_WINDOW = 4.0
# Distances from the best score are clipped at this many times their median.
_FARTHEST_SCORE = 4.0
# Training collapsed at a multiple that lower and higher ones beat by this many standard errors.
_COLLAPSE = 4.0

Scores = Mapping[float, Sequence[float]]


def wanted_multiples(answer: Answer, scores: Scores, *, highest: bool) -> tuple[float, ...]:
    """Further multiples to try before ``revise``; empty if the scores suffice.

    Without scores, these are ``MULTIPLES``. If the lowest or highest multiple tried is the best and
    beats the answer beyond noise, they are the next two powers of two below or above it; if all
    runs diverged, the next two below. All multiples are within 1/64 to 64.

    Args:
      scores: multiple → the metric that ranks evaluations, one value per seed; not finite for a run
        that diverged.
      highest: whether the highest metric is best, otherwise the lowest.
    """
    if not scores:
        return MULTIPLES
    tried = sorted(scores)
    equal = _as_good_as_the_best(scores, highest=highest)
    if not equal:
        return _within((tried[0] / 2, tried[0] / 4))
    if 1.0 in equal:
        return ()
    if equal[-1] == tried[-1]:
        return _within((2 * tried[-1], 4 * tried[-1]))
    if equal[0] == tried[0]:
        return _within((tried[0] / 2, tried[0] / 4))
    return ()


def revise(answer: Answer, scores: Scores, *, highest: bool) -> Answer | NoAnswer:
    """The answer with its rates multiplied by what the short runs support, and the reason.

    There is no answer if the runs diverge even at the lowest multiple.

    A parabola is fitted to the mean score over the logarithm of the multiple, within a factor of 4
    of the best multiple (a response surface: Box and Wilson 1951). Both bounds and their spreads
    are multiplied by the vertex of the parabola, or by the nearest of these multiples if it lies
    beyond them. All runs contribute, so that the noise of a single run has little effect. Multiples
    from the first at which training is unstable are left out: a run diverged, or the mean is more
    than four standard errors below those of a lower and of a higher multiple, because a run
    collapsed. Distances from the best mean are clipped at four times their median, so that a single
    bad score does not distort the parabola. With fewer than three means, or if the parabola has no
    maximum, the bounds are multiplied by the best multiple.

    Args: as ``wanted_multiples``.
    """
    if not scores:
        return answer
    means = _means(scores, highest=highest)
    if not means:
        return NoAnswer(
            f"short runs diverge even at {min(scores):g} times the rates that the losses support",
            "check the data and the model, or set verify=false to use these rates",
        )
    factor = float(f"{_best_multiple(means):.2g}")
    unstable = min(scores.keys() - means, default=None)
    limit = "" if unstable is None else f", and are unstable from {unstable:g} times"
    if factor == 1:
        reason = f"short runs score these rates best{limit}"
        return replace(answer, reasons=(*answer.reasons, reason))
    tried = _listed(sorted(scores))
    reason = f"short runs at {tried} times these rates score best at about {factor:g} times{limit}"
    return _moved(answer, factor, f"{reason}; the rates are multiplied by {factor:g}")


def _means(scores: Scores, *, highest: bool) -> dict[float, float]:
    """Multiple → the mean score, signed so that higher is better, where training is stable."""
    sign = 1.0 if highest else -1.0
    means: dict[float, float] = {}
    for multiple, values in sorted(scores.items()):
        if not len(values) or not np.all(np.isfinite(values)):
            break
        means[multiple] = sign * float(np.mean(values))
    collapsed = (multiple for multiple in means if _collapses(multiple, means, scores))
    first = next(collapsed, math.inf)
    return {multiple: mean for multiple, mean in means.items() if multiple < first}


def _collapses(multiple: float, means: Mapping[float, float], scores: Scores) -> bool:
    """Whether the mean is lower, beyond noise, than those of a lower and of a higher multiple."""
    lower = [mean for other, mean in means.items() if other < multiple]
    higher = [mean for other, mean in means.items() if other > multiple]
    error = _standard_error([scores[other] for other in means if other != multiple])
    if not lower or not higher or error == 0:
        return False
    return min(max(lower), max(higher)) - means[multiple] > _COLLAPSE * error


def _best_multiple(means: Mapping[float, float]) -> float:
    """The multiple at the maximum of the parabola through ``means``; see ``revise``."""
    best = max(means, key=lambda multiple: (means[multiple], -abs(math.log2(multiple))))
    near = [multiple for multiple in means if 1 / _WINDOW <= multiple / best <= _WINDOW]
    if len(near) < 3:
        return best
    positions = np.log2(near)
    distances = np.array([means[best] - means[multiple] for multiple in near])
    if not np.any(distances > 0):
        return best
    distances = np.minimum(distances, _FARTHEST_SCORE * np.median(distances[distances > 0]))
    curvature, slope, _ = np.polyfit(positions, distances, 2)
    if curvature <= 0:
        return best
    lowest = -slope / (2 * curvature)
    return float(2 ** np.clip(lowest, positions[0], positions[-1]))


def _as_good_as_the_best(scores: Scores, *, highest: bool) -> list[float]:
    """The best multiple and its neighbours that are as good within noise, in increasing order.

    A multiple is as good if its mean is within 1.5 standard errors (of a difference of means) of
    the best mean; the error is pooled over the multiples. Empty if every multiple has a diverged
    run.
    """
    means = _means(scores, highest=highest)
    if not means:
        return []
    best = max(means, key=means.__getitem__)
    margin = _EQUAL * _standard_error([scores[multiple] for multiple in means])
    good = [
        multiple in means and means[multiple] >= means[best] - margin for multiple in sorted(scores)
    ]
    tried = sorted(scores)
    first = last = tried.index(best)
    while first > 0 and good[first - 1]:
        first -= 1
    while last + 1 < len(tried) and good[last + 1]:
        last += 1
    return tried[first : last + 1]


def _standard_error(samples: Sequence[Sequence[float]]) -> float:
    """Standard error of a difference of two means, from the variance pooled over ``samples``."""
    freedom = sum(len(values) - 1 for values in samples)
    if freedom == 0:
        return 0.0
    squares = sum(float(np.var(values)) * len(values) for values in samples)
    size = min(len(values) for values in samples)
    return math.sqrt(2 * squares / freedom / size)


def _moved(answer: Answer, factor: float, reason: str) -> Answer:
    def times(spread: Spread) -> Spread:
        return Spread(factor * spread.low, factor * spread.high)

    return replace(
        answer,
        base_lr=factor * answer.base_lr,
        max_lr=factor * answer.max_lr,
        base_lr_spread=times(answer.base_lr_spread),
        max_lr_spread=times(answer.max_lr_spread),
        reasons=(*answer.reasons, reason),
    )


def _listed(multiples: Sequence[float]) -> str:
    *first, last = (f"{multiple:g}" for multiple in multiples)
    return f"{', '.join(first)} and {last}" if first else last


def _within(multiples: Sequence[float]) -> tuple[float, ...]:
    return tuple(m for m in multiples if 1 / _FARTHEST <= m <= _FARTHEST)
