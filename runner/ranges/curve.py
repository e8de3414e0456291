"""The curve of a range test: its rates, its losses, and where it stops."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

STOP_FACTOR = 4.0


@dataclass(frozen=True, eq=False)
class Curve:
    """The losses of a range test of one seed, up to the point where the test stops.

    Attributes:
      seed: the seed of the run.
      rates: the learning rate of each update, float64 [n], rising.
      losses: the loss of each update, float64 [n], finite.
      smoothed: bias-corrected exponential average of ``losses``, float64 [n].
      stopped: whether the test stopped before its last rate, because the loss rose too far or was
        not finite.
    """

    seed: int
    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    stopped: bool


def test_rates(
    start: float, end: float, n: int, spacing: Literal["exponential", "linear"]
) -> np.ndarray:
    """The ``n`` learning rates of a range test, float64 [n]; the first and last are exact.

    Exponential: ``start * (end / start) ** (i / (n - 1))``. Linear: ``start + (end - start) * i /
    (n - 1)``.

    Raises:
      ValueError: unless ``0 < start < end`` and ``n >= 2``.
    """
    if not 0 < start < end < math.inf:
        raise ValueError(f"start and end must satisfy 0 < start < end, got {start} and {end}")
    if n < 2:
        raise ValueError(f"a range test needs at least 2 points, got {n}")
    if spacing == "exponential":
        rates = np.geomspace(start, end, n, dtype=np.float64)
    else:
        rates = np.linspace(start, end, n, dtype=np.float64)
    rates[0], rates[-1] = start, end
    return rates


class Smoother:
    """Smooths losses one by one and says when the range test should stop.

    The average of n losses with ``smoothing`` β weights the loss k updates ago by β**k and divides
    by the sum of the weights, as Adam corrects its moments (Kingma and Ba 2015, section 3). The
    test stops at a loss that is not finite, which is not kept, and after one that lifts the average
    above ``stop_factor`` times its lowest value so far, which is kept: it shows the rise. Where the
    lowest average is not positive, it may rise by ``stop_factor - 1`` times its fall from the first
    loss.

    Attributes:
      smoothed: the average after each loss kept.
      stopped: whether the test should stop; further losses are ignored.
    """

    def __init__(self, smoothing: float, stop_factor: float = STOP_FACTOR) -> None:
        """Raises ``ValueError`` unless ``0 <= smoothing < 1`` and ``stop_factor > 1``."""
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing must be at least 0 and below 1, got {smoothing}")
        if not stop_factor > 1:
            raise ValueError(f"stop_factor must be greater than 1, got {stop_factor}")
        self.smoothing = smoothing
        self.stop_factor = stop_factor
        self.smoothed: list[float] = []
        self.stopped = False
        self._weight = 0.0
        self._lowest = math.inf

    def add(self, loss: float) -> bool:
        """Adds the loss of the next update; returns whether it is kept."""
        if self.stopped or not math.isfinite(loss):
            self.stopped = True
            return False
        # The sum of the weights of all losses so far, relative to that of the newest.
        self._weight = 1 + self.smoothing * self._weight
        share = 1 / self._weight
        previous = self.smoothed[-1] if self.smoothed else 0.0
        self.smoothed.append(previous * (1 - share) + loss * share)
        self._lowest = min(self._lowest, self.smoothed[-1])
        self.stopped = self.smoothed[-1] > self._highest_allowed()
        return True

    def _highest_allowed(self) -> float:
        if self._lowest > 0:
            return self.stop_factor * self._lowest
        return self._lowest + (self.stop_factor - 1) * (self.smoothed[0] - self._lowest)


def make_curve(
    seed: int,
    rates: Sequence[float] | np.ndarray,
    losses: Sequence[float] | np.ndarray,
    *,
    smoothing: float,
    stop_factor: float = STOP_FACTOR,
) -> Curve:
    """Smooths and cuts the losses of a range test as ``Smoother`` does.

    Args:
      rates: [n], positive and rising.
      losses: [m], those of the first m rates; a test that stopped early has fewer.

    Raises:
      ValueError: if the rates are not positive and rising, or fewer than the losses.
    """
    rates = np.asarray(rates, np.float64)
    if not (np.all(rates > 0) and np.all(np.diff(rates) > 0)):
        raise ValueError("the rates of a range test must be positive and rising")
    if len(losses) > len(rates):
        raise ValueError(f"{len(losses)} losses were given for {len(rates)} rates")
    smoother = Smoother(smoothing, stop_factor)
    kept = 0
    for loss in losses:
        if not smoother.add(float(loss)):
            break
        kept += 1
    return Curve(
        seed=seed,
        rates=rates[:kept],
        losses=np.asarray(losses[:kept], np.float64),
        smoothed=np.array(smoother.smoothed, np.float64),
        stopped=smoother.stopped or kept < len(rates),
    )
