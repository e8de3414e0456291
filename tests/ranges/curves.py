"""Losses of range tests in closed form."""

import numpy as np

from runner.ranges import Curve, make_curve, test_rates

START, END = 1e-7, 10.0
HIGH, FALL = 2.3, 1.8


def logistic(rates: np.ndarray, centre: float, width: float) -> np.ndarray:
    """Falls from 2.3 to 0.5; steepest where log10(rate) is ``centre``."""
    return HIGH - FALL / (1 + np.exp(-(np.log10(rates) - centre) / width))


def blow_up(rates: np.ndarray, place: float) -> np.ndarray:
    """Rises tenfold in 0.15 decades, to the height of the fall at ``place``."""
    return FALL * 10 ** np.minimum((np.log10(rates) - place) / 0.15, 6)


def curve_of(
    losses: np.ndarray, *, seed: int = 0, rates: np.ndarray | None = None, smoothing: float = 0.9
) -> Curve:
    if rates is None:
        rates = np.geomspace(START, END, len(losses))
    return make_curve(seed, rates, losses, smoothing=smoothing)


def usual(n: int = 100, *, noise: float = 0.0, seed: int = 0, shift: float = 0.0) -> np.ndarray:
    """Flat at first, steepest at 1e-2 and blown up at 0.3, both moved by ``shift`` decades."""
    rates = test_rates(START, END, n, "exponential")
    clean = logistic(rates, -2 + shift, 0.3) + blow_up(rates, -0.5 + shift)
    return clean + noise * FALL * np.random.default_rng(seed).normal(size=n)
