"""Records a run off its critical path: one thread fetches, writes, shows and checks metrics."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from queue import Empty, Full, Queue
from threading import Thread
from typing import Any, Self

from runner.errors import StorageError
from runner.records.events import EventWriter
from runner.records.journal import Display, Journal

# Chunks that may wait for the thread; the next one makes the training wait, so that memory stays
# bounded.
_WAITING = 2
# Closing waits for what the device still computes, but not for a disk or a device that hangs.
_PATIENCE_SECONDS = 600.0
_HURRY_SECONDS = 2.0


class Recorder:
    """A run's metrics on their way to TensorBoard and the screen; a context manager.

    What it is given may still be being computed: its thread waits for it, not the caller. Until
    it is closed, its figures lag a few chunks behind what it was given.
    """

    def __init__(
        self, *, events: EventWriter, display: Display, log_every: int, started: float
    ) -> None:
        """Takes over ``events`` and ``display`` and closes them in the end.

        Args:
          log_every: steps from one step that is written to the next; the last one always is.
          started: the ``time.perf_counter()`` that ``seconds_to_first_step`` counts from.
        """
        self.failure: BaseException | None = None
        self._events, self._display = events, display
        self._journal = Journal(
            events=events, display=display, log_every=log_every, started=started
        )
        self._queue: Queue[Callable[[], None] | None] = Queue(_WAITING)
        self._closed = False
        self._thread = Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def chunk(self, start: int, length: int, metrics: Mapping[str, Any]) -> None:
        """Hands over the metrics of steps ``start`` to ``start + length - 1``.

        Waits if the queue is full.

        Args:
          metrics: TensorBoard tag → array [capacity], on the device; the first ``length`` are set.
        """
        journal = self._journal
        self._queue.put(partial(journal.chunk, start, length, metrics, submitted=time.time()))

    def evaluation(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Hands over scalars by tag, measured after ``step`` updates.

        Waits if the queue is full.
        """
        evaluation = self._journal.evaluation
        self._queue.put(partial(evaluation, step, metrics, submitted=time.perf_counter()))

    def figure(self, tag: str, png: bytes) -> None:
        """Hands over a picture to be shown at step 0; waits if the queue is full."""
        self._queue.put(partial(self._events.figure, tag, png))

    def raise_failure(self) -> None:
        """Raises what went wrong in the thread, if anything has; later metrics were dropped.

        Raises:
          DivergedError: a loss is not finite; what came before it, and it, are recorded.
          StorageError: closing gave up on a disk or device that hangs.
          Exception: what else it met, such as the failure of the computation it waited for.
        """
        if self.failure is not None:
            raise self.failure

    @property
    def steps(self) -> int:
        """Completed updates, all of finite loss."""
        return self._journal.steps

    @property
    def steps_per_second(self) -> float | None:
        """Of the training alone, after its first chunk; None before a second one is done."""
        return self._journal.throughput.steps_per_second

    @property
    def seconds_to_first_step(self) -> float | None:
        """From ``started`` to the end of the first chunk, the first that is seen of its steps."""
        return self._journal.throughput.seconds_to_first_step

    @property
    def last_metrics(self) -> dict[str, float]:
        """The last evaluation, by TensorBoard tag."""
        return self._journal.last_metrics

    @property
    def best(self) -> dict[str, str | float | int] | None:
        """``metric``, ``value`` and ``step`` of the best evaluation, the first among equals."""
        return self._journal.best

    def close(self, *, succeeded: bool = True, patience: float = _PATIENCE_SECONDS) -> None:
        """Waits until all that was handed over is recorded; a second call is free."""
        if self._closed:
            return
        self._closed = True
        try:
            self._join(patience)
            if self._thread.is_alive():
                # Its files stay as they are: the thread may still be writing into them.
                self.failure = self.failure or _hangs(self._events, patience)
            else:
                self._events.close(succeeded=succeeded and self.failure is None)
        finally:
            self._display.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        hurry = isinstance(error, KeyboardInterrupt)  # a second signal: end at once
        self.close(succeeded=error is None, patience=_HURRY_SECONDS if hurry else _PATIENCE_SECONDS)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            # After a failure the rest is dropped, but still taken: the caller must never block.
            if self.failure is None:
                self._attempt(item)
        self._attempt(self._journal.finish)

    def _join(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        try:
            self._queue.put(None, timeout=patience)
        except Full:
            # The thread is stuck; should it ever go on, it finds that it is to end.
            with suppress(Empty):
                self._queue.get_nowait()
            self._queue.put(None)
        self._thread.join(max(0.0, deadline - time.monotonic()))

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        except BaseException as error:
            self.failure = self.failure or error


def _hangs(events: EventWriter, patience: float) -> StorageError:
    problem = f"the last metrics were not recorded within {patience:.0f} s"
    return StorageError(str(events.path), problem, "see whether the disk or the device hangs")
