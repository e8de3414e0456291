"""The trend of a range test's losses: a centred smooth in log(lr), with its slope and its error."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from runner.ranges.curve import Curve

FEWEST_POINTS = 10
# Longer curves are averaged over neighbouring points: finer steps in log(lr) tell nothing more.
_MOST_POINTS = 200
# The initial loss is the mean of this share of the points, but of at least this many points.
_START_SHARE, _START_POINTS = 0.1, 3
# Bandwidths tried, in points: from one to this share of the curve.
_WIDEST_SHARE, _BANDWIDTHS = 0.1, 8
# The width of a fall is measured without this share of its height at each end. The bandwidth of
# slopes is this share of the width: about the scale parameter of a logistic fall.
_FALL_MARGIN, _SLOPE_SHARE = 0.1, 0.25
# The number of cached trends: every rule and ``choose`` need the trend of each curve.
_KEPT_TRENDS = 16
# The relative resolution of losses, which are float32 at best.
_RESOLUTION = 1e-7
# A fall or rise must exceed this many standard errors. Of curves that are noise alone, about one in
# a hundred falls further.
_SIGNIFICANT = 4.0


@dataclass(frozen=True, eq=False)
class Trend:
    """The trend of a curve at m ≤ n points.

    Attributes:
      log_rates: natural logarithms of the rates, [m].
      losses: in units of the largest absolute loss, like all attributes below, [m].
      slopes: derivative of the loss over log(lr), [m], with a bandwidth that suits the fall.
      start: the initial loss, the mean of the first points.
      start_points: the number of these points.
      start_error: standard error of ``start``.
      errors: standard error of ``losses``, [m].
      lowest: index of the lowest loss.
      steepest: index of the steepest slope during the fall.
    """

    log_rates: np.ndarray
    losses: np.ndarray
    slopes: np.ndarray
    start: float
    start_points: int
    start_error: float
    errors: np.ndarray
    lowest: int
    steepest: int

    @property
    def fall(self) -> float:
        """How far the loss falls from its start to its lowest."""
        return self.start - float(self.losses[self.lowest])

    @property
    def falls(self) -> bool:
        """Whether the loss falls beyond noise, after its first points."""
        error = float(np.hypot(self.start_error, self.errors[self.lowest]))
        return self.lowest >= self.start_points and self.fall > _SIGNIFICANT * error

    @property
    def rises(self) -> bool:
        """Whether the loss rises beyond noise after its lowest."""
        rise = float(self.losses[-1] - self.losses[self.lowest])
        return rise > _SIGNIFICANT * float(self.errors[-1])

    @property
    def rises_from_start(self) -> bool:
        """Whether the loss ends above its start, beyond noise."""
        rise = float(self.losses[-1]) - self.start
        return rise > _SIGNIFICANT * float(np.hypot(self.start_error, self.errors[-1]))

    def rate(self, index: int) -> float:
        return float(np.exp(self.log_rates[index]))


@lru_cache(maxsize=_KEPT_TRENDS)
def trend(curve: Curve) -> Trend | None:
    """The trend of ``curve``; None for fewer than ten points.

    The exponential average of a curve lags behind it, by up to decades where points are few, so
    rules use a centred smooth instead: local linear regression over the points with a Gaussian
    kernel, whose bandwidth is chosen by leave-one-out cross-validation (Fan and Gijbels 1996).
    Before that, a running median of three removes single spikes, and losses are clipped at
    ``2 * start - lowest``, so that the height of an explosion does not distort the fit.
    """
    if len(curve.losses) < FEWEST_POINTS:
        return None
    losses = curve.losses / (float(np.max(np.abs(curve.losses))) or 1.0)
    log_rates = _binned(np.log(curve.rates))
    # From the raw losses: the running median correlates neighbours, which hides noise.
    noise = _noise(_binned(losses))
    losses = _binned(_without_spikes(losses))
    start_points = max(_START_POINTS, round(_START_SHARE * len(losses)))
    start = float(np.mean(losses[:start_points]))
    losses = np.minimum(losses, start + (start - losses.min()))
    noise = max(noise, _RESOLUTION * float(np.max(np.abs(losses))))
    smooth = _smoothing_matrix(losses)
    smoothed = smooth @ losses
    lowest = int(np.argmin(smoothed))
    first, last = _fall(smoothed[: lowest + 1], start)
    slopes = _slopes(log_rates, losses, _SLOPE_SHARE * float(log_rates[last] - log_rates[first]))
    return Trend(
        log_rates=log_rates,
        losses=smoothed,
        slopes=slopes,
        start=start,
        start_points=start_points,
        start_error=noise / float(np.sqrt(start_points)),
        errors=noise * np.sqrt(np.sum(smooth**2, axis=1)),
        lowest=lowest,
        steepest=first + int(np.argmin(slopes[first : last + 1])),
    )


def _without_spikes(losses: np.ndarray) -> np.ndarray:
    """Running median of three; the first and the last loss stay."""
    triples = np.stack([losses[:-2], losses[1:-1], losses[2:]])
    return np.concatenate([losses[:1], np.median(triples, axis=0), losses[-1:]])


def _binned(values: np.ndarray) -> np.ndarray:
    """Means over as few neighbouring points as give at most 200."""
    size = -(-len(values) // _MOST_POINTS)
    edges = np.arange(0, len(values), size)
    counts = np.diff(np.append(edges, len(values)))
    return np.add.reduceat(values / counts.repeat(counts), edges)


def _fall(smoothed: np.ndarray, start: float) -> tuple[int, int]:
    """The points between which the loss passes through the middle 80% of its fall.

    Args:
      smoothed: up to its lowest.
    """
    lowest = len(smoothed) - 1
    margin = max(_FALL_MARGIN * (start - float(smoothed[lowest])), 0.0)
    before = np.flatnonzero(smoothed >= start - margin)
    first = int(before[-1]) if len(before) else 0
    after = np.flatnonzero(smoothed[first:] <= smoothed[lowest] + margin)
    return first, first + int(after[0])


def _smoothing_matrix(losses: np.ndarray) -> np.ndarray:
    """[m, m]: the local linear smoother whose bandwidth predicts left-out points best."""
    m = len(losses)
    bandwidths = np.geomspace(1.0, max(_WIDEST_SHARE * m, 1.5), _BANDWIDTHS)
    smoothers = [_local_linear(m, float(bandwidth)) for bandwidth in bandwidths]
    errors = [
        float(np.mean(((losses - smooth @ losses) / (1 - np.diag(smooth))) ** 2))
        for smooth in smoothers
    ]
    return smoothers[len(errors) - 1 - int(np.argmin(errors[::-1]))]


@lru_cache(maxsize=2 * _BANDWIDTHS)
def _local_linear(m: int, bandwidth: float) -> np.ndarray:
    """The matrix whose row i gives the local linear fit at point i from the values of all."""
    offsets = np.arange(m) - np.arange(m)[:, None]
    weights, (total, first, second) = _kernel(offsets, bandwidth)
    return weights * (second - offsets * first) / (total * second - first**2)


def _slopes(log_rates: np.ndarray, losses: np.ndarray, bandwidth: float) -> np.ndarray:
    """The slope of the local linear fit at each point, by log(lr).

    The bandwidth, in log(lr), is at least the distance of neighbours.
    """
    offsets = log_rates - log_rates[:, None]
    bandwidths = np.maximum(bandwidth, np.gradient(log_rates))[:, None]
    weights, (total, first, second) = _kernel(offsets, bandwidths)
    return (weights * (total * offsets - first) / (total * second - first**2)) @ losses


def _kernel(
    offsets: np.ndarray, bandwidth: float | np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Gaussian weights at ``offsets`` [m, m], and their moments 0 to 2 [m, 1]."""
    weights = np.exp(-0.5 * (offsets / bandwidth) ** 2)
    moments = [weights, weights * offsets, weights * offsets**2]
    return weights, [np.sum(moment, axis=1, keepdims=True) for moment in moments]


def _noise(losses: np.ndarray) -> float:
    """Standard deviation of the losses about their trend.

    Estimated from second differences, in which a straight trend cancels; their median is
    insensitive to the few points where the trend bends.
    """
    differences = losses[:-2] - 2 * losses[1:-1] + losses[2:]
    return float(np.median(np.abs(differences))) / (0.6745 * np.sqrt(6))
