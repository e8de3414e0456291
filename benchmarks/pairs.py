"""Times two ways to do the same work in turns and prints the ratio of their speeds.

On a shared machine the speed drifts: the two times of a pair are comparable, those of different
pairs are not. Quote the median of the pairs' ratios, with the range.
"""

import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import jax

# The seconds of one run.
Timed = Callable[[], float]


@dataclass(frozen=True)
class Side:
    """Work that is timed when called.

    prepare: makes what ``run`` takes, outside the time.
    run: does the work; the time ends when all arrays that it returns are computed.
    """

    prepare: Callable[[], Any]
    run: Callable[[Any], Any]

    def __call__(self) -> float:
        prepared = jax.block_until_ready(self.prepare())
        started = perf_counter()
        jax.block_until_ready(self.run(prepared))
        return perf_counter() - started


def compare(name: str, ours: Timed, bare: Timed, *, steps: int, pairs: int) -> None:
    """Measures both sides ``pairs`` times and prints the ratio of their speeds."""
    print(f"{name}: compiling", file=sys.stderr, flush=True)
    pair_seconds = ours() + bare()
    ratios, speeds = [], {ours: [], bare: []}
    for pair in range(pairs):
        left = f"about {pair_seconds * (pairs - pair):.0f} s left"
        print(f"{name}: pair {pair + 1} of {pairs}, {left}", file=sys.stderr, flush=True)
        seconds = in_turns(pair, ours, bare)
        pair_seconds = sum(seconds)
        ratios.append(seconds[1] / seconds[0])
        for side, taken in zip((ours, bare), seconds, strict=True):
            speeds[side].append(steps / taken)
    print(
        f"{name}: {statistics.median(ratios):.3f} of bare {spread(ratios, 3)}; steps/s: runner "
        f"{shown(statistics.median(speeds[ours]))}, bare {shown(statistics.median(speeds[bare]))}",
        flush=True,
    )


def in_turns(pair: int, *sides: Timed) -> list[float]:
    """The seconds of each side; every second pair runs them in the opposite order."""
    numbers = range(len(sides)) if pair % 2 == 0 else reversed(range(len(sides)))
    seconds = {number: sides[number]() for number in numbers}
    return [seconds[number] for number in range(len(sides))]


def spread(ratios: list[float], digits: int) -> str:
    """The range of the ratios of pairs, and their number."""
    low, high = (f"{value:.{digits}f}" for value in (min(ratios), max(ratios)))
    return f"(pairs {low} to {high}, n={len(ratios)})"


def shown(speed: float) -> str:
    return f"{speed:,.0f}" if speed >= 100 else f"{speed:.3g}"
