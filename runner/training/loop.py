"""The training loop: chunks of steps on the device, and what the host does between them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from runner.data.feed import HOST_CHUNK_BYTES, Feed
from runner.training.evaluation import evaluate
from runner.training.program import Metrics, scan_chunk, step_chunk
from runner.training.state import Hyperparams, Static, TrainState

# In steps: long enough that a dispatch costs little, short enough to react to a signal.
FIRST_CHUNK = 32
LONGEST_CHUNK = 1024
CHUNK_SECONDS = 0.2

Dispatch = Literal["scan", "step"]


class Listener(Protocol):
    """Receives metrics while training goes on; its methods do not wait for the device."""

    @property
    def steps_per_second(self) -> float | None: ...
    def chunk(self, start: int, length: int, metrics: Metrics) -> None: ...
    def evaluation(self, step: int, metrics: Metrics) -> None: ...
    def raise_failure(self) -> None: ...


@dataclass(frozen=True)
class Plan:
    """The length of a run, and when the host intervenes.

    steps: updates of the whole run.
    eval_every: updates between evaluations, or None to evaluate at the end only.
    chunk: the most updates in a chunk, or ``auto`` for as many as take about 0.2 s.
    dispatch: ``scan`` for one dispatch per chunk, ``step`` for one per update.
    """

    steps: int
    eval_every: int | None
    chunk: int | Literal["auto"]
    dispatch: Dispatch

    def chunk_length(self, step: int, *, capacity: int, steps_per_second: float | None) -> int:
        """Steps of the chunk that starts at ``step``; it ends where an evaluation is due."""
        length = self.chunk
        if length == "auto":
            pace = steps_per_second
            length = FIRST_CHUNK if pace is None else int(CHUNK_SECONDS * pace)
        due = self.steps - step
        if self.eval_every is not None:
            due = min(due, self.eval_every - step % self.eval_every)
        return min(max(1, length), due, capacity)

    def evaluates_at(self, step: int) -> bool:
        return step == self.steps or (self.eval_every is not None and step % self.eval_every == 0)


def train(
    static: Static,
    state: TrainState,
    hyperparams: Hyperparams,
    feed: Feed,
    *,
    plan: Plan,
    listener: Listener,
    stopping: Callable[[], bool],
) -> TrainState:
    """Trains from ``state`` to the end of the plan, or of the chunk in which ``stopping`` is true.

    Where chunks begin and end never changes a result. The next chunk is sent to the device before
    the metrics of the previous one are fetched.

    Raises:
      DivergedError: the listener received a loss that is not finite.
    """
    train_chunk = scan_chunk if plan.dispatch == "scan" else step_chunk
    capacity = chunk_capacity(feed)
    step = int(state.step)
    while step < plan.steps and not stopping():
        speed = listener.steps_per_second
        length = plan.chunk_length(step, capacity=capacity, steps_per_second=speed)
        batches = feed.batches(step, length, capacity=capacity)
        state, metrics = train_chunk(
            static, state, hyperparams, feed.train_source, batches, np.int32(length)
        )
        listener.chunk(step, length, metrics)
        step += length
        if plan.evaluates_at(step):
            metrics = evaluate(static, state, feed.test_source, feed.evaluation_batches())
            listener.evaluation(step, metrics)
        listener.raise_failure()
    return state


def chunk_capacity(feed: Feed) -> int:
    """Batches a program is compiled for; depends on shapes alone, so that all chunks share it."""
    return max(1, min(LONGEST_CHUNK, HOST_CHUNK_BYTES // feed.batch_bytes()))
