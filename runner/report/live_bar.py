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

from runner.report.progress_text import Standing

_REFRESH_SECONDS = 0.2
_NARROWEST_BAR = 10


class LiveBar:
    """How far the run is, how fast, how long still; below it where training stands."""

    def __init__(self, total: int, console: Console) -> None:
        self._standing = Standing(total)
        self._drawn_at = -math.inf
        # Drawn from update() alone: a thread that redraws would take its time from the training.
        # What goes to a file or a pipe stays there; only a terminal's lines are led around the bar.
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
        self._standing.update(step, values, steps_per_second)
        self._draw()

    def evaluation(self, step: int, metrics: Mapping[str, float]) -> None:
        self._standing.evaluation(metrics)
        self._draw()

    def close(self) -> None:
        self._open.close()  # stopping the live display draws it once more

    def _draw(self) -> None:
        now = time.perf_counter()
        if now - self._drawn_at >= _REFRESH_SECONDS:
            self._drawn_at = now
            self._live.refresh()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        standing = self._standing
        tail = _tail(standing, options.max_width - _NARROWEST_BAR - 2)
        bar = options.max_width - len(tail) - 2
        if bar >= _NARROWEST_BAR:
            yield ProgressBar(total=standing.total, completed=standing.step, width=bar)
            yield Text("  ", end="")
        yield Text(tail, no_wrap=True, overflow="crop")
        yield _labelled(standing.values + standing.metrics)


def _tail(standing: Standing, room: int) -> str:
    """The right end of the first line, of a steady width, with as much as there is room for."""
    speed, clock = standing.speed().rjust(14), standing.clock().rjust(9)
    fullest = [standing.share(), standing.count(), speed, clock]
    for parts in (fullest, [standing.share(), speed, clock], [standing.share(), clock]):
        if len("  ".join(parts)) <= room:
            return "  ".join(parts)
    return standing.share()


def _labelled(pairs: Sequence[tuple[str, str]]) -> Text:
    if not pairs:
        return Text("compiling the first steps", style="dim")
    line = Text(no_wrap=True, overflow="ellipsis")
    for label, value in pairs:
        # Padded, so that the line stands still while the figures change.
        line.append(f"{label} ", style="dim").append(value.ljust(7 if "." in value else 3))
        line.append("  ")
    line.rstrip()
    return line


@contextmanager
def _logging_to(bypassed: Sequence[TextIO], streams: Sequence[TextIO]) -> Iterator[None]:
    """Handlers that hold one of the ``bypassed`` streams write to its replacement meanwhile.

    rich replaces ``sys.stdout`` and ``sys.stderr`` by streams that print above the bar; a handler
    made before holds the real one, and its lines would tear the bar.
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
