"""The trend of a range test's losses: a centred smooth in log(lr), with its slope and its error."""

from dataclasses import dataclass

import numpy as np

from runner.ranges.curve import Curve

FEWEST_POINTS = 10
# Longer curves are averaged over neighbouring points: finer steps in log(lr) tell nothing more.
_MOST_POINTS = 200
# The share of the points, and at least how many, whose mean is the level that the loss starts at.
_START_SHARE, _START_POINTS = 0.1, 3
# Bandwidths tried, in points: from one to this share of the curve.
_WIDEST_SHARE, _BANDWIDTHS = 0.1, 8
# A fall or rise must exceed this many standard errors: the largest of 200 correlated deviations
# reaches three by chance.
_SIGNIFICANT = 4.0


@dataclass(frozen=True, eq=False)
class Trend:
    """The trend of a curve at m ≤ n points.

    Attributes:
      log_rates: natural logarithms of the rates, [m].
      losses: [m].
      slopes: derivative of the loss by log(lr), [m].
      start: the level that the loss starts at.
      errors: standard error of ``losses``, [m].
      lowest: index of the lowest loss.
    """

    log_rates: np.ndarray
    losses: np.ndarray
    slopes: np.ndarray
    start: float
    errors: np.ndarray
    lowest: int

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
    noise = _noise(losses)
    return Trend(
        log_rates=log_rates,
        losses=smoothed * unit,
        slopes=np.gradient(smoothed, log_rates) * unit,
        start=start * unit,
        errors=noise * unit * np.sqrt(np.sum(smooth**2, axis=1)),
        lowest=int(np.argmin(smoothed)),
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


def _smoothing_matrix(losses: np.ndarray) -> np.ndarray:
    """[m, m]: the local linear smoother of the bandwidth that predicts points left out best."""
    m = len(losses)
    widest = max(_WIDEST_SHARE * m, 1.5)
    best, chosen = np.inf, np.eye(m)
    for bandwidth in np.geomspace(1.0, widest, _BANDWIDTHS):
        smooth = _local_linear(m, float(bandwidth))
        left_out = (losses - smooth @ losses) / (1 - np.diag(smooth))
        score = float(np.mean(left_out**2))
        if score <= best:
            best, chosen = score, smooth
    return chosen


def _local_linear(m: int, bandwidth: float) -> np.ndarray:
    """The matrix whose row i gives the local linear fit at point i from the values of all."""
    offsets = np.arange(m) - np.arange(m)[:, None]
    weights = np.exp(-0.5 * (offsets / bandwidth) ** 2)
    first = np.sum(weights * offsets, axis=1, keepdims=True)
    second = np.sum(weights * offsets**2, axis=1, keepdims=True)
    weights = weights * (second - offsets * first)
    return weights / np.sum(weights, axis=1, keepdims=True)


def _noise(losses: np.ndarray) -> float:
    """Standard deviation of the losses about their trend.

    From second differences, which a straight trend does not enter; their median is not moved by
    the few points where the trend bends.
    """
    differences = losses[:-2] - 2 * losses[1:-1] + losses[2:]
    return float(np.median(np.abs(differences))) / (0.6745 * np.sqrt(6))
