"""The console of a run, which stops writing when its output is closed or its disk is full."""

import logging
import os
import sys
from multiprocessing import parent_process
from shutil import get_terminal_size
from typing import Any, TextIO

from rich.console import Console

_log = logging.getLogger("runner")


def open_console() -> Console:
    """A console on standard output; a closed pipe or a full disk never ends the run."""
    # FORCE_COLOR makes rich treat a pipe as a terminal: colours are fine there, a live bar is not.
    # Nor is it in the worker processes of a launcher, as their bars would overwrite each other.
    interactive = None if sys.stdout.isatty() and parent_process() is None else False
    console = Console(file=_SafeStream(sys.stdout), force_interactive=interactive)  # type: ignore[arg-type]
    if console.width < 1:  # COLUMNS=0, with which rich prints nothing at all
        console.width = get_terminal_size().columns
    return console


class _SafeStream:
    """``stream`` until a write fails; what is written after that is dropped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._discard(error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._discard(error)

    def _discard(self, error: OSError) -> None:
        # The contents of the stream's buffer would fail again, at the latest when Python exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
        if not isinstance(error, BrokenPipeError):  # such as ``| head``, which is not a problem
            _log.warning("standard output can no longer be written (%s)", error.strerror)
