"""Records a run in a background thread, which fetches, writes, shows and checks metrics."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from queue import Empty, Full, Queue
from threading import Thread
from typing import Any, Self

from runner.errors import StorageError
from runner.records.events import EventWriter
from runner.records.journal import Journal
from runner.records.saving import Saver
from runner.records.snapshot_files import SnapshotSaver
from runner.training.listener import Evaluations

# Chunks that may wait for the thread. If the queue is full, training waits, so memory is bounded.
_QUEUE_SIZE = 2
# Training that waits longer than this gives a warning; chunks and most checkpoints take less.
_WARN_SECONDS = 60.0
# Closing waits for computations on the device, but not for a disk or a device that hangs.
_CLOSE_SECONDS = 600.0
_CLOSE_AT_ONCE_SECONDS = 2.0

_log = logging.getLogger("runner")


class Recorder:
    """Sends a run's metrics to TensorBoard and the display; a context manager.

    Metrics may still be under computation on the device: the recorder's thread waits for them, not
    the caller. Until it is closed, its figures lag a few chunks behind.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        saver: Saver | None = None,
        snapshots: SnapshotSaver | None = None,
    ) -> None:
        """Takes over ``journal``, with its events and display, and ``saver``; closes them.

        Args:
          saver: saves the states handed over; None saves nothing.
          snapshots: saves the states at cycle ends for evaluation; None saves none.
        """
        self.failure: BaseException | None = None
        self._journal, self._saver, self._snapshots = journal, saver, snapshots
        self._events, self._display = journal.events, journal.display
        self._is_due = self._is_snapshot = self._has_warned = False
        self._queue: Queue[Callable[[], None] | None] = Queue(_QUEUE_SIZE)
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
        self._hand_over(partial(journal.chunk, start, length, metrics, submitted=time.time()))

    def evaluation(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Hands over metrics by tag, measured after ``step`` updates.

        Waits if the queue is full.
        """
        evaluation = self._journal.evaluation
        self._hand_over(partial(evaluation, step, metrics, submitted=time.perf_counter()))

    def evaluated_chunk(
        self, start: int, length: int, metrics: Mapping[str, Any], evaluations: Evaluations
    ) -> None:
        """Hands over a chunk with the evaluations within it; waits if the queue is full."""
        chunk = start, length, metrics, evaluations
        # An iterator: the thread records the chunk as it asks for one evaluation after another.
        recorded = self._journal.evaluated_chunk(*chunk, submitted=time.time())
        self._hand_over(partial(self._offer_best, recorded, start, evaluations))

    def wants_state(self, step: int, *, evaluated: bool) -> bool:
        """Whether ``state`` is to be called with the state after ``step`` updates."""
        self._is_snapshot = self._snapshots is not None and self._snapshots.is_due(step)
        if self._saver is None:
            return self._is_snapshot
        self._is_due = self._saver.is_due(step)
        return self._is_due or self._is_snapshot or (evaluated and self._saver.keeps_best)

    def state(self, step: int, state: Any) -> None:
        """Hands over a state that ``wants_state`` asked for, after the metrics of its last step.

        The caller must not donate its buffers. Waits if the queue is full.
        """
        if self._snapshots is not None and self._is_snapshot:
            self._hand_over(partial(self._snapshots.save, step, state))
        self._hand_over(partial(self._offer, step, state, due=self._is_due))

    def final_state(self, step: int, state: Any) -> None:
        """Hands over the state at the end of training, to be saved in any case."""
        self._hand_over(partial(self._offer, step, state, due=True))

    def picture(self, tag: str, png: bytes) -> None:
        """Hands over a picture, to be shown at the step that training starts at.

        Waits if the queue is full.
        """
        # At that step, TensorBoard hides the picture of an earlier attempt.
        self._hand_over(partial(self._events.picture, tag, png, step=self._journal.start))

    def text(self, tag: str, text: str, *, step: int) -> None:
        """Hands over a text; waits if the queue is full."""
        self._hand_over(partial(self._events.text, tag, text, step=step))

    def raise_failure(self) -> None:
        """Raises the first exception of the thread, if any; later metrics were dropped.

        Raises:
          DivergedError: a loss is not finite; everything up to that step is recorded.
          StorageError: a disk or device hung while the recorder was closing.
          Exception: any other failure, such as that of a computation on the device.
        """
        if self.failure is not None:
            raise self.failure

    @property
    def steps(self) -> int:
        """Completed updates, all of finite loss."""
        return self._journal.steps

    @property
    def steps_per_second(self) -> float | None:
        """The speed of training after the first chunk; None until a second one is complete."""
        return self._journal.throughput.steps_per_second

    @property
    def seconds_to_first_step(self) -> float | None:
        """From ``started`` to the end of the first chunk, as that of a step is not observed."""
        return self._journal.throughput.seconds_to_first_step

    @property
    def last_metrics(self) -> dict[str, float]:
        """The last evaluation, by TensorBoard tag."""
        return self._journal.last_metrics

    @property
    def best(self) -> dict[str, str | float | int] | None:
        """``metric``, ``value`` and ``step`` of the best evaluation, the first among equals."""
        return self._journal.best

    @property
    def checkpoint(self) -> dict[str, str | None]:
        """The ``last`` checkpoint and that of the ``best`` evaluation, as paths in the folder."""
        saver = self._saver
        found = {"last": saver and saver.last, "best": saver and saver.best}
        return {name: path and f"{path.parent.name}/{path.name}" for name, path in found.items()}

    @property
    def logging_lost_at_step(self) -> int | None:
        """The first step that TensorBoard's files lack because of a failed write, or None."""
        return self._journal.figures().logging_lost_at_step

    @property
    def goodput(self) -> float | None:
        """The share of the wall time of all attempts spent on steps that were not repeated."""
        figures = self._journal.figures()
        return figures.training_seconds / figures.seconds if figures.training_seconds else None

    def close(self, *, succeeded: bool = True, timeout: float = _CLOSE_SECONDS) -> None:
        """Waits until everything handed over is recorded, for up to ``timeout``; idempotent."""
        if self._closed:
            return
        self._closed = True
        try:
            self._join(timeout)
            if self._thread.is_alive():
                # The files stay open: the thread may still be writing to them.
                self.failure = self.failure or _hangs(self._events, timeout)
            else:
                self._events.close(succeeded=succeeded and self.failure is None)
        finally:
            self._display.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        at_once = isinstance(error, KeyboardInterrupt)  # a second signal
        timeout = _CLOSE_AT_ONCE_SECONDS if at_once else _CLOSE_SECONDS
        self.close(succeeded=error is None, timeout=timeout)

    def _hand_over(self, item: Callable[[], None]) -> None:
        """Queues an item for the thread; warns once if the queue stays full for long."""
        if not self._has_warned:
            try:
                self._queue.put(item, timeout=_WARN_SECONDS)
                return
            except Full:
                self._has_warned = True
                _log.warning(
                    "%s: nothing has been recorded for %.0f s, and training waits; check whether "
                    "the disk or the device hangs",
                    self._events.path.parent,
                    _WARN_SECONDS,
                )
        self._queue.put(item)

    def _offer_best(self, recorded: Iterator[int], start: int, evaluations: Evaluations) -> None:
        best = int(evaluations.best)
        for after in recorded:
            if self._saver is not None and after == best:
                figures = self._journal.figures()
                self._saver.offer(start + after, evaluations.best_state, figures, due=False)

    def _offer(self, step: int, state: Any, *, due: bool) -> None:
        if self._saver is not None:
            if due:
                self._events.flush()  # a run resumed from it does not write these again
            self._saver.offer(step, state, self._journal.figures(), due=due)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            # After a failure, items are taken and dropped, so that no caller blocks.
            if self.failure is None:
                self._attempt(item)
        self._attempt(self._journal.finish)
        if self._saver is not None:
            self._attempt(self._saver.close)

    def _join(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        try:
            self._queue.put(None, timeout=timeout)
        except Full:
            # The thread hangs; if it ever continues, it finds the end of the queue.
            with suppress(Empty):
                self._queue.get_nowait()
            self._queue.put(None)
        self._thread.join(max(0.0, deadline - time.monotonic()))

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        except BaseException as error:
            self.failure = self.failure or error


def _hangs(events: EventWriter, timeout: float) -> StorageError:
    problem = f"the last metrics were not recorded within {timeout:.0f} s"
    return StorageError(str(events.path), problem, "check whether the disk or the device hangs")
