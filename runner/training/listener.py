"""What training tells while it runs, and to whom."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import numpy as np

from runner.training.state import TrainState

Metrics = Mapping[str, jax.Array]


@dataclass(frozen=True, eq=False)
class Rounds:
    """The outcome of a dispatch; arrays may still be under computation.

    lengths: the steps of each round, and ``evaluated``: whether an evaluation follows them.
    metrics: of the steps of all rounds, arrays by tag [capacity].
    evaluations: scalars by tag, arrays [rounds] of which only those ``evaluated`` are set.
    best: the number of the round with the best evaluation, the first among equals, int32 scalar;
      -1 if there is none.
    best_state: the state after that round.
    """

    lengths: Sequence[int]
    evaluated: Sequence[bool]
    metrics: Metrics
    evaluations: Metrics
    best: jax.Array
    best_state: TrainState

    def parts(self, start: int) -> Iterator[tuple[int, slice, Mapping[str, Any] | None]]:
        """The first step of each round, its place in ``metrics``, and its evaluation.

        Waits for the device.
        """
        evaluations = {tag: np.asarray(values) for tag, values in self.evaluations.items()}
        first = 0
        for number, length in enumerate(self.lengths):
            found = {tag: values[number] for tag, values in evaluations.items()}
            place = slice(first, first + length)
            yield start + first, place, found if self.evaluated[number] else None
            first += length


class Listener(Protocol):
    """Receives metrics during training; its methods need not wait for the device."""

    @property
    def steps_per_second(self) -> float | None: ...
    def chunk(self, start: int, length: int, metrics: Metrics) -> None: ...
    def evaluation(self, step: int, metrics: Metrics) -> None: ...
    def wants_state(self, step: int, *, evaluated: bool) -> bool: ...
    def state(self, step: int, state: TrainState) -> None: ...
    def raise_failure(self) -> None: ...

    def rounds(self, start: int, rounds: Rounds) -> None:
        """Receives rounds as chunks and evaluations; waits for the device."""
        for first, place, found in rounds.parts(start):
            metrics: Any = {tag: np.asarray(c)[place] for tag, c in rounds.metrics.items()}
            self.chunk(first, place.stop - place.start, metrics)
            if found is not None:
                self.evaluation(first + place.stop - place.start, found)
