"""Hostile command lines and YAML files end in a configuration or in one line of error, in time.

``FUZZ_CONFIGURATIONS`` and ``FUZZ_PROCESSES`` set the number of cases.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hostile import CommandLine, command_lines
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from runner import errors
from runner.cli.commands import configure

SECONDS, PROCESS_SECONDS = 5, 120
CODES = {0, 130, 143} | {kind.exit_code for kind in errors.RunnerError.__subclasses__()}

pytestmark = pytest.mark.slow


def hostile(variable: str, cases: int) -> settings:
    """The settings of a test with ``cases`` examples, or as many as the environment asks for."""
    return settings(
        max_examples=int(os.environ.get(variable, cases)),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@hostile("FUZZ_CONFIGURATIONS", 300)
@given(line=command_lines())
def test_a_hostile_command_line_gives_a_configuration_or_an_error(line: CommandLine) -> None:
    with within(line), limited_to(SECONDS):
        error = outcome(line)
    event("valid" if error is None else f"exit code {error.exit_code}")
    assert error is None or (error.exit_code in CODES and all(error.args)), error


@hostile("FUZZ_PROCESSES", 10)
@given(
    line=command_lines().filter(lambda line: line.is_passable),
    end=st.sampled_from([("--cfg", "job"), ("task=check", "training.steps=20")]),
)
def test_a_hostile_command_line_ends_with_a_documented_exit_code(
    line: CommandLine, end: tuple[str, ...], environment: dict[str, str]
) -> None:
    with within(line) as folder:
        done = subprocess.run(
            [sys.executable, "-m", "runner", *line.args, *end],
            cwd=folder,
            env=environment | {"HOME": str(folder)},
            capture_output=True,
            timeout=PROCESS_SECONDS,
            check=False,
        )
    event(f"exit code {done.returncode}")
    assert done.returncode in CODES, done.stderr
    assert b"Traceback" not in done.stdout + done.stderr


def outcome(line: CommandLine) -> errors.RunnerError | None:
    """The error of a command line, if it has one."""
    try:
        configure(*line.args)
    except errors.RunnerError as error:
        return error
    return None


@contextmanager
def within(line: CommandLine) -> Iterator[Path]:
    """Makes a new folder with the files of a command line the current one."""
    before = Path.cwd()
    with TemporaryDirectory() as name:
        line.write_files(Path(name))
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir(before)


@contextmanager
def limited_to(seconds: float) -> Iterator[None]:
    """Raises TimeoutError when this process has computed for more than ``seconds``."""

    def stop(*_: object) -> None:
        raise Hang(f"more than {seconds} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


class Hang(BaseException):
    """Not an Exception, which the runner would convert to an error."""
