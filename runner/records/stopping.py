"""Turns SIGINT and SIGTERM into a flag that the training looks at between chunks."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_GRACE_SECONDS = 3.0
_NO_SIGNAL = b"\0"
_SHOW_CURSOR = "\x1b[?25h"


class EndAtOnceError(KeyboardInterrupt):
    """A second signal came: nothing more is waited for. Like its base, no ``Exception``."""

    def __init__(self, number: int) -> None:
        super().__init__(f"a second {signal.Signals(number).name}")
        self.exit_code = 128 + number


class Stop:
    """``signal`` is the number of the first signal that came, or None."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._hurries = False

    def note(self, number: int, _frame: FrameType | None = None) -> None:
        """Takes a signal.

        Raises:
          EndAtOnceError: it is the second one; a third must not interrupt what that one unwinds.
        """
        if self.signal is None:
            self.signal = number
        elif not self._hurries:
            self._hurries = True
            raise EndAtOnceError(number)


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """SIGINT or SIGTERM sets the yielded flag; the body looks at it and ends in its own time.

    A second one raises EndAtOnceError wherever the main thread is; further ones do nothing. Where
    that thread is inside a computation or a compilation and does not come out within seconds, the
    process ends without it.
    A signal that the process was started to ignore (``nohup``, a shell's ``&``) stays ignored.
    Outside the main thread, where Python has no signal handlers, nothing is changed.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    with _handling(stop.note), ending_what_is_stuck():
        yield stop


@contextmanager
def _handling(note: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in before.items():
            # None stands for a handler that Python did not install and cannot put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def ending_what_is_stuck() -> Iterator[None]:
    """After a second signal the process ends within seconds, whatever the main thread is doing.

    A Python handler runs only when that thread is back in Python code, which a long compilation
    delays; the bytes that signals write to the wakeup descriptor are seen at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    over = threading.Event()
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(reading, over), name="signals", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        over.set()
        os.write(writing, _NO_SIGNAL)
        watcher.join()
        os.close(writing)
        os.close(reading)


def _watch(reading: int, over: threading.Event) -> None:
    seen = 0
    while (number := os.read(reading, 1)) != _NO_SIGNAL:
        seen += number[0] in _SIGNALS
        if seen == 2 and not over.wait(_GRACE_SECONDS):
            with suppress(OSError, ValueError, AttributeError):
                if sys.stderr.isatty():  # a progress bar may have hidden it
                    sys.stderr.write(_SHOW_CURSOR + "\n")
                    sys.stderr.flush()
            os._exit(128 + number[0])
