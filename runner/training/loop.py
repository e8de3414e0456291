"""The loop: chunk after chunk of steps on the device, and what the host does between them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from runner.data.feed import HOST_CHUNK_BYTES, Feed
from runner.training.program import Metrics, Program
from runner.training.state import Hyper, TrainState

# In steps: long enough that a dispatch costs nothing, short enough to answer to a signal.
FIRST_CHUNK = 32
LONGEST_CHUNK = 1024
CHUNK_SECONDS = 0.2


class Recorder(Protocol):
    """Who hears of what happened; its methods return before the device has finished."""

    @property
    def steps_per_second(self) -> float | None: ...
    def chunk(self, start: int, count: int, metrics: Metrics) -> None: ...
    def evaluation(self, step: int, metrics: Metrics) -> None: ...
    def raise_failure(self) -> None: ...


@dataclass(frozen=True)
class Plan:
    """How far a run goes and where the host steps in.

    steps: updates of the whole run.
    eval_every: updates between evaluations, None for the one at the end alone.
    chunk: most updates of a chunk, or ``auto``: as many as take about a fifth of a second.
    """

    steps: int
    eval_every: int | None
    chunk: int | Literal["auto"]

    def next_count(self, step: int, *, capacity: int, steps_per_second: float | None) -> int:
        """Length of the chunk that starts at ``step``: it ends where an evaluation is due."""
        count = self.chunk
        if count == "auto":
            pace = steps_per_second
            count = FIRST_CHUNK if pace is None else int(CHUNK_SECONDS * pace)
        due = self.steps - step
        if self.eval_every is not None:
            due = min(due, self.eval_every - step % self.eval_every)
        return min(max(1, count), due, capacity)

    def evaluates_at(self, step: int) -> bool:
        return step == self.steps or (self.eval_every is not None and step % self.eval_every == 0)


def train(
    program: Program,
    state: TrainState,
    hyper: Hyper,
    feed: Feed,
    *,
    plan: Plan,
    recorder: Recorder,
    stopping: Callable[[], bool],
) -> TrainState:
    """Runs from ``state`` to the plan's end, or to the end of the chunk in which to stop.

    Where the chunks begin and end never changes a result. The next chunk is sent to the device
    before the last one's metrics are fetched.

    Raises:
      DivergedError: the recorder met a loss that is not finite.
    """
    capacity = rows_per_chunk(feed)
    step = int(state.step)
    while step < plan.steps and not stopping():
        count = plan.next_count(step, capacity=capacity, steps_per_second=recorder.steps_per_second)
        rows = feed.rows(step, count, capacity=capacity)
        state, metrics = program.train_chunk(state, hyper, feed.train_source, rows, np.int32(count))
        recorder.chunk(step, count, metrics)
        step += count
        if plan.evaluates_at(step):
            metrics = program.evaluate(state, feed.test_source, feed.evaluation_rows())
            recorder.evaluation(step, metrics)
        recorder.raise_failure()
    return state


def rows_per_chunk(feed: Feed) -> int:
    """Rows the program is compiled for: a matter of shapes alone, so that any chunk shares it."""
    return max(1, min(LONGEST_CHUNK, HOST_CHUNK_BYTES // feed.row_bytes()))
