"""The trend of a range test's losses: a centred smooth in log(lr), with its slope and its error."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from runner.ranges.curve import Curve

FEWEST_POINTS = 10
# Longer curves are averaged over neighbouring points: finer steps in log(lr) tell nothing more.
_MOST_POINTS = 200
# The share of the points, and at least how many, whose mean is the level that the loss starts at.
_START_SHARE, _START_POINTS = 0.1, 3
# Bandwidths tried, in points: from one to this share of the curve.
_WIDEST_SHARE, _BANDWIDTHS = 0.1, 8
# The ends of a fall that are left out to find its width, as shares of its height, and the bandwidth
# of slopes as a share of that width: for a logistic fall about its scale.
_FALL_MARGIN, _SLOPE_SHARE = 0.1, 0.25
# A fall or rise must exceed this many standard errors: the largest of 200 correlated deviations
# reaches three by chance.
_SIGNIFICANT = 4.0


@dataclass(frozen=True, eq=False)
class Trend:
    """The trend of a curve at m ≤ n points.

    Attributes:
      log_rates: natural logarithms of the rates, [m].
      losses: [m].
      slopes: derivative of the loss by log(lr), [m]; the fit is as wide as suits the fall.
      start: the level that the loss starts at.
      errors: standard error of ``losses``, [m].
      lowest: index of the lowest loss.
      steepest: index of the steepest slope during the fall.
    """

    log_rates: np.ndarray
    losses: np.ndarray
    slopes: np.ndarray
    start: float
    errors: np.ndarray
    lowest: int
    steepest: int

    @property
    def fall(self) -> float:
        """How far the loss falls from its start to its lowest."""
        return self.start - float(self.losses[self.lowest])

    @property
    def falls(self) -> bool:
        """Whether the loss falls beyond noise."""
        return self.fall > _SIGNIFICANT * float(self.errors[self.lowest])

    @property
    def rises(self) -> bool:
        """Whether the loss rises beyond noise after its lowest."""
        rise = float(self.losses[-1] - self.losses[self.lowest])
        return rise > _SIGNIFICANT * float(self.errors[-1])

    @property
    def rises_from_start(self) -> bool:
        """Whether the loss ends above its start, beyond noise."""
        rise = float(self.losses[-1]) - self.start
        return rise > _SIGNIFICANT * float(self.errors[-1])

    def rate(self, index: int) -> float:
        return float(np.exp(self.log_rates[index]))


def trend(curve: Curve) -> Trend | None:
    """The trend of ``curve``; None for fewer than ten points.

    The exponential average of a curve lags behind it, by up to decades where points are few, so
    rules use a centred smooth instead: local linear regression over the points with a Gaussian
    kernel, whose bandwidth is chosen by leave-one-out cross-validation (Fan and Gijbels 1996).
    Before that, a running median of three removes single spikes, and losses are limited to as far
    above the start as the lowest is below it: how far a loss explodes must not bend the rest.
    """
    if len(curve.losses) < FEWEST_POINTS:
        return None
    log_rates, losses = _binned(np.log(curve.rates), _without_spikes(curve.losses))
    m = len(losses)
    start = float(np.median(losses[: max(_START_POINTS, round(_START_SHARE * m))]))
    # Dividing first keeps differences of the largest floats finite.
    unit = float(np.max(np.abs(losses))) or 1.0
    losses, start = losses / unit, start / unit
    losses = np.minimum(losses, start + (start - losses.min()))
    smooth = _smoothing_matrix(losses)
    smoothed = smooth @ losses
    lowest = int(np.argmin(smoothed))
    first, last = _fall(smoothed[: lowest + 1], start)
    slopes = _slopes(losses, (last - first) * _SLOPE_SHARE) / np.gradient(log_rates)
    return Trend(
        log_rates=log_rates,
        losses=smoothed * unit,
        slopes=slopes * unit,
        start=start * unit,
        errors=_noise(losses) * unit * np.sqrt(np.sum(smooth**2, axis=1)),
        lowest=lowest,
        steepest=first + int(np.argmin(slopes[first : last + 1])),
    )


def _without_spikes(losses: np.ndarray) -> np.ndarray:
    """Running median of three; the first and the last loss stay."""
    if len(losses) < 3:
        return losses
    triples = np.stack([losses[:-2], losses[1:-1], losses[2:]])
    return np.concatenate([losses[:1], np.median(triples, axis=0), losses[-1:]])


def _binned(log_rates: np.ndarray, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    size = -(-len(losses) // _MOST_POINTS)
    if size == 1:
        return log_rates, losses
    edges = np.arange(0, len(losses), size)
    counts = np.diff(np.append(edges, len(losses)))
    return (
        np.add.reduceat(log_rates, edges) / counts,
        np.add.reduceat(losses / counts.repeat(counts), edges),
    )


def _fall(smoothed: np.ndarray, start: float) -> tuple[int, int]:
    """The points between which the loss passes through the middle 80% of its fall.

    Args:
      smoothed: up to its lowest.
    """
    lowest = len(smoothed) - 1
    margin = _FALL_MARGIN * (start - smoothed[lowest])
    before = np.flatnonzero(smoothed >= start - margin)
    first = int(before[-1]) if len(before) else 0
    after = np.flatnonzero(smoothed[first:] <= smoothed[lowest] + margin)
    return first, first + int(after[0])


def _smoothing_matrix(losses: np.ndarray) -> np.ndarray:
    """[m, m]: the local linear smoother of the bandwidth that predicts points left out best."""
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


def _slopes(losses: np.ndarray, bandwidth: float) -> np.ndarray:
    """The slope of the local linear fit at each point, by the number of the point."""
    offsets = np.arange(len(losses)) - np.arange(len(losses))[:, None]
    weights, (total, first, second) = _kernel(offsets, max(bandwidth, 1.0))
    return (weights * (total * offsets - first) / (total * second - first**2)) @ losses


def _kernel(offsets: np.ndarray, bandwidth: float) -> tuple[np.ndarray, list[np.ndarray]]:
    """Gaussian weights at ``offsets`` [m, m], and their moments 0 to 2 [m, 1]."""
    weights = np.exp(-0.5 * (offsets / bandwidth) ** 2)
    moments = [weights, weights * offsets, weights * offsets**2]
    return weights, [np.sum(moment, axis=1, keepdims=True) for moment in moments]


def _noise(losses: np.ndarray) -> float:
    """Standard deviation of the losses about their trend.

    From second differences, which a straight trend does not enter; their median is not moved by
    the few points where the trend bends.
    """
    differences = losses[:-2] - 2 * losses[1:-1] + losses[2:]
    return float(np.median(np.abs(differences))) / (0.6745 * np.sqrt(6))
