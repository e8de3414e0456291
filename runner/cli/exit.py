"""Turns an exception into one line on standard error and the documented exit code."""

import os
import re
import signal
import sys
import traceback
from contextlib import suppress
from io import TextIOWrapper

from runner.cli.interpolation import conceal
from runner.errors import OutOfMemoryError, RunnerError, StorageError, stop_kind

BUG = 1


def report(error: BaseException) -> int:
    """Prints ``error: <key>: <what is wrong>; <what to do>`` and returns the exit code.

    The traceback comes first where the user asks for it (``HYDRA_FULL_ERROR=1``); alone, with exit
    code 1, where the failure is none of the known kinds and so a bug in the runner.
    """
    known = explain(error)
    if known is None or os.environ.get("HYDRA_FULL_ERROR") == "1":
        traceback.print_exception(error)
    if known is not None:
        complain(str(known))
    settle_output()
    return BUG if known is None else known.exit_code


def complain(line: str, *, about: str = "") -> None:
    """Prints a failure as one line on standard error, without anything from the environment."""
    with suppress(OSError):  # the exit code says it as well
        print(f"error: {about}{conceal(' '.join(line.split()))}", file=sys.stderr)


def prepare_output() -> None:
    """Gives standard output and error what printing to them needs, whatever they are."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started this
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    if isinstance(sys.stdout, TextIOWrapper):
        # A terminal that has no · and no ━ is no reason to end.
        sys.stdout.reconfigure(errors="replace")


def settle_output() -> None:
    """Flushes what was printed, or lets go of it: Python would fail in its turn as it ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def explain(error: BaseException) -> RunnerError | None:
    """The failure as one of the documented kinds; None if it is none of them."""
    if isinstance(error, RunnerError):
        return error
    if isinstance(error, MemoryError):
        return _out_of_memory("the memory of this machine is exhausted", str(error))
    if _is_from_xla(error) and "RESOURCE_EXHAUSTED" in str(error):
        return _out_of_memory("the memory of the device is exhausted", str(error))
    if isinstance(error, OSError):
        return _storage(error)
    if isinstance(error, KeyboardInterrupt):
        kind = stop_kind(getattr(error, "number", signal.SIGINT))
        problem = f"ended at once by {error}" if str(error) else "interrupted"
        return kind("run", problem, "start it again")
    return None


def _is_from_xla(error: BaseException) -> bool:
    # By name, since jax need not have been imported.
    return type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError")


def _out_of_memory(problem: str, detail: str) -> OutOfMemoryError:
    size = re.search(r"allocat\w*\D{0,40}?(\d[\d.,]*\s?(?:[KMGT]i?B|bytes))", detail)
    asked = f" (asked for {size[1]})" if size else ""
    return OutOfMemoryError(
        "memory", f"{problem}{asked}", "lower training.batch_size, or choose a smaller model"
    )


def _storage(error: OSError) -> StorageError:
    if isinstance(error, BrokenPipeError):
        return StorageError(
            "standard output", "was closed by its reader", "keep it open, or write to a file"
        )
    return StorageError(
        str(error.filename or "output"),
        f"cannot be read or written ({error.strerror or type(error).__name__})",
        "check the path, its permissions and the space left on the disk",
    )
