"""Computes the batches of coming steps in a thread, while the device works on earlier ones."""

from collections.abc import Callable, Iterator
from queue import Full, Queue
from threading import Event, Thread
from typing import Generic, TypeVar

Batch = TypeVar("Batch")

_POLL_SECONDS = 0.1


class Prefetch(Generic[Batch]):
    """Calls ``gather`` for one step after another, up to ``depth`` steps ahead.

    Attributes:
      next_step: the step of the next batch.
    """

    def __init__(self, gather: Callable[[int], Batch], first_step: int, *, depth: int) -> None:
        self.next_step = first_step
        self._gather = gather
        self._queue: Queue[Batch | BaseException] = Queue(depth)
        self._closed = Event()
        self._thread = Thread(target=self._work, args=(first_step,), name="prefetch", daemon=True)
        self._thread.start()

    def take(self, count: int) -> Iterator[Batch]:
        """The next ``count`` batches.

        Raises:
          Exception: what ``gather`` raised.
        """
        for _ in range(count):
            batch = self._queue.get()
            if isinstance(batch, BaseException):
                raise batch
            self.next_step += 1
            yield batch

    def close(self) -> None:
        """Ends the thread; a second call does nothing."""
        self._closed.set()
        self._thread.join()

    def _work(self, step: int) -> None:
        while not self._closed.is_set():
            try:
                batch: Batch | BaseException = self._gather(step)
            except BaseException as error:
                batch = error
            self._put(batch)
            if isinstance(batch, BaseException):
                return
            step += 1

    def _put(self, batch: Batch | BaseException) -> None:
        while not self._closed.is_set():
            try:
                self._queue.put(batch, timeout=_POLL_SECONDS)
                return
            except Full:
                continue
