"""Runs as processes of their own, for faults that are injected from outside."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runner.records.checkpoints import Checkpoints

SMALL = (
    "model.hidden=[8]",
    "training.steps=60",
    "training.eval_every=20",
    "checkpoint.every=20",
    "checkpoint.keep=9",
)
# Trains until it is stopped.
ENDLESS = ("model.hidden=[8]", "training.steps=100000000", "training.eval_every=null")
SECONDS = 120


def wait_until(condition, seconds=SECONDS):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


@pytest.fixture
def start(tmp_path, environment):
    """Starts ``python -m runner hydra.run.dir=run ARGS``; killed at the end of the test."""
    started = []

    def start(*args, folder="run", before=(), env=None):
        process = subprocess.Popen(
            [*before, sys.executable, "-m", "runner", f"hydra.run.dir={folder}", *args],
            cwd=tmp_path,
            env=environment | (env or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def training(start, tmp_path):
    """An endless run that has saved at least one checkpoint."""

    def training(*args):
        process = start(*ENDLESS, "checkpoint.every=500", "training.log_every=100", *args)
        wait_until(lambda: process.poll() is not None or Checkpoints(tmp_path / "run").steps())
        assert process.poll() is None, process.communicate()
        return process

    return training


@pytest.fixture(scope="session")
def _stopped(tmp_path_factory, environment):
    folder = tmp_path_factory.mktemp("stopped") / "run"
    command = [sys.executable, "-m", "runner", f"hydra.run.dir={folder}", *SMALL]
    subprocess.run([*command], env=environment, check=True, capture_output=True, timeout=SECONDS)
    shutil.rmtree(folder / "checkpoints" / "60")
    return folder


@pytest.fixture
def stopped(_stopped, tmp_path):
    """A copy of a run of 60 steps that was killed after its checkpoints of steps 20 and 40."""
    shutil.copytree(_stopped, tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    return tmp_path / "run"


def ended(process, number=None):
    """Sends a signal, if any; returns the exit code and standard error."""
    if number is not None:
        process.send_signal(number)
    _, stderr = process.communicate(timeout=SECONDS)
    return process.returncode, stderr


def is_intact(folder: Path) -> bool:
    """Whether every checkpoint of the run is intact, and there is one."""
    saved = Checkpoints(folder)
    return bool(saved.steps()) and all(saved.load(step).step == step for step in saved.steps())


STOPS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143}
