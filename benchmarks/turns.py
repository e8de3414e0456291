"""Runs processes in short turns, so that all of them get the same share of a noisy machine.

On a shared machine the speed drifts, so two runs one after the other get different speeds. Here
one process runs at a time while the others are stopped (SIGSTOP), each for a fraction of a second.
"""

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

TURN_SECONDS = 0.5


def run_in_turns(*commands: Sequence[str], turn_seconds: float = TURN_SECONDS) -> list[float]:
    """Runs the commands and returns the seconds for which each has run.

    In the turns of a process that has ended nothing runs, so that the wall times that the others
    measure stay comparable. Exits with the error output of a command that fails.
    """
    with tempfile.TemporaryFile() as errors:
        running = [_stopped(command, errors) for command in commands]
        seconds = [0.0 for _ in commands]
        try:
            while any(process.poll() is None for process in running):
                for number, process in enumerate(running):
                    seconds[number] += _turn(process, turn_seconds)
        finally:
            for process in running:
                process.kill()
        if any(process.returncode for process in running):
            errors.seek(0)
            sys.exit(errors.read().decode())
    return seconds


def _stopped(command: Sequence[str], errors: object) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
    process.send_signal(signal.SIGSTOP)
    return process


def _turn(process: subprocess.Popen[bytes], seconds: float) -> float:
    """Lets the process run for ``seconds``, or until it ends; returns how long it has run."""
    started = time.perf_counter()
    if process.poll() is not None:
        time.sleep(seconds)
        return 0.0
    process.send_signal(signal.SIGCONT)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGSTOP)
    return time.perf_counter() - started
