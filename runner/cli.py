"""The command line: what it asks for is done, and what fails ends in its exit code."""

import sys
from importlib import import_module

INTERRUPTED = 130


def main(argv: list[str] | None = None) -> int:
    """Does what ``argv`` (by default the command line's) asks for; returns the exit code."""
    try:
        return _main(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        print("error: run: interrupted; start it again", file=sys.stderr)
        return INTERRUPTED


def _main(argv: list[str]) -> int:
    # Imported here, so that an interrupt during the quarter of a second it takes is answered too.
    commands, reporting = (import_module(f"runner.{name}") for name in ("commands", "reporting"))
    try:
        code = commands.execute(argv)
        sys.stdout.flush()
    except Exception as error:
        code = reporting.report(error)
        reporting.settle_output()
    return code
