"""The progress display on a terminal: two live lines, with log lines passing above them."""

import logging
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TextIO

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from runner.report.progress_text import ProgressText

_REFRESH_SECONDS = 0.2
_NARROWEST_BAR = 10


class LiveBar:
    """A bar with steps, speed and time left; below it the latest metrics."""

    def __init__(self, text: ProgressText, console: Console) -> None:
        self._text = text
        self._drawn_at = -math.inf
        # Redrawn only by update() and evaluation(): a thread would take time from the training.
        # Only streams to a terminal are redirected above the bar, not a file or a pipe.
        self._live = Live(
            self,
            console=console,
            auto_refresh=False,
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=sys.stderr.isatty(),
        )
        self._open = ExitStack()
        bypassed = (sys.stdout, sys.stderr)
        self._open.enter_context(self._live)
        self._open.enter_context(_logging_to(bypassed, (sys.stdout, sys.stderr)))

    def update(
        self, step: int, values: Mapping[str, float], steps_per_second: float | None
    ) -> None:
        self._text.update(step, values, steps_per_second)
        self._draw()

    def evaluation(self, step: int, metrics: Mapping[str, float]) -> None:
        self._text.evaluation(metrics)
        self._draw()

    def close(self) -> None:
        self._open.close()  # stopping the live display draws it once more

    def _draw(self) -> None:
        now = time.perf_counter()
        if now - self._drawn_at >= _REFRESH_SECONDS:
            self._drawn_at = now
            self._live.refresh()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        text = self._text
        tail = _tail(text, options.max_width - _NARROWEST_BAR - 2)
        bar = options.max_width - len(tail) - 2
        if bar >= _NARROWEST_BAR:
            yield ProgressBar(total=text.total, completed=text.step, width=bar)
            yield Text("  ", end="")
        yield Text(tail, no_wrap=True, overflow="crop")
        yield _labelled(text.values + text.metrics, options.max_width)


def _tail(text: ProgressText, width: int) -> str:
    """The right end of the first line, of constant width, with as much as fits in ``width``."""
    speed, clock = text.speed().rjust(14), text.clock().rjust(9)
    fullest = [text.percent(), text.steps(), speed, clock]
    for parts in (fullest, [text.percent(), speed, clock], [text.percent(), clock]):
        if len("  ".join(parts)) <= width:
            return "  ".join(parts)
    return text.percent()


def _labelled(pairs: Sequence[tuple[str, str]], width: int) -> Text:
    """As many of ``pairs`` as fit in ``width``, none of them cut."""
    if not pairs:
        return Text("compiling the first steps", style="dim")
    line = Text(no_wrap=True, overflow="ellipsis")
    for label, value in pairs:
        if line.plain and len(line) + len(label) + 1 + len(value) > width:
            break
        # Padded, so that the line does not shift when the values change.
        line.append(f"{label} ", style="dim").append(value.ljust(7 if "." in value else 3))
        line.append("  ")
    line.rstrip()
    return line


@contextmanager
def _logging_to(bypassed: Sequence[TextIO], streams: Sequence[TextIO]) -> Iterator[None]:
    """Context manager in which logging handlers of ``bypassed`` streams write to ``streams``.

    rich replaces ``sys.stdout`` and ``sys.stderr`` with streams that print above the bar; a handler
    created earlier holds the original stream, and its lines would break the bar.
    """
    moved: list[tuple[logging.StreamHandler, TextIO]] = []
    for handler in _stream_handlers():
        for old, new in zip(bypassed, streams, strict=True):
            if handler.stream is old and old is not new:
                handler.setStream(new)
                moved.append((handler, old))
                break
    try:
        yield
    finally:
        for handler, old in moved:
            handler.setStream(old)


def _stream_handlers() -> list[logging.StreamHandler]:
    loggers = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    return [
        handler
        for logger in loggers
        if isinstance(logger, logging.Logger)
        for handler in logger.handlers
        if isinstance(handler, logging.StreamHandler)
    ]
