"""The screen of a run: a console that falls silent where its output can no longer be written."""

import logging
import os
import sys
from shutil import get_terminal_size
from typing import Any, TextIO

from rich.console import Console

_log = logging.getLogger("runner")


def screen() -> Console:
    """A console on standard output; a reader that is gone, or a full disk, never ends a run."""
    # FORCE_COLOR makes rich take a pipe for a terminal: colours are fine there, a live bar is not.
    interactive = None if sys.stdout.isatty() else False
    console = Console(file=_Forgiving(sys.stdout), force_interactive=interactive)  # type: ignore[arg-type]
    if console.width < 1:  # COLUMNS=0, in which rich prints nothing at all
        console.width = get_terminal_size().columns
    return console


class _Forgiving:
    """``stream``, but a write that fails is the last one."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._let_go(error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._let_go(error)

    def _let_go(self, error: OSError) -> None:
        # What is still in the stream's buffer would fail again, at the latest as Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
        if not isinstance(error, BrokenPipeError):  # then the reader has seen enough
            _log.warning("standard output can no longer be written (%s)", error.strerror)
