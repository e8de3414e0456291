"""The command line: what it asks for is done, and what fails ends in its exit code."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

# What Python does of its own, which we replace; a handler of anybody else's stays.
_BEFORE = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}

_last_actions: list[Callable[[], None]] = []


def main(argv: list[str] | None = None) -> int:
    """Does what ``argv`` (by default the command line's) asks for; returns the exit code."""
    with _signals_end_it():
        # Imported here, so that a signal in the quarter of a second it takes is answered, too.
        from runner.cli import commands, reporting

        reporting.prepare_output()
        try:
            code = commands.execute(sys.argv[1:] if argv is None else argv)
            sys.stdout.flush()
        except (Exception, KeyboardInterrupt) as error:
            code = reporting.report(error)
            reporting.settle_output()
            if argv is None and isinstance(error, KeyboardInterrupt):
                os._exit(code)  # taking libraries down in the middle of their work can abort
        return code


@contextmanager
def done_before_a_signal_ends_it(action: Callable[[], None]) -> Iterator[None]:
    """Has ``action`` done where SIGINT or SIGTERM ends the process while the body runs.

    It interrupts the body anywhere, the import of a library included: it must import nothing.
    """
    _last_actions.append(action)
    try:
        yield
    finally:
        _last_actions.remove(action)


@contextmanager
def _signals_end_it() -> Iterator[None]:
    """Lets SIGINT and SIGTERM end the process at once; a run that has state to keep takes over.

    A KeyboardInterrupt is no way to end: raised while a library is being imported it turns into
    an ImportError or a segmentation fault, and jax's callback at garbage collections swallows it.
    """
    replaced = {
        number: signal.signal(number, _end)
        for number, before in _BEFORE.items()
        if signal.getsignal(number) == before
    }
    try:
        yield
    finally:
        for number, before in replaced.items():
            signal.signal(number, before)


def _end(number: int, _frame: object) -> NoReturn:
    for each in _BEFORE:  # a second signal must not cut short what follows
        signal.signal(each, _pass_over)
    for action in _last_actions:
        with suppress(Exception):  # the exit code is said all the same
            action()
    with suppress(OSError):  # standard error may be closed
        name = signal.Signals(number).name
        os.write(2, f"error: run: ended by {name}; start it again\n".encode())
    os._exit(128 + number)


def _pass_over(_number: int, _frame: object) -> None:
    """Unlike SIG_IGN, it lets a signal be heard of by who watches for what is stuck."""
