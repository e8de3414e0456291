"""What SIGINT, SIGTERM and SIGHUP do to this process; imported first, so it imports little."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

# A closed terminal ends a run as SIGTERM does.
EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143}

_GRACE_SECONDS = 3.0
_LAST_WORDS_SECONDS = 1.0
_NO_SIGNAL = 0
_SHOW_CURSOR = b"\x1b[?25h"

Handler = Callable[[int, object], object]


class EndAtOnceError(KeyboardInterrupt):
    """A second signal came: the run unwinds without waiting for anything. Not an ``Exception``."""

    def __init__(self, number: int) -> None:
        super().__init__(f"a second {signal.Signals(number).name}")
        self.number = number


def handle_with(handler: Handler) -> None:
    """Has ``handler`` called in the main thread for each signal from here on.

    A signal that the process was started to ignore (``nohup``, a shell's ``&``) stays ignored.
    """
    for number in EXIT_CODES:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


@contextmanager
def handled_by(
    handler: Handler, *, last_words: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Has ``handler`` called in the main thread for each signal while the body runs.

    After a second signal the process ends within seconds, whatever the main thread is doing; a
    thread then calls ``last_words``. Outside the main thread, where Python has no signal handlers,
    nothing changes.
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

    Nothing is unwound: a KeyboardInterrupt raised while a library is being imported turns into an
    ImportError or a segmentation fault, and jax's callback at garbage collections swallows it.
    ``last_words`` may interrupt an import, so it must import nothing.
    """
    handle_with(_pass_over)  # a second signal must not cut short what follows
    with suppress(Exception):  # the exit code is right all the same
        last_words()
    _print_error(number, f"ended by {signal.Signals(number).name}")
    os._exit(EXIT_CODES[signal.Signals(number)])


def end_with(code: int) -> None:
    """Has the next signal end the process with ``code``: all is done, and Python shuts down.

    A thread ends it, as the main one may be inside a library that is slow to shut down.
    """
    reading = _open_wakeup_pipe()[0]
    handle_with(_pass_over)
    threading.Thread(target=_exit_on_byte, args=(reading, code), daemon=True).start()


def ignore() -> None:
    """Ignores signals for good; Python removes handlers as it shuts down, but leaves this."""
    for number in EXIT_CODES:
        signal.signal(number, signal.SIG_IGN)


def _pass_over(_number: int, _frame: object) -> None:
    """Does nothing; unlike SIG_IGN, it leaves the signal visible to the thread that watches."""


@contextmanager
def _watched(last_words: Callable[[], None]) -> Iterator[None]:
    """Ends the process after a second signal if the body does not end within seconds.

    A Python handler runs only when the main thread is back in Python code, which a long
    compilation delays; the bytes that signals write to the wakeup descriptor are seen at once.
    """
    reading, writing, before = _open_wakeup_pipe()
    over = threading.Event()
    watcher = threading.Thread(
        target=_watch, args=(reading, over, last_words), name="signals", daemon=True
    )
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        over.set()
        os.write(writing, bytes([_NO_SIGNAL]))
        watcher.join()
        os.close(writing)
        os.close(reading)


def _open_wakeup_pipe() -> tuple[int, int, int]:
    """The two ends of a pipe that each signal writes its number to, and the descriptor before."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    return reading, writing, signal.set_wakeup_fd(writing, warn_on_full_buffer=False)


def _watch(reading: int, over: threading.Event, last_words: Callable[[], None]) -> None:
    seen = 0
    while (number := os.read(reading, 1)[0]) != _NO_SIGNAL:
        seen += number in EXIT_CODES
        if seen == 2 and not over.wait(_GRACE_SECONDS):
            _end_stuck(number, last_words)


def _end_stuck(number: int, last_words: Callable[[], None]) -> None:
    def speak() -> None:
        with suppress(OSError):
            if os.isatty(2):  # a progress bar may have hidden the cursor
                os.write(2, _SHOW_CURSOR)
        _print_error(number, f"ended at once by {EndAtOnceError(number)}")
        with suppress(Exception):
            last_words()

    # In a thread, as the disk or the terminal may be what the main thread is stuck on.
    speaker = threading.Thread(target=speak, daemon=True)
    speaker.start()
    speaker.join(_LAST_WORDS_SECONDS)
    os._exit(EXIT_CODES[signal.Signals(number)])


def _exit_on_byte(reading: int, code: int) -> None:
    os.read(reading, 1)
    os._exit(code)


def _print_error(number: int, problem: str) -> None:
    start = "\n" if number == signal.SIGINT and os.isatty(2) else ""  # after the ^C it echoes
    with suppress(OSError):  # standard error may be closed
        os.write(2, f"{start}error: run: {problem}; start it again\n".encode())
