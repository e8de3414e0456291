"""Shows a run's progress: a live bar on a terminal, about ten plain lines anywhere else."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from rich.console import Console

from runner.records.journal import Display
from runner.report.live_bar import LiveBar
from runner.report.progress_text import ProgressText

_LINES = 10
_LINE_SECONDS = 60.0
# Characters of a value, so that columns stay aligned.
_WIDTH = 8


def progress_display(
    total: int, *, console: Console, metric: str = "", has_cycles: bool = True
) -> Display:
    """The display of a run of ``total`` updates: a live bar if ``console`` is a terminal.

    ``metric`` and ``has_cycles``: see ``ProgressText``.

    If it can no longer be written (a closed terminal, ``| head``), it stops without raising, and
    the run continues.
    """
    display = LiveBar if console.is_interactive else _Lines
    text = ProgressText(total, metric=metric, has_cycles=has_cycles)
    return _SafeDisplay(lambda: display(text, console))


# rich raises SystemExit on a broken pipe; writing to a closed file is a ValueError.
_DISPLAY_ERRORS = (OSError, ValueError, SystemExit)


class _SafeDisplay:
    """A display that stops instead of raising if it can no longer be written."""

    def __init__(self, make: Callable[[], Display]) -> None:
        self._display: Display | None = None
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

    def _try(self, action: Callable[[Display], None]) -> None:
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
    """Prints the first update, one per tenth of the run, at least one per minute, and the last."""

    def __init__(self, text: ProgressText, console: Console) -> None:
        self._text = text
        self._console = console
        self._tenth = -1
        self._due_at = -math.inf
        self._due = self._unprinted = self._new_metrics = False

    def update(
        self, step: int, values: Mapping[str, float], steps_per_second: float | None
    ) -> None:
        # A line waits for the next update, as an evaluation after the same step may come first.
        if self._due:
            self._print()
        self._text.update(step, values, steps_per_second)
        self._unprinted = True
        tenth = step * _LINES // self._text.total
        late = time.perf_counter() - self._due_at >= _LINE_SECONDS
        if tenth > self._tenth or late:
            self._tenth = tenth
            self._due_at = time.perf_counter()
            self._due = True

    def evaluation(self, step: int, metrics: Mapping[str, float]) -> None:
        self._text.evaluation(metrics)
        self._unprinted = self._new_metrics = True
        if self._due:
            self._print()

    def close(self) -> None:
        if self._unprinted:
            self._print()

    def _print(self) -> None:
        text = self._text
        parts = [f"step {text.steps()}"]
        parts += [f"{label} {_short(value):{_WIDTH}}" for label, value in text.values]
        parts += [text.speed().rjust(14), text.clock().rjust(9)]
        if self._new_metrics:
            parts += [f"{label} {value}" for label, value in text.metrics]
        line = "  ".join(parts).rstrip()
        self._due = self._unprinted = self._new_metrics = False
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _short(value: str) -> str:
    """``1.250e-05`` with one digit fewer, so that it fits its column."""
    return value if len(value) <= _WIDTH else f"{float(value):.2e}"
