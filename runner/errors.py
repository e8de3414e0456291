"""Errors a user can act on: one line that names the key, what is wrong and what to do.

The exit code of each kind is part of the command line's contract.
"""

import re
import signal
from collections.abc import Iterable
from difflib import get_close_matches

INT32_MAX = 2**31 - 1  # steps, seeds and sizes are int32 on the device
FLOAT32_MAX = (2 - 2**-23) * 2.0**127

# Control characters except tabs and line feeds, and unpaired surrogates.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class RunnerError(Exception):
    """An error that a user can act on: ``key: problem; remedy``.

    If an error is about a part of an experiment as a whole, the part leaves the key empty and its
    caller adds the key of the part's section (``under``).
    """

    exit_code: int

    def __init__(self, key: str, problem: str, remedy: str) -> None:
        super().__init__(key, problem, remedy)
        self.key, self.problem, self.remedy = key, problem, remedy

    def __str__(self) -> str:
        return f"{self.key}{': ' if self.key else ''}{self.problem}; {self.remedy}"

    def under(self, prefix: str) -> "RunnerError":
        """The same error with its key below ``prefix``: ``base_lr`` → ``scheduler.base_lr``."""
        key = ".".join(filter(None, (prefix, self.key)))
        return type(self)(key, self.problem, self.remedy)


class ConfigError(RunnerError, ValueError):
    """A setting or the command line is wrong; also a ``ValueError`` for library callers."""

    exit_code = 2


class DataError(RunnerError):
    """A data file is missing, damaged or has invalid contents."""

    exit_code = 3


class StorageError(RunnerError):
    """An output folder or file cannot be written or read."""

    exit_code = 4


class DivergedError(RunnerError):
    """The loss became infinite or NaN."""

    exit_code = 5


class OutOfMemoryError(RunnerError):
    """The host's or the device's memory is exhausted."""

    exit_code = 6


class FolderInUseError(RunnerError):
    """Another run is using the folder."""

    exit_code = 7


class InterruptedRunError(RunnerError):
    """The run was stopped by SIGINT."""

    exit_code = 130


class TerminatedRunError(RunnerError):
    """The run was stopped by SIGTERM or SIGHUP."""

    exit_code = 143


def shown(value: object) -> str:
    """``value`` formatted for an error: one short line, with null and booleans as in YAML."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    try:
        text = repr(value)
    except ValueError:  # an int with more digits than Python converts to text
        return "an integer of thousands of digits"
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def printable(text: str) -> str:
    """``text`` with control characters, which would act on a terminal, as escapes: ``\\x1b``."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def stop_kind(number: int) -> type[RunnerError]:
    """The class of error for a run that was stopped by the signal ``number``."""
    return InterruptedRunError if number == signal.SIGINT else TerminatedRunError


def reason(error: BaseException) -> str:
    """A short description of an exception, for an error: ``TypeError: no such layer``."""
    first, *_ = str(error).strip().splitlines() or [""]
    text = first if len(first) <= 160 else f"{first[:157]}..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def not_finite_message(error: BaseException) -> str | None:
    """What jax's check for NaNs and infinities has found; None for any other error.

    With ``JAX_DEBUG_NANS`` or ``JAX_DEBUG_INFS``, jax reruns a program that returned such a value,
    operation by operation, to name the operation. The rerun itself may fail, for example if the
    arguments were donated; jax's first error is then in the chain of the new one.
    """
    if isinstance(error, FloatingPointError):
        return str(error).splitlines()[0]
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        cause = waiting.pop()
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        # By name, since jax need not have been imported, and its class is not public.
        if type(cause).__name__ == "InternalFloatingPointError":
            program, value = cause.args
            return f"invalid value ({value}) encountered in {program}"
        waiting += [cause.__context__, cause.__cause__]
    return None


def type_name(value: object) -> str:
    """A short description of a value's type, for an error: ``a str``, ``None``."""
    return "None" if value is None else f"a {type(value).__name__}"


def nearest(name: str, known: Iterable[str]) -> str:
    """A remedy for a mistyped name: similar names if there are any, else all known names."""
    names = sorted(known)
    close = get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(close) + "?"
    return "known: " + ", ".join(names) if names else "none are known"
