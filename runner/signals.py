"""Handling of SIGINT, SIGTERM, SIGHUP and SIGUSR1; imported first, so it imports little."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

# SIGHUP, sent when a terminal is closed, ends a run as SIGTERM does.
EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143}

_GRACE_SECONDS = 3.0
_LAST_WORDS_SECONDS = 1.0
_NO_SIGNAL = 0
_SHOW_CURSOR = b"\x1b[?25h"

Handler = Callable[[int, object], object]


class EndAtOnceError(KeyboardInterrupt):
    """Raised on a second signal: the run unwinds without waiting. Not an ``Exception``."""

    def __init__(self, number: int) -> None:
        super().__init__(f"a second {signal.Signals(number).name}")
        self.number = number


@contextmanager
def save_requests_handled_by(handler: Handler) -> Iterator[None]:
    """Context manager that installs ``handler`` for SIGUSR1, which asks for a checkpoint."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN if before is None else before)


def ignore_save_requests() -> None:
    """Ignores SIGUSR1 outside of a run: nothing can be saved there, and it would end the process.

    Job schedulers send it at a fixed time before the end of a job, whatever the job is doing.
    """
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def handle_with(handler: Handler) -> None:
    """Installs ``handler``, which is called in the main thread on each signal.

    A signal that the process was started to ignore (``nohup``, a shell's ``&``) stays ignored.
    """
    for number in EXIT_CODES:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


@contextmanager
def handled_by(
    handler: Handler, *, last_words: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Context manager that installs ``handler`` while its body runs.

    After a second signal the process ends within seconds, whatever the main thread is doing; a
    thread then calls ``last_words``. Outside the main thread, where Python allows no signal
    handlers, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in EXIT_CODES}
    handle_with(handler)
    try:
        with _watched(last_words):
            yield
    finally:
        for number, previous in before.items():
            # None stands for a handler that Python did not install and cannot put back.
            signal.signal(number, signal.SIG_DFL if previous is None else previous)


def end_process(
    number: int, _frame: object = None, *, last_words: Callable[[], None] = lambda: None
) -> None:
    """Calls ``last_words``, prints one line and ends the process with the signal's exit code.

    The stack is not unwound: a KeyboardInterrupt raised while a library is being imported turns
    into an ImportError or a segmentation fault, and jax's garbage collection callback swallows it.
    ``last_words`` may interrupt an import, so it must import nothing.
    """
    handle_with(_do_nothing)  # a second signal must not interrupt what follows
    with suppress(Exception):  # the exit code must be right even if this fails
        last_words()
    _print_error(number, f"ended by {signal.Signals(number).name}")
    os._exit(EXIT_CODES[signal.Signals(number)])


def end_with(code: int) -> None:
    """Makes the next signal end the process with ``code``; for use while Python shuts down.

    A thread does so, as the main thread may be inside a library that is slow to shut down.
    """
    reading = _open_wakeup_pipe()[0]
    handle_with(_do_nothing)
    threading.Thread(target=_exit_on_byte, args=(reading, code), daemon=True).start()


def ignore() -> None:
    """Ignores signals permanently; unlike a handler, this outlasts Python's shutdown."""
    for number in EXIT_CODES:
        signal.signal(number, signal.SIG_IGN)


def _do_nothing(_number: int, _frame: object) -> None:
    """Handles a signal; unlike with SIG_IGN, it is still written to the wakeup descriptor."""


@contextmanager
def _watched(last_words: Callable[[], None]) -> Iterator[None]:
    """Ends the process after a second signal if the body does not end within seconds.

    A Python handler runs only when the main thread returns to Python code, which a long
    compilation delays; bytes written to the wakeup descriptor are seen at once.
    """
    reading, writing, before = _open_wakeup_pipe()
    ended = threading.Event()
    watcher = threading.Thread(
        target=_watch, args=(reading, ended, last_words), name="signals", daemon=True
    )
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        ended.set()
        os.write(writing, bytes([_NO_SIGNAL]))
        watcher.join()
        os.close(writing)
        os.close(reading)


def _open_wakeup_pipe() -> tuple[int, int, int]:
    """Opens a pipe that signals write their numbers to; its two ends, the previous descriptor."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    return reading, writing, signal.set_wakeup_fd(writing, warn_on_full_buffer=False)


def _watch(reading: int, ended: threading.Event, last_words: Callable[[], None]) -> None:
    seen = 0
    while (number := os.read(reading, 1)[0]) != _NO_SIGNAL:
        seen += number in EXIT_CODES
        if seen == 2 and not ended.wait(_GRACE_SECONDS):
            _end_stuck(number, last_words)


def _end_stuck(number: int, last_words: Callable[[], None]) -> None:
    def report() -> None:
        with suppress(OSError):
            if os.isatty(2):  # a progress bar may have hidden the cursor
                os.write(2, _SHOW_CURSOR)
        _print_error(number, f"ended at once by {EndAtOnceError(number)}")
        with suppress(Exception):
            last_words()

    # In a thread: the main thread may hang on the very disk or terminal that this writes to.
    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    reporter.join(_LAST_WORDS_SECONDS)
    os._exit(EXIT_CODES[signal.Signals(number)])


def _exit_on_byte(reading: int, code: int) -> None:
    os.read(reading, 1)
    os._exit(code)


def _print_error(number: int, problem: str) -> None:
    start = "\n" if number == signal.SIGINT and os.isatty(2) else ""  # after the ^C it echoes
    with suppress(OSError):  # standard error may be closed
        os.write(2, f"{start}error: run: {problem}; start it again\n".encode())
