"""Compares rules for reading a rate off range tests whose steepest descent is known.

Curves are logistic falls in log10(lr) that end in a blow-up, under noise. Prints, for each rule, by
which factor its rate misses the steepest descent: the median and the 90% quantile over seeds,
shapes and lengths. Rules of other libraries are applied to the same losses, smoothed and trimmed
as in the library. valley, slide and minimum/10 aim at other points of the curve and are listed for
comparison.

    python benchmarks/range_rules.py [--seeds 200]
"""

import argparse
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from runner.ranges import RULES, make_curve, test_rates

NOISES = (0.02, 0.1, 0.2)  # of the fall
LENGTHS = (100, 1000)
START, FALL = 2.3, 1.8
# The required factors by which ``steepest`` may miss, as median and as 90% quantile.
REQUIRED = (2.0, 5.0)

Rule = Callable[[np.ndarray, np.ndarray], float | None]


@dataclass(frozen=True)
class Shape:
    """A logistic fall in log10(lr), and the place where the blow-up is as high as the fall.

    decline: how much further the loss falls over the whole range, as training proceeds.
    """

    centre: float
    width: float
    blow_up: float
    decline: float = 0.0

    def losses(self, rates: np.ndarray) -> np.ndarray:
        x = np.log10(rates)
        fall = FALL / (1 + np.exp(-(x - self.centre) / self.width))
        blow_up = FALL * 10 ** np.minimum((x - self.blow_up) / 0.15, 6)
        return START - fall + blow_up - self.decline * (x - x[0]) / (x[-1] - x[0])


SHAPES = {
    "narrow": Shape(centre=-3, width=0.15, blow_up=-2),
    "usual": Shape(centre=-2, width=0.3, blow_up=-0.5),
    "wide": Shape(centre=-2.5, width=0.5, blow_up=0.5),
    "declining": Shape(centre=-4, width=0.4, blow_up=-1.5, decline=0.3),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Compares rules on curves of known descent.")
    parser.add_argument("--seeds", type=int, default=200)
    seeds = parser.parse_args().seeds
    cells = list(itertools.product(SHAPES, NOISES, LENGTHS))
    misses = {cell: missed(*cell, seeds=seeds) for cell in cells}
    rules = list(misses[cells[0]])
    print(f"factor to the steepest descent, median and 90%; {seeds} seeds; -: no rate")
    print(f"{'rule':30}" + "".join(f"{f'noise {noise:g}':>22}" for noise in NOISES))
    for rule in rules:
        columns = (
            np.concatenate([misses[cell][rule] for cell in cells if cell[1] == noise])
            for noise in NOISES
        )
        print(f"{rule:30}" + "".join(f"{shown(column):>22}" for column in columns))
    worst = [
        max((quantile(misses[cell]["runner steepest"], share), cell) for cell in cells)
        for share in (0.5, 0.9)
    ]
    for name, most, (factor, cell) in zip(("median", "90%"), REQUIRED, worst, strict=True):
        verdict = "met" if factor <= most else "missed"
        print(f"runner steepest, worst {name}: {factor:.2f} at {cell}: {verdict} ({most:g})")


def missed(shape: str, noise: float, n: int, *, seeds: int) -> dict[str, np.ndarray]:
    """The factor by which each rule misses, [seeds]; infinite where it has no rate."""
    rates = test_rates(1e-7, 10, n, "exponential")
    truth = 10 ** SHAPES[shape].centre
    clean = SHAPES[shape].losses(rates)
    factors: dict[str, list[float]] = {}
    for seed in range(seeds):
        random = np.random.default_rng([seed, n])
        losses = clean + noise * FALL * random.normal(size=n)
        curve = make_curve(seed, rates, losses, smoothing=0.9)
        found = {f"runner {name}": rule(curve) for name, rule in RULES.items()}
        found |= {name: rule(rates, losses) for name, rule in PEERS.items()}
        for name, rate in found.items():
            factor = np.inf if rate is None else max(rate / truth, truth / rate)
            factors.setdefault(name, []).append(factor)
    return {name: np.array(values) for name, values in factors.items()}


def quantile(factors: np.ndarray, share: float) -> float:
    return float(np.quantile(factors, share, method="higher"))


def shown(factors: np.ndarray) -> str:
    return " ".join(
        f"{factor:10,.2f}" if np.isfinite(factor) else f"{'-':>10}"
        for factor in (quantile(factors, 0.5), quantile(factors, 0.9))
    )


def averaged(losses: np.ndarray, beta: float, factor: float, *, corrected: bool) -> np.ndarray:
    """Exponential average of ``losses`` until it exceeds ``factor`` times its lowest.

    Without bias correction, the average starts at the first loss.
    """
    kept: list[float] = []
    average, lowest = 0.0 if corrected else losses[0], np.inf
    for step, loss in enumerate(losses):
        average = beta * average + (1 - beta) * loss
        kept.append(average / (1 - beta ** (step + 1)) if corrected else average)
        if kept[-1] > factor * lowest:
            break
        lowest = min(lowest, kept[-1])
    return np.array(kept)


def lightning(rates: np.ndarray, losses: np.ndarray, *, by_rate: bool) -> float | None:
    """``_LRFinder.suggestion(skip_begin=10, skip_end=1)``, lightning/pytorch/tuner/lr_finder.py.

    The gradient is taken over the rate; in earlier versions, over the points.
    """
    smoothed = averaged(losses, 0.98, 4, corrected=True)[10:-1]
    rates = rates[10:][: len(smoothed)]
    if len(smoothed) < 2:
        return None
    gradient = np.gradient(smoothed, rates) if by_rate else np.gradient(smoothed)
    return float(rates[np.argmin(gradient)])


def torch_lr_finder(rates: np.ndarray, losses: np.ndarray) -> float | None:
    """``LRFinder.plot(skip_start=10, skip_end=5)``, torch_lr_finder/lr_finder.py."""
    smoothed = averaged(losses, 0.95, 5, corrected=False)[10:-5]
    return float(rates[10:][np.argmin(np.gradient(smoothed))]) if len(smoothed) > 1 else None


def fastai(rule: Rule) -> Rule:
    """Trims and smooths as ``Learner.lr_find``, fastai/callback/schedule.py."""

    def applied(rates: np.ndarray, losses: np.ndarray) -> float | None:
        smoothed = averaged(losses, 0.98, 4, corrected=True)
        skipped = len(rates) // 10
        smoothed = smoothed[skipped:-5]
        return rule(rates[skipped:][: len(smoothed)], smoothed) if len(smoothed) > 20 else None

    return applied


def steep(rates: np.ndarray, losses: np.ndarray) -> float:
    return float(rates[np.argmin(np.diff(losses) / np.diff(np.log(rates)))])


def minimum(rates: np.ndarray, losses: np.ndarray) -> float:
    return float(rates[np.argmin(losses)]) / 10


def valley(rates: np.ndarray, losses: np.ndarray) -> float:
    lengths = np.ones(len(losses), int)
    for i in range(1, len(losses)):
        lengths[i] = 1 + np.max(lengths[:i], initial=0, where=losses[:i] > losses[i])
    end = int(np.argmax(lengths))
    start = end - int(lengths[end])
    section = (end - start) / 3
    return float(rates[start + int(section) + int(section / 2)])


def slide(rates: np.ndarray, losses: np.ndarray) -> float:
    gradient = np.gradient(losses)
    right, left = -1, -16
    rate = rates[left]
    while left >= -len(losses) and abs(gradient[right] - gradient[left]) > 0.005:
        rate = rates[left]
        right, left = right - 1, left - 1
    return float(rate)


PEERS: dict[str, Rule] = {
    "Lightning": lambda rates, losses: lightning(rates, losses, by_rate=True),
    "Lightning, over points": lambda rates, losses: lightning(rates, losses, by_rate=False),
    "torch-lr-finder": torch_lr_finder,
    "fastai steep": fastai(steep),
    "fastai valley": fastai(valley),
    "fastai slide": fastai(slide),
    "fastai minimum/10": fastai(minimum),
}

if __name__ == "__main__":
    main()
