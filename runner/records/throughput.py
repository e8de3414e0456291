"""Steps per second of training alone, from the times at which its chunks are observed to end."""

from time import perf_counter

# Chunks that end between two observations seem to end together, so over a shorter time than this,
# the speed would depend more on the times of observation than on training.
WINDOW_SECONDS = 0.2
# The longest delay with which a thread observes an event: twice the thread switch interval.
_DELAY_SECONDS = 0.01


class Throughput:
    """Measures from the end of the first chunk, which includes the compilation; excludes pauses.

    Evaluations that are part of a chunk count as training.

    Attributes:
      seconds_to_first_step: from ``started`` (a ``perf_counter``) to the first chunk's end.
    """

    def __init__(self, *, started: float) -> None:
        self.seconds_to_first_step: float | None = None
        self._started = started
        self._since = started
        self._steps, self._seconds = 0, 0.0
        self._reported_steps, self._reported_seconds = 0, 0.0

    @property
    def steps_per_second(self) -> float | None:
        """Over all of the run so far; None before its second chunk."""
        return self._steps / self._seconds if self._seconds else None

    def chunk(self, length: int) -> None:
        """A chunk of ``length`` steps has ended."""
        now = perf_counter()
        if self.seconds_to_first_step is None:
            self.seconds_to_first_step = now - self._started
        else:
            self._steps += length
            self._seconds += now - self._since
        self._since = now

    def pause(self, *, since: float, seen: bool) -> None:
        """Excludes work other than training that began at ``since`` or later and has ended.

        seen: whether the caller waited for its end, which is then recent. If not, the next chunk
          may have been running for a while. In doubt, part of the pause is counted as training, so
          that the speed is never overestimated.
        """
        ended = perf_counter() - _DELAY_SECONDS if seen else since
        self._since = max(self._since, since, ended)

    def window(self) -> float | None:
        """Steps per second since the last value returned; None until enough time has passed."""
        seconds = self._seconds - self._reported_seconds
        return self._report() if seconds >= WINDOW_SECONDS else None

    def overall(self) -> float | None:
        """Steps per second of a run too short for ``window``; None for any other."""
        return self._report() if self._seconds and not self._reported_steps else None

    def _report(self) -> float:
        steps, seconds = self._steps - self._reported_steps, self._seconds - self._reported_seconds
        self._reported_steps, self._reported_seconds = self._steps, self._seconds
        return steps / seconds
