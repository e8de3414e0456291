"""Converts an exception to one line on standard error and the documented exit code."""

import os
import re
import resource
import signal
import sys
import traceback
from contextlib import suppress
from io import TextIOWrapper

from runner.cli.interpolation import conceal
from runner.errors import (
    ConfigError,
    DivergedError,
    InterruptedRunError,
    OutOfMemoryError,
    RunnerError,
    StorageError,
    not_finite_message,
    printable,
    stop_kind,
)

BUG = 1

_LONGEST_WORD, _LONGEST_LINE = 200, 800  # characters shown of each
_LEAST_ADDRESS_SPACE = 2**31  # bytes; jax 0.10 needs about as much for its first computation


def report(error: BaseException, *, about: str = "") -> int:
    """Prints ``error: <about><key>: <what is wrong>; <what to do>`` and returns the exit code.

    The traceback comes first if the user asks for it (``HYDRA_FULL_ERROR=1``). A failure of an
    unknown kind is a bug in the runner: its traceback is printed alone, and the exit code is 1.
    """
    known = explain(error)
    if known is None or os.environ.get("HYDRA_FULL_ERROR") == "1":
        traceback.print_exception(error)
    if known is not None:
        is_after_echo = isinstance(known, InterruptedRunError) and sys.stderr.isatty()  # of ^C
        line = printable(conceal(f"{about}{' '.join(str(known).split())}"))
        line = re.sub(r"\S+", lambda word: _shortened(word[0], _LONGEST_WORD), line)
        start = "\n" if is_after_echo else ""
        with suppress(OSError):  # the exit code tells the kind of failure, too
            print(f"{start}error: {_shortened(line, _LONGEST_LINE)}", file=sys.stderr)
    settle_output()
    return BUG if known is None else known.exit_code


def check_memory_limit() -> None:
    """Raises OutOfMemoryError if ``ulimit -v`` is too low: jax would abort with any exit code."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < _LEAST_ADDRESS_SPACE:
        problem = f"{limit // 1024} KiB of address space is too little to load jax"
        remedy = f"allow at least {_LEAST_ADDRESS_SPACE // 1024}, or unlimited"
        raise OutOfMemoryError("ulimit -v", problem, remedy)


def prepare_output() -> None:
    """Makes printing to standard output and error safe, even if they are closed."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the parent process
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    if isinstance(sys.stdout, TextIOWrapper):
        # An encoding without · and ━ must not end a run.
        sys.stdout.reconfigure(errors="replace")


def settle_output() -> None:
    """Flushes the output, or discards it if that fails: Python would fail again as it exits."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def explain(error: BaseException) -> RunnerError | None:
    """The error of a documented kind that ``error`` stands for; None for a bug in the runner."""
    if isinstance(error, RunnerError):
        return error
    kinds = (_interrupted, _out_of_memory, _storage, _not_finite, _environment_variable)
    return next(filter(None, (kind(error) for kind in kinds)), None)


def _out_of_memory(error: BaseException) -> OutOfMemoryError | None:
    # By name, since jax need not have been imported.
    is_xlas = type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError")
    is_device = is_xlas and "RESOURCE_EXHAUSTED" in str(error)
    is_loader = isinstance(error, ImportError) and "failed to map segment" in str(error)
    if not (is_device or is_loader or isinstance(error, MemoryError)):
        return None
    size = re.search(r"allocat\w*\D{0,40}?(\d[\d.,]*\s?(?:[KMGT]i?B|bytes))", str(error))
    asked = f" (asked for {size[1]})" if size else ""
    problem = f"the memory of {'the device' if is_device else 'this machine'} is exhausted{asked}"
    remedy = "lower training.batch_size, or choose a smaller model"
    return OutOfMemoryError("memory", problem, remedy)


def _not_finite(error: BaseException) -> DivergedError | None:
    message = not_finite_message(error)
    if message is None:
        return None
    names = [name for name in ("JAX_DEBUG_NANS", "JAX_DEBUG_INFS") if os.environ.get(name)]
    found = f" (found by {', '.join(names)})" if names else ""
    problem = f"{message}{found}"
    return DivergedError("training", problem, "lower scheduler.max_lr")


def _storage(error: BaseException) -> StorageError | None:
    if not isinstance(error, OSError):
        return None
    if isinstance(error, BrokenPipeError):
        remedy = "keep it open, or write to a file"
        return StorageError("standard output", "was closed by its reader", remedy)
    return StorageError(
        str(error.filename or "output"),
        f"cannot be read or written ({error.strerror or type(error).__name__})",
        "check the path, its permissions and the space left on the disk",
    )


def _environment_variable(error: BaseException) -> ConfigError | None:
    """The error for a variable ``JAX_...`` whose value jax refuses when it is imported."""
    if type(error) is not ValueError:
        return None
    message = str(error)
    for name in filter(lambda name: name.startswith("JAX_"), os.environ):
        # jax names the variable, or its option in lower case.
        if re.search(rf"\b{re.escape(name)}\b", message, re.IGNORECASE):
            problem = f"JAX refuses its value ({message})"
            return ConfigError(name, problem, "correct it, or unset it")
    return None


def _interrupted(error: BaseException) -> RunnerError | None:
    if not isinstance(error, KeyboardInterrupt):
        return None
    kind = stop_kind(getattr(error, "number", signal.SIGINT))
    problem = f"ended at once by {error}" if str(error) else "interrupted"
    return kind("run", problem, "start it again")


def _shortened(text: str, limit: int) -> str:
    """``text`` shortened in the middle to about ``limit`` characters."""
    if len(text) <= limit:
        return text
    end = limit // 3
    return f"{text[: limit - end]}...{text[-end:]}"
