"""The interface through which training reports metrics and states."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import numpy as np

from runner.training.state import TrainState

Metrics = Mapping[str, jax.Array]


@dataclass(frozen=True, eq=False)
class Evaluations:
    """The evaluations within a chunk; arrays may still be under computation.

    after: how many steps of the chunk precede each evaluation, in increasing order.
    metrics: scalars by tag, arrays [capacity]; those of an evaluation after n steps are at n - 1.
    best: the number of steps of the chunk before the best evaluation, the first among equals, int32
      scalar; 0 if there is none.
    best_state: the state that it evaluated.
    """

    after: Sequence[int]
    metrics: Metrics
    best: jax.Array
    best_state: TrainState

    def parts(self, length: int) -> Iterator[tuple[slice, Mapping[str, Any] | None]]:
        """Splits a chunk of ``length`` steps at its evaluations; waits for the device.

        Yields, for each evaluation, the steps since the previous one, as a slice of the chunk, and
        its scalars by tag. Steps after the last evaluation come last, with None for scalars.
        """
        metrics = {tag: np.asarray(values) for tag, values in self.metrics.items()}
        first = 0
        for end in self.after:
            yield slice(first, end), {tag: values[end - 1] for tag, values in metrics.items()}
            first = end
        if first < length:
            yield slice(first, length), None


class Listener(Protocol):
    """Receives metrics during training; may return before the device has computed them."""

    @property
    def steps_per_second(self) -> float | None: ...
    def chunk(self, start: int, length: int, metrics: Metrics) -> None: ...
    def evaluation(self, step: int, metrics: Metrics) -> None: ...
    def wants_state(self, step: int, *, evaluated: bool) -> bool: ...
    def state(self, step: int, state: TrainState) -> None: ...
    def raise_failure(self) -> None: ...

    def evaluated_chunk(
        self, start: int, length: int, metrics: Metrics, evaluations: Evaluations
    ) -> None:
        """Receives a chunk with evaluations part by part; waits for the device."""
        for place, found in evaluations.parts(length):
            part: Any = {tag: np.asarray(values)[place] for tag, values in metrics.items()}
            self.chunk(start + place.start, place.stop - place.start, part)
            if found is not None:
                self.evaluation(start + place.stop, found)
