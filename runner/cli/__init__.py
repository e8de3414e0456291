"""The command line."""

import atexit
import os
import sys
from contextlib import nullcontext

from runner import signals


def main(argv: list[str] | None = None) -> int:
    """Runs a command line and returns its exit code.

    Args:
      argv: the arguments; by default this process's own, in which case signals are handled until
        the process has ended.
    """
    ends_process = argv is None
    if ends_process:
        atexit.register(signals.ignore)  # registered first, so called last
        signals.handle_with(signals.end_process)
        signals.ignore_save_requests()
    with nullcontext() if ends_process else signals.handled_by(signals.end_process):
        # Imported here, so that a signal during this import (0.25 s) is handled too.
        from runner.cli.exit import prepare_output, report

        prepare_output()
        try:
            from runner.cli import commands

            code = commands.execute(sys.argv[1:] if argv is None else argv)
            sys.stdout.flush()
        except (Exception, KeyboardInterrupt) as error:
            code = report(error)
            if ends_process and isinstance(error, KeyboardInterrupt):
                os._exit(code)  # shutting down a library that is at work can abort the process
    if ends_process:
        signals.end_with(code)
    return code
