"""Shows a run's progress: a live bar on a terminal, about ten plain lines anywhere else."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol

from rich.console import Console

from runner.records.live_bar import LiveBar
from runner.records.standing import Standing

_LINES = 10
_LINE_SECONDS = 60.0


class Progress(Protocol):
    """What is told about a run while it goes on."""

    def update(
        self, step: int, values: Mapping[str, float], steps_per_second: float | None
    ) -> None:
        """``step`` updates are complete; ``values``, by TensorBoard tag, are the last one's."""
        ...

    def evaluation(self, step: int, metrics: Mapping[str, float]) -> None:
        """``metrics``, by TensorBoard tag, were measured after ``step`` updates."""
        ...

    def close(self) -> None:
        """Leaves the last state on the screen; a second call is free."""
        ...


def progress(total: int, *, console: Console) -> Progress:
    """The display of a run of ``total`` updates that suits ``console``.

    Where the display breaks (a terminal that is gone, ``| head``) it falls silent: no call
    raises, and the run goes on.
    """
    live = console.is_interactive
    return _Forgiving(lambda: (LiveBar if live else _Lines)(total, console))


# rich answers a broken pipe with SystemExit; writing to a closed file is a ValueError.
_DISPLAY_ERRORS = (OSError, ValueError, SystemExit)


class _Forgiving:
    def __init__(self, make: Callable[[], Progress]) -> None:
        self._display: Progress | None = None
        with suppress(*_DISPLAY_ERRORS):
            self._display = make()

    def update(
        self, step: int, values: Mapping[str, float], steps_per_second: float | None
    ) -> None:
        self._try(lambda display: display.update(step, values, steps_per_second))

    def evaluation(self, step: int, metrics: Mapping[str, float]) -> None:
        self._try(lambda display: display.evaluation(step, metrics))

    def close(self) -> None:
        self._try(lambda display: display.close())

    def _try(self, action: Callable[[Progress], None]) -> None:
        display = self._display
        if display is None:
            return
        try:
            action(display)
        except _DISPLAY_ERRORS:
            self._display = None
            with suppress(*_DISPLAY_ERRORS):
                display.close()


class _Lines:
    """A line at the first news, at every tenth of the run, at least every minute, and the last."""

    def __init__(self, total: int, console: Console) -> None:
        self._standing = Standing(total)
        self._console = console
        self._tenth = -1
        self._due_at = -math.inf
        self._due = self._unprinted = self._new_metrics = False

    def update(
        self, step: int, values: Mapping[str, float], steps_per_second: float | None
    ) -> None:
        # A line waits for the next news, as that may be the evaluation after its very step.
        if self._due:
            self._print()
        self._standing.update(step, values, steps_per_second)
        self._unprinted = True
        tenth = step * _LINES // self._standing.total
        late = time.perf_counter() - self._due_at >= _LINE_SECONDS
        if tenth > self._tenth or late:
            self._tenth = tenth
            self._due_at = time.perf_counter()
            self._due = True

    def evaluation(self, step: int, metrics: Mapping[str, float]) -> None:
        self._standing.evaluation(metrics)
        self._unprinted = self._new_metrics = True
        if self._due:
            self._print()

    def close(self) -> None:
        if self._unprinted:
            self._print()

    def _print(self) -> None:
        standing = self._standing
        parts = [f"step {standing.count()}"]
        parts += [f"{label} {value:8}" for label, value in standing.values]
        parts += [standing.speed().rjust(14), standing.clock().rjust(9)]
        if self._new_metrics:
            parts += [f"{label} {value}" for label, value in standing.metrics]
        line = "  ".join(parts).rstrip()
        self._due = self._unprinted = self._new_metrics = False
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
